//! The reference is what the program says of itself: every key of `fragments.toml` from its schema, every metric
//! from their list, every address for operators from the OpenAPI document, every command from its help. What
//! is committed in `docs/reference/` is what is made of them now.
//!
//! `MARBRE_REWRITE=1 cargo test --test it reference` writes it anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::Command;

use marbre::fragment::Grade;
use marbre::report::{BreakerState, Cause, Found, Loss, Outcome, Tier};
use marbre::site::chaos::HarmKind;
use marbre::telemetry::metrics::Metric;
use marbre::telemetry::metrics::name::{
    BUCKETS, CALLS, COMPLETENESS, DELIVERIES, Kind, Label, PAGES_SHED, REFUSALS, RESULTS, SHED,
};
use marbre::telemetry::slo::burn::WINDOWS;
use regex::Regex;
use serde_json::{Map, Value};

use crate::support::newspaper::repository;
use crate::words::Demo;

const BINARY: &str = env!("CARGO_BIN_EXE_marbre");

/// Holds what is made against what is committed.
#[track_caller]
fn is_committed(name: &str, made: &str) {
    let path = repository().join("docs/reference").join(name);
    if std::env::var_os("MARBRE_REWRITE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = made.lines().zip(kept.lines()).find(|(a, b)| a != b);
    assert!(
        made == kept,
        "docs/reference/{name} is not what the program says, first here: {differs:#?}\n\
         MARBRE_REWRITE=1 cargo test --test it reference writes it anew"
    );
}

/// For a cell of a table: one line, and no `|` of its own.
fn cell(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

fn text<'a>(node: &'a Value, key: &str) -> &'a str {
    node[key].as_str().unwrap_or_default()
}

/// A value as it is written in TOML.
fn written(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(written).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(keys) => {
            let pairs = keys
                .iter()
                .map(|(key, value)| format!("{key} = {}", written(value)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => value.to_string(),
    }
}

/// The keys of a table, and the tables in it.
struct Table<'s> {
    heading: String,
    node: &'s Value,
}

/// What the values of a map are described by, whatever they are called.
fn named(node: &Value) -> Option<&Value> {
    let patterns = node["patternProperties"].as_object();
    let of_pattern = patterns.and_then(|patterns| patterns.values().next());
    of_pattern.or_else(|| {
        node.get("additionalProperties")
            .filter(|value| value.is_object())
    })
}

/// The tables that a value may be, by what is written for one of them.
fn tables<'s>(path: &str, node: &'s Value) -> Vec<Table<'s>> {
    let heading = format!("[{path}]");
    if node["properties"]
        .as_object()
        .is_some_and(|keys| !keys.is_empty())
    {
        return vec![Table { heading, node }];
    }
    if let Some(of_each) = named(node) {
        return tables(&format!("{path}.NAME"), of_each);
    }
    if let Some(items) = node.get("items") {
        let found = tables(path, items).into_iter();
        return found
            .map(|table| Table {
                heading: format!("[{}]", table.heading),
                ..table
            })
            .collect();
    }
    let either = node["anyOf"].as_array().into_iter().flatten();
    either.flat_map(|one| tables(path, one)).collect()
}

/// What may be written, in words.
fn kind(node: &Value) -> String {
    if let Some(either) = node["anyOf"].as_array() {
        let kinds: Vec<String> = either.iter().map(kind).collect();
        return kinds.join(" or ");
    }
    if let Some(words) = node["enum"].as_array() {
        let words: Vec<String> = words
            .iter()
            .map(|word| format!("`{}`", written(word)))
            .collect();
        return words.join(", ");
    }
    let between = |low: &Value, high: &Value| match (low.is_null(), high.is_null()) {
        (true, true) => String::new(),
        (false, true) => format!(", from {low}"),
        (true, false) => format!(", to {high}"),
        (false, false) => format!(", {low} to {high}"),
    };
    let range = match node["x-range"].as_array().map(Vec::as_slice) {
        Some([low, high]) => format!(", {} to {}", low.as_str().unwrap(), high.as_str().unwrap()),
        _ => between(&node["minimum"], &node["maximum"]),
    };
    let name = match (text(node, "type"), text(node, "format")) {
        (_, "duration-text") => "duration",
        (_, "size-text") => "size",
        ("string", _) => "text",
        ("integer", _) => "whole number",
        ("number", _) => "number",
        ("boolean", _) => "`true` or `false`",
        ("array", _) => return format!("list of: {}", kind(&node["items"])),
        ("object", _) => match named(node) {
            Some(of_each) => return format!("names, each with: {}", kind(of_each)),
            None => "table",
        },
        (other, _) => panic!("a kind of value without a word: {other} {node}"),
    };
    format!("{name}{range}")
}

fn section(page: &mut String, table: &Table<'_>, level: usize) {
    let Table { heading, node } = table;
    let shown = match heading.starts_with('[') {
        true => format!("`{heading}`"),
        false => heading.clone(),
    };
    let _ = writeln!(page, "\n{} {shown}\n", "#".repeat(level));
    if !text(node, "description").is_empty() {
        let _ = writeln!(page, "{}\n", text(node, "description"));
    }
    let required = node["required"].as_array();
    let path = heading.trim_matches(['[', ']']);
    let mut within = Vec::new();
    *page += "| key | value | unless given | |\n|---|---|---|---|\n";
    for (key, value) in node["properties"].as_object().unwrap() {
        let is_required = required.is_some_and(|keys| keys.iter().any(|known| known == key));
        let default = match (value.get("default"), is_required) {
            (_, true) => "required".to_owned(),
            // a table says what it is unless given, key by key
            (Some(Value::Object(_)) | None, _) => String::new(),
            (Some(default), _) => format!("`{}`", written(default)),
        };
        let mut said = cell(text(value, "description"));
        let example = value["examples"]
            .as_array()
            .and_then(|examples| examples.first());
        let is_plain = matches!(text(value, "format"), "duration-text" | "size-text");
        if let Some(example) = example.filter(|_| !is_plain) {
            let _ = write!(said, " For example `{}`.", cell(&written(example)));
        }
        let found = tables(&format!("{path}.{key}"), value);
        let _ = writeln!(
            page,
            "| `{key}` | {} | {} | {said} |",
            cell(&kind(value)),
            cell(&default)
        );
        within.extend(found);
    }
    for table in &within {
        section(page, table, level + 1);
    }
}

/// Each key that there is, as often as there is one.
fn keys(node: &Value, found: &mut Vec<String>) {
    match node {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get("properties") {
                found.extend(properties.keys().cloned());
            }
            map.values().for_each(|value| keys(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {}
    }
}

#[test]
fn every_key_of_a_declaration_is_in_the_reference() {
    let schema = marbre::config::schema();
    let mut page = "# Every key of fragments.toml\n\n\
        Made of the types that read the file: `marbre schema` prints the same for editors, and `marbre check` holds \
        files against it. How the keys go together is said in [A site](../site.md).\n\n"
        .to_owned();
    let _ = writeln!(page, "{}", text(&schema, "description"));
    let top = schema["properties"].as_object().unwrap();
    let plain: Map<String, Value> = top
        .iter()
        .filter(|(key, value)| tables(key, value).is_empty())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let plain = serde_json::json!({ "properties": plain });
    section(
        &mut page,
        &Table {
            heading: "At the top".to_owned(),
            node: &plain,
        },
        2,
    );
    for (key, value) in top {
        for table in tables(key, value) {
            section(&mut page, &table, 2);
        }
    }
    // the page is made by walking the schema one way; what it holds is counted another way
    let mut expected = Vec::new();
    keys(&schema, &mut expected);
    let row = Regex::new(r"(?m)^\| `([^`]+)` \|").unwrap();
    let mut shown: Vec<String> = row
        .captures_iter(&page)
        .map(|found| found[1].to_owned())
        .collect();
    let of_tables = top
        .iter()
        .filter(|(key, value)| !tables(key, value).is_empty());
    shown.extend(of_tables.map(|(key, _)| key.clone()));
    expected.sort();
    shown.sort();
    assert_eq!(shown, expected);
    assert!(expected.len() > 150);
    is_committed("fragments-toml.md", &page);
}

/// What the values of a label are.
fn values(label: Label) -> String {
    let words = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        words.join(", ")
    };
    let all = |labels: Vec<&str>| words(&labels);
    match label {
        Label::Page => {
            "a page of the site, or the route of a proxy whose documents are woven".into()
        }
        Label::Level => "a level of the ladder; one more than it has for snapshots".into(),
        Label::Fragment => "a fragment of the site".into(),
        Label::Origin => "an origin of the site".into(),
        Label::Replica => "a replica of an origin that has several, as it is declared".into(),
        Label::Harm => all(HarmKind::ALL.iter().map(|(_, word)| *word).collect()),
        Label::FaultOn => {
            "an origin or a fragment of the site, `origin NAME` or `fragment NAME`, or `the shared store`".into()
        }
        Label::Slo => "an objective of the site".into(),
        Label::Version => "the version of the program".into(),
        Label::Completeness => words(&COMPLETENESS),
        Label::Outcome => words(&Outcome::LABELS),
        Label::Cause => words(&Cause::LABELS),
        Label::Loss => words(&Loss::LABELS),
        Label::Shed => words(&SHED),
        Label::PageShed => words(&PAGES_SHED),
        Label::Call => words(&CALLS),
        Label::Delivery => words(&DELIVERIES),
        Label::Refusal => words(&REFUSALS),
        Label::Result => words(&RESULTS),
        Label::Tier => all(Tier::ALL.iter().map(|tier| tier.label()).collect()),
        Label::Found => all(Found::ALL.iter().map(|found| found.label()).collect()),
        Label::Grade => all(Grade::ALL.iter().map(|grade| grade.label()).collect()),
        Label::State => all(BreakerState::ALL
            .iter()
            .map(|state| state.label())
            .collect()),
        Label::Window => all(WINDOWS.iter().map(|window| window.1).collect()),
    }
}

#[test]
fn every_metric_is_in_the_reference() {
    let ends: Vec<String> = BUCKETS.iter().map(ToString::to_string).collect();
    let mut page = format!(
        "# Every metric\n\n\
         As `/metrics` tells them, and as `[telemetry.metrics]` sends them. A counter's series end with `_total`; a \
         histogram's are `_bucket`, `_sum` and `_count`, with ends at {} seconds. Labels hold names of the declaration \
         and words of the program, never anything of a request: `marbre check` says how many series that makes at \
         most.\n\n| metric | kind | labels | |\n|---|---|---|---|\n",
        ends.join(", ")
    );
    let mut labels: Vec<Label> = Vec::new();
    for metric in Metric::ALL {
        let told: Vec<String> = metric
            .labels()
            .iter()
            .map(|label| format!("`{}`", label.name()))
            .collect();
        for label in metric.labels() {
            if !labels.contains(label) {
                labels.push(*label);
            }
        }
        let suffix = match metric.kind() {
            Kind::Counter => "_total",
            Kind::Gauge | Kind::Histogram => "",
        };
        let _ = writeln!(
            page,
            "| `{}{suffix}` | {} | {} | {} |",
            metric.name(),
            metric.kind().label(),
            told.join(", "),
            cell(metric.help())
        );
    }
    page += "\n## Labels\n\n| label | of | values |\n|---|---|---|\n";
    for label in labels {
        let of = Metric::ALL
            .iter()
            .filter(|metric| metric.labels().contains(&label));
        let of: Vec<String> = of.map(|metric| format!("`{}`", metric.name())).collect();
        let of = match &of[..] {
            few if few.len() <= 3 => few.join(", "),
            [first, .., last] => format!("{first} … {last}, {} in all", of.len()),
            [] | [_] => unreachable!("more than three"),
        };
        let _ = writeln!(page, "| `{}` | {of} | {} |", label.name(), values(label));
    }
    is_committed("metrics.md", &page);
}

/// What a schema is called.
fn called(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str() {
        return format!("`{}`", name.rsplit('/').next().unwrap());
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(either) = schema[key].as_array() {
            let kinds: Vec<String> = either.iter().map(called).collect();
            return kinds.join(" or ");
        }
    }
    match &schema["type"] {
        Value::String(kind) if kind == "array" => format!("list of {}", called(&schema["items"])),
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => {
            let kinds: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
            kinds.join(" or ")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => "anything".to_owned(),
    }
}

#[tokio::test]
async fn every_address_for_operators_is_in_the_reference() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_owned();
    std::fs::create_dir_all(&folder).unwrap();
    let demo = tokio::task::spawn_blocking(move || Demo::start(&folder))
        .await
        .unwrap();
    let url = format!("http://127.0.0.1:{}/openapi.json", demo.ports[1]);
    let told = crate::support::program::unpooled()
        .get(url)
        .send()
        .await
        .unwrap();
    let document: Value = serde_json::from_slice(&told.bytes().await.unwrap()).unwrap();
    let mut page = format!(
        "# Every address for operators\n\n{}\n\n\
         Made of `/openapi.json`, which describes all of it for programs, schemas included. The dials are the demo's \
         alone.\n",
        text(&document["info"], "description")
    );
    let mut seen = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, says) in operations.as_object().unwrap() {
            seen += 1;
            let _ = writeln!(page, "\n## `{} {path}`\n", method.to_uppercase());
            let _ = writeln!(page, "{}", text(says, "summary"));
            let open = says["security"].as_array().is_some_and(Vec::is_empty);
            if open {
                let _ = writeln!(page, "It answers without a token.");
            }
            let taken = says["parameters"].as_array().into_iter().flatten();
            let mut taken: Vec<String> = taken
                .map(|one| {
                    let place = text(one, "in");
                    let name = text(one, "name");
                    format!("| {place} `{name}` | {} |", cell(text(one, "description")))
                })
                .collect();
            if let Some(body) = says.get("requestBody") {
                let kinds = body["content"].as_object().unwrap().iter();
                let kinds = kinds.map(|(kind, of)| format!("{kind}: {}", called(&of["schema"])));
                let kinds: Vec<String> = kinds.collect();
                taken.push(format!(
                    "| body | {} {} |",
                    cell(text(body, "description")),
                    cell(&kinds.join("; "))
                ));
            }
            if !taken.is_empty() {
                let _ = writeln!(page, "\n| takes | |\n|---|---|\n{}", taken.join("\n"));
            }
            page += "\n| answers | |\n|---|---|\n";
            for (status, answer) in says["responses"].as_object().unwrap() {
                let kinds = answer["content"].as_object();
                let kinds =
                    kinds
                        .into_iter()
                        .flatten()
                        .map(|(kind, of)| match called(&of["schema"]) {
                            schema if schema.starts_with('`') => format!("{kind} {schema}"),
                            _ => kind.clone(),
                        });
                let kinds: Vec<String> = kinds.collect();
                let kinds = match kinds.is_empty() {
                    true => String::new(),
                    false => format!(" ({})", kinds.join(", ")),
                };
                let said = format!("{}{kinds}", text(answer, "description"));
                let _ = writeln!(page, "| {status} | {} |", cell(&said));
            }
        }
    }
    assert!(seen > 25, "{seen} operations");
    is_committed("admin.md", &page);
}

/// What a command says of itself, and the commands in it.
fn helped(page: &mut String, command: &[&str]) {
    let mut asked = Command::new(BINARY);
    asked.args(command).arg("--help").env("NO_COLOR", "1");
    // what a shell may have set would be shown, or change where lines end
    for variable in [
        "MARBRE_ADMIN",
        "MARBRE_ADMIN_TOKEN",
        "MARBRE_LOG",
        "COLUMNS",
    ] {
        asked.env_remove(variable);
    }
    let told = asked.output().unwrap();
    assert!(told.status.success());
    let told = String::from_utf8(told.stdout).unwrap();
    let name = ["marbre"]
        .iter()
        .chain(command)
        .copied()
        .collect::<Vec<_>>()
        .join(" ");
    let told = told
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect::<String>();
    let _ = writeln!(
        page,
        "\n## {name}\n\n```text example\n{}\n```",
        told.trim_end()
    );
    let inner = told.lines().skip_while(|line| *line != "Commands:").skip(1);
    let inner = inner.take_while(|line| !line.is_empty());
    let inner = inner.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    for inner in inner.filter(|name| !["", "help"].contains(name)) {
        helped(page, &[command, &[inner]].concat());
    }
}

#[test]
fn every_command_is_in_the_reference() {
    let mut page = "# Every command\n\n\
        As `marbre COMMAND --help` says it; `man marbre` says the same. Exit codes: 0 it worked, 1 it did not, 2 the \
        command was wrong; for `snapshot`, 1 says that the folder can be used although something is not as it should \
        be, and 2 that there is nothing to use; for `chaos run` and `chaos monkey`, 2 says as well that nothing was \
        begun, and 3 that all held while a fault has hit nothing.\n"
        .to_owned();
    helped(&mut page, &[]);
    is_committed("commands.md", &page);
}

/// The program's own headers, as the sources name them, against the ones that are explained.
#[test]
fn every_header_of_marbres_own_is_in_the_reference() {
    let path = repository().join("docs/reference/headers.md");
    let page = std::fs::read_to_string(path).unwrap();
    let row = Regex::new(r"(?m)^\| `(Marbre-[A-Za-z-]+)` \|").unwrap();
    let explained: BTreeSet<String> = row
        .captures_iter(&page)
        .map(|found| found[1].to_lowercase())
        .collect();
    let literal = Regex::new("\"(marbre-[a-z-]+)\"").unwrap();
    let mut named = BTreeSet::new();
    let mut folders = vec![
        repository().join("src/server"),
        repository().join("src/admin"),
    ];
    folders.push(repository().join("src/compose"));
    folders.push(repository().join("src/fetch"));
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let source = std::fs::read_to_string(path).unwrap();
            let code = source.split("#[cfg(test)]").next().unwrap();
            named.extend(literal.captures_iter(code).map(|found| found[1].to_owned()));
        }
    }
    assert_eq!(explained, named);
}
