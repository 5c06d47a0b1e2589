//! What holds of every template of Tailor's, whatever is in it. Owns no rule of the language.

use bytes::Bytes;

use super::Tailor;
use super::tags::{Reader, Token};
use crate::layout::markup::trial::{self, Cost};
use crate::layout::markup::{Limits, Machine, Piece, Step};

/// What fragments are answered with.
const ANSWERS: [(&str, &str); 2] = [("/1", "one"), ("/2", "<fragment src=/1>")];

/// So tight that short tags are too long.
const TIGHT: Limits = Limits {
    nesting: 2,
    value_bytes: 48,
    steps: 1,
};

/// What holds of every template; its chunks end where [`trial::BORDER`] is.
pub(crate) fn hold(input: &[u8]) {
    for limits in [TIGHT, Limits::default()] {
        let machine = || Box::new(Tailor::new(limits)) as Box<dyn Machine>;
        let _ = trial::run_in_any_chunks(machine, input, &ANSWERS);
        trial::kept_tokens_make_no_difference(machine, machine, input, &ANSWERS);
        trial::costs_by_its_length(input, |chunks| cost(chunks, limits.value_bytes));
        for chunks in [trial::pieces(input), vec![&trial::pieces(input).concat()]] {
            tokens_are_the_template(&chunks, limits.value_bytes);
        }
    }
    text_is_slices_of_the_template(&Bytes::from(trial::pieces(input).concat()));
}

fn tokens_are_the_template(chunks: &[&[u8]], tag_bytes_max: usize) {
    let template = chunks.concat();
    let mut written = Vec::new();
    read(chunks, tag_bytes_max, |token| match token {
        Token::Text(text) => written.extend_from_slice(&text),
        Token::Tag(tag) => {
            assert_eq!(tag.offset, written.len() as u64, "where {tag:?} begins");
            assert!(tag.text.len() <= tag_bytes_max, "{tag:?} is too long");
            written.extend_from_slice(&tag.text);
        }
    });
    assert_eq!(
        written.escape_ascii().to_string(),
        template.escape_ascii().to_string()
    );
}

/// Nothing is written that is not the template's own, in its order and not copied.
fn text_is_slices_of_the_template(template: &Bytes) {
    let mut machine = Tailor::new(Limits::default());
    machine.feed(template.clone());
    machine.finish();
    let mut from = template.as_ptr();
    loop {
        match machine.next() {
            Step::Piece(Piece::Text(text)) => {
                let slice = text.as_ptr_range();
                let is_own = from <= slice.start && slice.end <= template.as_ptr_range().end;
                // but for a tag without an end, which is kept by itself until there is none
                if !is_own {
                    assert!(template.ends_with(&text), "{text:?} is not the template's");
                    assert!(text.starts_with(b"<"), "{text:?} was copied");
                    continue;
                }
                from = slice.end;
            }
            Step::Piece(_) => {}
            Step::End | Step::Fail(_) => return,
            step @ (Step::Ask(_) | Step::More) => panic!("{step:?}"),
        }
    }
}

fn read(chunks: &[&[u8]], tag_bytes_max: usize, mut take: impl FnMut(Token)) -> Reader {
    let mut reader = Reader::new(tag_bytes_max);
    for chunk in chunks {
        let mut chunk = Bytes::copy_from_slice(chunk);
        while let Some(token) = reader.next(&mut chunk) {
            take(token);
        }
    }
    if let Some(token) = reader.finish() {
        take(token);
    }
    reader
}

/// What it costs to read these chunks.
pub(super) fn cost(chunks: &[&[u8]], tag_bytes_max: usize) -> Cost {
    let mut tokens = 0;
    let reader = read(chunks, tag_bytes_max, |_| tokens += 1);
    let looked_at = reader.work.bytes();
    Cost { tokens, looked_at }
}
