//! `fallback = […]` → rungs. Owns their spelling and the rule that every rung can be reached.

use bytes::Bytes;

use super::declared::Declared;
use super::{Context, assets, lists, sources};
use crate::config::diagnose::{Diagnostic, Place};
use crate::config::file;
use crate::config::read::Entry;
use crate::config::values;
use crate::fragment::{FragmentId, Priority, Rung, RungKind};

/// The first words of a rung.
const WORDS: [&str; 6] = ["fragment", "static", "inline", "data", "lazy", "omit"];

/// A rung as it is spelled.
pub(super) enum Spelled<'t> {
    Fragment(&'t str),
    Static(&'t str),
    Inline(&'t str),
    Data(&'t str),
    Lazy,
    Omit,
}

pub(super) fn spell(text: &str) -> Option<Spelled<'_>> {
    match text.split_once(':') {
        Some(("fragment", name)) => Some(Spelled::Fragment(name)),
        Some(("static", path)) => Some(Spelled::Static(path)),
        Some(("inline", html)) => Some(Spelled::Inline(html)),
        Some(("data", path)) => Some(Spelled::Data(path)),
        None if text == "lazy" => Some(Spelled::Lazy),
        None if text == "omit" => Some(Spelled::Omit),
        _ => None,
    }
}

pub(super) fn fallback(
    entry: &Entry<file::Fragment>,
    fragment: &file::Fragment,
    declared: &Declared<'_>,
    cx: &mut Context<'_>,
) -> Vec<Rung> {
    check_reach(entry, fragment, cx);
    let rungs = fragment.fallback.iter().filter_map(|text| {
        let place = entry.at(text);
        match spell(text) {
            None => {
                let finding = unknown(text, place);
                cx.report(finding);
                None
            }
            Some(Spelled::Fragment(name)) => {
                let place = cx.within(&place, name);
                let sibling = declared.fragment_names.find(name, place, cx)?;
                Some(Rung::Sibling(FragmentId(sibling)))
            }
            Some(Spelled::Static(path)) => {
                let content = Bytes::from(assets::read(path, &place, cx)?);
                ready(
                    RungKind::Static,
                    sources::sized(content, fragment, place, cx),
                )
            }
            Some(Spelled::Inline(html)) => ready(RungKind::Inline, Some(html.to_owned().into())),
            Some(Spelled::Data(path)) => ready(
                RungKind::DefaultData,
                sources::rendered(path, entry, fragment, &place, declared, cx),
            ),
            Some(Spelled::Lazy) => {
                check_lazy(entry, fragment, place, declared, cx);
                Some(Rung::Lazy)
            }
            Some(Spelled::Omit) => {
                check_omit(fragment, place, cx);
                None
            }
        }
    });
    rungs.collect()
}

fn ready(kind: RungKind, body: Option<Bytes>) -> Option<Rung> {
    body.map(|body| Rung::Ready { kind, body })
}

fn unknown(text: &str, place: Place) -> Diagnostic {
    let word = text.split(':').next().unwrap_or_default();
    let finding = Diagnostic::error(format!("`{text}` is not a fallback"));
    let finding = finding.at(
        place,
        "expected `fragment:NAME`, `static:PATH`, `inline:HTML`, `data:PATH`, `lazy` or `omit`",
    );
    match values::nearest(word, WORDS) {
        Some(near @ ("lazy" | "omit")) => finding.help(format!("did you mean `{near}`?")),
        Some(near) => finding.help(format!("did you mean `{near}:…`?")),
        None if text.ends_with(".html") => finding.help(format!("did you mean `static:{text}`?")),
        None => finding,
    }
}

/// Nothing comes after `omit`, and only `omit` may be written after what cannot fail.
fn check_reach(entry: &Entry<file::Fragment>, fragment: &file::Fragment, cx: &mut Context<'_>) {
    let mut certain: Option<&file::At<String>> = None;
    for text in &fragment.fallback {
        let is_omit = text.as_str() == "omit";
        match certain {
            Some(last) if last.as_str() == "omit" => {
                cx.report(
                    Diagnostic::error("this fallback is never reached")
                        .at(entry.at(text), "unreachable")
                        .also(entry.at(last), "the slot is left empty here")
                        .help("`omit` comes last"),
                );
                return;
            }
            Some(last) if !is_omit => {
                let (why, help) = match last.as_str() {
                    "lazy" => (
                        "the browser asks once more here, when all else has failed",
                        "only `omit` comes after `lazy`",
                    ),
                    _ => (
                        "this one is in memory and cannot fail",
                        "put what can fail first",
                    ),
                };
                cx.report(
                    Diagnostic::error("this fallback is never reached")
                        .at(entry.at(text), "unreachable")
                        .also(entry.at(last), why)
                        .help(help),
                );
                return;
            }
            Some(_) | None => {}
        }
        match spell(text) {
            Some(Spelled::Fragment(_)) | None => {}
            Some(_) => certain = Some(text),
        }
    }
}

/// A tag asks for what has a slot, and the article is there when the page is.
fn check_lazy(
    entry: &Entry<file::Fragment>,
    fragment: &file::Fragment,
    place: Place,
    declared: &Declared<'_>,
    cx: &mut Context<'_>,
) {
    if fragment.priority.0.is_core() {
        let finding = Diagnostic::error("a core fragment cannot come later")
            .at(place, "its priority is core")
            .help("a page without its core is no page: readers get its snapshot or the error page");
        cx.report(finding);
    } else if let Some((list, named)) = lists::list_of(declared.fragments, &entry.name) {
        let finding = Diagnostic::error("an item of a list cannot come later")
            .at(place, "an item has no slot of its own")
            .also(named, format!("it is an item of `{}`", list.name));
        cx.report(finding.help(format!("let all of `{}` come later", list.name)));
    }
}

fn check_omit(fragment: &file::Fragment, place: Place, cx: &mut Context<'_>) {
    let (message, help) = match fragment.priority.0 {
        Priority::Optional(_) => return,
        Priority::Core => (
            "a core fragment cannot be omitted",
            "when nothing is left, the reader gets the error page; to leave it out, it must not be core",
        ),
        Priority::Essential => (
            "an essential fragment cannot be omitted",
            "give it a `static:` fallback, or a priority from 1 to 99 if pages may do without it",
        ),
    };
    let label = format!("its priority is {}", fragment.priority.0);
    cx.report(Diagnostic::error(message).at(place, label).help(help));
}
