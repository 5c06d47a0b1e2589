//! Tables and simulations of the choice: a few thousand requests to replicas that behave as told.

use fastrand::Rng;

use super::*;
use crate::clock::Clock;
use crate::report::BreakerState;
use crate::site::{Address, BreakerPolicy, Connections, ReplicaSpec, RetryPolicy};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn replica(weight: u8, role: Role) -> ReplicaSpec {
    ReplicaSpec {
        address: Address::Url("http://replica".to_owned()),
        weight,
        role,
    }
}

const PRIMARY: (u8, Role) = (100, Role::Primary);
const READ_REPLICA: (u8, Role) = (100, Role::ReadReplica);

fn spec(replicas: &[(u8, Role)]) -> OriginSpec {
    OriginSpec {
        name: "cms".to_owned(),
        replicas: replicas
            .iter()
            .map(|(weight, role)| replica(*weight, *role))
            .collect(),
        owner: None,
        timeout: ms(1000),
        connect_timeout: ms(1000),
        max_in_flight: 100,
        reserved: 0,
        connections: Connections {
            idle_max: 1,
            idle_timeout: ms(1000),
            http2: false,
            ca: None,
            dns_ttl: ms(1000),
            public_only: false,
        },
        breaker: BreakerPolicy {
            enabled: true,
            window: ms(10_000),
            requests_min: 20,
            failed_percent: 50,
            slow_percent: 50,
            slow_factor: 5,
            run_max: 10,
            open: ms(500),
            open_max: ms(10_000),
            step: ms(1000),
        },
        retry: RetryPolicy {
            attempts: 1,
            budget_percent: 0,
            backoff: ms(0),
            statuses: Vec::new(),
        },
        hedge_percent: 0,
        health: None,
        availability: None,
        depends_on: Vec::new(),
    }
}

/// How one replica behaves: the time of an answer, and how many of a hundred fail.
#[derive(Debug, Clone, Copy)]
struct Behaviour {
    takes: Duration,
    fails: f64,
}

const WELL: Behaviour = Behaviour {
    takes: ms_const(20),
    fails: 0.0,
};
const DEAD: Behaviour = Behaviour {
    takes: Duration::ZERO,
    fails: 100.0,
};

const fn ms_const(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn slow(n: u64) -> Behaviour {
    Behaviour {
        takes: ms(n),
        fails: 0.0,
    }
}

fn failing(percent: f64) -> Behaviour {
    Behaviour {
        fails: percent,
        ..WELL
    }
}

/// Requests in time.
struct Play {
    balance: Balance,
    now: Instant,
    rng: Rng,
    under_way: Vec<(Instant, Turn, Verdict)>,
    told: Vec<(usize, News)>,
}

impl Play {
    fn new(replicas: &[(u8, Role)], seed: u64) -> Self {
        let now = Clock::start().now();
        Self {
            balance: Balance::new(&spec(replicas), now),
            now,
            rng: Rng::with_seed(seed),
            under_way: Vec::new(),
            told: Vec::new(),
        }
    }

    /// A hundred requests a second for so long; how many each replica got.
    fn run(&mut self, seconds: u64, behaviours: &[Behaviour]) -> Vec<usize> {
        let mut got = vec![0; behaviours.len()];
        for _ in 0..100 * seconds {
            self.now += ms(10);
            self.settle();
            let (now, rng) = (self.now, &mut self.rng);
            let (turn, moved) = self.balance.choose(Daring::Some, now, &mut || rng.f64());
            self.told
                .extend(moved.map(|moved| (turn.replica, News::Moved(moved))));
            got[turn.replica] += 1;
            let Behaviour { takes, fails } = behaviours[turn.replica];
            let verdict = match self.rng.f64() * 100.0 < fails {
                true => Verdict::Failed,
                false => Verdict::Good,
            };
            let takes = takes.mul_f64(0.5 + self.rng.f64());
            self.under_way.push((self.now + takes, turn, verdict));
        }
        got
    }

    fn settle(&mut self) {
        let now = self.now;
        let (done, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.under_way)
            .into_iter()
            .partition(|(end, ..)| *end <= now);
        self.under_way = rest;
        for (end, turn, verdict) in done {
            let p95 = Some(ms(30));
            let news = self.balance.settle(turn, verdict, p95, end, self.rng.f64());
            self.told
                .extend(news.into_iter().map(|news| (turn.replica, news)));
        }
    }

    fn state(&self, index: usize) -> BreakerState {
        let condition = self.balance.conditions().nth(index).unwrap();
        condition.breaker.state().0
    }

    fn ejections(&self) -> Vec<usize> {
        let ejected = self.told.iter().filter_map(|(index, news)| match news {
            News::Moved(moved) => {
                let is_first = moved.from == BreakerState::Closed;
                (is_first && moved.to == BreakerState::Open).then_some(*index)
            }
            News::Withdrawn(_) => None,
        });
        ejected.collect()
    }
}

#[test]
fn equals_share_equally() {
    for seed in 0..10 {
        let mut play = Play::new(&[PRIMARY; 4], seed);
        let got = play.run(40, &[WELL; 4]);
        assert!(
            got.iter().all(|got| (850..1150).contains(got)),
            "seed {seed}: {got:?}"
        );
        assert!(play.ejections().is_empty(), "seed {seed}");
    }
}

#[test]
fn who_is_slower_gets_less() {
    for seed in 0..10 {
        let mut play = Play::new(&[PRIMARY; 3], seed);
        let got = play.run(30, &[WELL, WELL, slow(60)]);
        assert!(
            got[2] * 3 < got[0] && got[2] * 3 < got[1],
            "seed {seed}: {got:?}"
        );
        assert!(got[2] > 0, "seed {seed}: {got:?}");
        assert!(
            play.ejections().is_empty(),
            "three times slower is not an outlier: seed {seed}"
        );
    }
}

#[test]
fn one_that_is_twenty_times_slower_is_ejected() {
    for seed in 0..10 {
        let mut play = Play::new(&[PRIMARY; 3], seed);
        play.run(10, &[WELL; 3]);
        let got = play.run(60, &[WELL, WELL, slow(400)]);
        assert!(got[2] < 60, "seed {seed}: {got:?}");
        assert_eq!(play.ejections().first(), Some(&2), "seed {seed}");
    }
}

#[test]
fn when_all_are_slow_nobody_is_an_outlier() {
    for seed in 0..10 {
        let mut play = Play::new(&[PRIMARY; 3], seed);
        play.run(10, &[WELL; 3]);
        play.run(30, &[slow(400); 3]);
        assert!(play.ejections().is_empty(), "seed {seed}");
    }
}

#[test]
fn a_dead_one_is_ejected_and_comes_back_step_by_step() {
    for seed in 0..20 {
        let mut play = Play::new(&[PRIMARY; 3], seed);
        play.run(5, &[WELL; 3]);
        let got = play.run(60, &[WELL, DEAD, WELL]);
        assert!(got[1] <= 20, "seed {seed}: {got:?}");
        assert_eq!(play.ejections(), [1], "seed {seed}");
        let got = play.run(15, &[WELL; 3]);
        assert!(got[1] > 20, "seed {seed}: {got:?}");
        let got = play.run(5, &[WELL; 3]);
        assert!(got[1] > 120, "seed {seed}: it has its share again: {got:?}");
    }
}

#[test]
fn never_more_than_half_are_ejected() {
    for (count, most) in [(2, 1), (3, 1), (4, 2), (5, 2)] {
        for seed in 0..10 {
            let mut play = Play::new(&vec![PRIMARY; count], seed);
            let dead = vec![DEAD; count];
            for _ in 0..60 {
                play.run(1, &dead);
                let out = (0..count).filter(|index| {
                    matches!(
                        play.state(*index),
                        BreakerState::Open | BreakerState::HalfOpen
                    )
                });
                assert!(out.count() <= most, "{count} replicas, seed {seed}");
            }
            // and all are asked again when they are well
            play.run(20, &vec![WELL; count]);
            let got = play.run(20, &vec![WELL; count]);
            let fair = 2000 / count;
            assert!(
                got.iter().all(|got| *got > fair / 2),
                "{count}, seed {seed}: {got:?}"
            );
        }
    }
}

#[test]
fn a_read_replica_is_asked_only_while_no_primary_can_answer() {
    for seed in 0..10 {
        let mut play = Play::new(&[PRIMARY, PRIMARY, READ_REPLICA], seed);
        let got = play.run(10, &[WELL; 3]);
        assert_eq!(got[2], 0, "seed {seed}: {got:?}");
        let got = play.run(10, &[WELL, DEAD, WELL]);
        assert_eq!(got[2], 0, "one primary is left, seed {seed}: {got:?}");
        play.run(5, &[DEAD, DEAD, WELL]);
        let got = play.run(20, &[DEAD, DEAD, WELL]);
        assert!(got[2] > 1_900, "seed {seed}: {got:?}");
        play.run(20, &[WELL; 3]);
        let got = play.run(10, &[WELL; 3]);
        assert_eq!(got[2], 0, "the primaries are back, seed {seed}: {got:?}");
    }
}

#[test]
fn a_canary_gets_what_was_declared_and_is_withdrawn_when_it_is_worse() {
    let replicas = [PRIMARY, PRIMARY, (10, Role::Primary)];
    for seed in 0..10 {
        // 10 of 210
        let mut play = Play::new(&replicas, seed);
        let got = play.run(100, &[WELL; 3]);
        assert!((350..620).contains(&got[2]), "seed {seed}: {got:?}");
        let withdrawn = |play: &Play| {
            play.told
                .iter()
                .any(|(index, news)| *index == 2 && matches!(news, News::Withdrawn(_)))
        };
        assert!(!withdrawn(&play), "seed {seed}");
        for worse in [failing(30.0), slow(80)] {
            let mut play = Play::new(&replicas, seed);
            play.run(60, &[WELL, WELL, worse]);
            assert!(withdrawn(&play), "seed {seed}: {worse:?}");
            let got = play.run(30, &[WELL, WELL, worse]);
            assert_eq!(got[2], 0, "seed {seed}: {worse:?}");
        }
    }
}

#[test]
fn a_canary_is_not_asked_while_there_is_no_room_for_trials() {
    let mut play = Play::new(&[PRIMARY, PRIMARY, (10, Role::Primary)], 1);
    play.balance.pause_canaries(true);
    // not even when one of the others is sick, or all are
    assert_eq!(play.run(20, &[WELL; 3])[2], 0);
    assert_eq!(play.run(20, &[DEAD, WELL, WELL])[2], 0);
    assert_eq!(play.run(20, &[DEAD, DEAD, WELL])[2], 0);
    play.balance.pause_canaries(false);
    play.run(20, &[WELL; 3]);
    assert!(play.run(20, &[WELL; 3])[2] > 0);
}

#[test]
fn a_failed_health_check_puts_a_replica_out_and_a_good_one_brings_it_back_slowly() {
    let mut play = Play::new(&[PRIMARY; 2], 1);
    assert!(play.balance.checked(0, false, play.now));
    assert!(!play.balance.checked(0, false, play.now), "no news");
    assert_eq!(play.run(5, &[WELL; 2])[0], 0);
    assert!(play.balance.checked(0, true, play.now));
    let first = play.run(1, &[WELL; 2])[0];
    assert!(
        (1..20).contains(&first),
        "{first} of 100 in the first second"
    );
    play.run(5, &[WELL; 2]);
    assert!(play.run(5, &[WELL; 2])[0] > 200);
}

#[test]
fn who_would_be_missed_leaves_it_to_others_to_try_who_was_ejected() {
    let mut play = Play::new(&[PRIMARY; 2], 1);
    play.run(5, &[WELL, DEAD]);
    let due = loop {
        let condition = play.balance.conditions().nth(1).unwrap();
        if let (_, Some(due)) = condition.breaker.share() {
            break due.max(play.now);
        }
        play.run(1, &[WELL, DEAD]);
    };
    play.under_way.clear();
    for (daring, after, is_sent) in [
        (Daring::Some, 0, true),
        (Daring::Little, 999, false),
        (Daring::Little, 1000, true),
        (Daring::Least, 4999, false),
        (Daring::Least, 5000, true),
        (Daring::None, 600_000, false),
    ] {
        let sent = play.balance.due(daring, due + ms(after));
        assert_eq!(sent == Some(1), is_sent, "{daring:?} {after}");
    }
}

#[test]
fn neither_a_canary_nor_a_reserve_is_a_measure_for_the_primaries() {
    for other in [(5, Role::Primary), READ_REPLICA] {
        for seed in 0..5 {
            let mut play = Play::new(&[PRIMARY, PRIMARY, other], seed);
            // at night the reserve has answered, in no time
            play.balance.checked(0, false, play.now);
            play.balance.checked(1, false, play.now);
            play.run(2, &[slow(60), slow(60), slow(4)]);
            play.balance.checked(0, true, play.now);
            play.balance.checked(1, true, play.now);
            play.run(10, &[slow(60), slow(60), slow(4)]);
            let got = play.run(60, &[slow(60), slow(60), slow(4)]);
            assert!(
                got[0] > 2_000 && got[1] > 2_000,
                "seed {seed}, {other:?}: {got:?}"
            );
        }
    }
}

#[test]
fn who_is_outrun_by_a_second_attempt_is_judged_by_how_long_it_was_waited_for() {
    let mut play = Play::new(&[PRIMARY; 3], 1);
    play.run(5, &[WELL; 3]);
    for _ in 0..10 {
        let (now, rng) = (play.now, &mut play.rng);
        let (turn, _) = play
            .balance
            .choose_instead(&[0, 2], now, &mut || rng.f64())
            .unwrap();
        play.now += ms(300);
        let news = play.balance.outrun(turn, Some(ms(30)), play.now, 0.5);
        play.balance.abandon(turn);
        play.told.extend(news.into_iter().map(|news| (1, news)));
        if !play.ejections().is_empty() {
            break;
        }
    }
    assert_eq!(play.ejections(), [1]);
}

#[test]
fn when_nobody_is_well_somebody_is_asked_all_the_same() {
    let mut play = Play::new(&[PRIMARY; 2], 1);
    play.balance.checked(0, false, play.now);
    play.balance.checked(1, false, play.now);
    let got = play.run(2, &[WELL; 2]);
    assert!(got.iter().all(|got| *got > 50), "{got:?}");
}

#[test]
fn a_second_attempt_goes_to_another_replica_where_there_is_one() {
    let mut play = Play::new(&[PRIMARY; 3], 1);
    let (now, rng) = (play.now, &mut play.rng);
    for _ in 0..50 {
        let (turn, _) = play.balance.choose_again(&[1], now, &mut || rng.f64());
        assert_ne!(turn.replica, 1);
        let beside = play.balance.choose_beside(&[0, 1], now, &mut || rng.f64());
        assert_eq!(beside.map(|(turn, _)| turn.replica), Some(2));
        let beside = play
            .balance
            .choose_beside(&[0, 1, 2], now, &mut || rng.f64());
        assert!(beside.is_none());
        // all were asked: then one of them again
        play.balance
            .choose_again(&[0, 1, 2], now, &mut || rng.f64());
        let instead = play
            .balance
            .choose_instead(&[0, 1, 2], now, &mut || rng.f64());
        assert!(instead.is_none());
    }
}

#[test]
fn a_read_replica_stands_in_where_no_primary_could_be_reached_and_never_beside_one() {
    let mut play = Play::new(&[PRIMARY, READ_REPLICA], 1);
    let (now, rng) = (play.now, &mut play.rng);
    assert!(play.balance.has_other(&[0]));
    let instead = play.balance.choose_instead(&[0], now, &mut || rng.f64());
    assert_eq!(instead.map(|(turn, _)| turn.replica), Some(1));
    let beside = play.balance.choose_beside(&[0], now, &mut || rng.f64());
    assert!(beside.is_none());
    let (again, _) = play.balance.choose_again(&[0], now, &mut || rng.f64());
    assert_eq!(again.replica, 0, "it answers, if badly");
    assert!(!play.balance.has_other(&[0, 1]));
}

#[test]
fn where_one_refuses_each_of_the_others_is_asked_once_and_who_is_out_at_last() {
    for replicas in [
        &[PRIMARY, READ_REPLICA][..],
        &[PRIMARY, PRIMARY, PRIMARY],
        &[PRIMARY, PRIMARY, READ_REPLICA, READ_REPLICA],
    ] {
        for out in 0..replicas.len() {
            let mut play = Play::new(replicas, 1);
            play.balance.checked(out, false, play.now);
            let (now, rng) = (play.now, &mut play.rng);
            let mut chance = || rng.f64();
            let (first, _) = play.balance.choose(Daring::None, now, &mut chance);
            let mut tried = vec![first.replica];
            while let Some((turn, _)) = play.balance.choose_instead(&tried, now, &mut chance) {
                assert!(!tried.contains(&turn.replica), "{tried:?}");
                assert!(play.balance.has_other(&tried));
                tried.push(turn.replica);
            }
            assert!(!play.balance.has_other(&tried));
            assert_eq!(tried.len(), replicas.len());
            assert_eq!(tried.last(), Some(&out), "{tried:?}");
            let well = tried.iter().filter(|index| **index != out);
            let is_primary = |index: &usize| replicas[*index] == PRIMARY;
            assert!(
                well.is_sorted_by_key(|index| !is_primary(index)),
                "{tried:?}"
            );
        }
    }
}
