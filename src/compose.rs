//! Putting a page together. Owns the order of things: every slot starts at once, the head waits for
//! the core's verdict, then the body leaves in document order. Knows nothing of sockets.
//!
//! A page that cannot be composed is a value too (see [`Verdict`]): whoever answers the reader
//! decides what it looks like. Invariant: every page that was started ends in one
//! [`PageReport`], also when the reader leaves half-way.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::num::NonZero;
use std::pin::pin;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use http::header::AGE;
use http::{HeaderValue, StatusCode};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::cache::{Cache, Copy, Entry};
use crate::clock::{Clock, Instant};
use crate::degradation::{Executor, Job, Lag, Level, Meters, Overrides, Reader, Turn};
use crate::fetch::Fetcher;
use crate::fetch::origin::Drawn;
use crate::fragment::facts::Facts;
use crate::fragment::{Fragment, FragmentId, Source, SourceRequest, Trace};
use crate::plan::{self, Action, Plan};
use crate::report::{Afforded, Attempt, AttemptReport, Observer, PageReport, Story, Trail};
use crate::site::{ForCrawlers, PageId, Site};

mod account;
pub mod assemble;
mod flight;
pub mod head;
mod hints;
pub mod lazy;
pub(crate) mod made;
pub mod probe;
pub mod push;
pub mod reuse;
mod slot;
mod snapshot;
mod story;
pub mod weave;

pub use assemble::{BodyCoding, PageBody};
pub use flight::FlightCounts;
pub use head::{PageHead, Verdict};
pub use reuse::Reuse;

use account::Account;
use assemble::declared::DeclaredVariants;
use flight::Flights;
use made::MadePages;
use slot::Settled;

/// A site and the connections that serve it, swapped together. A page keeps the edition it began
/// with to its end.
#[derive(Debug)]
pub struct Edition {
    /// What is declared.
    pub site: Site,
    /// The doors to its origins.
    pub fetcher: Fetcher,
    /// What is counted while its pages are composed.
    pub meters: Meters,
    /// What it declares, as it is sent compressed.
    pub(crate) variants: DeclaredVariants,
}

impl Edition {
    /// An edition of which nothing has been counted.
    pub fn new(site: Site, fetcher: Fetcher) -> Self {
        Self {
            meters: Meters::new(site.pages.len(), site.fragments.len()),
            site,
            fetcher,
            variants: DeclaredVariants::default(),
        }
    }
}

/// What outlives editions: copies, flights, time, and those who want to know.
pub struct Composer {
    pub(crate) cache: Cache,
    pub(crate) clock: Clock,
    pub(crate) executor: Arc<Executor>,
    flights: Flights,
    /// What can be asked off the page.
    requests: probe::Memory,
    tasks: TaskTracker,
    snapshots: snapshot::Gate,
    made_pages: MadePages,
    observers: Vec<Arc<dyn Observer>>,
    /// Whether any of them reads what becomes of pages.
    is_observed: bool,
    /// Whether browsers that show its pages can ask it for blocks.
    is_asked_again: bool,
    /// When they do.
    asking_again: lazy::pace::Pace,
    /// The share of pages whose trace is to be recorded, also where nobody asks for it.
    traced_share: f64,
}

impl Composer {
    /// A composer whose flights, and what they leave behind, run on `tasks`.
    pub fn new(
        cache: Cache,
        clock: Clock,
        tasks: TaskTracker,
        observers: Vec<Arc<dyn Observer>>,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            cache,
            clock,
            executor: Arc::new(Executor::new(cores, clock, Arc::<Lag>::default())),
            flights: Flights::default(),
            requests: probe::Memory::default(),
            snapshots: snapshot::Gate::default(),
            made_pages: MadePages::default(),
            tasks,
            is_observed: observers.iter().any(|observer| observer.reads_pages()),
            observers,
            is_asked_again: true,
            asking_again: lazy::pace::Pace::default(),
            traced_share: 0.0,
        }
    }

    /// The same, whose work takes turns at another executor than one of its own.
    #[must_use]
    pub fn at(self, executor: Arc<Executor>) -> Self {
        Self { executor, ..self }
    }

    /// The same, which has origins record the traces of this share of its pages.
    #[must_use]
    pub fn traced(self, share: f64) -> Self {
        Self {
            traced_share: share,
            ..self
        }
    }

    /// Where its work takes turns.
    pub fn executor(&self) -> &Arc<Executor> {
        &self.executor
    }

    /// The same for pages that are put down in files: nobody can be asked for their blocks later.
    #[must_use]
    pub fn for_files(self) -> Self {
        Self {
            is_asked_again: false,
            ..self
        }
    }

    /// The copies.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The time by which pages are composed.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Flights under way.
    pub fn flights_under_way(&self) -> usize {
        self.flights().under_way
    }

    /// Flights, now and since the start.
    pub fn flights(&self) -> FlightCounts {
        self.flights.counts()
    }

    /// The copy of a fragment that is at hand.
    pub(crate) fn copy(
        &self,
        request: &SourceRequest,
        fragment: &Fragment,
        now: Instant,
    ) -> Option<Copy> {
        let now = self.clock.moment(now);
        self.cache.lookup(request, &fragment.freshness, now)
    }

    /// Those who read reports.
    pub fn observers(&self) -> &[Arc<dyn Observer>] {
        &self.observers
    }
}

/// What is being composed and for whom.
#[derive(Clone)]
pub(crate) struct Order {
    pub(crate) composer: Arc<Composer>,
    pub(crate) edition: Arc<Edition>,
    pub(crate) trace: Trace,
    /// What is asked of origins on its behalf.
    pub(crate) trail: Arc<Trail>,
    /// What the request of the page has told, which launches what others may wait for too: nothing
    /// may be taken from it that is not part of the key of what is obtained.
    pub(crate) facts: Arc<Facts>,
    pub(crate) level: Level,
    /// What operators have decided.
    pub(crate) overrides: Arc<Overrides>,
    /// Who is to see it, where readers are told apart.
    pub(crate) reader: Reader,
    /// Whether nothing may be asked twice: there is more to do than can be done.
    pub(crate) is_frugal: bool,
    /// Whether the page is at a level that its reader has chosen.
    pub(crate) is_rehearsal: bool,
    /// The faults that it was drawn for and others were not.
    pub(crate) drawn: Option<Arc<Drawn>>,
    /// The page whose slots may tell the browser to ask again; `None` where it has just done so, or
    /// where nobody will answer.
    pub(crate) lazy_on: Option<PageId>,
}

/// What is asked for, and who wants to know what becomes of it.
pub struct Wanted<'w> {
    /// The path that was asked for.
    pub path: &'w str,
    /// What could be afforded when it was.
    pub afforded: Afforded,
    /// Who is told of this page besides those who are told of all.
    pub witness: Option<Arc<dyn Observer>>,
    /// Whether the reader's browser shows slots that come late.
    pub takes_late_slots: bool,
    /// What is to take its place if something of it is given up, where a crawler asks.
    pub for_crawler: Option<ForCrawlers>,
    /// The faults that it was drawn for and others were not.
    pub drawn: Option<Arc<Drawn>>,
    /// Where to note what it has come to, for whoever asks for the same in a moment.
    pub note: Option<made::Note>,
}

impl<'w> From<&'w str> for Wanted<'w> {
    fn from(path: &'w str) -> Self {
        Self {
            path,
            afforded: Afforded::default(),
            witness: None,
            takes_late_slots: false,
            for_crawler: None,
            drawn: None,
            note: None,
        }
    }
}

/// A page whose head is settled.
pub struct Composed {
    /// Status and headers.
    pub head: PageHead,
    /// The body; empty unless the verdict is [`Verdict::Page`].
    pub body: PageBody,
}

type Waiting = FuturesUnordered<BoxFuture<'static, (usize, Settled)>>;

/// Turns of the scheduler that a head waits for slots which have their answer already: answers of
/// origins that are equally near arrive in the same moment, and a page that is written in one piece
/// costs less than one written in eight. A turn is over when nothing else can run, so this waits
/// for no timer and no network.
const GATHER_TURNS: usize = 2;

/// Starts every step of a plan, and returns when the core's verdict is known. `wanted` is for
/// the report; `facts` are those of the plan, which was made in `turn`; `in_flight` is dropped when the
/// last slot is settled.
pub async fn compose<G: Send + 'static>(
    composer: &Arc<Composer>,
    edition: Arc<Edition>,
    plan: Plan,
    wanted: impl Into<Wanted<'_>>,
    facts: Facts,
    (turn, in_flight): (Turn, G),
) -> Composed {
    let wanted = wanted.into();
    let order = Order {
        drawn: wanted.drawn.clone(),
        ..Order::new(composer, &edition, &plan, facts)
    };
    let id = plan.page;
    let (for_crawler, note) = (wanted.for_crawler, wanted.note);
    let mut account = Account::new(Arc::new(order), &plan, wanted);
    let mut waiting = start(plan, &mut account);
    edition.meters.composing();
    edition.meters.page_worked(turn.end(Job::Plan).await);
    let mut verdict = loop {
        if let Some(verdict) = head::decide(&account) {
            break verdict;
        }
        let settled = waiting.next().await;
        let (member, settled) = settled.expect("a core slot without a verdict is being waited for");
        account.settle(member, settled);
    };
    match verdict {
        Verdict::Unavailable => {
            let (order, page) = (Arc::clone(account.order()), edition.site.page(id));
            let search = snapshot::find(&order, page, account.started() + page.budget);
            let search = beside(search, &mut waiting, &mut account).boxed();
            if let Some(entry) = search.await {
                return instead(account, entry);
            }
        }
        Verdict::Refused(StatusCode::NOT_FOUND | StatusCode::GONE) => {
            let (order, page) = (Arc::clone(account.order()), edition.site.page(id));
            let withdrawal = snapshot::withdraw(&order, page);
            let withdrawal = beside(withdrawal, &mut waiting, &mut account).boxed();
            withdrawal.await;
        }
        Verdict::Page | Verdict::Redirect(..) | Verdict::Refused(_) => {}
    }
    let mut is_page = verdict == Verdict::Page;
    if is_page {
        gather(&mut waiting, &mut account).await;
    }
    if let Some(policy) = for_crawler.filter(|_| is_page && head::is_reduced(&account)) {
        let (order, page) = (Arc::clone(account.order()), edition.site.page(id));
        let search = snapshot::find(&order, page, account.started() + page.budget);
        let search = beside(search, &mut waiting, &mut account).boxed();
        if let Some(entry) = search.await {
            return instead(account, entry);
        }
        if policy == ForCrawlers::Refuse {
            (verdict, is_page) = (Verdict::Unavailable, false);
        }
    }
    let turn = beside(composer.executor.go_on(), &mut waiting, &mut account).await;
    let now = composer.clock.now();
    let head = head::head(&account, verdict, composer.clock.moment(now));
    account.head_settled(&head, now);
    let mut body = if is_page && !waiting.is_empty() {
        let settling = settle_on(composer, waiting, in_flight);
        PageBody::streaming(account, settling)
    } else {
        PageBody::settled(account, is_page)
    };
    if let Some(note) = note {
        body.note(note, &head);
    }
    edition.meters.page_worked(turn.end(Job::Assemble).await);
    Composed { head, body }
}

/// The page as it was when it could be composed last, in the place of one that cannot be composed in
/// time; `None` if there is no such copy. What is not in memory is looked for until `until`. The request
/// came in at `arrived`.
pub async fn snapshot_instead(
    composer: &Arc<Composer>,
    edition: &Arc<Edition>,
    page: PageId,
    wanted: impl Into<Wanted<'_>>,
    facts: &Facts,
    arrived: Instant,
    (now, until): (Instant, Instant),
) -> Option<Composed> {
    let level = edition.site.ladder.snapshot();
    let plan = plan::nothing(&edition.site, page, level, now);
    let plan = plan.of_request_at(arrived, &edition.site);
    let order = Arc::new(Order::new(composer, edition, &plan, facts.clone()));
    let entry = snapshot::find(&order, edition.site.page(page), until).await?;
    let mut account = Account::new(order, &plan, wanted.into());
    account.is_planned = false;
    for (member, step) in plan.steps.iter().enumerate() {
        if let Action::Omit(reason) = &step.action {
            account.settle(member, Settled::omitted(reason.clone(), now));
        }
    }
    Some(instead(account, entry))
}

/// What became of a page that was never begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unbegun {
    /// There was no room, nor any copy: its reader got the error page.
    TurnedAway,
    /// Its reader left while it waited for its turn.
    Left,
}

/// Accounts for a page that was never begun, as one of those that readers did not get. `plan` is of
/// [`nothing`](plan::nothing).
pub fn account_for(
    composer: &Arc<Composer>,
    edition: &Arc<Edition>,
    (plan, wanted, facts): (&Plan, Wanted<'_>, Facts),
    ending: Unbegun,
) {
    let order = Arc::new(Order::new(composer, edition, plan, facts));
    let mut account = Account::new(order, plan, wanted);
    account.is_planned = false;
    match ending {
        Unbegun::TurnedAway => account.turn_away(),
        // an account that is dropped open says so
        Unbegun::Left => drop(account),
    }
}

impl Order {
    fn new(composer: &Arc<Composer>, edition: &Arc<Edition>, plan: &Plan, facts: Facts) -> Self {
        Self {
            level: plan.level,
            overrides: Arc::clone(&plan.overrides),
            reader: plan.reader,
            is_frugal: plan.is_frugal,
            is_rehearsal: plan.is_rehearsal,
            lazy_on: composer.is_asked_again.then_some(plan.page),
            ..Self::of(composer, edition, facts)
        }
    }

    /// For nobody in particular, whole, and not to be asked for again.
    fn of(composer: &Arc<Composer>, edition: &Arc<Edition>, facts: Facts) -> Self {
        Self {
            composer: Arc::clone(composer),
            edition: Arc::clone(edition),
            trace: facts.trace.clone().sampled_at(composer.traced_share),
            trail: Arc::new(match composer.is_observed {
                true => Trail::default(),
                false => Trail::unread(),
            }),
            facts: Arc::new(facts),
            level: Level::FULL,
            overrides: Arc::default(),
            reader: Reader::NOBODY,
            is_frugal: false,
            is_rehearsal: false,
            drawn: None,
            lazy_on: None,
        }
    }

    /// Whether a fault hits this fragment on this page and not on others.
    pub(crate) fn is_drawn_for(&self, fragment: &Fragment) -> bool {
        let Some(drawn) = &self.drawn else {
            return false;
        };
        let site = &self.edition.site;
        let is_it = |id: &FragmentId| std::ptr::eq(site.fragment(*id), fragment);
        drawn.fragments.iter().any(is_it)
    }

    /// What is asked of origins on behalf of a page that came in at `arrived`.
    fn attempts(&self, arrived: Instant) -> Vec<AttemptReport<'_>> {
        let site = &self.edition.site;
        let after = |at: Instant| at.saturating_duration_since(arrived);
        let report = |attempt: Attempt| {
            let fragment = site.fragment(attempt.fragment);
            let origin = match &fragment.source {
                Source::Http { origin, .. } => site.origin(*origin).name.as_str(),
                Source::Ready(_) | Source::Push(_) => "",
            };
            let (ended, cause) = match attempt.ended {
                Some((at, cause)) => (Some(after(at)), cause),
                None => (None, None),
            };
            AttemptReport {
                fragment: Cow::Borrowed(&fragment.name),
                origin: Cow::Borrowed(origin),
                replica: attempt.replica,
                span_id: attempt.span_id,
                began: after(attempt.since),
                ended,
                cause,
                fault: attempt.fault,
            }
        };
        self.trail.take().into_iter().map(report).collect()
    }

    /// Tells those who read reports of this page, and its own `witness`.
    fn tell(
        &self,
        witness: Option<&Arc<dyn Observer>>,
        report: &PageReport<'_>,
        story: impl Fn() -> Story,
    ) {
        for observer in self.observers().iter().chain(witness) {
            observer.page(report);
            if observer.wants_story(report) {
                observer.story(story());
            }
        }
    }

    /// Those who read what becomes of all pages.
    fn observers(&self) -> &[Arc<dyn Observer>] {
        match self.composer.is_observed {
            true => self.composer.observers(),
            false => &[],
        }
    }
}

/// Waits while the slots go on: one of them may have been granted a turn, which it holds until somebody
/// looks at it, and others wait for.
async fn beside<T>(
    work: impl Future<Output = T>,
    waiting: &mut Waiting,
    account: &mut Account,
) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            Some((member, settled)) = waiting.next() => account.settle(member, settled),
        }
    }
}

/// The page as it was when its core could be had last.
fn instead(mut account: Account, entry: Arc<Entry>) -> Composed {
    let now = account.order().composer.clock.now();
    account.replaced_by(&entry, now);
    let moment = account.order().composer.clock.moment(now);
    let mut head = head::head(&account, Verdict::Page, moment);
    head.headers.clone_from(&entry.head.headers);
    let age = entry.age(moment).as_secs();
    head.headers.push((AGE, HeaderValue::from(age)));
    head.server_timing.insert_str(0, "page;desc=snapshot, ");
    account.head_settled(&head, now);
    let body = PageBody::snapshot(account, entry);
    head.reuse = Reuse::SNAPSHOT;
    Composed { head, body }
}

/// Starts all steps; what is at hand is settled at once.
fn start(plan: Plan, account: &mut Account) -> Waiting {
    let now = plan.started;
    let moment = account.order().composer.clock.moment(now);
    let mut asking = Vec::new();
    for (member, step) in plan.steps.into_iter().enumerate() {
        let priority = account
            .order()
            .edition
            .site
            .fragment(step.fragment)
            .priority;
        let serve = match step.action {
            Action::Omit(reason) => {
                account.settle(member, Settled::omitted(reason, now));
                continue;
            }
            Action::StandIn(serve) => {
                account.order().edition.meters.used(step.fragment.index());
                let settled = slot::stand_in(Arc::clone(account.order()), step.fragment, serve);
                asking.push((priority, async move { (member, settled.await) }.boxed()));
                continue;
            }
            Action::Serve(serve) => serve,
        };
        account.order().edition.meters.used(step.fragment.index());
        match slot::at_hand(account.order(), step.fragment, &serve, now, moment) {
            Some(settled) => account.settle(member, settled),
            None => {
                let settled = slot::fill(Arc::clone(account.order()), step.fragment, serve, now);
                asking.push((priority, async move { (member, settled.await) }.boxed()));
            }
        }
    }
    // where an origin has fewer places than the page has blocks of it, they are for what matters most
    asking.sort_by_key(|(priority, _)| (priority.grade(), Reverse(priority.rank())));
    asking.into_iter().map(|(_, settled)| settled).collect()
}

/// Settles the slots that can be settled without waiting for anybody.
async fn gather(waiting: &mut Waiting, account: &mut Account) {
    for _ in 0..GATHER_TURNS {
        if waiting.is_empty() {
            return;
        }
        tokio::task::yield_now().await;
        while let Some(Some((member, settled))) = waiting.next().now_or_never() {
            account.settle(member, settled);
        }
    }
}

/// Fills the remaining slots by a task of their own: their deadlines must not depend on whether
/// the reader reads. Ends early when the reader has left.
fn settle_on<G: Send + 'static>(
    composer: &Composer,
    mut waiting: Waiting,
    in_flight: G,
) -> mpsc::Receiver<(usize, Settled)> {
    let (sender, receiver) = mpsc::channel(waiting.len());
    composer.tasks.spawn(async move {
        let _in_flight = in_flight;
        loop {
            tokio::select! {
                biased;
                () = sender.closed() => return,
                next = waiting.next() => match next {
                    // there is room for all of them, so this fails only when the reader has left
                    Some(settled) => drop(sender.try_send(settled)),
                    None => return,
                },
            }
        }
    });
    receiver
}
