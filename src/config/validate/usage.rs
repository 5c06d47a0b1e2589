//! Who uses what: parameters that a page does not provide, and declarations that nothing uses. Owns
//! these questions about the site as a whole.

use std::collections::BTreeSet;

use super::links::Links;
use super::{Context, body, lists, markup, page_cache, patterns, sources};
use crate::config::diagnose::Diagnostic;
use crate::config::read::Declared;
use crate::config::values;
use crate::fragment::Fragment;
use crate::fragment::source::{Source, Variable};
use crate::site::{OriginSpec, Page};

/// Every `{param}` of a source must be given by the route of every page that may use the fragment.
pub(super) fn check_params(
    declared: &Declared,
    pages: &[Option<Page>],
    fragments: &[Option<Fragment>],
    links: &Links,
    cx: &mut Context<'_>,
) {
    for (i, page) in pages.iter().enumerate() {
        let (Some(page), Some((entry, written))) = (page, body(&declared.pages, i)) else {
            continue;
        };
        let Ok(params) = patterns::params(&written.route) else {
            continue;
        };
        let provided: Vec<&str> = params.iter().map(|param| param.name.as_str()).collect();
        for member in &page.members {
            for index in links.reach(member.fragment.index()) {
                let Some(Some(fragment)) = fragments.get(index) else {
                    continue;
                };
                let Some((used, source)) = body(&declared.fragments, index) else {
                    continue;
                };
                let missing = params_of(fragment).filter(|name| !provided.contains(name));
                for name in missing.collect::<BTreeSet<_>>() {
                    let spelled = format!("{{{name}}}");
                    let place = cx.within(&used.at(&source.source), &spelled);
                    let message = format!(
                        "page `{}` has no `{spelled}` for fragment `{}`",
                        page.name, fragment.name
                    );
                    let has = match provided.is_empty() {
                        true => "this route has no parameters".to_owned(),
                        false => format!("this route has {{{}}}", provided.join("}, {")),
                    };
                    let finding = Diagnostic::error(message)
                        .at(place, "not a parameter of the page's route")
                        .also(entry.at(&written.route), has);
                    let near = values::nearest(name, provided.iter().copied());
                    cx.report(finding.help(match near {
                        Some(near) => format!("did you mean `{{{near}}}`?"),
                        None => format!(
                            "take `{}` out of the page, add `{spelled}` to its route, or write `{{query.{name}}}`",
                            declared.fragments[member.fragment.index()].name
                        ),
                    }));
                }
            }
        }
    }
}

pub(super) fn params_of(fragment: &Fragment) -> impl Iterator<Item = &str> {
    let target = fragment.source.target();
    target
        .into_iter()
        .flat_map(|target| target.variables())
        .filter_map(|variable| match variable {
            Variable::Param(name) => Some(name.as_str()),
            Variable::Query(_)
            | Variable::Cookie(_)
            | Variable::Header(_)
            | Variable::Lang
            | Variable::Device
            | Variable::Item(_) => None,
        })
}

/// A snapshot of a page is for every request that would get the same page, but for what is a reader's
/// own.
pub(super) fn note_what_pages_vary_with(
    pages: &mut [Option<Page>],
    fragments: &[Option<Fragment>],
    links: &Links,
) {
    for page in pages.iter_mut().flatten() {
        let members = page.members.iter();
        let reached = members.flat_map(|member| links.reach(member.fragment.index()));
        let shown: Vec<&Fragment> = reached
            .filter_map(|index| fragments.get(index)?.as_ref())
            .collect();
        let varies: BTreeSet<Variable> = shown.iter().copied().flat_map(varies_with).collect();
        page.snapshots.varies = varies.into_iter().collect();
        page.vary = page_cache::vary(&page.snapshots.varies);
    }
}

/// What a fragment varies with besides the parameters of the route.
pub(super) fn varies_with(fragment: &Fragment) -> impl Iterator<Item = Variable> {
    let target = fragment.source.target();
    let variables = target.into_iter().flat_map(|target| target.variables());
    let given = |variable: &&Variable| matches!(variable, Variable::Param(_) | Variable::Item(_));
    let variables = variables.filter(move |variable| !given(variable));
    let headers = fragment.forward_headers.iter().cloned();
    let cookies = fragment.forward_cookies.iter().cloned();
    variables
        .cloned()
        .chain(headers.map(Variable::Header))
        .chain(cookies.map(Variable::Cookie))
}

/// A tag asks for the fragment of a slot: one that only stands in for others never gets it.
pub(super) fn check_lazy(
    declared: &Declared,
    pages: &[Option<Page>],
    links: &Links,
    cx: &mut Context<'_>,
) {
    // which slots there are is known when every layout can be read
    let Some(pages) = pages.iter().map(Option::as_ref).collect::<Option<Vec<_>>>() else {
        return;
    };
    let members = pages.iter().flat_map(|page| &page.members);
    let slots: BTreeSet<usize> = members.map(|member| member.fragment.index()).collect();
    for (i, entry) in declared.fragments.iter().enumerate() {
        let Some(written) = &entry.body else { continue };
        let stands_in_for = slots.iter().find(|slot| links.reach(**slot).contains(&i));
        let is_item = lists::list_of(&declared.fragments, &entry.name).is_some();
        let (Some(of), false, false) = (stands_in_for, slots.contains(&i), is_item) else {
            continue;
        };
        for rung in written
            .fallback
            .iter()
            .filter(|rung| rung.as_str() == "lazy")
        {
            let of = &declared.fragments[*of].name;
            let finding = Diagnostic::error("only a fragment with a slot can come later");
            let label = format!("`{}` is in no layout, it only stands in", entry.name);
            let finding = finding.at(entry.at(rung), label);
            cx.report(finding.help(format!("write `lazy` in `{of}`, whose slot it is")));
        }
    }
}

/// Warns of fragments that no page can show and of origins that nothing asks.
pub(super) fn warn_unused(
    declared: &Declared,
    pages: &[Option<Page>],
    fragments: &[Option<Fragment>],
    links: &Links,
    cx: &mut Context<'_>,
) {
    let members = pages.iter().flatten().flat_map(|page| &page.members);
    let used: BTreeSet<usize> = members
        .flat_map(|member| links.reach(member.fragment.index()))
        .collect();
    for (i, entry) in declared.fragments.iter().enumerate() {
        if !used.contains(&i) && !markup::is_included(declared, i) {
            cx.report(
                Diagnostic::warning(format!("fragment `{}` is never used", entry.name)).at(
                    entry.place.clone(),
                    "in no layout, no fallback and no item of what is in one",
                ),
            );
        }
    }
    let mut asked: BTreeSet<&str> = BTreeSet::new();
    for (i, _) in fragments.iter().enumerate() {
        let Some((_, fragment)) = body(&declared.fragments, i) else {
            continue;
        };
        if let Some(sources::Spelled::Http { origin, .. }) = sources::spell(&fragment.source) {
            asked.insert(origin);
        }
    }
    asked.extend(
        declared
            .proxies
            .iter()
            .filter_map(|e| Some(e.body.as_ref()?.origin.as_str())),
    );
    let origins = declared.origins.iter().filter_map(|e| e.body.as_ref());
    asked.extend(origins.flat_map(|o| o.depends_on.iter().map(|name| name.as_str())));
    for entry in declared
        .origins
        .iter()
        .filter(|entry| !asked.contains(entry.name.as_str()))
    {
        cx.report(
            Diagnostic::warning(format!("origin `{}` is never asked", entry.name))
                .at(entry.place.clone(), "no source and no proxy names it"),
        );
    }
}

/// Warns of pages that ask an origin for more blocks at once than it has places for: where none of them is
/// in memory some are missing.
pub(super) fn warn_of_room(
    declared: &Declared,
    origins: &[Option<OriginSpec>],
    pages: &[Option<Page>],
    fragments: &[Option<Fragment>],
    cx: &mut Context<'_>,
) {
    for (index, origin) in origins.iter().enumerate() {
        let (Some(origin), Some((entry, written))) = (origin, body(&declared.origins, index))
        else {
            continue;
        };
        let asks_it = |fragment: &&Fragment| matches!(fragment.source, Source::Http { origin, .. } if origin.index() == index);
        for page in pages.iter().flatten() {
            let members = page.members.iter();
            let members = members.filter_map(|m| fragments.get(m.fragment.index())?.as_ref());
            let asking: Vec<&Fragment> = members.filter(asks_it).collect();
            let blocks = asking.len();
            let optional = asking.iter().filter(|f| !f.is_required()).count();
            let for_optional = origin.max_in_flight.saturating_sub(origin.reserved);
            let (label, help) = if blocks > origin.max_in_flight {
                let label = "where none of them is in memory, some are missing".to_owned();
                (label, format!("make it at least {blocks}"))
            } else if optional > for_optional {
                let label = format!(
                    "{optional} of them are optional, which may take {for_optional} of these places: where none is \
                     in memory, some are missing"
                );
                (label, "make it greater, or `reserved` smaller".to_owned())
            } else {
                continue;
            };
            let message = format!(
                "page `{}` asks `{}` for {blocks} blocks at once, and there is no room for all",
                page.name, origin.name
            );
            let place = entry.at(&written.max_in_flight);
            cx.report(Diagnostic::warning(message).at(place, label).help(help));
        }
    }
}
