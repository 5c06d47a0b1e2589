//! Who has changed what, in the record. Owns the one place that all acts come by: it is around the router, so that
//! an address that is new tomorrow is in the record without knowing of it.
//!
//! Invariants: what is not asked for by `GET` or `HEAD` and is not refused leaves one entry, also where whoever has
//! asked does not wait for the answer; of what is pushed, one in a minute for each who pushes, with the number of
//! the others. What was presented is in none of them.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::{Extension, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::Method;

use crate::report::{Acted, Event, Given, KnownBy, Untold};
use crate::site::AdminRole;

use super::{AdminState, Peer};

/// Where copies are pushed to: a newsroom may do so hundreds of times a second.
const OFTEN: &str = "/fragments/";

/// Of what is done that often, one is in the record in so long: as often as the journal counts them.
const OFTEN_PAUSE: Duration = Duration::from_secs(60);

/// Somebody who is let in.
#[derive(Debug, Clone)]
pub(super) struct Actor {
    pub(super) role: AdminRole,
    pub(super) known_by: KnownBy,
}

/// Where it is said who is let in, by whoever lets them in.
#[derive(Clone, Default)]
pub(super) struct LetIn(Arc<OnceLock<Actor>>);

impl LetIn {
    pub(super) fn say(&self, actor: Actor) {
        // there is one who lets in
        let _ = self.0.set(actor);
    }
}

/// With an answer: nothing was changed, for nothing more was asked than what would be.
#[derive(Clone)]
pub(super) struct NothingChanged;

/// Writes down what is changed by what is within.
pub(super) async fn audit(
    State(state): State<Arc<AdminState>>,
    Extension(Peer(from)): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let let_in = LetIn::default();
    request.extensions_mut().insert(let_in.clone());
    let mut watched = Watched {
        state,
        from,
        let_in,
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        is_answered: false,
    };
    let mut response = next.run(request).await;
    watched.is_answered = true;
    let given = response.extensions_mut().remove::<Given>();
    let is_done = response.status().as_u16() < 400;
    if is_done && response.extensions().get::<NothingChanged>().is_none() {
        watched.tell(Some(response.status().as_u16()), given.unwrap_or_default());
    }
    response
}

/// An act that is under way.
struct Watched {
    state: Arc<AdminState>,
    from: IpAddr,
    let_in: LetIn,
    method: Method,
    path: String,
    is_answered: bool,
}

impl Watched {
    fn tell(&self, status: Option<u16>, given: Given) {
        // who was not let in has done nothing
        let Some(Actor { role, known_by }) = self.let_in.0.get() else {
            return;
        };
        let Some(untold) = self.is_due(known_by) else {
            return;
        };
        self.state.tell(&Event::Acted(Acted {
            act: format!("{} {}", self.method, self.path),
            role: role.name(),
            known_by: known_by.clone(),
            from: self.from,
            status,
            given,
            untold,
        }));
    }

    /// Whether it is to be written down, and how many like it were not.
    fn is_due(&self, known_by: &KnownBy) -> Option<Untold> {
        if !self.path.starts_with(OFTEN) {
            return Some(Untold::default());
        }
        let by = format!("{} {} {known_by}", self.method, self.from);
        let now = self.state.composer.clock().now();
        self.state.pushes.due_after(OFTEN_PAUSE, &by, now)
    }
}

impl Drop for Watched {
    /// Whoever has asked is gone, and what was begun for them may be done.
    fn drop(&mut self) {
        if !self.is_answered {
            self.tell(None, Given::default());
        }
    }
}
