//! A stand-in for an OpenTelemetry collector: what an origin was sent, unpacked and read.

use std::collections::BTreeMap;
use std::io::Read as _;

use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::{HistogramDataPoint, metric, number_data_point};
use prost::Message as _;

use super::Origin;

/// Where a collector takes metrics.
pub(crate) const METRICS: &str = "/v1/metrics";

/// What it was sent last, unpacked as its head says.
pub(crate) fn received(from: &Origin, target: &str) -> Vec<u8> {
    let (head, body) = (from.last_head(target), from.last_body(target));
    let (head, body) = head.zip(body).expect("something was exported");
    if !head.to_lowercase().contains("content-encoding: gzip") {
        return body;
    }
    let mut plain = Vec::new();
    GzDecoder::new(&body[..])
        .read_to_end(&mut plain)
        .expect("it is gzip");
    plain
}

/// The metrics that it was sent last: the series as `/metrics` writes them, and their numbers.
pub(crate) fn series(from: &Origin) -> BTreeMap<String, f64> {
    let body = received(from, METRICS);
    let request = ExportMetricsServiceRequest::decode(&body[..]).expect("OTLP");
    let mut series = BTreeMap::new();
    let scopes = request.resource_metrics.into_iter();
    let scopes = scopes.flat_map(|resource| resource.scope_metrics);
    for told in scopes.flat_map(|scope| scope.metrics) {
        let name = told.name;
        let (points, suffix) = match told.data.expect("a metric has data") {
            metric::Data::Sum(sum) => (sum.data_points, "_total"),
            metric::Data::Gauge(gauge) => (gauge.data_points, ""),
            metric::Data::Histogram(histogram) => {
                for point in histogram.data_points {
                    add_histogram(&mut series, &name, &point);
                }
                continue;
            }
            other @ (metric::Data::ExponentialHistogram(_) | metric::Data::Summary(_)) => {
                panic!("{name} is {other:?}")
            }
        };
        for point in points {
            let Some(number_data_point::Value::AsDouble(number)) = point.value else {
                panic!("{name} has no number");
            };
            series.insert(named(&name, suffix, &point.attributes, None), number);
        }
    }
    series
}

fn add_histogram(series: &mut BTreeMap<String, f64>, name: &str, point: &HistogramDataPoint) {
    let ends = point.explicit_bounds.iter().map(|end| format!("{end:?}"));
    let ends = ends.chain(["+Inf".to_owned()]);
    let mut up_to = 0;
    for (end, count) in ends.zip(&point.bucket_counts) {
        up_to += count;
        let name = named(name, "_bucket", &point.attributes, Some(&end));
        series.insert(name, up_to as f64);
    }
    let sum = point.sum.expect("a histogram has a sum");
    series.insert(named(name, "_sum", &point.attributes, None), sum);
    let count = named(name, "_count", &point.attributes, None);
    series.insert(count, point.count as f64);
}

fn named(name: &str, suffix: &str, attributes: &[KeyValue], end: Option<&str>) -> String {
    let text = |attribute: &KeyValue| {
        let Value::StringValue(text) = attribute.value.as_ref()?.value.as_ref()? else {
            return None;
        };
        Some(format!("{}=\"{text}\"", attribute.key))
    };
    let labels = attributes
        .iter()
        .map(|a| text(a).expect("a label is a text"));
    let labels = labels.chain(end.map(|end| format!("le=\"{end}\"")));
    match labels.collect::<Vec<_>>() {
        labels if labels.is_empty() => format!("{name}{suffix}"),
        labels => format!("{name}{suffix}{{{}}}", labels.join(",")),
    }
}
