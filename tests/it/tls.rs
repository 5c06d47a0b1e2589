//! Readers are answered by TLS, in HTTP/2 or HTTP/1.1, and a renewed certificate takes the place of the old
//! one without anybody noticing.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use reqwest::tls::Version;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use crate::support::{Authority, Newsroom, Operator, json, newsroom, origin};

/// What has not come by then does not come: a guard against tests that hang, not a measure.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

fn shown(authority: &Authority) -> String {
    let (certificate, key) = (authority.certificate(), authority.key());
    format!(
        "certificate = '{}', key = '{}'",
        certificate.display(),
        key.display()
    )
}

async fn site_of(tls: &str) -> Newsroom {
    newsroom()
        .server(&format!("tls = {{ {tls} }}"))
        .core("article", "inline:<p>text</p>")
        .page("page", "/", "[article]")
        .start()
        .await
}

/// A reader who trusts this authority, and finds these names at this address.
fn reader(authority: &Authority, names: &[&str], at: SocketAddr) -> reqwest::ClientBuilder {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let pem = std::fs::read(authority.file()).unwrap();
    let trusted = reqwest::Certificate::from_pem(&pem).unwrap();
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        // each request is a handshake of its own
        .pool_max_idle_per_host(0)
        .tls_certs_only([trusted]);
    names
        .iter()
        .fold(client, |client, name| client.resolve(name, at))
}

fn localhost(site: &Newsroom) -> String {
    format!("https://localhost:{}/", site.app.address.port())
}

#[tokio::test]
async fn a_page_is_read_by_tls_in_either_protocol_and_version() {
    let authority = Authority::new("site");
    let site = site_of(&shown(&authority)).await;
    let read = async |client: reqwest::ClientBuilder| {
        let answer = client.build().unwrap().get(localhost(&site)).send().await;
        let answer = answer.unwrap();
        let version = answer.version();
        assert_eq!(answer.text().await.unwrap(), "<p>text</p>");
        version
    };
    let at = site.app.address;
    let client = || reader(&authority, &["localhost"], at);
    assert_eq!(read(client()).await, http::Version::HTTP_2);
    assert_eq!(read(client().http1_only()).await, http::Version::HTTP_11);
    for version in [Version::TLS_1_2, Version::TLS_1_3] {
        let client = client().tls_version_min(version).tls_version_max(version);
        assert_eq!(read(client).await, http::Version::HTTP_2);
    }
}

#[tokio::test]
async fn who_speaks_no_tls_is_told_nothing() {
    let authority = Authority::new("site");
    let limits = "header_timeout = \"100ms\"";
    let site = newsroom()
        .server(&format!("{limits}\ntls = {{ {} }}", shown(&authority)))
        .core("article", "inline:<p>text</p>")
        .page("page", "/", "[article]")
        .start()
        .await;
    let asked = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    let answer = site.reader().bytes(asked).await;
    assert!(!answer.contains("HTTP/1.1"), "{answer}");
    // nor is a handshake waited for that does not come: this returns
    site.reader().bytes("").await;
    site.reader().bytes(b"\x16\x03\x01\x02\x00").await;
    // operators are on a listener of their own
    assert!(site.state().await.is_object());
}

#[tokio::test]
async fn each_name_has_its_certificate() {
    let first = Authority::vouching_for("first", "DNS:one.example");
    let second = Authority::vouching_for("second", "DNS:two.example,DNS:*.two.example");
    let tls = format!("{}, others = [{{ {} }}]", shown(&first), shown(&second));
    let site = site_of(&tls).await;
    let (at, port) = (site.app.address, site.app.address.port());
    for (authority, name, is_shown) in [
        (&first, "one.example", true),
        (&second, "two.example", true),
        (&second, "www.two.example", true),
        (&second, "one.example", false),
        (&first, "two.example", false),
    ] {
        let client = reader(authority, &[name], at).build().unwrap();
        let answer = client.get(format!("https://{name}:{port}/")).send().await;
        assert_eq!(answer.is_ok(), is_shown, "{name}: {answer:?}");
    }
}

/// Waits until the last that the journal says of certificates is this.
async fn told_of_certificates(site: &Newsroom, is_refused: bool, because_of: &Path) {
    let (operator, file) = (Operator::of(site), because_of.display().to_string());
    let mut said = String::new();
    let told = timeout(PATIENCE, async {
        loop {
            said = operator.get("/journal?kinds=certificate").await.1;
            let entries: Value = serde_json::from_str(&said).unwrap();
            let last = entries["entries"].as_array().unwrap().last();
            if last.is_some_and(|last| {
                let says = last["says"].as_str().unwrap();
                last["refused"] == is_refused && says.contains(&file) == is_refused
            }) {
                return;
            }
            sleep(PAUSE).await;
        }
    });
    assert!(told.await.is_ok(), "the journal says: {said}");
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_and_a_bad_one_is_not() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let site = site_of(&shown(&old)).await;
    let at = site.app.address;
    let is_read = async |authority: &Authority| {
        let client = reader(authority, &["localhost"], at).build().unwrap();
        client.get(localhost(&site)).send().await.is_ok()
    };
    assert!(is_read(&old).await);
    // one who was connected before stays so
    let staying = reader(&old, &["localhost"], at).pool_max_idle_per_host(1);
    let staying = staying.build().unwrap();
    let ask = async || {
        staying
            .get(localhost(&site))
            .send()
            .await
            .unwrap()
            .text()
            .await
    };
    ask().await.unwrap();
    // what is in the files for a while is of no use, or does not go together
    std::fs::write(old.certificate(), "half of it").unwrap();
    told_of_certificates(&site, true, &old.certificate()).await;
    assert!(is_read(&old).await);
    std::fs::copy(new.certificate(), old.certificate()).unwrap();
    told_of_certificates(&site, true, &old.key()).await;
    assert!(is_read(&old).await);
    std::fs::copy(new.key(), old.key()).unwrap();
    told_of_certificates(&site, false, &old.key()).await;
    assert!(is_read(&new).await && !is_read(&old).await);
    assert_eq!(ask().await.unwrap(), "<p>text</p>");
}

#[tokio::test]
async fn origins_learn_that_the_reader_has_come_by_tls() {
    let api = origin().on("/api/a", json("{}")).start().await;
    let authority = Authority::new("site");
    let site = newsroom()
        .server(&format!("tls = {{ {} }}", shown(&authority)))
        .origin("api", &api)
        .toml("[[proxy]]\nroute = \"/api/{*rest}\"\norigin = \"api\"")
        .start()
        .await;
    let client = reader(&authority, &["localhost"], site.app.address);
    let url = format!("{}api/a", localhost(&site));
    let answer = client.build().unwrap().get(url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let head = api.last_head("/api/a").unwrap();
    assert!(head.contains("x-forwarded-proto: https"), "{head}");
}

#[tokio::test]
async fn the_balancer_speaks_before_tls_begins() {
    let authority = Authority::new("site");
    let keys = "trusted_peers = [\"127.0.0.1\"]\nproxy_protocol = true";
    let site = newsroom()
        .server(&format!("{keys}\ntls = {{ {} }}", shown(&authority)))
        .core("article", "inline:<p>text</p>")
        .page("page", "/", "[article]")
        .start()
        .await;
    let mut stream = site.reader().connect().await;
    let header = b"PROXY TCP4 192.0.2.1 127.0.0.1 4711 443\r\n";
    stream.write_all(header).await.unwrap();
    let mut roots = rustls::RootCertStore::empty();
    let pem = std::fs::read(authority.file()).unwrap();
    roots
        .add(rustls::pki_types::CertificateDer::from_pem_slice(&pem).unwrap())
        .unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let name = "localhost".try_into().unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    let asked = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(asked).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.ends_with("<p>text</p>"), "{answer}");
}
