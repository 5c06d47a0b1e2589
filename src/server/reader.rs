//! Who reads, and what that changes: who they are as far as blocks are given up, whether their browser
//! wants less, and whether they rehearse a level. Owns what is read of a request on behalf of
//! `[degradation]`; pure.
//!
//! # Behind a balancer
//!
//! All connections that a balancer makes come from one address, and readers who are one reader keep a
//! block together or lose it together: of a share of 0.6 everything or nothing would become. So the
//! address is that which those who are [trusted](super::forwarded) tell, and a header may name the reader. It is believed as it comes, for all that somebody who invents one gets
//! is another draw. Where nothing names the reader, a peer that readers can hardly have on the open
//! net is taken for a balancer, and the reader drawn by the browser and its language as well. That is
//! coarse, and with several balancers it changes with the one that a request comes through.
//!
//! Invariant: what a request says of a rehearsal without the right token changes nothing, so nobody can
//! find out by it whether there is one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::header::{ACCEPT_LANGUAGE, CACHE_CONTROL, USER_AGENT, VARY};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::clock::Moment;
use crate::degradation::{self, Admission, Level, Reader};
use crate::plan::request::cookies;
use crate::site::{DegradationSpec, Mode, RehearseToken};

const SAVE_DATA: HeaderName = HeaderName::from_static("save-data");
pub(super) const REHEARSE: HeaderName = HeaderName::from_static("marbre-rehearse");
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
    /// What they get at present: a page at the level that they want to see, or at that of everybody.
    pub(super) fn admission(&self, mode: &degradation::Mode, text_only: Level) -> Admission {
        if let Some(level) = self.rehearsal {
            return Admission::Compose(level.min(text_only));
        }
        match mode.admit(self.reader, self.lower_by) {
            Admission::Compose(level) => Admission::Compose(level.min(text_only)),
            Admission::Snapshot => Admission::Snapshot,
        }
    }

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
    let by_cookie = spec.reader_cookie.as_deref().and_then(|wanted| {
        let mut cookies = cookies(headers);
        let found = cookies.find(|(name, value)| *name == wanted && !value.is_empty());
        found.map(|(_, value)| value)
    });
    if let Some(value) = by_cookie {
        return Reader::new(value.as_bytes(), day);
    }
    let header = spec.reader_header.as_ref();
    if let Some(name) = header.and_then(|header| first_named(headers.get(header)?)) {
        return match address_of(name) {
            Some(address) => Reader::new(&significant(address), day),
            None => Reader::new(name, day),
        };
    }
    match peer.map(|address| address.to_canonical()) {
        Some(address) if is_near(address) => {
            let mut told = significant(address);
            for header in [USER_AGENT, ACCEPT_LANGUAGE] {
                let value = headers.get(header).map(HeaderValue::as_bytes);
                told.extend_from_slice(value.unwrap_or_default());
                // no value holds a line's end, so none runs into the next
                told.push(b'\n');
            }
            Reader::new(&told, day)
        }
        Some(address) => Reader::new(&significant(address), day),
        None => Reader::NOBODY,
    }
}

/// The address that a header names first, if it is one.
pub(super) fn address(value: &HeaderValue) -> Option<IpAddr> {
    address_of(first_named(value)?)
}

/// The first of a list, which is the reader where each proxy adds whom it has it from; `None` if it is
/// empty.
fn first_named(value: &HeaderValue) -> Option<&[u8]> {
    let first = value.as_bytes().split(|b| *b == b',').next();
    first
        .map(<[u8]>::trim_ascii)
        .filter(|name| !name.is_empty())
}

/// The address that a header names, if it is one. Some balancers add the port, which is another one
/// for each connection.
fn address_of(name: &[u8]) -> Option<IpAddr> {
    let name = std::str::from_utf8(name).ok()?;
    let address = name.parse::<IpAddr>();
    let address = address.or_else(|_| name.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

/// What of an address stays the same for a reader.
fn significant(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets()[..PREFIX_BYTES].to_vec(),
    }
}

/// Whether an address is of this machine or of a private network (RFC 1918, 6598, 4193, 3927), where
/// balancers are and readers are not.
fn is_near(address: IpAddr) -> bool {
    let is_shared = |v4: Ipv4Addr| v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
    let v4 =
        |v4: Ipv4Addr| v4.is_loopback() || v4.is_private() || v4.is_link_local() || is_shared(v4);
    let v6 = |v6: Ipv6Addr| v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local();
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => v6(address),
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
    fn a_header_names_the_reader_where_the_cookie_does_not() {
        let spec = DegradationSpec {
            reader_header: Some(HeaderName::from_static("x-forwarded-for")),
            ..spec()
        };
        let named = |pairs: &[_]| who_reads(&spec, &headers(pairs), "10.0.0.9".parse().ok(), NOW);
        let by = |value| named(&[("x-forwarded-for", value)]).reader;
        let direct = |address| read(&[], address).reader;
        for (value, expected) in [
            ("192.0.2.1", direct("192.0.2.1")),
            (" 192.0.2.1 , 10.0.0.1, 10.0.0.2", direct("192.0.2.1")),
            ("192.0.2.1:49152", direct("192.0.2.1")),
            ("2001:db8:1:2::3", direct("2001:db8:1:2::4")),
            ("[2001:db8:1:2::3]:443, 10.0.0.1", direct("2001:db8:1:2::4")),
            ("::ffff:192.0.2.1", direct("192.0.2.1")),
            // taken as it comes: what stands there is no peer
            ("10.1.2.3", Reader::new(&[10, 1, 2, 3], 20_000)),
            ("reader-7", Reader::new(b"reader-7", 20_000)),
            ("", direct("10.0.0.9")),
            (" , 192.0.2.1", direct("10.0.0.9")),
        ] {
            assert_eq!(by(value), expected, "{value}");
        }
        let both = [("x-forwarded-for", "192.0.2.1"), ("cookie", "session=a")];
        let cookie = read(&[("cookie", "session=a")], "192.0.2.7");
        assert_eq!(named(&both).reader, cookie.reader);
        // nobody has declared it
        let undeclared = [("x-forwarded-for", "192.0.2.1")];
        assert_eq!(read(&undeclared, "192.0.2.9").reader, direct("192.0.2.9"));
    }

    #[test]
    fn a_private_peer_is_taken_for_a_balancer() {
        let one = [("user-agent", "A/1"), ("accept-language", "fr")];
        let others = [
            [("user-agent", "B/1"), ("accept-language", "fr")],
            [("user-agent", "A/1"), ("accept-language", "de")],
            [("user-agent", "A/1f"), ("accept-language", "r")],
        ];
        for (peer, is_near) in [
            ("127.0.0.1", true),
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("172.15.0.1", false),
            ("172.16.0.1", true),
            ("172.31.0.1", true),
            ("172.32.0.1", false),
            ("192.168.7.1", true),
            ("192.169.7.1", false),
            ("100.63.0.1", false),
            ("100.64.0.1", true),
            ("100.127.0.1", true),
            ("100.128.0.1", false),
            ("169.254.1.1", true),
            ("::1", true),
            ("::ffff:10.0.0.1", true),
            ("::ffff:192.0.2.1", false),
            ("fc00::1", true),
            ("fdff::1", true),
            ("fe80::1", true),
            ("fec0::1", false),
            ("2001:db8::1", false),
        ] {
            let reader = read(&one, peer).reader;
            assert_eq!(reader, read(&one, peer).reader, "{peer}");
            for other in &others {
                let differs = reader != read(other, peer).reader;
                assert_eq!(differs, is_near, "{peer} {other:?}");
            }
        }
        assert_ne!(read(&one, "10.0.0.1").reader, read(&one, "10.0.0.2").reader);
    }

    #[test]
    fn a_crowd_behind_a_balancer_is_spread() {
        let kept = (0..1000).filter(|n| {
            let mut headers = headers(&[("accept-language", "fr")]);
            let agent = HeaderValue::try_from(format!("Browser/{n}")).unwrap();
            headers.insert(USER_AGENT, agent);
            let reading = who_reads(&spec(), &headers, "10.0.0.1".parse().ok(), NOW);
            reading.reader.draw(3) < 0.6
        });
        let kept = kept.count();
        assert!((520..680).contains(&kept), "{kept} of 1000 keep six tenths");
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
