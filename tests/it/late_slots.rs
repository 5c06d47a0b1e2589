//! Slots that come late: out of order for browsers that show them in their place all the same, in order for
//! everybody else, and never after the page's budget.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::newsroom::Draft;
use crate::support::origin::Unstarted;
use crate::support::{Gate, Newsroom, Origin, browser, html, newsroom, origin, status};

const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
                       Chrome/130.0.0.0 Safari/537.36";

const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>t</title>\
                    <style>.x { color: rgb(1, 2, 3) }</style></head><body>";

/// `{x}` is a slot that may come late.
fn layout() -> String {
    let slots = ["b", "c"].map(|name| {
        format!("<fragment name=\"{name}\" defer><p class=\"x\">no {name}</p></fragment>")
    });
    format!(
        "{HEAD}<header>h</header><main><article>[article]</article><aside>{}{}</aside></main>\
         <footer>[footer]</footer></body></html>",
        slots[0], slots[1]
    )
}

const OPENING: &str = "<div data-marbre-late style=\"display:contents\"><template shadowrootmode=\"open\">\
                       <style>.x { color: rgb(1, 2, 3) }</style>";

fn draft(cms: &Origin) -> Draft {
    draft_of(cms, &layout())
}

fn draft_of(cms: &Origin, layout: &str) -> Draft {
    let patient = "timeout = \"20s\"\nttl = \"0s\"\ngrace = \"0s\"\nkeep = \"0s\"";
    newsroom()
        .patient_origin("cms", &cms.url())
        .fragment("article", "\"core\"", "cms:/a", patient)
        .fragment("footer", "\"essential\"", "cms:/f", patient)
        .fragment("b", "60", "cms:/b", patient)
        .fragment("c", "60", "cms:/c", patient)
        .page_within("page", "/", layout, "25s")
}

fn cms() -> Unstarted {
    origin()
        .on("/a", html("<p>a</p>"))
        .on("/f", html("<p>f</p>"))
}

/// The page in order.
fn in_order(b: &str, c: &str) -> String {
    format!(
        "{HEAD}<header>h</header><main><article><p>a</p></article><aside>{b}{c}</aside></main>\
         <footer><p>f</p></footer></body></html>"
    )
}

/// Reads a page's body as it comes, until it holds this.
async fn read_until(stream: &mut tokio::net::TcpStream, answer: &mut String, end: &str) {
    let mut buffer = vec![0; 8192];
    while !answer.ends_with(end) {
        let read = stream.read(&mut buffer).await.unwrap();
        assert_ne!(read, 0, "the page ended: {answer}");
        *answer += std::str::from_utf8(&buffer[..read]).expect("pieces are text");
    }
}

async fn asked(site: &Newsroom, agent: &str) -> tokio::net::TcpStream {
    let mut stream = site.reader().connect().await;
    let request = format!("GET / HTTP/1.0\r\nhost: x\r\nuser-agent: {agent}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").expect("a head").1
}

#[tokio::test]
async fn what_comes_late_comes_behind_everything_else() {
    let (b, c) = (Gate::closed(), Gate::closed());
    let cms = cms()
        .on("/b", html("<p>b</p>").gated(&b))
        .on("/c", html("<p>c</p>").gated(&c))
        .start()
        .await;
    let site = draft(&cms).start().await;
    let mut stream = asked(&site, BROWSER).await;
    let mut answer = String::new();
    read_until(&mut stream, &mut answer, "<footer><p>f</p></footer>").await;
    let (first, second) = ("marbre-4", "marbre-5");
    let place = |slot: &str, name: &str| {
        format!("<slot name=\"{slot}\"><p class=\"x\">no {name}</p></slot>")
    };
    let before = format!(
        "{HEAD}<header>h</header>{OPENING}<main><article><p>a</p></article><aside>{}{}</aside></main>\
         <slot></slot></template><footer><p>f</p></footer>",
        place(first, "b"),
        place(second, "c"),
    );
    assert_eq!(body(&answer), before);
    // the second comes first
    c.open();
    let came = format!("<div slot=\"{second}\"><p>c</p></div>");
    read_until(&mut stream, &mut answer, &came).await;
    b.open();
    stream.read_to_string(&mut answer).await.unwrap();
    let end = format!("{came}<div slot=\"{first}\"><p>b</p></div></div></body></html>");
    assert_eq!(body(&answer), before + &end);
    assert!(
        answer.to_ascii_lowercase().contains("vary: user-agent"),
        "{answer}"
    );
}

#[tokio::test]
async fn whoever_does_not_know_of_it_waits_in_order() {
    let gate = Gate::closed();
    let cms = cms()
        .on("/b", html("<p>b</p>").gated(&gate))
        .on("/c", html("<p>c</p>"))
        .start()
        .await;
    let site = draft(&cms).start().await;
    let mut stream = asked(&site, "curl/8.5.0").await;
    let mut answer = String::new();
    read_until(&mut stream, &mut answer, "<aside>").await;
    gate.open();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(body(&answer), in_order("<p>b</p>", "<p>c</p>"));
}

#[tokio::test]
async fn where_nothing_is_late_the_page_is_in_order() {
    let cms = cms()
        .on("/b", html("<p>b</p>"))
        .on("/c", html("<p>c</p>"))
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .fragment("article", "\"core\"", "cms:/a", "ttl = \"1h\"")
        .fragment("footer", "\"essential\"", "cms:/f", "ttl = \"1h\"")
        .fragment("b", "60", "cms:/b", "ttl = \"1h\"")
        .fragment("c", "60", "cms:/c", "ttl = \"1h\"")
        .page("page", "/", &layout())
        .start()
        .await;
    site.reader().get("/").await;
    let page = site
        .reader()
        .get_with("/", &[("user-agent", BROWSER)])
        .await;
    page.is(200, &in_order("<p>b</p>", "<p>c</p>"));
    assert_eq!(page.header("vary"), Some("user-agent"));
}

#[tokio::test]
async fn what_does_not_come_leaves_the_default_in_its_place() {
    let gate = Gate::closed();
    let cms = cms()
        .on("/b", status(500).gated(&gate))
        .on("/c", html("<p>c</p>").gated(&gate))
        .start()
        .await;
    let site = draft(&cms).start().await;
    let mut stream = asked(&site, BROWSER).await;
    let mut answer = String::new();
    read_until(&mut stream, &mut answer, "</footer>").await;
    gate.open();
    stream.read_to_string(&mut answer).await.unwrap();
    let end = "</footer><div slot=\"marbre-5\"><p>c</p></div></div></body></html>";
    assert!(answer.ends_with(end), "{answer}");
    assert!(answer.contains("<slot name=\"marbre-4\"><p class=\"x\">no b</p></slot>"));
    assert_eq!(site.complaint("b").await, "failed (status 500)");
}

#[tokio::test]
async fn no_page_waits_for_them_longer_than_it_may() {
    let never = Gate::closed();
    let cms = cms()
        .on("/b", html("<p>b</p>").gated(&never))
        .on("/c", html("<p>c</p>"))
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .fragment("article", "\"core\"", "cms:/a", "")
        .fragment("footer", "\"essential\"", "cms:/f", "")
        .fragment("b", "60", "cms:/b", "timeout = \"100ms\"")
        .fragment("c", "60", "cms:/c", "")
        .page("page", "/", &layout())
        .start()
        .await;
    let page = site
        .reader()
        .get_with("/", &[("user-agent", BROWSER)])
        .await;
    assert_eq!(page.status, 200);
    assert!(page.body.ends_with("</body></html>"), "{}", page.body);
    assert!(page.body.contains("no b"), "{}", page.body);
    assert!(page.body.contains("<p>c</p>"), "{}", page.body);
}

#[tokio::test]
async fn what_the_level_gives_up_is_in_its_place_at_once() {
    let cms = cms()
        .on("/b", html("<p>b</p>"))
        .on("/c", html("<p>c</p>"))
        .start()
        .await;
    let site = draft(&cms).level(1).start().await;
    let page = site
        .reader()
        .get_with("/", &[("user-agent", BROWSER)])
        .await;
    let (no_b, no_c) = ("<p class=\"x\">no b</p>", "<p class=\"x\">no c</p>");
    page.is(200, &in_order(no_b, no_c));
}

/// What the browser shows where, once everything has come.
const SHOWN: &str = r#"
new Promise((done) => {
  const tell = () => {
    const host = document.querySelector("[data-marbre-late]");
    const slots = [...host.shadowRoot.querySelectorAll("slot[name]")];
    const shown = slots.map((slot) => {
      const there = slot.assignedElements();
      return (there.length ? there : [slot]).map((e) => e.textContent).join();
    });
    const top = (element) => Math.round(element.getBoundingClientRect().top);
    const box = host.shadowRoot.querySelector("aside").getBoundingClientRect();
    const late = document.querySelector("[slot] p");
    done({
      shown,
      footer: document.querySelector("footer").textContent,
      above: top(late) < top(document.querySelector("footer")),
      inside: late.getBoundingClientRect().top >= Math.floor(box.top),
      colour: getComputedStyle(host.shadowRoot.querySelector("p.x")).color,
      scripts: document.scripts.length,
    });
  };
  document.readyState === "complete" ? tell() : addEventListener("load", tell);
})
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_shows_each_in_its_place() {
    let gate = Gate::closed();
    let cms = cms()
        .on("/b", status(500).gated(&gate))
        .on("/c", html("<p>late c</p>").gated(&gate))
        .on("/seen.svg", status(404))
        .start()
        .await;
    let seen = "<img src=\"/seen.svg\" alt=\"\"></footer>";
    let site = draft_of(&cms, &layout().replace("</footer>", seen))
        .toml("[[proxy]]\nroute = \"/seen.svg\"\norigin = \"cms\"")
        .start()
        .await;
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("shown.js");
    std::fs::write(&script, SHOWN).unwrap();
    let mut ask = browser::tool("ask");
    ask.arg(site.url()).arg("--").arg(&script);
    ask.env("BROWSER_SECONDS", "120").stdin(Stdio::null());
    let open = async {
        // once the browser asks for this, it has read beyond the slots
        cms.arrived(5).await;
        assert_eq!(cms.hits("/seen.svg"), 1);
        gate.open();
    };
    let (told, ()) = tokio::join!(browser::lines(ask), open);
    let expected = json!({
        "shown": ["no b", "late c"], "footer": "f", "above": true, "inside": true,
        "colour": "rgb(1, 2, 3)", "scripts": 0,
    });
    assert_eq!(told, [expected] as [Value; 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_is_valid_html() {
    let gate = Gate::closed();
    let cms = cms()
        .on("/b", status(500).gated(&gate))
        .on("/c", html("<p>c</p>").gated(&gate))
        .start()
        .await;
    let site = draft(&cms).start().await;
    let mut stream = asked(&site, BROWSER).await;
    let mut answer = String::new();
    read_until(&mut stream, &mut answer, "</footer>").await;
    gate.open();
    stream.read_to_string(&mut answer).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.html");
    std::fs::write(&file, body(&answer)).unwrap();
    let mut checker = browser::tool("valid");
    checker.arg(&file).stdin(Stdio::null());
    browser::run(checker).await;
}
