//! Single values against their part of the schema: words, durations, sizes, numbers and their
//! ranges. Owns the wording of these findings.

use std::ops::Range;

use serde_json::Value;

use super::expected::expected;
use super::{Walk, unquoted};
use crate::config::diagnose::Diagnostic;
use crate::config::values;

impl Walk<'_> {
    pub(super) fn string(
        &mut self,
        text: &str,
        span: Range<usize>,
        schema: &Value,
        whole: &Value,
    ) -> bool {
        if !self.env && text.contains("${") {
            let place = self.found.within(&self.place(span), "${");
            let message = format!("`${{…}}` is not expanded in {}", self.setting());
            self.found.push(Diagnostic::error(message).at(place, "this would be taken literally").help(
                "environment variables are read in origin `urls`, `listen`, `shared.valkey`, `endpoint` and `headers` of `telemetry.traces` and `telemetry.metrics`, `admin.token`, `admin.read_token`, `degradation.rehearse_token`, `telemetry.debug_secret` and the files of secrets (`…_file`, `header_files`) only",
            ));
            return false;
        }
        if let Some(words) = schema["enum"].as_array() {
            let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
            if !words.contains(&text) {
                let message = format!("`{text}` is not a {}", self.last());
                let place = self.place(span);
                let expected = expected(whole);
                let mut finding =
                    Diagnostic::error(message).at(place, format!("expected {expected}"));
                finding.help = match values::nearest(text, words) {
                    Some(near) => Some(format!("did you mean `{near}`?")),
                    None => unquoted(text, whole),
                };
                self.found.push(finding);
                return false;
            }
        }
        if text.is_empty() && schema["minLength"].as_u64() > Some(0) {
            return self.wrong(span, "this is empty", String::new());
        }
        let read = match schema["format"].as_str() {
            Some("duration-text") => values::parse_duration(text).map(|d| d.as_millis()),
            Some("size-text") => values::parse_size(text).map(u128::from),
            _ => return true,
        };
        let amount = match read {
            Ok(amount) => amount,
            Err(why) => {
                let message = format!("{} must be {}", self.setting(), expected(schema));
                let place = self.place(span);
                self.found.push(Diagnostic::error(message).at(place, why));
                return false;
            }
        };
        let bound = |i: usize| schema["x-range"][i].as_str();
        let number = |text: &str| match schema["format"].as_str() {
            Some("duration-text") => values::parse_duration(text).map(|d| d.as_millis()),
            _ => values::parse_size(text).map(u128::from),
        };
        let low = bound(0).and_then(|t| number(t).ok());
        let high = bound(1).and_then(|t| number(t).ok());
        if low.is_some_and(|low| amount < low) || high.is_some_and(|high| amount > high) {
            let range = (bound(0).unwrap_or("0"), bound(1).unwrap_or("∞"));
            let label = format!("expected {} to {}", range.0, range.1);
            let message = format!("{} is out of range", self.setting());
            let place = self.place(span);
            self.found.push(Diagnostic::error(message).at(place, label));
            return false;
        }
        true
    }

    pub(super) fn integer(
        &mut self,
        number: i128,
        span: Range<usize>,
        schema: &Value,
        whole: &Value,
    ) -> bool {
        if schema["type"] == "number" {
            // no bound is large enough for the difference to matter
            return self.number(number as f64, span, schema, whole);
        }
        let bound = |key: &str| schema[key].as_i64().map(i128::from);
        if bound("minimum").is_some_and(|low| number < low)
            || bound("maximum").is_some_and(|high| number > high)
        {
            let message = format!("{} is out of range", self.setting());
            let label = format!("expected {}", expected(whole));
            let place = self.place(span);
            self.found.push(Diagnostic::error(message).at(place, label));
            return false;
        }
        true
    }

    /// A number that may have a fraction. What is infinite or no number is in no range.
    pub(super) fn number(
        &mut self,
        number: f64,
        span: Range<usize>,
        schema: &Value,
        whole: &Value,
    ) -> bool {
        let bound = |key: &str| schema[key].as_f64();
        let fits = number.is_finite()
            && bound("minimum").is_none_or(|low| number >= low)
            && bound("maximum").is_none_or(|high| number <= high);
        if !fits {
            let message = format!("{} is out of range", self.setting());
            let label = format!("expected {}", expected(whole));
            let place = self.place(span);
            self.found.push(Diagnostic::error(message).at(place, label));
        }
        fits
    }
}
