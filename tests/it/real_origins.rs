//! Origins that nobody here wrote: nginx with the answers that real sites give
//! (`tests/real/nginx.conf.in` says where) and WordPress behind PHP-FPM with its REST interface
//! (`tests/real/wordpress.php` says what it holds).

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::reader::client;
use crate::support::{Newsroom, newsroom};

/// The programs, running. Dropping it ends them and waits for their end.
struct RealOrigins {
    nginx: String,
    wordpress: String,
    script: Child,
    _folder: TempDir,
}

/// The tests that run at the same time share one start; the last one ends it.
fn real_origins() -> Arc<RealOrigins> {
    static RUNNING: Mutex<Weak<RealOrigins>> = Mutex::new(Weak::new());
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    running.upgrade().unwrap_or_else(|| {
        let origins = Arc::new(RealOrigins::start());
        *running = Arc::downgrade(&origins);
        origins
    })
}

impl RealOrigins {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        let mut script = Command::new(repository().join("tests/real/origins"))
            .arg("start")
            .arg(folder.path().join("origins"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/real/origins can be run");
        let mut line = String::new();
        let said = script.stdout.as_mut().expect("it was piped");
        BufReader::new(said)
            .read_line(&mut line)
            .expect("the script speaks UTF-8");
        let addresses: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            panic!("nginx and WordPress do not start; run tests/run: {line:?}")
        });
        let address = |name: &str| addresses[name].as_str().expect("an address").to_owned();
        let (nginx, wordpress) = (address("nginx"), address("wordpress"));
        Self {
            nginx,
            wordpress,
            script,
            _folder: folder,
        }
    }

    /// The posts of WordPress with this slug, asked for without the server.
    async fn posts(&self, slug: &str) -> Value {
        let url = format!("{}/wp-json/wp/v2/posts?slug={slug}", self.wordpress);
        let answer = client().get(url).send().await.expect("WordPress answers");
        serde_json::from_slice(&answer.bytes().await.expect("the answer is whole")).expect("JSON")
    }
}

impl Drop for RealOrigins {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        // it has nobody else to report to
        let _ = self.script.wait();
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A fragment of nginx as it lies in its file.
fn file(name: &str) -> String {
    let path = repository().join("tests/real/www/fragments").join(name);
    std::fs::read_to_string(path).expect("nginx's fragments are in the repository")
}

/// A fragment that is never copied and may take as long as a busy machine needs.
const PATIENT: &str = "timeout = \"20s\"\nttl = \"0s\"";

/// The state once this many pages have been accounted for, which is after their last byte.
async fn state_after(site: &Newsroom, pages: u64) -> Value {
    loop {
        let state = site.state().await;
        if state["tally"]["pages"].as_u64() >= Some(pages) {
            return state;
        }
    }
}

// --- WordPress ---

/// WordPress answers an unknown slug with 200 and an empty list.
const POST: &str = "{% set post = data[0] %}{% if not post %}{{ not_found() }}{% endif -%}
<h1>{{ post.title.rendered|safe }}</h1>{{ post.content.rendered|safe }}";

const COMMENTS: &str = "<ol>{% for comment in data %}<li><b>{{ comment.author_name }}</b>
{{- comment.content.rendered|safe }}<i>{{ comment.content.rendered }}</i></li>{% endfor %}</ol>";

async fn maree(origins: &RealOrigins) -> Newsroom {
    newsroom()
        .toml("[site]\nnot_found_page = \"404.html\"")
        .file("404.html", "<h1>Introuvable</h1>")
        .file("post.html", POST)
        .file("comments.html", COMMENTS)
        .patient_origin("cms", &origins.wordpress)
        .patient_origin("web", &origins.nginx)
        .fragment(
            "article",
            "\"core\"",
            "cms:/wp-json/wp/v2/posts?slug={slug}",
            "template = \"post.html\"\ntimeout = \"20s\"\nttl = \"1ms\"\nkeep = \"1h\"",
        )
        .fragment(
            "comments",
            "40",
            "cms:/wp-json/wp/v2/comments?_fields=author_name,content",
            "template = \"comments.html\"\ntimeout = \"20s\"\nttl = \"1h\"",
        )
        .fragment(
            "header",
            "\"essential\"",
            "web:/fragments/header.html",
            PATIENT,
        )
        .fragment("nav", "\"essential\"", "web:/fragments/nav.html", PATIENT)
        .fragment(
            "footer",
            "\"essential\"",
            "web:/fragments/footer.html",
            PATIENT,
        )
        .fragment("weather", "30", "web:/fragments/meteo.html", PATIENT)
        .page_within(
            "article",
            "/articles/{slug}",
            "[header][nav]<main>[article]</main>[comments]<aside>[weather]</aside>[footer]",
            "25s",
        )
        .start()
        .await
}

#[tokio::test]
async fn a_page_of_wordpress_and_nginx_is_whole() {
    let origins = real_origins();
    let site = maree(&origins).await;
    let comment = "<p>Quelle belle soirée ! <esi:include src=\"/prive\"></esi:include></p>\n";
    let escaped = comment
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;");
    for slug in [
        "nuit-des-phares",
        "port-et-criee",
        "grande-maree",
        "mots-piegeux",
    ] {
        let post = &origins.posts(slug).await[0];
        let title = post["title"]["rendered"].as_str().unwrap();
        let content = post["content"]["rendered"].as_str().unwrap();
        let expected = format!(
            "{}{}<main><h1>{title}</h1>{content}</main>\
             <ol><li><b>Soizic</b>{comment}<i>{escaped}</i></li></ol>\
             <aside>{}</aside>{}",
            file("header.html"),
            file("nav.html"),
            file("meteo.html"),
            file("footer.html"),
        );
        let page = site.reader().get(&format!("/articles/{slug}")).await;
        assert_eq!((page.status, page.body), (200, expected), "{slug}");
    }
    let state = state_after(&site, 4).await;
    assert_eq!(state["tally"]["complete"], 4, "{state}");
}

#[tokio::test]
async fn what_looks_like_a_tag_in_an_articles_text_stays_text() {
    let origins = real_origins();
    let site = maree(&origins).await;
    let page = site.reader().get("/articles/mots-piegeux").await;
    for text in [
        "<h1>Mots piégeux {{ 7 * 7 }} et {% raw %}</h1>",
        "Le rédacteur écrit {{ 7 * 7 }}, {% include &#8216;x&#8217; %}, &lt;esi:include",
        "&lt;fragment name=&#8221;article&#8221;&gt; dans son texte",
        "<!--esi",
        "Commentaire ESI d’un lecteur",
    ] {
        assert!(page.body.contains(text), "{text} is not in\n{}", page.body);
    }
    assert!(!page.body.contains("49"), "{}", page.body);
}

#[tokio::test]
async fn an_empty_list_is_a_404_where_the_template_says_so() {
    let origins = real_origins();
    let site = maree(&origins).await;
    for slug in [
        "jamais-parue",
        "pas-encore-parue",
        "Nuit%20des%26slug=phares",
    ] {
        let page = site.reader().get(&format!("/articles/{slug}")).await;
        page.is(404, "<h1>Introuvable</h1>");
    }
}

#[tokio::test]
async fn what_a_rest_interface_says_of_its_json_is_not_said_of_the_page() {
    let origins = real_origins();
    let url = format!(
        "{}/wp-json/wp/v2/posts?slug=port-et-criee",
        origins.wordpress
    );
    let json = client().get(url).send().await.unwrap();
    assert_eq!(json.headers()["x-robots-tag"], "noindex");
    assert!(json.headers().contains_key("link"));

    let page = maree(&origins)
        .await
        .reader()
        .get("/articles/port-et-criee")
        .await;
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("x-robots-tag"),
        None,
        "the article would leave the search engines"
    );
    assert_eq!(page.header("link"), None);
}

#[tokio::test]
async fn a_redirect_of_wordpress_reaches_the_reader() {
    let origins = real_origins();
    let site = newsroom()
        .patient_origin("cms", &origins.wordpress)
        .fragment("article", "\"core\"", "cms:/{slug}", PATIENT)
        .page_within("article", "/{slug}", "[article]", "25s")
        .start()
        .await;
    let page = site.reader().get("/nuit-des-phares").await;
    let expected = format!("{}/nuit-des-phares/", origins.wordpress);
    assert_eq!(
        (page.status, page.header("location")),
        (301, Some(expected.as_str()))
    );
}

// --- nginx ---

/// A page of these places of nginx, `(name, path)`, none of which is copied.
async fn gazette(origins: &RealOrigins, places: &[(&str, &str)]) -> Newsroom {
    let mut draft = newsroom().patient_origin("web", &origins.nginx).fragment(
        "core",
        "\"core\"",
        "web:/fragments/bref.html",
        PATIENT,
    );
    let mut layout = String::from("[core]");
    for (name, path) in places {
        draft = draft.fragment(name, "40", &format!("web:{path}"), PATIENT);
        layout += &format!("<div id=\"{name}\">[{name}]</div>");
    }
    draft.page_within("page", "/", &layout, "60s").start().await
}

#[tokio::test]
async fn whatever_shape_nginx_gives_to_a_fragment_it_arrives_whole() {
    const PAGES: u64 = 25;
    let une = format!(
        "<div class=\"une\">{}{}</div>\n",
        file("header.html"),
        file("meteo.html")
    );
    let places = [
        ("gzip", "/fragments/header.html", file("header.html")),
        (
            "always-gzip",
            "/always-gzip/header.html",
            file("header.html"),
        ),
        ("chunked", "/ssi/une.html", une.clone()),
        ("until-close", "/until-close/une.html", une),
        ("closed-after-three", "/few/nav.html", file("nav.html")),
        (
            "closed-after-three-too",
            "/few/footer.html",
            file("footer.html"),
        ),
        ("casing", "/casing/meteo.html", file("meteo.html")),
        ("moved", "/moved", file("header.html")),
        ("moved-path", "/moved-path", file("header.html")),
        ("moved-twice", "/moved-twice", file("header.html")),
    ];
    let origins = real_origins();
    let paths: Vec<_> = places
        .iter()
        .map(|(name, path, _)| (*name, *path))
        .collect();
    let site = gazette(&origins, &paths).await;
    let mut expected = file("bref.html");
    for (name, _, content) in &places {
        expected += &format!("<div id=\"{name}\">{content}</div>");
    }
    // connections are used again, and closed by nginx after a few requests
    for _ in 0..PAGES {
        let page = site.reader().get("/").await;
        page.is(200, &expected);
        assert_eq!(page.header("set-cookie"), None);
        assert_eq!(page.header("x-powered-by"), None);
    }
    let state = state_after(&site, PAGES).await;
    for (name, _) in &paths {
        let expected = serde_json::json!({ "fetched": PAGES });
        assert_eq!(state["tally"]["fragments"][name], expected, "{name}");
    }
}

#[tokio::test]
async fn many_readers_at_once_share_connections_that_nginx_closes() {
    let origins = real_origins();
    let places = [
        ("a", "/few/nav.html"),
        ("b", "/until-close/une.html"),
        ("c", "/few/footer.html"),
    ];
    let site = gazette(&origins, &places).await;
    let reader = site.reader();
    let first = reader.get("/").await;
    assert!(first.body.contains(&file("nav.html")) && first.body.contains(&file("footer.html")));
    for _ in 0..5 {
        let pages = (0..10).map(|_| reader.get("/"));
        for page in futures::future::join_all(pages).await {
            page.is(200, &first.body);
        }
    }
}

#[tokio::test]
async fn a_large_fragment_is_whole_and_its_limit_is_exact() {
    let origins = real_origins();
    for (limit, kept) in [(65_536, true), (65_535, false)] {
        let more = format!("max_size = \"{limit}B\"\n{PATIENT}");
        let site = newsroom()
            .patient_origin("web", &origins.nginx)
            .core("core", "web:/fragments/bref.html")
            .fragment("large", "40", "web:/fragments/gros.html", &more)
            .page_within("page", "/", "[core][large]", "25s")
            .start()
            .await;
        let page = site.reader().get("/").await;
        let large = page.body.strip_prefix(&file("bref.html")).unwrap();
        assert_eq!(large.len(), if kept { 65_536 } else { 0 }, "limit {limit}");
        assert!(!kept || large.starts_with("<ul class=\"gros\">") && large.ends_with("</ul>\n"));
        state_after(&site, 1).await;
        let expected = if kept {
            "none"
        } else {
            "failed (larger than 65535 bytes)"
        };
        assert_eq!(site.complaint("large").await, expected);
    }
}

#[tokio::test]
async fn what_nginx_spoils_is_left_out_and_the_reason_is_told() {
    let origins = real_origins();
    let elsewhere = |url: &str| format!("failed (redirect: to another host, {url})");
    let places = [
        (
            "latin1",
            "/latin1/header.html",
            "failed (content type text/html; charset=iso-8859-1)".into(),
        ),
        ("empty", "/fragments/vide.html", "failed (empty)".into()),
        ("loop", "/loop", "failed (redirect: more than 3)".into()),
        (
            "away",
            "/away",
            elsewhere("http://ailleurs.invalid/fragments/header.html"),
        ),
        (
            "away-wordpress",
            "/away-wordpress",
            elsewhere(&format!("{}/", origins.wordpress)),
        ),
        ("private", "/private", "failed (status 401)".into()),
        ("busy", "/busy", "failed (status 503)".into()),
        ("down", "/down/x", "failed (status 502)".into()),
        (
            "cut-length",
            "/cut/length/gros.html",
            "failed (truncated".into(),
        ),
        (
            "cut-chunked",
            "/cut/chunked/gros.html",
            "failed (truncated".into(),
        ),
        // said with certainty, so nothing has failed
        ("missing", "/fragments/absent.html", "none".into()),
        ("nothing", "/nothing", "none".into()),
    ];
    let paths: Vec<_> = places
        .iter()
        .map(|(name, path, _)| (*name, *path))
        .collect();
    let site = gazette(&origins, &paths).await;
    let expected = paths.iter().fold(file("bref.html"), |page, (name, _)| {
        page + &format!("<div id=\"{name}\"></div>")
    });
    site.reader().get("/").await.is(200, &expected);
    let state = state_after(&site, 1).await;
    for (name, _, outcome) in &places {
        let told = site.complaint(name).await;
        assert!(
            told.starts_with(outcome.as_str()),
            "{name}: {told}, not {outcome}"
        );
    }
    for name in ["missing", "nothing"] {
        assert_eq!(
            state["tally"]["fragments"][name],
            serde_json::json!({ "absent": 1 })
        );
    }
}

#[tokio::test]
async fn a_fragment_that_nginx_drips_is_left_out_at_its_deadline() {
    let origins = real_origins();
    let more = "timeout = \"300ms\"\nttl = \"0s\"";
    let site = newsroom()
        .patient_origin("web", &origins.nginx)
        .fragment("core", "\"core\"", "web:/fragments/bref.html", PATIENT)
        // whole, it would take half a minute, and a byte comes every few milliseconds
        .fragment("drip", "40", "web:/drip/gros.html", more)
        .page_within("page", "/", "[core][drip]<i>end</i>", "25s")
        .start()
        .await;
    site.reader()
        .get("/")
        .await
        .is(200, &(file("bref.html") + "<i>end</i>"));
    state_after(&site, 1).await;
    assert_eq!(site.complaint("drip").await, "failed (timeout)");
}

#[tokio::test]
async fn the_core_decides_the_status_whatever_nginx_says() {
    const UNAVAILABLE: (u16, &str) = (503, "<h1>Revenez</h1>");
    let origins = real_origins();
    let whole = file("header.html") + &file("bref.html");
    let own = format!("{}/fragments/header.html", origins.nginx);
    let answers = [
        ("/fragments/bref.html", (200, whole.as_str()), None),
        (
            "/fragments/absent.html",
            (404, "<h1>Introuvable</h1>"),
            None,
        ),
        ("/busy", UNAVAILABLE, None),
        ("/down/x", UNAVAILABLE, None),
        ("/nothing", UNAVAILABLE, None),
        ("/fragments/vide.html", UNAVAILABLE, None),
        ("/latin1/header.html", UNAVAILABLE, None),
        ("/cut/length/gros.html", UNAVAILABLE, None),
        ("/cut/chunked/gros.html", UNAVAILABLE, None),
        ("/private", (401, ""), None),
        ("/moved", (301, ""), Some(own.as_str())),
        ("/moved-path", (301, ""), Some("/fragments/header.html")),
        ("/loop", (302, ""), Some("{nginx}/loop")),
        (
            "/away",
            (302, ""),
            Some("http://ailleurs.invalid/fragments/header.html"),
        ),
    ];
    let mut draft = newsroom()
        .toml("[site]\nerror_page = \"503.html\"\nnot_found_page = \"404.html\"")
        .file("404.html", "<h1>Introuvable</h1>")
        .file("503.html", "<h1>Revenez</h1>")
        .patient_origin("web", &origins.nginx)
        .fragment(
            "header",
            "\"essential\"",
            "web:/fragments/header.html",
            PATIENT,
        );
    for (index, (path, ..)) in answers.iter().enumerate() {
        let (core, page) = (format!("core-{index}"), format!("page-{index}"));
        draft = draft
            .fragment(&core, "\"core\"", &format!("web:{path}"), PATIENT)
            .page_within(&page, path, &format!("[header][{core}]"), "25s");
    }
    let site = draft.start().await;
    for (path, (status, body), location) in answers {
        let page = site.reader().get(path).await;
        let location = location.map(|to| to.replace("{nginx}", &origins.nginx));
        assert_eq!(
            (page.status, page.header("location")),
            (status, location.as_deref()),
            "{path}"
        );
        assert!(
            body.is_empty() || page.body == body,
            "{path}: {}",
            page.body
        );
        assert_eq!(
            page.header("retry-after").is_some(),
            status == 503,
            "{path}"
        );
    }
}

#[tokio::test]
async fn only_what_is_declared_is_sent_to_nginx() {
    let origins = real_origins();
    let more = "timeout = \"20s\"\nttl = \"0s\"\nforward_headers = [\"accept-language\"]\nforward_cookies = [\"edition\"]";
    let site = newsroom()
        .patient_origin("web", &origins.nginx)
        .fragment(
            "core",
            "\"core\"",
            "web:/echo/{slug}?page={query.page}",
            more,
        )
        .page_within("page", "/{slug}", "[core]", "25s")
        .start()
        .await;
    let headers = [
        ("cookie", "session=secret; edition=est"),
        ("authorization", "Basic c2VjcmV0"),
        ("x-forwarded-for", "192.0.2.1"),
        ("accept-language", "fr"),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
    ];
    let page = site
        .reader()
        .get_with("/m%C3%A9t%C3%A9o%20%26%20mer?page=2%263&x=1", &headers)
        .await;
    assert_eq!(page.status, 200);
    let told = |name: &str| {
        let line = page
            .body
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("no {name} in {}", page.body))
            .to_owned()
    };
    assert_eq!(told("uri"), "/echo/m%C3%A9t%C3%A9o%20%26%20mer?page=2%263");
    assert_eq!(told("method"), "GET");
    assert_eq!(
        Some(told("host").as_str()),
        origins.nginx.strip_prefix("http://")
    );
    assert_eq!(told("cookie"), "edition=est");
    assert_eq!(told("authorization"), "");
    assert_eq!(told("x-forwarded-for"), "");
    assert!(told("accept-encoding").contains("gzip"));
    assert!(told("traceparent").starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
}
