//! Work to be counted by callgrind: pages of cached fragments; what of it is sensing, by itself; and what
//! runs beside pages, the governor's tick and the probe of the lag. `benches/sensing` counts, and tells
//! what it comes to.
//!
//! `sensing WHAT TIMES` does it so many times. What WHAT costs is the difference of two numbers of times,
//! so that the beginning and the end of the program do not count.

#![allow(
    clippy::unwrap_used,
    reason = "a bench that cannot run is meant to panic"
)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use marbre::cache::Cache;
use marbre::clock::Clock;
use marbre::compose::{self, Composer, Edition, Verdict};
use marbre::config;
use marbre::degradation::governor::{Seen, TICK};
use marbre::degradation::meters::{BlockCounted, Counted};
use marbre::degradation::{Executor, Governor, Job, Lag, Level, Overrides};
use marbre::fetch::{Fetcher, Means, Origin, OriginRequest, OriginResponse};
use marbre::plan::{self, request};
use marbre::report::{Cause, Event, Observer, PageReport};
use marbre::site::{Found, PageId, Target, governed};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The blocks of a page beside its article and its header.
const OPTIONAL: usize = 7;

/// Pages that are composed between two ticks.
const PAGES_A_TICK: u32 = 20;

/// How long a page may take.
const TARGET: Duration = Duration::from_millis(300);

/// Processor time that is said to be used between two ticks.
const CPU: Duration = Duration::from_millis(20);

/// Looks of the lag's probe in a tick.
const LOOKS_A_TICK: u32 = 10;

struct Quick;

impl Origin for Quick {
    fn send(&self, request: OriginRequest) -> BoxFuture<'static, Result<OriginResponse, Cause>> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
        let body = format!("<p>{}</p>{}", request.target, "lorem ipsum ".repeat(400));
        let response = OriginResponse::whole(StatusCode::OK, headers, Bytes::from(body));
        std::future::ready(Ok(response)).boxed()
    }
}

/// Reads the account of each page, as telemetry does, and does nothing about it.
struct Reads;

impl Observer for Reads {
    fn page(&self, report: &PageReport<'_>) {
        black_box(report);
    }

    fn event(&self, _: &Event) {}
}

/// A server without its sockets, whose copies are fresh.
struct Server {
    edition: Arc<Edition>,
    composer: Arc<Composer>,
    lag: Arc<Lag>,
    page: PageId,
}

fn declaration() -> String {
    let mut toml = String::from(
        "[origins.web]\nurls = [\"http://web.invalid\"]\n\
         [pages.p]\nroute = \"/p\"\nlayout = \"layout.html\"\n",
    );
    let mut fragment = |name: &str, priority: &str| {
        let _ = write!(
            toml,
            "[fragments.{name}]\npriority = {priority}\nsource = \"web:/{name}\"\nttl = \"1h\"\n"
        );
    };
    fragment("article", "\"core\"");
    fragment("header", "\"essential\"");
    for number in 0..OPTIONAL {
        fragment(&format!("block-{number}"), &(10 * (number + 1)).to_string());
    }
    toml
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fragments.toml");
        std::fs::create_dir(folder.path().join("templates")).unwrap();
        let blocks = (0..OPTIONAL).map(|number| format!("block-{number}"));
        let names = ["header".to_owned(), "article".to_owned()];
        let slots = names.into_iter().chain(blocks);
        let slots = slots.map(|name| format!("<fragment name=\"{name}\"></fragment>\n"));
        let layout = folder.path().join("templates/layout.html");
        std::fs::write(layout, slots.collect::<String>()).unwrap();
        std::fs::write(&file, declaration()).unwrap();
        let site = match config::load(&file, &|_| None) {
            Ok(loaded) => loaded.site,
            Err(diagnostics) => panic!("{diagnostics}"),
        };
        let observers = vec![Arc::new(Reads) as Arc<dyn Observer>];
        let means = Means::new(Clock::start(), observers.clone());
        let origin = |_: &_| Ok(vec![Arc::new(Quick) as Arc<dyn Origin>]);
        let fetcher = Fetcher::new(&site, None, &means, origin).unwrap();
        let Found::Match {
            target: Target::Page(page),
            ..
        } = site.routes.find("/p")
        else {
            panic!("the page has a route")
        };
        let cache = Cache::new(site.limits.cache_bytes_max);
        let executor = Executor::new(2, means.clock, Arc::clone(&means.lag));
        let composer = Composer::new(cache, means.clock, TaskTracker::new(), observers);
        Self {
            edition: Arc::new(Edition::new(site, fetcher)),
            composer: Arc::new(composer.at(Arc::new(executor))),
            lag: means.lag,
            page,
        }
    }

    /// A page, from its request to the last byte of its body.
    async fn page(&self) -> usize {
        let (edition, composer) = (&self.edition, &self.composer);
        edition.meters.arrived(self.page.index());
        let turn = composer.executor().begin(edition.site.degradation.wait_max);
        let turn = turn.await.unwrap();
        let uri = Uri::from_static("/p");
        let facts = request::facts(&edition.site, &uri, &HeaderMap::new(), Vec::new(), 7);
        let (now, overrides) = (composer.clock().now(), Arc::<Overrides>::default());
        let site = &edition.site;
        let plan = plan::plan(site, self.page, &facts, Level::FULL, &overrides, now);
        let given = (turn, ());
        let page = compose::compose(composer, Arc::clone(edition), plan, "/p", facts, given).await;
        assert_eq!(page.head.verdict, Verdict::Page);
        page.body.collect().await.unwrap().to_bytes().len()
    }

    /// What of a page is sensing: its turns with the clock that tells how long they waited and lasted, and
    /// what is counted. A turn is there for its own sake too, so this is too much rather than too little.
    async fn sense(&self) {
        let (meters, executor) = (&self.edition.meters, self.composer.executor());
        meters.arrived(self.page.index());
        let wait_max = self.edition.site.degradation.wait_max;
        let turn = executor.begin(wait_max).await.unwrap();
        for place in 0..OPTIONAL + 2 {
            meters.used(place);
        }
        meters.composing();
        meters.page_worked(turn.end(Job::Plan).await);
        let turn = executor.go_on().await;
        meters.page_worked(turn.end(Job::Assemble).await);
        let began = self.composer.clock().now();
        let took = self.composer.clock().now().saturating_duration_since(began);
        meters.times.record(took, TARGET);
    }

    /// The turns of a page alone: they bound what is done at once, and tell how long work waits.
    async fn take_turns(&self) {
        let executor = self.composer.executor();
        let wait_max = self.edition.site.degradation.wait_max;
        let turn = executor.begin(wait_max).await.unwrap();
        black_box(turn.end(Job::Plan).await);
        let turn = executor.go_on().await;
        black_box(turn.end(Job::Assemble).await);
    }

    fn counted_of(&self, before: &Counted) -> Counted {
        let counted = self.edition.meters.counted().since(before);
        // how long it took is what it is
        let blocks = counted.blocks.into_iter();
        Counted {
            page_work: 0,
            blocks: blocks
                .map(|block| BlockCounted { work: 0, ..block })
                .collect(),
            ..counted
        }
    }

    /// What sensing alone counts is what a page counts: else it is not the same any more.
    async fn check(&self) {
        let before = self.edition.meters.counted();
        assert!(self.page().await > OPTIONAL * 4000, "the page is whole");
        let of_page = self.counted_of(&before);
        let before = self.edition.meters.counted();
        self.sense().await;
        assert_eq!(self.counted_of(&before), of_page);
    }
}

/// One tick of the governor, as the server has it.
struct Ticking {
    governor: Governor,
    before: Counted,
}

impl Ticking {
    fn of(server: &Server) -> Self {
        let site = &server.edition.site;
        let law = site.degradation.law.for_cores(2);
        Self {
            governor: Governor::new(law, governed::shape(site), None),
            before: server.edition.meters.counted(),
        }
    }

    fn tick(&mut self, server: &Server) {
        let (edition, clock) = (&server.edition, server.composer.clock());
        let site = &edition.site;
        let now = clock.now();
        let governor = &mut self.governor;
        let readings = edition
            .fetcher
            .tick(TICK, |id| governor.is_shared(id.index()));
        let overrides = Arc::<Overrides>::default();
        let counted = edition.meters.counted();
        let waits = server.composer.executor().take_queue_delay();
        let turned = self.governor.tick(Seen {
            span: TICK,
            counted: counted.since(&self.before),
            queue_delay: waits.max(server.lag.take_mean(now)),
            lateness: edition.meters.times.turn(),
            // to read it is a system call, which valgrind has no answer for
            cpu: Some(CPU),
            charges: governed::charges(site, &overrides, &readings),
            asked: governed::asked(site, &readings),
            effect: governed::effect(site.degradation.mode),
            overrides,
        });
        self.before = counted;
        black_box(turned);
    }
}

async fn run(what: &str, times: u32) {
    let server = Server::start();
    server.page().await;
    server.check().await;
    let mut ticking = Ticking::of(&server);
    match what {
        "pages" => {
            for _ in 0..times {
                black_box(server.page().await);
            }
        }
        "sensing" => {
            for _ in 0..times {
                server.sense().await;
            }
        }
        "turns" => {
            for _ in 0..times {
                server.take_turns().await;
            }
        }
        "ticks" => {
            for _ in 0..times {
                for _ in 0..PAGES_A_TICK {
                    server.sense().await;
                }
                ticking.tick(&server);
            }
        }
        "idle" => {
            for _ in 0..times {
                for _ in 0..PAGES_A_TICK {
                    server.sense().await;
                }
            }
        }
        "looks" => {
            let stop = CancellationToken::new();
            let measuring = server.lag.measure(server.composer.clock(), stop.clone());
            let waiting = async {
                tokio::time::sleep(TICK / LOOKS_A_TICK * times).await;
                stop.cancel();
            };
            futures::join!(measuring, waiting);
        }
        _ => panic!("pages, sensing, turns, ticks, idle or looks, and how many times"),
    }
}

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench");
    let what = arguments.next().unwrap_or_else(|| "pages".to_owned());
    let times = arguments
        .next()
        .map_or(Ok(1), |times| times.parse())
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        // the probe of the lag looks a hundred times a second, and nobody is to wait for that
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(run(&what, times));
}
