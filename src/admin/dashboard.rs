//! The page for operators who come with a browser, and the files it is made of. Owns what is embedded
//! and what a browser may do with it; what the page shows comes from the rest of the admin API.
//!
//! Invariant: nothing is loaded from another host, and no script or style that is not a file of ours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use askama::Template;
use axum::extract::{Extension, Path, State};
use axum::response::{Html, IntoResponse as _, Response};
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HOST, IF_NONE_MATCH,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, StatusCode};
use rust_embed::RustEmbed;

use crate::site::AdminRole;

use super::{AdminState, api};

type Shared = State<Arc<AdminState>>;

#[derive(RustEmbed)]
#[folder = "templates/admin"]
#[exclude = "*.html"]
struct Assets;

/// What the dashboard may do. The frames in which pages are looked at are this listener's own.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

#[derive(Template)]
#[template(path = "admin/dashboard.html")]
struct Page<'t> {
    language: &'t str,
    readers: &'t str,
    /// A path of each page that has no parameter: what can be looked at without being told more.
    paths: Vec<String>,
    signed_in: bool,
    may_only_read: bool,
    has_dials: bool,
}

/// A page for browsers, the list of addresses for everything else.
pub(super) async fn index(
    State(state): Shared,
    Extension(role): Extension<AdminRole>,
    headers: HeaderMap,
) -> Response {
    if !is_browser(&headers) {
        return ([(VARY, "Accept")], api::INDEX).into_response();
    }
    let edition = state.edition.load();
    let site = &edition.site;
    let routes = site.pages.iter().map(|page| page.route.clone());
    let page = Page {
        language: "en",
        readers: &readers(&state, &headers),
        paths: routes.filter(|route| !route.contains(['{', '*'])).collect(),
        signed_in: state.sessions.need_a_token(),
        may_only_read: role < AdminRole::Operate,
        has_dials: state.has_dials,
    };
    let html = page.render().expect("a page of strings always renders");
    guarded(Html(html).into_response())
}

/// Whether a person asks.
pub(super) fn is_browser(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// Where readers are, as this operator's browser would find them: as declared, else on the host that
/// was asked, at the readers' port.
pub(super) fn readers(state: &AdminState, headers: &HeaderMap) -> String {
    if let Some(declared) = &state.readers_url {
        return declared.trim_end_matches('/').to_owned();
    }
    let address = state.readers;
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = host.and_then(|host| host.parse::<Authority>().ok());
    let is_everywhere = address.ip().is_unspecified() || address.ip().is_loopback();
    let at = match authority.filter(|_| is_everywhere) {
        Some(authority) => format!("{}:{}", authority.host(), address.port()),
        None => reachable(address).to_string(),
    };
    format!("{}://{at}", state.readers_scheme)
}

/// An address that can be connected to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// A file of the dashboard.
pub(super) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some(file) = Assets::get(&name) else {
        return (StatusCode::NOT_FOUND, "there is no such file\n").into_response();
    };
    let kind = match name.rsplit('.').next() {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    };
    let hash = file.metadata.sha256_hash();
    let tag: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{tag}\"");
    let is_known = headers
        .get(IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = match is_known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => file.data.into_owned().into_response(),
    };
    let own = response.headers_mut();
    own.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    own.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    own.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(tag) = tag.parse() {
        own.insert(ETAG, tag);
    }
    response
}

/// A page of ours, with what a browser must keep it to.
pub(super) fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    response
}
