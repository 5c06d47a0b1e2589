//! Whether a reader's browser shows slots that come late. Owns what is known of browsers.
//!
//! A page with such slots is written out of order only for a browser that is known to show declarative
//! shadow trees. Everybody else waits for each slot in its place: old browsers, terminals, and crawlers,
//! which have time and are to see the page as it reads.

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue};

/// What a page varies with that has such slots.
pub(super) const VARIES: HeaderValue = HeaderValue::from_static("user-agent");

/// By what browsers call themselves, and the first version that knows `shadowrootmode`. A browser that is
/// built on another one says so too.
const SINCE: [(&str, (u32, u32)); 3] = [
    ("Chrome/", (111, 0)),
    ("Firefox/", (123, 0)),
    // Safari tells its version apart from the engine's
    ("Version/", (16, 4)),
];

/// What stands in the name of who is no browser, though it says that it is one.
const NO_BROWSER: [&str; 5] = ["bot", "crawl", "spider", "slurp", "compatible;"];

/// Whether it does, as far as is known.
pub(super) fn shows_late_slots(headers: &HeaderMap) -> bool {
    let Some(agent) = headers
        .get(USER_AGENT)
        .and_then(|agent| agent.to_str().ok())
    else {
        return false;
    };
    let small = agent.to_ascii_lowercase();
    if NO_BROWSER.iter().any(|name| small.contains(name)) {
        return false;
    }
    SINCE.iter().any(|(name, since)| {
        let version = agent.split_once(name).map(|(_, version)| version);
        version
            .and_then(parsed)
            .is_some_and(|version| version >= *since)
    })
}

/// The first two numbers of a version.
fn parsed(version: &str) -> Option<(u32, u32)> {
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.');
    let mut numbers = version[..end.unwrap_or(version.len())].split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next().and_then(|minor| minor.parse().ok());
    Some((major, minor.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_told_from_others() {
        let chrome = |version| {
            format!(
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
                 Chrome/{version} Safari/537.36"
            )
        };
        let safari = |version| {
            format!(
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like \
                 Gecko) Version/{version} Safari/605.1.15"
            )
        };
        let firefox =
            |version| format!("Mozilla/5.0 (X11; Linux x86_64; rv:1) Gecko/1 Firefox/{version}");
        for (agent, shows) in [
            (chrome("110.0.0.0"), false),
            (chrome("111.0.0.0"), true),
            (chrome("99.9"), false),
            (
                chrome("130.0.0.0").replace("Chrome", "HeadlessChrome"),
                true,
            ),
            (chrome("130.0.0.0") + " Edg/130.0.0.0", true),
            (safari("16.3"), false),
            (safari("16.4"), true),
            (safari("18.0.1"), true),
            (firefox("122.0"), false),
            (firefox("123.0"), true),
            (chrome("130.0.0.0") + " (compatible; Googlebot/2.1)", false),
            ("curl/8.5.0".to_owned(), false),
            ("Chrome/".to_owned(), false),
            ("Chrome/99999999999999999999".to_owned(), false),
            (String::new(), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(USER_AGENT, HeaderValue::from_str(&agent).unwrap());
            assert_eq!(shows_late_slots(&headers), shows, "{agent}");
        }
        assert!(!shows_late_slots(&HeaderMap::new()));
    }
}
