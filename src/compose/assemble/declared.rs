//! What a site declares as content, as it is sent compressed: the literals of its layouts, the default
//! contents of their slots, declared stand-ins. Owns the variants of these; they go with their edition.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::stitch::Variant;

/// Most bytes of declared content whose variants are kept. A large newspaper's layouts and stand-ins
/// are a few hundred kilobytes; what is beyond is compressed for each page.
const BYTES_MAX: usize = 8 << 20;

/// Where content lies, and how long it is. It is held, so nothing else can come to lie there.
type Place = (usize, usize);

/// The variants of what one edition declares.
#[derive(Debug, Default)]
pub(crate) struct DeclaredVariants {
    /// Read by every page and seldom changed: by the first page that shows a content.
    known: ArcSwap<HashMap<Place, Arc<Held>, foldhash::fast::RandomState>>,
    /// Bytes of content.
    bytes: AtomicUsize,
}

/// A content and its variant.
#[derive(Debug)]
pub(super) struct Held {
    /// Nothing else can come to lie in its place as long as it is there.
    _content: Bytes,
    pub(super) variant: Variant,
}

impl DeclaredVariants {
    /// The content with its variant; `None` where there is too much of it. To be asked of nothing but
    /// declared content: whatever it is asked of is held until the edition goes.
    pub(super) fn of(&self, content: &Bytes) -> Option<Arc<Held>> {
        let place = (content.as_ptr() as usize, content.len());
        if let Some(held) = self.known.load().get(&place) {
            return Some(Arc::clone(held));
        }
        let bytes = self.bytes.fetch_add(content.len(), Ordering::Relaxed) + content.len();
        if bytes > BYTES_MAX {
            self.bytes.fetch_sub(content.len(), Ordering::Relaxed);
            return None;
        }
        let held = Arc::new(Held {
            _content: content.clone(),
            variant: Variant::default(),
        });
        self.known.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.entry(place).or_insert_with(|| Arc::clone(&held));
            known
        });
        self.known.load().get(&place).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_content_in_one_place_has_one_variant() {
        let variants = DeclaredVariants::default();
        let (here, there) = (Bytes::from(vec![1; 300]), Bytes::from(vec![1; 300]));
        let first = variants.of(&here).unwrap();
        assert!(Arc::ptr_eq(&first, &variants.of(&here.clone()).unwrap()));
        assert!(!Arc::ptr_eq(&first, &variants.of(&there).unwrap()));
        assert!(!Arc::ptr_eq(
            &first,
            &variants.of(&here.slice(..200)).unwrap()
        ));
    }

    #[test]
    fn there_is_a_limit() {
        let variants = DeclaredVariants::default();
        let large = Bytes::from(vec![0; BYTES_MAX - 10]);
        assert!(variants.of(&large).is_some());
        assert!(variants.of(&Bytes::from(vec![0; 11])).is_none());
        assert!(variants.of(&Bytes::from(vec![0; 10])).is_some());
        assert!(variants.of(&large).is_some());
    }
}
