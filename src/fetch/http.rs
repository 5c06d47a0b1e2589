//! An origin over HTTP: the shell around `reqwest`. Owns connections and the translation of the
//! client's errors; decides nothing about what an answer is worth.
//!
//! Everything that the client would do by itself is switched off: proxies from the environment,
//! redirects, retries, referers. The limits on time and size are the caller's.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use http::{HeaderValue, StatusCode, header};
use reqwest::{Body, Client, ClientBuilder, Request, Response, Url};

use crate::report::Cause;
use crate::site::OriginSpec;

use super::origin::{BodyStream, Duplex, Origin, OriginRequest, OriginResponse};

/// How long an unused connection is kept; below the 60 s after which many servers close theirs.
const POOL_IDLE_SECONDS: u64 = 50;

/// One or more replicas of a service, asked in turn.
#[derive(Clone)]
pub struct HttpOrigin {
    inner: Arc<Inner>,
}

struct Inner {
    replicas: Vec<(Url, String)>,
    turn: AtomicUsize,
    /// Undoes content codings.
    decoding: Client,
    /// Passes them on.
    raw: Client,
}

impl HttpOrigin {
    /// Prepares the connections; makes none yet.
    pub fn new(spec: &OriginSpec) -> Result<Self, Cause> {
        let broken = |e: reqwest::Error| Cause::Connect(e.to_string());
        let replica = |url: &String| {
            let url = Url::parse(url).map_err(|e| Cause::Connect(e.to_string()))?;
            let authority = url.authority().to_owned();
            Ok((url, authority))
        };
        let raw = client(spec)
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .build()
            .map_err(broken)?;
        let inner = Inner {
            replicas: spec
                .urls
                .iter()
                .map(replica)
                .collect::<Result<_, Cause>>()?,
            turn: AtomicUsize::new(0),
            decoding: client(spec).build().map_err(broken)?,
            raw,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }
}

fn client(spec: &OriginSpec) -> ClientBuilder {
    Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .http1_only()
        .tcp_nodelay(true)
        .connect_timeout(spec.connect_timeout)
        .pool_idle_timeout(std::time::Duration::from_secs(POOL_IDLE_SECONDS))
        .pool_max_idle_per_host(spec.max_in_flight)
        .user_agent(concat!("marbre/", env!("CARGO_PKG_VERSION")))
}

impl Origin for HttpOrigin {
    fn send(&self, request: OriginRequest) -> BoxFuture<'static, Result<OriginResponse, Cause>> {
        let inner = Arc::clone(&self.inner);
        async move { inner.send(request).await }.boxed()
    }
}

impl Inner {
    async fn send(&self, mut request: OriginRequest) -> Result<OriginResponse, Cause> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut body = request.body.take();
        // a replica that refuses the connection has not seen the request: the next one may have it
        let tries = if body.is_some() {
            1
        } else {
            self.replicas.len()
        };
        let mut outcome = Err(Cause::Connect("no replica".to_owned()));
        for turn in 0..tries {
            let replica = first.wrapping_add(turn) % self.replicas.len();
            let sent = self.address(replica, &request, body.take());
            let client = if request.raw {
                &self.raw
            } else {
                &self.decoding
            };
            outcome = match client.execute(sent).await {
                Ok(response) => Ok(answer(response, self.replicas[replica].1.clone())),
                Err(error) => Err(cause(&error)),
            };
            if !matches!(outcome, Err(Cause::Connect(_))) {
                break;
            }
        }
        outcome
    }

    /// The request as it goes to one replica.
    fn address(
        &self,
        replica: usize,
        request: &OriginRequest,
        body: Option<BodyStream>,
    ) -> Request {
        let mut url = self.replicas[replica].0.clone();
        let (path, query) = request
            .target
            .split_once('?')
            .map_or((request.target.as_str(), None), |(path, query)| {
                (path, Some(query))
            });
        url.set_path(path);
        url.set_query(query);
        let mut sent = Request::new(request.method.clone(), url);
        *sent.headers_mut() = request.headers.clone();
        *sent.body_mut() = body.map(|body| Body::wrap_stream(body.map_err(Box::new)));
        sent
    }
}

fn answer(mut response: Response, authority: String) -> OriginResponse {
    let status = response.status();
    let headers = std::mem::take(response.headers_mut());
    if status == StatusCode::SWITCHING_PROTOCOLS {
        let upgrade = async move {
            let io = response.upgrade().await.map_err(|e| cause(&e))?;
            Ok(Box::new(io) as Box<dyn Duplex>)
        };
        let body = futures::stream::empty().boxed();
        return OriginResponse {
            status,
            headers,
            authority,
            body,
            upgrade: Some(upgrade.boxed()),
        };
    }
    let body = response.bytes_stream().map_err(|e| cause(&e)).boxed();
    OriginResponse {
        status,
        headers,
        authority,
        body,
        upgrade: None,
    }
}

/// What a client error means to the chain. The text is the innermost error's: the outer ones only
/// say that something was being done.
fn cause(error: &reqwest::Error) -> Cause {
    let mut innermost = error.source();
    while let Some(deeper) = innermost.and_then(|e| e.source()) {
        innermost = Some(deeper);
    }
    let text = innermost.map_or_else(|| error.to_string(), ToString::to_string);
    if error.is_timeout() {
        // the only time limit that the client has is the one on connecting
        Cause::Connect("no connection in time".to_owned())
    } else if error.is_connect() {
        Cause::Connect(text)
    } else if error.is_body() || error.is_decode() {
        Cause::Truncated(text)
    } else {
        Cause::Transport(text)
    }
}

/// The header that says which media types a fragment takes.
pub fn accept(json: bool) -> (header::HeaderName, HeaderValue) {
    let types = if json {
        "application/json"
    } else {
        "text/html"
    };
    (header::ACCEPT, HeaderValue::from_static(types))
}
