//! Documents from text to text, for the tests of the languages: includes are answered from a table.
//! Owns no rule of any language.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use super::{Asked, Include, Machine, Missing, OnFailure, Piece, Step};

/// A request for `/page?query` with these headers.
pub(crate) fn asked(query: &str, headers: &[(&'static str, &'static str)]) -> Asked {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, value.parse().unwrap());
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
