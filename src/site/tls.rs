//! What a listener shows by TLS: certificates and their keys. Owns the reading of what is in their files.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// `[server.tls]`: the files of what is shown, the first of them to whoever names nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// Certificates and their keys; never empty.
    pub pairs: Vec<TlsFiles>,
}

/// The files of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// It, and those that vouch for it, in PEM.
    pub certificate: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
}

/// Why files cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// There is none, or one that is damaged.
    #[error("it holds no certificate, or one that is damaged")]
    Certificate,
    /// There is none, or one that is damaged.
    #[error("it holds no private key that can be used")]
    Key,
    /// They do not go together.
    #[error("the key is not that of the certificate")]
    Mismatch,
}

/// What the files hold, ready to be shown.
pub fn read(certificate: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|_| TlsError::Certificate)?;
    if chain.is_empty() {
        return Err(TlsError::Certificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Key)?;
    let key = provider().key_provider.load_private_key(key);
    let pair = CertifiedKey::new(chain, key.map_err(|_| TlsError::Key)?);
    match pair.keys_match() {
        // a kind of key that cannot be compared is found out by whoever connects
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok(Arc::new(pair))
        }
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::Mismatch),
        Err(_) => Err(TlsError::Certificate),
    }
}

/// By what is encrypted and signed.
pub fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}
