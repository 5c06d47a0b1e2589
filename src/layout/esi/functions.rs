//! The functions that come with the language, as Akamai and Fastly have them: on texts, numbers and
//! lists. Owns what each of them does; those that change the head of the answer, and those that a
//! document defines itself, belong to the [evaluation](super::evaluate).
//!
//! Invariant: what is made of a reader's text is a reader's text, unless it was made harmless.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::md5;
use super::value::{Author, Value};

/// Items of a list.
pub(super) const ITEMS_MAX: usize = 10_000;

/// Everything but the unreserved set of RFC 3986, 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Calls a function; `None` if there is none of this name.
pub(super) fn call(name: &str, arguments: &[Value], unix_seconds: i64) -> Option<Value> {
    let argument = |index: usize| arguments.get(index).unwrap_or(&Value::Undefined);
    let author = arguments.iter().map(Value::author).max();
    let author = match author.unwrap_or(Author::Site) {
        // decoded or cut, it may be escaped no more
        Author::Written => Author::Reader,
        other @ (Author::Site | Author::ReaderQuery | Author::Reader) => other,
    };
    let first = argument(0);
    let text = |text: String| Value::Text(text, author);
    Some(match name {
        "exists" => Value::Bool(first.is_there()),
        "is_empty" => Value::Bool(*first != Value::Undefined && !first.is_there()),
        "str" => text(first.text()),
        "int" => Value::Number(first.number().unwrap_or(0)),
        "len" => length(first),
        "lower" => text(first.text().to_lowercase()),
        "upper" => text(first.text().to_uppercase()),
        "lstrip" => text(first.text().trim_start().to_owned()),
        "rstrip" => text(first.text().trim_end().to_owned()),
        "strip" => text(first.text().trim().to_owned()),
        "substr" => part(first, argument(1), arguments.get(2)).map_or(Value::Undefined, text),
        "index" => place(first, argument(1), |text, what| text.find(what)),
        "rindex" => place(first, argument(1), |text, what| text.rfind(what)),
        "replace" => replaced(first, argument(1), argument(2), arguments.get(3), author),
        "string_split" => split(first, arguments.get(1), arguments.get(2), author),
        "join" => joined(first, arguments.get(1), author),
        "list_delitem" => without(first, argument(1)),
        "url_encode" => Value::own(utf8_percent_encode(&first.text(), RESERVED).to_string()),
        "url_decode" => {
            let decoded = percent_decode_str(&first.text())
                .decode_utf8_lossy()
                .into_owned();
            text(decoded)
        }
        "html_encode" => Value::own(html(&first.text())),
        "html_decode" => text(plain(&first.text())),
        "base64_encode" => text(BASE64.encode(first.text().as_bytes())),
        "base64_decode" => match BASE64.decode(first.text().trim().as_bytes()) {
            Ok(decoded) => text(String::from_utf8_lossy(&decoded).into_owned()),
            Err(_) => Value::Undefined,
        },
        "digest_md5_hex" => Value::own(md5::of(first.text().as_bytes())),
        "convert_to_unicode" | "convert_from_unicode" => first.clone(),
        "dollar" => Value::own("$"),
        "dquote" => Value::own("\""),
        "squote" => Value::own("'"),
        "time" => Value::Number(unix_seconds),
        "http_time" => date(arguments.first(), "%a, %d %b %Y %H:%M:%S GMT", unix_seconds),
        "strftime" => date(arguments.first(), &argument(1).text(), unix_seconds),
        "bool" => Value::Bool(first.is_true()),
        _ => return None,
    })
}

fn length(value: &Value) -> Value {
    let length = match value {
        Value::List(items) => items.len(),
        Value::Dictionary(entries) => entries.len(),
        Value::Undefined | Value::Bool(_) | Value::Number(_) | Value::Text(..) => {
            value.text().chars().count()
        }
    };
    Value::Number(i64::try_from(length).unwrap_or(i64::MAX))
}

/// From a character on, up to another one or to the end; negative places count from the end.
fn part(value: &Value, from: &Value, to: Option<&Value>) -> Option<String> {
    let characters: Vec<char> = value.text().chars().collect();
    let count = i64::try_from(characters.len()).ok()?;
    let place = |place: i64| match place < 0 {
        true => count.saturating_add(place).max(0),
        false => place.min(count),
    };
    let from = place(from.number()?);
    let to = match to {
        Some(to) => place(to.number()?),
        None => count,
    };
    let (from, to) = (
        usize::try_from(from).ok()?,
        usize::try_from(to.max(from)).ok()?,
    );
    Some(characters[from..to].iter().collect())
}

fn place(value: &Value, what: &Value, find: fn(&str, &str) -> Option<usize>) -> Value {
    let (text, what) = (value.text(), what.text());
    let characters = |at: usize| i64::try_from(text[..at].chars().count()).unwrap_or(i64::MAX);
    Value::Number(find(&text, &what).map_or(-1, characters))
}

/// How often something is done, where a document says it: as often as it can be, if it does not.
fn times(value: Option<&Value>) -> usize {
    let number = value.map_or(Some(i64::MAX), Value::number).unwrap_or(0);
    usize::try_from(number).unwrap_or(0)
}

fn replaced(
    value: &Value,
    what: &Value,
    by: &Value,
    count: Option<&Value>,
    author: Author,
) -> Value {
    let what = what.text();
    match what.is_empty() {
        true => value.clone(),
        false => {
            let text = value.text().replacen(&what, &by.text(), times(count));
            Value::Text(text, author)
        }
    }
}

fn split(value: &Value, by: Option<&Value>, count: Option<&Value>, author: Author) -> Value {
    let (text, by) = (value.text(), by.map_or_else(|| " ".to_owned(), Value::text));
    let item = |text: &str| Value::Text(text.to_owned(), author);
    let parts = times(count).saturating_add(1).min(ITEMS_MAX);
    let items: Vec<Value> = match by.is_empty() {
        true => text
            .chars()
            .take(ITEMS_MAX)
            .map(|c| item(c.encode_utf8(&mut [0; 4])))
            .collect(),
        false => text.splitn(parts, &by).map(item).collect(),
    };
    Value::List(items)
}

/// A time in the words of C's `strftime`; now, if none is given.
fn date(seconds: Option<&Value>, format: &str, now: i64) -> Value {
    let seconds = match seconds {
        None | Some(Value::Undefined) => Some(now),
        Some(seconds) => seconds.number(),
    };
    let shown = seconds.and_then(|seconds| {
        let timestamp = jiff::Timestamp::from_second(seconds).ok()?;
        let zoned = timestamp.to_zoned(jiff::tz::TimeZone::UTC);
        jiff::fmt::strtime::format(format, &zoned).ok()
    });
    shown.map_or(Value::Undefined, Value::own)
}

fn joined(value: &Value, by: Option<&Value>, author: Author) -> Value {
    let by = by.map_or_else(|| " ".to_owned(), Value::text);
    match value {
        Value::List(items) => {
            let texts: Vec<String> = items.iter().map(Value::text).collect();
            Value::Text(texts.join(&by), author)
        }
        Value::Undefined
        | Value::Bool(_)
        | Value::Number(_)
        | Value::Text(..)
        | Value::Dictionary(_) => value.clone(),
    }
}

fn without(value: &Value, index: &Value) -> Value {
    let Value::List(items) = value else {
        return value.clone();
    };
    let index = index.number().and_then(|index| usize::try_from(index).ok());
    let kept = items.iter().enumerate();
    let kept = kept.filter(|(at, _)| Some(*at) != index);
    Value::List(kept.map(|(_, item)| item.clone()).collect())
}

fn html(text: &str) -> String {
    super::value::escaped(&text.replace('&', "&amp;"))
}

fn plain(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&amp;", "&")
}
