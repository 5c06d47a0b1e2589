//! Shell: one file of the log. Owns its descriptor, the reading of a record, and the search for
//! records when it is opened; knows nothing of the other files, nor which record is the latest.
//!
//! Reads are positioned and share one descriptor, so that a file may be deleted, by compaction or
//! by hand, while it is read. Invariant: a body is returned only if the head before it is the one
//! that the index remembers and its checksum fits.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use memchr::memmem;

use super::record::{self, HEAD, Head, Kind, SEGMENT_HEAD, SYNC};

/// Read at a time while looking for heads: several small records, or the head of a large one.
const WINDOW: usize = 16 << 10;

/// Read at a time while looking for the next record after damage.
const SEARCH_WINDOW: usize = 256 << 10;

/// What is done to the file that is written. A seam, so that a test can have a full disk.
pub(super) trait Medium: Send + Sync {
    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()>;
    fn sync(&self, file: &File) -> io::Result<()>;
}

/// The disk.
pub(super) struct Platter;

impl Medium for Platter {
    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) seq: u64,
    /// Unix milliseconds.
    pub(super) good_until: u64,
    /// Number of the segment.
    pub(super) segment: u32,
    /// Where its head begins, in bytes.
    pub(super) offset: u32,
    /// Length of its body in bytes.
    pub(super) len: u32,
    pub(super) pinned: bool,
}

impl Place {
    pub(super) fn of(head: &Head, segment: u32, offset: u32) -> Self {
        Self {
            seq: head.seq,
            good_until: head.good_until,
            segment,
            offset,
            len: head.len,
            pinned: head.pinned,
        }
    }

    /// Head and body, in bytes.
    pub(super) fn record_len(&self) -> u64 {
        HEAD as u64 + u64::from(self.len)
    }
}

/// Why there is no body.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("a record does not fit its checksum")]
    Damaged,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// One file, for reading.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u32,
    pub(super) path: PathBuf,
    pub(super) salt: u64,
    file: File,
    identity: (u64, u64),
}

/// What was found when a segment was looked through.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// Where the last good record ends.
    pub(super) end: u64,
    /// Places at which something else stood than a good head.
    pub(super) gaps: usize,
    /// Where the first of them is.
    pub(super) first_gap: u64,
    /// Their length in all, in bytes.
    pub(super) passed_over: u64,
}

/// What a file in a segment's place turned out to be.
pub(super) enum Found {
    Segment(Segment),
    Other(Kind),
}

impl Segment {
    /// Opens a file for reading and looks at its first bytes only.
    pub(super) fn open(path: PathBuf, number: u32) -> io::Result<Found> {
        // a pipe in a segment's place would be waited on for ever
        if !fs::symlink_metadata(&path)?.is_file() {
            return Ok(Found::Other(Kind::Foreign));
        }
        let file = File::open(&path)?;
        let mut start = Vec::with_capacity(SEGMENT_HEAD);
        start.resize(file.metadata()?.len().min(SEGMENT_HEAD as u64) as usize, 0);
        file.read_exact_at(&mut start, 0)?;
        Ok(match record::kind(&start) {
            Kind::Segment { salt } => Found::Segment(Self::of(file, path, number, salt)?),
            other @ (Kind::Version(_) | Kind::Unfinished | Kind::Foreign) => Found::Other(other),
        })
    }

    /// Makes a new file with nothing but its head.
    pub(super) fn create(
        path: PathBuf,
        number: u32,
        salt: u64,
        medium: &dyn Medium,
    ) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        let written = medium.write(&file, &record::segment_head(salt), 0);
        if let Err(error) = written {
            // as good as it goes: what stays is found unfinished at the next start
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Self::of(file, path, number, salt)
    }

    fn of(file: File, path: PathBuf, number: u32, salt: u64) -> io::Result<Self> {
        let identity = identity(&file.metadata()?);
        Ok(Self {
            number,
            path,
            salt,
            file,
            identity,
        })
    }

    /// A second descriptor of the same file, for writing.
    pub(super) fn writable(&self) -> io::Result<File> {
        let file = OpenOptions::new().write(true).open(&self.path)?;
        if identity(&file.metadata()?) == self.identity {
            return Ok(file);
        }
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            "another file stands in its place",
        ))
    }

    /// Whether its name still leads to it. An error other than absence is not a no.
    pub(super) fn is_in_place(&self) -> bool {
        match fs::symlink_metadata(&self.path) {
            Ok(metadata) => identity(&metadata) == self.identity,
            Err(error) => !is_absence(&error),
        }
    }

    pub(super) fn file_len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// The body of the record at this place.
    pub(super) fn read(&self, place: &Place) -> Result<Bytes, ReadError> {
        let mut record = vec![0; HEAD + place.len as usize];
        match self
            .file
            .read_exact_at(&mut record, u64::from(place.offset))
        {
            // shorter than it was
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(ReadError::Damaged);
            }
            read => read?,
        }
        let head = Head::decode(&record, self.salt).ok_or(ReadError::Damaged)?;
        let expected = Place::of(&head, self.number, place.offset) == *place;
        if head.removed || !expected || !head.fits(&record[HEAD..], self.salt) {
            return Err(ReadError::Damaged);
        }
        Ok(Bytes::from(record).slice(HEAD..))
    }

    /// Calls `each` with the head and offset of every good record, in order. Bodies are not read.
    pub(super) fn scan(&self, mut each: impl FnMut(&Head, u32)) -> io::Result<Scan> {
        let len = self.file_len()?.min(u64::from(u32::MAX));
        let mut window = Window::new(&self.file, len);
        let mut at = SEGMENT_HEAD as u64;
        let mut scan = Scan {
            end: at,
            ..Scan::default()
        };
        while at < len {
            let Some(head) = self.head_at(&mut window, at, len)? else {
                let next = self.next_head(&mut window, at + 1, len)?;
                if scan.gaps == 0 {
                    scan.first_gap = at;
                }
                scan.gaps += 1;
                scan.passed_over += next - at;
                at = next;
                continue;
            };
            each(&head, u32::try_from(at).expect("offsets are bounded above"));
            at += head.record_len();
            scan.end = at;
        }
        Ok(scan)
    }

    /// The head at this offset, if it is good and its record ends within the file.
    fn head_at(&self, window: &mut Window<'_>, at: u64, len: u64) -> io::Result<Option<Head>> {
        let head = Head::decode(window.rest(at, HEAD, WINDOW)?, self.salt);
        Ok(head.filter(|head| at + head.record_len() <= len))
    }

    /// Where the next good head is, or the end of the file.
    fn next_head(&self, window: &mut Window<'_>, from: u64, len: u64) -> io::Result<u64> {
        let mut at = from;
        while at + HEAD as u64 <= len {
            let bytes = window.rest(at, HEAD, SEARCH_WINDOW)?;
            let Some(hit) = memmem::find(bytes, &SYNC) else {
                // a marker may begin in the last bytes of what was looked at
                at += (bytes.len() - (SYNC.len() - 1)) as u64;
                continue;
            };
            at += hit as u64;
            if self.head_at(window, at, len)?.is_some() {
                return Ok(at);
            }
            at += 1;
        }
        Ok(len)
    }
}

/// A part of a file that was read last.
struct Window<'a> {
    file: &'a File,
    len: u64,
    start: u64,
    held: Vec<u8>,
}

impl<'a> Window<'a> {
    fn new(file: &'a File, len: u64) -> Self {
        Self {
            file,
            len,
            start: 0,
            held: Vec::new(),
        }
    }

    /// What is held from `at` on: `least` bytes or more, fewer only at the end of the file. Reads
    /// `ahead` bytes if it has to read.
    fn rest(&mut self, at: u64, least: usize, ahead: usize) -> io::Result<&[u8]> {
        let left = self.len.saturating_sub(at);
        let held = self.start..self.start + self.held.len() as u64;
        if at < held.start || at + left.min(least as u64) > held.end {
            self.held.resize(left.min(ahead as u64) as usize, 0);
            self.start = at;
            if let Err(error) = self.file.read_exact_at(&mut self.held, at) {
                self.held.clear();
                return Err(error);
            }
        }
        Ok(&self.held[(at - self.start) as usize..])
    }
}

fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Whether an error says that a file or its folder is not there.
pub(super) fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The file of a segment in this folder.
pub(super) fn path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number:010}.log"))
}

/// The number of a segment with this file name; `None` for any other file.
///
/// A number beyond what this program can count to is no segment of its own: `Some(None)`.
pub(super) fn number(name: &str) -> Option<Option<u32>> {
    let digits = name.strip_suffix(".log")?;
    let ours = digits.len() == 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
    // half of the range is left for the segments to come
    ours.then(|| digits.parse().ok().filter(|number| *number < u32::MAX / 2))
}
