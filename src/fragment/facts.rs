//! What a request tells the plan. Owns the vocabulary of request data that a site may use in its
//! source templates; knows nothing of HTTP types, pages or origins.
//!
//! Invariant: a route parameter held here is one safe path segment (see [`safe_segment`]), so no
//! request can make a source template name another path or another host.

use std::collections::BTreeMap;

/// The device classes that `{device}` may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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
}

/// W3C trace context (<https://www.w3.org/TR/trace-context/>): what is forwarded to origins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// 128 bits, not zero when the context is present.
    pub trace_id: u128,
    /// The `sampled` flag.
    pub sampled: bool,
    /// The `tracestate` header, as received.
    pub state: Option<String>,
}

impl Trace {
    /// Reads a `traceparent` header; `None` when it is not valid under version 00 (or a later
    /// version with the same four leading fields).
    pub fn parse(traceparent: &str) -> Option<Self> {
        let mut fields = traceparent.trim().split('-');
        let (version, id, parent, flags) = (
            fields.next()?,
            fields.next()?,
            fields.next()?,
            fields.next()?,
        );
        let hex = |s: &str, n: usize| {
            s.len() == n
                && s.bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        if !hex(version, 2) || !hex(id, 32) || !hex(parent, 16) || !hex(flags, 2) {
            return None;
        }
        if version == "ff" || (version == "00" && fields.next().is_some()) {
            return None;
        }
        let trace_id = u128::from_str_radix(id, 16).ok()?;
        let parent_id = u64::from_str_radix(parent, 16).ok()?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        (trace_id != 0 && parent_id != 0).then_some(Self {
            trace_id,
            sampled: flags & 1 == 1,
            state: None,
        })
    }

    /// The `traceparent` to send with one attempt, whose span is `span_id`.
    pub fn traceparent(&self, span_id: u64) -> String {
        let (trace, flags) = (self.trace_id.max(1), u8::from(self.sampled));
        format!("00-{trace:032x}-{:016x}-{flags:02x}", span_id.max(1))
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
    fn traceparent_round_trip() {
        let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = Trace::parse(header).unwrap();
        assert_eq!(trace.traceparent(0x00f0_67aa_0ba9_02b7), header);
    }

    #[test]
    fn invalid_traceparents_are_ignored() {
        for header in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        ] {
            assert_eq!(Trace::parse(header), None, "{header}");
        }
    }

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
