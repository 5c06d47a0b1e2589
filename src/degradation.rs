//! *Mode dégradé*: what is given up when there is too much to do, and how it comes back. Owns the
//! control law and its words; knows nothing of HTTP, pages or origins.
//!
//! # The argument
//!
//! The aim is what readers see: pages in time, the article always, as many blocks as can be afforded,
//! the most valuable first. What can be afforded is a matter of *work*: the server learns how many
//! milliseconds of work a second it gets done without a queue ([`law`]), and everything else is
//! arithmetic on that and on how many pages are asked for: the share of the optional work that a page
//! may hold (theta), and, when even the text of all pages is too much, the share of pages that are
//! composed at all (admission). So a step of the load acts at once, both ways, and what was learned in
//! one crowd is known in the next.
//!
//! The signal is this process's own [queue delay](sample::Sample::queue_delay), never how long pages
//! take: deadlines and copies keep page times short while all blocks are missing, and a slow origin
//! makes them long without anything to be gained here by giving up blocks of others.
//!
//! Theta becomes a [`Cut`] of the [ladder]: so many of its steps are given up by
//! everybody, one by a share of the readers, which are always the same ones, and the rest by nobody.

pub mod arrivals;
pub mod costs;
pub mod executor;
pub mod governor;
pub mod ladder;
pub mod lag;
pub mod law;
pub mod level;
pub mod line;
pub mod meters;
pub mod mode;
pub mod reading;
pub mod sample;
pub mod share;
pub mod strain;
pub mod switches;

pub use executor::{Executor, Job, Turn};
pub use governor::Governor;
pub use ladder::{Ladder, NoSuchLevel, Step};
pub use lag::Lag;
pub use law::{Decision, Law};
pub use level::Level;
pub use meters::{Counted, Meters};
pub use mode::{Admission, Mode};
pub use reading::BlockReading;
pub use sample::Sample;
pub use share::{Cut, Reader};
pub use switches::{Overrides, Switch, Switches};
