//! Who reads, and what that changes: who they are as far as blocks are given up, whether their browser
//! wants less, and whether they rehearse a level. Owns what is read of a request on behalf of
//! `[degradation]`; pure.
//!
//! Invariant: what a request says of a rehearsal without the right token changes nothing, so nobody can
//! find out by it whether there is one.

use std::net::IpAddr;

use http::header::{CACHE_CONTROL, VARY};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::clock::Moment;
use crate::degradation::{Level, Reader};
use crate::plan::request::cookies;
use crate::site::{DegradationSpec, Mode, RehearseToken};

const SAVE_DATA: HeaderName = HeaderName::from_static("save-data");
const REHEARSE: HeaderName = HeaderName::from_static("marbre-rehearse");
const REHEARSED: HeaderName = HeaderName::from_static("marbre-rehearsed");

/// A page that only its reader was to see, and only now.
const NOT_TO_BE_KEPT: HeaderValue = HeaderValue::from_static("private, no-store");

/// Microseconds in a day. Who keeps a block that not everybody keeps is drawn anew each day, the same on
/// every node.
const DAY: u64 = 24 * 60 * 60 * 1_000_000;

/// Bytes of an IPv6 address that stay: the rest is changed by the reader's own machine, as often as it
/// likes (RFC 8981).
const PREFIX_BYTES: usize = 8;

/// What is known of who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    /// By what readers are told apart.
    pub(super) reader: Reader,
    /// How many levels lower they start.
    pub(super) lower_by: u8,
    /// The level that they want to see, and may.
    pub(super) rehearsal: Option<Level>,
}

/// Who has sent a request with these headers from this address.
pub(super) fn who_reads(
    spec: &DegradationSpec,
    headers: &HeaderMap,
    peer: Option<IpAddr>,
    now: Moment,
) -> Reading {
    let token = spec.rehearse_token.as_ref();
    Reading {
        reader: reader(spec, headers, peer, now.micros() / DAY),
        lower_by: match lowers(spec) && saves_data(headers) {
            true => spec.save_data,
            false => 0,
        },
        rehearsal: token.and_then(|token| rehearsal(headers, token)),
    }
}

impl Reading {
    /// What a page says of whom it is for.
    pub(super) fn mark(&self, headers: &mut HeaderMap, spec: &DegradationSpec, level: Level) {
        if lowers(spec) {
            headers.append(VARY, HeaderValue::from_static("save-data"));
        }
        if self.rehearsal.is_some() {
            headers.insert(CACHE_CONTROL, NOT_TO_BE_KEPT);
            headers.insert(REHEARSED, HeaderValue::from(u16::from(level.get())));
        }
    }
}

/// Whether browsers that want less get less.
fn lowers(spec: &DegradationSpec) -> bool {
    spec.save_data > 0 && spec.mode == Mode::On
}

fn reader(spec: &DegradationSpec, headers: &HeaderMap, peer: Option<IpAddr>, day: u64) -> Reader {
    let named = spec.reader_cookie.as_deref().and_then(|wanted| {
        let mut cookies = cookies(headers);
        let found = cookies.find(|(name, value)| *name == wanted && !value.is_empty());
        found.map(|(_, value)| value)
    });
    match (named, peer.map(|address| address.to_canonical())) {
        (Some(value), _) => Reader::new(value.as_bytes(), day),
        (None, Some(IpAddr::V4(address))) => Reader::new(&address.octets(), day),
        (None, Some(IpAddr::V6(address))) => Reader::new(&address.octets()[..PREFIX_BYTES], day),
        (None, None) => Reader::NOBODY,
    }
}

/// `Save-Data: on` (<https://wicg.github.io/savedata/>).
fn saves_data(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(SAVE_DATA).iter();
    values.any(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"on"))
}

/// `Marbre-Rehearse: level=2; token=…`.
fn rehearsal(headers: &HeaderMap, token: &RehearseToken) -> Option<Level> {
    let mut values = headers.get_all(REHEARSE).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    let (mut level, mut given) = (None, None);
    for part in value.to_str().ok()?.split(';') {
        let (name, value) = part.split_once('=')?;
        let known = match name.trim() {
            name if name.eq_ignore_ascii_case("level") => &mut level,
            name if name.eq_ignore_ascii_case("token") => &mut given,
            _ => return None,
        };
        if known.replace(value.trim()).is_some() {
            return None;
        }
    }
    if !token.is(given?.as_bytes()) {
        return None;
    }
    let level = level?;
    let is_number = !level.is_empty() && level.bytes().all(|b| b.is_ascii_digit());
    // beyond every ladder is the last step of each
    is_number.then(|| Level::new(level.parse().unwrap_or(u8::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_micros(20_000 * DAY + 7);

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        headers
    }

    fn spec() -> DegradationSpec {
        DegradationSpec {
            reader_cookie: Some("session".to_owned()),
            rehearse_token: Some(RehearseToken::new("0123456789abcdef")),
            save_data: 2,
            ..DegradationSpec::default()
        }
    }

    fn read(pairs: &[(&'static str, &'static str)], address: &str) -> Reading {
        let peer = address.parse().ok();
        who_reads(&spec(), &headers(pairs), peer, NOW)
    }

    #[test]
    fn a_reader_is_a_cookie_or_an_address() {
        let of = |cookie: &'static str, address| match cookie {
            "" => read(&[], address).reader,
            cookie => read(&[("cookie", cookie)], address).reader,
        };
        // the same cookie from anywhere
        assert_eq!(
            of("session=a; x=1", "192.0.2.1"),
            of("y=2; session=a", "2001:db8::1")
        );
        assert_ne!(of("session=a", "192.0.2.1"), of("session=b", "192.0.2.1"));
        // the same address without it, or with an empty one
        assert_eq!(of("", "192.0.2.1"), of("session=; x=3", "192.0.2.1"));
        assert_ne!(of("", "192.0.2.1"), of("", "192.0.2.2"));
        assert_eq!(of("", "192.0.2.1"), of("", "::ffff:192.0.2.1"));
        // a machine may have a new one of these every hour
        assert_eq!(
            of("", "2001:db8:1:2::3"),
            of("", "2001:db8:1:2:aaaa:bbbb:cccc:dddd")
        );
        assert_ne!(of("", "2001:db8:1:2::3"), of("", "2001:db8:1:3::3"));
        assert_eq!(of("", "nobody"), Reader::NOBODY);
    }

    #[test]
    fn a_reader_is_drawn_anew_each_day() {
        let on = |day: u64| {
            let now = Moment::from_micros(day * DAY);
            who_reads(&spec(), &HeaderMap::new(), "192.0.2.1".parse().ok(), now).reader
        };
        assert_ne!(on(1), on(2));
        let evening = Moment::from_micros(20_001 * DAY - 1);
        let late = who_reads(
            &spec(),
            &HeaderMap::new(),
            "192.0.2.1".parse().ok(),
            evening,
        );
        assert_eq!(late.reader, read(&[], "192.0.2.1").reader);
    }

    #[test]
    fn browsers_that_want_less_get_less() {
        for (pairs, lower_by) in [
            (&[][..], 0),
            (&[("save-data", "on")], 2),
            (&[("save-data", " ON ")], 2),
            (&[("save-data", "off")], 0),
            (&[("save-data", "1")], 0),
            (&[("save-data", "")], 0),
        ] {
            assert_eq!(read(pairs, "192.0.2.1").lower_by, lower_by, "{pairs:?}");
        }
        for spec in [
            DegradationSpec {
                save_data: 0,
                ..spec()
            },
            DegradationSpec {
                mode: Mode::Off,
                ..spec()
            },
            DegradationSpec {
                mode: Mode::DryRun,
                ..spec()
            },
        ] {
            let headers = headers(&[("save-data", "on")]);
            assert_eq!(who_reads(&spec, &headers, None, NOW).lower_by, 0);
        }
    }

    #[test]
    fn a_level_is_rehearsed_with_the_token_only() {
        let level = |number| Some(Level::new(number));
        for (value, expected) in [
            ("level=2; token=0123456789abcdef", level(2)),
            ("token=0123456789abcdef;level=0", level(0)),
            ("LEVEL = 7 ;Token= 0123456789abcdef", level(7)),
            ("level=999; token=0123456789abcdef", level(255)),
            ("level=2; token=0123456789abcdeF", None),
            ("level=2; token=0123456789abcde", None),
            ("level=2; token=", None),
            ("level=2", None),
            ("token=0123456789abcdef", None),
            ("level=; token=0123456789abcdef", None),
            ("level=-1; token=0123456789abcdef", None),
            ("level=+1; token=0123456789abcdef", None),
            ("level=1; level=2; token=0123456789abcdef", None),
            ("level=2; token=0123456789abcdef; x=1", None),
            ("level=2; token=0123456789abcdef;", None),
            ("2", None),
            ("", None),
        ] {
            let found = read(&[("marbre-rehearse", value)], "192.0.2.1").rehearsal;
            assert_eq!(found, expected, "{value}");
        }
        let good = ("marbre-rehearse", "level=2; token=0123456789abcdef");
        assert_eq!(read(&[good, good], "192.0.2.1").rehearsal, None);
        let without = DegradationSpec {
            rehearse_token: None,
            ..spec()
        };
        assert_eq!(
            who_reads(&without, &headers(&[good]), None, NOW).rehearsal,
            None
        );
    }

    #[test]
    fn what_a_page_says_of_its_reader() {
        let marked = |spec: &DegradationSpec, pairs| {
            let mut marks = headers(&[("cache-control", "no-cache"), ("vary", "accept-encoding")]);
            who_reads(spec, &headers(pairs), None, NOW).mark(&mut marks, spec, Level::new(1));
            let all = |name: &str| -> Vec<String> {
                let values = marks.get_all(name).iter();
                values
                    .map(|value| value.to_str().unwrap().to_owned())
                    .collect()
            };
            (all("cache-control"), all("vary"), all("marbre-rehearsed"))
        };
        let text =
            |words: &[&str]| -> Vec<String> { words.iter().map(|w| (*w).to_owned()).collect() };
        let both = text(&["accept-encoding", "save-data"]);
        assert_eq!(
            marked(&spec(), &[]),
            (text(&["no-cache"]), both.clone(), vec![])
        );
        let rehearsed = [("marbre-rehearse", "level=9; token=0123456789abcdef")];
        let expected = (text(&["private, no-store"]), both, text(&["1"]));
        assert_eq!(marked(&spec(), &rehearsed), expected);
        let none = DegradationSpec {
            save_data: 0,
            ..spec()
        };
        let expected = (text(&["no-cache"]), text(&["accept-encoding"]), vec![]);
        assert_eq!(marked(&none, &[]), expected);
    }
}
