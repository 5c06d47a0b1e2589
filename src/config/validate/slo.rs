//! `[slo.…]` → what readers are promised. Owns the checks of what is measured and of which pages.

use super::Context;
use super::names::Names;
use crate::config::diagnose::{Diagnostic, Place};
use crate::config::file;
use crate::config::read::{Declared, Entry};
use crate::site::{Good, Promise, SloSpec, WhenSpent};

/// So many may be declared: each costs every page a moment, and memory for its whole period.
const SLOS_MAX: usize = 32;

/// Up to this objective no burn is ever fast enough to wake somebody: were every page bad, the budget
/// would be used no more than 6 times as fast as it may be.
const WAKES_ABOVE: f64 = 1.0 - 1.0 / 6.0;

pub(super) fn slos(
    declared: &Declared,
    pages: &Names,
    cx: &mut Context<'_>,
) -> Vec<Option<SloSpec>> {
    if let Some(entry) = declared.slos.get(SLOS_MAX) {
        cx.report(
            Diagnostic::error(format!("more than {SLOS_MAX} objectives are declared"))
                .at(entry.place.clone(), "this is one too many")
                .help("declare what readers feel, for all pages or for kinds of pages"),
        );
    }
    let each = declared.slos.iter();
    let each = each.map(|entry| slo(entry, entry.body.as_ref()?, (declared, pages), cx));
    each.collect()
}

fn slo(
    entry: &Entry<file::Slo>,
    written: &file::Slo,
    (declared, names): (&Declared, &Names),
    cx: &mut Context<'_>,
) -> Option<SloSpec> {
    let promise = promise(entry, written, cx);
    let mut pages = Vec::new();
    for name in &written.pages.0 {
        let place = match name.starts_with('/') {
            true => declared.pages.len() + woven(declared, name, entry.at(name), cx)?,
            false => names.find(name, entry.at(name), cx)?,
        };
        pages.push((place, name.to_string()));
    }
    // in the order of the declaration, whatever the order here
    pages.sort_unstable();
    pages.dedup();
    if *written.objective <= WAKES_ABOVE {
        cx.report(
            Diagnostic::warning("nobody is ever woken for this objective")
                .at(
                    entry.at(&written.objective),
                    "were every page bad, its budget would last for days",
                )
                .help("from 0.84 on a fast burn calls somebody at once; below, only a ticket is written"),
        );
    }
    Some(SloSpec {
        name: entry.name.clone(),
        promise: promise?,
        objective: *written.objective,
        period: written.period.0,
        pages: pages.into_iter().map(|(_, name)| name).collect(),
        when_spent: match *written.when_spent {
            file::WhenSpent::Tell => WhenSpent::Tell,
            file::WhenSpent::StopFaults => WhenSpent::StopFaults,
            file::WhenSpent::StopExperiments => WhenSpent::StopExperiments,
        },
    })
}

/// The place of the proxy of this route, whose documents are woven.
fn woven(declared: &Declared, route: &str, place: Place, cx: &mut Context<'_>) -> Option<usize> {
    let proxies = declared.proxies.iter().map(|entry| entry.body.as_ref());
    let found = proxies
        .clone()
        .position(|proxy| proxy.is_some_and(|proxy| *proxy.route == route));
    let is_woven = |proxy: &&file::Proxy| proxy.markup.is_some();
    let proxy = found.and_then(|index| declared.proxies[index].body.as_ref());
    if proxy.as_ref().is_some_and(is_woven) {
        return found;
    }
    let (label, help) = match proxy {
        Some(_) => (
            "what it passes through is not looked into",
            Some("a proxy with `markup` answers with pages, others with anything"),
        ),
        None => ("no `[[proxy]]` has this route", None),
    };
    let finding = Diagnostic::error(format!("`{route}` is not a page")).at(place, label);
    let woven = proxies.flatten().filter(is_woven);
    cx.report(match help {
        Some(help) => finding.help(help),
        None => finding.did_you_mean(route, woven.map(|proxy| proxy.route.as_str())),
    });
    None
}

fn promise(entry: &Entry<file::Slo>, written: &file::Slo, cx: &mut Context<'_>) -> Option<Promise> {
    let of_pages = [
        ("within", written.within.as_ref().map(|at| entry.at(at))),
        ("complete", written.complete.as_ref().map(|at| entry.at(at))),
        (
            "stale_max",
            written.stale_max.as_ref().map(|at| entry.at(at)),
        ),
    ];
    let of_pages: Vec<(&str, Place)> = of_pages
        .into_iter()
        .filter_map(|(key, place)| Some((key, place?)))
        .collect();
    let value = written.value.as_ref().filter(|value| ***value);
    match (value, &of_pages[..]) {
        (None, []) => {
            // what was wrong in it has been reported, and may have been this
            if entry.is_whole {
                let name = &entry.name;
                cx.report(
                    Diagnostic::error(format!("[slo.{name}] promises nothing"))
                        .at(entry.place.clone(), "it does not say what a good page is")
                        .help("add `within = \"1s\"`, `complete = \"core\"` or `\"all\"`, `stale_max = \"10m\"`, several of them, or `value = true`"),
                );
            }
            None
        }
        (Some(value), [(key, place), ..]) => {
            cx.report(
                Diagnostic::error(format!("`value` and `{key}` measure different things"))
                    .at(place.clone(), "this counts pages")
                    .also(entry.at(value), "this counts what their blocks are worth")
                    .help("make two objectives of it"),
            );
            None
        }
        (Some(_), []) => Some(Promise::Value),
        (None, _) => Some(Promise::Pages(Good {
            within: written.within.as_ref().map(|within| within.0),
            is_complete: written
                .complete
                .as_ref()
                .is_some_and(|complete| **complete == file::Complete::All),
            stale_max: written.stale_max.as_ref().map(|stale| stale.0),
        })),
    }
}
