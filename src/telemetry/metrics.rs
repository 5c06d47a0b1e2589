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

use crate::report::{Cause, Event, FragmentReport, Observer, OmitReason, Outcome, PageReport};
use crate::site::Site;

mod histogram;
pub mod name;
mod reading;
mod text;

pub use name::{Metric, series_max};
pub use reading::Reading;
pub use text::Format;

use histogram::Histogram;
use name::{COMPLETENESS, RESULTS};
use text::Text;

/// The counts.
#[derive(Debug, Default)]
pub struct Metrics {
    table: ArcSwap<Table>,
    reloads: [AtomicU64; RESULTS.len()],
    purges: AtomicU64,
    access_log_lost: Arc<AtomicU64>,
}

/// A row for each name that the site declares.
#[derive(Debug, Default)]
struct Table {
    pages: Rows<PageRow>,
    fragments: Rows<FragmentRow>,
    attempts: Rows<Histogram>,
}

type Rows<T> = BTreeMap<String, Arc<T>>;

#[derive(Debug)]
struct PageRow {
    /// By level, by completeness.
    ended: Vec<[AtomicU64; COMPLETENESS.len()]>,
    duration: Histogram,
    head: Histogram,
}

#[derive(Debug, Default)]
struct FragmentRow {
    outcomes: [AtomicU64; Outcome::LABELS.len()],
    troubles: [AtomicU64; Cause::LABELS.len()],
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
        let pages = site.pages.iter().map(|page| {
            let known = before.pages.get(&page.name);
            let known = known
                .filter(|row| row.ended.len() == levels)
                .map(Arc::clone);
            let row = known.unwrap_or_else(|| Arc::new(PageRow::new(levels)));
            (page.name.clone(), row)
        });
        let table = Table {
            pages: pages.collect(),
            fragments: rows(&before.fragments, site.fragments.iter().map(|f| &f.name)),
            attempts: rows(&before.attempts, site.origins.iter().map(|o| &o.name)),
        };
        self.table.store(Arc::new(table));
    }

    /// Where the access log counts the records that it loses.
    pub fn access_log_lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.access_log_lost)
    }

    /// All of it, as text.
    pub fn text(&self, reading: &Reading, format: Format) -> String {
        let mut text = Text::new(format);
        reading.write(&mut text);
        let table = self.table.load();
        table.write_pages(&mut text);
        table.write_fragments(&mut text);
        text.begin(Metric::AttemptDuration);
        for (name, row) in &table.attempts {
            text.histogram(Metric::AttemptDuration, &[name], &row.counted());
        }
        text.begin(Metric::Reloads);
        for (result, count) in RESULTS.into_iter().zip(&self.reloads) {
            text.number(Metric::Reloads, &[result], read(count));
        }
        text.begin(Metric::AccessLogLost);
        text.number(Metric::AccessLogLost, &[], read(&self.access_log_lost));
        text.begin(Metric::Purges);
        text.number(Metric::Purges, &[], read(&self.purges));
        text.finish()
    }
}

/// Those that are known, and new ones.
fn rows<'n, T: Default>(known: &Rows<T>, names: impl Iterator<Item = &'n String>) -> Rows<T> {
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
    fn write_pages(&self, text: &mut Text) {
        text.begin(Metric::Pages);
        for (name, row) in &self.pages {
            for (level, counts) in row.ended.iter().enumerate() {
                for (completeness, count) in COMPLETENESS.into_iter().zip(counts) {
                    let count = read(count);
                    // most levels are never seen; a full page's counts are there from the start, so that
                    // the first of them is an increase
                    if level == 0 || count > 0.0 {
                        let level = level.to_string();
                        text.number(Metric::Pages, &[name, &level, completeness], count);
                    }
                }
            }
        }
        text.begin(Metric::PageDuration);
        for (name, row) in &self.pages {
            text.histogram(Metric::PageDuration, &[name], &row.duration.counted());
        }
        text.begin(Metric::PageHead);
        for (name, row) in &self.pages {
            text.histogram(Metric::PageHead, &[name], &row.head.counted());
        }
    }

    fn write_fragments(&self, text: &mut Text) {
        text.begin(Metric::FragmentOutcomes);
        for (name, row) in &self.fragments {
            for (outcome, count) in Outcome::LABELS.into_iter().zip(&row.outcomes) {
                text.number(Metric::FragmentOutcomes, &[name, outcome], read(count));
            }
        }
        text.begin(Metric::FragmentTroubles);
        for (name, row) in &self.fragments {
            for (cause, count) in Cause::LABELS.into_iter().zip(&row.troubles) {
                text.number(Metric::FragmentTroubles, &[name, cause], read(count));
            }
        }
        text.begin(Metric::FragmentShed);
        let shed = Outcome::Omitted(OmitReason::Shed(crate::degradation::Level::FULL)).number();
        for (name, row) in &self.fragments {
            text.number(Metric::FragmentShed, &[name], read(&row.outcomes[shed]));
        }
        text.begin(Metric::FragmentDuration);
        for (name, row) in &self.fragments {
            text.histogram(Metric::FragmentDuration, &[name], &row.duration.counted());
        }
    }
}

impl PageRow {
    fn new(levels: usize) -> Self {
        Self {
            ended: (0..levels).map(|_| Default::default()).collect(),
            duration: Histogram::default(),
            head: Histogram::default(),
        }
    }

    fn count(&self, report: &PageReport<'_>) {
        let level = usize::from(report.level.get()).min(self.ended.len() - 1);
        self.ended[level][completeness(report)].fetch_add(1, Ordering::Relaxed);
        self.duration.add(report.duration, Some(report.trace_id));
        // who has left before there was a head has not seen one
        if report.status != 0 {
            self.head.add(report.head_after, Some(report.trace_id));
        }
    }
}

impl FragmentRow {
    fn count(&self, fragment: &FragmentReport<'_>, trace_id: u128) {
        self.outcomes[fragment.outcome.number()].fetch_add(1, Ordering::Relaxed);
        if let Some(cause) = fragment.outcome.cause() {
            self.troubles[cause.number()].fetch_add(1, Ordering::Relaxed);
        }
        self.duration.add(fragment.duration, Some(trace_id));
    }
}

/// What became of a page: the place of its word in [`COMPLETENESS`].
fn completeness(report: &PageReport<'_>) -> usize {
    match report {
        report if !report.finished => 5,
        report if report.is_complete() => 0,
        report if report.snapshot.is_some() => 2,
        report if report.status == 503 => 3,
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
        if let Some(row) = table.pages.get(&*report.page) {
            row.count(report);
        }
        for fragment in &report.fragments {
            if let Some(row) = table.fragments.get(&*fragment.name) {
                row.count(fragment, report.trace_id);
            }
        }
    }

    fn event(&self, event: &Event) {
        let count = match event {
            Event::Reloaded(_) => &self.reloads[0],
            Event::ReloadRefused(_) => &self.reloads[1],
            Event::Purged { .. } => &self.purges,
            Event::Switched(_)
            | Event::SwitchesLost(_)
            | Event::Degraded { .. }
            | Event::Origin { .. }
            | Event::Started { .. }
            | Event::Stopping
            | Event::Stopped(_)
            | Event::Pushed
            | Event::Fault { .. }
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
