//! Shell: the file of switches in the state folder. Owns its name, that it is replaced in one step, and
//! what becomes of one that cannot be read: what was read whole and is damaged is set aside at once; what
//! could not be read, or is of a newer program, stays where it is until something takes its place, and
//! is then kept under another name. Its bytes are the [record](super::record)'s.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::ledger::Ledger;
use super::record::{self, Damage};

const NAME: &str = "switches.json";

/// What is written before it takes the file's place.
const NEXT: &str = "switches.json.next";

/// Of files that are set aside the names begin so; a number follows.
const ASIDE: &str = "switches.json.aside-";

/// Files set aside that are kept, the latest.
const ASIDE_MAX: usize = 2;

/// Largest file, in bytes: as many decisions as there may be, each as long as it may be, take half of
/// this.
const BYTES_MAX: u64 = 16 << 20;

/// The folder that the file is in.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    standing: Mutex<Standing>,
}

/// What stands in the file's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// What was read, or written, or nothing: it may be replaced.
    Known,
    /// Something that could not be read.
    Unread,
    /// The file of a newer program.
    Newer,
}

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            standing: Mutex::new(Standing::Known),
        }
    }

    /// Whether there is something that could not be read, and perhaps can be later.
    pub(super) fn is_unread(&self) -> bool {
        *self.standing.lock() == Standing::Unread
    }

    /// What was written; nothing if nothing was. `Err` says what is wrong with the file and what has
    /// become of it.
    pub(super) fn read(&self) -> Result<Ledger, String> {
        let path = self.path.join(NAME);
        let (standing, why) = match read(&path) {
            Ok(None) => return Ok(self.known(Ledger::default())),
            Ok(Some(bytes)) => match record::decode(&bytes) {
                Ok(ledger) => return Ok(self.known(ledger)),
                Err(newer @ Damage::Newer(_)) => (Standing::Newer, newer.to_string()),
                Err(damage) => (Standing::Known, damage.to_string()),
            },
            Err(error) => (Standing::Unread, format!("it cannot be read: {error}")),
        };
        *self.standing.lock() = standing;
        let becomes = match standing {
            Standing::Known => match self.set_aside() {
                Ok(aside) => format!("it is set aside as {}", aside.display()),
                Err(error) => format!("it cannot be set aside: {error}"),
            },
            Standing::Unread | Standing::Newer => {
                "it stays as it is until a switch is set, and is kept beside the new one then"
                    .to_owned()
            }
        };
        Err(format!(
            "{} is passed over, {why}; {becomes}",
            path.display()
        ))
    }

    fn known(&self, ledger: Ledger) -> Ledger {
        *self.standing.lock() = Standing::Known;
        ledger
    }

    /// Puts these in the place of what was written before, whole or not at all.
    pub(super) fn write(&self, ledger: &Ledger) -> Result<(), String> {
        let next = self.path.join(NEXT);
        self.make_room()
            .and_then(|()| self.replace(&next, &record::encode(ledger)))
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

    /// Keeps what stands in the file's place and was not understood, before something else does.
    fn make_room(&self) -> io::Result<()> {
        let standing = *self.standing.lock();
        let kept = match standing {
            Standing::Known => return Ok(()),
            // what cannot be read cannot be copied
            Standing::Unread => self.set_aside(),
            Standing::Newer => self.keep_aside(|file, aside| {
                fs::copy(file, aside)?;
                File::open(aside)?.sync_all()
            }),
        };
        match kept {
            Ok(aside) => {
                tracing::warn!(
                    "what was in the place of the switches is {}",
                    aside.display()
                );
            }
            // somebody has taken it away
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        *self.standing.lock() = Standing::Known;
        Ok(())
    }

    fn set_aside(&self) -> io::Result<PathBuf> {
        self.keep_aside(|file, aside| fs::rename(file, aside))
    }

    fn keep_aside(&self, keep: impl FnOnce(&Path, &Path) -> io::Result<()>) -> io::Result<PathBuf> {
        let mut kept = self.asides();
        let number = kept.last().map_or(1, |(number, _)| number + 1);
        let aside = self.path.join(format!("{ASIDE}{number}"));
        keep(&self.path.join(NAME), &aside)?;
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
