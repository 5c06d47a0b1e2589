//! The server minus its sockets, in virtual time: whole pages composed from origins that fail by a
//! seed. Every page is checked against the promises; a failing seed is printed, and
//! `MARBRE_SEED=N cargo test --test sim` replays it exactly.

#![allow(clippy::unwrap_used, reason = "a test that fails is meant to panic")]

mod amplification;
mod attribution;
mod blast_radius;
mod copies;
mod limits;
mod lists;
mod origin;
mod promises;
mod refresh;
mod service;
mod stage;
mod stand_ins;
mod unread;
mod weather;

use std::time::Duration;

use origin::{FakeOrigin, Fault};
use stage::{Stage, declaration};

/// Does the work with all that is left to chance drawn from the seed to replay, else from the first.
fn virtual_time<T>(work: impl Future<Output = T>) -> T {
    seeded(seed_to_replay().unwrap_or(0), work)
}

/// The seed that the caller wants to see again.
fn seed_to_replay() -> Option<u64> {
    let seed = std::env::var("MARBRE_SEED").ok()?;
    Some(seed.parse().expect("MARBRE_SEED is a number"))
}

/// Does the work in virtual time, on this thread; names the seed where the work panics.
#[allow(
    clippy::print_stderr,
    reason = "whoever sees a test fail is told how to see it again"
)]
fn seeded<T>(seed: u64, work: impl Future<Output = T>) -> T {
    fastrand::seed(seed);
    let run = std::panic::AssertUnwindSafe(|| in_virtual_time(work));
    std::panic::catch_unwind(run).unwrap_or_else(|panic| {
        eprintln!("seed {seed} fails: MARBRE_SEED={seed} cargo test --test sim");
        std::panic::resume_unwind(panic);
    })
}

fn in_virtual_time<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O can always be built")
        .block_on(work)
}

/// Seeds of the fixed set; each is a site, an hour of pages and a weather of faults.
const SEEDS: u64 = 150;
/// Pages asked for under each seed.
const PAGES: usize = 40;

#[test]
fn the_promises_hold_under_every_seed() {
    let seeds = seed_to_replay().map_or(0..SEEDS, |seed| seed..seed + 1);
    let mut seen = promises::Seen::default();
    for seed in seeds {
        seen.add(&seeded(seed, stage::run(seed, PAGES)));
    }
    eprintln!("{seen:?}");
    if seed_to_replay().is_none() {
        // a simulation in which nothing goes wrong proves nothing
        assert!(seen.pages >= 5_000, "{seen:?}");
        assert!(
            seen.full > 500 && seen.degraded > 500 && seen.unavailable > 50,
            "{seen:?}"
        );
        assert!(
            seen.stale > 100 && seen.cached > 500 && seen.panics > 20,
            "{seen:?}"
        );
        assert!(
            seen.absent > 50 && seen.refused > 20 && seen.stand_ins > 50,
            "{seen:?}"
        );
    }
}

#[test]
fn six_fragments_of_50_ms_take_50_ms() {
    virtual_time(async {
        let names = ["a", "b", "c", "d", "e", "f"];
        let text =
            declaration(&names.map(|name| (name, if name == "a" { "\"core\"" } else { "50" })));
        let stage = Stage::build(&text, &names, |_| {
            FakeOrigin::always(Fault::Slow(Duration::from_millis(50)))
        });
        let page = stage.ask(0).await;
        assert_eq!(page.report.duration, Duration::from_millis(50));
        assert!(page.report.is_complete(), "{:?}", page.report);
    });
}

#[test]
fn a_byte_a_second_is_dropped_at_the_deadline() {
    virtual_time(async {
        let text = declaration(&[("a", "\"core\""), ("b", "50")]);
        let stage = Stage::build(&text, &["a", "b"], |spec| {
            FakeOrigin::always(if spec == "b" {
                Fault::Drip
            } else {
                Fault::None
            })
        });
        let page = stage.ask(0).await;
        assert_eq!(page.body, "<a>whole</a>");
        // the timeout of `declaration`, not the page's budget
        assert_eq!(page.report.duration, Duration::from_millis(300));
        assert_eq!(page.outcome("b"), "failed (timeout)");
    });
}

#[test]
fn a_body_that_ends_early_is_left_out_whichever_piece_is_the_last() {
    virtual_time(async {
        for pieces in 0..4 {
            let text = declaration(&[("a", "\"core\""), ("b", "50")]);
            let stage = Stage::build(&text, &["a", "b"], |spec| {
                FakeOrigin::always(match spec {
                    "b" => Fault::Cut(pieces),
                    _ => Fault::None,
                })
            });
            let page = stage.ask(0).await;
            assert_eq!(page.body, "<a>whole</a>", "after {pieces} pieces");
            let outcome = "failed (truncated: connection closed)";
            assert_eq!(page.outcome("b"), outcome, "after {pieces} pieces");
        }
    });
}

#[test]
fn a_late_answer_serves_the_next_page() {
    virtual_time(async {
        let text = declaration(&[("a", "\"core\""), ("b", "50")])
            .replace("[fragments.b]", "[fragments.b]\nttl = \"60s\"");
        let stage = Stage::build(&text, &["a", "b"], |spec| {
            FakeOrigin::always(match spec {
                "b" => Fault::Slow(Duration::from_millis(350)),
                _ => Fault::None,
            })
        });
        assert_eq!(stage.ask(0).await.body, "<a>whole</a>");
        tokio::time::sleep(Duration::from_millis(100)).await;
        let next = stage.ask(0).await;
        assert_eq!(next.body, "<a>whole</a><b>whole</b>");
        assert_eq!(next.outcome("b"), "cached");
    });
}

/// Whatever operators have decided, on whatever site: the core is there, nothing that is off is asked for
/// or stands in for anything else, what is on is given up by no level, and a higher level never asks more.
#[test]
fn what_operators_decide_is_planned() {
    use marbre::degradation::Overrides;
    use marbre::fragment::Priority;
    use marbre::plan::{Action, Step};
    use marbre::report::OmitReason;
    let mut seen = [0; 4];
    for seed in 0..SEEDS {
        let rng = &mut fastrand::Rng::with_seed(seed);
        let (toml, names) = stage::random_site(rng);
        let mut overrides = Overrides::default();
        for name in &names {
            match rng.u8(..4) {
                0 => _ = overrides.off.insert((*name).to_owned()),
                1 => _ = overrides.on.insert((*name).to_owned()),
                _ => {}
            }
        }
        let overrides = std::sync::Arc::new(overrides);
        virtual_time(async {
            let stage = Stage::build(&toml, &names, |_| FakeOrigin::always(Fault::None));
            let site = &stage.edition.site;
            let asks = |step: &Step| matches!(step.action, Action::Serve(_));
            let mut below: Option<Vec<bool>> = None;
            for level in 0..=site.ladder.text_only().get() + 1 {
                let plan = stage.plan_under("/p/1", level, &overrides);
                for step in &plan.steps {
                    let fragment = site.fragment(step.fragment);
                    let (off, on) = (
                        overrides.is_off(&fragment.name),
                        overrides.is_on(&fragment.name),
                    );
                    let is_right = match (&step.action, fragment.priority) {
                        (Action::Serve(_), Priority::Core) => true,
                        (Action::StandIn(_), Priority::Essential) => off,
                        (Action::Serve(_), Priority::Essential) => !off,
                        (Action::Omit(OmitReason::Switched), Priority::Optional(_)) => off,
                        (Action::Omit(OmitReason::Shed(_)), Priority::Optional(_)) => !off && !on,
                        (Action::Serve(_), Priority::Optional(_)) => !off,
                        _ => false,
                    };
                    assert!(is_right, "seed {seed}, level {level}: {step:?}");
                    let kinds = [
                        matches!(step.action, Action::StandIn(_)),
                        matches!(step.action, Action::Omit(OmitReason::Switched)),
                        on && asks(step) && level > 0,
                        off && fragment.priority == Priority::Core,
                    ];
                    for (count, is_so) in seen.iter_mut().zip(kinds) {
                        *count += usize::from(is_so);
                    }
                    if let Action::Serve(serve) | Action::StandIn(serve) = &step.action {
                        let mut siblings = serve.siblings.iter();
                        let none_is_off =
                            siblings.all(|s| !overrides.is_off(&site.fragment(s.fragment).name));
                        // but in the place of a core that has nothing else
                        let is_core = fragment.priority == Priority::Core;
                        assert!(none_is_off || is_core, "seed {seed}: {step:?}");
                    }
                }
                let now: Vec<bool> = plan.steps.iter().map(asks).collect();
                if let Some(below) = below {
                    let nested = below.iter().zip(&now).all(|(below, now)| *below || !now);
                    assert!(nested, "seed {seed}: level {level} adds to the one below");
                }
                below = Some(now);
            }
        });
    }
    // a site without any of these proves nothing
    assert!(seen.iter().all(|count| *count > 20), "{seen:?}");
}

#[test]
fn raising_the_level_never_adds_a_fetch() {
    use marbre::degradation::Level;
    use marbre::plan::Action;
    for seed in 0..SEEDS {
        let (toml, names) = stage::random_site(&mut fastrand::Rng::with_seed(seed));
        virtual_time(async {
            let stage = Stage::build(&toml, &names, |_| FakeOrigin::always(Fault::None));
            let site = &stage.edition.site;
            let fetches = |level: u8| -> Vec<bool> {
                let plan = stage.plan("/p/1", level);
                let serves = plan
                    .steps
                    .iter()
                    .map(|s| matches!(s.action, Action::Serve(_)));
                serves.collect()
            };
            let top = site.ladder.text_only().get();
            for level in 0..=top {
                let (now, above) = (fetches(level), fetches(level + 1));
                let nested = now.iter().zip(&above).all(|(now, above)| *now || !above);
                assert!(
                    nested,
                    "seed {seed}: level {} adds to level {level}",
                    level + 1
                );
                let kept = site
                    .members(&site.pages[0])
                    .zip(&now)
                    .all(|(fragment, serves)| *serves || fragment.priority.rank().is_some());
                assert!(
                    kept,
                    "seed {seed}: level {level} gives up what is not optional"
                );
            }
            let text_only = fetches(top);
            let left = site.members(&site.pages[0]).zip(text_only);
            for (fragment, serves) in left {
                let optional = fragment.priority.rank().is_some();
                assert_eq!(
                    serves, !optional,
                    "seed {seed}: {} at the last level",
                    fragment.name
                );
            }
            assert_eq!(site.ladder.text_only(), Level::new(top));
        });
    }
}
