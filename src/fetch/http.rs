//! An origin over HTTP: the shell around `reqwest`. Owns connections and the translation of the
//! client's errors; decides nothing about what an answer is worth.
//!
//! Everything that the client would do by itself is switched off: proxies from the environment,
//! redirects, retries, referers. The limits on time and size are the caller's.

use std::error::Error as _;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use http::{HeaderValue, StatusCode, header};
use reqwest::{Body, Client, ClientBuilder, Request, Response, Url};

use crate::report::Cause;
use crate::site::{OriginSpec, ReplicaSpec};

use super::origin::{Duplex, Origin, OriginRequest, OriginResponse};

/// The connections to one replica of an origin.
#[derive(Clone)]
pub struct HttpOrigin {
    inner: Arc<Inner>,
}

struct Inner {
    base: Url,
    authority: String,
    /// Undoes content codings.
    decoding: Client,
    /// Passes them on.
    raw: Client,
}

impl HttpOrigin {
    /// Prepares the connections to each replica, in the order of the declaration; makes none yet.
    pub fn replicas(spec: &OriginSpec) -> Result<Vec<Arc<dyn Origin>>, Cause> {
        let broken = |e: reqwest::Error| Cause::Connect(e.to_string());
        let raw = client(spec)
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .build()
            .map_err(broken)?;
        let decoding = client(spec).build().map_err(broken)?;
        let replica = |replica: &ReplicaSpec| {
            let base = Url::parse(&replica.to_string());
            let base = base.map_err(|e| Cause::Connect(e.to_string()))?;
            let inner = Inner {
                authority: base.authority().to_owned(),
                base,
                decoding: decoding.clone(),
                raw: raw.clone(),
            };
            Ok(Arc::new(Self {
                inner: Arc::new(inner),
            }) as Arc<dyn Origin>)
        };
        spec.replicas.iter().map(replica).collect()
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
        .pool_idle_timeout(spec.connections.idle_timeout)
        .pool_max_idle_per_host(spec.connections.idle_max)
        .user_agent(concat!("marbre/", env!("CARGO_PKG_VERSION")))
}

impl Origin for HttpOrigin {
    fn send(&self, request: OriginRequest) -> BoxFuture<'static, Result<OriginResponse, Cause>> {
        let inner = Arc::clone(&self.inner);
        async move { inner.send(request).await }.boxed()
    }
}

impl Inner {
    async fn send(&self, request: OriginRequest) -> Result<OriginResponse, Cause> {
        let client = if request.raw {
            &self.raw
        } else {
            &self.decoding
        };
        match client.execute(self.address(request)).await {
            Ok(response) => Ok(answer(response, self.authority.clone())),
            Err(error) => Err(cause(&error)),
        }
    }

    /// The request as it goes out.
    fn address(&self, request: OriginRequest) -> Request {
        let mut url = self.base.clone();
        let (path, query) = request
            .target
            .split_once('?')
            .map_or((request.target.as_str(), None), |(path, query)| {
                (path, Some(query))
            });
        url.set_path(path);
        url.set_query(query);
        let mut sent = Request::new(request.method, url);
        *sent.headers_mut() = request.headers;
        *sent.body_mut() = request
            .body
            .map(|body| Body::wrap_stream(body.map_err(Box::new)));
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
