//! A record of one answered request, as JSON and as a line for people. Owns what is in it and how it is
//! escaped; pure.
//!
//! Invariant: whatever was asked for, a record is one line, and no part of it can be taken for another:
//! what comes from a request holds nothing but visible ASCII.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde::Serialize;

use crate::clock::Moment;
use crate::report::PageReport;
use crate::site::ClientShown;

/// Bytes of a path that are recorded; what is longer is nobody's address of an article.
const PATH_BYTES_MAX: usize = 2048;

/// Blocks of a page that are recorded.
const BLOCKS_MAX: usize = 256;

/// What has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A page, or its snapshot.
    Page,
    /// An origin, through a `[[proxy]]` path.
    Proxy,
    /// A file of a `[[static]]` folder.
    Static,
    /// The page about the site itself.
    Status,
    /// One block of a page, for a browser that asks again.
    Block,
    /// Nothing: there is no such path, or the request is not one that is answered.
    Refused,
}

impl Kind {
    fn label(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Proxy => "proxy",
            Self::Static => "static",
            Self::Status => "status",
            Self::Block => "block",
            Self::Refused => "refused",
        }
    }
}

/// One request and its answer.
#[derive(Debug, Clone)]
pub struct Record {
    /// When it was asked for.
    pub at: Moment,
    /// The request's method.
    pub method: http::Method,
    /// What was asked for, as [`shown`].
    pub path: String,
    /// What has answered.
    pub kind: Kind,
    /// The status that was sent.
    pub status: u16,
    /// Bytes of the body that were handed over, as they were coded.
    pub bytes: u64,
    /// From the request to the head of the answer.
    pub first_byte: Duration,
    /// From the request to the end of the answer, or to the reader's leaving.
    pub total: Duration,
    /// Whether the reader left before the end.
    pub is_left: bool,
    /// The page, if it was one.
    pub page: Option<PageRecord>,
    /// Who has asked, as far as that is shown.
    pub client: Option<IpAddr>,
}

/// What a record says of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRecord {
    name: String,
    level: u8,
    is_rehearsal: bool,
    is_complete: bool,
    snapshot: Option<Duration>,
    blocks: BTreeMap<String, &'static str>,
    missing: Vec<String>,
    /// Which fault on purpose has hit what was asked for a block.
    faults: BTreeMap<String, String>,
    trace_id: u128,
}

impl PageRecord {
    /// What is recorded of this page.
    pub fn new(report: &PageReport<'_>) -> Self {
        let shown = report.fragments.iter().take(BLOCKS_MAX);
        let missing = shown
            .clone()
            .filter(|f| !f.outcome.is_whole() && !f.outcome.is_unneeded());
        let faults = report.attempts.iter().filter_map(|attempt| {
            let fault = attempt.fault.as_deref()?;
            Some((attempt.fragment.to_string(), fault.to_owned()))
        });
        Self {
            name: report.page.to_string(),
            level: report.level.get(),
            is_rehearsal: report.is_rehearsal,
            is_complete: report.is_complete(),
            snapshot: report.snapshot,
            missing: missing.map(|f| f.name.to_string()).collect(),
            faults: faults.take(BLOCKS_MAX).collect(),
            blocks: shown
                .map(|f| (f.name.to_string(), f.outcome.label()))
                .collect(),
            trace_id: report.trace_id,
        }
    }
}

/// What a request asks for as it is recorded: the path, and the query where that is shown.
pub fn shown(uri: &http::Uri, with_query: bool) -> String {
    let mut text = String::new();
    put(&mut text, uri.path());
    if let Some(query) = uri.query().filter(|_| with_query) {
        put(&mut text, "?");
        put(&mut text, query);
    }
    text
}

/// A text from a request, for a line of a log.
pub fn visible(text: &str) -> String {
    let mut out = String::new();
    put(&mut out, text);
    out
}

/// Adds a text from a request, up to the limit: what is not visible ASCII is percent-encoded, so that
/// nothing ends the line or hides a part of it, and so are the quotes.
fn put(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if out.len() >= PATH_BYTES_MAX {
            if !out.ends_with("...") {
                out.push_str("...");
            }
            return;
        }
        match byte {
            b'"' | b'\\' => _ = write!(out, "%{byte:02X}"),
            byte if byte.is_ascii_graphic() => out.push(char::from(byte)),
            byte => _ = write!(out, "%{byte:02X}"),
        }
    }
}

impl ClientShown {
    /// What of an address may be recorded.
    pub fn of(self, address: IpAddr) -> Option<IpAddr> {
        let kept = |bytes: &mut [u8], kept: usize| bytes[kept..].fill(0);
        match (self, address.to_canonical()) {
            (Self::Off, _) => None,
            (Self::Full, address) => Some(address),
            (Self::Truncated, IpAddr::V4(address)) => {
                let mut bytes = address.octets();
                kept(&mut bytes, 3);
                Some(IpAddr::V4(Ipv4Addr::from(bytes)))
            }
            (Self::Truncated, IpAddr::V6(address)) => {
                let mut bytes = address.octets();
                kept(&mut bytes, 6);
                Some(IpAddr::V6(Ipv6Addr::from(bytes)))
            }
        }
    }
}

/// The JSON of a record.
#[derive(Serialize)]
struct Line<'r> {
    at: String,
    method: &'r str,
    path: &'r str,
    kind: Kind,
    status: u16,
    bytes: u64,
    first_byte_ms: f64,
    total_ms: f64,
    #[serde(skip_serializing_if = "is_not")]
    left: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<u8>,
    #[serde(skip_serializing_if = "is_not")]
    rehearsal: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    complete: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_age_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocks: Option<&'r BTreeMap<String, &'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<&'r [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    faults: Option<&'r BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
}

fn is_not(flag: &bool) -> bool {
    !flag
}

impl Record {
    /// Appends it as one line.
    pub(super) fn line(&self, out: &mut Vec<u8>, is_json: bool) {
        match is_json {
            true => {
                // writing to memory does not fail, and no key is anything but text
                let _ = serde_json::to_writer(&mut *out, &self.json());
            }
            false => out.extend_from_slice(self.human().as_bytes()),
        }
        out.push(b'\n');
    }

    fn json(&self) -> Line<'_> {
        let page = self.page.as_ref();
        Line {
            at: self.at.to_string(),
            method: self.method.as_str(),
            path: &self.path,
            kind: self.kind,
            status: self.status,
            bytes: self.bytes,
            first_byte_ms: millis(self.first_byte),
            total_ms: millis(self.total),
            left: self.is_left,
            page: page.map(|page| page.name.as_str()),
            level: page.map(|page| page.level),
            rehearsal: page.is_some_and(|page| page.is_rehearsal),
            complete: page.map(|page| page.is_complete),
            snapshot_age_s: page.and_then(|page| Some(page.snapshot?.as_secs())),
            blocks: page.map(|page| &page.blocks),
            missing: page.map(|page| page.missing.as_slice()),
            faults: page.map(|page| &page.faults).filter(|f| !f.is_empty()),
            trace_id: page.map(|page| format!("{:032x}", page.trace_id)),
            client: self.client,
        }
    }

    fn human(&self) -> String {
        let Self {
            at,
            method,
            path,
            kind,
            status,
            bytes,
            ..
        } = self;
        let (first, total) = (millis(self.first_byte), millis(self.total));
        let kind = kind.label();
        let mut text =
            format!("{at} {method} {path} {status} {kind} {bytes} B {first:.1}/{total:.1} ms");
        if let Some(page) = &self.page {
            text += &format!(" page={} level={}", page.name, page.level);
            if page.is_rehearsal {
                text += " rehearsal";
            }
            if let Some(age) = page.snapshot {
                text += &format!(" snapshot={}s", age.as_secs());
            }
            if !page.missing.is_empty() {
                let missing = page.missing.iter();
                let missing = missing.map(|name| format!("{name}:{}", page.blocks[name]));
                text += &format!(" missing={}", missing.collect::<Vec<_>>().join(","));
            }
            if !page.faults.is_empty() {
                let faults = page.faults.iter();
                let faults = faults.map(|(block, fault)| format!("{block}:{fault}"));
                text += &format!(" faults={}", faults.collect::<Vec<_>>().join(","));
            }
            text += &format!(" trace={:032x}", page.trace_id);
        }
        if self.is_left {
            text += " left";
        }
        if let Some(client) = self.client {
            text += &format!(" client={client}");
        }
        text
    }
}

/// Milliseconds with three decimals.
fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn record(path: String) -> Record {
        Record {
            at: Moment::from_micros(1_800_000_000_123_000),
            method: http::Method::GET,
            path,
            kind: Kind::Page,
            status: 200,
            bytes: 1234,
            first_byte: Duration::from_micros(1500),
            total: Duration::from_millis(20),
            is_left: false,
            page: Some(PageRecord {
                name: "article".to_owned(),
                level: 1,
                is_rehearsal: false,
                is_complete: false,
                snapshot: None,
                blocks: [("article", "cached"), ("ad", "shed")]
                    .map(|(name, outcome)| (name.to_owned(), outcome))
                    .into(),
                missing: vec!["ad".to_owned()],
                faults: [("article".to_owned(), "cold".to_owned())].into(),
                trace_id: 0xabc,
            }),
            client: Some("192.0.2.0".parse().unwrap()),
        }
    }

    fn line(record: &Record, is_json: bool) -> String {
        let mut out = Vec::new();
        record.line(&mut out, is_json);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_record_is_a_line_of_json_or_for_people() {
        let record = record("/articles/x".to_owned());
        let json: Value = serde_json::from_str(&line(&record, true)).unwrap();
        let expected = serde_json::json!({
            "at": "2027-01-15T08:00:00.123Z", "method": "GET", "path": "/articles/x",
            "kind": "page", "status": 200, "bytes": 1234, "first_byte_ms": 1.5, "total_ms": 20.0,
            "page": "article", "level": 1, "complete": false,
            "blocks": { "article": "cached", "ad": "shed" }, "missing": ["ad"],
            "faults": { "article": "cold" },
            "trace_id": "00000000000000000000000000000abc", "client": "192.0.2.0",
        });
        assert_eq!(json, expected);
        assert_eq!(
            line(&record, false),
            "2027-01-15T08:00:00.123Z GET /articles/x 200 page 1234 B 1.5/20.0 ms page=article \
             level=1 missing=ad:shed faults=article:cold trace=00000000000000000000000000000abc client=192.0.2.0\n"
        );
    }

    #[test]
    fn nothing_of_a_request_ends_a_line_or_leaves_its_field() {
        for path in [
            "/a\"b",
            "/é\u{85}\u{2028}\u{202e}",
            "/a%0d%0aGET%20/b",
            "/a\u{7f}",
        ] {
            let Ok(uri) = path.parse::<http::Uri>() else {
                continue;
            };
            let record = record(shown(&uri, true));
            for is_json in [true, false] {
                let line = line(&record, is_json);
                let text = line.strip_suffix('\n').unwrap();
                let is_visible = |b: u8| b.is_ascii_graphic() || b == b' ';
                assert!(text.bytes().all(is_visible), "{text}");
                assert_eq!(text.matches(" page=").count(), usize::from(!is_json));
            }
        }
        let mut text = String::new();
        put(&mut text, "a b\r\n\t\u{1b}[0m\"\\é");
        assert_eq!(text, "a%20b%0D%0A%09%1B[0m%22%5C%C3%A9");
    }

    #[test]
    fn what_is_shown_of_a_request_is_bounded() {
        let uri: http::Uri = format!("/{}?token=secret", "x".repeat(5000))
            .parse()
            .unwrap();
        let text = shown(&uri, true);
        assert!(text.len() <= PATH_BYTES_MAX + 3 && text.ends_with("x..."));
        let uri: http::Uri = "/a?token=secret".parse().unwrap();
        assert_eq!(shown(&uri, false), "/a");
        assert_eq!(shown(&uri, true), "/a?token=secret");
    }

    #[test]
    fn a_truncated_address_is_that_of_many() {
        for (shown, address, expected) in [
            (ClientShown::Off, "192.0.2.77", None),
            (ClientShown::Truncated, "192.0.2.77", Some("192.0.2.0")),
            (
                ClientShown::Truncated,
                "::ffff:192.0.2.77",
                Some("192.0.2.0"),
            ),
            (
                ClientShown::Truncated,
                "2001:db8:1:2:3::4",
                Some("2001:db8:1::"),
            ),
            (
                ClientShown::Full,
                "2001:db8:1:2:3::4",
                Some("2001:db8:1:2:3::4"),
            ),
        ] {
            let found = shown.of(address.parse().unwrap());
            assert_eq!(found.map(|a| a.to_string()).as_deref(), expected);
        }
    }
}
