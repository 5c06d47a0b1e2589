//! What is below `/.marbre/`: one block of a page, for a browser that asks once more for what its
//! page could not have, and the script by which it asks. Owns how that is asked and answered; the
//! block is composed elsewhere.
//!
//! Invariant: whatever is asked for, nothing but a block that its page declares as `lazy` is
//! answered with, and never with the status or the headers of a core.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, Uri};

use crate::compose::Edition;
use crate::compose::lazy::{self, Block};
use crate::plan::{self, request};
use crate::site::{Found, PageId, Site, Target};

use super::keeping::{PERSONAL, REVALIDATE};
use super::page::HTML;
use super::{ServerState, error_page};

const JAVASCRIPT: HeaderValue = HeaderValue::from_static("text/javascript; charset=utf-8");
/// Of a script whose address changes when it does.
const FOR_GOOD: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Of a script that was asked for under another version: nodes may differ during an update.
const FOR_A_MINUTE: HeaderValue = HeaderValue::from_static("public, max-age=60");

pub(super) async fn answer(state: &ServerState, edition: Arc<Edition>, head: &Parts) -> Response {
    let path = head.uri.path();
    if !matches!(path, lazy::BLOCK_PATH | lazy::SCRIPT_PATH) {
        return unknown(&edition.site);
    }
    if !matches!(head.method, Method::GET | Method::HEAD) {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        let text = "this can be read with GET or HEAD";
        let mut refused = error_page::plain(&edition.site, status, text);
        let allowed = HeaderValue::from_static("GET, HEAD");
        refused.headers_mut().insert(ALLOW, allowed);
        return refused;
    }
    match path {
        lazy::SCRIPT_PATH => script(head.uri.query()),
        _ => block(state, edition, head).await,
    }
}

fn unknown(site: &Site) -> Response {
    error_page::plain(site, StatusCode::NOT_FOUND, "there is nothing here")
}

fn script(version: Option<&str>) -> Response {
    let current = format!("{:016x}", lazy::SCRIPT_VERSION);
    let control = match version == Some(current.as_str()) {
        true => FOR_GOOD,
        false => FOR_A_MINUTE,
    };
    let mut response = Response::new(Body::from(Bytes::from_static(lazy::SCRIPT.as_bytes())));
    response.headers_mut().insert(CONTENT_TYPE, JAVASCRIPT);
    response.headers_mut().insert(CACHE_CONTROL, control);
    response
}

async fn block(state: &ServerState, edition: Arc<Edition>, head: &Parts) -> Response {
    let site = &edition.site;
    let Some(asked) = Asked::read(site, &head.uri) else {
        return unknown(site);
    };
    let Some(_in_flight) = state.pages.enter() else {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return error_page::plain(site, status, "too much is being asked for at the moment");
    };
    let (now, chance) = (state.composer.clock().now(), fastrand::u128(..));
    let facts = request::facts(site, &asked.uri, &head.headers, asked.params, chance);
    let mode = state.mode.load_full();
    let level = mode.level_of_all().min(site.ladder.text_only());
    let plan = plan::plan(site, asked.page, &facts, level, &mode.overrides, now);
    let edition = Arc::clone(&edition);
    respond(lazy::block(&state.composer, edition, plan, asked.member, facts).await)
}

fn respond(block: Block) -> Response {
    let mut response = Response::new(Body::empty());
    match block.html {
        Some(html) => {
            *response.body_mut() = Body::from(html);
            response.headers_mut().insert(CONTENT_TYPE, HTML);
        }
        None => *response.status_mut() = StatusCode::NO_CONTENT,
    }
    let control = if block.personal { PERSONAL } else { REVALIDATE };
    response.headers_mut().insert(CACHE_CONTROL, control);
    response
}

/// A block that is asked for.
struct Asked {
    /// The address of its page.
    uri: Uri,
    page: PageId,
    params: Vec<(String, String)>,
    /// Its place in the page.
    member: usize,
}

impl Asked {
    /// `None` if there is no such page, or no such block of it.
    fn read(site: &Site, uri: &Uri) -> Option<Self> {
        let value = |wanted: &str| {
            let mut pairs = request::query(uri);
            pairs.find_map(|(name, value)| (name == wanted).then_some(value))
        };
        let (address, name) = (value("page")?, value("block")?);
        // `//host` and `http://host` are addresses of other sites, and would be of this one's pages
        let is_path = address.starts_with('/') && !address.starts_with("//");
        if !is_path || address.len() > lazy::PAGE_BYTES_MAX {
            return None;
        }
        let uri: Uri = address.parse().ok()?;
        let Found::Match {
            target: Target::Page(page),
            params,
        } = site.routes.find(uri.path())
        else {
            return None;
        };
        let member = lazy::member(site, site.page(page), &name)?;
        Some(Self {
            uri,
            page,
            params,
            member,
        })
    }
}
