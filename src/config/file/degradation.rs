//! `[degradation]` as it is written. Owns its keys, defaults and ranges; the constants of the laws are
//! in a file of their own.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{At, Constants, Secret, TimeSpan};
use crate::degradation::law::{aimd, work_rate};

/// What is given up when there is too much to do, in which order, and when.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Degradation {
    /// "on"; "dry-run": it is decided and reported, and nothing is given up; "off".
    pub mode: At<Mode>,
    /// What a page should take at the 95th percentile. Where it is given, the optional blocks of a
    /// page are not waited for longer than this less `margin`; if absent, it is each page's budget, and
    /// no block is cut.
    #[schemars(extend("x-range" = ["20ms", "60s"]), example = &"300ms")]
    pub target: Option<At<TimeSpan>>,
    /// What is kept of a page's target for all that is not waiting for blocks. Of use where there is a
    /// `target`.
    #[schemars(extend("x-range" = ["0s", "10s"]))]
    pub margin: At<TimeSpan>,
    /// How it is decided how much can be afforded: "work-rate" learns how much work can be done in a
    /// second, "aimd" gives up some at each sign of a queue and tries more without one.
    pub law: At<LawName>,
    /// The cookie whose value tells one reader from another, so that a reader sees a block go once and
    /// come back once; `reader_header` and the reader's address, if absent.
    #[schemars(length(min = 1), example = &"session")]
    pub reader_cookie: Option<At<String>>,
    /// The request header that names the reader where the cookie does not: that in which a balancer or
    /// a CDN says whose request it passes on. Of a list the first counts. It is believed as it comes,
    /// for it decides only which blocks this reader keeps. Without it, it is the address by which
    /// `trusted_peers` of `[server]` tell the reader; requests from loopback or a private network, of
    /// which nobody says more, are taken for a balancer's, and readers told apart by browser and language.
    #[schemars(length(min = 1), example = &"x-forwarded-for")]
    pub reader_header: Option<At<String>>,
    /// What goes together, first given up first: each the name of an optional fragment, or
    /// `{ name = "…", blocks = ["…", "…"] }`. Every optional fragment is in it once, but for the items
    /// of lists, which go with their list. By priority if absent, equals together.
    #[schemars(example = ["teaser"])]
    pub ladder: Option<Vec<At<LadderStep>>>,
    /// Levels that a reader whose browser says `Save-Data: on` starts lower; 0: it makes no difference.
    #[schemars(range(min = 0, max = 99))]
    pub save_data: At<u8>,
    /// What a request must say to see a page at a level of its choice: `Marbre-Rehearse: level=2;
    /// token=…`. Best kept out of the file: `${MARBRE_REHEARSE_TOKEN}`. If absent, nobody can.
    #[schemars(example = &"${MARBRE_REHEARSE_TOKEN}", extend("x-env" = true))]
    pub rehearse_token: Option<At<Secret>>,
    /// The file that holds it instead, relative to the main file, on one line of 16 or more characters; may hold
    /// `${ENV}`.
    #[schemars(length(min = 1), example = &"${CREDENTIALS_DIRECTORY}/rehearse-token", extend("x-env" = true))]
    pub rehearse_token_file: Option<At<String>>,
    /// Pages that are worked on at the same moment: planned, rendered, assembled. As many as the
    /// machine has cores if absent. Taken at start; a reload does not change it.
    #[schemars(range(min = 1, max = 1024))]
    pub workers: Option<At<u32>>,
    /// A page that has waited longer than this before anything could be done for it is answered from
    /// its snapshot.
    #[schemars(extend("x-range" = ["1ms", "10s"]))]
    pub wait_max: At<TimeSpan>,
    /// The constants of the law "work-rate". They come from simulations and are not delicate; each is
    /// explained with the law.
    pub work_rate: Constants<work_rate::Constants>,
    /// The constants of the law "aimd".
    pub aimd: Constants<aimd::Constants>,
}

impl Default for Degradation {
    fn default() -> Self {
        Self {
            mode: At::unwritten(Mode::On),
            target: None,
            margin: At::unwritten(TimeSpan::from_millis(50)),
            law: At::unwritten(LawName::WorkRate),
            reader_cookie: None,
            reader_header: None,
            ladder: None,
            save_data: At::unwritten(1),
            rehearse_token: None,
            rehearse_token_file: None,
            workers: None,
            wait_max: At::unwritten(TimeSpan::from_millis(60)),
            work_rate: Constants::default(),
            aimd: Constants::default(),
        }
    }
}

/// Whether anything is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Whatever must be.
    #[default]
    On,
    /// Nothing, but it is said what would be.
    DryRun,
    /// Nothing.
    Off,
}

impl JsonSchema for Mode {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Mode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": ["on", "dry-run", "off"] })
    }
}

/// How it is decided how much can be afforded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LawName {
    /// See [`work_rate`].
    #[default]
    WorkRate,
    /// See [`aimd`].
    Aimd,
}

impl JsonSchema for LawName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "LawName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": ["work-rate", "aimd"] })
    }
}

/// A step of the ladder: a fragment, or several under a name.
#[derive(Debug)]
pub enum LadderStep {
    /// One fragment; the step has its name.
    One(String),
    /// Several that go together.
    Several {
        /// What people call the step.
        name: At<String>,
        /// Its fragments.
        blocks: Vec<At<String>>,
    },
}

/// A step of which more is said than a name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StepTable {
    /// What people call the step.
    #[schemars(pattern("^[A-Za-z0-9_-]{1,64}$"), example = &"advertising")]
    name: At<String>,
    /// The fragments that go together.
    #[schemars(length(min = 1), example = ["teaser"])]
    blocks: Vec<At<String>>,
}

impl JsonSchema for LadderStep {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "LadderStep".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = StepTable::json_schema(generator);
        json_schema!({ "anyOf": [{ "type": "string" }, table] })
    }
}

impl<'de> Deserialize<'de> for LadderStep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = LadderStep;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a fragment, or a table with a `name` and `blocks`")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<LadderStep, E> {
                Ok(LadderStep::One(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LadderStep, A::Error> {
                let StepTable { name, blocks } =
                    StepTable::deserialize(MapAccessDeserializer::new(map))?;
                Ok(LadderStep::Several { name, blocks })
            }
        }
        deserializer.deserialize_any(Either)
    }
}
