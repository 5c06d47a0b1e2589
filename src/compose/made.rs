//! Pages that would come out as they did a moment ago: all of their blocks were at hand, nothing in memory has
//! changed since, and the request says the same. Most requests for most pages are such, and a page that was
//! made up costs a fraction of one that is made up again. Owns how long that is known of a page, and the
//! page that is made of it.
//!
//! It is no cache of pages: what it holds is good for as long as the copies are, and for a second at most, so
//! that they are still looked up often enough to stay the hottest, and are renewed before they are stale. A
//! page is kept only once it was asked for twice with the same memory: where copies change faster than
//! pages are asked for, nothing is put together in vain.
//!
//! Invariant: what is found is what composing would come to at that moment, but for the trace and the times.

use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::FixedState;
use parking_lot::Mutex;

use crate::clock::{Instant, Moment};
use crate::degradation::{Job, Level, Overrides, Reader, Turn};
use crate::fragment::facts::Facts;
use crate::plan::Plan;
use crate::report::Sum;
use crate::site::PageId;
use crate::striped::Striped;

use super::account::Account;
use super::head::{self, PageHead, Verdict};
use super::reuse;
use super::slot::{Fill, Settled};
use super::{Composed, Composer, Edition, Order, PageBody, Wanted};

/// For so long at most nothing is looked up again.
const STAYS: Duration = Duration::from_secs(1);

/// A copy may be renewed early (see [`renews_early`](crate::cache::freshness::renews_early)), by a chance that
/// is e^-12 when so many times what it took to make is left of its freshness.
const EARLY: u32 = 12;

/// Pages that a thread remembers.
const PAGES_MAX: usize = 128;

/// Bytes of them that a thread remembers; a page of more than an eighth of that is not remembered.
const BYTES_MAX: usize = 8 << 20;

/// The pages, by thread: whoever composes looks at no memory that another one writes to.
#[derive(Default)]
pub(super) struct MadePages {
    shelves: Striped<Mutex<Shelf>>,
}

struct Shelf {
    places: Vec<Place>,
    bytes: usize,
}

impl Default for Shelf {
    fn default() -> Self {
        let mut places = Vec::new();
        places.resize_with(PAGES_MAX, Place::default);
        Self { places, bytes: 0 }
    }
}

/// One page, or that it was asked for.
#[derive(Default)]
struct Place {
    /// Of what was asked.
    hash: u64,
    /// Of the memory that it was made from.
    generation: u64,
    made: Option<Arc<Made>>,
}

/// A page that was made.
pub(crate) struct Made {
    edition: Weak<Edition>,
    page: PageId,
    overrides: Arc<Overrides>,
    facts: Arc<Facts>,
    /// When.
    at: Moment,
    /// Until when it would come out the same.
    until: Moment,
    /// What its blocks have come to. When, is for each page to say.
    pub(super) members: Vec<Option<Settled>>,
    pub(super) sum: Sum,
    head: PageHead,
    /// What stands in `Server-Timing` around the times, which are the same for all.
    timing: Vec<String>,
    body: Bytes,
}

/// A page that is asked for.
pub(crate) struct Question<'q> {
    pub(crate) edition: &'q Arc<Edition>,
    pub(crate) page: PageId,
    pub(crate) overrides: &'q Arc<Overrides>,
    pub(crate) facts: &'q Facts,
}

/// What is known of it.
pub(crate) enum Known {
    /// It would come out like this.
    Made(Arc<Made>),
    /// It is to be composed, and noted here.
    Not(Note),
}

/// Where to note what a page has come to.
#[derive(Debug, Clone, Copy)]
pub struct Note {
    hash: u64,
    generation: u64,
    /// Whether the same was asked of the same memory before.
    is_asked_again: bool,
}

impl MadePages {
    /// What is known of a page at this moment, with this generation of the memory, which was read before.
    pub(super) fn look(&self, asked: &Question<'_>, generation: u64, now: Moment) -> Known {
        let hash = asked.hash();
        let mut note = Note {
            hash,
            generation,
            is_asked_again: false,
        };
        // another thread may be here if there are more of them than shelves
        let mine = self.shelves.mine();
        let Some(shelf) = mine.try_lock() else {
            return Known::Not(note);
        };
        let place = &shelf.places[place_of(hash)];
        if place.hash != hash || place.generation != generation {
            return Known::Not(note);
        }
        note.is_asked_again = true;
        match &place.made {
            Some(made) if made.answers(asked, now) => Known::Made(Arc::clone(made)),
            Some(_) | None => Known::Not(note),
        }
    }

    /// Notes that a page was asked for, and what it was made of, if that is known.
    pub(super) fn note(&self, note: Note, made: Option<Arc<Made>>) {
        let mine = self.shelves.mine();
        let Some(mut shelf) = mine.try_lock() else {
            return;
        };
        let more = made.as_ref().map_or(0, |made| made.body.len());
        if shelf.bytes + more > BYTES_MAX {
            *shelf = Shelf::default();
        }
        let place = &mut shelf.places[place_of(note.hash)];
        let before = place.made.take();
        *place = Place {
            hash: note.hash,
            generation: note.generation,
            made,
        };
        let less = before.map_or(0, |made| made.body.len());
        shelf.bytes = shelf.bytes + more - less;
    }
}

fn place_of(hash: u64) -> usize {
    hash as usize % PAGES_MAX
}

impl Question<'_> {
    fn hash(&self) -> u64 {
        let mut hasher = FixedState::default().build_hasher();
        self.page.index().hash(&mut hasher);
        self.facts.hash_request(&mut hasher);
        hasher.finish()
    }
}

impl Made {
    fn answers(&self, asked: &Question<'_>, now: Moment) -> bool {
        std::ptr::eq(self.edition.as_ptr(), Arc::as_ptr(asked.edition))
            && self.page == asked.page
            && Arc::ptr_eq(&self.overrides, asked.overrides)
            && (self.at..self.until).contains(&now)
            && self.facts.is_same_request(asked.facts)
    }

    /// How long before this moment it was made.
    pub(super) fn since(&self, now: Moment) -> Duration {
        now.since(self.at)
    }

    /// Milliseconds with one decimal between what is the same for every page.
    fn server_timing(&self, after: Duration) -> String {
        let mut time = String::with_capacity(8);
        head::push_ms(&mut time, after);
        let length: usize = self.timing.iter().map(|text| text.len() + time.len()).sum();
        let mut told = String::with_capacity(length);
        for (index, text) in self.timing.iter().enumerate() {
            if index > 0 {
                told.push_str(&time);
            }
            told.push_str(text);
        }
        told
    }

    fn head(&self, account: &Account, now: Moment) -> PageHead {
        let since = self.since(now);
        let mut reuse = self.head.reuse;
        if reuse.fresh != Duration::MAX {
            reuse.fresh = reuse.fresh.saturating_sub(since);
        }
        PageHead {
            headers: self.head.headers.clone(),
            reuse,
            server_timing: self.server_timing(account.waited()),
            trace_id: account.order().trace.trace_id,
            verdict: Verdict::Page,
            off: Vec::new(),
            ..self.head
        }
    }
}

impl Composer {
    /// What is known of a page that everybody would get whole; `None` where it has to be composed in
    /// any case.
    pub(crate) fn made(&self, asked: &Question<'_>, now: Instant) -> Known {
        let generation = self.cache.generation();
        self.made_pages
            .look(asked, generation, self.clock.moment(now))
    }
}

/// A page for this request as it was made a moment ago: like [`compose`](super::compose), without doing any of
/// it. It came in at `arrived`.
pub(crate) async fn again<G>(
    composer: &Arc<Composer>,
    edition: &Arc<Edition>,
    made: Arc<Made>,
    wanted: Wanted<'_>,
    facts: Facts,
    (arrived, now): (Instant, Instant),
    (turn, _in_flight): (Turn, G),
) -> Composed {
    let plan = Plan {
        page: made.page,
        level: Level::FULL,
        overrides: Arc::clone(&made.overrides),
        reader: Reader::NOBODY,
        is_frugal: false,
        is_rehearsal: false,
        arrived: arrived.min(now),
        started: now,
        steps: Vec::new(),
    };
    let order = Arc::new(Order::new(composer, edition, &plan, facts));
    let mut account = Account::new(order, &plan, wanted);
    account.is_made_of(Arc::clone(&made));
    let members = account.declared().members.iter();
    edition
        .meters
        .used_all(members.map(|member| member.fragment.index()));
    edition.meters.composing();
    let now = composer.clock.now();
    let head = made.head(&account, composer.clock.moment(now));
    account.head_settled(&head, now);
    let body = PageBody::made(account, made.body.clone());
    edition.meters.page_worked(turn.end(Job::Assemble).await);
    Composed { head, body }
}

/// Whether a page that has come to this would come out the same for others.
pub(super) fn may_be_kept(account: &Account, head: &PageHead) -> bool {
    let order = account.order();
    let is_everybodys =
        !order.is_rehearsal && order.drawn.is_none() && !head.personal && head.reuse.is_shareable;
    is_everybodys
        && head.reuse.is_whole
        && order.level == Level::FULL
        && account.sum_so_far().at_hand.is_some()
}

/// Whether it is worth to put all of it together, and not only to note that it was asked for.
pub(super) fn is_to_be_kept(note: Note, account: &Account) -> bool {
    note.is_asked_again && !stays(account).is_zero()
}

/// For how long it would come out the same.
fn stays(account: &Account) -> Duration {
    let now = account.order().composer.clock.moment(account.started());
    fresh_for(account, now).min(STAYS)
}

/// Notes that a page was asked for and, where it is known, what all of its body is.
pub(super) fn note(note: Note, account: &mut Account, head: &PageHead, text: Option<Bytes>) {
    let order = Arc::clone(account.order());
    let text = text.filter(|text| (1..=BYTES_MAX / 8).contains(&text.len()));
    let made = text.map(|body| {
        let at = order.composer.clock.moment(account.started());
        let made = Arc::new(Made {
            edition: Arc::downgrade(&order.edition),
            page: account.page(),
            overrides: Arc::clone(&order.overrides),
            facts: Arc::clone(&order.facts),
            at,
            until: at.after(stays(account)),
            timing: timing(account),
            sum: account.sum_so_far(),
            members: account.take_members(),
            head: head.clone(),
            body,
        });
        account.is_this(Arc::clone(&made));
        made
    });
    order.composer.made_pages.note(note, made);
}

/// How long all of a page's copies stay fresh, without one of them being renewed early.
fn fresh_for(account: &Account, now: Moment) -> Duration {
    let blocks = account.members().map(|(fragment, settled)| {
        let Some(Fill::Entry(entry)) = settled.map(|settled| &settled.content) else {
            return Duration::MAX;
        };
        let fresh = reuse::remains_fresh(account, fragment, entry, now);
        match fragment.freshness.early {
            true => fresh.saturating_sub(entry.took.saturating_mul(EARLY)),
            false => fresh,
        }
    });
    blocks.min().unwrap_or_default()
}

/// `Server-Timing` of all blocks, without the times.
fn timing(account: &Account) -> Vec<String> {
    let mut texts = vec![String::new()];
    for (name, outcome, _) in account.known() {
        let text = texts.last_mut().expect("there is a first one");
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(name);
        text.push_str(";dur=");
        texts.push(format!(";desc={}", outcome.label()));
    }
    texts
}
