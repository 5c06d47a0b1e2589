//! The connections that origins are reached by (shell): to a name or a number, within TLS or without, or
//! to a socket of this machine. Owns how one is made and who may vouch for its other end; what is spoken
//! over it, and who keeps it, is none of its business.
//!
//! Invariant: a connection is there in the origin's time for it, from the name to the end of the TLS
//! handshake, or there is none.

use std::error::Error;
use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{io, vec};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use tower::{Service, ServiceExt as _};

use crate::fetch::dns::{NameError, PublicOnly, Resolver};
use crate::fetch::origin::Duplex;
use crate::report::Cause;
use crate::site::{Address, OriginSpec, tls};

/// Makes the connections of one client. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connector {
    way: Way,
    time: Duration,
}

#[derive(Clone)]
enum Way {
    Name(Box<HttpConnector<Names>>, Option<TlsConnector>),
    Socket(Arc<Path>),
}

impl Connector {
    /// To whatever host is asked for.
    pub(super) fn by_name(
        spec: &OriginSpec,
        resolver: &Resolver,
        tls: Option<&Tls>,
        http2: bool,
    ) -> Self {
        let names = match spec.connections.public_only {
            true => Names::Public(PublicOnly(resolver.clone())),
            false => Names::Any(resolver.clone()),
        };
        let mut tcp = HttpConnector::new_with_resolver(names);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // shared out among the addresses of a name, so that one that is dead does not take it all
        tcp.set_connect_timeout(Some(spec.connect_timeout));
        Self {
            way: Way::Name(Box::new(tcp), tls.map(|tls| tls.offering(http2))),
            time: spec.connect_timeout,
        }
    }

    /// To a socket of this machine, whatever is asked for.
    pub(super) fn by_socket(spec: &OriginSpec, path: &Path) -> Self {
        Self {
            way: Way::Socket(Arc::from(path)),
            time: spec.connect_timeout,
        }
    }

    async fn connect(self, uri: Uri) -> Result<Stream, Failure> {
        let io: Box<dyn Duplex> = match self.way {
            Way::Socket(path) => Box::new(UnixStream::connect(&*path).await?),
            Way::Name(tcp, tls) => {
                let is_tls = uri.scheme_str() == Some("https");
                let host = uri.host().unwrap_or_default().to_owned();
                let tcp = tcp.oneshot(uri).await?.into_inner();
                match tls.filter(|_| is_tls) {
                    Some(tls) => Box::new(tls.connect(host_name(&host)?, tcp).await?),
                    None => Box::new(tcp),
                }
            }
        };
        Ok(Stream(TokioIo::new(io)))
    }
}

/// Why there is no connection.
pub(super) type Failure = Box<dyn Error + Send + Sync>;

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Stream, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        async move { tokio::time::timeout(connector.time, connector.connect(uri)).await? }.boxed()
    }
}

/// Whose certificate it must be.
fn host_name(host: &str) -> Result<ServerName<'static>, Failure> {
    // a number of version 6 is in brackets in a URL, and only there
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok(ServerName::try_from(host)?.to_owned())
}

/// A connection, whatever it goes over.
pub(super) struct Stream(TokioIo<Box<dyn Duplex>>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        // which version is spoken has been decided before
        Connected::new()
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }
}

/// Where names are looked up.
#[derive(Clone)]
enum Names {
    Any(Resolver),
    Public(PublicOnly),
}

impl Service<Name> for Names {
    type Response = Addresses;
    type Error = NameError;
    type Future = BoxFuture<'static, Result<Addresses, NameError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NameError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let names = self.clone();
        let found = async move {
            let found = match &names {
                Self::Any(resolver) => resolver.addresses(name.as_str()).await?,
                Self::Public(public) => public.addresses(name.as_str()).await?,
            };
            Ok(Addresses(found.into_iter()))
        };
        found.boxed()
    }
}

/// The addresses of a name, without their port: it is the one of the URL.
struct Addresses(vec::IntoIter<IpAddr>);

impl Iterator for Addresses {
    type Item = SocketAddr;

    fn next(&mut self) -> Option<SocketAddr> {
        self.0.next().map(|address| SocketAddr::new(address, 0))
    }
}

/// How connections of an origin are made within TLS.
pub(super) struct Tls {
    config: ClientConfig,
}

impl Tls {
    /// With the certificates that may vouch for the origin; `None` if it has no replica that needs any:
    /// to read those of the system takes milliseconds.
    pub(super) fn of(spec: &OriginSpec) -> Result<Option<Self>, Cause> {
        let is_tls = |address: &Address| match address {
            Address::Url(url) => url.starts_with("https:"),
            Address::Unix(_) => false,
        };
        if !spec.replicas.iter().any(|replica| is_tls(&replica.address)) {
            return Ok(None);
        }
        let config = trusting(spec.connections.ca.as_deref());
        let config = config.map_err(|why| Cause::Connect(why.to_string()))?;
        Ok(Some(Self { config }))
    }

    fn offering(&self, http2: bool) -> TlsConnector {
        let mut config = self.config.clone();
        config.alpn_protocols = vec![match http2 {
            true => b"h2".to_vec(),
            false => b"http/1.1".to_vec(),
        }];
        TlsConnector::from(Arc::new(config))
    }
}

/// Trusting who is vouched for by the certificates in a PEM file, or else by those of the system.
fn trusting(ca: Option<&[u8]>) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(tls::provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let config = config.with_safe_default_protocol_versions()?;
    let Some(pem) = ca else {
        let verifier = Arc::new(Verifier::new(provider)?);
        let config = config
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        return Ok(config.with_no_client_auth());
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate?)?;
    }
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
