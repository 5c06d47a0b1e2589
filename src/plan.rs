//! What a page will do, decided before anything is done. Owns the decision per slot; pure, so that
//! the same function serves a page, explains it to an operator and is tested as a table.
//!
//! Invariants: a core fragment is never omitted by a plan; raising the level never adds a step that
//! fetches; no step's deadline is later than the page's.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Instant;
use crate::degradation::Level;
use crate::fragment::facts::Facts;
use crate::fragment::{Fragment, FragmentId, Rung, SourceRequest};
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
    /// When the request came in.
    pub started: Instant,
    /// When the page must have left.
    pub deadline: Instant,
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
    /// When the slot is settled with what there is.
    pub deadline: Instant,
    /// What is asked for.
    pub request: Arc<SourceRequest>,
    /// The same for every fragment that the chain may fall back on.
    pub siblings: Vec<(FragmentId, Arc<SourceRequest>)>,
}

/// Plans a page that was asked for at `now`.
pub fn plan(site: &Site, page_id: PageId, facts: &Facts, level: Level, now: Instant) -> Plan {
    let page = site.page(page_id);
    let deadline = now + page.budget;
    let steps = page
        .members
        .iter()
        .map(|member| {
            let fragment = site.fragment(member.fragment);
            let action = if site.ladder.sheds(level, fragment.priority) {
                Action::Omit(OmitReason::Shed(level))
            } else {
                Action::Serve(serve(site, page, fragment, facts, now))
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
        started: now,
        deadline,
        steps,
    }
}

fn serve(site: &Site, page: &Page, fragment: &Fragment, facts: &Facts, now: Instant) -> Serve {
    let mut siblings = Vec::new();
    add_siblings(site, fragment, facts, &mut siblings);
    Serve {
        deadline: now + slot_time(page, fragment),
        request: Arc::new(SourceRequest::new(fragment, facts)),
        siblings,
    }
}

/// The longest that a slot of this page waits for this fragment.
pub fn slot_time(page: &Page, fragment: &Fragment) -> Duration {
    budget::slot_time(page.budget, fragment.timeout)
}

fn add_siblings(
    site: &Site,
    fragment: &Fragment,
    facts: &Facts,
    found: &mut Vec<(FragmentId, Arc<SourceRequest>)>,
) {
    for rung in &fragment.fallback {
        let Rung::Sibling(id) = rung else { continue };
        if found.iter().any(|(known, _)| known == id) {
            continue;
        }
        let sibling = site.fragment(*id);
        found.push((*id, Arc::new(SourceRequest::new(sibling, facts))));
        add_siblings(site, sibling, facts, found);
    }
}
