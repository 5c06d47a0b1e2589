//! `[server]`: how readers connect, and who may stand between. Owns the checks of certificates and of those
//! who are trusted.

use super::Context;
use super::settings::place;
use crate::config::diagnose::{Diagnostic, FileId};
use crate::config::file::{self, At};
use crate::config::files::Files as _;
use crate::site::tls::{self, TlsError};
use crate::site::{Network, TlsFiles, TlsSettings, TrustedPeers};

/// `None` for what was reported.
pub(super) fn trusted_peers(
    server: &file::Server,
    main: FileId,
    cx: &mut Context<'_>,
) -> Option<TrustedPeers> {
    let mut peers = Vec::new();
    for written in &server.trusted_peers {
        match written.parse::<Network>() {
            Ok(network) => peers.push(network),
            Err(error) => cx.report(
                Diagnostic::error("a trusted peer is an address or a network")
                    .at(place(written, main), error.to_string()),
            ),
        }
    }
    if *server.proxy_protocol && server.trusted_peers.is_empty() {
        cx.report(
            Diagnostic::error("`proxy_protocol` needs somebody whose word is believed")
                .at(
                    place(&server.proxy_protocol, main),
                    "nobody is trusted, so nobody could use it",
                )
                .help("add `trusted_peers = [\"10.0.0.0/8\"]`: the addresses of your balancers"),
        );
    }
    (peers.len() == server.trusted_peers.len()).then_some(TrustedPeers(peers))
}

/// The files of `[server.tls]`, all of which can be shown.
pub(super) fn tls(tls: &file::Tls, main: FileId, cx: &mut Context<'_>) -> Option<TlsSettings> {
    let first = pair(&tls.certificate, &tls.key, main, cx);
    let others = tls.others.iter();
    let others: Vec<_> = others
        .map(|other| pair(&other.certificate, &other.key, main, cx))
        .collect();
    let pairs = std::iter::once(first).chain(others).collect();
    let pairs: Option<Vec<_>> = pairs;
    Some(TlsSettings { pairs: pairs? })
}

fn pair(
    certificate: &At<String>,
    key: &At<String>,
    main: FileId,
    cx: &mut Context<'_>,
) -> Option<TlsFiles> {
    let (chain, secret) = (
        read("certificate", certificate, main, cx),
        read("key", key, main, cx),
    );
    let (chain, secret) = (chain?, secret?);
    if let Err(error) = tls::read(&chain, &secret) {
        let (name, expected) = match error {
            TlsError::Certificate => (certificate, "-----BEGIN CERTIFICATE-----"),
            TlsError::Key | TlsError::Mismatch => (key, "-----BEGIN PRIVATE KEY-----"),
        };
        let finding = Diagnostic::error(format!("{name} cannot be shown to readers"));
        let finding = finding.at(place(name, main), error.to_string());
        cx.report(match error {
            TlsError::Mismatch => finding.also(place(certificate, main), "the certificate"),
            TlsError::Certificate | TlsError::Key => {
                finding.help(format!("expected `{expected}` and what follows, in PEM"))
            }
        });
        return None;
    }
    Some(TlsFiles {
        certificate: cx.root.join(certificate.as_str()),
        key: cx.root.join(key.as_str()),
    })
}

fn read(key: &str, name: &At<String>, main: FileId, cx: &mut Context<'_>) -> Option<Vec<u8>> {
    if name.contains("-----BEGIN ") {
        // what it holds is not repeated: it may be the key
        cx.report(
            Diagnostic::error(format!("`{key}` is the name of a file"))
                .at(place(name, main), "this is what the file would hold")
                .help("put it into a file, and name that"),
        );
        return None;
    }
    match cx.files.read(&cx.root.join(name.as_str())) {
        Ok(bytes) => Some(bytes),
        Err(why) => {
            let finding = Diagnostic::error(format!("{name} cannot be read"));
            cx.report(
                finding
                    .at(place(name, main), why.to_string())
                    .help("it is a file, relative to the folder of the main file"),
            );
            None
        }
    }
}
