//! Who stands between readers and this server, by address: balancers and CDNs whose word on who reads is
//! believed. Owns the notation of networks.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A network, as `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Its first address.
    base: IpAddr,
    /// Bits that its addresses have in common.
    prefix: u8,
}

/// Why a text is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoNetwork {
    /// It has no address.
    #[error("expected an address, or one and the length of its prefix, such as `10.0.0.0/8`")]
    Address,
    /// The length of the prefix is wrong.
    #[error("the length of a prefix is at most {0}")]
    Prefix(u8),
    /// The address has bits beyond the prefix.
    #[error("the address has bits beyond its prefix: is `{0}` meant?")]
    Beyond(Network),
}

impl Network {
    /// Whether the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                same_bits(&base.octets(), &address.octets(), self.prefix)
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                same_bits(&base.octets(), &address.octets(), self.prefix)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// The same with nothing beyond the prefix.
    fn trimmed(self) -> Self {
        fn trim<const N: usize>(mut octets: [u8; N], prefix: u8) -> [u8; N] {
            for (at, octet) in octets.iter_mut().enumerate() {
                *octet &= mask(at, prefix);
            }
            octets
        }
        let base = match self.base {
            IpAddr::V4(base) => IpAddr::from(trim(base.octets(), self.prefix)),
            IpAddr::V6(base) => IpAddr::from(trim(base.octets(), self.prefix)),
        };
        Self { base, ..self }
    }
}

fn same_bits(a: &[u8], b: &[u8], prefix: u8) -> bool {
    let pairs = a.iter().zip(b).enumerate();
    pairs
        .map(|(at, (a, b))| (a ^ b) & mask(at, prefix))
        .all(|differing| differing == 0)
}

/// Which bits of the octet at this place are in the prefix.
fn mask(at: usize, prefix: u8) -> u8 {
    let bits = usize::from(prefix).saturating_sub(at * 8).min(8);
    let beyond = 8 - u32::try_from(bits).expect("there are eight of them");
    u8::MAX.checked_shl(beyond).unwrap_or(0)
}

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let base: IpAddr = address.parse().map_err(|_| NoNetwork::Address)?;
        let longest = match base {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        let prefix = match prefix {
            None => longest,
            Some(digits) => {
                let is_number = digits.bytes().all(|b| b.is_ascii_digit());
                let number = digits.parse().ok().filter(|_| is_number);
                number
                    .filter(|number| *number <= longest)
                    .ok_or(NoNetwork::Prefix(longest))?
            }
        };
        let network = Self { base, prefix };
        match network.trimmed() {
            trimmed if trimmed == network => Ok(network),
            trimmed => Err(NoNetwork::Beyond(trimmed)),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

/// Whose word on who reads is believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedPeers(pub Vec<Network>);

impl TrustedPeers {
    /// Whether that of this address is.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_the_addresses_with_its_prefix() {
        for (network, address, is_in) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("192.0.2.128/25", "192.0.2.127", false),
            ("192.0.2.128/25", "192.0.2.200", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("::1", "::1", true),
            ("::/0", "10.0.0.1", false),
        ] {
            let network: Network = network.parse().unwrap();
            let address = address.parse().unwrap();
            assert_eq!(network.contains(address), is_in, "{network} {address}");
        }
    }

    #[test]
    fn what_is_no_network_says_why() {
        let why = |text: &str| text.parse::<Network>().unwrap_err().to_string();
        for text in ["", "ten", "10.0.0", "10.0.0.0.0/8", "[::1]/8", "/8"] {
            assert_eq!(why(text), NoNetwork::Address.to_string(), "{text}");
        }
        for text in ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/+8"] {
            assert_eq!(why(text), "the length of a prefix is at most 32", "{text}");
        }
        assert!(why("10.1.0.0/8").ends_with("is `10.0.0.0/8` meant?"));
    }
}
