//! Pages as OpenTelemetry traces. Owns which pages are exported, and the bounded queue between them and
//! the collector; a page's spans are made of its report once it has ended, off its path.
//!
//! Invariant: a page never waits here. When the collector is slow, full or gone, spans are lost and
//! counted, and nothing grows.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::fragment::trace;
use crate::report::{Event, Observer, PageReport};
use crate::site::TraceSettings;
use crate::telemetry::collector::Collector;
use crate::telemetry::metrics::Metrics;

mod allowance;
mod batches;
mod spans;

pub(super) use allowance::Allowance;
use batches::Batches;

/// Pages that may wait for the collector.
const QUEUE_PAGES: usize = 1024;

/// Chooses pages, and hands them to the collector.
pub struct Traces {
    queue: mpsc::Sender<PageReport<'static>>,
    metrics: Arc<Metrics>,
    settings: TraceSettings,
    allowance: Allowance,
    clock: Clock,
}

impl Traces {
    /// The pages' end, and what is to be run at the collector's end until it is told to stop. The
    /// message says why that cannot be.
    pub(super) fn new(
        settings: TraceSettings,
        metrics: Arc<Metrics>,
        instance: Arc<str>,
        clock: Clock,
    ) -> Result<
        (
            Self,
            impl FnOnce(CancellationToken) -> BoxFuture<'static, ()>,
        ),
        String,
    > {
        let (queue, pages) = mpsc::channel(QUEUE_PAGES);
        let batches = Batches {
            collector: Collector::new(&settings.collector)?,
            instance,
            metrics: Arc::clone(&metrics),
            clock,
        };
        let traces = Self {
            queue,
            metrics,
            allowance: Allowance::new(settings.notable_max),
            settings,
            clock,
        };
        Ok((traces, move |stop| batches.run(pages, stop).boxed()))
    }

    /// Whether a page is exported: by chance, or because somebody will want to know why it was as it
    /// was, or because its reader asks for it; of the latter two only so many a second.
    fn takes(&self, report: &PageReport<'_>) -> bool {
        if trace::is_of(report.trace_id, self.settings.sample) {
            return true;
        }
        let is_notable = report.is_sampled
            || report.status >= 500
            || report.duration >= self.settings.slow
            || (report.finished && report.status == 200 && !report.is_complete());
        let second = self.clock.uptime(self.clock.now()).as_secs();
        is_notable && self.allowance.take(second)
    }
}

impl Observer for Traces {
    fn page(&self, report: &PageReport<'_>) {
        if !self.takes(report) {
            return;
        }
        match self.queue.try_reserve() {
            Ok(place) => place.send(report.clone().into_owned()),
            Err(_) => {
                let spans = spans::count(report);
                self.metrics.sent().spans[1].fetch_add(spans, Ordering::Relaxed);
            }
        }
    }

    fn event(&self, _: &Event) {}
}
