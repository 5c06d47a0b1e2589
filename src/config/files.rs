//! Shell: the files of a declaration. Owns the seam through which loading sees them, the one that
//! reads a disk, and the account of what was looked at; does not know what the files mean.
//!
//! Invariant: reading is bounded, and never waits on what is not a regular file.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Nothing that a person writes for a site is larger.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Why a file could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// There is nothing of that name.
    #[error("there is no such file")]
    Missing,
    /// A folder, a socket, a device.
    #[error("it is not a regular file")]
    NotAFile,
    /// Larger than anything that belongs to a site.
    #[error("it is larger than 64MiB")]
    TooLarge,
    /// The system refused.
    #[error("{0}")]
    Refused(String),
}

/// Where files come from.
pub trait Files {
    /// The whole content of a file.
    fn read(&self, path: &Path) -> Result<Vec<u8>, Unreadable>;
    /// The names of the regular files in a folder, sorted; `None` if there is no such folder.
    fn list(&self, folder: &Path) -> Option<Vec<String>>;
    /// Whether everybody on this machine may read a file or change it, as far as that can be known.
    fn is_open_to_all(&self, path: &Path) -> bool;
}

/// The machine's files.
#[derive(Debug, Clone, Copy)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> Result<Vec<u8>, Unreadable> {
        // asked first: opening a pipe would wait for its writer
        let metadata = fs::metadata(path).map_err(|e| unreadable(&e))?;
        if !metadata.is_file() {
            return Err(Unreadable::NotAFile);
        }
        let mut content = Vec::new();
        let mut file = fs::File::open(path)
            .map_err(|e| unreadable(&e))?
            .take(FILE_BYTES_MAX + 1);
        file.read_to_end(&mut content).map_err(|e| unreadable(&e))?;
        if content.len() as u64 > FILE_BYTES_MAX {
            return Err(Unreadable::TooLarge);
        }
        Ok(content)
    }

    fn list(&self, folder: &Path) -> Option<Vec<String>> {
        let entries = fs::read_dir(folder).ok()?;
        let mut names: Vec<String> = entries
            .filter_map(Result::ok)
            .filter(|entry| fs::metadata(entry.path()).is_ok_and(|m| m.is_file()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort_unstable();
        Some(names)
    }

    #[cfg(unix)]
    fn is_open_to_all(&self, path: &Path) -> bool {
        use std::os::unix::fs::PermissionsExt as _;
        fs::metadata(path).is_ok_and(|known| known.permissions().mode() & 0o006 != 0)
    }

    #[cfg(not(unix))]
    fn is_open_to_all(&self, _: &Path) -> bool {
        false
    }
}

fn unreadable(error: &io::Error) -> Unreadable {
    if matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    ) {
        return Unreadable::Missing;
    }
    Unreadable::Refused(error.to_string())
}

/// Files that remember what was looked at, found or not.
pub(super) struct Remembering<'f> {
    files: &'f dyn Files,
    seen: RefCell<BTreeSet<PathBuf>>,
}

impl<'f> Remembering<'f> {
    pub(super) fn new(files: &'f dyn Files) -> Self {
        Self {
            files,
            seen: RefCell::default(),
        }
    }

    /// Every file that was read and every folder that was searched for includes.
    pub(super) fn seen(&self) -> Vec<PathBuf> {
        self.seen.borrow().iter().cloned().collect()
    }

    /// Searches a folder whose content matters: a new file in it means loading again.
    pub(super) fn search(&self, folder: &Path) -> Option<Vec<String>> {
        self.seen.borrow_mut().insert(folder.to_owned());
        self.files.list(folder)
    }
}

impl Files for Remembering<'_> {
    fn read(&self, path: &Path) -> Result<Vec<u8>, Unreadable> {
        self.seen.borrow_mut().insert(path.to_owned());
        self.files.read(path)
    }

    fn list(&self, folder: &Path) -> Option<Vec<String>> {
        self.files.list(folder)
    }

    fn is_open_to_all(&self, path: &Path) -> bool {
        self.files.is_open_to_all(path)
    }
}
