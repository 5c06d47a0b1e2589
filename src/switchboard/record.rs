//! The file of switches, as bytes. Owns its form and the proof that it is as it was written; pure.
//!
//! It is JSON, so that a person can read it: a version, the switches, and a checksum of them. It is not
//! for being edited: what somebody has changed by hand nobody has decided.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use crate::degradation::{Switch, Switches};

/// The form that is written and read.
const VERSION: u64 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u64,
    checksum: String,
    switches: Vec<Switch>,
}

/// Why a file is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    /// It is no JSON, or not of this form.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// A newer program has written it.
    #[error("it has version {0}, and this program reads {VERSION}")]
    Newer(u64),
    /// No program has.
    #[error("it has version {0}, and this program reads {VERSION}")]
    Version(String),
    /// Something in it has changed.
    #[error("its checksum is wrong")]
    Checksum,
    /// No such switches were ever set.
    #[error("it holds switches that cannot have been set")]
    Unfit,
}

/// The bytes of these switches.
pub(super) fn encode(switches: &[Switch]) -> Vec<u8> {
    let record = Record {
        version: VERSION,
        checksum: checksum(switches),
        switches: switches.to_vec(),
    };
    let text = serde_json::to_string_pretty(&record).expect("words and numbers are JSON");
    (text + "\n").into_bytes()
}

/// The switches of these bytes.
pub(super) fn decode(bytes: &[u8]) -> Result<Switches, Damage> {
    let unreadable = |error: serde_json::Error| Damage::Unreadable(error.to_string());
    let value: Value = serde_json::from_slice(bytes).map_err(unreadable)?;
    match value.get("version") {
        Some(version) if version != VERSION => {
            let newer = version.as_u64().filter(|version| *version > VERSION);
            return Err(match newer {
                Some(version) => Damage::Newer(version),
                None => Damage::Version(version.to_string()),
            });
        }
        _ => {}
    }
    let record: Record = serde_json::from_value(value).map_err(unreadable)?;
    if checksum(&record.switches) != record.checksum {
        return Err(Damage::Checksum);
    }
    Switches::recalled(record.switches).ok_or(Damage::Unfit)
}

fn checksum(switches: &[Switch]) -> String {
    let text = serde_json::to_vec(switches).expect("words and numbers are JSON");
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
        let read = decode(&encode(&switches())).unwrap();
        let mut read: Vec<Switch> = read.iter().cloned().collect();
        let mut written = switches();
        read.sort_by_key(|s| s.act.subject());
        written.sort_by_key(|s| s.act.subject());
        assert_eq!(read, written);
        assert_eq!(decode(&encode(&[])), Ok(Switches::default()));
    }

    #[test]
    fn it_is_for_people_to_read() {
        insta::assert_snapshot!(String::from_utf8(encode(&switches()[..1])).unwrap(), @r#"
        {
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
        }
        "#);
    }

    #[test]
    fn what_was_not_written_is_refused() {
        let text = String::from_utf8(encode(&switches())).unwrap();
        let with = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            decode(text.replacen(from, to, 1).as_bytes()).unwrap_err()
        };
        assert_eq!(with("\"level\": 2", "\"level\": 0"), Damage::Checksum);
        assert_eq!(with("slideshow", "article"), Damage::Checksum);
        assert_eq!(with("\"version\": 1", "\"version\": 2"), Damage::Newer(2));
        assert_eq!(
            with("\"version\": 1", "\"version\": 0"),
            Damage::Version("0".into())
        );
        assert!(matches!(with("\"version\": 1,", ""), Damage::Unreadable(_)));
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
        let mut twice = switches();
        twice.extend(switches());
        assert_eq!(decode(&encode(&twice)), Err(Damage::Unfit));
    }

    proptest! {
        /// Whatever happens to one byte of the file, it is not taken for other switches.
        #[test]
        fn no_damage_is_taken_for_a_switch(at in 0usize..1000, to in any::<u8>()) {
            let mut bytes = encode(&switches());
            let at = at % bytes.len();
            bytes[at] = to;
            if let Ok(read) = decode(&bytes) {
                let mut whole = switches();
                whole.sort_by_key(|s| s.act.subject());
                prop_assert_eq!(read.iter().cloned().collect::<Vec<_>>(), whole);
            }
        }

        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
