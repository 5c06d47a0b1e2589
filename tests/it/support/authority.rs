//! A certificate authority that nobody knows, and a certificate that it has issued to a server.
//! Made by openssl, in a folder of its own.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// An authority with one certificate.
pub(crate) struct Authority {
    folder: TempDir,
}

impl Authority {
    /// Its certificate is for a server on this machine.
    pub(crate) fn new(name: &str) -> Self {
        Self::vouching_for(name, "DNS:localhost,IP:127.0.0.1")
    }

    /// Its certificate is for a server of these names.
    pub(crate) fn vouching_for(name: &str, names: &str) -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        let authority = Self { folder };
        let extensions = format!(
            "[req]\ndistinguished_name = name\n[name]\n\
             [authority]\nbasicConstraints = critical,CA:TRUE\n\
             [server]\nbasicConstraints = critical,CA:FALSE\nsubjectAltName = {names}\n"
        );
        let written = std::fs::write(authority.path("openssl.cnf"), extensions);
        written.expect("the temporary folder is writable");
        let subject = format!("/CN={name} authority");
        authority.make("authority", &["-subj", &subject]);
        let issuer = ["-CA", "authority.pem", "-CAkey", "authority.key"];
        let subject = ["-subj", "/CN=server"];
        authority.make("server", &[issuer.as_slice(), &subject].concat());
        authority
    }

    /// What must be trusted.
    pub(crate) fn file(&self) -> PathBuf {
        self.path("authority.pem")
    }

    /// What a server shows, and its secret.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.path("server.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.path("server.key")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn make(&self, name: &str, more: &[&str]) {
        let made = Command::new("openssl")
            .current_dir(self.folder.path())
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
            .args(["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
            .args(["-config", "openssl.cnf", "-extensions", name])
            .args(["-keyout", &format!("{name}.key")])
            .args(["-out", &format!("{name}.pem")])
            .args(more)
            .output();
        let made = made.expect("openssl can be run: run tests/run");
        assert!(made.status.success(), "{made:?}");
    }
}
