//! The address of an include → which origin is asked for what. Owns resolution against the document's
//! own address (RFC 3986, 5) and everything that an address must not be; pure.
//!
//! Invariant: what comes out is an origin that the site knows and an absolute path on it, of graphic
//! ASCII characters only: no name, no port and no line break of a document ever reaches a connection.

use std::fmt::Write as _;

use crate::fragment::OriginId;
use crate::site::MarkupSpec;

/// Where a document is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Who has answered it.
    pub origin: OriginId,
    /// Its path and query there.
    pub target: String,
    /// The host, with its port, by which its reader has asked for it: there, the document's own origin
    /// answers.
    pub host: Option<String>,
    /// Whether its reader has come by TLS.
    pub is_secure: bool,
}

impl Base {
    /// Its path there, without what its reader may have said in the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// By what its reader has come.
    pub fn scheme(&self) -> &'static str {
        match self.is_secure {
            true => "https",
            false => "http",
        }
    }
}

/// What an include asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) origin: OriginId,
    /// Path and query.
    pub(super) target: String,
}

/// Longest address.
const ADDRESS_MAX: usize = 8 * 1024;

/// What `src` is, seen from a document; or why it is refused.
pub(super) fn resolve(spec: &MarkupSpec, base: &Base, src: &str) -> Result<Address, &'static str> {
    let src = src.trim_matches([' ', '\t', '\r', '\n']);
    if src.is_empty() {
        return Err("its address is empty");
    }
    if src.len() > ADDRESS_MAX {
        return Err("its address is too long");
    }
    if src.contains(|c: char| c.is_control()) {
        return Err("its address has a control character in it");
    }
    if src.contains('\\') {
        return Err("its address has a backslash in it");
    }
    let src = src.split('#').next().unwrap_or_default();
    let (origin, target) = match authority(src)? {
        Some((scheme, authority, rest)) => {
            let origin = origin(spec, base, scheme, authority)?;
            let slash = if rest.starts_with('/') { "" } else { "/" };
            (origin, format!("{slash}{rest}"))
        }
        None => (base.origin, relative(&base.target, src)),
    };
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target.as_str(), None),
    };
    let mut target = encoded(&without_dots(path));
    if let Some(query) = query {
        target.push('?');
        target += &encoded(query);
    }
    Ok(Address { origin, target })
}

/// A scheme, if there is one, an authority, and what follows.
type Authority<'s> = (Option<&'s str>, &'s str, &'s str);

/// What an address begins with, where it has an authority.
fn authority(src: &str) -> Result<Option<Authority<'_>>, &'static str> {
    let (scheme, rest) = match scheme(src) {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, src),
    };
    let is_http = |s: &str| s.eq_ignore_ascii_case("http") || s.eq_ignore_ascii_case("https");
    if scheme.is_some_and(|scheme| !is_http(scheme)) {
        return Err("its address is neither http nor https");
    }
    let Some(rest) = rest.strip_prefix("//") else {
        return match scheme {
            Some(_) => Err("its address has no host"),
            None => Ok(None),
        };
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    if authority.contains('@') {
        return Err("its address has a user in it");
    }
    Ok(Some((scheme, authority, rest)))
}

/// A scheme in front of a colon; a colon in a path or a query is none.
fn scheme(src: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = src.split_once(':')?;
    let mut bytes = scheme.bytes();
    let starts = bytes.next().is_some_and(|b| b.is_ascii_alphabetic());
    let goes_on = bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    (starts && goes_on).then_some((scheme, rest))
}

/// The origin of an authority. Names are compared as they are written: whatever is spelled otherwise
/// than it is declared, an address as one number say, is not declared.
fn origin(
    spec: &MarkupSpec,
    base: &Base,
    scheme: Option<&str>,
    authority: &str,
) -> Result<OriginId, &'static str> {
    let authority = authority.to_ascii_lowercase();
    let is_own = |host: &String| host.eq_ignore_ascii_case(&authority);
    if base.host.as_ref().is_some_and(is_own) {
        return Ok(base.origin);
    }
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    let key = |scheme: &str, port: &str| match has_port {
        true => format!("{scheme}://{authority}"),
        false => format!("{scheme}://{}:{port}", authority.trim_end_matches(':')),
    };
    let keys = match scheme {
        Some(scheme) if scheme.eq_ignore_ascii_case("http") => vec![key("http", "80")],
        Some(_) => vec![key("https", "443")],
        None => vec![key("https", "443"), key("http", "80")],
    };
    let known = spec.hosts.iter().find(|(host, _)| keys.contains(host));
    known
        .map(|(_, origin)| *origin)
        .ok_or("its host is not one that documents may name")
}

/// RFC 3986, 5.2, for an address without an authority.
fn relative(base: &str, src: &str) -> String {
    let path = base.split('?').next().unwrap_or(base);
    if src.starts_with('/') {
        return src.to_owned();
    }
    if src.starts_with('?') {
        return format!("{path}{src}");
    }
    let folder = path.rfind('/').map_or("/", |at| &path[..=at]);
    format!("{folder}{src}")
}

/// RFC 3986, 5.2.4. Dots that are percent-encoded are dots.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment.replace("%2e", ".").replace("%2E", ".").as_str() {
            "." if is_last => kept.push(""),
            "." => {}
            ".." => {
                kept.pop();
                if is_last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

/// As it was written, but for what cannot stand in an address.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'<' | b'>' | b'"' | b'{' | b'}' | b'^' | b'`' | b'|' => {
                let _ = write!(encoded, "%{byte:02X}");
            }
            _ if byte.is_ascii_graphic() => encoded.push(char::from(byte)),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::markup::Marked;
    use std::time::Duration;

    fn spec() -> MarkupSpec {
        MarkupSpec {
            undeclared: Vec::new(),
            primary: Vec::new(),
            blocks: Vec::new(),
            declared: Vec::new(),
            hosts: vec![
                ("http://cms:8000".to_owned(), OriginId(0)),
                ("https://widgets.example.com:443".to_owned(), OriginId(1)),
            ],
            documents: Marked::Always,
            nested: Marked::Never,
            depth: 5,
            includes_max: 9,
            bytes_max: 9,
            budget: Duration::from_secs(1),
            fails_page: false,
            forward_headers: Vec::new(),
            forwards_cookies: true,
            is_escaping: true,
        }
    }

    fn resolved(src: &str) -> Result<(usize, String), &'static str> {
        let base = Base {
            origin: OriginId(0),
            target: "/news/today/index.html?x=/1".to_owned(),
            host: Some("www.example.org:8080".to_owned()),
            is_secure: false,
        };
        let found = resolve(&spec(), &base, src)?;
        Ok((found.origin.index(), found.target))
    }

    #[test]
    fn addresses_are_seen_from_the_document() {
        for (src, origin, target) in [
            ("/a", 0, "/a"),
            ("a?b=c:d", 0, "/news/today/a?b=c:d"),
            ("./a/../b", 0, "/news/today/b"),
            ("../../../../x", 0, "/x"),
            ("/a/%2e%2E/b/..", 0, "/"),
            ("?y=2", 0, "/news/today/index.html?y=2"),
            (" /čaj?q=ü b ", 0, "/%C4%8Daj?q=%C3%BC%20b"),
            ("/t<t#part", 0, "/t%3Ct"),
            ("http://cms:8000/x", 0, "/x"),
            ("HTTP://CMS:8000?x", 0, "/?x"),
            ("http://www.example.org:8080/y", 0, "/y"),
            ("//widgets.example.com/w", 1, "/w"),
            ("https://widgets.example.com", 1, "/"),
        ] {
            assert_eq!(resolved(src), Ok((origin, target.to_owned())), "{src}");
        }
    }

    #[test]
    fn what_an_address_must_not_be() {
        for src in [
            "",
            "  ",
            "file:///etc/passwd",
            "gopher://cms:8000/",
            "javascript:x",
            "http:/a",
            "http://user@cms:8000/",
            "http://cms:8000@evil.example/",
            "//evil.example/",
            "http://cms:8001/",
            "https://cms:8000/",
            "http://widgets.example.com/",
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "/a\r\nX-Injected: yes",
            "/a\tb",
            "/a\0",
            "/\\evil.example/",
            "\\\\evil.example",
        ] {
            assert!(resolved(src).is_err(), "{src:?} is {:?}", resolved(src));
        }
        assert!(resolved(&format!("/{}", "a".repeat(ADDRESS_MAX))).is_err());
    }
}
