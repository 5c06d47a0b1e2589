//! What `marbre switch` prints of what the server answers. Owns the tables and the sentences.

use std::time::Duration;

use serde_json::Value;

use crate::fragment::quantity::show_duration;

fn word<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

/// What is left.
fn left(shown: &Value) -> String {
    about(shown["left_s"].as_u64().unwrap_or_default())
}

/// So many seconds, without what is too fine to matter: a part of a minute, of five, of an hour, counts as
/// one.
fn about(seconds: u64) -> String {
    let unit = match seconds {
        0..=120 => 1,
        121..=7200 => 60,
        7201..=172_800 => 300,
        _ => 3600,
    };
    show_duration(Duration::from_secs(seconds.div_ceil(unit) * unit))
}

/// What is in force, and what begins later.
pub(super) fn list(answer: &Value) -> String {
    let array = |key: &str| answer[key].as_array().map_or(&[][..], Vec::as_slice);
    let (switches, scheduled) = (array("switches"), array("scheduled"));
    if switches.is_empty() && scheduled.is_empty() {
        return "no switch is set\n".to_owned();
    }
    let mut text = match switches.is_empty() {
        true => "no switch is in force\n".to_owned(),
        false => table(switches.iter().map(in_force).collect()),
    };
    if !scheduled.is_empty() {
        text += &format!("\nby the clock, in {}\n", word(answer, "zone"));
        text += &table(scheduled.iter().map(by_clock).collect());
    }
    text
}

fn in_force(shown: &Value) -> [String; 4] {
    let by_clock = match word(shown, "by_schedule") {
        "" => String::new(),
        _ => format!(" ({})", word(shown, "address")),
    };
    let subject = match word(shown, "by_schedule") {
        "" => word(shown, "address"),
        _ => word(shown, "subject"),
    };
    [
        subject.to_owned(),
        word(shown, "says").to_owned(),
        match shown["left_s"].is_null() {
            true => "for this run".to_owned(),
            false => format!("{} left", left(shown)),
        },
        owner(shown) + &by_clock + &note(shown),
    ]
}

fn by_clock(planned: &Value) -> [String; 4] {
    let says = planned["says"].as_array().into_iter().flatten();
    let says: Vec<&str> = says.filter_map(Value::as_str).collect();
    let when = match word(planned, "state") {
        "waits" => {
            let seconds = planned["begins_in_s"].as_u64().unwrap_or_default();
            format!("in {}", about(seconds))
        }
        "begun" => "now".to_owned(),
        state => state.to_owned(),
    };
    let weekly = match word(planned, "weekly") {
        "" => String::new(),
        weekly => format!(", every {weekly}"),
    };
    let local = word(planned, "local");
    [
        word(planned, "address").to_owned(),
        says.join(", "),
        when,
        format!("{local}{weekly}  {}{}", owner(planned), note(planned)),
    ]
}

fn owner(shown: &Value) -> String {
    format!("{}: {}", word(shown, "owner"), word(shown, "reason"))
}

fn note(shown: &Value) -> String {
    match word(shown, "note") {
        "" => String::new(),
        note => format!("\n    but {note}"),
    }
}

fn table(rows: Vec<[String; 4]>) -> String {
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or(0)
    };
    let (a, b, c) = (width(0), width(1), width(2));
    let line =
        |[one, two, three, four]: &[String; 4]| format!("{one:a$}  {two:b$}  {three:c$}  {four}\n");
    rows.iter().map(line).collect()
}

/// What was set.
pub(super) fn set(answer: &Value) -> String {
    let shown = &answer["set"];
    let says = word(shown, "says");
    let mut text = match shown["begins_in_s"].as_u64() {
        Some(seconds) => format!(
            "{says} from {} until {} (in {}); taken back with `marbre switch clear {}`\n",
            word(shown, "from_local"),
            word(shown, "until_local"),
            about(seconds),
            word(shown, "address")
        ),
        None => format!(
            "{says} until {} ({} left)\n",
            word(shown, "until"),
            left(shown)
        ),
    };
    let before = &answer["replaced"];
    if before.is_object() {
        text += &format!("before: {}\n", said(before));
    }
    text
}

/// What was taken back.
pub(super) fn cleared(answer: &Value) -> String {
    format!("taken back: {}\n", said(&answer["cleared"]))
}

fn said(shown: &Value) -> String {
    format!(
        "{}, by {}: {}",
        word(shown, "says"),
        word(shown, "owner"),
        word(shown, "reason")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_is_said_as_fine_as_it_matters() {
        for (seconds, text) in [
            (59, "59s"),
            (125, "3m"),
            (7199, "2h"),
            (43_199, "12h"),
            (43_201, "12h5m"),
            (900_001, "10d11h"),
        ] {
            assert_eq!(left(&json!({ "left_s": seconds })), text);
        }
    }
}
