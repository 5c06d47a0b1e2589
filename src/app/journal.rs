//! The journal of this server: where it is, and how things are when it is summed up what readers got.
//! Owns the one look at everything that tells a calm minute from an incident.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::compose::Edition;
use crate::degradation::{Level, Mode};
use crate::fragment::OriginId;
use crate::report::BreakerState;
use crate::site::ServerSettings;
use crate::telemetry::journal::{Around, Settings};

/// Where the journal of a site is kept, if it is.
pub fn settings(of: &ServerSettings) -> Option<Settings> {
    of.state_dir.as_deref().map(|folder| Settings {
        folder: within(folder),
        bytes_max: of.journal_bytes_max,
        keep: of.journal_keep,
    })
}

/// Where the journal is in a state folder.
pub fn within(state_dir: &Path) -> std::path::PathBuf {
    state_dir.join("journal")
}

/// Whoever looks at how things are.
#[derive(Clone)]
pub(super) struct Looking {
    pub(super) edition: Arc<ArcSwap<Edition>>,
    pub(super) mode: Arc<ArcSwap<Mode>>,
}

impl Looking {
    pub(super) fn look(&self, then: &mut dyn FnMut(&Around)) {
        around(&self.edition.load(), &self.mode.load(), then);
    }
}

/// How things are on this edition, in this mode.
pub fn around(edition: &Edition, mode: &Mode, then: &mut dyn FnMut(&Around)) {
    let site = &edition.site;
    let level = mode.level_of_all();
    let closed = BreakerState::Closed.label();
    let is_asked = |origin: usize| {
        let state = edition.fetcher.state(OriginId(origin));
        state
            .breaker
            .values()
            .all(|breaker| breaker.state == closed)
    };
    let is_well = level == Level::FULL && (0..site.origins.len()).all(is_asked);
    then(&Around {
        level: level.min(site.ladder.snapshot()).get(),
        is_well,
    });
}
