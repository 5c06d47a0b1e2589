//! A recorded trace through a law: what it would have decided, sample by sample. Owns the reading of the
//! trace; its format is that of `GET /samples`, a JSON object on each line, in which more may stand than
//! is read.

use std::fmt::Write as _;

use serde::Serialize;

use crate::degradation::law::Reason;
use crate::degradation::{Decision, Law};

use super::record::Told;

/// What a law makes of a trace.
#[derive(Debug, Serialize)]
pub struct Replay {
    /// Its name.
    pub law: &'static str,
    /// How many samples there were.
    pub samples: usize,
    /// Seconds from the first to the last.
    pub lasts_s: f64,
    /// What it has decided, and when that changed notably.
    pub changes: Vec<Changed>,
    /// Theta at its least.
    pub theta_least: f64,
    /// Admission at its least.
    pub admit_least: f64,
    /// Percent of the time in which something was given up.
    pub limited: f64,
}

/// What a law has decided from a moment on.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Changed {
    /// Seconds since the first sample.
    pub at_s: f64,
    /// What.
    pub decision: Decision,
    /// Pages a second that were asked for.
    pub pages: f64,
    /// How long work waited, in milliseconds.
    pub queue_delay_ms: f64,
}

/// A line of a trace that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct BadLine {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

/// A change of theta or of admission that is worth a line.
const NOTABLE: f64 = 0.1;

/// Plays a trace. `rate` is what the law knows before it.
pub fn replay(law: &Law, rate: Option<f64>, trace: &str) -> Result<Replay, BadLine> {
    let mut state = law.begin(rate);
    let mut played = Replay {
        law: law.name(),
        samples: 0,
        lasts_s: 0.0,
        changes: Vec::new(),
        theta_least: 1.0,
        admit_least: 1.0,
        limited: 0.0,
    };
    let lines = trace.lines().enumerate();
    for (index, text) in lines.filter(|(_, text)| !text.trim().is_empty()) {
        let bad = |why: String| BadLine {
            line: index + 1,
            why,
        };
        let told: Told = serde_json::from_str(text).map_err(|why| bad(why.to_string()))?;
        let sample = told.sample();
        let sample = sample.ok_or_else(|| bad("there is no such time".to_owned()))?;
        let (next, decision) = law.step(state, &sample);
        state = next;
        let span = sample.span.as_secs_f64();
        played.note(Changed {
            at_s: played.lasts_s,
            decision,
            pages: f64::from(sample.arrivals) / span.max(1e-3),
            queue_delay_ms: sample.queue_delay.as_secs_f64() * 1e3,
        });
        played.samples += 1;
        played.lasts_s += span;
        if decision.is_limited() {
            played.limited += span;
        }
    }
    played.limited = 100.0 * played.limited / played.lasts_s.max(1e-9);
    Ok(played)
}

impl Replay {
    fn note(&mut self, changed: Changed) {
        let Decision { theta, admit, .. } = changed.decision;
        self.theta_least = self.theta_least.min(theta);
        self.admit_least = self.admit_least.min(admit);
        let is_notable = self.changes.last().is_none_or(|last| {
            let last = last.decision;
            let is_edge = |was: f64, is: f64| (was < 1.0) != (is < 1.0);
            (last.theta - theta).abs() >= NOTABLE
                || (last.admit - admit).abs() >= NOTABLE
                || is_edge(last.theta, theta)
                || is_edge(last.admit, admit)
        });
        if is_notable {
            self.changes.push(changed);
        }
    }

    /// As text: a line for each notable change, and what it comes to.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |line: String| {
            let _ = writeln!(text, "{line}");
        };
        line("      at  theta  admit   rate  pages/s  waits ms  because".to_owned());
        for changed in &self.changes {
            let Decision {
                theta,
                admit,
                rate,
                reason,
            } = changed.decision;
            line(format!(
                "{:7.1}s  {theta:5.2}  {admit:5.2}  {rate:5.0}  {:7.0}  {:8.0}  {}",
                changed.at_s,
                changed.pages,
                changed.queue_delay_ms,
                Reason::label(reason),
            ));
        }
        line(String::new());
        line(format!(
            "{} samples of {:.0} s, law {}: something is given up for {:.1} % of the time, theta {:.2} and admit {:.2} at least",
            self.samples, self.lasts_s, self.law, self.limited, self.theta_least, self.admit_least
        ));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: &str = r#"{"span_ms":100,"arrivals":12,"queue_delay_ms":0.4,"lateness":null,"inflation":1.0,"base_ms":2.5,"optional_ms":7.5,"theta":1.0,"level":0}"#;
    const CROWD: &str =
        r#"{"span_ms":100,"arrivals":60,"queue_delay_ms":22,"base_ms":2.5,"optional_ms":7.5}"#;

    #[test]
    fn a_law_meets_what_was_recorded() {
        let trace = [
            [QUIET; 30].join("\n"),
            [CROWD; 30].join("\n"),
            [QUIET; 30].join("\n"),
        ];
        let played = replay(&Law::for_cores(2), None, &trace.join("\n")).unwrap();
        assert_eq!(played.samples, 90);
        assert!((played.lasts_s - 9.0).abs() < 1e-6);
        assert!(
            played.theta_least < 0.2 && played.admit_least == 1.0,
            "{played:?}"
        );
        assert_eq!(played.changes[0].decision.theta, 1.0);
        let last = played.changes.last().unwrap();
        assert_eq!(last.decision.theta, 1.0, "{}", played.text());
        assert!(played.text().contains("90 samples of 9 s, law work-rate"));
    }

    #[test]
    fn a_bad_line_is_told_by_its_number() {
        for (line, why) in [
            ("{", "EOF"),
            (r#"{"span_ms":100}"#, "missing field"),
            (
                r#"{"span_ms":-1,"arrivals":1,"queue_delay_ms":0,"base_ms":1,"optional_ms":1}"#,
                "no such time",
            ),
        ] {
            let trace = format!("{QUIET}\n\n{line}\n");
            let bad = replay(&Law::for_cores(2), None, &trace).unwrap_err();
            assert_eq!(bad.line, 3);
            assert!(bad.why.contains(why), "{bad}");
        }
    }
}
