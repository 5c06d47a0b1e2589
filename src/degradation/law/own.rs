//! A law of the program that marbre is a part of. Owns what every law keeps where that law does not: shares
//! within 0 and 1, and a rate that can be one; pure.
//!
//! How a law is made one's own: the [trait](OwnLaw) is a law with a state of its own type. In here the type
//! is forgotten, so that no generics cross the governor.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::super::Sample;
use super::Decision;

/// A law of one's own: how much of a page can be afforded, from what the sensors say.
///
/// Pure, and called ten times a second: no clock but the sample's [`span`](Sample::span), nothing that
/// waits. What breaks its contract does no harm: a share beyond 0 and 1 is taken for the nearest, one that
/// is no number for the one before; a law that panics gives full pages, is begun anew, and is told of in the
/// log. While operators hold what is learned, the state after a step is forgotten.
///
/// ```
/// use marbre::degradation::law::{OwnLaw, Reason};
/// use marbre::degradation::{Decision, Sample};
///
/// /// Everything, or nothing but the text.
/// struct AllOrText;
///
/// impl OwnLaw for AllOrText {
///     type State = ();
///
///     fn name(&self) -> &'static str {
///         "all-or-text"
///     }
///
///     fn begin(&self, _rate: Option<f64>) {}
///
///     fn step(&self, (): (), sample: &Sample) -> ((), Decision) {
///         let is_late = sample.queue_delay.as_millis() > 50;
///         let decision = match is_late {
///             true => Decision { theta: 0.0, reason: Reason::QueueDelay, ..Decision::FULL },
///             false => Decision::FULL,
///         };
///         ((), decision)
///     }
/// }
/// ```
pub trait OwnLaw: Send + Sync + 'static {
    /// What it remembers from tick to tick.
    type State: Clone + Send + Sync + 'static;

    /// What people call it.
    fn name(&self) -> &'static str;

    /// What it remembers to begin with. `rate` is what was learned before a restart, in milliseconds of
    /// work a second.
    fn begin(&self, rate: Option<f64>) -> Self::State;

    /// What to do about a sample.
    fn step(&self, state: Self::State, sample: &Sample) -> (Self::State, Decision);

    /// What of it is worth keeping over a restart, in milliseconds of work a second.
    fn rate(&self, _state: &Self::State) -> Option<f64> {
        None
    }
}

/// A law whose type is forgotten.
#[derive(Clone)]
pub struct Own(Arc<dyn AnyLaw>);

/// What such a law remembers, and what it has said last.
#[derive(Clone)]
pub struct State {
    memory: Memory,
    last: Decision,
    rate: Option<f64>,
    is_frozen: bool,
}

type Memory = Arc<dyn Any + Send + Sync>;

trait AnyLaw: Send + Sync {
    fn name(&self) -> &'static str;
    fn begin(&self, rate: Option<f64>) -> Memory;
    /// `None` where the memory is another law's.
    fn step(&self, memory: &Memory, sample: &Sample) -> Option<(Memory, Decision)>;
    fn rate(&self, memory: &Memory) -> Option<f64>;
}

impl<L: OwnLaw> AnyLaw for L {
    fn name(&self) -> &'static str {
        OwnLaw::name(self)
    }

    fn begin(&self, rate: Option<f64>) -> Memory {
        Arc::new(OwnLaw::begin(self, rate))
    }

    fn step(&self, memory: &Memory, sample: &Sample) -> Option<(Memory, Decision)> {
        let state = memory.downcast_ref::<L::State>()?;
        let (state, decision) = OwnLaw::step(self, state.clone(), sample);
        Some((Arc::new(state), decision))
    }

    fn rate(&self, memory: &Memory) -> Option<f64> {
        OwnLaw::rate(self, memory.downcast_ref::<L::State>()?)
    }
}

impl Own {
    /// This law.
    pub fn new(law: impl OwnLaw) -> Self {
        Self(Arc::new(law))
    }

    /// What people call it.
    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    pub(super) fn begin(&self, rate: Option<f64>) -> State {
        let memory = self.0.begin(rate.filter(is_rate));
        State {
            rate: self.0.rate(&memory).filter(is_rate),
            memory,
            last: Decision::FULL,
            is_frozen: false,
        }
    }
}

/// See [`Law::step`](super::Law::step).
pub(super) fn step(law: &Own, state: State, sample: &Sample) -> (State, Decision) {
    let stepped = law.0.step(&state.memory, sample);
    let Some((memory, decision)) = stepped else {
        let begun = law.begin(state.rate).freeze(state.is_frozen);
        return (begun, Decision::FULL);
    };
    let last = bounded(decision, state.last);
    let state = match state.is_frozen {
        true => State { last, ..state },
        false => State {
            rate: law.0.rate(&memory).filter(is_rate),
            memory,
            last,
            is_frozen: false,
        },
    };
    (state, last)
}

/// Within what every law keeps; what is no number is what was said before.
fn bounded(decision: Decision, last: Decision) -> Decision {
    let share = |said: f64, before: f64| {
        if said.is_nan() {
            before
        } else {
            said.clamp(0.0, 1.0)
        }
    };
    Decision {
        theta: share(decision.theta, last.theta),
        admit: share(decision.admit, last.admit),
        rate: Some(decision.rate).filter(is_rate).unwrap_or(last.rate),
        reason: decision.reason,
    }
}

/// Work is not done in less than no time, nor without an end.
fn is_rate(rate: &f64) -> bool {
    rate.is_finite() && *rate >= 0.0
}

impl State {
    pub(super) fn rate(&self) -> Option<f64> {
        self.rate
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.is_frozen
    }

    #[must_use]
    pub(super) fn freeze(self, is_frozen: bool) -> Self {
        Self { is_frozen, ..self }
    }
}

impl PartialEq for Own {
    /// Whether it is the same one: laws cannot be looked into.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Own").field(&self.name()).finish()
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.memory, &other.memory)
            && self.last == other.last
            && self.is_frozen == other.is_frozen
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("last", &self.last)
            .field("is_frozen", &self.is_frozen)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::degradation::Law;
    use crate::degradation::law::{Reason, aimd};
    use crate::degradation::sample::Costs;

    /// Says what it was made to, and counts its steps as its rate.
    struct Says(f64);

    impl OwnLaw for Says {
        type State = u32;

        fn name(&self) -> &'static str {
            "says"
        }

        fn begin(&self, rate: Option<f64>) -> u32 {
            rate.map_or(0, |rate| rate as u32)
        }

        fn step(&self, state: u32, _: &Sample) -> (u32, Decision) {
            let decision = Decision {
                theta: self.0,
                admit: -self.0,
                rate: self.0,
                reason: Reason::Demand,
            };
            (state + 1, decision)
        }

        fn rate(&self, state: &u32) -> Option<f64> {
            Some(f64::from(*state))
        }
    }

    fn sample() -> Sample {
        Sample {
            span: Duration::from_millis(100),
            arrivals: 10,
            queue_delay: Duration::ZERO,
            lateness: None,
            inflation: None,
            costs: Costs::default(),
        }
    }

    fn own(says: f64) -> Law {
        Law::Own(Own::new(Says(says)))
    }

    #[test]
    fn it_remembers_learns_and_can_be_held() {
        let law = own(0.5);
        assert_eq!(law.name(), "says");
        let mut state = law.begin(Some(40.0));
        for steps in 1..=3 {
            let (next, decision) = law.step(state, &sample());
            state = next;
            assert_eq!((decision.theta, decision.admit), (0.5, 0.0));
            assert_eq!(state.rate(), Some(40.0 + f64::from(steps)));
        }
        let (held, _) = law.step(state.clone().freeze(true), &sample());
        assert!(held.is_frozen());
        assert_eq!(held.rate(), state.rate());
    }

    #[test]
    fn what_another_law_has_left_is_begun_anew_from_its_rate() {
        let (state, _) = own(1.0).step(own(1.0).begin(Some(7.0)), &sample());
        let other = Law::Aimd(aimd::Constants::default());
        let (state, _) = other.step(state, &sample());
        assert!(matches!(state, super::super::State::Aimd(_)));
        let (state, decision) = own(0.25).step(state, &sample());
        assert_eq!((state.rate(), decision.theta), (Some(1.0), 0.25));

        struct Wordy;
        impl OwnLaw for Wordy {
            type State = String;
            fn name(&self) -> &'static str {
                "wordy"
            }
            fn begin(&self, _: Option<f64>) -> String {
                String::new()
            }
            fn step(&self, state: String, _: &Sample) -> (String, Decision) {
                (state, Decision::FULL)
            }
        }
        let wordy = Law::Own(Own::new(Wordy));
        let (state, decision) = wordy.step(state, &sample());
        assert_eq!((state.rate(), decision), (None, Decision::FULL));
    }

    proptest! {
        #[test]
        fn whatever_it_says_is_within_bounds(says: f64, then: f64) {
            let (state, first) = own(says).step(own(says).begin(Some(f64::NAN)), &sample());
            let (_, second) = own(then).step(state, &sample());
            for decision in [first, second] {
                prop_assert!((0.0..=1.0).contains(&decision.theta), "{decision:?}");
                prop_assert!((0.0..=1.0).contains(&decision.admit), "{decision:?}");
                prop_assert!(is_rate(&decision.rate), "{decision:?}");
            }
        }
    }
}
