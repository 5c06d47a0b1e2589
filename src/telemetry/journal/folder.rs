//! The journal on disk (shell): files of JSON lines in one folder, each named by the moment it was begun.
//! Owns how lines are added, when the next file begins, and which are thrown away; does not know what a
//! line says but for whether it can be read.
//!
//! # What a crash leaves
//!
//! A line is written by one call, and files only grow. A process or a disk that ends in the middle leaves
//! a torn last line; whoever opens the file next ends it before it adds its own. Whoever reads passes over
//! what is not an entry, and says how much that was: one damaged line costs one line.
//!
//! Invariants: the folder never holds more than it may; what is thrown away is the oldest.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::Moment;
use crate::state_file;

use super::entry::Entry;

/// A journal is this many files when it has its full size or age, and is shortened by one of them.
const FILES: u32 = 8;

/// Files that are begun are not smaller, in bytes.
const FILE_BYTES_MIN: u64 = 64 << 10;

/// The most that is read of one line: no entry is nearly as long.
const LINE_BYTES_MAX: u64 = 1 << 20;

const SUFFIX: &str = ".jsonl";

/// Where the journal is, and how much of it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The folder.
    pub folder: PathBuf,
    /// The most that its files may take.
    pub bytes_max: u64,
    /// How long an entry is kept; it may be an eighth longer.
    pub keep: Duration,
}

/// What could be read.
#[derive(Debug, Default)]
pub struct Found {
    /// The newest entries, the oldest of them first.
    pub entries: VecDeque<Entry>,
    /// Lines that are not entries.
    pub damaged: u64,
    /// Whether there were older entries than those.
    pub is_cut: bool,
}

/// The entries in this folder since that moment, and not more than so many: the newest. A folder that is
/// not there holds none.
pub fn read(folder: &Path, since: Moment, entries_max: usize) -> io::Result<Found> {
    let mut found = Found::default();
    let files = files(folder)?;
    let since_ms = since.micros() / 1000;
    for (place, (_, path)) in files.iter().enumerate() {
        // all that it holds is older than the next file
        if files.get(place + 1).is_some_and(|(next, _)| *next <= since) {
            found.is_cut = true;
            continue;
        }
        let file = match File::open(path) {
            Ok(file) => file,
            // thrown away meanwhile, as it was too old
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        read_file(file, &mut found, |found, entry| {
            if entry.at_ms < since_ms {
                found.is_cut = true;
                return;
            }
            if found.entries.len() >= entries_max {
                found.entries.pop_front();
                found.is_cut = true;
            }
            found.entries.push_back(entry);
        })?;
    }
    Ok(found)
}

fn read_file(
    file: File,
    found: &mut Found,
    mut take: impl FnMut(&mut Found, Entry),
) -> io::Result<()> {
    let mut lines = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = (&mut lines)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)?;
        if length == 0 {
            return Ok(());
        }
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        match serde_json::from_slice(text) {
            Ok(entry) => take(found, entry),
            Err(_) => found.damaged += 1,
        }
    }
}

/// The files, the oldest first.
fn files(folder: &Path) -> io::Result<Vec<(Moment, PathBuf)>> {
    let listed = match fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in listed {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
        let number = number.filter(|n| n.len() == 20 && n.bytes().all(|b| b.is_ascii_digit()));
        if let Some(begun) = number.and_then(|number| number.parse().ok()) {
            files.push((Moment::from_micros(begun), entry.path()));
        }
    }
    files.sort();
    Ok(files)
}

/// Adds lines.
#[derive(Debug)]
pub(super) struct Appender {
    settings: Settings,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    file: File,
    begun: Moment,
    bytes: u64,
}

impl Appender {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            current: None,
        }
    }

    /// Adds a line, which ends with its end, at this moment.
    pub(super) fn add(&mut self, line: &[u8], now: Moment) -> io::Result<()> {
        let added = self.try_add(line, now);
        if added.is_err() {
            // how much of the line is there shows when it is opened again
            self.current = None;
        }
        added
    }

    fn try_add(&mut self, line: &[u8], now: Moment) -> io::Result<()> {
        let bytes = line.len() as u64;
        let mut current = match self.current.take() {
            Some(current) => current,
            None => self.open(now)?,
        };
        let is_full = current.bytes > 0 && current.bytes + bytes > self.file_bytes_max();
        if is_full || now.since(current.begun) > self.settings.keep / FILES {
            current.file.sync_data()?;
            current = self.begin(now)?;
        }
        current.file.write_all(line)?;
        current.bytes += bytes;
        self.current = Some(current);
        Ok(())
    }

    /// Has what was added survive a power cut.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.current
            .as_ref()
            .map_or(Ok(()), |current| current.file.sync_data())
    }

    fn file_bytes_max(&self) -> u64 {
        (self.settings.bytes_max / u64::from(FILES)).max(FILE_BYTES_MIN)
    }

    /// The newest file, to go on with, or a new one if there is none.
    fn open(&self, now: Moment) -> io::Result<Current> {
        state_file::make_folder(&self.settings.folder)?;
        let Some((begun, path)) = files(&self.settings.folder)?.pop() else {
            return self.begin(now);
        };
        let mut file = OpenOptions::new().read(true).append(true).open(path)?;
        let mut bytes = file.metadata()?.len();
        if bytes > 0 {
            file.seek(SeekFrom::End(-1))?;
            let mut last = [0];
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                bytes += 1;
            }
        }
        Ok(Current { file, begun, bytes })
    }

    /// The next file; those that are too many go.
    fn begin(&self, now: Moment) -> io::Result<Current> {
        let (folder, known) = (&self.settings.folder, files(&self.settings.folder)?);
        // a wall clock that was set back begins no file before those that are there
        let after = known.last().map_or(0, |(newest, _)| newest.micros() + 1);
        let begun = Moment::from_micros(now.micros().max(after));
        self.make_room(&known, now)?;
        let path = folder.join(format!("{:020}{SUFFIX}", begun.micros()));
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(path)?;
        Ok(Current {
            file,
            begun,
            bytes: 0,
        })
    }

    fn make_room(&self, known: &[(Moment, PathBuf)], now: Moment) -> io::Result<()> {
        let lengths = known
            .iter()
            .map(|(_, path)| fs::metadata(path).map(|m| m.len()));
        let lengths: Vec<u64> = lengths.collect::<io::Result<_>>()?;
        let mut total: u64 = lengths.iter().sum();
        let room = self
            .settings
            .bytes_max
            .saturating_sub(self.file_bytes_max());
        for (place, (_, path)) in known.iter().enumerate() {
            let ended = known.get(place + 1).map_or(now, |(next, _)| *next);
            if total <= room && now.since(ended) <= self.settings.keep {
                break;
            }
            fs::remove_file(path)?;
            total -= lengths[place];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::journal::entry::What;

    const HOUR: Duration = Duration::from_secs(3600);

    fn settings(folder: &Path) -> Settings {
        Settings {
            folder: folder.to_owned(),
            bytes_max: 8 * FILE_BYTES_MIN,
            keep: 80 * HOUR,
        }
    }

    fn entry(at: Moment, says: &str) -> Entry {
        Entry::new(at, says, What::Journal { lost: 1 })
    }

    fn add(appender: &mut Appender, at: Moment, says: &str) {
        appender.add(&entry(at, says).line(), at).unwrap();
    }

    fn texts(found: &Found) -> Vec<&str> {
        found
            .entries
            .iter()
            .map(|entry| entry.says.as_str())
            .collect()
    }

    fn start() -> Moment {
        Moment::from_micros(1_764_000_000_000_000)
    }

    #[test]
    fn what_was_added_is_read_since_a_moment_and_the_newest_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Appender::new(settings(folder.path()));
        for hour in 0..5 {
            add(&mut journal, start().after(HOUR * hour), &format!("{hour}"));
        }
        let all = read(folder.path(), start(), 100).unwrap();
        assert_eq!(
            (texts(&all), all.is_cut),
            (vec!["0", "1", "2", "3", "4"], false)
        );
        let since = read(folder.path(), start().after(HOUR * 3), 100).unwrap();
        assert_eq!((texts(&since), since.is_cut), (vec!["3", "4"], true));
        let newest = read(folder.path(), start(), 2).unwrap();
        assert_eq!((texts(&newest), newest.is_cut), (vec!["3", "4"], true));
        let nothing = read(&folder.path().join("none"), start(), 2).unwrap();
        assert!(nothing.entries.is_empty());
    }

    #[test]
    fn a_torn_tail_costs_its_own_line_wherever_it_is_torn() {
        let whole = [entry(start(), "one").line(), entry(start(), "two").line()].concat();
        let first = whole.iter().position(|b| *b == b'\n').unwrap() + 1;
        for end in first..whole.len() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder
                .path()
                .join(format!("{:020}.jsonl", start().micros()));
            fs::write(path, &whole[..end]).unwrap();
            let mut journal = Appender::new(settings(folder.path()));
            add(&mut journal, start(), "three");
            let found = read(folder.path(), start(), 100).unwrap();
            // all of it but its end is there, or it is not an entry
            let expected = match end {
                _ if end == first => (vec!["one", "three"], 0),
                _ if end == whole.len() - 1 => (vec!["one", "two", "three"], 0),
                _ => (vec!["one", "three"], 1),
            };
            assert_eq!((texts(&found), found.damaged), expected, "{end}");
        }
    }

    #[test]
    fn noise_is_passed_over_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Appender::new(settings(folder.path()));
        add(&mut journal, start(), "one");
        let path = files(folder.path()).unwrap().pop().unwrap().1;
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(b"\0\0\xff\n{\"at\":1}\n[]\n\n").unwrap();
        add(&mut journal, start(), "two");
        let found = read(folder.path(), start(), 100).unwrap();
        assert_eq!((texts(&found), found.damaged), (vec!["one", "two"], 3));
        fs::write(folder.path().join("notes.txt"), "not ours").unwrap();
        assert!(read(folder.path(), start(), 100).is_ok());
    }

    #[test]
    fn it_never_takes_more_than_it_may_and_loses_the_oldest() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Appender::new(settings(folder.path()));
        let text = "x".repeat(2000);
        for n in 0..1000 {
            let at = start().after(Duration::from_secs(n));
            add(&mut journal, at, &format!("{n} {text}"));
            let lengths = files(folder.path()).unwrap();
            let total: u64 = lengths
                .iter()
                .map(|(_, p)| fs::metadata(p).unwrap().len())
                .sum();
            assert!(total <= 8 * FILE_BYTES_MIN, "{total} bytes after {n}");
        }
        let found = read(folder.path(), start(), 10_000).unwrap();
        let first: u64 = texts(&found)[0].split(' ').next().unwrap().parse().unwrap();
        assert!(
            first > 700 && found.entries.len() as u64 == 1000 - first,
            "{first}"
        );
    }

    #[test]
    fn what_is_too_old_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Appender::new(settings(folder.path()));
        for hour in 0..200 {
            add(&mut journal, start().after(HOUR * hour), &format!("{hour}"));
        }
        let found = read(folder.path(), start(), 1000).unwrap();
        let kept = found.entries.len();
        assert!((80..=80 + 22).contains(&kept), "{kept} hours");
        assert_eq!(found.entries.back().unwrap().says, "199");
    }

    #[test]
    fn a_clock_that_is_set_back_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Appender::new(settings(folder.path()));
        let text = "x".repeat(40_000);
        for n in 0..4 {
            let at = Moment::from_micros(start().micros() - n * 1_000_000);
            add(&mut journal, at, &format!("{n} {text}"));
        }
        let found = read(folder.path(), Moment::from_micros(0), 1000).unwrap();
        assert_eq!(found.entries.len(), 4);
    }
}
