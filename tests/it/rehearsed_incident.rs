//! An incident is rehearsed by the program alone, and the account of it is true: its numbers are those that
//! the readers counted for themselves.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn rehearse(arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_marbre"));
    command.arg("demo").args(arguments).current_dir(folder);
    command.env_remove("MARBRE_ADMIN_TOKEN").output().unwrap()
}

#[test]
fn the_journal_tells_of_a_crowd_what_its_readers_saw() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "--incident",
        "flash-crowd",
        "--free-ports",
        "--seconds",
        "14",
        "--json",
    ];
    let output = rehearse(&arguments, folder.path());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "{error}: {}\n{said}",
            String::from_utf8_lossy(&output.stdout)
        )
    });
    assert!(output.status.success(), "{:#}\n{said}", told["rows"]);
    assert_eq!(told["agrees"], true);
    let row = |what: &str| {
        let rows = told["rows"].as_array().unwrap();
        let found = rows.iter().find(|row| row["what"] == what);
        let found = found.unwrap_or_else(|| panic!("no {what} in {rows:#?}"));
        let (journal, readers) = (
            found["journal"].as_f64().unwrap(),
            found["readers"].as_f64().unwrap(),
        );
        assert!(
            (journal - readers).abs() <= journal.max(readers) / 100.0,
            "{found}"
        );
        readers
    };
    // how many, and what they got, is the machine's affair: that not everybody got everything is not
    assert!(row("pages") > 0.0, "{said}");
    row("full pages");
    row("without an end");
    let less = row("pages with blocks missing or replaced") + row("snapshots");
    assert!(less > 0.0, "{said}");
    let entries = told["entries"].as_array().unwrap();
    let of = |kind: &str| entries.iter().filter(|entry| entry["kind"] == kind).count();
    assert!(of("level") > 0, "{said}");
    assert_eq!(of("fault"), 2, "{said}");
    let draft = told["draft"].as_str().unwrap();
    for part in [
        "# Post-mortem",
        "## Timeline",
        "**level**",
        "**fault**",
        "## Impact",
        "| a page with blocks missing or replaced |",
        "## What the server did",
        "## Causes\n\n(",
    ] {
        assert!(draft.contains(part), "no `{part}` in {draft}");
    }
    // what happened was told while it happened
    for told in ["the crowd comes", "level", "agree within 1 %"] {
        assert!(said.contains(told), "{said}");
    }
    let left = folder.path().read_dir().unwrap().count();
    assert_eq!(left, 0, "it leaves nothing behind");
}

#[test]
fn what_belongs_to_an_incident_is_refused_without_one() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, says) in [
        (&["--seconds", "20"][..], "--incident"),
        (&["--incident", "flash-crowd", "--seconds", "9"], "10..=600"),
        (&["--incident", "flood"], "flash-crowd"),
        (&["--incident", "flash-crowd", "--level", "2"], "--level"),
    ] {
        let output = rehearse(arguments, folder.path());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
}
