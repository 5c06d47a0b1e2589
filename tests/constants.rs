//! `docs/constants.md` says of every constant of the controller what it is, what it may be, and where it
//! comes from. It is made of the code: `MARBRE_REWRITE=1 cargo test --test constants` writes it anew.
//!
//! Whoever adds a constant says in its doc comment where it comes from: a line that begins with `From:`,
//! and where that had another value, why: `Differs:`. Of constants under one comment the first is
//! commented, and the others are from where it is unless they say so themselves.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails is meant to panic, and says what to do"
)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use marbre::degradation::law::{Knob, Unit, aimd, work_rate};

/// Where constants are, and what people call the place.
const PLACES: [(&str, &str); 13] = [
    ("degradation/law/work_rate.rs", "The law: work rate"),
    ("degradation/law/aimd.rs", "The second law: AIMD"),
    ("degradation/governor.rs", "The governor"),
    ("degradation/arrivals.rs", "Arrivals"),
    ("degradation/meters.rs", "Page times"),
    ("degradation/costs.rs", "Costs"),
    ("degradation/lag.rs", "The lag of the runtime"),
    ("degradation/line.rs", "The line for a turn"),
    ("fetch/limiter.rs", "Limiters"),
    ("fetch/limiter/usual.rs", "What a limiter takes for usual"),
    ("fetch/shared_fault.rs", "A fault that breakers share"),
    (
        "degradation/strain.rs",
        "Strain: a shortage that limiters share",
    ),
    ("degradation/strain/seen.rs", "What strain is told by"),
];

/// Constants that are no setting of anything.
const NO_SETTINGS: [&str; 6] = [
    "KNOBS",
    "ALL",
    "LATE",
    "BUCKETS",
    "BUCKETS_PER_OCTAVE",
    "OCTAVES_BELOW",
];

/// What a constant is said to be from, and why it differs from that.
#[derive(Debug, Clone, PartialEq)]
struct Said {
    from: String,
    differs: String,
}

/// A row of the table.
#[derive(Debug, PartialEq)]
struct Row {
    name: String,
    value: String,
    range: String,
    said: Said,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// What the lines of a doc comment say of the origin of what they are about.
fn said(doc: &[&str]) -> Option<Said> {
    let text = doc.join(" ");
    let (_, from) = text.split_once("From: ")?;
    let (from, differs) = from.split_once("Differs: ").unwrap_or((from, ""));
    let bare = |text: &str| text.trim().trim_end_matches('.').to_owned();
    Some(Said {
        from: bare(from),
        differs: bare(differs),
    })
}

/// The declarations of a file with what their comments say, tests aside; of a declaration without a
/// comment what the one above it says.
fn declared(text: &str, of: fn(&str) -> Option<&str>) -> Vec<(&str, Option<Said>)> {
    let (mut found, mut doc, mut above) = (Vec::new(), Vec::new(), None);
    for line in text.lines().take_while(|line| *line != "mod tests {") {
        let bare = line.trim_start();
        if let Some(comment) = bare.strip_prefix("///") {
            doc.push(comment.trim());
            continue;
        }
        match of(line) {
            Some(declaration) => {
                if !doc.is_empty() {
                    above = said(&doc);
                }
                found.push((declaration, above.clone()));
            }
            // a comment is for those right under it
            None => above = None,
        }
        doc.clear();
    }
    found
}

/// What a line declares behind `const`, if it stands at the left edge.
fn const_of(line: &str) -> Option<&str> {
    let declaration = line
        .strip_prefix("pub")
        .map_or(line, |rest| match rest.split_once(')') {
            Some((_, rest)) if rest.starts_with(" const ") => rest.trim_start(),
            _ => rest.trim_start(),
        });
    declaration.strip_prefix("const ")
}

/// The name of the field that a line declares.
fn field_of(line: &str) -> Option<&str> {
    line.trim().strip_prefix("pub ")?.split(':').next()
}

/// The constants of a file: name, kind and value, as they are written.
fn consts(text: &str) -> Vec<(&str, &str, &str, Option<Said>)> {
    let found = declared(text, const_of).into_iter();
    let found = found.map(|(declaration, said)| {
        let (name, rest) = declaration.split_once(": ").unwrap();
        let (kind, value) = rest.split_once(" = ").unwrap_or((rest, ""));
        (name, kind, value.trim_end_matches(';'), said)
    });
    found
        .filter(|(name, ..)| !NO_SETTINGS.contains(name))
        .collect()
}

/// A value as people read it.
fn shown(name: &str, kind: &str, written: &str) -> String {
    let digits = written.replace('_', "");
    for (make, unit) in [("frommillis(", "ms"), ("fromsecs(", "s")] {
        if let Some((_, number)) = digits.split_once(make) {
            return format!("{} {unit}", number.trim_end_matches(')'));
        }
    }
    let unit = match name {
        _ if name.ends_with("_MS") => " ms",
        _ if name.ends_with("_S") => " s",
        _ => "",
    };
    let numbers = digits.trim_matches(|c| c == '(' || c == ')');
    let numbers: Vec<String> = numbers
        .split(", ")
        .map(|number| {
            number
                .parse::<f64>()
                .unwrap_or_else(|_| panic!("{name}: {kind} = {written}"))
        })
        .map(|number| number.to_string())
        .collect();
    format!("{}{unit}", numbers.join(", "))
}

fn of_unit(value: f64, unit: Unit) -> String {
    // a default such as 1 / 1.5 has no end
    let value = (value * 1e6).round() / 1e6;
    match unit {
        Unit::Time if value < 1.0 => format!("{} ms", value * 1e3),
        Unit::Time => format!("{value} s"),
        Unit::Ratio => value.to_string(),
        Unit::PerSecond => format!("{value} /s"),
        Unit::Work => format!("{value} ms/s"),
    }
}

/// The constants of a law, which a site may set.
fn knobs<C: Default>(text: &str, knobs: &[Knob<C>]) -> Vec<Row> {
    let mut is_within = false;
    let fields: Vec<&str> = text
        .lines()
        .filter(|line| {
            is_within |= *line == "pub struct Constants {";
            is_within &= *line != "}";
            is_within
        })
        .collect();
    let fields = fields.join("\n");
    let fields = declared(&fields, field_of);
    let default = C::default();
    let rows = knobs.iter().map(|knob| {
        let field = fields.iter().find(|(name, _)| *name == knob.key);
        let said = field.and_then(|(_, said)| said.clone());
        let (min, max) = knob.range;
        let value = of_unit((knob.get)(&default), knob.unit);
        Row {
            name: knob.key.to_owned(),
            value: match knob.unit {
                Unit::Work => format!("{value} a core"),
                Unit::Time | Unit::Ratio | Unit::PerSecond => value,
            },
            range: format!("{} to {}", of_unit(min, knob.unit), of_unit(max, knob.unit)),
            said: said.unwrap_or_else(|| panic!("{}: no line `From:`", knob.key)),
        }
    });
    rows.collect()
}

fn rows(file: &str) -> Vec<Row> {
    let text = fs::read_to_string(root().join("src").join(file)).unwrap();
    let mut rows = match file {
        "degradation/law/work_rate.rs" => knobs(&text, work_rate::Constants::KNOBS),
        "degradation/law/aimd.rs" => knobs(&text, aimd::Constants::KNOBS),
        _ => Vec::new(),
    };
    for (name, kind, value, said) in consts(&text) {
        rows.push(Row {
            name: name.to_owned(),
            value: shown(name, kind, value),
            range: "–".to_owned(),
            said: said.unwrap_or_else(|| panic!("{file}: {name} has no line `From:`")),
        });
    }
    rows
}

const HEAD: &str = "\
# The constants of the controller

Every number by which pages are degraded and come back, and where it comes from. This page is made of the
code by `tests/constants.rs`, which fails where the two differ; `MARBRE_REWRITE=1 cargo test --test
constants` writes it anew.

*Simulation* is the one with which the law was chosen, of which [simulation.md](simulation.md) has the
figures after the strokes; its value is beside it. *Found in the simulator* was that by `marbre simulate`,
over the scenarios of that page and other seeds. *Found by hand* is a choice that nothing delicate depends
on. Where the value is another than that of the simulation the last column says why.

Names in small letters are keys of `[degradation.work_rate]` and `[degradation.aimd]` in `fragments.toml`,
and of scenarios; a value out of its range is refused there. The others are fixed. A number without a unit
is a share, a factor or a count, or its comment in the code says what it is of.
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for (file, title) in PLACES {
        let _ = write!(
            page,
            "\n## {title}\n\n`src/{file}`\n\n| constant | value | range | from | why another value |\n|---|---|---|---|---|\n"
        );
        let rows = rows(file);
        assert!(!rows.is_empty(), "{file} has no constants");
        for Row {
            name,
            value,
            range,
            said,
        } in rows
        {
            let Said { from, differs } = said;
            let _ = writeln!(
                page,
                "| `{name}` | {value} | {range} | {from} | {differs} |"
            );
        }
    }
    page
}

#[test]
fn the_page_of_the_constants_is_what_the_code_says() {
    let path = root().join("docs/constants.md");
    let page = page();
    if std::env::var_os("MARBRE_REWRITE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let differs = page.lines().zip(written.lines()).find(|(a, b)| a != b);
    assert!(
        page == written,
        "docs/constants.md is not what the code says, first here: {differs:#?}\n\
         MARBRE_REWRITE=1 cargo test --test constants writes it anew"
    );
}

/// What is from the simulation and says nothing of why it differs has the simulation's value.
#[test]
fn whatever_differs_from_the_simulation_says_why() {
    let mut told = 0;
    for (file, _) in PLACES {
        for row in rows(file) {
            let Some(simulated) = row.said.from.strip_prefix("simulation, ") else {
                continue;
            };
            let number = |text: &str| {
                let text = text.trim_start_matches(|c: char| !c.is_ascii_digit());
                let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
                let number = &text[..end.unwrap_or(text.len())];
                let unit = text[number.len()..]
                    .trim_start()
                    .split([' ', ',', ';'])
                    .next();
                let scale = if unit == Some("s") { 1e3 } else { 1.0 };
                number
                    .trim_end_matches('.')
                    .parse::<f64>()
                    .ok()
                    .map(|number| number * scale)
            };
            let (Some(is), Some(was)) = (number(&row.value), number(simulated)) else {
                continue;
            };
            // what is said in words, such as "1.5 × cores × 1000" or "half of it in each tick"
            if simulated.contains(['×', ':']) || simulated.starts_with(|c: char| c.is_alphabetic())
            {
                continue;
            }
            told += 1;
            assert_eq!(
                (is - was).abs() > 1e-9,
                !row.said.differs.is_empty(),
                "{file}: {row:?}"
            );
        }
    }
    assert!(told > 40, "{told} are compared");
}
