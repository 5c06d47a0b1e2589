//! What a page refers to: the attributes of its tags, and where they lead on this site. Owns the
//! scanner and the resolution of references; pure. Knows neither routes nor files.
//!
//! The scanner reads tags and nothing else. Comments and the content of elements that hold text
//! (`<script>`, `<style>`, `<textarea>`, `<title>`) are skipped, as a browser does. It forgives
//! everything: what it cannot read is no reference.
//!
//! Invariant: a resolved path begins with one `/`, has no dot segments, no query, no fragment, and
//! is ASCII.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// Most references that are read of one page: a list of 5,000 articles is a page, an endless one is
/// a fault.
pub(super) const REFERENCES_PER_PAGE_MAX: usize = 20_000;
/// Longest reference that is read, in bytes: browsers and servers stop at about so much.
const REFERENCE_BYTES_MAX: usize = 8_000;
/// Elements whose content is text.
const RAW_TEXT: [&str; 4] = ["script", "style", "textarea", "title"];
/// What a browser encodes in a path before it asks for it (WHATWG URL, path percent-encode set).
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'^')
    .add(b'|');

/// How a page refers to something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A reader may go there.
    Page,
    /// The browser fetches it to show the page.
    Asset,
}

/// A reference, as it is written, entities decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) kind: Kind,
    pub(super) target: String,
}

/// The references of a page in document order, and its `<base href>`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct References {
    pub(super) base: Option<String>,
    pub(super) found: Vec<Reference>,
}

/// Reads the references of an HTML page.
pub(super) fn references(html: &str) -> References {
    let mut references = References::default();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
            continue;
        }
        if !rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
            continue;
        }
        let end = rest
            .find(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>'))
            .unwrap_or(rest.len());
        let name = rest[..end].to_ascii_lowercase();
        let mut tag = Attributes { rest: &rest[end..] };
        for (attribute, value) in &mut tag {
            if references.found.len() >= REFERENCES_PER_PAGE_MAX {
                return references;
            }
            references.note(&name, &attribute.to_ascii_lowercase(), value);
        }
        rest = tag.rest;
        if RAW_TEXT.contains(&name.as_str()) {
            rest = after_element(rest, &name);
        }
    }
    references
}

impl References {
    fn note(&mut self, tag: &str, attribute: &str, value: &str) {
        if value.len() > REFERENCE_BYTES_MAX {
            return;
        }
        let kind = match (tag, attribute) {
            ("base", "href") => {
                self.base.get_or_insert_with(|| decode(value));
                return;
            }
            ("a" | "area", "href") | ("iframe" | "frame", "src") => Kind::Page,
            ("link" | "image" | "use", "href" | "xlink:href")
            | ("video", "poster")
            | ("object", "data")
            | (
                "img" | "script" | "source" | "video" | "audio" | "embed" | "track" | "input",
                "src",
            ) => Kind::Asset,
            ("img" | "source", "srcset") | ("link", "imagesrcset") => {
                let decoded = decode(value);
                let candidates = candidates(&decoded).map(|target| Reference {
                    kind: Kind::Asset,
                    target: target.to_owned(),
                });
                let room = REFERENCES_PER_PAGE_MAX - self.found.len();
                self.found.extend(candidates.take(room));
                return;
            }
            _ => return,
        };
        let target = decode(value);
        self.found.push(Reference { kind, target });
    }
}

/// The attributes of one start tag; afterwards `rest` is what follows its `>`.
struct Attributes<'h> {
    rest: &'h str,
}

impl<'h> Iterator for Attributes<'h> {
    type Item = (&'h str, &'h str);

    fn next(&mut self) -> Option<Self::Item> {
        let blank = |c: char| c.is_ascii_whitespace() || c == '/';
        let rest = self.rest.trim_start_matches(blank);
        if rest.is_empty() || rest.starts_with('>') {
            self.rest = rest.strip_prefix('>').unwrap_or(rest);
            return None;
        }
        // a name may begin with `=`, which is then a part of it
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let end = rest[first..]
            .find(|c: char| blank(c) || matches!(c, '=' | '>'))
            .map_or(rest.len(), |at| first + at);
        let (name, after) = rest.split_at(end);
        let Some(value) = after.trim_start().strip_prefix('=') else {
            self.rest = after;
            return Some((name, ""));
        };
        let value = value.trim_start();
        let quoted = value.chars().next().filter(|c| matches!(c, '"' | '\''));
        let (value, rest) = match quoted {
            // a quote that is never closed swallows the rest, for a browser too
            Some(quote) => value[1..].split_once(quote).unwrap_or((&value[1..], "")),
            None => {
                let end = value.find(|c: char| c.is_ascii_whitespace() || c == '>');
                value.split_at(end.unwrap_or(value.len()))
            }
        };
        self.rest = rest;
        Some((name, value))
    }
}

/// What follows the end tag of an element that holds text.
fn after_element<'h>(rest: &'h str, name: &str) -> &'h str {
    let mut at = 0;
    while let Some(end) = rest[at..].find("</") {
        at += end + 2;
        let closes = rest.as_bytes()[at..]
            .get(..name.len())
            .is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()));
        let next = rest.as_bytes().get(at + name.len());
        if closes && next.is_none_or(|b| b.is_ascii_whitespace() || matches!(b, b'>' | b'/')) {
            return &rest[at..];
        }
    }
    ""
}

/// The URLs of a `srcset`: separated by commas, but a comma within a URL belongs to it (HTML,
/// "parsing a srcset attribute").
fn candidates(srcset: &str) -> impl Iterator<Item = &str> {
    let mut rest = srcset;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ',');
        if rest.is_empty() {
            return None;
        }
        let end = rest.find(|c: char| c.is_ascii_whitespace());
        let (url, after) = rest.split_at(end.unwrap_or(rest.len()));
        let bare = url.trim_end_matches(',');
        rest = if bare.len() < url.len() {
            after
        } else {
            after.split_once(',').map_or("", |(_, next)| next)
        };
        Some(bare)
    })
}

/// Decodes the character references that occur in URLs; any other stays as it is written.
pub(super) fn decode(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        decoded.push_str(before);
        rest = match after
            .split_once(';')
            .and_then(|(name, after)| Some((entity(name)?, after)))
        {
            Some((character, after)) => {
                decoded.push(character);
                after
            }
            None => {
                decoded.push('&');
                after
            }
        };
    }
    decoded + rest
}

fn entity(name: &str) -> Option<char> {
    match name {
        "amp" | "AMP" => Some('&'),
        "lt" | "LT" => Some('<'),
        "gt" | "GT" => Some('>'),
        "quot" | "QUOT" => Some('"'),
        "apos" => Some('\''),
        "sol" => Some('/'),
        "colon" => Some(':'),
        "period" => Some('.'),
        "Tab" => Some('\t'),
        "NewLine" => Some('\n'),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

/// Where a reference in the page at `page` leads on this site, if it does: a path without query and
/// fragment. `home` is the site's own authority, if it is known, such as `www.example.fr`.
pub(super) fn resolve(page: &str, target: &str, home: Option<&str>) -> Option<String> {
    // a browser drops line breaks and tabs wherever they are, and blanks at the ends
    let target: String = target
        .trim_matches(|c: char| c <= ' ')
        .chars()
        .filter(|c| !matches!(c, '\t' | '\n' | '\r'))
        .collect();
    let target = target.split(['?', '#']).next().unwrap_or_default();
    // a browser reads `\` as `/`; nobody means it
    if target.is_empty() || target.contains('\\') || target.contains(char::is_control) {
        return None;
    }
    let local = match scheme(target) {
        Some((scheme, rest)) => {
            let web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
            at_home(rest.strip_prefix("//").filter(|_| web)?, home)?
        }
        None => match target.strip_prefix("//") {
            Some(rest) => at_home(rest, home)?,
            None => target,
        },
    };
    let merged = if local.starts_with('/') {
        local.to_owned()
    } else {
        let folder = page.rfind('/').map_or("", |at| &page[..at]);
        format!("{folder}/{local}")
    };
    let path = without_dot_segments(&merged);
    // what begins with two slashes would be a host at the next turn
    (!path.starts_with("//")).then(|| utf8_percent_encode(&path, PATH).to_string())
}

/// The path of an address on the site's own host.
fn at_home<'t>(rest: &'t str, home: Option<&str>) -> Option<&'t str> {
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let ours = home.is_some_and(|home| home.eq_ignore_ascii_case(authority));
    ours.then_some(if path.is_empty() { "/" } else { path })
}

/// Splits off a scheme (RFC 3986, 3.1).
pub(super) fn scheme(target: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = target.split_once(':')?;
    let mut bytes = scheme.bytes();
    let valid = bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    valid.then_some((scheme, rest))
}

/// RFC 3986, 5.2.4, for a path that begins with `/`; `%2e` is a dot, as it is for browsers.
fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    for (i, segment) in segments.iter().enumerate() {
        let is_last = i + 1 == segments.len();
        match segment.to_ascii_lowercase().replace("%2e", ".").as_str() {
            "." => {}
            ".." => drop(kept.pop()),
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if is_last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Kind::{Asset, Page};

    fn found(html: &str) -> Vec<(Kind, String)> {
        let found = references(html).found.into_iter();
        found.map(|r| (r.kind, r.target)).collect()
    }

    fn pages(html: &str) -> Vec<String> {
        let found = found(html).into_iter().filter(|(kind, _)| *kind == Page);
        found.map(|(_, target)| target).collect()
    }

    #[test]
    fn attributes_are_read_however_they_are_quoted() {
        let html = r#"<a href="/a?x=1&amp;y=2">a</a><A
            HREF = '/b'>b</A><a class=x href=/c>c</a><a href=/d/>d</a><a disabled href="/e" /><p
            href="/p"><area href="/f"><a title=">" href="/g">"#;
        assert_eq!(
            pages(html),
            ["/a?x=1&y=2", "/b", "/c", "/d/", "/e", "/f", "/g"]
        );
    }

    #[test]
    fn what_is_not_a_tag_is_not_read() {
        let html = r#"<!-- <a href="/1"> --><script>"<a href='/2'>"</script><style><a href=/3></style>
            <textarea><a href="/4"></textarea><title><a href=/5></title>a < b <a data-href="/6">
            <abbr href="/7"></abbr><script src="/s.js">var a = "</scripted><a href=/8>"</SCRIPT >
            </a href="/9"><!doctype html><a href="/yes"><a href="/unclosed"#;
        assert_eq!(pages(html), ["/yes", "/unclosed"]);
        assert_eq!(pages("<!-- never closed <a href=/1>"), [""; 0]);
        assert_eq!(pages("<script>never closed <a href=/1>"), [""; 0]);
    }

    #[test]
    fn assets_are_what_the_browser_fetches() {
        let html = r#"<link rel=stylesheet href=/s.css><script src="/j.js"></script>
            <img src=/i.jpg srcset="/i,1.jpg 1x, /i2.jpg 2x,/i3.jpg"><video poster=/p.jpg src=/v.mp4>
            <source srcset="/w.webp 100w"><svg><use xlink:href="/u.svg#x"></use></svg>"#;
        let all = [
            "/s.css", "/j.js", "/i.jpg", "/i,1.jpg", "/i2.jpg", "/i3.jpg", "/p.jpg", "/v.mp4",
            "/w.webp", "/u.svg#x",
        ];
        assert_eq!(found(html), all.map(|target| (Asset, target.to_owned())));
    }

    #[test]
    fn the_first_base_counts() {
        let read = references("<base href='/x/'><base href=/y/><a href=z>");
        assert_eq!(read.base.as_deref(), Some("/x/"));
    }

    #[test]
    fn entities_are_decoded() {
        for (written, meant) in [
            ("a&amp;b", "a&b"),
            ("&#47;a&#x2F;b", "/a/b"),
            ("java&#115;cript&colon;x", "javascript:x"),
            ("a&b=c;d", "a&b=c;d"),
            ("&unknown; &", "&unknown; &"),
            ("&#xD800;", "&#xD800;"),
        ] {
            assert_eq!(decode(written), meant);
        }
    }

    #[test]
    fn references_are_resolved_as_a_browser_does() {
        for (target, path) in [
            ("/b", Some("/b")),
            ("c", Some("/a/c")),
            ("./c", Some("/a/c")),
            ("../c", Some("/c")),
            ("../../../c", Some("/c")),
            ("/../../etc/passwd", Some("/etc/passwd")),
            ("/x/%2e%2E/y", Some("/y")),
            ("/x/.%2e/%2e/y/..", Some("/")),
            ("/x/%2fy", Some("/x/%2fy")),
            (" /b\n", Some("/b")),
            ("/b?x=1#y", Some("/b")),
            ("?x=1", None),
            ("#top", None),
            ("", None),
            ("/été à", Some("/%C3%A9t%C3%A9%20%C3%A0")),
            ("https://WWW.example.fr/b", Some("/b")),
            ("//www.example.fr", Some("/")),
            ("//evil", None),
            ("//evil/b", None),
            ("/\\evil", None),
            ("/.//evil/b", None),
            ("https://evil/b", None),
            ("https:b", None),
            ("http://www.example.fr@evil/", None),
            ("javascript:alert(1)", None),
            ("java\nscript:alert(1)", None),
            ("mailto:a@b", None),
            ("data:text/html,x", None),
            ("/a:b", Some("/a:b")),
        ] {
            let found = resolve("/a/page", target, Some("www.example.fr"));
            assert_eq!(found.as_deref(), path, "{target:?}");
        }
        assert_eq!(resolve("/a", "https://www.example.fr/b", None), None);
    }

    #[test]
    fn an_endless_page_is_read_up_to_the_limit() {
        let html = "<a href=/a><img srcset='/b 1x, /c 2x'>".repeat(REFERENCES_PER_PAGE_MAX);
        assert_eq!(found(&html).len(), REFERENCES_PER_PAGE_MAX);
    }

    #[test]
    fn nothing_makes_the_scanner_fail() {
        let pieces = [
            "<", ">", "a", " ", "href", "=", "\"", "'", "/", "<!--", "-->", "é", "<script", "</",
            "srcset", "&", "&#", ";", ",", "<img ", "<base ",
        ];
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..5_000 {
            let html: String = (0..random.usize(..40))
                .map(|_| pieces[random.usize(..pieces.len())])
                .collect();
            let read = std::panic::catch_unwind(|| {
                for reference in references(&html).found {
                    if let Some(path) = resolve("/a/b", &reference.target, None) {
                        assert!(path.starts_with('/') && path.is_ascii());
                    }
                }
            });
            assert!(read.is_ok(), "seed {seed}: {html}");
        }
    }
}
