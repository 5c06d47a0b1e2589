//! How a server starts (shell): the site is read, whoever is told of things is put in place, then what makes
//! pages, then what is known from before, then the listeners, and last what runs beside. Owns that order.
//!
//! Invariant: nobody is answered before all that a page may need is there, and a site that is wrong opens nothing.

use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use futures::FutureExt as _;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{self, AdminState, Live, Sessions};
use crate::clock::Clock;
use crate::compose::{Composer, Edition, probe};
use crate::config::{self, Loaded};
use crate::degradation::law::Own;
use crate::degradation::{Executor, Level, Mode};
use crate::report::{Event, Observer, Throttle};
use crate::server::{self, InFlight, ServerState, accept};
use crate::site::{ServerSettings, Site};
use crate::switchboard::Switchboard;
use crate::telemetry::journal::Around;
use crate::telemetry::{
    AccessLog, Exports, Journal, Metrics, Muted, Pulse, Recent, Samples, Tally, log,
};

use super::beside::{follow_gate, follow_nodes, tend};
use super::govern::{self, Governing};
use super::learned::{self, KnownRate, Learned, LearnedFile};
use super::open::{FIRST_WORD, open_cache, open_journal, open_switches, recall_learned};
use super::reload::Core;
use super::{App, Options, StartError, World, edition, is_given_up, journal, slo};

/// What all that runs has in common.
#[derive(Clone)]
struct Run {
    clock: Clock,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Whoever is told of pages and of events.
struct Told {
    metrics: Arc<Metrics>,
    tally: Arc<Tally>,
    pulse: Arc<Pulse>,
    journal: Arc<Journal>,
    objectives: slo::Keeping,
    recent: Arc<Recent>,
    exports: Exports,
    access: Option<Arc<AccessLog>>,
    /// All of them.
    observers: Vec<Arc<dyn Observer>>,
    /// Of the pages, how many are traced.
    traced_share: f64,
}

/// What makes pages, and by what it is governed.
struct Making {
    composer: Arc<Composer>,
    edition: Arc<ArcSwap<Edition>>,
    mode: Arc<ArcSwap<Mode>>,
    switches: Arc<Switchboard>,
    world: Arc<World>,
    samples: Arc<Samples>,
    cores: usize,
    /// What one core can do, as far as is known.
    rate: Arc<KnownRate>,
    /// Where that is written down, if it is.
    learned_file: Option<Arc<LearnedFile>>,
}

/// Where readers and operators come, each unless nobody does.
struct Doors {
    readers: Option<TcpListener>,
    address: SocketAddr,
    /// What readers are shown, if they come encrypted.
    tls: Option<Arc<accept::Tls>>,
    operators: Option<TcpListener>,
    admin_address: SocketAddr,
}

impl App {
    /// Loads the site and listens. Must be called within a Tokio runtime.
    pub async fn start(mut options: Options) -> Result<Self, StartError> {
        let Loaded {
            site,
            server: settings,
            watched,
            ..
        } = load(&options).await?;
        let run = Run {
            clock: Clock::start(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let told = Told::begin(&site, &settings, &mut options, &run).await?;
        let making = Making::begin(site, &settings, &mut options, &told, &run).await?;
        let governing = making.governing(options.brought.law.take());
        let doors = Doors::open(&settings, &options)?;
        let core = Arc::new(Core {
            file: options.file.clone(),
            declaration: Mutex::new(options.brought.declaration.take()),
            env: Arc::clone(&options.env),
            edition: Arc::clone(&making.edition),
            composer: Arc::clone(&making.composer),
            settings: settings.clone(),
            world: Arc::clone(&making.world),
            metrics: Arc::clone(&told.metrics),
            objectives: told.objectives.clone(),
            sessions: Arc::new(Sessions::new(&settings.admin_tokens)),
            tokens: Mutex::new(settings.admin_tokens.clone()),
            switches: Arc::clone(&making.switches),
            supervisor: options.supervisor.clone(),
            tasks: run.tasks.clone(),
            stop: run.stop.clone(),
            watched: Mutex::new(watched),
            rewatch: Notify::new(),
            reloading: Mutex::new(()),
        });
        let readers = readers(&core, &making, &told);
        let operators = operators(&core, &making, &told, &readers, (&doors, &options));
        run.tasks.spawn(admin::live::run(Arc::clone(&operators)));
        if let Some(of) = settings.metrics.as_ref().filter(|_| settings.is_observed) {
            let state = Arc::clone(&operators);
            let reading = move || admin::metrics::reading(&state);
            let exporting = told.exports.metrics(of, reading);
            exporting.map_err(StartError::Metrics)?;
        }
        let operators = admin::router(operators, options.admin_routes.take());
        let (address, admin_address) = (doors.address, doors.admin_address);
        let admin_run = Run {
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            ..run
        };
        doors.answer(&core, &readers, operators, &admin_run);
        if let Some(supervisor) = options.supervisor {
            // a server that finishes its pages is alive
            let alive = supervisor.keep_alive(admin_run.stop.clone());
            admin_run.tasks.spawn(alive);
        }
        governing
            .begin(&run.tasks, run.stop.clone())
            .map_err(StartError::Thread)?;
        let looking = making.looking();
        making.go_on(&run);
        told.go_on(&core, &looking);
        if core.declaration.lock().is_none() {
            // from here on a hangup is heard, and does not end the process
            let changes = config::watch::Changes::new();
            let following = Arc::clone(&core).follow_changes(changes, run.stop.clone());
            run.tasks.spawn(following);
        }
        core.tell(&Event::Started {
            version: env!("CARGO_PKG_VERSION"),
            is_after_crash: told.journal.is_after_crash(),
        });
        Ok(Self {
            access: told.access,
            journal: told.journal,
            exports: told.exports,
            looking,
            objectives: told.objectives,
            address,
            admin_address,
            core,
            readers,
            settings,
            tasks: run.tasks,
            stop: run.stop,
            admin_tasks: admin_run.tasks,
            admin_stop: admin_run.stop,
        })
    }
}

/// The site, as its file or its program declares it.
async fn load(options: &Options) -> Result<Loaded, StartError> {
    let (file, env) = (options.file.clone(), Arc::clone(&options.env));
    let declaration = options.brought.declaration.clone();
    let loading = tokio::task::spawn_blocking(move || match declaration {
        Some(declaration) => declaration.load(&*env),
        None => config::load(&file, &*env),
    });
    let loaded = loading.await.expect("loading a site does not panic");
    let loaded = loaded.map_err(StartError::Config)?;
    options.brought.check(&loaded)?;
    if !loaded.warnings.is_empty() {
        tracing::warn!("{}", loaded.warnings);
    }
    Ok(loaded)
}

impl Told {
    async fn begin(
        site: &Site,
        settings: &ServerSettings,
        options: &mut Options,
        run: &Run,
    ) -> Result<Self, StartError> {
        let clock = run.clock;
        let metrics = Arc::new(Metrics::new(site));
        let tally = Arc::new(Tally::new(clock).beside(metrics.at_hand()));
        let journal = open_journal(settings, clock).await;
        let gate = options.faults.clone();
        let objectives = slo::Keeping::open(site, settings, clock, gate).await;
        let pulse = Arc::new(Pulse::default().beside(metrics.at_hand()));
        let recent = Arc::new(Recent::new(settings.recent.clone(), clock));
        let mut observers: Vec<Arc<dyn Observer>> = vec![
            Arc::clone(&tally) as _,
            Arc::clone(&pulse) as _,
            Arc::clone(&journal) as _,
            Arc::clone(&metrics) as _,
            Arc::clone(&objectives.slos) as _,
        ];
        observers.append(&mut options.brought.observers);
        let supervisor = options.supervisor.clone();
        observers.extend(supervisor.map(|told| told as Arc<dyn Observer>));
        observers.push(Arc::clone(&recent) as _);
        let (remembering, until) = (Arc::clone(&recent), run.stop.clone());
        run.tasks.spawn(async move { remembering.run(until).await });
        log::prefer(settings.log);
        let access = settings.access_log.clone().map(|to| {
            let lost = metrics.access_log_lost();
            AccessLog::start(to, lost, clock, &run.tasks, run.stop.clone()).map(Arc::new)
        });
        let access = access.transpose().map_err(StartError::Thread)?;
        let exports = Exports::new(Arc::clone(&metrics), clock);
        let mut traced_share = 0.0;
        if let Some(of) = settings.traces.as_ref().filter(|_| settings.is_observed) {
            let traces = exports.traces(of.clone());
            observers.push(Arc::new(traces.map_err(StartError::Traces)?));
            traced_share = of.sample;
        }
        if !settings.is_observed {
            let muted = |observer| Arc::new(Muted(observer)) as _;
            observers = observers.into_iter().map(muted).collect();
        }
        Ok(Self {
            metrics,
            tally,
            pulse,
            journal,
            objectives,
            recent,
            exports,
            access,
            observers,
            traced_share,
        })
    }

    /// What is told by the look at the clock.
    fn go_on(&self, core: &Arc<Core>, looking: &journal::Looking) {
        let stop = || core.stop.clone();
        let look = looking.clone();
        let look = move |then: &mut dyn FnMut(&Around)| look.look(then);
        core.tasks
            .spawn(Arc::clone(&self.journal).sum_up(look, stop()));
        let telling = Arc::clone(core);
        let tell = move |event: &Event| telling.tell(event);
        let edition = Arc::clone(&core.edition);
        let keeping = self.objectives.clone().keep(edition, tell, stop());
        core.tasks.spawn(keeping);
        let (gate, chaos) = (self.objectives.slos.gate(), &core.world.chaos);
        let following = follow_gate(gate.clone(), Arc::clone(chaos), stop());
        core.tasks.spawn(following);
    }
}

impl Making {
    /// Everything is there, and nothing asks for a page yet.
    async fn begin(
        site: Site,
        settings: &ServerSettings,
        options: &mut Options,
        told: &Told,
        run: &Run,
    ) -> Result<Self, StartError> {
        let mut observers = told.observers.clone();
        let world = World {
            own: std::mem::take(&mut options.brought.origins),
            ..World::new(run.clock, observers.clone())
        };
        let chaos = Arc::clone(&world.chaos);
        // it is told what readers are promised, and tells the others what it does
        observers.push(Arc::clone(&chaos) as _);
        let around = (run.clock, &run.tasks, &run.stop, Arc::clone(&chaos));
        let cache = open_cache(&site, settings, around).await?;
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let cores = site.degradation.workers.unwrap_or(cores);
        let executor = Executor::new(cores, run.clock, Arc::clone(&world.means.lag));
        let executor = Arc::new(executor.emulating(options.emulated_work.take()));
        let composer = Composer::new(cache, run.clock, TaskTracker::new(), observers);
        let composer = Arc::new(composer.at(executor).traced(told.traced_share));
        let level = site.ladder.level(options.level.get());
        level.map_err(StartError::Level)?;
        let edition = edition(site, None, &world).map_err(StartError::Origin)?;
        edition.fetcher.check_health(&run.tasks, &run.stop);
        let (learned_file, learned) = recall_learned(settings).await;
        edition.fetcher.restore(&learned.baselines);
        let mode = Arc::new(ArcSwap::from_pointee(govern::first(&edition.site)));
        let switches = open_switches(settings, &composer, &mode).await;
        switches.declare(&edition.site.schedules);
        chaos.heed(|| told.objectives.slos.gate().room());
        chaos.declare(&edition.site);
        // what the others have decided is in force with the first page, if they can be asked
        let _ = timeout(FIRST_WORD, switches.exchange()).await;
        if options.level > Level::FULL {
            switches.pin_for_this_run(options.level);
        }
        Ok(Self {
            composer,
            edition: Arc::new(ArcSwap::from_pointee(edition)),
            mode,
            switches,
            world: Arc::new(world),
            samples: Arc::default(),
            cores,
            rate: Arc::new(KnownRate::new(learned.rate_of(cores))),
            learned_file,
        })
    }

    fn governing(&self, own_law: Option<Own>) -> Governing {
        Governing {
            edition: Arc::clone(&self.edition),
            composer: Arc::clone(&self.composer),
            lag: Arc::clone(&self.world.means.lag),
            overrides: Arc::clone(self.switches.in_force()),
            mode: Arc::clone(&self.mode),
            samples: Arc::clone(&self.samples),
            is_limiting: Arc::clone(&self.world.means.is_limiting),
            rate: Arc::clone(&self.rate),
            cpu: Clock::cpu,
            own_law,
        }
    }

    fn looking(&self) -> journal::Looking {
        journal::Looking {
            edition: Arc::clone(&self.edition),
            mode: Arc::clone(&self.mode),
        }
    }

    /// What runs beside the pages.
    fn go_on(self, run: &Run) {
        let stop = || run.stop.clone();
        let tasks = &run.tasks;
        let (composer, edition) = (self.composer, self.edition);
        tasks.spawn(probe::run(
            Arc::clone(&composer),
            Arc::clone(&edition),
            is_given_up(self.mode),
            stop(),
        ));
        if let Some(file) = self.learned_file {
            let (cores, rate) = (self.cores, self.rate);
            let learned = move || Learned {
                cores,
                rate: rate.value(),
                baselines: edition.load().fetcher.baselines(),
            };
            tasks.spawn(learned::keep(file, learned, stop()));
        }
        let (lag, clock, until) = (Arc::clone(&self.world.means.lag), run.clock, stop());
        tasks.spawn(async move { lag.measure(clock, until).await });
        tasks.spawn(tend(Arc::clone(&composer), stop()));
        tasks.spawn(Arc::clone(&self.switches).tend(stop()));
        tasks.spawn(Arc::clone(&self.world.chaos).tend(stop()));
        tasks.spawn(follow_nodes(composer, self.switches, stop()));
    }
}

/// What answers to readers.
fn readers(core: &Core, making: &Making, told: &Told) -> Arc<ServerState> {
    let settings = &core.settings;
    Arc::new(ServerState {
        access: told.access.clone(),
        complaints: Throttle::default(),
        composer: Arc::clone(&core.composer),
        edition: Arc::clone(&core.edition),
        mode: Arc::clone(&making.mode),
        tasks: core.tasks.clone(),
        stop: core.stop.clone(),
        noticed: server::Noticed::default(),
        chaos: Arc::clone(&core.world.chaos),
        pages: Arc::new(InFlight::new(pages_in_flight_max(settings))),
        header_bytes_max: settings.header_bytes_max,
        body_bytes_max: settings.body_bytes_max,
        body_timeout: settings.body_timeout,
    })
}

/// What answers to operators.
fn operators(
    core: &Arc<Core>,
    making: &Making,
    told: &Told,
    readers: &ServerState,
    (doors, options): (&Doors, &Options),
) -> Arc<AdminState> {
    let settings = &core.settings;
    let (shed, in_flight) = (Arc::clone(&readers.pages), Arc::clone(&readers.pages));
    let reloader = Arc::clone(core);
    Arc::new(AdminState {
        composer: Arc::clone(&core.composer),
        edition: Arc::clone(&core.edition),
        journal: Arc::clone(&told.journal),
        recent: Arc::clone(&told.recent),
        look: journal::around,
        followers: Arc::default(),
        pushes: Throttle::default(),
        refusals: Throttle::default(),
        switches: Arc::clone(&core.switches),
        chaos: Arc::clone(&core.world.chaos),
        mode: Arc::clone(&making.mode),
        samples: Arc::clone(&making.samples),
        tally: Arc::clone(&told.tally),
        slos: Arc::clone(&told.objectives.slos),
        metrics: Arc::clone(&told.metrics),
        lag: Arc::clone(&core.world.means.lag),
        pages_shed: Box::new(move || shed.shed()),
        pages_in_flight: Box::new(move || in_flight.count()),
        reload: Box::new(move |signed| Arc::clone(&reloader).reload_as_asked(signed).boxed()),
        stop: core.stop.clone(),
        sessions: Arc::clone(&core.sessions),
        live: Live::new(Arc::clone(&told.pulse)),
        has_dials: options.admin_routes.is_some(),
        readers: doors.address,
        readers_url: settings.readers_url.clone(),
        readers_scheme: match settings.tls {
            Some(_) => "https",
            None => "http",
        },
    })
}

impl Doors {
    /// Listens, and answers nobody yet.
    fn open(settings: &ServerSettings, options: &Options) -> Result<Self, StartError> {
        let tls = settings.tls.clone().map(accept::Tls::open).transpose();
        let tls = tls.map_err(StartError::Tls)?.map(Arc::new);
        let listen = options.listen.unwrap_or(settings.listen);
        let (readers, address) = match options.brought.is_mounted {
            true => (None, listen),
            false => bind("readers", listen, options.any_port)?,
        };
        let admin_listen = options.admin_listen.unwrap_or(settings.admin_listen);
        let (operators, admin_address) = match options.brought.has_no_operators {
            true => (None, admin_listen),
            false => bind("operators", admin_listen, options.any_port)?,
        };
        Ok(Self {
            readers,
            address,
            tls,
            operators,
            admin_address,
        })
    }

    /// From now on whoever comes is answered.
    fn answer(self, core: &Core, to_readers: &Arc<ServerState>, to_operators: Router, admin: &Run) {
        let settings = &core.settings;
        let limits = accept::Limits {
            header_timeout: settings.header_timeout,
            idle_timeout: settings.idle_timeout,
            send_timeout: settings.send_timeout,
            header_bytes_max: settings.header_bytes_max,
            connections_max: settings.connections_max,
        };
        if let Some(tls) = self.tls.clone() {
            let observers = core.composer.observers().to_vec();
            let tell = move |event: &Event| observers.iter().for_each(|o| o.event(event));
            core.tasks.spawn(tls.follow(core.stop.clone(), tell));
        }
        if let Some(listener) = self.readers {
            let readers = Arc::clone(to_readers);
            let terms = accept::Terms {
                tls: self.tls,
                trusted: Arc::new(settings.trusted_peers.clone()),
                proxy_protocol: settings.proxy_protocol,
                limits: limits.clone(),
            };
            core.tasks.spawn(accept::serve(
                listener,
                move |who| server::readers(Arc::clone(&readers), who),
                terms,
                core.tasks.clone(),
                core.stop.clone(),
            ));
        }
        if let Some(listener) = self.operators {
            admin.tasks.spawn(accept::serve(
                listener,
                move |who| admin::answers_to(to_operators.clone(), who.address()),
                accept::Terms::plain(limits),
                admin.tasks.clone(),
                admin.stop.clone(),
            ));
        }
    }
}

/// Pages in flight for each core, where the site does not say. Measured at twice the capacity of one
/// core, uncached (scenario F of `benches/`): with 128 it goes on serving 64 % of its capacity in
/// full, with 256 next to nothing, because every fetch then misses its deadline by waiting for
/// others.
const PAGES_PER_CORE: usize = 128;

fn pages_in_flight_max(settings: &ServerSettings) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    settings
        .pages_in_flight_max
        .unwrap_or(PAGES_PER_CORE * cores)
}

fn bind(
    what: &'static str,
    address: SocketAddr,
    any_port: bool,
) -> Result<(Option<TcpListener>, SocketAddr), StartError> {
    let failed = |error| StartError::Listen {
        what,
        address,
        error,
    };
    let listener = match accept::bind(address) {
        Err(error) if any_port && error.kind() == io::ErrorKind::AddrInUse => {
            accept::bind(SocketAddr::new(address.ip(), 0)).map_err(failed)?
        }
        bound => bound.map_err(failed)?,
    };
    let bound = listener.local_addr().map_err(failed)?;
    Ok((Some(listener), bound))
}
