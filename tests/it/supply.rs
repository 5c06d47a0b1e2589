//! What the program is made of: what may be linked into it, and the list of it that is handed on. Asked of
//! cargo itself, and of cargo-deny as far as it needs no network: not whether there are known holes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::newspaper::repository;

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    told(
        Command::new(cargo)
            .args(arguments)
            .args(["--locked", "--offline"]),
    )
}

fn told(command: &mut Command) -> String {
    let output = command.current_dir(repository()).output().unwrap();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complained}");
    String::from_utf8(output.stdout).unwrap()
}

fn host() -> String {
    let told = told(Command::new("rustc").arg("-vV"));
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("rustc says what it runs on").to_owned()
}

/// Name and version of each package that is compiled into the program or runs while it is built, as
/// `cargo tree` counts them.
fn needed() -> BTreeSet<(String, String)> {
    let edges = ["tree", "-e", "normal,build", "--prefix", "none", "-f"];
    let tree = cargo(&[&edges[..], &["{p}", "--target", &host()]].concat());
    let packages = tree.lines().map(|line| {
        let mut words = line.split(' ');
        let (name, version) = (words.next().unwrap(), words.next().unwrap());
        (
            name.to_owned(),
            version.strip_prefix('v').unwrap().to_owned(),
        )
    });
    packages.collect()
}

/// Whether one may choose from an SPDX expression so that all that is chosen is allowed.
///
/// `OR` binds less than `AND`, and `WITH` belongs to its licence; `/` is an older `OR`.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ");
    let spaced = spaced.replace('/', " OR ").replace(" WITH ", "-WITH-");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &words[..];
    let holds = any(&mut rest, allowed);
    assert!(rest.is_empty(), "{expression} is no SPDX expression");
    holds
}

fn any(rest: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut holds = all(rest, allowed);
    while let [first, after @ ..] = *rest
        && *first == "OR"
    {
        *rest = after;
        holds |= all(rest, allowed);
    }
    holds
}

fn all(rest: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut holds = one(rest, allowed);
    while let [first, after @ ..] = *rest
        && *first == "AND"
    {
        *rest = after;
        holds &= one(rest, allowed);
    }
    holds
}

fn one(rest: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let [first, after @ ..] = *rest else {
        panic!("an SPDX expression does not end there")
    };
    *rest = after;
    if *first != "(" {
        return allowed.contains(*first);
    }
    let holds = any(rest, allowed);
    assert_eq!(rest.first(), Some(&")"), "a parenthesis is closed");
    *rest = &rest[1..];
    holds
}

/// The licences that `.deny.toml` allows.
fn allowed() -> BTreeSet<String> {
    let text = std::fs::read_to_string(repository().join(".deny.toml")).unwrap();
    let deny: toml::Table = text.parse().unwrap();
    let allowed = deny["licenses"]["allow"].as_array().unwrap().iter();
    allowed.map(|id| id.as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_expression_is_allowed_if_what_one_must_accept_is() {
    let allowed = ["MIT", "ISC"].map(str::to_owned).into_iter().collect();
    for yes in [
        "MIT",
        "GPL-3.0 OR MIT",
        "GPL-3.0/MIT",
        "MIT AND ISC",
        "(GPL-3.0 OR MIT) AND ISC",
        "GPL-3.0 AND X OR MIT",
    ] {
        assert!(is_allowed(yes, &allowed), "{yes}");
    }
    for no in [
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "GPL-3.0 OR (MIT AND X)",
        "MIT WITH exception",
    ] {
        assert!(!is_allowed(no, &allowed), "{no}");
    }
}

#[test]
fn every_dependency_has_a_licence_that_is_allowed() {
    let platform = format!("--filter-platform={}", host());
    let told = cargo(&["metadata", "--format-version", "1", &platform]);
    let metadata: Value = serde_json::from_str(&told).unwrap();
    let (needed, allowed) = (needed(), allowed());
    assert!(needed.len() > 100, "the dependencies were found");
    let (mut refused, mut seen) = (Vec::new(), 0);
    for package in metadata["packages"].as_array().unwrap() {
        let [name, version] = ["name", "version"].map(|key| package[key].as_str().unwrap());
        if !needed.contains(&(name.to_owned(), version.to_owned())) {
            continue;
        }
        seen += 1;
        match package["license"].as_str() {
            Some(expression) if is_allowed(expression, &allowed) => {}
            licence => refused.push(format!("{name} {version}: {licence:?}")),
        }
    }
    assert_eq!(seen, needed.len(), "each of them was looked at");
    assert!(
        refused.is_empty(),
        "not allowed by .deny.toml:\n{}",
        refused.join("\n")
    );
}

/// What cargo-deny finds with these settings, by what is locked.
fn denied(folder: &Path, settings: &str) -> Output {
    let deny = repository().join("tests/deploy/.venv/bin/cargo-deny");
    assert!(deny.exists(), "tests/run installs cargo-deny");
    // of this platform alone: those of others need not have been fetched
    let platform = format!("--filter-platform={}", host());
    let metadata = cargo(&["metadata", "--format-version", "1", &platform]);
    let [told, config] = ["metadata.json", "deny.toml"].map(|name| folder.join(name));
    std::fs::write(&told, metadata).unwrap();
    std::fs::write(&config, settings).unwrap();
    let mut command = Command::new(deny);
    command.args(["--offline", "--locked", "--metadata-path"]);
    command.arg(told).arg("--config").arg(config);
    command.args(["check", "--hide-inclusion-graph"]);
    command.args(["bans", "licenses", "sources"]);
    command.current_dir(repository()).output().unwrap()
}

#[test]
fn nothing_is_linked_that_is_banned_and_nothing_twice_without_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let settings = std::fs::read_to_string(repository().join(".deny.toml")).unwrap();
    let found = denied(folder.path(), &settings);
    let said = String::from_utf8_lossy(&found.stderr);
    assert!(found.status.success(), "{said}");
    assert!(!said.contains("warning["), "a reason that is none: {said}");
    // that it could fail
    for (kept, broken) in [
        ("\"openssl-sys\"", "\"serde\""),
        ("  { crate = \"getrandom@0.2\"", "  # "),
        ("  \"MIT\",\n", ""),
    ] {
        assert!(settings.contains(kept), "{kept}");
        let broken = settings.replacen(kept, broken, 1);
        let found = denied(folder.path(), &broken);
        assert!(!found.status.success(), "without {kept}");
    }
}

#[test]
fn nothing_comes_from_elsewhere_than_the_registry() {
    let lock: toml::Table = lock().parse().unwrap();
    for package in lock["package"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        match package.get("source").and_then(toml::Value::as_str) {
            None => assert_eq!(name, "marbre"),
            Some(source) => {
                assert!(source.starts_with("registry+"), "{name}: {source}");
                assert!(package.get("checksum").is_some(), "{name}");
            }
        }
    }
}

fn lock() -> String {
    std::fs::read_to_string(repository().join("Cargo.lock")).unwrap()
}

#[test]
fn the_bill_of_materials_is_what_is_locked_and_linked() {
    let list = |folder: &Path| -> String {
        let mut command = Command::new(folder.join("deploy/sbom"));
        told(command.env("CARGO_NET_OFFLINE", "true"))
    };
    let text = list(repository());
    assert_eq!(
        text,
        list(repository()),
        "the same lock gives the same text"
    );
    let bill: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(bill["bomFormat"], "CycloneDX");
    assert_eq!(bill["specVersion"], "1.5");
    let program = &bill["metadata"]["component"];
    assert_eq!(
        program["purl"],
        concat!("pkg:cargo/marbre@", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(program["licenses"][0]["expression"], "MIT OR Apache-2.0");

    let lock: toml::Table = lock().parse().unwrap();
    let locked = lock["package"].as_array().unwrap().iter();
    let text = |package: &toml::Value, key: &str| {
        package
            .get(key)
            .map(|value| value.as_str().unwrap().to_owned())
    };
    let checksums: BTreeMap<_, _> = locked
        .map(|package| {
            let known = (
                text(package, "name").unwrap(),
                text(package, "version").unwrap(),
            );
            (known, text(package, "checksum"))
        })
        .collect();
    let mut listed = BTreeSet::new();
    for component in bill["components"].as_array().unwrap() {
        let [name, version] =
            ["name", "version"].map(|key| component[key].as_str().unwrap().to_owned());
        assert_eq!(component["purl"], format!("pkg:cargo/{name}@{version}"));
        assert!(component["licenses"][0]["expression"].is_string(), "{name}");
        let known = (name, version);
        let checksum = checksums.get(&known).expect("it is locked").as_deref();
        assert_eq!(component["hashes"][0]["content"].as_str(), checksum);
        assert!(listed.insert(known), "{component}: listed twice");
    }
    let mut expected = needed();
    expected.retain(|(name, _)| name != "marbre");
    let differences: Vec<_> = listed.symmetric_difference(&expected).collect();
    assert!(
        differences.is_empty(),
        "not what `cargo tree` says: {differences:?}"
    );

    let dependencies = bill["dependencies"].as_array().unwrap();
    let known: BTreeSet<&str> = dependencies
        .iter()
        .map(|dependency| dependency["ref"].as_str().unwrap())
        .collect();
    assert_eq!(known.len(), listed.len() + 1);
    let needs = dependencies
        .iter()
        .flat_map(|dependency| dependency["dependsOn"].as_array().unwrap());
    for needs in needs {
        assert!(known.contains(needs.as_str().unwrap()), "{needs}");
    }
}
