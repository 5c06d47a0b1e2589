//! TLS towards readers (shell): 1.2 and 1.3, HTTP/2 and HTTP/1.1. Owns which certificate is shown, and
//! that a new one takes the place of the old when its files change.
//!
//! Files are looked at again every few seconds and read whole: those who renew certificates replace, link
//! or overwrite them, and no notice of the system covers all of that. Invariant: what cannot be shown never
//! takes the place of what can, and nobody's connection ends because a certificate is renewed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::report::Event;
use crate::site::tls::{self, TlsError, TlsFiles, TlsSettings};

/// Between two looks at the files.
const LOOK_PAUSE: Duration = Duration::from_secs(2);

const HTTP2: &[u8] = b"h2";

/// Why certificates cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum TlsFailure {
    /// A file cannot be read.
    #[error("{file} cannot be read: {error}")]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// What is in the files is of no use.
    #[error("{file}: {error}")]
    Useless {
        /// Of the certificate or the key.
        file: PathBuf,
        /// Why not.
        error: TlsError,
    },
    /// The library refuses.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// What is shown to readers.
pub struct Tls {
    acceptor: TlsAcceptor,
    shown: Arc<Shown>,
    settings: TlsSettings,
    /// What was in the files at first.
    opened_with: Contents,
}

/// The certificates, swapped whole.
#[derive(Debug)]
struct Shown(ArcSwap<Vec<Arc<CertifiedKey>>>);

/// The bytes of all files.
type Contents = Vec<(Vec<u8>, Vec<u8>)>;

impl Tls {
    /// Shows what the files hold at present.
    pub fn open(settings: TlsSettings) -> Result<Self, TlsFailure> {
        let opened_with = contents(&settings)?;
        let pairs = pairs(&settings, &opened_with)?;
        let shown = Arc::new(Shown(ArcSwap::from_pointee(pairs)));
        let builder = rustls::ServerConfig::builder_with_provider(Arc::new(tls::provider()));
        let builder = builder
            .with_safe_default_protocol_versions()
            .map_err(TlsFailure::Setup)?;
        let mut config = builder
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as _);
        config.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            shown,
            settings,
            opened_with,
        })
    }

    /// The connection once both sides agree, and whether they speak HTTP/2.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, bool)> {
        let stream = self.acceptor.accept(stream).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
        Ok((stream, is_http2))
    }

    /// Looks at the files until `stop`, and tells what comes of it.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken, tell: impl Fn(&Event)) {
        let mut known = Some(self.opened_with.clone());
        let mut complaint = String::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_PAUSE) => {}
            }
            let this = Arc::clone(&self);
            let looked = tokio::task::spawn_blocking(move || contents(&this.settings)).await;
            let Ok(looked) = looked else { continue };
            let renewed = match looked {
                Ok(found) if known.as_ref() == Some(&found) => continue,
                Ok(found) => {
                    let renewed = pairs(&self.settings, &found);
                    known = Some(found);
                    renewed
                }
                Err(failure) => Err(failure),
            };
            match renewed {
                Ok(pairs) => {
                    self.shown.0.store(Arc::new(pairs));
                    complaint.clear();
                    tell(&Event::Certificates(Ok(())));
                }
                Err(failure) => {
                    let text = failure.to_string();
                    // while one file is replaced and the other is not, they may not go together
                    if text != complaint {
                        tell(&Event::Certificates(Err(text.clone())));
                        complaint = text;
                    }
                }
            }
        }
    }
}

impl ResolvesServerCert for Shown {
    /// That of the name which is asked for; the first, if there is none.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.0.load();
        let name = hello
            .server_name()
            .and_then(|name| ServerName::try_from(name).ok());
        let named = name.filter(|_| shown.len() > 1).and_then(|name| {
            let mut pairs = shown.iter();
            pairs.find(|pair| is_of(pair, &name))
        });
        named.or(shown.first()).cloned()
    }
}

fn is_of(pair: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let parsed = pair.end_entity_cert().and_then(ParsedCertificate::try_from);
    parsed.is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok())
}

fn contents(settings: &TlsSettings) -> Result<Contents, TlsFailure> {
    let read = |file: &Path| {
        fs::read(file).map_err(|error| TlsFailure::Unreadable {
            file: file.to_owned(),
            error,
        })
    };
    let pairs = settings.pairs.iter();
    pairs
        .map(|pair| Ok((read(&pair.certificate)?, read(&pair.key)?)))
        .collect()
}

fn pairs(settings: &TlsSettings, found: &Contents) -> Result<Vec<Arc<CertifiedKey>>, TlsFailure> {
    let pairs = settings.pairs.iter().zip(found);
    pairs
        .map(|(files, (certificate, key))| {
            tls::read(certificate, key).map_err(|error| useless(files, error))
        })
        .collect()
}

fn useless(files: &TlsFiles, error: TlsError) -> TlsFailure {
    let file = match error {
        TlsError::Certificate => &files.certificate,
        TlsError::Key | TlsError::Mismatch => &files.key,
    };
    TlsFailure::Useless {
        file: file.clone(),
        error,
    }
}
