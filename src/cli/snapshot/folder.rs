//! The folder that a snapshot is written to (shell: files). Owns which file a path is, and how a
//! file takes the place of another. Knows nothing of pages.
//!
//! Invariants: nothing is ever written outside the folder; a file in it is always whole, the one
//! before or the one after, also when the power fails; one snapshot at a time writes to it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use percent_encoding::percent_decode_str;
use ring::digest::{Context, SHA256};

use crate::fragment::facts::safe_segment;

/// The account of what is in the folder.
pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const REDIRECTS: &str = "_redirects";
pub(super) const SITEMAP: &str = "sitemap.xml";
pub(super) const NOT_FOUND: &str = "404.html";
pub(super) const UNAVAILABLE: &str = "50x.html";
/// Files of the snapshot itself.
const OWN: [&str; 5] = [MANIFEST, REDIRECTS, SITEMAP, NOT_FOUND, UNAVAILABLE];
/// Files by which hosts of static sites are configured: what an origin sends never is one.
const CONFIGURING: [&str; 5] = [
    "_headers",
    "_routes.json",
    "_worker.js",
    "netlify.toml",
    "wrangler.toml",
];
const INDEX: &str = "index.html";
/// Names of pages that static servers give a page's media type, or that the site has chosen to
/// show: a page of any other name, such as `/v1.2`, gets a folder and is HTML everywhere.
const PAGE_EXTENSIONS: [&str; 17] = [
    "html", "htm", "xhtml", "shtml", "xml", "rss", "atom", "json", "txt", "php", "asp", "aspx",
    "jsp", "csv", "ics", "svg", "amp",
];
/// Longest name of a file, in bytes: NAME_MAX of every file system that serves sites.
const NAME_BYTES_MAX: usize = 255;
/// Longest path within the folder, in bytes: leaves room for the folder's own in PATH_MAX (4096).
const PATH_BYTES_MAX: usize = 3_000;
/// Names of unfinished files, in the folder's root.
const DRAFT: &str = ".marbre-draft-";

/// Why a path cannot be a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoPlace {
    #[error("the path cannot be a file: it has a segment that is empty, hidden or unreadable")]
    Unsafe,
    #[error("the path is too long for a file name (255 bytes a segment, 3000 in all)")]
    TooLong,
    #[error("the file of that name belongs to the snapshot or configures its host")]
    Reserved,
}

/// A file within the folder, relative to it: safe to join.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place(String);

impl Place {
    /// The file of a page: `/` → `index.html`, `/a` and `/a/` → `a/index.html`, `/a.xml` as it is.
    pub(super) fn of_page(path: &str) -> Result<Self, NoPlace> {
        let mut segments = segments(path.strip_suffix('/').unwrap_or(path))?;
        let last = segments.last().and_then(|name| name.rsplit_once('.'));
        let is_file = last.is_some_and(|(stem, extension)| {
            let known = PAGE_EXTENSIONS.iter();
            !stem.is_empty() && known.into_iter().any(|e| e.eq_ignore_ascii_case(extension))
        });
        if !is_file {
            segments.push(INDEX.to_owned());
        }
        Self::new(&segments)
    }

    /// The file of anything else: as it is.
    pub(super) fn of_asset(path: &str) -> Result<Self, NoPlace> {
        let place = Self::of_static(path)?;
        let mut reserved = CONFIGURING.iter();
        if reserved.any(|name| name.eq_ignore_ascii_case(&place.0)) {
            return Err(NoPlace::Reserved);
        }
        Ok(place)
    }

    /// The file of a file of the site's own, which may configure its host.
    pub(super) fn of_static(path: &str) -> Result<Self, NoPlace> {
        match segments(path)? {
            segments if segments.is_empty() => Err(NoPlace::Unsafe),
            segments => Self::new(&segments),
        }
    }

    /// A file of the snapshot itself.
    pub(super) fn own(name: &'static str) -> Self {
        Self(name.to_owned())
    }

    fn new(segments: &[String]) -> Result<Self, NoPlace> {
        let place = segments.join("/");
        let too_long = |segment: &String| segment.len() > NAME_BYTES_MAX;
        if place.len() > PATH_BYTES_MAX || segments.iter().any(too_long) {
            return Err(NoPlace::TooLong);
        }
        if OWN.iter().any(|name| name.eq_ignore_ascii_case(&place)) {
            return Err(NoPlace::Reserved);
        }
        Ok(Self(place))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The decoded segments of a path, each of which may be the name of a file.
fn segments(path: &str) -> Result<Vec<String>, NoPlace> {
    let path = path.strip_prefix('/').unwrap_or(path);
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let name = |raw: &str| {
        let decoded = percent_decode_str(raw).decode_utf8().ok()?.into_owned();
        let hidden = decoded.starts_with('.') && decoded != ".well-known";
        (safe_segment(&decoded) && !hidden).then_some(decoded)
    };
    let segments = path.split('/').map(name).collect::<Option<Vec<_>>>();
    segments.ok_or(NoPlace::Unsafe)
}

/// Why the folder cannot be written to at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum FolderError {
    #[error("{path} cannot be written to: {error}")]
    Unusable { path: PathBuf, error: io::Error },
    #[error(
        "{0} is not empty and holds no snapshot (no {MANIFEST}); give another folder, or --force"
    )]
    NotASnapshot(PathBuf),
    #[error("another snapshot is being written to {0}")]
    Busy(PathBuf),
}

/// Why one file could not be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error("cannot be written: {0}")]
    Io(#[from] io::Error),
    #[error("cannot be written: a symbolic link in the folder leads out of it")]
    LeadsOut,
}

impl StoreError {
    /// Whether no other file could be written either.
    pub(super) fn is_final(&self) -> bool {
        let Self::Io(error) = self else { return false };
        matches!(
            error.kind(),
            io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
                | io::ErrorKind::ReadOnlyFilesystem
        )
    }
}

/// A file that has been written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) sha256: String,
    pub(super) bytes: u64,
    /// Whether the same bytes had been there before; they were left alone.
    pub(super) unchanged: bool,
}

/// The folder, held by this process.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    drafts: AtomicU64,
    /// Held until the process ends, however it ends.
    _lock: File,
}

impl Folder {
    /// Makes the folder where there is none, and takes hold of it.
    pub(super) fn open(path: &Path, force: bool) -> Result<Self, FolderError> {
        let unusable = |error| FolderError::Unusable {
            path: path.to_owned(),
            error,
        };
        fs::create_dir_all(path).map_err(unusable)?;
        let root = path.canonicalize().map_err(unusable)?;
        let lock = File::open(&root).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FolderError::Busy(path.to_owned())),
            // a file system without locks
            Err(TryLockError::Error(_)) => {}
        }
        let mut is_strange = !force && !root.join(MANIFEST).is_file();
        let mut others = false;
        for entry in fs::read_dir(&root).map_err(unusable)? {
            let entry = entry.map_err(unusable)?;
            if entry.file_name().to_string_lossy().starts_with(DRAFT) {
                // of a snapshot that was killed: nobody else writes here now
                fs::remove_file(entry.path()).map_err(unusable)?;
                continue;
            }
            others = true;
        }
        is_strange &= others;
        if is_strange {
            return Err(FolderError::NotASnapshot(path.to_owned()));
        }
        let folder = Self {
            root,
            drafts: AtomicU64::new(0),
            _lock: lock,
        };
        // found out now rather than page by page
        drop(folder.draft().map_err(unusable)?);
        Ok(folder)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether there is a file with something in it.
    pub(super) fn holds(&self, place: &Place) -> bool {
        fs::symlink_metadata(self.root.join(&place.0))
            .is_ok_and(|found| found.is_file() && found.len() > 0)
    }

    /// The content of a file, if it is there and no longer than `bytes_max`.
    pub(super) fn read(&self, place: &Place, bytes_max: u64) -> io::Result<Vec<u8>> {
        let file = File::open(self.root.join(&place.0))?;
        let mut content = Vec::new();
        file.take(bytes_max + 1).read_to_end(&mut content)?;
        if content.len() as u64 > bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(content)
    }

    /// A file that is being written, which nobody sees until it is published.
    pub(super) fn draft(&self) -> io::Result<Draft> {
        let number = self.drafts.fetch_add(1, Ordering::Relaxed);
        let path = self
            .root
            .join(format!("{DRAFT}{}-{number}", std::process::id()));
        let file = File::create_new(&path)?;
        Ok(Draft {
            path,
            file,
            digest: Context::new(&SHA256),
            bytes: 0,
        })
    }

    /// Writes a whole file.
    pub(super) fn store(&self, place: &Place, content: &[u8]) -> Result<Stored, StoreError> {
        let mut draft = self.draft()?;
        draft.append(content)?;
        self.publish(draft, place)
    }

    /// Puts a finished draft in its place.
    pub(super) fn publish(&self, draft: Draft, place: &Place) -> Result<Stored, StoreError> {
        let target = self.inside(place)?;
        let sha256 = hex(draft.digest.clone());
        let mut stored = Stored {
            sha256,
            bytes: draft.bytes,
            unchanged: false,
        };
        if has(&target, &stored) {
            stored.unchanged = true;
            return Ok(stored);
        }
        // without this a crash could leave the new name with nothing in it
        draft.file.sync_data()?;
        fs::rename(&draft.path, target)?;
        Ok(stored)
    }

    /// Removes a file, and the folders that are then empty.
    pub(super) fn remove(&self, place: &Place) -> Result<(), StoreError> {
        let target = self.inside(place)?;
        fs::remove_file(&target)?;
        let parents = target.ancestors().skip(1);
        for parent in parents.take_while(|parent| *parent != self.root) {
            if fs::remove_dir(parent).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// The path of a file whose folders are there and in here.
    fn inside(&self, place: &Place) -> Result<PathBuf, StoreError> {
        let mut path = self.root.clone();
        let (folders, name) = place.0.rsplit_once('/').unwrap_or(("", &place.0));
        for folder in folders.split('/').filter(|folder| !folder.is_empty()) {
            path.push(folder);
            match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match fs::create_dir(&path) {
                        // by a neighbour, in the same moment
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                        made => made?,
                    }
                }
                Err(error) => return Err(error.into()),
                Ok(found) if found.is_symlink() => {
                    path = path.canonicalize()?;
                    if !path.starts_with(&self.root) {
                        return Err(StoreError::LeadsOut);
                    }
                }
                Ok(_) => {}
            }
        }
        Ok(path.join(name))
    }
}

/// Whether a file has these bytes already.
fn has(target: &Path, wanted: &Stored) -> bool {
    let same_size = fs::symlink_metadata(target)
        .is_ok_and(|found| found.is_file() && found.len() == wanted.bytes);
    let digest = || {
        let mut file = File::open(target).ok()?;
        let mut digest = Context::new(&SHA256);
        let mut piece = vec![0; 64 * 1024];
        loop {
            match file.read(&mut piece).ok()? {
                0 => return Some(hex(digest)),
                count => digest.update(&piece[..count]),
            }
        }
    };
    same_size && digest().is_some_and(|found| found == wanted.sha256)
}

fn hex(digest: Context) -> String {
    let digest = digest.finish();
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

/// A file that is not in its place yet; one that is dropped was never there.
pub(super) struct Draft {
    path: PathBuf,
    file: File,
    digest: Context,
    bytes: u64,
}

impl Draft {
    pub(super) fn append(&mut self, content: &[u8]) -> io::Result<()> {
        self.file.write_all(content)?;
        self.digest.update(content);
        self.bytes += content.len() as u64;
        Ok(())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // a published draft has another name by now
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(path: &str) -> Result<String, NoPlace> {
        Place::of_page(path).map(|place| place.0)
    }

    #[test]
    fn pages_have_files() {
        for (path, file) in [
            ("/", "index.html"),
            ("/a", "a/index.html"),
            ("/a/", "a/index.html"),
            ("/a/b", "a/b/index.html"),
            ("/feed.xml", "feed.xml"),
            ("/index.html", "index.html"),
            ("/v1.2", "v1.2/index.html"),
            ("/m.-dupont", "m.-dupont/index.html"),
            ("/l%27%C3%A9t%C3%A9", "l'été/index.html"),
            ("/%252e%252e", "%2e%2e/index.html"),
            ("/.well-known/x", ".well-known/x/index.html"),
        ] {
            assert_eq!(page(path).as_deref(), Ok(file), "{path}");
        }
    }

    #[test]
    fn no_path_leads_out() {
        for path in [
            "/../x",
            "/a/../../x",
            "/%2e%2e/x",
            "/a%2fb",
            "/..%2f..%2fx",
            "/a%5cb",
            "/a%00b",
            "//x",
            "/a//b",
            "/a//",
            "/.git/config",
            "/%2egit",
            "/.htaccess",
            "/a/.",
            "/%ff",
            "/a%0ab",
            "/.marbre-draft-1",
        ] {
            assert_eq!(page(path), Err(NoPlace::Unsafe), "{path}");
            assert_eq!(Place::of_asset(path), Err(NoPlace::Unsafe), "{path}");
        }
        assert_eq!(Place::of_asset("/"), Err(NoPlace::Unsafe));
        assert_eq!(Place::of_asset("/a/"), Err(NoPlace::Unsafe));
    }

    #[test]
    fn some_names_are_taken() {
        for path in [
            "/_headers",
            "/_Redirects",
            "/manifest.json",
            "/404.html",
            "/_worker.js",
        ] {
            assert_eq!(Place::of_asset(path), Err(NoPlace::Reserved), "{path}");
        }
        assert!(Place::of_asset("/a/_headers").is_ok());
        assert_eq!(page("/_headers").as_deref(), Ok("_headers/index.html"));
    }

    #[test]
    fn names_have_a_length() {
        let longest = format!("/{}", "a".repeat(255));
        assert!(page(&longest).is_ok());
        assert_eq!(page(&format!("{longest}a")), Err(NoPlace::TooLong));
        let deep = "/abcdefghi".repeat(300);
        assert_eq!(page(&deep), Err(NoPlace::TooLong));
    }

    #[test]
    fn a_file_is_replaced_whole_and_drafts_leave_nothing() {
        let out = tempfile::tempdir().unwrap();
        let folder = Folder::open(&out.path().join("new/one"), false).unwrap();
        let place = Place::of_page("/a").unwrap();
        let first = folder.store(&place, b"one").unwrap();
        assert!(!first.unchanged);
        let again = folder.store(&place, b"one").unwrap();
        assert_eq!((again.unchanged, &again.sha256), (true, &first.sha256));
        assert_eq!(folder.store(&place, b"two").unwrap().bytes, 3);
        assert_eq!(folder.read(&place, 3).unwrap(), b"two");
        assert!(folder.read(&place, 2).is_err());
        let mut unfinished = folder.draft().unwrap();
        unfinished.append(b"thr").unwrap();
        drop(unfinished);
        assert_eq!(fs::read_dir(folder.root()).unwrap().count(), 1);
        // SHA-256 of "abc" (FIPS 180-4, examples)
        let abc = folder.store(&place, b"abc").unwrap().sha256;
        assert!(abc.starts_with("ba7816bf8f01cfea"), "{abc}");
        folder.remove(&place).unwrap();
        assert_eq!(fs::read_dir(folder.root()).unwrap().count(), 0);
    }

    #[test]
    fn symbolic_links_that_lead_out_are_not_followed() {
        use std::os::unix::fs::symlink;
        let (out, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let victim = elsewhere.path().join("index.html");
        fs::write(&victim, "mine").unwrap();
        let folder = Folder::open(out.path(), false).unwrap();
        symlink(elsewhere.path(), out.path().join("a")).unwrap();
        fs::create_dir(out.path().join("b")).unwrap();
        symlink(&victim, out.path().join("b/index.html")).unwrap();
        symlink(out.path().join("b"), out.path().join("c")).unwrap();
        for path in ["/a", "/a/b"] {
            let stored = folder.store(&Place::of_page(path).unwrap(), b"theirs");
            assert!(matches!(stored, Err(StoreError::LeadsOut)), "{path}");
        }
        // a link in the file's own place is replaced, one that stays inside is followed
        folder
            .store(&Place::of_page("/b").unwrap(), b"page")
            .unwrap();
        folder
            .store(&Place::of_page("/c/d").unwrap(), b"page")
            .unwrap();
        assert!(out.path().join("b/d/index.html").is_file());
        assert_eq!(fs::read(&victim).unwrap(), b"mine");
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_of_something_else_is_left_alone() {
        let out = tempfile::tempdir().unwrap();
        fs::write(out.path().join("thesis.txt"), "mine").unwrap();
        let refused = Folder::open(out.path(), false);
        assert!(matches!(refused, Err(FolderError::NotASnapshot(_))));
        let held = Folder::open(out.path(), true).unwrap();
        let second = Folder::open(out.path(), true);
        assert!(matches!(second, Err(FolderError::Busy(_))));
        drop(held);
        fs::write(out.path().join(format!("{DRAFT}1-1")), "half").unwrap();
        drop(Folder::open(out.path(), true).unwrap());
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1);
    }
}
