//! What is held against what: the bounds of a row as code, with what was measured beside each. Owns
//! nothing but the words; the rows themselves are in `rows`.

use serde::{Deserialize, Serialize};

/// One bound of a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Hold {
    pub(crate) what: String,
    /// As people read it.
    pub(crate) bound: String,
    pub(crate) measured: String,
    pub(crate) holds: bool,
}

/// How a number is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    Percent,
    Ms,
    Seconds,
    Number,
}

impl Unit {
    pub(crate) fn show(self, number: f64) -> String {
        let is_known = !number.is_nan();
        match self {
            _ if !is_known => "unknown".to_owned(),
            _ if number.is_infinite() => "never".to_owned(),
            Self::Percent => format!("{} %", short(number * 100.0)),
            Self::Ms => format!("{} ms", short(number)),
            Self::Seconds => format!("{} s", short(number)),
            Self::Number => short(number),
        }
    }
}

/// Three digits are enough.
fn short(number: f64) -> String {
    let text = match number.abs() {
        n if n >= 100.0 => format!("{number:.0}"),
        n if n >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    };
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// `what` is not above a bound. What is not known does not hold.
pub(crate) fn at_most(what: &str, measured: f64, bound: f64, unit: Unit) -> Hold {
    Hold {
        what: what.to_owned(),
        bound: format!("≤ {}", unit.show(bound)),
        measured: unit.show(measured),
        holds: measured <= bound,
    }
}

/// `what` is not below a bound. What is not known does not hold.
pub(crate) fn at_least(what: &str, measured: f64, bound: f64, unit: Unit) -> Hold {
    Hold {
        what: what.to_owned(),
        bound: format!("≥ {}", unit.show(bound)),
        measured: unit.show(measured),
        holds: measured >= bound,
    }
}

/// `what` is between two bounds.
pub(crate) fn between(what: &str, measured: f64, low: f64, high: f64, unit: Unit) -> Hold {
    Hold {
        what: what.to_owned(),
        bound: format!("{} to {}", unit.show(low), unit.show(high)),
        measured: unit.show(measured),
        holds: (low..=high).contains(&measured),
    }
}
