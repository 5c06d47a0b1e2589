//! How series are told to whoever writes them down. Owns nothing but the order: a metric is begun, and
//! then come all of its series.

use super::histogram::Counted;
use super::name::Metric;

/// Writes series down, in one format or another.
pub(super) trait Series {
    /// Begins a metric.
    fn begin(&mut self, metric: Metric);
    /// A series that is one number, its values in the order of the metric's labels.
    fn number(&mut self, metric: Metric, values: &[&str], number: f64);
    /// A histogram.
    fn histogram(&mut self, metric: Metric, values: &[&str], counted: &Counted);
}
