//! What is told to collectors (shell): traces as pages end, metrics from time to time. Owns when metrics
//! are sent, and how long a server that stops waits for what is on its way.
//!
//! Invariant: nothing waits for a collector but what is meant for it, and there is at most one export of
//! metrics under way.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::site::{MetricSettings, TraceSettings};

use super::collector::{Collector, Taken};
use super::metrics::{Metrics, Reading};
use super::{FAREWELL, Traces};
use crate::report::Throttle;

/// For one export of metrics; a collector that is slower has lost it.
const EXPORT_TIME: Duration = Duration::from_secs(5);

/// The exports of one server.
pub struct Exports {
    metrics: Arc<Metrics>,
    clock: Clock,
    /// What tells this process from others.
    instance: Arc<str>,
    /// Where spans go.
    spans: Way,
    /// Where metrics go.
    counts: Way,
}

/// What is on its way to one collector.
#[derive(Default)]
struct Way {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Way {
    /// Sends what is left, for a while; whatever is under way ends by itself in less than this waits.
    async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        let _ = timeout(2 * FAREWELL, self.tasks.wait()).await;
    }
}

impl Drop for Way {
    /// A server that did not start leaves nothing behind that goes on.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Exports {
    /// Nothing is told to anybody yet.
    pub fn new(metrics: Arc<Metrics>, clock: Clock) -> Self {
        Self {
            metrics,
            clock,
            instance: format!("{:016x}", fastrand::u64(..)).into(),
            spans: Way::default(),
            counts: Way::default(),
        }
    }

    /// Begins to export pages; the message says why that cannot be.
    pub fn traces(&self, settings: TraceSettings) -> Result<Traces, String> {
        let (metrics, instance) = (Arc::clone(&self.metrics), Arc::clone(&self.instance));
        let (traces, batches) = Traces::new(settings, metrics, instance, self.clock)?;
        let stop = self.spans.stop.clone();
        self.spans.tasks.spawn(batches(stop));
        Ok(traces)
    }

    /// Begins to export metrics, of which `read` are those that are kept elsewhere; the message says why
    /// that cannot be.
    pub fn metrics(
        &self,
        settings: &MetricSettings,
        read: impl Fn() -> Reading + Send + Sync + 'static,
    ) -> Result<(), String> {
        let telling = Telling {
            collector: Collector::new(&settings.collector)?,
            interval: settings.interval,
            read: Arc::new(read),
            metrics: Arc::clone(&self.metrics),
            instance: Arc::clone(&self.instance),
            clock: self.clock,
        };
        let stop = self.counts.stop.clone();
        self.counts.tasks.spawn(telling.run(stop));
        Ok(())
    }

    /// Sends what is left, for a while. The metrics come last: they tell what has become of the traces.
    pub async fn finish(&self) {
        self.spans.end().await;
        self.counts.end().await;
    }
}

/// What sends metrics.
struct Telling {
    collector: Collector,
    interval: Duration,
    read: Arc<dyn Fn() -> Reading + Send + Sync>,
    metrics: Arc<Metrics>,
    instance: Arc<str>,
    clock: Clock,
}

impl Telling {
    /// Until `stop`, and then once more.
    async fn run(self, stop: CancellationToken) {
        let complaints = Throttle::default();
        let mut over = pin!(async {
            stop.cancelled().await;
            sleep(FAREWELL).await;
        });
        loop {
            let is_last = timeout(self.interval, stop.cancelled()).await.is_ok();
            let sent = tokio::select! {
                biased;
                sent = self.export() => Some(sent),
                () = &mut over => None,
            };
            let is_over = sent.is_none();
            let sent = sent.unwrap_or_else(|| Err("the server has stopped".to_owned()));
            let (delivery, complaint) = match sent {
                Ok(taken) => (
                    if taken.refused > 0 { 2 } else { 0 },
                    taken.complaint("data points"),
                ),
                Err(why) => (1, Some(format!("an export of metrics was lost: {why}"))),
            };
            self.metrics.sent().exports[delivery].fetch_add(1, Ordering::Relaxed);
            if let Some(complaint) = complaint
                && let Some(untold) = complaints.due("metrics", self.clock.now())
            {
                let count = untold.0;
                tracing::warn!(untold = count, "{complaint}{untold}");
            }
            if is_last || is_over {
                return;
            }
        }
    }

    async fn export(&self) -> Result<Taken, String> {
        let (read, metrics) = (Arc::clone(&self.read), Arc::clone(&self.metrics));
        let (instance, clock) = (Arc::clone(&self.instance), self.clock);
        let make = move || metrics.otlp(&read(), &instance, clock.moment(clock.now()));
        let time = EXPORT_TIME.min(self.interval);
        self.collector.send(make, time).await
    }
}
