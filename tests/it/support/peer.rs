//! An origin that speaks what the scripted one does not: HTTP/2, TLS, and over a socket without a
//! port. It answers everything with the version and the name by which it was asked, as in
//! `<p>HTTP/2.0 to localhost</p>`, and any change of protocol with an echo.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_rustls::TlsAcceptor;

use super::Authority;
use super::origin::spawn;

/// A running origin; it ends with the test.
pub(crate) struct Peer {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Peer {
    /// In plain text: HTTP/2 with whoever begins with it, else HTTP/1.1.
    pub(crate) async fn plain() -> Self {
        Self::listen(|stream| async move {
            let is_http2 = begins_with_http2(&stream).await;
            serve(stream, is_http2).await;
        })
        .await
    }

    /// Within TLS: the first of these protocols that the client offers.
    pub(crate) async fn tls(authority: &Authority, protocols: &[&str]) -> Self {
        let acceptor = acceptor(authority, protocols);
        Self::listen(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                // a client that trusts nobody here goes away
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                serve(stream, is_http2).await;
            }
        })
        .await
    }

    async fn listen<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("loopback has free ports");
        let address = listener.local_addr();
        let peer = Self {
            port: address.expect("a bound listener has an address").port(),
            connections: Arc::default(),
        };
        let connections = Arc::clone(&peer.connections);
        spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                spawn(serve(stream));
            }
        });
        peer
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How many connections have been made to it.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// The same over a socket of the machine, in HTTP/1.1.
pub(crate) fn listen_at(path: &Path) {
    let listener = UnixListener::bind(path).expect("the folder is writable");
    spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            spawn(serve(stream, false));
        }
    });
}

fn acceptor(authority: &Authority, protocols: &[&str]) -> TlsAcceptor {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let certificate = CertificateDer::from_pem_file(authority.certificate());
    let key = PrivateKeyDer::from_pem_file(authority.key());
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.expect("a certificate")],
            key.expect("a key"),
        )
        .expect("a key for its certificate");
    config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

async fn begins_with_http2(stream: &TcpStream) -> bool {
    let mut begin = [0; 3];
    while let Ok(count @ 1..) = stream.peek(&mut begin).await {
        if count == begin.len() {
            return &begin == b"PRI";
        }
    }
    false
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, is_http2: bool) {
    let io = TokioIo::new(stream);
    let service = service_fn(answer);
    // how it ends is the client's affair
    let _ = match is_http2 {
        true => {
            let builder = http2::Builder::new(TokioExecutor::new());
            builder.serve_connection(io, service).await
        }
        false => {
            let connection = http1::Builder::new().serve_connection(io, service);
            connection.with_upgrades().await
        }
    };
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if let Some(protocol) = request.headers().get(UPGRADE).cloned() {
        let upgrade = hyper::upgrade::on(&mut request);
        spawn(async move {
            let Ok(io) = upgrade.await else { return };
            let (mut from, mut to) = tokio::io::split(TokioIo::new(io));
            let _ = tokio::io::copy(&mut from, &mut to).await;
        });
        return Ok(switch_to(protocol));
    }
    let host = request.headers().get(HOST).map(|host| host.as_bytes());
    let host = host.or(request.uri().authority().map(|a| a.as_str().as_bytes()));
    let host = String::from_utf8_lossy(host.unwrap_or_default());
    let body = format!("<p>{:?} to {host}</p>", request.version());
    let mut response = Response::new(Full::from(body));
    let html = HeaderValue::from_static("text/html");
    response.headers_mut().insert(CONTENT_TYPE, html);
    Ok(response)
}

fn switch_to(protocol: HeaderValue) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
    response
}
