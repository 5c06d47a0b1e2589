//! A replay as text: each time the decision moves on a line, and where it is not what was recorded. Owns
//! the layout.

use std::fmt::Write as _;

use super::{Played, Replay};

/// A line says more than the one before from so much of theta or admission on.
const MOVES: f64 = 0.1;

/// Times of other decisions that are told.
const SPELLS_MAX: usize = 20;

/// A second of a replay: the means of its ticks.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(in super::super) struct Row {
    pub(in super::super) at_s: f64,
    pub(in super::super) theta: f64,
    pub(in super::super) admit: f64,
    pub(in super::super) was_theta: f64,
    pub(in super::super) was_admit: f64,
    pub(in super::super) rate_ms_per_s: f64,
    pub(in super::super) arrivals_per_s: f64,
    pub(in super::super) queue_delay_ms: f64,
    /// Of its last tick.
    pub(in super::super) reason: &'static str,
    /// Whether the law decides otherwise at one of its ticks at least.
    pub(in super::super) otherwise: bool,
}

/// Every second of a replay in which there are ticks.
pub(in super::super) fn rows(replay: &Replay) -> Vec<Row> {
    let seconds = replay
        .ticks
        .chunk_by(|one, other| second_of(one) == second_of(other));
    seconds.map(row).collect()
}

/// A tick tells of the time before it.
fn second_of(tick: &Played) -> i64 {
    (tick.at_s - 1e-6).floor() as i64
}

fn row(second: &[Played]) -> Row {
    let count = second.len() as f64;
    let mean = |of: &dyn Fn(&Played) -> f64| second.iter().map(of).sum::<f64>() / count;
    let last = &second[second.len() - 1];
    let span = mean(&|tick| tick.sample.span.as_secs_f64());
    Row {
        at_s: second_of(&second[0]).max(0) as f64,
        theta: mean(&|tick| tick.theta),
        admit: mean(&|tick| tick.admit),
        was_theta: mean(&|tick| tick.was_theta),
        was_admit: mean(&|tick| tick.was_admit),
        rate_ms_per_s: mean(&|tick| tick.rate),
        arrivals_per_s: mean(&|tick| f64::from(tick.sample.arrivals)) / span.max(1e-3),
        queue_delay_ms: mean(&|tick| tick.sample.queue_delay.as_secs_f64() * 1e3),
        reason: last.reason.label(),
        otherwise: second.iter().any(Played::is_otherwise),
    }
}

impl Replay {
    /// What the law decides, and where that is not what was recorded.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |line: &str| {
            let _ = writeln!(text, "{}", line.trim_end());
        };
        line("     at  theta  admit  was theta  was admit  rate ms/s  pages/s  waits ms  because");
        let mut told = None::<Row>;
        for row in rows(self) {
            if told.as_ref().is_some_and(|told| !is_news(told, &row)) {
                continue;
            }
            line(&format!(
                "{:6.0}s  {:5.2}  {:5.2}  {:9.2}  {:9.2}  {:9.0}  {:7.0}  {:8.0}  {}{}",
                row.at_s,
                row.theta,
                row.admit,
                row.was_theta,
                row.was_admit,
                row.rate_ms_per_s,
                row.arrivals_per_s,
                row.queue_delay_ms,
                row.reason,
                if row.otherwise { ", otherwise" } else { "" },
            ));
            told = Some(row);
        }
        line("");
        let (all, differ) = (self.ticks(), self.ticks_otherwise());
        if differ == 0 {
            line(&format!("{all} ticks, all decided as recorded"));
            return text;
        }
        line(&format!(
            "{all} ticks, {differ} decided otherwise than recorded:"
        ));
        for spell in self.otherwise.iter().take(SPELLS_MAX) {
            let most = &spell.widest;
            line(&format!(
                "{:8.1}s to {:.1}s, {} ticks, the most at {:.1}s: theta {:.2} and was {:.2}, admit {:.2} \
                 and was {:.2}",
                spell.from_s,
                spell.to_s,
                spell.ticks,
                most.at_s,
                most.theta,
                most.was_theta,
                most.admit,
                most.was_admit,
            ));
        }
        if let Some(more @ 1..) = self.otherwise.len().checked_sub(SPELLS_MAX) {
            line(&format!("and {more} times more"));
        }
        text
    }
}

fn is_news(told: &Row, row: &Row) -> bool {
    let is_full = |row: &Row| row.theta >= 1.0 && row.admit >= 1.0;
    (told.theta - row.theta).abs() >= MOVES
        || (told.admit - row.admit).abs() >= MOVES
        || is_full(told) != is_full(row)
        || told.otherwise != row.otherwise
}
