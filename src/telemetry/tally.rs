//! Counts of outcomes, and the latest pages that were not complete. Owns what `/state` shows of
//! the past. Bounded by the site's declarations: one row a fragment, one counter an outcome.
//!
//! Invariant: a complete page waits for no lock here, unless it is the first with its fragment.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::Serialize;

use crate::clock::Clock;
use crate::degradation::Decision;
use crate::report::{
    BreakerState, Event, FragmentReport, Observer, OriginChange, Outcome, PageReport, SwitchChange,
};

use super::Throttle;

/// Incomplete pages and events that are remembered.
const REMEMBERED: usize = 20;

/// The counts.
pub struct Tally {
    clock: Clock,
    pages: AtomicU64,
    complete: AtomicU64,
    unavailable: AtomicU64,
    snapshots: AtomicU64,
    left: AtomicU64,
    pushed: AtomicU64,
    rows: ArcSwap<Rows>,
    latest: Mutex<Latest>,
    complaints: Throttle,
}

/// A row for each fragment that was ever on a page, by its name. A new row means a new map.
type Rows = BTreeMap<String, Arc<Row>>;

/// The outcomes of one fragment, by [`Outcome::number`].
#[derive(Debug, Default)]
struct Row([AtomicU64; Outcome::LABELS.len()]);

#[derive(Default)]
struct Latest {
    incomplete: VecDeque<Incomplete>,
    events: VecDeque<String>,
}

/// The counts at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct TallyState {
    /// Pages answered since the start.
    pub pages: u64,
    /// Of which every block was there.
    pub complete: u64,
    /// Of which the core could not be had.
    pub unavailable: u64,
    /// Of which the core could not be had either, and the reader got the page as it was before.
    pub snapshots: u64,
    /// Of which the reader did not wait for the end.
    pub left: u64,
    /// Copies that were pushed or withdrawn.
    pub pushed: u64,
    /// Outcomes by fragment.
    pub fragments: BTreeMap<String, BTreeMap<&'static str, u64>>,
    /// The latest incomplete pages, newest first.
    pub incomplete: Vec<Incomplete>,
    /// The latest events, newest first.
    pub events: Vec<String>,
}

/// A page on which something was missing.
#[derive(Debug, Clone, Serialize)]
pub struct Incomplete {
    /// The path that was asked for.
    pub path: String,
    /// Its trace.
    pub trace_id: String,
    /// The status that was sent.
    pub status: u16,
    /// How long it took, in milliseconds.
    pub duration_ms: f64,
    /// How old the snapshot was that the reader got instead, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_age_s: Option<u64>,
    /// What was not as declared: fragment → outcome and cause.
    pub blocks: BTreeMap<String, String>,
}

impl Tally {
    /// Counts from zero.
    pub fn new(clock: Clock) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            clock,
            pages: zero(),
            complete: zero(),
            unavailable: zero(),
            snapshots: zero(),
            left: zero(),
            pushed: zero(),
            rows: ArcSwap::default(),
            latest: Mutex::default(),
            complaints: Throttle::default(),
        }
    }

    /// A copy was pushed or withdrawn: there are too many of these for events.
    pub fn pushed(&self) {
        self.pushed.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts now.
    pub fn state(&self) -> TallyState {
        let rows = self.rows.load();
        let fragments = rows.iter().map(|(name, row)| (name.clone(), row.state()));
        let latest = self.latest.lock();
        TallyState {
            pages: self.pages.load(Ordering::Relaxed),
            complete: self.complete.load(Ordering::Relaxed),
            unavailable: self.unavailable.load(Ordering::Relaxed),
            snapshots: self.snapshots.load(Ordering::Relaxed),
            left: self.left.load(Ordering::Relaxed),
            pushed: self.pushed.load(Ordering::Relaxed),
            fragments: fragments.collect(),
            incomplete: latest.incomplete.iter().rev().cloned().collect(),
            events: latest.events.iter().rev().cloned().collect(),
        }
    }
}

impl Tally {
    /// Counts a page, and says what was missing on it.
    fn count(&self, report: &PageReport<'_>) -> Option<Incomplete> {
        let counter = match report {
            report if !report.finished => &self.left,
            report if report.is_complete() => &self.complete,
            report => {
                let incomplete = Incomplete::new(report);
                if report.snapshot.is_some() {
                    self.snapshots.fetch_add(1, Ordering::Relaxed);
                    self.complain(report, &incomplete);
                } else if report.status == 503 {
                    self.unavailable.fetch_add(1, Ordering::Relaxed);
                    self.complain(report, &incomplete);
                }
                return Some(incomplete);
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Adds a row, unless another page has just done so, and counts on it.
    fn count_new(&self, fragment: &FragmentReport<'_>) {
        self.rows.rcu(|rows| {
            let mut rows = Rows::clone(rows);
            rows.entry(fragment.name.to_string()).or_default();
            rows
        });
        // no row is ever taken away
        if let Some(row) = self.rows.load().get(&*fragment.name) {
            row.count(&fragment.outcome);
        }
    }

    fn complain(&self, report: &PageReport<'_>, incomplete: &Incomplete) {
        let (page, path, blocks) = (&*report.page, &*report.path, &incomplete.blocks);
        if !self.complaints.is_due(page, self.clock.now()) {
            return;
        }
        let age_s = report.snapshot.map(|age| age.as_secs());
        let instead = match age_s {
            Some(age_s) => format!("its snapshot of {age_s} s ago"),
            None => "the error page".to_owned(),
        };
        tracing::error!(
            page,
            path,
            ?blocks,
            age_s,
            "page {page} has no core: {path} got {instead}"
        );
    }
}

impl Incomplete {
    fn new(report: &PageReport<'_>) -> Self {
        let blocks = report.fragments.iter().filter(|f| !f.outcome.is_whole());
        Self {
            path: report.path.to_string(),
            trace_id: format!("{:032x}", report.trace_id),
            status: report.status,
            snapshot_age_s: report.snapshot.map(|age| age.as_secs()),
            duration_ms: report.duration.as_secs_f64() * 1e3,
            blocks: blocks
                .map(|f| (f.name.to_string(), f.outcome.to_string()))
                .collect(),
        }
    }
}

impl Row {
    fn count(&self, outcome: &Outcome) {
        self.0[outcome.number()].fetch_add(1, Ordering::Relaxed);
    }

    fn state(&self) -> BTreeMap<&'static str, u64> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        let counts = Outcome::LABELS.into_iter().zip(counts);
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

fn remember<T>(memory: &mut VecDeque<T>, item: T) {
    if memory.len() == REMEMBERED {
        memory.pop_front();
    }
    memory.push_back(item);
}

/// What has happened to an origin, and whose it is.
fn told(origin: &str, replica: Option<&str>, owner: Option<&str>, change: &OriginChange) -> String {
    let who = match replica {
        None => format!("origin {origin}"),
        Some(replica) => format!("replica {replica} of origin {origin}"),
    };
    let owner = owner.map_or_else(String::new, |owner| format!(" (owner: {owner})"));
    format!("{who} {change}{owner}")
}

/// Whether it is only one more look at what is sick.
fn is_routine(change: &OriginChange) -> bool {
    match change {
        OriginChange::Breaker { from, to, .. } => {
            let is_again = *from == BreakerState::HalfOpen && *to == BreakerState::Open;
            is_again || *to == BreakerState::HalfOpen
        }
        OriginChange::CanaryWithdrawn { .. } | OriginChange::Health { .. } => false,
    }
}

fn is_good(change: &OriginChange) -> bool {
    match change {
        OriginChange::Breaker { to, .. } => *to != BreakerState::Open,
        OriginChange::Health { is_healthy, .. } => *is_healthy,
        OriginChange::CanaryWithdrawn { .. } => false,
    }
}

impl Observer for Tally {
    fn page(&self, report: &PageReport<'_>) {
        self.pages.fetch_add(1, Ordering::Relaxed);
        let rows = self.rows.load();
        for fragment in &report.fragments {
            match rows.get(&*fragment.name) {
                Some(row) => row.count(&fragment.outcome),
                None => self.count_new(fragment),
            }
        }
        if let Some(incomplete) = self.count(report) {
            remember(&mut self.latest.lock().incomplete, incomplete);
        }
    }

    fn event(&self, event: &Event) {
        let text = match event {
            Event::Reloaded(changes) => {
                let changes = if changes.is_empty() {
                    "no change".to_owned()
                } else {
                    changes.join("; ")
                };
                tracing::info!(changes, "site reloaded: {changes}");
                format!("site reloaded: {changes}")
            }
            Event::ReloadRefused(why) => {
                tracing::error!("site not reloaded, the one before stays:\n{why}");
                format!("site not reloaded, the one before stays:\n{why}")
            }
            Event::Switched(change) => {
                let (switch, how) = match change {
                    SwitchChange::Set { switch, .. } => (switch, "set"),
                    SwitchChange::Cleared { switch, .. } => (switch, "cleared"),
                    SwitchChange::Over(switch) => (switch, "over"),
                };
                let (subject, owner, reason) =
                    (switch.act.subject(), &switch.owner, &switch.reason);
                tracing::warn!(%subject, how, owner, reason, "switch {subject}: {change}");
                format!("switch {subject}: {change}")
            }
            Event::SwitchesLost(why) => {
                tracing::error!("no switch is set, whatever was before: {why}");
                format!("no switch is set, whatever was before: {why}")
            }
            Event::Degraded {
                from,
                to,
                decision,
                is_dry_run,
            } => {
                let Decision {
                    theta,
                    admit,
                    rate,
                    reason,
                } = decision;
                let would = if *is_dry_run { "would go" } else { "goes" };
                let text = format!(
                    "level {would} from {from} to {to}: {reason} (theta {theta:.2}, {:.0} % of pages \
                     composed, {rate:.0} ms of work a second)",
                    admit * 100.0
                );
                match to > from {
                    true => tracing::warn!(%from, %to, theta, admit, rate, "{text}"),
                    false => tracing::info!(%from, %to, theta, admit, rate, "{text}"),
                }
                text
            }
            Event::Purged { what, hard, copies } => {
                let how = if *hard { "hard" } else { "softly" };
                tracing::info!(
                    what,
                    hard,
                    copies,
                    "purged {how}: {what}, {copies} copies in memory"
                );
                format!("purged {how}: {what}, {copies} copies in memory")
            }
            Event::Origin {
                origin,
                replica,
                owner,
                change,
            } => {
                let text = told(origin, replica.as_deref(), owner.as_deref(), change);
                if is_routine(change) {
                    tracing::debug!(origin, replica, "{text}");
                    return;
                }
                match is_good(change) {
                    true => tracing::info!(origin, replica, owner, "{text}"),
                    false => tracing::warn!(origin, replica, owner, "{text}"),
                }
                text
            }
        };
        remember(&mut self.latest.lock().events, text);
    }
}
