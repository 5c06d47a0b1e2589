//! The browser asks once more for a block that its page could not have.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::newsroom::Draft;
use crate::support::{Gate, Newsroom, Origin, Page, html, newsroom, origin, raw, status};

/// Never copied, and asked for once more when all else has failed.
const LAZY: &str = "ttl = \"0s\"\nfallback = [\"lazy\", \"omit\"]";

const FOR_GOOD: &str = "public, max-age=31536000, immutable";

/// A page whose block `b` may come later, at `/x` for one.
fn draft(cms: &Origin) -> Draft {
    newsroom()
        .origin("cms", cms)
        .core("article", "cms:/a")
        .fragment("b", "40", "cms:/b?s={slug}&q={query.q}", LAZY)
        .optional("low", 10, "cms:/low")
        .page("page", "/{slug}", "[article][b][low]")
}

/// An origin that has all but the block.
async fn without_b() -> Origin {
    origin()
        .on("/a", html("<p>a</p>"))
        .on("/b", status(500))
        .on("/b?s=x&q=", status(500))
        .on("/low", html("<i>low</i>"))
        .start()
        .await
}

/// The tag of `b` on the page of this encoded address, and the address of the script in it.
fn tag(page: &str, script: &str) -> String {
    format!(
        "<div data-marbre-lazy=\"/.marbre/block?page={page}&amp;block=b\" hidden></div>\
         <script src=\"{script}\" async></script>"
    )
}

fn script(page: &Page) -> &str {
    let after = page.body.split("<script src=\"").nth(1);
    let script = after.and_then(|after| after.split('"').next());
    script.unwrap_or_else(|| panic!("no tag in {page:?}"))
}

/// The block, once nobody remembers that its origin has failed.
async fn well_again(site: &Newsroom, path: &str, headers: &[(&str, &str)]) -> Page {
    loop {
        let answer = site.reader().get_with(path, headers).await;
        if answer.status != 204 {
            return answer;
        }
    }
}

async fn set_level(site: &Newsroom, level: u8) {
    let request = crate::support::reader::client().put(format!("{}/level", site.admin_url()));
    let answer = request.body(level.to_string()).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
}

// --- The tag ---

#[tokio::test]
async fn what_could_not_be_had_is_asked_for_once_more() {
    let cms = without_b().await;
    let site = draft(&cms).start().await;
    let page = site.reader().get("/x").await;
    let expected = format!("<p>a</p>{}<i>low</i>", tag("/x", script(&page)));
    page.is(200, &expected);
    assert_eq!(site.complaint("b").await, "lazy (status 500)");
    let block = site.reader().get("/.marbre/block?page=/x&block=b").await;
    block.is(204, "");
    cms.on(
        "/b?s=x&q=",
        html("<b>b</b><!--part head--><link><!--/part-->"),
    );
    let block = well_again(&site, "/.marbre/block?page=/x&block=b", &[]).await;
    block.is(200, "<b>b</b>");
    assert_eq!(
        block.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(block.header("cache-control"), Some("no-cache"));
    assert_eq!(cms.hits("/a"), 1, "the page is not made for it");
    assert_eq!(cms.hits("/low"), 1);
    let request = site
        .reader()
        .request("HEAD", "/.marbre/block?page=/x&block=b");
    site.reader().send(request).await.is(200, "");
    let request = site
        .reader()
        .request("POST", "/.marbre/block?page=/x&block=b");
    assert_eq!(site.reader().send(request).await.status, 405);
}

#[tokio::test]
async fn the_tag_gives_back_what_its_page_was_asked_with() {
    let cms = without_b().await;
    let target = "/b?s=l%27%C3%A9t%C3%A9&q=a%26b%22%3C";
    cms.on(target, status(500));
    let site = draft(&cms).start().await;
    let path = "/l'%C3%A9t%C3%A9?utm=1&q=a%26b%22%3C";
    let page = site.reader().get(path).await;
    let address = "/l%2527%25C3%25A9t%25C3%25A9%3Fq%3Da%2526b%2522%253C";
    let expected = format!("<p>a</p>{}<i>low</i>", tag(address, script(&page)));
    page.is(200, &expected);
    cms.on(target, html("<b>b</b>"));
    let block = format!("/.marbre/block?page={address}&block=b");
    well_again(&site, &block, &[]).await.is(200, "<b>b</b>");
    // an address that is too long to be given back
    let long = format!("/x?q={}", "y".repeat(3000));
    let page = site.reader().get(&long).await;
    page.is(200, "<p>a</p><i>low</i>");
    assert_eq!(site.complaint("b").await, "failed (status 500)");
}

#[tokio::test]
async fn a_degraded_page_is_not_asked_again_and_a_block_that_is_given_up_is_nothing() {
    let cms = without_b().await;
    let site = draft(&cms).start().await;
    let block = "/.marbre/block?page=/x&block=b";
    set_level(&site, 1).await;
    let page = site.reader().get("/x").await;
    page.is(200, "<p>a</p>");
    assert_eq!(site.complaint("b").await, "failed (status 500)");
    cms.on("/b?s=x&q=", html("<b>b</b>"));
    well_again(&site, block, &[]).await.is(200, "<b>b</b>");
    set_level(&site, 2).await;
    let asked = cms.hits("/b?s=x&q=");
    site.reader().get(block).await.is(204, "");
    assert_eq!(cms.hits("/b?s=x&q="), asked);
}

#[tokio::test]
async fn a_stand_in_comes_before_the_tag() {
    let cms = origin()
        .on("/a", html("<p>a</p>"))
        .on("/b", status(500))
        .on("/none", status(500))
        .on("/s", html("<i>s</i>"))
        .start()
        .await;
    let lazy = "ttl = \"0s\"\nfallback = [\"fragment:s\", \"lazy\"]";
    let other = "ttl = \"0s\"\nfallback = [\"fragment:b\", \"inline:<u>o</u>\"]";
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/a")
        .optional("s", 30, "cms:/s")
        .fragment("b", "40", "cms:/b", lazy)
        .fragment("other", "50", "cms:/none", other)
        .page("page", "/", "[article][b]")
        .page("other", "/other", "[article][other]")
        .start()
        .await;
    let page = site.reader().get("/").await;
    page.is(200, "<p>a</p><i>s</i>");
    cms.on("/s", status(500));
    let page = site.reader().get("/").await;
    page.is(200, &format!("<p>a</p>{}", tag("/", script(&page))));
    // the tag of a stand-in would ask for what has no slot there
    let page = site.reader().get("/other").await;
    page.is(200, "<p>a</p><u>o</u>");
}

#[tokio::test]
async fn what_its_origin_has_not_is_not_asked_for() {
    let cms = without_b().await;
    cms.on("/b?s=x&q=", raw("HTTP/1.1 204 No Content\r\n\r\n"));
    let site = draft(&cms).start().await;
    let page = site.reader().get("/x").await;
    page.is(200, "<p>a</p><i>low</i>");
    let block = site.reader().get("/.marbre/block?page=/x&block=b").await;
    block.is(204, "");
}

#[tokio::test]
async fn a_page_with_a_tag_is_no_snapshot() {
    let cms = without_b().await;
    let site = draft(&cms).start().await;
    assert_eq!(site.reader().get("/x").await.status, 200);
    assert_eq!(site.complaint("b").await, "lazy (status 500)");
    cms.on("/a", status(500));
    assert_eq!(site.reader().get("/x").await.status, 503);
    assert_eq!(site.state().await["tally"]["complete"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_in_files_have_no_tag_and_are_not_whole() {
    let cms = origin()
        .on("/a", html("<p>a</p>"))
        .on("/b", status(500))
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/a")
        .fragment("b", "40", "cms:/b", LAZY)
        .page("page", "/", "[article][b]")
        .start()
        .await;
    let out = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_marbre"));
    command
        .arg("snapshot")
        .arg(site.folder().join("fragments.toml"));
    command.arg("--out").arg(out.path()).stdin(Stdio::null());
    let ran = tokio::task::spawn_blocking(move || command.output().unwrap());
    let ran = ran.await.unwrap();
    let page = std::fs::read_to_string(out.path().join("index.html")).unwrap_or_default();
    assert_eq!(page, "<p>a</p>", "{ran:?}");
    let manifest = std::fs::read(out.path().join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let entry = &manifest["files"]["/"];
    assert_eq!(entry["complete"], false, "{manifest}");
    assert_eq!(entry["missing"][0], "b", "{manifest}");
}

// --- What is answered ---

#[tokio::test]
async fn nothing_but_a_lazy_block_of_a_page_is_answered_with() {
    let cms = without_b().await;
    cms.on("/b?s=x&q=", html("<b>b</b>"));
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/a")
        .fragment("b", "40", "cms:/b?s=x&q={query.q}", LAZY)
        .optional("low", 10, "cms:/low")
        .optional("of", 50, "cms:/of/{slug}")
        .page("page", "/x", "[article][b][low]")
        .page("other", "/t/{slug}", "[article][b][of]")
        .toml("[[proxy]]\nroute = \"/p/{*rest}\"\norigin = \"cms\"")
        .toml("[[proxy]]\nroute = \"/{*rest}\"\norigin = \"cms\"")
        .start()
        .await;
    let reader = site.reader();
    let long = format!("page=/x%3F{}&block=b", "y".repeat(10 << 10));
    for query in [
        "",
        "page=/x",
        "block=b",
        "page=&block=b",
        "page=/x&block=",
        "page=/x&block=article",
        "page=/x&block=low",
        "page=/x&block=none",
        "page=/x&block=../b",
        "page=x&block=b",
        "page=*&block=b",
        "page=//evil&block=b",
        "page=//evil/x&block=b",
        "page=%2F%2Fevil&block=b",
        "page=http://evil/x&block=b",
        "page=http:/x&block=b",
        "page=/\\evil&block=b",
        "page=/../x&block=b",
        "page=/t/%252e%252e&block=b",
        "page=/t/x/y&block=b",
        "page=/t/x%252fy&block=b",
        "page=/t/%2500&block=b",
        "page=/t/%25ff&block=b",
        "page=/p/b&block=b",
        "page=/t/%0d%0ax&block=b",
        "page=/t/%ff&block=b",
        "page=/t/%00&block=b",
        "page=/.marbre/block%3Fpage=/x%26block=b&block=b",
        &long,
    ] {
        let answer = reader.get(&format!("/.marbre/block?{query}")).await;
        assert_eq!(answer.status, 404, "{query}: {answer:?}");
    }
    for path in [
        "/.marbre/",
        "/.marbre/x",
        "/.marbre/block/",
        "/.marbre/lazy.js/x",
    ] {
        assert_eq!(reader.get(path).await.status, 404, "{path}");
    }
    assert_eq!(cms.targets(), [""; 0], "nobody was asked");
    // names and values are decoded, and the first of each counts
    let again = "/.marbre/block?block=%62&page=%2Fx&page=//evil&block=low";
    reader.get(again).await.is(200, "<b>b</b>");
}

#[tokio::test]
async fn a_core_says_nothing_to_who_asks_for_a_block() {
    let cms = without_b().await;
    cms.on("/a", status(301).header("location", "/elsewhere"));
    cms.on("/b?s=x&q=", html("<b>b</b>").header("set-cookie", "a=b"));
    let site = draft(&cms).start().await;
    let block = site.reader().get("/.marbre/block?page=/x&block=b").await;
    block.is(200, "<b>b</b>");
    assert_eq!(block.header("set-cookie"), None);
    assert_eq!(block.header("cache-control"), Some("private, no-cache"));
    assert_eq!(cms.hits("/a"), 0);
}

#[tokio::test]
async fn a_readers_own_block_is_asked_for_with_their_cookies_and_is_private() {
    let cms = origin()
        .on("/a", html("<p>a</p>"))
        .on("/you?id=1", status(500))
        .on("/you?id=2", html("<b>2</b>"))
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/a")
        .fragment("b", "40", "cms:/you?id={cookie.id}", LAZY)
        .page("page", "/", "[article][b]")
        .start()
        .await;
    let first = [("cookie", "id=1")];
    let page = site.reader().get_with("/", &first).await;
    page.is(200, &format!("<p>a</p>{}", tag("/", script(&page))));
    cms.on("/you?id=1", html("<b>1</b>"));
    let path = "/.marbre/block?page=/&block=b";
    for (cookie, text) in [("id=1", "<b>1</b>"), ("id=2", "<b>2</b>")] {
        let block = well_again(&site, path, &[("cookie", cookie)]).await;
        block.is(200, text);
        assert_eq!(block.header("cache-control"), Some("private, no-cache"));
    }
}

#[tokio::test]
async fn a_block_takes_the_place_of_a_page_in_flight() {
    let gate = Gate::closed();
    let cms = without_b().await;
    cms.on("/b?s=x&q=", html("<b>b</b>").gated(&gate));
    let site = draft(&cms).server("max_pages_in_flight = 1").start().await;
    let reader = site.reader();
    let first = reader.get("/.marbre/block?page=/x&block=b");
    let others = async {
        cms.arrived(1).await;
        let second = reader.get("/.marbre/block?page=/x&block=b").await;
        let page = reader.get("/x").await;
        gate.open();
        (second.status, page.status)
    };
    let (first, others) = tokio::join!(first, others);
    // the text of a page is worth more than a block that is asked for once more
    assert_eq!(others, (503, 200));
    first.is(200, "<b>b</b>");
}

#[tokio::test]
async fn the_script_is_kept_for_good_under_its_own_address() {
    let cms = without_b().await;
    let site = draft(&cms).start().await;
    let page = site.reader().get("/x").await;
    let address = script(&page);
    let current = site.reader().get(address).await;
    assert_eq!(current.status, 200);
    assert_eq!(current.header("cache-control"), Some(FOR_GOOD));
    let kind = current.header("content-type");
    assert_eq!(kind, Some("text/javascript; charset=utf-8"));
    assert!(current.body.contains("data-marbre-lazy"));
    for address in ["/.marbre/lazy.js", "/.marbre/lazy.js?0123456789abcdef"] {
        let other = site.reader().get(address).await;
        other.is(200, &current.body);
        assert_eq!(other.header("cache-control"), Some("public, max-age=60"));
    }
}

// --- In a browser ---

/// Waits until nothing on the page is to come, then tells what is there.
const WATCH: &str = r#"
new Promise((done) => {
  const tell = () => {
    if (document.querySelector("[hidden]")) return false;
    const of = (type) => performance.getEntriesByType(type);
    const asked = of("resource").filter((r) => r.name.includes("/.marbre/block"));
    done({
      blocks: [...document.querySelectorAll("main > :not(script[src])")].map((e) => e.outerHTML),
      title: document.title,
      pause_ms: Math.min(...asked.map((r) => r.startTime)) - of("navigation")[0].domComplete,
    });
    return true;
  };
  const watch = new MutationObserver(() => tell() && watch.disconnect());
  watch.observe(document, { subtree: true, childList: true });
  tell();
})
"#;

/// What a browser holds in the end of a page with this in its head, whose blocks `b`, `c` and `d` fail:
/// when they are asked for once more, `b` is well again, `c` fails again, and `d` is nothing.
async fn shown(head: &str) {
    let gate = Gate::closed();
    let failing = || status(500).gated(&gate);
    let cms = origin()
        .on("/a", html("<p>a</p>"))
        .on("/b", failing())
        .on("/c", failing())
        .on("/d", failing())
        .start()
        .await;
    let foreign = format!(
        "<div data-marbre-lazy=\"{}/foreign\" hidden></div>",
        cms.url()
    );
    let layout = format!(
        "<!doctype html><html lang=\"en\"><head><title>before</title>{head}</head>\
         <body><main>[article][b][c][d]{foreign}</main></body></html>"
    );
    let patient = "timeout = \"20s\"\nttl = \"0s\"";
    let lazy = format!("{patient}\nfallback = [\"lazy\"]");
    let site = newsroom()
        .toml(&format!(
            "[origins.cms]\nurls = [\"{}\"]\ntimeout = \"25s\"",
            cms.url()
        ))
        .fragment("article", "\"core\"", "cms:/a", patient)
        .fragment("b", "40", "cms:/b", &lazy)
        .fragment("c", "40", "cms:/c", &lazy)
        .fragment("d", "40", "cms:/d", &lazy)
        .page_within("page", "/", &layout, "25s")
        .start()
        .await;
    let folder = tempfile::tempdir().unwrap();
    let watch = folder.path().join("watch.js");
    std::fs::write(&watch, WATCH).unwrap();
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    let mut ask = Command::new(tools.join("ask"));
    ask.arg(site.url()).arg("--").arg(&watch);
    ask.env("BROWSER_SECONDS", "120").stdin(Stdio::null());
    let asked = tokio::task::spawn_blocking(move || ask.output().expect("the tool can be run"));
    // the page is being made: what its blocks are answered is settled, and what comes later is not
    cms.arrived(4).await;
    let with_script = "<p>b</p><p>b<script>document.title = 'ran'</script></p>";
    cms.on("/b", html(with_script));
    cms.on("/d", raw("HTTP/1.1 204 No Content\r\n\r\n"));
    gate.open();
    let output = asked.await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complained}");
    let told: Value = serde_json::from_str(&said).expect("a line of JSON");
    let second = "<p>b<script>document.title = 'ran'</script></p>";
    assert_eq!(told["blocks"], json!(["<p>a</p>", "<p>b</p>", second]));
    assert_eq!(told["title"], "before", "no script of a block runs");
    // less a tick of the browser's clock
    assert!(told["pause_ms"].as_f64() > Some(998.0), "{told}");
    for target in ["/b", "/c", "/d"] {
        assert_eq!(cms.hits(target), 2, "{target}");
    }
    assert_eq!(cms.hits("/foreign"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_browser_the_block_takes_the_place_of_its_tag() {
    shown("").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_browser_it_does_so_under_a_policy_too() {
    shown("<meta http-equiv=\"Content-Security-Policy\" content=\"script-src 'self'\">").await;
}
