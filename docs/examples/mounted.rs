//! A site that is declared in code, mounted in a router of axum beside the program's own routes.
//!
//! `cargo run --example mounted [ADDRESS]`, 127.0.0.1:8080 if none is said.

#![allow(
    clippy::print_stdout,
    reason = "a program that is started by hand says where it listens"
)]

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use marbre::app::{App, Options};
use marbre::config::{Declaration, Entry};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// What a `fragments.toml` would say, and the files beside it.
fn newspaper() -> Declaration {
    let article = Entry::new()
        .set("priority", "core")
        .set("source", "inline:<h1>The bridge is open again</h1>");
    // nobody listens on this port: the page is served without, and says so in its headers
    let weather = Entry::new()
        .set("priority", 30)
        .set("source", "weather:/today")
        .set("timeout", Duration::from_millis(250))
        .set("fallback", ["static:no-weather.html"]);
    let front = Entry::new()
        .set("route", "/")
        .set("layout", "front.html")
        .set("budget", Duration::from_secs(1));
    Declaration::new()
        // an empty folder: nothing is kept over a restart
        .section("server", Entry::new().set("state_dir", ""))
        .origin("weather", Entry::new().set("urls", "http://127.0.0.1:9"))
        .fragment("article", article)
        .fragment("weather", weather)
        .page("front", front)
        .template(
            "front.html",
            "<main><fragment name=\"article\"></fragment></main>\
             <aside><fragment name=\"weather\"></fragment></aside>\n",
        )
        .template("no-weather.html", "<p>Look out of the window</p>")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listen = std::env::args().nth(1);
    let listener = TcpListener::bind(listen.as_deref().unwrap_or("127.0.0.1:8080")).await?;
    let address = listener.local_addr()?;
    // a page leaves block by block: none is to wait until the one before is acknowledged
    let listener = listener.tap_io(|stream| _ = stream.set_nodelay(true));
    let options = Options::declared(newspaper());
    let site = App::start(options.mounted().without_operators()).await?;

    let router = Router::new()
        .route("/version", get(|| async { env!("CARGO_PKG_VERSION") }))
        // whatever no route of the program's own answers to
        .fallback_service(site.router());
    println!("listens on http://{address}/");
    let mut end = signal(SignalKind::terminate())?;
    // with the addresses of those who connect: the site tells readers apart by them
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service)
        .with_graceful_shutdown(async move { _ = end.recv().await })
        .await?;
    // after the last request has been answered
    site.stop().await;
    Ok(())
}
