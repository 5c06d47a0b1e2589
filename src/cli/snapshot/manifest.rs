//! What is in the folder: `manifest.json`, and what is made of it (`_redirects`). Owns the format,
//! and which of two copies of a page is the better one. Pure.
//!
//! Invariant: one entry a file, and an entry's path leads to its file.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::folder::Place;
use super::sitemap::escape;

/// Longest manifest that is read, in bytes: about 300 for each of 200,000 files.
pub(super) const MANIFEST_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Changes when an older program could not read what is written.
const VERSION: u32 = 1;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// A composed page.
    Page,
    /// Leads a reader elsewhere.
    Redirect,
    /// Passed through from an origin.
    Asset,
    /// A file of a `[[static]]` folder.
    Static,
    /// One of the site's error pages.
    Error,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) file: String,
    pub(super) kind: Kind,
    pub(super) sha256: String,
    pub(super) bytes: u64,
    pub(super) status: u16,
    /// Whether every block was there.
    pub(super) complete: bool,
    /// The blocks that were not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) missing: Vec<String>,
    /// Where a redirect leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) location: Option<String>,
    /// RFC 3339, in UTC.
    pub(super) taken_at: String,
}

/// The account of a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    /// By file; the path that leads there.
    entries: BTreeMap<String, (String, Entry)>,
}

#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    taken_at: String,
    files: BTreeMap<String, Entry>,
}

impl Manifest {
    /// Reads a manifest; `None` if it is none. What it says about files that no path leads to is
    /// not believed.
    pub(super) fn read(json: &[u8]) -> Option<Self> {
        let written: Written = serde_json::from_slice(json).ok()?;
        if written.version != VERSION {
            return None;
        }
        let mut manifest = Self::default();
        for (path, entry) in written.files {
            let place = match entry.kind {
                Kind::Page | Kind::Redirect => Place::of_page(&path),
                Kind::Asset => Place::of_asset(&path),
                Kind::Static => Place::of_static(&path),
                Kind::Error => continue,
            };
            if place.is_ok_and(|place| place.as_str() == entry.file) {
                manifest.insert(path, entry);
            }
        }
        Some(manifest)
    }

    pub(super) fn write(&self, taken_at: &str) -> Vec<u8> {
        let files = self
            .iter()
            .map(|(path, entry)| (path.to_owned(), entry.clone()));
        let written = Written {
            version: VERSION,
            taken_at: taken_at.to_owned(),
            files: files.collect(),
        };
        let mut json =
            serde_json::to_vec_pretty(&written).expect("what is written has string keys");
        json.push(b'\n');
        json
    }

    pub(super) fn insert(&mut self, path: String, entry: Entry) {
        self.entries.insert(entry.file.clone(), (path, entry));
    }

    pub(super) fn remove(&mut self, place: &Place) {
        self.entries.remove(place.as_str());
    }

    pub(super) fn entry(&self, place: &Place) -> Option<&Entry> {
        self.entries.get(place.as_str()).map(|(_, entry)| entry)
    }

    /// Paths and entries, in the order of the files.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries
            .values()
            .map(|(path, entry)| (path.as_str(), entry))
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&Entry) -> bool) {
        self.entries.retain(|_, (_, entry)| keep(entry));
    }

    /// Whether a copy of a page that lacks so many blocks is no worse than the one that is there.
    /// A file that nobody has accounted for is believed to be good.
    pub(super) fn may_be_replaced(&self, place: &Place, missing: usize) -> bool {
        self.entry(place)
            .is_some_and(|there| !there.complete && there.missing.len() >= missing)
    }

    /// `_redirects` as Netlify and Cloudflare Pages read it: from, to, status; `None` if there is
    /// nothing to say.
    pub(super) fn redirects(&self) -> Option<String> {
        let mut lines = String::new();
        for (path, entry) in self.iter() {
            if let Some(location) = &entry.location {
                let (from, to, status) = (literal(path), literal(location), entry.status);
                writeln!(lines, "{from} {to} {status}").expect("writing to a string cannot fail");
            }
        }
        (!lines.is_empty()).then_some(lines)
    }
}

/// `*` and `/:name` are patterns in `_redirects`, and blanks end a column.
fn literal(address: &str) -> String {
    let address = address.replace('*', "%2A").replace("/:", "/%3A");
    let encode = |c: char| match c {
        c if c.is_ascii_whitespace() || c.is_control() => format!("%{:02X}", u32::from(c)),
        c => c.to_string(),
    };
    address.chars().map(encode).collect()
}

/// A page that leads a reader elsewhere, for servers that do not read `_redirects`.
pub(super) fn redirect_page(language: &str, location: &str) -> String {
    let (to, lang) = (escape(location), escape(language));
    format!(
        "<!doctype html>\n<html lang=\"{lang}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>{to}</title>\n<meta http-equiv=\"refresh\" content=\"0; url={to}\">\n\
         <link rel=\"canonical\" href=\"{to}\">\n</head>\n<body><a href=\"{to}\">{to}</a></body>\n\
         </html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(file: &str, kind: Kind, missing: &[&str]) -> Entry {
        Entry {
            file: file.to_owned(),
            kind,
            sha256: "00".to_owned(),
            bytes: 1,
            status: 200,
            complete: missing.is_empty(),
            missing: missing.iter().map(|&name| name.to_owned()).collect(),
            location: None,
            taken_at: "2026-01-01T00:00:00Z".to_owned(),
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let mut manifest = Manifest::default();
        manifest.insert("/a".into(), entry("a/index.html", Kind::Page, &["ad"]));
        manifest.insert("/i.jpg".into(), entry("i.jpg", Kind::Asset, &[]));
        let json = manifest.write("2026-01-01T00:00:00Z");
        assert_eq!(Manifest::read(&json), Some(manifest));
        assert_eq!(Manifest::read(b"{}"), None);
        assert_eq!(Manifest::read(b"thesis"), None);
    }

    #[test]
    fn a_manifest_cannot_point_outside() {
        let mut manifest = Manifest::default();
        manifest.insert("/a".into(), entry("../../etc/passwd", Kind::Page, &[]));
        manifest.insert("/../b".into(), entry("../b/index.html", Kind::Page, &[]));
        let read = Manifest::read(&manifest.write("x")).unwrap();
        assert_eq!(read, Manifest::default());
    }

    #[test]
    fn an_incomplete_copy_never_replaces_a_better_one() {
        let mut manifest = Manifest::default();
        manifest.insert("/a".into(), entry("a/index.html", Kind::Page, &["ad", "x"]));
        manifest.insert("/b".into(), entry("b/index.html", Kind::Page, &[]));
        let place = |path| Place::of_page(path).unwrap();
        assert!(manifest.may_be_replaced(&place("/a"), 2));
        assert!(!manifest.may_be_replaced(&place("/a"), 3));
        assert!(!manifest.may_be_replaced(&place("/b"), 1));
        assert!(!manifest.may_be_replaced(&place("/unknown"), 1));
    }

    #[test]
    fn redirects_have_no_patterns_in_them() {
        let mut manifest = Manifest::default();
        assert_eq!(manifest.redirects(), None);
        let mut moved = entry("a*/index.html", Kind::Redirect, &[]);
        moved.status = 301;
        moved.location = Some("https://x/:y z".to_owned());
        manifest.insert("/a*".into(), moved);
        assert_eq!(
            manifest.redirects().as_deref(),
            Some("/a%2A https://x/%3Ay%20z 301\n")
        );
    }

    #[test]
    fn a_redirect_page_is_not_made_by_whoever_is_pointed_at() {
        let page = redirect_page("fr", "/x?a=1&b=\"><script>");
        assert!(page.contains("content=\"0; url=/x?a=1&amp;b=&quot;&gt;&lt;script&gt;\""));
        assert!(!page.contains("<script"));
    }
}
