//! nginx's server-side includes. Owns what each command does, where error messages stand, and how
//! branches, blocks and stubs fit together; the spelling of directives is `directive`'s, values and
//! variables are `variables`'.
//!
//! It is nginx as its manual and its filter have it, with these exceptions: `if` may be nested; text
//! and errors of a branch that is not taken stay away; an `if` that cannot be understood counts as one
//! that does not hold; and what an included document sets is not seen outside of it.
//!
//! Invariants: text is slices of the document; at most one directive and the blocks are kept; what a
//! document may expand, nest and compile is bounded by [`Limits`].

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use jiff::tz::TimeZone;

use super::markup::{
    Asked, Include, Limits, Machine, Missing, OnFailure, Piece, Step, Tape, Tokens,
};

mod condition;
mod dates;
mod directive;
mod encode;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod properties;
mod variables;

use condition::Compiled;
use dates::Dates;
use directive::{Directive, PARAMETERS_MAX, Scanner, Token};
use encode::Encoding;
use variables::{Fuel, Invalid, Memory, Scope};

/// What stands in the place of a directive that cannot be carried out.
const ERROR: &[u8] = b"[an error occurred while processing the directive]";

/// Stubs that hold includes with stubs that hold …
const STUBS_MAX: usize = 2;

/// Text and directives of one block, in bytes; a block that is longer is none.
const BLOCK_BYTES_MAX: usize = 1024 * 1024;

/// What a directive counts in a block, in bytes.
const DIRECTIVE_BYTES: usize = 64;

/// A document with server-side includes.
pub struct Ssi {
    scanner: Scanner,
    chunks: VecDeque<Bytes>,
    is_finished: bool,
    tape: Tape<Token>,
    interpreter: Interpreter,
    /// What is said before the document goes on.
    pending: Option<Step>,
    /// What is to become of the answer to [`Step::Ask`].
    awaited: Option<Awaited>,
}

/// What a document waits for.
enum Awaited {
    /// Text in its place.
    Text,
    /// The value of this variable.
    Value(Vec<u8>),
}

impl Ssi {
    /// A document that answers this request. Local dates are those of `zone`.
    pub fn new(asked: Arc<Asked>, limits: Limits, zone: TimeZone) -> Self {
        Self::within(Interpreter::new(asked, limits, zone, Arc::default()))
    }

    fn within(interpreter: Interpreter) -> Self {
        Self {
            scanner: Scanner::default(),
            chunks: VecDeque::new(),
            is_finished: false,
            tape: Tape::None,
            interpreter,
            pending: None,
            awaited: None,
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
            if let Some(token) = self.scanner.next(chunk) {
                return Some(token);
            }
            self.chunks.pop_front();
        }
        if self.is_finished {
            return self.scanner.finish();
        }
        None
    }
}

impl Machine for Ssi {
    fn feed(&mut self, chunk: Bytes) {
        self.chunks.push_back(chunk);
    }

    fn take_whole(&mut self, document: Bytes, tokens: &Arc<Tokens>) {
        self.tape = Tape::of(&document, tokens, self.interpreter.limits);
        if !self.tape.is_played() {
            self.feed(document);
        }
        self.finish();
    }

    fn finish(&mut self) {
        self.is_finished = true;
    }

    fn next(&mut self) -> Step {
        if let Some(step) = self.pending.take() {
            return step;
        }
        while let Some(token) = self.token() {
            match self.interpreter.take(token) {
                Done::Nothing => {}
                Done::Piece(piece) => return Step::Piece(piece),
                Done::Wait(include) => {
                    self.awaited = Some(Awaited::Text);
                    return Step::Ask(include);
                }
                Done::Fetch(name, include) => {
                    self.awaited = Some(Awaited::Value(name));
                    return Step::Ask(include);
                }
            }
        }
        if self.is_finished {
            Step::End
        } else {
            Step::More
        }
    }

    fn answered(&mut self, content: Result<Bytes, Missing>) {
        let content = content.unwrap_or_default();
        match self.awaited.take() {
            None => {}
            Some(Awaited::Text) => {
                self.pending = (!content.is_empty()).then_some(Step::Piece(Piece::Text(content)));
            }
            Some(Awaited::Value(name)) => self.interpreter.fetched(&name, content),
        }
    }

    fn nested(&self) -> Box<dyn Machine> {
        let outer = &self.interpreter;
        Box::new(Self::within(Interpreter::new(
            Arc::clone(&outer.included),
            outer.limits,
            outer.dates.zone.clone(),
            Arc::clone(&outer.memory),
        )))
    }
}

/// What a token has come to.
enum Done {
    Nothing,
    Piece(Piece),
    /// The document waits until this has its place.
    Wait(Box<Include>),
    /// The document waits until this is the value of the variable.
    Fetch(Vec<u8>, Box<Include>),
}

/// An `if` whose `endif` has not come.
struct Branches {
    is_else: bool,
    /// Whether one of its branches was taken.
    is_chosen: bool,
    /// Whether the present one is.
    is_open: bool,
    /// Whether all of it is in a branch that is taken.
    is_reached: bool,
}

/// A block whose `endblock` has not come.
struct Block {
    name: Vec<u8>,
    tokens: Vec<Token>,
    bytes: usize,
}

/// What a document has come to so far.
struct Interpreter {
    asked: Arc<Asked>,
    /// The same for the document that was included last.
    included: Arc<Asked>,
    limits: Limits,
    memory: Arc<Memory>,
    dates: Dates,
    error: Bytes,
    encoding: Encoding,
    compiled: Compiled,
    fuel: Fuel,
    branches: Vec<Branches>,
    /// How many more `if`s are open than are allowed to be.
    too_deep: usize,
    block: Option<Block>,
    /// How many stubs this is in.
    stubs: usize,
}

impl Interpreter {
    fn new(asked: Arc<Asked>, limits: Limits, zone: TimeZone, memory: Arc<Memory>) -> Self {
        Self {
            included: Arc::clone(&asked),
            asked,
            limits,
            memory,
            dates: Dates::within(zone),
            error: Bytes::from_static(ERROR),
            encoding: Encoding::default(),
            compiled: Compiled::default(),
            fuel: Fuel::of(&limits),
            branches: Vec::new(),
            too_deep: 0,
            block: None,
            stubs: 0,
        }
    }

    fn take(&mut self, token: Token) -> Done {
        let token = match self.block.take() {
            None => token,
            Some(block) => match self.record(block, token) {
                None => return Done::Nothing,
                Some(end) => end,
            },
        };
        match token {
            Token::Text(text) if self.is_open() => Done::Piece(Piece::Text(text)),
            Token::Text(_) => Done::Nothing,
            Token::Directive(directive) => self.run(&directive),
            Token::Malformed(directive) => match &directive.command[..] {
                b"if" => self.begin_if(None),
                b"elif" => self.elif(None),
                _ => self.fail(self.is_open()),
            },
        }
    }

    /// Takes what stands in a block, except for its end.
    fn record(&mut self, mut block: Block, token: Token) -> Option<Token> {
        block.bytes += match &token {
            Token::Directive(directive) if directive.command == b"endblock" => {
                if block.bytes <= BLOCK_BYTES_MAX {
                    Arc::make_mut(&mut self.memory).keep_block(block.name, block.tokens);
                }
                return Some(token);
            }
            Token::Text(text) => text.len(),
            Token::Directive(_) | Token::Malformed(_) => DIRECTIVE_BYTES,
        };
        if block.bytes > BLOCK_BYTES_MAX {
            block.tokens.clear();
        } else if let (Some(Token::Text(before)), Token::Text(more)) =
            (block.tokens.last_mut(), &token)
        {
            // what a block costs does not depend on where the chunks of the document end
            let mut joined = BytesMut::from(std::mem::take(before));
            joined.extend_from_slice(more);
            *before = joined.freeze();
        } else {
            block.tokens.push(token);
        }
        self.block = Some(block);
        None
    }

    fn run(&mut self, directive: &Directive) -> Done {
        match &directive.command[..] {
            b"if" => return self.begin_if(Some(directive)),
            b"elif" => return self.elif(Some(directive)),
            b"else" => return self.begin_else(directive),
            b"endif" => return self.endif(directive),
            _ if !self.is_open() => return Done::Nothing,
            _ => {}
        }
        let done = match &directive.command[..] {
            b"include" => self.include(directive),
            b"echo" => self.echo(directive),
            b"config" => self.config(directive),
            b"set" => self.set(directive),
            b"block" => self.begin_block(directive),
            b"endblock" => parameters(directive, []).map(|[]| Done::Nothing),
            _ => Err(Invalid),
        };
        done.unwrap_or_else(|Invalid| self.fail(true))
    }

    /// Whether what stands here is seen.
    fn is_open(&self) -> bool {
        self.too_deep == 0 && self.branches.last().is_none_or(|branches| branches.is_open)
    }

    /// The error message, if it is seen.
    fn fail(&self, is_seen: bool) -> Done {
        if is_seen && !self.error.is_empty() {
            Done::Piece(Piece::Text(self.error.clone()))
        } else {
            Done::Nothing
        }
    }

    fn scope(&self) -> Scope<'_> {
        Scope {
            memory: &self.memory,
            asked: &self.asked,
            dates: &self.dates,
            limits: &self.limits,
        }
    }

    fn expand(&mut self, text: &[u8]) -> Result<Vec<u8>, Invalid> {
        let mut fuel = self.fuel;
        let expanded = self.scope().expand(text, &mut fuel);
        self.fuel = fuel;
        expanded
    }

    // conditions

    fn begin_if(&mut self, directive: Option<&Directive>) -> Done {
        let is_reached = self.is_open();
        if self.branches.len() >= self.limits.nesting {
            self.too_deep += 1;
            return self.fail(is_reached);
        }
        let holds = if is_reached {
            self.judge(directive)
        } else {
            Ok(false)
        };
        let is_open = holds == Ok(true);
        self.branches.push(Branches {
            is_else: false,
            is_chosen: is_open,
            is_open,
            is_reached,
        });
        self.fail(holds.is_err())
    }

    fn elif(&mut self, directive: Option<&Directive>) -> Done {
        if self.too_deep > 0 {
            return Done::Nothing;
        }
        let holds = match self.branches.last() {
            None => return self.fail(true),
            Some(branches) if branches.is_else => return self.fail(branches.is_reached),
            Some(branches) if branches.is_chosen || !branches.is_reached => Ok(false),
            Some(_) => self.judge(directive),
        };
        if let Some(branches) = self.branches.last_mut() {
            branches.is_open = holds == Ok(true);
            branches.is_chosen |= branches.is_open;
        }
        self.fail(holds.is_err())
    }

    fn begin_else(&mut self, directive: &Directive) -> Done {
        if self.too_deep > 0 {
            return Done::Nothing;
        }
        let is_valid = parameters(directive, []).is_ok();
        match self.branches.last_mut() {
            Some(branches) if !branches.is_else && is_valid => {
                branches.is_else = true;
                branches.is_open = branches.is_reached && !branches.is_chosen;
                Done::Nothing
            }
            branches => {
                let is_seen = branches.is_none_or(|branches| branches.is_reached);
                self.fail(is_seen)
            }
        }
    }

    fn endif(&mut self, directive: &Directive) -> Done {
        if self.too_deep > 0 {
            self.too_deep -= 1;
            return Done::Nothing;
        }
        if parameters(directive, []).is_err() {
            let is_seen = self.branches.last().is_none_or(|b| b.is_reached);
            return self.fail(is_seen);
        }
        match self.branches.pop() {
            Some(_) => Done::Nothing,
            None => self.fail(true),
        }
    }

    fn judge(&mut self, directive: Option<&Directive>) -> Result<bool, Invalid> {
        let [expression] = parameters(directive.ok_or(Invalid)?, ["expr"])?;
        let expression = expression.ok_or(Invalid)?;
        let scope = Scope {
            memory: &self.memory,
            asked: &self.asked,
            dates: &self.dates,
            limits: &self.limits,
        };
        let verdict = condition::judge(expression, &scope, &mut self.compiled, &mut self.fuel)?;
        if let Some(captures) = verdict.captures {
            let memory = Arc::make_mut(&mut self.memory);
            memory.capture(captures);
            for (name, value) in verdict.named {
                memory.set(&name, value)?;
            }
        }
        Ok(verdict.holds)
    }

    // values

    fn echo(&mut self, directive: &Directive) -> Result<Done, Invalid> {
        let [name, default, encoding] = parameters(directive, ["var", "default", "encoding"])?;
        let found = self.scope().find(name.ok_or(Invalid)?);
        let value = match (found, default) {
            (Some(value), _) => Bytes::from(value.into_owned()),
            (None, Some(default)) => Bytes::copy_from_slice(default),
            (None, None) => Bytes::from_static(b"(none)"),
        };
        if value.is_empty() {
            return Ok(Done::Nothing);
        }
        if let Some(encoding) = encoding.and_then(Encoding::named) {
            self.encoding = encoding;
        }
        self.fuel.burn(value.len())?;
        Ok(Done::Piece(Piece::Text(self.encoding.encode(value))))
    }

    fn config(&mut self, directive: &Directive) -> Result<Done, Invalid> {
        let [error, format] = parameters(directive, ["errmsg", "timefmt"])?;
        if let Some(format) = format {
            self.dates.format = format.to_vec();
        }
        if let Some(error) = error {
            self.error = Bytes::copy_from_slice(error);
        }
        Ok(Done::Nothing)
    }

    fn set(&mut self, directive: &Directive) -> Result<Done, Invalid> {
        let [name, value] = parameters(directive, ["var", "value"])?;
        let name = name.ok_or(Invalid)?;
        let value = self.expand(value.ok_or(Invalid)?)?;
        Arc::make_mut(&mut self.memory).set(name, value.into())?;
        Ok(Done::Nothing)
    }

    /// Sets a variable to what was included for it; to nothing if that is too long.
    fn fetched(&mut self, name: &[u8], content: Bytes) {
        let fits = content.len() <= self.limits.value_bytes;
        let value = if fits { content } else { Bytes::new() };
        // there was room for the name when the content was asked for
        let _ = Arc::make_mut(&mut self.memory).set(name, value);
    }

    // includes and blocks

    fn include(&mut self, directive: &Directive) -> Result<Done, Invalid> {
        let [page, file, wait, set, stub] =
            parameters(directive, ["virtual", "file", "wait", "set", "stub"])?;
        let is_awaited = match wait {
            None => file.is_some(),
            Some(_) if page.is_none() => return Err(Invalid),
            Some(wait) if wait.eq_ignore_ascii_case(b"yes") => true,
            Some(wait) if wait.eq_ignore_ascii_case(b"no") => false,
            Some(_) => return Err(Invalid),
        };
        let (Some(address), None) = (page.or(file), page.and(file)) else {
            return Err(Invalid);
        };
        if set.is_some() && stub.is_some() {
            return Err(Invalid);
        }
        let address = self.expand(address)?;
        if !is_safe(&address) {
            return Err(Invalid);
        }
        let src = encode::address(&address);
        let included = Arc::new(asked_for(&src, &self.asked));
        let on_failure = match stub {
            None => OnFailure::LeaveOut,
            Some(name) => self.stub(name, &included)?,
        };
        self.included = included;
        let include = Box::new(Include {
            // the manual: a stub stands in for an empty answer too
            empty_fails: stub.is_some(),
            on_failure,
            // a value is what was answered; nginx does not look for directives in it either
            is_markup: set.map(|_| false),
            offset: directive.offset,
            ..Include::of(src)
        });
        Ok(match set {
            Some(name) => {
                Arc::make_mut(&mut self.memory).set(name, Bytes::new())?;
                Done::Fetch(name.to_vec(), include)
            }
            None if is_awaited => Done::Wait(include),
            None => Done::Piece(Piece::Include(include)),
        })
    }

    fn begin_block(&mut self, directive: &Directive) -> Result<Done, Invalid> {
        let [name] = parameters(directive, ["name"])?;
        self.block = Some(Block {
            name: name.ok_or(Invalid)?.to_vec(),
            tokens: Vec::new(),
            bytes: 0,
        });
        Ok(Done::Nothing)
    }

    /// What the block says in the place of a document asked for like this.
    fn stub(&mut self, name: &[u8], included: &Arc<Asked>) -> Result<OnFailure, Invalid> {
        let block = self.memory.block(name).ok_or(Invalid)?;
        if self.stubs == STUBS_MAX {
            return Ok(OnFailure::LeaveOut);
        }
        let zone = self.dates.zone.clone();
        let memory = Arc::clone(&self.memory);
        let mut inner = Self {
            fuel: self.fuel,
            stubs: self.stubs + 1,
            ..Self::new(Arc::clone(included), self.limits, zone, memory)
        };
        let mut pieces = Vec::new();
        for token in block.iter() {
            inner.fuel.burn(0)?;
            match inner.take(token.clone()) {
                Done::Nothing => {}
                Done::Piece(piece) => pieces.push(piece),
                // nothing that stands in may wait: it is there already when it is needed
                Done::Wait(include) => pieces.push(Piece::Include(include)),
                Done::Fetch(name, _) => inner.fetched(&name, Bytes::new()),
            }
        }
        self.fuel = inner.fuel;
        Ok(OnFailure::Instead(pieces))
    }
}

/// The values of these parameters, of which a directive has no others and none twice.
fn parameters<'d, const N: usize>(
    directive: &'d Directive,
    names: [&str; N],
) -> Result<[Option<&'d [u8]>; N], Invalid> {
    if directive.parameters.len() > PARAMETERS_MAX {
        return Err(Invalid);
    }
    let mut values = [None; N];
    for (name, value) in &directive.parameters {
        let place = names.iter().position(|known| known.as_bytes() == &name[..]);
        let place = &mut values[place.ok_or(Invalid)?];
        if place.replace(&value[..]).is_some() {
            return Err(Invalid);
        }
    }
    Ok(values)
}

/// Whether nginx would take this address: it is one, and does not climb.
fn is_safe(address: &[u8]) -> bool {
    let path = address.split(|b| *b == b'?').next().unwrap_or_default();
    let path: Vec<u8> = percent_encoding::percent_decode(path).collect();
    !path.is_empty()
        && !path.contains(&0)
        && path.split(|b| *b == b'/').all(|segment| segment != b"..")
}

/// The request of a document that is included under this address.
fn asked_for(src: &str, asked: &Asked) -> Asked {
    let (address, query) = src.split_once('?').unwrap_or((src, ""));
    let path = if address.starts_with('/') {
        address.to_owned()
    } else if let Some((_, rest)) = address.split_once("://") {
        rest.find('/').map_or("/", |at| &rest[at..]).to_owned()
    } else {
        let folder = asked.path.rfind('/').map_or("/", |at| &asked.path[..=at]);
        format!("{folder}{address}")
    };
    Asked {
        path,
        query: query.to_owned(),
        ..asked.clone()
    }
}

#[cfg(test)]
mod tests;
