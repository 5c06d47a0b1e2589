//! Tags: the names by which an origin groups its answers, so that all that a story touches can be
//! purged at once. Owns how they are written in headers and how many are kept; pure.

use std::collections::BTreeSet;
use std::sync::Arc;

/// Most tags of one answer; the rest is not kept.
pub const TAGS_MAX: usize = 128;

/// Most tags of a whole page: those of 64 blocks.
const MERGED_MAX: usize = 64 * TAGS_MAX;

/// Longest tag, in bytes; a longer one is not kept.
pub const TAG_BYTES_MAX: usize = 256;

/// The tags of one answer. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tags(Option<Arc<[Box<str>]>>);

impl Tags {
    /// Reads `Surrogate-Key` (parted by spaces, as Fastly and Varnish's xkey have it) and
    /// `Cache-Tag` (parted by commas, as Cloudflare and Akamai have it).
    pub fn parse<'v>(
        surrogate_keys: impl IntoIterator<Item = &'v str>,
        cache_tags: impl IntoIterator<Item = &'v str>,
    ) -> Self {
        let keys = surrogate_keys.into_iter();
        let keys = keys.flat_map(str::split_ascii_whitespace);
        let tags = cache_tags.into_iter();
        let tags = tags.flat_map(|value| value.split(',').map(str::trim));
        Self::new(keys.chain(tags))
    }

    /// These tags, each once.
    pub fn new<'t>(tags: impl IntoIterator<Item = &'t str>) -> Self {
        Self::at_most(TAGS_MAX, tags)
    }

    /// All tags of what a page is made of.
    pub fn merged<'t>(tags: impl IntoIterator<Item = &'t Self>) -> Self {
        Self::at_most(MERGED_MAX, tags.into_iter().flat_map(Self::iter))
    }

    /// Tags that were kept before, of one answer or of a whole page.
    pub fn kept<'t>(tags: impl IntoIterator<Item = &'t str>) -> Self {
        Self::at_most(MERGED_MAX, tags)
    }

    fn at_most<'t>(max: usize, tags: impl IntoIterator<Item = &'t str>) -> Self {
        let (mut found, mut known) = (Vec::<Box<str>>::new(), BTreeSet::new());
        for tag in tags {
            let is_good = !tag.is_empty() && tag.len() <= TAG_BYTES_MAX;
            if is_good && found.len() < max && known.insert(tag) {
                found.push(tag.into());
            }
        }
        Self((!found.is_empty()).then(|| found.into()))
    }

    /// The tags, in the order they were given.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|tags| tags.iter()).map(|tag| &**tag)
    }

    /// Whether this is one of them.
    pub fn contains(&self, tag: &str) -> bool {
        self.iter().any(|known| known == tag)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes held.
    pub fn weight(&self) -> usize {
        self.iter()
            .map(|tag| tag.len() + size_of::<Box<str>>())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_writing_them() {
        let tags = Tags::parse(["story-1  author-2", "story-1"], ["a b, c,,d "]);
        let found: Vec<&str> = tags.iter().collect();
        assert_eq!(found, ["story-1", "author-2", "a b", "c", "d"]);
        assert!(tags.contains("a b") && !tags.contains("a"));
        assert!(Tags::parse([" "], [","]).is_empty());
    }

    #[test]
    fn there_are_not_too_many_and_none_is_too_long() {
        let many: Vec<String> = (0..TAGS_MAX + 10).map(|n| format!("t{n}")).collect();
        let tags = Tags::new(many.iter().map(String::as_str));
        assert_eq!(tags.iter().count(), TAGS_MAX);
        let long = "x".repeat(TAG_BYTES_MAX + 1);
        assert!(Tags::new([long.as_str()]).is_empty());
    }
}
