//! Ways to spread a server over cores, to be loaded by `benches/runtimes`, which compares them.
//!
//! `runtimes HOW PORT ORIGIN` serves `/A` (eight blocks, all cached) and `/B` (the same, none kept) on
//! 127.0.0.1:PORT until it is terminated, with blocks from the origin at 127.0.0.1:ORIGIN. HOW is `one`: one
//! runtime that steals work, and one listener; `each`: a runtime of one thread for each core, each with a
//! listener of its own (`SO_REUSEPORT`), one server behind all; `apart`: the same, with a server each, which
//! share neither copies nor connections nor limits. `runtimes origin PORT` is that origin.

#![allow(
    clippy::unwrap_used,
    reason = "a bench that cannot run is meant to panic"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "what it starts is in nobody's way when it ends"
)]

use std::net::SocketAddr;
use std::thread;

use axum::Router;
use axum::serve::ListenerExt as _;
use marbre::app::{App, Options};
use marbre::config::{Declaration, Entry};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

/// Name, priority and bytes of each block: a news page of about 60 kB with its layout.
const BLOCKS: [(&str, &str, usize); 8] = [
    ("header", "essential", 2048),
    ("nav", "essential", 3072),
    ("article", "core", 24_576),
    ("slideshow", "60", 12_288),
    ("live", "50", 6144),
    ("related", "40", 4096),
    ("ad", "10", 1536),
    ("footer", "essential", 2048),
];

/// Bytes of the layout between two blocks.
const BETWEEN: usize = 512;

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench");
    let mut next = || arguments.next();
    let (how, port) = (next().unwrap_or_default(), next());
    let Some(port) = port.map(|port| port.parse().unwrap()) else {
        // as `cargo bench` runs it: there is nothing to count without a load
        return;
    };
    let cores = thread::available_parallelism().unwrap().get();
    let origin = next().map_or(0, |port| port.parse().unwrap());
    match how.as_str() {
        "origin" => one_thread().block_on(answer_all(port)),
        "one" => stealing().block_on(async {
            let app = start(origin).await;
            serve(port, app.router()).await;
        }),
        "each" => {
            // what is nobody's page runs where the first pages do
            let first = one_thread();
            let app = first.block_on(start(origin));
            for _ in 1..cores {
                let router = app.router();
                thread::spawn(move || one_thread().block_on(serve(port, router)));
            }
            first.block_on(serve(port, app.router()));
        }
        "apart" => {
            let serve_apart = move || {
                one_thread().block_on(async {
                    let app = start(origin).await;
                    serve(port, app.router()).await;
                });
            };
            for _ in 1..cores {
                thread::spawn(serve_apart);
            }
            serve_apart();
        }
        how => panic!("{how}: there are one, each, apart and origin"),
    }
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn stealing() -> Runtime {
    Builder::new_multi_thread().enable_all().build().unwrap()
}

async fn start(origin: u16) -> App {
    let options = Options::declared(site(origin));
    App::start(options.mounted().without_operators())
        .await
        .unwrap()
}

/// The same accept loop for all: what differs is how many there are, and who runs what they accept.
async fn serve(port: u16, router: Router) {
    // head and body are not always one write, and nobody is to wait for an acknowledgement between them
    let listener = listener(port).tap_io(|stream| stream.set_nodelay(true).unwrap());
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).await.unwrap();
}

fn listener(port: u16) -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    socket.bind(&address.into()).unwrap();
    socket.listen(1024).unwrap();
    TcpListener::from_std(socket.into()).unwrap()
}

fn site(origin: u16) -> Declaration {
    let url = format!("http://127.0.0.1:{origin}");
    let mut site = Declaration::new()
        .section("server", Entry::new().set("state_dir", ""))
        .origin("all", Entry::new().set("urls", url));
    for (page, ttl, keep) in [("A", "1h", "1h"), ("B", "0s", "0s")] {
        let mut layout = String::from("<!doctype html><html lang=\"en\"><title>A page</title>");
        for (block, priority, _) in BLOCKS {
            let name = format!("{block}-{}", page.to_lowercase());
            let fragment = Entry::new()
                .set("source", format!("all:/{block}"))
                .set("timeout", "5s")
                .set("ttl", ttl)
                .set("grace", keep)
                .set("keep", keep);
            let fragment = match priority.parse::<u32>() {
                Ok(priority) => fragment.set("priority", priority),
                Err(_) => fragment.set("priority", priority),
            };
            site = site.fragment(&name, fragment);
            layout += &"<p>Between two blocks.</p>".repeat(BETWEEN / 26);
            layout += &format!("<fragment name=\"{name}\"></fragment>");
        }
        let (name, file) = (page.to_lowercase(), format!("{page}.html"));
        let declared = Entry::new()
            .set("route", format!("/{page}"))
            .set("layout", file.as_str());
        site = site.page(&name, declared).template(&file, layout);
    }
    site
}

/// An origin that has its answers ready.
async fn answer_all(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        tokio::spawn(answer(stream));
    }
}

async fn answer(mut stream: TcpStream) {
    let answers = BLOCKS.map(|(name, _, bytes)| {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {bytes}\r\n\r\n"
        );
        let body = format!("<div>{name}</div>") + &"lorem ipsum ".repeat(bytes / 12 + 1);
        (format!("GET /{name} "), head + &body[..bytes])
    });
    let mut asked = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut asked).await {
        let asked = &asked[..read];
        let found = answers
            .iter()
            .find(|(line, _)| asked.starts_with(line.as_bytes()));
        let Some((_, answer)) = found else { return };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}
