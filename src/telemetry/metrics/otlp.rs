//! Metrics as OpenTelemetry collectors take them. Owns how series become data points; the same series as
//! in the text formats, under the same names. Pure.
//!
//! Sums are cumulative, from the start of the process: an export that is lost loses no count.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, Gauge, Histogram, HistogramDataPoint, Metric as Told,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exemplar, metric, number_data_point,
};
use prost::Message as _;

use super::histogram::{Counted, Example};
use super::name::{BUCKETS, Kind, Metric};
use super::series::Series;
use crate::clock::Moment;
use crate::telemetry::resource;

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// What is being told.
#[derive(Debug)]
pub(super) struct Otlp {
    started_ns: u64,
    now_ns: u64,
    metrics: Vec<Told>,
}

impl Otlp {
    /// Nothing yet, of a process that has been up for so long.
    pub(super) fn new(now: Moment, uptime: Duration) -> Self {
        let now_ns = nanos(now);
        let up = u64::try_from(uptime.as_nanos()).unwrap_or(u64::MAX);
        Self {
            started_ns: now_ns.saturating_sub(up),
            now_ns,
            metrics: Vec::new(),
        }
    }

    /// All of it, in protobuf. A metric without series is left out.
    pub(super) fn finish(mut self, instance: &str) -> Vec<u8> {
        self.metrics.retain(|told| !is_empty(told));
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(resource::resource(instance)),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(resource::scope()),
                    metrics: self.metrics,
                    ..ScopeMetrics::default()
                }],
                ..ResourceMetrics::default()
            }],
        };
        request.encode_to_vec()
    }

    fn data(&mut self) -> Option<&mut metric::Data> {
        self.metrics.last_mut()?.data.as_mut()
    }
}

impl Series for Otlp {
    fn begin(&mut self, metric: Metric) {
        let data = match metric.kind() {
            Kind::Counter => metric::Data::Sum(Sum {
                aggregation_temporality: CUMULATIVE,
                is_monotonic: true,
                ..Sum::default()
            }),
            Kind::Gauge => metric::Data::Gauge(Gauge::default()),
            Kind::Histogram => metric::Data::Histogram(Histogram {
                aggregation_temporality: CUMULATIVE,
                ..Histogram::default()
            }),
        };
        self.metrics.push(Told {
            name: metric.name().to_owned(),
            description: metric.help().to_owned(),
            unit: unit(metric).to_owned(),
            data: Some(data),
            ..Told::default()
        });
    }

    fn number(&mut self, metric: Metric, values: &[&str], number: f64) {
        let since = match metric.kind() {
            Kind::Counter => self.started_ns,
            Kind::Gauge | Kind::Histogram => 0,
        };
        let point = NumberDataPoint {
            attributes: attributes(metric, values),
            start_time_unix_nano: since,
            time_unix_nano: self.now_ns,
            value: Some(number_data_point::Value::AsDouble(number)),
            ..NumberDataPoint::default()
        };
        match self.data() {
            Some(metric::Data::Sum(sum)) => sum.data_points.push(point),
            Some(metric::Data::Gauge(gauge)) => gauge.data_points.push(point),
            _ => debug_assert!(false, "{metric:?} was not begun"),
        }
    }

    fn histogram(&mut self, metric: Metric, values: &[&str], counted: &Counted) {
        let mut before = 0;
        let counts = counted.up_to.map(|up_to| {
            let count = up_to - before;
            before = up_to;
            count
        });
        let point = HistogramDataPoint {
            attributes: attributes(metric, values),
            start_time_unix_nano: self.started_ns,
            time_unix_nano: self.now_ns,
            count: before,
            sum: Some(counted.sum),
            bucket_counts: counts.to_vec(),
            explicit_bounds: BUCKETS.to_vec(),
            exemplars: counted.examples.iter().flatten().map(exemplar).collect(),
            ..HistogramDataPoint::default()
        };
        match self.data() {
            Some(metric::Data::Histogram(histogram)) => histogram.data_points.push(point),
            _ => debug_assert!(false, "{metric:?} was not begun"),
        }
    }
}

fn is_empty(told: &Told) -> bool {
    match &told.data {
        Some(metric::Data::Sum(sum)) => sum.data_points.is_empty(),
        Some(metric::Data::Gauge(gauge)) => gauge.data_points.is_empty(),
        Some(metric::Data::Histogram(histogram)) => histogram.data_points.is_empty(),
        Some(metric::Data::ExponentialHistogram(_) | metric::Data::Summary(_)) | None => true,
    }
}

fn attributes(metric: Metric, values: &[&str]) -> Vec<KeyValue> {
    let labels = metric.labels().iter().map(|label| label.name());
    let pairs = labels.zip(values);
    pairs
        .map(|(name, value)| resource::text(name, value))
        .collect()
}

fn exemplar(example: &Example) -> Exemplar {
    Exemplar {
        time_unix_nano: nanos(example.at),
        trace_id: example.trace_id.to_be_bytes().to_vec(),
        value: Some(exemplar::Value::AsDouble(example.seconds)),
        ..Exemplar::default()
    }
}

/// In the words of UCUM, as OpenTelemetry asks for.
fn unit(metric: Metric) -> &'static str {
    match metric.name() {
        name if name.ends_with("_seconds") => "s",
        name if name.ends_with("_bytes") => "By",
        _ => "1",
    }
}

fn nanos(at: Moment) -> u64 {
    at.micros().saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::histogram;

    #[test]
    fn series_keep_their_names_kinds_and_numbers() {
        let now = Moment::from_micros(10_000_000);
        let mut otlp = Otlp::new(now, Duration::from_secs(4));
        otlp.begin(Metric::Reloads);
        otlp.number(Metric::Reloads, &["ok"], 3.0);
        otlp.begin(Metric::Theta);
        let times = histogram::Histogram::default();
        times.add(Duration::from_millis(2), Some((0xab, now)));
        times.add(Duration::from_secs(60), None);
        otlp.begin(Metric::PageHead);
        otlp.histogram(Metric::PageHead, &["front"], &times.counted());
        let bytes = otlp.finish("node-1");
        let told = ExportMetricsServiceRequest::decode(&bytes[..]).unwrap();
        let metrics = &told.resource_metrics[0].scope_metrics[0].metrics;
        let names: Vec<_> = metrics
            .iter()
            .map(|told| (&*told.name, &*told.unit))
            .collect();
        // what has no series is not told of
        assert_eq!(
            names,
            [("marbre_reloads", "1"), ("marbre_page_head_seconds", "s")]
        );
        let Some(metric::Data::Sum(sum)) = &metrics[0].data else {
            panic!("{metrics:?}");
        };
        assert!(sum.is_monotonic && sum.aggregation_temporality == CUMULATIVE);
        let point = &sum.data_points[0];
        let span = (point.start_time_unix_nano, point.time_unix_nano);
        assert_eq!(span, (6_000_000_000, 10_000_000_000));
        assert_eq!(point.attributes, [resource::text("result", "ok")]);
        let Some(metric::Data::Histogram(histogram)) = &metrics[1].data else {
            panic!("{metrics:?}");
        };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum), (2, Some(60.002)));
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!((point.bucket_counts[1], point.bucket_counts[14]), (1, 1));
        assert_eq!(point.exemplars[0].trace_id, 0xab_u128.to_be_bytes());
    }
}
