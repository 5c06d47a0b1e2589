//! A constant of a law that a site may set: its key, its unit and its range. Owns the check; the
//! constants, their meaning and their sources are in the laws.

use std::fmt;

/// A constant of `C`.
pub struct Knob<C> {
    /// Its key in the configuration.
    pub key: &'static str,
    /// What its values are.
    pub unit: Unit,
    /// The least and the greatest value that is accepted, both included, in its [`Unit`].
    pub range: (f64, f64),
    /// Reads it.
    pub get: fn(&C) -> f64,
    /// Sets it. The value has been checked.
    pub set: fn(&mut C, f64),
}

/// What the values of a constant are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A duration; the values of its knob are seconds.
    Time,
    /// A share or a factor.
    Ratio,
    /// A share of something a second.
    PerSecond,
    /// Milliseconds of work a second.
    Work,
}

/// A value that a constant cannot have.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{value} is out of range: it must be between {min} and {max}")]
pub struct OutOfRange {
    value: Shown,
    min: Shown,
    max: Shown,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Shown(f64, Unit);

impl<C> Knob<C> {
    /// Sets it, if the value is one that it can have.
    pub fn put(&self, constants: &mut C, value: f64) -> Result<(), OutOfRange> {
        let (min, max) = self.range;
        // what is not a number is in no range
        if !(min..=max).contains(&value) {
            let shown = |value| Shown(value, self.unit);
            return Err(OutOfRange {
                value: shown(value),
                min: shown(min),
                max: shown(max),
            });
        }
        (self.set)(constants, value);
        Ok(())
    }
}

impl<C> fmt::Debug for Knob<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Knob")
            .field("key", &self.key)
            .field("unit", &self.unit)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(value, unit) = *self;
        match unit {
            Unit::Time if value < 1.0 => write!(f, "{}ms", value * 1000.0),
            Unit::Time => write!(f, "{value}s"),
            Unit::Ratio => write!(f, "{value}"),
            Unit::PerSecond => write!(f, "{value} a second"),
            Unit::Work => write!(f, "{value} ms of work a second"),
        }
    }
}

/// The knob of a field that is a [`Duration`](std::time::Duration).
macro_rules! time {
    ($field:ident, $range:expr) => {
        Knob {
            key: stringify!($field),
            unit: Unit::Time,
            range: $range,
            get: |constants| constants.$field.as_secs_f64(),
            set: |constants, value| {
                constants.$field = std::time::Duration::from_secs_f64(value);
            },
        }
    };
}

/// The knob of a field that is a number.
macro_rules! number {
    ($field:ident, $unit:ident, $range:expr) => {
        Knob {
            key: stringify!($field),
            unit: Unit::$unit,
            range: $range,
            get: |constants| constants.$field,
            set: |constants, value| constants.$field = value,
        }
    };
}

pub(super) use {number, time};
