//! The page handler: one request, one edition, one level, one plan, one page. Owns the journey and
//! the response head; every decision on the way is made elsewhere.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::compose::{self, Composed, Edition, PageHead, Verdict};
use crate::plan::{self, request};
use crate::site::PageId;

use super::{ServerState, error_page};

const LEVEL: HeaderName = HeaderName::from_static("marbre-level");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
pub(super) const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
/// A page is made for each request; whoever keeps it must ask again.
pub(super) const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");
/// The same for a page that is one reader's own.
pub(super) const PERSONAL: HeaderValue = HeaderValue::from_static("private, no-cache");

pub(super) async fn answer(
    state: &ServerState,
    edition: Arc<Edition>,
    id: PageId,
    params: Vec<(String, String)>,
    head: &Parts,
) -> Response {
    let site = &edition.site;
    if !matches!(head.method, Method::GET | Method::HEAD) {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        let mut refused = error_page::plain(site, status, "a page can be read with GET or HEAD");
        refused
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let Some(place) = state.pages.enter() else {
        return error_page::unavailable(site);
    };
    let now = state.composer.clock().now();
    let facts = request::facts(site, &head.uri, &head.headers, params, fastrand::u128(..));
    let plan = plan::plan(
        site,
        id,
        &facts,
        state.level.level().min(site.ladder.text_only()),
        now,
    );
    let path = head.uri.path();
    let mut composed = compose::compose(
        &state.composer,
        Arc::clone(&edition),
        plan,
        path,
        facts,
        place,
    )
    .await;
    if head.method == Method::HEAD {
        composed.body.leave_unread();
    }
    respond(&edition, composed)
}

fn respond(edition: &Edition, composed: Composed) -> Response {
    let Composed { head, body } = composed;
    let mut response = match &head.verdict {
        Verdict::Page => {
            let mut page = Response::new(Body::new(body));
            let control = if head.personal { PERSONAL } else { REVALIDATE };
            page.headers_mut().insert(CONTENT_TYPE, HTML);
            page.headers_mut().insert(CACHE_CONTROL, control);
            page
        }
        Verdict::Redirect(status, location) => {
            let mut redirect = error_page::plain(&edition.site, *status, "this page has moved");
            redirect.headers_mut().insert(LOCATION, location.clone());
            redirect
        }
        Verdict::Refused(status @ (StatusCode::NOT_FOUND | StatusCode::GONE)) => {
            error_page::not_found(&edition.site, *status)
        }
        Verdict::Refused(status) => {
            error_page::plain(&edition.site, *status, "this page is not available to you")
        }
        Verdict::Unavailable => error_page::unavailable(&edition.site),
    };
    add_headers(response.headers_mut(), head);
    response
}

fn add_headers(headers: &mut HeaderMap, head: PageHead) {
    for (name, value) in head.headers {
        headers.append(name, value);
    }
    headers.insert(LEVEL, HeaderValue::from(u16::from(head.level.get())));
    if let Ok(timing) = HeaderValue::try_from(head.server_timing) {
        headers.insert(SERVER_TIMING, timing);
    }
}
