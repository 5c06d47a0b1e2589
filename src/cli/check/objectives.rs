//! What readers are promised, in the words of `marbre check`. Owns how an error budget is told: in pages,
//! and in minutes of a month without any.

use serde::Serialize;

use crate::fragment::quantity::show_duration;
use crate::site::slo::{SloSpec, percent};
use crate::site::{Promise, Site, availability};

/// Pages of which it is said how many may miss a promise.
const OF_PAGES: f64 = 1e6;

/// A declared objective.
#[derive(Serialize)]
pub(super) struct Objective {
    name: String,
    /// What is promised.
    says: String,
    objective: f64,
    period: String,
    /// Of which pages; of all, if there is none here.
    pages: Vec<String>,
    error_budget: Budget,
    /// What becomes of faults that are set on purpose when it is spent.
    when_spent: &'static str,
}

/// How much may be missed.
#[derive(Serialize)]
struct Budget {
    /// Of a million pages; of what their blocks are worth, where that is promised.
    of_a_million: u64,
    /// The same, if everything is missed for a while, and nothing else in a month of thirty days.
    minutes_a_month: f64,
    #[serde(skip)]
    is_value: bool,
}

/// All of them, in the order of the declaration.
pub(super) fn objectives(site: &Site) -> Vec<Objective> {
    let objective = |spec: &SloSpec| Objective {
        name: spec.name.clone(),
        says: format!("{} {}", percent(spec.objective), spec.promise),
        objective: spec.objective,
        period: show_duration(spec.period),
        pages: spec.pages.clone(),
        error_budget: Budget {
            // an objective has a handful of digits
            of_a_million: (spec.allowed() * OF_PAGES).round() as u64,
            minutes_a_month: (availability::minutes_a_month(spec.objective) * 10.0).round() / 10.0,
            is_value: spec.promise == Promise::Value,
        },
        when_spent: spec.when_spent.label(),
    };
    site.slos.iter().map(objective).collect()
}

impl Objective {
    pub(super) fn text(&self) -> String {
        let of = match self.pages.is_empty() {
            true => String::new(),
            false => format!(" ({})", self.pages.join(", ")),
        };
        let (name, says, period) = (&self.name, &self.says, &self.period);
        format!(
            "{name}: {says}{of}, over {period}; {}",
            self.error_budget.text()
        )
    }
}

impl Budget {
    fn text(&self) -> String {
        let minutes = self.minutes_a_month;
        match self.is_value {
            true => {
                let share = percent(self.of_a_million as f64 / OF_PAGES);
                format!("error budget: {share} of it, or all of it for {minutes} min a month")
            }
            false => {
                let pages = self.of_a_million;
                format!(
                    "error budget: {pages} of a million pages, or all of them for {minutes} min a month"
                )
            }
        }
    }
}
