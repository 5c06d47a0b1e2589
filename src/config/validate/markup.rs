//! `[markup]` → what documents may include. Owns the hosts that they may name, and the fragments that
//! stand for what nobody has declared: one for each origin that documents may include from, so that
//! these includes have a cache, a breaker, a deadline and a place in the ladder like all others; and one
//! for the documents of each origin, so that these are accounted for like all other blocks.

use std::collections::BTreeSet;
use std::hash::{Hash as _, Hasher as _};
use std::net::IpAddr;

use http::Uri;
use xxhash_rust::xxh3::Xxh3;

use super::names::Names;
use super::settings::{self, place};
use super::{Context, body, forwards, origins};
use crate::config::diagnose::{Diagnostic, Place};
use crate::config::file::{self, At, Failed, Undeclared, WhichDocuments, WhichNested};
use crate::config::read::{Declared, Entry};
use crate::fragment::source::{TargetTemplate, Variable};
use crate::fragment::{Fragment, FragmentId, Freshness, Limits, OriginId, Priority, Reach, Source};
use crate::site::markup::{Language, Marked, MarkupSpec, is_public};
use crate::site::{Address, OriginSpec};

/// A stale copy is shown at once if the origin has not answered by then, as with other fragments.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(50);

/// What is declared of markup, with the origins and the fragments that it brings into being.
pub(super) fn markup(
    declared: &Declared,
    origin_names: &Names,
    origins: &mut Vec<Option<OriginSpec>>,
    fragments: &mut Vec<Option<Fragment>>,
    cx: &mut Context<'_>,
) -> MarkupSpec {
    let written = &declared.markup;
    let patterns = patterns(declared, cx);
    let (hosts, named) = hosts(declared, origin_names, origins, cx);
    let forward_headers = forward_headers(declared, cx);
    check_priority(declared, cx);
    let of_documents = declared.proxies.iter().filter_map(|entry| {
        let proxy = entry.body.as_ref()?;
        proxy.markup.as_ref()?;
        origin_names.get(&proxy.origin)
    });
    let mut included: BTreeSet<usize> = of_documents.collect();
    let with_documents = included.clone();
    if !included.is_empty() {
        included.extend(named);
    }
    let mut undeclared = vec![None; origins.len()];
    let mut primary = undeclared.clone();
    let mut blocks = undeclared.clone();
    let is_fetched = *written.undeclared == Undeclared::Fetch;
    let names = origins.iter().map(|o| o.as_ref().map(|o| o.name.clone()));
    let names: Vec<Option<String>> = names.collect();
    for index in included {
        let Some(Some(origin)) = names.get(index) else {
            continue;
        };
        let origin = (OriginId(index), origin.as_str());
        let mut stand_for = |what, priority| {
            let id = FragmentId(fragments.len());
            let fragment = standing_for(declared, (what, origin), priority, &forward_headers);
            fragments.push(fragment);
            Some(id)
        };
        if with_documents.contains(&index) {
            blocks[index] = stand_for("document", Priority::Core);
        }
        if is_fetched {
            undeclared[index] = stand_for("include", written.priority.0);
            if may_have_primary(declared) {
                primary[index] = stand_for("primary", Priority::Core);
            }
        }
    }
    MarkupSpec {
        undeclared,
        primary,
        blocks,
        declared: patterns,
        hosts,
        documents: match *written.documents {
            WhichDocuments::Marked => Marked::Marked,
            WhichDocuments::Always => Marked::Always,
        },
        nested: match *written.nested {
            WhichNested::Never => Marked::Never,
            WhichNested::Marked => Marked::Marked,
            WhichNested::Always => Marked::Always,
        },
        depth: usize::from(*written.depth),
        includes_max: usize::try_from(*written.includes).unwrap_or(usize::MAX),
        bytes_max: settings::bytes(&written.max_size),
        budget: written.budget.0,
        fails_page: *written.failed == Failed::NoPage,
        forward_headers,
        forwards_cookies: *written.forward_cookies,
        is_escaping: *written.escape,
    }
}

/// Fragments that documents can include, whether or not they are in any layout.
pub(super) fn is_included(declared: &Declared, index: usize) -> bool {
    let is_asked = |entry: &Entry<file::Proxy>| {
        let proxy = entry.body.as_ref();
        proxy.is_some_and(|proxy| proxy.markup.is_some())
    };
    let Some((_, fragment)) = body(&declared.fragments, index) else {
        return false;
    };
    declared.proxies.iter().any(is_asked)
        && (fragment.include.is_some()
            || matches!(
                super::sources::spell(&fragment.source),
                Some(super::sources::Spelled::Http { .. })
            ))
}

/// The fragment that a layout means by an address: as the fragment's `include` has it, or its source.
pub(super) fn fragment_of(declared: &Declared, src: &str) -> Option<String> {
    let is_meant = |entry: &&Entry<file::Fragment>| {
        let Some(written) = &entry.body else {
            return false;
        };
        let of_source = match super::sources::spell(&written.source) {
            Some(super::sources::Spelled::Http { target, .. }) => Some(target),
            Some(_) | None => None,
        };
        let address = written.include.as_ref().map(|include| include.as_str());
        address.or(of_source) == Some(src)
    };
    let entry = declared.fragments.iter().find(is_meant);
    entry.map(|entry| entry.name.clone())
}

pub(super) fn language(written: file::Language) -> Language {
    match written {
        file::Language::Esi => Language::Esi,
        file::Language::Ssi => Language::Ssi,
        file::Language::Tailor => Language::Tailor,
    }
}

/// Whether a document may say that an include decides about its page, as Tailor's may.
fn may_have_primary(declared: &Declared) -> bool {
    let mut languages = declared.proxies.iter().filter_map(|entry| {
        let proxy = entry.body.as_ref()?;
        proxy.markup.as_ref().map(|language| **language)
    });
    languages.any(|language| language == file::Language::Tailor)
}

fn check_priority(declared: &Declared, cx: &mut Context<'_>) {
    let priority = &declared.markup.priority;
    if priority.0.is_core() {
        let finding = Diagnostic::error("an include that nobody declares cannot be core");
        let at = place(priority, declared.main);
        cx.report(
            finding
                .at(at, "the document itself is the core of its page")
                .help("write \"essential\" or a number from 1 to 99"),
        );
    }
}

fn forward_headers(declared: &Declared, cx: &mut Context<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for header in &declared.markup.forward_headers {
        let name = header.to_ascii_lowercase();
        let at = || place(header, declared.main);
        if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            let finding = Diagnostic::error(format!("`{}` is not a header name", **header));
            cx.report(finding.at(at(), "expected letters, digits and `-`"));
        } else if let Some((why, help)) = forwards::refusal(&name) {
            let help = match name.as_str() {
                "cookie" => "write `forward_cookies = true`",
                _ => help,
            };
            let finding = Diagnostic::error(format!("`{name}` cannot be forwarded"));
            cx.report(finding.at(at(), why).help(help));
        }
        names.push(name);
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// The addresses that fragments declare.
fn patterns(declared: &Declared, cx: &mut Context<'_>) -> Vec<(TargetTemplate, FragmentId)> {
    let mut patterns = Vec::new();
    for (index, entry) in declared.fragments.iter().enumerate() {
        let Some(written) = entry.body.as_ref().and_then(|body| body.include.as_ref()) else {
            continue;
        };
        match TargetTemplate::parse(written) {
            Ok(pattern) => {
                check_params(entry, written, &pattern, cx);
                patterns.push((pattern, FragmentId(index)));
            }
            Err(why) => {
                let finding = Diagnostic::error("`include` is not a path");
                cx.report(
                    finding
                        .at(entry.at(written), why.to_string())
                        .help("write it as documents do, with `{name}` for what differs"),
                );
            }
        }
    }
    patterns
}

/// Every parameter of the source must be in the address, which is all that an include tells.
fn check_params(
    entry: &Entry<file::Fragment>,
    written: &At<String>,
    pattern: &TargetTemplate,
    cx: &mut Context<'_>,
) {
    let Some(fragment) = &entry.body else { return };
    let target = match super::sources::spell(&fragment.source) {
        Some(super::sources::Spelled::Http { target, .. }) => TargetTemplate::parse(target),
        Some(_) | None => return,
    };
    let Ok(target) = target else { return };
    let given: Vec<&Variable> = pattern.variables().collect();
    let is_param = |variable: &&Variable| matches!(variable, Variable::Param(_));
    let missing = target.variables().filter(is_param);
    for variable in missing.filter(|variable| !given.contains(variable)) {
        let finding = Diagnostic::error(format!("`include` has no `{{{variable}}}`"));
        cx.report(
            finding
                .at(entry.at(written), "not in the address")
                .also(entry.at(&fragment.source), "the source needs it")
                .help("an include tells nothing but its address: add it there"),
        );
    }
}

/// The hosts, each of which is an origin: one that is declared, or one of its own. And which of them
/// documents may name although no fragment declares the address.
fn hosts(
    declared: &Declared,
    names: &Names,
    origins: &mut Vec<Option<OriginSpec>>,
    cx: &mut Context<'_>,
) -> (Vec<(String, OriginId)>, Vec<usize>) {
    let mut found = known(origins);
    let mut named = Vec::new();
    for written in &declared.markup.hosts {
        let at = place(written, declared.main);
        let Some(host) = host(written) else {
            let finding = Diagnostic::error(format!("`{}` is not a host", **written));
            cx.report(
                finding
                    .at(
                        at,
                        "expected a scheme and a host, or an address as it is usually written",
                    )
                    .help("for example `https://widgets.example.com`"),
            );
            continue;
        };
        if let Some((_, id)) = found.iter().find(|(known, _)| *known == host.key) {
            named.push(id.index());
            continue;
        }
        let may_be_private = *declared.markup.private_addresses;
        if host.address.is_some_and(|address| !is_public(address)) && !may_be_private {
            let finding = Diagnostic::error(format!("`{}` is inside a private network", **written));
            cx.report(finding.at(at, "documents are not to reach it").help(
                "declare it as an origin, or write `private_addresses = true` if documents may",
            ));
            continue;
        }
        let Some(mut origin) = origin_of(&host, &at, names, cx) else {
            continue;
        };
        origin.connections.public_only = !may_be_private;
        named.push(origins.len());
        found.push((host.key, OriginId(origins.len())));
        origins.push(Some(origin));
    }
    (found, named)
}

/// The origins that are declared, by where their replicas are.
fn known(origins: &[Option<OriginSpec>]) -> Vec<(String, OriginId)> {
    let mut known = Vec::new();
    for (index, origin) in origins.iter().enumerate() {
        let replicas = origin.iter().flat_map(|origin| &origin.replicas);
        for replica in replicas {
            if let Address::Url(url) = &replica.address
                && let Some(host) = host(url)
            {
                known.push((host.key, OriginId(index)));
            }
        }
    }
    known
}

struct Host {
    /// Scheme and authority, with the port, lower case.
    key: String,
    name: String,
    /// What the name is, where it is an address.
    address: Option<IpAddr>,
    url: String,
}

/// A scheme and a host, with a port or without; `None` for everything else, such as an address that is
/// not spelled as four numbers.
fn host(written: &str) -> Option<Host> {
    let uri: Uri = written.trim_end_matches('/').parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let default_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let is_bare = uri.path() == "/" && uri.query().is_none() && !authority.as_str().contains('@');
    let name = authority.host().to_ascii_lowercase();
    let address = name.trim_matches(['[', ']']).parse().ok();
    let last = name.rsplit('.').next().unwrap_or_default();
    let looks_like_an_address = last.starts_with("0x")
        || (!last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()))
        || name.starts_with('[');
    if !is_bare || name.is_empty() || (looks_like_an_address && address.is_none()) {
        return None;
    }
    let port = authority.port_u16().unwrap_or(default_port);
    Some(Host {
        key: format!("{scheme}://{name}:{port}"),
        url: format!("{scheme}://{name}:{port}"),
        name,
        address,
    })
}

/// An origin with the defaults of all origins.
fn origin_of(host: &Host, at: &Place, names: &Names, cx: &mut Context<'_>) -> Option<OriginSpec> {
    let written = format!("urls = [\"{}\"]", host.url);
    let body: file::Origin = toml::from_str(&written).ok()?;
    let name = host.name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let mut name = format!("host-{}", name.trim_matches('-'));
    while names.get(&name).is_some() {
        name.push_str("-x");
    }
    let entry = Entry {
        name,
        place: at.clone(),
        body: None,
        is_whole: true,
    };
    origins::origin(&entry, &body, names, cx)
}

/// What stands for all of a kind that nobody declares, of one origin.
fn standing_for(
    declared: &Declared,
    (what, (origin, origin_name)): (&str, (OriginId, &str)),
    priority: Priority,
    forward_headers: &[String],
) -> Option<Fragment> {
    let written = &declared.markup;
    let mut name = format!("{what}-{origin_name}");
    while declared.fragments.iter().any(|entry| entry.name == name) {
        name.push_str("-x");
    }
    let mut hasher = Xxh3::new();
    let choices = (
        &name,
        written.ttl.is_some(),
        settings::bytes(&written.max_size),
    );
    format!("{choices:?} {priority:?}").hash(&mut hasher);
    let span = |at: &Option<At<file::TimeSpan>>| at.as_ref().map(|span| span.0);
    Some(Fragment {
        name,
        priority,
        value: priority.worth(),
        source: Source::Http {
            origin,
            // whatever the document says takes its place
            target: TargetTemplate::parse("/").ok()?,
        },
        template: None,
        list: None,
        timeout: written.timeout.0,
        hedge: false,
        freshness: Freshness {
            ttl: span(&written.ttl),
            patience: PATIENCE,
            ..Freshness::NONE
        },
        // a cookie may be among what it is asked with
        reach: Reach::default(),
        fallback: Vec::new(),
        limits: Limits::anything(settings::bytes(&written.max_size)),
        forward_headers: forward_headers.to_vec(),
        forward_cookies: Vec::new(),
        fingerprint: hasher.finish(),
        same_request: None,
    })
}
