//! How it shrinks and grows.

use super::super::tests::{ms, sample};
use super::*;

fn after(mut state: State, delay_ms: u64, span_ms: u64, ticks: usize) -> (State, Decision) {
    let constants = Constants::default();
    let sample = Sample {
        span: ms(span_ms),
        queue_delay: ms(delay_ms),
        ..sample()
    };
    let mut last = None;
    for _ in 0..ticks {
        let (next, decision) = step(&constants, state, &sample);
        state = next;
        last = Some(decision);
    }
    (state, last.expect("at least one tick"))
}

#[test]
fn theta_goes_first_and_comes_back_last() {
    let constants = Constants::default();
    let (state, decision) = after(constants.begin(), 80, 100, 10);
    assert!((decision.theta - 0.85f64.powi(10)).abs() < 1e-9);
    assert_eq!((decision.admit, decision.reason), (1.0, Reason::QueueDelay));
    let (state, decision) = after(state, 80, 100, 20);
    assert_eq!(decision.theta, 0.0);
    assert!(decision.admit < 0.5, "{decision:?}");
    let (state, decision) = after(state, 80, 100, 100);
    assert_eq!(decision.admit, 0.05);
    let (state, decision) = after(state, 10, 100, 190);
    assert_eq!((decision.theta, decision.reason), (0.0, Reason::Recovering));
    let (_, decision) = after(state, 10, 100, 201);
    assert_eq!((decision.theta, decision.admit), (1.0, 1.0));
    assert_eq!(decision.reason, Reason::Ample);
}

#[test]
fn a_late_tick_counts_for_as_long_as_it_has_lasted() {
    let constants = Constants::default();
    let (_, often) = after(constants.begin(), 80, 100, 8);
    let (_, seldom) = after(constants.begin(), 80, 400, 2);
    assert!((often.theta - seldom.theta).abs() < 1e-9);
    let (_, stalled) = after(constants.begin(), 80, 3_600_000, 1);
    assert!(
        (stalled.theta - 0.85f64.powi(10)).abs() < 1e-9,
        "a second at most"
    );
}

#[test]
fn frozen_it_stays_where_it_is() {
    let constants = Constants::default();
    let (state, before) = after(constants.begin(), 80, 100, 5);
    let (state, held) = after(state.freeze(true), 80, 100, 50);
    assert_eq!(held.theta, before.theta);
    let (_, freed) = after(state.freeze(false), 80, 100, 5);
    assert!(freed.theta < before.theta);
}
