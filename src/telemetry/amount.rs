//! A sum of amounts that may have fractions. Owns the addition, for which nobody waits; pure.

use std::sync::atomic::{AtomicU64, Ordering};

/// The bits of the sum.
#[derive(Debug, Default)]
pub(super) struct Amount(AtomicU64);

impl Amount {
    /// Adds to it.
    pub(super) fn add(&self, amount: f64) {
        if amount == 0.0 {
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

    #[test]
    fn nothing_is_lost_when_many_add_at_once() {
        let sum = Amount::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| sum.add(0.5)));
            }
        });
        assert_eq!(sum.read(), 2000.0);
    }
}
