//! The floors of the architecture, held by reading the `use` lines: a module imports lower floors
//! only, never a neighbour and never upwards; what is pure stays pure; nothing is a junk drawer.

#![allow(clippy::unwrap_used, reason = "a test that fails is meant to panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up. What stands on one line does not know its neighbours.
const FLOORS: [&[&str]; 8] = [
    &["fragment", "clock", "state_file", "stitch", "striped"],
    &["layout", "degradation"],
    &["site", "report"],
    &["plan", "cache", "fetch", "render"],
    &["compose", "config", "telemetry", "switchboard", "chaos"],
    &["server", "admin", "simulate", "experiment"],
    &["app", "demo"],
    &["cli", "main", "fuzzing"],
];

/// Files and folders whose code takes time and chance as arguments and touches nothing outside.
const PURE: &[&str] = &[
    "fragment",
    "fragment.rs",
    "stitch/crc.rs",
    "layout",
    "layout.rs",
    "degradation/arrivals.rs",
    "degradation/costs.rs",
    "degradation/governor.rs",
    "degradation/ladder.rs",
    "degradation/law.rs",
    "degradation/law",
    "degradation/level.rs",
    "degradation/line.rs",
    "degradation/meters.rs",
    "degradation/mode.rs",
    "degradation/reading.rs",
    "degradation/sample.rs",
    "degradation/share.rs",
    "degradation/switches",
    "degradation/strain.rs",
    "degradation/strain/seen.rs",
    "degradation/switches.rs",
    "site",
    "report",
    "report.rs",
    "plan",
    "plan.rs",
    "cache/freshness.rs",
    "cache/entry.rs",
    "cache/frame.rs",
    "cache/key.rs",
    "cache/newer.rs",
    "cache/purge.rs",
    "cache/shared/breaker.rs",
    "cache/surrogate.rs",
    "compose/weave/address.rs",
    "cache/shared/keys.rs",
    "cache/shared/queue.rs",
    "cache/shared/stamp.rs",
    "fetch/dns/known.rs",
    "compose/flight/pause.rs",
    "fetch/balance.rs",
    "fetch/breaker.rs",
    "fetch/budget.rs",
    "fetch/bulkhead.rs",
    "fetch/canary.rs",
    "fetch/guards.rs",
    "fetch/latency.rs",
    "fetch/limiter.rs",
    "fetch/limiter",
    "fetch/replica.rs",
    "fetch/retry.rs",
    "fetch/shared_fault.rs",
    "fetch/verdict.rs",
    "fetch/window.rs",
    "render",
    "chaos/faults.rs",
    "experiment",
    "chaos/wanted.rs",
    "config/validate",
    "config/diagnose",
    "config/diff",
    "config/diff.rs",
    "compose/hints.rs",
    "compose/reuse.rs",
    "server/conditional.rs",
    "server/forwarded.rs",
    "server/keeping.rs",
    "server/reader.rs",
    "admin/openapi.rs",
    "admin/words.rs",
    "telemetry/access/record.rs",
    "demo/incident/compare.rs",
    "demo/incident/seen.rs",
    "demo/incident/stage.rs",
    "telemetry/traces/allowance.rs",
    "telemetry/traces/spans.rs",
    "telemetry/alerts.rs",
    "telemetry/alerts",
    "telemetry/amount.rs",
    "telemetry/muted.rs",
    "telemetry/named.rs",
    "telemetry/resource.rs",
    "telemetry/metrics.rs",
    "telemetry/metrics",
    "telemetry/slo.rs",
    "telemetry/slo/burn.rs",
    "telemetry/slo/judge.rs",
    "telemetry/slo/record.rs",
    "telemetry/slo/ring.rs",
    "telemetry/slo/state.rs",
    "telemetry/slo/windows.rs",
    "switchboard/held.rs",
    "switchboard/ledger.rs",
    "switchboard/record.rs",
    "switchboard/shown.rs",
    "telemetry/journal/entry.rs",
    "telemetry/journal/pending.rs",
    "telemetry/journal/postmortem.rs",
    "telemetry/journal/summary.rs",
];

const IMPURE_WORDS: [&str; 8] = [
    "tokio",
    "async ",
    "reqwest",
    "std::fs",
    "std::net::Tcp",
    "::now()",
    "fastrand",
    "tracing",
];

fn sources() -> BTreeMap<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.insert(path.strip_prefix(&root).unwrap().to_owned(), text);
            }
        }
    }
    assert!(found.len() > 40, "the sources are where they were");
    found
}

fn floor(module: &str) -> usize {
    FLOORS
        .iter()
        .position(|floor| floor.contains(&module))
        .unwrap_or_else(|| panic!("`{module}` has no floor: give it one in tests/architecture.rs"))
}

fn module_of(path: &Path) -> String {
    let first = path
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// The code without comments and without what stands after `#[cfg(test)]`.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]").next().unwrap();
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn imports_never_climb() {
    let mut climbs = Vec::new();
    for (path, text) in sources() {
        let from = module_of(&path);
        if from == "lib" {
            continue;
        }
        for rest in code(&text).split("crate::").skip(1) {
            let to: String = rest
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            if to == from || to.is_empty() {
                continue;
            }
            if floor(&to) >= floor(&from) {
                climbs.push(format!(
                    "{} (floor {}) imports {to} (floor {})",
                    path.display(),
                    floor(&from),
                    floor(&to)
                ));
            }
        }
    }
    assert!(climbs.is_empty(), "\n{}", climbs.join("\n"));
}

#[test]
fn pure_files_touch_nothing_outside() {
    let mut found = Vec::new();
    let mut seen = 0;
    for (path, text) in sources() {
        if !PURE.iter().any(|pure| path.starts_with(pure)) {
            continue;
        }
        seen += 1;
        for (number, line) in code(&text).lines().enumerate() {
            for word in IMPURE_WORDS.iter().filter(|word| line.contains(**word)) {
                found.push(format!(
                    "{}: line {} says `{word}`",
                    path.display(),
                    number + 1
                ));
            }
        }
    }
    assert!(seen > 20, "the pure files are where they were");
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn only_the_clock_reads_the_time() {
    for (path, text) in sources() {
        if path == Path::new("clock.rs") {
            continue;
        }
        for call in ["Instant::now()", "SystemTime::now()"] {
            assert!(
                !code(&text).contains(call),
                "{} calls {call}",
                path.display()
            );
        }
    }
}

#[test]
fn only_the_origin_seam_reaches_the_network() {
    for (path, text) in sources() {
        // the last two are no part of a server: they ask one, as an operator would with curl, and as
        // readers do
        let may = [
            "fetch/http.rs",
            "fetch/dns.rs",
            "server/accept.rs",
            "telemetry/collector.rs",
            "cli/operator.rs",
            "cli/chaos/client.rs",
        ]
        .iter()
        .any(|may| path == Path::new(may))
            // what comes before HTTP on a connection that has been accepted
            || path.starts_with("server/accept")
            || path.starts_with("fetch/http")
            || path.starts_with("demo");
        for word in ["reqwest::", "TcpStream", "lookup_host"] {
            assert!(
                may || !code(&text).contains(word),
                "{} uses {word}",
                path.display()
            );
        }
    }
}

#[test]
fn only_its_client_knows_the_shared_store() {
    for (path, text) in sources() {
        let may = path.starts_with("cache/shared") || path == Path::new("cache/shared.rs");
        assert!(
            may || !code(&text).contains("redis::"),
            "{} uses redis::",
            path.display()
        );
    }
}

#[test]
fn no_junk_drawers_and_a_module_doc_in_every_file() {
    for (path, text) in sources() {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let drawers = [
            "mod", "util", "utils", "common", "helper", "helpers", "types", "misc",
        ];
        assert!(
            !drawers.contains(&name.as_str()),
            "{} is a junk drawer",
            path.display()
        );
        assert!(
            text.starts_with("//!"),
            "{} has no module doc",
            path.display()
        );
    }
}
