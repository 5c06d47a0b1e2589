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
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{HeaderValue, StatusCode};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::cache::{Entry, Head, State};
use crate::clock::Instant;
use crate::fragment::{FragmentId, SourceRequest};
use crate::report::Cause;

use super::Order;

mod work;

/// What a flight brings back.
#[derive(Debug, Clone)]
pub(crate) enum Landed {
    /// Content; `shared` when any page may use it.
    Entry { entry: Arc<Entry>, shared: bool },
    /// From a core only: there will be no page; `shared` when that holds for any page.
    NoPage {
        why: NoPage,
        head: Head,
        shared: bool,
    },
}

/// Why a core says that there will be no page.
#[derive(Debug, Clone)]
pub(crate) enum NoPage {
    /// The reader is to go elsewhere.
    Redirect(StatusCode, HeaderValue),
    /// There is nothing to show, or not to this reader.
    Refused(StatusCode),
}

type Landing = Result<Landed, Cause>;

/// What is under way.
#[derive(Default)]
pub(crate) struct Flights {
    shared: Mutex<HashMap<Arc<SourceRequest>, Listed>>,
    count: AtomicUsize,
}

/// A flight that others may join.
struct Listed {
    landing: watch::Receiver<Option<Landing>>,
    launched: Instant,
}

impl Flights {
    pub(super) fn under_way(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

/// Counts a flight for as long as it is under way, and takes it off the table at its end.
struct UnderWay {
    order: Order,
    listed: Option<(Arc<SourceRequest>, watch::Receiver<Option<Landing>>)>,
}

impl UnderWay {
    fn begin(order: &Order) -> Result<Self, Cause> {
        let max = order.edition.site.limits.flights_max;
        if order.composer.flights.count.fetch_add(1, Ordering::Relaxed) >= max {
            order.composer.flights.count.fetch_sub(1, Ordering::Relaxed);
            return Err(Cause::Busy);
        }
        Ok(Self {
            order: order.clone(),
            listed: None,
        })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let flights = &self.order.composer.flights;
        if let Some((request, landing)) = self.listed.take() {
            let mut shared = flights.shared.lock();
            // a later flight may have taken its place
            if shared
                .get(&request)
                .is_some_and(|listed| listed.landing.same_channel(&landing))
            {
                shared.remove(&request);
            }
        }
        flights.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits for the flight of this request, launching it if there is none.
pub(super) async fn obtain(order: &Order, id: FragmentId, request: &Arc<SourceRequest>) -> Landing {
    let fragment = order.edition.site.fragment(id);
    let may_share = fragment.freshness.ttl.is_none_or(|ttl| !ttl.is_zero());
    if !may_share {
        return alone(order, id, request).await;
    }
    let (mut landing, leads) = match join_or_launch(order, id, request)? {
        Found::Copy(entry) => {
            return Ok(Landed::Entry {
                entry,
                shared: true,
            });
        }
        Found::Flight { landing, leads } => (landing, leads),
    };
    let landed = landing
        .wait_for(Option::is_some)
        .await
        .map_err(|_| Cause::Stopping)?
        .clone();
    match landed.expect("a flight that is waited for has landed") {
        Ok(Landed::Entry { shared: false, .. } | Landed::NoPage { shared: false, .. })
            if !leads =>
        {
            alone(order, id, request).await
        }
        landing => landing,
    }
}

/// What there is to wait for.
enum Found {
    /// Nothing: it is here.
    Copy(Arc<Entry>),
    /// A flight, and whether it was launched for this page.
    Flight {
        landing: watch::Receiver<Option<Landing>>,
        leads: bool,
    },
}

/// A flight that has taken longer than the fragment's own timeout is not joined any more: whatever
/// it hangs on, a page that comes now must not hang on it too. It goes on, and a new one takes its
/// place, so there are no more of them than the origin's timeout has room for.
fn join_or_launch(
    order: &Order,
    id: FragmentId,
    request: &Arc<SourceRequest>,
) -> Result<Found, Cause> {
    let fragment = order.edition.site.fragment(id);
    let now = order.composer.clock.now();
    let mut shared = order.composer.flights.shared.lock();
    if let Some(listed) = shared.get(request)
        && now < listed.launched + fragment.timeout
    {
        let landing = listed.landing.clone();
        return Ok(Found::Flight {
            landing,
            leads: false,
        });
    }
    // one may have landed since the slot looked
    let copy = order
        .composer
        .cache
        .lookup(request, &fragment.freshness, now);
    if let Some(copy) = copy.filter(|copy| copy.state == State::Fresh) {
        return Ok(Found::Copy(copy.entry));
    }
    let mut under_way = UnderWay::begin(order)?;
    let (sender, receiver) = watch::channel(None);
    let listed = Listed {
        landing: receiver.clone(),
        launched: now,
    };
    shared.insert(Arc::clone(request), listed);
    drop(shared);
    under_way.listed = Some((Arc::clone(request), receiver.clone()));
    let work = work::fly(order.clone(), id, Arc::clone(request));
    order.composer.tasks.spawn(async move {
        let landing = AssertUnwindSafe(work)
            .catch_unwind()
            .await
            .unwrap_or(Err(Cause::Panic));
        // off the table before it is told, so that nobody joins a flight that has landed
        drop(under_way);
        sender.send_replace(Some(landing));
    });
    let landing = receiver;
    Ok(Found::Flight {
        landing,
        leads: true,
    })
}

/// A flight for one page only. It runs within the page's own task, and becomes a task of its own
/// when the page goes on without it: its connection is worth keeping, and so may be its answer.
async fn alone(order: &Order, id: FragmentId, request: &Arc<SourceRequest>) -> Landing {
    let under_way = UnderWay::begin(order)?;
    let work = work::fly(order.clone(), id, Arc::clone(request));
    let work = async move {
        let landing = AssertUnwindSafe(work)
            .catch_unwind()
            .await
            .unwrap_or(Err(Cause::Panic));
        drop(under_way);
        landing
    };
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
