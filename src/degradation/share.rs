//! From theta to what one reader gets. Owns the mapping: cumulative cost in the order of the ladder, at
//! most one step that some readers keep and others do not, and always the same readers.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Level;

/// Where the ladder is cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cut {
    /// Steps that are given up by everybody.
    pub given_up: Level,
    /// The share of readers that keep the step after these.
    pub kept: f64,
}

impl Cut {
    /// Nothing is given up.
    pub const NONE: Self = Self {
        given_up: Level::FULL,
        kept: 1.0,
    };

    /// The cut that leaves `theta` of the cost of all steps, `costs` being that of each, first given up
    /// first. What costs nothing is kept as long as anything after it is; a cost that is no number
    /// counts as nothing.
    pub fn at(theta: f64, costs: &[f64]) -> Self {
        if theta >= 1.0 || costs.is_empty() {
            return Self::NONE;
        }
        let costs = || costs.iter().map(|&cost| sound(cost));
        let mut left = theta.max(0.0) * costs().sum::<f64>();
        for (step, cost) in costs().enumerate().rev() {
            if left > 0.0 && left >= cost {
                left -= cost;
                continue;
            }
            let kept = if cost > 0.0 { left / cost } else { 0.0 };
            let step = u8::try_from(step).unwrap_or(u8::MAX);
            return Self {
                given_up: Level::new(step),
                kept,
            };
        }
        Self::NONE
    }

    /// The level of one reader's pages.
    pub fn level(&self, reader: Reader) -> Level {
        let step = self.given_up.get();
        let keeps = self.kept >= 1.0 || reader.draw(u64::from(step)) < self.kept;
        Level::new(if keeps { step } else { step.saturating_add(1) })
    }
}

fn sound(cost: f64) -> f64 {
    if cost.is_finite() { cost.max(0.0) } else { 0.0 }
}

/// Who reads, as a number that tells nothing of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reader(u64);

impl Reader {
    /// Nobody in particular.
    pub const NOBODY: Self = Self(0);

    /// The reader of this name, which is a cookie's value or an address. `day` changes whom it hits.
    pub fn new(name: &[u8], day: u64) -> Self {
        Self(xxh3_64_with_seed(name, day))
    }

    /// Where this reader stands in a matter: uniform in [0, 1), the same on every node.
    pub fn draw(self, matter: u64) -> f64 {
        let hash = xxh3_64_with_seed(&self.0.to_le_bytes(), matter);
        // the 53 bits that a float has room for
        (hash >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(step: u8, kept: f64) -> Cut {
        Cut {
            given_up: Level::new(step),
            kept,
        }
    }

    #[test]
    fn the_cost_is_spent_from_the_most_important_step_on() {
        let costs = [1.0, 2.0, 1.0];
        for (theta, expected) in [
            (1.0, Cut::NONE),
            (2.0, Cut::NONE),
            (0.875, cut(0, 0.5)),
            (0.75, cut(0, 0.0)),
            (0.5, cut(1, 0.5)),
            (0.25, cut(1, 0.0)),
            (0.125, cut(2, 0.5)),
            (0.0, cut(2, 0.0)),
            (-1.0, cut(2, 0.0)),
            (f64::NAN, cut(2, 0.0)),
        ] {
            assert_eq!(Cut::at(theta, &costs), expected, "{theta}");
        }
        assert_eq!(Cut::at(0.3, &[]), Cut::NONE);
    }

    #[test]
    fn what_costs_nothing_stays_with_what_is_kept() {
        assert_eq!(Cut::at(0.5, &[1.0, 0.0, 1.0]), cut(1, 0.0));
        assert_eq!(Cut::at(0.6, &[1.0, 0.0, 1.0]).given_up, Level::FULL);
        assert_eq!(Cut::at(0.5, &[0.0, 0.0]), cut(1, 0.0));
        assert_eq!(
            Cut::at(0.5, &[f64::NAN, f64::INFINITY, -1.0, 1.0])
                .given_up
                .get(),
            3
        );
    }

    #[test]
    fn draws_are_uniform_sticky_and_change_with_the_day() {
        let reader = |n: u32, day| Reader::new(&n.to_le_bytes(), day);
        assert_eq!(reader(7, 1).draw(3), reader(7, 1).draw(3));
        let hits = |day: u64, matter: u64| -> Vec<u32> {
            (0..10_000)
                .filter(|&n| reader(n, day).draw(matter) < 0.3)
                .collect()
        };
        let (one, other_day, other_matter) = (hits(1, 0), hits(2, 0), hits(1, 1));
        for hits in [&one, &other_day, &other_matter] {
            assert!((2800..3200).contains(&hits.len()), "{}", hits.len());
        }
        for other in [other_day, other_matter] {
            let both = one.iter().filter(|n| other.contains(n)).count();
            assert!((700..1100).contains(&both), "as if by chance: {both}");
        }
    }

    proptest! {
        #[test]
        fn less_theta_never_gives_a_reader_more(
            costs in prop::collection::vec(prop_oneof![3 => 0.0..9.0f64, 1 => Just(0.0)], 0..12),
            one in -0.1..1.1f64,
            other in -0.1..1.1f64,
            names in prop::collection::vec(any::<u64>(), 1..50),
        ) {
            let (less, more) = (Cut::at(one.min(other), &costs), Cut::at(one.max(other), &costs));
            for name in names {
                let reader = Reader::new(&name.to_le_bytes(), 0);
                prop_assert!(less.level(reader) >= more.level(reader), "{less:?} {more:?}");
            }
        }

        #[test]
        fn one_step_at_most_is_for_some(
            costs in prop::collection::vec(0.0..9.0f64, 1..12),
            theta in 0.0..1.0f64,
            names in prop::collection::vec(any::<u64>(), 1..50),
        ) {
            let cut = Cut::at(theta, &costs);
            prop_assert!((0.0..=1.0).contains(&cut.kept), "{cut:?}");
            for name in names {
                let level = cut.level(Reader::new(&name.to_le_bytes(), 0)).get();
                let step = cut.given_up.get();
                prop_assert!(level == step || level == step + 1, "{cut:?} {level}");
                prop_assert!(usize::from(level) <= costs.len());
            }
        }

        #[test]
        fn what_all_readers_cost_together_is_theta(
            costs in prop::collection::vec(0.1..9.0f64, 1..12),
            theta in 0.0..1.0f64,
        ) {
            let cut = Cut::at(theta, &costs);
            let step = usize::from(cut.given_up.get());
            let spent = cut.kept * costs[step] + costs[step + 1..].iter().sum::<f64>();
            prop_assert!((spent - theta * costs.iter().sum::<f64>()).abs() < 1e-6);
        }
    }
}
