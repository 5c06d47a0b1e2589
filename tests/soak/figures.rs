//! What samples come to, and what of that is flat.

use crate::server::Sample;

/// How much memory may climb, along the line through its samples, of their mean.
pub(crate) const CLIMB_MAX: f64 = 0.10;
/// How far above their median it may ever be.
pub(crate) const PEAK_MAX: f64 = 1.30;
/// By how much the most descriptors, threads or tasks of one time may be above the most of the time before.
pub(crate) const SPREAD: f64 = 40.0;
/// By how much the state folder may be above its limit, while it is tidied, in bytes.
pub(crate) const FOLDER_SPARE: u64 = 1 << 20;

pub(crate) const MIB: f64 = 1_048_576.0;

pub(crate) fn most(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    samples.iter().map(of).fold(0.0, f64::max)
}

/// How much the line of least squares climbs from the first value to the last.
pub(crate) fn climb(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let (mx, my) = ((n - 1.0) / 2.0, values.iter().sum::<f64>() / n);
    let (mut above, mut below) = (0.0, 0.0);
    for (x, y) in values.iter().enumerate() {
        above += (x as f64 - mx) * (y - my);
        below += (x as f64 - mx).powi(2);
    }
    above / below * (n - 1.0)
}

/// So many of a hundred are not above it; 0 where there are none.
pub(crate) fn percentile(sorted: &[f64], of_hundred: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let place = (last as f64 * of_hundred / 100.0).round() as usize;
    sorted.get(place).copied().unwrap_or_default()
}
