//! Bytes as they arrive → the tokens of ESI. Owns where a tag, a variable, a comment begins and ends;
//! knows nothing of what they mean.
//!
//! Comments and CDATA sections of HTML are text, whatever is in them; `<!--esi` and the `-->` that
//! belongs to it vanish. An ESI tag that is broken, or that never ends, vanishes too: no browser is
//! to see it.
//!
//! Invariants: each byte is looked at a bounded number of times however the chunks are cut, for an
//! unfinished token remembers how far it was read; text is given as slices of the chunks.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::layout::markup::work::Work;
use crate::layout::markup::{Kept, Limits, Tape, Tokens};

/// What a document is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// Everything that is not ESI.
    Text(Bytes),
    /// `<esi:name …>` or `<esi:name …/>`.
    Open(Arc<Tag>),
    /// `</esi:name>`.
    Close { name: Name, raw: Bytes },
    /// `$(…)` or `$name(…)`, where variables are read.
    Variable(Bytes),
    /// The next chunk is needed.
    More,
    /// There is no more.
    End,
}

/// What an element is called: those of ESI itself are not copied.
pub(super) type Name = Cow<'static, str>;

/// A start tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag {
    /// Without `esi:`.
    pub(super) name: Name,
    /// Names and values; the entities of XML in the values are replaced.
    pub(super) attributes: Vec<(String, String)>,
    /// Whether it ends in `/>`.
    pub(super) is_empty: bool,
    /// As it was written.
    pub(super) raw: Bytes,
    /// Where it begins in the document.
    pub(super) offset: u64,
}

impl Tag {
    /// The value of an attribute.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Kept for Token {
    fn heap(&self, apart: impl Fn(&Bytes) -> usize) -> usize {
        match self {
            Self::Text(text) | Self::Variable(text) => apart(text),
            Self::Close { name, raw } => name.len() + apart(raw),
            Self::Open(tag) => {
                let pair = |(name, value): &(String, String)| name.len() + value.len();
                let attributes = tag.attributes.iter();
                size_of::<Tag>()
                    + tag.name.len()
                    + size_of_val(&tag.attributes[..])
                    + attributes.map(pair).sum::<usize>()
                    + apart(&tag.raw)
            }
            Self::More | Self::End => 0,
        }
    }
}

/// Reads tokens from chunks.
pub(super) struct Lexer {
    /// Fed, and not begun.
    chunks: VecDeque<Bytes>,
    /// What is being read.
    buffer: Bytes,
    /// A token whose end has not come; nothing is in `buffer` then.
    unfinished: BytesMut,
    /// How far the token at the start of `buffer` was looked at already.
    scan: Scan,
    /// How many bytes lie before `buffer`.
    offset: u64,
    /// There are no variables before this byte of the document: one began that has no end.
    plain_until: u64,
    /// `<!--esi` that are open.
    wrappers: usize,
    /// The end of the comment or the section that is being read.
    opaque: Option<&'static [u8]>,
    is_finished: bool,
    token_max: usize,
    tape: Tape<Token>,
    pub(super) work: Work,
}

/// How far a token was looked at.
#[derive(Debug, Clone, Copy, Default)]
struct Scan {
    at: usize,
    quote: Option<u8>,
    after_equals: bool,
    after_backslash: bool,
    parentheses: usize,
}

/// What stands at an interesting byte.
enum Found {
    /// So many bytes of text after all.
    Text(usize),
    /// The rest of it has not come.
    Partial(Scan),
    /// A tag of this length.
    Tag(usize),
    /// A tag of this length that cannot be read.
    Broken(usize),
    /// A variable of this length.
    Variable(usize),
    /// The start of a variable that does not end within so many bytes: tags among them are tags.
    Unended(usize),
    /// `<!--esi`, or its end.
    Wrapper { opens: bool },
    /// The start of what is text up to this mark.
    Opaque { start: usize, mark: &'static [u8] },
}

const WRAPPER: &[u8] = b"<!--esi";
const COMMENT: &[u8] = b"<!--";
const COMMENT_END: &[u8] = b"-->";
const SECTION: &[u8] = b"<![CDATA[";
const SECTION_END: &[u8] = b"]]>";
const OPEN: &[u8] = b"<esi:";
const CLOSE: &[u8] = b"</esi:";

impl Lexer {
    /// A reader of tokens of at most so many bytes.
    pub(super) fn new(token_max: usize) -> Self {
        Self {
            chunks: VecDeque::new(),
            buffer: Bytes::new(),
            unfinished: BytesMut::new(),
            scan: Scan::default(),
            offset: 0,
            plain_until: 0,
            wrappers: 0,
            opaque: None,
            is_finished: false,
            token_max,
            tape: Tape::None,
            work: Work::default(),
        }
    }

    /// The same for a document that is here.
    pub(super) fn whole(text: Bytes, token_max: usize) -> Self {
        let mut lexer = Self::new(token_max);
        lexer.feed(text);
        lexer.finish();
        lexer
    }

    /// Takes a document that is here, in the place of all that is fed.
    pub(super) fn take_whole(&mut self, text: Bytes, tokens: &Arc<Tokens>, limits: Limits) {
        self.tape = Tape::of(&text, tokens, limits);
        if !self.tape.is_played() {
            self.feed(text);
        }
        self.finish();
    }

    pub(super) fn feed(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.chunks.push_back(chunk);
        }
    }

    pub(super) fn finish(&mut self) {
        self.is_finished = true;
    }

    /// The next token; variables are told from text only where they are read, which may not depend on
    /// anything but the tokens before.
    pub(super) fn next(&mut self, reads_variables: bool) -> Token {
        if self.tape.is_played() {
            return self.tape.play().unwrap_or(Token::End);
        }
        let token = self.read(reads_variables);
        match token {
            Token::More => {}
            Token::End => self.tape.end(),
            Token::Text(_) | Token::Open(_) | Token::Close { .. } | Token::Variable(_) => {
                self.tape.record(&token);
            }
        }
        token
    }

    fn read(&mut self, reads_variables: bool) -> Token {
        loop {
            if let Some(token) = self.refill() {
                return token;
            }
            if let Some(mark) = self.opaque {
                if let Some(text) = self.until(mark) {
                    return Token::Text(text);
                }
                continue;
            }
            if let Some(token) = self.token(reads_variables) {
                return token;
            }
        }
    }

    /// Sees to it that there is something to read.
    fn refill(&mut self) -> Option<Token> {
        if !self.buffer.is_empty() {
            return None;
        }
        match self.chunks.pop_front() {
            Some(chunk) if self.unfinished.is_empty() => {
                self.buffer = chunk;
                self.scan = Scan::default();
            }
            Some(chunk) => {
                self.unfinished.extend_from_slice(&chunk);
                self.buffer = std::mem::take(&mut self.unfinished).freeze();
            }
            None if !self.is_finished => return Some(Token::More),
            None if self.unfinished.is_empty() => return Some(Token::End),
            None => self.buffer = std::mem::take(&mut self.unfinished).freeze(),
        }
        None
    }

    /// Whether nothing comes after the buffer.
    fn is_last(&self) -> bool {
        self.is_finished && self.chunks.is_empty()
    }

    fn take(&mut self, len: usize) -> Bytes {
        self.offset += len as u64;
        self.scan = Scan::default();
        self.buffer.split_to(len)
    }

    /// Keeps what is in the buffer until more has come; copied once, where it is a part of a chunk.
    fn hold(&mut self, scan: Scan) {
        self.scan = scan;
        self.unfinished = match std::mem::take(&mut self.buffer).try_into_mut() {
            Ok(same) => {
                self.work.looks_at(1);
                same
            }
            Err(shared) => {
                self.work.looks_at(shared.len());
                BytesMut::from(&shared[..])
            }
        };
    }

    /// Text up to the end of what is opaque, or as far as it has come.
    fn until(&mut self, mark: &'static [u8]) -> Option<Bytes> {
        if let Some(at) = memchr::memmem::find(&self.buffer, mark) {
            self.opaque = None;
            return Some(self.take(at + mark.len()));
        }
        let part = match self.is_last() {
            true => 0,
            false => partial_suffix(&self.buffer, mark),
        };
        let len = self.buffer.len() - part;
        if len > 0 {
            return Some(self.take(len));
        }
        self.hold(Scan::default());
        None
    }

    /// The token at the start of the buffer, or the text before the first one.
    fn token(&mut self, reads_variables: bool) -> Option<Token> {
        let mut at = 0;
        loop {
            let rest = &self.buffer[at..];
            let Some(found) = interesting(rest, reads_variables, self.wrappers > 0) else {
                let len = self.buffer.len();
                return Some(Token::Text(self.take(len)));
            };
            at += found;
            if self.buffer[at] == b'$' && self.offset + (at as u64) < self.plain_until {
                at += 1;
                continue;
            }
            let scan = if at == 0 { self.scan } else { Scan::default() };
            let found = self.classify(&self.buffer[at..], scan);
            let is_text = matches!(
                found,
                Found::Text(_) | Found::Opaque { .. } | Found::Unended(_)
            );
            if at > 0 && !is_text {
                return Some(Token::Text(self.take(at)));
            }
            match found {
                Found::Text(len) => at += len,
                Found::Opaque { start, mark } => {
                    self.opaque = Some(mark);
                    return Some(Token::Text(self.take(at + start)));
                }
                Found::Partial(scan) => {
                    self.hold(scan);
                    return None;
                }
                Found::Broken(len) => {
                    self.take(len);
                    return None;
                }
                Found::Tag(len) => {
                    let offset = self.offset;
                    let raw = self.take(len);
                    return Some(tag(raw, offset));
                }
                Found::Variable(len) => return Some(Token::Variable(self.take(len))),
                Found::Unended(len) => {
                    self.plain_until = self.offset + (at + len) as u64;
                    at += 1;
                }
                Found::Wrapper { opens: true } => {
                    self.wrappers += 1;
                    self.take(WRAPPER.len());
                    return None;
                }
                Found::Wrapper { opens: false } => {
                    self.wrappers -= 1;
                    self.take(COMMENT_END.len());
                    return None;
                }
            }
        }
    }

    fn classify(&self, rest: &[u8], scan: Scan) -> Found {
        self.work.looks_at(8);
        match rest[0] {
            b'<' => self.classify_angle(rest, scan),
            b'$' => self.variable(rest, scan),
            _ if rest.starts_with(COMMENT_END) => Found::Wrapper { opens: false },
            _ if self.may_become(rest, COMMENT_END) => Found::Partial(Scan::default()),
            _ => Found::Text(1),
        }
    }

    fn classify_angle(&self, rest: &[u8], scan: Scan) -> Found {
        // most tags of a page are none of ours
        if rest.get(1).is_some_and(|second| !b"e/!".contains(second)) {
            return Found::Text(1);
        }
        if rest.starts_with(OPEN) {
            return self.tag_end(rest, OPEN.len(), scan);
        }
        if rest.starts_with(CLOSE) {
            return self.tag_end(rest, CLOSE.len(), scan);
        }
        if rest.starts_with(WRAPPER) {
            return Found::Wrapper { opens: true };
        }
        let marks: [&[u8]; 4] = [OPEN, CLOSE, WRAPPER, SECTION];
        if marks.iter().any(|mark| self.may_become(rest, mark)) {
            return Found::Partial(Scan::default());
        }
        if rest.starts_with(COMMENT) {
            let (start, mark) = (COMMENT.len(), COMMENT_END);
            return Found::Opaque { start, mark };
        }
        if rest.starts_with(SECTION) {
            let (start, mark) = (SECTION.len(), SECTION_END);
            return Found::Opaque { start, mark };
        }
        Found::Text(1)
    }

    /// Whether these bytes, which are the last ones for now, may be the start of `mark`.
    fn may_become(&self, rest: &[u8], mark: &[u8]) -> bool {
        rest.len() < mark.len() && mark.starts_with(rest) && !self.is_last()
    }

    /// A tag that has no end by the document's, or by the longest that it may be, is broken.
    fn tag_end(&self, rest: &[u8], from: usize, mut scan: Scan) -> Found {
        scan.at = scan.at.max(from);
        while scan.at < self.token_max
            && let Some(&byte) = rest.get(scan.at)
        {
            match (scan.quote, byte) {
                (Some(quote), _) if byte == quote => scan.quote = None,
                (Some(_), _) => {}
                (None, b'>') => return Found::Tag(scan.at + 1),
                // the tag before was never ended
                (None, b'<') => return Found::Broken(scan.at),
                (None, b'"' | b'\'') if scan.after_equals => scan.quote = Some(byte),
                (None, _) => {}
            }
            self.work.looks_at(1);
            if !byte.is_ascii_whitespace() {
                scan.after_equals = byte == b'=';
            }
            scan.at += 1;
        }
        match scan.at >= self.token_max || self.is_last() {
            true => Found::Broken(scan.at),
            false => Found::Partial(scan),
        }
    }

    fn variable(&self, rest: &[u8], mut scan: Scan) -> Found {
        if scan.at == 0 {
            let is_name = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
            let name = rest[1..].iter().take_while(|b| is_name(b)).count();
            match rest.get(1 + name) {
                Some(b'(') if name <= NAME_MAX => scan.at = 2 + name,
                None if name <= NAME_MAX && !self.is_last() => return Found::Partial(scan),
                Some(_) | None => return Found::Text(1),
            }
            scan.parentheses = 1;
        }
        while scan.at < VARIABLE_MAX
            && let Some(&byte) = rest.get(scan.at)
        {
            self.work.looks_at(1);
            scan.at += 1;
            if scan.after_backslash {
                scan.after_backslash = false;
                continue;
            }
            match (scan.quote, byte) {
                (Some(quote), _) if byte == quote => scan.quote = None,
                (Some(_), _) => scan.after_backslash = byte == b'\\',
                (None, b'\'') => scan.quote = Some(byte),
                (None, b'(') => scan.parentheses += 1,
                (None, b')') => scan.parentheses -= 1,
                // no variable goes on into a tag
                (None, b'<') => return Found::Text(scan.at - 1),
                (None, _) => {}
            }
            if scan.parentheses == 0 {
                return Found::Variable(scan.at);
            }
        }
        match scan.at >= VARIABLE_MAX || self.is_last() {
            true => Found::Unended(scan.at),
            false => Found::Partial(scan),
        }
    }
}

/// Longest name of a variable or a function.
const NAME_MAX: usize = 64;

/// Longest variable, from its `$` to the last parenthesis. In what is longer there is no other one up to
/// here: were each `$(` of it looked at to its end, a long document of them would take for ever.
const VARIABLE_MAX: usize = 4096;

fn interesting(rest: &[u8], reads_variables: bool, in_wrapper: bool) -> Option<usize> {
    match (reads_variables, in_wrapper) {
        (false, false) => memchr::memchr(b'<', rest),
        (false, true) => memchr::memchr2(b'<', b'-', rest),
        (true, false) => memchr::memchr2(b'<', b'$', rest),
        (true, true) => memchr::memchr3(b'<', b'$', b'-', rest),
    }
}

/// How many bytes at the end of `text` may be the start of `mark`.
fn partial_suffix(text: &[u8], mark: &[u8]) -> usize {
    let longest = (mark.len() - 1).min(text.len());
    let is_start = |len: &usize| mark.starts_with(&text[text.len() - len..]);
    (1..=longest).rev().find(is_start).unwrap_or(0)
}

fn tag(raw: Bytes, offset: u64) -> Token {
    let is_close = raw.starts_with(CLOSE);
    let from = if is_close { CLOSE.len() } else { OPEN.len() };
    let inside = &raw[from..raw.len() - 1];
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let len = inside.iter().take_while(|b| is_name(b)).count();
    let name = name(&inside[..len]);
    if is_close {
        return Token::Close { name, raw };
    }
    let inside = &inside[len..];
    let trimmed = inside.trim_ascii_end();
    let is_empty = trimmed.ends_with(b"/");
    let inside = trimmed.strip_suffix(b"/").unwrap_or(trimmed);
    let attributes = attributes(inside);
    Token::Open(Arc::new(Tag {
        name,
        attributes,
        is_empty,
        raw,
        offset,
    }))
}

/// The elements of ESI, and those that Akamai and Fastly have added.
const NAMES: [&str; 21] = [
    "include",
    "vars",
    "try",
    "attempt",
    "except",
    "choose",
    "when",
    "otherwise",
    "remove",
    "comment",
    "inline",
    "text",
    "assign",
    "eval",
    "foreach",
    "function",
    "break",
    "return",
    "param",
    "debug",
    "dictionary",
];

fn name(written: &[u8]) -> Name {
    let known = NAMES.iter().find(|name| name.as_bytes() == written);
    known.map_or_else(
        || String::from_utf8_lossy(written).into_owned().into(),
        |name| Cow::Borrowed(*name),
    )
}

/// Names and values, as they were meant: what cannot be an attribute is passed over.
fn attributes(mut rest: &[u8]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_ascii_start();
        let end = rest
            .iter()
            .position(|b| b.is_ascii_whitespace() || *b == b'=');
        let name = &rest[..end.unwrap_or(rest.len())];
        if rest.is_empty() {
            return found;
        }
        rest = rest[name.len()..].trim_ascii_start();
        let Some(after) = rest.strip_prefix(b"=") else {
            continue;
        };
        let after = after.trim_ascii_start();
        let value;
        (value, rest) = match after.first() {
            Some(quote @ (b'"' | b'\'')) => {
                let text = &after[1..];
                let end = memchr::memchr(*quote, text).unwrap_or(text.len());
                (&text[..end], text.get(end + 1..).unwrap_or_default())
            }
            Some(_) | None => {
                let end = after.iter().position(u8::is_ascii_whitespace);
                after.split_at(end.unwrap_or(after.len()))
            }
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if !name.is_empty() {
            found.push((text(name), replace_entities(&text(value))));
        }
    }
}

/// The five entities of XML and references by number; anything else stays as it is.
fn replace_entities(text: &str) -> String {
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        replaced.push_str(before);
        let end = after.bytes().take(ENTITY_MAX).position(|b| b == b';');
        let found = end.and_then(|end| Some((entity(&after[..end])?, end)));
        rest = match found {
            Some((character, end)) => {
                replaced.push(character);
                &after[end + 1..]
            }
            None => {
                replaced.push('&');
                after
            }
        };
    }
    replaced + rest
}

/// `#x10FFFF` with some zeros in front.
const ENTITY_MAX: usize = 16;

fn entity(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let number = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => number.parse(),
            };
            char::from_u32(number.ok()?)
        }
    }
}
