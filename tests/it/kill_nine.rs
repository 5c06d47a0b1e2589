//! The process is killed at any moment, hundreds of times, and nothing that it had written is lost.
//!
//! What is promised: a copy that was served, and after which the disk's queue was seen empty
//! (`/state`, `disk.pending`), is there after any number of SIGKILLs; or a newer one is. No kill
//! leaves a torn copy, a mixed one, an older one in the place of a newer one, or a folder with
//! which the server does not start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::numbered::pieces;
use crate::support::program::{seed, unpooled};
use crate::support::{Press, Program, newsroom};

/// `MARBRE_KILLS` makes it more.
const KILLS: u64 = 200;

/// After so many, the origins are dead.
const ALIVE_ROUNDS: u64 = 4;

const PAGES: u64 = 120;
const READERS: u64 = 3;

/// Pages until a kill, at most.
const PAGES_UNTIL_KILL_MAX: u64 = 30;

/// And then so much longer, at most: pages end at moments that are not random.
const LONGER_MAX: Duration = Duration::from_millis(20);

/// A round that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The latest number of each piece.
type Numbers = BTreeMap<String, u64>;

fn merge(into: &mut Numbers, more: &Numbers) {
    for (name, number) in more {
        let known = into.entry(name.clone()).or_default();
        *known = (*known).max(*number);
    }
}

/// What a page is made of, after it was found to be whole and its own.
fn examine(slug: u64, status: u16, body: &str) -> Numbers {
    assert_eq!(status, 200, "page {slug}: {body}");
    let found = pieces(body).unwrap_or_else(|wrong| panic!("page {slug}: {wrong}"));
    assert!(found.contains_key(&format!("/article/{slug}")), "{found:?}");
    let own = |name: &String| match name.rsplit_once('/') {
        Some(("/article" | "/aside" | "/live", of)) => *of == slug.to_string(),
        _ => name == "/ticker" || name == "/ad",
    };
    assert!(found.keys().all(own), "page {slug} has {found:?}");
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_written_is_served_after_any_number_of_kills() {
    let mut rng = fastrand::Rng::with_seed(seed());
    let kills = std::env::var("MARBRE_KILLS").ok();
    let kills = kills.map_or(KILLS, |kills| kills.parse().expect("a number"));
    let mut press = Press::start(100..=5000);
    let url = press.url();
    let site = newsroom()
        // so little that the log goes round several times
        .server("state_size = \"8MiB\"")
        .toml(&format!(
            "[origins.press]\nurls = [\"{url}\"]\ntimeout = \"20s\""
        ))
        .fragment(
            "article",
            "\"core\"",
            "press:/article/{slug}",
            "ttl = \"2s\"",
        )
        .fragment(
            "aside",
            "\"essential\"",
            "press:/aside/{slug}",
            "ttl = \"2s\"",
        )
        .fragment(
            "live",
            "60",
            "press:/live/{slug}",
            "ttl = \"2s\"\nkeep = \"1h\"\ndurable = true",
        )
        .fragment(
            "ticker",
            "50",
            "press:/ticker",
            "ttl = \"0s\"\nkeep = \"1h\"\ndurable = true",
        )
        .fragment("ad", "10", "press:/ad", "ttl = \"2s\"")
        .page_within(
            "page",
            "/p/{slug}",
            "[article][aside][live][ticker][ad]",
            "20s",
        )
        .written();
    let client = unpooled();
    // on disk: the server has said so after it was served
    let written = Arc::new(Mutex::new(Numbers::new()));
    // written once a second at most, so what is promised of it is that it never goes back
    let mut ticker = 0;
    let mut checked = 0;
    let mut torn = 0;
    for round in 1..=kills {
        let is_dead = round % (ALIVE_ROUNDS + 1) == 0 || round == kills;
        if is_dead {
            press.die().await;
        }
        let program = Program::start(site.path(), &client).await;
        let log = if is_dead {
            let written = written.lock().clone();
            for slug in 0..PAGES {
                let promised = |of: &str| written.get(&format!("/{of}/{slug}")).copied();
                if promised("article").is_none() {
                    continue;
                }
                let (status, body) = program.get(&format!("/p/{slug}")).await;
                let found = examine(slug, status, &body);
                for of in ["article", "aside", "live"] {
                    let found = found.get(&format!("/{of}/{slug}")).copied();
                    if found < promised(of) {
                        panic!(
                            "round {round}, page {slug}: {of} {:?} was written and {found:?} is there\n{}\n{}",
                            promised(of),
                            program.log(),
                            program.state().await
                        );
                    }
                }
                let now = found.get("/ticker").copied().unwrap_or_default();
                assert!(now >= ticker, "round {round}: ticker {now} after {ticker}");
                ticker = now;
                checked += 1;
            }
            press.revive();
            program.kill()
        } else {
            let pages = rng.u64(1..=PAGES_UNTIL_KILL_MAX);
            let longer = LONGER_MAX.mul_f64(rng.f64());
            let seeds = std::array::from_fn(|_| rng.u64(..));
            kill_under_load(program, &written, pages, longer, seeds).await
        };
        for wrong in ["panicked", "cannot be read", "is another's", "set aside"] {
            assert!(!log.contains(wrong), "round {round}:\n{log}");
        }
        // what was being written, and nothing else
        assert!(
            !log.contains("is damaged") || log.contains("is damaged in 1 place"),
            "{log}"
        );
        torn += u64::from(log.contains("is damaged"));
    }
    println!(
        "{kills} kills, {} answers of the origins, {checked} pages checked with the origins dead, \
         {torn} torn writes",
        press.asked()
    );
    assert!(checked > PAGES, "a test that looked at {checked} pages");
}

/// Serves so many pages to several readers at once, and a little longer; returns what it said.
async fn kill_under_load(
    program: Program,
    written: &Arc<Mutex<Numbers>>,
    pages: u64,
    longer: Duration,
    seeds: [u64; READERS as usize],
) -> String {
    let program = Arc::new(program);
    // by this process: what the one before it had served and not written is lost
    let served = Arc::new(Mutex::new(Numbers::new()));
    let (count, mut counted) = watch::channel(0u64);
    let count = Arc::new(count);
    let mut tasks = JoinSet::new();
    for seed in seeds {
        let (program, served) = (Arc::clone(&program), Arc::clone(&served));
        let count = Arc::clone(&count);
        tasks.spawn(async move {
            let mut rng = fastrand::Rng::with_seed(seed);
            // until it is killed
            loop {
                let slug = rng.u64(..PAGES);
                let Ok((status, body)) = program.try_get(&format!("/p/{slug}")).await else {
                    return;
                };
                let found = examine(slug, status, &body);
                merge(&mut served.lock(), &found);
                count.send_modify(|count| *count += 1);
            }
        });
    }
    let (asked, written) = (Arc::clone(&program), Arc::clone(written));
    tasks.spawn(async move {
        loop {
            let served = served.lock().clone();
            let Ok(state) = asked.try_state().await else {
                return;
            };
            let disk = &state["disk"];
            assert_eq!(
                (&disk["dropped"], &disk["evicted"]),
                (&0.into(), &0.into()),
                "{disk}"
            );
            assert_eq!(disk["problem"], serde_json::Value::Null);
            if disk["pending"] == 0 {
                merge(&mut written.lock(), &served);
            }
        }
    });
    let enough = timeout(PATIENCE, counted.wait_for(|count| *count >= pages)).await;
    let is_enough = enough.is_ok_and(|count| count.is_ok());
    if is_enough {
        tokio::time::sleep(longer).await;
        program.send_kill();
    }
    // a reader that found something wrong says so first
    while let Some(ended) = timeout(PATIENCE, tasks.join_next())
        .await
        .expect("they end")
    {
        ended.expect("every whole page is right");
    }
    assert!(is_enough, "{pages} pages do not come:\n{}", program.log());
    let program = Arc::into_inner(program).expect("all tasks have ended");
    program.kill()
}
