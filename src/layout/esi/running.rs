//! What is run in the place of the document: the bodies of loops and functions, and what `eval` has
//! brought. Owns how the content of an element is collected for that, and where it ends.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use super::functions::ITEMS_MAX;
use super::tokens::{Lexer, Tag, Token};
use super::value::{Author, Value};
use super::variables::pairs_of;
use super::{Esi, Frame, NAMES_MAX, text_of};

/// Text that an element collects, such as the body of a loop.
const COLLECTED_MAX: usize = 1024 * 1024;

/// Where tokens come from.
pub(super) struct Source {
    pub(super) lexer: Lexer,
    /// How many elements were open when it began.
    pub(super) below: usize,
    /// How many were too deep. Were those counted on that it leaves open, what follows it would be read
    /// otherwise after two rounds of a loop than after one.
    pub(super) too_deep: usize,
    /// The rounds that are to come.
    pub(super) repeat: Option<Repeat>,
    /// The variables and functions that are valid again when it has ended.
    pub(super) restored: Option<(BTreeMap<String, Value>, BTreeMap<String, Bytes>)>,
}

pub(super) struct Repeat {
    pub(super) body: Bytes,
    pub(super) item: String,
    pub(super) items: std::vec::IntoIter<Value>,
}

/// An element whose content is kept as it is.
pub(super) struct Collected {
    pub(super) element: String,
    pub(super) what: What,
    /// Elements of the same name inside it.
    pub(super) depth: usize,
    pub(super) raw: BytesMut,
}

/// What becomes of a collected content.
pub(super) enum What {
    Loop { items: Vec<Value>, item: String },
    Function(String),
    Text,
    Inline(String),
    Nothing,
}

impl Esi {
    pub(super) fn foreach(&mut self, tag: &Tag) {
        if tag.is_empty {
            return;
        }
        if self.is_silent() {
            return self.begin_collecting("foreach", What::Nothing);
        }
        let collection = tag.attribute("collection").map(str::to_owned);
        let item = tag.attribute("item").unwrap_or("item").to_owned();
        let items = match collection.and_then(|collection| self.collection_of(&collection)) {
            Some(Value::List(items)) => items,
            Some(Value::Dictionary(entries)) => entries
                .into_iter()
                .map(|(key, value)| {
                    let key = Value::Text(key, value.author());
                    Value::List(vec![key, value])
                })
                .collect(),
            Some(Value::Text(query, Author::ReaderQuery)) => pairs_of(&query)
                .take(ITEMS_MAX)
                .map(|(key, value)| Value::List(vec![Value::readers(key), Value::readers(value)]))
                .collect(),
            Some(Value::Undefined) | None => Vec::new(),
            Some(one) => vec![one],
        };
        self.begin_collecting("foreach", What::Loop { items, item });
    }

    pub(super) fn collect_as(&mut self, tag: &Tag, what: impl FnOnce(&str) -> What, name: &str) {
        if tag.is_empty {
            return;
        }
        let what = match tag.attribute(name) {
            Some(name) if !self.is_silent() => what(name),
            Some(_) | None => What::Nothing,
        };
        self.begin_collecting(&tag.name, what);
    }

    pub(super) fn begin_collecting(&mut self, element: &str, what: What) {
        let collected = Collected {
            element: element.to_owned(),
            what,
            depth: 0,
            raw: BytesMut::new(),
        };
        self.enter(Frame::Collect(Box::new(collected)));
    }

    /// Keeps a token of an element whose content is run later, or not at all.
    pub(super) fn collect(&mut self, token: Token) -> bool {
        let Some(Frame::Collect(collected)) = self.frames.last_mut() else {
            return true;
        };
        let (raw, ends) = match token {
            Token::More => return false,
            Token::End => {
                self.frames.pop();
                self.end_of_source();
                return true;
            }
            Token::Text(raw) | Token::Variable(raw) => (raw, false),
            Token::Open(tag) => {
                collected.depth += usize::from(tag.name == collected.element && !tag.is_empty);
                (tag.raw.clone(), false)
            }
            Token::Close { name, raw } if name == collected.element => {
                let ends = collected.depth == 0;
                collected.depth = collected.depth.saturating_sub(1);
                (raw, ends)
            }
            Token::Close { raw, .. } => (raw, false),
        };
        if !ends {
            if collected.raw.len() + raw.len() <= COLLECTED_MAX {
                collected.raw.extend_from_slice(&raw);
            } else {
                collected.what = What::Nothing;
            }
            return true;
        }
        if let Some(Frame::Collect(collected)) = self.frames.pop() {
            self.collected(*collected);
        }
        true
    }

    pub(super) fn collected(&mut self, collected: Collected) {
        let raw = collected.raw.freeze();
        match collected.what {
            What::Nothing => {}
            What::Text => self.text(raw),
            What::Function(name) => {
                if self.functions.len() < NAMES_MAX {
                    self.functions.insert(name, raw);
                }
            }
            What::Inline(name) => {
                if self.inlines.len() < NAMES_MAX {
                    self.inlines.insert(name, raw);
                }
            }
            What::Loop { items, item } => self.run(Source {
                lexer: Lexer::whole(Bytes::new(), self.limits.value_bytes),
                below: self.frames.len(),
                too_deep: self.too_deep,
                repeat: Some(Repeat {
                    body: raw,
                    item,
                    items: items.into_iter(),
                }),
                restored: None,
            }),
        }
    }

    /// Runs something in the place of the document, unless that is too deep.
    pub(super) fn run(&mut self, source: Source) {
        if self.sources.len() < self.limits.nesting {
            self.sources.push(source);
        }
    }

    /// A source is used up: its next round, or what is under it.
    pub(super) fn end_of_source(&mut self) {
        let Some(source) = self.sources.last_mut() else {
            return;
        };
        let (below, too_deep) = (source.below, source.too_deep);
        let next = source.repeat.as_mut().and_then(|repeat| {
            let value = repeat.items.next()?;
            Some((repeat.item.clone(), repeat.body.clone(), value))
        });
        self.close_down_to(below);
        self.too_deep = too_deep;
        let Some((item, body, value)) = next else {
            self.leave_source();
            return;
        };
        self.set(&item, value);
        let lexer = Lexer::whole(body, self.limits.value_bytes);
        if let Some(source) = self.sources.last_mut() {
            source.lexer = lexer;
        }
    }

    pub(super) fn leave_source(&mut self) {
        let Some(source) = self.sources.last() else {
            return;
        };
        let (below, too_deep) = (source.below, source.too_deep);
        self.close_down_to(below);
        self.too_deep = too_deep;
        let restored = self.sources.pop().and_then(|source| source.restored);
        if let Some((variables, functions)) = restored {
            self.variables = variables;
            self.functions = functions;
        }
        if self.sources.is_empty() && self.arguments.is_empty() {
            self.is_ended = true;
        }
    }

    /// `break`: the innermost loop ends.
    pub(super) fn leave_loop(&mut self) {
        let Some(at) = self.sources.iter().rposition(|s| s.repeat.is_some()) else {
            return;
        };
        while self.sources.len() > at {
            self.leave_source();
        }
    }

    /// Runs a function to its end, and gives what it returns, or what it writes.
    pub(super) fn run_apart(&mut self, body: Bytes) -> Value {
        let sources = std::mem::take(&mut self.sources);
        let frames = std::mem::take(&mut self.frames);
        let sinks = std::mem::replace(&mut self.sinks, vec![Vec::new()]);
        let too_deep = std::mem::take(&mut self.too_deep);
        let had_readers = std::mem::take(&mut self.has_readers);
        self.sources.push(Source {
            lexer: Lexer::whole(body, self.limits.value_bytes),
            below: 0,
            too_deep: 0,
            repeat: None,
            restored: None,
        });
        while !self.sources.is_empty() && self.returned.is_none() {
            self.advance();
        }
        self.close_down_to(0);
        let written = std::mem::take(&mut self.sinks);
        self.sources = sources;
        self.frames = frames;
        self.sinks = sinks;
        self.too_deep = too_deep;
        let text = text_of(written.into_iter().flatten());
        let written = self.value_written(text, had_readers);
        match self.returned.take() {
            Some(value) => value,
            None => self.bounded(written),
        }
    }
}
