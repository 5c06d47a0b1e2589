//! Blocks that give way to an origin slower than usual: who goes without, who keeps them, and who finds
//! out how an origin is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures::future::{BoxFuture, FutureExt as _};
use futures::{StreamExt as _, stream::FuturesUnordered};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use marbre::clock::{Clock, Instant};
use marbre::degradation::Reader;
use marbre::fetch::{Origin, OriginRequest, OriginResponse};
use marbre::report::{BreakerState, Cause, OriginChange};
use parking_lot::Mutex;
use tokio::time::{sleep, sleep_until};

use crate::origin::{FakeOrigin, Fault, whole};
use crate::service::lognormal;
use crate::stage::{Asked, Stage};
use crate::virtual_time;

/// A core and blocks, the least important one last, each of an origin of its own; never copied.
fn declaration(names: &[&str]) -> String {
    let mut toml = String::from(
        "[pages.p]\nroute = \"/p/{id}\"\nlayout = \"layout.html\"\nbudget = \"500ms\"\n\
         snapshot_keep = \"0s\"\n",
    );
    for (place, name) in names.iter().enumerate() {
        let priority = match place {
            0 => "\"core\"".to_owned(),
            place => (90 - 10 * place).to_string(),
        };
        let _ = write!(
            toml,
            "[origins.{name}]\nurls = [\"http://{name}.invalid\"]\ntimeout = \"1s\"\n\
             [fragments.{name}]\npriority = {priority}\nsource = \"{name}:/{name}\"\n\
             timeout = \"250ms\"\nttl = \"0s\"\n"
        );
    }
    toml
}

/// Servers with a queue.
struct Station(Mutex<Vec<Instant>>);

impl Station {
    fn new(servers: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(vec![Clock::start().now(); servers])))
    }

    /// Waits for a server and for its work, which is done whether anybody waits or not.
    async fn served(&self, takes: Duration) {
        let now = Clock::start().now();
        let done = {
            let mut free = self.0.lock();
            let first = free.iter_mut().min().expect("there are servers");
            *first = now.max(*first) + takes;
            *first
        };
        sleep_until(done).await;
    }
}

/// An origin that works for a while itself, and then has a station work for it.
struct Backed {
    name: String,
    own: Duration,
    station: Arc<Station>,
    /// What the station does for it, and how many times longer that takes from a moment on.
    job: Duration,
    times: f64,
    slow_from: Instant,
    rng: Mutex<Rng>,
}

impl Origin for Backed {
    fn send(&self, _: OriginRequest) -> BoxFuture<'static, Result<OriginResponse, Cause>> {
        let now = Clock::start().now();
        let factor = lognormal(0.5, &mut self.rng.lock());
        let times = if now >= self.slow_from {
            self.times
        } else {
            1.0
        };
        let (own, job) = (self.own.mul_f64(factor), self.job.mul_f64(factor * times));
        let (station, name) = (Arc::clone(&self.station), self.name.clone());
        async move {
            sleep(own).await;
            station.served(job).await;
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
            let body = Bytes::from(whole(&name));
            Ok(OriginResponse::whole(StatusCode::OK, headers, body))
        }
        .boxed()
    }
}

/// Pages at random moments, `rate` a second for `span`: each is given to `note` with when it was asked
/// for and by whom, which `reader` draws.
async fn load(
    stage: &Stage,
    span: Duration,
    rate: f64,
    rng: &mut Rng,
    mut reader: impl FnMut(&mut Rng) -> (u32, Reader),
    mut note: impl FnMut(Instant, u32, &Asked),
) {
    let begun = Clock::start().now();
    let (mut next, mut number, mut pages) = (begun, 0u32, FuturesUnordered::new());
    loop {
        let is_over = next >= begun + span;
        if is_over && pages.is_empty() {
            return;
        }
        tokio::select! {
            biased;
            Some((at, who, page)) = pages.next(), if !pages.is_empty() => note(at, who, &page),
            () = sleep_until(next), if !is_over => {
                let ((who, reader), at) = (reader(rng), next);
                let path = format!("/p/x#{number}");
                pages.push(async move { (at, who, stage.read_as(reader, &path, 0).await) });
                number += 1;
                next += Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / rate);
            }
        }
    }
}

fn anybody(rng: &mut Rng) -> (u32, Reader) {
    let who = rng.u32(..200);
    (who, Reader::new(&who.to_le_bytes(), 0))
}

const BLOCKS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// What every block takes usually is known from before.
fn usual(stage: &Stage, ms: f64) {
    let fragments = stage.edition.site.fragments.iter();
    let usual = fragments
        .map(|fragment| (fragment.name.clone(), ms))
        .collect();
    stage.edition.fetcher.restore(&usual);
}

/// What of each block was there in the last nine seconds of seventeen in which the database behind all
/// of them is three times slower, and which breakers have opened.
async fn with_a_slow_database(
    seed: u64,
    is_guarded: bool,
) -> (BTreeMap<String, f64>, BTreeSet<String>) {
    const RATE: f64 = 60.0;
    let slow_from = Clock::start().now() + Duration::from_secs(5);
    let (database, seeds) = (Station::new(6), Mutex::new(Rng::with_seed(seed)));
    let stage = Stage::with_replicas(&declaration(&BLOCKS), &BLOCKS, |spec| {
        vec![Arc::new(Backed {
            name: spec.name.clone(),
            own: Duration::from_millis(25),
            station: Arc::clone(&database),
            job: Duration::from_millis(5),
            times: 3.0,
            slow_from,
            rng: Mutex::new(seeds.lock().fork()),
        }) as Arc<dyn Origin>]
    });
    usual(&stage, 35.0);
    let guards = is_guarded.then(|| stage.guarded());
    let mut rng = seeds.lock().fork();
    let (mut pages, mut there) = (0, BTreeMap::<String, u32>::new());
    let note = |at: Instant, _: u32, page: &Asked| {
        if at < slow_from + Duration::from_secs(8) {
            return;
        }
        pages += 1;
        for fragment in &page.report.fragments {
            *there.entry(fragment.name.to_string()).or_default() +=
                u32::from(fragment.outcome.is_whole());
        }
    };
    load(
        &stage,
        Duration::from_secs(22),
        RATE,
        &mut rng,
        anybody,
        note,
    )
    .await;
    drop(guards);
    let opened = stage
        .changes()
        .into_iter()
        .filter_map(|(_, origin, change)| match change {
            OriginChange::Breaker {
                to: BreakerState::Open,
                ..
            } => Some(origin),
            OriginChange::Breaker { .. }
            | OriginChange::CanaryWithdrawn { .. }
            | OriginChange::Health { .. } => None,
        });
    let share = |(name, there): (String, u32)| (name, f64::from(there) / f64::from(pages));
    (there.into_iter().map(share).collect(), opened.collect())
}

#[test]
fn a_database_that_slows_takes_no_breaker_with_it_and_the_least_important_blocks_give_way() {
    for seed in 0..3 {
        let run = |is_guarded| {
            virtual_time(async {
                fastrand::seed(seed);
                with_a_slow_database(seed, is_guarded).await
            })
        };
        let (shares, opened) = run(true);
        eprintln!("seed {seed}: {shares:.2?}");
        assert!(opened.is_empty(), "seed {seed}: {opened:?}");
        assert!(shares["a"] > 0.93, "seed {seed}: {shares:?}");
        let (top, bottom) = (shares["b"] + shares["c"], shares["g"] + shares["h"]);
        assert!(top > 1.5 * bottom, "seed {seed}: {shares:?}");
        // without limits everything is late, and the breakers take all of it
        let (_, opened) = run(false);
        assert!(opened.len() >= 3, "seed {seed}: {opened:?}");
    }
}

/// Times that the block came or went between two pages of one session, per page, while its origin can
/// do half of what is asked.
async fn flips(seed: u64, is_known: bool) -> f64 {
    let begun = Clock::start().now();
    let (station, rng) = (Station::new(1), Mutex::new(Rng::with_seed(seed)));
    let names = ["a", "b", "c"];
    let stage = Stage::with_replicas(&declaration(&names), &names, |spec| {
        let is_weak = spec.name == "c";
        let station = if is_weak {
            &station
        } else {
            &Station::new(100)
        };
        vec![Arc::new(Backed {
            name: spec.name.clone(),
            own: Duration::from_millis(20),
            station: Arc::clone(station),
            job: Duration::from_millis(15),
            times: 1.0,
            slow_from: begun,
            rng: Mutex::new(rng.lock().fork()),
        }) as Arc<dyn Origin>]
    });
    usual(&stage, 45.0);
    let _guarded = stage.guarded();
    let mut rng = rng.lock().fork();
    let (mut last, mut pages, mut flips, mut had) = (BTreeMap::new(), 0, 0, 0);
    let note = |at: Instant, who: u32, page: &Asked| {
        if at < begun + Duration::from_secs(5) {
            return;
        }
        let is_there = page.body.contains("<c>");
        pages += 1;
        had += u32::from(is_there);
        let before = last.insert(who, is_there);
        flips += u32::from(before.is_some_and(|before| before != is_there));
    };
    let reader = |rng: &mut Rng| {
        let (who, reader) = anybody(rng);
        let stranger = Reader::new(&rng.u64(..).to_le_bytes(), 0);
        (who, if is_known { reader } else { stranger })
    };
    load(
        &stage,
        Duration::from_secs(25),
        120.0,
        &mut rng,
        reader,
        note,
    )
    .await;
    let share = f64::from(had) / f64::from(pages);
    assert!(
        (0.2..0.8).contains(&share),
        "seed {seed}: {share:.2} have it"
    );
    f64::from(flips) / f64::from(pages)
}

#[test]
fn a_reader_keeps_or_loses_a_block_and_does_not_see_it_come_and_go() {
    for seed in 0..3 {
        let of = |is_known| {
            virtual_time(async {
                fastrand::seed(seed);
                flips(seed, is_known).await
            })
        };
        let (known, strangers) = (of(true), of(false));
        eprintln!("seed {seed}: {known:.3} flips a page, {strangers:.3} were readers drawn anew");
        assert!(
            known <= 0.65 * strangers,
            "seed {seed}: {known:.3} of {strangers:.3}"
        );
    }
}

/// Answers after so long from a moment on, and knows how many it has at work.
struct Worked {
    slow_from: Instant,
    takes: Duration,
    at_work: Arc<AtomicUsize>,
}

/// One request at work, also of who is not waited for any more.
struct AtWork(Arc<AtomicUsize>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Origin for Worked {
    fn send(&self, _: OriginRequest) -> BoxFuture<'static, Result<OriginResponse, Cause>> {
        let takes = match Clock::start().now() < self.slow_from {
            true => Duration::from_millis(20),
            false => self.takes,
        };
        self.at_work.fetch_add(1, Ordering::Relaxed);
        let at_work = AtWork(Arc::clone(&self.at_work));
        async move {
            sleep(takes).await;
            drop(at_work);
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
            let body = Bytes::from(whole("b"));
            Ok(OriginResponse::whole(StatusCode::OK, headers, body))
        }
        .boxed()
    }
}

#[test]
fn an_origin_that_has_become_slow_has_no_more_at_work_than_it_may() {
    virtual_time(async {
        let toml = declaration(&["a", "b"]).replace(
            "[fragments.b]",
            "[origins.b.breaker]\nenabled = false\n[fragments.b]",
        );
        let slow_from = Clock::start().now() + Duration::from_secs(5);
        let at_work = Arc::new(AtomicUsize::new(0));
        let stage = Stage::with_replicas(&toml, &["a", "b"], |spec| {
            let origin: Arc<dyn Origin> = match spec.name.as_str() {
                "b" => Arc::new(Worked {
                    slow_from,
                    takes: Duration::from_millis(900),
                    at_work: Arc::clone(&at_work),
                }),
                _ => Arc::new(FakeOrigin::always(Fault::None)),
            };
            vec![origin]
        });
        let _guarded = stage.guarded();
        let mut rng = Rng::with_seed(7);
        let (mut most, mut limits) = (0, BTreeSet::new());
        let span = Duration::from_secs(30);
        load(&stage, span, 60.0, &mut rng, anybody, |at, _, _| {
            if at > slow_from + Duration::from_secs(10) {
                most = most.max(at_work.load(Ordering::Relaxed));
                limits.insert(stage.edition.fetcher.block_states()["b"].limit);
            }
        })
        .await;
        let limit = limits.last().copied().unwrap_or_default();
        assert!((1..=limit).contains(&most), "{most} of {limits:?}");
    });
}

/// The longest that a page waits for its block in half a minute, after the breaker has opened; and how
/// often the origin was asked in that time.
async fn longest_wait(is_guarded: bool) -> (Duration, usize) {
    let names = ["a", "b"];
    let stage = Stage::build(&declaration(&names), &names, |name| {
        FakeOrigin::always(match name {
            "b" => Fault::Hang,
            _ => Fault::None,
        })
    });
    let guards = is_guarded.then(|| stage.guarded());
    let is_closed = || stage.origin_state("b").breaker["optional"].state == "closed";
    while is_closed() {
        stage.ask(0).await;
    }
    stage.origins["b"].asked();
    let mut longest = Duration::ZERO;
    for _ in 0..300 {
        let page = stage.ask(0).await;
        assert_eq!(page.body, whole("a"));
        longest = longest.max(page.report.duration);
        sleep(Duration::from_millis(100)).await;
    }
    drop(guards);
    (longest, stage.origins["b"].asked().len())
}

#[test]
fn no_reader_waits_for_the_request_that_finds_out() {
    let (longest, asked) = virtual_time(longest_wait(true));
    assert_eq!(longest, Duration::ZERO);
    assert!((5..=20).contains(&asked), "{asked}");
    // where nobody else does it a page has to
    let (longest, asked) = virtual_time(longest_wait(false));
    assert_eq!(longest, Duration::from_millis(250));
    assert!((5..=20).contains(&asked), "{asked}");
}

#[test]
fn what_is_well_again_is_found_out_without_pages() {
    virtual_time(async {
        let names = ["a", "b"];
        let well_from = Clock::start().now() + Duration::from_secs(20);
        let stage = Stage::build(&declaration(&names), &names, move |name| {
            let is_sick = name == "b";
            FakeOrigin::new(move || match is_sick && Clock::start().now() < well_from {
                true => Fault::Refused,
                false => Fault::None,
            })
        });
        let _guarded = stage.guarded();
        let breaker = || stage.origin_state("b").breaker["optional"].state;
        while breaker() == "closed" {
            stage.ask(0).await;
            sleep(Duration::from_millis(50)).await;
        }
        // nobody reads any more, and it is found out all the same
        // two pauses of 3 s and a quarter at most: the broken address is asked in between
        sleep_until(well_from + Duration::from_secs(8)).await;
        assert_eq!(breaker(), "recovering");
    });
}

#[test]
fn a_block_that_nobody_shows_is_asked_for_twice_a_second() {
    virtual_time(async {
        let names = ["a", "b", "c"];
        let stage = Stage::build(&declaration(&names), &names, |_| {
            FakeOrigin::always(Fault::Slow(Duration::from_millis(30)))
        });
        let _guarded = stage.guarded_without(&["c"]);
        sleep(Duration::from_secs(10)).await;
        assert_eq!(stage.origins["b"].asked().len(), 0);
        let asked = stage.origins["c"].asked();
        assert!((18..=21).contains(&asked.len()), "{}", asked.len());
        assert_eq!(asked[0], "c");
        // so that it is known what is usual when it comes back
        let usual = stage.edition.fetcher.baselines();
        assert_eq!(usual.keys().collect::<Vec<_>>(), ["c"]);
        assert!((usual["c"] - 30.0).abs() < 2.0, "{usual:?}");
    });
}

#[test]
fn what_is_one_readers_own_is_never_asked_for_without_them() {
    virtual_time(async {
        let names = ["a", "b"];
        let toml = declaration(&names)
            .replace("\"b:/b\"", "\"b:/b?who={cookie.name}\"")
            .replace(
                "[fragments.b]",
                "[fragments.b]\nforward_cookies = [\"session\"]",
            );
        let stage = Stage::build(&toml, &names, |_| FakeOrigin::always(Fault::None));
        let _guarded = stage.guarded_without(&["b"]);
        stage.ask(0).await;
        assert_eq!(stage.origins["b"].asked().len(), 1);
        sleep(Duration::from_secs(5)).await;
        assert!(stage.origins["b"].asked().is_empty());
    });
}

/// An origin one of whose addresses is broken, and which refuses everything until a moment.
struct OneBroken {
    well_from: Instant,
}

impl Origin for OneBroken {
    fn send(&self, request: OriginRequest) -> BoxFuture<'static, Result<OriginResponse, Cause>> {
        let is_broken = request.target == "/broken" || Clock::start().now() < self.well_from;
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
        let status = match is_broken {
            true => StatusCode::INTERNAL_SERVER_ERROR,
            false => StatusCode::OK,
        };
        let body = Bytes::from(whole(request.target.trim_start_matches('/')));
        std::future::ready(Ok(OriginResponse::whole(status, headers, body))).boxed()
    }
}

/// Says all, after so long by what it is asked for.
struct Addressed(Box<dyn Fn(&str) -> Duration + Send + Sync>);

impl Addressed {
    fn taking(takes: impl Fn(&str) -> Duration + Send + Sync + 'static) -> Arc<dyn Origin> {
        Arc::new(Self(Box::new(takes)))
    }
}

impl Origin for Addressed {
    fn send(&self, request: OriginRequest) -> BoxFuture<'static, Result<OriginResponse, Cause>> {
        let takes = (self.0)(&request.target);
        async move {
            sleep(takes).await;
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
            let body = Bytes::from(whole("b"));
            Ok(OriginResponse::whole(StatusCode::OK, headers, body))
        }
        .boxed()
    }
}

#[test]
fn one_broken_address_does_not_keep_an_origin_from_coming_back() {
    virtual_time(async {
        let names = ["a", "broken", "fine"];
        let toml = declaration(&names).replace("\"fine:/fine\"", "\"broken:/fine\"");
        let well_from = Clock::start().now() + Duration::from_secs(10);
        let stage = Stage::with_replicas(&toml, &names, |spec| {
            let well_from = match spec.name.as_str() {
                "broken" => well_from,
                _ => Clock::start().now(),
            };
            vec![Arc::new(OneBroken { well_from }) as Arc<dyn Origin>]
        });
        let _guarded = stage.guarded();
        let breaker = || stage.origin_state("broken").breaker["optional"].state;
        while breaker() == "closed" {
            stage.ask(0).await;
            sleep(Duration::from_millis(50)).await;
        }
        // two pauses of 3 s and a quarter at most: the broken address is asked in between
        sleep_until(well_from + Duration::from_secs(8)).await;
        assert_eq!(breaker(), "recovering");
    });
}

#[test]
fn one_slow_address_does_not_keep_a_block_off_for_everybody() {
    virtual_time(async {
        let toml = declaration(&["a", "b"]).replace("\"b:/b\"", "\"b:/b/{id}\"");
        let began = Clock::start().now();
        let (sick_from, well_from) = (
            began + Duration::from_secs(5),
            began + Duration::from_secs(15),
        );
        let stage = Stage::with_replicas(&toml, &["a", "b"], |spec| {
            if spec.name == "a" {
                return vec![Arc::new(FakeOrigin::always(Fault::None)) as Arc<dyn Origin>];
            }
            vec![Addressed::taking(move |target| {
                let (now, is_slow) = (Clock::start().now(), target.ends_with("/x"));
                let is_sick = now >= sick_from && (is_slow || now < well_from);
                Duration::from_millis(if is_sick { 900 } else { 20 })
            })]
        });
        let _guarded = stage.guarded();
        let mut number = 0;
        // the last page that has its block is the one whose address is slow from then on
        for (path, until) in [("x", sick_from), ("y", well_from + Duration::from_secs(60))] {
            while Clock::start().now() < until {
                stage
                    .read_as(Reader::NOBODY, &format!("/p/{path}#{number}"), 0)
                    .await;
                number += 1;
                sleep(Duration::from_millis(50)).await;
            }
        }
        let opened = stage.changes().into_iter().any(|(.., change)| {
            let to = BreakerState::Open;
            matches!(change, OriginChange::Breaker { to: now, .. } if now == to)
        });
        assert!(opened, "what is never left alone proves nothing");
        let state = &stage.origin_state("b").breaker["optional"];
        assert_eq!(state.state, "closed");
    });
}

#[test]
fn only_what_was_of_use_in_good_time_is_asked_without_a_page() {
    for (source, limits, takes, is_repeated) in [
        ("b:/b/{id}", "", 20, true),
        ("b:/b/{id}", "", 180, true),
        ("b:/b/{id}", "", 240, false),
        ("b:/b/{id}", "", 300, false),
        (
            "b:/b/{id}",
            "must_contain = [\"something else\"]",
            20,
            false,
        ),
        ("b:/b?token={query.token}", "", 20, false),
    ] {
        virtual_time(async {
            let toml = declaration(&["a", "b"])
                .replace("\"b:/b\"", &format!("\"{source}\""))
                .replace("[fragments.b]", &format!("[fragments.b]\n{limits}"));
            let asked = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&asked);
            let stage = Stage::with_replicas(&toml, &["a", "b"], |spec| {
                let (is_it, asked) = (spec.name == "b", Arc::clone(&count));
                vec![Addressed::taking(move |_| {
                    asked.fetch_add(usize::from(is_it), Ordering::Relaxed);
                    Duration::from_millis(if is_it { takes } else { 1 })
                })]
            });
            let _guarded = stage.guarded_without(&["b"]);
            // whoever asks off the page has begun to remember
            sleep(Duration::from_millis(100)).await;
            stage.read_as(Reader::NOBODY, "/p/x?token=secret", 0).await;
            sleep(Duration::from_secs(5)).await;
            let is_so = asked.load(Ordering::Relaxed) > 1;
            assert_eq!(is_so, is_repeated, "{source} {limits} after {takes} ms");
        });
    }
}
