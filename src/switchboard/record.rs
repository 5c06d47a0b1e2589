//! What was decided, as bytes: in the file of switches, and in the store that nodes share. Owns the form
//! and the proof that it is as it was written; pure.
//!
//! It is JSON, so that a person can read it: a version, the decisions, and a checksum of them. It is not
//! for being edited: what somebody has changed by hand nobody has decided. Version 1 had the switches
//! alone, and is read.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::ledger::{Ledger, Record};
use crate::clock::Moment;
use crate::degradation::Switch;

/// The form that is written.
const VERSION: u64 = 2;

/// The form before, which is read.
const SWITCHES_ALONE: u64 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u64,
    checksum: String,
    latest: Moment,
    forgotten: Moment,
    decisions: Vec<Record>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenBefore {
    #[expect(dead_code, reason = "it was looked at already")]
    version: u64,
    checksum: String,
    switches: Vec<Switch>,
}

/// Why bytes are not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    /// It is no JSON, or not of this form.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// A newer program has written it.
    #[error("it has version {0}, and this program reads up to {VERSION}")]
    Newer(u64),
    /// No program has.
    #[error("it has version {0}, and this program reads up to {VERSION}")]
    Version(String),
    /// Something in it has changed.
    #[error("its checksum is wrong")]
    Checksum,
    /// No such switches were ever set.
    #[error("it holds switches that cannot have been set")]
    Unfit,
}

/// The bytes of all that was decided.
pub(super) fn encode(ledger: &Ledger) -> Vec<u8> {
    let decisions = ledger.records();
    let (latest, forgotten) = (ledger.latest(), ledger.forgotten());
    let written = Written {
        version: VERSION,
        checksum: checksum(&(latest, forgotten, &decisions)),
        latest,
        forgotten,
        decisions,
    };
    let text = serde_json::to_string_pretty(&written).expect("words and numbers are JSON");
    (text + "\n").into_bytes()
}

/// What was decided, of these bytes.
pub(super) fn decode(bytes: &[u8]) -> Result<Ledger, Damage> {
    let unreadable = |error: serde_json::Error| Damage::Unreadable(error.to_string());
    let value: Value = serde_json::from_slice(bytes).map_err(unreadable)?;
    let (decisions, latest, forgotten) = match value.get("version").and_then(Value::as_u64) {
        Some(SWITCHES_ALONE) => {
            let before: WrittenBefore = serde_json::from_value(value).map_err(unreadable)?;
            if checksum(&before.switches) != before.checksum {
                return Err(Damage::Checksum);
            }
            let decisions = before.switches.into_iter().map(Record::of);
            (decisions.collect(), Moment::default(), Moment::default())
        }
        Some(VERSION) => {
            let Written {
                checksum: sum,
                latest,
                forgotten,
                decisions,
                ..
            } = serde_json::from_value(value).map_err(unreadable)?;
            if checksum(&(latest, forgotten, &decisions)) != sum {
                return Err(Damage::Checksum);
            }
            (decisions, latest, forgotten)
        }
        Some(newer) if newer > VERSION => return Err(Damage::Newer(newer)),
        _ => {
            return Err(match value.get("version") {
                Some(version) => Damage::Version(version.to_string()),
                None => Damage::Unreadable("it has no `version`".to_owned()),
            });
        }
    };
    Ledger::recalled(decisions, latest, forgotten).ok_or(Damage::Unfit)
}

fn checksum(of: &impl Serialize) -> String {
    let text = serde_json::to_vec(of).expect("words and numbers are JSON");
    format!("{:016x}", xxh3_64(&text))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::Moment;
    use crate::degradation::Level;
    use crate::degradation::switches::{Act, Factor};

    fn ledger(switches: Vec<Switch>) -> Ledger {
        let records = switches.into_iter().map(Record::of).collect();
        let at = Moment::from_micros(1_750_000_000_000_123);
        Ledger::recalled(records, at, Moment::default()).unwrap()
    }

    fn switches() -> Vec<Switch> {
        let acts = [
            Act::Off {
                block: "slideshow".into(),
            },
            Act::Pin {
                level: Level::new(2),
            },
            Act::Ttl {
                factor: Factor::new(0.1).unwrap(),
            },
        ];
        let now = Moment::from_micros(1_750_000_000_000_123);
        let switch = |act| {
            Switch::new(
                act,
                "Anne",
                "soirée « électorale »",
                now,
                Duration::from_secs(7200),
            )
        };
        acts.into_iter().map(|act| switch(act).unwrap()).collect()
    }

    #[test]
    fn what_was_written_is_read() {
        let written = ledger(switches());
        assert_eq!(decode(&encode(&written)), Ok(written));
        let empty = Ledger::default();
        assert_eq!(decode(&encode(&empty)), Ok(empty));
    }

    #[test]
    fn what_the_program_before_has_written_is_read() {
        let text = r#"{
          "version": 1,
          "checksum": "1c6614e0413f06a0",
          "switches": [
            {
              "act": "off",
              "block": "slideshow",
              "owner": "Anne",
              "reason": "soirée « électorale »",
              "set": 1750000000000123,
              "until": 1750007200000123
            }
          ]
        }"#;
        let read = decode(text.as_bytes()).unwrap();
        let read: Vec<_> = read.switches().iter().cloned().collect();
        assert_eq!(read, switches()[..1]);
        let changed = text.replace("slideshow", "article");
        assert_eq!(decode(changed.as_bytes()), Err(Damage::Checksum));
    }

    #[test]
    fn it_is_for_people_to_read() {
        let some = ledger(switches()[..1].to_vec());
        insta::assert_snapshot!(String::from_utf8(encode(&some)).unwrap(), @r#"
        {
          "version": 2,
          "checksum": "55cf14b471a5b38b",
          "latest": 1750000000000123,
          "forgotten": 0,
          "decisions": [
            {
              "key": "block/slideshow",
              "at": 1750000000000123,
              "node": "",
              "outlives": 1750007200000123,
              "switch": {
                "act": "off",
                "block": "slideshow",
                "owner": "Anne",
                "reason": "soirée « électorale »",
                "set": 1750000000000123,
                "until": 1750007200000123
              }
            }
          ]
        }
        "#);
    }

    #[test]
    fn what_was_not_written_is_refused() {
        let text = String::from_utf8(encode(&ledger(switches()))).unwrap();
        let with = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            decode(text.replacen(from, to, 1).as_bytes()).unwrap_err()
        };
        assert_eq!(with("\"level\": 2", "\"level\": 0"), Damage::Checksum);
        assert_eq!(with("slideshow", "article"), Damage::Checksum);
        assert_eq!(with("\"version\": 2", "\"version\": 3"), Damage::Newer(3));
        assert_eq!(
            with("\"version\": 2", "\"version\": 0"),
            Damage::Version("0".into())
        );
        assert!(matches!(with("\"version\": 2,", ""), Damage::Unreadable(_)));
        assert!(matches!(
            with("\"checksum\"", "\"checksums\""),
            Damage::Unreadable(_)
        ));
        assert!(matches!(with("\"pin\"", "\"pun\""), Damage::Unreadable(_)));
        for bytes in [&b""[..], b"null", b"[]", b"{}", b"\xff", b"{\"version\":1"] {
            assert!(
                matches!(decode(bytes), Err(Damage::Unreadable(_))),
                "{bytes:?}"
            );
        }
        // well written, and never set
        let mut unfit = switches();
        unfit[0].owner.clear();
        let decisions: Vec<Record> = unfit.into_iter().map(Record::of).collect();
        let zero = Moment::default();
        let written = Written {
            version: VERSION,
            checksum: checksum(&(zero, zero, &decisions)),
            latest: zero,
            forgotten: zero,
            decisions,
        };
        let bytes = serde_json::to_vec(&written).unwrap();
        assert_eq!(decode(&bytes), Err(Damage::Unfit));
    }

    proptest! {
        /// Whatever happens to one byte of the file, it is not taken for other switches.
        #[test]
        fn no_damage_is_taken_for_a_switch(at in 0usize..2000, to in any::<u8>()) {
            let whole = ledger(switches());
            let mut bytes = encode(&whole);
            let at = at % bytes.len();
            bytes[at] = to;
            if let Ok(read) = decode(&bytes) {
                prop_assert_eq!(read, whole);
            }
        }

        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
