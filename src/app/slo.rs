//! The objectives of the site that is served (shell). Owns when they are looked at, when what was counted
//! is written down, and that canaries rest while a spent budget leaves no room for them.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::compose::Edition;
use crate::report::Event;
use crate::site::{ServerSettings, Site};
use crate::telemetry::slo::{Counted, FaultGate, SloFile, Slos};

/// Between two looks at how they are.
const EVERY: Duration = Duration::from_secs(1);

/// Looks between two times that it is written.
const SAVED_EVERY: u32 = 30;

/// The objectives, and where their counts outlive the process.
#[derive(Clone)]
pub(super) struct Keeping {
    pub(super) slos: Arc<Slos>,
    file: Option<Arc<SloFile>>,
    clock: Clock,
}

impl Keeping {
    /// Goes on with what was counted before a restart, as far as it can be read.
    pub(super) async fn open(
        site: &Site,
        settings: &ServerSettings,
        clock: Clock,
        gate: FaultGate,
    ) -> Self {
        let file = settings.state_dir.as_deref().map(SloFile::within);
        let file = file.map(Arc::new);
        let counted = match file.clone() {
            None => Counted::default(),
            Some(file) => {
                let loading = tokio::task::spawn_blocking(move || file.load());
                loading.await.expect("reading a file does not panic")
            }
        };
        let now = clock.moment(clock.now());
        let slos = Arc::new(Slos::new(site, counted, now, gate));
        Self { slos, file, clock }
    }

    /// Another site is served.
    pub(super) fn declare(&self, site: &Site) {
        let now = self.clock.moment(self.clock.now());
        self.slos.declare(site, now);
    }

    /// Looks at how they are, and writes it down now and then, until `stop`.
    pub(super) async fn keep(
        self,
        edition: Arc<ArcSwap<Edition>>,
        tell: impl Fn(&Event) + Send + Sync,
        stop: CancellationToken,
    ) {
        let mut looks = 0;
        while timeout(EVERY, stop.cancelled()).await.is_err() {
            self.look(&tell);
            // each time: a reload may have brought others
            let are_paused = self.slos.stops_canaries();
            edition.load().fetcher.pause_canaries(are_paused);
            looks += 1;
            if looks % SAVED_EVERY == 0 {
                self.save().await;
            }
        }
    }

    /// Looks at how they are.
    pub(super) fn look(&self, tell: impl Fn(&Event)) {
        let now = self.clock.moment(self.clock.now());
        self.slos.turn(now, tell);
    }

    /// Writes down what was counted.
    pub(super) async fn save(&self) {
        let Some(file) = self.file.clone() else {
            return;
        };
        let counted = self.slos.counted(self.clock.moment(self.clock.now()));
        // a disk may take its time
        let _ = tokio::task::spawn_blocking(move || file.save(counted)).await;
    }
}
