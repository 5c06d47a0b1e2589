//! What a copy is kept under outside this process: on disk, in the shared store, in messages to
//! other nodes. Owns the digest that a [`SourceRequest`] becomes; pure.
//!
//! In memory the request itself is the key. Everywhere else the digest finds the copy and the whole
//! request, kept with it, is compared, so that what is shown never rests on a digest alone.

use std::fmt;

use ring::digest::{Context, SHA256};

use crate::fragment::SourceRequest;

/// The SHA-256 of a request, every field with its length in front of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CopyId(pub [u8; 32]);

impl CopyId {
    /// The id of the copy that answers this request.
    pub fn of(request: &SourceRequest) -> Self {
        let mut digest = Context::new(&SHA256);
        let mut field = |bytes: &[u8]| {
            digest.update(&(bytes.len() as u64).to_be_bytes());
            digest.update(bytes);
        };
        field(&request.fingerprint.to_be_bytes());
        field(request.target.as_bytes());
        for pairs in [&request.headers, &request.params] {
            field(&(pairs.len() as u64).to_be_bytes());
            for (name, value) in pairs {
                field(name.as_bytes());
                field(value.as_bytes());
            }
        }
        Self::finish(digest)
    }

    /// The id of something that is kept beside the copies, such as the list of purges.
    pub fn named(name: &str) -> Self {
        let mut digest = Context::new(&SHA256);
        digest.update(name.as_bytes());
        Self::finish(digest)
    }

    /// What [`Display`](fmt::Display) writes.
    pub fn parse(hex: &str) -> Option<Self> {
        let mut id = [0; 32];
        if hex.len() != 64 || !hex.is_ascii() {
            return None;
        }
        for (byte, at) in id.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&hex[at..at + 2], 16).ok()?;
        }
        Some(Self(id))
    }

    fn finish(digest: Context) -> Self {
        let digest = digest.finish();
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

impl fmt::Display for CopyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CopyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let id = CopyId::named("x");
        assert_eq!(CopyId::parse(&id.to_string()), Some(id));
        for wrong in ["", "é", "0", &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(CopyId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_asked_differently_has_another_id() {
        let request = |target: &str, headers: &[(&str, &str)], params: &[(&str, &str)]| {
            let owned = |pairs: &[(&str, &str)]| {
                let pair = |(n, v): &(&str, &str)| ((*n).to_owned(), (*v).to_owned());
                pairs.iter().map(pair).collect()
            };
            CopyId::of(&SourceRequest {
                fingerprint: 1,
                target: target.to_owned(),
                headers: owned(headers),
                params: owned(params),
            })
        };
        let ids = [
            request("/a", &[], &[]),
            request("/ab", &[], &[]),
            request("/a", &[("b", "")], &[]),
            request("/a", &[], &[("b", "")]),
            request("/a", &[("b", "c")], &[]),
            request("/a", &[("bc", "")], &[]),
            request("/a", &[("b", ""), ("c", "")], &[]),
        ];
        for (i, one) in ids.iter().enumerate() {
            assert!(!ids[..i].contains(one), "{i}");
        }
        assert_eq!(request("/a", &[], &[]), ids[0]);
    }
}
