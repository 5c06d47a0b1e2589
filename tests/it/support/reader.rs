//! A reader: asks for pages over a real socket, politely or byte by byte.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// A reader who has no page by then has none: a guard against tests that hang, not a measure.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks for pages.
#[derive(Clone)]
pub(crate) struct Reader {
    address: SocketAddr,
    client: reqwest::Client,
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

impl Page {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The level that the page says it has.
    pub(crate) fn level(&self) -> u8 {
        let says = self.header("marbre-level").expect("a page says its level");
        let level = says.split(';').next().and_then(|level| level.parse().ok());
        level.unwrap_or_else(|| panic!("no level: {says}"))
    }

    #[track_caller]
    pub(crate) fn is(&self, status: u16, body: &str) {
        assert_eq!((self.status, self.body.as_str()), (status, body));
    }

    /// The outcome of a fragment as `Server-Timing` tells it.
    pub(crate) fn outcome(&self, fragment: &str) -> Option<&str> {
        self.header("server-timing")?.split(", ").find_map(|entry| {
            let (name, rest) = entry.split_once(';')?;
            (name == fragment).then(|| rest.split_once("desc=").map(|(_, outcome)| outcome))?
        })
    }
}

/// A client that adds nothing of its own: no proxy, no redirects, no coding.
pub(crate) fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .redirect(reqwest::redirect::Policy::none())
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .build()
        .expect("a plain client can be built")
}

impl Reader {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            client: client(),
        }
    }

    pub(crate) fn again(address: SocketAddr, client: &reqwest::Client) -> Self {
        Self {
            address,
            client: client.clone(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Page {
        self.get_with(path, &[]).await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Page {
        let mut request = self.client.get(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request).await
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Page {
        let answer = request.send().await.expect("the server answers");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.text().await.expect("the body is whole");
        Page {
            status,
            headers,
            body,
        }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().expect("a method");
        self.client
            .request(method, format!("http://{}{path}", self.address))
    }

    /// These bytes on a connection of their own; everything that comes back until its end.
    pub(crate) async fn bytes(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        // the server may refuse before it has read all
        let _ = stream.write_all(request.as_ref()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A page for a reader who is at this address of the machine.
    pub(crate) async fn get_from(&self, own: Ipv4Addr, path: &str) -> String {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .bind((own, 0).into())
            .expect("all of 127.0.0.0/8 is this machine");
        let stream = socket.connect(self.address).await;
        let mut stream = stream.expect("the server listens");
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let sent = stream.write_all(request.as_bytes()).await;
        sent.expect("the server reads");
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer).await;
        read.expect("the server answers");
        String::from_utf8(answer).expect("pages are UTF-8")
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address)
            .await
            .expect("the server listens")
    }
}
