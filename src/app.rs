//! The whole server (shell): the only place that knows everyone. Owns the order in which things are
//! started, swapped and stopped; decides nothing else.
//!
//! Invariants: a reload that fails changes nothing; a page keeps the edition it began with; a
//! stopping server accepts nothing new and finishes the pages in flight, within its grace.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cache::shared::SharedError;
use crate::chaos::{Chaos, Faulty};
use crate::clock::Clock;
use crate::compose::Edition;
use crate::config::Diagnostics;
use crate::degradation::executor::Emulation;
use crate::degradation::{Level, Mode, NoSuchLevel};
use crate::fetch::dns::{self, Resolver};
use crate::fetch::{Fetcher, Means, Origin, http::HttpOrigin};
use crate::fragment::FragmentId;
use crate::report::{Cause, Event, Observer, Signature};
use crate::server::{ServerState, accept};
use crate::site::{self, OriginSpec, ServerSettings, Site};
use crate::telemetry::slo::FaultGate;
use crate::telemetry::{AccessLog, Exports, Journal};

mod beside;
pub mod embed;
pub mod govern;
pub mod journal;
mod learned;
mod open;
mod reload;
mod slo;
mod start;
mod supervisor;

use embed::Brought;
pub use learned::KnownRate;
pub use open::connect_shared;
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
