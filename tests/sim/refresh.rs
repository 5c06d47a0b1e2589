//! When an origin is asked again: before a hot copy goes stale, not all at once, and not at once
//! after a failure.

use std::time::Duration;

use crate::origin::{FakeOrigin, Fault};
use crate::stage::{Stage, declaration};
use crate::virtual_time;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn site(keys: &str, origin: FakeOrigin) -> Stage {
    // what is asked again within one flight is another matter
    let text = declaration(&[("a", "\"core\"")])
        .replace("[origins.a]", "[origins.a]\nretry.attempts = 1")
        .replace("[fragments.a]", &format!("[fragments.a]\n{keys}"));
    Stage::build(&text, &["a"], |_| origin.clone())
}

#[test]
fn a_hot_copy_is_renewed_before_it_goes_stale_and_nobody_waits() {
    for seed in 0..20 {
        fastrand::seed(seed);
        virtual_time(async {
            let keys = "early_refresh = true\njitter = 0\nttl = \"10s\"\ngrace = \"1h\"";
            let origin = FakeOrigin::always(Fault::Slow(ms(250)));
            let stage = site(keys, origin.clone());
            assert_eq!(stage.ask(0).await.outcome("a"), "fetched");
            origin.asked();
            let mut cached = 0;
            // ten lifetimes, asked for twenty times a second
            for _ in 0..2000 {
                tokio::time::sleep(ms(50)).await;
                let page = stage.ask(0).await;
                cached += usize::from(page.outcome("a") == "cached");
            }
            let renewed = origin.asked().len();
            assert!(
                (10..=14).contains(&renewed),
                "seed {seed}: {renewed} renewals"
            );
            assert!(
                cached >= 1990,
                "seed {seed}: {cached} of 2000 waited for nothing"
            );
        });
    }
}

#[test]
fn without_early_refresh_each_lifetime_ends_with_a_page_that_waits() {
    virtual_time(async {
        let origin = FakeOrigin::always(Fault::Slow(ms(250)));
        let stage = site("jitter = 0\nttl = \"10s\"", origin.clone());
        let mut fetched = 0;
        for _ in 0..2000 {
            fetched += usize::from(stage.ask(0).await.outcome("a") == "fetched");
            tokio::time::sleep(ms(50)).await;
        }
        assert!((10..=11).contains(&fetched), "{fetched}");
    });
}

#[test]
fn copies_of_one_moment_go_stale_at_different_times() {
    fastrand::seed(7);
    virtual_time(async {
        let origin = FakeOrigin::always(Fault::None);
        let text = declaration(&[("a", "\"core\"")])
            .replace("source = \"a:/a\"", "source = \"a:/a?{id}\"")
            .replace(
                "[fragments.a]",
                "[fragments.a]\njitter = 10\nttl = \"100s\"",
            );
        let stage = Stage::build(&text, &["a"], |_| origin.clone());
        let pages: Vec<String> = (0..200).map(|n| format!("/p/{n}")).collect();
        for path in &pages {
            stage.read(path, 0).await;
        }
        assert_eq!(origin.asked().len(), 200);
        let mut asked = Vec::new();
        for second in 1..=100 {
            tokio::time::sleep(ms(1000)).await;
            for path in &pages {
                stage.read(path, 0).await;
            }
            asked.push((second, origin.asked().len()));
        }
        let early: usize = asked.iter().filter(|(s, _)| *s < 90).map(|(_, n)| n).sum();
        let all: usize = asked.iter().map(|(_, n)| n).sum();
        let most = asked.iter().map(|(_, n)| n).max().unwrap();
        assert_eq!((early, all), (0, 200), "none before nine tenths of the ttl");
        assert!(*most < 60, "{most} in one second: {asked:?}");
    });
}

#[test]
fn after_a_failure_the_origin_is_left_alone_for_a_while() {
    virtual_time(async {
        let origin = FakeOrigin::always(Fault::Refused);
        let stage = site("ttl = \"10s\"", origin.clone());
        // two pages a millisecond, for a second
        for _ in 0..1000 {
            let (one, two) = tokio::join!(stage.ask(0), stage.ask(0));
            assert_eq!((one.report.status, two.report.status), (503, 503));
            tokio::time::sleep(ms(1)).await;
        }
        let asked = origin.asked().len();
        assert!((4..=8).contains(&asked), "asked {asked} times");
    });
}

#[test]
fn personal_answers_are_waited_for_by_nobody_else() {
    virtual_time(async {
        let says = [(http::header::CACHE_CONTROL, "private")];
        let origin = FakeOrigin::always(Fault::Slow(ms(100))).saying(&says);
        let stage = site("ttl = \"10s\"", origin.clone());
        stage.ask(0).await;
        // two that come together take no longer than one: neither waits for the other's answer first
        let (one, two) = tokio::join!(stage.ask(0), stage.ask(0));
        assert_eq!(one.report.duration, ms(100));
        assert_eq!(two.report.duration, ms(100));
        assert_eq!(origin.asked().len(), 3);
    });
}
