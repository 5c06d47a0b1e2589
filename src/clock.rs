//! Time. Owns the only calls to `now()`; everything else takes an [`Instant`] or a [`Clock`].
//!
//! The instant is tokio's, so that a test may pause it, and the wall time is derived from it, so
//! that a paused test freezes both. Invariant: two readings of one clock never disagree about how
//! much time passed between them, whatever the operating system does to the wall clock meanwhile.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

pub use tokio::time::Instant;

/// Reads the time. Cheap to copy; all copies of one clock share their starting point.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    started_wall: SystemTime,
}

impl Clock {
    /// Starts a clock at the present moment of the machine.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the time"
    )]
    pub fn start() -> Self {
        Self::start_at(SystemTime::now())
    }

    /// Starts a clock that takes this for the wall time, whatever the machine says.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the time"
    )]
    pub fn start_at(wall: SystemTime) -> Self {
        Self {
            started: Instant::now(),
            started_wall: wall,
        }
    }

    /// The present instant.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the time"
    )]
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// The wall time at `at`, by this clock's own count since its start.
    pub fn wall(&self, at: Instant) -> SystemTime {
        self.started_wall + at.saturating_duration_since(self.started)
    }

    /// The moment at `at`: what is written beside a copy that outlives the process.
    pub fn moment(&self, at: Instant) -> Moment {
        Moment::of(self.wall(at))
    }

    /// The processor time that this process has used, of all its threads; `None` where the system does
    /// not tell.
    pub fn cpu(&self) -> Option<Duration> {
        let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        used.try_into().ok()
    }

    /// The time of the machine that never goes back, since some moment before this process, as other
    /// processes on the machine read it too; `None` where the system does not tell.
    pub fn monotonic(&self) -> Option<Duration> {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        now.try_into().ok()
    }

    /// How long this clock has been running at `now`.
    pub fn uptime(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }
}

/// A moment that means the same to a later process and to another machine: microseconds since 1970,
/// as good as the wall clocks of both.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Moment(u64);

impl Moment {
    /// The moment of a wall time; everything before 1970 is 1970.
    pub fn of(wall: SystemTime) -> Self {
        let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    /// The moment so many microseconds after 1970 began.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// The wall time.
    pub fn wall(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(self.0)
    }

    /// The time from `earlier` to this; zero if it is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// So much earlier; nothing is before 1970.
    pub fn before(self, span: Duration) -> Self {
        let span = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(span))
    }

    /// So much later.
    pub fn after(self, span: Duration) -> Self {
        let span = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(span))
    }
}

impl FromStr for Moment {
    type Err = jiff::Error;

    /// RFC 3339.
    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        let timestamp: jiff::Timestamp = text.parse()?;
        Ok(Self::of(timestamp.into()))
    }
}

impl fmt::Display for Moment {
    /// RFC 3339, in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::try_from(self.wall()) {
            Ok(timestamp) => timestamp.fmt(f),
            Err(_) => write!(f, "{} us", self.0),
        }
    }
}
