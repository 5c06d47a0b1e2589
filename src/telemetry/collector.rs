//! The way to a collector (shell): one request at a time, by OTLP over HTTP. Owns the connection, what is
//! sent with each request, and how it is packed.
//!
//! Invariant: a collector that is slow, full, gone or talks nonsense costs what was meant for it, and is
//! never waited for beyond the time that is given.

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use tokio::time::timeout;

use crate::site::CollectorSettings;

/// Where something is sent.
pub(super) struct Collector {
    client: Client,
    endpoint: Url,
    headers: HeaderMap,
    is_packed: bool,
}

impl Collector {
    /// Nothing is sent yet. The message says why that cannot be.
    pub(super) fn new(settings: &CollectorSettings) -> Result<Self, String> {
        // the first caller installs it; later calls find it installed
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().redirect(Policy::none());
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            let name = HeaderName::try_from(name).map_err(|error| error.to_string())?;
            let mut value = HeaderValue::try_from(value).map_err(|error| error.to_string())?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-protobuf"),
        );
        if settings.is_packed {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(Self {
            client: client.build().map_err(|error| error.to_string())?,
            endpoint: Url::parse(&settings.endpoint).map_err(|error| error.to_string())?,
            headers,
            is_packed: settings.is_packed,
        })
    }

    /// Sends what `make` makes, on a thread where nobody waits for that; for at most `time`, all
    /// included. The message says why it did not arrive.
    pub(super) async fn send(
        &self,
        make: impl FnOnce() -> Vec<u8> + Send + 'static,
        time: Duration,
    ) -> Result<(), String> {
        let is_packed = self.is_packed;
        let making = tokio::task::spawn_blocking(move || match is_packed {
            true => packed(&make()),
            false => Ok(make()),
        });
        let sending = async {
            let body = making.await.map_err(|error| error.to_string())??;
            self.post(body).await
        };
        let sent = timeout(time, sending).await;
        sent.unwrap_or_else(|_| Err("it does not answer in time".to_owned()))
    }

    async fn post(&self, body: Vec<u8>) -> Result<(), String> {
        let request = self.client.post(self.endpoint.clone());
        let request = request.headers(self.headers.clone()).body(body);
        // the address may hold a password
        let answer = request.send().await;
        let answer = answer.map_err(|error| error.without_url().to_string())?;
        match answer.status() {
            // what it says besides, which may go on for ever, changes nothing
            status if status.is_success() => Ok(()),
            status => Err(format!("the collector answers {status}")),
        }
    }
}

fn packed(body: &[u8]) -> Result<Vec<u8>, String> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(body).and_then(|()| encoder.finish());
    written.map_err(|error| error.to_string())
}
