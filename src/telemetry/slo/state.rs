//! How an objective is, for people and programs. Owns the words and the form in JSON.

use schemars::JsonSchema;
use serde::Serialize;

use crate::fragment::quantity::show_duration;
use crate::site::slo::percent;

use super::burn::{RULES, WINDOWS};
use super::ring::Counts;
use super::windows::Windows;

/// How an objective is at present.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct SloState {
    /// Its name.
    pub name: String,
    /// What is promised, in words.
    pub says: String,
    /// The share that is to keep the promise.
    pub objective: f64,
    /// Over how long.
    pub period: String,
    /// Of which pages; of all, if there is none here.
    pub pages: Vec<String>,
    /// The share that has kept it over the period; absent where nothing was measured.
    pub kept: Option<f64>,
    /// What was measured over the period: pages, or thousandths of what their blocks are worth.
    pub measured: u64,
    /// Of it, what readers did not get.
    pub missed: u64,
    /// Pages on which something was missed.
    pub missed_pages: u64,
    /// How much of the error budget is left: 1 is all of it, and below 0 more was missed than may be.
    pub budget_left: f64,
    /// Whether nothing was left of it, and not enough is since.
    pub spent: bool,
    /// How many times as fast as it may be the budget is used, by window.
    pub burn: Vec<BurnState>,
    /// Whether it burns so fast that somebody is called, and how: `page` or `ticket`.
    pub burning: Option<&'static str>,
    /// In so many hours nothing will be left of the budget, at the speed of the last hour.
    pub spent_in_h: Option<f64>,
    /// What becomes of faults that are set on purpose when the budget is spent.
    pub when_spent: &'static str,
    /// What was counted since the process began: measured, missed, pages with something missed.
    #[serde(skip)]
    pub since_start: [u64; 3],
}

/// How fast in one window.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct BurnState {
    /// The window.
    pub window: &'static str,
    /// How many times as fast as it may be.
    pub rate: f64,
}

impl Windows {
    pub(super) fn state(&self) -> SloState {
        let (spec, burn, left) = (&self.spec, self.burn(), self.left());
        let counts = self.hours.sum(spec.period);
        let Counts {
            measured,
            missed,
            missed_pages,
        } = counts;
        let hourly = burn.rates[RULES[0].long];
        let lasts_h = spec.period.as_secs_f64() / 3600.0;
        let each = WINDOWS.iter().zip(burn.rates);
        let seen = self.seen;
        SloState {
            name: spec.name.clone(),
            says: format!("{} {}", percent(spec.objective), spec.promise),
            objective: spec.objective,
            period: show_duration(spec.period),
            pages: self.pages.clone(),
            kept: (measured > 0).then(|| 1.0 - counts.missed_share()),
            measured,
            missed,
            missed_pages,
            budget_left: round(left),
            spent: self.standing.is_spent,
            burn: each
                .map(|((_, window), rate)| BurnState {
                    window,
                    rate: round(rate),
                })
                .collect(),
            burning: self.standing.burns_by.map(|rule| RULES[rule].severity),
            spent_in_h: (hourly > 1.0 && left > 0.0).then(|| round(left * lasts_h / hourly)),
            when_spent: spec.when_spent.label(),
            since_start: [seen.measured, seen.missed, seen.missed_pages],
        }
    }
}

/// More digits say nothing.
fn round(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}
