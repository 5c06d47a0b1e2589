//! What a document that is here as a whole was read as. Owns where its tokens are kept, so that a copy is
//! read once, however often it is woven, and what they weigh; what a token is is each language's affair.
//!
//! What comes of a document may depend on who asks for it. Where its tokens begin and end depends on
//! nothing but its text and the [`Limits`]: a language whose tokens depend on more cannot keep them.
//!
//! Invariants: what is kept weighs no more than the document and a little; tokens that were read by other
//! limits, or as another language, are not used.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::Limits;

/// What the tokens of a short document may weigh, in bytes: a few tags with their attributes. Those of a
/// longer one may weigh as much as its text. A document that is hardly more than tags would cost a
/// multiple of what its copy does, and is read each time.
const WEIGHT_MIN: usize = 16 * 1024;

/// The tokens of one document, once they are known.
#[derive(Default)]
pub struct Tokens(OnceLock<Read>);

struct Read {
    limits: Limits,
    /// An `Arc<[T]>` of whatever token the language has; something else if they were too heavy.
    tokens: Box<dyn Any + Send + Sync>,
    weight: usize,
}

impl Tokens {
    /// Whether somebody has read the document to its end.
    pub fn are_known(&self) -> bool {
        self.0.get().is_some()
    }

    /// Bytes that they take, besides the document of which they are slices.
    pub fn weight(&self) -> usize {
        self.0.get().map_or(0, |read| read.weight)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("are_known", &self.are_known())
            .field("weight", &self.weight())
            .finish()
    }
}

/// A token that can be kept.
pub(in crate::layout) trait Kept: Clone + Send + Sync + 'static {
    /// Bytes on the heap, where `apart` says how many of a text are not the document's own.
    fn heap(&self, apart: impl Fn(&Bytes) -> usize) -> usize;
}

/// Where the tokens of a document come from and go to.
#[derive(Default)]
pub(in crate::layout) enum Tape<T> {
    /// They are read while the document arrives, and nobody keeps them.
    #[default]
    None,
    /// They are read for the first time.
    Recorded {
        so_far: Vec<T>,
        weight: usize,
        document: Bytes,
        limits: Limits,
        tokens: Arc<Tokens>,
    },
    /// They were read before.
    Played { tokens: Arc<[T]>, next: usize },
}

impl<T: Kept> Tape<T> {
    /// For a document that is here as a whole.
    pub(in crate::layout) fn of(document: &Bytes, tokens: &Arc<Tokens>, limits: Limits) -> Self {
        let Some(read) = tokens.0.get() else {
            return Self::Recorded {
                so_far: Vec::new(),
                weight: 0,
                document: document.clone(),
                limits,
                tokens: Arc::clone(tokens),
            };
        };
        let known = read.tokens.downcast_ref::<Arc<[T]>>();
        match known.filter(|_| read.limits == limits) {
            Some(tokens) => Self::Played {
                tokens: Arc::clone(tokens),
                next: 0,
            },
            None => Self::None,
        }
    }

    /// Whether nothing of the document has to be read.
    pub(in crate::layout) fn is_played(&self) -> bool {
        matches!(self, Self::Played { .. })
    }

    /// The next token of a document that was read before; `None` after its last one.
    pub(in crate::layout) fn play(&mut self) -> Option<T> {
        let Self::Played { tokens, next } = self else {
            return None;
        };
        let token = tokens.get(*next).cloned();
        *next += 1;
        token
    }

    /// This token was read.
    pub(in crate::layout) fn record(&mut self, token: &T) {
        let Self::Recorded {
            so_far,
            weight,
            document,
            ..
        } = self
        else {
            return;
        };
        let own = document.as_ptr_range();
        let apart = |text: &Bytes| match own.contains(&text.as_ptr()) || text.is_empty() {
            true => 0,
            false => text.len(),
        };
        *weight += size_of::<T>() + token.heap(apart);
        if *weight > document.len().max(WEIGHT_MIN) {
            // nobody need try again
            self.keep(Box::new(()), 0);
        } else {
            so_far.push(token.clone());
        }
    }

    /// It was the last one.
    pub(in crate::layout) fn end(&mut self) {
        if let Self::Recorded { so_far, weight, .. } = self {
            let tokens: Arc<[T]> = std::mem::take(so_far).into();
            let weight = *weight;
            self.keep(Box::new(tokens), weight);
        }
    }

    fn keep(&mut self, read: Box<dyn Any + Send + Sync>, weight: usize) {
        if let Self::Recorded { limits, tokens, .. } = std::mem::take(self) {
            // who reads it at the same time reads the same
            let _ = tokens.0.set(Read {
                limits,
                tokens: read,
                weight,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Word(Bytes);

    impl Kept for Word {
        fn heap(&self, apart: impl Fn(&Bytes) -> usize) -> usize {
            apart(&self.0)
        }
    }

    fn read(document: &Bytes, words: &[Bytes], tokens: &Arc<Tokens>) {
        let mut tape = Tape::of(document, tokens, Limits::default());
        for word in words {
            tape.record(&Word(word.clone()));
        }
        tape.end();
    }

    #[test]
    fn what_was_read_to_its_end_is_played_by_the_same_limits() {
        let document = Bytes::from_static(b"one two");
        let words = [document.slice(..3), document.slice(4..)];
        let tokens = Arc::default();
        let mut unfinished = Tape::of(&document, &tokens, Limits::default());
        unfinished.record(&Word(words[0].clone()));
        drop(unfinished);
        assert!(!tokens.are_known());
        read(&document, &words, &tokens);
        let mut tape = Tape::<Word>::of(&document, &tokens, Limits::default());
        assert!(tape.is_played());
        let played: Vec<Word> = std::iter::from_fn(|| tape.play()).collect();
        assert_eq!(played, words.map(Word));
        let tighter = Limits {
            nesting: 1,
            ..Limits::default()
        };
        assert!(!Tape::<Word>::of(&document, &tokens, tighter).is_played());
    }

    #[test]
    fn they_weigh_what_is_not_the_documents() {
        let document = Bytes::from_static(b"one two");
        let (own, apart) = (Arc::default(), Arc::default());
        read(&document, &[document.slice(..3)], &own);
        read(&document, &[Bytes::from_static(b"six")], &apart);
        assert_eq!(own.weight(), size_of::<Word>());
        assert_eq!(apart.weight(), size_of::<Word>() + 3);
    }

    #[test]
    fn those_that_outweigh_their_document_are_not_kept() {
        let document = Bytes::from(vec![b'<'; 2 * WEIGHT_MIN]);
        for (count, are_kept) in [(1, true), (0, false)] {
            let fitting = document.len() / size_of::<Word>();
            let words = vec![document.slice(..1); fitting + 1 - count];
            let tokens = Arc::default();
            read(&document, &words, &tokens);
            let tape = Tape::<Word>::of(&document, &tokens, Limits::default());
            assert_eq!(tape.is_played(), are_kept);
            assert!(tokens.weight() <= document.len());
            assert!(tokens.are_known(), "and nobody tries again");
        }
    }
}
