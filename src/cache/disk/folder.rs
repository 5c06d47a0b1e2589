//! Shell: the folder of the log. Owns its lock, the listing of segments, and what becomes of files
//! that are not segments: set aside under another name, at most [`ASIDE_MAX`] of them, because an
//! operator may want to know what they were. Does not read records.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::state_file;

use super::record::{Kind, VERSION};
use super::segment::{self, Found, Segment, is_absence};
use super::trouble::Trouble;

/// Files set aside that are kept, the latest.
const ASIDE_MAX: usize = 2;

const ASIDE: &str = ".aside-";

/// Makes the folder if need be and locks it for this process, for as long as the file is held.
///
/// `None` is a folder that can be read and in which no lock can be made: nobody can write there.
pub(super) fn lock(folder: &Path) -> Result<Option<File>, Trouble> {
    state_file::make_folder(folder).map_err(|error| Trouble::of("make", folder, error))?;
    let path = folder.join("lock");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = match options.open(&path) {
        Err(error) if is_refusal(&error) => match File::open(&path) {
            Err(error) if is_absence(&error) => return Ok(None),
            opened => opened,
        },
        opened => opened,
    };
    let file = file.map_err(|error| Trouble::of("open", &path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(Trouble::Taken(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(Trouble::of("lock", path, error)),
    }
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// What a folder has.
#[derive(Default)]
pub(super) struct Listing {
    /// The segments, oldest first.
    pub(super) segments: Vec<Arc<Segment>>,
    /// The highest number of a file that is named like one.
    pub(super) last_number: u32,
}

/// The segments, everything else that has the name of one being set aside.
pub(super) fn segments(folder: &Path) -> Result<Listing, Trouble> {
    let mut listing = Listing::default();
    for name in names(folder)? {
        let number = match segment::number(&name) {
            None => continue,
            Some(None) => {
                set_aside(folder, &name, "has a number out of range");
                continue;
            }
            Some(Some(number)) => number,
        };
        listing.last_number = listing.last_number.max(number);
        let path = folder.join(&name);
        match Segment::open(path.clone(), number) {
            Ok(Found::Segment(segment)) => listing.segments.push(Arc::new(segment)),
            Ok(Found::Other(kind)) => reject(folder, &name, &kind),
            Err(error) if is_absence(&error) => {}
            Err(error) => tracing::error!(
                file = %path.display(),
                "{} cannot be read: {error}; its records are passed over",
                path.display()
            ),
        }
    }
    Ok(listing)
}

/// The names of the files in a folder, sorted. Those that are not text are not ours.
fn names(folder: &Path) -> Result<Vec<String>, Trouble> {
    let list = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    };
    list().map_err(|error| Trouble::of("list", folder, error))
}

fn reject(folder: &Path, name: &str, kind: &Kind) {
    match kind {
        Kind::Unfinished => {
            let path = folder.join(name);
            tracing::warn!(
                file = %path.display(),
                "{} was being made when the process ended: it holds no record and is removed",
                path.display()
            );
            // what cannot be removed is found again at the next start
            let _ = fs::remove_file(path);
        }
        Kind::Version(version) => {
            let why = format!("has format version {version}, and this program reads {VERSION}");
            set_aside(folder, name, &why);
        }
        Kind::Foreign | Kind::Segment { .. } => set_aside(folder, name, "is not a segment"),
    }
}

fn set_aside(folder: &Path, name: &str, why: &str) {
    let path = folder.join(name);
    let mut kept = asides(folder);
    let next = kept.last().map_or(1, |(number, _)| number + 1);
    let aside = folder.join(format!("{name}{ASIDE}{next}"));
    match fs::rename(&path, &aside) {
        Ok(()) => {
            tracing::warn!(
                file = %path.display(),
                "{} {why}: set aside as {}",
                path.display(),
                aside.display()
            );
            kept.push((next, aside));
        }
        Err(error) => tracing::warn!(
            file = %path.display(),
            "{} {why}, and cannot be set aside: {error}; it is passed over",
            path.display()
        ),
    }
    for (_, oldest) in &kept[..kept.len().saturating_sub(ASIDE_MAX)] {
        tracing::warn!(
            file = %oldest.display(),
            "{} is removed: the latest {ASIDE_MAX} files set aside are kept",
            oldest.display()
        );
        if let Err(error) = fs::remove_file(oldest) {
            tracing::warn!(
                file = %oldest.display(),
                "{} cannot be removed: {error}",
                oldest.display()
            );
        }
    }
}

/// Files that were set aside, by their number. A folder that cannot be listed has none.
fn asides(folder: &Path) -> Vec<(u64, PathBuf)> {
    let of = |name: String| {
        let number = name.rsplit_once(ASIDE)?.1.parse().ok()?;
        Some((number, folder.join(name)))
    };
    let names = names(folder).unwrap_or_default();
    let mut asides: Vec<_> = names.into_iter().filter_map(of).collect();
    asides.sort_unstable();
    asides
}

/// Makes what was created in or removed from the folder durable.
pub(super) fn sync(folder: &Path) -> Result<(), Trouble> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| Trouble::of("sync", folder, error))
}
