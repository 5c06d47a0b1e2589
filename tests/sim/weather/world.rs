//! The server minus its sockets: what answers to readers, the governor, switches, faults, copies. Put
//! together as a started server is, on a clock of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use axum::Router;
use futures::FutureExt as _;
use marbre::app::govern::{self, Governing};
use marbre::app::{KnownRate, is_given_up};
use marbre::cache::Cache;
use marbre::cache::disk::{self, Disk};
use marbre::cache::shared::{self, Dial, Shared};
use marbre::chaos::{Chaos, Faulty};
use marbre::clock::Clock;
use marbre::compose::{Composer, Edition, probe};
use marbre::degradation::executor::Emulation;
use marbre::degradation::{Executor, Job, Mode};
use marbre::fetch::{Fetcher, Means, Origin};
use marbre::report::{
    BreakerState, Event, Observer, OriginChange, PageReport, SwitchChange, Throttle,
};
use marbre::server::{self, InFlight, Noticed, ServerState};
use marbre::site::{OriginSpec, Site};
use marbre::switchboard::Switchboard;
use marbre::telemetry::{Samples, Tally};
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::declared::Declared;
use super::events::OTHERS;
use super::newsroom::Newsroom;
use super::promises::{Broken, Met, Moment, met, of_a_moment};

/// Between two ticks, as in a server.
const TICK: Duration = Duration::from_millis(100);

/// How long a start waits for the purges of other nodes, as in a server.
const FIRST_WORD: Duration = Duration::from_millis(500);

/// Accounts of pages, by their trace.
#[derive(Default)]
pub(crate) struct Reports {
    pages: Mutex<BTreeMap<u128, PageReport<'static>>>,
    again: AtomicU64,
    count: AtomicU64,
    /// What has happened besides pages.
    events: Mutex<Met>,
}

impl Reports {
    pub(crate) fn take(&self, trace: u128) -> Option<PageReport<'static>> {
        self.pages.lock().remove(&trace)
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Pages that were accounted for more than once.
    pub(crate) fn again(&self) -> u64 {
        self.again.load(Ordering::Relaxed)
    }
}

impl Observer for Reports {
    fn page(&self, report: &PageReport<'_>) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let report = report.clone().into_owned();
        let before = self.pages.lock().insert(report.trace_id, report);
        self.again
            .fetch_add(u64::from(before.is_some()), Ordering::Relaxed);
    }

    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "most events are of no interest here"
    )]
    fn event(&self, event: &Event) {
        let what = match event {
            Event::Degraded { .. } => "changes of the level",
            Event::Origin {
                change: OriginChange::Breaker { to, .. },
                ..
            } if *to == BreakerState::Open => "origins left alone",
            Event::Switched(SwitchChange::Set { switch, .. }) if switch.owner == OTHERS => {
                "switches heard of"
            }
            _ => return,
        };
        met(&mut self.events.lock(), what);
    }
}

/// What is served at one moment.
#[derive(Clone)]
pub(crate) struct Present {
    pub(crate) declared: Arc<Declared>,
    pub(crate) edition: Arc<Edition>,
}

/// What a run has besides the site.
pub(crate) struct Setting<'m> {
    /// Where copies are kept on disk, if they are.
    pub(crate) folder: Option<&'m Path>,
    /// What connects to the store that nodes share, if there is one.
    pub(crate) store: Option<Arc<dyn Dial>>,
    /// Pages that may be in flight.
    pub(crate) pages_max: usize,
    /// What each job takes.
    pub(crate) work: Duration,
}

pub(crate) struct World {
    pub(crate) newsroom: Arc<Newsroom>,
    pub(crate) composer: Arc<Composer>,
    pub(crate) mode: Arc<ArcSwap<Mode>>,
    pub(crate) switches: Arc<Switchboard>,
    pub(crate) chaos: Arc<Chaos>,
    pub(crate) pages: Arc<InFlight>,
    pub(crate) pages_max: usize,
    pub(crate) work: Duration,
    pub(crate) tally: Arc<Tally>,
    pub(crate) reports: Arc<Reports>,
    pub(crate) router: Router,
    /// The first promise that was found broken at a tick.
    pub(crate) broken: Mutex<Option<Broken>>,
    pub(crate) ticks: AtomicU64,
    present: Mutex<Present>,
    edition: Arc<ArcSwap<Edition>>,
    means: Means,
    tasks: TaskTracker,
    stop: CancellationToken,
    flights: TaskTracker,
}

fn no_processor(_: &Clock) -> Option<Duration> {
    // it is real, and time is not
    None
}

fn emulated(work: Duration) -> Option<Emulation> {
    let lasts = move |job: Job<'_>| match job {
        Job::Plan | Job::Assemble => work,
        Job::Render(_) => work / 2,
    };
    (!work.is_zero()).then(|| Arc::new(lasts) as Emulation)
}

impl World {
    pub(crate) async fn start(
        declared: Arc<Declared>,
        newsroom: &Arc<Newsroom>,
        wall: SystemTime,
        with: Setting<'_>,
    ) -> Arc<Self> {
        let clock = Clock::start_at(wall);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let tally = Arc::new(Tally::new(clock));
        let reports = Arc::new(Reports::default());
        let mut observers = vec![
            Arc::clone(&tally) as Arc<dyn Observer>,
            Arc::clone(&reports) as _,
        ];
        let means = Means::new(clock, observers.clone());
        let chaos = Arc::new(Chaos::new(clock, observers.clone()));
        observers.push(Arc::clone(&chaos) as _);
        let site = declared.load(false).unwrap_or_else(|why| panic!("{why}"));
        let mut cache = Cache::new(site.limits.cache_bytes_max).timed_by(clock);
        if let Some(folder) = with.folder {
            let folder = folder.join("copies");
            let settings = disk::Settings {
                folder,
                bytes_max: 1 << 20,
            };
            let disk = Arc::new(Disk::open(settings, clock));
            cache = cache.with_disk(disk, clock.moment(clock.now()));
        }
        if let Some(dial) = with.store {
            let settings = shared::Settings {
                url: "redis://store.invalid".to_owned(),
                prefix: "news".to_owned(),
                timeout: Duration::from_millis(20),
            };
            let way = shared::Way {
                upset: Some(Arc::clone(&chaos) as _),
                dial: Some(dial),
            };
            let store = Shared::connect_by(settings, clock, &tasks, stop.clone(), way);
            cache = cache.with_shared(Arc::new(store.expect("the address can be read")));
            let _ = timeout(FIRST_WORD, cache.exchange_purges(clock)).await;
        }
        let executor = Executor::new(1, clock, Arc::clone(&means.lag));
        let executor = executor.emulating(emulated(with.work));
        let executor = executor.pausing_by(|span| sleep(span).boxed());
        let flights = TaskTracker::new();
        let composer = Composer::new(cache, clock, flights.clone(), observers.clone());
        let composer = Arc::new(composer.at(Arc::new(executor)));
        let edition = Arc::new(edition(site, None, &means, newsroom, &chaos));
        let present = Present {
            declared,
            edition: Arc::clone(&edition),
        };
        let mode = Arc::new(ArcSwap::from_pointee(govern::first(&edition.site)));
        let edition = Arc::new(ArcSwap::new(edition));
        let board = Switchboard::open(None, clock, observers);
        let board = board.shared_through(composer.cache().shared());
        let (caching, planning) = (Arc::clone(&composer), Arc::clone(&mode));
        let switches = Arc::new(board.publishing(move |overrides| {
            caching.cache().stretch(overrides.ttl_factor);
            planning.rcu(|mode| Mode {
                overrides: Arc::clone(overrides),
                ..Mode::clone(mode)
            });
        }));
        let pages = Arc::new(InFlight::new(with.pages_max));
        let state = ServerState {
            composer: Arc::clone(&composer),
            edition: Arc::clone(&edition),
            mode: Arc::clone(&mode),
            tasks: tasks.clone(),
            stop: stop.clone(),
            complaints: Throttle::default(),
            access: None,
            noticed: Noticed::default(),
            chaos: Arc::clone(&chaos),
            pages: Arc::clone(&pages),
            header_bytes_max: 1 << 14,
            body_bytes_max: 1 << 14,
            body_timeout: Duration::from_secs(1),
        };
        let world = Arc::new(Self {
            newsroom: Arc::clone(newsroom),
            composer,
            mode,
            switches,
            chaos,
            pages,
            pages_max: with.pages_max,
            work: with.work,
            tally,
            reports,
            router: server::router(Arc::new(state)),
            broken: Mutex::new(None),
            ticks: AtomicU64::new(0),
            present: Mutex::new(present),
            edition,
            means,
            tasks,
            stop,
            flights,
        });
        world.begin();
        world
    }

    /// Everything that a server does by itself.
    fn begin(self: &Arc<Self>) {
        let stop = &self.stop;
        let probing = probe::run(
            Arc::clone(&self.composer),
            Arc::clone(&self.edition),
            is_given_up(Arc::clone(&self.mode)),
            stop.clone(),
        );
        self.tasks.spawn(probing);
        let (world, until) = (Arc::clone(self), stop.clone());
        let governing = async move { world.govern().await };
        self.tasks.spawn(until.run_until_cancelled_owned(governing));
        self.tasks
            .spawn(Arc::clone(&self.switches).tend(stop.clone()));
        self.tasks.spawn(Arc::clone(&self.chaos).tend(stop.clone()));
        let store = self.composer.cache().shared();
        if let Some(messages) = store.and_then(|store| store.messages()) {
            let (composer, board) = (Arc::clone(&self.composer), Arc::clone(&self.switches));
            let following = async move {
                let heed = |decision| board.heed(decision);
                let cache = composer.cache();
                cache.follow(messages, composer.clock(), heed).await;
            };
            let until = stop.clone();
            self.tasks.spawn(until.run_until_cancelled_owned(following));
        }
    }

    async fn govern(&self) {
        let governing = Governing {
            edition: Arc::clone(&self.edition),
            composer: Arc::clone(&self.composer),
            lag: Arc::clone(&self.means.lag),
            overrides: Arc::clone(self.switches.in_force()),
            mode: Arc::clone(&self.mode),
            samples: Arc::new(Samples::default()),
            is_limiting: Arc::clone(&self.means.is_limiting),
            rate: Arc::new(KnownRate::new(None)),
            own_law: None,
            cpu: no_processor,
        };
        let mut memory = governing.remember();
        loop {
            sleep(TICK).await;
            governing.turn(&mut memory);
            self.ticks.fetch_add(1, Ordering::Relaxed);
            self.look();
        }
    }

    /// Checks what can be checked at any moment.
    pub(crate) fn look(&self) {
        let moment = self.moment();
        if let Err(broken) = of_a_moment(&moment) {
            self.broken.lock().get_or_insert(broken);
        }
    }

    /// How it is now.
    pub(crate) fn moment(&self) -> Moment {
        let edition = self.edition.load_full();
        let site = &edition.site;
        let stats = self.composer.cache().stats();
        let fragments = site.fragments.iter();
        let origins: BTreeSet<_> = fragments.filter_map(|f| f.source.origin()).collect();
        let mode = self.mode.load();
        Moment {
            pages: self.pages.count(),
            pages_max: self.pages_max,
            flights: self.composer.flights_under_way(),
            asked: origins
                .into_iter()
                .map(|id| {
                    let state = edition.fetcher.state(id);
                    (state.in_flight, state.max_in_flight)
                })
                .collect(),
            copies: stats.entries,
            bytes: stats.bytes,
            bytes_max: stats.bytes_max,
            level: mode.by_law(site.ladder.text_only()).get(),
            level_max: site.ladder.text_only().get() + 1,
            theta: mode.decision.theta,
            admit: mode.decision.admit,
            phi: mode.phi,
        }
    }

    /// What is served.
    pub(crate) fn present(&self) -> Present {
        self.present.lock().clone()
    }

    /// Reads the site again; `Err` where it cannot be read, and the one before stays.
    pub(crate) fn reload(&self, declared: Arc<Declared>, is_broken: bool) -> Result<(), String> {
        let site = declared.load(is_broken)?;
        let before = self.edition.load_full();
        let (means, newsroom) = (&self.means, &self.newsroom);
        let edition = Arc::new(edition(site, Some(&before), means, newsroom, &self.chaos));
        self.composer
            .cache()
            .resize(edition.site.limits.cache_bytes_max);
        self.switches.declare(&edition.site.schedules);
        self.chaos.declare(&edition.site);
        *self.present.lock() = Present {
            declared,
            edition: Arc::clone(&edition),
        };
        self.edition.store(edition);
        Ok(())
    }

    /// Tells what this server has met.
    pub(crate) fn tell(&self, seen: &mut Met) {
        for (what, count) in &*self.reports.events.lock() {
            *seen.entry(what).or_default() += count;
        }
        let mut add = |what, count| *seen.entry(what).or_default() += count;
        add("ticks", self.ticks.load(Ordering::Relaxed));
        add("pages not composed in full", self.pages.shed().iter().sum());
        let Some(store) = self.composer.cache().shared() else {
            return;
        };
        let store = store.state();
        add("found in the store", store.hits);
        add(
            "not had of the store",
            store.timeouts + store.errors + store.skipped,
        );
        add("messages of other nodes", store.messages_in);
    }

    /// Waits until all that was queued is on disk, if there is a disk.
    pub(crate) fn flush(&self) {
        if let Some(disk) = self.composer.cache().disk() {
            // this thread waits, so that time does not go on meanwhile
            let flushing = || disk.flush_blocking();
            std::thread::scope(|scope| scope.spawn(flushing).join()).expect("it only waits");
        }
    }

    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.flights.close();
        self.flights.wait().await;
        self.flush();
        let clock = self.composer.clock();
        self.composer.cache().tend(clock.moment(clock.now())).await;
    }
}

fn edition(
    site: Site,
    previous: Option<&Edition>,
    means: &Means,
    newsroom: &Arc<Newsroom>,
    chaos: &Arc<Chaos>,
) -> Edition {
    let previous = previous.map(|edition| &edition.fetcher);
    let connect = |spec: &OriginSpec| {
        let origin = newsroom.origin(&spec.name);
        Ok(vec![
            Arc::new(Faulty::new(&spec.name, origin, chaos)) as Arc<dyn Origin>
        ])
    };
    let fetcher = Fetcher::new(&site, previous, means, connect);
    Edition::new(
        site,
        fetcher.expect("these origins can always be connected"),
    )
}
