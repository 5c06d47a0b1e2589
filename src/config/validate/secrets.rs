//! Secrets of a declaration, each written in it or in a file of its own. Owns which of the two holds, what such a
//! file may be, and what is said of one that cannot be used; what a secret is good for is said elsewhere.
//!
//! Invariant: what a file or a variable holds is in no finding.

use super::Context;
use super::settings::{expand, place};
use crate::config::diagnose::{Diagnostic, FileId, Place};
use crate::config::file::{At, Secret};
use crate::config::files::Files as _;

/// A secret that is shorter can be guessed.
pub(super) const LENGTH_MIN: usize = 16;

/// The two keys that say what a secret is.
pub(super) struct Keys<'d> {
    /// The one whose value it is: `token`.
    pub(super) name: &'static str,
    pub(super) written: Option<&'d At<Secret>>,
    /// The one that names its file, which is called the same with `_file`.
    pub(super) file: Option<&'d At<String>>,
}

/// A secret that can be read.
pub(super) struct Found {
    pub(super) text: String,
    /// The key that it comes from.
    pub(super) key: String,
    pub(super) place: Place,
    /// Whether it is long enough.
    pub(super) is_long: bool,
}

impl Keys<'_> {
    /// Whether either of them is there.
    pub(super) fn is_declared(&self) -> bool {
        self.written.is_some() || self.file.is_some()
    }

    /// Where it is said.
    pub(super) fn place(&self, main: FileId) -> Option<Place> {
        let written = self.written.map(|written| place(written, main));
        written.or(self.file.map(|file| place(file, main)))
    }

    /// `None` for what was reported. Of a file it is reported, too, that it holds less than can be a secret; of
    /// what is written in the declaration that is for whoever asks.
    pub(super) fn read(&self, main: FileId, cx: &mut Context<'_>) -> Option<Option<Found>> {
        let name = self.name;
        if let (Some(written), Some(file)) = (self.written, self.file) {
            cx.report(
                Diagnostic::error(format!(
                    "`{name}` and `{name}_file` cannot both be declared"
                ))
                .at(place(file, main), "which of the two is it?")
                .also(place(written, main), "the other one")
                .help(format!("leave `{name}` out to have it in a file")),
            );
            return None;
        }
        if let Some(file) = self.file {
            let key = format!("{name}_file");
            let found = of_file(&key, file, main, cx)?;
            if found.text.chars().count() < LENGTH_MIN {
                cx.report(
                    Diagnostic::error(format!("`{key}` cannot be used"))
                        .at(
                            found.place,
                            format!("what it holds has fewer than {LENGTH_MIN} characters, and can be guessed"),
                        )
                        .help(PROPOSAL),
                );
                return None;
            }
            return Some(Some(found));
        }
        let Some(written) = self.written else {
            return Some(None);
        };
        let place = place(written, main);
        let text = expand(written, &place, cx)?;
        Some(Some(Found {
            is_long: text.len() >= LENGTH_MIN,
            text,
            key: name.to_owned(),
            place,
        }))
    }
}

const PROPOSAL: &str = "write into it what `openssl rand -hex 32` prints";

/// What a file holds, without the end of its line; `None` for what was reported.
pub(super) fn of_file(
    key: &str,
    file: &At<String>,
    main: FileId,
    cx: &mut Context<'_>,
) -> Option<Found> {
    let place = place(file, main);
    // not repeated: where it is the value of a variable, that may be the secret itself
    let expanded = expand(file, &place, cx)?;
    let path = cx.root.join(expanded);
    let refuse = |label: String| {
        let finding = Diagnostic::error(format!("`{key}` cannot be read"));
        let finding = finding.at(place.clone(), label);
        finding.help("it is a file of one line, relative to the folder of the main file")
    };
    let bytes = match cx.files.read(&path) {
        Ok(bytes) => bytes,
        Err(why) => {
            cx.report(refuse(why.to_string()));
            return None;
        }
    };
    let Ok(text) = String::from_utf8(bytes) else {
        cx.report(refuse("it holds something else than text".to_owned()));
        return None;
    };
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        cx.report(refuse("it is empty".to_owned()).help(PROPOSAL));
        return None;
    }
    if text.contains(['\n', '\r']) {
        cx.report(refuse("it holds more than one line".to_owned()));
        return None;
    }
    if cx.files.is_open_to_all(&path) {
        cx.report(
            Diagnostic::warning(format!("what `{key}` names is open to everybody"))
                .at(place.clone(), "a secret of its owner, or of a group")
                .help("take the others' rights to it away: `chmod o= FILE`"),
        );
    }
    Some(Found {
        text: text.to_owned(),
        key: key.to_owned(),
        place,
        is_long: true,
    })
}
