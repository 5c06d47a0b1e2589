//! The collector's end (shell): spans leave in batches by OTLP over HTTP, one batch at a time. Owns the
//! connection, and what is said when spans are lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::CONTENT_TYPE;
use prost::Message as _;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::spans;
use crate::clock::Clock;
use crate::report::{PageReport, Throttle};

/// Most pages in one batch.
const BATCH_PAGES: usize = 128;

/// How long a page waits for others to leave with it.
const GATHERING: Duration = Duration::from_millis(500);

/// For one batch; a collector that is slower has lost it.
const EXPORT_TIME: Duration = Duration::from_secs(5);

/// For the last batch of a server that stops.
const FAREWELL: Duration = Duration::from_secs(1);

pub(super) struct Collector {
    client: Client,
    endpoint: Url,
    lost: Arc<AtomicU64>,
    complaints: Throttle,
    clock: Clock,
}

impl Collector {
    pub(super) fn new(endpoint: &str, lost: Arc<AtomicU64>, clock: Clock) -> Result<Self, String> {
        // the first caller installs it; later calls find it installed
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().redirect(Policy::none());
        Ok(Self {
            client: client.build().map_err(|error| error.to_string())?,
            endpoint: Url::parse(endpoint).map_err(|error| error.to_string())?,
            lost,
            complaints: Throttle::default(),
            clock,
        })
    }

    /// Exports until `stop`, and then what is left.
    pub(super) async fn run(
        self,
        mut pages: Receiver<PageReport<'static>>,
        stop: CancellationToken,
    ) {
        let mut batch = Vec::with_capacity(BATCH_PAGES);
        loop {
            tokio::select! {
                () = stop.cancelled() => {}
                _ = pages.recv_many(&mut batch, 1) => {}
            }
            let is_last = timeout(GATHERING, stop.cancelled()).await.is_ok();
            while batch.len() < BATCH_PAGES
                && let Ok(page) = pages.try_recv()
            {
                batch.push(page);
            }
            let time = if is_last { FAREWELL } else { EXPORT_TIME };
            self.export(&batch, time).await;
            batch.clear();
            if is_last {
                return;
            }
        }
    }

    async fn export(&self, batch: &[PageReport<'static>], time: Duration) {
        let mut why = "the collector does not keep up".to_owned();
        if !batch.is_empty() {
            let body = spans::request(batch).encode_to_vec();
            let sent = timeout(time, self.send(body)).await;
            if let Err(cause) = sent.unwrap_or_else(|_| Err("timeout".to_owned())) {
                let spans = batch.iter().map(spans::count).sum();
                self.lost.fetch_add(spans, Ordering::Relaxed);
                why = cause;
            }
        }
        if self.lost.load(Ordering::Relaxed) > 0
            && self.complaints.due("spans", self.clock.now()).is_some()
        {
            // those of all the batches since it was said last
            let spans = self.lost.swap(0, Ordering::Relaxed);
            tracing::warn!(spans, why, "{spans} spans of traces were lost: {why}");
        }
    }

    async fn send(&self, body: Vec<u8>) -> Result<(), String> {
        let request = self.client.post(self.endpoint.clone());
        let request = request.header(CONTENT_TYPE, "application/x-protobuf");
        let answer = request.body(body).send().await;
        // the address may hold a password
        let answer = answer.map_err(|error| error.without_url().to_string())?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("the collector answers {status}")),
        }
    }
}
