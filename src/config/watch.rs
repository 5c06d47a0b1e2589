//! Shell: when to load again. Owns the watching of files, the wait until they are quiet, and the
//! hangup signal; does not load.
//!
//! What is watched are folders, not files: an editor that saves by renaming, and a mounted volume
//! that swaps a symlink, both replace the file that one would have watched. Invariant: failing to
//! watch costs a warning, and the signal still works.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// After a change, this long without another: a deployment that writes many files is one change.
const QUIET: Duration = Duration::from_millis(250);

/// A folder that is never quiet must not put loading off for ever.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(2);

/// Why to load again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A watched file or folder changed.
    Files,
    /// The process was sent SIGHUP.
    Hangup,
}

/// Changes as they come. Dropping it ends the watching.
pub struct Changes {
    touched: mpsc::Receiver<()>,
    touch: mpsc::Sender<()>,
    hangup: Option<Signal>,
    watcher: Option<RecommendedWatcher>,
}

impl Changes {
    /// Listens for SIGHUP, and for nothing else until [`follow`](Self::follow) is called. Must be
    /// called within a runtime.
    pub fn new() -> (Self, Vec<String>) {
        // one place is enough: a change that finds it taken is told by what is in it
        let (touch, touched) = mpsc::channel(1);
        let (hangup, warning) = match signal(SignalKind::hangup()) {
            Ok(hangup) => (Some(hangup), None),
            Err(error) => (None, Some(format!("SIGHUP cannot be listened to: {error}"))),
        };
        (
            Self {
                touched,
                touch,
                hangup,
                watcher: None,
            },
            warning.into_iter().collect(),
        )
    }

    /// Watches these files and folders instead of those before; says what cannot be watched.
    ///
    /// To be called after each loading: what a site consists of changes with it, and a folder that
    /// was replaced is another folder under the same name.
    pub fn follow(&mut self, watched: &[PathBuf]) -> Vec<String> {
        let targets = Arc::new(Targets::of(watched));
        let (touch, seen) = (self.touch.clone(), Arc::clone(&targets));
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.map_or(true, |event| seen.concerns(&event)) {
                // full means that a change is waiting to be seen already
                let _ = touch.try_send(());
            }
        });
        let mut warnings = Vec::new();
        match watcher {
            Err(error) => {
                warnings.push(format!(
                    "files cannot be watched: {error}; send SIGHUP after a change"
                ));
            }
            Ok(mut watcher) => {
                for folder in &targets.folders {
                    if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                        let folder = folder.display();
                        warnings.push(format!(
                            "{folder} cannot be watched: {error}; send SIGHUP after a change"
                        ));
                    }
                }
                // the one before ends only now, so that nothing is missed in between
                self.watcher = Some(watcher);
            }
        }
        warnings
    }

    /// The next reason to load again, once files are quiet. Cancel-safe.
    pub async fn next(&mut self) -> Cause {
        let hangup = async {
            match &mut self.hangup {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = hangup => return Cause::Hangup,
            _ = self.touched.recv() => {}
        }
        // from here on a change was seen: told again if the caller gives up waiting for quiet
        let mut again = Again {
            touch: &self.touch,
            is_due: true,
        };
        let quiet = async {
            while timeout(QUIET, self.touched.recv()).await.is_ok() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let _ = timeout(QUIET_WAIT_MAX, quiet).await;
        again.is_due = false;
        Cause::Files
    }
}

/// Puts a change back that was taken but not told.
struct Again<'a> {
    touch: &'a mpsc::Sender<()>,
    is_due: bool,
}

impl Drop for Again<'_> {
    fn drop(&mut self) {
        if self.is_due {
            let _ = self.touch.try_send(());
        }
    }
}

/// What to watch, and which events of it matter.
#[derive(Debug, PartialEq, Eq)]
struct Targets {
    /// The files and folders that were asked for.
    watched: BTreeSet<PathBuf>,
    /// The symlinks on the way to them.
    links: BTreeSet<PathBuf>,
    /// The folders to watch for them.
    folders: BTreeSet<PathBuf>,
}

impl Targets {
    fn of(watched: &[PathBuf]) -> Self {
        let mut targets = Self {
            watched: watched.iter().cloned().collect(),
            links: BTreeSet::new(),
            folders: BTreeSet::new(),
        };
        for path in watched {
            let folder = if path.is_dir() {
                Some(path.as_path())
            } else {
                existing_parent(path)
            };
            targets.folders.extend(folder.map(Path::to_owned));
            let mut on_the_way = PathBuf::new();
            for component in path.components() {
                on_the_way.push(component);
                let is_link = matches!(component, Component::Normal(_)) && on_the_way.is_symlink();
                if is_link && let Some(parent) = on_the_way.parent() {
                    targets.folders.insert(parent.to_owned());
                    targets.links.insert(on_the_way.clone());
                }
            }
        }
        targets
    }

    /// Reading a file is an event too, and loading reads: only what changes something counts.
    fn concerns(&self, event: &Event) -> bool {
        let changes = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
            EventKind::Access(_) => false,
            EventKind::Any
            | EventKind::Create(_)
            | EventKind::Modify(_)
            | EventKind::Remove(_)
            | EventKind::Other => true,
        };
        changes && (event.need_rescan() || event.paths.iter().any(|path| self.is_target(path)))
    }

    fn is_target(&self, path: &Path) -> bool {
        let parent_watched = path
            .parent()
            .is_some_and(|parent| self.watched.contains(parent));
        // `..data` is what a Kubernetes volume swaps
        let swapped = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(".."));
        self.watched.contains(path)
            || parent_watched
            || swapped
            || self.links.contains(path)
            // a folder on the way that was missing, or is gone
            || self.watched.iter().any(|watched| watched.starts_with(path))
    }
}

/// The nearest folder above a path that is there to be watched.
fn existing_parent(path: &Path) -> Option<&Path> {
    path.ancestors().skip(1).find(|folder| folder.is_dir())
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes")
            .field("is_watching", &self.watcher.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn soon(changes: &mut Changes) -> Option<Cause> {
        timeout(Duration::from_secs(5), changes.next()).await.ok()
    }

    async fn silent(changes: &mut Changes) -> bool {
        timeout(Duration::from_millis(600), changes.next())
            .await
            .is_err()
    }

    fn put(path: &Path, text: &str) {
        let temporary = path.with_extension("tmp");
        std::fs::write(&temporary, text).unwrap();
        std::fs::rename(temporary, path).unwrap();
    }

    #[tokio::test]
    async fn saving_by_rename_is_seen_and_reading_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fragments.toml");
        put(&file, "a");
        let (mut changes, _) = Changes::new();
        assert_eq!(
            changes.follow(std::slice::from_ref(&file)),
            Vec::<String>::new()
        );
        std::fs::read(&file).unwrap();
        put(&folder.path().join("unrelated.log"), "x");
        assert!(silent(&mut changes).await);
        put(&file, "b");
        assert_eq!(soon(&mut changes).await, Some(Cause::Files));
        put(&file, "c");
        assert_eq!(soon(&mut changes).await, Some(Cause::Files));
    }

    #[tokio::test]
    async fn a_swapped_symlink_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        for release in ["1", "2"] {
            std::fs::create_dir(folder.path().join(release)).unwrap();
            put(&folder.path().join(release).join("fragments.toml"), release);
        }
        let current = folder.path().join("current");
        std::os::unix::fs::symlink("1", &current).unwrap();
        let (mut changes, _) = Changes::new();
        changes.follow(&[current.join("fragments.toml")]);
        let next = folder.path().join("next");
        std::os::unix::fs::symlink("2", &next).unwrap();
        std::fs::rename(next, &current).unwrap();
        assert_eq!(soon(&mut changes).await, Some(Cause::Files));
    }

    #[tokio::test]
    async fn a_file_that_was_missing_is_seen_when_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a/b.html");
        let (mut changes, _) = Changes::new();
        changes.follow(std::slice::from_ref(&file));
        std::fs::create_dir(folder.path().join("a")).unwrap();
        assert_eq!(soon(&mut changes).await, Some(Cause::Files));
    }

    #[tokio::test]
    async fn giving_up_waiting_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fragments.toml");
        put(&file, "a");
        let (mut changes, _) = Changes::new();
        changes.follow(std::slice::from_ref(&file));
        put(&file, "b");
        assert!(
            timeout(Duration::from_millis(100), changes.next())
                .await
                .is_err()
        );
        assert_eq!(soon(&mut changes).await, Some(Cause::Files));
    }
}
