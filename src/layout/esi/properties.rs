//! What holds of every document in ESI, whatever is in it. Owns no rule of the language.

use std::sync::Arc;

use bytes::Bytes;

use super::evaluate::Place;
use super::tokens::{Lexer, Token};
use super::value::{Author, Value};
use super::{Esi, expression};
use crate::layout::markup::trial::{self, Cost};
use crate::layout::markup::{Limits, Machine};

/// What includes of these documents are answered with.
pub(super) const ANSWERS: [(&str, &str); 6] = [
    ("/a", "ALPHA"),
    ("/b", "BETA"),
    ("/lang/fr", "FR"),
    ("/nested", "!<<esi:include src=\"/a\"/>>"),
    (
        "/more",
        "<esi:vars>$(x)</esi:vars><esi:assign name=\"y\" value=\"2\"/>",
    ),
    ("/q?id=1&f=json", "Q"),
];

const READER: [(&str, &str); 5] = [
    ("host", "news.example"),
    ("cookie", "group=Advanced; id=7"),
    ("accept-language", "da, en-gb;q=0.8"),
    ("user-agent", "Mozilla/5.0 (X11; Linux)"),
    ("referer", "http://ref.example/\"x"),
];

/// So tight that short documents go beyond each of them.
const TIGHT: Limits = Limits {
    nesting: 4,
    value_bytes: 64,
    steps: 300,
};

/// Loops and functions for which a short document does not keep anybody waiting.
const SHORT: Limits = Limits {
    nesting: 64,
    value_bytes: 64 * 1024,
    steps: 3_000,
};

/// What one step may write: what it pays for, as escaped.
const WRITTEN_BY_STEP_MAX: usize = 8 * 1024;

/// What stands before everything that means something.
const MARKS: [&str; 3] = ["<esi:", "</esi:", "<!--esi"];

/// A document that answers a request with something in all that can be asked of it.
pub(super) fn machine(limits: Limits) -> Box<dyn Machine> {
    Box::new(document(limits))
}

fn document(limits: Limits) -> Esi {
    let asked = trial::asked("l=fr&n=5&html=<b>\"&s=a/../b", &READER);
    Esi::new(Arc::new(asked), limits, true)
}

/// A document that answers a request which says nothing of its reader.
fn of_nobody(limits: Limits) -> Esi {
    Esi::new(Arc::new(trial::asked("", &[])), limits, true)
}

/// What holds of every document; its chunks end where [`trial::BORDER`] is.
pub(crate) fn hold(input: &[u8]) {
    for limits in [TIGHT, SHORT] {
        let (written, _) = trial::run_in_any_chunks(|| machine(limits), input, &ANSWERS);
        let other = || Box::new(of_nobody(limits)) as Box<dyn Machine>;
        trial::kept_tokens_make_no_difference(other, || machine(limits), input, &ANSWERS);
        let written_max = (input.len() + limits.steps as usize) * WRITTEN_BY_STEP_MAX;
        assert!(written.unwrap_or_default().len() <= written_max);
        trial::costs_by_its_length(input, |chunks| cost(chunks, limits.value_bytes));
    }
    what_is_no_esi_passes_untouched(&trial::pieces(input).concat());
}

fn what_is_no_esi_passes_untouched(document: &[u8]) {
    let mut document = document.to_vec();
    for mark in MARKS {
        let finder = memchr::memmem::Finder::new(mark);
        while let Some(at) = finder.find(&document) {
            document[at + mark.len() - 2] = b'_';
        }
    }
    let (written, sought) = trial::run(machine(SHORT), document.chunks(7), &ANSWERS);
    assert_eq!(written.as_deref(), Ok(&document[..]));
    assert!(sought.is_empty());
}

/// What it costs to read these chunks where variables are read.
pub(super) fn cost(chunks: &[&[u8]], token_max: usize) -> Cost {
    let mut lexer = Lexer::new(token_max);
    let mut tokens = 0;
    let mut chunks = chunks.iter();
    loop {
        match lexer.next(true) {
            Token::End => break,
            Token::More => match chunks.next() {
                Some(chunk) => lexer.feed(Bytes::copy_from_slice(chunk)),
                None => lexer.finish(),
            },
            Token::Text(_) | Token::Open(_) | Token::Close { .. } | Token::Variable(_) => {
                tokens += 1
            }
        }
    }
    let looked_at = lexer.work.bytes();
    Cost { tokens, looked_at }
}

/// What holds of every expression.
pub(crate) fn hold_of_expression(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        assert_eq!(
            with_names(SHORT).written(input),
            None,
            "an expression is text"
        );
        return;
    };
    for limits in [TIGHT, SHORT] {
        let value = with_names(limits).value_of(text);
        let again = with_names(limits).value_of(text);
        assert_eq!(value, again, "it is worth the same again");
        let may_be = text.len() <= limits.value_bytes;
        assert!(value.is_none() || (may_be && expression::parse(text).is_some()));
        let value_max = (text.len() + limits.steps as usize) * WRITTEN_BY_STEP_MAX;
        assert!(value.as_ref().map_or(0, |value| value.text().len()) <= value_max);

        let written = with_names(limits).written(input);
        let is_readers = |value: &Value| value.author() > Author::Written;
        if let Some(written) = written.filter(|_| value.as_ref().is_some_and(is_readers)) {
            assert!(
                !written.contains(['<', '>', '"']),
                "a reader's text is escaped: {written}"
            );
        }
        for place in [Place::Address, Place::Data] {
            let filled = with_names(limits).filled(text, place);
            assert!(filled.len() <= value_max);
            if !text.contains('$') {
                assert_eq!(filled, text);
            }
        }
    }
}

/// A document that has variables, and functions that call one another.
fn with_names(limits: Limits) -> Esi {
    let mut document = document(limits);
    for (name, value) in [
        ("x", Value::own("<i>")),
        ("n", Value::Number(-7)),
        (
            "list",
            Value::List(vec![Value::Number(1), Value::readers("<b>")]),
        ),
    ] {
        document.variables.insert(name.to_owned(), value);
    }
    for (name, body) in [
        ("f", "$g($(ARGS{0})) and $(x)"),
        ("g", "<esi:return value=\"$(ARGS{0}) + 1\"/>"),
        ("endless", "$endless()x"),
    ] {
        document
            .functions
            .insert(name.to_owned(), Bytes::from(body));
    }
    document
}
