//! `Link` hints of all blocks, each once and not too many; whatever else a block says of the page is not
//! heard.

use crate::support::{Newsroom, Page, Reply, html, newsroom, origin};

async fn page_of(article: Reply, block: Reply) -> Page {
    let (site, _cms) = site_of(article, block).await;
    let reader = site.reader();
    reader.get("/").await;
    let page = reader.get("/").await;
    page.is(200, "<p>text</p><b>block</b>");
    page
}

async fn site_of(article: Reply, block: Reply) -> (Newsroom, crate::support::Origin) {
    let cms = origin()
        .on("/article", article)
        .on("/block", block)
        .start()
        .await;
    let ttl = "ttl = \"1h\"";
    let site = newsroom()
        .origin("cms", &cms)
        .fragment("article", "\"core\"", "cms:/article", ttl)
        .fragment("block", "40", "cms:/block", ttl)
        .page("page", "/", "[article][block]")
        .start()
        .await;
    (site, cms)
}

fn links(page: &Page) -> Vec<&str> {
    let values = page.headers.get_all("link").iter();
    values.map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test]
async fn hints_of_all_blocks_are_gathered_once() {
    let article = html("<p>text</p>")
        .header(
            "link",
            "</story>; rel=canonical, </a.css>; rel=preload; as=style",
        )
        .header("link", "<https://cdn.example>; rel=preconnect");
    let block = html("<b>block</b>")
        .header(
            "link",
            "</b.js>; rel=modulepreload, </a.css>; rel=preload; as=style",
        )
        .header("link", "<https://cdn.example>; rel=preconnect");
    let page = page_of(article, block).await;
    let hints = links(&page);
    assert_eq!(hints[0], "</story>; rel=canonical");
    // lines of one name come in the order in which the origin has sent them
    let mut gathered: Vec<_> = hints[1].split(", ").collect();
    gathered.sort_unstable();
    let expected = [
        "</a.css>; rel=preload; as=style",
        "</b.js>; rel=modulepreload",
        "<https://cdn.example>; rel=preconnect",
    ];
    assert_eq!(gathered, expected);
}

#[tokio::test]
async fn a_block_says_nothing_else_of_the_page() {
    let block = html("<b>block</b>")
        .header(
            "link",
            "</evil>; rel=canonical, <javascript:x>; rel=preload, </s>; rel=stylesheet",
        )
        .header("x-robots-tag", "noindex");
    let page = page_of(html("<p>text</p>"), block).await;
    assert_eq!(links(&page), [""; 0]);
    assert_eq!(page.header("x-robots-tag"), None);
}

#[tokio::test]
async fn hints_are_few() {
    let many: Vec<String> = (0..200)
        .map(|n| format!("</{n}.js>; rel=preload; as=script"))
        .collect();
    let block = html("<b>block</b>").header("link", &many.join(", "));
    let page = page_of(html("<p>text</p>"), block).await;
    let [line] = links(&page)[..] else {
        panic!("{:?}", links(&page))
    };
    assert_eq!(line.split(", ").count(), 16);
    assert!(line.len() < 4096);
}

#[tokio::test]
async fn what_is_given_up_gives_no_hints() {
    let cms = origin()
        .on("/article", html("<p>text</p>"))
        .on(
            "/block",
            html("<b>block</b>").header("link", "</b.js>; rel=preload"),
        )
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/article")
        .fragment("block", "40", "cms:/block", "ttl = \"1h\"")
        .page("page", "/", "[article][block]")
        .level(1)
        .start()
        .await;
    let page = site.reader().get("/").await;
    page.is(200, "<p>text</p>");
    assert_eq!(links(&page), [""; 0]);
}
