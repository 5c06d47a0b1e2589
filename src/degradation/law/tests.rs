//! What every law keeps, whatever the samples say.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::degradation::sample::Costs;

/// A tick of the quiet day: 120 pages a second of 2.5 + 7.5 ms.
pub(super) fn sample() -> Sample {
    Sample {
        span: Duration::from_millis(100),
        arrivals: 12,
        queue_delay: Duration::ZERO,
        lateness: Some(0.5),
        inflation: Some(1.0),
        costs: Costs {
            base_ms: 2.5,
            optional_ms: 7.5,
        },
    }
}

pub(super) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn laws() -> Vec<Law> {
    vec![Law::for_cores(2), Law::Aimd(aimd::Constants::default())]
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => 0.0..50.0f64,
        1 => prop_oneof![
            Just(0.0),
            Just(-1.0),
            Just(f64::MIN_POSITIVE),
            Just(1e300),
            Just(f64::INFINITY),
            Just(f64::NEG_INFINITY),
        ],
    ]
}

/// Whatever a sensor could say, and what none should.
pub(super) fn any_sample() -> impl Strategy<Value = Sample> {
    let span = prop_oneof![8 => 0u64..400_000, 1 => 0u64..10_000_000_000];
    let arrivals = prop_oneof![8 => 0u32..300, 1 => any::<u32>()];
    let delay = prop_oneof![8 => 0u64..200_000, 1 => 0u64..100_000_000];
    let some = || proptest::option::of(number());
    (span, arrivals, delay, some(), some(), number(), number()).prop_map(
        |(span, arrivals, delay, lateness, inflation, base_ms, optional_ms)| Sample {
            span: Duration::from_micros(span),
            arrivals,
            queue_delay: Duration::from_micros(delay),
            lateness,
            inflation,
            costs: Costs {
                base_ms,
                optional_ms,
            },
        },
    )
}

#[test]
fn reasons_have_words_of_their_own() {
    let mut labels: Vec<_> = Reason::ALL.iter().map(|reason| reason.label()).collect();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), Reason::ALL.len());
    for reason in Reason::ALL {
        let said = serde_json::to_value(reason).unwrap();
        assert_eq!(said, reason.label(), "one word everywhere");
    }
}

#[test]
fn a_reload_that_changes_the_law_keeps_what_carries_over() {
    let [work_rate, aimd]: [Law; 2] = laws().try_into().unwrap();
    let state = work_rate.begin(Some(2000.0)).freeze(true);
    let (state, _) = aimd.step(state, &sample());
    assert!(state.is_frozen());
    assert_eq!(state.rate(), None);
    let (state, decision) = work_rate.step(state, &sample());
    assert!(state.is_frozen());
    assert_eq!(
        decision.rate, 2000.0,
        "nothing is known: what two cores have"
    );
}

#[test]
fn a_knob_takes_its_range_and_says_what_it_does_not_take() {
    fn check<C: Default + PartialEq + Clone + fmt::Debug>(knobs: &[Knob<C>]) {
        for knob in knobs {
            let (mut constants, default) = (C::default(), (knob.get)(&C::default()));
            let (min, max) = knob.range;
            assert!((min..=max).contains(&default), "{knob:?}: {default}");
            for value in [min, max, default] {
                knob.put(&mut constants, value).unwrap();
                assert!(((knob.get)(&constants) - value).abs() < 1e-9, "{knob:?}");
            }
            assert_eq!(constants, C::default(), "{knob:?} sets one thing");
            for value in [min - 1e-3 - min / 2.0, max * 1.1 + 1e-3, f64::NAN] {
                assert!(knob.put(&mut constants, value).is_err(), "{knob:?} {value}");
            }
        }
        let mut keys: Vec<_> = knobs.iter().map(|knob| knob.key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), knobs.len());
    }
    check(work_rate::Constants::KNOBS);
    check(aimd::Constants::KNOBS);
    let mut constants = aimd::Constants::default();
    let error = aimd::Constants::KNOBS[0]
        .put(&mut constants, 20.0)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "20s is out of range: it must be between 2ms and 1s"
    );
}

proptest! {
    #[test]
    fn whatever_is_seen_a_decision_is_within_its_bounds(
        samples in prop::collection::vec(any_sample(), 1..60),
        learned in proptest::option::of(number()),
    ) {
        for law in laws() {
            let mut state = law.begin(learned);
            for sample in &samples {
                let (next, decision) = law.step(state, sample);
                prop_assert!((0.0..=1.0).contains(&decision.theta), "{decision:?}");
                prop_assert!((0.05..=1.0).contains(&decision.admit), "{decision:?}");
                prop_assert!(decision.rate.is_finite() && decision.rate >= 0.0, "{decision:?}");
                // nobody is turned away while there is something left to give up
                prop_assert!(decision.admit == 1.0 || decision.theta < 1.0 || sample.costs.optional_ms <= 0.0
                    || !sample.costs.optional_ms.is_finite(), "{decision:?}");
                state = next;
            }
        }
    }

    #[test]
    fn constant_input_converges(
        arrivals in 0u32..200,
        delay in 0u64..100,
        inflation in 0.3..3.0f64,
    ) {
        for law in laws() {
            let mut state = law.begin(None);
            let constant = Sample {
                arrivals,
                queue_delay: ms(delay),
                inflation: Some(inflation),
                ..sample()
            };
            let mut last = None;
            for _ in 0..3000 {
                let (next, decision) = law.step(state, &constant);
                state = next;
                last = Some(decision);
            }
            let last = last.unwrap();
            for _ in 0..100 {
                let (next, decision) = law.step(state, &constant);
                state = next;
                prop_assert!((decision.theta - last.theta).abs() < 0.01, "{last:?} {decision:?}");
                prop_assert!((decision.admit - last.admit).abs() < 0.01, "{last:?} {decision:?}");
            }
        }
    }

    #[test]
    fn frozen_nothing_is_learned(samples in prop::collection::vec(any_sample(), 1..40)) {
        let law = Law::for_cores(2);
        let mut state = law.begin(Some(1234.0)).freeze(true);
        for sample in &samples {
            let (next, decision) = law.step(state, sample);
            prop_assert_eq!(decision.rate, 1234.0);
            state = next;
        }
    }
}
