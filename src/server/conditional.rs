//! Conditional requests for pages (RFC 9110, 13): the validator of a page, and whether its reader has it
//! already. Owns the reading of `If-None-Match`; pure.
//!
//! A page has a strong validator over its bytes, and no date: it changes more often than dates can tell,
//! and with every block. So `If-Modified-Since` says nothing of it and is ignored, as the RFC asks
//! (13.1.3), and so are ranges, which nobody needs of a page (14.2). A coding that is made on the way
//! weakens the validator.

use http::header::IF_NONE_MATCH;
use http::{HeaderMap, HeaderValue};

/// The validator of a body with this hash.
pub(super) fn entity_tag(digest: u128) -> HeaderValue {
    HeaderValue::try_from(format!("\"{digest:032x}\"")).expect("digits in quotes make a header")
}

/// Whether a request for the page with this validator, or of which none is known yet, comes from
/// somebody who has it; and with which validator they are to keep it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// Not this one.
    No,
    /// This one. A cache goes by the form of the validator in which it knows it (RFC 9111, 4.3.4).
    As(HeaderValue),
    /// Whatever there is.
    Any,
}

pub(super) fn known(headers: &HeaderMap, tag: Option<&HeaderValue>) -> Known {
    for value in headers.get_all(IF_NONE_MATCH) {
        let value = value.as_bytes().trim_ascii();
        if value == b"*" {
            return tag.map_or(Known::Any, |tag| Known::As(tag.clone()));
        }
        let Some(tag) = tag else { continue };
        let mut tags = Tags(value);
        // weakly compared (13.1.2)
        let found = tags.find(|known| opaque(known) == opaque(tag.as_bytes()));
        if let Some(found) = found.and_then(|found| HeaderValue::from_bytes(found).ok()) {
            return Known::As(found);
        }
    }
    Known::No
}

/// A validator without its sign of weakness.
fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// The validators of a list, up to the first that is none: a comma may be within one.
struct Tags<'v>(&'v [u8]);

impl<'v> Iterator for Tags<'v> {
    type Item = &'v [u8];

    fn next(&mut self) -> Option<&'v [u8]> {
        let is_between = |b: &u8| matches!(b, b',' | b' ' | b'\t');
        let skipped = self.0.iter().take_while(|b| is_between(b)).count();
        let rest = &self.0[skipped..];
        let quote = match rest.starts_with(b"W/") {
            true => 2,
            false => 0,
        };
        let text = rest.get(quote..)?.strip_prefix(b"\"")?;
        let length = memchr::memchr(b'"', text)?;
        let (tag, rest) = rest.split_at(quote + 1 + length + 1);
        self.0 = rest;
        Some(tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(IF_NONE_MATCH, HeaderValue::from_static(line));
        }
        headers
    }

    #[test]
    fn a_reader_has_a_page_if_one_of_their_validators_is_its_own() {
        let tag = HeaderValue::from_static("\"abc\"");
        for (lines, expected) in [
            (&["\"abc\""][..], Some("\"abc\"")),
            (&["W/\"abc\""], Some("W/\"abc\"")),
            (&["\"x\", W/\"y\" ,\"abc\""], Some("\"abc\"")),
            (&["\"x\"", "\"abc\""], Some("\"abc\"")),
            (&["\"a,b\", \"abc\""], Some("\"abc\"")),
            (&[",, \"abc\","], Some("\"abc\"")),
            (&["*"], Some("\"abc\"")),
            (&[" * "], Some("\"abc\"")),
            (&["\"x\""], None),
            (&["abc"], None),
            (&["w/\"abc\""], None),
            (&["\"abc"], None),
            (&["x, \"abc\""], None),
            (&["\"*\""], None),
            (&[""], None),
            (&[], None),
        ] {
            let found = known(&headers(lines), Some(&tag));
            let expected =
                expected.map_or(Known::No, |tag| Known::As(HeaderValue::from_static(tag)));
            assert_eq!(found, expected, "{lines:?}");
        }
    }

    #[test]
    fn of_a_page_without_a_validator_only_any_is_known() {
        assert_eq!(known(&headers(&["*"]), None), Known::Any);
        assert_eq!(known(&headers(&["\"abc\""]), None), Known::No);
    }

    #[test]
    fn a_validator_is_a_quoted_hash() {
        assert_eq!(entity_tag(10), "\"0000000000000000000000000000000a\"");
    }
}
