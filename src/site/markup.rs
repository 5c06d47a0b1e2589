//! `[markup]`: what documents in a markup language may include, and what becomes of it. Owns plain
//! validated numbers and choices, and what an address must not be; the weaving is
//! [`compose::weave`](crate::compose::weave)'s.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::fragment::source::TargetTemplate;
use crate::fragment::{FragmentId, OriginId};

/// A language that documents can be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// ESI 1.0.
    Esi,
    /// The server-side includes of nginx.
    Ssi,
    /// The templates of Zalando's Tailor.
    Tailor,
}

impl Language {
    /// The word in `fragments.toml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Esi => "esi",
            Self::Ssi => "ssi",
            Self::Tailor => "tailor",
        }
    }

    /// What `Surrogate-Capability` and `Surrogate-Control` call it.
    pub fn token(self) -> &'static str {
        match self {
            Self::Esi => "ESI/1.0",
            Self::Ssi => "SSI/1.0",
            Self::Tailor => "Tailor/1.0",
        }
    }
}

/// Which answers are read as markup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marked {
    /// None.
    Never,
    /// Those that say so (`Surrogate-Control`, `Edge-Control`).
    Marked,
    /// Those of a type that can hold markup.
    Always,
}

/// What holds for all documents in a markup language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkupSpec {
    /// What stands for an include that no fragment declares, by origin; `None`: it is refused.
    pub undeclared: Vec<Option<FragmentId>>,
    /// The same for an include that decides about its page: it is a core fragment.
    pub primary: Vec<Option<FragmentId>>,
    /// What a document itself is on its page, by its origin: a core fragment, which nobody asks for as such.
    pub blocks: Vec<Option<FragmentId>>,
    /// What includes of these addresses show, whichever origin they are of.
    pub declared: Vec<(TargetTemplate, FragmentId)>,
    /// Other hosts that documents may name, by scheme and authority, and the origins that they are.
    pub hosts: Vec<(String, OriginId)>,
    /// Which documents are read.
    pub documents: Marked,
    /// Which included answers are read.
    pub nested: Marked,
    /// Documents inside one another.
    pub depth: usize,
    /// Includes of one page, all levels together.
    pub includes_max: usize,
    /// Bytes of all that one page includes.
    pub bytes_max: usize,
    /// From the start of a page to when its last include is given up.
    pub budget: Duration,
    /// Whether an include that fails, and for which nothing stands in, fails the page.
    pub fails_page: bool,
    /// Headers of the reader that undeclared includes are asked with, lower case.
    pub forward_headers: Vec<String>,
    /// Whether the reader's cookies go to includes of the document's own origin.
    pub forwards_cookies: bool,
    /// Whether what a reader has sent is escaped where a document writes it.
    pub is_escaping: bool,
}

/// Whether an address is one of the open net: neither this machine's nor a private network's, nor any
/// other that stands for one of these.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// The special-purpose registry of RFC 6890 and its successors.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        // this network, and what is reserved, broadcast included
        || a == 0
        || a >= 240
        // shared address space (RFC 6598), protocol assignments, benchmarks, relays of 6to4
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a == 198 && (18..20).contains(&b))
        || (a, b, c) == (192, 88, 99);
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(v4) = embedded(address) {
        return is_public_v4(v4);
    }
    let first = address.segments()[0];
    // global unicast is 2000::/3; of it, documentation and what stands for nobody
    let is_global = first & 0xe000 == 0x2000;
    let second = address.segments()[1];
    let is_special = (first == 0x2001 && (second < 0x0200 || second == 0x0db8)) || first == 0x3fff;
    is_global && !is_special
}

/// The address of the old kind that one of the new kind stands for: mapped, compatible, translated
/// (RFC 6052), 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = address.segments();
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match s {
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] if high != 0 => Some(of(high, low)),
        [0, 0, 0, 0, 0, 0xffff, high, low] => Some(of(high, low)),
        [0, 0, 0, 0, 0xffff, 0, high, low] => Some(of(high, low)),
        [0x64, 0xff9b, _, _, _, _, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_inside_is_public_however_it_is_spelled() {
        for inside in [
            "127.0.0.1",
            "127.8.8.8",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:7f00:1::",
            "2001:db8::1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
        for outside in [
            "93.184.216.34",
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "2606:2800:220:1::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ] {
            assert!(is_public(outside.parse().unwrap()), "{outside}");
        }
    }
}
