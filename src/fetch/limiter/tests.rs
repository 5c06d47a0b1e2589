//! An origin and its readers in virtual time, tables and properties of the limiter.

use std::cell::Cell;

use super::*;
use crate::clock::Clock;
use proptest::prelude::*;

const TICK: Duration = Duration::from_millis(100);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Requests at an even pace for one fragment, and an origin that answers each after a time that
/// depends on how many it has.
struct Stage {
    limiter: Limiter,
    now: Instant,
    under_way: Vec<(Instant, Outcome)>,
    ticked: Instant,
    is_shared: bool,
    /// The draw of the next reader.
    reader: f64,
    seen: Seen,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    pages: u32,
    asked: u32,
    refused: u32,
}

impl Seen {
    /// The share of the pages that have asked the origin.
    fn served(self) -> f64 {
        f64::from(self.asked - self.refused) / f64::from(self.pages)
    }
}

const DEADLINE: Duration = Duration::from_millis(250);

impl Stage {
    fn new(tolerance: f64, baseline: Option<Duration>) -> Self {
        let now = Clock::start().now();
        Self {
            limiter: Limiter::new(tolerance, baseline, now),
            now,
            under_way: Vec::new(),
            ticked: now,
            is_shared: false,
            reader: 0.0,
            seen: Seen::default(),
        }
    }

    /// Pages at `rate` a second for `span`; an origin with so many requests takes `answer` of it.
    fn run(&mut self, span: Duration, rate: u32, answer: impl Fn(usize) -> Duration) -> Seen {
        self.seen = Seen::default();
        let (end, pause) = (self.now + span, Duration::from_secs(1) / rate);
        while self.now < end {
            self.now += pause;
            self.pass();
            self.page(&answer);
        }
        self.seen
    }

    fn page(&mut self, answer: impl Fn(usize) -> Duration) {
        self.seen.pages += 1;
        // readers spread evenly over the whole range (the golden ratio's multiples do)
        self.reader = (self.reader + 0.618_033_988_75).fract();
        if self.reader >= self.limiter.share() {
            return;
        }
        self.seen.asked += 1;
        if !self.limiter.admit() {
            self.seen.refused += 1;
            return;
        }
        let took = answer(self.limiter.in_flight());
        let (end, outcome) = match took < DEADLINE {
            true => (took, Outcome::Answered(took)),
            false => (DEADLINE, Outcome::Missed(DEADLINE)),
        };
        self.under_way.push((self.now + end, outcome));
    }

    fn pass(&mut self) {
        let now = self.now;
        let mut ended: Vec<_> = self
            .under_way
            .extract_if(.., |(at, _)| *at <= now)
            .collect();
        ended.sort_by_key(|(at, _)| *at);
        for (at, outcome) in ended {
            self.limiter.settle(outcome, at);
        }
        while self.ticked + TICK <= now {
            self.ticked += TICK;
            self.limiter.tick(TICK, self.is_shared);
        }
    }

    fn baseline_ms(&self) -> f64 {
        self.limiter.baseline().unwrap().as_secs_f64() * 1e3
    }
}

#[test]
fn the_tolerance_is_graded_by_the_place_in_the_ladder() {
    let graded: Vec<f64> = (0..4).map(|step| tolerance(step, 4)).collect();
    assert_eq!(graded, [1.5, 2.5, 3.5, 4.5]);
    assert_eq!(tolerance(0, 1), 4.5, "alone");
    assert_eq!(tolerance(9, 4), 4.5, "beyond the ladder");
    assert_eq!(tolerance(0, 0), 4.5, "no ladder");
}

#[test]
fn what_is_usual_is_asked_by_everybody() {
    for rate in [2, 20, 120, 1000] {
        let mut stage = Stage::new(1.5, None);
        stage.run(ms(2000), rate, |_| ms(40));
        let seen = stage.run(ms(60_000), rate, |_| ms(40));
        assert_eq!(seen.refused, 0, "at {rate}/s");
        assert_eq!(stage.limiter.share(), 1.0);
        assert!((stage.baseline_ms() - 40.0).abs() < 1.0);
    }
}

#[test]
fn a_tenfold_slowness_takes_all_but_a_trickle_and_leaves_when_it_is_over() {
    let mut stage = Stage::new(4.5, Some(ms(20)));
    stage.run(ms(10_000), 120, |_| ms(20));
    stage.run(ms(3000), 120, |_| ms(200));
    let slow = stage.run(ms(10_000), 120, |_| ms(200));
    assert!(slow.served() < 0.12, "{slow:?}");
    // most of those who go without are not refused: it is always the same readers
    assert!(slow.asked < slow.pages / 4, "{slow:?}");
    assert!((stage.baseline_ms() - 20.0).abs() < 2.0, "not learned from");
    stage.run(ms(5000), 120, |_| ms(20));
    let after = stage.run(ms(5000), 120, |_| ms(20));
    assert!(after.served() > 0.999, "{after:?}");
}

#[test]
fn a_jump_of_the_load_is_let_in_within_a_second_and_everybody_asks_soon_after() {
    let mut stage = Stage::new(1.5, Some(ms(50)));
    stage.run(ms(10_000), 60, |_| ms(50));
    stage.run(ms(1000), 2000, |_| ms(50));
    let seen = stage.run(ms(2000), 2000, |_| ms(50));
    assert_eq!(seen.refused, 0);
    let seen = stage.run(ms(1000), 2000, |_| ms(50));
    assert!(seen.served() > 0.999, "{seen:?}");
}

#[test]
fn an_origin_that_slows_down_under_load_gets_what_it_can_do() {
    // beyond ten at a time each one more makes all of them slower
    let origin = |in_flight: usize| ms(30) * u32::try_from(in_flight.max(10)).unwrap() / 10;
    let served = |tolerance| {
        let mut stage = Stage::new(tolerance, Some(ms(30)));
        stage.run(ms(10_000), 600, origin);
        stage.run(ms(20_000), 600, origin).served()
    };
    let (least, most) = (served(1.5), served(4.5));
    // it can do 333 a second without being slower than the tolerance
    assert!(least > 0.3, "{least}");
    assert!(most >= least - 0.02, "{most} against {least}");
}

#[test]
fn of_two_blocks_that_are_equally_slow_the_least_important_one_gives_way() {
    let served = |tolerance| {
        let mut stage = Stage::new(tolerance, Some(ms(30)));
        stage.run(ms(5000), 120, |_| ms(90));
        stage.run(ms(10_000), 120, |_| ms(90)).served()
    };
    assert!(served(1.5) < 0.5);
    assert!(served(3.5) > 0.999);
}

#[test]
fn a_slowness_that_stays_is_learned_after_two_minutes() {
    let mut stage = Stage::new(1.5, Some(ms(30)));
    let first = stage.run(ms(60_000), 120, |_| ms(100));
    assert!(first.served() < 0.5, "{first:?}");
    stage.run(ms(90_000), 120, |_| ms(100));
    let later = stage.run(ms(10_000), 120, |_| ms(100));
    assert!(later.served() > 0.99, "{later:?}");
}

#[test]
fn a_miss_counts_more_than_its_deadline_and_teaches_nothing() {
    let mut stage = Stage::new(4.5, None);
    stage.run(ms(5000), 120, |_| ms(300));
    assert_eq!(stage.limiter.baseline(), None);
    stage.run(ms(5000), 120, |_| ms(60));
    assert!((stage.baseline_ms() - 60.0).abs() < 1.0);
    let before = stage.limiter.limit();
    // 375 ms for what is usually 60
    stage.run(ms(4000), 120, |_| ms(300));
    assert!(stage.limiter.limit() < before / 2);
}

#[test]
fn a_few_milliseconds_are_nobodys_slowness() {
    let mut stage = Stage::new(1.5, Some(ms(1)));
    let seen = stage.run(ms(20_000), 500, |_| ms(14));
    assert_eq!(seen.refused, 0);
}

#[test]
fn a_shared_shortage_lets_the_share_recover() {
    let mut stage = Stage::new(1.5, Some(ms(30)));
    stage.run(ms(10_000), 120, |_| ms(200));
    assert!(stage.limiter.share() < 0.5);
    stage.is_shared = true;
    stage.run(ms(6000), 120, |_| ms(200));
    assert_eq!(stage.limiter.share(), 1.0);
}

#[test]
fn a_share_is_not_kept_down_by_a_quiet_night() {
    let mut stage = Stage::new(1.5, Some(ms(30)));
    stage.run(ms(10_000), 120, |_| ms(200));
    for _ in 0..100 {
        stage.limiter.tick(TICK, false);
    }
    assert_eq!(stage.limiter.share(), 1.0);
}

#[test]
fn a_reading_is_of_one_tick() {
    let now = Clock::start().now();
    let mut limiter = Limiter::new(1.5, None, now);
    (0..16).for_each(|_| assert!(limiter.admit()));
    (0..16).for_each(|_| limiter.settle(Outcome::Answered(ms(20)), now));
    limiter.tick(TICK, false);
    let admitted = (0..40).filter(|_| limiter.admit()).count();
    assert_eq!(admitted, 33);
    limiter.settle(Outcome::Missed(ms(250)), now);
    limiter.settle(Outcome::Answered(ms(20)), now);
    limiter.settle(Outcome::Abandoned, now);
    let reading = limiter.tick(TICK, false);
    assert_eq!((reading.asked, reading.refused, reading.missed), (40, 7, 1));
    assert_eq!(limiter.in_flight(), 30);
    let reading = limiter.tick(TICK, false);
    assert_eq!((reading.asked, reading.refused, reading.missed), (0, 0, 0));
}

#[test]
fn a_request_that_has_missed_its_deadline_keeps_its_place_until_it_ends() {
    let now = Clock::start().now();
    let mut limiter = Limiter::new(1.5, None, now);
    (0..16).for_each(|_| assert!(limiter.admit()));
    (0..16).for_each(|_| limiter.settle(Outcome::Answered(ms(20)), now));
    limiter.tick(TICK, false);
    while limiter.admit() {}
    let full = limiter.in_flight();
    limiter.missed(ms(250), now);
    assert_eq!(limiter.in_flight(), full);
    assert!(!limiter.admit());
    limiter.settle(Outcome::Abandoned, now);
    assert!(limiter.admit());
    assert_eq!(limiter.tick(TICK, false).missed, 1, "it is one miss");
}

#[test]
fn a_list_of_many_items_is_asked_for_at_once_also_after_a_restart() {
    for baseline in [None, Some(ms(20))] {
        let now = Clock::start().now();
        let mut limiter = Limiter::new(1.5, baseline, now);
        for page in 0..20 {
            let now = now + ms(500 * page);
            for item in 0..60 {
                assert!(limiter.admit(), "item {item} of page {page}");
            }
            (0..60).for_each(|_| limiter.settle(Outcome::Answered(ms(20)), now));
        }
    }
}

#[test]
fn the_noise_of_a_quiet_night_does_not_wear_the_limit_down() {
    let mut stage = Stage::new(1.5, Some(ms(40)));
    // every fifth answer takes four times as long, in no order
    let number = Cell::new(0u64);
    let answer = |_| {
        number.set(number.get() + 1);
        let hash = number.get().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60;
        ms(if hash < 3 { 160 } else { 40 })
    };
    for _ in 0..8 {
        stage.run(ms(3_600_000), 1, answer);
    }
    assert_eq!(stage.limiter.limit(), 20);
}

#[test]
fn a_higher_ceiling_is_made_use_of() {
    let mut stage = Stage::new(1.5, Some(ms(200)));
    stage.limiter.raise_ceiling(2000);
    stage.run(ms(15_000), 5000, |_| ms(200));
    assert!(stage.limiter.limit() > 900);
    stage.limiter.raise_ceiling(10);
    assert_eq!(stage.limiter.limit(), 400);
}

#[test]
fn what_was_known_is_restored_only_where_nothing_is() {
    let now = Clock::start().now();
    let mut limiter = Limiter::new(1.5, None, now);
    limiter.restore(ms(30), now);
    assert_eq!(limiter.baseline(), Some(ms(30)));
    limiter.restore(ms(300), now);
    assert_eq!(limiter.baseline(), Some(ms(30)));
}

#[derive(Debug, Clone)]
enum Deed {
    Ask,
    Settle(Outcome),
    Miss(u64),
    Pass(u64),
    Tick(u64, bool),
    Declare(f64),
}

fn deeds() -> impl Strategy<Value = Deed> {
    prop_oneof![
        8 => Just(Deed::Ask),
        4 => (0u64..100_000).prop_map(|took| Deed::Settle(Outcome::Answered(ms(took)))),
        2 => (0u64..10_000).prop_map(|took| Deed::Settle(Outcome::Missed(ms(took)))),
        1 => Just(Deed::Settle(Outcome::Abandoned)),
        1 => (0u64..10_000).prop_map(Deed::Miss),
        2 => (0u64..5000).prop_map(Deed::Pass),
        2 => (0u64..10_000_000, any::<bool>()).prop_map(|(span, shared)| Deed::Tick(span, shared)),
        1 => (1.5f64..4.5).prop_map(Deed::Declare),
    ]
}

proptest! {
    #[test]
    fn it_keeps_within_its_bounds(
        baseline in prop::option::of(0u64..100_000),
        deeds in prop::collection::vec(deeds(), 0..600)
    ) {
        let mut now = Clock::start().now();
        let mut limiter = Limiter::new(1.5, baseline.map(ms), now);
        let (mut under_way, mut refused) = (0usize, 0u64);
        for deed in deeds {
            match deed {
                Deed::Ask => match limiter.admit() {
                    true => {
                        under_way += 1;
                        prop_assert!(under_way <= limiter.limit() || !limiter.has_judged);
                    }
                    false => {
                        refused += 1;
                        prop_assert!(under_way >= limiter.limit());
                    }
                },
                Deed::Settle(outcome) if under_way > 0 => {
                    under_way -= 1;
                    limiter.settle(outcome, now);
                }
                Deed::Miss(took) if under_way > 0 => limiter.missed(ms(took), now),
                Deed::Settle(_) | Deed::Miss(_) => {}
                Deed::Pass(span) => now += ms(span),
                Deed::Tick(span, is_shared) => {
                    let reading = limiter.tick(ms(span), is_shared);
                    prop_assert!(reading.refused <= reading.asked);
                    prop_assert_eq!(reading.share, limiter.share());
                }
                Deed::Declare(tolerance) => limiter.declare(tolerance),
            }
            prop_assert_eq!(limiter.in_flight(), under_way);
            prop_assert_eq!(limiter.refused_in_all(), refused);
            prop_assert!((2..=400).contains(&limiter.limit()));
            prop_assert!((SHARE_MIN..=1.0).contains(&limiter.share()));
        }
    }

    #[test]
    fn whatever_it_has_been_through_it_is_itself_again(
        troubles in prop::collection::vec((1u64..2000, 1u32..400), 1..8)
    ) {
        let mut stage = Stage::new(1.5, Some(ms(40)));
        for (took, rate) in troubles {
            stage.run(ms(3000), rate, |_| ms(took));
        }
        stage.run(ms(25_000), 120, |_| ms(40));
        let seen = stage.run(ms(2000), 120, |_| ms(40));
        prop_assert_eq!(seen.refused, 0);
        prop_assert_eq!(stage.limiter.share(), 1.0);
    }
}
