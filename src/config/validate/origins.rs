//! `[origins.…]`. Owns what a replica's address may be, who may take which share of an origin, and
//! the words that no origin may be called.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::names::Names;
use super::{Context, settings};
use crate::config::diagnose::{Diagnostic, Place};
use crate::config::file;
use crate::config::files::Files as _;
use crate::config::read::Entry;
use crate::fragment::{Fragment, Source};
use crate::site::{
    Address, BreakerPolicy, Connections, HealthCheck, OriginSpec, ReplicaSpec, RetryPolicy, Role,
};

/// The first words of sources and fallbacks that are not origins, and of URLs; kept free.
const RESERVED: [&str; 11] = [
    "data", "file", "fragment", "http", "https", "inline", "list", "omit", "push", "static", "unix",
];

/// Bytes in the path of a socket, without the zero at its end (unix(7), `sun_path`).
const SOCKET_PATH_MAX: usize = 107;

/// For a connection, where nothing is declared; where there is another replica there must be time left
/// to go there.
const CONNECT: Duration = Duration::from_secs(1);
const CONNECT_ELSEWHERE: Duration = Duration::from_millis(300);

/// A canary that gets more is no experiment.
const CANARY_PERCENT_MAX: u8 = 30;

pub(super) fn origins(
    entries: &[Entry<file::Origin>],
    names: &Names,
    cx: &mut Context<'_>,
) -> Vec<Option<OriginSpec>> {
    entries
        .iter()
        .map(|entry| origin(entry, entry.body.as_ref()?, names, cx))
        .collect()
}

pub(super) fn origin(
    entry: &Entry<file::Origin>,
    origin: &file::Origin,
    names: &Names,
    cx: &mut Context<'_>,
) -> Option<OriginSpec> {
    if RESERVED.contains(&entry.name.as_str()) {
        cx.report(
            Diagnostic::error(format!("an origin cannot be called `{}`", entry.name))
                .at(
                    entry.place.clone(),
                    "this word means something else in a source",
                )
                .help("choose the name of the service, such as `cms`"),
        );
    }
    let timeout = origin.timeout.0;
    let connect_timeout = match &origin.connect_timeout {
        None if origin.urls.0.len() > 1 => timeout.min(CONNECT_ELSEWHERE),
        None => timeout.min(CONNECT),
        Some(connect) => {
            if connect.0 > timeout {
                cx.report(
                    Diagnostic::error("`connect_timeout` is longer than the origin's `timeout`")
                        .at(entry.at(connect), "would never be reached")
                        .also(entry.at(&origin.timeout), "the whole fetch ends here")
                        .help("the connection is part of the fetch: make it shorter"),
                );
            }
            connect.0
        }
    };
    for name in &origin.depends_on {
        names.find(name, entry.at(name), cx);
    }
    let replicas = replicas(entry, origin, cx);
    let ca = ca(entry, origin, cx);
    let max_in_flight = usize::try_from(*origin.max_in_flight).ok()?;
    Some(OriginSpec {
        name: entry.name.clone(),
        replicas: replicas?,
        owner: origin.owner.as_ref().map(|owner| owner.to_string()),
        timeout,
        connect_timeout,
        max_in_flight,
        // as much as is left when it is known who asks
        reserved: 0,
        connections: Connections {
            idle_max: match &origin.idle_connections {
                Some(idle) => usize::try_from(**idle).ok()?,
                None => max_in_flight,
            },
            idle_timeout: origin.idle_timeout.0,
            http2: *origin.http2,
            ca: ca?,
            dns_ttl: origin.dns_ttl.0,
            public_only: false,
        },
        breaker: breaker(entry, &origin.breaker, cx),
        retry: RetryPolicy {
            attempts: *origin.retry.attempts,
            budget_percent: *origin.retry.budget,
            backoff: origin.retry.backoff.0,
            statuses: origin
                .retry
                .statuses
                .iter()
                .map(|status| **status)
                .collect(),
        },
        hedge_percent: *origin.hedge_budget,
        health: origin
            .health
            .as_ref()
            .map(|written| health(entry, written, cx)),
        availability: origin.availability.as_ref().map(|promise| **promise),
        depends_on: origin
            .depends_on
            .iter()
            .map(|name| name.to_string())
            .collect(),
    })
}

fn health(
    entry: &Entry<file::Origin>,
    written: &file::Health,
    cx: &mut Context<'_>,
) -> HealthCheck {
    let path = written.path.as_str();
    let is_target = path.parse::<PathAndQuery>().is_ok() && !path.contains('#');
    if !path.starts_with('/') || !is_target {
        let label = match path.starts_with('/') {
            true => "it holds what cannot be sent as it is: a blank, `#`, or a letter beyond ASCII",
            false => "it does not begin with `/`",
        };
        cx.report(
            Diagnostic::error("a health check asks for a path")
                .at(entry.at(&written.path), label)
                .help("for example `path = \"/healthz\"`"),
        );
    }
    HealthCheck {
        path: path.to_owned(),
        interval: written.interval.0,
        timeout: written.timeout.0,
    }
}

fn breaker(
    entry: &Entry<file::Origin>,
    breaker: &file::Breaker,
    cx: &mut Context<'_>,
) -> BreakerPolicy {
    if breaker.open.0 > breaker.open_max.0 {
        cx.report(
            Diagnostic::error("`open` is longer than `open_max`")
                .at(entry.at(&breaker.open), "the first pause")
                .also(entry.at(&breaker.open_max), "the longest one")
                .help("make `open_max` at least as long"),
        );
    }
    BreakerPolicy {
        enabled: *breaker.enabled,
        window: breaker.window.0,
        requests_min: *breaker.min_requests,
        failed_percent: *breaker.failed,
        slow_percent: *breaker.slow,
        slow_factor: *breaker.slow_factor,
        run_max: *breaker.in_a_row,
        open: breaker.open.0,
        open_max: breaker.open_max.0,
        step: breaker.step.0,
    }
}

fn replicas(
    entry: &Entry<file::Origin>,
    origin: &file::Origin,
    cx: &mut Context<'_>,
) -> Option<Vec<ReplicaSpec>> {
    let mut replicas: Vec<Option<ReplicaSpec>> = Vec::new();
    for written in &origin.urls.0 {
        let place = entry.at(written);
        let address = settings::expand(&written.url, &place, cx)
            .and_then(|text| address(&text, written.url.contains("${"), &place, cx));
        let known = |known: &Option<ReplicaSpec>| {
            known.as_ref().map(|known| &known.address) == address.as_ref()
        };
        if address.is_some() && replicas.iter().any(known) {
            let message = "this replica is declared twice";
            let finding =
                Diagnostic::error(message).at(place.clone(), "the same URL stands before");
            cx.report(finding);
        }
        let role = match written.role {
            file::Role::Primary => Role::Primary,
            file::Role::ReadReplica => Role::ReadReplica,
        };
        if role == Role::ReadReplica && written.weight < 100 {
            cx.report(
                Diagnostic::error("a read-replica has no weight")
                    .at(place, "it is asked only while no primary can answer")
                    .help("take `weight` or `role` out"),
            );
        }
        if (CANARY_PERCENT_MAX + 1..100).contains(&written.weight) {
            let message = "`weight` is for a canary, and this is a large share";
            let finding = Diagnostic::warning(message)
                .at(
                    entry.at(written),
                    "it is withdrawn when it is slower than the others",
                )
                .help("leave it out for a smaller machine: replicas get what they can carry");
            cx.report(finding);
        }
        replicas.push(address.map(|address| ReplicaSpec {
            address,
            weight: written.weight,
            role,
        }));
    }
    let is_full =
        |written: &file::Replica| written.role == file::Role::Primary && written.weight == 100;
    if !origin.urls.0.iter().any(|written| is_full(written)) && entry.is_whole {
        cx.report(
            Diagnostic::error(format!("origin `{}` has no full primary", entry.name))
                .at(
                    entry.place.clone(),
                    "every replica is a canary or a read-replica",
                )
                .help("give one replica neither `weight` nor `role`: a canary is compared with it, a read-replica takes its place"),
        );
    }
    replicas.into_iter().collect()
}

/// The certificates that may vouch for it: `None` if they cannot be read, `Some(None)` if none are
/// declared.
fn ca(
    entry: &Entry<file::Origin>,
    origin: &file::Origin,
    cx: &mut Context<'_>,
) -> Option<Option<Bytes>> {
    let Some(name) = &origin.ca else {
        return Some(None);
    };
    let place = entry.at(name);
    let path = cx.root.join(name.as_str());
    let pem = match cx.files.read(&path) {
        Ok(pem) => pem,
        Err(why) => {
            let finding = Diagnostic::error(format!("{name} cannot be read"));
            cx.report(
                finding
                    .at(place, why.to_string())
                    .help("`ca` is a file, relative to the folder of the main file"),
            );
            return None;
        }
    };
    if vouches(&pem) {
        warn_of_unused_ca(entry, origin, place, cx);
        return Some(Some(Bytes::from(pem)));
    }
    cx.report(
        Diagnostic::error(format!(
            "{name} holds no certificate, or one that is damaged"
        ))
        .at(
            place,
            "expected `-----BEGIN CERTIFICATE-----` and what follows",
        )
        .help("if it is one in DER, convert it: `openssl x509 -inform der -in FILE -out FILE.pem`"),
    );
    None
}

/// Whether there are certificates in it, all of which can be used.
fn vouches(pem: &[u8]) -> bool {
    let mut roots = RootCertStore::empty();
    let mut certificates = CertificateDer::pem_slice_iter(pem);
    let is_usable = |c: Result<CertificateDer<'static>, _>| c.is_ok_and(|c| roots.add(c).is_ok());
    certificates.all(is_usable) && !roots.is_empty()
}

fn warn_of_unused_ca(
    entry: &Entry<file::Origin>,
    origin: &file::Origin,
    place: Place,
    cx: &mut Context<'_>,
) {
    // what the environment holds is known to nobody here
    let may_be_tls = |url: &str| url.starts_with("https:") || url.starts_with("${");
    if entry.is_whole && !origin.urls.0.iter().any(|written| may_be_tls(&written.url)) {
        cx.report(
            Diagnostic::warning("`ca` vouches for nobody")
                .at(place, format!("no replica of `{}` is `https`", entry.name))
                .help("write `https` in `urls`, or take `ca` out"),
        );
    }
}

/// What optional fragments leave to the others where both ask one origin: a quarter of its requests
/// in flight, unless that is declared.
pub(super) fn reserve(
    entries: &[Entry<file::Origin>],
    fragments: &[Option<Fragment>],
    origins: &mut [Option<OriginSpec>],
    cx: &mut Context<'_>,
) {
    for (index, (entry, spec)) in entries.iter().zip(origins).enumerate() {
        let (Some(written), Some(spec)) = (&entry.body, spec) else {
            continue;
        };
        let mut askers = fragments.iter().flatten().filter(|fragment| {
            matches!(fragment.source, Source::Http { origin, .. } if origin.index() == index)
        });
        let is_required = |fragment: &&Fragment| fragment.is_required();
        let (has_optional, has_required) = {
            let required = askers.clone().filter(is_required).count();
            (askers.clone().count() > required, required > 0)
        };
        spec.reserved = match &written.reserved {
            Some(reserved) => usize::try_from(**reserved)
                .unwrap_or(usize::MAX)
                .min(spec.max_in_flight),
            None if has_optional && has_required => (spec.max_in_flight / 4).max(1),
            None => 0,
        };
        if !has_optional || spec.reserved < spec.max_in_flight {
            continue;
        }
        let blocked = askers.find(|fragment| !fragment.is_required());
        let name = blocked.map_or("", |fragment| fragment.name.as_str());
        let place = match &written.reserved {
            Some(reserved) => entry.at(reserved),
            None => entry.at(&written.max_in_flight),
        };
        let message = format!(
            "optional fragment `{name}` could never ask `{}`",
            entry.name
        );
        let label = "all requests in flight are kept for core and essential fragments";
        cx.report(
            Diagnostic::error(message)
                .at(place, label)
                .help("make `max_in_flight` greater than `reserved`; without it a quarter is reserved, and at least 1"),
        );
    }
}

/// A base URL, or the path of a socket.
fn address(text: &str, is_expanded: bool, place: &Place, cx: &mut Context<'_>) -> Option<Address> {
    let Some(path) = text.strip_prefix("unix:") else {
        return base_url(text, is_expanded, place, cx).map(Address::Url);
    };
    let path = path.strip_prefix("//").unwrap_or(path);
    let label = match path {
        _ if !path.starts_with('/') => "what follows `unix:` or `unix://` does not begin with `/`",
        _ if path.len() > SOCKET_PATH_MAX => "it is longer than the 107 bytes that Linux takes",
        _ => return Some(Address::Unix(PathBuf::from(path))),
    };
    cx.report(
        Diagnostic::error("this cannot be the path of a socket")
            .at(place.clone(), label)
            .help("for example `unix:/run/cms.sock`"),
    );
    None
}

/// Scheme and authority, without a trailing slash.
fn base_url(text: &str, is_expanded: bool, place: &Place, cx: &mut Context<'_>) -> Option<String> {
    let problem = match problem_of(text) {
        Ok(url) => return Some(url),
        Err(problem) => problem,
    };
    let suffix = if is_expanded { ", once expanded" } else { "" };
    let finding = Diagnostic::error("an origin's URL is a scheme and a host")
        .at(place.clone(), format!("{}{suffix}", problem.label));
    cx.report(finding.help(problem.help));
    None
}

struct Problem {
    label: &'static str,
    help: &'static str,
}

fn problem_of(text: &str) -> Result<String, Problem> {
    let problem = |label, help| Err(Problem { label, help });
    let example = "for example `http://cms:8000`";
    if text.starts_with('/') {
        return problem("it is a path", "a socket is written `unix:/run/cms.sock`");
    }
    if !text.contains("://") {
        return problem("it has no `http://` or `https://`", example);
    }
    if text.contains('#') {
        return problem("it has a fragment", "paths belong in `source`");
    }
    let Ok(uri) = text.parse::<http::Uri>() else {
        return problem("it cannot be read as a URL", example);
    };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return problem("only `http` and `https` are spoken", example);
    }
    let Some(authority) = uri.authority().filter(|a| !a.host().is_empty()) else {
        return problem("it has no host", example);
    };
    if authority.as_str().contains('@') {
        let help = "send credentials in a header from a proxy next to the origin";
        return problem("user names and passwords do not belong in a URL", help);
    }
    let after_host = authority.as_str().rsplit(']').next().unwrap_or_default();
    if after_host.contains(':') && authority.port_u16().is_none() {
        return problem("its port is missing, or not a port", example);
    }
    if uri.query().is_some() {
        return problem("it has a query", "paths and queries belong in `source`");
    }
    if !matches!(uri.path(), "" | "/") {
        return problem(
            "it has a path",
            "paths belong in `source`, as in `cms:/api/{slug}`",
        );
    }
    let scheme = uri.scheme_str().unwrap_or("http");
    Ok(format!("{scheme}://{authority}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls() {
        assert_eq!(
            problem_of("http://cms:8000/").ok().unwrap(),
            "http://cms:8000"
        );
        assert_eq!(
            problem_of("https://[::1]:1").ok().unwrap(),
            "https://[::1]:1"
        );
        for bad in [
            "",
            "cms",
            "cms:80",
            "ftp://cms",
            "http://",
            "http:///x",
            "http://a/b",
            "http://a?b",
            "http://a#b",
            "http://u:p@a",
            "http://a b",
            "http://a:",
            "http://a:99999",
        ] {
            assert!(problem_of(bad).is_err(), "{bad}");
        }
    }
}
