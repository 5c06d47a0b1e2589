//! `[server]`, `[admin]`, `[shared]`, `[site]` and `[limits]`. Owns addresses, the token rule and the site's own
//! error pages.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::secrets::{self, Found, Keys, LENGTH_MIN};
use super::{Context, assets, readers, telemetry};
use crate::cache::shared::{self, SharedError};
use crate::config::diagnose::{Diagnostic, FileId, Place};
use crate::config::file::{self, At, Secret};
use crate::config::read::Declared;
use crate::config::values;
use crate::site::{AdminTokens, Crawlers, ForCrawlers, ServerSettings, SharedSettings, SiteLimits};

/// What `[site]` says.
pub(super) struct SiteSettings {
    pub(super) language: String,
    pub(super) error_page: Option<Bytes>,
    pub(super) not_found_page: Option<Bytes>,
    pub(super) retry_after: Duration,
    pub(super) crawlers: Crawlers,
}

pub(super) fn server(declared: &Declared, cx: &mut Context<'_>) -> Option<ServerSettings> {
    let (server, admin, main) = (&declared.server, &declared.admin, declared.main);
    let listen = address(&server.listen, main, cx);
    let admin_listen = address(&admin.listen, main, cx);
    let tokens = admin_tokens(admin, main, cx);
    let readers_url = admin
        .readers_url
        .as_ref()
        .map(|url| readers_url(url, main, cx));
    let shared = shared(declared, cx);
    let tls = server.tls.as_ref().map(|tls| readers::tls(tls, main, cx));
    let trusted_peers = readers::trusted_peers(server, main, cx);
    let observing = telemetry::telemetry(declared, cx);
    let access_log = telemetry::access_log(declared, cx);
    let (listen, admin_listen) = (listen?, admin_listen?);
    let overlap = listen.ip() == admin_listen.ip()
        || listen.ip().is_unspecified()
        || admin_listen.ip().is_unspecified();
    if listen.port() == admin_listen.port() && listen.port() != 0 && overlap {
        cx.report(
            Diagnostic::error("readers and operators cannot share one address")
                .at(place(&admin.listen, main), "also the address of `[server]`")
                .help("give `[admin]` another port"),
        );
    }
    if !admin_listen.ip().is_loopback() && !operate_keys(admin).is_declared() {
        cx.report(
            Diagnostic::error("`[admin]` listens beyond this machine without a token")
                .at(place(&admin.listen, main), "not a loopback address")
                .help(
                    "set `token = \"${MARBRE_ADMIN_TOKEN}\"` or `token_file` in `[admin]`, or listen on 127.0.0.1",
                ),
        );
    }
    let number = |n: &At<u32>| usize::try_from(**n).ok();
    Some(ServerSettings {
        listen,
        admin_listen,
        admin_tokens: tokens?,
        readers_url: match readers_url {
            Some(url) => Some(url?),
            None => None,
        },
        tls: match tls {
            Some(tls) => Some(tls?),
            None => None,
        },
        trusted_peers: trusted_peers?,
        proxy_protocol: *server.proxy_protocol,
        header_timeout: server.header_timeout.0,
        idle_timeout: server.idle_timeout.0,
        body_timeout: server.body_timeout.0,
        send_timeout: server.send_timeout.0,
        header_bytes_max: bytes(&server.max_header_size),
        body_bytes_max: server.max_body_size.0,
        connections_max: number(&server.max_connections)?,
        pages_in_flight_max: server.max_pages_in_flight.as_ref().and_then(number),
        shutdown_grace: server.shutdown_grace.0,
        state_dir: (!server.state_dir.is_empty()).then(|| cx.root.join(&**server.state_dir)),
        state_bytes_max: server.state_size.0,
        journal_bytes_max: server.journal_size.0,
        journal_keep: server.journal_keep.0,
        shared: match shared {
            Some(shared) => Some(shared?),
            None => None,
        },
        is_observed: *declared.telemetry.enabled,
        traces: observing.traces,
        metrics: observing.metrics,
        log: telemetry::log(declared),
        access_log: access_log?,
        recent: telemetry::recent(declared),
    })
}

/// `None` for what was reported.
fn readers_url(url: &At<String>, main: FileId, cx: &mut Context<'_>) -> Option<String> {
    let place = place(url, main);
    let text = expand(url, &place, cx)?;
    let parsed: Option<Uri> = text.parse().ok();
    let is_site = parsed.is_some_and(|uri| {
        let scheme = uri.scheme_str();
        // a password would be shown to whoever looks at the dashboard
        let is_open = uri.authority().is_some_and(|a| !a.as_str().contains('@'));
        let is_whole = uri.path() == "/" && uri.query().is_none();
        matches!(scheme, Some("http" | "https")) && is_whole && is_open
    });
    if !is_site {
        cx.report(
            Diagnostic::error("`readers_url` must be the address of the readers' side")
                .at(place, "not a scheme and a host alone")
                .help("for example `https://www.example.org`"),
        );
        return None;
    }
    Some(text)
}

/// `None` within for a store that was reported.
fn shared(declared: &Declared, cx: &mut Context<'_>) -> Option<Option<SharedSettings>> {
    let (shared, main) = (&declared.shared, declared.main);
    let Some(valkey) = &shared.valkey else {
        let password = shared.password_file.as_ref().and_then(At::span);
        let written = [password, shared.prefix.span(), shared.timeout.span()];
        if let Some(span) = written.into_iter().flatten().next() {
            let finding = Diagnostic::warning("`[shared]` does not say where the store is");
            let place = Place { file: main, span };
            cx.report(
                finding
                    .at(place, "of no use without it")
                    .help("add `valkey = \"redis://127.0.0.1:6379\"`"),
            );
        }
        return None;
    };
    let mut url = expand(valkey, &place(valkey, main), cx);
    if let Some(file) = &shared.password_file {
        url = url.and_then(|url| with_password(&url, valkey, file, main, cx));
    }
    let checked = url
        .as_ref()
        .map(|url| shared::check(url, &declared.shared.prefix));
    if let Some(Err(error)) = checked {
        let (place, label) = match error {
            SharedError::Address(_) => (place(valkey, main), "no address of a store"),
            SharedError::Prefix(_) => (place(&shared.prefix, main), "no beginning of a key"),
        };
        cx.report(
            Diagnostic::error("the store of `[shared]` cannot be used")
                .at(place, label)
                .help(error.to_string()),
        );
        url = None;
    }
    Some(url.map(|url| SharedSettings {
        url,
        prefix: shared.prefix.to_string(),
        timeout: shared.timeout.0,
    }))
}

/// The address of the store with the password that a file holds; `None` for what was reported.
fn with_password(
    url: &str,
    valkey: &At<Secret>,
    file: &At<String>,
    main: FileId,
    cx: &mut Context<'_>,
) -> Option<String> {
    let password = secrets::of_file("password_file", file, main, cx)?;
    // what is no address is told with what else is wrong with it
    let Some((scheme, rest)) = url.split_once("://") else {
        return Some(url.to_owned());
    };
    let (user, hosts) = rest.rsplit_once('@').unwrap_or(("", rest));
    if user.contains(':') {
        cx.report(
            Diagnostic::error("`valkey` and `password_file` cannot both say the password")
                .at(place(file, main), "which of the two is it?")
                .also(place(valkey, main), "this holds one")
                .help("leave the password out of the address: `redis://USER@HOST:PORT`, or without a user"),
        );
        return None;
    }
    let password = utf8_percent_encode(&password.text, NON_ALPHANUMERIC);
    Some(format!("{scheme}://{user}:{password}@{hosts}"))
}

pub(super) fn site(declared: &Declared, cx: &mut Context<'_>) -> SiteSettings {
    let (site, main) = (&declared.site, declared.main);
    let language = &site.language;
    if !(2..=8).contains(&language.len()) || !language.bytes().all(|b| b.is_ascii_lowercase()) {
        let primary = language
            .split(['-', '_'])
            .next()
            .unwrap_or_default()
            .to_lowercase();
        let finding = Diagnostic::error("`language` must be a primary language subtag").at(
            place(language, main),
            "expected two to eight small letters, such as `fr`",
        );
        cx.report(match primary.as_str() {
            "" => finding,
            primary => finding.help(format!("did you mean `{primary}`?")),
        });
    }
    let mut page = |path: &Option<At<String>>| {
        let path = path.as_ref()?;
        assets::read(path, &place(path, main), cx).map(Bytes::from)
    };
    SiteSettings {
        error_page: page(&site.error_page),
        not_found_page: page(&site.not_found_page),
        language: language.to_string(),
        retry_after: site.retry_after.0,
        crawlers: crawlers(site, main, cx),
    }
}

fn crawlers(site: &file::Site, main: FileId, cx: &mut Context<'_>) -> Crawlers {
    for name in &site.crawlers {
        let is_word = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
        if !is_word {
            let finding = Diagnostic::error("a crawler is named by a word of its `User-Agent`");
            let finding = finding.at(place(name, main), "not a word");
            cx.report(finding.help("for example `Googlebot`"));
        }
    }
    let names = site.crawlers.iter();
    Crawlers {
        names: names.map(|name| name.to_ascii_lowercase()).collect(),
        policy: match *site.degraded_for_crawlers {
            file::ForCrawlers::Snapshot => ForCrawlers::Snapshot,
            file::ForCrawlers::Serve => ForCrawlers::Serve,
            file::ForCrawlers::Refuse => ForCrawlers::Refuse,
        },
    }
}

pub(super) fn limits(limits: &file::Limits) -> SiteLimits {
    SiteLimits {
        template_fuel: *limits.template_fuel,
        template_output_max: bytes(&limits.template_output),
        flights_max: usize::try_from(*limits.flights).unwrap_or(usize::MAX),
        cache_bytes_max: bytes(&limits.cache_size),
    }
}

/// A size in memory.
pub(super) fn bytes(size: &file::ByteSize) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}

/// The place of a value in the main file.
pub(super) fn place<T>(value: &At<T>, main: FileId) -> Place {
    Place {
        file: main,
        span: value.span().unwrap_or(0..0),
    }
}

/// Expands `${ENV}`; a failure is reported by name, never by value.
pub(super) fn expand(text: &str, place: &Place, cx: &mut Context<'_>) -> Option<String> {
    match values::expand(text, cx.env) {
        Ok(expanded) => Some(expanded),
        Err(error) => {
            let place = cx.within(place, &error.culprit);
            cx.report(
                Diagnostic::error(error.problem)
                    .at(place, "")
                    .help(error.help),
            );
            None
        }
    }
}

fn address(listen: &At<String>, main: FileId, cx: &mut Context<'_>) -> Option<SocketAddr> {
    let place = place(listen, main);
    let text = expand(listen, &place, cx)?;
    let parsed = text.parse().ok();
    if parsed.is_none() {
        let help = match text.split_once(':') {
            Some(("localhost", port)) => format!("write `127.0.0.1:{port}`"),
            Some(("" | "*", port)) => format!("for all addresses write `0.0.0.0:{port}`"),
            None if text.parse::<u16>().is_ok() => format!("write `127.0.0.1:{text}`"),
            _ => "for example `127.0.0.1:8080`, or `[::1]:8080`".to_owned(),
        };
        // what a variable holds is not repeated
        let (label, help) = match listen.contains("${") {
            true => ("not an address and port once expanded", String::new()),
            false => ("expected an IP address and a port", help),
        };
        let finding =
            Diagnostic::error("`listen` must be an IP address and a port").at(place, label);
        cx.report(if help.is_empty() {
            finding
        } else {
            finding.help(help)
        });
    }
    parsed
}

/// `None` for what was reported.
fn admin_tokens(admin: &file::Admin, main: FileId, cx: &mut Context<'_>) -> Option<AdminTokens> {
    let keys = operate_keys(admin);
    let read_keys = Keys {
        name: "read_token",
        written: admin.read_token.as_ref(),
        file: admin.read_token_file.as_ref(),
    };
    let operate = admin_token(&keys, main, cx);
    let read = admin_token(&read_keys, main, cx);
    if let Some(place) = read_keys.place(main) {
        if !keys.is_declared() {
            cx.report(
                Diagnostic::error("`read_token` is of no use without `token`")
                    .at(place, "whoever presents nothing may do everything")
                    .help("set `token = \"${MARBRE_ADMIN_TOKEN}\"` beside it, or `token_file`"),
            );
            return None;
        }
        if matches!((&operate, &read), (Some(Some(one)), Some(Some(other))) if one == other) {
            cx.report(
                Diagnostic::error("`read_token` is `token`")
                    .at(place, "who has it could act, too")
                    .help("use two that have nothing in common"),
            );
            return None;
        }
    }
    Some(AdminTokens {
        operate: operate?,
        read: read?,
    })
}

fn operate_keys(admin: &file::Admin) -> Keys<'_> {
    Keys {
        name: "token",
        written: admin.token.as_ref(),
        file: admin.token_file.as_ref(),
    }
}

/// `None` for what was reported.
fn admin_token(keys: &Keys<'_>, main: FileId, cx: &mut Context<'_>) -> Option<Option<String>> {
    let Some(found) = keys.read(main, cx)? else {
        return Some(None);
    };
    let Found {
        text,
        key,
        place,
        is_long,
    } = found;
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
        cx.report(
            Diagnostic::error(format!("`{key}` cannot be used"))
                .at(
                    place,
                    "it is empty, or holds spaces or letters that a header cannot carry",
                )
                .help("use 16 or more printable ASCII characters"),
        );
        return None;
    }
    if !is_long {
        cx.report(Diagnostic::warning(format!("`{key}` is short")).at(
            place,
            format!("fewer than {LENGTH_MIN} characters can be guessed"),
        ));
    }
    Some(Some(text))
}
