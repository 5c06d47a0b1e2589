//! Degradation: what a page gives up, and in which order. Owns levels and the ladder; reports
//! nothing and reads no clock. The law that moves the level is not here yet: an operator sets it.

pub mod ladder;
pub mod level;

pub use ladder::{Ladder, NoSuchLevel};
pub use level::{Level, LevelPin};
