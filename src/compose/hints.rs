//! `Link` headers: what the blocks of a page want browsers to fetch, or connect to, before they have
//! read the page. Owns which of them become the page's, each once and not too many; pure.
//!
//! A core may say anything of the page by `Link`, such as its canonical address: it is what the page is
//! about. Any other block may only give hints, and of the hints of all blocks those of the core come
//! first.
//!
//! Invariant: what is no hint, or not in the right form, is never taken from another block than a core.

use http::header::LINK;
use http::{HeaderMap, HeaderName, HeaderValue};

/// What a browser may be told to do early (HTML, 4.6.8). Nothing of it changes what the page is.
const HINTS: [&str; 4] = ["preload", "modulepreload", "preconnect", "dns-prefetch"];

/// Most hints of one page: browsers fetch few things at once, and each takes time from the rest.
const COUNT_MAX: usize = 16;

/// Most bytes of the hints of one page: they are in front of every page, before it can be shown.
const BYTES_MAX: usize = 2 << 10;

/// The links of one page.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// What is no hint, from the core.
    of_page: Vec<String>,
    hints: Vec<String>,
    /// Targets and relations of the hints.
    known: Vec<(String, String)>,
    bytes: usize,
}

impl Links {
    /// The links of a core.
    pub(super) fn add_core(&mut self, value: &HeaderValue) {
        for link in links(value) {
            match hint(link) {
                Some(hint) => self.add(link, hint),
                None if self.of_page.iter().any(|known| known == link) => {}
                None => self.of_page.push(link.to_owned()),
            }
        }
    }

    /// The hints among the links of another block.
    pub(super) fn add_hints(&mut self, value: &HeaderValue) {
        for link in links(value) {
            if let Some(hint) = hint(link) {
                self.add(link, hint);
            }
        }
    }

    fn add(&mut self, link: &str, hint: (String, String)) {
        let is_room = self.hints.len() < COUNT_MAX && self.bytes + link.len() <= BYTES_MAX;
        if is_room && !self.known.contains(&hint) {
            self.bytes += link.len();
            self.hints.push(link.to_owned());
            self.known.push(hint);
        }
    }

    /// One header for what the core says of the page, if it says something, and one for all hints.
    pub(super) fn headers(self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let lines = [self.of_page, self.hints].into_iter();
        let lines = lines.filter(|links| !links.is_empty());
        lines.filter_map(|links| Some((LINK, HeaderValue::try_from(links.join(", ")).ok()?)))
    }
}

/// `Link` where an answer lies in S3: Tailor's fragments may.
static STORED_LINK: HeaderName = HeaderName::from_static("x-amz-meta-link");

/// What is of use of the links of an answer that is no core: its hints, and its stylesheets, which are
/// written before it where a document's language wants that.
pub(super) fn only(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    // most answers have none
    if !headers
        .keys()
        .any(|name| *name == LINK || *name == STORED_LINK)
    {
        return Vec::new();
    }
    let values = match headers.contains_key(LINK) {
        true => headers.get_all(LINK),
        false => headers.get_all(&STORED_LINK),
    };
    let mut found = Links::default();
    for value in values {
        found.add_hints(value);
        let styles = links(value).filter(|link| stylesheet(link).is_some());
        found
            .of_page
            .extend(styles.take(COUNT_MAX).map(str::to_owned));
    }
    found.headers().collect()
}

/// Where the stylesheets of a line are.
pub(super) fn stylesheets(value: &HeaderValue) -> impl Iterator<Item = String> {
    links(value).filter_map(stylesheet)
}

/// The links of a line, with stylesheets as hints to fetch them; `None` where no link can be read in it.
pub(super) fn preloading(value: &HeaderValue) -> Option<HeaderValue> {
    let links = links(value).map(|link| match stylesheet(link) {
        Some(target) => format!("<{target}>; rel=\"preload\"; as=\"style\"; nopush"),
        None => link.to_owned(),
    });
    let links: Vec<String> = links.collect();
    match links.is_empty() {
        true => None,
        false => HeaderValue::try_from(links.join(", ")).ok(),
    }
}

fn stylesheet(link: &str) -> Option<String> {
    let (target, relation) = fetched(link)?;
    (relation == "stylesheet").then_some(target)
}

/// The links of a line (RFC 8288, 3): the commas between them are not in `<…>` nor in quotes.
fn links(value: &HeaderValue) -> impl Iterator<Item = &str> {
    // what is no ASCII is no link: addresses are encoded
    let mut rest = value.to_str().unwrap_or_default();
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = end_of_first(rest, b',');
            let link = rest[..end].trim();
            rest = rest.get(end + 1..).unwrap_or_default();
            if !link.is_empty() {
                return Some(link);
            }
        }
        None
    })
}

/// Where the first of a list ends whose parts are separated like this.
fn end_of_first(text: &str, separator: u8) -> usize {
    let (mut in_target, mut in_quotes, mut is_escaped) = (false, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_quotes => is_escaped = true,
            b'"' if !in_target => in_quotes = !in_quotes,
            b'<' if !in_quotes => in_target = true,
            b'>' if !in_quotes => in_target = false,
            byte if byte == separator && !in_quotes && !in_target => return at,
            _ => {}
        }
    }
    text.len()
}

/// Target and relation of a link that is a hint and nothing else.
fn hint(link: &str) -> Option<(String, String)> {
    let (target, relation) = fetched(link)?;
    let mut relations = relation.split_ascii_whitespace().peekable();
    relations.peek()?;
    relations
        .all(|relation| HINTS.contains(&relation))
        .then(|| (target, relation.clone()))
}

/// Target and relation of a link to what a browser can fetch for this page.
fn fetched(link: &str) -> Option<(String, String)> {
    let (target, params) = link.strip_prefix('<')?.split_once('>')?;
    if !is_fetched(target.trim()) {
        return None;
    }
    let mut rest = params.trim();
    let mut relation = None;
    while !rest.is_empty() {
        let param = rest.strip_prefix(';')?.trim_start();
        let end = end_of_first(param, b';');
        let (name, value) = param[..end].split_once('=').unwrap_or((&param[..end], ""));
        match name.trim().to_ascii_lowercase().as_str() {
            // the first counts (RFC 8288, 3.3)
            "rel" if relation.is_none() => {
                relation = Some(value.trim().trim_matches('"').to_ascii_lowercase());
            }
            // it would be a hint about another page
            "anchor" => return None,
            _ => {}
        }
        rest = param[end..].trim_start();
    }
    Some((target.trim().to_owned(), relation?))
}

/// Whether a browser can fetch this: an address of this site, or of the web.
fn is_fetched(target: &str) -> bool {
    let lower = target.to_ascii_lowercase();
    let scheme_end = lower.find([':', '/', '?', '#']);
    let has_scheme = scheme_end.is_some_and(|end| lower.as_bytes()[end] == b':');
    let is_web = lower.starts_with("https://") || lower.starts_with("http://");
    let is_plain = target.bytes().all(|b| b.is_ascii_graphic());
    !target.is_empty() && is_plain && (is_web || !has_scheme)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(links: Links) -> Vec<String> {
        let headers = links.headers();
        let lines = headers.map(|(_, value)| value.to_str().unwrap().to_owned());
        lines.collect()
    }

    fn from_block(value: &str) -> Vec<String> {
        let mut links = Links::default();
        links.add_hints(&HeaderValue::from_str(value).unwrap());
        lines(links)
    }

    #[test]
    fn hints_of_blocks_are_taken_and_nothing_else() {
        for (value, expected) in [
            (
                "</a.css>; rel=preload; as=style",
                Some("</a.css>; rel=preload; as=style"),
            ),
            ("</a>;REL=\"PreConnect\"", Some("</a>;REL=\"PreConnect\"")),
            (
                "<https://cdn.example>; rel=\"preconnect dns-prefetch\"; crossorigin",
                Some("<https://cdn.example>; rel=\"preconnect dns-prefetch\"; crossorigin"),
            ),
            (
                "</x>; rel=canonical, </m.js>; rel=modulepreload",
                Some("</m.js>; rel=modulepreload"),
            ),
            (
                "</a,b;c>; title=\"x, y; \\\" z\"; rel=preload",
                Some("</a,b;c>; title=\"x, y; \\\" z\"; rel=preload"),
            ),
            ("</a>; rel=\"preload stylesheet\"", None),
            ("</a>; rel=stylesheet; rel=preload", None),
            ("</a>; rel=prerender", None),
            ("</a>; rel=\"\"", None),
            ("</a>", None),
            ("</a>; rel=preload; anchor=\"/other\"", None),
            ("javascript:alert(1); rel=preload", None),
            ("<javascript:alert(1)>; rel=preload", None),
            ("<data:text/css,x>; rel=preload", None),
            ("<>; rel=preload", None),
            ("</a b>; rel=preload", None),
            ("</a; rel=preload", None),
            ("</a> rel=preload", None),
            (", ,", None),
        ] {
            assert_eq!(
                from_block(value).first().map(String::as_str),
                expected,
                "{value}"
            );
        }
    }

    #[test]
    fn stylesheets_are_told_from_everything_else() {
        let styles = |value: &str| {
            let value = HeaderValue::from_str(value).unwrap();
            stylesheets(&value).collect::<Vec<_>>()
        };
        let two = "<http://a/1.css>; rel=\"stylesheet\", </2.js>; rel=fragment-script, </3>;rel=StyleSheet";
        assert_eq!(styles(two), ["http://a/1.css", "/3"]);
        assert_eq!(
            styles("<javascript:x>; rel=stylesheet, </a>; rel=canonical"),
            [""; 0]
        );
        let value = HeaderValue::from_static("</a.css>; rel=stylesheet, </s>; rel=canonical");
        assert_eq!(
            preloading(&value).unwrap(),
            "</a.css>; rel=\"preload\"; as=\"style\"; nopush, </s>; rel=canonical"
        );
        let mut headers = HeaderMap::new();
        headers.insert(STORED_LINK.clone(), value);
        let only = only(&headers);
        assert_eq!(
            only,
            [(LINK, HeaderValue::from_static("</a.css>; rel=stylesheet"))]
        );
    }

    #[test]
    fn a_line_without_a_link_that_can_be_read_is_not_made_an_empty_one() {
        for line in ["</\u{e9}.css>; rel=stylesheet", " , ", ""] {
            let value = HeaderValue::from_bytes(line.as_bytes()).unwrap();
            assert_eq!(preloading(&value), None, "{line}");
        }
    }

    #[test]
    fn a_core_says_of_its_page_what_it_likes_and_its_hints_come_first() {
        let mut links = Links::default();
        let core = "</story>; rel=canonical, </c.css>; rel=preload, </story>; rel=canonical";
        links.add_core(&HeaderValue::from_static(core));
        let block = "</b.js>; rel=preload, </c.css>; rel=preload; as=style, </evil>; rel=canonical";
        links.add_hints(&HeaderValue::from_static(block));
        let expected = [
            "</story>; rel=canonical",
            "</c.css>; rel=preload, </b.js>; rel=preload",
        ];
        assert_eq!(lines(links), expected);
    }

    #[test]
    fn hints_are_few_and_short() {
        let many: Vec<String> = (0..100).map(|n| format!("</{n}>; rel=preload")).collect();
        let taken = from_block(&many.join(", "));
        assert_eq!(taken[0].split(", ").count(), COUNT_MAX);
        let long = format!(
            "</{}>; rel=preload, </s>; rel=preload",
            "x".repeat(BYTES_MAX)
        );
        assert_eq!(from_block(&long), ["</s>; rel=preload"]);
    }

    #[test]
    fn any_text_is_read_to_its_end() {
        proptest::proptest!(|(value in "[<>\"\\\\;,=a-z /:]{0,80}")| {
            let value = HeaderValue::from_str(&value).unwrap();
            let mut links = Links::default();
            links.add_core(&value);
            links.add_hints(&value);
            let _ = lines(links);
        });
    }
}
