//! What is promised to readers, as it is declared: which pages, what makes one of them a good one, and
//! how many of them may miss it. Owns the numbers; whether they are kept is counted in `telemetry`.

use std::fmt;
use std::time::Duration;

use crate::fragment::quantity::show_duration;

/// `[slo.NAME]`.
#[derive(Debug, Clone, PartialEq)]
pub struct SloSpec {
    /// Its name.
    pub name: String,
    /// What is measured.
    pub promise: Promise,
    /// The share that keeps the promise: above 0, below 1.
    pub objective: f64,
    /// Over how long.
    pub period: Duration,
    /// Of which pages, by their names; empty: of all.
    pub pages: Vec<String>,
    /// What becomes of faults that are set on purpose, and of canaries, when its error budget is spent.
    pub when_spent: WhenSpent,
}

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// So many pages are good ones.
    Pages(Good),
    /// So much of what the blocks of the pages are worth is delivered.
    Value,
}

/// What makes a page a good one: all of it, and that it is there at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Good {
    /// It is there within this.
    pub within: Option<Duration>,
    /// Every block of it is.
    pub is_complete: bool,
    /// No stale copy on it is older than this.
    pub stale_max: Option<Duration>,
}

/// What becomes of faults that are set on purpose, and of canaries, when an error budget is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenSpent {
    /// It is only told.
    #[default]
    Tell,
    /// They end, and none can be set until some of the budget is back.
    StopFaults,
    /// The same, and canaries are not asked meanwhile.
    StopExperiments,
}

impl WhenSpent {
    /// Its word in the declaration.
    pub fn label(self) -> &'static str {
        match self {
            Self::Tell => "tell",
            Self::StopFaults => "stop-faults",
            Self::StopExperiments => "stop-experiments",
        }
    }
}

impl SloSpec {
    /// The share that may miss the promise.
    pub fn allowed(&self) -> f64 {
        1.0 - self.objective
    }

    /// Whether it is about this page.
    pub fn is_about(&self, page: &str) -> bool {
        self.pages.is_empty() || self.pages.iter().any(|known| known == page)
    }
}

impl fmt::Display for Promise {
    /// What readers are promised, after "of the pages" or the like.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Pages(good) = self else {
            return f.write_str("of what the blocks of the pages are worth is delivered");
        };
        f.write_str("of the pages are there with ")?;
        f.write_str(match good.is_complete {
            true => "all their blocks",
            false => "their article",
        })?;
        if let Some(within) = good.within {
            write!(f, ", within {}", show_duration(within))?;
        }
        if let Some(stale) = good.stale_max {
            write!(
                f,
                ", without a stale copy older than {}",
                show_duration(stale)
            )?;
        }
        Ok(())
    }
}

/// A share as people read it: `99.9 %`.
pub fn percent(share: f64) -> String {
    // enough for five nines, and no more than the number has
    let text = format!("{:.4}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_is_promised() {
        let good = Good {
            within: Some(Duration::from_millis(1500)),
            is_complete: false,
            stale_max: Some(Duration::from_secs(600)),
        };
        assert_eq!(
            Promise::Pages(good).to_string(),
            "of the pages are there with their article, within 1s500ms, without a stale copy older than 10m"
        );
        for (share, text) in [
            (0.999, "99.9 %"),
            (0.99995, "99.995 %"),
            (0.9, "90 %"),
            (0.0, "0 %"),
            (-2.5, "-250 %"),
        ] {
            assert_eq!(percent(share), text);
        }
    }
}
