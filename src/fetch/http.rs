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
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
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
use super::origin::{Duplex, Origin, OriginRequest, OriginResponse};

mod connect;
mod decode;

use connect::{Connector, Tls};

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
    clients: Clients,
}

/// What is in front of the target of a request.
struct Base {
    url: Url,
    scheme: Scheme,
    authority: Authority,
    /// The authority as a header.
    host: HeaderValue,
}

/// What makes and keeps the connections. Cheap to clone.
#[derive(Clone)]
struct Clients {
    /// For all requests but those that may leave HTTP.
    usual: Client<Connector, Sent>,
    /// Speaks HTTP/1.1: the version that a connection can leave for another protocol.
    leaving: Client<Connector, Sent>,
    /// Whether the first one speaks HTTP/2.
    http2: bool,
}

/// The body of a request.
type Sent = Either<Empty<Bytes>, StreamBody<BoxStream<'static, Result<Frame<Bytes>, Cause>>>>;

impl HttpOrigin {
    /// Prepares the connections to each replica, in the order of the declaration; makes none yet.
    /// Replicas that have a host share their clients.
    pub fn replicas(spec: &OriginSpec, resolver: &Resolver) -> Result<Vec<Arc<dyn Origin>>, Cause> {
        let tls = Tls::of(spec)?;
        let mut of_hosts: Option<Clients> = None;
        let replica = |replica: &ReplicaSpec| {
            let (url, socket) = match &replica.address {
                Address::Url(url) => (url.as_str(), None),
                Address::Unix(path) => (SOCKET_URL, Some(path.as_path())),
            };
            let clients = match (socket, &of_hosts) {
                (None, Some(clients)) => clients.clone(),
                (None, None) => {
                    let connector = |http2| Connector::by_name(spec, resolver, tls.as_ref(), http2);
                    of_hosts.insert(Clients::new(spec, connector)).clone()
                }
                (Some(path), _) => Clients::new(spec, |_| Connector::by_socket(spec, path)),
            };
            let inner = Arc::new(Inner {
                base: Base::of(url)?,
                socket: socket.map(Path::to_owned),
                clients,
            });
            Ok(Arc::new(Self { inner }) as Arc<dyn Origin>)
        };
        spec.replicas.iter().map(replica).collect()
    }
}

impl Clients {
    /// With connections from a connector for HTTP/2 or for HTTP/1.1.
    fn new(spec: &OriginSpec, connector: impl Fn(bool) -> Connector) -> Self {
        let http2 = spec.connections.http2;
        let leaving = builder(spec).build(connector(false));
        let usual = match http2 {
            true => in_http2(spec).build(connector(true)),
            false => leaving.clone(),
        };
        Self {
            usual,
            leaving,
            http2,
        }
    }

    /// The one for a request, and whether it speaks HTTP/2.
    fn choose(&self, request: &OriginRequest) -> (&Client<Connector, Sent>, bool) {
        match request.headers.contains_key(UPGRADE) {
            true => (&self.leaving, false),
            false => (&self.usual, self.http2),
        }
    }
}

/// What all clients of an origin have in common.
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
            url,
        })
    }

    /// The whole address of a target. What a URL may not hold is encoded, and its dots are followed,
    /// where there is any such thing.
    fn with(&self, target: String) -> Result<Uri, Cause> {
        let broken = |why: String| Cause::Transport(why);
        if !is_plain(&target) {
            let mut url = self.url.clone();
            let (path, query) = target
                .split_once('?')
                .map_or((target.as_str(), None), |(path, query)| (path, Some(query)));
            url.set_path(path);
            url.set_query(query);
            return Uri::try_from(url.as_str()).map_err(|e| broken(e.to_string()));
        }
        let target = PathAndQuery::from_maybe_shared(Bytes::from(target));
        let mut parts = uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(target.map_err(|e| broken(e.to_string()))?);
        Uri::from_parts(parts).map_err(|e| broken(e.to_string()))
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
        async move { inner.send(request).await }.boxed()
    }
}

impl Inner {
    async fn send(&self, request: OriginRequest) -> Result<OriginResponse, Cause> {
        let (client, in_http2) = self.clients.choose(&request);
        let is_raw = request.raw;
        let response = client.request(self.outgoing(request, in_http2)?).await;
        match response {
            Ok(response) => Ok(answer(response, self.base.authority.to_string(), is_raw)),
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
    fn outgoing(&self, request: OriginRequest, in_http2: bool) -> Result<Request<Sent>, Cause> {
        let body = match request.body {
            Some(body) => Either::Right(StreamBody::new(body.map_ok(Frame::data).boxed())),
            None => Either::Left(Empty::new()),
        };
        let mut sent = Request::new(body);
        *sent.method_mut() = request.method;
        *sent.uri_mut() = self.base.with(request.target)?;
        let mut headers = request.headers;
        headers.entry(ACCEPT).or_insert(ANY_TYPE);
        headers.entry(USER_AGENT).or_insert(AGENT);
        if !request.raw {
            headers.entry(ACCEPT_ENCODING).or_insert(decode::UNDERSTOOD);
        }
        // in HTTP/2 it is no header
        if !in_http2 {
            headers
                .entry(HOST)
                .or_insert_with(|| self.base.host.clone());
        }
        *sent.headers_mut() = headers;
        Ok(sent)
    }
}

fn answer(response: Response<Incoming>, authority: String, is_raw: bool) -> OriginResponse {
    let status = response.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return left(response, authority);
    }
    let (mut parts, body) = response.into_parts();
    let body = match is_raw {
        true => in_pieces(body),
        false => decode::undone(&mut parts.headers, body),
    };
    OriginResponse {
        status,
        headers: parts.headers,
        authority,
        body,
        upgrade: None,
    }
}

/// An answer after which the connection speaks another protocol.
fn left(mut response: Response<Incoming>, authority: String) -> OriginResponse {
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

/// What a client error means to the chain.
fn cause(error: &legacy::Error) -> Cause {
    match error.is_connect() {
        true if is_late(error) => Cause::Connect("no connection in time".to_owned()),
        true => Cause::Connect(innermost(error)),
        false => Cause::Transport(innermost(error)),
    }
}

/// Whether it was waited for something for too long.
fn is_late(error: &legacy::Error) -> bool {
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
