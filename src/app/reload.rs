//! Another site for a running server (shell). Owns when it is read and what is swapped, in which order.
//!
//! Invariants: a reload that fails changes nothing; of two, the last one to begin is the one that stays.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::Sessions;
use crate::compose::{Composer, Edition};
use crate::config::{self, Declaration};
use crate::report::{Event, Signature};
use crate::site::{AdminTokens, ServerSettings};
use crate::switchboard::Switchboard;
use crate::telemetry::Metrics;

use super::{Env, Supervisor, World, edition, slo};

/// What a reload needs.
pub(super) struct Core {
    pub(super) file: PathBuf,
    /// Instead of the file.
    pub(super) declaration: Mutex<Option<Declaration>>,
    pub(super) env: Env,
    pub(super) edition: Arc<ArcSwap<Edition>>,
    pub(super) composer: Arc<Composer>,
    pub(super) settings: ServerSettings,
    pub(super) world: Arc<World>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) objectives: slo::Keeping,
    pub(super) sessions: Arc<Sessions>,
    /// Those that sessions and requests are held against.
    pub(super) tokens: Mutex<AdminTokens>,
    pub(super) switches: Arc<Switchboard>,
    pub(super) supervisor: Option<Arc<Supervisor>>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) watched: Mutex<Vec<PathBuf>>,
    /// What is to be watched may have changed.
    pub(super) rewatch: Notify,
    /// One reload at a time, so that the last one to begin is the one that stays.
    pub(super) reloading: Mutex<()>,
}

impl Core {
    /// Reads the site again, or what its program says from now on, and swaps it in. Compiling a site takes
    /// milliseconds of work, so it is done on a thread of its own.
    pub(super) async fn reload(
        self: Arc<Self>,
        signed: Signature,
        another: Option<Declaration>,
    ) -> Result<Vec<String>, String> {
        let work = tokio::task::spawn_blocking(move || self.reload_now(signed, another));
        work.await
            .unwrap_or_else(|_| Err("the reload panicked; the site before stays".to_owned()))
    }

    /// The same for somebody who asked for it, and not because a watched file changed.
    pub(super) async fn reload_as_asked(
        self: Arc<Self>,
        signed: Signature,
    ) -> Result<Vec<String>, String> {
        let result = Arc::clone(&self).reload(signed, None).await;
        self.rewatch.notify_one();
        result
    }

    fn reload_now(
        &self,
        signed: Signature,
        another: Option<Declaration>,
    ) -> Result<Vec<String>, String> {
        let _one_at_a_time = self.reloading.lock();
        if let Some(supervisor) = &self.supervisor {
            supervisor.reloading(self.composer.clock());
        }
        let result = self.swap(another);
        self.tell(&match &result {
            Ok(changes) => Event::Reloaded {
                changes: changes.clone(),
                signed,
            },
            Err(why) => Event::ReloadRefused {
                why: why.clone(),
                signed,
            },
        });
        result
    }

    /// Reads the site again, silently unless it is another one.
    fn catch_up(&self) {
        let _one_at_a_time = self.reloading.lock();
        if let Ok(changes) = self.swap(None)
            && !changes.is_empty()
        {
            let signed = Signature::default();
            self.tell(&Event::Reloaded { changes, signed });
        }
    }

    pub(super) fn tell(&self, event: &Event) {
        let observers = self.composer.observers();
        observers.iter().for_each(|observer| observer.event(event));
    }

    fn swap(&self, another: Option<Declaration>) -> Result<Vec<String>, String> {
        let declaration = another.or_else(|| self.declaration.lock().clone());
        let loaded = self.load(declaration.as_ref()).map_err(|diagnostics| {
            // the file that is missing now is the one whose coming is waited for
            *self.watched.lock() = diagnostics.watched().to_vec();
            diagnostics.to_string()
        })?;
        let before = self.edition.load_full();
        let mut changes = config::diff::diff(&before.site, &loaded.site);
        let tokens = loaded.server.admin_tokens.clone();
        let server = ServerSettings {
            admin_tokens: self.settings.admin_tokens.clone(),
            ..loaded.server
        };
        let others = server.tables_unlike(&self.settings);
        let at_next_start = |table| format!("[{table}] changed: takes effect at the next start");
        changes.extend(others.into_iter().map(at_next_start));
        let edition = edition(loaded.site, Some(&before), &self.world);
        let edition = edition.map_err(|cause| cause.to_string())?;
        edition.fetcher.check_health(&self.tasks, &self.stop);
        self.composer
            .cache()
            .resize(edition.site.limits.cache_bytes_max);
        *self.watched.lock() = loaded.watched;
        self.metrics.declare(&edition.site);
        self.objectives.declare(&edition.site);
        self.world.chaos.heed(|| self.objectives.slos.gate().room());
        self.switches.declare(&edition.site.schedules);
        self.world.chaos.declare(&edition.site);
        self.edition.store(Arc::new(edition));
        changes.extend(self.take_tokens(tokens));
        *self.declaration.lock() = declaration;
        Ok(changes)
    }

    /// Holds operators to other tokens from now on, and says so, if they are others.
    fn take_tokens(&self, tokens: AdminTokens) -> Option<String> {
        let mut known = self.tokens.lock();
        if *known == tokens {
            return None;
        }
        if tokens.operate.is_none() {
            // it may listen beyond this machine, where it would be open to everybody
            let says = "[admin] declares no token any more: takes effect at the next start";
            return Some(says.to_owned());
        }
        self.sessions.declare(&tokens);
        *known = tokens;
        let says = "[admin] has other tokens: those before open nothing, nor do their sessions";
        Some(says.to_owned())
    }

    /// Reloads on every change of a file and on every SIGHUP, until `stop`.
    pub(super) async fn follow_changes(
        self: Arc<Self>,
        (mut changes, warnings): (config::watch::Changes, Vec<String>),
        stop: CancellationToken,
    ) {
        warnings
            .iter()
            .for_each(|warning| tracing::warn!("{warning}"));
        let mut followed = Vec::new();
        loop {
            let watched = self.watched.lock().clone();
            for warning in changes.follow(&watched) {
                tracing::warn!("{warning}");
            }
            if watched != followed {
                // what changed after it was read and before it was watched has told nobody
                followed = watched;
                let core = Arc::clone(&self);
                let _ = tokio::task::spawn_blocking(move || core.catch_up()).await;
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.rewatch.notified() => {}
                _ = changes.next() => {
                    // the outcome has been reported to the observers
                    let _ = Arc::clone(&self).reload(Signature::default(), None).await;
                }
            }
        }
    }
}
