//! Flights: one piece of work per request, however many pages wait for it. Owns the table of what is
//! under way, and who may wait for what; the work itself is in [`work`]. A flight outlives its
//! pages, within the origin's timeout, and its late answer fills the cache.
//!
//! What may not be shared is not: a fragment without a ttl is fetched for each page on its own, and
//! an answer that turns out to be personal (`private`, `Set-Cookie`) goes to the page that asked
//! and to no other. Invariant: a panic in a flight costs that flight; whoever waits is told.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, WeakShared};
use http::{HeaderValue, StatusCode};
use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::cache::beyond::{DISK_TIME, Recalled};
use crate::cache::{Entry, Head, State};
use crate::clock::Instant;
use crate::fragment::{Fragment, FragmentId, Reach, SourceRequest};
use crate::report::Cause;

use super::{Composer, Order};

mod list;
mod pause;
pub(super) mod said;
pub(super) mod work;

use pause::{Note, Notes};

/// What a flight brings back.
#[derive(Debug, Clone)]
pub(crate) enum Landed {
    /// Content; `shared` when any page may use it.
    Entry {
        entry: Arc<Entry>,
        shared: bool,
        came: Came,
    },
    /// From a core only: there will be no page; `shared` when that holds for any page.
    NoPage {
        why: NoPage,
        head: Head,
        shared: bool,
    },
}

/// Where content came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// The origin gave it for this flight.
    Fetched,
    /// A fresh copy was there by the time.
    Copied,
    /// Another node had got it, and the shared store gave it for this flight.
    Brought,
    /// The same as fetched: a list some of whose items could not be had.
    Part { missing: usize, of: usize },
}

/// Why a core says that there will be no page.
#[derive(Debug, Clone)]
pub(crate) enum NoPage {
    /// The reader is to go elsewhere.
    Redirect(StatusCode, HeaderValue),
    /// There is nothing to show, or not to this reader.
    Refused(StatusCode),
}

pub(super) type Landing = Result<Landed, Cause>;

/// What is under way.
#[derive(Default)]
pub(crate) struct Flights {
    table: Mutex<Table>,
    count: AtomicUsize,
    launched: AtomicU64,
    joined: AtomicU64,
}

/// Flights since the start, and now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlightCounts {
    /// Under way.
    pub under_way: usize,
    /// That were begun.
    pub launched: u64,
    /// Slots that have waited for a flight which was under way for another.
    pub joined: u64,
}

#[derive(Default)]
struct Table {
    shared: HashMap<Arc<SourceRequest>, Listed>,
    /// Copies that are being looked for beyond memory.
    recalls: HashMap<Arc<SourceRequest>, Recall>,
    notes: Notes,
}

/// Weak, so that a search that nobody waits for any more ends.
type Recall = WeakShared<BoxFuture<'static, Recalled>>;

/// A flight that others may join.
struct Listed {
    landing: watch::Receiver<Option<Landing>>,
    launched: Instant,
}

impl Flights {
    pub(super) fn counts(&self) -> FlightCounts {
        FlightCounts {
            under_way: self.count.load(Ordering::Relaxed),
            launched: self.launched.load(Ordering::Relaxed),
            joined: self.joined.load(Ordering::Relaxed),
        }
    }
}

/// Counts a flight for as long as it is under way, and takes it off the table at its end.
struct UnderWay {
    composer: Arc<Composer>,
    listed: Option<(Arc<SourceRequest>, watch::Receiver<Option<Landing>>)>,
}

impl UnderWay {
    fn begin(order: &Order) -> Result<Self, Cause> {
        Self::of(&order.composer, order.edition.site.limits.flights_max)
    }

    fn of(composer: &Arc<Composer>, max: usize) -> Result<Self, Cause> {
        let flights = &composer.flights;
        if flights.count.fetch_add(1, Ordering::Relaxed) >= max {
            flights.count.fetch_sub(1, Ordering::Relaxed);
            return Err(Cause::Busy);
        }
        flights.launched.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            composer: Arc::clone(composer),
            listed: None,
        })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let flights = &self.composer.flights;
        if let Some((request, landing)) = self.listed.take() {
            let mut table = flights.table.lock();
            // a later flight may have taken its place
            if table
                .shared
                .get(&request)
                .is_some_and(|listed| listed.landing.same_channel(&landing))
            {
                table.shared.remove(&request);
            }
        }
        flights.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a reader does who asks for what others may ask for at the same time.
pub(super) enum Part {
    /// They ask for all, and bring it down with this.
    Leads(Pilot),
    /// They wait for whoever asks already, and since when.
    Follows(watch::Receiver<Option<Landing>>, Instant),
    /// They ask for themselves: it is known not to be for others, or there is too much under way.
    Alone,
}

/// A flight that one reader flies. Where it is dropped, whoever waits is told that nothing has come of it.
pub(super) struct Pilot {
    under_way: UnderWay,
    request: Arc<SourceRequest>,
    sender: watch::Sender<Option<Landing>>,
}

impl Pilot {
    /// It has brought this.
    pub(super) fn lands(self, landing: Landing) {
        let Self {
            under_way,
            request,
            sender,
        } = self;
        note(&under_way.composer, &request, &landing);
        // off the table before it is told, so that nobody joins a flight that has landed
        drop(under_way);
        sender.send_replace(Some(landing));
    }
}

/// Joins the readers of one document. A flight that has taken longer than `patience` is not waited for.
pub(super) fn take_part(
    composer: &Arc<Composer>,
    request: &Arc<SourceRequest>,
    flights_max: usize,
    patience: Duration,
) -> Part {
    let now = composer.clock.now();
    let mut table = composer.flights.table.lock();
    if let Some(listed) = table.shared.get(request)
        && now < listed.launched + patience
    {
        composer.flights.joined.fetch_add(1, Ordering::Relaxed);
        return Part::Follows(listed.landing.clone(), listed.launched);
    }
    if table.notes.get(request, now).is_some() {
        return Part::Alone;
    }
    let Ok(mut under_way) = UnderWay::of(composer, flights_max) else {
        return Part::Alone;
    };
    let (sender, landing) = watch::channel(None);
    let listed = Listed {
        landing: landing.clone(),
        launched: now,
    };
    table.shared.insert(Arc::clone(request), listed);
    drop(table);
    under_way.listed = Some((Arc::clone(request), landing));
    Part::Leads(Pilot {
        under_way,
        request: Arc::clone(request),
        sender,
    })
}

/// Whether pages may wait for one another's answers: without a ttl each has its own.
pub(super) fn may_share(fragment: &Fragment) -> bool {
    fragment.freshness.ttl.is_none_or(|ttl| !ttl.is_zero())
}

/// Waits for the flight of this request, launching it if there is none. Whoever waits goes on without
/// it at `by`.
pub(super) async fn obtain(
    order: &Arc<Order>,
    id: FragmentId,
    request: &Arc<SourceRequest>,
    by: Instant,
) -> Landing {
    let fragment = order.edition.site.fragment(id);
    if !may_share(fragment) || order.is_drawn_for(fragment) {
        return alone(order, id, request, by).await;
    }
    loop {
        let (mut landing, joined) = match join_or_launch(order, id, request, by)? {
            Found::Copy(entry) => {
                return Ok(Landed::Entry {
                    entry,
                    shared: true,
                    came: Came::Copied,
                });
            }
            Found::Partial(landed) => return Ok(landed),
            Found::Personal => return alone(order, id, request, by).await,
            Found::Flight { landing, joined } => (landing, joined),
        };
        let landed = landing
            .wait_for(Option::is_some)
            .await
            .map_err(|_| Cause::Stopping)?
            .clone();
        let landing = landed.expect("a flight that is waited for has landed");
        let Some(launched) = joined else {
            return landing;
        };
        match &landing {
            Ok(Landed::Entry { shared: false, .. } | Landed::NoPage { shared: false, .. }) => {
                return alone(order, id, request, by).await;
            }
            // a page that began after a purge must not show what was on its way before it
            Ok(Landed::Entry { entry, .. })
                if is_gone(&order.composer, request, entry, launched) => {}
            _ => return landing,
        }
    }
}

/// Whether what was asked for at `since` was thrown away before it came.
pub(super) fn is_gone(
    composer: &Composer,
    request: &SourceRequest,
    entry: &Entry,
    since: Instant,
) -> bool {
    let since = composer.clock.moment(since);
    composer.cache.has_thrown_away(request, entry, since)
}

/// Looks for a copy beyond memory, and puts what it finds there: one search per request, however
/// many pages wait. Where a flight is under way its first page has looked already.
/// It is no search to the end where this page is too late for one.
pub(super) async fn recall(
    order: &Order,
    reach: Reach,
    request: &Arc<SourceRequest>,
    disk_time: Duration,
) -> Recalled {
    if !order.composer.cache.reaches_beyond_memory(reach) {
        return Recalled::NOWHERE;
    }
    let search = {
        let mut table = order.composer.flights.table.lock();
        if disk_time == DISK_TIME && table.shared.contains_key(request) {
            return Recalled::default();
        }
        let listed = table.recalls.get(request).and_then(Recall::upgrade);
        match listed.filter(|search| search.peek().is_none()) {
            Some(search) => search,
            None if table.recalls.len() >= RECALLS_MAX => return Recalled::default(),
            None => {
                let composer = Arc::clone(&order.composer);
                let key = Arc::clone(request);
                let search = async move {
                    let off_the_table = OffTheTable { composer, key };
                    let OffTheTable { composer, key } = &off_the_table;
                    composer.cache.recall(key, reach, disk_time).await
                };
                let search = search.boxed().shared();
                if let Some(listed) = search.downgrade() {
                    table.recalls.insert(Arc::clone(request), listed);
                }
                search
            }
        }
    };
    search.await
}

/// Searches beyond memory at once: beyond it there is nothing beyond memory.
const RECALLS_MAX: usize = 4096;

/// Takes a search off the table at its end, also when everybody who waited has left.
struct OffTheTable {
    composer: Arc<Composer>,
    key: Arc<SourceRequest>,
}

impl Drop for OffTheTable {
    fn drop(&mut self) {
        let mut table = self.composer.flights.table.lock();
        table.recalls.remove(&self.key);
    }
}

/// Renews a copy that is fresh still. Nobody waits for it.
pub(super) fn renew(order: &Arc<Order>, id: FragmentId, request: &Arc<SourceRequest>) {
    let now = order.composer.clock.now();
    let table = order.composer.flights.table.lock();
    if table.shared.contains_key(request) || table.notes.get(request, now).is_some() {
        return;
    }
    // at the limit of flights the copy is good enough still
    let by = now + order.edition.site.fragment(id).timeout;
    let _ = launch(order, id, request, table, (now, by));
}

/// What there is to wait for.
enum Found {
    /// Nothing: it is here.
    Copy(Arc<Entry>),
    /// Nothing: the answer is for one reader only.
    Personal,
    /// Nothing: what there is of a list was brought a moment ago.
    Partial(Landed),
    /// A flight, and when it was launched for another page, if that is whose it is.
    Flight {
        landing: watch::Receiver<Option<Landing>>,
        joined: Option<Instant>,
    },
}

/// A flight that has taken longer than the fragment's own timeout is not joined any more: whatever
/// it hangs on, a page that comes now must not hang on it too. It goes on, and a new one takes its
/// place, so there are no more of them than the origin's timeout has room for.
fn join_or_launch(
    order: &Arc<Order>,
    id: FragmentId,
    request: &Arc<SourceRequest>,
    by: Instant,
) -> Result<Found, Cause> {
    let fragment = order.edition.site.fragment(id);
    let now = order.composer.clock.now();
    let table = order.composer.flights.table.lock();
    if let Some(listed) = table.shared.get(request)
        && now < listed.launched + fragment.timeout
    {
        let (landing, launched) = (listed.landing.clone(), listed.launched);
        order
            .composer
            .flights
            .joined
            .fetch_add(1, Ordering::Relaxed);
        return Ok(Found::Flight {
            landing,
            joined: Some(launched),
        });
    }
    // one may have landed since the slot looked
    let copy = order.composer.copy(request, fragment, now);
    if let Some(copy) = copy.filter(|copy| copy.state == State::Fresh) {
        return Ok(Found::Copy(copy.entry));
    }
    match table.notes.get(request, now) {
        Some(Note::Failed(cause)) => return Err(cause.clone()),
        Some(Note::Personal) => return Ok(Found::Personal),
        Some(Note::Partial(landed)) => return Ok(Found::Partial(landed.clone())),
        None => {}
    }
    let landing = launch(order, id, request, table, (now, by))?;
    Ok(Found::Flight {
        landing,
        joined: None,
    })
}

fn launch(
    order: &Arc<Order>,
    id: FragmentId,
    request: &Arc<SourceRequest>,
    mut table: MutexGuard<'_, Table>,
    (now, by): (Instant, Instant),
) -> Result<watch::Receiver<Option<Landing>>, Cause> {
    let mut under_way = UnderWay::begin(order)?;
    let (sender, receiver) = watch::channel(None);
    let listed = Listed {
        landing: receiver.clone(),
        launched: now,
    };
    table.shared.insert(Arc::clone(request), listed);
    drop(table);
    under_way.listed = Some((Arc::clone(request), receiver.clone()));
    let work = work::fly(Arc::clone(order), id, Arc::clone(request), by);
    let (composer, request) = (Arc::clone(&order.composer), Arc::clone(request));
    let work = AssertUnwindSafe(work).catch_unwind().map(move |landing| {
        let landing = landing.unwrap_or(Err(Cause::Panic));
        note(&composer, &request, &landing);
        // off the table before it is told, so that nobody joins a flight that has landed
        drop(under_way);
        sender.send_replace(Some(landing));
    });
    order.composer.tasks.spawn(work);
    Ok(receiver)
}

/// Remembers what the next page must know of this flight.
fn note(composer: &Composer, request: &Arc<SourceRequest>, landing: &Landing) {
    let now = composer.clock.now();
    let notes = &mut composer.flights.table.lock().notes;
    match landing {
        // nobody was asked: says nothing of the next one
        Err(Cause::Busy | Cause::Limited | Cause::Open | Cause::Stopping) => {}
        Err(cause) => notes.failed(request, cause.clone(), fastrand::f64(), now),
        Ok(Landed::Entry { shared: false, .. }) => notes.personal(request, now),
        Ok(Landed::Entry {
            came: Came::Part { .. },
            ..
        }) => {
            let landed = landing.clone().expect("it has landed");
            notes.partial(request, landed, fastrand::f64(), now);
        }
        Ok(Landed::Entry { .. } | Landed::NoPage { .. }) => notes.landed(request),
    }
}

/// A flight for one page only. It runs within the page's own task, and becomes a task of its own
/// when the page goes on without it: its connection is worth keeping, and so may be its answer.
async fn alone(
    order: &Arc<Order>,
    id: FragmentId,
    request: &Arc<SourceRequest>,
    by: Instant,
) -> Landing {
    let under_way = UnderWay::begin(order)?;
    let work = work::fly(Arc::clone(order), id, Arc::clone(request), by);
    let work = AssertUnwindSafe(work).catch_unwind().map(move |landing| {
        drop(under_way);
        landing.unwrap_or(Err(Cause::Panic))
    });
    Adoptable {
        work: Some(work.boxed()),
        tasks: order.composer.tasks.clone(),
    }
    .await
}

/// Work that goes on as a task of its own when it is dropped before its end.
struct Adoptable {
    work: Option<BoxFuture<'static, Landing>>,
    tasks: TaskTracker,
}

impl Future for Adoptable {
    type Output = Landing;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Landing> {
        let work = self
            .work
            .as_mut()
            .expect("a future is not polled after its end");
        let landing = ready!(work.as_mut().poll(cx));
        self.work = None;
        Poll::Ready(landing)
    }
}

impl Drop for Adoptable {
    fn drop(&mut self) {
        // outside a runtime nothing can go on
        if let Some(work) = self.work.take()
            && Handle::try_current().is_ok()
        {
            self.tasks.spawn(work);
        }
    }
}
