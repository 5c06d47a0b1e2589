//! Sleeping as long as was meant. The runtime's timer wakes at whole milliseconds, and late; what is
//! emulated here takes a few milliseconds. Owns the correction.

use std::time::Duration;

use marbre::clock::Clock;

/// Sleeps that are measured to know how late they are.
const SAMPLES: u32 = 200;

/// How much later than asked for a sleep ends, on average, on this machine.
pub(crate) async fn overshoot(clock: Clock) -> Duration {
    let mut late = Duration::ZERO;
    for sample in 0..SAMPLES {
        // all parts of a millisecond
        let asked = Duration::from_micros(1000 + 37 * u64::from(sample) % 1000);
        let began = clock.now();
        tokio::time::sleep(asked).await;
        late += (clock.now() - began).saturating_sub(asked);
    }
    late / SAMPLES
}

/// Sleeps for `span` on average.
pub(crate) async fn compensated(span: Duration, overshoot: Duration) {
    tokio::time::sleep(span.saturating_sub(overshoot)).await;
}
