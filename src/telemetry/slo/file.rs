//! The file of what was counted, in the state folder (shell). Owns its name and what it costs not to have it;
//! its bytes are the [record](super::record)'s, and how it is kept is the [state file](crate::state_file)'s.

use std::path::Path;

use crate::state_file::StateFile;

use super::record::{self, Counted};

const NAME: &str = "slo.json";

/// The most that is read, in bytes: as many objectives as there may be, every bucket of them full, take
/// half of this.
const BYTES_MAX: u64 = 16 << 20;

/// Where it is kept.
#[derive(Debug)]
pub struct SloFile(StateFile);

impl SloFile {
    /// That of this state folder.
    pub fn within(folder: &Path) -> Self {
        let without = "error budgets begin anew";
        Self(StateFile::within(folder, NAME, BYTES_MAX, without))
    }

    /// What it holds; nothing, where it cannot be read. Blocks.
    pub fn load(&self) -> Counted {
        let decode = |bytes: &[u8]| record::decode(bytes).map_err(|damage| damage.to_string());
        self.0.load(decode).unwrap_or_default()
    }

    /// Writes it, the whole of it or nothing. That it cannot be written is said once. Blocks.
    pub fn save(&self, counted: Counted) {
        self.0.save(&record::encode(counted));
    }
}
