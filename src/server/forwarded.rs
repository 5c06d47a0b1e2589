//! Who reads, where others stand between: what balancers and CDNs say of whom a request comes from, and
//! what origins are told of it. Owns `Forwarded` (RFC 7239), `X-Forwarded-For` and `X-Forwarded-Proto`;
//! pure.
//!
//! Each who passes a request on adds whom it has it from. So the list is read from its end, for as long
//! as those named are trusted: the first who is not is the reader, and what stands before them anybody
//! may have written. The same holds for how the reader has come.
//!
//! Invariant: nothing that somebody says who is not trusted changes who is taken for the reader, nor is
//! it passed on.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::site::TrustedPeers;

const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Who may stand between a reader and this server, at most; what is before that is not read.
pub(super) const HOPS_MAX: usize = 32;

/// Whom a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Client {
    /// The reader, as far as those who are trusted know.
    pub(super) address: Option<IpAddr>,
    /// Whether the reader has come by TLS.
    pub(super) is_secure: bool,
    /// Those who are trusted between the reader and the peer, the first of them first.
    between: Vec<IpAddr>,
}

/// One who has passed a request on, as the next one tells it.
#[derive(Debug, Default)]
struct Hop {
    /// `None` for one who hides their address.
    from: Option<IpAddr>,
    is_secure: Option<bool>,
}

impl Client {
    /// Whom a request with these headers comes from that has come from this peer.
    pub(super) fn of(
        headers: &HeaderMap,
        peer: Option<IpAddr>,
        is_secure: bool,
        trusted: &TrustedPeers,
    ) -> Self {
        let mut client = Self {
            address: peer.map(|peer| peer.to_canonical()),
            is_secure,
            between: Vec::new(),
        };
        let is_trusted = |address: &IpAddr| trusted.contains(*address);
        if !client.address.as_ref().is_some_and(is_trusted) {
            return client;
        }
        let mut hops = hops(headers).into_iter().rev().take(HOPS_MAX);
        while let Some(address) = client.address.filter(is_trusted)
            && let Some(hop) = hops.next()
        {
            client.is_secure = hop.is_secure.unwrap_or(client.is_secure);
            let Some(from) = hop.from else { break };
            client.between.insert(0, address);
            client.address = Some(from);
        }
        client
    }

    /// Tells an origin.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        headers.remove(FORWARDED);
        headers.remove(FORWARDED_FOR);
        let chain = self.address.iter().chain(&self.between);
        let chain: Vec<String> = chain.map(IpAddr::to_string).collect();
        if !chain.is_empty()
            && let Ok(chain) = HeaderValue::try_from(chain.join(", "))
        {
            headers.insert(FORWARDED_FOR, chain);
        }
        let scheme = if self.is_secure { "https" } else { "http" };
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
}

/// All who have passed a request on, the first one first. The standard's own header counts, where there
/// is one.
fn hops(headers: &HeaderMap) -> Vec<Hop> {
    if headers.contains_key(FORWARDED) {
        return list(headers, &FORWARDED).map(element).collect();
    }
    let mut protocols: Vec<&str> = list(headers, &FORWARDED_PROTO).collect();
    let mut addresses: Vec<&str> = list(headers, &FORWARDED_FOR).collect();
    // who says only how the reader has come says something all the same
    if addresses.is_empty() {
        addresses.push("");
    }
    // many set it without a list: then it is of whoever has come first
    if protocols.len() != addresses.len() {
        protocols.truncate(1);
        protocols.resize(addresses.len(), protocols.first().copied().unwrap_or(""));
    }
    let pairs = addresses.into_iter().zip(protocols);
    pairs
        .map(|(address, protocol)| Hop {
            from: address_of(address),
            is_secure: is_secure(protocol),
        })
        .collect()
}

fn list<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all(name).iter();
    // a line that is no text hides whoever is in it
    let lines = lines.map(|line| line.to_str().unwrap_or("unknown"));
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// `for=192.0.2.60;proto=http;by=203.0.113.43`.
fn element(text: &str) -> Hop {
    let mut hop = Hop::default();
    for pair in text.split(';') {
        let Some((name, value)) = pair.split_once('=') else {
            continue;
        };
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "for" => hop.from = address_of(value),
            "proto" => hop.is_secure = is_secure(value),
            _ => {}
        }
    }
    hop
}

/// Some add the port, and an address of version 6 is then in brackets; some write the brackets without
/// one.
fn address_of(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bracketed = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let address = bracketed.unwrap_or(text).parse::<IpAddr>();
    let address = address.or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

fn is_secure(protocol: &str) -> Option<bool> {
    match protocol.to_ascii_lowercase().as_str() {
        "https" | "wss" => Some(true),
        "http" | "ws" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    fn trusted() -> TrustedPeers {
        let networks = ["10.0.0.0/8", "2001:db8:1::/48"];
        TrustedPeers(networks.map(|text| text.parse().unwrap()).into())
    }

    fn client(pairs: &[(&'static str, &'static str)], peer: &str) -> (String, bool) {
        let peer = peer.parse().ok();
        let client = Client::of(&headers(pairs), peer, false, &trusted());
        let address = client.address.map(|address| address.to_string());
        (address.unwrap_or_default(), client.is_secure)
    }

    #[test]
    fn the_reader_is_the_first_from_the_end_who_is_not_trusted() {
        let (far, near) = ("198.51.100.7", "10.0.0.1");
        for (pairs, peer, expected) in [
            (&[][..], far, far),
            (&[], near, near),
            (&[("x-forwarded-for", "192.0.2.1")], far, far),
            (&[("forwarded", "for=192.0.2.1")], far, far),
            (&[("x-forwarded-for", "192.0.2.1")], near, "192.0.2.1"),
            (
                &[("x-forwarded-for", "192.0.2.1")],
                "::ffff:10.0.0.1",
                "192.0.2.1",
            ),
            // somebody has written the first of them
            (
                &[("x-forwarded-for", "10.9.9.9, 192.0.2.1, 10.0.0.2")],
                near,
                "192.0.2.1",
            ),
            (
                &[
                    ("x-forwarded-for", "203.0.113.1"),
                    ("x-forwarded-for", "192.0.2.1, 10.0.0.2"),
                ],
                near,
                "192.0.2.1",
            ),
            // all of them are trusted: the reader is one of the house
            (
                &[("x-forwarded-for", "10.0.0.3, 10.0.0.2")],
                near,
                "10.0.0.3",
            ),
            // somebody hides: the last who is known is as near as it gets
            (&[("x-forwarded-for", "192.0.2.1, unknown")], near, near),
            (
                &[("x-forwarded-for", "192.0.2.1, unknown, 10.0.0.2")],
                near,
                "10.0.0.2",
            ),
            (&[("x-forwarded-for", "192.0.2.1:4711")], near, "192.0.2.1"),
            (&[("x-forwarded-for", "2001:db8::9")], near, "2001:db8::9"),
            (
                &[("forwarded", "for=\"[2001:db8::9]:47\";proto=https")],
                near,
                "2001:db8::9",
            ),
            (
                &[("forwarded", "for=192.0.2.1, For=\"[2001:db8:1::2]\"")],
                near,
                "192.0.2.1",
            ),
            (
                &[
                    ("forwarded", "for=192.0.2.1"),
                    ("x-forwarded-for", "192.0.2.2"),
                ],
                near,
                "192.0.2.1",
            ),
            (&[("forwarded", "for=_hidden")], near, near),
            (&[("forwarded", "proto=https")], near, near),
            (&[("x-forwarded-for", "")], near, near),
        ] {
            assert_eq!(client(pairs, peer).0, expected, "{pairs:?} from {peer}");
        }
    }

    #[test]
    fn how_the_reader_has_come_is_told_by_who_is_trusted() {
        let near = "10.0.0.1";
        for (pairs, peer, expected) in [
            (
                &[
                    ("x-forwarded-proto", "https"),
                    ("x-forwarded-for", "192.0.2.1"),
                ][..],
                near,
                true,
            ),
            (
                &[
                    ("x-forwarded-proto", "https"),
                    ("x-forwarded-for", "192.0.2.1"),
                ],
                "192.0.2.9",
                false,
            ),
            (
                &[
                    ("x-forwarded-proto", "http, https"),
                    ("x-forwarded-for", "192.0.2.1, 10.0.0.2"),
                ],
                near,
                false,
            ),
            (
                &[
                    ("x-forwarded-proto", "https, http"),
                    ("x-forwarded-for", "192.0.2.1, 10.0.0.2"),
                ],
                near,
                true,
            ),
            // of a list that the reader has begun, only what was added counts
            (
                &[
                    ("x-forwarded-proto", "https, http"),
                    ("x-forwarded-for", "10.5.5.5, 192.0.2.1"),
                ],
                near,
                false,
            ),
            (
                &[
                    ("x-forwarded-proto", "https"),
                    ("x-forwarded-for", "192.0.2.1, 10.0.0.2"),
                ],
                near,
                true,
            ),
            (
                &[(
                    "forwarded",
                    "for=192.0.2.1;proto=https, for=10.0.0.2;proto=http",
                )],
                near,
                true,
            ),
            (&[("forwarded", "for=192.0.2.1;proto=gopher")], near, false),
            (&[("x-forwarded-proto", "https")], near, true),
            (&[("x-forwarded-proto", "https")], "192.0.2.9", false),
        ] {
            assert_eq!(client(pairs, peer).1, expected, "{pairs:?} from {peer}");
        }
    }

    #[test]
    fn origins_are_told_what_is_known_and_nothing_else() {
        let told = |pairs: &[(&'static str, &'static str)], peer: &str| {
            let mut headers = headers(pairs);
            let peer = peer.parse().ok();
            Client::of(&headers, peer, false, &trusted()).tell(&mut headers);
            assert!(!headers.contains_key("forwarded"));
            let text = |name: &str| {
                let values = headers.get_all(name).iter();
                let values: Vec<_> = values.map(|value| value.to_str().unwrap()).collect();
                values.join(" and ")
            };
            (text("x-forwarded-for"), text("x-forwarded-proto"))
        };
        let says = |chain: &str, scheme: &str| (chain.to_owned(), scheme.to_owned());
        let claim = [
            ("x-forwarded-for", "192.0.2.66, 192.0.2.1"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-proto", "https"),
        ];
        let believed = says("192.0.2.1, 10.0.0.2, 10.0.0.1", "https");
        assert_eq!(told(&claim, "10.0.0.1"), believed);
        assert_eq!(told(&claim, "192.0.2.9"), says("192.0.2.9", "http"));
        let standard = [("forwarded", "for=192.0.2.1;proto=https")];
        assert_eq!(
            told(&standard, "10.0.0.1"),
            says("192.0.2.1, 10.0.0.1", "https")
        );
        assert_eq!(told(&standard, ""), says("", "http"));
    }

    #[test]
    fn a_list_is_not_followed_for_ever() {
        let long = vec!["10.0.0.2"; 5000].join(", ");
        let mut headers = HeaderMap::new();
        headers.insert(FORWARDED_FOR, HeaderValue::try_from(long).unwrap());
        let client = Client::of(&headers, "10.0.0.1".parse().ok(), false, &trusted());
        assert_eq!(client.between.len(), HOPS_MAX);
    }
}
