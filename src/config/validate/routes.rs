//! Routes of pages, proxies and static folders → one table. Owns conflicts between them, proxies and
//! static folders themselves.

use std::collections::BTreeMap;

use http::HeaderValue;

use super::names::Names;
use super::{Context, body, markup, patterns, settings};
use crate::config::diagnose::{Diagnostic, Place};
use crate::config::file;
use crate::config::files::{Files, Unreadable};
use crate::config::read::{Declared, Entry};
use crate::config::values;
use crate::fragment::OriginId;
use crate::site::route::{OWN, RouteError};
use crate::site::{PageId, Proxy, Routes, StaticFolder, Target};

/// What answers to which path.
pub(super) struct Routing {
    pub(super) routes: Routes,
    pub(super) proxies: Vec<Option<Proxy>>,
    pub(super) statics: Vec<Option<StaticFolder>>,
}

pub(super) fn routes(declared: &Declared, origins: &Names, cx: &mut Context<'_>) -> Routing {
    let mut table = Table {
        routes: Routes::new(),
        known: BTreeMap::new(),
    };
    for (i, entry) in declared.statics.iter().enumerate() {
        if let Some(folder) = &entry.body {
            table.add_folder(i, entry, folder, cx);
        }
    }
    for (i, entry) in declared.pages.iter().enumerate() {
        if let Some(page) = &entry.body {
            let what = format!("page `{}`", entry.name);
            table.add(
                &page.route,
                &page.route,
                what,
                Target::Page(PageId(i)),
                entry.at(&page.route),
                cx,
            );
        }
    }
    for (i, entry) in declared.proxies.iter().enumerate() {
        if let Some(proxy) = &entry.body {
            let what = "this proxy".to_owned();
            table.add(
                &proxy.route,
                &proxy.route,
                what,
                Target::Proxy(i),
                entry.at(&proxy.route),
                cx,
            );
        }
    }
    if let Some(path) = &declared.status.path {
        let place = settings::place(path, declared.main);
        table.add_status(path, place, cx);
    }
    Routing {
        routes: table.routes,
        proxies: declared
            .proxies
            .iter()
            .map(|e| proxy(e, e.body.as_ref()?, declared, origins, cx))
            .collect(),
        statics: declared
            .statics
            .iter()
            .map(|e| folder(e, e.body.as_ref()?, cx))
            .collect(),
    }
}

struct Table {
    routes: Routes,
    known: BTreeMap<String, Known>,
}

/// Whom a pattern belongs to.
struct Known {
    what: String,
    place: Place,
    target: Target,
}

impl Table {
    fn add_folder(
        &mut self,
        index: usize,
        entry: &Entry<file::Static>,
        folder: &file::Static,
        cx: &mut Context<'_>,
    ) {
        let (route, place) = (&folder.route, entry.at(&folder.route));
        if route.contains(['{', '}']) {
            cx.report(
                Diagnostic::error("the route of a static folder has no parameters")
                    .at(place, "expected a prefix, such as `/assets`")
                    .help("every path below the prefix is looked up in the folder"),
            );
            return;
        }
        let pattern = format!("{}/{{*path}}", route.trim_end_matches('/'));
        self.add(
            &pattern,
            route,
            "this static folder".to_owned(),
            Target::Static(index),
            place,
            cx,
        );
    }

    fn add_status(&mut self, path: &str, place: Place, cx: &mut Context<'_>) {
        if path.contains(['{', '}']) || path.ends_with('/') {
            cx.report(
                Diagnostic::error(
                    "the path of `[status]` has no parameters and does not end in `/`",
                )
                .at(place, "expected one path, such as `/status`"),
            );
            return;
        }
        for (path, as_json) in [(path.to_owned(), false), (format!("{path}.json"), true)] {
            let (what, target) = ("the status page".to_owned(), Target::Status { as_json });
            self.add(&path, &path, what, target, place.clone(), cx);
        }
    }

    fn add(
        &mut self,
        pattern: &str,
        written: &str,
        what: String,
        target: Target,
        place: Place,
        cx: &mut Context<'_>,
    ) {
        if let Err(error) = patterns::params(pattern) {
            let culprit = written.get(error.culprit).unwrap_or(written);
            let finding = Diagnostic::error(format!("`{written}` is not a route"));
            cx.report(
                finding
                    .at(cx.within(&place, culprit), error.label)
                    .help(error.help),
            );
            return;
        }
        if pattern.starts_with(OWN) {
            let finding = Diagnostic::error(format!("the route of {what} is the server's own"));
            cx.report(
                finding
                    .at(
                        place,
                        format!("what begins with `{OWN}` is answered by marbre"),
                    )
                    .help("choose another path"),
            );
            return;
        }
        match self.routes.insert(pattern, target) {
            Ok(()) => self.check_shadow(pattern, &what, target, &place, cx),
            Err(RouteError::Conflict(with)) => {
                let finding =
                    Diagnostic::error(format!("the route of {what} conflicts with another"));
                let finding = finding.at(place.clone(), "answers to the same paths");
                cx.report(match self.known.get(&with) {
                    None => finding.help(format!("the other is `{with}`")),
                    Some(other) => {
                        finding.also(other.place.clone(), format!("the route of {}", other.what))
                    }
                });
            }
            Err(RouteError::Invalid(why)) => {
                cx.report(
                    Diagnostic::error(format!("`{written}` is not a route")).at(place.clone(), why),
                );
            }
        }
        self.known.entry(pattern.to_owned()).or_insert(Known {
            what,
            place,
            target,
        });
    }

    /// Below the prefix of a folder only folders answer; one at `/` takes what nothing else does.
    fn check_shadow(
        &self,
        pattern: &str,
        what: &str,
        target: Target,
        place: &Place,
        cx: &mut Context<'_>,
    ) {
        for (folder, known) in &self.known {
            let is_folder = |target| matches!(target, Target::Static(_));
            let prefix = folder
                .strip_suffix("{*path}")
                .filter(|prefix| *prefix != "/");
            let hides = prefix.is_some_and(|prefix| pattern.starts_with(prefix));
            if hides && is_folder(known.target) && !is_folder(target) {
                let finding = Diagnostic::error(format!("the route of {what} hides a static file"));
                cx.report(
                    finding
                        .at(place.clone(), "is below the prefix of a static folder")
                        .also(known.place.clone(), "this folder")
                        .help("choose another path for one of them"),
                );
            }
        }
    }
}

fn proxy(
    entry: &Entry<file::Proxy>,
    proxy: &file::Proxy,
    declared: &Declared,
    origins: &Names,
    cx: &mut Context<'_>,
) -> Option<Proxy> {
    let origin = origins.find(&proxy.origin, entry.at(&proxy.origin), cx);
    if let Some(path) = &proxy.path {
        check_path(entry, proxy, path, cx);
    }
    let origin = origin?;
    body(&declared.origins, origin)?;
    Some(Proxy {
        route: proxy.route.to_string(),
        origin: OriginId(origin),
        path: proxy.path.as_ref().map(|path| path.to_string()),
        timeout: proxy.timeout.0,
        idle_timeout: proxy.idle_timeout.0,
        markup: proxy
            .markup
            .as_ref()
            .map(|language| markup::language(**language)),
    })
}

/// The path of a proxy is spelled like a route, with parameters that its route has.
fn check_path(
    entry: &Entry<file::Proxy>,
    proxy: &file::Proxy,
    path: &file::At<String>,
    cx: &mut Context<'_>,
) {
    let place = entry.at(path);
    let Ok(provided) = patterns::params(&proxy.route) else {
        return;
    };
    let used = match patterns::params(path) {
        Ok(used) => used,
        Err(error) => {
            let culprit = path.get(error.culprit).unwrap_or(path);
            let finding = Diagnostic::error(format!("`{}` is not a path", **path));
            cx.report(
                finding
                    .at(cx.within(&place, culprit), error.label)
                    .help(error.help),
            );
            return;
        }
    };
    let spell = |p: &patterns::Param| match p.is_rest {
        true => format!("{{*{}}}", p.name),
        false => format!("{{{}}}", p.name),
    };
    let known: Vec<String> = provided.iter().map(spell).collect();
    for param in used.iter().filter(|param| !provided.contains(param)) {
        let spelled = spell(param);
        let finding = Diagnostic::error(format!("`{spelled}` is not a parameter of this route"))
            .at(cx.within(&place, &spelled), "nothing would be put here")
            .also(
                entry.at(&proxy.route),
                match known.is_empty() {
                    true => "this route has no parameters".to_owned(),
                    false => format!("this route has {}", known.join(", ")),
                },
            );
        cx.report(
            match values::nearest(&spelled, known.iter().map(String::as_str)) {
                Some(near) => finding.help(format!("did you mean `{near}`?")),
                None => finding,
            },
        );
    }
}

fn folder(
    entry: &Entry<file::Static>,
    folder: &file::Static,
    cx: &mut Context<'_>,
) -> Option<StaticFolder> {
    let dir = cx.root.join(folder.dir.as_str());
    if cx.files.list(&dir).is_none() {
        let label = match cx.files.read(&dir) {
            Ok(_) => "this is a file",
            Err(Unreadable::NotAFile | Unreadable::TooLarge | Unreadable::Refused(_)) => {
                "it cannot be read"
            }
            Err(Unreadable::Missing) => "there is no such folder",
        };
        let finding = Diagnostic::error(format!("the folder `{}` cannot be served", *folder.dir));
        let finding = finding.at(entry.at(&folder.dir), label);
        cx.report(finding.help("the path is relative to the folder of the main file"));
    }
    let cache_control = folder.cache_control.as_ref().map(|value| {
        let parsed = HeaderValue::from_str(value)
            .ok()
            .filter(|_| value.is_ascii());
        if parsed.is_none() {
            let finding = Diagnostic::error("`cache_control` cannot be sent in a header");
            let place = entry.at(value);
            cx.report(
                finding
                    .at(place, "expected ASCII text")
                    .help("for example `public, max-age=3600`"),
            );
        }
        parsed
    });
    Some(StaticFolder {
        route: folder.route.trim_end_matches('/').to_owned(),
        dir,
        cache_control: match cache_control {
            Some(value) => Some(value?),
            None => None,
        },
    })
}
