//! The demo newspaper's origins: eight HTTP servers, each on its own loopback port.
//!
//! It owns which origins there are, their ports and their life. It must not know the composition
//! server that reads them. Its invariant: every origin runs as long as its [`Newspaper`] and no
//! longer, and keeps its port even while its dial says `off`.

mod body;
mod listener;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::articles::{self, Edition};
use super::dials::{self, Dials};
use crate::telemetry::slo::FaultGate;
use listener::Origin;

/// The origins, as `fragments.toml` names them.
const ORIGINS: [&str; 8] = [
    "cms", "media", "pictures", "live", "reco", "weather", "ads", "web",
];

/// The embedded origins, running. Dropping it stops them.
#[derive(Debug)]
pub struct Newspaper {
    addresses: Vec<(&'static str, SocketAddr)>,
    dials: Dials,
    _stop: DropGuard,
}

impl Newspaper {
    /// Binds every origin and serves it on `tasks`.
    ///
    /// `port` gives the wanted port of an origin (0 = any free one); a port that is taken falls
    /// back to a free one, which [`Self::addresses`] tells.
    pub async fn start(port: impl Fn(&str) -> u16, tasks: &TaskTracker) -> io::Result<Self> {
        let dials = Dials::new(&ORIGINS);
        let edition = Arc::new(Edition::print());
        let stop = CancellationToken::new();
        // Held from here on, so that a failed bind stops the origins already running.
        let guard = stop.clone().drop_guard();
        let mut addresses = Vec::with_capacity(ORIGINS.len());
        for name in ORIGINS {
            let listener = bind(port(name)).await?;
            let address = listener.local_addr()?;
            let origin = Origin {
                name,
                address,
                dial: dials.watch(name).expect("every origin has its dial"),
                edition: Arc::clone(&edition),
                tasks: tasks.clone(),
            };
            tasks.spawn(origin.run(listener, stop.clone()));
            addresses.push((name, address));
        }
        Ok(Self {
            addresses,
            dials,
            _stop: guard,
        })
    }

    /// Where each origin listens.
    pub fn addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        self.addresses.clone()
    }

    /// The paths of all the newspaper's pages, the front page first.
    pub fn pages(&self) -> Vec<String> {
        articles::pages()
    }

    /// How each origin is made to misbehave; cheap to clone.
    pub fn dials(&self) -> Dials {
        self.dials.clone()
    }

    /// The pages and the API from which the dials are turned; `gate` says whether they may be.
    pub fn desk(&self, gate: FaultGate) -> axum::Router {
        dials::router(self.dials(), self.addresses(), gate)
    }
}

async fn bind(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
        Err(taken) if taken.kind() == io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
        }
        bound => bound,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::super::dials::Change;
    use super::*;

    /// A newspaper on free ports, and its first origin's address.
    async fn newspaper() -> (Newspaper, SocketAddr, TaskTracker) {
        let tasks = TaskTracker::new();
        let newspaper = Newspaper::start(|_| 0, &tasks).await.unwrap();
        let cms = newspaper.addresses()[0].1;
        (newspaper, cms, tasks)
    }

    fn turn(newspaper: &Newspaper, form: &str) {
        newspaper
            .dials()
            .turn("cms", &Change::parse(form).unwrap())
            .unwrap();
    }

    /// Everything the origin sends for `path` before it closes.
    async fn read(origin: SocketAddr, path: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(origin).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// The announced length of a body, and the one received.
    fn lengths(answer: &str) -> (usize, usize) {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let announced = head.split("content-length: ").nth(1).unwrap();
        (
            announced.lines().next().unwrap().parse().unwrap(),
            body.len(),
        )
    }

    const STORY: &str = "/articles/archipel-cable";

    #[tokio::test]
    async fn a_healthy_origin_answers_in_full() {
        let (_newspaper, cms, _tasks) = newspaper().await;
        let answer = read(cms, STORY).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let (announced, received) = lengths(&answer);
        assert_eq!(announced, received);
        assert!(
            read(cms, "/articles/rien")
                .await
                .unwrap()
                .starts_with("HTTP/1.1 404")
        );
    }

    #[tokio::test]
    async fn a_taken_port_falls_back_to_a_free_one() {
        let (_newspaper, cms, tasks) = newspaper().await;
        let second = Newspaper::start(|_| cms.port(), &tasks).await.unwrap();
        assert!(
            second
                .addresses()
                .iter()
                .all(|(_, address)| *address != cms)
        );
    }

    #[tokio::test]
    async fn cut_announces_all_and_sends_half() {
        let (newspaper, cms, _tasks) = newspaper().await;
        turn(&newspaper, "cut=1");
        let (announced, received) = lengths(&read(cms, STORY).await.unwrap());
        assert_eq!(received, announced / 2);
    }

    #[tokio::test]
    async fn error_latency_hang_and_drip_act_on_the_next_request() {
        let (newspaper, cms, _tasks) = newspaper().await;
        turn(&newspaper, "error=1");
        assert!(read(cms, STORY).await.unwrap().starts_with("HTTP/1.1 500"));
        for trouble in [
            "reset=1&latency_ms=5000",
            "reset=1&hang=1",
            "reset=1&drip=1",
        ] {
            turn(&newspaper, trouble);
            let answer = timeout(Duration::from_millis(150), read(cms, STORY)).await;
            assert!(answer.is_err(), "{trouble} answered in full");
        }
        turn(&newspaper, "reset=1");
        assert!(read(cms, STORY).await.unwrap().starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn off_refuses_connections_drops_open_ones_and_comes_back_on_the_same_port() {
        let (newspaper, cms, _tasks) = newspaper().await;
        let mut open = TcpStream::connect(cms).await.unwrap();
        open.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        open.read_u8().await.unwrap();
        turn(&newspaper, "off=1");
        let rest = timeout(Duration::from_secs(5), open.read_to_end(&mut Vec::new())).await;
        assert!(rest.is_ok(), "the open connection was kept");
        assert!(read(cms, STORY).await.is_err());
        turn(&newspaper, "off=0");
        let back = async {
            while read(cms, STORY).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(5), back)
            .await
            .expect("the origin came back");
    }

    #[tokio::test]
    async fn dropping_the_newspaper_ends_every_task() {
        let (newspaper, cms, tasks) = newspaper().await;
        turn(&newspaper, "hang=1");
        let waiting = TcpStream::connect(cms).await.unwrap();
        drop(newspaper);
        tasks.close();
        timeout(Duration::from_secs(5), tasks.wait())
            .await
            .expect("no task is left");
        drop(waiting);
    }
}
