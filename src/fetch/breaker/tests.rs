//! Scenario files, tables and properties of the breaker.
//!
//! A scenario is a file in `tests/scenarios/breaker`: what the other side does and from when, a line
//! `---`, and what the breaker makes of it. `MARBRE_REWRITE=1 cargo test --lib breaker` writes the
//! second half anew, to be read before it is committed.

#![allow(clippy::print_stderr, reason = "says what to do")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use proptest::prelude::*;

use super::*;
use crate::clock::Clock;
use crate::fragment::quantity::parse_duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn policy() -> BreakerPolicy {
    BreakerPolicy {
        enabled: true,
        window: ms(10_000),
        requests_min: 20,
        failed_percent: 50,
        slow_percent: 50,
        slow_factor: 5,
        run_max: 10,
        open: ms(500),
        open_max: ms(10_000),
        step: ms(1000),
    }
}

/// What the other side does from a moment on.
#[derive(Debug, Clone, Copy)]
struct Weather {
    at: Duration,
    per_second: f64,
    bad: Verdict,
    /// How many of a hundred are bad.
    percent: f64,
    need: Need,
}

/// `10s 50/s failed 70% as core`
fn weather(line: &str) -> Weather {
    let mut words = line.split_whitespace();
    let mut word = || words.next().unwrap_or_default();
    let at = parse_duration(word()).unwrap();
    let rate = word().strip_suffix("/s").expect("a rate").to_owned();
    let bad = match word() {
        "good" => Verdict::Good,
        "slow" => Verdict::Slow,
        "missed" => Verdict::Missed,
        "failed" => Verdict::Failed,
        other => panic!("{other}: good, slow, missed or failed"),
    };
    let (mut percent, mut need) = (100.0, Need::Wanted);
    loop {
        match word() {
            "" => break,
            "as" => {
                need = match word() {
                    "last-resort" => Need::LastResort,
                    other => panic!("{other}: last-resort"),
                }
            }
            share => percent = share.strip_suffix('%').unwrap().parse().unwrap(),
        }
    }
    Weather {
        at,
        per_second: rate.parse().unwrap(),
        bad,
        percent,
        need,
    }
}

/// Plays the first half of a scenario and tells the second.
fn play(input: &str) -> String {
    let lines = input
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let (jumps, rest): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.contains("jump"));
    let jump = |line: &&str| {
        let mut words = line.split_whitespace();
        let at = parse_duration(words.next().unwrap()).unwrap();
        let by = words.nth(1).unwrap();
        (
            at,
            by.starts_with('-'),
            parse_duration(by.trim_start_matches(['-', '+'])).unwrap(),
        )
    };
    let jumps: Vec<_> = jumps.iter().map(jump).collect();
    let (last, rest) = rest.split_last().expect("a scenario has an end");
    let end = parse_duration(last.strip_prefix("end ").expect("`end 60s`")).unwrap();
    let weathers: Vec<Weather> = rest.iter().map(|line| weather(line)).collect();

    let mut told = String::new();
    let (start, mut rng) = (Clock::start().now() + ms(100_000_000), Rng::with_seed(1));
    let mut breaker = Breaker::new(policy(), RUN_TIME, start);
    let mut tell = |at: Duration, moved: Option<Move>| {
        let Some(Move {
            from,
            to,
            why,
            pause,
        }) = moved
        else {
            return;
        };
        let _ = write!(
            told,
            "{:.2}s {} → {}",
            at.as_secs_f64(),
            from.label(),
            to.label()
        );
        let _ = match pause {
            Some(pause) => writeln!(told, " for {} ms: {why}", pause.as_millis()),
            None => writeln!(told),
        };
    };
    let mut sums = Vec::new();
    for (index, weather) in weathers.iter().enumerate() {
        let until = weathers.get(index + 1).map_or(end, |next| next.at);
        let (mut asked, mut passed) = (0, 0);
        let mut at = weather.at;
        while at < until {
            let mut now = start + at;
            for (_, back, by) in jumps.iter().filter(|(from, ..)| at >= *from) {
                now = if *back { now - *by } else { now + *by };
            }
            asked += 1;
            let (pass, moved) = breaker.admit(weather.need, now, rng.f64());
            tell(at, moved);
            if let Some(pass) = pass {
                passed += 1;
                let is_bad = rng.f64() * 100.0 < weather.percent;
                let verdict = if is_bad { weather.bad } else { Verdict::Good };
                tell(at, breaker.settle(pass, verdict, true, now, rng.f64()));
            }
            at += Duration::from_secs_f64(1.0 / weather.per_second);
        }
        sums.push(format!(
            "from {:.0}s: {passed} of {asked} let through",
            weather.at.as_secs_f64()
        ));
    }
    told + &sums.join("\n") + "\n"
}

fn scenarios() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/breaker");
    let entries = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn scenario_files() {
    let paths = scenarios();
    assert!(paths.len() >= 10, "the scenarios are where they were");
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let (input, expected) = text.split_once("---\n").unwrap_or((&text, ""));
        let told = play(input);
        if std::env::var_os("MARBRE_REWRITE").is_some() {
            std::fs::write(&path, format!("{input}---\n{told}")).unwrap();
            continue;
        }
        assert_eq!(told, expected, "{}: it was\n{told}", path.display());
    }
}

/// Makes requests in a row; the one that opened the breaker.
fn opened_by(verdicts: &str, pause: Duration) -> Option<usize> {
    let mut now = Clock::start().now();
    let mut breaker = Breaker::new(policy(), RUN_TIME, now);
    verdicts.chars().position(|verdict| {
        now += pause;
        let verdict = match verdict {
            'x' => Verdict::Failed,
            's' => Verdict::Slow,
            'm' => Verdict::Missed,
            _ => Verdict::Good,
        };
        let (pass, _) = breaker.admit(Need::Wanted, now, 0.5);
        let Some(pass) = pass else { return false };
        breaker.settle(pass, verdict, true, now, 0.0).is_some()
    })
}

#[test]
fn what_opens_it() {
    for (verdicts, pause, expected) in [
        // ten in a row, and long enough
        ("xxxxxxxxxxxx", 50, Some(9)),
        ("xxxxxxxxx.xxxxxxxxx", 50, None),
        ("ssssssssss", 50, Some(9)),
        ("mmmmmmmmmm", 50, Some(9)),
        ("mxsmxsmxsm", 50, Some(9)),
        // a blip of twenty milliseconds
        (
            "........................xxxxxxxxxxxxxxxx........................",
            1,
            None,
        ),
        // half of twenty
        ("..........xxxxxxxxx.xx", 50, Some(21)),
        ("........................xxxxxxxxx", 50, None),
        // slow and failed together
        (".x.s.x.s.x.s.x.s.x.s", 50, Some(19)),
        ("..x..s..x..s..x..s..x..s..x..s", 50, None),
        // too few in ten seconds to say: one every two
        ("x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.", 2000, None),
        ("xxxxxxxxxxx", 60_000, Some(9)),
    ] {
        assert_eq!(
            opened_by(verdicts, ms(pause)),
            expected,
            "{verdicts} each {pause} ms"
        );
    }
}

fn opened(now: Instant) -> Breaker {
    let mut breaker = Breaker::new(policy(), Duration::ZERO, now);
    for _ in 0..10 {
        let (pass, _) = breaker.admit(Need::Wanted, now, 0.5);
        breaker.settle(pass.unwrap(), Verdict::Failed, true, now, 0.0);
    }
    assert_eq!(breaker.state().0, BreakerState::Open);
    breaker
}

#[test]
fn pauses_double_to_the_longest_and_a_good_spell_resets_them() {
    let mut now = Clock::start().now();
    let mut breaker = opened(now);
    for expected in [500, 1000, 2000, 4000, 8000, 10_000, 10_000] {
        let due = breaker.share().1.unwrap();
        assert_eq!(due - now, ms(expected));
        now = due;
        let (pass, _) = breaker.admit(Need::Wanted, now, 0.5);
        breaker.settle(pass.unwrap(), Verdict::Failed, true, now, 0.0);
    }
}

#[test]
fn one_probe_at_a_time_and_what_is_lost_is_tried_again() {
    let now = Clock::start().now();
    let mut breaker = opened(now);
    let due = breaker.share().1.unwrap();
    let (probe, _) = breaker.admit(Need::Wanted, due, 0.0);
    assert!(probe.is_some_and(Pass::is_probe));
    assert_eq!(breaker.admit(Need::Wanted, due, 0.0).0, None);
    breaker.abandon(probe.unwrap());
    assert!(breaker.admit(Need::Wanted, due, 0.0).0.is_some());
}

#[test]
fn retry_after_prolongs_the_pause_but_not_beyond_the_longest() {
    let now = Clock::start().now();
    for (asked, expected) in [(3_000, 3_000), (100, 500), (3_600_000, 10_000)] {
        let mut breaker = Breaker::new(policy(), Duration::ZERO, now);
        for _ in 0..10 {
            let (pass, _) = breaker.admit(Need::Wanted, now, 0.5);
            breaker.hold(ms(asked), now);
            breaker.settle(pass.unwrap(), Verdict::Failed, true, now, 0.0);
        }
        assert_eq!(breaker.share().1, Some(now + ms(expected)), "{asked}");
    }
}

/// A breaker whose origin is late as all others are, after results of this kind.
fn inhibited_after(verdict: Verdict) -> Breaker {
    let now = Clock::start().now();
    let mut breaker = Breaker::new(policy(), Duration::ZERO, now);
    breaker.inhibit(true);
    for n in 0..100 {
        let now = now + ms(10 * n);
        if let (Some(pass), _) = breaker.admit(Need::Wanted, now, 0.5) {
            breaker.settle(pass, verdict, true, now, 0.0);
        }
    }
    breaker
}

#[test]
fn what_is_late_for_a_common_reason_is_held_against_nobody() {
    assert!(inhibited_after(Verdict::Missed).is_closed());
    assert!(inhibited_after(Verdict::Slow).is_closed());
    assert!(inhibited_after(Verdict::Failed).is_open());
    // nor is it when the reason has gone
    let mut breaker = inhibited_after(Verdict::Missed);
    breaker.inhibit(false);
    let now = Clock::start().now() + ms(1000);
    let (pass, _) = breaker.admit(Need::Wanted, now, 0.5);
    let moved = breaker.settle(pass.unwrap(), Verdict::Missed, true, now, 0.0);
    assert_eq!(moved, None);
}

#[test]
fn a_probe_that_is_late_for_a_common_reason_finds_nobody_well() {
    let now = Clock::start().now();
    let mut breaker = opened(now);
    breaker.inhibit(true);
    let due = breaker.share().1.unwrap();
    let (probe, _) = breaker.admit(Need::Probe, due, 0.0);
    let moved = breaker.settle(probe.unwrap(), Verdict::Missed, true, due, 0.0);
    assert_eq!(moved.map(|moved| moved.to), Some(BreakerState::Open));
}

#[test]
fn where_somebody_asks_apart_pages_leave_it_to_them_until_they_are_silent() {
    let now = Clock::start().now();
    let mut breaker = opened(now);
    let due = breaker.share().1.unwrap();
    breaker.ask_apart(due + ms(1000));
    assert_eq!(breaker.admit(Need::Probe, now, 0.0).0, None, "not yet");
    assert_eq!(breaker.admit(Need::Wanted, due, 0.0).0, None);
    let (probe, _) = breaker.admit(Need::Probe, due, 0.0);
    assert!(probe.is_some_and(Pass::is_probe));
    breaker.settle(probe.unwrap(), Verdict::Good, true, due, 0.0);
    assert_eq!(breaker.admit(Need::Wanted, due, 0.0).0, None);
    // a core that has nothing else does not wait for them
    let (early, _) = breaker.admit(Need::LastResort, due, 0.0);
    assert!(early.is_some_and(Pass::is_probe));
    breaker.abandon(early.unwrap());
    let silent = due + ms(1000);
    let (probe, _) = breaker.admit(Need::Wanted, silent, 0.0);
    assert!(probe.is_some_and(Pass::is_probe));
}

#[test]
fn where_no_reader_waits_the_longest_pause_is_shorter() {
    for (open, is_core, pauses) in [
        (500, false, [500, 1000, 2000, 3000, 3000]),
        (500, true, [500, 1000, 1000, 1000, 1000]),
        (4000, false, [4000, 4000, 4000, 4000, 4000]),
        (4000, true, [4000, 4000, 4000, 4000, 4000]),
        (20_000, false, [10_000, 10_000, 10_000, 10_000, 10_000]),
    ] {
        let mut now = Clock::start().now();
        let policy = BreakerPolicy {
            open: ms(open),
            ..policy()
        };
        let mut breaker = Breaker::new(policy, Duration::ZERO, now);
        match is_core {
            // whoever asks
            true => breaker = breaker.pauses_at_most(CORE_PAUSE_MAX),
            false => breaker.ask_apart(now + ms(1_000_000)),
        }
        for (failures, pause) in [10, 1, 1, 1, 1].into_iter().zip(pauses) {
            for _ in 0..failures {
                let (pass, _) = breaker.admit(Need::Probe, now, 0.5);
                breaker.settle(pass.unwrap(), Verdict::Failed, true, now, 0.0);
            }
            let due = breaker.share().1.unwrap();
            assert_eq!(due - now, ms(pause), "first {open} ms");
            now = due;
        }
    }
}

#[test]
fn on_the_way_back_a_probe_is_always_let_through() {
    let mut now = Clock::start().now();
    let mut breaker = opened(now);
    now = breaker.share().1.unwrap();
    for _ in 0..PROBES {
        let (probe, _) = breaker.admit(Need::Probe, now, 0.0);
        breaker.settle(probe.unwrap(), Verdict::Good, true, now, 0.0);
    }
    assert_eq!(breaker.state().0, BreakerState::Recovering);
    assert_eq!(breaker.admit(Need::Wanted, now, 0.99).0, None);
    assert!(breaker.admit(Need::Probe, now, 0.99).0.is_some());
}

#[test]
fn what_returns_late_changes_nothing() {
    let now = Clock::start().now();
    let mut breaker = Breaker::new(policy(), Duration::ZERO, now);
    let (late, _) = breaker.admit(Need::Wanted, now, 0.5);
    let mut breaker = {
        for _ in 0..10 {
            let (pass, _) = breaker.admit(Need::Wanted, now, 0.5);
            breaker.settle(pass.unwrap(), Verdict::Failed, true, now, 0.0);
        }
        breaker
    };
    let before = (breaker.state(), breaker.share());
    for verdict in [Verdict::Good, Verdict::Failed] {
        assert_eq!(breaker.settle(late.unwrap(), verdict, true, now, 0.0), None);
    }
    assert_eq!((breaker.state(), breaker.share()), before);
}

#[test]
fn where_there_is_nobody_else_it_stays_closed() {
    let now = Clock::start().now();
    let mut breaker = Breaker::new(policy(), Duration::ZERO, now);
    for _ in 0..100 {
        let (pass, _) = breaker.admit(Need::Wanted, now, 0.5);
        assert_eq!(
            breaker.settle(pass.unwrap(), Verdict::Failed, false, now, 0.0),
            None
        );
    }
}

#[test]
fn switched_off_it_never_opens() {
    let now = Clock::start().now();
    let policy = BreakerPolicy {
        enabled: false,
        ..policy()
    };
    let mut breaker = Breaker::new(policy, Duration::ZERO, now);
    for _ in 0..1000 {
        let (pass, _) = breaker.admit(Need::Wanted, now, 0.99);
        assert_eq!(
            breaker.settle(pass.unwrap(), Verdict::Failed, true, now, 0.0),
            None
        );
    }
}

#[test]
fn a_last_resort_finds_out_before_it_is_time_but_not_all_the_time() {
    let now = Clock::start().now();
    let mut breaker = opened(now);
    let wanted = breaker.admit(Need::Wanted, now, 0.5).0;
    assert_eq!(wanted, None, "it has something to show");
    let (early, _) = breaker.admit(Need::LastResort, now, 0.5);
    assert!(early.is_some_and(Pass::is_probe));
    let due = breaker.share().1;
    for (after, told) in [(0, "one at a time"), (400, "one at a time")] {
        let (more, _) = breaker.admit(Need::LastResort, now + ms(after), 0.5);
        assert_eq!(more, None, "{told}");
    }
    let moved = breaker.settle(early.unwrap(), Verdict::Failed, true, now, 0.0);
    assert_eq!(moved, None);
    let unchanged = "an early try changes nothing for the others";
    assert_eq!(breaker.share().1, due, "{unchanged}");
    let (soon, _) = breaker.admit(Need::LastResort, now + ms(400), 0.5);
    assert_eq!(soon, None, "not so soon again");
}

#[test]
fn a_last_resort_with_good_news_begins_the_recovery() {
    let now = Clock::start().now();
    let mut breaker = opened(now);
    // the first before it is time, the others as probes
    for _ in 0..3 {
        let (early, _) = breaker.admit(Need::LastResort, now, 0.5);
        breaker.settle(early.unwrap(), Verdict::Good, true, now, 0.0);
    }
    assert_eq!(breaker.state().0, BreakerState::Recovering);
    let (core, _) = breaker.admit(Need::LastResort, now, 0.99);
    assert!(core.is_some(), "whatever the share");
    assert_eq!(breaker.admit(Need::Wanted, now, 0.99).0, None);
}

proptest! {
    /// Whatever happens, and whatever the clock does.
    #[test]
    fn it_is_never_shut_for_good(
        steps in prop::collection::vec((0u64..4_000, 0u8..5, 0u8..3, 0.0f64..1.0, any::<bool>()), 1..400)
    ) {
        let mut now = Clock::start().now() + ms(10_000_000);
        let mut breaker = Breaker::new(policy(), RUN_TIME, now);
        let mut out: Vec<Pass> = Vec::new();
        for (pause, what, need, chance, back) in steps {
            now = if back { now - ms(pause / 4) } else { now + ms(pause) };
            let need = [Need::Wanted, Need::LastResort, Need::Probe][usize::from(need)];
            if need == Need::Probe {
                breaker.ask_apart(now + ms(1000));
                breaker.inhibit(back);
            }
            let was_closed = breaker.state().0 == BreakerState::Closed;
            let (pass, _) = breaker.admit(need, now, chance);
            prop_assert!(pass.is_some() || !was_closed, "closed lets everything through");
            out.extend(pass);
            let verdicts = [
                Verdict::Good,
                Verdict::Slow,
                Verdict::Missed,
                Verdict::Failed,
            ];
            let verdict = verdicts.get(usize::from(what));
            if let Some(pass) = out.pop() {
                match verdict {
                    Some(verdict) => {
                        if let Some(moved) = breaker.settle(pass, *verdict, true, now, chance) {
                            prop_assert_ne!(moved.from, moved.to);
                            let pause = moved.pause.unwrap_or_default();
                            prop_assert!(pause <= ms(12_500), "{:?}", pause);
                        }
                    }
                    None => breaker.abandon(pass),
                }
            }
        }
        out.drain(..).for_each(|pass| breaker.abandon(pass));
        // from any state: left alone for the longest pause, good requests bring all of them back
        for _ in 0..400 {
            now += ms(100);
            let (pass, _) = breaker.admit(Need::Wanted, now, 0.0);
            if let Some(pass) = pass {
                breaker.settle(pass, Verdict::Good, true, now, 0.0);
            }
        }
        prop_assert_eq!(breaker.state().0, BreakerState::Closed);
    }
}
