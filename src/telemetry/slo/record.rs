//! What was counted of the objectives, as bytes. Owns their form and the proof that they are as they were
//! written; pure.
//!
//! Buckets are written with how many of them ago they were, not with a time of day: a clock that was put
//! back between two processes moves nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use crate::clock::Moment;

use super::burn::Standing;
use super::ring::{Counts, Ring};

/// The form that is written and read.
const VERSION: u64 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u64,
    checksum: String,
    counted: Counted,
}

/// What was counted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counted {
    /// When it was written.
    pub(super) at: Moment,
    pub(super) slos: Vec<OfSlo>,
}

/// What was counted of one objective.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfSlo {
    pub(super) name: String,
    /// What was measured: another promise begins anew.
    pub(super) measures: String,
    pub(super) standing: Standing,
    pub(super) minutes: Buckets,
    pub(super) hours: Buckets,
}

/// The buckets that are not empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Buckets {
    /// How much of the newest has passed, in milliseconds.
    within_ms: u64,
    /// How many ago, measured, missed, pages with something missed.
    counts: Vec<(usize, u64, u64, u64)>,
}

impl Buckets {
    pub(super) fn of(ring: &Ring) -> Self {
        let (within, counted) = ring.counted();
        let counts = counted.map(|(ago, counts)| {
            let Counts {
                measured,
                missed,
                missed_pages,
            } = counts;
            (ago, measured, missed, missed_pages)
        });
        Self {
            within_ms: u64::try_from(within.as_millis()).unwrap_or(0),
            counts: counts.collect(),
        }
    }

    /// A ring that is as `empty`, with these counts.
    pub(super) fn into_ring(self, empty: Ring) -> Option<Ring> {
        let counts = self.counts.into_iter();
        let counts = counts.map(|(ago, measured, missed, missed_pages)| {
            let counts = Counts {
                measured,
                missed,
                missed_pages,
            };
            (ago, counts)
        });
        Ring::recalled(empty, Duration::from_millis(self.within_ms), counts)
    }
}

/// Why bytes are not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    /// It is no JSON, or not of this form.
    #[error("it is damaged: {0}")]
    Unreadable(String),
    /// Another program has written it.
    #[error("it has format version {0}, and this program reads {VERSION}")]
    Version(String),
    /// Something in it has changed.
    #[error("it is damaged: its checksum is wrong")]
    Checksum,
}

/// The bytes of these.
pub(super) fn encode(counted: Counted) -> Vec<u8> {
    let record = Record {
        version: VERSION,
        checksum: checksum(&counted),
        counted,
    };
    serde_json::to_vec(&record).expect("words and numbers are JSON")
}

/// What these bytes are.
pub(super) fn decode(bytes: &[u8]) -> Result<Counted, Damage> {
    let unreadable = |error: serde_json::Error| Damage::Unreadable(error.to_string());
    let value: Value = serde_json::from_slice(bytes).map_err(unreadable)?;
    match value.get("version") {
        Some(version) if version != VERSION => return Err(Damage::Version(version.to_string())),
        Some(_) | None => {}
    }
    let record: Record = serde_json::from_value(value).map_err(unreadable)?;
    match checksum(&record.counted) == record.checksum {
        true => Ok(record.counted),
        false => Err(Damage::Checksum),
    }
}

fn checksum(counted: &Counted) -> String {
    let text = serde_json::to_vec(counted).expect("words and numbers are JSON");
    format!("{:016x}", xxh3_64(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted() -> Counted {
        Counted {
            at: Moment::from_micros(1_750_000_000_000_123),
            slos: vec![OfSlo {
                name: "fast".to_owned(),
                measures: "pages".to_owned(),
                standing: Standing {
                    burns_by: Some(1),
                    is_spent: true,
                },
                minutes: Buckets {
                    within_ms: 29_999,
                    counts: vec![(0, 10, 1, 1), (12, 400, 0, 0)],
                },
                hours: Buckets {
                    within_ms: 0,
                    counts: vec![(700, u64::MAX, 3, 3)],
                },
            }],
        }
    }

    #[test]
    fn what_was_written_is_read() {
        for counted in [counted(), Counted::default()] {
            assert_eq!(decode(&encode(counted.clone())), Ok(counted));
        }
    }

    #[test]
    fn a_newer_form_is_told_apart_from_damage() {
        let newer = decode(b"{\"version\": 2, \"drops\": []}");
        assert_eq!(newer, Err(Damage::Version("2".to_owned())));
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let whole = encode(counted());
        for cut in 0..whole.len() {
            assert!(decode(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                if let Ok(read) = decode(&bytes) {
                    // a letter of a checksum, or the case of an exponent, may be written in two ways
                    assert_eq!(read, counted(), "bit {bit} of byte {at}");
                }
            }
        }
    }
}
