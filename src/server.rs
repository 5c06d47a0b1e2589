//! HTTP towards readers. Owns what answers to a request: a page, a proxied path, a file, or an
//! error page; and what all of them share. Knows nothing of how a page is composed.
//!
//! Invariant: every request gets an answer that ends, and a bad one gets a 4xx, never a panic.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::map_response;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, ETAG, HOST};
use http::{Extensions, HeaderMap, HeaderValue, StatusCode, Version};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, Predicate as _};

use crate::compose::{Composer, Edition};
use crate::degradation::LevelPin;
use crate::site::{Found, Target};
use crate::telemetry::Throttle;

pub mod accept;
pub(crate) mod error_page;
mod files;
mod page;
mod proxy;

/// What the handlers need.
pub struct ServerState {
    /// Composes pages.
    pub composer: Arc<Composer>,
    /// What is served; swapped whole by a reload.
    pub edition: Arc<ArcSwap<Edition>>,
    /// The level that pages are planned at.
    pub level: Arc<LevelPin>,
    /// Connections that have left HTTP run here, so that a stopping server waits for them.
    pub tasks: TaskTracker,
    /// Whether the server is stopping: what could go on for ever then ends.
    pub stop: CancellationToken,
    /// What was said in the log about requests that could not be passed through.
    pub complaints: Throttle,
    /// One permit a page being composed.
    pub pages: Arc<Semaphore>,
    /// Largest request head, in bytes.
    pub header_bytes_max: usize,
    /// Largest request body, in bytes.
    pub body_bytes_max: u64,
    /// Largest silence while a request body arrives.
    pub body_timeout: Duration,
}

/// The address of whoever is connected.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// What answers to readers.
pub fn router(state: Arc<ServerState>) -> Router {
    Router::new()
        .fallback(answer)
        .with_state(state)
        .layer(map_response(before_coding))
        .layer(CompressionLayer::new().compress_when(DefaultPredicate::new().and(may_be_coded)))
        .layer(map_response(after_coding))
        .layer(CatchPanicLayer::new())
}

/// Whether an answer has content, and whoever made it lets it be coded (RFC 9110, 7.7).
fn may_be_coded(status: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    let has_content = !status.is_informational()
        && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let mut directives = headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|v| v.to_str().ok());
    has_content && !directives.any(|value| value.to_ascii_lowercase().contains("no-transform"))
}

/// What an answer was before it may have been coded.
#[derive(Clone, Copy)]
struct Uncoded {
    status: StatusCode,
    has_coding: bool,
}

async fn before_coding(mut response: Response) -> Response {
    let uncoded = Uncoded {
        status: response.status(),
        has_coding: response.headers().contains_key(CONTENT_ENCODING),
    };
    response.extensions_mut().insert(uncoded);
    response
}

/// Puts right what the coding leaves wrong.
async fn after_coding(mut response: Response) -> Response {
    let Some(before) = response.extensions_mut().remove::<Uncoded>() else {
        return response;
    };
    // a reader who takes no coding at all, not even none, gets the answer as it is: the coding says
    // 406 when the work has been done, and sends the body all the same
    *response.status_mut() = before.status;
    if !before.has_coding && response.headers().contains_key(CONTENT_ENCODING) {
        weaken(response.headers_mut());
    }
    response
}

/// The validator of the bytes before a coding is not one of the bytes after it (RFC 9110, 8.8.3.3).
fn weaken(headers: &mut HeaderMap) {
    let weak = headers.get(ETAG).and_then(|tag| {
        let strong = tag.as_bytes().starts_with(b"\"").then_some(tag)?;
        HeaderValue::from_bytes(&[b"W/", strong.as_bytes()].concat()).ok()
    });
    if let Some(weak) = weak {
        headers.insert(ETAG, weak);
    }
}

async fn answer(State(state): State<Arc<ServerState>>, request: Request) -> Response {
    let edition = state.edition.load_full();
    let site = &edition.site;
    if head_bytes(&request) > state.header_bytes_max {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return error_page::plain(site, status, "the request's headers are too large");
    }
    // which of them would be meant is a question that two servers answer differently (RFC 9112, 3.2)
    let hosts = request.headers().get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        let status = StatusCode::BAD_REQUEST;
        return error_page::plain(site, status, "the request must have one Host header");
    }
    match site.routes.find(request.uri().path()) {
        Found::Match {
            target: Target::Page(id),
            params,
        } => {
            let (head, _) = request.into_parts();
            page::answer(&state, edition, id, params, &head).await
        }
        Found::Match {
            target: Target::Proxy(index),
            params,
        } => proxy::answer(&state, edition, index, &params, request).await,
        Found::Match {
            target: Target::Static(index),
            params,
        } => files::answer(&edition, index, &params, request).await,
        Found::Nothing => error_page::not_found(site, StatusCode::NOT_FOUND),
        Found::Refused(why) => error_page::plain(site, StatusCode::BAD_REQUEST, why),
    }
}

fn head_bytes(request: &http::Request<Body>) -> usize {
    let lines = |headers: &HeaderMap| {
        // name, `: `, value and the line's end
        headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 4)
            .sum::<usize>()
    };
    let target = request
        .uri()
        .path_and_query()
        .map_or(0, |pq| pq.as_str().len());
    target + lines(request.headers())
}
