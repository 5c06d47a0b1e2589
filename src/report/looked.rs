//! Where a slot has looked for a copy, and what was there. Owns the words; nothing is looked for here.

/// A place where copies are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// The memory of this process.
    Memory,
    /// This node's disk.
    Disk,
    /// The store that nodes share.
    Shared,
}

impl Tier {
    /// All of them, in the order in which they are looked at.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Disk, Self::Shared];

    /// One word for labels.
    pub fn label(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Shared => "shared",
        }
    }
}

/// What was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A fresh copy.
    Fresh,
    /// A copy beyond its ttl, which is good for something still.
    Stale,
    /// Nothing that is good for anything.
    Nothing,
}

impl Found {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Fresh, Self::Stale, Self::Nothing];

    /// One word for labels.
    pub fn label(self) -> &'static str {
        match self {
            Self::Fresh => "hit",
            Self::Stale => "stale",
            Self::Nothing => "miss",
        }
    }
}

/// What one slot has found, in each place where it has looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Looked([Option<Found>; Tier::ALL.len()]);

impl Looked {
    /// The same, and this there.
    #[must_use]
    pub fn with(mut self, tier: Tier, found: Found) -> Self {
        self.0[tier as usize] = Some(found);
        self
    }

    /// What was found there; `None` where it has not looked.
    pub fn at(self, tier: Tier) -> Option<Found> {
        self.0[tier as usize]
    }

    /// The same, and what was found later, which is what counts where both have looked.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        let both = |tier: Tier| later.at(tier).or(self.at(tier));
        Self(Tier::ALL.map(both))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_later_counts() {
        let first = Looked::default()
            .with(Tier::Memory, Found::Stale)
            .with(Tier::Shared, Found::Nothing);
        let both = first.then(Looked::default().with(Tier::Shared, Found::Fresh));
        let found = Tier::ALL.map(|tier| both.at(tier));
        assert_eq!(found, [Some(Found::Stale), None, Some(Found::Fresh)]);
    }
}
