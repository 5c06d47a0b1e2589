//! What holds of every copy as bytes, and of every header about caching, whatever is in it. Owns no
//! format and no rule.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::LINK;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::entry::{Content, Entry, Head};
use super::frame::{self, Decoded};
use super::freshness::{CacheControl, delta_seconds, initial_age, parse_date};
use super::surrogate::Surrogate;
use super::{disk, shared};
use crate::clock::Moment;
use crate::fragment::{Freshness, Reach, SourceRequest, Tags};
use crate::layout::parts::Parts;

/// Parts the meta data of a frame from its body, which is the rest.
const BORDER: u8 = 0x1f;

/// As good as for ever, in seconds: nothing that a header says is longer.
const FOR_EVER: Duration = Duration::from_secs(1 << 31);

/// What holds of every frame, and of what lies around it on disk and in the shared store.
pub(crate) fn hold_of_frame(input: &[u8]) {
    let _ = frame::decode(input);
    let border = memchr::memchr(BORDER, input).unwrap_or(input.len());
    let (meta, body) = (
        &input[..border],
        input.get(border + 1..).unwrap_or_default(),
    );
    if let Ok(decoded) = frame::decode(&frame::sealed(meta, body)) {
        comes_back(&decoded);
        lives(&decoded.entry);
    }
    let said = said_by(input);
    comes_back(&said);
    a_change_is_seen(&said, input);
    disk::hold_of_record(input);
    shared::hold_of_stamp(input);
}

fn comes_back(decoded: &Decoded) {
    let frame = frame::encode(&decoded.request, &decoded.entry, decoded.reach);
    assert_eq!(frame::decode(&frame).as_ref(), Ok(decoded));
}

/// Whatever a copy says of its times, they can be reckoned with.
fn lives(entry: &Entry) {
    for now in [0, entry.stored_at.micros(), u64::MAX].map(Moment::from_micros) {
        let declared = Freshness {
            jitter: 50,
            ..Freshness::NONE
        };
        for factor in [0.0, 1.0, 1e9] {
            let _ = entry.state(&declared, factor, now);
            let _ = entry.remains_fresh(&declared, factor, now);
        }
        assert!(entry.age(now) >= entry.initial_age);
        assert!(entry.asked_at() <= entry.stored_at);
    }
}

/// A copy that says all that there is to say with these bytes.
fn said_by(input: &[u8]) -> Decoded {
    let text = String::from_utf8_lossy(input).into_owned();
    let at = Moment::from_micros(input.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)));
    let value = HeaderValue::from_bytes(input).ok();
    let html = Parts::split(Bytes::from(text.clone()));
    let mut entry = Entry::new(text.as_str(), Content::Html(html), at);
    entry.written_at = at;
    entry.head = Head {
        headers: value.iter().map(|value| (LINK, value.clone())).collect(),
        status: StatusCode::from_u16(200 + input.len() as u16 % 100).unwrap_or_default(),
    };
    entry.validators.etag = value;
    entry.tags = Tags::new(text.split(BORDER as char));
    entry.says = CacheControl::parse([text.as_str()]);
    entry.took = Duration::from_micros(at.micros() / 3);
    entry.version = Some(at.micros());
    Decoded {
        request: SourceRequest {
            fingerprint: at.micros(),
            target: text.clone(),
            headers: vec![(text.clone(), text.clone())],
            params: vec![(text.clone(), text)],
        },
        entry,
        reach: Reach {
            disk: true,
            shared: input.len().is_multiple_of(2),
            pinned: false,
        },
    }
}

fn a_change_is_seen(decoded: &Decoded, input: &[u8]) {
    let mut frame = frame::encode(&decoded.request, &decoded.entry, decoded.reach);
    let at = input.len().wrapping_mul(31) % frame.len();
    frame[at] ^= 1 << (input.len() % 8);
    assert!(frame::decode(&frame).is_err(), "byte {at} has changed");
    assert!(frame::decode(&frame[..at]).is_err(), "cut to {at}");
}

/// What holds of every header about how long an answer is good, and of every date.
pub(crate) fn hold_of_header(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    dates_come_back(&text, input);
    let lines = || text.lines();
    let says = CacheControl::parse(lines());
    for date in lines()
        .filter_map(parse_date)
        .chain([SystemTime::UNIX_EPOCH])
    {
        for line in lines() {
            let expires = says.or_expires(Some(line), date);
            assert!(says.max_age.is_none() || expires.max_age == says.max_age);
            let (age, took) = (delta_seconds(line), Duration::from_millis(20));
            let initial = initial_age(Some(date), age, took, SystemTime::UNIX_EPOCH + FOR_EVER);
            assert!(initial >= age.unwrap_or_default());
            assert!(age.unwrap_or_default() <= FOR_EVER);
        }
    }
    let mut headers = HeaderMap::new();
    for line in lines() {
        if let Ok(value) = HeaderValue::from_str(line) {
            headers.append("surrogate-control", value.clone());
            headers.append("edge-control", value);
        }
    }
    for says in [says, Surrogate::of(&headers).over(says)] {
        assert_eq!(CacheControl::parse([written(&says).as_str()]), says);
        let spans = [
            says.max_age,
            says.stale_while_revalidate,
            says.stale_if_error,
        ];
        let longest = spans.into_iter().flatten().max();
        assert!(longest.unwrap_or_default() <= FOR_EVER, "{says:?}");
    }
}

/// The directives as a header has them.
fn written(says: &CacheControl) -> String {
    let span = |name: &str, span: Option<Duration>| Some(format!("{name}={}", span?.as_secs()));
    let flag = |name: &str, is: bool| is.then(|| name.to_owned());
    let directives = [
        span("max-age", says.max_age),
        flag("private", says.private),
        flag("no-store", says.no_store),
        flag("must-revalidate", says.must_revalidate),
        span("stale-while-revalidate", says.stale_while_revalidate),
        span("stale-if-error", says.stale_if_error),
    ];
    directives
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", ")
}

fn dates_come_back(text: &str, input: &[u8]) {
    /// 31 December 9999, the last day that such a date can be.
    const LAST: u64 = 253_402_214_400;
    let seconds = input
        .iter()
        .take(5)
        .fold(0, |n, byte| n << 8 | u64::from(*byte));
    let numbered = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds % LAST);
    for date in text.lines().filter_map(parse_date).chain([numbered]) {
        assert_eq!(parse_date(&httpdate::fmt_http_date(date)), Some(date));
    }
}
