//! What a server finds when it starts (shell): its journal, what it has learned, its copies, what operators
//! have decided, the store that the nodes share. Owns in what order they are looked for; what cannot be used
//! is told, and costs only itself.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cache::Cache;
use crate::cache::disk::{self, Disk};
use crate::cache::shared::{self, Shared, SharedError};
use crate::chaos::Chaos;
use crate::clock::Clock;
use crate::compose::Composer;
use crate::degradation::Mode;
use crate::site::{ServerSettings, SharedSettings, Site};
use crate::switchboard::Switchboard;
use crate::telemetry::Journal;

use super::learned::{Learned, LearnedFile};
use super::{StartError, journal};

/// How long a starting server waits for the other nodes' word of what was purged.
pub(super) const FIRST_WORD: Duration = Duration::from_millis(500);

/// What has happened before, as far as it can be read.
pub(super) async fn open_journal(settings: &ServerSettings, clock: Clock) -> Arc<Journal> {
    let kept = journal::settings(settings);
    let opening = tokio::task::spawn_blocking(move || Journal::open(kept, clock));
    Arc::new(opening.await.expect("opening a journal does not panic"))
}

/// What was learned before a restart, and where it is kept, if it is.
pub(super) async fn recall_learned(
    settings: &ServerSettings,
) -> (Option<Arc<LearnedFile>>, Learned) {
    let Some(folder) = &settings.state_dir else {
        return (None, Learned::default());
    };
    let file = Arc::new(LearnedFile::within(folder));
    let reader = Arc::clone(&file);
    let loading = tokio::task::spawn_blocking(move || reader.load());
    let learned = loading.await.expect("reading a file does not panic");
    (Some(file), learned)
}

/// The copies, and where they are kept besides memory. What cannot be used costs nothing but copies.
pub(super) async fn open_cache(
    site: &Site,
    settings: &ServerSettings,
    (clock, tasks, stop, chaos): (Clock, &TaskTracker, &CancellationToken, Arc<Chaos>),
) -> Result<Cache, StartError> {
    let mut cache = Cache::new(site.limits.cache_bytes_max).timed_by(clock);
    if let Some(folder) = &settings.state_dir {
        let of_disk = disk::Settings {
            folder: folder.join("copies"),
            bytes_max: settings.state_bytes_max,
        };
        // reads what is there: not on a thread that others wait for
        let opened = tokio::task::spawn_blocking(move || {
            let disk = Arc::new(Disk::open(of_disk, clock));
            cache.with_disk(disk, clock.moment(clock.now()))
        });
        cache = opened.await.expect("opening a disk does not panic");
    }
    if let Some(shared) = &settings.shared {
        let store = connect_shared(shared, clock, tasks, stop, Some(chaos));
        cache = cache.with_shared(store.map_err(StartError::Shared)?);
        // what was purged while this node was down is not to be shown first and taken back then
        let _ = timeout(FIRST_WORD, cache.exchange_purges(clock)).await;
    }
    Ok(cache)
}

/// What operators have decided before. What is in force is known to the next page, and to the governor.
pub(super) async fn open_switches(
    settings: &ServerSettings,
    composer: &Arc<Composer>,
    mode: &Arc<ArcSwap<Mode>>,
) -> Arc<Switchboard> {
    let (folder, clock) = (settings.state_dir.clone(), composer.clock());
    let observers = composer.observers().to_vec();
    let open = move || Switchboard::open(folder.as_deref(), clock, observers);
    let opened = tokio::task::spawn_blocking(open).await;
    let board = opened.expect("opening a file does not panic");
    let board = board.shared_through(composer.cache().shared());
    let (composer, mode) = (Arc::clone(composer), Arc::clone(mode));
    Arc::new(board.publishing(move |overrides| {
        composer.cache().stretch(overrides.ttl_factor);
        mode.rcu(|mode| Mode {
            overrides: Arc::clone(overrides),
            ..Mode::clone(mode)
        });
    }))
}

/// The store that the nodes share. The connection is made behind the caller's back, now and whenever
/// it is lost.
pub fn connect_shared(
    settings: &SharedSettings,
    clock: Clock,
    tasks: &TaskTracker,
    stop: &CancellationToken,
    chaos: Option<Arc<Chaos>>,
) -> Result<Arc<Shared>, SharedError> {
    let settings = shared::Settings {
        url: settings.url.clone(),
        prefix: settings.prefix.clone(),
        timeout: settings.timeout,
    };
    let way = shared::Way {
        upset: chaos.map(|chaos| chaos as Arc<dyn shared::Upset>),
        dial: None,
    };
    Shared::connect_by(settings, clock, tasks, stop.clone(), way).map(Arc::new)
}
