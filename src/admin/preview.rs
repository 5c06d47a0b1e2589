//! `/preview`: a page as readers would see it at a level, to be looked at in a frame. Owns how it is
//! made harmless: its addresses lead to the readers' side, it runs no script, and it is nobody's page.
//!
//! Invariants: what is looked at counts as nothing that a reader got; few are made at once, and none is
//! larger than [`BYTES_MAX`].

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::compose::{self, Verdict};
use crate::plan::{self, Plan, request};
use crate::site::{Found, Target};

use super::{AdminState, dashboard, level};

type Shared = State<Arc<AdminState>>;

/// Largest page that can be looked at, in bytes.
const BYTES_MAX: usize = 8 << 20;

/// Pages that are made at once; more wait for their turn.
static AT_ONCE: Semaphore = Semaphore::const_new(2);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PreviewQuery {
    path: Option<String>,
    level: Option<u8>,
}

pub(super) async fn preview(
    State(state): Shared,
    Query(query): Query<PreviewQuery>,
    headers: HeaderMap,
) -> Response {
    let readers = dashboard::readers(&state, &headers);
    match render(&state, &query).await {
        Ok((status, html)) => {
            let html = based(&html, &readers);
            harmless((status, Body::from(html)).into_response(), &readers)
        }
        Err((status, why)) => {
            let why = escape(&why);
            let html = format!(
                "<!doctype html><html lang=\"en\"><title>No page</title><p>{why}</p></html>"
            );
            harmless((status, html).into_response(), &readers)
        }
    }
}

type Refusal = (StatusCode, String);

async fn render(
    state: &AdminState,
    query: &PreviewQuery,
) -> Result<(StatusCode, Vec<u8>), Refusal> {
    let edition = state.edition.load_full();
    let site = &edition.site;
    let path = query.path.as_deref().unwrap_or("/");
    let bad = |text: &str| (StatusCode::BAD_REQUEST, text.to_owned());
    let is_path = path.starts_with('/') && !path.starts_with("//");
    let uri = path.parse::<Uri>().ok().filter(|_| is_path);
    let uri = uri.ok_or_else(|| bad("the path must begin with a slash"))?;
    let Found::Match {
        target: Target::Page(id),
        params,
    } = site.routes.find(uri.path())
    else {
        let text = "no page answers to this path".to_owned();
        return Err((StatusCode::NOT_FOUND, text));
    };
    let level = match query.level {
        None => level::present(state),
        Some(level) => site
            .ladder
            .level(level)
            .map_err(|no| bad(&no.to_string()))?,
    };
    let _place = AT_ONCE.acquire().await;
    let (composer, now) = (&state.composer, state.composer.clock().now());
    let facts = request::facts(site, &uri, &HeaderMap::new(), params, fastrand::u128(..));
    let overrides = &state.mode.load().overrides;
    let plan = Plan {
        is_rehearsal: true,
        is_frugal: true,
        ..plan::plan(site, id, &facts, level, overrides, now)
    };
    let turn = composer.executor().go_on().await;
    let edition = Arc::clone(&edition);
    let page = compose::compose(composer, edition, plan, uri.path(), facts, (turn, ())).await;
    match page.head.verdict {
        Verdict::Page => {}
        Verdict::Redirect(_, to) => {
            let to = String::from_utf8_lossy(to.as_bytes()).into_owned();
            return Err(bad(&format!("readers are sent on to {to}")));
        }
        Verdict::Refused(status) => {
            let text = format!("readers get status {status}, and the page for it");
            return Err((StatusCode::NOT_FOUND, text));
        }
        Verdict::Unavailable => {
            let text = "the article cannot be had: readers get the page as it was before, if it was \
                        ever shown, or the error page";
            return Err((StatusCode::SERVICE_UNAVAILABLE, text.to_owned()));
        }
    }
    let whole = Limited::new(page.body, BYTES_MAX).collect().await;
    let whole = whole.map_err(|_| bad("this page is too large to be looked at"))?;
    Ok((StatusCode::OK, whole.to_bytes().to_vec()))
}

/// The page with its addresses resolved on the readers' side.
fn based(html: &[u8], readers: &str) -> Vec<u8> {
    let base = format!("<base href=\"{}/\" target=\"_blank\">", escape(readers));
    let lower = html.to_ascii_lowercase();
    let head = memchr::memmem::find(&lower, b"<head");
    let end = head.and_then(|head| Some(head + memchr::memchr(b'>', &lower[head..])? + 1));
    let end = end.unwrap_or(0);
    [&html[..end], base.as_bytes(), &html[end..]].concat()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}

/// Its own styles are the site's, and may stand in the page; scripts are not run, and the frame has no
/// origin.
fn harmless(mut response: Response, readers: &str) -> Response {
    // what is declared or asked for is not to end the directive it is in
    let readers: String = readers
        .chars()
        .filter(|c| c.is_ascii_graphic() && !";,".contains(*c))
        .collect();
    let policy = format!(
        "default-src 'none'; img-src {readers} data:; media-src {readers}; font-src {readers} data:; \
         style-src {readers} 'unsafe-inline'; base-uri {readers}; form-action 'none'; \
         frame-ancestors 'self'; sandbox"
    );
    let headers = response.headers_mut();
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    headers.insert(CONTENT_TYPE, html);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let policy = HeaderValue::try_from(policy);
    let policy = policy.unwrap_or(HeaderValue::from_static("default-src 'none'; sandbox"));
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_to_readers() {
        for (html, expected) in [
            (
                "<!doctype html><HEAD lang=fr><title>x",
                "<!doctype html><HEAD lang=fr><base href=\"http://a/\" target=\"_blank\"><title>x",
            ),
            ("<p>x", "<base href=\"http://a/\" target=\"_blank\"><p>x"),
        ] {
            assert_eq!(based(html.as_bytes(), "http://a"), expected.as_bytes());
        }
    }

    #[test]
    fn a_policy_ends_where_it_should() {
        let response = harmless(Response::new(Body::empty()), "http://a; script-src *");
        let policy = response.headers()[CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        assert!(!policy.contains("; script-src"), "{policy}");
        assert!(policy.ends_with("; sandbox"));
    }
}
