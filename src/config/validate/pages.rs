//! `[pages.…]` and their layouts → pages. Owns the checks of layouts and their compilation into
//! pieces; findings point into the layout files.

use std::hash::{Hash, Hasher};

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use super::names::Names;
use super::{Context, assets, body, degradation, lists, markup, page_cache, patterns, settings};
use crate::config::diagnose::{Diagnostic, FileId, Place};
use crate::config::file;
use crate::config::read::{Declared, Entry};
use crate::config::values::show_size;
use crate::fragment::FragmentId;
use crate::layout::{self, Layout, Segment, Slot};
use crate::site::{Member, Page, Piece, Snapshots};

pub(super) fn pages(declared: &Declared, names: &Names, cx: &mut Context<'_>) -> Vec<Option<Page>> {
    let pages = declared.pages.iter();
    pages
        .map(|entry| page(entry, entry.body.as_ref()?, declared, names, cx))
        .collect()
}

fn page(
    entry: &Entry<file::Page>,
    written: &file::Page,
    declared: &Declared,
    names: &Names,
    cx: &mut Context<'_>,
) -> Option<Page> {
    check_rest(entry, written, cx);
    let place = entry.at(&written.layout);
    let text = assets::read_text(&written.layout, &place, cx)?;
    let max = settings::bytes(&declared.limits.layout_size);
    if text.len() > max {
        let sizes = (show_size(text.len() as u64), show_size(max as u64));
        cx.report(
            Diagnostic::error("this layout is too large")
                .at(
                    place,
                    format!("{}, but at most {} may be used", sizes.0, sizes.1),
                )
                .help("make it smaller, or raise `layout_size` in `[limits]`"),
        );
        return None;
    }
    let file = cx.found.add_file(assets::shown(&written.layout, cx), &text);
    let text = Bytes::from(text);
    let named = |src: &str| markup::fragment_of(declared, src);
    let parsed = layout::html::parse(&text)
        .and_then(|layout| layout::esi::fixed::with_includes(&text, layout, &named));
    let mut layout = match parsed {
        Ok(layout) => layout,
        Err(errors) => {
            for error in errors {
                let span = error.offset..error.offset + error.len;
                let finding = Diagnostic::error(error.problem.to_string());
                cx.report(
                    finding
                        .at(Place { file, span }, "")
                        .help(error.problem.hint()),
                );
            }
            return None;
        }
    };
    check_slot_count(&layout, declared, &place, cx);
    let deferral = late_slots(&mut layout, file, cx);
    let compiled = compile(layout, &text, file, declared, names, cx)?;
    check_core(entry, &compiled, declared, place, cx);
    let (target, optional_time) = degradation::aim(entry, written, declared, cx);
    Some(Page {
        name: entry.name.clone(),
        route: written.route.to_string(),
        layout: written.layout.to_string(),
        budget: written.budget.0,
        target,
        optional_time,
        members: compiled.members,
        literals: literals(&compiled.pieces),
        pieces: compiled.pieces,
        deferral,
        snapshots: snapshots(entry, written),
        cache: page_cache::page_cache(entry, &written.cache, cx),
        vary: None,
    })
}

/// A hash of the text and of where in it the slots are.
fn literals(pieces: &[Piece]) -> u128 {
    let mut hasher = Xxh3::new();
    for piece in pieces {
        if let Piece::Literal(text) = piece {
            hasher.update(text);
        }
        // so that nothing runs into the next
        hasher.update(&[0xff]);
    }
    hasher.digest128()
}

/// What the page varies with is known when all fragments are.
fn snapshots(entry: &Entry<file::Page>, written: &file::Page) -> Snapshots {
    let mut hasher = Xxh3::new();
    ("snapshot of page", &entry.name).hash(&mut hasher);
    Snapshots {
        every: written.snapshot_every.0,
        keep: written.snapshot_keep.0,
        varies: Vec::new(),
        fingerprint: hasher.finish(),
    }
}

/// A page's parameter is one segment, so that it can stand for one segment of an origin's path.
fn check_rest(entry: &Entry<file::Page>, written: &file::Page, cx: &mut Context<'_>) {
    let params = patterns::params(&written.route).unwrap_or_default();
    for param in params.iter().filter(|param| param.is_rest) {
        let spelled = format!("{{*{}}}", param.name);
        let place = cx.within(&entry.at(&written.route), &spelled);
        cx.report(
            Diagnostic::error("the route of a page cannot take all that follows")
                .at(place, "only a `[[proxy]]` can")
                .help(format!("write `{{{}}}` for one segment", param.name)),
        );
    }
}

fn check_slot_count(layout: &Layout, declared: &Declared, place: &Place, cx: &mut Context<'_>) {
    let (count, max) = (layout.slots().count(), *declared.limits.page_slots);
    if u32::try_from(count).is_ok_and(|count| count <= max) {
        return;
    }
    cx.report(
        Diagnostic::error("this layout has too many slots")
            .at(
                place.clone(),
                format!("{count} slots, but at most {max} may be used"),
            )
            .help("make blocks larger, or raise `page_slots` in `[limits]`"),
    );
}

/// Slots that may come late; those that cannot where they are are waited for like others.
fn late_slots(layout: &mut Layout, file: FileId, cx: &mut Context<'_>) -> Option<layout::Deferral> {
    let (deferral, unfit) = layout::deferral::arrange(layout);
    for (offset, why) in unfit {
        let span = offset..offset + "<fragment".len();
        let finding = Diagnostic::warning("this slot is waited for, though it says `defer`");
        cx.report(finding.at(Place { file, span }, why.to_string()).help(
            "put it into an element of the body that may hold a block, such as `<div>`, or leave \
             `defer` out",
        ));
    }
    deferral
}

#[derive(Default)]
struct Compiled {
    members: Vec<Member>,
    pieces: Vec<Piece>,
    /// Whether every slot's fragment could be examined.
    is_whole: bool,
}

/// `None` if a slot's fragment is not declared.
fn compile(
    layout: Layout,
    text: &Bytes,
    file: FileId,
    declared: &Declared,
    names: &Names,
    cx: &mut Context<'_>,
) -> Option<Compiled> {
    let mut compiled = Compiled {
        is_whole: true,
        ..Compiled::default()
    };
    let mut complete = true;
    for segment in layout.segments {
        let slot = match segment {
            Segment::Literal(literal) => {
                compiled.pieces.push(Piece::Literal(literal));
                continue;
            }
            Segment::Slot(slot) => slot,
        };
        let Some(index) = names.find(&slot.fragment, slot_place(&slot, text, file), cx) else {
            complete = false;
            continue;
        };
        if let Some((list, place)) = lists::list_of(&declared.fragments, &slot.fragment) {
            let finding = Diagnostic::error("an item of a list has no slot of its own")
                .at(slot_place(&slot, text, file), "there is no item here")
                .also(place, format!("it is an item of `{}`", list.name));
            cx.report(finding.help(format!("write `{}` instead", list.name)));
        }
        let is_core = match body(&declared.fragments, index) {
            Some((_, fragment)) => fragment.priority.0.is_core(),
            None => {
                compiled.is_whole = false;
                false
            }
        };
        let id = FragmentId(index);
        let member = compiled
            .members
            .iter()
            .position(|m| m.fragment == id)
            .unwrap_or_else(|| {
                compiled.members.push(Member {
                    fragment: id,
                    is_core,
                });
                compiled.members.len() - 1
            });
        compiled.pieces.push(Piece::Slot {
            member,
            part: slot.part,
            default: slot.default,
        });
    }
    complete.then_some(compiled)
}

/// The fragment's name within its slot's tag.
fn slot_place(slot: &Slot, text: &Bytes, file: FileId) -> Place {
    let tag = &text[slot.offset..];
    let tag_end = tag
        .iter()
        .position(|b| *b == b'>')
        .map_or(tag.len(), |i| i + 1);
    let tag = String::from_utf8_lossy(&tag[..tag_end]);
    let quoted = ['"', '\''].map(|quote| format!("{quote}{}{quote}", slot.fragment));
    let span = match quoted.iter().find_map(|quoted| tag.find(quoted.as_str())) {
        Some(at) => slot.offset + at + 1..slot.offset + at + 1 + slot.fragment.len(),
        None => slot.offset..slot.offset + tag_end,
    };
    Place { file, span }
}

fn check_core(
    entry: &Entry<file::Page>,
    compiled: &Compiled,
    declared: &Declared,
    place: Place,
    cx: &mut Context<'_>,
) {
    if !compiled.is_whole || compiled.members.iter().any(|member| member.is_core) {
        return;
    }
    let members = compiled.members.iter();
    let names: Vec<String> = members
        .map(|m| format!("`{}`", declared.fragments[m.fragment.index()].name))
        .collect();
    let finding = Diagnostic::error(format!("page `{}` has no core fragment", entry.name))
        .at(place, "no slot of this layout is for a core fragment");
    cx.report(match names.len() {
        0 => finding.help("add `<fragment name=\"…\">` where the article goes"),
        _ => finding.help(format!(
            "set `priority = \"core\"` on what the page is about; its slots are for {}",
            names.join(", ")
        )),
    });
}
