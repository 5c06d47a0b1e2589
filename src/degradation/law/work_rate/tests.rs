//! What it makes of a load, of pressure, and of time that is not as it should be.

use proptest::prelude::*;

use super::super::tests::{any_sample, ms, sample};
use super::*;
use crate::degradation::sample::Costs;

fn two_cores() -> Constants {
    Constants::for_cores(2)
}

/// The state after so many ticks of a sample, and what was decided last.
fn after(
    constants: &Constants,
    mut state: State,
    sample: &Sample,
    ticks: usize,
) -> (State, Decision) {
    let mut last = None;
    for _ in 0..ticks {
        let (next, decision) = step(constants, state, sample);
        state = next;
        last = Some(decision);
    }
    (state, last.expect("at least one tick"))
}

fn crowd(arrivals: u32) -> Sample {
    Sample {
        arrivals,
        ..sample()
    }
}

fn queue(delay_ms: u64) -> Sample {
    Sample {
        queue_delay: ms(delay_ms),
        ..sample()
    }
}

#[test]
fn a_step_of_arrivals_acts_within_three_ticks_and_teaches_nothing() {
    let constants = two_cores();
    // the pressure is as it should be, and stays so: whatever moves, arrivals have moved it
    let held = |arrivals| Sample {
        queue_delay: ms(22),
        ..crowd(arrivals)
    };
    let (state, before) = after(&constants, constants.begin(Some(2000.0)), &held(12), 100);
    assert_eq!(before.theta, 1.0);
    let (state, during) = after(&constants, state, &held(60), 3);
    assert_eq!(during.rate, before.rate);
    assert!(during.theta < 0.5, "{during:?}");
    assert_eq!(during.reason, Reason::Demand);
    let (state, during) = after(&constants, state, &held(60), 30);
    // what is learned is shared by 600 pages a second, 3.3 ms each, of which the text is 2.5
    let theta = (during.rate / 600.0 - 2.5) / 7.5;
    assert!(
        (during.theta / theta - 1.0).abs() < constants.theta_play + 0.03,
        "{during:?}"
    );
    let (state, behind) = after(&constants, state, &held(12), 3);
    assert!(behind.theta > 0.4, "{behind:?}");
    let (_, behind) = after(&constants, state, &held(12), 12);
    assert_eq!(behind.theta, 1.0, "{behind:?}");
    assert_eq!(behind.rate, before.rate);
}

#[test]
fn what_is_given_up_while_the_rate_recovers_is_never_said_to_come_back() {
    let constants = two_cores();
    let (state, _) = after(&constants, constants.begin(Some(2000.0)), &queue(200), 20);
    let calm = |arrivals| Sample {
        queue_delay: Duration::ZERO,
        ..crowd(arrivals)
    };
    let (state, back) = after(&constants, state, &calm(12), 10);
    assert_eq!(back.reason, Reason::Recovering, "{back:?}");
    let (_, fallen) = after(&constants, state, &calm(60), 1);
    assert!(fallen.admit < back.admit, "{back:?} {fallen:?}");
    assert_eq!(fallen.reason, Reason::Demand, "{fallen:?}");
}

#[test]
fn what_follows_from_a_rate_is_arithmetic() {
    // (pages a second, R, inflation, theta, admission)
    let table = [
        (100.0, 1000.0, 1.0, 1.0, 1.0),
        (100.0, 900.0, 1.0, (9.0 - 2.5) / 7.5, 1.0),
        (100.0, 1000.0, 2.0, (5.0 - 2.5) / 7.5, 1.0),
        (100.0, 250.0, 1.0, 0.0, 1.0),
        (100.0, 125.0, 1.0, 0.0, 0.5),
        (1e6, 100.0, 1.0, 0.0, 0.05),
        (0.0, 100.0, 1.0, 1.0, 1.0),
    ];
    let constants = Constants {
        theta_play: 0.0,
        ..two_cores()
    };
    for (arrivals, rate, inflation, theta, admit) in table {
        let mut state = constants.begin(None);
        (state.rate, state.inflation) = (rate, inflation);
        let got = afford(
            &constants,
            &state,
            arrivals,
            &Seen::of(&constants, &sample()),
        );
        assert!(
            (got.0 - theta).abs() < 1e-9 && (got.1 - admit).abs() < 1e-9,
            "{got:?}"
        );
    }
}

#[test]
fn theta_does_not_tremble_with_what_can_be_afforded() {
    let moves = |from, affordable| follow(from, affordable, 0.15);
    assert_eq!(moves(0.5, 0.58), 0.5);
    assert_eq!(moves(0.5, 0.48), 0.5);
    // no further than needed, either way
    assert!((moves(0.5, 0.6) - 0.51).abs() < 1e-9);
    assert!((moves(0.5, 0.4) - 0.42).abs() < 1e-9);
    // all and nothing are reached
    assert_eq!(moves(0.5, 1.2), 1.0);
    assert_eq!(moves(0.5, f64::INFINITY), 1.0);
    assert_eq!(moves(0.5, 0.0), 0.0);
    assert_eq!(moves(0.5, -3.0), 0.0);
    assert_eq!(moves(0.0, 1.0), 0.85);
}

#[test]
fn unknown_costs_give_nothing_up_and_teach_nothing() {
    let constants = two_cores();
    for costs in [
        Costs::default(),
        Costs {
            base_ms: f64::NAN,
            optional_ms: -3.0,
        },
    ] {
        let unknown = Sample {
            costs,
            ..queue(500)
        };
        let (_, decision) = after(&constants, constants.begin(Some(700.0)), &unknown, 50);
        assert_eq!((decision.theta, decision.admit), (1.0, 1.0));
        assert_eq!(decision.rate, 700.0);
        assert_eq!(decision.reason, Reason::QueueDelay, "but it is said");
    }
}

#[test]
fn a_site_without_optional_blocks_has_admission_alone() {
    let constants = two_cores();
    let bare = |arrivals| Sample {
        costs: Costs {
            base_ms: 2.5,
            optional_ms: 0.0,
        },
        ..crowd(arrivals)
    };
    let (state, calm) = after(&constants, constants.begin(Some(2000.0)), &bare(12), 20);
    assert_eq!((calm.theta, calm.admit), (1.0, 1.0));
    let (_, crowd) = after(&constants, state, &bare(160), 6);
    assert!(crowd.admit < 0.65 && crowd.theta == 1.0, "{crowd:?}");
}

#[test]
fn without_arrivals_nothing_is_learned() {
    let constants = two_cores();
    // something else on the machine makes the runtime late, and nobody reads
    let dead = Sample {
        arrivals: 0,
        inflation: None,
        lateness: None,
        ..queue(300)
    };
    let (_, decision) = after(&constants, constants.begin(Some(1500.0)), &dead, 600);
    assert_eq!(
        (decision.theta, decision.admit, decision.rate),
        (1.0, 1.0, 1500.0)
    );
}

#[test]
fn one_page_an_hour_is_a_full_page() {
    let constants = two_cores();
    let empty = Sample {
        inflation: None,
        lateness: None,
        ..crowd(0)
    };
    let mut state = constants.begin(None);
    for tick in 0..36_000 * 2 {
        let sample = if tick % 36_000 == 17 { crowd(1) } else { empty };
        let (next, decision) = step(&constants, state, &sample);
        assert_eq!((decision.theta, decision.admit), (1.0, 1.0), "tick {tick}");
        state = next;
    }
}

#[test]
fn a_cut_is_soft_where_the_pressure_is_mild_and_hard_where_it_is_not() {
    let constants = two_cores();
    let (begin, _) = after(&constants, constants.begin(None), &sample(), 100);
    // at 120 pages a second R bears on nothing above 1200; a mild spell takes a tenth of what is a
    // little more than that, and a fifth of it with each second
    let (state, mild) = after(&constants, begin.clone(), &queue(35), 10);
    assert!(mild.rate >= 1.2 * 1200.0 * 0.68, "{mild:?}");
    let (_, longer) = after(&constants, state, &queue(35), 100);
    assert!(
        (longer.rate - 1.2 * 1200.0 * 0.3).abs() < 20.0,
        "{longer:?}"
    );
    let (_, severe) = after(&constants, begin, &queue(200), 30);
    assert!(severe.rate < 400.0, "{severe:?}");
}

#[test]
fn a_queue_that_drains_is_left_to_drain() {
    let constants = two_cores();
    let (mut state, _) = after(&constants, constants.begin(None), &sample(), 100);
    let rates: Vec<f64> = [400, 400, 400, 300, 200, 150, 100, 60]
        .into_iter()
        .map(|delay| {
            let (next, decision) = step(&constants, state.clone(), &queue(delay));
            state = next;
            decision.rate
        })
        .collect();
    assert!(rates[2] < rates[1]);
    assert_eq!(rates[3..], [rates[2]; 5], "{rates:?}");
}

#[test]
fn growth_is_faster_with_rest_and_careful_near_the_last_ceiling() {
    let constants = two_cores();
    let mut state = constants.begin(Some(600.0));
    (state.calm, state.was_limited, state.pressure) = (Some(1.0), true, 0.0);
    state.spell.rate = 1000.0;
    let quiet = crowd(60);
    let quiet = Sample {
        lateness: None,
        ..quiet
    };
    let gain = |state: &State| {
        let (_, decision) = step(&constants, state.clone(), &quiet);
        decision.rate - state.rate
    };
    let slow = gain(&state);
    state.calm = Some(9.0);
    let fast = gain(&state);
    assert!(fast > 2.5 * slow, "{slow} {fast}");
    (state.rate, state.calm) = (950.0, Some(3.0));
    let near = gain(&state);
    let careful = constants.plateau_growth * constants.rate_max * 0.1;
    assert!((near - careful).abs() < 1e-6, "{near}");
    state.calm = Some(constants.plateau_time.as_secs_f64() + 1.0);
    assert!(gain(&state) > 10.0 * near);
}

#[test]
fn a_late_tick_counts_for_as_long_as_it_has_lasted() {
    let constants = two_cores();
    let (state, _) = after(&constants, constants.begin(None), &sample(), 100);
    // as long as the pressure is new the order of things differs; then it does not
    let (state, _) = after(&constants, state, &queue(150), 10);
    let (_, often) = after(&constants, state.clone(), &queue(150), 8);
    let late = Sample {
        span: ms(400),
        arrivals: 48,
        ..queue(150)
    };
    let (_, seldom) = after(&constants, state, &late, 2);
    assert!(
        (often.rate / seldom.rate - 1.0).abs() < 1e-6,
        "{often:?} {seldom:?}"
    );
}

#[test]
fn a_machine_that_was_suspended_goes_on_as_before() {
    let constants = two_cores();
    let held = Sample {
        queue_delay: ms(22),
        ..crowd(40)
    };
    let (state, before) = after(&constants, constants.begin(Some(2000.0)), &held, 100);
    let hours = Sample {
        span: Duration::from_secs(7200),
        arrivals: 30,
        queue_delay: ms(22),
        ..sample()
    };
    let (state, _) = step(&constants, state, &hours);
    let (_, behind) = after(&constants, state, &held, 3);
    assert!(
        (behind.theta - before.theta).abs() < 0.1,
        "{before:?} {behind:?}"
    );
    assert_eq!(behind.rate, before.rate);
}

#[test]
fn what_a_disk_says_is_clamped() {
    let constants = two_cores();
    for (said, believed) in [
        (Some(2000.0), 2000.0),
        (Some(-5.0), 150.0),
        (Some(0.0), 150.0),
        (Some(1e18), 3000.0),
        (Some(f64::NAN), 2000.0),
        (Some(f64::INFINITY), 2000.0),
        (None, 2000.0),
    ] {
        assert_eq!(constants.begin(said).rate(), believed, "{said:?}");
    }
}

#[test]
fn late_pages_are_a_net_under_the_queue_delay() {
    let constants = two_cores();
    let late = Sample {
        lateness: Some(1.5),
        ..crowd(30)
    };
    let (_, decision) = after(&constants, constants.begin(None), &late, 30);
    assert_eq!(decision.reason, Reason::PageTime);
    assert!(decision.rate < 2700.0, "{decision:?}");
}

proptest! {
    #[test]
    fn the_rate_keeps_its_bounds(
        cores in 1usize..=64,
        samples in prop::collection::vec(any_sample(), 1..80),
    ) {
        let constants = Constants::for_cores(cores);
        let mut state = constants.begin(None);
        for sample in &samples {
            let (next, decision) = step(&constants, state, sample);
            let max = constants.rate_max;
            prop_assert!((0.05 * max..=max).contains(&decision.rate), "{decision:?}");
            state = next;
        }
    }

    #[test]
    fn without_pressure_and_with_nothing_given_up_it_hardly_grows(
        learned in 1300.0..2900.0f64,
        ticks in 1usize..300,
        arrivals in 0u32..13,
    ) {
        let constants = two_cores();
        let mut state = constants.begin(Some(learned));
        for _ in 0..ticks {
            let (next, decision) = step(&constants, state.clone(), &crowd(arrivals));
            prop_assert_eq!(decision.theta, 1.0);
            prop_assert!(decision.rate - state.rate <= 0.002 * constants.rate_max * 0.1 + 1e-9);
            state = next;
        }
    }

    #[test]
    fn more_pressure_never_leaves_more(
        learned in 200.0..3000.0f64,
        arrivals in 1u32..100,
        less in 0u64..300,
        more in 0u64..300,
    ) {
        let constants = two_cores();
        let (less, more) = (less.min(more), less.max(more));
        let one = |delay| {
            let (state, _) = after(&constants, constants.begin(Some(learned)), &crowd(arrivals), 30);
            let sample = Sample { queue_delay: ms(delay), ..crowd(arrivals) };
            let (_, decision) = step(&constants, state, &sample);
            decision
        };
        let (less, more) = (one(less), one(more));
        prop_assert!(more.theta <= less.theta + 1e-9 && more.admit <= less.admit + 1e-9);
    }
}
