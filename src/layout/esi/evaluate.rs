//! What expressions are worth, and texts with variables in them. Owns the order of evaluation, its
//! limits, and the functions that a document defines; a machine that is out of steps finds nothing
//! any more, and never goes round for ever.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::layout::markup::{HeadChange, Piece};

use super::Esi;
use super::expression::{Expression, Pattern, parse, parse_collection};
use super::functions::{self, ITEMS_MAX};
use super::patterns;
use super::value::{Author, Value, escaped, in_address};
use super::variables::{is_absent, of_request, value_in_query};

/// Where a text with variables is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In an address.
    Address,
    /// Where it is data, and nothing else.
    Data,
}

impl Esi {
    /// What an expression is worth; `None` if it is none.
    pub(super) fn value_of(&mut self, text: &str) -> Option<Value> {
        self.value_read_by(parse, text)
    }

    /// What a loop goes through.
    pub(super) fn collection_of(&mut self, text: &str) -> Option<Value> {
        self.value_read_by(parse_collection, text)
    }

    fn value_read_by(
        &mut self,
        parse: fn(&str) -> Option<Expression>,
        text: &str,
    ) -> Option<Value> {
        if text.len() > self.limits.value_bytes || !self.spend(1 + text.len() as u64 / 64) {
            return None;
        }
        let expression = parse(text)?;
        Some(self.evaluate(&expression))
    }

    /// The text that is written in the place of a variable; `None` if it cannot be read.
    pub(super) fn written(&mut self, variable: &[u8]) -> Option<String> {
        let value = self.value_of(std::str::from_utf8(variable).ok()?)?;
        let (text, author) = (value.text(), value.author());
        self.has_readers |= author != Author::Site;
        match author {
            Author::Reader | Author::ReaderQuery if self.is_escaping => Some(escaped(&text)),
            Author::Site | Author::Written | Author::Reader | Author::ReaderQuery => Some(text),
        }
    }

    /// The value that written text is. What it was written into before goes on as it was.
    pub(super) fn value_written(&mut self, text: String, had_readers: bool) -> Value {
        let author = match self.has_readers {
            true => Author::Written,
            false => Author::Site,
        };
        self.has_readers |= had_readers;
        Value::Text(text, author)
    }

    /// A text, its variables replaced.
    pub(super) fn filled(&mut self, text: &str, place: Place) -> String {
        self.filled_by(text, place).0
    }

    /// A text, its variables replaced, and whose it is then.
    pub(super) fn filled_by(&mut self, text: &str, place: Place) -> (String, Author) {
        let mut filled = String::new();
        let mut by = Author::Site;
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            filled.push_str(&rest[..at]);
            rest = &rest[at..];
            let len = match variable_len(rest) {
                Length::Of(len) => len,
                Length::None => {
                    filled.push('$');
                    rest = &rest[1..];
                    continue;
                }
                Length::Endless => break,
            };
            let Some(value) = self.value_of(&rest[..len]) else {
                filled.push_str(&rest[..len]);
                rest = &rest[len..];
                continue;
            };
            let (text, author) = (value.text(), value.author());
            by = by.max(author);
            match place {
                Place::Address => filled += &in_address(&filled, &text, author),
                Place::Data => filled.push_str(&text),
            }
            rest = &rest[len..];
            if filled.len() > self.limits.value_bytes {
                break;
            }
        }
        (filled + rest, by)
    }

    pub(super) fn evaluate(&mut self, expression: &Expression) -> Value {
        if !self.spend(1) {
            return Value::Undefined;
        }
        match expression {
            Expression::Number(number) => Value::Number(*number),
            Expression::Text(text) => Value::own(text.as_str()),
            Expression::Bool(value) => Value::Bool(*value),
            Expression::List(items) => {
                Value::List(items.iter().map(|item| self.evaluate(item)).collect())
            }
            Expression::Range(first, last) => self.range(first, last),
            Expression::Dictionary(written) => {
                let mut entries = Vec::new();
                for (key, value) in written {
                    let (key, value) = (self.evaluate(key), self.evaluate(value));
                    let value = value.under(key.author());
                    self.put(&mut entries, key.text(), value);
                }
                Value::Dictionary(entries)
            }
            Expression::Variable {
                name,
                keys,
                default,
            } => {
                let mut keys = keys.iter();
                let first = keys.next().map(|key| self.evaluate(key).text());
                let mut value = self.variable(name, first.as_deref());
                for key in keys {
                    let key = self.evaluate(key).text();
                    value = part_of(&value, &key);
                }
                if !self.spend(weight(&value) as u64 / 256) {
                    return Value::Undefined;
                }
                match (value, default) {
                    (value, Some(default)) if is_absent(name, &value) => self.evaluate(default),
                    (value, _) => value,
                }
            }
            Expression::Call(name, arguments) => {
                let arguments: Vec<Value> = arguments
                    .iter()
                    .map(|argument| self.evaluate(argument))
                    .collect();
                self.call(name, arguments)
            }
            Expression::Not(negated) => Value::Bool(!self.evaluate(negated).is_true()),
            Expression::Any(several) => {
                Value::Bool(several.iter().any(|one| self.evaluate(one).is_true()))
            }
            Expression::All(several) => {
                Value::Bool(several.iter().all(|one| self.evaluate(one).is_true()))
            }
            Expression::Compare(left, how, right) => {
                let (left, right) = (self.evaluate(left), self.evaluate(right));
                Value::Bool(left.compares(*how, &right))
            }
            Expression::Match(text, how, pattern) => {
                let (text, pattern) = (self.evaluate(text), self.evaluate(pattern));
                Value::Bool(self.matches(&text, *how, &pattern))
            }
            Expression::Arithmetic(left, sign, right) => {
                let (left, right) = (self.evaluate(left), self.evaluate(right));
                self.arithmetic(&left, *sign, &right)
            }
        }
    }

    fn range(&mut self, first: &Expression, last: &Expression) -> Value {
        let (first, last) = (self.evaluate(first).number(), self.evaluate(last).number());
        let (Some(first), Some(last)) = (first, last) else {
            return Value::Undefined;
        };
        let items: Vec<Value> = match first <= last {
            true => (first..=last).take(ITEMS_MAX).map(Value::Number).collect(),
            false => (last..=first)
                .rev()
                .take(ITEMS_MAX)
                .map(Value::Number)
                .collect(),
        };
        self.spend(items.len() as u64);
        Value::List(items)
    }

    fn variable(&self, name: &str, key: Option<&str>) -> Value {
        if name == "MATCHES"
            && let Some(captures) = &self.matches
        {
            return key.map_or_else(|| captures.clone(), |key| part_of(captures, key));
        }
        if name == "ARGS"
            && let Some(arguments) = self.arguments.last()
        {
            let index = key.and_then(|key| key.parse::<usize>().ok());
            return match index {
                Some(index) => arguments.get(index).cloned().unwrap_or(Value::Undefined),
                None => Value::List(arguments.clone()),
            };
        }
        match (self.variables.get(name), key) {
            (Some(value), None) => value.clone(),
            (Some(value), Some(key)) => part_of(value, key),
            (None, key) => of_request(&self.asked, name, key).unwrap_or(Value::Undefined),
        }
    }

    /// Sets a key of a dictionary, unless the steps are used up.
    pub(super) fn put(&mut self, entries: &mut Vec<(String, Value)>, key: String, value: Value) {
        if !self.spend(1 + entries.len() as u64 / 256) {
            return;
        }
        match entries.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = value,
            None => entries.push((key, value)),
        }
    }

    /// Whether a regular expression matches. What it captures is kept as `MATCHES`.
    fn matches(&mut self, text: &Value, how: Pattern, pattern: &Value) -> bool {
        if *text == Value::Undefined {
            return false;
        }
        let author = text.author();
        let (text, pattern) = (text.text(), pattern.text());
        let Some(pattern) = patterns::written(&pattern, how) else {
            return false;
        };
        let is_new = !self.patterns.knows(&pattern);
        let steps = 1 + text.len() as u64 / 64 + if is_new { COMPILING } else { 0 };
        if !self.spend(steps) {
            return false;
        }
        let Some(captures) = self.patterns.search(pattern, text.as_bytes()) else {
            return false;
        };
        let captures = captures.into_iter().map(|capture| match capture {
            Some(text) => Value::Text(text, author),
            None => Value::Undefined,
        });
        self.matches = Some(Value::List(captures.collect()));
        true
    }

    /// Adds numbers and lists; texts are joined.
    fn arithmetic(&mut self, left: &Value, sign: u8, right: &Value) -> Value {
        if let (Some(left), Some(right)) = (left.number(), right.number()) {
            let number = match sign {
                b'+' => left.checked_add(right),
                b'-' => left.checked_sub(right),
                b'*' => left.checked_mul(right),
                b'/' => left.checked_div(right),
                _ => left.checked_rem(right),
            };
            return number.map_or(Value::Undefined, Value::Number);
        }
        if sign != b'+' {
            return Value::Undefined;
        }
        if let (Value::List(left), Value::List(right)) = (left, right) {
            return self.bounded(Value::List([&left[..], right].concat()));
        }
        let text = left.text() + &right.text();
        self.bounded(Value::Text(text, left.author().max(right.author())))
    }

    /// The value, unless it has grown beyond what a value may be.
    pub(super) fn bounded(&mut self, value: Value) -> Value {
        let len = weight(&value);
        match len <= self.limits.value_bytes && self.spend(len as u64 / 256) {
            true => value,
            false => Value::Undefined,
        }
    }

    fn call(&mut self, name: &str, arguments: Vec<Value>) -> Value {
        if let Some(body) = self.functions.get(name).cloned() {
            return self.call_own(body, arguments);
        }
        let text = |index: usize| arguments.get(index).map(Value::text).unwrap_or_default();
        let change = match name {
            "add_header" => {
                let (name, value) = (
                    text(0).parse::<HeaderName>(),
                    HeaderValue::try_from(text(1)),
                );
                name.ok()
                    .zip(value.ok())
                    .map(|(n, v)| HeadChange::Add(n, v))
            }
            "rand" => {
                return self
                    .draw(arguments.first())
                    .map_or(Value::Undefined, Value::Number);
            }
            "last_rand" => return self.last_chance.map_or(Value::Undefined, Value::Number),
            "set_response_code" => text(0).parse::<StatusCode>().ok().map(HeadChange::Status),
            "set_redirect" => HeaderValue::try_from(text(0))
                .ok()
                .map(HeadChange::Redirect),
            _ => {
                let size: usize = arguments.iter().map(weight).sum();
                if !self.spend(size as u64 / 256) {
                    return Value::Undefined;
                }
                let value = functions::call(name, &arguments, self.asked.unix_seconds);
                return self.bounded(value.unwrap_or(Value::Undefined));
            }
        };
        // a reader's line would be a header that the site did not mean
        let is_own = arguments.iter().all(|a| a.author() == Author::Site);
        if let Some(change) = change.filter(|_| is_own) {
            let body = match change {
                HeadChange::Status(_) => arguments.get(1).map(Value::text),
                HeadChange::Add(..)
                | HeadChange::Set(..)
                | HeadChange::Redirect(_)
                | HeadChange::Body(_) => None,
            };
            self.push(Piece::Head(change));
            if let Some(body) = body {
                self.push(Piece::Head(HeadChange::Body(body.into())));
            }
        }
        Value::Undefined
    }

    /// A number from 0 on, below the bound.
    fn draw(&mut self, bound: Option<&Value>) -> Option<i64> {
        let bound = bound.map_or(Some(CHANCES), Value::number);
        let bound = bound.filter(|bound| *bound > 0)?;
        // splitmix64
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.chance ^ (self.chance >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let number = i64::try_from((mixed ^ (mixed >> 31)) % bound.unsigned_abs()).ok()?;
        self.last_chance = Some(number);
        Some(number)
    }

    fn call_own(&mut self, body: Bytes, arguments: Vec<Value>) -> Value {
        if self.arguments.len() >= CALLS_MAX || !self.spend(8) {
            return Value::Undefined;
        }
        self.arguments.push(arguments);
        let value = self.run_apart(body);
        self.arguments.pop();
        value
    }
}

/// Functions that call one another; each call takes some of the stack.
const CALLS_MAX: usize = 8;

/// What `rand` gives is below this, as with Akamai.
const CHANCES: i64 = 100_000_000;

/// Steps that it takes to compile a regular expression.
const COMPILING: u64 = 1000;

/// What a value holds under a key, or at an index.
fn part_of(value: &Value, key: &str) -> Value {
    match value {
        Value::List(items) => {
            let index = key.parse::<usize>().ok();
            let item = index.and_then(|index| items.get(index));
            item.cloned().unwrap_or(Value::Undefined)
        }
        Value::Dictionary(entries) => {
            let found = entries.iter().find(|(known, _)| known == key);
            found.map_or(Value::Undefined, |(_, value)| value.clone())
        }
        Value::Text(query, Author::ReaderQuery) => value_in_query(query, key),
        Value::Undefined | Value::Bool(_) | Value::Number(_) | Value::Text(..) => Value::Undefined,
    }
}

fn weight(value: &Value) -> usize {
    match value {
        Value::Text(text, _) => text.len(),
        Value::List(items) => items.iter().map(weight).sum::<usize>() + items.len(),
        Value::Dictionary(entries) => {
            let weights = entries.iter().map(|(key, value)| key.len() + weight(value));
            weights.sum::<usize>() + entries.len()
        }
        Value::Undefined | Value::Bool(_) | Value::Number(_) => 1,
    }
}

/// How long a variable or a call is.
enum Length {
    Of(usize),
    /// It is neither.
    None,
    /// It is never closed, and so is nothing after it.
    Endless,
}

fn variable_len(text: &str) -> Length {
    let bytes = text.as_bytes();
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    let name = bytes[1..].iter().take_while(|b| is_name(b)).count();
    if bytes.get(1 + name) != Some(&b'(') {
        return Length::None;
    }
    let (mut depth, mut quoted, mut after_backslash) = (0, false, false);
    for (at, byte) in bytes.iter().enumerate().skip(1 + name) {
        if after_backslash {
            after_backslash = false;
            continue;
        }
        match byte {
            b'\\' if quoted => after_backslash = true,
            b'\'' => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Length::Of(at + 1);
        }
    }
    Length::Endless
}
