//! How a page came to be what it is, in full. Owns what of the plan, of what was tried and of the report
//! goes into a [`Story`]. The plan is made once more of what it was made of before, because few pages are
//! asked about.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Instant;
use crate::degradation::{Counted, Level};
use crate::fetch::BlockState;
use crate::fragment::FragmentId;
use crate::fragment::facts::Facts;
use crate::plan;
use crate::plan::explain::{Explanation, StepExplanation};
use crate::report::story::{Asked, Block, Story, Tried};
use crate::report::{Afforded, FragmentReport, Outcome, PageReport, TriedRung};
use crate::site::{PageId, Site};

use super::Order;

/// What stands in the place of a reader's own values.
const MASK: &str = "***";

/// Which page it is about.
pub(super) struct Told {
    pub(super) id: PageId,
    /// What it was planned at; `None`: it was not, but its snapshot shown.
    pub(super) level: Option<Level>,
    pub(super) started: Instant,
    pub(super) afforded: Afforded,
    /// How long before it an equal page was put together, whose text it is.
    pub(super) made_ago: Option<Duration>,
}

pub(super) fn story(order: &Order, told: Told, report: &PageReport<'_>) -> Story {
    let site = &order.edition.site;
    let facts = masked(&order.facts);
    let plan = match told.level {
        Some(level) => plan::plan(site, told.id, &facts, level, &order.overrides, told.started),
        None => plan::nothing(site, told.id, report.level, told.started),
    };
    let explained = Explanation::new(site, &plan);
    let counted = order.edition.meters.counted();
    let chapter = Chapter::new(order, &counted);
    let steps = plan.steps.iter().zip(explained.steps);
    let blocks = steps.zip(&report.fragments);
    let blocks = blocks.map(|((step, says), got)| chapter.block(step.fragment, says, got));
    Story {
        trace_id: format!("{:032x}", report.trace_id),
        page: explained.page,
        route: explained.route,
        path: report.path.to_string(),
        at: report.began.to_string(),
        status: report.status,
        level: report.level.get(),
        level_name: site.ladder.called(report.level).to_owned(),
        level_text_only: explained.level_text_only,
        afforded: told.afforded,
        rehearsal: report.is_rehearsal,
        complete: report.is_complete(),
        finished: report.finished,
        snapshot_age_s: report.snapshot.map(|age| age.as_secs()),
        made_ms_ago: told.made_ago.map(millis),
        budget_ms: millis_whole(explained.budget_ms),
        cost_ms: average(counted.page_work, counted.composed),
        head_ms: millis(report.head_after),
        settled_ms: millis(report.took()),
        total_ms: millis(report.duration),
        blocks: blocks.collect(),
        attempts: attempts(report),
    }
}

/// The story of a page that a document was woven into: no plan was made of it as a whole.
pub(super) fn of_woven(
    order: &Order,
    (budget, afforded): (Duration, Afforded),
    steps: Vec<(FragmentId, StepExplanation)>,
    report: &PageReport<'_>,
) -> Story {
    let site = &order.edition.site;
    let counted = order.edition.meters.counted();
    let chapter = Chapter::new(order, &counted);
    let blocks = steps.into_iter().zip(&report.fragments);
    let blocks = blocks.map(|((id, says), got)| chapter.block(id, says, got));
    Story {
        trace_id: format!("{:032x}", report.trace_id),
        // it is called by its route
        page: report.page.to_string(),
        route: report.page.to_string(),
        path: report.path.to_string(),
        at: report.began.to_string(),
        status: report.status,
        level: report.level.get(),
        level_name: site.ladder.called(report.level).to_owned(),
        level_text_only: site.ladder.text_only().get(),
        afforded,
        rehearsal: report.is_rehearsal,
        complete: report.is_complete(),
        finished: report.finished,
        snapshot_age_s: None,
        made_ms_ago: None,
        budget_ms: millis_whole(budget.as_millis()),
        cost_ms: None,
        head_ms: millis(report.head_after),
        settled_ms: millis(report.took()),
        total_ms: millis(report.duration),
        blocks: blocks.collect(),
        attempts: attempts(report),
    }
}

/// What the blocks of a story have in common.
struct Chapter<'s> {
    site: &'s Site,
    tried: Vec<TriedRung>,
    shares: BTreeMap<String, BlockState>,
    counted: &'s Counted,
}

impl<'s> Chapter<'s> {
    fn new(order: &'s Order, counted: &'s Counted) -> Self {
        Self {
            site: &order.edition.site,
            tried: order.trail.rungs(),
            shares: order.edition.fetcher.block_states(),
            counted,
        }
    }

    fn block(&self, id: FragmentId, says: StepExplanation, got: &FragmentReport<'_>) -> Block {
        let name = |id| self.site.fragment(id).name.as_str();
        // a page may include several of one kind: what was tried is told where it was needed
        let is_plain = matches!(*got.outcome, Outcome::Cached | Outcome::Fetched);
        let tried = self.tried.iter();
        let tried = tried.filter(|tried| !is_plain && tried.fragment == id);
        let tried = tried.map(|tried| Tried {
            rung: tried.rung.told(name),
            why_not: tried.why_not.clone(),
        });
        let share = self.shares.get(&says.fragment).map(|block| block.share);
        let counted = self.counted.blocks.get(id.index());
        Block {
            fragment: says.fragment,
            priority: says.priority,
            plan: says.action.to_owned(),
            source: says.source,
            deadline_ms: millis_whole(says.deadline_ms),
            chain: says.chain,
            shed_at_level: says.shed_at_level,
            share: share.filter(|share| *share < 1.0),
            cost_ms: counted.and_then(|block| average(block.work, block.uses)),
            outcome: got.outcome.label().to_owned(),
            says: got.outcome.to_string(),
            age_s: got.age.map(|age| age.as_secs_f64()),
            settled_ms: millis(got.duration),
            tried: tried.collect(),
        }
    }
}

fn attempts(report: &PageReport<'_>) -> Vec<Asked> {
    let attempts = report.attempts.iter();
    let attempts = attempts.map(|attempt| Asked {
        fragment: attempt.fragment.to_string(),
        origin: attempt.origin.to_string(),
        replica: attempt.replica,
        began_ms: millis(attempt.began),
        took_ms: attempt
            .ended
            .map(|ended| millis(ended.saturating_sub(attempt.began))),
        cause: attempt.cause.as_ref().map(ToString::to_string),
        fault: attempt.fault.as_deref().map(str::to_owned),
    });
    attempts.collect()
}

/// The facts without what is the reader's own.
fn masked(facts: &Facts) -> Facts {
    let mut facts = facts.clone();
    let own = facts.cookies.values_mut();
    let own = own.chain(facts.headers.values_mut());
    own.chain(facts.query.values_mut())
        .for_each(|value| MASK.clone_into(value));
    facts
}

/// Milliseconds each, of nanoseconds in all.
fn average(work: u64, times: u64) -> Option<f64> {
    (work > 0 && times > 0).then(|| work as f64 / times as f64 / 1e6)
}

fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

fn millis_whole(ms: u128) -> u64 {
    u64::try_from(ms).unwrap_or(u64::MAX)
}
