//! A copy as bytes: what lies on disk, in the shared store and in messages between nodes. Owns the
//! format; pure.
//!
//! A frame is a version byte, the xxh3-64 of all that follows, the length of the meta data, the meta
//! data (JSON), and the HTML, by zstd where that is smaller. Invariant: what is decoded is what was
//! encoded, for the request that is asked for, or an error; never something that looks like it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::clock::Moment;
use crate::fragment::{Reach, SourceRequest, Tags};
use crate::layout::parts::Parts;

use super::coded::Coded;
use super::entry::{Content, Digest, Entry, Head, Ingredient, Validators};
use super::freshness::CacheControl;

/// The format that is written. Another is not read: its copies are fetched again.
const VERSION: u8 = 1;

const HEAD_LEN: usize = 1 + 8 + 4;

/// A body below this is not worth compressing.
const COMPRESSED_MIN: usize = 256;

/// zstd's fastest standard level: three times smaller at some 400 MB/s.
const LEVEL: i32 = 1;

/// Bytes that a byte of zstd stands for at most: a block that repeats one byte takes four, and has up to
/// 128 KiB (RFC 8878, 3.1.1.2).
const RATIO_MAX: usize = 32 * 1024;

/// Largest HTML that is taken out of a frame: no fragment may be larger, nor a page of them.
const HTML_MAX: usize = 256 << 20;

/// Why bytes are not a copy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// They end too early.
    #[error("too short")]
    Short,
    /// Another format.
    #[error("format {0}, and this is format {VERSION}")]
    Version(u8),
    /// Bytes have changed.
    #[error("the checksum does not fit")]
    Checksum,
    /// The meta data cannot be read.
    #[error("meta data: {0}")]
    Meta(String),
    /// The HTML cannot be read.
    #[error("content: {0}")]
    Content(String),
}

/// A copy and what it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// What it answers.
    pub request: SourceRequest,
    /// The copy.
    pub entry: Entry,
    /// Where it may be kept.
    pub reach: Reach,
}

#[derive(Serialize, Deserialize)]
struct Meta {
    fragment: String,
    /// As text: a JSON number would lose digits in many readers.
    fingerprint: String,
    target: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    params: Vec<(String, String)>,
    kind: Kind,
    /// Bytes of the main part, then of the named ones.
    main: usize,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    named: Vec<(String, usize)>,
    zstd: bool,
    /// 200 is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    head: Vec<(String, String)>,
    stored_at: Moment,
    initial_age: Duration,
    took: Duration,
    says: CacheControl,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_modified: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    made_of: Vec<Ingredient>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    chance: u8,
    purged: bool,
    disk: bool,
    shared: bool,
    pinned: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Html,
    Absent,
    Withdrawn,
}

/// The copy as bytes.
pub fn encode(request: &SourceRequest, entry: &Entry, reach: Reach) -> Vec<u8> {
    let nothing = Parts::default();
    let (kind, parts) = match &entry.content {
        Content::Html(parts) => (Kind::Html, parts),
        Content::Absent => (Kind::Absent, &nothing),
        Content::Withdrawn => (Kind::Withdrawn, &nothing),
    };
    let named = parts.named.iter().map(|(_, html)| html);
    let html: Vec<&[u8]> = [&parts.main]
        .into_iter()
        .chain(named)
        .map(|b| &**b)
        .collect();
    let html = html.concat();
    let compressed = (html.len() >= COMPRESSED_MIN)
        .then(|| zstd::bulk::compress(&html, LEVEL).ok())
        .flatten()
        .filter(|compressed| compressed.len() < html.len());
    let text = |value: &HeaderValue| latin1(value.as_bytes());
    let meta = Meta {
        fragment: entry.fragment.to_string(),
        fingerprint: format!("{:016x}", request.fingerprint),
        target: request.target.clone(),
        headers: request.headers.clone(),
        params: request.params.clone(),
        kind,
        main: parts.main.len(),
        named: parts
            .named
            .iter()
            .map(|(name, html)| (name.clone(), html.len()))
            .collect(),
        zstd: compressed.is_some(),
        status: (entry.head.status != StatusCode::OK).then_some(entry.head.status.as_u16()),
        head: entry
            .head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect(),
        stored_at: entry.stored_at,
        initial_age: entry.initial_age,
        took: entry.took,
        says: entry.says,
        etag: entry.validators.etag.as_ref().map(text),
        last_modified: entry.validators.last_modified.as_ref().map(text),
        tags: entry.tags.iter().map(str::to_owned).collect(),
        made_of: entry.made_of.clone(),
        version: entry.version,
        chance: entry.chance,
        purged: entry.purged,
        disk: reach.disk,
        shared: reach.shared,
        pinned: reach.pinned,
    };
    let meta = serde_json::to_vec(&meta).expect("strings and numbers can be written");
    sealed(&meta, &compressed.unwrap_or(html))
}

/// The frame of what is in it.
pub(super) fn sealed(meta: &[u8], body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEAD_LEN + meta.len() + body.len());
    frame.push(VERSION);
    frame.extend_from_slice(&[0; 8]);
    let meta_len = u32::try_from(meta.len()).expect("meta data is bounded by the request's head");
    frame.extend_from_slice(&meta_len.to_le_bytes());
    frame.extend_from_slice(meta);
    frame.extend_from_slice(body);
    let checksum = xxh3_64(&frame[9..]);
    frame[1..9].copy_from_slice(&checksum.to_le_bytes());
    frame
}

/// The copy that these bytes are.
pub fn decode(frame: &[u8]) -> Result<Decoded, FrameError> {
    let Some((head, rest)) = frame.split_at_checked(HEAD_LEN) else {
        return Err(FrameError::Short);
    };
    if head[0] != VERSION {
        return Err(FrameError::Version(head[0]));
    }
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
    if xxh3_64(&frame[9..]) != number(&head[1..9]) {
        return Err(FrameError::Checksum);
    }
    let meta_len = usize::try_from(number(&head[9..])).map_err(|_| FrameError::Short)?;
    let (meta, body) = rest.split_at_checked(meta_len).ok_or(FrameError::Short)?;
    let unreadable = |error: &dyn std::fmt::Display| FrameError::Meta(error.to_string());
    let meta: Meta = serde_json::from_slice(meta).map_err(|error| unreadable(&error))?;
    let fingerprint =
        u64::from_str_radix(&meta.fingerprint, 16).map_err(|error| unreadable(&error))?;
    let html = html(&meta, body)?;
    let content = match meta.kind {
        Kind::Html => Content::Html(parts(&meta, html)?),
        Kind::Absent => Content::Absent,
        Kind::Withdrawn => Content::Withdrawn,
    };
    let mut headers = Vec::with_capacity(meta.head.len());
    for (name, text) in &meta.head {
        let name: HeaderName = name.parse().map_err(|error| unreadable(&error))?;
        headers.push((name, value(text)?));
    }
    let status = meta.status.map(StatusCode::from_u16).transpose();
    let status = status
        .map_err(|error| unreadable(&error))?
        .unwrap_or_default();
    let optional = |text: Option<String>| text.as_deref().map(value).transpose();
    let entry = Entry {
        fragment: Arc::from(meta.fragment),
        content,
        head: Head { status, headers },
        stored_at: meta.stored_at,
        initial_age: meta.initial_age,
        took: meta.took,
        says: meta.says,
        validators: Validators {
            etag: optional(meta.etag)?,
            last_modified: optional(meta.last_modified)?,
        },
        tags: Tags::kept(meta.tags.iter().map(String::as_str)),
        made_of: meta.made_of,
        version: meta.version,
        chance: meta.chance,
        purged: meta.purged,
        written_at: meta.stored_at,
        coded: Coded::default(),
        digest: Digest::default(),
    };
    Ok(Decoded {
        request: SourceRequest {
            fingerprint,
            target: meta.target,
            headers: meta.headers,
            params: meta.params,
        },
        entry,
        reach: Reach {
            disk: meta.disk,
            shared: meta.shared,
            pinned: meta.pinned,
        },
    })
}

fn html(meta: &Meta, body: &[u8]) -> Result<Bytes, FrameError> {
    let wrong = |what: &str| FrameError::Content(what.to_owned());
    let mut named = meta.named.iter().map(|(_, len)| *len);
    let len = named
        .try_fold(meta.main, |sum: usize, len| sum.checked_add(len))
        .filter(|len| *len <= HTML_MAX)
        .ok_or_else(|| wrong("too long"))?;
    // room is made for as much as the meta data says: not for more than there can be
    let ratio = if meta.zstd { RATIO_MAX } else { 1 };
    if len > body.len().saturating_mul(ratio) {
        return Err(wrong("shorter than is said of it"));
    }
    let html = match meta.zstd {
        true => zstd::bulk::decompress(body, len).map_err(|error| wrong(&error.to_string()))?,
        false => body.to_vec(),
    };
    let fits = html.len() == len && std::str::from_utf8(&html).is_ok();
    fits.then(|| html.into())
        .ok_or_else(|| wrong("not what was written"))
}

/// The parts, each with bytes of its own, so that none holds another in memory.
fn parts(meta: &Meta, html: Bytes) -> Result<Parts, FrameError> {
    let mut at = meta.main;
    let mut named = Vec::with_capacity(meta.named.len());
    for (name, len) in &meta.named {
        named.push((name.clone(), Bytes::copy_from_slice(&html[at..at + len])));
        at += len;
    }
    let main = match named.is_empty() {
        true => html,
        false => Bytes::copy_from_slice(&html[..meta.main]),
    };
    Ok(Parts { main, named })
}

/// Header values are bytes and JSON is text: one character for each byte.
fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn value(text: &str) -> Result<HeaderValue, FrameError> {
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
    bytes
        .and_then(|bytes| HeaderValue::from_bytes(&bytes).ok())
        .ok_or_else(|| FrameError::Meta(format!("{text:?} is no header value")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::LINK;
    use proptest::prelude::*;

    fn request(target: &str) -> SourceRequest {
        SourceRequest {
            fingerprint: u64::MAX - 1,
            target: target.to_owned(),
            headers: vec![("cookie".to_owned(), "a=\"b\"".to_owned())],
            params: vec![("slug".to_owned(), "l'été".to_owned())],
        }
    }

    const STORED_AT: Moment = Moment::from_micros(1_790_000_000_000_001);

    fn entry(html: &str) -> Entry {
        let content = Content::Html(Parts::split(Bytes::from(html.to_owned())));
        Entry {
            head: Head {
                status: StatusCode::CREATED,
                headers: vec![(LINK, HeaderValue::from_bytes(b"</\xe9>").unwrap())],
            },
            initial_age: Duration::from_millis(1500),
            says: CacheControl::parse(["max-age=5, private"]),
            validators: Validators {
                etag: Some(HeaderValue::from_static("W/\"x\"")),
                last_modified: None,
            },
            tags: Tags::new(["a", "b c"]),
            made_of: vec![Ingredient {
                fragment: "live".to_owned(),
                target: "/live".to_owned(),
            }],
            version: Some(u64::MAX),
            chance: 200,
            purged: true,
            written_at: STORED_AT,
            ..Entry::new("article", content, STORED_AT)
        }
    }

    const REACH: Reach = Reach {
        disk: true,
        shared: false,
        pinned: true,
    };

    #[test]
    fn what_is_decoded_is_what_was_encoded() {
        let long = "<p>L'été à Paris</p>".repeat(100);
        for html in [
            "<p>x</p>",
            "a<!--part head--><title>é</title><!--/part-->b<!--part x--><!--/part-->",
            &long,
        ] {
            let entry = entry(html);
            let frame = encode(&request("/a?b"), &entry, REACH);
            let decoded = decode(&frame).unwrap();
            assert_eq!(decoded.request, request("/a?b"));
            assert_eq!(decoded.entry, entry);
            assert_eq!(decoded.reach, REACH);
        }
        assert!(encode(&request("/"), &entry(&long), REACH).len() < long.len());
        for content in [Content::Absent, Content::Withdrawn] {
            let entry = Entry::new("x", content, Moment::default());
            let frame = encode(&request("/"), &entry, Reach::default());
            assert_eq!(decode(&frame).unwrap().entry, entry);
        }
    }

    #[test]
    fn no_room_is_made_for_more_than_a_body_can_be() {
        let long = "<p>x</p>".repeat(100);
        let frame = encode(&request("/"), &entry(&long), REACH);
        let meta_len = u32::from_le_bytes(frame[9..HEAD_LEN].try_into().unwrap()) as usize;
        let (meta, body) = frame[HEAD_LEN..].split_at(meta_len);
        let meta = std::str::from_utf8(meta).unwrap();
        assert!(decode(&sealed(meta.as_bytes(), body)).is_ok());
        let more = body.len() * RATIO_MAX + 1;
        let meta = meta.replace("\"main\":800", &format!("\"main\":{more}"));
        let refused = decode(&sealed(meta.as_bytes(), body));
        let why = "shorter than is said of it".to_owned();
        assert_eq!(refused, Err(FrameError::Content(why)));
    }

    #[test]
    fn blanks_of_any_length_come_back() {
        let html = " ".repeat(5 << 20);
        let decoded = decode(&encode(&request("/"), &entry(&html), REACH)).unwrap();
        assert_eq!(decoded.entry, entry(&html));
    }

    #[test]
    fn another_format_is_refused_by_name() {
        let mut frame = encode(&request("/"), &entry("x"), REACH);
        frame[0] = 9;
        assert_eq!(decode(&frame), Err(FrameError::Version(9)));
        assert_eq!(decode(b""), Err(FrameError::Short));
    }

    proptest! {
        #[test]
        fn changed_bytes_are_refused(at in any::<prop::sample::Index>(), by in 1u8..) {
            let mut frame = encode(&request("/"), &entry(&"<p>x</p>".repeat(50)), REACH);
            let at = at.index(frame.len());
            frame[at] ^= by;
            prop_assert!(decode(&frame).is_err());
        }

        #[test]
        fn cut_frames_are_refused(to in any::<prop::sample::Index>()) {
            let frame = encode(&request("/"), &entry("<p>x</p>"), REACH);
            prop_assert!(decode(&frame[..to.index(frame.len())]).is_err());
        }

        #[test]
        fn any_bytes_are_refused_without_harm(frame in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut frame = frame;
            if let Some(first) = frame.first_mut() {
                *first = VERSION;
            }
            prop_assert!(decode(&frame).is_err());
        }
    }
}
