//! Pages and requests under way. Owns their books and the places in which they are kept; decides
//! nothing.

use crate::degradation::Level;
use crate::fetch::rehearsal::Leave;

use super::time::At;

/// A page that somebody waits for.
#[derive(Debug, Clone)]
pub(super) struct Page {
    /// Who reads, by number.
    pub(super) reader_number: u32,
    /// The user who waits for it, and then reads.
    pub(super) user: Option<usize>,
    pub(super) asked: At,
    /// When its blocks were asked for.
    pub(super) planned: At,
    pub(super) level: Level,
    /// Blocks that were decided to be shown.
    pub(super) wanted: Set,
    /// Blocks that are left out because their origin is sick.
    pub(super) sick: Set,
    /// Blocks that are waited for.
    pub(super) awaited: Set,
    /// Blocks whose answer is here, and which are not made yet.
    pub(super) raw: Set,
    /// Blocks that will be seen.
    pub(super) shown: Set,
    pub(super) core: Core,
    /// The requests of what is awaited, by block.
    pub(super) requests: Vec<Option<Key>>,
}

impl Page {
    /// Nothing is done yet.
    pub(super) fn asked(
        reader_number: u32,
        user: Option<usize>,
        level: Level,
        now: At,
        blocks: usize,
    ) -> Self {
        Self {
            reader_number,
            user,
            asked: now,
            planned: now,
            level,
            wanted: Set::default(),
            sick: Set::default(),
            awaited: Set::default(),
            raw: Set::default(),
            shown: Set::default(),
            core: Core::Missing,
            requests: vec![None; blocks],
        }
    }
}

/// What became of a page's article.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Core {
    /// It is not on the page: not yet, while that is being made; on one that was answered nothing stood
    /// in for it, and the server would have had its error page instead.
    Missing,
    /// As its origin has just given it.
    Fresh,
    /// The last good copy.
    Stale,
    /// All of the page is a snapshot.
    Snapshot,
}

/// Blocks, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Set(u32);

impl Set {
    pub(super) fn add(&mut self, block: usize) {
        self.0 |= 1 << block;
    }

    pub(super) fn remove(&mut self, block: usize) {
        self.0 &= !(1 << block);
    }

    pub(super) fn has(self, block: usize) -> bool {
        self.0 & (1 << block) != 0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// In how many they differ.
    pub(super) fn differences(self, other: Self) -> u32 {
        (self.0 ^ other.0).count_ones()
    }
}

/// A request to an origin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    /// Whose; nobody's, if it is a probe or is not waited for any more.
    pub(super) page: Option<Key>,
    pub(super) block: usize,
    pub(super) sent: At,
    /// Until it is settled.
    pub(super) leave: Option<Leave>,
    /// Whether its limiter waits for the outcome.
    pub(super) is_limited: bool,
    pub(super) is_probe: bool,
}

/// Where something is kept: a place, and which of those who had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) place: usize,
    turn: u32,
}

/// Places that are used over and over.
#[derive(Debug)]
pub(super) struct Shelf<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<usize>,
}

impl<T> Shelf<T> {
    pub(super) fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(super) fn put(&mut self, thing: T) -> Key {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            self.places.len() - 1
        });
        let (turn, slot) = &mut self.places[place];
        *slot = Some(thing);
        Key { place, turn: *turn }
    }

    /// What is there, if it is still there.
    pub(super) fn get(&mut self, key: Key) -> Option<&mut T> {
        let (turn, thing) = self.places.get_mut(key.place)?;
        thing.as_mut().filter(|_| *turn == key.turn)
    }

    /// The same for whoever knows that it is there.
    pub(super) fn at(&mut self, place: usize) -> &mut T {
        self.places[place].1.as_mut().expect("it is on its shelf")
    }

    /// The same to look at.
    pub(super) fn see(&self, place: usize) -> &T {
        self.places[place].1.as_ref().expect("it is on its shelf")
    }

    pub(super) fn key(&self, place: usize) -> Key {
        Key {
            place,
            turn: self.places[place].0,
        }
    }

    pub(super) fn take(&mut self, place: usize) -> T {
        let (turn, slot) = &mut self.places[place];
        *turn = turn.wrapping_add(1);
        self.free.push(place);
        slot.take().expect("it is on its shelf")
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}
