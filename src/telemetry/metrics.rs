//! What Prometheus is told. Owns the counts of pages, fragments and attempts; what others keep anyway
//! is [read](Reading) when somebody asks.
//!
//! Invariants: a page waits for no lock to be counted, and nothing is allocated for it; and a name that
//! the present site does not declare has no series.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::clock::Moment;
use crate::degradation::Level;
use crate::report::{
    Cause, Event, Found, FragmentReport, Loss, Observer, OmitReason, Outcome, PageReport, Tier,
};
use crate::site::Site;
use crate::striped::{self, Striped};
use crate::telemetry::amount::Amount;
use crate::telemetry::named::Named;

mod at_hand;
mod histogram;
pub mod name;
mod otlp;
mod reading;
mod series;
mod text;

pub use at_hand::AtHand;
pub use name::{Metric, series_max};
pub use reading::Reading;
pub use text::Format;

use histogram::{Counted, Histogram};
use name::{COMPLETENESS, DELIVERIES, RESULTS, SHED};
use otlp::Otlp;
use series::Series;
use text::Text;

/// The counts.
#[derive(Debug, Default)]
pub struct Metrics {
    table: ArcSwap<Table>,
    at_hand: Arc<AtHand>,
    reloads: [AtomicU64; RESULTS.len()],
    purges: AtomicU64,
    sent: Sent,
    access_log_lost: Arc<AtomicU64>,
}

/// What has become of what was meant for collectors, in the order of [`DELIVERIES`].
#[derive(Debug, Default)]
pub struct Sent {
    /// Spans of traces.
    pub spans: [AtomicU64; DELIVERIES.len()],
    /// Exports of all metrics.
    pub exports: [AtomicU64; DELIVERIES.len()],
}

/// A row for each name that the site declares.
#[derive(Debug, Default)]
struct Table {
    pages: Named<PageRow>,
    fragments: Named<FragmentRow>,
    attempts: Named<Histogram>,
}

#[derive(Debug)]
struct PageRow {
    levels: usize,
    counts: Striped<PageCounts>,
    duration: Histogram,
    head: Histogram,
}

#[derive(Debug)]
struct PageCounts {
    /// By level, by completeness.
    ended: Vec<[AtomicU64; COMPLETENESS.len()]>,
    served: Amount,
    lost: [Amount; Loss::LABELS.len()],
}

#[derive(Debug, Default)]
struct FragmentRow {
    outcomes: [AtomicU64; Outcome::LABELS.len()],
    troubles: [AtomicU64; Cause::LABELS.len()],
    /// By tier, by what was found there.
    lookups: [[AtomicU64; Found::ALL.len()]; Tier::ALL.len()],
    duration: Histogram,
}

impl Metrics {
    /// Nothing counted yet of a site.
    pub fn new(site: &Site) -> Self {
        let metrics = Self::default();
        metrics.declare(site);
        metrics
    }

    /// Another site is served: what has the same name counts on, what is not there any more is forgotten.
    pub fn declare(&self, site: &Site) {
        let before = self.table.load();
        let levels = name::levels(site);
        let pages = site.page_names().map(|name| {
            let known = before.pages.get(name);
            let known = known.filter(|row| row.levels == levels).map(Arc::clone);
            let row = known.unwrap_or_else(|| Arc::new(PageRow::new(levels)));
            (name.to_owned(), row)
        });
        let table = Table {
            pages: pages.collect(),
            fragments: rows(&before.fragments, site.fragments.iter().map(|f| &f.name)),
            attempts: rows(&before.attempts, site.origins.iter().map(|o| &o.name)),
        };
        self.table.store(Arc::new(table));
        self.at_hand.declare(site);
    }

    /// What is counted page by page and not block by block.
    pub fn at_hand(&self) -> Arc<AtHand> {
        Arc::clone(&self.at_hand)
    }

    /// Where the access log counts the records that it loses.
    pub fn access_log_lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.access_log_lost)
    }

    /// All of it, as text.
    pub fn text(&self, reading: &Reading, format: Format) -> String {
        let mut text = Text::new(format);
        self.tell(reading, &mut text);
        text.finish()
    }

    /// All of it, as a collector takes it by OTLP, in protobuf. `instance` tells the nodes of a site
    /// apart.
    pub fn otlp(&self, reading: &Reading, instance: &str, now: Moment) -> Vec<u8> {
        let mut otlp = Otlp::new(now, reading.uptime);
        self.tell(reading, &mut otlp);
        otlp.finish(instance)
    }

    /// What has become of what was meant for collectors.
    pub fn sent(&self) -> &Sent {
        &self.sent
    }

    fn tell(&self, reading: &Reading, to: &mut dyn Series) {
        reading.write(to);
        let table = self.table.load();
        table.write_pages(to);
        table.write_fragments(&self.at_hand.by_fragment(), to);
        to.begin(Metric::AttemptDuration);
        for (name, row) in table.attempts.sorted() {
            to.histogram(Metric::AttemptDuration, &[name], &row.counted());
        }
        let mut each = |metric: Metric, words: &[&str], counts: &[AtomicU64]| {
            to.begin(metric);
            for (word, count) in words.iter().zip(counts) {
                to.number(metric, &[word], read(count));
            }
        };
        each(Metric::Reloads, &RESULTS, &self.reloads);
        each(Metric::TraceSpans, &DELIVERIES, &self.sent.spans);
        each(Metric::MetricExports, &DELIVERIES, &self.sent.exports);
        to.begin(Metric::AccessLogLost);
        to.number(Metric::AccessLogLost, &[], read(&self.access_log_lost));
        to.begin(Metric::Purges);
        to.number(Metric::Purges, &[], read(&self.purges));
    }
}

/// Those that are known, and new ones.
fn rows<'n, T: Default>(known: &Named<T>, names: impl Iterator<Item = &'n String>) -> Named<T> {
    let row = |name: &'n String| {
        let row = known.get(name).map(Arc::clone).unwrap_or_default();
        (name.clone(), row)
    };
    names.map(row).collect()
}

fn read(count: &AtomicU64) -> f64 {
    count.load(Ordering::Relaxed) as f64
}

impl Table {
    fn write_pages(&self, to: &mut dyn Series) {
        to.begin(Metric::Pages);
        for (name, row) in self.pages.sorted() {
            for level in 0..row.levels {
                for (place, completeness) in COMPLETENESS.into_iter().enumerate() {
                    let of_one = |counts: &PageCounts| read(&counts.ended[level][place]);
                    let count: f64 = row.counts.all().map(of_one).sum();
                    // most levels are never seen; a full page's counts are there from the start, so that
                    // the first of them is an increase
                    if level == 0 || count > 0.0 {
                        let level = level.to_string();
                        to.number(Metric::Pages, &[name, &level, completeness], count);
                    }
                }
            }
        }
        to.begin(Metric::PageDuration);
        for (name, row) in self.pages.sorted() {
            to.histogram(Metric::PageDuration, &[name], &row.duration.counted());
        }
        to.begin(Metric::PageHead);
        for (name, row) in self.pages.sorted() {
            to.histogram(Metric::PageHead, &[name], &row.head.counted());
        }
        to.begin(Metric::ValueServed);
        for (name, row) in self.pages.sorted() {
            let served = row.counts.all().map(|counts| counts.served.read());
            to.number(Metric::ValueServed, &[name], served.sum());
        }
        to.begin(Metric::ValueLost);
        for (name, row) in self.pages.sorted() {
            for (place, cause) in Loss::LABELS.into_iter().enumerate() {
                let lost = row.counts.all().map(|counts| counts.lost[place].read());
                to.number(Metric::ValueLost, &[name, cause], lost.sum());
            }
        }
    }

    fn write_fragments(&self, at_hand: &BTreeMap<String, Counted>, to: &mut dyn Series) {
        let was_at_hand = |name: &str| at_hand.get(name).map_or(0.0, |of| of.count() as f64);
        to.begin(Metric::FragmentOutcomes);
        for (name, row) in self.fragments.sorted() {
            for (outcome, count) in Outcome::LABELS.into_iter().zip(&row.outcomes) {
                let more = match outcome == Outcome::Cached.label() {
                    true => was_at_hand(name),
                    false => 0.0,
                };
                let values = [name, outcome];
                to.number(Metric::FragmentOutcomes, &values, read(count) + more);
            }
        }
        to.begin(Metric::FragmentTroubles);
        for (name, row) in self.fragments.sorted() {
            for (cause, count) in Cause::LABELS.into_iter().zip(&row.troubles) {
                to.number(Metric::FragmentTroubles, &[name, cause], read(count));
            }
        }
        to.begin(Metric::FragmentShed);
        for (name, row) in self.fragments.sorted() {
            for (cause, count) in SHED.into_iter().zip(row.shed()) {
                to.number(Metric::FragmentShed, &[name, cause], count);
            }
        }
        to.begin(Metric::CacheLookups);
        for (name, row) in self.fragments.sorted() {
            for (tier, counts) in Tier::ALL.into_iter().zip(&row.lookups) {
                for (found, count) in Found::ALL.into_iter().zip(counts) {
                    let values = [name.as_str(), tier.label(), found.label()];
                    let more = match (tier, found) {
                        (Tier::Memory, Found::Fresh) => was_at_hand(name),
                        _ => 0.0,
                    };
                    to.number(Metric::CacheLookups, &values, read(count) + more);
                }
            }
        }
        to.begin(Metric::FragmentDuration);
        for (name, row) in self.fragments.sorted() {
            let mut counted = row.duration.counted();
            if let Some(more) = at_hand.get(name) {
                counted.add(more);
            }
            to.histogram(Metric::FragmentDuration, &[name], &counted);
        }
    }
}

impl PageRow {
    fn new(levels: usize) -> Self {
        let counts = || PageCounts {
            ended: striped::row(levels),
            served: Amount::default(),
            lost: std::array::from_fn(|_| Amount::default()),
        };
        Self {
            levels,
            counts: Striped::of(counts),
            duration: Histogram::default(),
            head: Histogram::default(),
        }
    }

    fn count(&self, report: &PageReport<'_>) {
        let level = usize::from(report.level.get()).min(self.levels - 1);
        let counts = self.counts.mine();
        counts.add(&counts.ended[level][completeness(report)], 1);
        let lost = |loss: Loss, value| counts.lost[loss.number()].add(&counts, value);
        counts.served.add(&counts, report.value(lost));
        let example = (report.trace_id, report.began);
        self.duration.add(report.duration, Some(example));
        // who has left before there was a head has not seen one
        if report.status != 0 {
            self.head.add(report.head_after, Some(example));
        }
    }
}

impl FragmentRow {
    /// How many were given up before anybody was asked, in the order of [`SHED`].
    fn shed(&self) -> [f64; SHED.len()] {
        let outcome = |reason| read(&self.outcomes[Outcome::Omitted(reason).number()]);
        let cause = |cause: Cause| read(&self.troubles[cause.number()]);
        [
            outcome(OmitReason::Shed(Level::FULL)),
            // left out, or filled by something else
            outcome(OmitReason::Switched) + cause(Cause::Switched),
            cause(Cause::Limited),
            cause(Cause::Open),
            cause(Cause::Busy),
        ]
    }

    fn count(&self, fragment: &FragmentReport<'_>, example: (u128, Moment)) {
        self.outcomes[fragment.outcome.number()].fetch_add(1, Ordering::Relaxed);
        if let Some(cause) = fragment.outcome.cause() {
            self.troubles[cause.number()].fetch_add(1, Ordering::Relaxed);
        }
        for (tier, counts) in Tier::ALL.into_iter().zip(&self.lookups) {
            if let Some(found) = fragment.looked.at(tier) {
                counts[found as usize].fetch_add(1, Ordering::Relaxed);
            }
        }
        self.duration.add(fragment.duration, Some(example));
    }
}

/// What became of a page: the place of its word in [`COMPLETENESS`].
fn completeness(report: &PageReport<'_>) -> usize {
    match report {
        report if !report.finished => 5,
        report if report.is_complete() => 0,
        report if report.snapshot.is_some() => 2,
        report if report.is_unavailable() => 3,
        report if report.status != 200 => 4,
        _ => 1,
    }
}

impl Observer for Metrics {
    fn page(&self, report: &PageReport<'_>) {
        // nobody's page
        if report.is_rehearsal {
            return;
        }
        let table = self.table.load();
        // a page of the site before may end after a reload that has taken its name away
        if let Some(row) = table.pages.at(report.place, &report.page) {
            row.count(report);
        }
        if report.fragments.sum().at_hand.is_some() {
            self.at_hand.count(report);
            return;
        }
        for fragment in &report.fragments {
            if let Some(row) = table.fragments.at(fragment.place, &fragment.name) {
                row.count(fragment, (report.trace_id, report.began));
            }
        }
    }

    fn event(&self, event: &Event) {
        let count = match event {
            Event::Reloaded { .. } => &self.reloads[0],
            Event::ReloadRefused { .. } => &self.reloads[1],
            Event::Purged { .. } => &self.purges,
            Event::Switched(_)
            | Event::SwitchesLost(_)
            | Event::Degraded { .. }
            | Event::Origin { .. }
            | Event::Started { .. }
            | Event::Stopping
            | Event::Stopped(_)
            | Event::Acted(_)
            | Event::ActRefused { .. }
            | Event::Pushed
            | Event::Fault { .. }
            | Event::Chaos { .. }
            | Event::Certificates(_)
            | Event::Slo { .. } => return,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn attempt(&self, origin: &str, took: Duration) {
        if let Some(row) = self.table.load().attempts.get(origin) {
            row.add(took, None);
        }
    }
}
