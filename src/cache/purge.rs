//! Purges: what is not to be shown as fresh any more, or not at all. Owns the record of them and what
//! it means for a copy; pure.
//!
//! A purge is a moment: whatever was stored up to it is touched, whatever came after is not. So it
//! can be applied twice, late, and in any order: to a copy that was on disk when the purge came, to a
//! flight that had set out before it, on a node that was away.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Moment;

use super::entry::{CLOCKS_APART, Entry};

/// Purges that are remembered by name. Beyond that the oldest are forgotten, and everything that was
/// stored before the last of these counts as softly purged: asking once too often harms nobody.
pub const REMEMBERED_MAX: usize = 10_000;

/// What is purged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selector {
    /// Every copy.
    All,
    /// Every copy of a fragment.
    Fragment(String),
    /// Every copy of a fragment that answers one path and query, whatever else it varies with.
    Key {
        /// The fragment.
        fragment: String,
        /// Path and query, encoded, as the origin is asked.
        target: String,
    },
    /// Every copy with this tag.
    Tag(String),
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("everything"),
            Self::Fragment(name) => write!(f, "fragment {name}"),
            Self::Key { fragment, target } => write!(f, "fragment {fragment}, {target}"),
            Self::Tag(tag) => write!(f, "tag {tag}"),
        }
    }
}

impl Selector {
    /// Whether a copy is meant.
    pub fn selects(&self, target: &str, entry: &Entry) -> bool {
        match self {
            Self::All => true,
            Self::Fragment(name) => {
                let mut within = entry.made_of.iter();
                *entry.fragment == **name || within.any(|part| part.fragment == *name)
            }
            Self::Key {
                fragment: name,
                target: wanted,
            } => {
                let mut within = entry.made_of.iter();
                (*entry.fragment == **name && target == wanted)
                    || within.any(|part| part.fragment == *name && part.target == *wanted)
            }
            Self::Tag(tag) => entry.tags.contains(tag),
        }
    }
}

/// One purge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    /// What.
    pub selector: Selector,
    /// Everything stored up to then.
    pub at: Moment,
    /// Whether the copies are thrown away. A softly purged copy is stale: it is renewed at the next
    /// page, and still there if its origin fails.
    pub hard: bool,
}

/// What purges have made of a copy. In order of severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touched {
    /// Nothing.
    Not,
    /// It is stale.
    Softly,
    /// It is gone.
    Hard,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Latest {
    soft: Moment,
    hard: Moment,
    /// The last hard one by a clock that was ahead, as that clock had it.
    #[serde(default, skip_serializing_if = "is_never")]
    ahead: Moment,
    /// The last hard one that was asked for here and now: there was no copy then that it did not mean.
    #[serde(skip)]
    here: Moment,
}

fn is_never(moment: &Moment) -> bool {
    *moment == Moment::default()
}

impl Latest {
    fn of(purge: &Purge) -> Self {
        let mut latest = Self::default();
        match purge.hard {
            true => latest.hard = purge.at,
            false => latest.soft = purge.at,
        }
        latest
    }

    fn or_later(self, other: Self) -> Self {
        Self {
            soft: self.soft.max(other.soft),
            hard: self.hard.max(other.hard),
            ahead: self.ahead.max(other.ahead),
            here: self.here.max(other.here),
        }
    }

    /// The last hard one by whichever clock has timed it.
    fn said(self) -> Moment {
        self.hard.max(self.ahead)
    }

    /// By a clock that shows `now`. What a record has made of a purge that was ahead holds: were it made anew
    /// of each reading, it would take with it what was stored since. Once the clock has come to what was ahead
    /// of it, it is right again, and so is that.
    fn up_to(self, now: Moment) -> Self {
        let ahead = match self.hard > now {
            true => self.said(),
            false => self.ahead,
        };
        let (hard, ahead) = match ahead > now {
            true => (self.hard.min(now), ahead),
            false => (self.said(), Moment::default()),
        };
        Self {
            soft: self.soft.min(now),
            hard,
            ahead,
            here: self.here,
        }
    }

    /// What is new in this to somebody who knows that much. A purge that was ahead when it was heard of is what
    /// was made of it then, however often it is told.
    fn beyond(self, known: Self, now: Moment) -> Self {
        let told = self.up_to(now);
        if told.ahead == Moment::default() || told.ahead > known.said() {
            return told;
        }
        let hard = match self.hard > now {
            true => Moment::default(),
            // what whoever has written it down has made of it, or one since
            false => self.hard,
        };
        Self { hard, ..told }
    }

    /// Whether somebody who knows this needs not be told of the other.
    fn covers(self, other: Self) -> bool {
        self.hard >= other.hard && self.said() >= other.said() && self.soft >= other.soft
    }

    /// The last hard one that meant a copy; `is_ahead`: by a clock that was ahead of the present one.
    fn hard_for(self, is_ahead: bool, since: Moment) -> Moment {
        match is_ahead {
            false => self.hard,
            true if self.here > Moment::default() => since,
            true => self.hard.max(self.ahead),
        }
    }

    fn last(self) -> Moment {
        self.soft.max(self.hard)
    }

    fn is_hard(self) -> bool {
        self.hard > Moment::default()
    }
}

/// The purges that may still matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Purges {
    latest: Vec<(Selector, Latest)>,
    #[serde(skip)]
    index: BTreeMap<Selector, usize>,
}

impl Purges {
    /// Remembers a purge. Tells whether it says anything that was not known.
    pub fn add(&mut self, purge: &Purge) -> bool {
        let said = self.merge(purge.selector.clone(), Latest::of(purge));
        self.forget_beyond(REMEMBERED_MAX);
        said
    }

    /// The same of one that was asked for here, at this moment: whatever copy has a later time beside it has
    /// it of a clock that was ahead, and was there.
    pub fn add_here(&mut self, purge: &Purge) -> bool {
        let said = self.add(purge);
        if let Some(&at) = self.index.get(&purge.selector)
            && purge.hard
        {
            self.latest[at].1.here = purge.at;
        }
        said
    }

    /// The same of one that another clock has timed; by this one it is `now`.
    pub fn add_up_to(&mut self, purge: &Purge, now: Moment) -> bool {
        let told = Latest::of(purge);
        let said = self.merge(
            purge.selector.clone(),
            told.beyond(self.known(&purge.selector), now),
        );
        self.forget_beyond(REMEMBERED_MAX);
        said
    }

    /// Remembers what another record holds, such as the one that the last process left, by a clock that shows
    /// `now`: with no later moment, for a purge would go on touching everything that is stored until that has
    /// come. What was thrown away by a clock that was ahead is remembered by its own time as well, for copies
    /// that have a time of that clock beside them.
    pub fn learn(&mut self, other: &Self, now: Moment) {
        for (selector, latest) in &other.latest {
            let told = latest.beyond(self.known(selector), now);
            self.merge(selector.clone(), told);
        }
        self.forget_beyond(REMEMBERED_MAX);
    }

    /// Whether somebody who has this record lacks nothing of the other.
    pub fn covers(&self, other: &Self) -> bool {
        let mut all = other.latest.iter();
        all.all(|(selector, latest)| self.known(selector).covers(*latest))
    }

    /// Nothing, where nothing is known.
    fn known(&self, selector: &Selector) -> Latest {
        let at = self.index.get(selector);
        at.map_or_else(Latest::default, |&at| self.latest[at].1)
    }

    fn merge(&mut self, selector: Selector, latest: Latest) -> bool {
        match self.index.get(&selector) {
            Some(&at) => {
                let known = &mut self.latest[at].1;
                let merged = known.or_later(latest);
                std::mem::replace(known, merged) != merged
            }
            None => {
                self.index.insert(selector.clone(), self.latest.len());
                self.latest.push((selector, latest));
                true
            }
        }
    }

    /// Keeps the hard ones before the soft ones, for what was thrown away must not come back from a
    /// disk; of each the latest. A quarter more than is needed is forgotten at once, so that this is
    /// not done at each purge.
    fn forget_beyond(&mut self, max: usize) {
        if self.latest.len() <= max {
            return;
        }
        self.latest.sort_by_key(|(selector, latest)| {
            let is_named = *selector != Selector::All;
            (is_named, latest.is_hard(), latest.last())
        });
        let forgotten = self.latest.len() - max + max / 4;
        let all_at = usize::from(self.latest[0].0 == Selector::All);
        let gone = self.latest.drain(all_at..all_at + forgotten);
        let mut everything = Latest::default();
        for (_, latest) in gone {
            everything.soft = everything.soft.max(latest.last());
        }
        self.index = (self.latest.iter().enumerate())
            .map(|(at, (selector, _))| (selector.clone(), at))
            .collect();
        self.merge(Selector::All, everything);
    }

    /// What purges have made of a copy that was stored, or asked for, at `since`, by a clock that shows `now`.
    pub fn touch(&self, target: &str, entry: &Entry, since: Moment, now: Moment) -> Touched {
        if self.latest.is_empty() {
            return Touched::Not;
        }
        let is_ahead = entry.stored_at > now.after(CLOCKS_APART);
        let own = (entry.fragment.to_string(), target.to_owned());
        let within = entry.made_of.iter().cloned();
        let within = within.map(|part| (part.fragment, part.target));
        let fragments = std::iter::once(own)
            .chain(within)
            .flat_map(|(fragment, target)| {
                let whole = Selector::Fragment(fragment.clone());
                [whole, Selector::Key { fragment, target }]
            });
        let tags = entry.tags.iter().map(|tag| Selector::Tag(tag.to_owned()));
        let selectors = std::iter::once(Selector::All).chain(fragments).chain(tags);
        let touched = selectors.filter_map(|selector| {
            let latest = self.latest[*self.index.get(&selector)?].1;
            Some(match since {
                since if since <= latest.hard_for(is_ahead, since) => Touched::Hard,
                since if since <= latest.soft => Touched::Softly,
                _ => Touched::Not,
            })
        });
        touched.max().unwrap_or(Touched::Not)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.latest.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.latest.is_empty()
    }

    /// As bytes, to be read by [`from_json`](Self::from_json).
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers can be written")
    }

    /// What [`to_json`](Self::to_json) wrote.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        let read: Self = serde_json::from_slice(json)?;
        let mut purges = Self::default();
        for (selector, latest) in read.latest {
            purges.merge(selector, latest);
        }
        purges.forget_beyond(REMEMBERED_MAX);
        Ok(purges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Content;
    use crate::cache::entry::Ingredient;
    use crate::fragment::Tags;

    /// By no clock here a copy is of the future.
    const LATER: Moment = Moment::from_micros(1 << 60);

    fn at(second: u64) -> Moment {
        Moment::from_micros(second * 1_000_000)
    }

    fn purge(selector: Selector, second: u64, hard: bool) -> Purge {
        Purge {
            selector,
            at: at(second),
            hard,
        }
    }

    fn entry() -> Entry {
        Entry {
            tags: Tags::new(["story-1"]),
            ..Entry::new("article", Content::Absent, at(10))
        }
    }

    fn tag(name: &str) -> Selector {
        Selector::Tag(name.to_owned())
    }

    #[test]
    fn what_came_later_is_not_touched() {
        let key = Selector::Key {
            fragment: "article".to_owned(),
            target: "/a".to_owned(),
        };
        let fragment = |name: &str| Selector::Fragment(name.to_owned());
        for (selector, meant) in [
            (Selector::All, true),
            (fragment("article"), true),
            (fragment("live"), false),
            (key, true),
            (tag("story-1"), true),
            (tag("story-2"), false),
        ] {
            let mut purges = Purges::default();
            assert!(purges.add(&purge(selector.clone(), 20, false)));
            assert!(!purges.add(&purge(selector.clone(), 19, false)), "known");
            let soft = [Touched::Not, Touched::Softly][usize::from(meant)];
            assert_eq!(
                purges.touch("/a", &entry(), at(10), LATER),
                soft,
                "{selector}"
            );
            assert_eq!(
                purges.touch("/a", &entry(), at(20), LATER),
                soft,
                "{selector}"
            );
            assert_eq!(purges.touch("/a", &entry(), at(21), LATER), Touched::Not);
            assert_eq!(selector.selects("/a", &entry()), meant, "{selector}");
            purges.add(&purge(selector.clone(), 15, true));
            let hard = [Touched::Not, Touched::Hard][usize::from(meant)];
            assert_eq!(
                purges.touch("/a", &entry(), at(12), LATER),
                hard,
                "{selector}"
            );
            assert_eq!(
                purges.touch("/a", &entry(), at(17), LATER),
                soft,
                "{selector}"
            );
        }
    }

    #[test]
    fn a_page_goes_with_what_it_is_made_of() {
        let part = |fragment: &str, target: &str| Ingredient {
            fragment: fragment.to_owned(),
            target: target.to_owned(),
        };
        let page = Entry {
            made_of: vec![part("article", "/a"), part("live", "/live")],
            ..Entry::new("page:story", Content::Absent, at(10))
        };
        let key = |fragment: &str, target: &str| Selector::Key {
            fragment: fragment.to_owned(),
            target: target.to_owned(),
        };
        for (selector, meant) in [
            (Selector::Fragment("live".to_owned()), true),
            (Selector::Fragment("weather".to_owned()), false),
            (key("article", "/a"), true),
            (key("article", "/b"), false),
            (key("live", "/a"), false),
        ] {
            let mut purges = Purges::default();
            purges.add(&purge(selector.clone(), 20, true));
            let touched = purges.touch("/{slug}", &page, at(10), LATER) == Touched::Hard;
            assert_eq!(touched, meant, "{selector}");
            assert_eq!(selector.selects("/{slug}", &page), meant, "{selector}");
        }
    }

    #[test]
    fn a_record_that_is_written_and_read_says_the_same() {
        let mut purges = Purges::default();
        purges.add(&purge(tag("a"), 1, true));
        purges.add(&purge(Selector::All, 2, false));
        assert_eq!(Purges::from_json(&purges.to_json()).unwrap(), purges);
        assert!(Purges::from_json(b"{").is_err());
    }

    #[test]
    fn what_was_thrown_away_is_remembered_before_what_was_made_stale() {
        let mut purges = Purges::default();
        purges.add(&purge(tag("story-1"), 20, true));
        for n in 0..2 * REMEMBERED_MAX as u64 {
            purges.add(&purge(tag(&format!("t{n}")), 100 + n, false));
        }
        assert!(purges.len() <= REMEMBERED_MAX);
        assert_eq!(purges.touch("/a", &entry(), at(10), LATER), Touched::Hard);
        assert_ne!(purges.touch("/a", &entry(), at(21), LATER), Touched::Hard);
    }

    #[test]
    fn what_is_forgotten_touches_everything_before_it_softly() {
        let mut purges = Purges::default();
        for n in 0..REMEMBERED_MAX as u64 + 1 {
            purges.add(&purge(tag(&format!("t{n}")), 100 + n, true));
        }
        assert!(purges.len() <= REMEMBERED_MAX);
        assert_eq!(purges.touch("/a", &entry(), at(10), LATER), Touched::Softly);
        let later = at(100 + REMEMBERED_MAX as u64);
        assert_eq!(purges.touch("/a", &entry(), later, LATER), Touched::Not);
        let last = Entry {
            tags: Tags::new([format!("t{REMEMBERED_MAX}").as_str()]),
            ..entry()
        };
        assert_eq!(purges.touch("/a", &last, at(50), LATER), Touched::Hard);
    }

    #[test]
    fn a_clock_that_was_set_back_brings_nothing_back_that_was_thrown_away() {
        let copy = |second| Entry {
            stored_at: at(second),
            ..entry()
        };
        let touch = |purges: &Purges, second, now| {
            purges.touch("/a", &copy(second), at(second), at(now)) == Touched::Hard
        };
        let read = |record: &Purges, now| {
            let mut purges = Purges::default();
            purges.learn(&Purges::from_json(&record.to_json()).unwrap(), at(now));
            purges
        };
        let mut told = Purges::default();
        told.add(&purge(tag("story-1"), 1_000, true));
        // an hour's clock of the last process; this one's shows 100 s, and what it writes is read again
        let mut purges = read(&read(&told, 100), 120);
        // another node tells it once more
        purges.learn(&told, at(128));
        purges.add_up_to(&purge(tag("story-1"), 1_000, true), at(129));
        for (second, now, thrown_away) in [
            (900, 130, true),
            (1_000, 130, true),
            // made by the clock that was ahead, after the purge
            (1_001, 130, false),
            (100, 130, true),
            // made since by the clock that was set back, whenever the record was read
            (101, 130, false),
            (125, 130, false),
            (130, 130, false),
        ] {
            let found = touch(&purges, second, now);
            assert_eq!(found, thrown_away, "stored at {second} s, at {now} s");
        }
        // another purge of the present counts, and what was ahead still does
        purges.add_up_to(&purge(tag("story-1"), 140, true), at(150));
        assert!(touch(&purges, 140, 160) && !touch(&purges, 141, 160) && touch(&purges, 900, 160));
        // the clock is right again: what was known by it is
        let purges = read(&purges, 2_000);
        assert!(touch(&purges, 900, 2_000) && !touch(&purges, 1_001, 2_000));
    }

    #[test]
    fn a_record_covers_what_says_nothing_more() {
        let of = |purges: &[(u64, bool)], now| {
            let mut record = Purges::default();
            for (second, hard) in purges {
                record.add_up_to(&purge(tag("story-1"), *second, *hard), at(now));
            }
            record
        };
        let mut raw = Purges::default();
        raw.add(&purge(tag("story-1"), 1_000, true));
        // as the clock that was ahead has it, and as one that was not has made of it
        assert!(raw.covers(&of(&[(1_000, true)], 100)));
        assert!(of(&[(1_000, true)], 100).covers(&of(&[(1_000, true)], 100)));
        assert!(!of(&[(1_000, true)], 100).covers(&of(&[(1_000, true), (150, true)], 160)));
        assert!(!of(&[(90, true)], 100).covers(&of(&[(90, true), (80, false)], 100)));
        assert!(!Purges::default().covers(&raw) && raw.covers(&Purges::default()));
    }

    #[test]
    fn what_is_thrown_away_now_goes_whatever_time_it_has_of_a_clock_that_was_ahead() {
        let ahead = Entry {
            stored_at: at(1_000),
            ..entry()
        };
        let mut purges = Purges::default();
        purges.add_here(&purge(tag("story-1"), 100, true));
        let touched = |purges: &Purges| purges.touch("/a", &ahead, at(1_000), at(110));
        assert_eq!(touched(&purges), Touched::Hard);
        let mut soft = Purges::default();
        soft.add_here(&purge(tag("story-1"), 100, false));
        assert_eq!(touched(&soft), Touched::Not, "it is stale as it is");
        let heard = Purges::from_json(&purges.to_json()).unwrap();
        assert_eq!(
            touched(&heard),
            Touched::Not,
            "a purge of the past means what was there"
        );
    }

    #[test]
    fn what_another_clock_has_timed_is_no_later_than_now() {
        let mut purges = Purges::default();
        assert!(purges.add_up_to(&purge(tag("story-1"), 1_000, true), at(100)));
        let touch = |since, now| purges.touch("/a", &entry(), at(since), at(now));
        assert_eq!(touch(100, 110), Touched::Hard);
        assert_eq!(touch(101, 110), Touched::Not);
    }
}
