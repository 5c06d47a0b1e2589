//! So many in a second, and no more. Owns the count; time is an argument. Pure.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is left of the present second.
#[derive(Debug)]
pub(in crate::telemetry) struct Allowance {
    a_second: u32,
    /// The second, and how many were taken in it.
    taken: AtomicU64,
}

impl Allowance {
    pub(in crate::telemetry) fn new(a_second: u32) -> Self {
        Self {
            a_second,
            taken: AtomicU64::new(0),
        }
    }

    /// Takes one, if one is left in this second.
    pub(in crate::telemetry) fn take(&self, second: u64) -> bool {
        let next = |before: u64| {
            let (of, count) = (before >> 32, before & u64::from(u32::MAX));
            let count = if of == second { count } else { 0 };
            (count < u64::from(self.a_second)).then_some((second << 32) | (count + 1))
        };
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        self.taken.fetch_update(set, fetch, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_its_own() {
        let allowance = Allowance::new(2);
        let taken = |second| (0..5).filter(|_| allowance.take(second)).count();
        assert_eq!((taken(0), taken(0), taken(1), taken(7)), (2, 0, 2, 2));
        assert!(!Allowance::new(0).take(1));
    }
}
