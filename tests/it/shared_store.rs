//! The shared store: what is put is found by every node, nothing newer is lost, messages arrive,
//! and a store that is away, frozen, full or strange costs nobody anything. Real servers.

use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use marbre::cache::CopyId;
use marbre::cache::shared::{
    Lease, MESSAGE_BYTES_MAX, Settings, Shared, SharedError, SharedState, Stamp,
};
use marbre::clock::Clock;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::Valkey;

/// Long enough for a busy machine; where it must run out, the test says so.
const TIMEOUT: Duration = Duration::from_millis(900);

const KEEP: Duration = Duration::from_secs(600);

/// One node's side of the store.
struct Node {
    shared: Shared,
    inbox: mpsc::Receiver<Bytes>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn settings(url: &str) -> Settings {
    Settings {
        url: url.to_owned(),
        prefix: "news".to_owned(),
        timeout: TIMEOUT,
    }
}

fn node(url: &str) -> Node {
    node_with(settings(url))
}

fn node_with(settings: Settings) -> Node {
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let shared = Shared::connect(settings, Clock::start(), &tasks, stop.clone()).unwrap();
    let inbox = shared.messages().expect("it was not taken before");
    assert!(shared.messages().is_none(), "it is taken once");
    Node {
        shared,
        inbox,
        stop,
        tasks,
    }
}

impl Node {
    /// Connected for everything.
    async fn up(self) -> Self {
        self.until("all connections", |s| s.reading && s.writing && s.listening)
            .await;
        self
    }

    /// Polls the state until it is so.
    async fn until(&self, what: &str, is_so: impl Fn(&SharedState) -> bool) -> SharedState {
        for _ in 0..6000 {
            let state = self.shared.state();
            if is_so(&state) {
                return state;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("waited in vain for {what}: {:#?}", self.shared.state());
    }

    /// Puts a frame and waits until it is written, or refused as older.
    async fn put(&self, id: CopyId, stamp: Stamp, frame: &str) {
        let before = self.shared.state();
        self.shared.put(id, stamp, KEEP, frame.to_owned().into());
        let before = before.stored + before.older;
        self.until("the put", |s| s.stored + s.older > before).await;
    }

    async fn get(&self, id: CopyId) -> Option<String> {
        let frame = self.shared.get(id).await?;
        Some(String::from_utf8(frame.into()).unwrap())
    }

    /// Polls until the frame is found.
    async fn found(&self, id: CopyId, frame: &str) {
        for _ in 0..6000 {
            if self.get(id).await.as_deref() == Some(frame) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("asked in vain: {:#?}", self.shared.state());
    }

    async fn message(&mut self) -> String {
        let message = tokio::time::timeout(Duration::from_secs(30), self.inbox.recv());
        let message = message.await.expect("a message arrives").unwrap();
        String::from_utf8(message.into()).unwrap()
    }
}

fn id(name: &str) -> CopyId {
    CopyId::named(name)
}

/// Stored at `at`, begun at the same time.
fn at(at: u64) -> Stamp {
    Stamp {
        version: None,
        stored_at: at,
        began: at,
    }
}

fn key(id: CopyId) -> String {
    format!("news:{{{id}}}")
}

#[tokio::test]
async fn what_one_node_puts_another_finds_until_it_is_removed() {
    let store = Valkey::start();
    let (one, two) = (node(&store.url()).up().await, node(&store.url()).up().await);
    assert_eq!(two.get(id("a")).await, None);
    one.put(id("a"), at(1), "la une").await;
    assert_eq!(two.get(id("a")).await.as_deref(), Some("la une"));
    assert_eq!(two.get(id("b")).await, None);

    let left: u64 = store
        .command(&["PTTL", &key(id("a"))])
        .trim_start_matches(':')
        .parse()
        .unwrap();
    assert!((1..=600_000).contains(&left), "{left} ms are left");

    let big = "x".repeat(3 << 20);
    one.put(id("big"), at(1), &big).await;
    assert!(
        two.get(id("big")).await == Some(big),
        "three MiB come back as they were"
    );
    one.put(id("empty"), at(1), "").await;
    assert_eq!(two.get(id("empty")).await.as_deref(), Some(""));

    one.shared.remove(id("a"));
    store
        .wait_for("the removal", |s| {
            s.command(&["EXISTS", &key(id("a"))]) == ":0"
        })
        .await;
    assert_eq!(two.get(id("a")).await, None);

    let state = two.shared.state();
    assert_eq!((state.hits, state.misses), (3, 3));
    assert_eq!((state.timeouts, state.errors, state.skipped), (0, 0, 0));
    assert_eq!(one.shared.state().stored, 3);
}

#[tokio::test]
async fn an_older_frame_never_replaces_a_newer_one() {
    let store = Valkey::start();
    let node = node(&store.url()).up().await;
    let stamp = |version, stored_at, began| Stamp {
        version,
        stored_at,
        began,
    };
    let big = u64::MAX - 1;
    // known, incoming, and whether the incoming one stays
    let cases = [
        // by time: unless the known one was stored after the incoming one began
        (stamp(None, 100, 90), stamp(None, 120, 110), true),
        (stamp(None, 100, 90), stamp(None, 120, 100), true),
        (stamp(None, 100, 90), stamp(None, 120, 99), false),
        // as numbers, not as text, and beyond what a double holds
        (stamp(None, 9, 9), stamp(None, 10, 10), true),
        (stamp(None, 10, 10), stamp(None, 9, 9), false),
        (
            stamp(None, (1 << 53) + 1, 0),
            stamp(None, 0, 1 << 53),
            false,
        ),
        // by version where both have one, whatever the time says
        (stamp(Some(7), 900, 900), stamp(Some(8), 1, 1), true),
        (stamp(Some(8), 1, 1), stamp(Some(7), 900, 900), false),
        // by time where both have the same
        (stamp(Some(7), 900, 900), stamp(Some(7), 1, 1), false),
        (stamp(Some(7), 1, 1), stamp(Some(7), 900, 900), true),
        (stamp(Some(10), 1, 1), stamp(Some(9), 2, 2), false),
        (stamp(Some(big + 1), 1, 1), stamp(Some(big), 2, 2), false),
        (stamp(Some(0), 5, 5), stamp(Some(0), 5, 5), true),
        // by time where one has none
        (stamp(Some(7), 100, 100), stamp(None, 101, 101), true),
        (stamp(Some(7), 100, 100), stamp(None, 99, 99), false),
        (stamp(None, 100, 100), stamp(Some(1), 101, 101), true),
        (stamp(None, 100, 100), stamp(Some(1), 99, 99), false),
    ];
    for (number, (known, incoming, stays)) in cases.into_iter().enumerate() {
        let id = id(&format!("case {number}"));
        node.put(id, known, "known").await;
        node.put(id, incoming, "incoming").await;
        let expected = if stays { "incoming" } else { "known" };
        let found = node.get(id).await;
        assert_eq!(found.as_deref(), Some(expected), "{known:?}, {incoming:?}");
    }
    let kept = cases.iter().filter(|(_, _, stays)| !stays).count() as u64;
    let state = node.shared.state();
    assert_eq!(
        (state.older, state.stored),
        (kept, 2 * cases.len() as u64 - kept)
    );
}

#[tokio::test]
async fn one_node_at_a_time_holds_a_lease_and_only_it_gives_it_back() {
    let store = Valkey::start();
    let (one, two) = (node(&store.url()).up().await, node(&store.url()).up().await);
    let lease = Duration::from_secs(60);
    assert_eq!(
        one.shared.get_or_lease(id("a"), lease).await,
        (None, Lease::Mine)
    );
    assert_eq!(
        two.shared.get_or_lease(id("a"), lease).await,
        (None, Lease::Others)
    );
    assert_eq!(
        two.shared.get_or_lease(id("b"), lease).await.1,
        Lease::Mine,
        "each its own"
    );

    // what does not hold it cannot give it back; the put behind it says when that was tried
    two.shared.release(id("a"));
    two.put(id("c"), at(1), "c").await;
    assert_eq!(
        two.shared.get_or_lease(id("a"), lease).await.1,
        Lease::Others
    );

    // the frame is there before the lease is free
    one.shared.put(id("a"), at(1), KEEP, Bytes::from("fresh"));
    one.shared.release(id("a"));
    store
        .wait_for("the release", |s| {
            s.command(&["EXISTS", &format!("{}:lease", key(id("a")))]) == ":0"
        })
        .await;
    let (frame, lease_of_two) = two.shared.get_or_lease(id("a"), lease).await;
    assert_eq!(
        (frame, lease_of_two),
        (Some(Bytes::from("fresh")), Lease::Mine)
    );

    // a node that dies gives it back by not coming back
    let short = Duration::from_millis(50);
    assert_eq!(one.shared.get_or_lease(id("d"), short).await.1, Lease::Mine);
    store
        .wait_for("the end of the lease", |s| {
            s.command(&["EXISTS", &format!("{}:lease", key(id("d")))]) == ":0"
        })
        .await;
    assert_eq!(two.shared.get_or_lease(id("d"), short).await.1, Lease::Mine);
}

#[tokio::test]
async fn messages_reach_every_other_node_once_and_in_order() {
    let store = Valkey::start();
    let mut one = node(&store.url()).up().await;
    let mut two = node(&store.url()).up().await;
    for number in 0..300 {
        one.shared.publish(format!("one {number}").into());
        two.shared.publish(format!("two {number}").into());
    }
    for number in 0..300 {
        assert_eq!(one.message().await, format!("two {number}"));
        assert_eq!(two.message().await, format!("one {number}"));
    }
    // whoever starts later learns what was said before, and the next is the next
    let mut three = node(&store.url());
    let mut heard = Vec::new();
    for _ in 0..600 {
        heard.push(three.message().await);
    }
    heard.sort();
    heard.dedup();
    assert_eq!(heard.len(), 600);
    three.shared.publish("from three".into());
    assert_eq!(one.message().await, "from three");
    assert_eq!(two.message().await, "from three");
    one.shared.publish("last".into());
    assert_eq!(three.message().await, "last");

    one.shared.publish(vec![b'x'; MESSAGE_BYTES_MAX + 1].into());
    one.shared.publish("after".into());
    assert_eq!(three.message().await, "after");
    let state = one.until("its count", |s| s.messages_out == 302).await;
    assert_eq!(state.dropped, 1, "too long a message is dropped");
}

#[tokio::test]
async fn cut_connections_lose_no_message_and_deliver_none_twice() {
    let store = Valkey::start();
    let one = node(&store.url()).up().await;
    let mut two = node(&store.url()).up().await;
    for round in 0..3 {
        for number in 0..20 {
            one.shared.publish(format!("{round}.{number}").into());
            if number == 10 {
                store.command(&["CLIENT", "KILL", "TYPE", "normal"]);
            }
        }
        for number in 0..20 {
            assert_eq!(two.message().await, format!("{round}.{number}"));
        }
    }
    // nothing is left over
    one.shared.publish("end".into());
    assert_eq!(two.message().await, "end");
    assert!(two.inbox.try_recv().is_err());
    // and reading goes on, after at most the one question that finds the connection cut
    one.put(id("a"), at(1), "a").await;
    two.found(id("a"), "a").await;
}

#[tokio::test]
async fn what_is_said_while_the_store_is_away_is_said_when_it_is_back() {
    let mut store = Valkey::start();
    let one = node(&store.url()).up().await;
    let mut two = node(&store.url()).up().await;
    one.shared.publish("before".into());
    assert_eq!(two.message().await, "before");

    store.kill();
    one.until("its absence", |s| !s.writing).await;
    one.shared.publish("purge".into());
    one.shared
        .put(id("a"), at(1), KEEP, Bytes::from("kept for later"));
    one.shared.publish("switch".into());
    assert_eq!(one.get(id("a")).await, None);
    let away = one.until("the problem", |s| s.problem.is_some()).await;
    assert!(away.waiting >= 3, "{away:#?}");

    store.restart();
    assert_eq!(two.message().await, "purge");
    assert_eq!(two.message().await, "switch");
    one.found(id("a"), "kept for later").await;
    one.until("the end of it", |s| s.problem.is_none() && s.waiting == 0)
        .await;
}

#[tokio::test]
async fn a_node_starts_without_its_store_and_finds_it_later() {
    let mut store = Valkey::prepare(&[]);
    let node = node(&store.url());
    let lease = Duration::from_secs(1);
    assert_eq!(node.get(id("a")).await, None);
    assert_eq!(
        node.shared.get_or_lease(id("a"), lease).await,
        (None, Lease::Unknown)
    );
    let state = node.until("the problem", |s| s.problem.is_some()).await;
    let problem = state.problem.unwrap();
    assert!(problem.contains("cannot be reached"), "{problem}");
    assert_eq!((state.skipped, state.timeouts, state.misses), (2, 0, 0));

    store.restart();
    let node = node.up().await;
    node.put(id("a"), at(1), "found").await;
    assert_eq!(node.get(id("a")).await.as_deref(), Some("found"));
    assert_eq!(node.shared.state().problem, None);
}

#[tokio::test]
async fn a_frozen_store_costs_a_handful_of_timeouts_in_all() {
    let store = Valkey::start();
    let node = node_with(Settings {
        timeout: Duration::from_millis(100),
        ..settings(&store.url())
    });
    let node = node.up().await;
    node.put(id("a"), at(1), "a").await;
    for _ in 0..5 {
        assert!(node.get(id("a")).await.is_some());
    }
    store.pause();
    let before = node.shared.state();
    for _ in 0..2000 {
        assert_eq!(node.get(id("a")).await, None);
    }
    let frozen = node.shared.state();
    let (timeouts, skipped) = (
        frozen.timeouts - before.timeouts,
        frozen.skipped - before.skipped,
    );
    assert!((1..=5).contains(&timeouts), "{frozen:#?}");
    assert_eq!(timeouts + skipped, 2000);
    assert!(!frozen.reading);
    let problem = frozen.problem.unwrap();
    assert_eq!(problem, "it does not answer within 100 ms");

    // pages go on coming while probes are made, and none of them is the probe
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(node.get(id("a")).await, None);
    }
    assert_eq!(node.shared.state().timeouts, frozen.timeouts);

    store.resume();
    let node = node.up().await;
    assert_eq!(node.get(id("a")).await.as_deref(), Some("a"));
}

#[tokio::test]
async fn those_who_wait_on_a_frozen_store_are_let_go_when_it_is_given_up() {
    let store = Valkey::start();
    let node = node(&store.url()).up().await;
    store.pause();
    let first = futures::future::join_all((0..5).map(|_| node.shared.get(id("a"))));
    let later = async {
        // they would wait for so much longer than the first
        tokio::time::sleep(TIMEOUT / 2).await;
        futures::future::join_all((0..200).map(|_| node.shared.get(id("a")))).await
    };
    let (first, later) = futures::future::join(first, later).await;
    assert!(first.iter().chain(&later).all(Option::is_none));
    let state = node.shared.state();
    assert!(state.timeouts <= 5, "{state:#?}");
    assert_eq!(state.timeouts + state.skipped, 205, "{state:#?}");
    assert!(!state.reading);
}

#[tokio::test]
async fn there_is_a_limit_to_how_many_wait() {
    let store = Valkey::start();
    let node = node(&store.url()).up().await;
    store.pause();
    let calls = (0..300).map(|_| node.shared.get(id("a")));
    let frames = futures::future::join_all(calls).await;
    assert!(frames.iter().all(Option::is_none));
    let state = node.shared.state();
    assert!(state.skipped >= 44, "beyond 256 in flight: {state:#?}");
    assert_eq!(state.timeouts + state.skipped, 300, "{state:#?}");
}

#[tokio::test]
async fn what_is_not_ours_is_a_miss_and_is_overwritten() {
    let store = Valkey::start();
    let node = node(&store.url()).up().await;
    let plain = [
        "",
        "x",
        "mb1:",
        "<html>not ours, and longer than any stamp that we write in front</html>",
        "mb1:99999999999999999999:99999999999999999999;frame",
        "mb1:9:99999999999999999999999999999999999999:frame",
    ];
    let mut ids = Vec::new();
    for (number, value) in plain.iter().enumerate() {
        ids.push(id(&format!("plain {number}")));
        store.command(&["SET", &key(ids[number]), value]);
    }
    let (list, hash) = (id("list"), id("hash"));
    store.command(&["RPUSH", &key(list), "x"]);
    store.command(&["HSET", &key(hash), "f", "x"]);
    ids.extend([list, hash]);
    for id in &ids {
        assert_eq!(node.get(*id).await, None);
        let leased = node.shared.get_or_lease(*id, Duration::from_secs(9)).await;
        assert_eq!(leased, (None, Lease::Mine));
        node.put(*id, at(1), "ours").await;
        assert_eq!(node.get(*id).await.as_deref(), Some("ours"));
    }
    let state = node.shared.state();
    assert_eq!(
        (state.errors, state.misses, state.problem),
        (0, 2 * ids.len() as u64, None)
    );
    assert_eq!(state.stored, ids.len() as u64);
}

#[tokio::test]
async fn a_strange_log_is_read_over_and_a_log_that_is_none_says_so() {
    let store = Valkey::start();
    store.command(&["XADD", "news:log", "*", "hello", "world"]);
    store.command(&["XADD", "news:log", "*", "n", "x", "s", "-1", "m", "bad"]);
    store.command(&["XADD", "news:log", "*", "n", "x", "s", "1", "m", "good"]);
    let mut one = node(&store.url()).up().await;
    assert_eq!(one.message().await, "good");

    store.command(&["DEL", "news:log"]);
    store.command(&["SET", "news:log", "not a log"]);
    one.shared.publish("lost".into());
    let state = one.until("the problem", |s| s.problem.is_some()).await;
    let problem = state.problem.unwrap();
    assert!(problem.contains("choose another prefix"), "{problem}");
    one.put(id("a"), at(1), "a").await;
    assert_eq!(one.get(id("a")).await.as_deref(), Some("a"));
    assert_eq!(
        one.shared.state().dropped,
        1,
        "the message does not block what follows"
    );
}

#[tokio::test]
async fn a_full_store_still_answers_and_says_what_to_do() {
    let store = Valkey::start();
    let node = node(&store.url()).up().await;
    node.put(id("a"), at(1), "a").await;
    store.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    store.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let dropped = node.shared.state().dropped;
    node.shared.put(id("b"), at(1), KEEP, Bytes::from("b"));
    let state = node.until("the drop", |s| s.dropped > dropped).await;
    let problem = state.problem.unwrap();
    assert!(problem.contains("maxmemory"), "{problem}");
    let lease = Duration::from_secs(1);
    let (frame, lease) = node.shared.get_or_lease(id("a"), lease).await;
    assert_eq!(
        (frame, lease),
        (Some(Bytes::from("a")), Lease::Unknown),
        "reading goes on"
    );
    assert!(node.shared.state().reading);

    // a message waits for room
    node.shared.publish("later".into());
    store.command(&["CONFIG", "SET", "maxmemory", "0"]);
    node.until("the message", |s| s.messages_out == 1).await;
    node.put(id("b"), at(1), "b").await;
    assert_eq!(node.shared.get_or_lease(id("b"), KEEP).await.1, Lease::Mine);
    assert_eq!(node.shared.state().problem, None);
}

#[tokio::test]
async fn a_replica_is_read_and_says_that_it_cannot_be_written() {
    let primary = Valkey::start();
    let replica = Valkey::start_replica(&primary);
    let writer = node(&primary.url()).up().await;
    writer.put(id("a"), at(1), "a").await;
    let reader = node(&replica.url()).up().await;
    replica
        .wait_for("the frame", |s| {
            s.command(&["EXISTS", &key(id("a"))]) == ":1"
        })
        .await;
    let lease = Duration::from_secs(1);
    let found = reader.shared.get_or_lease(id("a"), lease).await;
    assert_eq!(found, (Some(Bytes::from("a")), Lease::Unknown));
    reader.shared.put(id("b"), at(1), KEEP, Bytes::from("b"));
    let state = reader.until("the drop", |s| s.dropped == 1).await;
    let problem = state.problem.unwrap();
    assert!(problem.contains("address of the primary"), "{problem}");
}

#[tokio::test]
async fn the_password_opens_the_store_and_is_never_shown() {
    let store = Valkey::start_with(&["--requirepass", "hushhush"]);
    let with = node(&store.url()).up().await;
    with.put(id("a"), at(1), "a").await;
    let shown = serde_json::to_string(&with.shared.state()).unwrap();
    assert!(
        shown.contains(&format!("redis://:***@127.0.0.1:{}", store.port())),
        "{shown}"
    );
    assert!(!shown.contains("hushhush"), "{shown}");

    let asked = [
        (
            format!("redis://127.0.0.1:{}", store.port()),
            "asks for a password",
        ),
        (
            format!("redis://:wrongwrong@127.0.0.1:{}", store.port()),
            "refuses the user or the password",
        ),
    ];
    for (url, expected) in asked {
        let without = node(&url);
        let state = without.until("the problem", |s| s.problem.is_some()).await;
        assert!(!state.reading && !state.writing && !state.listening);
        assert_eq!(without.get(id("a")).await, None);
        let problem = state.problem.as_deref().unwrap();
        assert!(problem.contains(expected), "{problem}");
        let shown = serde_json::to_string(&without.shared.state()).unwrap();
        assert!(!shown.contains("wrongwrong"), "{shown}");
    }
}

/// Set for the process in which the certificate is trusted.
const TLS_URL: &str = "MARBRE_TEST_TLS_URL";

#[tokio::test]
async fn tls_is_spoken_with_a_store_whose_certificate_is_trusted() {
    if let Ok(url) = std::env::var(TLS_URL) {
        let node = node(&url).up().await;
        node.put(id("a"), at(1), "a").await;
        assert_eq!(node.get(id("a")).await.as_deref(), Some("a"));
        println!("stored over {}", node.shared.state().url);
        return;
    }
    let (store, authority) = Valkey::start_tls();
    let url = store.url().replace("redis://", "rediss://");
    let stranger = node(&url);
    let state = stranger.until("the problem", |s| s.problem.is_some()).await;
    let problem = state.problem.unwrap();
    assert!(problem.contains("certificate"), "{problem}");

    // what is trusted is read from the environment, which only another process has another of
    let test = "shared_store::tls_is_spoken_with_a_store_whose_certificate_is_trusted";
    let inside = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(TLS_URL, &url)
        .env("SSL_CERT_FILE", authority.file())
        .output();
    let inside = inside.unwrap();
    let said = String::from_utf8_lossy(&inside.stdout);
    assert!(inside.status.success(), "{said}");
    assert!(said.contains(&format!("stored over {url}")), "{said}");
}

#[tokio::test]
async fn settings_that_cannot_be_used_say_what_and_what_to_write() {
    let connect = |settings| {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        Shared::connect(settings, Clock::start(), &tasks, stop).err()
    };
    let error = connect(settings("http://:hushhush@127.0.0.1")).unwrap();
    assert_eq!(
        error.to_string(),
        "the address of the shared store begins with a scheme that is not known: write \
         redis://HOST:6379 (rediss:// for TLS, redis://:PASSWORD@HOST:6379/DB), \
         redis+sentinel://HOST:26379,HOST:26379/NAME, or redis+cluster://HOST:6379,HOST:6379"
    );
    for url in [
        "redis://:hushhush@127.0.0.1",
        "redis://:hush#hush@127.0.0.1",
    ] {
        let shown = format!("{:?}", settings(url));
        assert!(!shown.contains("hush"), "{shown}");
    }
    for prefix in ["", "two words", "{tag}", "\u{e9}", &"x".repeat(65)] {
        let error = connect(Settings {
            prefix: prefix.to_owned(),
            ..settings("redis://127.0.0.1:1")
        });
        assert_eq!(error, Some(SharedError::Prefix(prefix.to_owned())));
    }
}

#[tokio::test]
async fn sites_with_their_own_prefix_do_not_meet() {
    let store = Valkey::start();
    let news = node(&store.url()).up().await;
    let mut sport = node_with(Settings {
        prefix: "sport".to_owned(),
        ..settings(&store.url())
    });
    sport = sport.up().await;
    news.put(id("a"), at(1), "a").await;
    news.shared.publish("for the news".into());
    let other = node(&store.url()).up().await;
    assert_eq!(sport.get(id("a")).await, None);
    assert_eq!(other.get(id("a")).await.as_deref(), Some("a"));
    other.until("the message", |s| s.messages_in == 1).await;
    assert!(sport.inbox.try_recv().is_err());
}

#[tokio::test]
async fn what_was_promised_before_the_stop_is_written() {
    let store = Valkey::start();
    let one = node(&store.url()).up().await;
    let mut two = node(&store.url()).up().await;
    for number in 0..100 {
        let id = id(&number.to_string());
        one.shared.put(id, at(1), KEEP, Bytes::from("a"));
    }
    one.shared.publish("going".into());
    one.stop.cancel();
    one.tasks.close();
    one.tasks.wait().await;
    assert_eq!(two.message().await, "going");
    assert_eq!(one.shared.state().stored, 100);
}

#[tokio::test]
async fn sentinels_lead_to_the_primary_and_after_its_death_to_the_next() {
    let mut primary = Valkey::start();
    let replica = Valkey::start_replica(&primary);
    let sentinel = Valkey::start_sentinel("paper", &primary);
    sentinel
        .wait_for("a sentinel that knows the replica", |s| {
            let said = s.command(&["INFO", "sentinel"]);
            said.contains("status=ok") && said.contains("slaves=1")
        })
        .await;
    let url = format!("redis+sentinel://127.0.0.1:{}/paper", sentinel.port());
    let one = node(&url).up().await;
    let mut two = node(&url).up().await;
    one.put(id("a"), at(1), "a").await;
    one.shared.publish("before".into());
    assert_eq!(two.message().await, "before");
    replica
        .wait_for("the frame", |s| {
            s.command(&["EXISTS", &key(id("a"))]) == ":1"
        })
        .await;

    primary.kill();
    one.shared.publish("after".into());
    assert_eq!(two.message().await, "after");
    one.found(id("a"), "a").await;
    one.put(id("b"), at(1), "b").await;
    assert_eq!(replica.command(&["EXISTS", &key(id("b"))]), ":1");

    let lost = node(&format!(
        "redis+sentinel://127.0.0.1:{}/nobody",
        sentinel.port()
    ));
    let state = lost.until("the problem", |s| s.problem.is_some()).await;
    let problem = state.problem.unwrap();
    assert!(
        problem.contains("know no primary of that name"),
        "{problem}"
    );
}

#[tokio::test]
async fn a_cluster_is_a_store_too() {
    let store = Valkey::start_cluster();
    let url = format!("redis+cluster://127.0.0.1:{}", store.port());
    let one = node(&url).up().await;
    let mut two = node(&url).up().await;
    for number in 0..50 {
        let id = id(&number.to_string());
        let lease = Duration::from_secs(9);
        let leased = two.shared.get_or_lease(id, lease).await;
        assert_eq!(leased, (None, Lease::Mine));
        one.put(id, at(2), "frame").await;
        one.put(id, at(1), "older").await;
        assert_eq!(two.get(id).await.as_deref(), Some("frame"));
        two.shared.release(id);
    }
    one.shared.publish("to all".into());
    assert_eq!(two.message().await, "to all");
    assert_eq!(two.shared.state().errors, 0);
    assert_eq!(one.shared.state().older, 50);

    store.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    one.shared.publish("again".into());
    assert_eq!(two.message().await, "again");
}
