//! HTTP towards operators, on a listener of its own. Owns the routes and who may use them; what
//! they do is in [`api`].
//!
//! Invariant: nothing that changes the server is done for a request without the token (where one is
//! declared), nor for one that a foreign web page made a browser send.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use futures::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use tokio_util::sync::CancellationToken;

use crate::compose::{Composer, Edition};
use crate::degradation::LevelPin;
use crate::telemetry::Tally;

mod api;

/// Reads the site again: what changed, or why it was refused.
pub type Reload = Box<dyn Fn() -> BoxFuture<'static, Result<Vec<String>, String>> + Send + Sync>;

/// What the handlers need.
pub struct AdminState {
    /// Copies and flights.
    pub composer: Arc<Composer>,
    /// What is served.
    pub edition: Arc<ArcSwap<Edition>>,
    /// The level that pages are planned at.
    pub level: Arc<LevelPin>,
    /// Counts.
    pub tally: Arc<Tally>,
    /// Reads the site again.
    pub reload: Reload,
    /// Cancelled when the server begins to stop.
    pub stop: CancellationToken,
    /// What an operator must present as `Authorization: Bearer …`.
    pub token: Option<String>,
}

/// What answers to operators; `more` is mounted behind the same checks.
pub fn router(state: Arc<AdminState>, more: Option<Router>) -> Router {
    let open = Router::new()
        .route("/healthz", get(api::healthz))
        .route("/readyz", get(api::readyz));
    let guarded = Router::new()
        .route("/", get(api::index))
        .route("/state", get(api::state))
        .route(
            "/level",
            get(api::level).put(api::set_level).post(api::set_level),
        )
        .route("/explain", get(api::explain))
        .route("/reload", post(api::reload))
        .with_state(Arc::clone(&state))
        .merge(more.unwrap_or_default())
        .layer(middleware::from_fn_with_state(Arc::clone(&state), guard));
    open.with_state(state).merge(guarded)
}

async fn guard(State(state): State<Arc<AdminState>>, request: Request, next: Next) -> Response {
    if let Some(token) = &state.token
        && !bears(request.headers(), token)
    {
        let text = "this needs the token of [admin] as `Authorization: Bearer …`\n";
        return (
            StatusCode::UNAUTHORIZED,
            [("www-authenticate", "Bearer")],
            text,
        )
            .into_response();
    }
    if !request.method().is_safe() && is_cross_site(request.headers()) {
        let text = "refused: this was sent by a page of another site\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

/// Compares in a time that does not depend on where the two differ.
fn bears(headers: &HeaderMap, token: &str) -> bool {
    let given = headers
        .get(AUTHORIZATION)
        .and_then(|v| v.as_bytes().strip_prefix(b"Bearer "));
    given.is_some_and(|given| {
        given.len() == token.len()
            && given
                .iter()
                .zip(token.as_bytes())
                .fold(0, |differ, (a, b)| differ | (a ^ b))
                == 0
    })
}

/// Whether a browser says that another site's page made it send this
/// (<https://www.w3.org/TR/fetch-metadata/>). Tools that are not browsers say nothing.
fn is_cross_site(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(|v| v.as_bytes());
    site.is_some_and(|site| !matches!(site, b"same-origin" | b"none"))
}
