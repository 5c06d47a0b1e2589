//! `[telemetry]`: what is sent to collectors, what is written down of each request, and who may see how a
//! page was made. Owns what a collector must be, where records may go, and what a secret must be.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue, Uri};

use super::Context;
use super::secrets::{self, Keys, LENGTH_MIN};
use super::settings::{bytes, expand, place};
use crate::config::diagnose::{Diagnostic, FileId};
use crate::config::file::{self, At, Secret};
use crate::config::read::Declared;
use crate::site::{
    AccessLogSettings, AccessTarget, ClientShown, CollectorSettings, DebugSecret, LineFormat,
    MetricSettings, RecentSettings, TraceSettings,
};

/// Headers of one collector.
const HEADERS_MAX: usize = 16;

/// What is sent with each request anyway, or would break it.
const NOT_TO_BE_SET: [&str; 7] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
];

/// What is sent, and where to. What was reported is left out.
pub(super) struct Observing {
    pub(super) traces: Option<TraceSettings>,
    pub(super) metrics: Option<MetricSettings>,
}

pub(super) fn telemetry(declared: &Declared, cx: &mut Context<'_>) -> Observing {
    let (telemetry, main) = (&declared.telemetry, declared.main);
    if !*telemetry.enabled {
        cx.report(
            Diagnostic::warning("nothing is counted of pages")
                .at(place(&telemetry.enabled, main), "telemetry is off")
                .help("this is for measuring what it costs: alerts, charts and post-mortems stay empty"),
        );
    }
    let (traces, metrics) = (&telemetry.traces, &telemetry.metrics);
    let traces_to = Written {
        table: "[telemetry.traces]",
        example: "http://127.0.0.1:4318/v1/traces",
        endpoint: traces.endpoint.as_ref(),
        headers: &traces.headers,
        header_files: &traces.header_files,
        is_packed: *traces.gzip,
    };
    let metrics_to = Written {
        table: "[telemetry.metrics]",
        example: "http://127.0.0.1:4318/v1/metrics",
        endpoint: metrics.endpoint.as_ref(),
        headers: &metrics.headers,
        header_files: &metrics.header_files,
        is_packed: *metrics.gzip,
    };
    Observing {
        traces: traces_to
            .collector(main, cx)
            .map(|collector| TraceSettings {
                collector,
                sample: *traces.sample,
                slow: traces.slow.0,
                notable_max: *traces.notable_max,
            }),
        metrics: metrics_to
            .collector(main, cx)
            .map(|collector| MetricSettings {
                collector,
                interval: metrics.interval.0,
            }),
    }
}

/// A collector as it is written.
struct Written<'d> {
    table: &'static str,
    example: &'static str,
    endpoint: Option<&'d At<Secret>>,
    headers: &'d BTreeMap<String, At<Secret>>,
    header_files: &'d BTreeMap<String, At<String>>,
    is_packed: bool,
}

impl Written<'_> {
    fn collector(&self, main: FileId, cx: &mut Context<'_>) -> Option<CollectorSettings> {
        // what is wrong with them is told, also of a collector that cannot be reached
        let headers = self.headers(main, cx);
        let table = self.table;
        let Some(endpoint) = self.endpoint else {
            let written = self.headers.values().map(|value| place(value, main));
            let named = self.header_files.values().map(|file| place(file, main));
            if let Some(at) = written.chain(named).next() {
                cx.report(
                    Diagnostic::warning(format!("`{table}` does not say where the collector is"))
                        .at(at, "nobody is sent this")
                        .help(format!("for example `endpoint = \"{}\"`", self.example)),
                );
            }
            return None;
        };
        let place = place(endpoint, main);
        let url = expand(endpoint, &place, cx)?;
        let uri = url.parse::<Uri>().ok();
        let is_web = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https"));
        let has_host = |uri: &Uri| uri.host().is_some_and(|host| !host.is_empty());
        if !uri.is_some_and(|uri| is_web(&uri) && has_host(&uri)) {
            cx.report(
                Diagnostic::error(format!("the collector of `{table}` cannot be reached"))
                    .at(place, "no http:// or https:// address")
                    .help(format!("for example `{}`", self.example)),
            );
            return None;
        }
        Some(CollectorSettings {
            endpoint: url,
            headers,
            is_packed: self.is_packed,
        })
    }

    fn headers(&self, main: FileId, cx: &mut Context<'_>) -> Vec<(String, String)> {
        let mut headers = Vec::new();
        let written = self.headers.iter();
        let written = written.map(|(name, value)| (name, place(value, main), Header::Is(value)));
        let named = self.header_files.iter();
        let named = named.map(|(name, file)| (name, place(file, main), Header::IsIn(file)));
        for (index, (name, at, value)) in written.chain(named).enumerate() {
            if index == HEADERS_MAX {
                cx.report(
                    Diagnostic::error(format!("`{}` has too many headers", self.table))
                        .at(at, format!("at most {HEADERS_MAX}")),
                );
                break;
            }
            let lower = name.to_ascii_lowercase();
            if HeaderName::try_from(name.as_str()).is_err()
                || NOT_TO_BE_SET.contains(&lower.as_str())
            {
                cx.report(
                    Diagnostic::error(format!("`{name}` cannot be sent to a collector"))
                        .at(at, "marbre sets this header itself")
                        .help("headers are for what the collector knows senders by"),
                );
                continue;
            }
            if headers.iter().any(|(known, _)| *known == lower) {
                cx.report(
                    Diagnostic::error(format!("`{name}` is there twice"))
                        .at(at, "which of the two is it?")
                        .help("have it in `headers` or in `header_files`"),
                );
                continue;
            }
            let text = match value {
                Header::Is(text) => expand(text, &at, cx),
                Header::IsIn(file) => {
                    secrets::of_file(name, file, main, cx).map(|found| found.text)
                }
            };
            let Some(text) = text else {
                continue;
            };
            if text.is_empty() || HeaderValue::try_from(text.as_str()).is_err() {
                // what it holds is not repeated
                cx.report(
                    Diagnostic::error(format!("the value of `{name}` cannot be sent")).at(
                        at,
                        "it is empty, or holds letters that a header cannot carry",
                    ),
                );
                continue;
            }
            headers.push((lower, text));
        }
        headers
    }
}

/// Where the value of a header is.
enum Header<'d> {
    Is(&'d At<Secret>),
    IsIn(&'d At<String>),
}

/// How lines of the log look.
pub(super) fn log(declared: &Declared) -> LineFormat {
    format(*declared.telemetry.log.format)
}

fn format(written: file::LineFormat) -> LineFormat {
    match written {
        file::LineFormat::Auto => LineFormat::Auto,
        file::LineFormat::Human => LineFormat::Human,
        file::LineFormat::Json => LineFormat::Json,
    }
}

/// `None` within for a place that was reported, and where there is to be no access log.
pub(super) fn access_log(
    declared: &Declared,
    cx: &mut Context<'_>,
) -> Option<Option<AccessLogSettings>> {
    let (log, main) = (&declared.telemetry.access_log, declared.main);
    let to = match log.to.as_str() {
        "off" => return Some(None),
        "stdout" => AccessTarget::Stdout,
        text => match text.strip_prefix("file:").filter(|path| !path.is_empty()) {
            Some(path) => AccessTarget::File(cx.root.join(path)),
            None => {
                let help = match text.contains(['/', '.']) {
                    true => format!("write `file:{}`", text.trim_start_matches("file:")),
                    false => "write \"off\", \"stdout\" or \"file:access.log\"".to_owned(),
                };
                cx.report(
                    Diagnostic::error("the access log cannot go there")
                        .at(place(&log.to, main), "neither `off`, `stdout` nor a file")
                        .help(help),
                );
                return None;
            }
        },
    };
    Some(Some(AccessLogSettings {
        to,
        format: format(*log.format),
        sample: *log.sample,
        slow: log.slow.0,
        query: *log.query,
        client: match *log.client {
            file::ClientShown::Off => ClientShown::Off,
            file::ClientShown::Truncated => ClientShown::Truncated,
            file::ClientShown::Full => ClientShown::Full,
        },
    }))
}

pub(super) fn recent(declared: &Declared) -> RecentSettings {
    let recent = &declared.telemetry.recent;
    RecentSettings {
        bytes_max: bytes(&recent.size),
        sample: *recent.sample,
        sample_max: *recent.sample_max,
        slow: recent.slow.0,
        notable_max: *recent.notable_max,
    }
}

/// `None` within for a secret that was reported.
pub(super) fn debug(declared: &Declared, cx: &mut Context<'_>) -> Option<Option<DebugSecret>> {
    let telemetry = &declared.telemetry;
    let keys = Keys {
        name: "debug_secret",
        written: telemetry.debug_secret.as_ref(),
        file: telemetry.debug_secret_file.as_ref(),
    };
    if !keys.is_declared() {
        return None;
    }
    Some(debug_secret(&keys, declared.main, cx))
}

fn debug_secret(keys: &Keys<'_>, main: FileId, cx: &mut Context<'_>) -> Option<DebugSecret> {
    let found = keys.read(main, cx)??;
    if !found.is_long {
        // whoever has one token can try all short secrets at leisure
        cx.report(
            Diagnostic::error("`debug_secret` cannot be used")
                .at(
                    found.place,
                    format!("it has fewer than {LENGTH_MIN} characters, and can be guessed"),
                )
                .help("for example what `openssl rand -hex 32` prints"),
        );
        return None;
    }
    Some(DebugSecret::new(found.text))
}
