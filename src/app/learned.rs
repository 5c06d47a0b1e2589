//! What was learned and is worth knowing after a restart (shell): what each optional fragment takes
//! usually, and how much work this machine gets done. Owns what is in its [file](crate::state_file), and when
//! that is written.
//!
//! Invariant: a figure that nobody can have learned is left out and said so, and costs that figure alone.
//!
//! A process that starts inside a crowd would learn that to be slow is usual. So it begins with what it
//! knew before.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::state_file::StateFile;

/// Between two times that it is written.
const EVERY: Duration = Duration::from_secs(30);

const NAME: &str = "learned.json";

/// The only version so far.
const VERSION: u32 = 1;

/// The most that is read, in bytes: some thousand fragments are a tenth of it.
const BYTES_MAX: u64 = 1 << 20;

/// What was learned.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Learned {
    /// The processors of the machine.
    pub(super) cores: usize,
    /// The work that they get done without a queue, in milliseconds a second.
    #[serde(default, rename = "rate_ms_per_s")]
    pub(super) rate: Option<f64>,
    /// What an answer takes usually, by the fragment's name.
    #[serde(default, rename = "baselines_ms")]
    pub(super) baselines: BTreeMap<String, f64>,
}

impl Learned {
    /// The rate, if it was learned on a machine like this one.
    pub(super) fn rate_of(&self, cores: usize) -> Option<f64> {
        self.rate
            .filter(|rate| self.cores == cores && rate.is_finite() && *rate > 0.0)
    }
}

/// The rate that is worth keeping at present: the last one that was learned, by this process or by one
/// before it on a machine like this.
#[derive(Debug)]
pub struct KnownRate(Mutex<Option<f64>>);

impl KnownRate {
    /// Begins with what was known before a restart.
    pub fn new(before: Option<f64>) -> Self {
        Self(Mutex::new(before))
    }

    /// What the [governor](crate::degradation::Governor::rate) says; a law that learns no rate costs
    /// nothing of what was learned by another.
    pub fn learn(&self, rate: Option<f64>) {
        if let Some(rate) = rate.filter(|rate| rate.is_finite() && *rate > 0.0) {
            *self.0.lock() = Some(rate);
        }
    }

    /// In milliseconds of work a second.
    pub fn value(&self) -> Option<f64> {
        *self.0.lock()
    }
}

#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    #[serde(flatten)]
    learned: Learned,
}

/// Where it is kept.
#[derive(Debug)]
pub(super) struct LearnedFile(StateFile);

impl LearnedFile {
    /// That of this state folder.
    pub(super) fn within(folder: &Path) -> Self {
        let without = "what is usual of each block is learned anew";
        Self(StateFile::within(folder, NAME, BYTES_MAX, without))
    }

    /// What it holds; nothing, where it cannot be read.
    pub(super) fn load(&self) -> Learned {
        self.0.load(decode).map(sound).unwrap_or_default()
    }

    /// Writes it, the whole of it or nothing.
    pub(super) fn save(&self, learned: Learned) {
        let written = Written {
            version: VERSION,
            learned,
        };
        let text = serde_json::to_vec_pretty(&written);
        self.0.save(&text.expect("names and numbers are JSON"));
    }
}

/// The same without the figures that nobody can have learned, which is said: an answer takes time, and work
/// gets done.
fn sound(mut learned: Learned) -> Learned {
    let is_one = |figure: f64| figure.is_finite() && figure > 0.0;
    if let Some(rate) = learned.rate.filter(|rate| !is_one(*rate)) {
        tracing::warn!(
            "{NAME}: `rate_ms_per_s` is {rate}, and work gets done at a rate over 0: it is learned anew"
        );
        learned.rate = None;
    }
    learned.baselines.retain(|block, baseline| {
        let is_one = is_one(*baseline);
        if !is_one {
            tracing::warn!(
                "{NAME}: `baselines_ms` of {block} is {baseline}, and an answer takes more than 0: it is \
                 learned anew"
            );
        }
        is_one
    });
    learned
}

fn decode(bytes: &[u8]) -> Result<Learned, String> {
    let damaged = |error: serde_json::Error| format!("it is damaged: {error}");
    let Written { version, learned } = serde_json::from_slice(bytes).map_err(damaged)?;
    match version {
        VERSION => Ok(learned),
        version => Err(format!(
            "it has format version {version}, and this program reads {VERSION}"
        )),
    }
}

/// Writes what `learned` gives every now and then until `stop`, and once more then.
pub(super) async fn keep(
    file: Arc<LearnedFile>,
    learned: impl Fn() -> Learned,
    stop: CancellationToken,
) {
    let mut is_over = false;
    while !is_over {
        is_over = timeout(EVERY, stop.cancelled()).await.is_ok();
        let (file, learned) = (Arc::clone(&file), learned());
        // a disk may take its time
        let _ = tokio::task::spawn_blocking(move || file.save(learned)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn learned() -> Learned {
        Learned {
            cores: 2,
            rate: Some(1830.25),
            baselines: [("agenda".to_owned(), 22.5), ("météo".to_owned(), 0.31)].into(),
        }
    }

    fn file() -> (TempDir, LearnedFile) {
        let folder = tempfile::tempdir().unwrap();
        let file = LearnedFile::within(&folder.path().join("var"));
        (folder, file)
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let (_folder, file) = file();
        assert_eq!(file.load(), Learned::default());
        file.save(learned());
        assert_eq!(file.load(), learned());
        file.save(Learned::default());
        assert_eq!(file.load(), Learned::default());
    }

    #[test]
    fn what_is_no_such_file_is_not_read() {
        for content in [
            "",
            "{",
            "[]",
            "{\"version\": 2, \"cores\": 2}",
            "{\"version\": 1, \"cores\": 2, \"baselines_ms\": {\"a\": \"fast\"}}",
            "{\"version\": 1, \"cores\": -1}",
            "\u{0}\u{0}\u{0}",
        ] {
            assert!(decode(content.as_bytes()).is_err(), "{content}");
        }
    }

    #[test]
    fn figures_that_nobody_can_have_learned_are_learned_anew() {
        let (folder, file) = file();
        let path = folder.path().join("var").join(NAME);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        for wrong in ["-4", "0", "-0.0", "-1e300"] {
            let text = format!(
                "{{\"version\": 1, \"cores\": 2, \"rate_ms_per_s\": {wrong}, \
                 \"baselines_ms\": {{\"agenda\": 22.5, \"ads\": {wrong}}}}}"
            );
            std::fs::write(&path, text).unwrap();
            let learned = file.load();
            assert_eq!((learned.rate, learned.rate_of(2)), (None, None), "{wrong}");
            // and what is sound is kept
            let baselines: Vec<_> = learned.baselines.into_iter().collect();
            assert_eq!(baselines, [("agenda".to_owned(), 22.5)], "{wrong}");
        }
    }

    #[test]
    fn every_cut_of_the_file_is_noticed() {
        let (folder, file) = file();
        file.save(learned());
        let whole = std::fs::read(folder.path().join("var").join(NAME)).unwrap();
        assert_eq!(decode(&whole), Ok(learned()));
        for cut in 0..whole.len() {
            assert!(decode(&whole[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_law_that_learns_no_rate_costs_nothing_of_what_was_learned() {
        let known = KnownRate::new(Some(1830.25));
        for says in [None, Some(0.0), Some(f64::NAN), Some(f64::INFINITY)] {
            known.learn(says);
            assert_eq!(known.value(), Some(1830.25), "{says:?}");
        }
        known.learn(Some(1200.0));
        assert_eq!(known.value(), Some(1200.0));
    }

    #[test]
    fn another_machine_has_another_rate() {
        assert_eq!(learned().rate_of(2), Some(1830.25));
        assert_eq!(learned().rate_of(64), None);
        for rate in [-1.0, 0.0, f64::NAN, f64::INFINITY] {
            let learned = Learned {
                rate: Some(rate),
                ..learned()
            };
            assert_eq!(learned.rate_of(2), None, "{rate}");
        }
    }
}
