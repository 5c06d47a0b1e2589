//! Connections (shell). Owns the accept loop, what comes before HTTP on a connection (a balancer's word
//! on who reads, TLS), the choice between HTTP/1.1 and HTTP/2, the limits of a connection, and its
//! graceful end.
//!
//! Without TLS a connection speaks HTTP/2 if it opens with that protocol's preface. The preface is read
//! under a time limit before either protocol is started, because the automatic detection of the
//! HTTP library waits for it without one.
//!
//! What a connection may hold is bounded here, and told in `docs/http.md`: whoever changes a number here
//! changes it there.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{BoxError, Service};

use crate::clock::Clock;
use crate::report::Throttle;
use crate::site::TrustedPeers;

use self::opening::opened;
use self::quiet::{Phase, Watched};
use self::streams::Streams;
use self::unsent::{Answers, Sending};
use super::forwarded::Client;

mod opening;
mod proxy_protocol;
mod quiet;
mod streams;
mod tls;
mod unsent;

#[cfg(any(test, feature = "fuzzing"))]
pub(super) use proxy_protocol::hold as hold_of_proxy_protocol;

pub use tls::{Tls, TlsFailure};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// The HTTP library's buffer, read and write: a page should leave in one or two writes.
const BUFFER_BYTES_MIN: usize = 64 << 10;
/// Requests at once on one HTTP/2 connection: RFC 9113, 6.5.2 recommends no fewer than 100, and browsers and
/// CDNs rarely have more under way.
const STREAMS_MAX: u32 = 128;
/// Requests taken back before they were begun, on one HTTP/2 connection: with more it is ended (CVE-2023-44487,
/// rapid reset). Those that were begun do not count. It is what the HTTP library has chosen, written down.
const TAKEN_BACK_MAX: usize = 20;
/// Streams that the server itself has had to reset, over the life of an HTTP/2 connection: with more it is ended
/// (RUSTSEC-2024-0003). As the HTTP library has it: a CDN asks for very many readers on one connection, and one
/// that asks badly is not to cut off the others.
const RESETS_MAX: usize = 1024;
/// What may come of request bodies on an HTTP/2 connection before it is passed on, in bytes, on all of its
/// streams and on one: 10 MiB/s for a reader at 100 ms.
const WINDOW_BYTES: u32 = 1 << 20;
/// What of an answer is kept for a stream of HTTP/2 beyond what its reader's window lets through now, in bytes:
/// four frames, so that there is always one to send. The library's own 400 KiB are for clients that upload.
const UNSENT_BYTES_MAX: usize = 64 << 10;
/// The table of fields that a reader may have kept (RFC 7541, 4.2), in bytes: what the protocol begins with.
const FIELDS_BYTES_MAX: u32 = 4096;
/// After so long without an acknowledgement the kernel gives up a connection, which frees whatever
/// a reader who has gone was being sent.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);
/// Pause after a failed accept: the process is out of file descriptors, and some will be freed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The limits of a listener.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Until the head of a request has arrived, from its first byte.
    pub header_timeout: Duration,
    /// Between two requests on a connection.
    pub idle_timeout: Duration,
    /// How long a reader may take nothing of what it is being sent.
    pub send_timeout: Duration,
    /// Largest request head, in bytes.
    pub header_bytes_max: usize,
    /// Connections at once.
    pub connections_max: usize,
}

/// How a listener takes connections.
#[derive(Clone)]
pub struct Terms {
    /// What they may cost.
    pub limits: Limits,
    /// What is shown to those who connect; `None`: they come without TLS.
    pub tls: Option<Arc<Tls>>,
    /// Whose word on who reads is believed.
    pub trusted: Arc<TrustedPeers>,
    /// Whether those say it before anything else.
    pub proxy_protocol: bool,
}

impl Terms {
    /// For those who come directly and without TLS.
    pub fn plain(limits: Limits) -> Self {
        Self {
            limits,
            tls: None,
            trusted: Arc::default(),
            proxy_protocol: false,
        }
    }
}

/// Who is connected, and the place that the connection takes up among those of its listener.
/// Whoever takes the connection over from HTTP holds on to it.
#[derive(Debug, Default)]
pub struct Who {
    peer: Option<SocketAddr>,
    is_secure: bool,
    trusted: Arc<TrustedPeers>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Who {
    /// Who is connected to the program that this is a part of.
    pub(super) fn mounted(peer: Option<SocketAddr>, trusted: Arc<TrustedPeers>) -> Self {
        Self {
            peer,
            trusted,
            ..Self::default()
        }
    }

    /// Where whoever is connected says to be, or is.
    pub fn address(&self) -> Option<IpAddr> {
        self.peer.map(|peer| peer.ip())
    }

    /// Whom a request with these headers comes from.
    pub(super) fn client(&self, headers: &HeaderMap) -> Client {
        let peer = self.peer.map(|peer| peer.ip());
        Client::of(headers, peer, self.is_secure, &self.trusted)
    }
}

/// Binds a listener.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts connections until `stop`, and serves each as a task of its own, with what `answers`
/// gives for it. Connections under way at that moment finish the request that they are in; `tasks`
/// tells when they have.
pub async fn serve<S, B>(
    listener: TcpListener,
    answers: impl Fn(Arc<Who>) -> S + Send + Sync + 'static,
    terms: Terms,
    tasks: TaskTracker,
    stop: CancellationToken,
) where
    S: Service<
            Request<Incoming>,
            Response = Response<B>,
            Error = Infallible,
            Future: Send + 'static,
        >,
    S: Clone + Send + Sync + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    let room = Arc::new(Semaphore::new(terms.limits.connections_max));
    let (complaints, clock) = (Throttle::default(), Clock::start());
    let (answers, terms) = (Arc::new(answers), Arc::new(terms));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            permit = Arc::clone(&room).acquire_owned() => {
                let permit = permit.expect("the semaphore is never closed");
                tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted.map(|(stream, peer)| (stream, peer, permit)),
                }
            }
        };
        match accepted {
            Ok((stream, peer, permit)) => {
                let accepted = Accepted {
                    stream,
                    peer,
                    place: permit,
                };
                let (answers, terms) = (Arc::clone(&answers), Arc::clone(&terms));
                let connection = connection(accepted, answers, terms, stop.clone());
                tasks.spawn(async move {
                    // an error here is a reader who has gone or who does not speak HTTP
                    let _ = connection.await;
                });
            }
            Err(error) => {
                let kind = error.kind().to_string();
                if let Some(untold) = complaints.due(&kind, clock.now()) {
                    let count = untold.0;
                    tracing::warn!(
                        %error,
                        untold = count,
                        "cannot accept a connection: {error}{untold}"
                    );
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A connection that has been accepted.
struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
    place: OwnedSemaphorePermit,
}

async fn connection<S, B>(
    accepted: Accepted,
    answers: Arc<impl Fn(Arc<Who>) -> S>,
    terms: Arc<Terms>,
    stop: CancellationToken,
) -> Result<(), BoxError>
where
    S: Service<
            Request<Incoming>,
            Response = Response<B>,
            Error = Infallible,
            Future: Send + 'static,
        >,
    S: Clone + Send + Sync + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    let Accepted {
        mut stream,
        peer,
        place,
    } = accepted;
    let _ = stream.set_nodelay(true);
    let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX));
    let limits = &terms.limits;
    let whose = async {
        match terms.proxy_protocol && terms.trusted.contains(peer.ip()) {
            true => proxy_protocol::read(&mut stream).await,
            false => Ok(None),
        }
    };
    let whose = in_time(whose, limits, &stop).await?;
    let who = Arc::new(Who {
        peer: Some(whose.unwrap_or(peer)),
        is_secure: terms.tls.is_some(),
        trusted: Arc::clone(&terms.trusted),
        _place: Some(place),
    });
    let answers = answers(who);
    match &terms.tls {
        None => {
            let (stream, is_http2) = in_time(opened(stream), limits, &stop).await?;
            http(stream, is_http2, answers, limits, stop).await
        }
        Some(tls) => {
            let (stream, is_http2) = in_time(tls.accept(stream), limits, &stop).await?;
            http(stream, is_http2, answers, limits, stop).await
        }
    }
}

/// What a connection begins with before HTTP does, if it comes while somebody waits for it.
async fn in_time<T>(
    beginning: impl Future<Output = io::Result<T>>,
    limits: &Limits,
    stop: &CancellationToken,
) -> io::Result<T> {
    tokio::select! {
        () = stop.cancelled() => Err(io::ErrorKind::Interrupted.into()),
        begun = timeout(limits.header_timeout, beginning) => {
            begun.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        }
    }
}

async fn http<S, B>(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    is_http2: bool,
    answers: S,
    limits: &Limits,
    stop: CancellationToken,
) -> Result<(), BoxError>
where
    S: Service<
            Request<Incoming>,
            Response = Response<B>,
            Error = Infallible,
            Future: Send + 'static,
        >,
    S: Clone + Send + Sync + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    // whoever answers is always ready: what waits for that would have room for the future twice
    let service = service_fn(move |request| answers.clone().call(request));
    let stream = Sending::new(stream, limits.send_timeout);
    if is_http2 {
        let streams = Streams::none();
        let service = service_fn(|request| {
            let (stream, answer) = (streams.open(), service.call(request));
            answer.map(move |answer| answer.map(|answer| stream.with(answer)))
        });
        let answers = Answers {
            limit: limits.send_timeout,
        };
        let mut builder = http2::Builder::new(answers);
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_pending_accept_reset_streams(TAKEN_BACK_MAX)
            .max_local_error_reset_streams(RESETS_MAX)
            .initial_connection_window_size(WINDOW_BYTES)
            .initial_stream_window_size(WINDOW_BYTES)
            .max_send_buf_size(UNSENT_BYTES_MAX)
            .header_table_size(FIELDS_BYTES_MAX)
            .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
            .keep_alive_interval(Some(limits.header_timeout))
            .keep_alive_timeout(limits.header_timeout);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let is_stopping = tokio::select! {
            ended = connection.as_mut() => return Ok(ended?),
            () = stop.cancelled() => true,
            () = streams.none_for(limits.idle_timeout) => false,
        };
        connection.as_mut().graceful_shutdown();
        if is_stopping {
            return Ok(connection.await?);
        }
        // what is left of its answers is with the library, and whoever takes none of it would stay for ever
        return Ok(timeout(limits.send_timeout, connection).await??);
    }
    let phase = Arc::<Phase>::default();
    let (head, idle) = (limits.header_timeout, limits.idle_timeout);
    let stream = Watched::new(stream, Arc::clone(&phase), head, idle);
    let service = service_fn(move |request| {
        let (answering, answer) = (phase.begin(), service.call(request));
        // not an async block, in which there would be room for the future twice
        answer.map(move |answer| answer.map(|answer| answering.with(answer)))
    });
    let mut builder = http1::Builder::new();
    builder
        // at most 100 header fields: the library's own limit, which it keeps faster than a given one
        .max_buf_size(limits.header_bytes_max.max(BUFFER_BYTES_MIN))
        // one limit for a head and for the time between two: they are kept where the connection is read
        .header_read_timeout(None);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection.with_upgrades());
    tokio::select! {
        ended = connection.as_mut() => return Ok(ended?),
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}
