//! ESI 1.0 (W3C note of 4 August 2001), and what Akamai and Fastly have added: a [`Machine`]. Owns what
//! each element does; `tokens`, expressions and what they are worth are its
//! parts.
//!
//! Elements that are broken, or that do not exist, vanish: no browser is to see them. What is written
//! inside `choose` but outside its branches is no content, nor is what is inside `try` outside of
//! `attempt` and `except`. Variables are replaced in the attributes of elements, and in text inside
//! `vars`, `when`, `otherwise`, `foreach`, `function` and `assign`.
//!
//! Invariants: elements are at most [`Limits::nesting`] deep, and deeper ones vanish; what a loop or a
//! function does is paid for in steps, and when they are used up loops end and functions give nothing,
//! so that no document goes on for ever. Text is given as slices of the document.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::markup::{
    Asked, Include, Limits, Machine, Missing, OnFailure, Piece, Problem, Step, Tokens,
};

mod evaluate;
mod expression;
pub mod fixed;
mod frames;
mod functions;
mod includes;
mod md5;
mod patterns;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod properties;
mod running;
#[cfg(test)]
mod tests;
mod tokens;
mod value;
mod variables;

use evaluate::Place;
use expression::parse_key;
use frames::Frames;
use patterns::Patterns;
use running::{Collected, Source, What};
use tokens::{Lexer, Tag, Token};
use value::Value;

/// Bytes that `attempt`, `except` and `assign` may hold back: nothing of them leaves before their end.
const HELD_MAX: usize = 4 * 1024 * 1024;

/// Bytes that a piece takes besides its text.
const PIECE_WEIGHT: usize = 256;

/// Variables, functions and named fragments of one document, each.
const NAMES_MAX: usize = 1024;

/// A document in ESI.
pub struct Esi {
    asked: Arc<Asked>,
    limits: Limits,
    /// Whether what a reader has sent is escaped where it is written into the page.
    is_escaping: bool,
    /// The document, and above it what is run in its place: bodies of loops, what `eval` has brought.
    sources: Vec<Source>,
    frames: Frames,
    /// Elements that were too deep, and are open.
    too_deep: usize,
    /// What is collected instead of being given away.
    sinks: Vec<Vec<Piece>>,
    /// Whether a reader's text is in what is written for the innermost value.
    has_readers: bool,
    /// Bytes that were collected since something was given away.
    held: usize,
    ready: VecDeque<Step>,
    /// The answer that is waited for: what happens if it does not come, and whether it is kept apart.
    asks: Option<(OnFailure, bool)>,
    variables: BTreeMap<String, Value>,
    functions: BTreeMap<String, Bytes>,
    inlines: BTreeMap<String, Bytes>,
    /// Of the functions that are running, innermost last.
    arguments: Vec<Vec<Value>>,
    returned: Option<Value>,
    patterns: Patterns,
    /// What the last regular expression that matched has captured.
    matches: Option<Value>,
    /// What `rand` draws its numbers from.
    chance: u64,
    /// What `rand` gave last.
    last_chance: Option<i64>,
    steps_left: u64,
    is_ended: bool,
}

/// An element that is open.
enum Frame {
    Vars,
    /// `remove`, or what is inside an element that does nothing.
    Silence {
        element: &'static str,
        depth: usize,
    },
    Choose {
        is_decided: bool,
    },
    Branch {
        is_taken: bool,
    },
    Try {
        attempt: Option<Vec<Piece>>,
        except: Vec<Piece>,
    },
    Attempt,
    Except,
    Assign {
        name: String,
        had_readers: bool,
    },
    /// An include that parameters may be added to, and the blanks since it or its last parameter: they
    /// are text after all where it has no end.
    Include(Box<Include>, BytesMut),
    Collect(Box<Collected>),
}

impl Frame {
    fn reads_variables(&self) -> bool {
        matches!(self, Self::Vars | Self::Branch { .. } | Self::Assign { .. })
    }

    fn is_untaken(&self) -> bool {
        matches!(self, Self::Branch { is_taken: false })
    }
}

impl Esi {
    /// A document that answers this request.
    pub fn new(asked: Arc<Asked>, limits: Limits, is_escaping: bool) -> Self {
        let document = Source {
            lexer: Lexer::new(limits.value_bytes),
            below: 0,
            too_deep: 0,
            repeat: None,
            restored: None,
        };
        Self {
            asked,
            limits,
            is_escaping,
            sources: vec![document],
            frames: Frames::default(),
            too_deep: 0,
            sinks: Vec::new(),
            has_readers: false,
            held: 0,
            ready: VecDeque::new(),
            asks: None,
            variables: BTreeMap::new(),
            functions: BTreeMap::new(),
            inlines: BTreeMap::new(),
            arguments: Vec::new(),
            returned: None,
            patterns: Patterns::default(),
            matches: None,
            chance: 0,
            last_chance: None,
            steps_left: limits.steps,
            is_ended: false,
        }
    }

    /// The same document, with numbers of chance that follow from this one.
    pub fn with_chance(self, chance: u64) -> Self {
        Self { chance, ..self }
    }

    /// Pays for some steps; `false` if there are not so many left.
    fn spend(&mut self, steps: u64) -> bool {
        let enough = self.steps_left >= steps;
        self.steps_left = self.steps_left.saturating_sub(steps);
        enough
    }

    /// Writes a piece, to wherever that goes at present.
    fn push(&mut self, piece: Piece) {
        let Some(sink) = self.sinks.last_mut() else {
            self.held = 0;
            self.ready.push_back(Step::Piece(piece));
            return;
        };
        self.held += match &piece {
            Piece::Text(text) => text.len(),
            Piece::Include(include) => PIECE_WEIGHT + include.src.len(),
            Piece::Try { .. } | Piece::Head(_) => PIECE_WEIGHT,
        };
        sink.push(piece);
        if self.held > HELD_MAX && self.arguments.is_empty() {
            self.ready.push_back(Step::Fail(Problem {
                what: "an `esi:attempt` or an `esi:assign` holds too much".to_owned(),
                offset: 0,
            }));
            self.is_ended = true;
        }
    }

    fn is_silent(&self) -> bool {
        self.is_between() || self.is_passed_over()
    }

    /// Whether the innermost element has no content of its own.
    fn is_between(&self) -> bool {
        matches!(
            self.frames.last(),
            Some(Frame::Silence { .. } | Frame::Choose { .. } | Frame::Try { .. })
        )
    }

    fn reads_variables(&self) -> bool {
        let is_raw = matches!(
            self.frames.last(),
            Some(Frame::Collect(_) | Frame::Silence { .. })
        );
        let runs = self.sources.len() > 1 || !self.arguments.is_empty();
        !is_raw && (runs || self.frames.read_variables())
    }

    /// Reads one token and does what it says; `false` if more of the document is needed first.
    fn advance(&mut self) -> bool {
        let reads_variables = self.reads_variables();
        let runs = self.sources.len() > 1 || !self.arguments.is_empty();
        let Some(source) = self.sources.last_mut() else {
            return false;
        };
        let token = source.lexer.next(reads_variables);
        if runs && token != Token::End && !self.spend(2 + token_len(&token) as u64 / 256) {
            // out of steps: what runs in place of the document ends here
            self.leave_source();
            return true;
        }
        if let Some(Frame::Collect(_)) = self.frames.last() {
            return self.collect(token);
        }
        match token {
            Token::More => return false,
            Token::End => self.end_of_source(),
            Token::Text(text) => self.text(text),
            Token::Variable(raw) => self.variable_token(raw),
            Token::Open(tag) => self.open(&tag),
            Token::Close { name, .. } => self.close(&name),
        }
        true
    }

    fn text(&mut self, text: Bytes) {
        if let Some(Frame::Include(_, blanks)) = self.frames.last_mut() {
            let fits = blanks.len() + text.len() <= self.limits.value_bytes;
            if fits && text.iter().all(u8::is_ascii_whitespace) {
                blanks.extend_from_slice(&text);
                return;
            }
            // it was never closed: it has no content
            self.close_innermost();
        }
        self.push_text(text);
    }

    fn push_text(&mut self, text: Bytes) {
        if !self.is_silent() {
            self.push(Piece::Text(text));
        }
    }

    fn variable_token(&mut self, raw: Bytes) {
        if let Some(Frame::Include(..)) = self.frames.last() {
            self.close_innermost();
        }
        if self.is_silent() {
            return;
        }
        match self.written(&raw) {
            Some(text) if text.is_empty() => {}
            Some(text) => self.push(Piece::Text(text.into())),
            None => self.push(Piece::Text(raw)),
        }
    }

    fn enter(&mut self, frame: Frame) {
        self.frames.push(frame);
    }

    fn open(&mut self, tag: &Tag) {
        if let Some(Frame::Include(..)) = self.frames.last() {
            if tag.name == "param" {
                return self.param(tag);
            }
            self.close_innermost();
        }
        if let Some(Frame::Silence { element, depth }) = self.frames.last_mut() {
            // only what has the same name matters for where it ends
            *depth += usize::from(*element == tag.name && !tag.is_empty);
            return;
        }
        match &*tag.name {
            "include" => self.include(tag),
            "remove" if !tag.is_empty => self.silence("remove"),
            "vars" => self.open_vars(tag),
            "choose" if !tag.is_empty => self.deepen(Frame::Choose { is_decided: false }),
            "when" | "otherwise" => self.branch(tag),
            "try" if !tag.is_empty => self.deepen(Frame::Try {
                attempt: None,
                except: Vec::new(),
            }),
            "attempt" | "except" => self.open_part_of_try(tag),
            "assign" => self.assign(tag),
            "foreach" => self.foreach(tag),
            "function" => self.collect_as(tag, |name| What::Function(name.to_owned()), "name"),
            "inline" => self.collect_as(tag, |name| What::Inline(name.to_owned()), "name"),
            "text" if !tag.is_empty => self.begin_collecting("text", What::Text),
            "eval" => self.eval(tag),
            "break" if !self.is_silent() => self.leave_loop(),
            "return" if !self.is_silent() && !self.arguments.is_empty() => {
                let value = tag.attribute("value").map(str::to_owned);
                let value = value.and_then(|value| self.value_of(&value));
                self.returned = Some(value.unwrap_or(Value::Undefined));
            }
            _ => {}
        }
    }

    /// Opens an element, unless that is one too many: then it vanishes with its tags, and its content
    /// stays what it is.
    fn deepen(&mut self, frame: Frame) {
        if self.frames.len() < self.limits.nesting {
            self.enter(frame);
        } else {
            self.too_deep += 1;
        }
    }

    fn silence(&mut self, element: &'static str) {
        self.deepen(Frame::Silence { element, depth: 0 });
    }

    fn open_vars(&mut self, tag: &Tag) {
        match tag.attribute("name").map(str::to_owned) {
            // an old form: the variable stands in the attribute
            Some(name) if tag.is_empty => self.variable_token(name.into()),
            Some(_) | None if tag.is_empty => {}
            Some(_) | None => self.deepen(Frame::Vars),
        }
    }

    fn branch(&mut self, tag: &Tag) {
        let Some(Frame::Choose { is_decided }) = self.frames.last() else {
            return;
        };
        let is_decided = *is_decided;
        // a choice that is not taken itself decides nothing
        let is_reached = !is_decided && !self.is_passed_over();
        let test = tag.attribute("test").map(str::to_owned);
        let name = tag.attribute("matchname").map(str::to_owned);
        let is_taken = match &*tag.name {
            "otherwise" => is_reached,
            _ => is_reached && test.is_some_and(|test| self.is_true(&test)),
        };
        if is_taken && let (Some(name), Some(captures)) = (name, self.matches.clone()) {
            self.set(&name, captures);
        }
        if let Some(Frame::Choose { is_decided }) = self.frames.last_mut() {
            *is_decided |= is_taken;
        }
        if !tag.is_empty {
            self.deepen(Frame::Branch { is_taken });
        }
    }

    /// Whether something around the innermost element says nothing.
    fn is_passed_over(&self) -> bool {
        self.frames.are_passed_over()
    }

    fn is_true(&mut self, test: &str) -> bool {
        self.value_of(test).is_some_and(|value| value.is_true())
    }

    fn open_part_of_try(&mut self, tag: &Tag) {
        if !matches!(self.frames.last(), Some(Frame::Try { .. })) || tag.is_empty {
            return;
        }
        let frame = match &*tag.name {
            "attempt" => Frame::Attempt,
            _ => Frame::Except,
        };
        if self.frames.len() < self.limits.nesting {
            self.sinks.push(Vec::new());
            self.enter(frame);
        } else {
            self.too_deep += 1;
        }
    }

    fn assign(&mut self, tag: &Tag) {
        let Some(name) = tag.attribute("name").map(str::to_owned) else {
            return;
        };
        let value = tag.attribute("value").map(str::to_owned);
        if let Some(value) = value {
            if !self.is_silent() {
                let value = match self.value_of(&value) {
                    Some(value) => value,
                    None => {
                        let (text, author) = self.filled_by(&value, Place::Data);
                        Value::Text(text, author)
                    }
                };
                self.set(&name, value);
            }
            if !tag.is_empty {
                self.silence("assign");
            }
        } else if !tag.is_empty && self.frames.len() < self.limits.nesting {
            self.sinks.push(Vec::new());
            let had_readers = std::mem::take(&mut self.has_readers);
            self.enter(Frame::Assign { name, had_readers });
        }
    }

    fn set(&mut self, name: &str, value: Value) {
        let value = self.bounded(value);
        let Some((name, key)) = name.split_once('{') else {
            let room = self.variables.len() < NAMES_MAX || self.variables.contains_key(name);
            if room {
                self.variables.insert(name.to_owned(), value);
            }
            return;
        };
        let key = key.trim_end().strip_suffix('}').and_then(parse_key);
        if let Some(key) = key {
            let key = self.evaluate(&key);
            let value = value.under(key.author());
            self.set_part(name.trim(), key.text(), value);
        }
    }

    /// Sets what a variable holds under a key: an index of a list must be one that it has, a dictionary
    /// is made if there is none.
    fn set_part(&mut self, name: &str, key: String, value: Value) {
        let changed = match self.variables.remove(name) {
            Some(Value::List(mut items)) => {
                let index = key.parse::<usize>().ok();
                if let Some(item) = index.and_then(|index| items.get_mut(index)) {
                    *item = value;
                }
                Value::List(items)
            }
            Some(Value::Dictionary(mut entries)) => {
                self.put(&mut entries, key, value);
                Value::Dictionary(entries)
            }
            Some(Value::Undefined) | None => Value::Dictionary(vec![(key, value)]),
            Some(other @ (Value::Bool(_) | Value::Number(_) | Value::Text(..))) => other,
        };
        self.set(name, changed);
    }

    /// Closes what was left open.
    fn close_down_to(&mut self, below: usize) {
        while self.frames.len() > below {
            self.close_innermost();
        }
    }

    fn close(&mut self, name: &str) {
        if let Some(Frame::Include(_, blanks)) = self.frames.last_mut() {
            let closes = name == "include";
            if closes {
                blanks.clear();
            }
            self.close_innermost();
            if closes {
                return;
            }
        }
        if let Some(Frame::Silence { element, depth }) = self.frames.last_mut() {
            if *element == name && *depth == 0 {
                self.frames.pop();
            } else {
                *depth -= usize::from(*element == name);
            }
            return;
        }
        let closes = |frame: &Frame| match frame {
            Frame::Vars => name == "vars",
            Frame::Silence { element, .. } => *element == name,
            Frame::Choose { .. } => name == "choose",
            Frame::Branch { .. } => matches!(name, "when" | "otherwise"),
            Frame::Try { .. } => name == "try",
            Frame::Attempt => name == "attempt",
            Frame::Except => name == "except",
            Frame::Assign { .. } => name == "assign",
            Frame::Include(..) | Frame::Collect(_) => false,
        };
        if self.too_deep > 0 && is_paired(name) {
            self.too_deep -= 1;
            return;
        }
        let below = self.sources.last().map_or(0, |source| source.below);
        // between two branches there is none to be closed: it is not one around the choice that ends here
        let bars = |frame: &Frame| match name {
            "when" | "otherwise" => matches!(frame, Frame::Choose { .. }),
            "attempt" | "except" => matches!(frame, Frame::Try { .. }),
            _ => false,
        };
        let mut frames = self.frames.iter();
        let at = frames.rposition(|frame| closes(frame) || bars(frame));
        if let Some(at) = at.filter(|at| *at >= below && closes(&self.frames[*at])) {
            self.close_down_to(at);
        }
    }

    fn close_innermost(&mut self) {
        match self.frames.pop() {
            Some(Frame::Include(include, blanks)) => {
                self.push_include(*include);
                if !blanks.is_empty() {
                    self.push_text(blanks.freeze());
                }
            }
            Some(Frame::Attempt) => {
                let pieces = self.sinks.pop().unwrap_or_default();
                if let Some(Frame::Try { attempt, .. }) = self.frames.last_mut() {
                    attempt.get_or_insert_default().extend(pieces);
                }
            }
            Some(Frame::Except) => {
                let pieces = self.sinks.pop().unwrap_or_default();
                if let Some(Frame::Try { except, .. }) = self.frames.last_mut() {
                    except.extend(pieces);
                }
            }
            Some(Frame::Try { attempt, except }) => {
                if let Some(attempt) = attempt.filter(|_| !self.is_silent()) {
                    self.push(Piece::Try { attempt, except });
                }
            }
            Some(Frame::Assign { name, had_readers }) => {
                let pieces = self.sinks.pop().unwrap_or_default();
                let value = self.value_written(text_of(pieces), had_readers);
                if !self.is_silent() {
                    self.set(&name, value);
                }
            }
            Some(
                Frame::Vars
                | Frame::Silence { .. }
                | Frame::Choose { .. }
                | Frame::Branch { .. }
                | Frame::Collect(_),
            )
            | None => {}
        }
    }
}

impl Machine for Esi {
    fn feed(&mut self, chunk: Bytes) {
        if let Some(document) = self.sources.first_mut() {
            document.lexer.feed(chunk);
        }
    }

    fn take_whole(&mut self, document: Bytes, tokens: &Arc<Tokens>) {
        if let Some(source) = self.sources.first_mut() {
            source.lexer.take_whole(document, tokens, self.limits);
        }
    }

    fn finish(&mut self) {
        if let Some(document) = self.sources.first_mut() {
            document.lexer.finish();
        }
    }

    fn next(&mut self) -> Step {
        loop {
            if let Some(step) = self.ready.pop_front() {
                return step;
            }
            if self.is_ended || self.asks.is_some() {
                return Step::End;
            }
            if !self.advance() {
                return Step::More;
            }
        }
    }

    fn answered(&mut self, content: Result<Bytes, Missing>) {
        let (on_failure, is_apart) = self.asks.take().unwrap_or_default();
        let apart = || (self.variables.clone(), self.functions.clone());
        match content {
            Ok(content) => self.run(Source {
                lexer: Lexer::whole(content, self.limits.value_bytes),
                below: self.frames.len(),
                too_deep: self.too_deep,
                repeat: None,
                restored: is_apart.then(apart),
            }),
            // fails in its place as an include would
            Err(_) if on_failure == OnFailure::Fail => {
                self.push(Piece::Include(Box::default()));
            }
            Err(_) => {}
        }
    }

    fn nested(&self) -> Box<dyn Machine> {
        let mut machine = Self::new(Arc::clone(&self.asked), self.limits, self.is_escaping);
        machine.variables.clone_from(&self.variables);
        machine.functions.clone_from(&self.functions);
        machine.chance = self.chance.rotate_left(32);
        Box::new(machine)
    }
}

fn token_len(token: &Token) -> usize {
    match token {
        Token::Text(text) | Token::Variable(text) | Token::Close { raw: text, .. } => text.len(),
        Token::Open(tag) => tag.raw.len(),
        Token::More | Token::End => 0,
    }
}

/// Elements that are counted when they are too deep.
fn is_paired(name: &str) -> bool {
    matches!(
        name,
        "vars" | "remove" | "choose" | "when" | "otherwise" | "try" | "attempt" | "except"
    )
}

fn text_of(pieces: impl IntoIterator<Item = Piece>) -> String {
    let mut text = Vec::new();
    for piece in pieces {
        if let Piece::Text(bytes) = piece {
            text.extend_from_slice(&bytes);
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}
