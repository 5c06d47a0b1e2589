//! One small file of the state folder (shell): what a part of the server knows, and wants to know after a
//! restart. Owns that it is replaced in one step, and what becomes of one that cannot be read; what is in it
//! is its owner's.
//!
//! Invariants: the file is whole, the old one or the new one, whenever the process ends; one that cannot be
//! read is set aside and said so, and costs what was in it, and nothing else.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Where it is kept.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    /// The most that is read of it, in bytes.
    bytes_max: u64,
    /// What becomes of whoever does not have it: "error budgets begin anew".
    without: &'static str,
    /// Whether it could not be written the last time.
    is_failing: AtomicBool,
}

impl StateFile {
    /// That of this name in this folder; `without` says what it costs not to have it.
    pub fn within(folder: &Path, name: &str, bytes_max: u64, without: &'static str) -> Self {
        Self {
            path: folder.join(name),
            bytes_max,
            without,
            is_failing: AtomicBool::new(false),
        }
    }

    /// What it holds, as `decode` reads it or says why it cannot; nothing where there is none, or none that
    /// can be read. Blocks.
    pub fn load<T>(&self, decode: impl FnOnce(&[u8]) -> Result<T, String>) -> Option<T> {
        let read = self.read().transpose()?;
        let why = match read.and_then(|bytes| decode(&bytes)) {
            Ok(held) => return Some(held),
            Err(why) => why,
        };
        let (path, without) = (self.path.display(), self.without);
        let aside = self.beside("damaged");
        match fs::rename(&self.path, &aside) {
            Ok(()) => tracing::warn!(
                file = %path,
                "{path} is passed over, {why}: set aside as {}; {without}",
                aside.display()
            ),
            Err(error) => tracing::warn!(
                file = %path,
                "{path} is passed over, {why}, and cannot be set aside: {error}; {without}"
            ),
        }
        None
    }

    /// `None`: there is none.
    fn read(&self) -> Result<Option<Vec<u8>>, String> {
        let unread = |error: io::Error| format!("it cannot be read: {error}");
        let found = match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found.map_err(unread)?,
        };
        // opening a pipe would wait for whoever writes to it
        if !found.is_file() {
            return Err("it is no file".to_owned());
        }
        let (size, most) = (found.len(), self.bytes_max);
        if size > most {
            return Err(format!("it has {size} bytes, which is more than {most}"));
        }
        fs::read(&self.path).map(Some).map_err(unread)
    }

    /// Writes it, the whole of it or nothing. That it cannot be written is said once. Blocks.
    pub fn save(&self, bytes: &[u8]) {
        let failed = self.write(bytes).err();
        let was_failing = self.is_failing.swap(failed.is_some(), Ordering::Relaxed);
        let (path, without) = (self.path.display(), self.without);
        match failed {
            Some(error) if !was_failing => tracing::warn!(
                file = %path,
                "{path} cannot be written: {error}; after a restart {without}"
            ),
            None if was_failing => tracing::info!(file = %path, "{path} can be written again"),
            Some(_) | None => {}
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let unfinished = self.beside("new");
        let folder = self.path.parent().unwrap_or(Path::new("."));
        make_folder(folder)?;
        let mut file = File::create(&unfinished)?;
        file.write_all(bytes)?;
        // the name must not lead to bytes that are not there yet
        file.sync_all()?;
        drop(file);
        fs::rename(&unfinished, &self.path)?;
        File::open(folder)?.sync_all()
    }

    /// `slo.json.new` beside `slo.json`.
    fn beside(&self, end: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(end);
        name.into()
    }
}

/// Makes a folder of the state, and those above it that are not there: what is in them is its owner's alone. One
/// that is there stays as it is. Blocks.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn file() -> (TempDir, StateFile) {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("var");
        let file = StateFile::within(&below, "known.json", 100, "it is learned anew");
        (folder, file)
    }

    /// A number, as text.
    fn number(bytes: &[u8]) -> Result<u64, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        text.parse().map_err(|_| "it is damaged".to_owned())
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_is_made_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let before = mode(folder.path());
        let inner = folder.path().join("var/journal");
        make_folder(&inner).unwrap();
        make_folder(&inner).unwrap();
        assert_eq!(mode(&inner), 0o700);
        assert_eq!(mode(inner.parent().unwrap()), 0o700);
        assert_eq!(mode(folder.path()), before);
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let (_folder, file) = file();
        assert_eq!(file.load(number), None);
        file.save(b"17");
        assert_eq!(file.load(number), Some(17));
        file.save(b"18");
        assert_eq!(file.load(number), Some(18));
        assert!(!file.beside("new").exists() && !file.beside("damaged").exists());
    }

    #[test]
    fn what_cannot_be_read_is_set_aside_and_begun_anew() {
        for content in ["", "17 apples", &"1".repeat(101)] {
            let (_folder, file) = file();
            file.save(content.as_bytes());
            assert_eq!(file.load(number), None, "{content}");
            let aside = fs::read_to_string(file.beside("damaged")).unwrap();
            assert_eq!(aside, content);
            assert_eq!(file.load(number), None);
            file.save(b"17");
            assert_eq!(file.load(number), Some(17), "{content}");
        }
    }

    #[test]
    fn what_is_no_file_is_set_aside_too() {
        let (_folder, file) = file();
        fs::create_dir_all(&file.path).unwrap();
        assert_eq!(file.load(number), None);
        assert!(file.beside("damaged").is_dir());
        file.save(b"17");
        assert_eq!(file.load(number), Some(17));
    }

    #[test]
    fn what_cannot_be_written_costs_nothing_and_leaves_the_old_one() {
        let (_folder, file) = file();
        file.save(b"17");
        // where the new one would be there is a folder
        fs::create_dir(file.beside("new")).unwrap();
        file.save(b"18");
        assert!(file.is_failing.load(Ordering::Relaxed));
        assert_eq!(file.load(number), Some(17));
        fs::remove_dir(file.beside("new")).unwrap();
        file.save(b"18");
        assert!(!file.is_failing.load(Ordering::Relaxed));
        assert_eq!(file.load(number), Some(18));
    }
}
