//! What came of a snapshot, for a person and for machines. Owns the words and the counting.

use std::fmt::Write as _;

use serde::Serialize;

/// Lines of one kind that a person is shown; machines get all.
const LISTED_MAX: usize = 30;

/// A path and what is to be said about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    pub(super) path: String,
    pub(super) why: String,
}

/// The account.
#[derive(Debug, Default, Serialize)]
pub(super) struct Account {
    /// Pages written whole, or found unchanged.
    pub(super) pages: usize,
    /// Of `pages`: the file had the same bytes already.
    pub(super) unchanged: usize,
    pub(super) redirects: usize,
    pub(super) assets: usize,
    /// Files of `[[static]]` folders.
    pub(super) copied: usize,
    /// Written although blocks were missing, because there was nothing better.
    pub(super) incomplete: Vec<Line>,
    /// The earlier file stays, because what came now is not better.
    pub(super) kept: Vec<Line>,
    /// Nothing was written, and nothing had been there.
    pub(super) failed: Vec<Line>,
    /// A core says that there is no such page.
    pub(super) gone: Vec<Line>,
    /// Gone, and so is their file (`--recheck`).
    pub(super) removed: Vec<Line>,
    /// Named by a sitemap, but nothing that this site composes.
    pub(super) foreign: Vec<Line>,
    /// The limits that were reached.
    pub(super) limits: Vec<String>,
    /// Why it ended early.
    pub(super) stopped: Option<String>,
    /// In the folder now.
    pub(super) files: usize,
    pub(super) bytes: u64,
}

impl Account {
    /// Whether all that there is was written whole.
    pub(super) fn is_complete(&self) -> bool {
        self.incomplete.is_empty()
            && self.kept.is_empty()
            && self.failed.is_empty()
            && self.limits.is_empty()
            && self.stopped.is_none()
    }

    /// For a terminal.
    pub(super) fn text(&self, folder: &str) -> String {
        let mut text = format!(
            "{} written whole ({} unchanged), {}, {}, {} copied\n",
            count(self.pages, "page", "pages"),
            self.unchanged,
            count(self.redirects, "redirect", "redirects"),
            count(self.assets, "asset", "assets"),
            count(self.copied, "file", "files"),
        );
        for (what, lines) in [
            ("incomplete, and nothing better was there", &self.incomplete),
            ("kept as they were", &self.kept),
            ("failed", &self.failed),
            ("no such page", &self.gone),
            ("removed", &self.removed),
            ("not pages of this site", &self.foreign),
        ] {
            list(&mut text, what, lines);
        }
        for limit in &self.limits {
            text += &format!("limit reached: {limit}\n");
        }
        if let Some(why) = &self.stopped {
            text += &format!("stopped early: {why}\n");
        }
        let (files, bytes) = (count(self.files, "file", "files"), self.bytes);
        text + &format!("{folder} holds {files}, {bytes} bytes\n")
    }
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn list(text: &mut String, what: &str, lines: &[Line]) {
    if lines.is_empty() {
        return;
    }
    let mut line =
        |line: String| writeln!(text, "{line}").expect("writing to a string cannot fail");
    line(format!("{what}: {}", lines.len()));
    for Line { path, why } in lines.iter().take(LISTED_MAX) {
        line(format!("  {path}  {why}"));
    }
    if lines.len() > LISTED_MAX {
        line(format!("  and {} more", lines.len() - LISTED_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut_for_people() {
        let line = Line {
            path: "/a".to_owned(),
            why: "status 500".to_owned(),
        };
        let account = Account {
            failed: vec![line; LISTED_MAX + 2],
            ..Account::default()
        };
        let text = account.text("out");
        assert!(text.contains("failed: 32\n  /a  status 500\n"), "{text}");
        assert!(text.contains("  and 2 more\n"), "{text}");
        assert!(!account.is_complete());
    }
}
