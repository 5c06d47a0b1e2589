//! Filling one slot by its deadline. Owns the chain: fresh copy, flight, stale copy, kept copy,
//! fallback rungs, nothing. The slot owns its deadline; the flight owns the work, and goes on
//! without the slot.
//!
//! Invariant: [`fill`] settles at its deadline at the latest, whatever the flight does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use tokio::time::timeout_at;

use crate::cache::{Copy, Entry, State};
use crate::clock::Instant;
use crate::fragment::{FragmentId, Rung, RungKind, Source, SourceRequest};
use crate::plan::Serve;
use crate::report::{Cause, OmitReason, Outcome};
use crate::site::Site;

use super::Order;
use super::flight::{self, Landed};

/// What a slot has come to.
pub(crate) struct Settled {
    pub(crate) outcome: Outcome,
    pub(crate) content: Fill,
    pub(crate) age: Option<Duration>,
    pub(crate) at: Instant,
}

/// What goes into a slot.
pub(crate) enum Fill {
    /// A copy.
    Entry(Arc<Entry>),
    /// Content that was declared.
    Ready(Bytes),
    /// Nothing: the layout's default content.
    Nothing,
    /// Not content but a verdict on the page: the reader is to go elsewhere.
    Redirect(StatusCode, HeaderValue),
    /// Not content but a verdict on the page: there is nothing to show.
    Refused(StatusCode),
}

impl Settled {
    pub(super) fn omitted(reason: OmitReason, at: Instant) -> Self {
        Self {
            outcome: Outcome::Omitted(reason),
            content: Fill::Nothing,
            age: None,
            at,
        }
    }

    fn ready(body: Bytes, outcome: Outcome, at: Instant) -> Self {
        Self {
            outcome,
            content: Fill::Ready(body),
            age: None,
            at,
        }
    }

    fn copy(entry: Arc<Entry>, outcome: Outcome, at: Instant) -> Self {
        if entry.absent {
            let (outcome, content) = (Outcome::Absent, Fill::Nothing);
            return Self {
                age: Some(entry.age(at)),
                outcome,
                content,
                at,
            };
        }
        Self {
            age: Some(entry.age(at)),
            outcome,
            content: Fill::Entry(entry),
            at,
        }
    }

    fn landed(landed: Landed, at: Instant) -> Self {
        let content = match landed {
            Landed::Entry { entry, .. } if entry.absent => {
                return Self::copy(entry, Outcome::Absent, at);
            }
            Landed::Entry { entry, .. } => Fill::Entry(entry),
            Landed::Redirect(status, location) => Fill::Redirect(status, location),
            Landed::Refused(status) => Fill::Refused(status),
        };
        Self {
            outcome: Outcome::Fetched,
            content,
            age: None,
            at,
        }
    }
}

/// The slot's content if it can be had without waiting.
pub(super) fn at_hand(
    order: &Order,
    id: FragmentId,
    serve: &Serve,
    now: Instant,
) -> Option<Settled> {
    if let Source::Ready(body) = &order.edition.site.fragment(id).source {
        return Some(Settled::ready(body.clone(), Outcome::Declared, now));
    }
    let copy = order.composer.cache.lookup(&serve.request, now)?;
    (copy.state == State::Fresh).then(|| Settled::copy(copy.entry, Outcome::Cached, now))
}

/// Fills a slot that has no fresh copy.
pub(super) async fn fill(order: Order, id: FragmentId, serve: Serve, now: Instant) -> Settled {
    let copy = order.composer.cache.lookup(&serve.request, now);
    let patience = order.edition.site.fragment(id).freshness.patience;
    let until = match &copy {
        Some(Copy {
            state: State::Fresh | State::Stale,
            ..
        }) => serve.deadline.min(now + patience),
        Some(_) | None => serve.deadline,
    };
    let cause = match obtain(&order, id, &serve.request, until).await {
        Ok(landed) => return Settled::landed(landed, order.composer.clock.now()),
        Err(cause) => cause,
    };
    let now = order.composer.clock.now();
    match copy {
        Some(copy) => Settled::copy(copy.entry, Outcome::Stale(cause), now),
        None => fall_back(&order, id, &serve, cause).await,
    }
}

async fn obtain(
    order: &Order,
    id: FragmentId,
    request: &Arc<SourceRequest>,
    until: Instant,
) -> Result<Landed, Cause> {
    timeout_at(until, flight::obtain(order, id, request))
        .await
        .unwrap_or(Err(Cause::Timeout))
}

/// The first rung that gives something.
async fn fall_back(order: &Order, id: FragmentId, serve: &Serve, cause: Cause) -> Settled {
    let clock = order.composer.clock;
    for rung in rungs(&order.edition.site, id) {
        match rung {
            Rung::Ready { kind, body } => {
                let outcome = match kind {
                    RungKind::Static => Outcome::Static(cause),
                    RungKind::Inline => Outcome::Inline(cause),
                    RungKind::DefaultData => Outcome::DefaultData(cause),
                };
                return Settled::ready(body.clone(), outcome, clock.now());
            }
            Rung::Sibling(sibling) => {
                if let Some(mut settled) = from_sibling(order, *sibling, serve).await {
                    let name = order.edition.site.fragment(*sibling).name.clone();
                    settled.outcome = Outcome::Sibling(name, cause);
                    return settled;
                }
            }
        }
    }
    Settled::omitted(OmitReason::Failed(cause), clock.now())
}

/// A fragment's rungs in order, with a sibling's own rungs after it. Validation has made sure that
/// this ends.
fn rungs(site: &Site, id: FragmentId) -> Vec<&Rung> {
    let mut found = Vec::new();
    for rung in &site.fragment(id).fallback {
        found.push(rung);
        if let Rung::Sibling(sibling) = rung {
            found.extend(rungs(site, *sibling));
        }
    }
    found
}

/// What a sibling can give in the time that is left: a fresh copy, an answer, or any copy.
async fn from_sibling(order: &Order, id: FragmentId, serve: &Serve) -> Option<Settled> {
    let (_, request) = serve.siblings.iter().find(|(sibling, _)| *sibling == id)?;
    let now = order.composer.clock.now();
    if let Source::Ready(body) = &order.edition.site.fragment(id).source {
        return Some(Settled::ready(body.clone(), Outcome::Declared, now));
    }
    let copy = order.composer.cache.lookup(request, now);
    if copy.as_ref().is_none_or(|copy| copy.state != State::Fresh)
        && now < serve.deadline
        && let Ok(landed @ Landed::Entry { .. }) = obtain(order, id, request, serve.deadline).await
    {
        return Some(Settled::landed(landed, order.composer.clock.now()));
    }
    copy.map(|copy| Settled::copy(copy.entry, Outcome::Cached, order.composer.clock.now()))
}
