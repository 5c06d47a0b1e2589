//! Shell: the file of switches in the state folder. Owns its name, that it is replaced in one step, and
//! what becomes of one that cannot be read; its bytes are the [record](super::record)'s.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::record;
use crate::degradation::{Switch, Switches};

const NAME: &str = "switches.json";

/// What is written before it takes the file's place.
const NEXT: &str = "switches.json.next";

/// Of files that are set aside the names begin so; a number follows.
const ASIDE: &str = "switches.json.aside-";

/// Files set aside that are kept, the latest.
const ASIDE_MAX: usize = 2;

/// Largest file, in bytes: as many switches as there may be, each as long as it may be, take half of
/// this.
const BYTES_MAX: u64 = 4 << 20;

/// The folder that the file is in.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// What was written; nothing if nothing was. `Err` says what is wrong with the file and what has
    /// become of it.
    pub(super) fn read(&self) -> Result<Switches, String> {
        let path = self.path.join(NAME);
        let read = match read(&path) {
            Ok(Some(bytes)) => record::decode(&bytes).map_err(|damage| damage.to_string()),
            Ok(None) => return Ok(Switches::default()),
            Err(error) => Err(format!("it cannot be read: {error}")),
        };
        read.map_err(|why| {
            let path = path.display();
            let aside = match self.set_aside() {
                Ok(aside) => format!("it is set aside as {}", aside.display()),
                Err(error) => format!("it cannot be set aside: {error}"),
            };
            format!("{path} is passed over, {why}; {aside}")
        })
    }

    /// Puts these in the place of what was written before, whole or not at all.
    pub(super) fn write(&self, switches: &[Switch]) -> Result<(), String> {
        let next = self.path.join(NEXT);
        self.replace(&next, &record::encode(switches))
            .map_err(|error| {
                // half a file is of no use, and on a full disk it is in the way
                let _ = fs::remove_file(&next);
                format!(
                    "{} cannot be written: {error}",
                    self.path.join(NAME).display()
                )
            })
    }

    fn replace(&self, next: &Path, bytes: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.path)?;
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).open(next)?;
        file.write_all(bytes)?;
        // the name must not lead to bytes that are not there yet
        file.sync_all()?;
        fs::rename(next, self.path.join(NAME))?;
        File::open(&self.path)?.sync_all()
    }

    fn set_aside(&self) -> io::Result<PathBuf> {
        let mut kept = self.asides();
        let number = kept.last().map_or(1, |(number, _)| number + 1);
        let aside = self.path.join(format!("{ASIDE}{number}"));
        fs::rename(self.path.join(NAME), &aside)?;
        kept.push((number, aside.clone()));
        for (_, oldest) in &kept[..kept.len().saturating_sub(ASIDE_MAX)] {
            tracing::warn!(
                file = %oldest.display(),
                "{} is removed: the latest {ASIDE_MAX} files set aside are kept",
                oldest.display()
            );
            let _ = fs::remove_file(oldest);
        }
        Ok(aside)
    }

    /// Files that were set aside, by their number.
    fn asides(&self) -> Vec<(u64, PathBuf)> {
        let entries = fs::read_dir(&self.path).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let of = |name: String| {
            let number = name.strip_prefix(ASIDE)?.parse().ok()?;
            Some((number, self.path.join(name)))
        };
        let mut asides: Vec<_> = names.filter_map(of).collect();
        asides.sort_unstable();
        asides
    }
}

/// The whole file; `None` if there is none.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let kind = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata?.file_type(),
    };
    // opening a pipe would wait for whoever writes to it
    if !kind.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    let size = File::open(path)?
        .take(BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    match u64::try_from(size).is_ok_and(|size| size <= BYTES_MAX) {
        true => Ok(Some(bytes)),
        false => Err(io::Error::other(format!(
            "it has more than {BYTES_MAX} bytes"
        ))),
    }
}
