//! The work-rate law: learn how much work can be done in a second, and derive the rest.
//!
//! # Why the rate is what is learned
//!
//! With theta itself as the state (a PI regulator, AIMD, the brownout of ICSE 2014) every fall of the
//! load needs a slow climb, and every rise a fresh descent. How much work this machine gets done
//! without a queue changes seldom; how much is asked for changes within a second, and is measured at
//! once. So the state is the rate R, feedback only corrects it, and theta and admission are arithmetic:
//!
//! ```text
//! w     = R / arrivals / inflation          what can be spent on a page
//! theta = (w - base) / optional             the share of the optional work that this leaves room for
//! admit = w / base                          where even the base is too much
//! ```
//!
//! A crowd is answered within a tick or two, its end too, and R is known in the next one.
//!
//! What can be afforded trembles with chance: with how many readers happen to come, with what their pages
//! happen to cost, and with R, which keeps finding out. So theta follows with [some
//! play](Constants::theta_play): only where the two differ by more, and no further than needed. A block
//! that goes for a second and comes back bothers a reader more than it spares.
//!
//! # How R moves
//!
//! The pressure is the queue delay over its target, or the lateness of pages where that is more (a
//! safety net: late, and made blind by every deadline). Over 1, R falls at a speed that grows with the
//! excess, but not while the queue is draining already; a mild spell takes a bounded part of what R was
//! when it began. Well under 1, R grows: by a notable share while something is given up, faster the
//! longer all has been well, slower near the rate at which it last went wrong (the plateau of CUBIC);
//! next to not at all while nothing is given up, for then nothing says that there is more. Between, R
//! rests. [Clamping](Constants::rate_min) R is what keeps it from winding up.
//!
//! R begins with what the cores have. The most that it can be is put generously, half more than that:
//! feedback finds the truth within a second, while a bound too low gives up blocks for nothing as long as
//! it stands.

use std::time::Duration;

use super::knob::{Knob, Unit, number, time};
use super::{Decision, Reason};
use crate::degradation::Sample;
use crate::degradation::arrivals::{Arrivals, Pace, SPAN_MAX, SPAN_MIN, weight};

/// Its constants. The defaults are those of the simulation that chose the law, but where measurement on
/// the real server showed better; most are not delicate. Of each is said where it comes from and, where
/// that is another value, why: `docs/constants.md` has all of them in a table, with their ranges.
#[derive(Debug, Clone, PartialEq)]
pub struct Constants {
    /// The most work that can be done, in milliseconds a second: one and a half times what the cores
    /// have, see [`Constants::for_cores`].
    /// From: simulation, 1.5 × cores × 1000; three times as much costs 4 more bad seconds in 23 scenarios, 0.7
    /// times 0.04 of the utility.
    pub rate_max: f64,
    /// What R is to begin with, as a share of `rate_max`: what the cores have. Where that is too little it
    /// grows within a second or two, once it bears on anything.
    /// From: simulation, 1. Differs: from half more than the cores have it takes a crowd two seconds to
    /// find the truth, with 2.1 % of snapshots instead of 1.0.
    pub rate_begin: f64,
    /// The least that R falls to, as a share of `rate_max`: from less it could not come back, as too
    /// little would be done to learn from.
    /// From: simulation, 0.05.
    pub rate_min: f64,
    /// The share of pages that is composed at least, so that there is something to learn from.
    /// From: simulation, 0.05.
    pub admit_min: f64,
    /// How long work may wait for its turn. At least eight times what one job takes, or mere chance is
    /// taken for a queue: 25 ms fits jobs of 3 ms and less.
    /// From: simulation, 25 ms, of which 15 to 60 cost less than 0.005 of the utility; DAGOR (SoCC 2018)
    /// waits for 20 ms.
    pub queue_target: Duration,
    /// How long it takes until half of the pressure is news: one tick of 100 ms.
    /// From: simulation, half of it in each tick of 100 ms.
    pub pressure_half_life: Duration,
    /// The excess of the pressure over 1 that counts at most: beyond, R falls no faster.
    /// From: simulation, 2.
    pub excess_max: f64,
    /// Pressure under this share of what it was two ticks ago says that the queue is draining: R does
    /// not fall further.
    /// From: simulation, 0.9.
    pub draining: f64,
    /// Speed at which R falls, a second, for each 1 of excess: with 1 it is halved within a second.
    /// From: simulation, 0.7, of which 0.35 to 3 cost less than 0.004 of the utility.
    pub cut_rate: f64,
    /// By how much faster it falls while R is above all that is asked for, and so bears on nothing.
    /// From: simulation, 3.
    pub cut_boost: f64,
    /// The pressure from which a spell is not mild any more, and R falls without bound.
    /// From: simulation, 3.
    pub severe: f64,
    /// A spell of pressure begins where there was none for so long.
    /// From: simulation, 1 s.
    pub spell_gap: Duration,
    /// R at the beginning of a spell counts as at most so many times what is asked for.
    /// From: simulation, 1.2.
    pub spell_headroom: f64,
    /// What a mild spell leaves of R at its beginning.
    /// From: simulation, 0.9.
    pub spell_cut: f64,
    /// By how much of that R at its beginning this falls with each second that a mild spell lasts.
    /// From: simulation, 0.2.
    pub spell_cut_rate: f64,
    /// What a mild spell leaves at least.
    /// From: simulation, 0.3.
    pub spell_cut_min: f64,
    /// How far under 1 the pressure must be for R to grow.
    /// From: simulation, 0.3.
    pub dead_band: f64,
    /// Growth while something is given up, as a share of `rate_max` a second.
    /// From: simulation, 0.10, of which 0.03 to 0.3 cost less than 0.003 of the utility.
    pub growth: f64,
    /// It is once more as fast for each such time without pressure,
    /// From: simulation, 3 s.
    pub growth_rest: Duration,
    /// up to so many times as fast.
    /// From: simulation, 4.
    pub growth_boost: f64,
    /// The share of the growth that there is right under the dead band; all of it is where there is no
    /// pressure at all.
    /// From: simulation, 0.2.
    pub growth_care: f64,
    /// Growth while nothing is given up, as a share of `rate_max` a second: so slow that what one crowd has
    /// taught is known hours later.
    /// From: simulation, 0.002. Differs: that forgets within minutes of calm what a crowd has taught.
    pub drift: f64,
    /// Above this share of the R at which the last spell began, R grows with care,
    /// From: simulation, 0.92, after the plateau of CUBIC (RFC 9438).
    pub plateau: f64,
    /// by this share of `rate_max` a second,
    /// From: simulation, 0.02. Differs: in real time R leapt, made a queue and was cut, and blocks came and
    /// went under a constant load.
    pub plateau_growth: f64,
    /// for so long after the last pressure. Much less, and under steady overload every pause of chance is
    /// taken for room: R leaps, makes a queue and is cut, and blocks come and go with it.
    /// From: simulation, 8 s. Differs: as the one before.
    pub plateau_time: Duration,
    /// Over how long arrivals are averaged to see a step of the load.
    /// From: simulation, 0.3 s.
    pub arrivals_fast: Duration,
    /// Over how long they are averaged otherwise.
    /// From: simulation, 3 s. Differs: with 5 s and the next theta moves a fifth less under a constant
    /// load.
    pub arrivals_slow: Duration,
    /// By how many standard deviations the two differ when the load has changed in a step.
    /// From: simulation, 3. Differs: at three chance alone is a step once or twice a minute, and theta
    /// leaps by a third.
    pub arrivals_step: f64,
    /// Over how long the inflation of work is averaged.
    /// From: simulation, 0.3 s. Differs: in real time single jobs moved theta under a constant load.
    pub inflation_tau: Duration,
    /// By what share of it theta may stay under what can be afforded, and by a third of that over it: what
    /// is too much makes a queue, what is too little is learned again.
    /// From: found in the simulator. Differs: the simulation had none: in flash5 0.4 blocks flip between
    /// two pages of a reader instead of 1.0.
    pub theta_play: f64,
}

/// Work that is as good as none, in milliseconds a second: giving up any of it helps nobody.
/// From: a bound against what cannot be measured.
const IDLE: f64 = 1.0;

/// Inflation beyond this, either way, is a mistake of measurement.
/// From: a bound against mistakes of measurement.
const INFLATION: (f64, f64) = (0.1, 20.0);

/// What a page can cost in milliseconds; beyond, it is a mistake of measurement.
/// From: a bound against mistakes of measurement.
const COST_MAX: f64 = 60_000.0;

/// Pressure beyond this says nothing more.
/// From: a bound against mistakes of measurement.
const PRESSURE_MAX: f64 = 1000.0;

impl Constants {
    /// For a machine of so many cores.
    pub fn for_cores(cores: usize) -> Self {
        Self {
            rate_max: 1.5 * cores.max(1) as f64 * 1000.0,
            ..Self::default()
        }
    }

    /// What a site may set.
    pub const KNOBS: &'static [Knob<Self>] = &[
        number!(rate_max, Work, (50.0, 1e7)),
        number!(rate_begin, Ratio, (0.1, 1.0)),
        number!(rate_min, Ratio, (0.01, 0.5)),
        number!(admit_min, Ratio, (0.01, 0.5)),
        time!(queue_target, (0.002, 1.0)),
        time!(pressure_half_life, (0.01, 2.0)),
        number!(excess_max, Ratio, (0.5, 10.0)),
        number!(draining, Ratio, (0.5, 1.0)),
        number!(cut_rate, PerSecond, (0.1, 5.0)),
        number!(cut_boost, Ratio, (1.0, 10.0)),
        number!(severe, Ratio, (1.5, 100.0)),
        time!(spell_gap, (0.2, 10.0)),
        number!(spell_headroom, Ratio, (1.0, 3.0)),
        number!(spell_cut, Ratio, (0.3, 1.0)),
        number!(spell_cut_rate, PerSecond, (0.0, 2.0)),
        number!(spell_cut_min, Ratio, (0.05, 1.0)),
        number!(dead_band, Ratio, (0.0, 0.9)),
        number!(growth, PerSecond, (0.01, 1.0)),
        time!(growth_rest, (0.5, 60.0)),
        number!(growth_boost, Ratio, (1.0, 20.0)),
        number!(growth_care, Ratio, (0.01, 1.0)),
        number!(drift, PerSecond, (0.0, 0.002)),
        number!(plateau, Ratio, (0.5, 1.0)),
        number!(plateau_growth, PerSecond, (0.001, 1.0)),
        time!(plateau_time, (0.0, 60.0)),
        time!(arrivals_fast, (0.1, 2.0)),
        time!(arrivals_slow, (0.5, 60.0)),
        number!(arrivals_step, Ratio, (1.0, 10.0)),
        time!(inflation_tau, (0.1, 10.0)),
        number!(theta_play, Ratio, (0.0, 0.5)),
    ];

    pub(super) fn begin(&self, rate: Option<f64>) -> State {
        let (min, max) = self.rates();
        let rate = rate.filter(|rate| rate.is_finite());
        let rate = rate.unwrap_or(self.rate_begin * max);
        State {
            rate: rate.clamp(min, max),
            is_frozen: false,
            arrivals: None,
            pressure: 0.0,
            before: [0.0; 2],
            inflation: 1.0,
            calm: None,
            spell: Spell {
                rate: 0.0,
                lasted: 0.0,
            },
            was_limited: false,
            theta: 1.0,
            admit: 1.0,
        }
    }

    fn pace(&self) -> Pace {
        Pace {
            fast: self.arrivals_fast,
            slow: self.arrivals_slow,
            step: self.arrivals_step,
        }
    }

    /// The bounds of R.
    fn rates(&self) -> (f64, f64) {
        (self.rate_min * self.rate_max, self.rate_max)
    }
}

impl Default for Constants {
    /// For one core.
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            rate_max: 1500.0,
            rate_begin: 1.0 / 1.5,
            rate_min: 0.05,
            admit_min: 0.05,
            queue_target: ms(25),
            pressure_half_life: ms(100),
            excess_max: 2.0,
            draining: 0.9,
            cut_rate: 0.7,
            cut_boost: 3.0,
            severe: 3.0,
            spell_gap: ms(1000),
            spell_headroom: 1.2,
            spell_cut: 0.9,
            spell_cut_rate: 0.2,
            spell_cut_min: 0.3,
            dead_band: 0.3,
            growth: 0.10,
            growth_rest: ms(3000),
            growth_boost: 4.0,
            growth_care: 0.2,
            drift: 0.000_02,
            plateau: 0.92,
            plateau_growth: 0.012,
            plateau_time: ms(20_000),
            arrivals_fast: ms(300),
            arrivals_slow: ms(5000),
            arrivals_step: 3.5,
            inflation_tau: ms(600),
            theta_play: 0.2,
        }
    }
}

/// What it remembers.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// R, milliseconds of work a second.
    rate: f64,
    is_frozen: bool,
    /// `None` until there was a sample.
    arrivals: Option<Arrivals>,
    /// The pressure, smoothed.
    pressure: f64,
    /// The pressure one tick and two ticks ago, as it was.
    before: [f64; 2],
    /// Smoothed.
    inflation: f64,
    /// Seconds since there was pressure; `None` if there never was.
    calm: Option<f64>,
    /// The last spell of pressure.
    spell: Spell,
    /// Whether something was given up at the last tick.
    was_limited: bool,
    /// What the last tick decided.
    theta: f64,
    admit: f64,
}

/// A spell of pressure.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spell {
    /// R when it began, or a little over what was asked for where that was less.
    rate: f64,
    /// Seconds since it began.
    lasted: f64,
}

impl State {
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    pub(super) fn freeze(mut self, is_frozen: bool) -> Self {
        self.is_frozen = is_frozen;
        self
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.is_frozen
    }
}

/// What a sample comes to, made sound.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Seconds that it counts for.
    span: f64,
    base: f64,
    optional: f64,
    /// The pressure of the moment, and whether the queue makes it.
    pressure: f64,
    is_queue: bool,
}

pub(super) fn step(constants: &Constants, mut state: State, sample: &Sample) -> (State, Decision) {
    let seen = Seen::of(constants, sample);
    let count = f64::from(sample.arrivals);
    let pace = constants.pace();
    let arrivals = Arrivals::after(state.arrivals, &pace, count, sample.span);
    if let Some(inflation) = sample.inflation.filter(|inflation| inflation.is_finite()) {
        let inflation = inflation.clamp(INFLATION.0, INFLATION.1);
        let tau = constants.inflation_tau;
        state.inflation += weight(seen.span, tau) * (inflation - state.inflation);
    }
    let is_draining = seen.pressure < constants.draining * state.before[1];
    // that half of it is news after a half-life is a time constant of a half-life over ln 2
    let tau = constants.pressure_half_life.div_f64(std::f64::consts::LN_2);
    state.pressure += weight(seen.span, tau) * (seen.pressure - state.pressure);
    state.before = [seen.pressure, state.before[0]];
    state.arrivals = Some(arrivals);

    let used = arrivals.rate() * (seen.base + seen.optional) * state.inflation;
    let excess = (state.pressure - 1.0).clamp(-1.0, constants.excess_max);
    let grown = learn(constants, &mut state, used, excess, is_draining, seen.span);
    if !state.is_frozen && used > IDLE {
        let (min, max) = constants.rates();
        state.rate = grown.clamp(min, max);
    }

    let (theta, admit) = afford(constants, &state, arrivals.rate(), &seen);
    // while R is on its way up a crowd may come: what is given up then is not for the pressure that is gone
    let falls = theta < state.theta || admit < state.admit;
    (state.theta, state.admit) = (theta, admit);
    state.was_limited = theta < 1.0 || admit < 1.0;
    let reason = match () {
        () if excess > 0.0 && seen.is_queue => Reason::QueueDelay,
        () if excess > 0.0 => Reason::PageTime,
        () if !state.was_limited => Reason::Ample,
        () if !falls && state.rate < constants.plateau * state.spell.rate => Reason::Recovering,
        () => Reason::Demand,
    };
    let decision = Decision {
        theta,
        admit,
        rate: state.rate,
        reason,
    };
    (state, decision)
}

/// What R becomes by this excess; notes the spell.
fn learn(
    constants: &Constants,
    state: &mut State,
    used: f64,
    excess: f64,
    is_draining: bool,
    span: f64,
) -> f64 {
    let (rate, rate_max) = (state.rate, constants.rate_max);
    let headroom = constants.spell_headroom * used;
    state.calm = state.calm.map(|calm| calm + span);
    state.spell.lasted += span;
    let calm = state.calm.unwrap_or(f64::INFINITY);
    if excess > 0.0 {
        if calm > constants.spell_gap.as_secs_f64() {
            state.spell = Spell {
                rate: rate.min(headroom),
                lasted: 0.0,
            };
        }
        state.calm = Some(0.0);
        if is_draining {
            return rate;
        }
        let boost = if rate > headroom {
            constants.cut_boost
        } else {
            1.0
        };
        let cut = rate * (-constants.cut_rate * boost * excess * span).exp();
        if state.pressure >= constants.severe {
            return cut;
        }
        let left = constants.spell_cut - constants.spell_cut_rate * state.spell.lasted;
        let least = state.spell.rate * left.max(constants.spell_cut_min);
        return rate.min(cut.max(least));
    }
    // 0 at the edge of the dead band, 1 without any pressure
    let room = (-excess - constants.dead_band) / (1.0 - constants.dead_band);
    if room <= 0.0 {
        return rate;
    }
    let is_near =
        rate > constants.plateau * state.spell.rate && calm < constants.plateau_time.as_secs_f64();
    let growth = match state.was_limited {
        true if is_near => constants.plateau_growth,
        true => {
            let rested = 1.0 + calm / constants.growth_rest.as_secs_f64();
            constants.growth * rested.min(constants.growth_boost)
        }
        false => constants.drift,
    };
    rate + growth * rate_max * span * room.clamp(constants.growth_care, 1.0)
}

/// Theta and admission at this R and these arrivals a second.
fn afford(constants: &Constants, state: &State, arrivals: f64, seen: &Seen) -> (f64, f64) {
    let asked = arrivals * state.inflation;
    if asked <= 0.0 {
        return (1.0, 1.0);
    }
    // no arrivals to speak of: infinite, which is what it is
    let room = state.rate / asked;
    let theta = match seen.optional > 0.0 {
        true => follow(
            state.theta,
            (room - seen.base) / seen.optional,
            constants.theta_play,
        ),
        false => 1.0,
    };
    let admit = match room < seen.base {
        true => (room / seen.base).clamp(constants.admit_min, 1.0),
        false => 1.0,
    };
    (theta, admit)
}

/// Theta where so much of the optional work can be afforded: 1 and more is all of it.
fn follow(theta: f64, affordable: f64, play: f64) -> f64 {
    let affordable = affordable.max(0.0);
    theta
        .clamp(affordable * (1.0 - play), affordable * (1.0 + play / 3.0))
        .min(1.0)
}

impl Seen {
    fn of(constants: &Constants, sample: &Sample) -> Self {
        let sound = |ms: f64| match ms.is_finite() {
            true => ms.clamp(0.0, COST_MAX),
            false => 0.0,
        };
        let queue = sample.queue_delay.as_secs_f64() / constants.queue_target.as_secs_f64();
        let late = sample
            .lateness
            .filter(|late| late.is_finite())
            .unwrap_or(0.0);
        Self {
            span: sample.span.clamp(SPAN_MIN, SPAN_MAX).as_secs_f64(),
            base: sound(sample.costs.base_ms),
            optional: sound(sample.costs.optional_ms),
            pressure: queue.max(late).clamp(0.0, PRESSURE_MAX),
            is_queue: queue >= late,
        }
    }
}

#[cfg(test)]
mod tests;
