//! Counts of outcomes, and the latest pages that were not complete. Owns what `/state` shows of
//! the past. Bounded by the site's declarations: one row a fragment, one counter an outcome.
//!
//! Invariant: a complete page waits for no lock here, unless it is the first with its fragment.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Clock;
use crate::degradation::{Decision, Switch};
use crate::report::{
    Acted, BreakerState, Cause, Event, FragmentReport, Observer, OriginChange, Outcome, PageReport,
    SloChange, SwitchChange, Throttle,
};
use crate::striped::Striped;
use crate::telemetry::metrics::AtHand;
use crate::telemetry::named::Named;

use super::access::visible;

/// Incomplete pages and events that are remembered.
const REMEMBERED: usize = 20;

/// The counts.
pub struct Tally {
    clock: Clock,
    pages: Striped<Pages>,
    pushed: AtomicU64,
    rows: ArcSwap<Rows>,
    /// What somebody else counts of the same pages.
    at_hand: Option<Arc<AtHand>>,
    latest: Mutex<Latest>,
    complaints: Throttle,
}

/// Pages by what became of them.
#[derive(Debug, Default)]
struct Pages {
    all: AtomicU64,
    complete: AtomicU64,
    unavailable: AtomicU64,
    snapshots: AtomicU64,
    left: AtomicU64,
}

/// A row for each fragment that was ever on a page, by its name. A new row means a new map.
type Rows = Named<Row>;

/// The outcomes of one fragment, by [`Outcome::number`].
#[derive(Debug, Default)]
struct Row([AtomicU64; Outcome::LABELS.len()]);

#[derive(Default)]
struct Latest {
    incomplete: VecDeque<Incomplete>,
    events: VecDeque<String>,
}

/// The counts at one moment.
#[derive(Debug, Clone, Serialize, JsonSchema)]
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
#[derive(Debug, Clone, Serialize, JsonSchema)]
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
        Self {
            clock,
            pages: Striped::default(),
            pushed: AtomicU64::new(0),
            rows: ArcSwap::default(),
            at_hand: None,
            latest: Mutex::default(),
            complaints: Throttle::default(),
        }
    }

    /// The same, with `at_hand` counting the blocks of pages that had all of theirs at hand.
    pub fn beside(self, at_hand: Arc<AtHand>) -> Self {
        Self {
            at_hand: Some(at_hand),
            ..self
        }
    }

    /// The counts now.
    pub fn state(&self) -> TallyState {
        let rows = self.rows.load();
        let known = rows.iter().map(|(name, row)| (name.clone(), row.state()));
        let mut fragments: BTreeMap<_, _> = known.collect();
        for (name, count) in self.at_hand.iter().flat_map(|at_hand| at_hand.counts()) {
            let outcomes: &mut BTreeMap<_, _> = fragments.entry(name).or_default();
            *outcomes.entry(Outcome::Cached.label()).or_default() += count;
        }
        let pages = |of: fn(&Pages) -> &AtomicU64| {
            let of_one = |pages: &Pages| of(pages).load(Ordering::Relaxed);
            self.pages.sum(of_one)
        };
        let latest = self.latest.lock();
        TallyState {
            pages: pages(|pages| &pages.all),
            complete: pages(|pages| &pages.complete),
            unavailable: pages(|pages| &pages.unavailable),
            snapshots: pages(|pages| &pages.snapshots),
            left: pages(|pages| &pages.left),
            pushed: self.pushed.load(Ordering::Relaxed),
            fragments,
            incomplete: latest.incomplete.iter().rev().cloned().collect(),
            events: latest.events.iter().rev().cloned().collect(),
        }
    }
}

impl Tally {
    /// Counts a page, and says what was missing on it.
    fn count(&self, report: &PageReport<'_>) -> Option<Incomplete> {
        let pages = self.pages.mine();
        pages.add(&pages.all, 1);
        let counter = match report {
            report if !report.finished => &pages.left,
            report if report.is_complete() => &pages.complete,
            report => {
                let incomplete = Incomplete::new(report);
                if report.snapshot.is_some() {
                    pages.add(&pages.snapshots, 1);
                    self.complain(report, &incomplete);
                } else if report.is_unavailable() {
                    pages.add(&pages.unavailable, 1);
                    self.complain(report, &incomplete);
                }
                return Some(incomplete);
            }
        };
        pages.add(counter, 1);
        None
    }

    /// Adds a row, unless another page has just done so, and counts on it.
    fn count_new(&self, fragment: &FragmentReport<'_>) {
        self.rows.rcu(|rows| rows.with(&fragment.name));
        // no row is ever taken away
        if let Some(row) = self.rows.load().get(&fragment.name) {
            row.count(&fragment.outcome);
        }
    }

    fn complain(&self, report: &PageReport<'_>, incomplete: &Incomplete) {
        let (page, blocks) = (&*report.page, &incomplete.blocks);
        let failed = report.fragments.iter().find_map(|f| f.outcome.cause());
        let cause = failed.map_or("unneeded", Cause::label);
        let about = format!("{page} {cause}");
        let Some(untold) = self.complaints.due(&about, self.clock.now()) else {
            return;
        };
        let path = visible(&report.path);
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
            trace_id = incomplete.trace_id,
            untold = untold.0,
            "page {page} has no core: {path} got {instead}{untold}"
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

fn is_good(change: &OriginChange) -> bool {
    match change {
        OriginChange::Breaker { to, .. } => *to != BreakerState::Open,
        OriginChange::Health { is_healthy, .. } => *is_healthy,
        OriginChange::CanaryWithdrawn { .. } => false,
    }
}

impl Observer for Tally {
    fn page(&self, report: &PageReport<'_>) {
        if report.fragments.sum().at_hand.is_none() || self.at_hand.is_none() {
            let rows = self.rows.load();
            for fragment in &report.fragments {
                match rows.at(fragment.place, &fragment.name) {
                    Some(row) => row.count(&fragment.outcome),
                    None => self.count_new(fragment),
                }
            }
        }
        if let Some(incomplete) = self.count(report) {
            remember(&mut self.latest.lock().incomplete, incomplete);
        }
    }

    fn event(&self, event: &Event) {
        let text = event.to_string();
        match event {
            Event::Reloaded { changes, .. } => {
                let changes = changes.join("; ");
                tracing::info!(changes, "{text}");
            }
            Event::ReloadRefused { .. } | Event::SwitchesLost(_) => tracing::error!("{text}"),
            Event::Switched(change) => {
                let how = match change {
                    SwitchChange::Set { .. } => "set",
                    SwitchChange::Cleared { .. } => "cleared",
                    SwitchChange::Begun { .. } => "begun",
                    SwitchChange::Over(_) => "over",
                };
                let Switch {
                    act, owner, reason, ..
                } = change.switch();
                let subject = act.subject();
                tracing::warn!(%subject, how, owner, reason, "{text}");
            }
            Event::Degraded {
                from,
                to,
                decision,
                phi,
                ..
            } => {
                let Decision {
                    theta, admit, rate, ..
                } = decision;
                match to > from {
                    true => tracing::warn!(%from, %to, theta, phi, admit, rate, "{text}"),
                    false => tracing::info!(%from, %to, theta, phi, admit, rate, "{text}"),
                }
            }
            Event::Purged { what, hard, copies } => tracing::info!(what, hard, copies, "{text}"),
            Event::Origin {
                origin,
                replica,
                owner,
                change,
            } => {
                if change.is_routine() {
                    tracing::debug!(origin, replica, "{text}");
                    return;
                }
                match is_good(change) {
                    true => tracing::info!(origin, replica, owner, "{text}"),
                    false => tracing::warn!(origin, replica, owner, "{text}"),
                }
            }
            // that it runs says `/state` itself
            Event::Started { is_after_crash, .. } => {
                match is_after_crash {
                    true => tracing::warn!("{text}"),
                    false => tracing::info!("{text}"),
                }
                return;
            }
            Event::Stopping | Event::Stopped(true) => tracing::info!("{text}"),
            Event::Stopped(false) => tracing::warn!("{text}"),
            Event::Acted(acted) => {
                let Acted {
                    act, role, from, ..
                } = acted;
                tracing::info!(act, role, known_by = %acted.known_by, %from, "{text}");
                // what it has changed is told itself
                return;
            }
            Event::ActRefused { act, from, .. } => tracing::warn!(act, %from, "{text}"),
            Event::Pushed => {
                self.pushed.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Event::Fault { origin, .. } => tracing::warn!(origin, "{text}"),
            Event::Chaos { name, on, .. } => tracing::warn!(fault = name, on, "{text}"),
            Event::Certificates(Ok(())) => tracing::info!("{text}"),
            Event::Certificates(Err(_)) => tracing::error!("{text}"),
            Event::Slo { objective, change } => match change {
                SloChange::Recovered | SloChange::Restored => tracing::info!(objective, "{text}"),
                SloChange::Burning { .. } | SloChange::Spent => {
                    tracing::error!(objective, "{text}");
                }
            },
        }
        remember(&mut self.latest.lock().events, text);
    }
}
