//! `[status]`: what readers are told of how the site is, as a page and as JSON. Owns what counts as
//! reduced; the words are the site's.
//!
//! Invariant: however many ask, it is looked up no more than once in [`GOOD_FOR`].

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use parking_lot::Mutex;
use serde_json::json;

use crate::clock::Instant;
use crate::compose::Edition;
use crate::degradation::Mode;
use crate::fragment::FragmentId;
use crate::site::{Site, StatusSpec};

use super::{ServerState, error_page};

/// For how long what was found is told.
const GOOD_FOR: Duration = Duration::from_secs(5);

/// What was found last.
#[derive(Default)]
pub struct Noticed(Mutex<Option<Found>>);

struct Found {
    at: Instant,
    edition: Arc<Edition>,
    html: Bytes,
    json: Bytes,
}

#[derive(Template)]
#[template(path = "builtin/status.html")]
struct Page<'t> {
    language: &'t str,
    status: &'t StatusSpec,
    says: &'t str,
    is_reduced: bool,
    blocks: Vec<Line<'t>>,
}

/// A block that readers are told of.
struct Line<'t> {
    called: &'t str,
    is_reduced: bool,
}

pub(super) fn answer(
    state: &ServerState,
    edition: &Arc<Edition>,
    as_json: bool,
    method: &Method,
) -> Response {
    let site = &edition.site;
    if !matches!(*method, Method::GET | Method::HEAD) {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        let mut refused = error_page::plain(site, status, "this can be read with GET or HEAD");
        let allowed = HeaderValue::from_static("GET, HEAD");
        refused.headers_mut().insert(ALLOW, allowed);
        return refused;
    }
    let Some(status) = &site.status else {
        return error_page::not_found(site, StatusCode::NOT_FOUND);
    };
    let now = state.composer.clock().now();
    let mut noticed = state.noticed.0.lock();
    let is_good = |found: &Found| {
        let age = now.saturating_duration_since(found.at);
        age < GOOD_FOR && Arc::ptr_eq(&found.edition, edition)
    };
    if !noticed.as_ref().is_some_and(is_good) {
        *noticed = Some(look(&state.mode.load(), edition, status, now));
    }
    let body = noticed
        .as_ref()
        .map_or_else(Bytes::new, |found| match as_json {
            true => found.json.clone(),
            false => found.html.clone(),
        });
    drop(noticed);
    let kind = match as_json {
        true => "application/json",
        false => "text/html; charset=utf-8",
    };
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=5"));
    response
}

fn look(mode: &Mode, edition: &Arc<Edition>, status: &StatusSpec, at: Instant) -> Found {
    let site = &edition.site;
    let blocks = status.blocks.iter().map(|(id, called)| Line {
        called,
        is_reduced: is_reduced(mode, edition, *id),
    });
    let blocks: Vec<Line<'_>> = blocks.collect();
    let is_reduced = blocks.iter().any(|block| block.is_reduced);
    let says = match is_reduced {
        true => &status.reduced,
        false => &status.works,
    };
    let word = |is_reduced: bool| if is_reduced { "reduced" } else { "works" };
    let told = blocks
        .iter()
        .map(|block| json!({ "block": block.called, "status": word(block.is_reduced) }));
    let json = json!({
        "status": word(is_reduced),
        "says": says,
        "blocks": told.collect::<Vec<_>>(),
    });
    let page = Page {
        language: &site.language,
        status,
        says,
        is_reduced,
        blocks,
    };
    Found {
        at,
        edition: Arc::clone(edition),
        html: Bytes::from(page.render().expect("a template of strings always renders")),
        json: Bytes::from(json.to_string()),
    }
}

/// Whether not every reader gets it as ever.
fn is_reduced(mode: &Mode, edition: &Edition, id: FragmentId) -> bool {
    let site: &Site = &edition.site;
    let fragment = site.fragment(id);
    if mode.overrides.is_off(&fragment.name) {
        return true;
    }
    let level = mode.level_of_all().min(site.ladder.text_only());
    let is_shed = site.ladder.sheds(level, id) && !mode.overrides.is_on(&fragment.name);
    let grade = fragment.priority.grade();
    let is_left_alone = |origin| edition.fetcher.is_left_alone(origin, grade);
    is_shed || fragment.source.origin().is_some_and(is_left_alone)
}
