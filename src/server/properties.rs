//! What holds of everything that a reader may say, whatever it is. Owns no rule of any header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::header::{ACCEPT_ENCODING, COOKIE, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::accept;
use super::coding::Accepted;
use super::conditional::{self, Known};
use super::forwarded::Client;
use super::reader::who_reads;
use crate::clock::Moment;
use crate::plan::request;
use crate::site::{DegradationSpec, RehearseToken, TrustedPeers};

const TRUSTED: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const STRANGER: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
const NOW: Moment = Moment::from_micros(1_790_000_000_000_000);

/// What holds of every request: of lines `name: value`, and of what may stand before them.
pub(crate) fn hold(input: &[u8]) {
    accept::hold_of_proxy_protocol(input);
    let headers = headers(input);
    nobody_is_believed_who_is_not_trusted(&headers);
    rehearsals_take_a_token(&headers);
    validators_are_known_again(&headers);
    cookies_and_queries_are_cut_where_they_are_parted(input, &headers);
    let _ = Accepted::of(&headers).takes_gzip_gladly();
}

/// The lines of the input as headers; of those that are none, the values of every header that is read.
fn headers(input: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n') {
        let colon = memchr::memchr(b':', line);
        let name = colon.and_then(|colon| HeaderName::from_bytes(&line[..colon]).ok());
        let value = match (&name, colon) {
            (Some(_), Some(colon)) => line[colon + 1..].trim_ascii(),
            _ => line,
        };
        let Ok(value) = HeaderValue::from_bytes(value) else {
            continue;
        };
        match name {
            Some(name) => {
                headers.append(name, value);
            }
            None => {
                for name in [COOKIE, IF_NONE_MATCH, ACCEPT_ENCODING] {
                    headers.append(name, value.clone());
                }
                for name in [
                    "forwarded",
                    "x-forwarded-for",
                    "x-forwarded-proto",
                    "marbre-rehearse",
                ] {
                    headers.append(name, value.clone());
                }
            }
        }
    }
    headers
}

fn nobody_is_believed_who_is_not_trusted(headers: &HeaderMap) {
    let network = "10.0.0.0/8".parse().expect("a network");
    let trusted = TrustedPeers(vec![network]);
    for is_secure in [false, true] {
        for peer in [None, Some(STRANGER)] {
            let said_nothing = Client::of(&HeaderMap::new(), peer, is_secure, &trusted);
            assert_eq!(Client::of(headers, peer, is_secure, &trusted), said_nothing);
        }
        let client = Client::of(headers, Some(TRUSTED), is_secure, &trusted);
        let mut told = headers.clone();
        client.tell(&mut told);
        assert!(!told.contains_key("forwarded"));
        let lines: Vec<_> = told.get_all("x-forwarded-for").iter().collect();
        let [line] = lines[..] else {
            panic!("one line tells of everybody: {lines:?}");
        };
        let chain = line.to_str().expect("addresses are text").split(", ");
        let chain: Vec<IpAddr> = chain.map(|one| one.parse().expect("an address")).collect();
        assert!(chain.len() <= super::forwarded::HOPS_MAX + 1);
        // whoever stands between is trusted, and ends with the peer
        assert!(chain.iter().skip(1).all(|one| trusted.contains(*one)));
        assert_eq!(chain.last(), Some(&TRUSTED));
        // told again to one who trusts us, it is the same reader, unless that is too far
        if chain.len() > super::forwarded::HOPS_MAX {
            continue;
        }
        let again = Client::of(&told, Some(TRUSTED), is_secure, &trusted);
        assert_eq!(
            (again.address, again.is_secure),
            (client.address, client.is_secure)
        );
    }
}

fn rehearsals_take_a_token(headers: &HeaderMap) {
    const TOKEN: &str = "0123456789abcdef";
    let spec = DegradationSpec {
        reader_cookie: Some("session".to_owned()),
        reader_header: Some(HeaderName::from_static("x-forwarded-for")),
        rehearse_token: Some(RehearseToken::new(TOKEN)),
        save_data: 2,
        ..DegradationSpec::default()
    };
    let read = who_reads(&spec, headers, Some(STRANGER), NOW);
    assert_eq!(read, who_reads(&spec, headers, Some(STRANGER), NOW));
    let mut values = headers.get_all("marbre-rehearse").iter();
    let has_token =
        values.any(|value| memchr::memmem::find(value.as_bytes(), TOKEN.as_bytes()).is_some());
    assert!(read.rehearsal.is_none() || has_token);
}

fn validators_are_known_again(headers: &HeaderMap) {
    let tag = conditional::entity_tag(7);
    let says = |headers: &HeaderMap| {
        let mut values = headers.get_all(IF_NONE_MATCH).iter();
        let own = |value: &HeaderValue| {
            let value = value.as_bytes();
            value.trim_ascii() == b"*" || memchr::memmem::find(value, tag.as_bytes()).is_some()
        };
        values.any(own)
    };
    match conditional::known(headers, Some(&tag)) {
        Known::No => {}
        Known::As(known) => {
            assert!(says(headers));
            let opaque = known
                .as_bytes()
                .strip_prefix(b"W/")
                .unwrap_or(known.as_bytes());
            assert_eq!(opaque, tag.as_bytes());
        }
        Known::Any => panic!("there is a validator"),
    }
    let mut with_own = headers.clone();
    with_own.append(IF_NONE_MATCH, tag.clone());
    assert_ne!(conditional::known(&with_own, Some(&tag)), Known::No);
    assert!(!matches!(conditional::known(headers, None), Known::As(_)));
}

fn cookies_and_queries_are_cut_where_they_are_parted(input: &[u8], headers: &HeaderMap) {
    for (name, value) in request::cookies(headers) {
        assert!(
            !name.contains(['=', ';']) && !value.contains(';'),
            "{name}={value}"
        );
    }
    let text = String::from_utf8_lossy(input);
    for line in text.lines() {
        let Ok(uri) = format!("/?{line}").parse::<Uri>() else {
            continue;
        };
        let pairs = uri.query().unwrap_or_default().split('&').count();
        assert!(request::query(&uri).count() <= pairs);
    }
}
