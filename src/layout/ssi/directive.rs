//! Bytes → text and directives, as nginx reads them. Owns the syntax of `<!--#name key="value" -->`
//! and what makes one malformed; knows no command.
//!
//! Invariants: each byte is looked at once, wherever chunks end; at most one directive is held, and no
//! more of it than nginx holds; what is no directive comes out as slices of what went in.

use std::sync::{Arc, LazyLock};

use bytes::{Buf, Bytes};
use memchr::memmem::Finder;

use crate::layout::markup::Kept;
use crate::layout::markup::work::Work;

/// What begins a directive.
const OPENING: &[u8] = b"<!--#";

/// Bytes of a command or of a parameter's name: nginx's `NGX_HTTP_SSI_COMMAND_LEN`.
const NAME_BYTES_MAX: usize = 32;

/// Bytes of a parameter's value: nginx's `ssi_value_length` as its manual gives it.
const VALUE_BYTES_MAX: usize = 256;

/// Parameters of one directive: nginx's `NGX_HTTP_SSI_MAX_PARAMS`.
pub(super) const PARAMETERS_MAX: usize = 16;

static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(OPENING));

/// What a document consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// Text to be written as it is.
    Text(Bytes),
    /// A directive that is spelled rightly.
    Directive(Arc<Directive>),
    /// One that is not; its command as far as it was read.
    Malformed(Arc<Directive>),
}

impl Kept for Token {
    fn heap(&self, apart: impl Fn(&Bytes) -> usize) -> usize {
        match self {
            Self::Text(text) => apart(text),
            Self::Directive(directive) | Self::Malformed(directive) => {
                let pair = |(name, value): &(Vec<u8>, Vec<u8>)| name.len() + value.len();
                let parameters = directive.parameters.iter();
                size_of::<Directive>()
                    + directive.command.len()
                    + size_of_val(&directive.parameters[..])
                    + parameters.map(pair).sum::<usize>()
            }
        }
    }
}

/// `<!--#command name="value" … -->`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Directive {
    /// `include`, say.
    pub command: Vec<u8>,
    /// Names and values in the order in which they are written, one more than allowed at most;
    /// backslashes are still in the values.
    pub parameters: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where it begins in the document.
    pub offset: u64,
}

/// Where in a directive the scanner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum At {
    /// In text, after so many bytes of [`OPENING`].
    #[default]
    Text,
    BeforeCommand,
    Command,
    BeforeName,
    Name,
    BeforeEquals,
    BeforeValue,
    /// In a value that ends with this quote.
    Value(u8),
    /// After a backslash in such a value.
    Escaped(u8),
    AfterValue,
    Dash,
    DashDash,
    /// In a malformed directive, of which only the end counts.
    Malformed,
    MalformedDash,
    MalformedDashDash,
}

/// Reads a document chunk by chunk.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    at: At,
    /// How many bytes of [`OPENING`] were the last ones of the text so far, and are held back.
    matched: usize,
    directive: Directive,
    /// How many bytes have been read.
    read: u64,
    pub(super) work: Work,
}

impl Scanner {
    /// The next token of the chunk, of which the front is taken off; `None` when it is used up.
    pub(super) fn next(&mut self, chunk: &mut Bytes) -> Option<Token> {
        while !chunk.is_empty() {
            let token = if self.at == At::Text {
                self.text(chunk)
            } else {
                self.directive(chunk)
            };
            if token.is_some() {
                return token;
            }
        }
        None
    }

    /// What was held back at the end of the document: the beginning of what might have become a
    /// directive. One that has begun and does not end is dropped, as nginx drops it.
    pub(super) fn finish(&mut self) -> Option<Token> {
        self.held_back()
    }

    fn held_back(&mut self) -> Option<Token> {
        let held = std::mem::take(&mut self.matched);
        (held > 0).then(|| Token::Text(Bytes::from_static(&OPENING[..held])))
    }

    fn advance(&mut self, chunk: &mut Bytes, by: usize) {
        chunk.advance(by);
        self.read += by as u64;
    }

    fn text(&mut self, chunk: &mut Bytes) -> Option<Token> {
        if self.matched > 0 {
            self.work.looks_at(1);
            if chunk[0] != OPENING[self.matched] {
                return self.held_back();
            }
            self.matched += 1;
            self.advance(chunk, 1);
            if self.matched == OPENING.len() {
                self.begin();
            }
            return None;
        }
        let (text_len, matched) = match FINDER.find(chunk) {
            Some(at) => (at, OPENING.len()),
            None => {
                self.work.looks_at(OPENING.len());
                let held = (1..OPENING.len().min(chunk.len() + 1))
                    .rev()
                    .find(|&len| chunk.ends_with(&OPENING[..len]))
                    .unwrap_or(0);
                (chunk.len() - held, held)
            }
        };
        let text = chunk.slice(..text_len);
        self.work.looks_at(text_len + matched);
        self.advance(chunk, text_len + matched);
        if matched == OPENING.len() {
            self.begin();
        } else {
            self.matched = matched;
        }
        (!text.is_empty()).then_some(Token::Text(text))
    }

    fn begin(&mut self) {
        self.matched = 0;
        self.at = At::BeforeCommand;
        self.directive = Directive {
            offset: self.read - OPENING.len() as u64,
            ..Directive::default()
        };
    }

    fn directive(&mut self, chunk: &mut Bytes) -> Option<Token> {
        let mut used = 0;
        let mut token = None;
        for &byte in chunk.iter() {
            used += 1;
            self.at = match (self.at, byte) {
                (At::DashDash, b'>') => {
                    token = Some(Token::Directive(self.take()));
                    At::Text
                }
                (At::MalformedDashDash, b'>') => {
                    token = Some(Token::Malformed(self.take()));
                    At::Text
                }
                _ => self.step(byte),
            };
            if token.is_some() {
                break;
            }
        }
        self.work.looks_at(used);
        self.advance(chunk, used);
        token
    }

    fn take(&mut self) -> Arc<Directive> {
        Arc::new(std::mem::take(&mut self.directive))
    }

    /// One byte of a directive that does not end it.
    fn step(&mut self, byte: u8) -> At {
        let is_blank = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        match self.at {
            At::Text | At::DashDash => At::Malformed,
            At::BeforeCommand if is_blank => At::BeforeCommand,
            At::BeforeCommand => self.command(byte),
            At::Command => match byte {
                _ if is_blank => At::BeforeName,
                b'-' => At::Dash,
                _ => self.command(byte),
            },
            At::BeforeName => match byte {
                _ if is_blank => At::BeforeName,
                b'-' => At::Dash,
                _ => {
                    // one too many is enough to know that there are too many
                    if self.directive.parameters.len() <= PARAMETERS_MAX {
                        self.directive.parameters.push(Default::default());
                    } else if let Some(last) = self.directive.parameters.last_mut() {
                        *last = Default::default();
                    }
                    self.name(byte)
                }
            },
            At::Name => match byte {
                _ if is_blank => At::BeforeEquals,
                b'=' => At::BeforeValue,
                b'-' => At::MalformedDash,
                _ => self.name(byte),
            },
            At::BeforeEquals => match byte {
                _ if is_blank => At::BeforeEquals,
                b'=' => At::BeforeValue,
                b'-' => At::MalformedDash,
                _ => At::Malformed,
            },
            At::BeforeValue => match byte {
                _ if is_blank => At::BeforeValue,
                b'"' | b'\'' => At::Value(byte),
                b'-' => At::MalformedDash,
                _ => At::Malformed,
            },
            At::Value(quote) if byte == quote => At::AfterValue,
            At::Value(quote) if byte == b'\\' => self.value(byte, At::Escaped(quote)),
            At::Value(quote) | At::Escaped(quote) => self.value(byte, At::Value(quote)),
            At::AfterValue => match byte {
                _ if is_blank => At::BeforeName,
                b'-' => At::Dash,
                _ => At::Malformed,
            },
            At::Dash if byte == b'-' => At::DashDash,
            At::Dash => At::Malformed,
            At::Malformed if byte == b'-' => At::MalformedDash,
            At::MalformedDash if byte == b'-' => At::MalformedDashDash,
            At::Malformed | At::MalformedDash | At::MalformedDashDash => At::Malformed,
        }
    }

    fn command(&mut self, byte: u8) -> At {
        if self.directive.command.len() == NAME_BYTES_MAX {
            return At::Malformed;
        }
        self.directive.command.push(byte);
        At::Command
    }

    fn name(&mut self, byte: u8) -> At {
        match self.directive.parameters.last_mut() {
            Some((name, _)) if name.len() < NAME_BYTES_MAX => {
                name.push(byte);
                At::Name
            }
            _ => At::Malformed,
        }
    }

    fn value(&mut self, byte: u8, then: At) -> At {
        match self.directive.parameters.last_mut() {
            Some((_, value)) if value.len() < VALUE_BYTES_MAX => {
                value.push(byte);
                then
            }
            _ => At::Malformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::markup::trial;
    use proptest::prelude::*;

    fn tokens<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> Vec<Token> {
        let mut scanner = Scanner::default();
        let mut tokens = Vec::new();
        for chunk in chunks {
            let mut chunk = Bytes::copy_from_slice(chunk);
            while let Some(token) = scanner.next(&mut chunk) {
                tokens.push(token);
            }
        }
        tokens.extend(scanner.finish());
        tokens
    }

    fn shown(text: &str) -> String {
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let shown = tokens([text.as_bytes()])
            .into_iter()
            .map(|token| match token {
                Token::Text(text) => lossy(&text),
                Token::Directive(d) => {
                    let list = d.parameters.iter();
                    let list: Vec<_> = list
                        .map(|(name, value)| format!("{}={}", lossy(name), lossy(value)))
                        .collect();
                    format!("[{} {}]", lossy(&d.command), list.join("|"))
                }
                Token::Malformed(d) => format!("!{}!", lossy(&d.command)),
            });
        shown.collect()
    }

    #[test]
    fn directives_are_spelled_as_nginx_reads_them() {
        for (text, is) in [
            ("a<!--#echo var=\"x\" -->b", "a[echo var=x]b"),
            (
                "<!--#  echo\n var = 'x'  default=\"\"-->",
                "[echo var=x|default=]",
            ),
            ("<!--#endif-->", "[endif ]"),
            (
                "<!--#set value=\"a\\\"b\\\\\" -->",
                "[set value=a\\\"b\\\\]",
            ),
            ("<!--#set value='say \"hi\"' -->", "[set value=say \"hi\"]"),
            ("<!--#set value=\"-->\" -->", "[set value=-->]"),
            // a dash ends commands and begins an end wherever no value is
            ("<!--#a-b -->c", "!a!c"),
            ("<!--#a- -->c", "!a!c"),
            ("<!--#a --->c -->d", "!a!d"),
            ("<!--#a x-y=\"1\" -->c", "!a!c"),
            ("<!--#a x -->c", "!a!c"),
            ("<!--#a x=1 -->c", "!a!c"),
            ("<!--#a x=\"1\"y=\"2\" -->c", "!a!c"),
            ("<!--#a x=\"1\" y -->c", "!a!c"),
            // no space is needed between a value and the end
            ("<!--#a x=\"1\"-->c", "[a x=1]c"),
            ("<!--# -->", ""),
        ] {
            assert_eq!(shown(text), is, "{text}");
        }
    }

    #[test]
    fn what_is_no_directive_is_text() {
        for text in [
            "<",
            "<!",
            "<!-",
            "<!--",
            "<!-- # -->",
            "<<!-",
            "<!<!--",
            "<!---#echo -->",
            "<!--\n#a-->",
            "<a><!-- c --><b>",
            "",
        ] {
            assert_eq!(shown(text), text);
        }
        assert_eq!(shown("<<!--<!--#a-->"), "<<!--[a ]");
        // one that does not end is dropped
        assert_eq!(shown("a<!--#echo var=\"x\" --"), "a");
    }

    #[test]
    fn too_much_is_malformed_and_not_kept() {
        let name = "n".repeat(32);
        assert_eq!(shown(&format!("<!--#{name} -->")), format!("[{name} ]"));
        assert_eq!(shown(&format!("<!--#{name}n -->")), format!("!{name}!"));
        assert_eq!(
            shown(&format!("<!--#a {name}=\"\" -->")),
            format!("[a {name}=]")
        );
        assert_eq!(shown(&format!("<!--#a {name}n=\"\" -->")), "!a!");
        let value = "v".repeat(256);
        assert_eq!(
            shown(&format!("<!--#a x=\"{value}\" -->")),
            format!("[a x={value}]")
        );
        assert_eq!(shown(&format!("<!--#a x=\"{value}v\" -->b")), "!a!b");
        let many = "x=\"\" ".repeat(1000);
        let Token::Directive(directive) = &tokens([format!("<!--#a {many}-->").as_bytes()])[0]
        else {
            panic!("too many parameters are noticed by who runs the directive");
        };
        assert_eq!(directive.parameters.len(), PARAMETERS_MAX + 1);
    }

    #[test]
    fn offsets_are_the_documents() {
        let text = "ab<!--#a --><!--#b -->";
        for size in 1..text.len() {
            let offsets: Vec<u64> = tokens(text.as_bytes().chunks(size))
                .iter()
                .filter_map(|token| match token {
                    Token::Text(_) => None,
                    Token::Directive(d) | Token::Malformed(d) => Some(d.offset),
                })
                .collect();
            assert_eq!(offsets, [2, 12], "{size}");
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
        fn chunk_borders_change_nothing(pieces in prop::collection::vec(prop::sample::select(vec![
            "<", "!", "-", "#", "<!--#", "echo", " ", "var", "=", "\"", "'", "\\", "-->", "--", ">", "é", "x",
        ]), 0..40), size in 1usize..9) {
            let text = pieces.concat();
            prop_assert_eq!(
                joined(tokens(text.as_bytes().chunks(size))),
                joined(tokens([text.as_bytes()]))
            );
        }

        #[test]
        fn text_is_slices_of_the_document(text in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assume!(!text.windows(OPENING.len()).any(|w| w == OPENING));
            let all: Vec<u8> = tokens([&text[..]]).iter().flat_map(|token| match token {
                Token::Text(text) => text.to_vec(),
                Token::Directive(_) | Token::Malformed(_) => Vec::new(),
            }).collect();
            prop_assert_eq!(all, text);
        }
    }
}
