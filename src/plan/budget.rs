//! Page budget + fragment timeout → how long a slot may wait. Owns this one rule.

use std::time::Duration;

/// What is kept of a page's budget for writing what arrived last: a twentieth, but not less than
/// 2 ms (a busy scheduler's tick) nor more than 20 ms.
pub fn assembly_margin(budget: Duration) -> Duration {
    (budget / 20)
        .clamp(Duration::from_millis(2), Duration::from_millis(20))
        .min(budget / 2)
}

/// The fragment's own timeout, cut to what the page can afford.
pub fn slot_time(budget: Duration, timeout: Duration) -> Duration {
    timeout.min(budget - assembly_margin(budget))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_smaller_of_the_two_wins() {
        let ms = Duration::from_millis;
        assert_eq!(slot_time(ms(300), ms(1000)), ms(285));
        assert_eq!(slot_time(ms(1000), ms(250)), ms(250));
        assert_eq!(slot_time(ms(10), ms(250)), ms(8));
    }

    proptest! {
        #[test]
        fn a_slot_never_outlives_its_page(budget in 0u64..100_000, timeout in 0u64..100_000) {
            let budget = Duration::from_micros(budget);
            prop_assert!(slot_time(budget, Duration::from_micros(timeout)) <= budget);
        }
    }
}
