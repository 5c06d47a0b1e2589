//! A control law and an observer of the program's own. The law knows something that no sensor of the server
//! tells, here that the program is to be thrifty; the observer writes each page as a line of JSON.
//!
//! `cargo run --example own_law [ADDRESS]`, 127.0.0.1:8080 if none is said; then
//! `curl -X PUT http://127.0.0.1:8080/thrifty`, and `-X DELETE`.

#![allow(
    clippy::print_stdout,
    reason = "a program that is started by hand says where it listens"
)]

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use axum::Router;
use axum::routing::{get, put};
use axum::serve::ListenerExt as _;
use marbre::app::{App, Options};
use marbre::config::{Declaration, Entry};
use marbre::degradation::law::{OwnLaw, Reason};
use marbre::degradation::{Decision, Sample};
use marbre::report::{Event, Observer, PageReport};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Lines that wait to be written. What does not fit is counted, and no page waits for it.
const LINES_MAX: usize = 1024;

/// No optional work while the program is to be thrifty; otherwise all of it comes back, a tenth each tick.
struct Thrift(Arc<AtomicBool>);

impl OwnLaw for Thrift {
    /// The share of the optional work that was done in the tick before.
    type State = f64;

    fn name(&self) -> &'static str {
        "thrift"
    }

    fn begin(&self, _rate: Option<f64>) -> f64 {
        1.0
    }

    fn step(&self, before: f64, _sample: &Sample) -> (f64, Decision) {
        let (theta, reason) = match self.0.load(Ordering::Relaxed) {
            true => (0.0, Reason::Demand),
            false if before < 1.0 => ((before + 0.1).min(1.0), Reason::Recovering),
            false => (1.0, Reason::Ample),
        };
        let decision = Decision {
            theta,
            reason,
            ..Decision::FULL
        };
        (theta, decision)
    }
}

/// Writes pages as lines, and counts those that were not whole.
struct Lines {
    lines: SyncSender<String>,
    reduced: Arc<AtomicU64>,
    lost: AtomicU64,
}

impl Observer for Lines {
    fn page(&self, report: &PageReport<'_>) {
        if !report.is_complete() {
            self.reduced.fetch_add(1, Ordering::Relaxed);
        }
        let line = json!({
            "page": report.page,
            "path": report.path,
            "status": report.status,
            "level": report.level.get(),
            "complete": report.is_complete(),
            "took_ms": report.duration.as_millis() as u64,
        });
        // on the request path: what cannot be written at once is not written
        if self.lines.try_send(line.to_string()).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn event(&self, event: &Event) {
        let _ = self
            .lines
            .try_send(json!({ "event": event.to_string() }).to_string());
    }
}

fn site() -> Declaration {
    let article = Entry::new()
        .set("priority", "core")
        .set("source", "inline:<h1>The bridge is open again</h1>");
    let ads = Entry::new()
        .set("priority", 10)
        .set("source", "inline:<p>Buy a boat</p>");
    Declaration::new()
        .section("server", Entry::new().set("state_dir", ""))
        .fragment("article", article)
        .fragment("ads", ads)
        .page(
            "front",
            Entry::new().set("route", "/").set("layout", "front.html"),
        )
        .template(
            "front.html",
            "<fragment name=\"article\"></fragment><fragment name=\"ads\"></fragment>\n",
        )
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listen = std::env::args().nth(1);
    let listener = TcpListener::bind(listen.as_deref().unwrap_or("127.0.0.1:8080")).await?;
    let address = listener.local_addr()?;
    // a page leaves block by block: none is to wait until the one before is acknowledged
    let listener = listener.tap_io(|stream| _ = stream.set_nodelay(true));
    println!("listens on http://{address}/");
    let (lines, written) = sync_channel(LINES_MAX);
    std::thread::spawn(move || written.iter().for_each(|line: String| println!("{line}")));
    let (thrifty, reduced) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let observer = Lines {
        lines,
        reduced: Arc::clone(&reduced),
        lost: AtomicU64::default(),
    };
    let options = Options::declared(site())
        .mounted()
        .without_operators()
        .law(Thrift(Arc::clone(&thrifty)))
        .observer(Arc::new(observer));
    let site = App::start(options).await?;

    let be = move |is: bool| {
        let thrifty = Arc::clone(&thrifty);
        move || async move { thrifty.store(is, Ordering::Relaxed) }
    };
    let count = move || async move { reduced.load(Ordering::Relaxed).to_string() };
    let router = Router::new()
        .route("/thrifty", put(be(true)).delete(be(false)))
        .route("/reduced", get(count))
        .fallback_service(site.router());
    let mut end = signal(SignalKind::terminate())?;
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service)
        .with_graceful_shutdown(async move { _ = end.recv().await })
        .await?;
    site.stop().await;
    Ok(())
}
