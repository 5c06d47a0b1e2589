//! What a request gives for the variables of ESI 1.0, and for those that others have beside them.
//! Owns their names and what their keys mean; pure.
//!
//! Values are as they came: nothing is decoded, so that what goes into an address is encoded still.

use http::header::{ACCEPT_LANGUAGE, COOKIE, HOST, REFERER, USER_AGENT};
use http::{HeaderMap, HeaderName};

use crate::layout::markup::Asked;

use super::value::{Author, Value};

/// Whether a default stands in for a value: for what is not there, and for a language that is not
/// among the accepted ones.
pub(super) fn is_absent(name: &str, value: &Value) -> bool {
    !value.is_there() || (name == "HTTP_ACCEPT_LANGUAGE" && *value == Value::Bool(false))
}

/// The value of a variable of the request; `None` if there is no variable of this name.
pub(super) fn of_request(asked: &Asked, name: &str, key: Option<&str>) -> Option<Value> {
    let headers = &asked.headers;
    let value = match (name, key) {
        ("HTTP_HOST", _) => header(headers, &HOST),
        ("HTTP_REFERER", _) => header(headers, &REFERER),
        ("HTTP_COOKIE", None) => header(headers, &COOKIE),
        ("HTTP_COOKIE", Some(key)) => in_cookies(headers, key),
        ("HTTP_ACCEPT_LANGUAGE", Some(_)) if !headers.contains_key(ACCEPT_LANGUAGE) => {
            Value::Undefined
        }
        ("HTTP_ACCEPT_LANGUAGE", Some(key)) => Value::Bool(accepts(headers, key)),
        ("HTTP_USER_AGENT", Some(part)) => agent(headers, part),
        ("QUERY_STRING", None) if asked.query.is_empty() => Value::Undefined,
        ("QUERY_STRING", None) => Value::Text(asked.query.clone(), Author::ReaderQuery),
        ("QUERY_STRING", Some(key)) => value_in_query(&asked.query, key),
        ("REQUEST_METHOD", _) => Value::readers(asked.method.as_str()),
        ("REQUEST_SCHEME", _) => Value::own(asked.scheme),
        ("REQUEST_PATH", _) => Value::readers(asked.path.as_str()),
        ("REMOTE_ADDR", _) => match asked.client {
            Some(address) => Value::own(address.to_string()),
            None => Value::Undefined,
        },
        ("HTTP_HEADER", Some(key)) => named(headers, key),
        _ => named(headers, &name.strip_prefix("HTTP_")?.replace('_', "-")),
    };
    Some(value)
}

fn maybe(text: Option<&str>) -> Value {
    text.map_or(Value::Undefined, Value::readers)
}

fn header(headers: &HeaderMap, name: &HeaderName) -> Value {
    let lines = headers.get_all(name).iter();
    let texts: Vec<_> = lines
        .map(|line| String::from_utf8_lossy(line.as_bytes()))
        .collect();
    let separator = if *name == COOKIE { "; " } else { ", " };
    match texts.is_empty() {
        true => Value::Undefined,
        false => Value::readers(texts.join(separator)),
    }
}

/// What says who somebody is goes to origins, not into pages.
fn named(headers: &HeaderMap, name: &str) -> Value {
    let name = name.to_ascii_lowercase();
    match name.parse() {
        Ok(name) if name != http::header::AUTHORIZATION => header(headers, &name),
        Ok(_) | Err(_) => Value::Undefined,
    }
}

/// A cookie, or with `cookie;name` the value of a name in one that is like a query.
fn in_cookies(headers: &HeaderMap, key: &str) -> Value {
    match (cookie(headers, key), key.split_once(';')) {
        (None, Some((key, name))) => {
            let found = cookie(headers, key);
            found.map_or(Value::Undefined, |query| value_in_query(query, name))
        }
        (found, _) => maybe(found),
    }
}

fn cookie<'h>(headers: &'h HeaderMap, key: &str) -> Option<&'h str> {
    let lines = headers.get_all(COOKIE).iter();
    let mut pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == key).map(|(_, value)| value)
}

/// The value of a name in a query.
pub(super) fn value_in_query(query: &str, key: &str) -> Value {
    maybe(
        pairs_of(query)
            .find(|(name, _)| *name == key)
            .map(|pair| pair.1),
    )
}

/// Names and values of a query, in its order.
pub(super) fn pairs_of(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn accepts(headers: &HeaderMap, language: &str) -> bool {
    let lines = headers.get_all(ACCEPT_LANGUAGE).iter();
    let mut ranges = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','));
    ranges.any(|range| {
        let tag = range.split(';').next().unwrap_or_default();
        tag.trim().eq_ignore_ascii_case(language.trim())
    })
}

/// The parts of ESI 1.0, 5.1: `browser` is MOZILLA, MSIE or OTHER, `os` is WIN, MAC, UNIX or OTHER.
fn agent(headers: &HeaderMap, part: &str) -> Value {
    let line = headers.get(USER_AGENT).and_then(|line| line.to_str().ok());
    let Some(line) = line else {
        return Value::Undefined;
    };
    let has = |text: &str| line.contains(text);
    match part {
        "browser" if has("MSIE") || has("Trident/") => Value::own("MSIE"),
        "browser" if has("Mozilla") => Value::own("MOZILLA"),
        "browser" => Value::own("OTHER"),
        "os" if has("Win") => Value::own("WIN"),
        "os" if has("Mac") => Value::own("MAC"),
        "os" if has("Linux") || has("X11") || has("Unix") || has("BSD") => Value::own("UNIX"),
        "os" => Value::own("OTHER"),
        "version" => version(line).map_or(Value::Undefined, Value::own),
        _ => Value::Undefined,
    }
}

/// The number after `MSIE `, else after the first slash.
fn version(agent: &str) -> Option<&str> {
    let after = match agent.split_once("MSIE ") {
        Some((_, after)) => after,
        None => agent.split_once('/')?.1,
    };
    let is_version = |c: char| c.is_ascii_digit() || c == '.';
    let end = after.find(|c| !is_version(c)).unwrap_or(after.len());
    (end > 0).then_some(&after[..end])
}
