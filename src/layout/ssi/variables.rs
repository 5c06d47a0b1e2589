//! What `$name` stands for: captures of the last match, what the document has set, and what nginx says
//! about the request. Owns the names, the expansion of values, and how much a document may expand.
//!
//! Names are looked up without regard to case, and values are bytes: what readers send is no UTF-8.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST};

use crate::layout::markup::{Asked, Limits};

use super::dates::{self, Dates};
use super::directive::Token;

/// Variables that one document may set.
const VARIABLES_MAX: usize = 256;

/// What one step of [`Limits::steps`] pays for here, in bytes.
const BYTES_A_STEP: u64 = 64;

/// A directive cannot be carried out: the error message stands in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Invalid;

/// How much more a document may have expanded: bytes of values, and what costs like them. Without it a
/// short document could double a variable until memory is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fuel(u64);

impl Fuel {
    pub(super) fn of(limits: &Limits) -> Self {
        Self(limits.steps.saturating_mul(BYTES_A_STEP))
    }

    /// Uses what this many bytes cost, at least one step.
    pub(super) fn burn(&mut self, bytes: usize) -> Result<(), Invalid> {
        self.0 = self
            .0
            .checked_sub((bytes as u64).max(BYTES_A_STEP))
            .ok_or(Invalid)?;
        Ok(())
    }
}

/// What a document has set so far. The documents that it includes begin with a copy.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    set: BTreeMap<Vec<u8>, Bytes>,
    /// The whole of the last match and its groups, up to the last one that took part.
    captures: Vec<Bytes>,
    /// Blocks by name, the first of each.
    blocks: BTreeMap<Vec<u8>, Arc<[Token]>>,
}

impl Memory {
    /// Sets a variable.
    pub(super) fn set(&mut self, name: &[u8], value: Bytes) -> Result<(), Invalid> {
        let name = name.to_ascii_lowercase();
        if self.set.len() >= VARIABLES_MAX && !self.set.contains_key(&name) {
            return Err(Invalid);
        }
        self.set.insert(name, value);
        Ok(())
    }

    /// Keeps what a match has found.
    pub(super) fn capture(&mut self, captures: Vec<Bytes>) {
        self.captures = captures;
    }

    /// Keeps a block, if there is none of the name.
    pub(super) fn keep_block(&mut self, name: Vec<u8>, tokens: Vec<Token>) {
        if self.blocks.len() < VARIABLES_MAX {
            self.blocks.entry(name).or_insert_with(|| tokens.into());
        }
    }

    /// The block of this name.
    pub(super) fn block(&self, name: &[u8]) -> Option<Arc<[Token]>> {
        self.blocks.get(name).cloned()
    }

    fn find(&self, name: &[u8]) -> Option<&Bytes> {
        if let [digit @ b'0'..=b'9'] = name
            && let Some(capture) = self.captures.get(usize::from(digit - b'0'))
        {
            return Some(capture);
        }
        self.set.get(name)
    }
}

/// Everything that names are looked up in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'s> {
    pub memory: &'s Memory,
    pub asked: &'s Asked,
    pub dates: &'s Dates,
    pub limits: &'s Limits,
}

impl<'s> Scope<'s> {
    /// What `name` stands for, if anything.
    pub(super) fn find(&self, name: &[u8]) -> Option<Cow<'s, [u8]>> {
        let name = name.to_ascii_lowercase();
        if let Some(value) = self.memory.find(&name) {
            return Some(Cow::Borrowed(value));
        }
        let name = std::str::from_utf8(&name).ok()?;
        of_request(self.asked, name).or_else(|| {
            let zone = match name {
                "date_local" => dates::Zone::Local,
                "date_gmt" => dates::Zone::Gmt,
                _ => return None,
            };
            let text = self.dates.show(self.asked.unix_seconds, zone);
            Some(Cow::Owned(text.into_bytes()))
        })
    }

    /// A value with its variables replaced and its backslashes resolved, as nginx does it: `\` quotes
    /// itself, quotes and `$`, and stays before anything else.
    pub(super) fn expand(&self, text: &[u8], fuel: &mut Fuel) -> Result<Vec<u8>, Invalid> {
        let mut expanded = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            match byte {
                b'$' => {
                    let (name, after) = name(rest)?;
                    rest = after;
                    if let Some(value) = self.find(name) {
                        fuel.burn(value.len())?;
                        expanded.extend_from_slice(&value);
                    }
                }
                b'\\' => {
                    let Some((&quoted, after)) = rest.split_first() else {
                        break;
                    };
                    rest = after;
                    if !matches!(quoted, b'\\' | b'\'' | b'"' | b'$') {
                        expanded.push(b'\\');
                    }
                    expanded.push(quoted);
                }
                _ => expanded.push(byte),
            }
            if expanded.len() > self.limits.value_bytes {
                return Err(Invalid);
            }
        }
        fuel.burn(expanded.len())?;
        Ok(expanded)
    }
}

/// The name at the front of what stands after a `$`, bare or in braces, and what follows it.
fn name(text: &[u8]) -> Result<(&[u8], &[u8]), Invalid> {
    let (is_braced, text) = match text.strip_prefix(b"{") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let len = text
        .iter()
        .position(|b| !b.is_ascii_alphanumeric() && *b != b'_')
        .unwrap_or(text.len());
    let (name, mut rest) = text.split_at(len);
    if is_braced {
        rest = rest.strip_prefix(b"}").ok_or(Invalid)?;
    }
    if name.is_empty() {
        return Err(Invalid);
    }
    Ok((name, rest))
}

/// The variables of nginx that say something about a request, as far as what they say is known here.
fn of_request<'a>(asked: &'a Asked, name: &str) -> Option<Cow<'a, [u8]>> {
    let borrowed = |text: &'a str| Some(Cow::Borrowed(text.as_bytes()));
    let header = |name| {
        let value = asked.headers.get(name)?;
        Some(Cow::Borrowed(value.as_bytes()))
    };
    match name {
        "args" | "query_string" => borrowed(&asked.query).filter(|query| !query.is_empty()),
        "is_args" => borrowed(if asked.query.is_empty() { "" } else { "?" }),
        "uri" | "document_uri" => Some(Cow::Owned(
            percent_encoding::percent_decode_str(&asked.path).collect(),
        )),
        "request_uri" if asked.query.is_empty() => borrowed(&asked.path),
        "request_uri" => Some(Cow::Owned(
            format!("{}?{}", asked.path, asked.query).into_bytes(),
        )),
        "request_method" => borrowed(asked.method.as_str()),
        "scheme" => borrowed(asked.scheme),
        "https" => borrowed(if asked.scheme == "https" { "on" } else { "" }),
        "host" | "server_name" => {
            let host = asked.headers.get(HOST)?.to_str().ok()?;
            let host = match host.rsplit_once(':') {
                Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
                _ => host,
            };
            Some(Cow::Owned(host.to_ascii_lowercase().into_bytes()))
        }
        "remote_addr" => Some(Cow::Owned(asked.client?.to_string().into_bytes())),
        "content_type" => header(CONTENT_TYPE),
        "content_length" => header(CONTENT_LENGTH),
        "msec" => Some(Cow::Owned(
            format!("{}.000", asked.unix_seconds).into_bytes(),
        )),
        _ => {
            if let Some(argument) = name.strip_prefix("arg_") {
                self::argument(&asked.query, argument).and_then(borrowed)
            } else if let Some(cookie) = name.strip_prefix("cookie_") {
                self::cookie(asked, cookie)
            } else {
                headers(asked, name.strip_prefix("http_")?)
            }
        }
    }
}

/// The first `name=value` of the query, not decoded.
fn argument<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

fn cookie<'a>(asked: &'a Asked, name: &str) -> Option<Cow<'a, [u8]>> {
    let lines = asked.headers.get_all(COOKIE).into_iter();
    let mut pairs = lines.flat_map(|line| line.as_bytes().split(|b| *b == b';'));
    pairs.find_map(|pair| {
        let pair = pair.trim_ascii();
        let equals = pair.iter().position(|b| *b == b'=')?;
        let is_it = pair[..equals].eq_ignore_ascii_case(name.as_bytes());
        is_it.then(|| Cow::Borrowed(&pair[equals + 1..]))
    })
}

/// All lines of a header, of which the variable has underscores where the header has dashes.
fn headers<'a>(asked: &'a Asked, name: &str) -> Option<Cow<'a, [u8]>> {
    let name = name.replace('_', "-");
    let separator: &[u8] = if name == "cookie" { b"; " } else { b", " };
    let mut lines = asked.headers.get_all(&name).into_iter();
    let first = lines.next()?.as_bytes();
    let mut all = Cow::Borrowed(first);
    for line in lines {
        let all = all.to_mut();
        all.extend_from_slice(separator);
        all.extend_from_slice(line.as_bytes());
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::markup::trial;

    fn expanded(text: &str) -> Result<String, Invalid> {
        let asked = Asked {
            client: Some([192, 0, 2, 7].into()),
            ..trial::asked(
                "a=1&B=%20x&flag&a=2",
                &[
                    ("host", "News.example:8080"),
                    ("cookie", "id=7; Theme=dark=ish"),
                    ("cookie", "late=1"),
                    ("x-tag", "one"),
                    ("x-tag", "two"),
                ],
            )
        };
        let mut memory = Memory::default();
        memory.set(b"Mine", "own".into()).unwrap();
        memory.set(b"1", "set".into()).unwrap();
        memory.capture(vec!["whole".into()]);
        let scope = Scope {
            memory: &memory,
            asked: &asked,
            dates: &Dates::default(),
            limits: &Limits::default(),
        };
        let mut fuel = Fuel::of(scope.limits);
        let text = scope.expand(text.as_bytes(), &mut fuel)?;
        Ok(String::from_utf8(text).unwrap())
    }

    #[test]
    fn variables_of_the_request_and_of_the_document() {
        for (text, is) in [
            (
                "$args|$QUERY_STRING|$is_args",
                "a=1&B=%20x&flag&a=2|a=1&B=%20x&flag&a=2|?",
            ),
            ("$arg_a|$arg_b|$arg_flag|$arg_none", "1|%20x||"),
            (
                "$uri|$document_uri|$request_uri",
                "/page|/page|/page?a=1&B=%20x&flag&a=2",
            ),
            ("$request_method $scheme://$host", "GET http://news.example"),
            ("$remote_addr", "192.0.2.7"),
            (
                "$cookie_ID|$cookie_theme|$cookie_late|$cookie_no",
                "7|dark=ish|1|",
            ),
            (
                "$http_x_tag|$http_cookie",
                "one, two|id=7; Theme=dark=ish; late=1",
            ),
            ("$mine|${MINE}s|$nothing", "own|owns|"),
            ("$0|$1|$2", "whole|set|"),
            ("${mine}$mine$", "!"),
        ] {
            assert_eq!(expanded(text).unwrap_or("!".into()), is, "{text}");
        }
    }

    #[test]
    fn backslashes_quote_little() {
        for (text, is) in [
            (r#"\$mine \\ \" \' \d \"#, r#"$mine \ " ' \d "#),
            (r"\\$mine", r"\own"),
            ("a", "a"),
            ("", ""),
        ] {
            assert_eq!(expanded(text).as_deref(), Ok(is), "{text}");
        }
        for text in ["$", "a$-", "${mine", "${}", "${mi-ne}", "$$"] {
            assert_eq!(expanded(text), Err(Invalid), "{text}");
        }
    }

    #[test]
    fn growth_has_an_end() {
        let asked = trial::asked("", &[]);
        let limits = Limits {
            value_bytes: 100,
            steps: 10,
            ..Limits::default()
        };
        let mut memory = Memory::default();
        memory.set(b"a", Bytes::from(vec![b'x'; 40])).unwrap();
        let dates = Dates::default();
        let scope = Scope {
            memory: &memory,
            asked: &asked,
            dates: &dates,
            limits: &limits,
        };
        let mut fuel = Fuel::of(&limits);
        assert_eq!(scope.expand(b"$a$a", &mut fuel).map(|v| v.len()), Ok(80));
        assert_eq!(scope.expand(b"$a$a$a", &mut fuel), Err(Invalid), "too long");
        assert_eq!(scope.expand(b"$a", &mut fuel).map(|v| v.len()), Ok(40));
        assert_eq!(scope.expand(b"$a$a", &mut fuel), Err(Invalid), "too much");
        for i in 0..VARIABLES_MAX - 1 {
            memory
                .set(format!("v{i}").as_bytes(), Bytes::new())
                .unwrap();
        }
        assert_eq!(memory.set(b"one-more", Bytes::new()), Err(Invalid));
        assert_eq!(memory.set(b"a", Bytes::new()), Ok(()));
    }
}
