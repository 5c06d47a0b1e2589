//! An origin without a network that fails as it is told, or as a seed says.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use marbre::fetch::{Origin, OriginRequest, OriginResponse};
use marbre::report::Cause;
use parking_lot::Mutex;

/// What goes wrong with one answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    None,
    /// Right, but only after this.
    Slow(Duration),
    Hang,
    /// Headers, then a byte a second.
    Drip,
    /// Half a body in so many pieces, then the end.
    Cut(usize),
    Refused,
    Status(u16),
    /// This status, but only after this.
    Late(Duration, u16),
    /// Right, in memory that is never given back.
    Lasting,
    /// More bytes than allowed.
    Huge,
    WrongType,
    NotText,
    Empty,
    Panic,
}

type Choose = Box<dyn Fn() -> Fault + Send + Sync>;

/// An origin that says `<NAME>whole</NAME>` when it is asked for `/NAME`.
#[derive(Clone)]
pub(crate) struct FakeOrigin {
    choose: Arc<Choose>,
    says: Arc<HeaderMap>,
    json: Option<&'static str>,
    asked: Arc<Mutex<Vec<String>>>,
    panics: Arc<AtomicUsize>,
}

impl FakeOrigin {
    pub(crate) fn new(choose: impl Fn() -> Fault + Send + Sync + 'static) -> Self {
        Self {
            choose: Arc::new(Box::new(choose)),
            says: Arc::default(),
            json: None,
            asked: Arc::default(),
            panics: Arc::default(),
        }
    }

    pub(crate) fn always(fault: Fault) -> Self {
        Self::new(move || fault)
    }

    /// One fault an answer; the last one from then on.
    pub(crate) fn in_turn(faults: impl Into<Vec<Fault>>) -> Self {
        let faults = faults.into();
        let next = AtomicUsize::new(0);
        Self::new(move || faults[next.fetch_add(1, Ordering::Relaxed).min(faults.len() - 1)])
    }

    /// The same, with these headers in every answer.
    pub(crate) fn saying(mut self, headers: &[(HeaderName, &'static str)]) -> Self {
        let headers = headers.iter().cloned();
        let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
        self.says = Arc::new(headers.collect());
        self
    }

    /// The same, with this JSON in the place of what it says.
    pub(crate) fn json(mut self, json: &'static str) -> Self {
        self.json = Some(json);
        self
    }

    /// Paths asked for since the last call.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock())
    }

    pub(crate) fn panics(&self) -> usize {
        self.panics.load(Ordering::Relaxed)
    }
}

/// What a fragment says when it says everything.
pub(crate) fn whole(name: &str) -> String {
    format!("<{name}>whole</{name}>")
}

impl Origin for FakeOrigin {
    fn send(&self, request: OriginRequest) -> BoxFuture<'static, Result<OriginResponse, Cause>> {
        let name = request
            .target
            .split(['?', '/'])
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        self.asked.lock().push(name.clone());
        let (fault, panics) = ((self.choose)(), Arc::clone(&self.panics));
        let (says, json) = (Arc::clone(&self.says), self.json);
        async move {
            let mut response = answer(whole(&name), fault, &panics).await?;
            if let Some(json) = json {
                let content_type = HeaderValue::from_static("application/json");
                response.headers.insert(header::CONTENT_TYPE, content_type);
                let json = Ok(Bytes::from_static(json.as_bytes()));
                response.body = stream::iter([json]).boxed();
            }
            response.headers.extend(HeaderMap::clone(&says));
            Ok(response)
        }
        .boxed()
    }
}

/// What comes of an answer that would be this HTML.
pub(crate) async fn answer(
    html: String,
    fault: Fault,
    panics: &AtomicUsize,
) -> Result<OriginResponse, Cause> {
    let html = Bytes::from(html);
    let half = html.slice(..html.len() / 2);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    let mut response = OriginResponse::whole(StatusCode::OK, headers, html.clone());
    match fault {
        Fault::None => {}
        Fault::Slow(pause) => tokio::time::sleep(pause).await,
        Fault::Hang => std::future::pending().await,
        Fault::Drip => {
            let bytes: Vec<u8> = html.to_vec();
            response.body = stream::iter(bytes)
                .then(|byte| async move {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    Ok(Bytes::copy_from_slice(&[byte]))
                })
                .boxed();
        }
        Fault::Cut(pieces) => {
            let cut = Err(Cause::Truncated("connection closed".to_owned()));
            let size = half.len().div_ceil(pieces.max(1));
            let sent = half.chunks(size).take(pieces);
            let sent: Vec<_> = sent
                .map(|piece| Ok(Bytes::copy_from_slice(piece)))
                .collect();
            response.body = stream::iter(sent.into_iter().chain([cut])).boxed();
        }
        Fault::Refused => return Err(Cause::Connect("refused".to_owned())),
        Fault::Status(code) => {
            response.status = StatusCode::from_u16(code).expect("a status");
        }
        Fault::Late(pause, code) => {
            tokio::time::sleep(pause).await;
            response.status = StatusCode::from_u16(code).expect("a status");
        }
        Fault::Lasting => {
            let lasting = Bytes::from_static(html.to_vec().leak());
            response.body = stream::iter([Ok(lasting)]).boxed();
        }
        Fault::Huge => {
            let megabyte = Bytes::from(vec![b'x'; 1 << 20]);
            response.body = stream::repeat_with(move || Ok(megabyte.clone()))
                .take(64)
                .boxed();
        }
        Fault::WrongType => {
            let image = HeaderValue::from_static("image/png");
            response.headers.insert(header::CONTENT_TYPE, image);
        }
        Fault::NotText => {
            let body = Bytes::from_static(b"<p>\xff\xfe</p>");
            response.body = stream::iter([Ok(body)]).boxed();
        }
        Fault::Empty => response.body = stream::empty().boxed(),
        Fault::Panic => {
            panics.fetch_add(1, Ordering::Relaxed);
            std::panic::resume_unwind(Box::new("a fault of the simulation"));
        }
    }
    Ok(response)
}
