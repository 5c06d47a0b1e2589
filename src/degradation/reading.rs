//! What is seen of one block from tick to tick. Owns the vocabulary; measures nothing.

use serde::Serialize;

/// What has become of the requests of one optional fragment since the tick before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BlockReading {
    /// Requests that were wanted of its origin.
    pub asked: u32,
    /// Of which its limiter has refused.
    pub refused: u32,
    /// Requests that have missed their deadline.
    pub missed: u32,
    /// The share of the readers whose pages ask for it, 0.02 to 1; the others do without.
    pub share: f64,
    /// Whether its origin is left alone, so that it costs nothing.
    pub is_open: bool,
    /// How long its answers took over what is usual, as judged last; `None` where nothing was judged
    /// since the tick before.
    pub slowness: Option<f64>,
    /// How slow they may be before it gives way.
    pub tolerance: f64,
}

impl Default for BlockReading {
    fn default() -> Self {
        Self {
            asked: 0,
            refused: 0,
            missed: 0,
            share: 1.0,
            is_open: false,
            slowness: None,
            tolerance: 1.0,
        }
    }
}
