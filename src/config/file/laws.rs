//! `[degradation.work_rate]` and `[degradation.aimd]` as they are written. Owns what each constant means
//! in words; keys, units, ranges and defaults are those of the laws themselves.
//!
//! Invariant: every constant that a law lets a site set has a key here, with a meaning.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::{At, TimeSpan};
use crate::config::values::{parse_duration, show_duration};
use crate::degradation::law::{Knob, Unit, aimd, work_rate};

/// The constants of the law `L` that are written.
#[derive(Debug)]
pub struct Constants<L> {
    written: BTreeMap<String, At<Constant>>,
    law: PhantomData<L>,
}

/// A value of a constant, in the unit of its [`Knob`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Constant(pub f64);

/// A law whose constants can be written.
pub trait Tunable: Default + 'static {
    /// The name of the table.
    const TABLE: &'static str;
    /// What can be set.
    const KNOBS: &'static [Knob<Self>];
    /// What each key means.
    const MEANINGS: &'static [(&'static str, &'static str)];
}

impl<L: Tunable> Constants<L> {
    /// What is written, with the knob that it is for.
    pub fn written(&self) -> impl Iterator<Item = (&'static Knob<L>, &At<Constant>)> {
        L::KNOBS
            .iter()
            .filter_map(|knob| Some((knob, self.written.get(knob.key)?)))
    }
}

impl<L> Default for Constants<L> {
    fn default() -> Self {
        Self {
            written: BTreeMap::new(),
            law: PhantomData,
        }
    }
}

impl<'de, L> Deserialize<'de> for Constants<L> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self {
            written: BTreeMap::deserialize(deserializer)?,
            law: PhantomData,
        })
    }
}

impl<'de> Deserialize<'de> for Constant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = Constant;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a duration")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Constant, E> {
                let span = parse_duration(text).map_err(E::custom)?;
                Ok(Constant(span.as_secs_f64()))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Constant, E> {
                Ok(Constant(number))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Constant, E> {
                Ok(Constant(number as f64))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<L: Tunable> JsonSchema for Constants<L> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        L::TABLE.into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let properties: Map<String, Value> = L::KNOBS
            .iter()
            .map(|knob| (knob.key.to_owned(), property(knob, generator)))
            .collect();
        json_schema!({
            "type": "object",
            "properties": properties,
            "additionalProperties": false,
        })
    }
}

fn property<L: Tunable>(knob: &Knob<L>, generator: &mut SchemaGenerator) -> Value {
    let meaning = L::MEANINGS.iter().find(|(key, _)| *key == knob.key);
    let meaning = meaning.map_or("", |(_, meaning)| *meaning);
    let (low, high) = knob.range;
    let default = (knob.get)(&L::default());
    if knob.unit == Unit::Time {
        let shown = |seconds: f64| show_duration(Duration::from_secs_f64(seconds));
        let mut schema = TimeSpan::json_schema(generator).to_value();
        schema["description"] = json!(meaning);
        schema["x-range"] = json!([shown(low), shown(high)]);
        schema["default"] = json!(shown(default));
        return schema;
    }
    let mut schema = json!({
        "type": "number",
        "description": meaning,
        "minimum": low,
        "maximum": high,
    });
    match knob.key {
        // as many as the machine has cores for: no default that could be written
        "rate_max" => schema["examples"] = json!([6000]),
        _ => schema["default"] = json!(default),
    }
    schema
}

impl Tunable for work_rate::Constants {
    const TABLE: &'static str = "work_rate";
    const KNOBS: &'static [Knob<Self>] = Self::KNOBS;
    const MEANINGS: &'static [(&'static str, &'static str)] = &[
        (
            "rate_max",
            "The most work that can be done, in milliseconds a second; one and a half times what the cores have if absent. Too high costs a second of learning, too low gives up blocks for nothing.",
        ),
        (
            "rate_begin",
            "What it takes a machine to be able to do before anything is learned, as a share of `rate_max`.",
        ),
        (
            "rate_min",
            "The least that the rate falls to, as a share of `rate_max`.",
        ),
        (
            "admit_min",
            "The share of pages that is composed at least, whatever the load.",
        ),
        (
            "queue_target",
            "How long work may wait for its turn. At least eight times what one job takes.",
        ),
        (
            "pressure_half_life",
            "How long it takes until half of the pressure that acts is news.",
        ),
        (
            "excess_max",
            "The excess of the pressure over 1 beyond which the rate falls no faster.",
        ),
        (
            "draining",
            "Pressure under this share of what it was two ticks before says that the queue is draining: the rate falls no further.",
        ),
        (
            "cut_rate",
            "How fast the rate falls, a second, for each 1 of excess: with 1 it is halved within a second.",
        ),
        (
            "cut_boost",
            "By how much faster it falls while it is above all that is asked for.",
        ),
        (
            "severe",
            "The pressure from which a spell is not mild any more: the rate then falls without bound.",
        ),
        (
            "spell_gap",
            "A spell of pressure begins where there was none for so long.",
        ),
        (
            "spell_headroom",
            "The rate at the beginning of a spell counts as at most so many times what is asked for.",
        ),
        (
            "spell_cut",
            "What a mild spell leaves of the rate at its beginning.",
        ),
        (
            "spell_cut_rate",
            "By how much of that rate this falls with each second that a mild spell lasts.",
        ),
        ("spell_cut_min", "What a mild spell leaves at least."),
        (
            "dead_band",
            "How far under 1 the pressure must be for the rate to grow.",
        ),
        (
            "growth",
            "Growth while something is given up, as a share of `rate_max` a second.",
        ),
        (
            "growth_rest",
            "That growth is once more as fast for each such time without pressure.",
        ),
        ("growth_boost", "It becomes at most so many times as fast."),
        (
            "growth_care",
            "The share of the growth that there is right under the dead band.",
        ),
        (
            "drift",
            "Growth while nothing is given up, as a share of `rate_max` a second: nothing then says that there is more.",
        ),
        (
            "plateau",
            "Above this share of the rate at which it last went wrong, growth is careful.",
        ),
        (
            "plateau_growth",
            "Careful growth, as a share of `rate_max` a second.",
        ),
        (
            "plateau_time",
            "For how long after the last pressure growth is careful.",
        ),
        (
            "arrivals_fast",
            "Over how long arrivals are averaged to see a step of the load.",
        ),
        (
            "arrivals_slow",
            "Over how long they are averaged otherwise.",
        ),
        (
            "arrivals_step",
            "By how many standard deviations the two averages differ when the load has changed in a step.",
        ),
        (
            "inflation_tau",
            "Over how long it is averaged by how much work takes longer than usual.",
        ),
        (
            "theta_play",
            "By what share of it theta may stay under what can be afforded, and by a third of that over it, so that it does not tremble.",
        ),
    ];
}

impl Tunable for aimd::Constants {
    const TABLE: &'static str = "aimd";
    const KNOBS: &'static [Knob<Self>] = Self::KNOBS;
    const MEANINGS: &'static [(&'static str, &'static str)] = &[
        (
            "queue_target",
            "How long work may wait for its turn. At least eight times what one job takes.",
        ),
        (
            "cut",
            "What is left of what can be afforded after `cut_time` over the target.",
        ),
        ("cut_time", "See `cut`."),
        (
            "growth",
            "What is gained with each second under the target, as a share of the full page.",
        ),
        (
            "theta_min",
            "Less than this share of the optional blocks is none of them.",
        ),
        (
            "admit_min",
            "The share of pages that is composed at least, whatever the load.",
        ),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agrees<L: Tunable>() {
        let knobs: Vec<&str> = L::KNOBS.iter().map(|knob| knob.key).collect();
        let meanings: Vec<&str> = L::MEANINGS.iter().map(|(key, _)| *key).collect();
        assert_eq!(knobs, meanings, "[degradation.{}]", L::TABLE);
        for knob in L::KNOBS {
            let default = (knob.get)(&L::default());
            assert!(
                (knob.range.0..=knob.range.1).contains(&default),
                "{}: {default} is out of its range",
                knob.key
            );
            if knob.unit == Unit::Time {
                for seconds in [knob.range.0, knob.range.1, default] {
                    let span = Duration::from_secs_f64(seconds);
                    let shown = show_duration(span);
                    assert_eq!(parse_duration(&shown), Ok(span), "{}", knob.key);
                }
            }
        }
    }

    #[test]
    fn every_constant_has_a_meaning_and_a_default_that_can_be_written() {
        agrees::<work_rate::Constants>();
        agrees::<aimd::Constants>();
    }
}
