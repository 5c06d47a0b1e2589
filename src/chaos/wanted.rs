//! A fault as it is asked for, in JSON. Owns its keys, which are those of `[chaos.NAME]`, and what is said of
//! one that cannot be set; pure.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::degradation::Switch;
use crate::degradation::switches::{Act, SPAN_MIN};
use crate::fragment::quantity::{parse_duration, show_duration};
use crate::site::chaos::{
    FaultSpec, Harm, HarmKind, LASTS_MAX, LASTS_MIN, PAGES, StopOn, Target, Written,
};
use crate::site::name::check_name;

/// A fault that is to be set. One that the site declares needs no more than who, why and for how long.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "FaultWanted")]
pub struct Wanted {
    /// The origin that is made sick.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Or the fragment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fragment: Option<String>,
    /// Or the store that nodes share.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub store: bool,
    /// What goes wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub harm: Option<HarmKind>,
    /// Of `latency` and `slow-start`: how much later answers come, `800ms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<String>,
    /// Of `latency`: the deviation of its logarithm, 0 to 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<f64>,
    /// Of `error`: 500 to 599.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Of `drip`: between two bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
    /// Of `slow-start`: after this it is as ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over: Option<String>,
    /// The share of requests that are hit, above 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// The share of pages that have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Only pages that are asked for with a token have it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub signed: bool,
    /// Who decides so.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// For how long: `10m`, a day at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#for: Option<String>,
    /// After so many pages it ends; 10000 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pages_max: Option<u64>,
    /// What ends it before its time: `burning` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_on: Option<StopOn>,
}

impl Wanted {
    /// The fault of this name; `declared` is what the site says under it. `Err` says what is to be mended.
    pub fn spec(&self, name: &str, declared: Option<&FaultSpec>) -> Result<FaultSpec, String> {
        let (owner, reason) = signed(&self.owner, &self.reason)?;
        let lasts = match (&self.r#for, declared) {
            (Some(text), _) => span("for", text)?,
            (None, Some(declared)) => declared.lasts,
            (None, None) => {
                return Err("say for how long: `for`, such as \"10m\"".to_owned());
            }
        };
        if !(LASTS_MIN..=LASTS_MAX).contains(&lasts) {
            let (least, most) = (show_duration(LASTS_MIN), show_duration(LASTS_MAX));
            return Err(format!("`for`: a fault lasts {least} to {most}"));
        }
        if self.pages_max == Some(0) {
            return Err("`pages_max`: a fault that no page has is none".to_owned());
        }
        let spec = match declared {
            Some(declared) if self.says_nothing() => declared.clone(),
            Some(_) | None => {
                check_name("a fault", name)?;
                let sound = self.written()?.fault().map_err(|wrong| {
                    let wrong = wrong.iter().map(ToString::to_string);
                    wrong.collect::<Vec<_>>().join("; ")
                })?;
                FaultSpec {
                    name: name.to_owned(),
                    target: sound.target,
                    harm: sound.harm,
                    rate: sound.rate,
                    reach: sound.reach,
                    owner: String::new(),
                    reason: String::new(),
                    lasts,
                    window: None,
                    pages_max: PAGES,
                    stop_on: StopOn::default(),
                }
            }
        };
        Ok(FaultSpec {
            owner,
            reason,
            lasts,
            window: None,
            pages_max: self.pages_max.unwrap_or(spec.pages_max),
            stop_on: self.stop_on.unwrap_or(spec.stop_on),
            ..spec
        })
    }

    /// Whether it does not say what goes wrong with what.
    fn says_nothing(&self) -> bool {
        let plain = Self {
            owner: self.owner.clone(),
            reason: self.reason.clone(),
            r#for: self.r#for.clone(),
            pages_max: self.pages_max,
            stop_on: self.stop_on,
            ..Self::default()
        };
        *self == plain
    }

    fn written(&self) -> Result<Written, String> {
        let time = |key, text: &Option<String>| text.as_ref().map(|t| span(key, t)).transpose();
        Ok(Written {
            origin: self.origin.clone(),
            fragment: self.fragment.clone(),
            store: self.store,
            harm: self.harm,
            latency: time("latency", &self.latency)?,
            spread: self.spread,
            status: self.status,
            every: time("every", &self.every)?,
            over: time("over", &self.over)?,
            rate: self.rate,
            share: self.share,
            signed: self.signed,
        })
    }

    /// What would set this fault again, for so long.
    pub fn of(spec: &FaultSpec, lasts: Duration) -> Self {
        let shown = |span: Duration| Some(show_duration(span));
        let some = |share: f64| (share < 1.0).then_some(share);
        let mut wanted = Self {
            harm: Some(spec.harm.kind()),
            rate: some(spec.rate),
            share: some(spec.reach.share),
            signed: spec.reach.signed,
            owner: spec.owner.clone(),
            reason: spec.reason.clone(),
            r#for: shown(Duration::from_secs(lasts.as_secs().max(1))),
            pages_max: Some(spec.pages_max),
            stop_on: Some(spec.stop_on),
            ..Self::default()
        };
        match &spec.target {
            Target::Origin(name) => wanted.origin = Some(name.clone()),
            Target::Fragment(name) => wanted.fragment = Some(name.clone()),
            Target::Store => wanted.store = true,
        }
        match spec.harm {
            Harm::Latency { by, spread } => {
                wanted.latency = shown(by);
                wanted.spread = (spread > 0.0).then_some(spread);
            }
            Harm::SlowStart { by, over } => {
                (wanted.latency, wanted.over) = (shown(by), shown(over));
            }
            Harm::Error { status } => wanted.status = Some(status),
            Harm::Drip { every } => wanted.every = shown(every),
            Harm::Refuse | Harm::Reset | Harm::Hang | Harm::Cut | Harm::Garbage | Harm::Dns => {}
        }
        wanted
    }
}

/// Who and why, by the rules that hold for every switch.
fn signed(owner: &str, reason: &str) -> Result<(String, String), String> {
    let at = Moment::default();
    let switch = Switch::new(Act::Freeze, owner, reason, at, SPAN_MIN);
    let switch = switch.map_err(|unfit| unfit.to_string())?;
    Ok((switch.owner, switch.reason))
}

fn span(key: &str, text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|why| format!("`{key}` must be a duration such as \"10m\": {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(json: &str) -> Wanted {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_is_told_sets_the_same_fault_again() {
        for what in [
            r#""origin": "media", "harm": "latency", "latency": "800ms", "spread": 0.4"#,
            r#""origin": "media", "harm": "slow-start", "latency": "2s", "over": "1m""#,
            r#""origin": "media", "harm": "error", "status": 500, "rate": 0.5, "share": 0.1"#,
            r#""fragment": "slideshow", "harm": "drip", "every": "5ms", "signed": true"#,
            r#""store": true, "harm": "hang", "pages_max": 7, "stop_on": "spent""#,
        ] {
            let text = format!(r#"{{{what}, "owner": "desk", "reason": "a test", "for": "10m"}}"#);
            let spec = wanted(&text).spec("f", None).unwrap();
            let again = Wanted::of(&spec, spec.lasts);
            assert_eq!(again.spec("f", None).as_ref(), Ok(&spec), "{what}");
        }
    }

    #[test]
    fn a_declared_one_needs_only_a_signature_and_others_say_what_they_lack() {
        let text =
            r#"{"origin": "media", "harm": "hang", "owner": "o", "reason": "r", "for": "5m"}"#;
        let declared = wanted(text).spec("f", None).unwrap();
        let by_name = wanted(r#"{"owner": "desk", "reason": "a test"}"#);
        let spec = by_name.spec("f", Some(&declared)).unwrap();
        assert_eq!((spec.owner.as_str(), spec.lasts), ("desk", declared.lasts));
        assert_eq!(spec.harm, Harm::Hang);
        for (json, said) in [
            ("{}", "`owner` is empty"),
            (r#"{"owner": "o", "reason": "r"}"#, "for how long"),
            (r#"{"owner": "o", "reason": "r", "for": "2d"}"#, "1s to 1d"),
            (
                r#"{"owner": "o", "reason": "r", "for": "1m"}"#,
                "`origin`: say",
            ),
            (
                r#"{"owner": "o", "reason": "r", "for": "1m", "pages_max": 0}"#,
                "none",
            ),
        ] {
            let why = wanted(json).spec("f", None).unwrap_err();
            assert!(why.contains(said), "{json}: {why}");
        }
        assert!(wanted(text).spec("a b", None).is_err());
    }
}
