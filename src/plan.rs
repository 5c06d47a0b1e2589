//! What a page will do, decided before anything is done. Owns the decision per slot; pure, so that
//! the same function serves a page, explains it to an operator and is tested as a table.
//!
//! Invariants: a core fragment is never omitted by a plan; raising the level never adds a step that
//! fetches; what an operator has switched off is not asked for, nor is a copy of it shown, but in the
//! place of a core that has nothing else; no step's deadline is later than its page's budget allows.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Instant;
use crate::degradation::{Level, Overrides, Reader};
use crate::fragment::facts::Facts;
use crate::fragment::{Fragment, FragmentId, Priority, Rung, Source, SourceRequest};
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
    /// What operators have decided.
    pub overrides: Arc<Overrides>,
    /// Who is to see it.
    pub reader: Reader,
    /// Whether nothing may be asked twice for it.
    pub is_frugal: bool,
    /// Whether it is at a level that its reader has chosen: it is nobody else's, and nothing of it is
    /// kept as the page.
    pub is_rehearsal: bool,
    /// When the request came in: what the reader waits for begins here.
    pub arrived: Instant,
    /// When the page was begun.
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
    /// It is switched off: fill its slot with what can stand in for it, without asking its source and
    /// without its copies.
    StandIn(Serve),
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

/// What decides for all slots of a page at once.
#[derive(Clone, Copy)]
struct Terms<'t> {
    site: &'t Site,
    facts: &'t Facts,
    level: Level,
    overrides: &'t Overrides,
}

impl Terms<'_> {
    /// Whether a fragment is not asked for at this level.
    fn sheds(&self, id: FragmentId, fragment: &Fragment) -> bool {
        self.site.ladder.sheds(self.level, id) && !self.overrides.is_on(&fragment.name)
    }
}

/// Plans a page that was asked for at `now`.
pub fn plan(
    site: &Site,
    page_id: PageId,
    facts: &Facts,
    level: Level,
    overrides: &Arc<Overrides>,
    now: Instant,
) -> Plan {
    let terms = Terms {
        site,
        facts,
        level,
        overrides,
    };
    let page = site.page(page_id);
    let steps = page.members.iter().map(|member| Step {
        fragment: member.fragment,
        action: action(&terms, page, member.fragment, now),
    });
    Plan {
        page: page_id,
        steps: steps.collect(),
        level,
        overrides: Arc::clone(overrides),
        reader: Reader::NOBODY,
        is_frugal: level > Level::FULL,
        is_rehearsal: false,
        arrived: now,
        started: now,
    }
}

impl Plan {
    /// The same for a request that came in at `arrived` and had to wait for its turn: optional blocks
    /// have that much less of the page's target. The core has what it always has, for without it there
    /// is no page, and so have essential fragments, which a page is not whole without.
    #[must_use]
    pub fn of_request_at(mut self, arrived: Instant, site: &Site) -> Self {
        let started = self.started;
        let waited = started.saturating_duration_since(arrived);
        self.arrived = arrived.min(started);
        for step in &mut self.steps {
            let (Action::Serve(serve) | Action::StandIn(serve)) = &mut step.action else {
                continue;
            };
            if !site.fragment(step.fragment).is_required() {
                serve.deadline = (serve.deadline - waited).max(started);
                serve.source_deadline = serve.source_deadline.min(serve.deadline);
            }
        }
        self
    }
}

fn action(terms: &Terms<'_>, page: &Page, id: FragmentId, now: Instant) -> Action {
    let fragment = terms.site.fragment(id);
    match fragment.priority {
        // a site may have made a core of what was switched off before
        Priority::Core => {}
        Priority::Essential if terms.overrides.is_off(&fragment.name) => {
            return Action::StandIn(serve(terms, page, fragment, now));
        }
        Priority::Optional(_) if terms.overrides.is_off(&fragment.name) => {
            return Action::Omit(OmitReason::Switched);
        }
        Priority::Optional(_) if terms.sheds(id, fragment) => {
            return Action::Omit(OmitReason::Shed(terms.level));
        }
        Priority::Essential | Priority::Optional(_) => {}
    }
    Action::Serve(serve(terms, page, fragment, now))
}

/// The plan of a page that is not composed, because a copy of it is shown as a whole.
pub fn nothing(site: &Site, page: PageId, level: Level, now: Instant) -> Plan {
    let members = site.page(page).members.iter();
    Plan {
        page,
        level,
        overrides: Arc::default(),
        reader: Reader::NOBODY,
        is_frugal: true,
        is_rehearsal: false,
        arrived: now,
        started: now,
        steps: members
            .map(|member| Step {
                fragment: member.fragment,
                action: Action::Omit(OmitReason::Unneeded),
            })
            .collect(),
    }
}

fn serve(terms: &Terms<'_>, page: &Page, fragment: &Fragment, now: Instant) -> Serve {
    let longest = page_time(page, fragment);
    let mut siblings = Vec::new();
    add_siblings(terms, fragment, fragment.priority.is_core(), &mut siblings);
    Serve {
        source_deadline: now + fragment.timeout.min(longest),
        deadline: now + longest,
        own_request: own_request(fragment, terms.facts),
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
    (level, overrides): (Level, &Overrides),
    now: Instant,
    until: Instant,
) -> Serve {
    let terms = Terms {
        site,
        facts,
        level,
        overrides,
    };
    let mut siblings = Vec::new();
    add_siblings(&terms, item, false, &mut siblings);
    Serve {
        source_deadline: until.min(now + item.timeout),
        deadline: until,
        own_request: own_request(item, facts),
        siblings,
    }
}

/// What an include of a document will do: it is asked for as `request`, and settled at `until`.
pub fn include(
    site: &Site,
    id: FragmentId,
    request: Arc<SourceRequest>,
    facts: &Facts,
    (level, overrides): (Level, &Overrides),
    now: Instant,
    until: Instant,
) -> Action {
    let fragment = site.fragment(id);
    let terms = Terms {
        site,
        facts,
        level,
        overrides,
    };
    let mut siblings = Vec::new();
    add_siblings(&terms, fragment, false, &mut siblings);
    let serve = Serve {
        source_deadline: until.min(now + fragment.timeout),
        deadline: until,
        own_request: Some(request),
        siblings,
    };
    let is_off = overrides.is_off(&fragment.name);
    match fragment.priority {
        Priority::Core | Priority::Essential if is_off => Action::StandIn(serve),
        Priority::Optional(_) if is_off => Action::Omit(OmitReason::Switched),
        Priority::Optional(_) if terms.sheds(id, fragment) => Action::Omit(OmitReason::Shed(level)),
        Priority::Core | Priority::Essential | Priority::Optional(_) => Action::Serve(serve),
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

fn add_siblings(terms: &Terms<'_>, fragment: &Fragment, for_core: bool, found: &mut Vec<Sibling>) {
    for rung in &fragment.fallback {
        let Rung::Sibling(id) = rung else { continue };
        if found.iter().any(|known| known.fragment == *id) {
            continue;
        }
        let sibling = terms.site.fragment(*id);
        // what is off stands in for nothing but the core, without which there would be no page; what
        // stands in for it may
        if for_core || !terms.overrides.is_off(&sibling.name) {
            found.push(Sibling {
                fragment: *id,
                request: fragment_request(sibling, terms.facts),
                may_ask: !terms.sheds(*id, sibling),
            });
        }
        add_siblings(terms, sibling, for_core, found);
    }
}
