//! A sum of amounts that may have fractions. Owns the addition, for which nobody waits; pure.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::striped::Mine;

/// The bits of the sum.
#[derive(Debug, Default)]
pub(super) struct Amount(AtomicU64);

impl Amount {
    /// Adds to it, which is one of `mine`.
    pub(super) fn add<T>(&self, mine: &Mine<'_, T>, amount: f64) {
        if amount == 0.0 {
            return;
        }
        if mine.is_alone() {
            let sum = self.read() + amount;
            self.0.store(sum.to_bits(), Ordering::Relaxed);
            return;
        }
        let sum = |bits| Some((f64::from_bits(bits) + amount).to_bits());
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        // it always has a next value
        let _ = self.0.fetch_update(set, fetch, sum);
    }

    /// The sum now.
    pub(super) fn read(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::striped::Striped;

    #[test]
    fn nothing_is_lost_when_many_add_at_once() {
        let sums = Striped::<Amount>::default();
        std::thread::scope(|scope| {
            for _ in 0..3 * sums.all().count() {
                scope.spawn(|| {
                    let mine = sums.mine();
                    let sum: &Amount = &mine;
                    (0..1000).for_each(|_| sum.add(&mine, 0.5));
                });
            }
        });
        let sum: f64 = sums.all().map(Amount::read).sum();
        assert_eq!(sum, 1500.0 * sums.all().count() as f64);
    }
}
