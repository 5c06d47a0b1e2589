//! What a page will do, decided before anything is done. Owns the decision per slot; pure, so that
//! the same function serves a page, explains it to an operator and is tested as a table.
//!
//! Invariants: a core fragment is never omitted by a plan; raising the level never adds a step that
//! fetches; no step's deadline is later than its page's budget allows.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Instant;
use crate::degradation::{Level, Reader};
use crate::fragment::facts::Facts;
use crate::fragment::{Fragment, FragmentId, Rung, Source, SourceRequest};
use crate::report::OmitReason;
use crate::site::{Page, PageId, Site};

pub mod budget;
pub mod explain;
pub mod request;

/// What a page will do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Which page.
    pub page: PageId,
    /// The level it was planned at.
    pub level: Level,
    /// Who is to see it.
    pub reader: Reader,
    /// Whether nothing may be asked twice for it.
    pub is_frugal: bool,
    /// When the request came in.
    pub started: Instant,
    /// One step for each member of the page, in the same order.
    pub steps: Vec<Step>,
}

/// What one slot will do.
#[derive(Debug, Clone)]
pub struct Step {
    /// For which fragment.
    pub fragment: FragmentId,
    /// What.
    pub action: Action,
}

/// To serve a fragment or not to.
#[derive(Debug, Clone)]
pub enum Action {
    /// Obtain it, by its chain, before the deadline.
    Serve(Serve),
    /// Leave it out, without asking anybody.
    Omit(OmitReason),
}

/// How to obtain a fragment.
#[derive(Debug, Clone)]
pub struct Serve {
    /// When the fragment's own source has had its time.
    pub source_deadline: Instant,
    /// When the slot is settled with what there is: the chain may ask others until then.
    pub deadline: Instant,
    /// What is asked for, unless that is the same for every page.
    pub own_request: Option<Arc<SourceRequest>>,
    /// The same for every fragment that the chain may fall back on.
    pub siblings: Vec<Sibling>,
}

impl Serve {
    /// What is asked for on behalf of `fragment`, which this is the plan for.
    pub fn request<'r>(&'r self, fragment: &'r Fragment) -> &'r Arc<SourceRequest> {
        let request = self.own_request.as_ref().or(fragment.same_request.as_ref());
        request.expect("a request that depends on the page is in its plan")
    }
}

/// A fragment that the chain of another may fall back on.
#[derive(Debug, Clone)]
pub struct Sibling {
    /// Which.
    pub fragment: FragmentId,
    /// What is asked for.
    pub request: Arc<SourceRequest>,
    /// Whether it may be asked for: at a level that gives it up, only a copy of it may be used.
    pub may_ask: bool,
}

/// Plans a page that was asked for at `now`.
pub fn plan(site: &Site, page_id: PageId, facts: &Facts, level: Level, now: Instant) -> Plan {
    let page = site.page(page_id);
    let steps = page
        .members
        .iter()
        .map(|member| {
            let fragment = site.fragment(member.fragment);
            let action = if site.ladder.sheds(level, member.fragment) {
                Action::Omit(OmitReason::Shed(level))
            } else {
                Action::Serve(serve(site, page, fragment, facts, level, now))
            };
            Step {
                fragment: member.fragment,
                action,
            }
        })
        .collect();
    Plan {
        page: page_id,
        level,
        reader: Reader::NOBODY,
        is_frugal: level > Level::FULL,
        started: now,
        steps,
    }
}

/// The plan of a page that is not composed, because a copy of it is shown as a whole.
pub fn nothing(site: &Site, page: PageId, level: Level, now: Instant) -> Plan {
    let members = site.page(page).members.iter();
    Plan {
        page,
        level,
        reader: Reader::NOBODY,
        is_frugal: true,
        started: now,
        steps: members
            .map(|member| Step {
                fragment: member.fragment,
                action: Action::Omit(OmitReason::Unneeded),
            })
            .collect(),
    }
}

fn serve(
    site: &Site,
    page: &Page,
    fragment: &Fragment,
    facts: &Facts,
    level: Level,
    now: Instant,
) -> Serve {
    let longest = page_time(page, fragment);
    let mut siblings = Vec::new();
    add_siblings(site, fragment, facts, level, &mut siblings);
    Serve {
        source_deadline: now + fragment.timeout.min(longest),
        deadline: now + longest,
        own_request: own_request(fragment, facts),
        siblings,
    }
}

fn own_request(fragment: &Fragment, facts: &Facts) -> Option<Arc<SourceRequest>> {
    let depends = fragment.same_request.is_none();
    depends.then(|| Arc::new(SourceRequest::new(fragment, facts)))
}

fn fragment_request(fragment: &Fragment, facts: &Facts) -> Arc<SourceRequest> {
    let same = fragment.same_request.as_ref();
    same.map_or_else(|| Arc::new(SourceRequest::new(fragment, facts)), Arc::clone)
}

/// How to obtain an item of a list that is to be handed over at `until`.
pub fn serve_item(
    site: &Site,
    item: &Fragment,
    facts: &Facts,
    level: Level,
    now: Instant,
    until: Instant,
) -> Serve {
    let mut siblings = Vec::new();
    add_siblings(site, item, facts, level, &mut siblings);
    Serve {
        source_deadline: until.min(now + item.timeout),
        deadline: until,
        own_request: own_request(item, facts),
        siblings,
    }
}

/// The longest that a slot of this page waits for this fragment's own source.
pub fn slot_time(page: &Page, fragment: &Fragment) -> Duration {
    fragment.timeout.min(page_time(page, fragment))
}

/// What the page has for a fragment: its budget, and for an optional one no more than its target.
fn page_time(page: &Page, fragment: &Fragment) -> Duration {
    let longest = budget::slot_time(page.budget, page.budget);
    match page.optional_time {
        Some(time) if !fragment.is_required() => time.min(longest),
        _ => longest,
    }
}

/// The longest that a slot of this page waits in all: for its source, then for each sibling of its
/// chain in turn, within what the page can afford.
pub fn worst_time(site: &Site, page: &Page, fragment: &Fragment) -> Duration {
    asking_time(site, fragment).min(page_time(page, fragment))
}

fn asking_time(site: &Site, fragment: &Fragment) -> Duration {
    let own = match fragment.source {
        Source::Http { .. } | Source::Push(_) => fragment.timeout,
        Source::Ready(_) => return Duration::ZERO,
    };
    let siblings = fragment.fallback.iter().map(|rung| match rung {
        Rung::Sibling(id) => asking_time(site, site.fragment(*id)),
        Rung::Ready { .. } | Rung::Lazy => Duration::ZERO,
    });
    own + siblings.sum::<Duration>()
}

fn add_siblings(
    site: &Site,
    fragment: &Fragment,
    facts: &Facts,
    level: Level,
    found: &mut Vec<Sibling>,
) {
    for rung in &fragment.fallback {
        let Rung::Sibling(id) = rung else { continue };
        if found.iter().any(|known| known.fragment == *id) {
            continue;
        }
        let sibling = site.fragment(*id);
        found.push(Sibling {
            fragment: *id,
            request: fragment_request(sibling, facts),
            may_ask: !site.ladder.sheds(level, *id),
        });
        add_siblings(site, sibling, facts, level, found);
    }
}
