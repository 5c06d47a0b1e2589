//! HTTP towards readers. Owns what answers to a request: a page, a proxied path, a file, or an
//! error page; and what all of them share. Knows nothing of how a page is composed.
//!
//! Invariant: every request gets an answer that ends, and a bad one gets a 4xx, never a panic.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use bytes::Bytes;
use futures::FutureExt as _;
use http::header::HOST;
use http::{HeaderMap, Request, StatusCode, Version};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{BoxError, Service, ServiceExt as _, service_fn};

use crate::chaos::Chaos;
use crate::compose::{Composer, Edition};
use crate::degradation::Mode;
use crate::report::Throttle;
use crate::site::{Found, Target, TrustedPeers, route};
use crate::telemetry::AccessLog;
use crate::telemetry::access::Kind;

pub mod accept;
mod answered;
mod block;
mod chaos;
mod coding;
mod conditional;
mod debug;
pub(crate) mod error_page;
mod files;
mod forwarded;
mod in_flight;
mod keeping;
mod late;
mod own_cookie;
mod page;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod properties;
mod proxy;
mod reader;
mod status;
mod token;
mod woven;

pub use in_flight::InFlight;
pub use status::Noticed;

use accept::Who;
use answered::Asked;

/// What the handlers need.
pub struct ServerState {
    /// Composes pages.
    pub composer: Arc<Composer>,
    /// What is served; swapped whole by a reload.
    pub edition: Arc<ArcSwap<Edition>>,
    /// What pages are planned by.
    pub mode: Arc<ArcSwap<Mode>>,
    /// Connections that have left HTTP run here, so that a stopping server waits for them.
    pub tasks: TaskTracker,
    /// Whether the server is stopping: what could go on for ever then ends.
    pub stop: CancellationToken,
    /// What was said in the log about requests that could not be answered as they should.
    pub complaints: Throttle,
    /// Where a record of each request goes, if it goes anywhere.
    pub access: Option<Arc<AccessLog>>,
    /// What readers were told last of how the site is.
    pub noticed: Noticed,
    /// Faults that are set on purpose.
    pub chaos: Arc<Chaos>,
    /// Pages being composed.
    pub pages: Arc<InFlight>,
    /// Largest request head, in bytes.
    pub header_bytes_max: usize,
    /// Largest request body, in bytes.
    pub body_bytes_max: u64,
    /// Largest silence while a request body arrives.
    pub body_timeout: Duration,
}

/// The same for requests that come over no connection.
pub fn router(state: Arc<ServerState>) -> Router {
    Router::new().fallback_service(readers(state, Arc::new(Who::default())))
}

/// The same within another program's router, which knows who is connected if it serves with their
/// addresses.
pub fn mounted(state: Arc<ServerState>, trusted: Arc<TrustedPeers>) -> Router {
    let service = service_fn(move |request: Request<Body>| {
        let connected = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let peer = connected.map(|ConnectInfo(address)| *address);
        let who = Arc::new(Who::mounted(peer, Arc::clone(&trusted)));
        readers(Arc::clone(&state), who).oneshot(request)
    });
    Router::new().fallback_service(service)
}

/// What answers to the readers of one connection.
pub fn readers<B>(
    state: Arc<ServerState>,
    who: Arc<Who>,
) -> impl Service<Request<B>, Response = Response, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Sync
+ use<B>
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    service_fn(move |mut request: Request<B>| {
        let (state, who) = (Arc::clone(&state), Arc::clone(&who));
        async move {
            own_cookie::take_out(request.headers_mut());
            let accepted = coding::Accepted::of(request.headers());
            let asked = Asked::begin(&state, &who, &request);
            let answer = async {
                let answer = answer(&state, &who, request, asked.as_ref()).await;
                accepted.code(answer).await
            };
            let answer = AssertUnwindSafe(answer).catch_unwind().await;
            let answer = answer.unwrap_or_else(|panic| {
                let now = state.composer.clock().now();
                error_page::panicked(&*panic, &state.complaints, now)
            });
            Ok(match asked {
                Some(asked) => asked.follow(answer),
                None => answer,
            })
        }
    })
}

/// The answer, which says what has answered.
async fn answer<B>(
    state: &ServerState,
    who: &Arc<Who>,
    request: Request<B>,
    asked: Option<&Arc<Asked>>,
) -> Response
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
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
    if request.uri().path().starts_with(route::OWN) {
        let (head, _) = request.into_parts();
        let answer = block::answer(state, edition, &head).boxed().await;
        return answered_by(Kind::Block, answer);
    }
    match site.routes.find(request.uri().path()) {
        Found::Match {
            target: Target::Page(id),
            params,
        } => {
            let (head, _) = request.into_parts();
            let answer = page::answer(state, who, edition, id, params, &head, asked).await;
            answered_by(Kind::Page, answer)
        }
        Found::Match {
            target: Target::Proxy(index),
            params,
        } => {
            let request = request.map(Body::new);
            let answer = proxy::answer(state, who, edition, index, &params, request, asked);
            answered_by(Kind::Proxy, answer.boxed().await)
        }
        Found::Match {
            target: Target::Static(index),
            params,
        } => {
            let answer = files::answer(&edition, index, &params, request.map(Body::new));
            answered_by(Kind::Static, answer.boxed().await)
        }
        Found::Match {
            target: Target::Status { as_json },
            ..
        } => {
            let answer = status::answer(state, &edition, as_json, request.method());
            answered_by(Kind::Status, answer)
        }
        Found::Nothing => error_page::not_found(site, StatusCode::NOT_FOUND),
        Found::Refused(why) => error_page::plain(site, StatusCode::BAD_REQUEST, why),
    }
}

/// The answer, unless it says already what it is.
fn answered_by(kind: Kind, mut answer: Response) -> Response {
    answer.extensions_mut().get_or_insert(kind);
    answer
}

fn head_bytes<B>(request: &Request<B>) -> usize {
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
