//! Fragments that the program makes itself: an origin without a network. Deadlines, the breaker and the
//! chain of what stands in hold for it as for any other.
//!
//! `cargo run --example own_origin [ADDRESS]`, 127.0.0.1:8080 if none is said.

#![allow(
    clippy::print_stdout,
    reason = "a program that is started by hand says where it listens"
)]

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use marbre::app::{App, Options};
use marbre::config::Declaration;
use marbre::fetch::Origin;
use marbre::fetch::origin::{OriginResponse, answering};

/// The same as a file would say it; `urls` are only what the replicas are called.
const SITE: &str = r#"
[server]
state_dir = ""

[origins.stories]
urls = "http://stories.invalid"
[origins.related]
urls = "http://related.invalid"

[fragments.story]
priority = "core"
source = "stories:/{slug}"
ttl = "10s"
[fragments.related]
priority = 40
source = "related:/{slug}"
timeout = "150ms"
fallback = ["fragment:most-read", "omit"]
[fragments.most-read]
priority = 40
source = "inline:<p>Most read: the bridge</p>"

[pages.story]
route = "/{slug}"
layout = "story.html"
budget = "1s"
"#;

const LAYOUT: &str = r#"<main><fragment name="story"></fragment></main>
<aside><fragment name="related"></fragment></aside>
"#;

/// Stories, from memory.
fn stories() -> Arc<dyn Origin> {
    let stories = [
        ("bridge", "<h1>The bridge is open again</h1>"),
        ("ferry", "<h1>The ferry is late</h1>"),
        ("market", "<h1>The market moves</h1>"),
    ];
    let stories = Arc::new(BTreeMap::from(stories));
    answering(move |request| {
        let stories = Arc::clone(&stories);
        async move {
            let slug = request.target.trim_start_matches('/');
            Ok(match stories.get(slug) {
                Some(story) => OriginResponse::html(*story),
                // the page is the site's 404 then
                None => OriginResponse::status(StatusCode::NOT_FOUND),
            })
        }
    })
}

/// What goes with a story, from something that is slow at times and wrong at others.
fn related() -> Arc<dyn Origin> {
    answering(|request| async move {
        match request.target.as_str() {
            // its page waits for 150 ms, and shows what is most read instead
            "/ferry" => tokio::time::sleep(Duration::from_secs(3600)).await,
            // costs this block, and nothing else
            "/market" => panic!("a mistake in somebody's program"),
            _ => {}
        }
        let story = request.target.trim_start_matches('/');
        Ok(OriginResponse::html(format!("<p>More on {story}</p>")))
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listen = std::env::args().nth(1);
    let listen: SocketAddr = listen.as_deref().unwrap_or("127.0.0.1:8080").parse()?;
    let site = Declaration::from_toml(SITE).template("story.html", LAYOUT);
    // not mounted: it opens a listener of its own
    let mut options = Options::declared(site)
        .without_operators()
        .origin("stories", stories())
        .origin("related", related());
    options.listen = Some(listen);
    let site = App::start(options).await?;
    println!("listens on http://{}/", site.address);
    let mut end = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    end.recv().await;
    site.stop().await;
    Ok(())
}
