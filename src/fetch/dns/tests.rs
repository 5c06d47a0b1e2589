//! The resolver in front of a scripted name server, in paused time.

use std::collections::HashMap;

use tokio::time::{advance, timeout};

use super::*;

const TTL: Duration = Duration::from_secs(30);
const ROUND_TRIP: Duration = Duration::from_millis(1);
const SHORT: Duration = Duration::from_millis(10);
const LONG: Duration = Duration::from_secs(3600);

/// What a name server does with a name.
#[derive(Clone)]
enum Says {
    These(&'static [&'static str]),
    After(Duration, &'static [&'static str]),
    NoSuchName,
    Nothing,
}

/// A name server, and the resolver that asks it.
struct Network {
    says: Arc<Mutex<HashMap<String, Says>>>,
    asked: Arc<Mutex<Vec<String>>>,
    tasks: TaskTracker,
    resolver: Resolver,
}

fn network() -> Network {
    let says: Arc<Mutex<HashMap<String, Says>>> = Arc::default();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let (server, log) = (Arc::clone(&says), Arc::clone(&asked));
    let look_up = move |name: String| {
        let says = server.lock().get(&name).cloned();
        log.lock().push(name);
        answer(says.unwrap_or(Says::NoSuchName)).boxed()
    };
    let tasks = TaskTracker::new();
    Network {
        says,
        asked,
        resolver: Resolver::new(Arc::new(look_up), Clock::start(), tasks.clone()).with_ttl(TTL),
        tasks,
    }
}

async fn answer(says: Says) -> io::Result<Vec<IpAddr>> {
    tokio::time::sleep(ROUND_TRIP).await;
    let addresses = match says {
        Says::These(addresses) => addresses,
        Says::After(pause, addresses) => {
            tokio::time::sleep(pause).await;
            addresses
        }
        Says::NoSuchName => {
            return Err(io::Error::other(format!("{SYSTEM_PREFIX}no such name")));
        }
        Says::Nothing => std::future::pending().await,
    };
    Ok(addresses.iter().map(|text| text.parse().unwrap()).collect())
}

impl Network {
    fn says(&self, name: &str, says: Says) {
        self.says.lock().insert(name.to_owned(), says);
    }

    /// What the resolver says within a short time.
    async fn ask(&self, name: &str) -> String {
        match timeout(SHORT, self.resolver.addresses(name)).await {
            Err(_) => "nothing yet".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Ok(Ok(addresses)) => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                addresses.join(" ")
            }
        }
    }

    /// How often the name server has been asked for it.
    fn look_ups(&self, name: &str) -> usize {
        self.asked
            .lock()
            .iter()
            .filter(|asked| *asked == name)
            .count()
    }

    /// Lets the look-ups that can end do so.
    async fn settle(&self) {
        tokio::time::sleep(SHORT).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_good_for_its_time_and_then_renewed_behind_the_readers_back() {
    let net = network();
    net.says("cms", Says::These(&["10.0.0.1"]));
    assert_eq!(net.ask("cms").await, "10.0.0.1");
    advance(TTL - SHORT).await;
    net.says("cms", Says::These(&["10.0.0.2"]));
    assert_eq!(net.ask("cms").await, "10.0.0.1");
    assert_eq!(net.look_ups("cms"), 1);
    advance(SHORT).await;
    assert_eq!(
        net.ask("cms").await,
        "10.0.0.1",
        "nobody waits for the new one"
    );
    net.settle().await;
    assert_eq!(net.ask("cms").await, "10.0.0.2");
    assert_eq!(net.look_ups("cms"), 2);
}

#[tokio::test(start_paused = true)]
async fn the_last_answer_is_kept_while_the_name_server_fails_or_stalls() {
    for sick in [Says::NoSuchName, Says::Nothing, Says::These(&[])] {
        let net = network();
        net.says("cms", Says::These(&["10.0.0.1"]));
        net.ask("cms").await;
        net.says("cms", sick);
        for _ in 0..100 {
            advance(LONG).await;
            assert_eq!(net.ask("cms").await, "10.0.0.1");
            net.settle().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_server_that_stalls_is_asked_once_and_one_that_fails_once_a_second() {
    let net = network();
    for name in ["stalls", "fails"] {
        net.says(name, Says::These(&["10.0.0.1"]));
        net.ask(name).await;
    }
    net.says("stalls", Says::Nothing);
    net.says("fails", Says::NoSuchName);
    advance(TTL).await;
    for _ in 0..100 {
        net.ask("stalls").await;
        net.ask("fails").await;
        net.settle().await;
        advance(Duration::from_millis(90)).await;
    }
    assert_eq!(net.look_ups("stalls"), 2);
    let fails = net.look_ups("fails");
    assert!((10..=12).contains(&fails), "{fails}");
    assert_eq!(net.tasks.len(), 1, "one look-up is held by what stalls");
}

#[tokio::test(start_paused = true)]
async fn the_first_look_up_is_shared_and_outlives_those_who_wait() {
    let net = network();
    net.says("cms", Says::After(LONG, &["10.0.0.1"]));
    let patient = futures::future::join_all((0..50).map(|_| net.resolver.addresses("cms")));
    let impatient = async {
        for _ in 0..50 {
            assert_eq!(net.ask("cms").await, "nothing yet");
        }
    };
    let (found, ()) = tokio::join!(patient, impatient);
    assert!(found.iter().all(Result::is_ok));
    assert_eq!(net.look_ups("cms"), 1);

    net.says("slow", Says::After(LONG, &["10.0.0.2"]));
    assert_eq!(net.ask("slow").await, "nothing yet");
    advance(LONG).await;
    net.settle().await;
    assert_eq!(net.ask("slow").await, "10.0.0.2");
    assert_eq!(net.look_ups("slow"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_first_look_up_that_fails_is_told_to_all_who_wait_and_made_again_for_the_next() {
    let net = network();
    let all = futures::future::join_all((0..20).map(|_| net.ask("cms"))).await;
    for said in all {
        assert_eq!(said, "cms cannot be looked up: no such name");
    }
    assert_eq!(net.look_ups("cms"), 1);
    net.says("cms", Says::These(&[]));
    assert_eq!(
        net.ask("cms").await,
        "cms cannot be looked up: it has no addresses"
    );
    net.says("cms", Says::These(&["10.0.0.1"]));
    assert_eq!(net.ask("cms").await, "10.0.0.1");
    assert_eq!(net.look_ups("cms"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_stalls_delays_no_other() {
    let net = network();
    net.says("reco", Says::Nothing);
    net.says("cms", Says::These(&["10.0.0.1"]));
    assert_eq!(net.ask("reco").await, "nothing yet");
    assert_eq!(net.ask("cms").await, "10.0.0.1");
    assert_eq!(net.ask("reco").await, "nothing yet");
    assert_eq!((net.look_ups("reco"), net.tasks.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn every_address_is_tried_first_in_turn() {
    let net = network();
    net.says("cms", Says::These(&["10.0.0.1", "10.0.0.2"]));
    for expected in [
        "10.0.0.1 10.0.0.2",
        "10.0.0.2 10.0.0.1",
        "10.0.0.1 10.0.0.2",
    ] {
        assert_eq!(net.ask("cms").await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_known_is_known_to_all_and_good_for_as_long_as_each_says() {
    let net = network();
    let patient = Network {
        resolver: net.resolver.with_ttl(LONG),
        says: Arc::clone(&net.says),
        asked: Arc::clone(&net.asked),
        tasks: net.tasks.clone(),
    };
    net.says("cms", Says::These(&["10.0.0.1"]));
    net.ask("cms").await;
    advance(TTL).await;
    for (who, expected) in [(&patient, 1), (&net, 2)] {
        assert_eq!(who.ask("cms").await, "10.0.0.1");
        net.settle().await;
        assert_eq!(net.look_ups("cms"), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn names_are_limited_and_the_one_longest_unused_is_forgotten() {
    let net = network();
    let names: Vec<String> = (0..NAMES_MAX).map(|n| format!("cms-{n}")).collect();
    for name in &names {
        net.says(name, Says::These(&["10.0.0.1"]));
        net.ask(name).await;
    }
    net.says("one-more", Says::These(&["10.0.0.2"]));
    net.ask(&names[0]).await;
    assert_eq!(net.ask("one-more").await, "10.0.0.2");
    for (name, look_ups) in [(0, 1), (2, 1), (1, 2)] {
        net.ask(&names[name]).await;
        assert_eq!(net.look_ups(&names[name]), look_ups, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn look_ups_are_limited() {
    let net = network();
    for n in 0..NAMES_MAX {
        let name = format!("cms-{n}");
        net.says(&name, Says::Nothing);
        net.ask(&name).await;
    }
    let said = net.ask("one-more").await;
    let why = "too many names are being looked up";
    assert_eq!(said, format!("one-more cannot be looked up: {why}"));
    assert_eq!((net.look_ups("one-more"), net.tasks.len()), (0, NAMES_MAX));
}
