//! HTTP towards operators, on a listener of its own. Owns who may use it; which addresses there are is in
//! `routes`, what they do in `api` and its neighbours, what people look at in `dashboard`, and the record of
//! who has changed something in `audit`.
//!
//! Invariant: nothing that changes the server is done for a request without the token (where one is
//! declared), nor for one with the token of those who only read, nor for one that a foreign web page made
//! a browser send.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, HOST, LOCATION, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE};
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode};
use tokio_util::sync::CancellationToken;

use crate::chaos::Chaos;
use crate::clock::Moment;
use crate::compose::{Composer, Edition};
use crate::degradation::{Lag, Mode};
use crate::report::{Event, KnownBy, NotAllowed, Signature, Throttle};
use crate::site::AdminRole;
use crate::switchboard::Switchboard;
use crate::telemetry::journal::Around;
use crate::telemetry::metrics::name::PAGES_SHED;
use crate::telemetry::{Journal, Metrics, Recent, Samples, Slos, Tally};

mod api;
mod audit;
mod body;
mod chaos;
mod copies;
mod dashboard;
mod journal;
mod level;
pub mod live;
pub mod metrics;
mod openapi;
mod picture;
mod preview;
mod routes;
mod session;
mod slo;
mod switches;
mod trace;
mod words;

use audit::{Actor, LetIn};
pub use live::Live;
pub use routes::telling_limit;
pub use session::Sessions;

/// Reads the site again: what changed, or why it was refused.
pub type Reload =
    Box<dyn Fn(Signature) -> BoxFuture<'static, Result<Vec<String>, String>> + Send + Sync>;

/// Looks at how things are.
pub type Look = fn(&Edition, &Mode, &mut dyn FnMut(&Around));

/// How many pages are being composed.
pub type PagesInFlight = Box<dyn Fn() -> usize + Send + Sync>;

/// How many pages were not composed as they should be, by why.
pub type PagesShed = Box<dyn Fn() -> [u64; PAGES_SHED.len()] + Send + Sync>;

/// What the handlers need.
pub struct AdminState {
    /// Copies and flights.
    pub composer: Arc<Composer>,
    /// What is served.
    pub edition: Arc<ArcSwap<Edition>>,
    /// What operators have decided.
    pub switches: Arc<Switchboard>,
    /// Faults that are set on purpose.
    pub chaos: Arc<Chaos>,
    /// What pages are planned by.
    pub mode: Arc<ArcSwap<Mode>>,
    /// What the law was told and has answered.
    pub samples: Arc<Samples>,
    /// Counts.
    pub tally: Arc<Tally>,
    /// What has happened.
    pub journal: Arc<Journal>,
    /// How things are, for what the journal says of the present.
    pub look: Look,
    /// Who is told of what happens, as it happens.
    pub followers: Arc<AtomicUsize>,
    /// Who has pushed copies, and when that was written down.
    pub pushes: Throttle,
    /// Who was refused what, and when that was told.
    pub refusals: Throttle,
    /// Whether what is promised to readers is kept.
    pub slos: Arc<Slos>,
    /// The latest pages in full.
    pub recent: Arc<Recent>,
    /// What machines are told.
    pub metrics: Arc<Metrics>,
    /// How late the runtime is.
    pub lag: Arc<Lag>,
    /// How many pages are being composed.
    pub pages_in_flight: PagesInFlight,
    /// Pages that were not composed as they should be, in the order of [`PAGES_SHED`].
    pub pages_shed: PagesShed,
    /// Reads the site again.
    pub reload: Reload,
    /// Cancelled when the server begins to stop.
    pub stop: CancellationToken,
    /// Who must present what as `Authorization: Bearer …`, or has signed in with it.
    pub sessions: Arc<Sessions>,
    /// How it goes, and how it went.
    pub live: Live,
    /// Whether there are dials by which origins can be made sick: those of the demo.
    pub has_dials: bool,
    /// Where readers connect.
    pub readers: SocketAddr,
    /// Where they do from where operators are, if that is another address.
    pub readers_url: Option<String>,
    /// How readers come, unless that says it.
    pub readers_scheme: &'static str,
}

impl AdminState {
    fn now(&self) -> Moment {
        let clock = self.composer.clock();
        clock.moment(clock.now())
    }

    /// Tells whoever reads reports.
    fn tell(&self, event: &Event) {
        let observers = self.composer.observers();
        observers.iter().for_each(|observer| observer.event(event));
    }

    /// Tells that somebody was refused, once in a while for each who is.
    fn tell_refusal(&self, (method, path): (&Method, &str), why: NotAllowed, Peer(from): Peer) {
        let act = format!("{method} {path}");
        // whoever guesses tokens may do so at any address
        let like = match why {
            NotAllowed::MayOnly(_) => format!("{why} {from} {act}"),
            NotAllowed::WrongToken | NotAllowed::TooManyTokens | NotAllowed::OtherSite => {
                format!("{why} {from}")
            }
        };
        let now = self.composer.clock().now();
        if let Some(untold) = self.refusals.due(&like, now) {
            self.tell(&Event::ActRefused {
                act,
                why,
                from,
                untold,
            });
        }
    }
}

/// What somebody is told who has the token for reading and tries to act.
const MAY_ONLY_READ: &str =
    "refused: this token may only read; acts need the one that is `token` of [admin]\n";

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub struct Peer(IpAddr);

/// The same for those who connect from this address.
pub fn answers_to(router: Router, from: Option<IpAddr>) -> Router {
    let from = from.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    router.layer(Extension(Peer(from)))
}

/// What answers to operators; `more` is mounted behind the same checks.
pub fn router(state: Arc<AdminState>, more: Option<Router>) -> Router {
    let (open, guarded) = routes::routers(state.has_dials);
    let guarded = guarded
        .with_state(Arc::clone(&state))
        .merge(more.unwrap_or_default())
        .layer(middleware::from_fn_with_state(Arc::clone(&state), guard));
    let all = open.with_state(Arc::clone(&state)).merge(guarded);
    all.fallback(no_such_address)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn_with_state(state, audit::audit))
}

async fn no_such_address() -> (StatusCode, &'static str) {
    let text = "there is nothing at this address: `/` lists those that there are\n";
    (StatusCode::NOT_FOUND, text)
}

async fn no_such_method() -> (StatusCode, &'static str) {
    let text =
        "this address does not take this method: `Allow` says which, `/openapi.json` what for\n";
    (StatusCode::METHOD_NOT_ALLOWED, text)
}

async fn guard(
    State(state): State<Arc<AdminState>>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let actor = match actor_of(&state, peer, &request) {
        Ok(actor) => actor,
        Err(refusal) => return *refusal,
    };
    let role = actor.role;
    if !request.method().is_safe() {
        let asked = (request.method(), request.uri().path());
        if is_cross_site(request.headers()) {
            state.tell_refusal(asked, NotAllowed::OtherSite, peer);
            let text = "refused: this was sent by a page of another site\n";
            return (StatusCode::FORBIDDEN, text).into_response();
        }
        if role < AdminRole::Operate && request.uri().path() != routes::SIGN_OUT {
            state.tell_refusal(asked, NotAllowed::MayOnly(role.name()), peer);
            return (StatusCode::FORBIDDEN, MAY_ONLY_READ).into_response();
        }
        if let Some(let_in) = request.extensions().get::<LetIn>() {
            let_in.say(actor);
        }
    }
    request.extensions_mut().insert(role);
    next.run(request).await
}

/// Who has sent this, or what is answered to somebody who may nothing.
fn actor_of(state: &AdminState, peer: Peer, request: &Request) -> Result<Actor, Box<Response>> {
    let headers = request.headers();
    if !state.sessions.need_a_token() {
        if is_addressed_by_number(headers) {
            return Ok(Actor {
                role: AdminRole::Operate,
                known_by: KnownBy::Nothing,
            });
        }
        let text = "refused: without a token, use an IP address or localhost as the host\n";
        return Err(Box::new((StatusCode::FORBIDDEN, text).into_response()));
    }
    let now = state.composer.clock().now();
    let asked = (request.method(), request.uri().path());
    let mut is_wrong = false;
    if let Some(given) = borne(headers) {
        match state.sessions.check(given, peer.0, now) {
            Ok(Some(role)) => {
                let known_by = KnownBy::Bearer;
                return Ok(Actor { role, known_by });
            }
            Ok(None) => is_wrong = true,
            Err(session::TooMany) => {
                state.tell_refusal(asked, NotAllowed::TooManyTokens, peer);
                let text = "too many wrong tokens from this address: wait ten seconds\n";
                let wait = [(RETRY_AFTER, "10")];
                return Err(Box::new(
                    (StatusCode::TOO_MANY_REQUESTS, wait, text).into_response(),
                ));
            }
        }
    }
    if let Some((role, session)) = state.sessions.session(headers, state.now()) {
        let known_by = KnownBy::Session(session);
        return Ok(Actor { role, known_by });
    }
    if is_wrong {
        state.tell_refusal(asked, NotAllowed::WrongToken, peer);
    }
    if request.method() == Method::GET && dashboard::is_browser(headers) {
        return Err(Box::new(
            (StatusCode::SEE_OTHER, [(LOCATION, "/login")]).into_response(),
        ));
    }
    let text = "this needs the token of [admin] as `Authorization: Bearer …`\n";
    let how = [(WWW_AUTHENTICATE, "Bearer")];
    Err(Box::new(
        (StatusCode::UNAUTHORIZED, how, text).into_response(),
    ))
}

/// Whether the host is an IP address or `localhost`. A name that a foreign page owns may be made to
/// lead here (DNS rebinding), and a browser then takes that page for one of this server's own.
fn is_addressed_by_number(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = host.and_then(|host| host.parse::<Authority>().ok());
    authority.is_some_and(|authority| {
        let name = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
    })
}

/// The token that is presented, if something is. How the scheme is written does not matter (RFC 9110, 11.1).
fn borne(headers: &HeaderMap) -> Option<&[u8]> {
    let given = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = given.split_at_checked("Bearer ".len())?;
    let is_borne = scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty();
    is_borne.then_some(token)
}

/// Compares in a time that does not depend on where the two differ.
fn is_same(given: &[u8], token: &[u8]) -> bool {
    let pairs = given.iter().zip(token);
    given.len() == token.len() && pairs.fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

/// Whether a browser says that another site's page made it send this: by Fetch Metadata
/// (<https://www.w3.org/TR/fetch-metadata/>), or, where a browser does not have that, by an `Origin`
/// that is not this host. Tools that are not browsers say neither.
fn is_cross_site(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(|v| v.as_bytes());
    let foreign = site.is_some_and(|site| !matches!(site, b"same-origin" | b"none"));
    let origin = headers.get(ORIGIN).map(|v| v.to_str().unwrap_or_default());
    let host = headers.get(HOST).and_then(|v| v.to_str().ok());
    let own = |origin: &str| {
        let authority = origin
            .strip_prefix("http://")
            .or(origin.strip_prefix("https://"));
        authority.is_some() && authority == host
    };
    foreign || origin.is_some_and(|origin| !own(origin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let line = |(n, v): &(&'static str, &'static str)| {
            (HeaderName::from_static(n), HeaderValue::from_static(v))
        };
        pairs.iter().map(line).collect()
    }

    #[test]
    fn names_that_anybody_may_own_are_no_hosts_of_operators() {
        for (host, ok) in [
            ("127.0.0.1:8081", true),
            ("[::1]:8081", true),
            ("LocalHost:8081", true),
            ("evil.example:8081", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ] {
            assert_eq!(
                is_addressed_by_number(&headers(&[("host", host)])),
                ok,
                "{host}"
            );
        }
        assert!(!is_addressed_by_number(&HeaderMap::new()));
    }

    #[test]
    fn pages_of_other_sites_are_known_by_either_header() {
        let host = ("host", "127.0.0.1:8081");
        for (more, cross) in [
            (("accept", "*/*"), false),
            (("origin", "http://127.0.0.1:8081"), false),
            (("origin", "http://evil.example"), true),
            (("origin", "null"), true),
            (("sec-fetch-site", "same-origin"), false),
            (("sec-fetch-site", "same-site"), true),
            (("sec-fetch-site", "cross-site"), true),
        ] {
            assert_eq!(is_cross_site(&headers(&[host, more])), cross, "{more:?}");
        }
    }
}
