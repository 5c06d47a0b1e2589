//! `item = "…"` and what goes with it → lists. Owns who may be an item of what, and what a list takes
//! over from its items.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};

use xxhash_rust::xxh3::Xxh3;

use super::declared::Declared;
use super::links::Links;
use super::names::Names;
use super::{Context, body, fallbacks, fragments, sources, usage};
use crate::config::diagnose::{Diagnostic, Place};
use crate::config::file;
use crate::config::read::Entry;
use crate::fragment::source::Variable;
use crate::fragment::{Fragment, FragmentId, List, Reach, Source};

/// Items of a list where nothing says otherwise.
const ITEMS_MAX: u32 = 20;

/// Fewest items of a list where nothing says otherwise.
const ITEMS_MIN: u32 = 1;

/// The list that a fragment is declared to be, but for what it varies with.
pub(super) fn list(
    entry: &Entry<file::Fragment>,
    written: &file::Fragment,
    declared: &Declared<'_>,
    cx: &mut Context<'_>,
) -> Option<List> {
    let Some(item) = &written.item else {
        report_keys_of_lists(entry, written, cx);
        return None;
    };
    let at = path(entry, written, cx);
    check_source(entry, written, item, cx);
    let number = |value: &Option<file::At<u32>>, default| {
        let number = value.as_ref().map_or(default, |value| **value);
        usize::try_from(number).unwrap_or(usize::MAX)
    };
    let (items_max, items_min) = (
        number(&written.max_items, ITEMS_MAX),
        number(&written.min_items, ITEMS_MIN),
    );
    check_numbers(entry, written, items_min, items_max, cx);
    let id = declared.fragment_names.find(item, entry.at(item), cx)?;
    if let Some((_, of_item)) = body(declared.fragments, id) {
        check_item(entry, item, (&declared.fragments[id], of_item), cx);
    }
    Some(List {
        item: FragmentId(id),
        at,
        items_max,
        items_min,
        varies: Vec::new(),
    })
}

/// What is said of a list and means nothing without its items.
fn report_keys_of_lists(
    entry: &Entry<file::Fragment>,
    written: &file::Fragment,
    cx: &mut Context<'_>,
) {
    let keys = [
        ("items_at", written.items_at.as_ref().map(|at| entry.at(at))),
        ("max_items", written.max_items.as_ref().map(|n| entry.at(n))),
        ("min_items", written.min_items.as_ref().map(|n| entry.at(n))),
    ];
    for (key, place) in keys {
        // an `item` that was taken out because it is wrong has been reported
        let Some(place) = place.filter(|_| entry.is_whole) else {
            continue;
        };
        cx.report(
            Diagnostic::error(format!("`{key}` is for a list"))
                .at(place, "this fragment does not say what its items are")
                .help("add `item = \"NAME\"`, the fragment that each item is"),
        );
    }
}

fn path(
    entry: &Entry<file::Fragment>,
    written: &file::Fragment,
    cx: &mut Context<'_>,
) -> Vec<String> {
    let Some(at) = &written.items_at else {
        return Vec::new();
    };
    if at.split('.').any(str::is_empty) {
        cx.report(
            Diagnostic::error("`items_at` is not a path")
                .at(entry.at(at), "expected keys with a dot between them")
                .help("for example `data.stories`; leave it out if the answer itself is the list"),
        );
    }
    at.split('.').map(str::to_owned).collect()
}

fn check_source(
    entry: &Entry<file::Fragment>,
    written: &file::Fragment,
    item: &file::At<String>,
    cx: &mut Context<'_>,
) {
    let spelled = sources::spell(&written.source);
    if spelled.is_none_or(|spelled| matches!(spelled, sources::Spelled::Http { .. })) {
        return;
    }
    cx.report(
        Diagnostic::error("a list comes from an origin")
            .at(entry.at(&written.source), "expected `ORIGIN:/path`")
            .also(entry.at(item), "this makes it a list"),
    );
}

fn check_numbers(
    entry: &Entry<file::Fragment>,
    written: &file::Fragment,
    min: usize,
    max: usize,
    cx: &mut Context<'_>,
) {
    if min <= max {
        return;
    }
    let numbers = [&written.min_items, &written.max_items];
    let place = numbers.into_iter().flatten().next();
    cx.report(
        Diagnostic::error("`min_items` is larger than `max_items`").at(
            place.map_or(entry.place.clone(), |number| entry.at(number)),
            format!("no list has at least {min} and at most {max} items"),
        ),
    );
}

/// The page's status cannot depend on one of ten, and a list of lists would have no end in time.
fn check_item(
    entry: &Entry<file::Fragment>,
    item: &file::At<String>,
    (of_item, written): (&Entry<file::Fragment>, &file::Fragment),
    cx: &mut Context<'_>,
) {
    let place = entry.at(item);
    if let Some(list) = &written.item {
        let finding = Diagnostic::error("an item of a list cannot be a list")
            .at(place.clone(), format!("`{}` is one", of_item.name))
            .also(of_item.at(list), "this makes it a list");
        cx.report(finding);
    }
    if written.priority.0.is_core() {
        let finding = Diagnostic::error("an item of a list cannot be core")
            .at(of_item.at(&written.priority), "it decides no page's status")
            .also(place, "it is an item of this list")
            .help("the list itself may be core; give its item \"essential\" or 1 to 99");
        cx.report(finding);
    }
}

/// The list that a fragment is an item of, and where that is written.
pub(super) fn list_of<'e>(
    entries: &'e [Entry<file::Fragment>],
    name: &str,
) -> Option<(&'e Entry<file::Fragment>, Place)> {
    entries.iter().find_map(|entry| {
        let item = entry.body.as_ref()?.item.as_ref()?;
        (item.as_str() == name).then(|| (entry, entry.at(item)))
    })
}

/// An item stands in its list and nowhere else, and nothing else has an item.
pub(super) fn check_uses(
    entries: &[Entry<file::Fragment>],
    names: &Names,
    fragments: &[Option<Fragment>],
    cx: &mut Context<'_>,
) {
    for entry in entries {
        let Some(written) = &entry.body else { continue };
        for rung in &written.fallback {
            let Some(fallbacks::Spelled::Fragment(name)) = fallbacks::spell(rung) else {
                continue;
            };
            if let Some((list, place)) = list_of(entries, name) {
                cx.report(
                    Diagnostic::error("an item of a list cannot be a fallback")
                        .at(cx.within(&entry.at(rung), name), "there is no item here")
                        .also(place, format!("it is an item of `{}`", list.name)),
                );
            }
        }
        let fragment = names.get(&entry.name).and_then(|id| fragments.get(id));
        let Some(Some(fragment)) = fragment else {
            continue;
        };
        let used: Vec<&Variable> = items_of(fragment).collect();
        match (list_of(entries, &entry.name), used.first()) {
            (None, Some(variable)) => {
                let spelled = format!("{{{variable}}}");
                let place = cx.within(&entry.at(&written.source), &spelled);
                cx.report(
                    Diagnostic::error(format!("`{spelled}` is for items of a list"))
                        .at(place, "no list has this fragment as its item")
                        .help(format!(
                            "write `item = \"{}\"` in the fragment that answers with the list",
                            entry.name
                        )),
                );
            }
            (Some((list, place)), None) if matches!(fragment.source, Source::Http { .. }) => {
                cx.report(
                    Diagnostic::warning(format!("every item of `{}` is the same", list.name))
                        .at(entry.at(&written.source), "takes nothing from the item")
                        .also(place, "it is an item of this list")
                        .help("write `{item}` for a list of words or numbers, `{item.NAME}` for one of objects"),
                );
            }
            (Some(_), _) | (None, None) => {}
        }
    }
}

fn items_of(fragment: &Fragment) -> impl Iterator<Item = &Variable> {
    let target = if let Source::Http { target, .. } = &fragment.source {
        Some(target)
    } else {
        None
    };
    let variables = target.into_iter().flat_map(|target| target.variables());
    variables.filter(|variable| matches!(variable, Variable::Item(_)))
}

/// A list is made of its items: it varies with what they vary with, changes when they do, and is for
/// one reader only where one of them is.
pub(super) fn take_over_from_items(
    entries: &[Entry<file::Fragment>],
    fragments: &mut [Option<Fragment>],
    links: &Links,
    cx: &mut Context<'_>,
) {
    for index in 0..fragments.len() {
        let Some(list) = fragments[index].as_ref().and_then(|f| f.list.as_ref()) else {
            continue;
        };
        let reached = links.reach(list.item.index()).into_iter();
        let reached: Vec<&Fragment> = reached
            .filter_map(|at| fragments.get(at)?.as_ref())
            .collect();
        let params = reached.iter().copied().flat_map(usage::params_of);
        let params = params.map(|name| Variable::Param(name.to_owned()));
        let others = reached.iter().copied().flat_map(usage::varies_with);
        let varies: BTreeSet<Variable> = params.chain(others).collect();
        let mut hasher = Xxh3::new();
        (&list.at, list.items_max, list.items_min).hash(&mut hasher);
        for item in &reached {
            item.fingerprint.hash(&mut hasher);
        }
        let Some(fragment) = &mut fragments[index] else {
            continue;
        };
        fragment.fingerprint.hash(&mut hasher);
        fragment.fingerprint = hasher.finish();
        let was_personal = fragment.is_personal();
        if let Some(list) = &mut fragment.list {
            list.varies = varies.into_iter().collect();
        }
        if fragment.is_personal() && !was_personal {
            let reach = body(entries, index)
                .map(|(entry, written)| fragments::reach(entry, written, fragment, cx));
            fragment.reach = reach.unwrap_or(Reach::default());
        }
    }
}
