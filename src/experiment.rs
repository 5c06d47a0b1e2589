//! Experiments: what must hold of a site, what is done to it, and what came of that. Owns how one is
//! written, when it holds, and how it is told; whoever carries it out is
//! [`marbre chaos run`](crate::cli).
//!
//! An experiment has a hypothesis (the [steady state](Steady), in shares of pages), a method (its
//! [steps](Step)), and is rolled back whatever happens. It is not begun where the steady state does not hold
//! before: nothing could be learned then, and readers have trouble enough.

mod file;
pub mod hours;
pub mod monkey;
mod report;
mod seen;
mod steady;
mod verdict;

pub use file::{Action, Experiment, Step, Traffic, read};
pub use report::markdown;
pub use seen::{Own, Seen};
pub use steady::{Measure, Phase, Steady};
pub use verdict::{Outcome, Phases, Told, Tried, Verdict, holds, judge, remarks};
