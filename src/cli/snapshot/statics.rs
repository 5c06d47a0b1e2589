//! The files of `[[static]]` folders, copied below their routes (shell: files). Owns which files of
//! a folder are published: the same ones that the server would answer with.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::account::{Account, Line};
use super::desk::Desk;
use super::folder::{Place, StoreError, Stored};
use super::manifest::Kind;

/// Most files that are copied.
const FILES_MAX: usize = 100_000;
/// Deepest folder in a folder: symbolic links may lead in circles.
const DEPTH_MAX: usize = 32;
/// Bytes that are copied at a time.
const PIECE_BYTES: usize = 64 * 1024;
/// What a path segment is written with (RFC 3986, 2.3: unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Copies every folder.
pub(super) fn copy_all(desk: &Desk, account: &mut Account) {
    for folder in &desk.press.site().statics {
        let mut copy = Copy {
            desk,
            account: &mut *account,
        };
        copy.folder(&folder.dir, &folder.route, 0);
    }
}

struct Copy<'d> {
    desk: &'d Desk,
    account: &'d mut Account,
}

impl Copy<'_> {
    fn folder(&mut self, folder: &Path, route: &str, depth: usize) {
        let itself = folder.canonicalize();
        if depth > DEPTH_MAX || itself.is_ok_and(|path| path == self.desk.folder.root()) {
            return;
        }
        let listed = fs::read_dir(folder).and_then(|entries| {
            let paths = entries.map(|entry| entry.map(|entry| entry.path()));
            paths.collect::<io::Result<Vec<PathBuf>>>()
        });
        let mut paths = match listed {
            Ok(paths) => paths,
            Err(error) => return self.fail(route, format!("cannot be read: {error}")),
        };
        paths.sort_unstable();
        for path in paths {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            if name.starts_with('.') && name != ".well-known" {
                continue;
            }
            if self.account.stopped.is_some() {
                return;
            }
            let below = format!("{route}/{}", utf8_percent_encode(name, SEGMENT));
            if path.is_dir() {
                self.folder(&path, &below, depth + 1);
            } else if path.is_file() {
                self.file(&path, below);
            }
        }
    }

    fn file(&mut self, from: &Path, path: String) {
        if self.account.copied >= FILES_MAX {
            let limit = format!("{FILES_MAX} files of static folders");
            if !self.account.limits.contains(&limit) {
                self.account.limits.push(limit);
            }
            return;
        }
        let place = match Place::of_static(&path) {
            Ok(place) => place,
            Err(why) => return self.fail(&path, why.to_string()),
        };
        match self.copy(from, &place) {
            Ok(stored) => {
                let entry = self.desk.entry(&place, Kind::Static, stored);
                self.desk.manifest.lock().insert(path, entry);
                self.account.copied += 1;
            }
            Err(error) => {
                if error.is_final() {
                    self.account.stopped = Some(format!("{path} {error}"));
                }
                self.fail(&path, error.to_string());
            }
        }
    }

    fn copy(&self, from: &Path, place: &Place) -> Result<Stored, StoreError> {
        let mut from = File::open(from)?;
        let mut draft = self.desk.folder.draft()?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match from.read(&mut piece)? {
                0 => return self.desk.folder.publish(draft, place),
                count => draft.append(&piece[..count])?,
            }
        }
    }

    fn fail(&mut self, path: &str, why: String) {
        let path = path.to_owned();
        self.account.failed.push(Line { path, why });
    }
}
