//! The way to a collector (shell): one request at a time, by OTLP over HTTP. Owns the connection, what is
//! sent with each request, how it is packed, and what is read of the answer.
//!
//! Invariant: a collector that is slow, full, gone or talks nonsense costs what was meant for it, and is
//! never waited for beyond the time that is given.

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use tokio::time::timeout;

use crate::site::CollectorSettings;

/// What is sent, and answered.
const PROTOBUF: &str = "application/x-protobuf";

/// The most that is read of an answer, in bytes: it holds a number and a sentence.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// For the rest of an answer whose head says that all is well.
const ANSWER_TIME: Duration = Duration::from_millis(500);

/// Longest sentence of a collector that is repeated, in characters.
const SENTENCE_CHARS_MAX: usize = 300;

/// What a collector says that it has taken.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Of what was sent it has not taken so much: spans, or data points.
    pub(super) refused: u64,
    /// Why, or what it would have otherwise; empty if it says nothing.
    pub(super) says: String,
}

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
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
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
    ) -> Result<Taken, String> {
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
        let answer = sent.unwrap_or_else(|_| Err("it does not answer in time".to_owned()))?;
        // it has arrived, whatever becomes of the rest of the answer, which may go on for ever
        let rest = timeout(ANSWER_TIME, rest(answer)).await;
        Ok(rest
            .ok()
            .flatten()
            .map_or_else(Taken::default, |rest| Taken::read(&rest)))
    }

    /// The answer to it, once its head says that it has arrived.
    async fn post(&self, body: Vec<u8>) -> Result<Response, String> {
        let request = self.client.post(self.endpoint.clone());
        let request = request.headers(self.headers.clone()).body(body);
        // the address may hold a password
        let answer = request.send().await;
        let answer = answer.map_err(|error| error.without_url().to_string())?;
        match answer.status() {
            status if status.is_success() => Ok(answer),
            status => Err(format!("the collector answers {status}")),
        }
    }
}

/// What follows the head; `None` where that is not OTLP in protobuf, or more than anybody needs.
async fn rest(mut answer: Response) -> Option<Vec<u8>> {
    let kind = answer.headers().get(CONTENT_TYPE)?;
    if !kind.as_bytes().starts_with(PROTOBUF.as_bytes()) {
        return None;
    }
    let mut rest = Vec::new();
    while let Some(chunk) = answer.chunk().await.ok()? {
        if rest.len() + chunk.len() > ANSWER_BYTES_MAX {
            return None;
        }
        rest.extend_from_slice(&chunk);
    }
    Some(rest)
}

impl Taken {
    /// All of it was, where nothing else can be read. Traces and metrics are answered by the same bytes:
    /// `partial_success`, of how many it was not taken, and why.
    fn read(answer: &[u8]) -> Self {
        let answer = ExportTraceServiceResponse::decode(answer).unwrap_or_default();
        let partial = answer.partial_success.unwrap_or_default();
        let says = partial.error_message.chars().filter(|c| !c.is_control());
        Self {
            refused: u64::try_from(partial.rejected_spans).unwrap_or_default(),
            says: says.take(SENTENCE_CHARS_MAX).collect(),
        }
    }

    /// What has to be told of it: something was refused, or it has a sentence to say.
    pub(super) fn complaint(&self, of: &str) -> Option<String> {
        let Self { refused, says } = self;
        let why = if says.is_empty() {
            "it does not say why"
        } else {
            says
        };
        match (refused, says.is_empty()) {
            (0, true) => None,
            (0, false) => Some(format!(
                "the collector has taken all {of}, and says: {says}"
            )),
            (refused, _) => Some(format!("the collector has refused {refused} {of}: {why}")),
        }
    }
}

fn packed(body: &[u8]) -> Result<Vec<u8>, String> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(body).and_then(|()| encoder.finish());
    written.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::metrics::v1::{
        ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
    };

    #[test]
    fn what_was_not_taken_is_read_of_the_answer_to_either() {
        let of_metrics = ExportMetricsServiceResponse {
            partial_success: Some(ExportMetricsPartialSuccess {
                rejected_data_points: 7,
                error_message: "too\n many".to_owned(),
            }),
        };
        let taken = Taken::read(&of_metrics.encode_to_vec());
        assert_eq!((taken.refused, taken.says.as_str()), (7, "too many"));
        let told = taken.complaint("data points").unwrap();
        assert_eq!(told, "the collector has refused 7 data points: too many");
    }

    #[test]
    fn whatever_else_is_answered_all_was_taken() {
        let negative = ExportMetricsServiceResponse {
            partial_success: Some(ExportMetricsPartialSuccess {
                rejected_data_points: -7,
                error_message: String::new(),
            }),
        };
        for answer in [&b""[..], b"{}", b"\xff\xff\xff", &negative.encode_to_vec()] {
            let taken = Taken::read(answer);
            assert_eq!(taken, Taken::default(), "{answer:?}");
            assert_eq!(taken.complaint("spans"), None);
        }
    }
}
