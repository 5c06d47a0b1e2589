//! What a request tells the plan. Owns the vocabulary of request data that a site may use in its
//! source templates; knows nothing of HTTP types, pages or origins.
//!
//! Invariant: a route parameter held here is one safe path segment (see [`safe_segment`]), so no
//! request can make a source template name another path or another host.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use super::Trace;

/// The device classes that `{device}` may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Device {
    /// Anything that does not say it is a phone or a tablet.
    #[default]
    Desktop,
    /// A phone, by its `Sec-CH-UA-Mobile` or `User-Agent`.
    Phone,
    /// A tablet, by its `User-Agent`.
    Tablet,
}

impl Device {
    /// The word used in source templates and cache keys.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Desktop => "desktop",
            Self::Phone => "phone",
            Self::Tablet => "tablet",
        }
    }
}

/// Everything about one request that a plan may depend on.
///
/// Only what some fragment of the site declares is filled in: the header, cookie and query maps
/// are never a copy of the whole request.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Route parameters, percent-decoded, in the order of the pattern.
    pub params: Vec<(String, String)>,
    /// Query parameters, percent-decoded; the first value wins.
    pub query: BTreeMap<String, String>,
    /// Request headers by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// Cookies by name.
    pub cookies: BTreeMap<String, String>,
    /// Primary language subtag of `Accept-Language`, or the site's own language.
    pub lang: String,
    /// Device class.
    pub device: Device,
    /// Of an item of a list: what its source uses of it, by the path in `{item.path}`, which is
    /// empty for the item itself.
    pub item: BTreeMap<String, String>,
    /// W3C trace context of the page.
    pub trace: Trace,
}

impl Facts {
    /// The value of a route parameter.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// Whether two requests say the same, which each does in a trace of its own.
    pub fn is_same_request(&self, other: &Self) -> bool {
        self.request() == other.request()
    }

    /// Feeds what a request says to a hasher: the same for requests that [say the same](Self::is_same_request).
    pub fn hash_request(&self, hasher: &mut impl Hasher) {
        self.request().hash(hasher);
    }

    /// All but the trace.
    fn request(&self) -> impl PartialEq + Hash + '_ {
        let Self {
            params,
            query,
            headers,
            cookies,
            lang,
            device,
            item,
            trace: _,
        } = self;
        (params, query, headers, cookies, lang, device, item)
    }
}

/// Whether a decoded route parameter may stand for one segment of an origin's path.
///
/// Slashes, backslashes, control characters and dot segments are refused rather than encoded:
/// many servers decode `%2F` and `%2E` before they route, and would walk to another path.
pub fn safe_segment(value: &str) -> bool {
    !matches!(value, "" | "." | "..")
        && !value
            .chars()
            .any(|c| c == '/' || c == '\\' || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_that_could_climb_are_unsafe() {
        for bad in ["", ".", "..", "a/b", "a\\b", "a\r\nb", "a\0b"] {
            assert!(!safe_segment(bad), "{bad:?}");
        }
        for good in ["a", "...", "l'été à Paris", "a.b", "%2e"] {
            assert!(safe_segment(good), "{good:?}");
        }
    }
}
