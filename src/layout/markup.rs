//! Markup that is read while a document arrives: the seam between the languages (each a [`Machine`])
//! and whoever fetches what they include. Owns what a machine may ask for and what comes of it; knows
//! nothing of origins, caches or deadlines.
//!
//! Invariants: a machine never waits, never reads a clock and never fails to end: each call of
//! [`Machine::next`] either takes the document forward or says what it waits for. The borders of the
//! chunks that it is fed have no influence on what comes out.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

mod tokens;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod trial;
pub(super) mod work;

pub use tokens::Tokens;
pub(super) use tokens::{Kept, Tape};

/// A document in a markup language, read as it arrives.
pub trait Machine: Send {
    /// Takes the next chunk of the document. Chunks that come before the last ones are used up are kept.
    fn feed(&mut self, chunk: Bytes);

    /// Takes a document that is here as a whole, in the place of all chunks and of their end. It is read
    /// only if it was not read before: what it was read as is kept in `tokens`, which are its own.
    fn take_whole(&mut self, document: Bytes, tokens: &Arc<Tokens>);

    /// There is no more of the document.
    fn finish(&mut self);

    /// What is to be done next. After [`Step::Ask`], the answer is given with
    /// [`answered`](Self::answered) before the next call.
    fn next(&mut self) -> Step;

    /// The content that [`Step::Ask`] asked for, or that it could not be had.
    fn answered(&mut self, content: Result<Bytes, Missing>);

    /// A machine for a document that the piece given last includes, of which the answer says that it is
    /// in this language too: for the same request, with what has been set so far.
    fn nested(&self) -> Box<dyn Machine>;
}

/// What a machine says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The next piece of the output, in document order. All its includes start at once, and whoever
    /// drives the machine goes on without waiting for them.
    Piece(Piece),
    /// The machine cannot go on without this content.
    Ask(Box<Include>),
    /// The next chunk is needed, or [`Machine::finish`].
    More,
    /// The end of the document: nothing comes after it, whatever is fed.
    End,
    /// The page as a whole fails. Nothing comes after it.
    Fail(Problem),
}

/// A piece of the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Written as it is: a slice of the document wherever possible.
    Text(Bytes),
    /// What another document has to say.
    Include(Box<Include>),
    /// `attempt` if no include in it fails, otherwise `except`, of which nothing is fetched before.
    Try {
        /// What is tried.
        attempt: Vec<Self>,
        /// What stands in for all of it.
        except: Vec<Self>,
    },
    /// Something about the answer's head, heeded as long as the head has not been sent.
    Head(HeadChange),
}

/// What a document says about the head of the answer that it becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadChange {
    /// One more header.
    Add(HeaderName, HeaderValue),
    /// This header instead of others of its name.
    Set(HeaderName, HeaderValue),
    /// Another status.
    Status(StatusCode),
    /// The reader is to go elsewhere.
    Redirect(HeaderValue),
    /// This is the page, and nothing else of the document.
    Body(Bytes),
}

/// A document that is to be inserted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Include {
    /// Its address: variables and entities are replaced, otherwise as written, and not yet resolved
    /// against the address of the document.
    pub src: String,
    /// Another address, asked when the first one fails.
    pub alt: Option<String>,
    /// What happens when neither gives anything.
    pub on_failure: OnFailure,
    /// How long the document says that it may take.
    pub max_wait: Option<Duration>,
    /// How long the document says that a copy is good for.
    pub ttl: Option<Duration>,
    /// Another method than `GET`.
    pub method: Option<Method>,
    /// The body of the request.
    pub body: Option<Bytes>,
    /// What the document changes about the headers of the request.
    pub headers: Vec<HeaderEdit>,
    /// Whether the document itself says that the content is markup, or that it is not; `None` leaves it
    /// to the answer and to the site.
    pub is_markup: Option<bool>,
    /// Whether an empty answer counts as a failure (the `stub` of nginx).
    pub empty_fails: bool,
    /// Whether the answer is shown whatever its status, as nginx does.
    pub shows_errors: bool,
    /// Whether this include decides the status and the headers of the page (Tailor).
    pub is_primary: bool,
    /// Whether it is written at the end of the document instead (Tailor's `async`).
    pub is_late: bool,
    /// Whether nothing of the reader's request is forwarded (Tailor's `public`).
    pub is_public: bool,
    /// Whether the headers of the answer join those of the page (Tailor's `return-headers`).
    pub returns_headers: bool,
    /// Where in the document its tag begins, for messages.
    pub offset: u64,
}

impl Include {
    /// An include of this address that is otherwise ordinary.
    pub fn of(src: impl Into<String>) -> Self {
        Self {
            src: src.into(),
            ..Self::default()
        }
    }
}

/// What happens when an include gives nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// It fails what it is part of: the attempt around it, or else the page, if the site wants that.
    #[default]
    Fail,
    /// Nothing is written.
    LeaveOut,
    /// This is written.
    Instead(Vec<Piece>),
}

/// A change of the headers of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderEdit {
    /// One more line.
    Append(HeaderName, HeaderValue),
    /// This line instead of others of the name.
    Set(HeaderName, HeaderValue),
    /// None of this name.
    Remove(HeaderName),
}

/// Content that could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Missing {
    /// What the origin answered, if it did.
    pub status: Option<StatusCode>,
    /// Why, for people.
    pub why: String,
}

/// Why a page as a whole fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}, at byte {offset}")]
pub struct Problem {
    /// What is wrong, for people.
    pub what: String,
    /// Where in the document.
    pub offset: u64,
}

/// What documents may ask about the request that they answer. All of it comes from the reader: a
/// language that writes it into HTML escapes it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The method.
    pub method: Method,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The path, as it was written.
    pub path: String,
    /// The query without its `?`, as it was written; empty if there is none.
    pub query: String,
    /// The headers, `host` among them.
    pub headers: HeaderMap,
    /// Who asks.
    pub client: Option<IpAddr>,
    /// When, in seconds since 1970 (UTC).
    pub unix_seconds: i64,
}

/// How far documents may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Elements inside one another. What is deeper is left as it is, or dropped as the language has it.
    pub nesting: usize,
    /// The longest tag, expression or value, in bytes.
    pub value_bytes: usize,
    /// Steps of loops, calls and comparisons of one document.
    pub steps: u64,
}

impl Default for Limits {
    /// Far beyond what pages do, and small enough for any machine. Steps: a few milliseconds of work.
    fn default() -> Self {
        Self {
            nesting: 64,
            value_bytes: 64 * 1024,
            steps: 100_000,
        }
    }
}
