//! Files of the templates folder. Owns the rule that no path leaves it, and what is said of one that
//! cannot be read.

use super::Context;
use crate::config::diagnose::{Diagnostic, Place};
use crate::config::files::{Files, Unreadable};
use crate::config::values;

/// Reads a file of the templates folder that is named at `place`.
pub(super) fn read(name: &str, place: &Place, cx: &mut Context<'_>) -> Option<Vec<u8>> {
    let place = &cx.within(place, name);
    if let Err(why) = stays_inside(name) {
        cx.report(
            Diagnostic::error(format!("`{name}` is not a path in the templates folder"))
                .at(place.clone(), why)
                .help("paths are relative to `[site] templates` and cannot leave it"),
        );
        return None;
    }
    match cx.files.read(&cx.templates.join(name)) {
        Ok(content) => Some(content),
        Err(why) => {
            let finding = unreadable(name, place, &why, cx);
            cx.report(finding);
            None
        }
    }
}

/// Reads a text of the templates folder.
pub(super) fn read_text(name: &str, place: &Place, cx: &mut Context<'_>) -> Option<String> {
    match String::from_utf8(read(name, place, cx)?) {
        Ok(text) => Some(text),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            cx.report(
                Diagnostic::error(format!("{} is not UTF-8 text", shown(name, cx))).at(
                    cx.within(place, name),
                    format!("byte {} of it is wrong", at + 1),
                ),
            );
            None
        }
    }
}

/// The path of a file of the templates folder as people are told it.
pub(super) fn shown(name: &str, cx: &Context<'_>) -> String {
    crate::config::read::shown(&cx.root, &cx.templates.join(name))
}

fn stays_inside(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("it is empty");
    }
    if name.starts_with('/') {
        return Err("it is absolute");
    }
    if name.contains(['\\', '\0']) {
        return Err("it has characters that a path cannot have");
    }
    match name
        .split('/')
        .find(|part| matches!(*part, "" | "." | ".."))
    {
        Some("..") => Err("`..` leads out of the folder"),
        Some(_) => Err("it has an empty part"),
        None => Ok(()),
    }
}

fn unreadable(name: &str, place: &Place, why: &Unreadable, cx: &Context<'_>) -> Diagnostic {
    let shown = shown(name, cx);
    if *why != Unreadable::Missing {
        let finding = Diagnostic::error(format!("{shown} cannot be read"));
        return finding.at(place.clone(), why.to_string());
    }
    let finding = Diagnostic::error(format!("{shown} does not exist"));
    let finding = finding.at(place.clone(), "there is no such file");
    let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
    let Some(near) = cx.files.list(&cx.templates.join(folder)) else {
        let folder = crate::config::read::shown(&cx.root, &cx.templates.join(folder));
        return finding.help(format!("there is no folder {folder} either"));
    };
    match values::nearest(file, near.iter().map(String::as_str)) {
        Some(near) if folder.is_empty() => finding.help(format!("did you mean `{near}`?")),
        Some(near) => finding.help(format!("did you mean `{folder}/{near}`?")),
        None => finding,
    }
}
