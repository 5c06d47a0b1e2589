//! HTML → text and the tags that matter to a template. Owns where tags, comments and raw text begin and
//! end, as HTML has it, and what their attributes are; knows not what a tag is for.
//!
//! Invariants: each byte is looked at once, wherever chunks end; all tokens together are the document,
//! byte for byte; they are slices of it, except for a tag that chunks cut.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::layout::markup::Kept;
use crate::layout::markup::work::Work;

/// Elements whose content is text for a browser, so that no tag in it is one.
const RAW: [&[u8]; 9] = [
    b"script",
    b"style",
    b"textarea",
    b"title",
    b"iframe",
    b"xmp",
    b"noembed",
    b"noframes",
    b"noscript",
];

/// The other tags that are told.
const TOLD: [&[u8]; 7] = [
    b"fragment",
    b"/fragment",
    b"slot",
    b"/slot",
    b"template",
    b"/template",
    b"/body",
];

/// What a document consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Text(Bytes),
    Tag(Arc<Tag>),
}

/// A tag that matters, from `<` to `>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag {
    /// In small letters, with the slash of an end tag.
    pub name: Vec<u8>,
    /// All of it, as it is written.
    pub text: Bytes,
    /// Names in small letters, and values with their character references resolved.
    pub attributes: Vec<(String, String)>,
    /// Where it begins in the document.
    pub offset: u64,
}

impl Kept for Token {
    fn heap(&self, apart: impl Fn(&Bytes) -> usize) -> usize {
        match self {
            Self::Text(text) => apart(text),
            Self::Tag(tag) => {
                let pair = |(name, value): &(String, String)| name.len() + value.len();
                let attributes = tag.attributes.iter();
                size_of::<Tag>()
                    + tag.name.len()
                    + size_of_val(&tag.attributes[..])
                    + attributes.map(pair).sum::<usize>()
                    + apart(&tag.text)
            }
        }
    }
}

/// Where in the document the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum At {
    #[default]
    Text,
    /// In the content of a raw element, by its index.
    Raw(usize),
    /// In the name of a tag; in a raw element only its end tag is one.
    Name(Option<usize>),
    /// In the rest of a tag that matters.
    Inside(Inside),
    /// In a comment, after so many dashes; three stand for `--!`.
    Comment(u8),
}

/// Where in a tag, after its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    Between,
    Name,
    AfterName,
    BeforeValue,
    Quoted(u8),
    Unquoted,
}

impl Inside {
    /// After one more byte; `None` after the `>` of the tag.
    fn step(self, byte: u8) -> Option<Self> {
        let is_blank = is_blank(byte);
        Some(match (self, byte) {
            (Self::Quoted(quote), _) if quote == byte => Self::Between,
            (Self::Quoted(quote), _) => Self::Quoted(quote),
            (_, b'>') => return None,
            (Self::Unquoted, _) if is_blank => Self::Between,
            (Self::Unquoted, _) => Self::Unquoted,
            (Self::BeforeValue, _) if is_blank => Self::BeforeValue,
            (Self::BeforeValue, b'"' | b'\'') => Self::Quoted(byte),
            (Self::BeforeValue, _) => Self::Unquoted,
            (_, b'/') => Self::Between,
            (Self::Name | Self::AfterName, b'=') => Self::BeforeValue,
            (Self::Name | Self::AfterName, _) if is_blank => Self::AfterName,
            (Self::Between, _) if is_blank => Self::Between,
            (Self::Between | Self::Name | Self::AfterName, _) => Self::Name,
        })
    }
}

/// Reads a document chunk by chunk.
#[derive(Debug)]
pub(super) struct Reader {
    at: At,
    /// The name of the tag being read.
    name: Vec<u8>,
    /// The tag being read, as far as it was in earlier chunks.
    held: Vec<u8>,
    /// What comes after the text that was given last.
    pending: Option<Token>,
    /// How many bytes have been read.
    read: u64,
    /// The longest tag that is one, in bytes.
    tag_bytes_max: usize,
    pub(super) work: Work,
}

impl Reader {
    pub(super) fn new(tag_bytes_max: usize) -> Self {
        Self {
            at: At::Text,
            name: Vec::new(),
            held: Vec::new(),
            pending: None,
            read: 0,
            tag_bytes_max,
            work: Work::default(),
        }
    }

    /// The next token of the chunk, of which the front is taken off; `None` when it is used up.
    pub(super) fn next(&mut self, chunk: &mut Bytes) -> Option<Token> {
        if let Some(token) = self.pending.take() {
            return Some(token);
        }
        // where in this chunk the tag being read begins, if it does
        let mut open = None;
        let mut at = 0;
        while at < chunk.len() {
            self.work.looks_at(1);
            let byte = chunk[at];
            let then = match self.at {
                At::Text | At::Raw(_) => {
                    let Some(angle) = memchr::memchr(b'<', &chunk[at..]) else {
                        self.work.looks_at(chunk.len() - at);
                        break;
                    };
                    self.work.looks_at(angle);
                    at += angle;
                    open = Some(at);
                    self.begin()
                }
                At::Name(element) => self.in_name(element, byte),
                At::Inside(inside) => match inside.step(byte) {
                    None => return Some(self.tag(chunk, open, at + 1)),
                    Some(inside) => {
                        let len = self.held.len() + at - open.unwrap_or(0);
                        self.in_tag(inside, len)
                    }
                },
                At::Comment(dashes) => {
                    self.at = in_comment(dashes, byte);
                    Then::GoOn
                }
            };
            match then {
                Then::GoOn => at += 1,
                Then::ReadAgain => {}
                Then::IsText => {
                    open = None;
                    if !self.held.is_empty() {
                        return self.used_up(chunk, at);
                    }
                }
            }
        }
        let text_len = match open {
            Some(open) => open,
            None if self.held.is_empty() => chunk.len(),
            None => 0,
        };
        let text = self.text(chunk, text_len);
        self.hold(chunk);
        let rest = chunk.len();
        self.advance(chunk, rest);
        text
    }

    /// What was held back at the end of the document: a tag that does not end.
    pub(super) fn finish(&mut self) -> Option<Token> {
        let held = std::mem::take(&mut self.held);
        (!held.is_empty()).then(|| Token::Text(held.into()))
    }

    fn hold(&mut self, bytes: &[u8]) {
        self.work.looks_at(bytes.len());
        self.held.extend_from_slice(bytes);
    }

    fn advance(&mut self, chunk: &mut Bytes, by: usize) {
        chunk.advance(by);
        self.read += by as u64;
    }

    /// The front of the chunk as text.
    fn text(&mut self, chunk: &mut Bytes, len: usize) -> Option<Token> {
        let text = chunk.slice(..len);
        self.advance(chunk, len);
        (!text.is_empty()).then_some(Token::Text(text))
    }

    /// What was held of a tag that is none, with the front of the chunk, as text.
    fn used_up(&mut self, chunk: &mut Bytes, len: usize) -> Option<Token> {
        self.hold(&chunk[..len]);
        self.advance(chunk, len);
        self.finish()
    }

    fn begin(&mut self) -> Then {
        self.name.clear();
        self.at = match self.at {
            At::Raw(element) => At::Name(Some(element)),
            At::Text | At::Name(_) | At::Inside(_) | At::Comment(_) => At::Name(None),
        };
        Then::GoOn
    }

    fn in_name(&mut self, element: Option<usize>, byte: u8) -> Then {
        // most tags of a page are none of ours, and nor is what follows most of what is no tag
        let is_first = self.name.is_empty() && element.is_none();
        if is_first && !b"/!".contains(&byte) && !may_be_told(byte.to_ascii_lowercase()) {
            self.at = At::Text;
            return Then::IsText;
        }
        let is_end = is_blank(byte) || byte == b'>' || (byte == b'/' && !self.name.is_empty());
        if is_end && self.is_told(element, |told, name| told == name) {
            self.at = At::Inside(Inside::Between);
            return Then::ReadAgain;
        }
        self.name.push(byte.to_ascii_lowercase());
        if element.is_none() && self.name == b"!--" {
            // `<!-->` is a whole comment
            self.at = At::Comment(2);
            return Then::IsText;
        }
        let is_comment = element.is_none() && b"!--".starts_with(&self.name);
        if !is_end && (is_comment || self.is_told(element, <[u8]>::starts_with)) {
            return Then::GoOn;
        }
        self.at = element.map_or(At::Text, At::Raw);
        Then::IsText
    }

    /// Whether the name is that of a tag that is told, or may become it.
    fn is_told(&self, element: Option<usize>, is: impl Fn(&[u8], &[u8]) -> bool) -> bool {
        match element {
            None => {
                let first = self.name.first();
                let told = TOLD.iter().chain(&RAW);
                told.filter(|told| told.first() == first)
                    .any(|told| is(told, &self.name))
            }
            Some(element) => match self.name.strip_prefix(b"/") {
                Some(name) => is(RAW[element], name),
                None => is(b"/", &self.name),
            },
        }
    }

    /// After a byte that does not end the tag, and so many before it.
    fn in_tag(&mut self, inside: Inside, len: usize) -> Then {
        let shortest = len + b"x>".len();
        if shortest <= self.tag_bytes_max {
            self.at = At::Inside(inside);
            return Then::GoOn;
        }
        self.at = At::Text;
        Then::IsText
    }

    /// The tag that ends before `end`, or the text before it.
    fn tag(&mut self, chunk: &mut Bytes, open: Option<usize>, end: usize) -> Token {
        let before = open.and_then(|open| self.text(chunk, open));
        let offset = self.read - self.held.len() as u64;
        let rest = end - open.unwrap_or(0);
        let text = if self.held.is_empty() {
            chunk.slice(..rest)
        } else {
            self.hold(&chunk[..rest]);
            std::mem::take(&mut self.held).into()
        };
        self.advance(chunk, rest);
        let raw = RAW.iter().position(|name| **name == self.name[..]);
        self.at = raw.map_or(At::Text, At::Raw);
        let name = std::mem::take(&mut self.name);
        let inside = text.get(1 + name.len()..).unwrap_or_default();
        let tag = Token::Tag(Arc::new(Tag {
            attributes: attributes(inside),
            name,
            text,
            offset,
        }));
        match before {
            None => tag,
            Some(before) => {
                self.pending = Some(tag);
                before
            }
        }
    }
}

/// Whether the name of a tag that is told begins like this.
fn may_be_told(first: u8) -> bool {
    let told = TOLD.iter().chain(&RAW);
    told.map(|name| name[0]).any(|known| known == first)
}

/// What follows from a byte.
enum Then {
    GoOn,
    /// The same byte is to be read again.
    ReadAgain,
    /// It is to be read again, and all from the last `<` on is text.
    IsText,
}

fn in_comment(dashes: u8, byte: u8) -> At {
    match (dashes, byte) {
        (2.., b'>') => At::Text,
        (2, b'!') => At::Comment(3),
        (1 | 2, b'-') => At::Comment(2),
        (_, b'-') => At::Comment(1),
        _ => At::Comment(0),
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0c)
}

/// What stands between the name of a tag and its end.
fn attributes(inside: &[u8]) -> Vec<(String, String)> {
    let mut attributes: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut at = Inside::Between;
    for &byte in inside {
        let Some(then) = at.step(byte) else { break };
        match (at, then) {
            (Inside::Name, Inside::Name) => {
                if let Some((name, _)) = attributes.last_mut() {
                    name.push(byte.to_ascii_lowercase());
                }
            }
            (_, Inside::Name) => attributes.push((vec![byte.to_ascii_lowercase()], Vec::new())),
            (Inside::BeforeValue, Inside::Quoted(_)) => {}
            (_, Inside::Quoted(_) | Inside::Unquoted) => {
                if let Some((_, value)) = attributes.last_mut() {
                    value.push(byte);
                }
            }
            _ => {}
        }
        at = then;
    }
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    attributes
        .into_iter()
        .map(|(name, value)| (text(name), without_references(&text(value))))
        .collect()
}

/// With the character references that addresses need resolved; others stay as they are.
fn without_references(text: &str) -> String {
    let mut resolved = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        resolved.push_str(&rest[..at]);
        rest = &rest[at..];
        match reference(rest) {
            Some((character, len)) => {
                resolved.push(character);
                rest = &rest[len..];
            }
            None => {
                resolved.push('&');
                rest = &rest[1..];
            }
        }
    }
    resolved.push_str(rest);
    resolved
}

/// The character reference at the front of the text, and its length.
fn reference(text: &str) -> Option<(char, usize)> {
    let end = text.bytes().take(12).position(|b| b == b';')?;
    let character = match &text[1..end] {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        number => {
            let number = number.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)?
        }
    };
    Some((character, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::markup::trial;
    use proptest::prelude::*;

    fn tokens<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> Vec<Token> {
        let mut reader = Reader::new(100);
        let mut tokens = Vec::new();
        for chunk in chunks {
            let mut chunk = Bytes::copy_from_slice(chunk);
            while let Some(token) = reader.next(&mut chunk) {
                tokens.push(token);
            }
            assert!(chunk.is_empty());
        }
        tokens.extend(reader.finish());
        tokens
    }

    /// Tags in brackets.
    fn shown(text: &str) -> String {
        let shown = tokens([text.as_bytes()])
            .into_iter()
            .map(|token| match token {
                Token::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
                Token::Tag(tag) => {
                    let (name, text) = (&tag.name[..], &tag.text[1..]);
                    assert!(text.to_ascii_lowercase().starts_with(name));
                    format!("[{}]", String::from_utf8(text.to_vec()).unwrap())
                }
            });
        shown.collect()
    }

    #[test]
    fn tags_that_matter_and_those_that_do_not() {
        for (text, is) in [
            (
                "a<fragment src=\"x\">b</fragment>c",
                "a[fragment src=\"x\">]b[/fragment>]c",
            ),
            ("<FRAGMENT/><fragment\n>", "[FRAGMENT/>][fragment\n>]"),
            (
                "<p><fragmented><frag><b></p>",
                "<p><fragmented><frag><b></p>",
            ),
            ("<<fragment>", "<[fragment>]"),
            (
                "<fragment a='>' b=\">\" c=it's>d",
                "[fragment a='>' b=\">\" c=it's>]d",
            ),
            ("<fragment a = '>'\"'\">d", "[fragment a = '>'\"'\">]d"),
            ("</fragment ></Body>", "[/fragment >][/Body>]"),
            ("< fragment></ fragment>", "< fragment></ fragment>"),
            ("<fragment", "<fragment"),
            ("a<fragment src=\">", "a<fragment src=\">"),
        ] {
            assert_eq!(shown(text), is, "{text}");
        }
        // the longest tag has a hundred bytes
        let with = |value: usize| format!("<fragment src=\"{}\">x", "y".repeat(value));
        assert_eq!(with(83).len(), 101);
        assert_eq!(shown(&with(83)), format!("[{}]x", &with(83)[1..100]));
        assert_eq!(shown(&with(84)), with(84));
    }

    #[test]
    fn what_is_text_for_a_browser_is_text_here() {
        for (text, is) in [
            (
                "<!-- <fragment> -- > <p> --><slot>",
                "<!-- <fragment> -- > <p> -->[slot>]",
            ),
            ("<!--><slot>", "<!-->[slot>]"),
            ("<!---><slot>", "<!--->[slot>]"),
            ("<!----><slot>", "<!---->[slot>]"),
            ("<!-- --!><slot>", "<!-- --!>[slot>]"),
            ("<!-- -- ><slot>", "<!-- -- ><slot>"),
            ("<!-<slot>", "<!-[slot>]"),
            ("<!doctype html><slot>", "<!doctype html>[slot>]"),
            (
                "<script><slot></scripts></script ><slot>",
                "[script>]<slot></scripts>[/script >][slot>]",
            ),
            (
                "<style><!-- </STYLE><slot>",
                "[style>]<!-- [/STYLE>][slot>]",
            ),
            (
                "<textarea></slot><</textarea>",
                "[textarea>]</slot><[/textarea>]",
            ),
            ("<title><slot></title>", "[title>]<slot>[/title>]"),
            (
                "<script></<script></script/>",
                "[script>]</<script>[/script/>]",
            ),
        ] {
            assert_eq!(shown(text), is, "{text}");
        }
    }

    #[test]
    fn attributes_in_any_dress() {
        let found = |text: &str| match &tokens([text.as_bytes()])[..] {
            [Token::Tag(tag)] => {
                let list = tag.attributes.clone();
                let list: Vec<_> = list
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                list.join("|")
            }
            other => panic!("{other:?}"),
        };
        for (text, is) in [
            (
                "<fragment SRC=\"/a?b&amp;c\" primary timeout=100 async='' />",
                "src=/a?b&amp;c|primary=|timeout=100|async=",
            ),
            ("<fragment src=/a/b/>", "src=/a/b/"),
            ("<fragment\n\tsrc\n=\n'x'primary>", "src=x|primary="),
            ("<fragment/primary/src=x>", "primary=|src=x"),
            ("<fragment =x a==b>", "=x=|a==b"),
            ("<fragment>", ""),
            (
                "<fragment a=\"&lt;&gt;&quot;&apos;&#65;&#x42;&amp;lt;&copy;&;&#x;&#1114112;& \">",
                "a=<>\"'AB&lt;&copy;&;&#x;&#1114112;& ",
            ),
        ] {
            assert_eq!(found(text), is.replace("b&amp;c", "b&c"), "{text}");
        }
    }

    /// Texts that follow one another as one.
    fn joined(tokens: Vec<Token>) -> Vec<Token> {
        trial::joined(tokens, |last, next| match (last, next) {
            (Token::Text(last), Token::Text(next)) => {
                *last = [&last[..], &next[..]].concat().into();
                true
            }
            _ => false,
        })
    }

    proptest! {
        #[test]
        fn chunk_borders_change_nothing_and_nothing_is_lost(pieces in prop::collection::vec(prop::sample::select(vec![
            "<", ">", "/", "fragment", "<fragment", "</fragment>", "<script", "</script>", "<!--", "-->", "!", "-",
            " ", "src", "=", "\"", "'", "é", "<p>", "&amp;",
        ]), 0..40), size in 1usize..9) {
            let text = pieces.concat();
            let whole = joined(tokens([text.as_bytes()]));
            prop_assert_eq!(&joined(tokens(text.as_bytes().chunks(size))), &whole);
            let all: Vec<u8> = whole.iter().flat_map(|token| match token {
                Token::Text(text) => text.to_vec(),
                Token::Tag(tag) => {
                    assert_eq!(&text.as_bytes()[usize::try_from(tag.offset).unwrap()..][..tag.text.len()], &tag.text[..]);
                    tag.text.to_vec()
                }
            }).collect();
            prop_assert_eq!(all, text.as_bytes());
        }
    }
}
