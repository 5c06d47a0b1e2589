//! Filling one slot by its deadline. Owns the chain: fresh copy, flight, stale copy, kept copy,
//! fallback rungs, nothing. The slot owns its deadline; the flight owns the work, and goes on
//! without the slot.
//!
//! Invariant: [`fill`] settles at its deadline at the latest, whatever the flight does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use http::StatusCode;
use tokio::time::timeout_at;

use crate::cache::beyond::{DISK_TIME, Recalled};
use crate::cache::freshness::renews_early;
use crate::cache::{Content, Copy, Entry, Head, State};
use crate::clock::{Instant, Moment};
use crate::degradation::Reader;
use crate::fragment::{Fragment, FragmentId, Priority, Rung, RungKind, Source, SourceRequest};
use crate::plan::{Serve, Sibling};
use crate::report::{self, Cause, Found, Looked, OmitReason, Outcome, Tier};
use crate::site::Site;

use super::flight::{self, Came, Landed, NoPage};
use super::{Order, lazy};

/// What a slot has come to.
pub(crate) struct Settled {
    pub(crate) outcome: Outcome,
    pub(crate) content: Fill,
    /// Where a copy was looked for.
    pub(crate) looked: Looked,
    pub(crate) age: Option<Duration>,
    pub(crate) at: Instant,
    /// Whether other readers may see it.
    pub(crate) is_shareable: bool,
    /// Where its source says that there is nothing to show: the copy that says so, and for how long.
    pub(crate) nothing: Option<Arc<Entry>>,
}

/// What goes into a slot.
pub(crate) enum Fill {
    /// A copy.
    Entry(Arc<Entry>),
    /// Content that was declared.
    Ready(Bytes),
    /// Nothing: the layout's default content.
    Nothing,
    /// Not content: there will be no page.
    NoPage(NoPage, Head),
}

impl Settled {
    pub(super) fn omitted(reason: OmitReason, at: Instant) -> Self {
        Self {
            outcome: Outcome::Omitted(reason),
            content: Fill::Nothing,
            looked: Looked::default(),
            age: None,
            at,
            is_shareable: true,
            nothing: None,
        }
    }

    fn ready(body: Bytes, outcome: Outcome, at: Instant) -> Self {
        Self {
            outcome,
            content: Fill::Ready(body),
            looked: Looked::default(),
            age: None,
            at,
            is_shareable: true,
            nothing: None,
        }
    }

    fn entry(entry: Arc<Entry>, outcome: Outcome, age: Option<Duration>, at: Instant) -> Self {
        let (outcome, content, nothing) = match entry.content {
            Content::Html(_) => (outcome, Fill::Entry(entry), None),
            Content::Absent | Content::Withdrawn => (Outcome::Absent, Fill::Nothing, Some(entry)),
        };
        Self {
            outcome,
            content,
            looked: Looked::default(),
            age,
            at,
            is_shareable: true,
            nothing,
        }
    }

    fn copy(order: &Arc<Order>, entry: Arc<Entry>, outcome: Outcome, at: Instant) -> Self {
        let age = Some(entry.age(order.composer.clock.moment(at)));
        Self::entry(entry, outcome, age, at)
    }

    fn landed(order: &Arc<Order>, landed: Landed, at: Instant) -> Self {
        match landed {
            Landed::Entry {
                entry,
                came: Came::Copied,
                ..
            } => Self::copy(order, entry, Outcome::Cached, at),
            Landed::Entry {
                entry,
                came: Came::Brought,
                ..
            } => Self {
                looked: Looked::default().with(Tier::Shared, Found::Fresh),
                ..Self::copy(order, entry, Outcome::Cached, at)
            },
            Landed::Entry {
                entry,
                shared,
                came: Came::Part { missing, of },
            } => Self {
                is_shareable: shared,
                ..Self::entry(entry, Outcome::Partial { missing, of }, None, at)
            },
            Landed::Entry {
                entry,
                shared,
                came: Came::Fetched,
            } => Self {
                is_shareable: shared,
                ..Self::entry(entry, Outcome::Fetched, None, at)
            },
            Landed::NoPage { why, head, .. } => Self {
                outcome: Outcome::Fetched,
                content: Fill::NoPage(why, head),
                looked: Looked::default(),
                age: None,
                at,
                is_shareable: false,
                nothing: None,
            },
        }
    }

    /// Whether there is something to show.
    fn shows(&self) -> bool {
        matches!(self.content, Fill::Entry(_) | Fill::Ready(_))
    }
}

/// The slot's content if it can be had without waiting. `moment` is that of `now`.
pub(super) fn at_hand(
    order: &Arc<Order>,
    id: FragmentId,
    serve: &Serve,
    now: Instant,
    moment: Moment,
) -> Option<Settled> {
    let fragment = order.edition.site.fragment(id);
    if let Source::Ready(body) = &fragment.source {
        return Some(Settled::ready(body.clone(), Outcome::Declared, now));
    }
    let request = serve.request(fragment);
    let cache = &order.composer.cache;
    let copy = cache.lookup(request, &fragment.freshness, moment);
    if let Source::Push(_) = fragment.source {
        return match copy {
            Some(copy) => {
                let looked = in_memory(Some(&copy));
                let settled = pushed(order, copy, now);
                Some(Settled { looked, ..settled })
            }
            None => withdrawn(order, fragment, request, now),
        };
    }
    let copy = copy?;
    if copy.state != State::Fresh {
        return None;
    }
    if fragment.freshness.early {
        let remaining = copy
            .entry
            .remains_fresh(&fragment.freshness, cache.ttl_factor(), moment);
        if renews_early(remaining, copy.entry.took, 1.0 - fastrand::f64()) {
            flight::renew(order, id, request);
        }
    }
    let age = Some(copy.entry.age(moment));
    let looked = in_memory(Some(&copy));
    let settled = Settled::entry(copy.entry, Outcome::Cached, age, now);
    Some(Settled { looked, ..settled })
}

/// What was found in memory.
fn in_memory(copy: Option<&Copy>) -> Looked {
    Looked::default().with(Tier::Memory, found(copy))
}

fn found(copy: Option<&Copy>) -> Found {
    match copy.map(|copy| copy.state) {
        Some(State::Fresh) => Found::Fresh,
        Some(State::Stale | State::Kept) => Found::Stale,
        Some(State::Dead) | None => Found::Nothing,
    }
}

/// What was found beyond it, `copy` being what is in memory since.
fn beyond_memory(recalled: Recalled, copy: Option<&Copy>) -> Looked {
    let mut looked = Looked::default();
    for (tier, had) in [
        (Tier::Disk, recalled.on_disk),
        (Tier::Shared, recalled.in_store),
    ] {
        if let Some(had) = had {
            looked = looked.with(tier, found(copy.filter(|_| had)));
        }
    }
    looked
}

/// Fills a slot that has no fresh copy in memory.
pub(super) async fn fill(order: Arc<Order>, id: FragmentId, serve: Serve, now: Instant) -> Settled {
    let mut looked = Looked::default();
    let settled = fill_noting(&order, id, &serve, now, &mut looked).await;
    Settled {
        looked: looked.then(settled.looked),
        ..settled
    }
}

/// The same; where a copy was looked for is noted in `looked`.
async fn fill_noting(
    order: &Arc<Order>,
    id: FragmentId,
    serve: &Serve,
    now: Instant,
    looked: &mut Looked,
) -> Settled {
    let fragment = order.edition.site.fragment(id);
    let (clock, request) = (order.composer.clock, serve.request(fragment));
    if let Source::Push(_) = fragment.source {
        return fill_pushed(order, id, serve, looked).boxed().await;
    }
    let mut copy = order.composer.copy(request, fragment, now);
    let mut searched = false;
    // where every page asks anew, no copy is looked for but against the day when nobody answers
    if copy.is_some() || flight::may_share(fragment) {
        *looked = in_memory(copy.as_ref());
    }
    if copy.is_none() && flight::may_share(fragment) {
        let until = serve.source_deadline;
        let search = recalled(order, id, request, until, DISK_TIME, looked);
        (copy, searched) = search.boxed().await;
    }
    let until = match copy {
        Some(Copy {
            entry,
            state: State::Fresh,
        }) => return Settled::copy(order, entry, Outcome::Cached, clock.now()),
        Some(Copy {
            state: State::Stale,
            ..
        }) => serve
            .source_deadline
            .min(clock.now() + fragment.freshness.patience),
        Some(_) | None => serve.source_deadline,
    };
    let obtained = match is_asked(order, id) {
        true => obtain(order, id, request, until, serve.source_deadline).await,
        false => Err(Cause::Limited),
    };
    let cause = match obtained {
        Ok(landed) => {
            if has_asked_the_store(order, fragment, &landed) {
                *looked = Looked::default()
                    .with(Tier::Shared, Found::Nothing)
                    .then(*looked);
            }
            return Settled::landed(order, landed, clock.now());
        }
        Err(cause) => cause,
    };
    let tried = report::Rung::Source;
    order.trail.tried(id, tried, Some(cause.to_string()));
    // another flight, or the search beyond memory, may have brought one meanwhile
    let copy = order.composer.copy(request, fragment, clock.now());
    let copy = match copy {
        // there is nothing better to do any more than to wait for a slow disk
        None if !searched => {
            let search = patiently_recalled(order, id, request, serve.deadline, looked);
            search.boxed().await
        }
        copy => copy,
    };
    match copy {
        Some(copy) => {
            order.trail.tried(id, report::Rung::Copy, None);
            Settled::copy(order, copy.entry, Outcome::Stale(cause), clock.now())
        }
        None => fall_back(order, id, serve, cause).boxed().await,
    }
}

/// Whether a flight has found nothing in the shared store, and asked the origin then.
fn has_asked_the_store(order: &Arc<Order>, fragment: &Fragment, landed: &Landed) -> bool {
    let is_fetched = match landed {
        Landed::Entry { came, .. } => matches!(came, Came::Fetched | Came::Part { .. }),
        Landed::NoPage { .. } => true,
    };
    let is_asked = order.composer.cache.shared().is_some() && fragment.reach.shared;
    is_fetched && is_asked && flight::may_share(fragment)
}

/// Whether the pages of this reader ask for the fragment.
fn is_asked(order: &Arc<Order>, id: FragmentId) -> bool {
    order.reader == Reader::NOBODY || order.edition.fetcher.is_asked_by(id, order.reader)
}

/// Fills a slot whose fragment is switched off: neither its source nor its copies are looked at.
pub(super) async fn stand_in(order: Arc<Order>, id: FragmentId, serve: Serve) -> Settled {
    let settled = fall_back(&order, id, &serve, Cause::Switched).await;
    if matches!(settled.outcome, Outcome::Omitted(_)) {
        return Settled::omitted(OmitReason::Switched, settled.at);
    }
    settled
}

/// What was pushed is good until something else is: whether it is stale is for the record.
fn pushed(order: &Arc<Order>, copy: Copy, at: Instant) -> Settled {
    let outcome = match copy.state {
        State::Fresh => Outcome::Cached,
        State::Stale | State::Kept | State::Dead => Outcome::Stale(Cause::NotPushed),
    };
    Settled::copy(order, copy.entry, outcome, at)
}

/// Fills a slot whose fragment is pushed and has no copy in memory. Nobody is asked.
async fn fill_pushed(
    order: &Arc<Order>,
    id: FragmentId,
    serve: &Serve,
    looked: &mut Looked,
) -> Settled {
    let (clock, fragment) = (order.composer.clock, order.edition.site.fragment(id));
    let request = serve.request(fragment);
    *looked = in_memory(None);
    let until = serve.source_deadline;
    if let Some(copy) = patiently_recalled(order, id, request, until, looked).await {
        return pushed(order, copy, clock.now());
    }
    match withdrawn(order, fragment, request, clock.now()) {
        Some(settled) => settled,
        None => fall_back(order, id, serve, Cause::NotPushed).await,
    }
}

/// What is shown where something was pushed and was taken back.
fn withdrawn(
    order: &Arc<Order>,
    fragment: &Fragment,
    request: &SourceRequest,
    at: Instant,
) -> Option<Settled> {
    let known = order.composer.cache.peek(request)?;
    if known.content != Content::Withdrawn {
        return None;
    }
    let nothing = Settled {
        outcome: Outcome::Absent,
        ..Settled::omitted(OmitReason::Unneeded, at)
    };
    match fragment.priority {
        Priority::Core => Some(Settled {
            content: Fill::NoPage(NoPage::Refused(StatusCode::NOT_FOUND), Head::default()),
            is_shareable: false,
            ..nothing
        }),
        Priority::Optional(_) => Some(nothing),
        Priority::Essential => None,
    }
}

/// The copy that is found beyond memory in time, and whether all of it was searched.
async fn recalled(
    order: &Arc<Order>,
    id: FragmentId,
    request: &Arc<SourceRequest>,
    until: Instant,
    disk_time: Duration,
    looked: &mut Looked,
) -> (Option<Copy>, bool) {
    let fragment = order.edition.site.fragment(id);
    if !order.composer.cache.reaches_beyond_memory(fragment.reach) {
        return (None, true);
    }
    // whatever was found by then is in memory
    let search = flight::recall(order, fragment.reach, request, disk_time);
    let recalled = timeout_at(until, search).await.unwrap_or_default();
    let now = order.composer.clock.now();
    let copy = order.composer.copy(request, fragment, now);
    *looked = looked.then(beyond_memory(recalled, copy.as_ref()));
    (copy, recalled.is_whole)
}

/// The same where nobody else can be asked: a slow disk may take all the time that there is.
async fn patiently_recalled(
    order: &Arc<Order>,
    id: FragmentId,
    request: &Arc<SourceRequest>,
    until: Instant,
    looked: &mut Looked,
) -> Option<Copy> {
    let left = until.saturating_duration_since(order.composer.clock.now());
    recalled(order, id, request, until, left, looked).await.0
}

async fn obtain(
    order: &Arc<Order>,
    id: FragmentId,
    request: &Arc<SourceRequest>,
    until: Instant,
    by: Instant,
) -> Result<Landed, Cause> {
    timeout_at(until, flight::obtain(order, id, request, by))
        .await
        .unwrap_or(Err(Cause::Timeout))
}

/// The first rung that gives something.
async fn fall_back(order: &Arc<Order>, id: FragmentId, serve: &Serve, cause: Cause) -> Settled {
    let clock = order.composer.clock;
    for rung in rungs(&order.edition.site, id) {
        match rung {
            Rung::Ready { kind, body } => {
                let (tried, outcome) = match kind {
                    RungKind::Static => (report::Rung::Static, Outcome::Static(cause)),
                    RungKind::Inline => (report::Rung::Inline, Outcome::Inline(cause)),
                    RungKind::DefaultData => {
                        (report::Rung::DefaultData, Outcome::DefaultData(cause))
                    }
                };
                order.trail.tried(id, tried, None);
                return Settled::ready(body.clone(), outcome, clock.now());
            }
            Rung::Sibling(sibling) => {
                let tried = report::Rung::Sibling(*sibling);
                let found = from_sibling(order, *sibling, serve).await;
                order.trail.tried(id, tried, found.as_ref().err().cloned());
                if let Ok(mut settled) = found {
                    let name = order.edition.site.fragment(*sibling).name.clone();
                    settled.outcome = Outcome::Sibling(name, cause);
                    return settled;
                }
            }
            // whoever gives way is not to ask once more
            Rung::Lazy if cause == Cause::Limited => {}
            // the browser would ask for what is switched off
            Rung::Lazy if cause == Cause::Switched => {}
            Rung::Lazy => {
                if let Some(tag) = lazy::tag(order, id) {
                    order.trail.tried(id, report::Rung::Lazy, None);
                    return Settled::ready(tag, Outcome::Lazy(cause), clock.now());
                }
            }
        }
    }
    Settled::omitted(OmitReason::Failed(cause), clock.now())
}

/// A fragment's rungs in order, with a sibling's own rungs after it, but for its tag, which asks for
/// what has a slot. Validation has made sure that this ends.
fn rungs(site: &Site, id: FragmentId) -> Vec<&Rung> {
    let mut found = Vec::new();
    for rung in &site.fragment(id).fallback {
        found.push(rung);
        if let Rung::Sibling(sibling) = rung {
            let has_slot = |rung: &&Rung| !matches!(rung, Rung::Lazy);
            found.extend(rungs(site, *sibling).into_iter().filter(has_slot));
        }
    }
    found
}

/// What a sibling has to show: a fresh copy, an answer in the time that is left, or any copy; or why it
/// has nothing. One that has nothing to show is no stand-in.
async fn from_sibling(
    order: &Arc<Order>,
    id: FragmentId,
    serve: &Serve,
) -> Result<Settled, String> {
    let Some(Sibling {
        request, may_ask, ..
    }) = serve.siblings.iter().find(|s| s.fragment == id)
    else {
        return Err(Cause::Switched.to_string());
    };
    let nothing = || Err(Cause::Empty.to_string());
    let (clock, sibling) = (order.composer.clock, order.edition.site.fragment(id));
    // what is looked for is not what the slot is for
    let elsewhere = &mut Looked::default();
    let now = clock.now();
    if let Source::Ready(body) = &sibling.source {
        return Ok(Settled::ready(body.clone(), Outcome::Declared, now));
    }
    if let Source::Push(_) = sibling.source {
        let copy = match order.composer.copy(request, sibling, now) {
            None => patiently_recalled(order, id, request, serve.deadline, elsewhere).await,
            copy => copy,
        };
        let copy = copy.ok_or_else(|| Cause::NotPushed.to_string())?;
        let settled = pushed(order, copy, clock.now());
        return if settled.shows() {
            Ok(settled)
        } else {
            nothing()
        };
    }
    let mut copy = order.composer.copy(request, sibling, now);
    let mut why_not = String::new();
    let until = serve.deadline.min(now + sibling.timeout);
    if copy.as_ref().is_none_or(|copy| copy.state != State::Fresh) {
        if !*may_ask {
            "the level gives it up, and there is no copy of it".clone_into(&mut why_not);
        } else if !is_asked(order, id) {
            why_not = Cause::Limited.to_string();
        } else if now >= until {
            "no time was left".clone_into(&mut why_not);
        } else {
            match obtain(order, id, request, until, until).await {
                Ok(landed) => {
                    let settled = Settled {
                        looked: Looked::default(),
                        ..Settled::landed(order, landed, clock.now())
                    };
                    return if settled.shows() {
                        Ok(settled)
                    } else {
                        nothing()
                    };
                }
                Err(cause) => why_not = cause.to_string(),
            }
        }
    }
    if copy.is_none() {
        copy = patiently_recalled(order, id, request, serve.deadline, elsewhere).await;
    }
    let copy = copy.ok_or(why_not)?;
    let settled = Settled::copy(order, copy.entry, Outcome::Cached, clock.now());
    if settled.shows() {
        Ok(settled)
    } else {
        nothing()
    }
}
