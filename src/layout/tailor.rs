//! Tailor's templates: HTML with `<fragment src="…">`. Owns what its tags and attributes mean and where
//! late fragments stand; what a tag is is `tags`'.
//!
//! A fragment's content stands where its tag does, and what is written between its tags after it, as
//! Tailor has it: a fragment may hold others. A `<slot>` is replaced by its default content, because
//! the page that would fill it is not in the same document; in a `<template>` it is the browser's.
//!
//! Invariant: what is no tag of Tailor's passes byte for byte, as slices of the document; HTML is
//! neither completed nor corrected.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::markup::{
    Include, Limits, Machine, Missing, OnFailure, Piece, Problem, Step, Tape, Tokens,
};

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod properties;
mod tags;

use tags::{Reader, Tag, Token};

/// A template.
pub struct Tailor {
    reader: Reader,
    limits: Limits,
    chunks: VecDeque<Bytes>,
    is_finished: bool,
    tape: Tape<Token>,
    /// What is said before the document goes on.
    pending: VecDeque<Step>,
    /// The fragments that stand at the end of the body.
    late: Vec<Step>,
    /// Whether a fragment has been found that decides about the page: there is one at most.
    has_primary: bool,
    /// Whether this is in the `<script>` of a fragment or slot, of which nothing is written.
    is_in_script: bool,
    /// How many `<template>`s this is in.
    templates: usize,
    /// Whether the page has failed.
    is_over: bool,
}

impl Tailor {
    /// A template.
    pub fn new(limits: Limits) -> Self {
        Self {
            reader: Reader::new(limits.value_bytes),
            limits,
            chunks: VecDeque::new(),
            is_finished: false,
            tape: Tape::None,
            pending: VecDeque::new(),
            late: Vec::new(),
            has_primary: false,
            is_in_script: false,
            templates: 0,
            is_over: false,
        }
    }

    fn token(&mut self) -> Option<Token> {
        if self.tape.is_played() {
            return self.tape.play();
        }
        let token = self.read();
        match &token {
            Some(token) => self.tape.record(token),
            None if self.is_finished => self.tape.end(),
            None => {}
        }
        token
    }

    fn read(&mut self) -> Option<Token> {
        while let Some(chunk) = self.chunks.front_mut() {
            if let Some(token) = self.reader.next(chunk) {
                return Some(token);
            }
            self.chunks.pop_front();
        }
        if self.is_finished {
            return self.reader.finish();
        }
        None
    }

    fn take(&mut self, token: Token) {
        match token {
            Token::Text(text) => self.write(text),
            Token::Tag(tag) => self.tag(&tag),
        }
    }

    fn write(&mut self, text: Bytes) {
        if !self.is_in_script {
            self.pending.push_back(Step::Piece(Piece::Text(text)));
        }
    }

    fn tag(&mut self, tag: &Tag) {
        match &tag.name[..] {
            b"fragment" => self.fragment(tag),
            b"/fragment" => {}
            b"slot" | b"/slot" if self.templates == 0 => {}
            b"script" => self.script(tag),
            b"/script" if self.is_in_script => self.is_in_script = false,
            b"template" => {
                self.templates += 1;
                self.write(tag.text.clone());
            }
            b"/template" => {
                self.templates = self.templates.saturating_sub(1);
                self.write(tag.text.clone());
            }
            b"/body" => {
                self.pending.extend(self.late.drain(..));
                self.write(tag.text.clone());
            }
            _ => self.write(tag.text.clone()),
        }
    }

    /// A script, unless its type says that it is a fragment or a slot for the head, where no other
    /// elements may stand.
    fn script(&mut self, tag: &Tag) {
        match value(&tag.attributes, "type") {
            Some("fragment") => self.fragment(tag),
            Some("slot") => {}
            _ => return self.write(tag.text.clone()),
        }
        self.is_in_script = true;
    }

    fn fragment(&mut self, tag: &Tag) {
        let attributes = &tag.attributes;
        let has = |name| value(attributes, name).is_some();
        let is_primary = has("primary") && !self.has_primary;
        self.has_primary |= is_primary;
        let src = value(attributes, "src").map(str::trim);
        let Some(src) = src.filter(|src| !src.is_empty()) else {
            if is_primary {
                self.is_over = true;
                self.pending.push_back(Step::Fail(Problem {
                    what: "the primary fragment has no `src`".to_owned(),
                    offset: tag.offset,
                }));
            }
            return;
        };
        let fallback = value(attributes, "fallback-src").map(str::trim);
        let include = Include {
            alt: fallback.filter(|src| !src.is_empty()).map(str::to_owned),
            on_failure: if is_primary {
                OnFailure::Fail
            } else {
                OnFailure::LeaveOut
            },
            max_wait: value(attributes, "timeout").and_then(milliseconds),
            is_markup: Some(false),
            is_primary,
            is_public: has("public"),
            returns_headers: has("return-headers"),
            offset: tag.offset,
            ..Include::of(src)
        };
        let step = Step::Piece(Piece::Include(Box::new(include)));
        if has("async") {
            self.late.push(step);
        } else {
            self.pending.push_back(step);
        }
    }
}

impl Machine for Tailor {
    fn feed(&mut self, chunk: Bytes) {
        self.chunks.push_back(chunk);
    }

    fn take_whole(&mut self, document: Bytes, tokens: &Arc<Tokens>) {
        self.tape = Tape::of(&document, tokens, self.limits);
        if !self.tape.is_played() {
            self.feed(document);
        }
        self.finish();
    }

    fn finish(&mut self) {
        self.is_finished = true;
    }

    fn next(&mut self) -> Step {
        loop {
            if let Some(step) = self.pending.pop_front() {
                return step;
            }
            if self.is_over {
                return Step::End;
            }
            match self.token() {
                Some(token) => self.take(token),
                None if !self.is_finished => return Step::More,
                None if self.late.is_empty() => return Step::End,
                None => self.pending.extend(self.late.drain(..)),
            }
        }
    }

    fn answered(&mut self, _: Result<Bytes, Missing>) {}

    fn nested(&self) -> Box<dyn Machine> {
        Box::new(Self::new(self.limits))
    }
}

/// The value of the attribute; of two the first, as in HTML.
fn value<'a>(attributes: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let attribute = attributes.iter().find(|(known, _)| known == name)?;
    Some(&attribute.1)
}

/// A number of milliseconds, in front of whatever else there is; none is no limit.
fn milliseconds(text: &str) -> Option<Duration> {
    let text = text.trim_start();
    let len = text.bytes().take_while(u8::is_ascii_digit).count();
    let number = text[..len].parse().ok().filter(|number| *number > 0)?;
    Some(Duration::from_millis(number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::layout::markup::trial;

    fn run(text: &str, answers: &[(&str, &str)]) -> Result<String, String> {
        let machine = Box::new(Tailor::new(Limits::default()));
        let (written, _) = trial::run(machine, [text.as_bytes()], answers);
        written.map(|written| String::from_utf8(written).unwrap())
    }

    fn includes(text: &str) -> Vec<Include> {
        let mut machine = Tailor::new(Limits::default());
        machine.feed(Bytes::from(text.to_owned()));
        machine.finish();
        let mut includes = Vec::new();
        loop {
            match machine.next() {
                Step::Piece(Piece::Include(include)) => includes.push(*include),
                Step::End => return includes,
                Step::Piece(_) => {}
                step @ (Step::Ask(_) | Step::More | Step::Fail(_)) => panic!("{step:?}"),
            }
        }
    }

    #[test]
    fn fragments_stand_where_their_tags_do() {
        let answers = [("/1", "one"), ("/2", "<fragment src=/1>"), ("/3", "three")];
        for (text, is) in [
            (
                "<p><fragment src=\"/1\" id=\"f-1\"></fragment></p>",
                "<p>one</p>",
            ),
            ("<fragment src=/1 />x", "onex"),
            ("a<fragment src='/1'>b</fragment>c", "aonebc"),
            (
                "<fragment src=/1><fragment src=/3></fragment>x</fragment>",
                "onethreex",
            ),
            // what comes is not read as a template
            ("<fragment src=/2></fragment>", "<fragment src=/1>"),
            ("a<fragment src=/gone></fragment>b", "ab"),
            ("a<fragment src=/gone fallback-src=/1></fragment>b", "aoneb"),
            ("a<fragment src=/1 fallback-src=/3></fragment>b", "aoneb"),
            ("a<fragment>b</fragment>c", "abc"),
            (
                "<head><script type=\"fragment\" src=/1>x</script></head>",
                "<head>one</head>",
            ),
            ("<script type=\"slot\" name=\"head\"></script>y", "y"),
            (
                "<script type=\"module\">'<fragment src=/1>'</script>",
                "<script type=\"module\">'<fragment src=/1>'</script>",
            ),
            ("<slot name=\"top\"><b>default</b></slot>", "<b>default</b>"),
            (
                "<template><slot name=\"top\">d</slot></template><slot>e</slot>",
                "<template><slot name=\"top\">d</slot></template>e",
            ),
            (
                "<!doctype html><!-- <fragment src=/1> --><P CLASS=x>&nbsp;<br/>",
                "<!doctype html><!-- <fragment src=/1> --><P CLASS=x>&nbsp;<br/>",
            ),
        ] {
            assert_eq!(run(text, &answers).as_deref(), Ok(is), "{text}");
        }
    }

    #[test]
    fn late_fragments_stand_at_the_end_of_the_body() {
        let answers = [("/1", "one"), ("/2", "two")];
        for (text, is) in [
            (
                "<body><fragment src=/1 async></fragment>a<fragment src=/2 async=\"\"></fragment>b</body></html>",
                "<body>abonetwo</body></html>",
            ),
            ("<fragment src=/1 async></fragment>a", "aone"),
            (
                "<body></body><fragment src=/1 async></fragment>a",
                "<body></body>aone",
            ),
        ] {
            assert_eq!(run(text, &answers).as_deref(), Ok(is), "{text}");
        }
    }

    #[test]
    fn the_first_primary_decides() {
        let found =
            includes("<fragment src=/1><fragment src=/2 primary><fragment src=/3 primary=\"\">");
        let primary: Vec<_> = found
            .iter()
            .map(|i| (i.is_primary, i.on_failure == OnFailure::Fail))
            .collect();
        assert_eq!(primary, [(false, false), (true, true), (false, false)]);
        assert!(run("<fragment src=/gone primary>", &[]).is_err());
        assert_eq!(
            run(
                "<fragment src=/gone fallback-src=/1 primary>",
                &[("/1", "one")]
            )
            .as_deref(),
            Ok("one")
        );
        let problem = run("<p><fragment primary></p>", &[]).unwrap_err();
        assert_eq!(problem, "the primary fragment has no `src`, at byte 3");
    }

    #[test]
    fn attributes_say_how_a_fragment_is_asked_for() {
        let found = includes(
            "<fragment SRC=\"/1?a&amp;b\" timeout=\"150\" public return-headers><fragment src=/2 timeout=\"2s\"><fragment src=/3 timeout=soon><fragment src=/4 src=/5 timeout=0>",
        );
        let waits: Vec<_> = found.iter().map(|i| (&i.src[..], i.max_wait)).collect();
        assert_eq!(
            waits,
            [
                ("/1?a&b", Some(Duration::from_millis(150))),
                ("/2", Some(Duration::from_millis(2))),
                ("/3", None),
                ("/4", None),
            ]
        );
        let first = Include {
            is_public: true,
            returns_headers: true,
            max_wait: Some(Duration::from_millis(150)),
            is_markup: Some(false),
            on_failure: OnFailure::LeaveOut,
            ..Include::of("/1?a&b")
        };
        assert_eq!(found[0], first);
    }

    #[test]
    fn text_is_not_copied() {
        let document = Bytes::from(b"\xff\x00<p>text</p><fragment src=/1>more".to_vec());
        let mut machine = Tailor::new(Limits::default());
        machine.feed(document.clone());
        machine.finish();
        let Step::Piece(Piece::Text(text)) = machine.next() else {
            panic!("text comes first");
        };
        assert_eq!(text, document.slice(..13));
        assert_eq!(text.as_ptr(), document.as_ptr());
    }

    #[test]
    fn work_grows_with_the_document() {
        let units = [
            "<",
            "<f",
            "<fragment ",
            "<fragment src=\"",
            "<fragment>",
            "<script>",
            "<!--",
            "<style></",
            "</body>",
            "<fragment async src=x>",
            "<template><slot>",
        ];
        let limits = Limits::default();
        let cost = |chunks: &[&[u8]]| properties::cost(chunks, limits.value_bytes);
        trial::hostile_documents_cost_by_their_length(&units, cost);
        let machine = || Box::new(Tailor::new(limits)) as Box<dyn Machine>;
        trial::hostile_documents_take_steps_by_their_length(&units, machine);
    }

    #[test]
    fn a_copy_is_read_once() {
        let document =
            Bytes::from("<p>a<fragment src=\"/1\" timeout=5>b</fragment><fragment src=/2");
        let tokens = Arc::default();
        let read = || {
            let mut machine = Tailor::new(Limits::default());
            machine.take_whole(document.clone(), &tokens);
            let steps = std::iter::from_fn(|| Some(machine.next()).filter(|s| *s != Step::End));
            let steps: Vec<Step> = steps.collect();
            (steps, machine.reader.work.bytes())
        };
        let (steps, looked_at) = read();
        assert!(looked_at > 0 && tokens.are_known());
        assert_eq!(read(), (steps, 0));
    }

    proptest! {
        #[test]
        fn what_holds_of_every_template(pieces in prop::collection::vec(prop::sample::select(vec![
            "<fragment src=\"/1\"", " primary", " async", " timeout=1", ">", "/>", "</fragment>", "<script type=fragment src=/1",
            "</script>", "<slot>", "</slot>", "<template>", "</template>", "<!--", "-->", "</body>", "<", "é", "text", "\"", "'", "\u{1f}",
        ]), 0..25)) {
            properties::hold(pieces.concat().as_bytes());
        }

        #[test]
        fn whatever_comes_is_read_to_its_end(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let (out, _) = trial::run(Box::new(Tailor::new(Limits::default())), [&bytes[..]], &[]);
            prop_assert_eq!(out, Ok(bytes));
        }
    }
}
