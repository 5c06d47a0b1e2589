//! Metrics as text, as Prometheus and whatever speaks OpenMetrics read it. Owns the two formats, and
//! nothing of what is told in them.
//!
//! Written here because the library for it has no way to hand over an exemplar that was not taken under
//! its own lock, and pages wait for no lock to be counted.

use std::fmt::Write as _;

use super::histogram::Counted;
use super::name::{BUCKETS, Kind, Metric};
use super::series::Series;

/// Which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0: with exemplars.
    OpenMetrics,
    /// The text format of Prometheus, version 0.0.4.
    Plain,
}

impl Format {
    /// The one that is asked for by an `Accept` header.
    pub fn accepted(accept: &str) -> Self {
        match accept.contains("application/openmetrics-text") {
            true => Self::OpenMetrics,
            false => Self::Plain,
        }
    }

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// What is being written.
#[derive(Debug)]
pub(super) struct Text {
    format: Format,
    text: String,
}

impl Text {
    /// Nothing yet.
    pub(super) fn new(format: Format) -> Self {
        let text = String::new();
        Self { format, text }
    }

    /// All of it.
    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text += "# EOF\n";
        }
        self.text
    }

    fn series(&mut self, metric: Metric, suffix: &str, values: &[&str], end: Option<&str>) {
        debug_assert_eq!(metric.labels().len(), values.len(), "{metric:?}");
        self.text += metric.name();
        self.text += suffix;
        let labels = metric.labels().iter().map(|label| label.name());
        let pairs = labels.zip(values.iter().copied());
        let mut before = '{';
        for (name, value) in pairs.chain(end.map(|end| ("le", end))) {
            self.text.push(before);
            before = ',';
            let _ = write!(self.text, "{name}=\"{}\"", escaped(value));
        }
        if before == ',' {
            self.text.push('}');
        }
    }
}

impl Series for Text {
    fn begin(&mut self, metric: Metric) {
        let suffix = match (self.format, metric.kind()) {
            (Format::Plain, Kind::Counter) => "_total",
            _ => "",
        };
        let (name, kind, help) = (metric.name(), metric.kind().label(), metric.help());
        let _ = writeln!(self.text, "# TYPE {name}{suffix} {kind}");
        if self.format == Format::OpenMetrics && name.ends_with("_seconds") {
            let _ = writeln!(self.text, "# UNIT {name} seconds");
        }
        let _ = writeln!(self.text, "# HELP {name}{suffix} {help}");
    }

    fn number(&mut self, metric: Metric, values: &[&str], number: f64) {
        let suffix = match metric.kind() {
            Kind::Counter => "_total",
            Kind::Gauge | Kind::Histogram => "",
        };
        self.series(metric, suffix, values, None);
        let _ = writeln!(self.text, " {number}");
    }

    fn histogram(&mut self, metric: Metric, values: &[&str], counted: &Counted) {
        for (bucket, up_to) in counted.up_to.iter().enumerate() {
            let end = BUCKETS.get(bucket);
            let end = end.map_or_else(|| "+Inf".to_owned(), |end| format!("{end:?}"));
            self.series(metric, "_bucket", values, Some(&end));
            let _ = write!(self.text, " {up_to}");
            if let (Format::OpenMetrics, Some(example)) = (self.format, counted.examples[bucket]) {
                let (trace_id, seconds) = (example.trace_id, example.seconds);
                let _ = write!(self.text, " # {{trace_id=\"{trace_id:032x}\"}} {seconds}");
            }
            self.text.push('\n');
        }
        let all = counted.up_to.last().copied().unwrap_or(0);
        self.series(metric, "_sum", values, None);
        let _ = writeln!(self.text, " {}", counted.sum);
        self.series(metric, "_count", values, None);
        let _ = writeln!(self.text, " {all}");
    }
}

fn escaped(value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    value.replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;
    use crate::telemetry::metrics::histogram::Histogram;
    use std::time::Duration;

    fn written(format: Format) -> String {
        let mut text = Text::new(format);
        text.begin(Metric::OriginRefused);
        text.number(Metric::OriginRefused, &["a\"b\\c\nd", "open"], 3.0);
        let histogram = Histogram::default();
        let page = (0xabc, Moment::default());
        histogram.add(Duration::from_millis(1), Some(page));
        text.begin(Metric::PageHead);
        text.histogram(Metric::PageHead, &["front"], &histogram.counted());
        text.begin(Metric::Theta);
        text.number(Metric::Theta, &[], 0.5);
        text.finish()
    }

    #[test]
    fn exemplars_are_only_where_they_are_understood() {
        let (plain, open) = (written(Format::Plain), written(Format::OpenMetrics));
        assert!(plain.contains("# TYPE marbre_origin_refused_total counter\n"));
        assert!(open.contains("# TYPE marbre_origin_refused counter\n"));
        let line = "marbre_origin_refused_total{origin=\"a\\\"b\\\\c\\nd\",cause=\"open\"} 3\n";
        let bucket = "marbre_page_head_seconds_bucket{page=\"front\",le=\"0.001\"} 1";
        let trace = " # {trace_id=\"00000000000000000000000000000abc\"} 0.001\n";
        for text in [&plain, &open] {
            assert!(text.contains(line), "{text}");
            assert!(text.contains("le=\"+Inf\"} 1\n"), "{text}");
            assert!(text.contains("\nmarbre_theta_ratio 0.5\n"), "{text}");
        }
        assert!(plain.contains(&format!("{bucket}\n")), "{plain}");
        assert!(open.contains(&format!("{bucket}{trace}")), "{open}");
        assert!(open.contains("# UNIT marbre_page_head_seconds seconds\n"));
        assert!(open.ends_with("# EOF\n") && !plain.contains("EOF"));
    }

    #[test]
    fn who_asks_for_nothing_special_gets_the_plain_text() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3";
        assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
        assert_eq!(Format::accepted("*/*"), Format::Plain);
        assert_eq!(Format::accepted(""), Format::Plain);
    }
}
