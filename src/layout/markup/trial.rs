//! Documents from text to text, for the tests of the languages: includes are answered from a table. Owns
//! what is to hold of every language, however its documents are cut; no rule of any one of them.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use super::{Asked, Include, Machine, Missing, OnFailure, Piece, Step, Tokens};

/// A request for `/page?query` with these headers.
pub(crate) fn asked(query: &str, headers: &[(&'static str, &'static str)]) -> Asked {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, value.parse().expect("a header's value"));
    }
    Asked {
        method: Method::GET,
        scheme: "http",
        path: "/page".to_owned(),
        query: query.to_owned(),
        headers: map,
        client: None,
        unix_seconds: 784_111_777,
    }
}

/// What comes of the document, and which addresses it asked for, in that order. What is not in
/// `answers` is missing; what is there and begins with `!` is markup. A failed page is an error.
pub(crate) fn run<'c>(
    machine: Box<dyn Machine>,
    chunks: impl IntoIterator<Item = &'c [u8]>,
    answers: &[(&str, &str)],
) -> (Result<Vec<u8>, String>, Vec<String>) {
    let mut trial = Trial {
        answers,
        sought: Vec::new(),
        depth: 0,
    };
    let chunks = chunks.into_iter().map(Bytes::copy_from_slice).collect();
    let written = trial.document(machine, chunks);
    (written, trial.sought)
}

/// Stands for the border of a chunk in what is tried, and is taken out of it.
pub(crate) const BORDER: u8 = 0x1f;

/// The pieces of what is tried, between its borders.
pub(crate) fn pieces(input: &[u8]) -> Vec<&[u8]> {
    input.split(|byte| *byte == BORDER).collect()
}

/// Ways to cut a document: not at all, at its borders, after each byte.
fn cuts<'d>(document: &'d [u8], pieces: &[&'d [u8]]) -> [Vec<&'d [u8]>; 3] {
    [
        vec![document],
        pieces.to_vec(),
        document.chunks(1).collect(),
    ]
}

/// What comes of the document between the borders, as [`run`] says it: the same wherever chunks end,
/// and whether they are there at once or come one after another.
pub(crate) fn run_in_any_chunks(
    machine: impl Fn() -> Box<dyn Machine>,
    input: &[u8],
    answers: &[(&str, &str)],
) -> (Result<Vec<u8>, String>, Vec<String>) {
    let pieces = pieces(input);
    let document = pieces.concat();
    let whole = run(machine(), [&document[..]], answers);
    for chunks in cuts(&document, &pieces) {
        let count = chunks.len();
        let mut at_once = machine();
        for chunk in &chunks {
            at_once.feed(Bytes::copy_from_slice(chunk));
        }
        at_once.finish();
        let of_all = run(at_once, [], answers);
        assert_same(&of_all, &whole, &format!("{count} chunks that are there"));
        let in_turn = run(machine(), chunks, answers);
        assert_same(&in_turn, &whole, &format!("{count} chunks in turn"));
    }
    whole
}

/// Whoever is given a document as `first` has read it gets what they would have got without that.
pub(crate) fn kept_tokens_make_no_difference(
    first: impl Fn() -> Box<dyn Machine>,
    other: impl Fn() -> Box<dyn Machine>,
    input: &[u8],
    answers: &[(&str, &str)],
) {
    let document = pieces(input).concat();
    let copy = Bytes::from(document.clone());
    let tokens = Arc::default();
    for (machine, answers, how) in [
        (
            &first as &dyn Fn() -> Box<dyn Machine>,
            &[][..],
            "read first",
        ),
        (&other, answers, "read before"),
    ] {
        let anew = run(machine(), [&document[..]], answers);
        let of_copy = run_whole(machine(), &copy, &tokens, answers);
        assert_same(&of_copy, &anew, how);
    }
}

/// What comes of a document that is here as a whole, as [`run`] says it.
pub(crate) fn run_whole(
    mut machine: Box<dyn Machine>,
    document: &Bytes,
    tokens: &Arc<Tokens>,
    answers: &[(&str, &str)],
) -> (Result<Vec<u8>, String>, Vec<String>) {
    machine.take_whole(document.clone(), tokens);
    run(machine, [], answers)
}

fn assert_same(
    (written, sought): &(Result<Vec<u8>, String>, Vec<String>),
    whole: &(Result<Vec<u8>, String>, Vec<String>),
    how: &str,
) {
    let text = |written: &Result<Vec<u8>, String>| match written {
        Ok(bytes) => bytes.escape_ascii().to_string(),
        Err(why) => format!("FAILED {why}"),
    };
    assert_eq!(text(written), text(&whole.0), "written from {how}");
    assert_eq!(sought, &whole.1, "asked for by {how}");
}

/// What reading a document has cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) tokens: usize,
    /// Bytes that were looked at, or copied.
    pub(crate) looked_at: usize,
}

/// Bytes that may be looked at for each byte of a document.
const LOOKS_MAX: usize = 32;

/// However the document between the borders is cut, what reading it costs grows with its length and
/// with nothing else.
pub(crate) fn costs_by_its_length(input: &[u8], cost: impl Fn(&[&[u8]]) -> Cost) {
    let pieces = pieces(input);
    let document = pieces.concat();
    for chunks in cuts(&document, &pieces) {
        let found = cost(&chunks);
        // with every chunk something may be told that was held back, and there may be empty ones
        let tokens_max = document.len() + chunks.len() + 1;
        let looks_max = LOOKS_MAX * tokens_max;
        assert!(
            found.tokens <= tokens_max && found.looked_at <= looks_max,
            "{} bytes in {} chunks: {found:?}",
            document.len(),
            chunks.len(),
        );
    }
}

/// The same for long documents that repeat each of these.
#[cfg(test)]
pub(crate) fn hostile_documents_cost_by_their_length(
    units: &[&str],
    cost: impl Fn(&[&[u8]]) -> Cost,
) {
    const LONG: usize = 1 << 18;
    for unit in units {
        let mut document = unit.repeat(LONG / unit.len()).into_bytes();
        for at in (0..document.len()).step_by(1000) {
            document.insert(at, BORDER);
        }
        costs_by_its_length(&document, &cost);
    }
}

/// How often the machine says something of a document that repeats each of these, when it is twenty times
/// as long: no more than some twenty times as often.
#[cfg(test)]
pub(crate) fn hostile_documents_take_steps_by_their_length(
    units: &[&str],
    machine: impl Fn() -> Box<dyn Machine>,
) {
    for unit in units {
        let steps = |bytes: usize| {
            let mut machine = machine();
            machine.feed(Bytes::from(unit.repeat(bytes / unit.len())));
            machine.finish();
            let mut steps = 0;
            while machine.next() != Step::End {
                steps += 1;
            }
            steps
        };
        let (small, large) = (steps(5_000), steps(100_000));
        assert!(
            large <= 22 * small + 20,
            "{unit}: {small} steps, then {large}"
        );
    }
}

/// Tokens, those that follow one another and join as one.
#[cfg(test)]
pub(crate) fn joined<T>(tokens: Vec<T>, join: impl Fn(&mut T, &T) -> bool) -> Vec<T> {
    let mut joined: Vec<T> = Vec::new();
    for token in tokens {
        let is_joined = joined.last_mut().is_some_and(|last| join(last, &token));
        if !is_joined {
            joined.push(token);
        }
    }
    joined
}

struct Trial<'a> {
    answers: &'a [(&'a str, &'a str)],
    sought: Vec<String>,
    depth: usize,
}

impl Trial<'_> {
    fn document(
        &mut self,
        mut machine: Box<dyn Machine>,
        chunks: Vec<Bytes>,
    ) -> Result<Vec<u8>, String> {
        let mut chunks = chunks.into_iter();
        let mut written = Vec::new();
        loop {
            match machine.next() {
                Step::Piece(piece) => written.extend(self.piece(&piece, &*machine)?),
                Step::Ask(include) => {
                    let content = self.include(&include, &*machine).map(Bytes::from);
                    machine.answered(content.map_err(|why| Missing { status: None, why }));
                }
                Step::More => match chunks.next() {
                    Some(chunk) => machine.feed(chunk),
                    None => machine.finish(),
                },
                Step::End => return Ok(written),
                Step::Fail(problem) => return Err(problem.to_string()),
            }
        }
    }

    fn piece(&mut self, piece: &Piece, machine: &dyn Machine) -> Result<Vec<u8>, String> {
        match piece {
            Piece::Text(text) => Ok(text.to_vec()),
            Piece::Include(include) => self.include(include, machine),
            Piece::Try { attempt, except } => self
                .pieces(attempt, machine)
                .or_else(|_| self.pieces(except, machine)),
            Piece::Head(change) => Ok(format!("{{{change:?}}}").into_bytes()),
        }
    }

    fn pieces(&mut self, pieces: &[Piece], machine: &dyn Machine) -> Result<Vec<u8>, String> {
        let mut written = Vec::new();
        for piece in pieces {
            written.extend(self.piece(piece, machine)?);
        }
        Ok(written)
    }

    fn include(&mut self, include: &Include, machine: &dyn Machine) -> Result<Vec<u8>, String> {
        for src in [Some(&include.src), include.alt.as_ref()]
            .into_iter()
            .flatten()
        {
            self.sought.push(src.clone());
            let found = self.answers.iter().find(|(address, _)| address == src);
            let Some((_, content)) = found else { continue };
            if content.is_empty() && include.empty_fails {
                continue;
            }
            return match content.strip_prefix('!') {
                Some(markup) if self.depth < 5 && include.is_markup != Some(false) => {
                    self.depth += 1;
                    let chunks = vec![Bytes::from(markup.to_owned())];
                    let written = self.document(machine.nested(), chunks);
                    self.depth -= 1;
                    written
                }
                _ => Ok(content.as_bytes().to_vec()),
            };
        }
        match &include.on_failure {
            OnFailure::Fail => Err(format!("{} {}", include.src, StatusCode::BAD_GATEWAY)),
            OnFailure::LeaveOut => Ok(Vec::new()),
            OnFailure::Instead(pieces) => self.pieces(&pieces.clone(), machine),
        }
    }
}
