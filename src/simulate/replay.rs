//! A recorded trace, played again: what a law decides of what another was told. Owns what is believed of
//! a trace, and where two decisions differ; the format of its lines is what `record` writes.
//!
//! A trace says nothing of what the law remembered before its first line but for the rate, from which it
//! begins here. Of a server that had been under pressure the first seconds may differ for that alone.

use std::fmt;

use crate::degradation::law::Reason;
use crate::degradation::law::work_rate::Constants;
use crate::degradation::{Law, Sample};

use super::record::Line;

pub(super) mod text;

/// Decisions that are no further apart are the same: a reader does not see a hundredth.
const SAME: f64 = 0.01;

/// Ticks that differ belong together unless there is so much between them, in seconds.
const APART_S: f64 = 1.0;

/// Lines with mistakes that are told; nobody reads more at once.
const MISTAKES_MAX: usize = 10;

/// What a law was told, tick by tick, and what it answered.
#[derive(Debug, Clone)]
pub struct Trace(Vec<Told>);

#[derive(Debug, Clone, Copy)]
struct Told {
    at_s: f64,
    sample: Sample,
    theta: f64,
    admit: f64,
    rate: f64,
}

/// Why a trace cannot be played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoTrace {
    /// There is nothing in it.
    Empty,
    /// Lines, by their numbers from 1, are not what a tick looks like: the first ten, and how many more.
    Wrong(Vec<(usize, String)>, usize),
}

/// What came of a trace.
#[derive(Debug, Clone)]
pub struct Replay {
    /// What it was played through.
    pub law: &'static str,
    pub(super) ticks: Vec<Played>,
    pub(super) otherwise: Vec<Otherwise>,
}

/// A tick, as it was recorded and as it is decided now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Played {
    /// Seconds since the trace began.
    pub(super) at_s: f64,
    pub(super) sample: Sample,
    pub(super) theta: f64,
    pub(super) admit: f64,
    pub(super) rate: f64,
    pub(super) reason: Reason,
    pub(super) was_theta: f64,
    pub(super) was_admit: f64,
}

/// A time in which it is decided otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Otherwise {
    pub(super) from_s: f64,
    pub(super) to_s: f64,
    /// Ticks that differ.
    pub(super) ticks: usize,
    /// That which differs most.
    pub(super) widest: Played,
}

impl Trace {
    /// Reads JSON lines as `GET /samples` gives them. Empty lines say nothing.
    pub fn read(text: &str) -> Result<Self, NoTrace> {
        let (mut told, mut wrong, mut more) = (Vec::new(), Vec::new(), 0);
        let mut begun = None::<f64>;
        let mut before = 0;
        let lines = text.lines().enumerate();
        for (index, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            let read = Line::read(line).and_then(|(line, sample)| {
                if line.at_ms < before {
                    return Err(format!(
                        "`at_ms` is {}, and {before} in a line above: play each trace by itself, in \
                         the order in which it was recorded",
                        line.at_ms
                    ));
                }
                Ok((line, sample))
            });
            match read {
                Ok((line, sample)) => {
                    before = line.at_ms;
                    let at_s = line.at_ms as f64 / 1e3;
                    let begun = *begun.get_or_insert(at_s - sample.span.as_secs_f64());
                    told.push(Told {
                        at_s: at_s - begun,
                        sample,
                        theta: line.theta,
                        admit: line.admit,
                        rate: line.rate,
                    });
                }
                Err(why) if wrong.len() < MISTAKES_MAX => wrong.push((index + 1, why)),
                Err(_) => more += 1,
            }
        }
        match (wrong.is_empty(), told.is_empty()) {
            (false, _) => Err(NoTrace::Wrong(wrong, more)),
            (true, true) => Err(NoTrace::Empty),
            (true, false) => Ok(Self(told)),
        }
    }

    /// The fewest cores of which the rates in it are believed.
    pub fn cores(&self) -> usize {
        let rate = self.0.iter().map(|told| told.rate).fold(0.0, f64::max);
        // a rounding of the last digit is no core
        ((rate / Constants::for_cores(1).rate_max - 1e-6).ceil() as usize).max(1)
    }

    /// What a law decides of it.
    pub fn replay(&self, law: &Law) -> Replay {
        let mut state = law.begin(self.learned());
        let mut ticks = Vec::with_capacity(self.0.len());
        for told in &self.0 {
            let (next, decision) = law.step(state, &told.sample);
            state = next;
            ticks.push(Played {
                at_s: told.at_s,
                sample: told.sample,
                theta: decision.theta,
                admit: decision.admit,
                rate: decision.rate,
                reason: decision.reason,
                was_theta: told.theta,
                was_admit: told.admit,
            });
        }
        Replay {
            law: law.name(),
            otherwise: otherwise(&ticks),
            ticks,
        }
    }

    /// What had been learned when it began. A law that learns nothing tells the work that it lets
    /// through instead.
    fn learned(&self) -> Option<f64> {
        let first = self.0.first()?;
        let Sample {
            span,
            arrivals,
            costs,
            ..
        } = first.sample;
        let page = costs.base_ms + first.theta * costs.optional_ms;
        let through = f64::from(arrivals) / span.as_secs_f64().max(1e-3) * first.admit * page;
        let is_learned = first.rate > 0.0 && (first.rate - through).abs() > 1e-6 * first.rate;
        is_learned.then_some(first.rate)
    }
}

impl Replay {
    /// How many ticks there are.
    pub fn ticks(&self) -> usize {
        self.ticks.len()
    }

    /// In how many of them the law decides otherwise than was recorded.
    pub fn ticks_otherwise(&self) -> usize {
        self.otherwise.iter().map(|spell| spell.ticks).sum()
    }

    /// How long it lasts, in seconds.
    pub(super) fn lasts_s(&self) -> f64 {
        self.ticks.last().map_or(0.0, |tick| tick.at_s)
    }
}

impl Played {
    /// How far apart the two decisions are.
    fn apart(&self) -> f64 {
        let theta = (self.theta - self.was_theta).abs();
        theta.max((self.admit - self.was_admit).abs())
    }

    pub(super) fn is_otherwise(&self) -> bool {
        self.apart() > SAME
    }
}

fn otherwise(ticks: &[Played]) -> Vec<Otherwise> {
    let mut spells: Vec<Otherwise> = Vec::new();
    for tick in ticks.iter().filter(|tick| tick.is_otherwise()) {
        match spells.last_mut() {
            Some(spell) if tick.at_s - spell.to_s <= APART_S => {
                spell.to_s = tick.at_s;
                spell.ticks += 1;
                if tick.apart() > spell.widest.apart() {
                    spell.widest = *tick;
                }
            }
            _ => spells.push(Otherwise {
                from_s: tick.at_s,
                to_s: tick.at_s,
                ticks: 1,
                widest: *tick,
            }),
        }
    }
    spells
}

impl fmt::Display for NoTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str(
                "there are no ticks in it: a trace is JSON lines as the admin address gives them, \
                 `GET /samples?since=0`",
            ),
            Self::Wrong(lines, more) => {
                for (index, (line, why)) in lines.iter().enumerate() {
                    let end = if index == 0 { "" } else { "\n" };
                    write!(f, "{end}line {line}: {why}")?;
                }
                match more {
                    0 => Ok(()),
                    more => write!(f, "\nand {more} lines more"),
                }
            }
        }
    }
}

impl std::error::Error for NoTrace {}

#[cfg(test)]
pub(super) mod tests;
