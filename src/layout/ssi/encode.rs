//! How `echo` writes a value. Owns the three encodings, which are nginx's byte for byte.

use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

/// What nginx escapes for `encoding="url"`.
const URL: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'\'')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// What an address cannot hold and nginx would escape on the way to an origin. Escapes that are there
/// stay as they are.
const ADDRESS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// What `encoding` says; it holds until the next `echo` that says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Encoding {
    /// As it is: for values that are no reader's.
    None,
    Url,
    #[default]
    Entity,
}

impl Encoding {
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"none" => Some(Self::None),
            b"url" => Some(Self::Url),
            b"entity" => Some(Self::Entity),
            _ => None,
        }
    }

    pub(super) fn encode(self, value: Bytes) -> Bytes {
        match self {
            Self::None => value,
            Self::Url => percent_encode(&value, URL).to_string().into(),
            Self::Entity => entities(value),
        }
    }
}

fn entities(value: Bytes) -> Bytes {
    let is_special = |byte: &u8| b"<>&\"".contains(byte);
    if !value.iter().any(is_special) {
        return value;
    }
    let mut encoded = Vec::with_capacity(value.len() + 16);
    for &byte in &value {
        match byte {
            b'<' => encoded.extend_from_slice(b"&lt;"),
            b'>' => encoded.extend_from_slice(b"&gt;"),
            b'&' => encoded.extend_from_slice(b"&amp;"),
            b'"' => encoded.extend_from_slice(b"&quot;"),
            _ => encoded.push(byte),
        }
    }
    encoded.into()
}

/// An address as text.
pub(super) fn address(bytes: &[u8]) -> String {
    percent_encode(bytes, ADDRESS).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_encoded_as_nginx_does_it() {
        let all: Vec<u8> = (0x20..0x7f).chain([0xe9, b'\n']).collect();
        let encoded = |encoding: Encoding| encoding.encode(Bytes::from(all.clone()));
        assert_eq!(encoded(Encoding::None), all);
        assert_eq!(
            encoded(Encoding::Url),
            concat!(
                "%20!%22%23$%25&%27()*+,-./0123456789:;%3C=%3E?@ABCDEFGHIJKLMNOPQRSTUVWXYZ",
                "[%5C]%5E_%60abcdefghijklmnopqrstuvwxyz%7B%7C%7D~%E9%0A",
            )
        );
        let plain = Bytes::from_static(b"plain");
        assert_eq!(
            Encoding::Entity.encode(plain.clone()).as_ptr(),
            plain.as_ptr(),
            "nothing to encode, nothing copied"
        );
        assert_eq!(
            Encoding::Entity.encode("<a href=\"'&\u{e9}'\">".into()),
            "&lt;a href=&quot;'&amp;\u{e9}'&quot;&gt;"
        );
        assert_eq!(
            address(b"/a b/%74?q=\xe9&r=\r\n"),
            "/a%20b/%74?q=%E9&r=%0D%0A"
        );
    }
}
