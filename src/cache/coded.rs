//! What is made of a copy and kept with it: how it is sent compressed, and of a document what it was read
//! as. Owns where the variants of its parts and its tokens lie, and how much they weigh; they are made by
//! whoever needs them first.
//!
//! A copy is immutable and so is its weight, by which the memory is bounded. What has been made is
//! counted by putting the same copy in its own place again, with the weight that it has then: all copies
//! that were made of one another share it. So whoever gives a copy another content begins with a new copy.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::fragment::SourceRequest;
use crate::layout::markup::Tokens;
use crate::layout::parts::Parts;
use crate::stitch::Variant;

/// What is made of one copy.
#[derive(Clone, Default)]
pub struct Coded {
    shared: Arc<Shared>,
    /// What was counted of them.
    weight: usize,
}

#[derive(Default)]
struct Shared {
    /// What the copy is kept under in memory: one that is not kept has no use for variants.
    key: OnceLock<Arc<SourceRequest>>,
    /// Of the main part, then of the named ones.
    parts: OnceLock<Box<[Variant]>>,
    /// Of a document that was woven of this copy.
    tokens: OnceLock<Arc<Tokens>>,
}

impl Coded {
    /// The copy is kept.
    pub(super) fn keep_as(&self, key: &Arc<SourceRequest>) {
        self.shared.key.get_or_init(|| Arc::clone(key));
    }

    pub(super) fn key(&self) -> Option<&Arc<SourceRequest>> {
        self.shared.key.get()
    }

    pub(super) fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// The variant of a part of the copy; `None` if the copy is not kept, or has no such part.
    pub fn variant(&self, parts: &Parts, part: Option<&str>) -> Option<&Variant> {
        self.shared.key.get()?;
        let at = match part {
            None => 0,
            Some(name) => 1 + parts.named.iter().position(|(known, _)| known == name)?,
        };
        let count = 1 + parts.named.len();
        let variants = self.shared.parts.get_or_init(|| {
            let variants = (0..count).map(|_| Variant::default());
            variants.collect()
        });
        variants.get(at)
    }

    /// What the copy, which is a document, was read as, if somebody has read it.
    pub fn tokens(&self) -> &Arc<Tokens> {
        self.shared.tokens.get_or_init(Arc::default)
    }

    /// Bytes that it takes, as far as they were counted.
    pub(super) fn weight(&self) -> usize {
        size_of::<Shared>() + self.weight
    }

    /// The same, with everything counted that is there by now.
    pub(super) fn counted(&self) -> Self {
        let variants = self.shared.parts.get().map_or(&[][..], |parts| parts);
        let made = variants.iter().filter_map(Variant::get);
        let read = self.shared.tokens.get();
        let read = read.map_or(0, |tokens| size_of::<Tokens>() + tokens.weight());
        let coded = size_of_val(variants) + made.map(|made| made.bytes().len()).sum::<usize>();
        Self {
            shared: Arc::clone(&self.shared),
            weight: coded + read,
        }
    }
}

/// Two copies are the same whether one of them was sent compressed or not.
impl PartialEq for Coded {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Coded {}

impl fmt::Debug for Coded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coded")
            .field("weight", &self.weight)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::layout::markup::{Limits, Machine as _, Step};
    use crate::layout::tailor::Tailor;

    #[test]
    fn what_a_document_was_read_as_is_counted_with_its_copy() {
        let coded = Coded::default();
        let before = coded.weight();
        let document = Bytes::from_static(b"<p>a</p><fragment src=/a></fragment>");
        let mut machine = Tailor::new(Limits::default());
        machine.take_whole(document, coded.tokens());
        while machine.next() != Step::End {}
        let tokens = coded.tokens().weight();
        assert!(tokens > 0);
        assert_eq!(coded.weight(), before, "a copy is immutable");
        let counted = coded.counted();
        assert_eq!(counted.weight(), before + size_of::<Tokens>() + tokens);
        assert!(counted.is_shared_with(&coded));
        assert!(Arc::ptr_eq(counted.tokens(), coded.tokens()));
    }
}
