//! An origin over HTTP: the shell around hyper's client. Owns the form in which a request goes out and
//! the translation of the client's errors; decides nothing about what an answer is worth.
//!
//! The client follows no redirect and asks nothing twice, but for a request that was never begun because
//! the kept connection it was for had just been closed. The limits on time and size are the caller's.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt, TryStreamExt as _};
use http::header::{ACCEPT, ACCEPT_ENCODING, HOST, HeaderName, UPGRADE, USER_AGENT};
use http::uri::{self, Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body::Frame;
use http_body_util::{BodyDataStream, Either, Empty, StreamBody};
use hyper::body::Incoming;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use reqwest::Url;
use tokio::time::error::Elapsed;

use crate::report::Cause;
use crate::site::{Address, OriginSpec, ReplicaSpec};

use super::dns::Resolver;
use super::origin::{BodyStream, Duplex, Origin, OriginRequest, OriginResponse};

mod connect;
mod decode;
mod pool;

use connect::{Connector, Tls};
use pool::{Keep, Pool, Unanswered};

/// All requests to a replica share one HTTP/2 connection: it is pinged this often, also while it is
/// unused, or one that is dead would swallow them until the system gives it up, minutes later.
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// A connection that leaves a ping unanswered for so long is dead.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// What a service behind a socket is told that it is called, having no host.
const SOCKET_URL: &str = "http://localhost";

/// Who asks.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("marbre/", env!("CARGO_PKG_VERSION")));

/// Who does not say which media types are wanted wants any.
const ANY_TYPE: HeaderValue = HeaderValue::from_static("*/*");

/// The connections to one replica of an origin.
#[derive(Clone)]
pub struct HttpOrigin {
    inner: Arc<Inner>,
}

struct Inner {
    base: Base,
    /// Where it is, if that is no host.
    socket: Option<PathBuf>,
    usual: Usual,
    /// Speaks HTTP/1.1: the version that a connection can leave for another protocol.
    leaving: Client<Connector, Sent>,
}

/// What makes and keeps the connections for all requests but those that may leave HTTP.
enum Usual {
    Http1(Pool),
    Http2(Box<Client<Connector, Sent>>),
}

/// What is in front of the target of a request.
struct Base {
    url: Url,
    scheme: Scheme,
    authority: Authority,
    /// The authority as a header.
    host: HeaderValue,
    /// The same, to know its redirects from others'.
    name: Arc<str>,
}

/// The body of a request.
type Sent = Either<Empty<Bytes>, StreamBody<BoxStream<'static, Result<Frame<Bytes>, Cause>>>>;

impl HttpOrigin {
    /// Prepares the connections to each replica, in the order of the declaration; makes none yet.
    pub fn replicas(spec: &OriginSpec, resolver: &Resolver) -> Result<Vec<Arc<dyn Origin>>, Cause> {
        let tls = Tls::of(spec)?;
        let replica = |replica: &ReplicaSpec| {
            let (url, socket) = match &replica.address {
                Address::Url(url) => (url.as_str(), None),
                Address::Unix(path) => (SOCKET_URL, Some(path.as_path())),
            };
            let connector = |http2| match socket {
                Some(path) => Connector::by_socket(spec, path),
                None => Connector::by_name(spec, resolver, tls.as_ref(), http2),
            };
            let base = Base::of(url)?;
            let usual = match spec.connections.http2 {
                true => Usual::Http2(Box::new(in_http2(spec).build(connector(true)))),
                false => {
                    let keep = Keep {
                        time: spec.connections.idle_timeout,
                        max: spec.connections.idle_max,
                    };
                    let place = base.with("/".to_owned())?;
                    Usual::Http1(Pool::new(connector(false), place, keep, resolver.clock()))
                }
            };
            let inner = Arc::new(Inner {
                base,
                socket: socket.map(Path::to_owned),
                usual,
                leaving: builder(spec).build(connector(false)),
            });
            Ok(Arc::new(Self { inner }) as Arc<dyn Origin>)
        };
        spec.replicas.iter().map(replica).collect()
    }
}

/// What the clients of an origin have in common that keep their connections by themselves.
fn builder(spec: &OriginSpec) -> legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(spec.connections.idle_timeout)
        .pool_max_idle_per_host(spec.connections.idle_max);
    builder
}

/// Speaking HTTP/2 and nothing else: agreed on within TLS, taken for granted without.
fn in_http2(spec: &OriginSpec) -> legacy::Builder {
    let mut builder = builder(spec);
    builder
        .http2_only(true)
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .http2_keep_alive_while_idle(true);
    builder
}

impl Base {
    fn of(url: &str) -> Result<Self, Cause> {
        let broken = |why: String| Cause::Connect(why);
        let url = Url::parse(url).map_err(|e| broken(e.to_string()))?;
        let authority = url.authority();
        Ok(Self {
            scheme: Scheme::try_from(url.scheme()).map_err(|e| broken(e.to_string()))?,
            authority: Authority::try_from(authority).map_err(|e| broken(e.to_string()))?,
            host: HeaderValue::from_str(authority).map_err(|e| broken(e.to_string()))?,
            name: Arc::from(authority),
            url,
        })
    }

    /// The whole address of a target.
    fn with(&self, target: String) -> Result<Uri, Cause> {
        let mut parts = uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(self.target(target)?);
        Uri::from_parts(parts).map_err(|e| Cause::Transport(e.to_string()))
    }

    /// A target as it goes out. What a URL may not hold is encoded, and its dots are followed, where
    /// there is any such thing.
    fn target(&self, target: String) -> Result<PathAndQuery, Cause> {
        let target = match is_plain(&target) {
            true => target,
            false => self.followed(&target),
        };
        let target = PathAndQuery::from_maybe_shared(Bytes::from(target));
        target.map_err(|e| Cause::Transport(e.to_string()))
    }

    fn followed(&self, target: &str) -> String {
        let mut url = self.url.clone();
        let (path, query) = target
            .split_once('?')
            .map_or((target, None), |(path, query)| (path, Some(query)));
        url.set_path(path);
        url.set_query(query);
        match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        }
    }
}

/// Whether a target is in a URL what it is by itself: there is nothing to encode in it and no segment
/// that might be one of dots.
fn is_plain(target: &str) -> bool {
    let is_kept = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_~!$&()*+,;=:@%?.".contains(&byte);
    let mut before = 0;
    target.starts_with('/')
        && target.bytes().all(|byte| {
            let may_be_dots = before == b'/' && matches!(byte, b'.' | b'%');
            before = byte;
            is_kept(byte) && !may_be_dots
        })
}

impl Origin for HttpOrigin {
    fn send(&self, request: OriginRequest) -> BoxFuture<'static, Result<OriginResponse, Cause>> {
        let inner = Arc::clone(&self.inner);
        match request.headers.contains_key(UPGRADE) {
            true => async move { inner.send_by(&inner.leaving, request, false).await }.boxed(),
            false => async move { inner.send(request).await }.boxed(),
        }
    }
}

impl Inner {
    async fn send(&self, request: OriginRequest) -> Result<OriginResponse, Cause> {
        let pool = match &self.usual {
            Usual::Http1(pool) => pool,
            Usual::Http2(client) => return self.send_by(client, request, true).boxed().await,
        };
        let is_raw = request.raw;
        match pool.send(self.outgoing(request, Form::Target)?).await {
            Ok(response) => Ok(self.answer(response, is_raw, StreamExt::boxed)),
            Err(unanswered) => Err(self.explain(cause_of(&unanswered), false)),
        }
    }

    async fn send_by(
        &self,
        client: &Client<Connector, Sent>,
        request: OriginRequest,
        in_http2: bool,
    ) -> Result<OriginResponse, Cause> {
        let is_raw = request.raw;
        let form = match in_http2 {
            true => Form::Http2,
            false => Form::Whole,
        };
        let response = client.request(self.outgoing(request, form)?).await;
        match response {
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                Ok(left(response, Arc::clone(&self.base.name)))
            }
            Ok(response) => Ok(self.answer(response, is_raw, in_pieces)),
            Err(error) => Err(self.explain(cause(&error), in_http2)),
        }
    }

    /// What the client leaves out: which file was not found, and which version it is that the peer
    /// may not speak.
    fn explain(&self, cause: Cause, in_http2: bool) -> Cause {
        match (cause, &self.socket) {
            (Cause::Connect(why), Some(path)) => {
                Cause::Connect(format!("{}: {why}", path.display()))
            }
            (Cause::Transport(why), _) if in_http2 => Cause::Transport(format!("HTTP/2: {why}")),
            (cause, _) => cause,
        }
    }

    /// The request as it goes out.
    fn outgoing(&self, request: OriginRequest, form: Form) -> Result<Request<Sent>, Cause> {
        let body = match request.body {
            Some(body) => Either::Right(StreamBody::new(body.map_ok(Frame::data).boxed())),
            None => Either::Left(Empty::new()),
        };
        let mut sent = Request::new(body);
        *sent.method_mut() = request.method;
        *sent.uri_mut() = match form {
            Form::Target => Uri::from(self.base.target(request.target)?),
            Form::Whole | Form::Http2 => self.base.with(request.target)?,
        };
        let mut headers = request.headers;
        headers.entry(ACCEPT).or_insert(ANY_TYPE);
        headers.entry(USER_AGENT).or_insert(AGENT);
        if !request.raw {
            headers.entry(ACCEPT_ENCODING).or_insert(decode::UNDERSTOOD);
        }
        // in HTTP/2 it is no header
        if form != Form::Http2 {
            headers
                .entry(HOST)
                .or_insert_with(|| self.base.host.clone());
        }
        *sent.headers_mut() = headers;
        Ok(sent)
    }

    /// `pieces` gives the body as it comes.
    fn answer<B>(
        &self,
        response: Response<B>,
        is_raw: bool,
        pieces: impl FnOnce(B) -> BodyStream,
    ) -> OriginResponse {
        let (mut parts, body) = response.into_parts();
        let body = match is_raw {
            true => pieces(body),
            false => decode::undone(&mut parts.headers, pieces(body)),
        };
        OriginResponse {
            status: parts.status,
            headers: parts.headers,
            authority: Arc::clone(&self.base.name),
            body,
            upgrade: None,
        }
    }
}

/// How a request is addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// By its target: the connection leads to the origin.
    Target,
    /// By its whole address, of which the client makes what goes out.
    Whole,
    /// The same, with the host in the address alone.
    Http2,
}

/// An answer after which the connection speaks another protocol.
fn left(mut response: Response<Incoming>, authority: Arc<str>) -> OriginResponse {
    let headers = std::mem::take(response.headers_mut());
    let upgrade = async move {
        let io = hyper::upgrade::on(response).await;
        let io = io.map_err(|e| Cause::Transport(innermost(&e)))?;
        Ok(Box::new(TokioIo::new(io)) as Box<dyn Duplex>)
    };
    OriginResponse {
        status: StatusCode::SWITCHING_PROTOCOLS,
        headers,
        authority,
        body: futures::stream::empty().boxed(),
        upgrade: Some(upgrade.boxed()),
    }
}

/// A body as it comes.
fn in_pieces(body: Incoming) -> BoxStream<'static, Result<Bytes, Cause>> {
    let pieces = BodyDataStream::new(body);
    pieces.map_err(|e| Cause::Truncated(innermost(&e))).boxed()
}

/// The same, of who keeps its connections by itself.
fn cause_of(unanswered: &Unanswered) -> Cause {
    match unanswered {
        Unanswered::Connect(error) if is_late(&**error) => {
            Cause::Connect("no connection in time".to_owned())
        }
        Unanswered::Connect(error) => Cause::Connect(innermost(&**error)),
        Unanswered::Transport(error) => Cause::Transport(innermost(error)),
        Unanswered::Ended => Cause::Transport("the connection has ended".to_owned()),
    }
}

/// What a client error means to the chain.
fn cause(error: &legacy::Error) -> Cause {
    match error.is_connect() {
        true if is_late(error) => Cause::Connect("no connection in time".to_owned()),
        true => Cause::Connect(innermost(error)),
        false => Cause::Transport(innermost(error)),
    }
}

/// Whether it was waited for something for too long.
fn is_late(error: &(dyn Error + 'static)) -> bool {
    let is_timed_out = |io: &io::Error| io.kind() == io::ErrorKind::TimedOut;
    let is_late = |error: &(dyn Error + 'static)| {
        error.is::<Elapsed>() || error.downcast_ref().is_some_and(is_timed_out)
    };
    chain(error).any(is_late)
}

/// What the innermost error says: the outer ones only say that something was being done.
fn innermost(error: &(dyn Error + 'static)) -> String {
    chain(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// An error, and what has led to it.
fn chain<'e>(
    error: &'e (dyn Error + 'static),
) -> impl Iterator<Item = &'e (dyn Error + 'static)> + use<'e> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

/// The header that says which media types a fragment takes.
pub fn accept(json: bool) -> (HeaderName, HeaderValue) {
    let types = if json {
        "application/json"
    } else {
        "text/html"
    };
    (ACCEPT, HeaderValue::from_static(types))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_target_is_what_the_url_would_make_of_it() {
        let base = Base::of("http://cms.invalid:8000").unwrap();
        for target in [
            "/",
            "/a",
            "/a/b.html?x=1&y=%C3%A9",
            "/a//b/?",
            "/a.b..c",
            "/a/(b)*c!+d,e;f=g:h@i$",
        ] {
            assert!(is_plain(target), "{target}");
            let mut url = base.url.clone();
            let (path, query) = target
                .split_once('?')
                .map_or((target, None), |(path, query)| (path, Some(query)));
            url.set_path(path);
            url.set_query(query);
            let expected = Uri::try_from(url.as_str()).unwrap();
            assert_eq!(base.with(target.to_owned()).unwrap(), expected, "{target}");
        }
    }

    #[test]
    fn what_a_url_may_not_hold_is_encoded_and_dots_are_followed() {
        let base = Base::of("http://cms.invalid").unwrap();
        for (target, sent) in [
            ("/s\u{f6}der", "/s%C3%B6der"),
            ("/a b?c d", "/a%20b?c%20d"),
            ("/a/../b", "/b"),
            ("/a/%2e%2e/b", "/b"),
            ("/./a", "/a"),
            ("/a\\b", "/a/b"),
            ("/a#b", "/a%23b"),
            ("/a?b='c'", "/a?b=%27c%27"),
            ("a", "/a"),
            ("", "/"),
        ] {
            let uri = base.with(target.to_owned()).unwrap();
            assert_eq!(uri.path_and_query().unwrap().as_str(), sent, "{target}");
            assert_eq!(uri.authority().unwrap(), "cms.invalid");
        }
    }
}
