//! Pages on their way to the collector (shell): they leave in batches, one batch at a time. Owns how they
//! are gathered, and what is said when spans are lost.
//!
//! Invariant: each span is counted once, as sent, as lost or as refused, also when the server stops.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prost::Message as _;
use tokio::sync::mpsc::Receiver;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::spans;
use crate::clock::Clock;
use crate::report::PageReport;
use crate::report::Throttle;
use crate::telemetry::FAREWELL;
use crate::telemetry::collector::{Collector, Taken};
use crate::telemetry::metrics::Metrics;

/// Most pages in one batch.
const BATCH_PAGES: usize = 128;

/// How long a page waits for others to leave with it.
const GATHERING: Duration = Duration::from_millis(500);

/// For one batch; a collector that is slower has lost it.
const EXPORT_TIME: Duration = Duration::from_secs(5);

pub(super) struct Batches {
    pub(super) collector: Collector,
    pub(super) instance: Arc<str>,
    /// What counts the spans.
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
}

/// What has left the queue and has not arrived.
#[derive(Default)]
struct Held {
    batch: Vec<PageReport<'static>>,
    /// Spans that are being sent.
    under_way: u64,
}

impl Batches {
    /// Exports until `stop`, and then what is left, for a while. What is left then is lost.
    pub(super) async fn run(
        self,
        mut pages: Receiver<PageReport<'static>>,
        stop: CancellationToken,
    ) {
        let mut held = Held::default();
        let mut complaints = Complaints::default();
        let over = async {
            stop.cancelled().await;
            sleep(FAREWELL).await;
        };
        tokio::select! {
            biased;
            () = self.work(&mut pages, &mut held, &mut complaints, &stop) => {}
            () = over => {}
        }
        pages.close();
        while let Ok(page) = pages.try_recv() {
            held.batch.push(page);
        }
        let left = held.under_way + held.batch.iter().map(spans::count).sum::<u64>();
        if left > 0 {
            self.lose(left);
            complaints.last(self.lost(), "the server has stopped");
        }
    }

    async fn work(
        &self,
        pages: &mut Receiver<PageReport<'static>>,
        held: &mut Held,
        complaints: &mut Complaints,
        stop: &CancellationToken,
    ) {
        loop {
            tokio::select! {
                biased;
                received = pages.recv_many(&mut held.batch, 1) => if received == 0 {
                    return;
                },
                () = stop.cancelled() => {}
            }
            let _ = timeout(GATHERING, stop.cancelled()).await;
            while held.batch.len() < BATCH_PAGES
                && let Ok(page) = pages.try_recv()
            {
                held.batch.push(page);
            }
            if held.batch.is_empty() {
                return;
            }
            let sent = self.export(held).await;
            if let Ok(taken) = &sent {
                complaints.answer(taken, self.clock);
            }
            let why = sent.err();
            let why = why.as_deref().unwrap_or("the collector does not keep up");
            complaints.hear(self.lost(), why, self.clock);
        }
    }

    async fn export(&self, held: &mut Held) -> Result<Taken, String> {
        let batch = std::mem::take(&mut held.batch);
        held.under_way = batch.iter().map(spans::count).sum();
        let instance = Arc::clone(&self.instance);
        let make = move || spans::request(&batch, &instance).encode_to_vec();
        let sent = self.collector.send(make, EXPORT_TIME).await;
        let spans = std::mem::take(&mut held.under_way);
        match &sent {
            Ok(taken) => {
                let refused = taken.refused.min(spans);
                let counts = &self.metrics.sent().spans;
                counts[0].fetch_add(spans - refused, Ordering::Relaxed);
                counts[2].fetch_add(refused, Ordering::Relaxed);
            }
            Err(_) => self.lose(spans),
        }
        sent
    }

    fn lose(&self, spans: u64) {
        self.metrics.sent().spans[1].fetch_add(spans, Ordering::Relaxed);
    }

    fn lost(&self) -> u64 {
        self.metrics.sent().spans[1].load(Ordering::Relaxed)
    }
}

/// What was said of lost spans.
#[derive(Default)]
struct Complaints {
    throttle: Throttle,
    /// How many were told of.
    told: u64,
}

impl Complaints {
    /// What the collector says of a batch that has arrived.
    fn answer(&self, taken: &Taken, clock: Clock) {
        if let Some(complaint) = taken.complaint("spans")
            && let Some(untold) = self.throttle.due("answer", clock.now())
        {
            let count = untold.0;
            tracing::warn!(untold = count, "{complaint}{untold}");
        }
    }

    /// So many were lost in all, the last of them because of `why`.
    fn hear(&mut self, lost: u64, why: &str, clock: Clock) {
        if lost > self.told && self.throttle.due("spans", clock.now()).is_some() {
            self.last(lost, why);
        }
    }

    fn last(&mut self, lost: u64, why: &str) {
        let spans = lost - self.told;
        self.told = lost;
        tracing::warn!(spans, why, "{spans} spans of traces were lost: {why}");
    }
}
