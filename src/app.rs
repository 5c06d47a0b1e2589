//! The whole server (shell): the only place that knows everyone. Owns the order in which things are
//! started, swapped and stopped; decides nothing else.
//!
//! Invariants: a reload that fails changes nothing; a page keeps the edition it began with; a
//! stopping server accepts nothing new and finishes the pages in flight, within its grace.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

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
use crate::cache::shared::SharedError;
use crate::chaos::{Chaos, Faulty};
use crate::clock::Clock;
use crate::compose::{Composer, Edition, probe};
use crate::config::{self, Diagnostics, Loaded};
use crate::degradation::executor::Emulation;
use crate::degradation::{Executor, Level, Mode, NoSuchLevel};
use crate::fetch::dns::{self, Resolver};
use crate::fetch::{Fetcher, Means, Origin, http::HttpOrigin};
use crate::fragment::FragmentId;
use crate::report::{Cause, Event, Observer, Signature, Throttle};
use crate::server::{self, InFlight, ServerState, accept};
use crate::site::{self, OriginSpec, ServerSettings, Site};
use crate::telemetry::journal::Around;
use crate::telemetry::slo::FaultGate;
use crate::telemetry::{
    AccessLog, Exports, Journal, Metrics, Muted, Pulse, Recent, Samples, Tally, log,
};

mod beside;
pub mod embed;
pub mod govern;
pub mod journal;
mod learned;
mod open;
mod reload;
mod slo;
mod supervisor;

use beside::{follow_gate, follow_nodes, tend};
use embed::Brought;
use govern::Governing;
pub use learned::KnownRate;
use learned::Learned;
pub use open::connect_shared;
use open::{FIRST_WORD, open_cache, open_journal, open_switches, recall_learned};
use reload::Core;
pub use supervisor::Supervisor;

/// How long a stopped server lets operators finish what they are being told.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long a stopped server waits for its disk.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// Looks up a variable for `${NAME}` in the declaration.
pub type Env = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// How to start.
pub struct Options {
    /// The declaration.
    pub file: PathBuf,
    /// The level to begin with.
    pub level: Level,
    /// Instead of `server.listen`.
    pub listen: Option<SocketAddr>,
    /// Instead of `admin.listen`.
    pub admin_listen: Option<SocketAddr>,
    /// Where `${NAME}` is looked up.
    pub env: Env,
    /// Whether a taken port is an error or another one will do.
    pub any_port: bool,
    /// Mounted on the admin listener.
    pub admin_routes: Option<Router>,
    /// What each job takes besides what it does, for rehearsals of load.
    pub emulated_work: Option<Emulation>,
    /// Whoever sets faults on purpose asks here whether they may: a spent error budget closes it.
    pub faults: FaultGate,
    /// Whoever waits to be told that the server is ready.
    pub supervisor: Option<Arc<Supervisor>>,
    /// What the program that this is a part of brings along: see the methods.
    pub brought: Brought,
}

impl Options {
    /// To serve `file` as it is declared.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self {
            file: file.into(),
            level: Level::FULL,
            listen: None,
            admin_listen: None,
            env: Arc::new(|name| std::env::var(name).ok()),
            any_port: false,
            admin_routes: None,
            emulated_work: None,
            faults: FaultGate::default(),
            supervisor: None,
            brought: Brought::default(),
        }
    }
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The declaration is wrong.
    #[error("{0}")]
    Config(Diagnostics),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({what}): {error}")]
    Listen {
        /// For whom.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The level to begin with is not one of the site's.
    #[error("{0}")]
    Level(NoSuchLevel),
    /// The address of the shared store cannot be read.
    #[error("[shared]: {0}")]
    Shared(SharedError),
    /// The collector of traces cannot be prepared for.
    #[error("[telemetry.traces]: {0}")]
    Traces(String),
    /// The collector of metrics cannot be prepared for.
    #[error("[telemetry.metrics]: {0}")]
    Metrics(String),
    /// The certificates that readers are to be shown cannot be.
    #[error("[server.tls]: {0}")]
    Tls(accept::TlsFailure),
    /// A thread cannot be had.
    #[error("cannot begin a thread: {0}")]
    Thread(io::Error),
    /// The program answers for an origin that the site does not declare.
    #[error("the program answers for the origin `{0}`, which is not declared")]
    NoSuchOrigin(String),
    /// A client for an origin cannot be made.
    #[error("cannot prepare the connections to the origins: {0}")]
    Origin(Cause),
}

/// A running server.
pub struct App {
    /// Where readers connect; of a mounted server, where its site says that they would.
    pub address: SocketAddr,
    /// Where operators connect, if they can.
    pub admin_address: SocketAddr,
    core: Arc<Core>,
    readers: Arc<ServerState>,
    access: Option<Arc<AccessLog>>,
    journal: Arc<Journal>,
    exports: Exports,
    looking: journal::Looking,
    objectives: slo::Keeping,
    settings: ServerSettings,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// The operators' listener, which stays until the last page has left.
    admin_tasks: TaskTracker,
    admin_stop: CancellationToken,
}

/// Real connections to a declared origin.
pub fn connect(spec: &OriginSpec, names: &Resolver) -> Result<Vec<Arc<dyn Origin>>, Cause> {
    // the first caller installs it; later calls find it installed
    let _ = rustls::crypto::ring::default_provider().install_default();
    HttpOrigin::replicas(spec, &names.with_ttl(spec.connections.dns_ttl))
}

/// What the editions of a site have in common, and a reload keeps.
pub struct World {
    /// Time, lag, and who is told what happens to an origin.
    pub means: Means,
    /// What knows the addresses of origins. The next reload may come while no name can be looked up.
    pub names: Resolver,
    /// What goes wrong on purpose.
    pub chaos: Arc<Chaos>,
    /// Who answers instead of the hosts of an origin, by its name.
    own: BTreeMap<String, Arc<dyn Origin>>,
}

impl World {
    /// Nothing known of anybody.
    pub fn new(clock: Clock, observers: Vec<Arc<dyn Observer>>) -> Self {
        let chaos = Arc::new(Chaos::new(clock, observers.clone()));
        Self {
            // of a tracker of its own: a look-up that stalls would hold a server that stops
            names: Resolver::new(chaos.disturbing(dns::system()), clock, TaskTracker::new()),
            means: Means::new(clock, observers),
            chaos,
            own: BTreeMap::new(),
        }
    }
}

/// A site and its connections, taking over from `previous` what has not changed.
pub fn edition(site: Site, previous: Option<&Edition>, world: &World) -> Result<Edition, Cause> {
    let previous = previous.map(|edition| &edition.fetcher);
    let connect = |spec: &OriginSpec| {
        let replicas = match world.own.get(&spec.name) {
            Some(own) => vec![Arc::clone(own); spec.replicas.len()],
            None => connect(spec, &world.names)?,
        };
        let faulty = |replica| Arc::new(Faulty::new(&spec.name, replica, &world.chaos)) as _;
        Ok(replicas.into_iter().map(faulty).collect())
    };
    let fetcher = Fetcher::new(&site, previous, &world.means, connect)?;
    Ok(Edition::new(site, fetcher))
}

impl App {
    /// Loads the site and listens. Must be called within a Tokio runtime.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let (file, env) = (options.file.clone(), Arc::clone(&options.env));
        let brought = options.brought;
        let declaration = brought.declaration.clone();
        let loading = tokio::task::spawn_blocking(move || match declaration {
            Some(declaration) => declaration.load(&*env),
            None => config::load(&file, &*env),
        });
        let loaded = loading.await.expect("loading a site does not panic");
        let loaded = loaded.map_err(StartError::Config)?;
        brought.check(&loaded)?;
        let Loaded {
            site,
            server: settings,
            watched,
            warnings,
            ..
        } = loaded;
        if !warnings.is_empty() {
            tracing::warn!("{warnings}");
        }
        let (clock, tasks, stop) = (Clock::start(), TaskTracker::new(), CancellationToken::new());
        let metrics = Arc::new(Metrics::new(&site));
        let tally = Arc::new(Tally::new(clock).beside(metrics.at_hand()));
        let journal = open_journal(&settings, clock).await;
        let objectives = slo::Keeping::open(&site, &settings, clock, options.faults).await;
        let pulse = Arc::new(Pulse::default().beside(metrics.at_hand()));
        let is_observed = settings.is_observed;
        let mut observers: Vec<Arc<dyn Observer>> = vec![
            Arc::clone(&tally) as _,
            Arc::clone(&pulse) as _,
            Arc::clone(&journal) as _,
            Arc::clone(&metrics) as _,
            Arc::clone(&objectives.slos) as _,
        ];
        observers.extend(brought.observers);
        observers.extend(
            options
                .supervisor
                .clone()
                .map(|told| told as Arc<dyn Observer>),
        );
        let exports = Exports::new(Arc::clone(&metrics), clock);
        let recent = Arc::new(Recent::new(settings.recent.clone(), clock));
        observers.push(Arc::clone(&recent) as _);
        let (remembering, until) = (Arc::clone(&recent), stop.clone());
        tasks.spawn(async move { remembering.run(until).await });
        log::prefer(settings.log);
        let access = settings.access_log.clone().map(|to| {
            let lost = metrics.access_log_lost();
            AccessLog::start(to, lost, clock, &tasks, stop.clone()).map(Arc::new)
        });
        let access = access.transpose().map_err(StartError::Thread)?;
        let mut traced_share = 0.0;
        if let Some(settings) = settings.traces.as_ref().filter(|_| is_observed) {
            let traces = exports.traces(settings.clone());
            observers.push(Arc::new(traces.map_err(StartError::Traces)?));
            traced_share = settings.sample;
        }
        if !is_observed {
            let muted = |observer| Arc::new(Muted(observer)) as _;
            observers = observers.into_iter().map(muted).collect();
        }
        let world = World {
            own: brought.origins,
            ..World::new(clock, observers.clone())
        };
        let chaos = Arc::clone(&world.chaos);
        // it is told what readers are promised, and tells the others what it does
        observers.push(Arc::clone(&chaos) as _);
        let around = (clock, &tasks, &stop, Arc::clone(&chaos));
        let cache = open_cache(&site, &settings, around).await?;
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let cores = site.degradation.workers.unwrap_or(cores);
        let executor = Executor::new(cores, clock, Arc::clone(&world.means.lag));
        let executor = Arc::new(executor.emulating(options.emulated_work));
        let composer = Composer::new(cache, clock, TaskTracker::new(), observers);
        let composer = Arc::new(composer.at(executor).traced(traced_share));
        site.ladder
            .level(options.level.get())
            .map_err(StartError::Level)?;
        let edition = edition(site, None, &world).map_err(StartError::Origin)?;
        edition.fetcher.check_health(&tasks, &stop);
        let (learned_file, learned) = recall_learned(&settings).await;
        edition.fetcher.restore(&learned.baselines);
        let lag = Arc::clone(&world.means.lag);
        let edition = Arc::new(ArcSwap::from_pointee(edition));
        let mode = Arc::new(ArcSwap::from_pointee(govern::first(&edition.load().site)));
        let switches = open_switches(&settings, &composer, &mode).await;
        switches.declare(&edition.load().site.schedules);
        chaos.forbid(objectives.slos.gate().closed());
        chaos.declare(&edition.load().site);
        // what the others have decided is in force with the first page, if they can be asked
        let _ = timeout(FIRST_WORD, switches.exchange()).await;
        if options.level > Level::FULL {
            switches.pin_for_this_run(options.level);
        }
        let samples = Arc::new(Samples::default());
        let rate = Arc::new(KnownRate::new(learned.rate_of(cores)));
        let governing = Governing {
            edition: Arc::clone(&edition),
            composer: Arc::clone(&composer),
            lag: Arc::clone(&lag),
            overrides: Arc::clone(switches.in_force()),
            mode: Arc::clone(&mode),
            samples: Arc::clone(&samples),
            is_limiting: Arc::clone(&world.means.is_limiting),
            rate: Arc::clone(&rate),
            cpu: Clock::cpu,
            own_law: brought.law,
        };

        let tls = settings.tls.clone().map(accept::Tls::open).transpose();
        let tls = tls.map_err(StartError::Tls)?.map(Arc::new);
        let listen = options.listen.unwrap_or(settings.listen);
        let (listener, address) = match brought.is_mounted {
            true => (None, listen),
            false => bind("readers", listen, options.any_port)?,
        };
        let admin_listen = options.admin_listen.unwrap_or(settings.admin_listen);
        let (admin_listener, admin_address) = match brought.has_no_operators {
            true => (None, admin_listen),
            false => bind("operators", admin_listen, options.any_port)?,
        };

        let sessions = Arc::new(Sessions::new(&settings.admin_tokens));
        let core = Arc::new(Core {
            file: options.file,
            declaration: Mutex::new(brought.declaration),
            env: options.env,
            edition: Arc::clone(&edition),
            composer: Arc::clone(&composer),
            settings: settings.clone(),
            world,
            metrics: Arc::clone(&metrics),
            objectives: objectives.clone(),
            sessions: Arc::clone(&sessions),
            tokens: Mutex::new(settings.admin_tokens.clone()),
            switches: Arc::clone(&switches),
            supervisor: options.supervisor.clone(),
            tasks: tasks.clone(),
            stop: stop.clone(),
            watched: Mutex::new(watched),
            rewatch: Notify::new(),
            reloading: Mutex::new(()),
        });
        let pages = Arc::new(InFlight::new(pages_in_flight_max(&settings)));
        let counted = Arc::clone(&pages);
        let shed = move || counted.shed();
        let readers = Arc::new(ServerState {
            access: access.clone(),
            complaints: Throttle::default(),
            composer: Arc::clone(&composer),
            edition: Arc::clone(&edition),
            mode: Arc::clone(&mode),
            tasks: tasks.clone(),
            stop: stop.clone(),
            noticed: server::Noticed::default(),
            chaos: Arc::clone(&chaos),
            pages: Arc::clone(&pages),
            header_bytes_max: settings.header_bytes_max,
            body_bytes_max: settings.body_bytes_max,
            body_timeout: settings.body_timeout,
        });
        tasks.spawn(probe::run(
            Arc::clone(&composer),
            Arc::clone(&edition),
            is_given_up(Arc::clone(&mode)),
            stop.clone(),
        ));
        if let Some(file) = learned_file {
            let edition = Arc::clone(&edition);
            let learned = move || Learned {
                cores,
                rate: rate.value(),
                baselines: edition.load().fetcher.baselines(),
            };
            tasks.spawn(learned::keep(file, learned, stop.clone()));
        }
        let reloader = Arc::clone(&core);
        let looking = journal::Looking {
            edition: Arc::clone(&edition),
            mode: Arc::clone(&mode),
        };
        let operators = AdminState {
            composer,
            edition,
            journal: Arc::clone(&journal),
            recent,
            look: journal::around,
            followers: Arc::default(),
            pushes: Throttle::default(),
            switches: Arc::clone(&switches),
            chaos: Arc::clone(&chaos),
            mode,
            samples,
            tally,
            slos: Arc::clone(&objectives.slos),
            metrics,
            lag: Arc::clone(&lag),
            pages_shed: Box::new(shed),
            pages_in_flight: Box::new(move || pages.count()),
            reload: Box::new(move |signed| Arc::clone(&reloader).reload_as_asked(signed).boxed()),
            stop: stop.clone(),
            sessions,
            live: Live::new(pulse),
            has_dials: options.admin_routes.is_some(),
            readers: address,
            readers_url: settings.readers_url.clone(),
            readers_scheme: if settings.tls.is_some() {
                "https"
            } else {
                "http"
            },
        };
        let operators = Arc::new(operators);
        tasks.spawn(admin::live::run(Arc::clone(&operators)));
        if let Some(settings) = settings.metrics.as_ref().filter(|_| is_observed) {
            let state = Arc::clone(&operators);
            let exporting = exports.metrics(settings, move || admin::metrics::reading(&state));
            exporting.map_err(StartError::Metrics)?;
        }
        let operators = admin::router(operators, options.admin_routes);
        let limits = accept::Limits {
            header_timeout: settings.header_timeout,
            idle_timeout: settings.idle_timeout,
            send_timeout: settings.send_timeout,
            header_bytes_max: settings.header_bytes_max,
            connections_max: settings.connections_max,
        };
        let terms = accept::Terms {
            tls: tls.clone(),
            trusted: Arc::new(settings.trusted_peers.clone()),
            proxy_protocol: settings.proxy_protocol,
            limits: limits.clone(),
        };
        if let Some(tls) = tls {
            let observers = core.composer.observers().to_vec();
            let tell = move |event: &Event| observers.iter().for_each(|o| o.event(event));
            tasks.spawn(tls.follow(stop.clone(), tell));
        }
        let (admin_tasks, admin_stop) = (TaskTracker::new(), CancellationToken::new());
        if let Some(listener) = listener {
            let readers = Arc::clone(&readers);
            tasks.spawn(accept::serve(
                listener,
                move |who| server::readers(Arc::clone(&readers), who),
                terms,
                tasks.clone(),
                stop.clone(),
            ));
        }
        if let Some(listener) = admin_listener {
            admin_tasks.spawn(accept::serve(
                listener,
                move |who| admin::answers_to(operators.clone(), who.address()),
                accept::Terms::plain(limits),
                admin_tasks.clone(),
                admin_stop.clone(),
            ));
        }
        if let Some(supervisor) = options.supervisor {
            // a server that finishes its pages is alive
            admin_tasks.spawn(supervisor.keep_alive(admin_stop.clone()));
        }
        if core.declaration.lock().is_none() {
            // from here on a hangup is heard, and does not end the process
            let changes = config::watch::Changes::new();
            tasks.spawn(Arc::clone(&core).follow_changes(changes, stop.clone()));
        }
        governing
            .begin(&tasks, stop.clone())
            .map_err(StartError::Thread)?;
        let measuring = stop.clone();
        tasks.spawn(async move { lag.measure(clock, measuring).await });
        tasks.spawn(tend(Arc::clone(&core.composer), stop.clone()));
        tasks.spawn(switches.tend(stop.clone()));
        tasks.spawn(follow_gate(
            objectives.slos.gate().clone(),
            Arc::clone(&chaos),
            stop.clone(),
        ));
        tasks.spawn(chaos.tend(stop.clone()));
        let (composer, board) = (Arc::clone(&core.composer), Arc::clone(&core.switches));
        tasks.spawn(follow_nodes(composer, board, stop.clone()));
        let (summing, look) = (Arc::clone(&journal), looking.clone());
        let look = move |then: &mut dyn FnMut(&Around)| look.look(then);
        tasks.spawn(summing.sum_up(look, stop.clone()));
        let telling = Arc::clone(&core);
        let tell = move |event: &Event| telling.tell(event);
        let keeping = Arc::clone(&core.edition);
        tasks.spawn(objectives.clone().keep(keeping, tell, stop.clone()));
        core.tell(&Event::Started {
            version: env!("CARGO_PKG_VERSION"),
            is_after_crash: journal.is_after_crash(),
        });
        Ok(Self {
            access,
            journal,
            exports,
            looking,
            objectives,
            address,
            admin_address,
            core,
            readers,
            settings,
            tasks,
            stop,
            admin_tasks,
            admin_stop,
        })
    }

    /// How readers come.
    pub fn scheme(&self) -> &'static str {
        match self.settings.tls {
            Some(_) => "https",
            None => "http",
        }
    }

    /// Reads the site again, now.
    pub async fn reload(&self) -> Result<Vec<String>, String> {
        Arc::clone(&self.core)
            .reload_as_asked(Signature::default())
            .await
    }

    /// Tells whoever reads reports of something that has happened around the server.
    pub fn tell(&self, event: &Event) {
        self.core.tell(event);
    }

    /// The same for somebody who outlives this.
    pub fn teller(&self) -> impl Fn(&Event) + Send + Sync + use<> {
        let core = Arc::clone(&self.core);
        move |event| core.tell(event)
    }

    /// What has happened, as it happens.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Stops accepting, and finishes what is in flight within the grace. Tells whether everything
    /// was finished.
    pub async fn stop(self) -> bool {
        self.tell(&Event::Stopping);
        self.stop.cancel();
        self.tasks.close();
        let finished = timeout(self.settings.shutdown_grace, self.tasks.wait())
            .await
            .is_ok();
        self.looking
            .look(&mut |around| self.journal.turn(around, true));
        self.objectives.look(|event| self.tell(event));
        self.objectives.save().await;
        self.tell(&Event::Stopped(finished));
        let journal = Arc::clone(&self.journal);
        let _ = tokio::task::spawn_blocking(move || journal.close()).await;
        // of all pages, and of what became of them
        self.exports.finish().await;
        if let Some(access) = self.access {
            let _ = tokio::task::spawn_blocking(move || access.flush()).await;
        }
        // the last copies that were made are the first that the next start needs
        if let Some(disk) = self.core.composer.cache().disk() {
            let _ = timeout(LAST_WRITES, disk.flush()).await;
        }
        // until here operators could ask how it goes, and were told that it is not ready
        self.admin_stop.cancel();
        self.admin_tasks.close();
        let _ = timeout(FAREWELL, self.admin_tasks.wait()).await;
        finished
    }
}

/// See [`site::governed::is_given_up`].
pub fn is_given_up(mode: Arc<ArcSwap<Mode>>) -> impl Fn(&Site, FragmentId) -> bool {
    move |site, id| site::governed::is_given_up(&mode.load(), site, id)
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
