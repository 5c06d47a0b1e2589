//! An origin over HTTP: the shell around `reqwest`. Owns connections and the translation of the
//! client's errors; decides nothing about what an answer is worth.
//!
//! Everything that the client would do by itself is switched off: proxies from the environment,
//! redirects, retries, referers. The limits on time and size are the caller's.

use std::error::Error as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use http::header::{self, UPGRADE};
use http::{HeaderValue, StatusCode};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Body, Certificate, Client, ClientBuilder, Request, Response, Url};

use crate::report::Cause;
use crate::site::{Address, OriginSpec, ReplicaSpec};

use super::dns::{NameError, PublicOnly, Resolver};
use super::origin::{Duplex, Origin, OriginRequest, OriginResponse};

/// All requests to a replica share one HTTP/2 connection: it is pinged this often, also while it is
/// unused, or one that is dead would swallow them until the system gives it up, minutes later.
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// A connection that leaves a ping unanswered for so long is dead.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// What a service behind a socket is told that it is called, having no host.
const SOCKET_URL: &str = "http://localhost";

/// The connections to one replica of an origin.
#[derive(Clone)]
pub struct HttpOrigin {
    inner: Arc<Inner>,
}

struct Inner {
    base: Url,
    authority: String,
    /// Where it is, if that is no host.
    socket: Option<PathBuf>,
    clients: Clients,
}

/// What makes the connections. Expensive to build, cheap to clone.
#[derive(Clone)]
struct Clients {
    /// Undoes content codings.
    decoding: Client,
    /// Passes them on.
    raw: Client,
    /// The same in HTTP/1.1: the version that a connection can leave for another protocol.
    leaving: Client,
    /// Whether the first two speak HTTP/2.
    http2: bool,
}

impl HttpOrigin {
    /// Prepares the connections to each replica, in the order of the declaration; makes none yet.
    /// Replicas that have a host share their clients.
    pub fn replicas(spec: &OriginSpec, resolver: &Resolver) -> Result<Vec<Arc<dyn Origin>>, Cause> {
        let broken = |e: reqwest::Error| Cause::Connect(text(&e));
        let mut of_hosts: Option<Clients> = None;
        let replica = |replica: &ReplicaSpec| {
            let (url, socket) = match &replica.address {
                Address::Url(url) => (url.as_str(), None),
                Address::Unix(path) => (SOCKET_URL, Some(path.as_path())),
            };
            let clients = match (socket, &of_hosts) {
                (None, Some(clients)) => clients.clone(),
                _ => Clients::new(spec, resolver, socket).map_err(broken)?,
            };
            if socket.is_none() {
                of_hosts = Some(clients.clone());
            }
            let base = Url::parse(url).map_err(|e| Cause::Connect(e.to_string()))?;
            let inner = Arc::new(Inner {
                authority: base.authority().to_owned(),
                base,
                socket: socket.map(Path::to_owned),
                clients,
            });
            Ok(Arc::new(Self { inner }) as Arc<dyn Origin>)
        };
        spec.replicas.iter().map(replica).collect()
    }
}

impl Clients {
    fn new(spec: &OriginSpec, resolver: &Resolver, socket: Option<&Path>) -> reqwest::Result<Self> {
        let client = || client(spec, resolver, socket);
        let raw = |client: ClientBuilder| client.no_gzip().no_brotli().no_zstd().build();
        if !spec.connections.http2 {
            let one = raw(client()?.http1_only())?;
            return Ok(Self {
                decoding: client()?.http1_only().build()?,
                leaving: one.clone(),
                raw: one,
                http2: false,
            });
        }
        Ok(Self {
            decoding: in_http2(client()?).build()?,
            raw: raw(in_http2(client()?))?,
            leaving: raw(client()?.http1_only())?,
            http2: true,
        })
    }

    /// The one for a request, and whether it speaks HTTP/2.
    fn choose(&self, request: &OriginRequest) -> (&Client, bool) {
        if request.headers.contains_key(UPGRADE) {
            (&self.leaving, false)
        } else if request.raw {
            (&self.raw, self.http2)
        } else {
            (&self.decoding, self.http2)
        }
    }
}

/// What all clients of an origin have in common.
fn client(
    spec: &OriginSpec,
    resolver: &Resolver,
    socket: Option<&Path>,
) -> reqwest::Result<ClientBuilder> {
    let client = Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .tcp_nodelay(true)
        .dns_resolver(resolver.clone())
        // from the name to the end of the TLS handshake
        .connect_timeout(spec.connect_timeout)
        .pool_idle_timeout(spec.connections.idle_timeout)
        .pool_max_idle_per_host(spec.connections.idle_max)
        .user_agent(concat!("marbre/", env!("CARGO_PKG_VERSION")));
    let client = match spec.connections.public_only {
        true => client.dns_resolver(PublicOnly(resolver.clone())),
        false => client,
    };
    let client = match socket {
        Some(path) => client.unix_socket(path),
        None => client,
    };
    trusting(client, spec)
}

/// With the certificates that may vouch for the origin.
fn trusting(client: ClientBuilder, spec: &OriginSpec) -> reqwest::Result<ClientBuilder> {
    let is_tls = |replica: &ReplicaSpec| match &replica.address {
        Address::Url(url) => url.starts_with("https:"),
        Address::Unix(_) => false,
    };
    Ok(match &spec.connections.ca {
        Some(pem) => client.tls_certs_only(Certificate::from_pem_bundle(pem)?),
        None if spec.replicas.iter().any(is_tls) => client,
        // reading those of the system takes milliseconds: not for an origin that speaks no TLS
        None => client.tls_certs_only([]),
    })
}

/// Speaking HTTP/2 and nothing else: agreed on within TLS, taken for granted without.
fn in_http2(client: ClientBuilder) -> ClientBuilder {
    client
        .http2_prior_knowledge()
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .http2_keep_alive_while_idle(true)
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        found(async move { resolver.addresses(name.as_str()).await })
    }
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        found(async move { resolver.addresses(name.as_str()).await })
    }
}

/// What a name stands for, as the client takes it.
fn found(
    addresses: impl Future<Output = Result<Vec<IpAddr>, NameError>> + Send + 'static,
) -> Resolving {
    async move {
        // port 0: the one of the URL
        let addresses = addresses.await?.into_iter();
        let addresses = addresses.map(|address| SocketAddr::new(address, 0));
        Ok(Box::new(addresses) as Addrs)
    }
    .boxed()
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
        match client.execute(self.address(request)).await {
            Ok(response) => Ok(answer(response, self.authority.clone())),
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

/// What a client error means to the chain.
fn cause(error: &reqwest::Error) -> Cause {
    if error.is_connect() && error.is_timeout() {
        Cause::Connect("no connection in time".to_owned())
    } else if error.is_connect() {
        Cause::Connect(text(error))
    } else if error.is_body() || error.is_decode() {
        Cause::Truncated(text(error))
    } else {
        Cause::Transport(text(error))
    }
}

/// What the innermost error says: the outer ones only say that something was being done.
fn text(error: &reqwest::Error) -> String {
    let mut innermost = error.source();
    while let Some(deeper) = innermost.and_then(|e| e.source()) {
        innermost = Some(deeper);
    }
    innermost.map_or_else(|| error.to_string(), ToString::to_string)
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
