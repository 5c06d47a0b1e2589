//! The single seam to the network. Owns the form of a request to an origin and of its answer;
//! whatever misbehaves in front of an origin, in tests or on purpose, lives behind this trait.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{BoxStream, StreamExt as _};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::io::InspectReader;

use crate::fragment::FragmentId;
use crate::report::{Cause, Trail};

/// One replica of a named service, which can be asked.
pub trait Origin: Send + Sync {
    /// Sends a request and gives the head of the answer, its body still to come. Dropping the
    /// future or the body abandons the exchange.
    fn send(&self, request: OriginRequest) -> BoxFuture<'static, Result<OriginResponse, Cause>>;

    /// The same for somebody, where it makes a difference for whom: it does for what misbehaves on
    /// purpose.
    fn send_for(
        &self,
        request: OriginRequest,
        _whom: Whom<'_>,
    ) -> BoxFuture<'static, Result<OriginResponse, Cause>> {
        self.send(request)
    }
}

/// An origin that is this program itself: what `answer` gives is the answer. It is asked on the runtime's
/// threads, so what takes long waits; a page that does not wait any longer, because its time is over, drops
/// the future.
///
/// ```
/// use http::StatusCode;
/// use marbre::fetch::origin::{OriginResponse, answering};
///
/// let weather = answering(|request| async move {
///     match request.target.as_str() {
///         "/weather" => Ok(OriginResponse::html("<p>Rain from the west</p>")),
///         _ => Ok(OriginResponse::status(StatusCode::NOT_FOUND)),
///     }
/// });
/// # let _ = weather;
/// ```
pub fn answering<F, A>(answer: F) -> Arc<dyn Origin>
where
    F: Fn(OriginRequest) -> A + Send + Sync + 'static,
    A: Future<Output = Result<OriginResponse, Cause>> + Send + 'static,
{
    Arc::new(Answering(answer))
}

struct Answering<F>(F);

impl<F, A> Origin for Answering<F>
where
    F: Fn(OriginRequest) -> A + Send + Sync,
    A: Future<Output = Result<OriginResponse, Cause>> + Send + 'static,
{
    fn send(&self, request: OriginRequest) -> BoxFuture<'static, Result<OriginResponse, Cause>> {
        (self.0)(request).boxed()
    }
}

/// For whom something is asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct Whom<'a> {
    /// The fragment, if it is for one.
    pub fragment: Option<&'a str>,
    /// The faults that its page was drawn for.
    pub faults: &'a [Arc<str>],
    /// Which attempt it is, and who remembers that a fault has hit it.
    pub attempt: Option<(&'a Trail, u64)>,
}

/// The faults that a page was drawn for and others were not.
#[derive(Debug, Clone, Default)]
pub struct Drawn {
    /// Their names.
    pub faults: Vec<Arc<str>>,
    /// What of the page they hit.
    pub fragments: Vec<FragmentId>,
}

/// What an origin is asked.
#[non_exhaustive]
pub struct OriginRequest {
    /// Method.
    pub method: Method,
    /// Path and query, encoded.
    pub target: String,
    /// Headers, without hop-by-hop ones.
    pub headers: HeaderMap,
    /// A body to send, if there is one.
    pub body: Option<BodyStream>,
    /// Whether the answer is passed through as it is: no content coding is undone.
    pub raw: bool,
}

impl OriginRequest {
    /// A plain question.
    pub fn get(target: String, headers: HeaderMap) -> Self {
        Self {
            method: Method::GET,
            target,
            headers,
            body: None,
            raw: false,
        }
    }
}

impl OriginRequest {
    /// The same once more, if it has no body that can be sent only once.
    pub(super) fn copy(&self) -> Option<Self> {
        self.body.is_none().then(|| Self {
            method: self.method.clone(),
            target: self.target.clone(),
            headers: self.headers.clone(),
            body: None,
            raw: self.raw,
        })
    }
}

/// A body in pieces.
pub type BodyStream = BoxStream<'static, Result<Bytes, Cause>>;

/// A connection that has left HTTP, such as a WebSocket.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// What an origin answers.
#[non_exhaustive]
pub struct OriginResponse {
    /// Status.
    pub status: StatusCode,
    /// Headers as received.
    pub headers: HeaderMap,
    /// Host and port that answered, to know its redirects from others'.
    pub authority: Arc<str>,
    /// The body, with content codings undone unless the request was raw.
    pub body: BodyStream,
    /// The connection itself, after `101 Switching Protocols`.
    pub upgrade: Option<BoxFuture<'static, Result<Box<dyn Duplex>, Cause>>>,
}

impl OriginResponse {
    /// An answer whose body is at hand.
    pub fn whole(status: StatusCode, headers: HeaderMap, body: Bytes) -> Self {
        let body = futures::stream::once(async move { Ok(body) }).boxed();
        Self {
            status,
            headers,
            authority: Arc::from(""),
            body,
            upgrade: None,
        }
    }

    /// A piece of HTML.
    pub fn html(body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        headers.insert(CONTENT_TYPE, html);
        Self::whole(StatusCode::OK, headers, body.into())
    }

    /// A status, and nothing else.
    pub fn status(status: StatusCode) -> Self {
        Self::whole(status, HeaderMap::new(), Bytes::new())
    }

    /// Keeps a permit until the body has been read or dropped; after a change of protocol, until
    /// the connection has been.
    pub(super) fn hold(&mut self, permit: OwnedSemaphorePermit) {
        if let Some(upgrade) = self.upgrade.take() {
            let held = async move {
                let io = upgrade.await?;
                let io = InspectReader::new(io, move |_: &[u8]| {
                    let _held = &permit;
                });
                Ok(Box::new(io) as Box<dyn Duplex>)
            };
            self.upgrade = Some(held.boxed());
            return;
        }
        let body = std::mem::replace(&mut self.body, futures::stream::empty().boxed());
        self.body = body
            .map(move |chunk| {
                let _held = &permit;
                chunk
            })
            .boxed();
    }
}
