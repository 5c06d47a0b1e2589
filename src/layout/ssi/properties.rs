//! What holds of every document with server-side includes, whatever is in it. Owns no rule of the
//! language.

use std::sync::Arc;

use bytes::Bytes;
use jiff::tz::TimeZone;

use super::Ssi;
use super::directive::Scanner;
use crate::layout::markup::trial::{self, Cost};
use crate::layout::markup::{Limits, Machine};

/// What includes of these documents are answered with.
const ANSWERS: [(&str, &str); 4] = [
    ("/a", "ALPHA"),
    ("/empty", ""),
    (
        "/m?a=2",
        "!<!--#echo var=\"arg_a\" --><!--#echo var=\"v\" -->",
    ),
    ("near", "N"),
];

/// So tight that short documents go beyond each of them.
const TIGHT: Limits = Limits {
    nesting: 2,
    value_bytes: 32,
    steps: 400,
};

/// Some regular expressions, and doubling for which a short document does not keep anybody waiting.
const SHORT: Limits = Limits {
    nesting: 64,
    value_bytes: 64 * 1024,
    steps: 3_000,
};

/// What a byte of a document may write: a directive of some twenty writes an error of 256, what it pays
/// for is escaped, and a stub is written as often as it is paid for.
const WRITTEN_BY_BYTE_MAX: usize = 1024;

/// A document that answers this query.
pub(super) fn machine(query: &str, limits: Limits) -> Box<dyn Machine> {
    let headers = [("host", "news.example"), ("user-agent", "<b>\"x\"&y")];
    let asked = Arc::new(trial::asked(query, &headers));
    Box::new(Ssi::new(asked, limits, TimeZone::UTC))
}

/// What holds of every document; its chunks end where [`trial::BORDER`] is.
pub(crate) fn hold(input: &[u8]) {
    for limits in [TIGHT, SHORT] {
        let machine = || machine("a=1&b=xy&l=fr", limits);
        let (written, _) = trial::run_in_any_chunks(machine, input, &ANSWERS);
        let other = || self::machine("", limits);
        trial::kept_tokens_make_no_difference(other, machine, input, &ANSWERS);
        let written = written.expect("no page fails by its directives");
        let paid_for = limits.steps as usize * 64;
        assert!(written.len() <= (input.len() + paid_for) * WRITTEN_BY_BYTE_MAX);
    }
    trial::costs_by_its_length(input, cost);
    what_is_no_directive_passes_untouched(&trial::pieces(input).concat());
}

fn what_is_no_directive_passes_untouched(document: &[u8]) {
    let mut document = document.to_vec();
    while let Some(at) = memchr::memmem::find(&document, b"<!--#") {
        document[at + 4] = b'_';
    }
    let (written, sought) = trial::run(machine("", SHORT), document.chunks(7), &ANSWERS);
    assert_eq!(written.as_deref(), Ok(&document[..]));
    assert!(sought.is_empty());
}

/// What it costs to read these chunks.
pub(super) fn cost(chunks: &[&[u8]]) -> Cost {
    let mut scanner = Scanner::default();
    let mut tokens = 0;
    for chunk in chunks {
        let mut chunk = Bytes::copy_from_slice(chunk);
        while scanner.next(&mut chunk).is_some() {
            tokens += 1;
        }
    }
    tokens += usize::from(scanner.finish().is_some());
    let looked_at = scanner.work.bytes();
    Cost { tokens, looked_at }
}
