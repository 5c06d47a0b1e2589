//! Why the store does not keep what it is given. Owns the words that the operator reads.

use std::io;
use std::path::PathBuf;

use super::segment::is_absence;

/// Why, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The folder is locked.
    #[error("another process has this folder: {0}; give each process a folder of its own")]
    Taken(PathBuf),
    /// The file system or a quota is full.
    #[error("no room in {0}: make some; until then copies are kept in memory only")]
    NoRoom(PathBuf),
    /// Files that are open have gone from the folder.
    #[error("files have gone from {0} while in use")]
    Gone(PathBuf),
    /// Anything else.
    #[error("cannot {doing} {path}: {error}; copies are kept in memory only until it can be done")]
    Io {
        doing: &'static str,
        path: PathBuf,
        error: io::Error,
    },
}

impl Trouble {
    /// What an error met while `doing` something to `path` means.
    pub(super) fn of(doing: &'static str, path: impl Into<PathBuf>, error: io::Error) -> Self {
        let path = path.into();
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        if full.contains(&error.kind()) {
            // of a file, the folder is what the operator can do something about
            let folder = path.parent().filter(|_| path.extension().is_some());
            return Self::NoRoom(folder.unwrap_or(&path).to_owned());
        }
        Self::Io { doing, path, error }
    }

    /// Whether the folder has been taken away, so that opening it anew may help.
    pub(super) fn is_loss(&self) -> bool {
        match self {
            Self::Gone(_) => true,
            Self::Io { error, .. } => is_absence(error),
            Self::Taken(_) | Self::NoRoom(_) => false,
        }
    }
}
