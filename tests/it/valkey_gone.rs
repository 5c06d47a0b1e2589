//! A store that is gone, frozen, slow, full or strange costs no page anything but copies: every page
//! is there and right, and after a handful of calls nobody waits for it any more.

#![allow(
    clippy::print_stdout,
    reason = "a measure for whoever reads the output"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use marbre::clock::Clock;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::origin::spawn;
use crate::support::{Newsroom, Origin, Valkey, html, newsroom, origin};
use crate::two_nodes::{linked, until};

const ARTICLES: usize = 400;

/// Answers of a slow store that come at once, so that it is believed in.
const PROMPT: usize = 40;

/// Four times as long as a page waits.
const LATE: Duration = Duration::from_millis(200);

async fn cms() -> Origin {
    let mut cms = origin();
    for number in 0..ARTICLES {
        let text = format!("<p>{number}</p>");
        cms = cms.on(&format!("/articles/{number}"), html(text));
    }
    cms.start().await
}

/// A site whose pages are all misses.
async fn site(cms: &Origin, store: Option<&str>) -> Newsroom {
    let draft = newsroom()
        .origin("cms", cms)
        .fragment(
            "article",
            "\"core\"",
            "cms:/articles/{slug}",
            "ttl = \"1ms\"",
        )
        .page_within("page", "/{slug}", "[article]", "20s")
        .without_snapshots();
    let draft = match store {
        Some(url) => draft.toml(&format!(
            "[shared]\nvalkey = \"{url}\"\ntimeout = \"50ms\"\n"
        )),
        None => draft,
    };
    draft.start().await
}

/// Every page once, and how long that took.
async fn read_all(site: &Newsroom) -> Duration {
    let (clock, reader) = (Clock::start(), site.reader());
    let began = clock.now();
    for number in 0..ARTICLES {
        let page = reader.get(&format!("/{number}")).await;
        page.is(200, &format!("<p>{number}</p>"));
    }
    clock.now() - began
}

fn waited(shared: &Value) -> u64 {
    shared["timeouts"].as_u64().unwrap()
}

/// With this store every page is right, and few of them wait for it.
async fn costs_nothing(what: &str, cms: &Origin, site: &Newsroom) {
    let without = self::site(cms, None).await;
    let before = waited(&site.state().await["shared"]);
    let first = read_all(site).await;
    let known = waited(&site.state().await["shared"]);
    let then = read_all(site).await;
    let after = waited(&site.state().await["shared"]);
    let bare = read_all(&without).await;
    println!(
        "{what}: {ARTICLES} pages in {first:?}, then {then:?}; without a store {bare:?}; calls \
         waited for in vain: {}, then {}",
        known - before,
        after - known
    );
    // five that open the breaker, those that were under way, and one for each probation
    assert!(known - before <= 16, "{what}: {}", known - before);
    assert!(after - known <= 4, "{what}: {}", after - known);
}

#[tokio::test]
async fn killed_frozen_and_full_and_back_again() {
    let mut store = Valkey::start();
    let cms = cms().await;
    let site = linked(site(&cms, Some(&store.url())).await).await;
    read_all(&site).await;

    store.pause();
    costs_nothing("frozen", &cms, &site).await;
    store.resume();
    used_again(&site).await;

    store.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    store.command(&["CONFIG", "SET", "maxmemory", "1"]);
    costs_nothing("full", &cms, &site).await;
    store.command(&["CONFIG", "SET", "maxmemory", "0"]);
    used_again(&site).await;

    store.kill();
    costs_nothing("killed", &cms, &site).await;
    store.restart();
    used_again(&site).await;
}

/// Asked for pages until the store answers and takes copies again.
async fn used_again(site: &Newsroom) {
    let count = |shared: &Value, name: &str| shared[name].as_u64().unwrap();
    let before = until(site, "its return", |shared| {
        shared["reading"] == true && shared["writing"] == true
    })
    .await;
    loop {
        read_all(site).await;
        let now = site.state().await["shared"].take();
        let grew = |name: &str| count(&now, name) > count(&before, name);
        if grew("hits") && grew("stored") {
            return;
        }
    }
}

#[tokio::test]
async fn never_there_refused_and_nonsense() {
    let cms = cms().await;
    let absent = Valkey::prepare(&[]);
    let locked = Valkey::start_with(&["--requirepass", "hushhush"]);
    let stranger = format!("redis://:wrong@127.0.0.1:{}", locked.port());
    let babbler = server(|mut stream| async move {
        let mut bytes = [0; 1024];
        while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {
            let nonsense = b"HTTP/1.1 200 OK\r\n\r\n$99999999999\r\n*-7\r\n\0\xff";
            if stream.write_all(nonsense).await.is_err() {
                return;
            }
        }
    })
    .await;
    for (what, url) in [
        ("never there", absent.url()),
        ("refused", stranger),
        ("nonsense", babbler),
    ] {
        let site = site(&cms, Some(&url)).await;
        costs_nothing(what, &cms, &site).await;
        let shared = until(&site, "the problem", |shared| !shared["problem"].is_null()).await;
        println!("{what}: {}", shared["problem"]);
    }
}

#[tokio::test]
async fn slower_than_a_page_waits() {
    let store = Valkey::start();
    let cms = cms().await;
    let port = store.port();
    let answered = Arc::new(AtomicUsize::new(0));
    let slow = server(move |stream| delayed(stream, port, Arc::clone(&answered))).await;
    let site = site(&cms, Some(&slow)).await;
    costs_nothing("slow", &cms, &site).await;
}

/// Between a client and the store: what the store answers comes later than anybody waits, but for the
/// first answers of all.
async fn delayed(mut client: TcpStream, port: u16, answered: Arc<AtomicUsize>) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let answers = async {
        let mut bytes = [0; 16 * 1024];
        loop {
            let count = from_server.read(&mut bytes).await?;
            if count == 0 {
                return Ok(());
            }
            if answered.fetch_add(1, Ordering::Relaxed) >= PROMPT {
                tokio::time::sleep(LATE).await;
            }
            to_client.write_all(&bytes[..count]).await?;
        }
    };
    let _ = tokio::try_join!(tokio::io::copy(&mut from_client, &mut to_server), answers)
        as std::io::Result<(u64, ())>;
}

/// Whoever connects is served by this; its address.
async fn server<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            spawn(serve(stream));
        }
    });
    format!("redis://{address}")
}
