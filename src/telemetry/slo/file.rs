//! The file of what was counted, in the state folder (shell). Owns its name, that it is replaced in one
//! step, and what becomes of one that cannot be read.
//!
//! Invariants: the file is whole, the old one or the new one, whenever the process ends; one that cannot
//! be read is set aside and said so, and costs what was counted, and nothing else.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::record::{self, Counted};

const NAME: &str = "slo.json";

/// The most that is read, in bytes: as many objectives as there may be, every bucket of them full, take
/// half of this.
const BYTES_MAX: u64 = 16 << 20;

/// Where it is kept.
#[derive(Debug)]
pub struct SloFile {
    path: PathBuf,
    /// Whether it could not be written the last time.
    is_failing: AtomicBool,
}

impl SloFile {
    /// That of this state folder.
    pub fn within(folder: &Path) -> Self {
        Self {
            path: folder.join(NAME),
            is_failing: AtomicBool::new(false),
        }
    }

    /// What it holds; nothing, where it cannot be read. Blocks.
    pub fn load(&self) -> Counted {
        let why = match self.read() {
            Ok(counted) => return counted,
            Err(None) => return Counted::default(),
            Err(Some(why)) => why,
        };
        let (path, aside) = (
            self.path.display(),
            self.path.with_extension("json.damaged"),
        );
        match fs::rename(&self.path, &aside) {
            Ok(()) => tracing::warn!(
                file = %path,
                "{path} is passed over, {why}: set aside as {}; error budgets begin anew",
                aside.display()
            ),
            Err(error) => tracing::warn!(
                file = %path,
                "{path} is passed over, {why}, and cannot be set aside: {error}; error budgets begin anew"
            ),
        }
        Counted::default()
    }

    /// `Err(None)`: there is none.
    fn read(&self) -> Result<Counted, Option<String>> {
        let unread = |error: io::Error| {
            (error.kind() != io::ErrorKind::NotFound).then(|| format!("it cannot be read: {error}"))
        };
        let size = fs::metadata(&self.path).map_err(unread)?.len();
        if size > BYTES_MAX {
            return Err(Some(format!(
                "it has {size} bytes, which is more than {BYTES_MAX}"
            )));
        }
        let bytes = fs::read(&self.path).map_err(unread)?;
        record::decode(&bytes).map_err(|damage| Some(damage.to_string()))
    }

    /// Writes it, the whole of it or nothing. That it cannot be written is said once. Blocks.
    pub fn save(&self, counted: Counted) {
        let failed = self.write(counted).err();
        let was_failing = self.is_failing.swap(failed.is_some(), Ordering::Relaxed);
        let path = self.path.display();
        match failed {
            Some(error) if !was_failing => tracing::warn!(
                file = %path,
                "{path} cannot be written: {error}; a restart would begin error budgets anew"
            ),
            None if was_failing => tracing::info!(file = %path, "{path} can be written again"),
            Some(_) | None => {}
        }
    }

    fn write(&self, counted: Counted) -> io::Result<()> {
        let unfinished = self.path.with_extension("json.new");
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut file = File::create(&unfinished)?;
        file.write_all(&record::encode(counted))?;
        // the name must not lead to bytes that are not there yet
        file.sync_all()?;
        drop(file);
        fs::rename(&unfinished, &self.path)?;
        File::open(folder)?.sync_all()
    }
}
