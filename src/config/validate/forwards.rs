//! `forward_headers` and `forward_cookies`. Owns which headers of a reader may reach an origin.

use http::HeaderName;

use super::Context;
use crate::config::diagnose::Diagnostic;
use crate::config::file::{self, At};
use crate::config::read::Entry;
use crate::fetch::hop;

/// Why a header that belongs to one connection is not forwarded.
const OF_ONE_CONNECTION: (&str, &str) = (
    "this header belongs to one connection",
    "remove it: marbre sets it for its own connections",
);

/// Why a header is not forwarded.
const REFUSED: [(&[&str], &str, &str); 4] = [
    (
        &["cookie"],
        "cookies are forwarded by name",
        "use `forward_cookies = [\"…\"]`",
    ),
    (
        &["host"],
        "the host never comes from a reader",
        "the origin is asked by the host of its own URL",
    ),
    (
        &["content-length", "expect", "http2-settings"],
        OF_ONE_CONNECTION.0,
        OF_ONE_CONNECTION.1,
    ),
    (
        &[
            "if-match",
            "if-none-match",
            "if-modified-since",
            "if-unmodified-since",
            "if-range",
            "range",
            "accept-encoding",
        ],
        "it would make the answer a part, or none",
        "remove it: a fragment is fetched whole",
    ),
];

/// Why a header, by lower-case name, must not reach an origin, and what to do instead.
pub(super) fn refusal(name: &str) -> Option<(&'static str, &'static str)> {
    if hop::is_of_one_connection(name) {
        return Some(OF_ONE_CONNECTION);
    }
    let refused = REFUSED.iter().find(|(names, ..)| names.contains(&name));
    refused.map(|(_, why, help)| (*why, *help))
}

/// Header names, lower case.
pub(super) fn headers(
    entry: &Entry<file::Fragment>,
    written: &[At<String>],
    cx: &mut Context<'_>,
) -> Vec<String> {
    let mut names = Vec::new();
    for header in written {
        let name = header.to_ascii_lowercase();
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            cx.report(
                Diagnostic::error(format!("`{}` is not a header name", **header))
                    .at(entry.at(header), "expected letters, digits and `-`"),
            );
        } else if let Some((why, help)) = refusal(&name) {
            cx.report(
                Diagnostic::error(format!("`{name}` cannot be forwarded"))
                    .at(entry.at(header), why)
                    .help(help),
            );
        }
        names.push(name);
    }
    sorted(names)
}

/// Cookie names.
pub(super) fn cookies(
    entry: &Entry<file::Fragment>,
    written: &[At<String>],
    cx: &mut Context<'_>,
) -> Vec<String> {
    let mut names = Vec::new();
    for cookie in written {
        if !is_cookie_name(cookie) {
            cx.report(
                Diagnostic::error(format!("`{}` is not a cookie name", **cookie))
                    .at(entry.at(cookie), "expected a name, without its value"),
            );
        }
        names.push(cookie.to_string());
    }
    sorted(names)
}

/// A cookie's name is a token (RFC 6265, 4.1.1).
pub(super) fn is_cookie_name(name: &str) -> bool {
    let is_token = |b: u8| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&b);
    !name.is_empty() && name.bytes().all(is_token)
}

/// Their order means nothing, so it must not change a fingerprint.
fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names.dedup();
    names
}
