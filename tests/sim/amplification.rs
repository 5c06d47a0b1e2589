//! What trouble costs: retries and hedges add a bounded share of requests, and one slow replica of three
//! is hardly noticed.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use marbre::fetch::Origin;
use tokio::time::{sleep, sleep_until};

use crate::origin::{FakeOrigin, Fault};
use crate::service::{Course, Service};
use crate::stage::{Stage, declaration};
use crate::virtual_time;

/// Asks for fifty pages a second for a minute; requests of fragments, attempts, failovers.
async fn total_failure(replicas: usize, keys: &str, fault: Fault) -> (u64, u64, u64) {
    let urls: Vec<String> = (0..replicas)
        .map(|n| format!("\"http://b-{n}.invalid\""))
        .collect();
    let text = declaration(&[("a", "\"core\""), ("b", "40")])
        .replace("[fragments.b]", "[fragments.b]\nttl = \"0s\"")
        .replace(
            "urls = [\"http://b.invalid\"]",
            &format!("urls = [{}]", urls.join(", ")),
        )
        .replace("[origins.b]", &format!("[origins.b]\n{keys}"));
    let stage = Stage::with_replicas(&text, &["a", "b"], |spec| {
        let fault = if spec.name == "b" { fault } else { Fault::None };
        let replica = || Arc::new(FakeOrigin::always(fault)) as Arc<dyn Origin>;
        spec.replicas.iter().map(|_| replica()).collect()
    });
    for _ in 0..3000 {
        stage.ask(0).await;
        sleep(Duration::from_millis(20)).await;
    }
    let counts = stage.origin_state("b").counts;
    (counts.requests, counts.attempts, counts.failovers)
}

#[test]
fn under_total_failure_retries_add_a_fifth_at_most() {
    for (replicas, fault) in [
        (1, Fault::Status(503)),
        (1, Fault::Refused),
        (6, Fault::Refused),
    ] {
        virtual_time(async move {
            // nothing but the budget holds them
            let keys = "breaker.enabled = false\nretry.attempts = 5";
            let (requests, attempts, failovers) = total_failure(replicas, keys, fault).await;
            assert_eq!(requests, 3000, "{fault:?}");
            // what could not be reached has not been asked
            assert!(
                failovers <= requests + 50,
                "{replicas} {fault:?}: {failovers}"
            );
            let asked = (attempts - failovers) as f64 / requests as f64;
            assert!(asked <= 1.2, "{replicas} {fault:?}: {asked:.3}");
            let is_used = asked > 1.1 || replicas > 1;
            assert!(
                is_used,
                "a budget that is never used proves nothing: {asked:.3}"
            );
            // and with the breaker there is next to nothing
            let keys = "retry.attempts = 5";
            let (requests, attempts, failovers) = total_failure(replicas, keys, fault).await;
            let attempts = attempts - failovers;
            assert!(
                attempts * 50 <= requests,
                "{replicas} {fault:?}: {attempts} of {requests}"
            );
        });
    }
}

/// Pages a second.
const RATE: f64 = 40.0;

/// What 99 of 100 pages take at most, and how many attempts and hedges there were for how many requests.
async fn three_replicas(seed: u64, slower: f64, keys: &str) -> (Duration, u64, u64, u64) {
    let course = Course::seconds(20, 60, 0);
    let text = declaration(&[("a", "\"core\"")])
        .replace("urls = [\"http://a.invalid\"]", keys)
        .replace("[fragments.a]", "[fragments.a]\nttl = \"0s\"");
    let stage = Stage::with_replicas(&text, &["a"], |spec| {
        let replicas = (0..spec.replicas.len()).map(|replica| {
            let times = if replica == 1 { slower } else { 1.0 };
            let service = Service::new("a", seed, None, course, replica).slower(times);
            Arc::new(service) as Arc<dyn Origin>
        });
        replicas.collect()
    });
    let mut rng = Rng::with_seed(seed);
    let (mut next, mut pages, mut took) = (course.begins, FuturesUnordered::new(), Vec::new());
    while next < course.ends {
        let stage = &stage;
        tokio::select! {
            biased;
            Some((at, duration)) = pages.next() => took.push((at, duration)),
            () = sleep_until(next) => {
                let at = next;
                pages.push(async move { (at, stage.ask(0).await.report.duration) });
                next += Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / RATE);
            }
        }
    }
    took.extend(pages.collect::<Vec<_>>().await);
    // from when one replica is slow
    took.retain(|(at, _)| *at >= course.sick_from);
    let mut took: Vec<Duration> = took.into_iter().map(|(_, took)| took).collect();
    took.sort_unstable();
    let counts = stage.origin_state("a").counts;
    (
        took[took.len() * 99 / 100],
        counts.requests,
        counts.attempts,
        counts.hedges,
    )
}

const THREE: &str =
    "urls = [\"http://a-0.invalid\", \"http://a-1.invalid\", \"http://a-2.invalid\"]";

#[test]
fn one_slow_replica_of_three_is_hardly_noticed_and_hedges_are_few() {
    let mut ratios = Vec::new();
    for seed in 0..12 {
        virtual_time(async {
            fastrand::seed(seed);
            let (healthy, ..) = three_replicas(seed, 1.0, THREE).await;
            fastrand::seed(seed);
            let (p99, requests, attempts, hedges) = three_replicas(seed, 20.0, THREE).await;
            let ratio = p99.as_secs_f64() / healthy.as_secs_f64();
            eprintln!(
                "seed {seed}: p99 {healthy:?} → {p99:?}, {ratio:.2}; {hedges} hedges for {requests}"
            );
            assert!(
                hedges * 20 <= requests,
                "seed {seed}: {hedges} of {requests}"
            );
            assert!(
                attempts <= requests + hedges,
                "seed {seed}: {attempts} of {requests}"
            );
            assert!(
                hedges > 10,
                "seed {seed}: hedges that are never made prove nothing"
            );
            ratios.push((ratio, seed));
        });
    }
    let worst = ratios
        .iter()
        .copied()
        .fold((0.0, 0), |a: (f64, u64), b| if b.0 > a.0 { b } else { a });
    assert!(
        worst.0 <= 1.3,
        "p99 is {:.2} times the healthy one in seed {}",
        worst.0,
        worst.1
    );
}

#[test]
fn all_replicas_slow_at_once_cost_no_more_than_the_share_of_hedges() {
    virtual_time(async {
        fastrand::seed(1);
        let keys = format!("{THREE}\nhedge_budget = 5\nbreaker.enabled = false");
        let text = keys.as_str();
        let course = Course::seconds(20, 60, 0);
        let declaration = declaration(&[("a", "\"core\"")])
            .replace("urls = [\"http://a.invalid\"]", text)
            .replace("[fragments.a]", "[fragments.a]\nttl = \"0s\"");
        let stage = Stage::with_replicas(&declaration, &["a"], |spec| {
            let replicas = (0..spec.replicas.len()).map(|replica| {
                let service = Service::new("a", 1, None, course, replica).slower(8.0);
                Arc::new(service) as Arc<dyn Origin>
            });
            replicas.collect()
        });
        for _ in 0..2000 {
            stage.ask(0).await;
        }
        let counts = stage.origin_state("a").counts;
        assert!(counts.hedges * 20 <= counts.requests, "{counts:?}");
    });
}
