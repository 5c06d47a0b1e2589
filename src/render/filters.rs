//! The few filters that a news template needs beyond the engine's own. Pure: a date is printed in
//! the offset in which it was written, so the result does not depend on the machine.

use jiff::civil::DateTime;
use minijinja::{Environment, Error, ErrorKind, Value};

const MONTHS_FR: [&str; 12] = [
    "janvier",
    "février",
    "mars",
    "avril",
    "mai",
    "juin",
    "juillet",
    "août",
    "septembre",
    "octobre",
    "novembre",
    "décembre",
];

pub(super) fn add(engine: &mut Environment<'static>) {
    engine.add_filter("date_fr", |v: Value| moment(&v).map(|d| date_fr(&d)));
    engine.add_filter("time_fr", |v: Value| moment(&v).map(|d| time_fr(&d)));
    engine.add_filter("datetime_fr", |v: Value| {
        moment(&v).map(|d| format!("{} à {}", date_fr(&d), time_fr(&d)))
    });
    engine.add_filter("number_fr", |v: Value| number_fr(&v));
    engine.add_filter("truncate", |text: String, length: usize| {
        truncate(&text, length)
    });
}

/// Reads the civil part of an ISO 8601 date: `2026-11-23`, `2026-11-23T08:15`, with or without
/// seconds, offset or zone.
fn moment(value: &Value) -> Result<DateTime, Error> {
    let wrong = || {
        Error::new(
            ErrorKind::InvalidOperation,
            format!("{value:?} is not an ISO 8601 date"),
        )
    };
    let text = value.as_str().ok_or_else(wrong)?;
    text.trim_end_matches(['Z', 'z'])
        .parse()
        .map_err(|_| wrong())
}

fn date_fr(at: &DateTime) -> String {
    let day = if at.day() == 1 {
        "1er".to_owned()
    } else {
        at.day().to_string()
    };
    let month = usize::try_from(at.month() - 1)
        .ok()
        .and_then(|m| MONTHS_FR.get(m));
    format!("{day} {} {}", month.expect("a month is 1 to 12"), at.year())
}

fn time_fr(at: &DateTime) -> String {
    format!("{}\u{a0}h\u{a0}{:02}", at.hour(), at.minute())
}

/// Groups digits by narrow no-break spaces and writes a decimal comma.
fn number_fr(value: &Value) -> Result<String, Error> {
    if !value.is_number() {
        let message = format!("{value:?} is not a number");
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    let text = value.to_string();
    let (sign, digits) = text
        .strip_prefix('-')
        .map_or(("", text.as_str()), |rest| ("−", rest));
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let mut grouped = String::new();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    let decimals = decimals.trim_end_matches('0');
    let comma = if decimals.is_empty() { "" } else { "," };
    Ok(format!("{sign}{grouped}{comma}{decimals}"))
}

/// At most `length` characters, cut between words, with an ellipsis.
fn truncate(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    let cut: String = text.chars().take(length.saturating_sub(1)).collect();
    let end = cut
        .rfind(char::is_whitespace)
        .filter(|&at| at > 0)
        .unwrap_or(cut.len());
    format!(
        "{}…",
        cut[..end].trim_end_matches(|c: char| c.is_whitespace() || c == ',')
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(expression: &str) -> String {
        let mut engine = Environment::new();
        add(&mut engine);
        engine
            .render_str(&format!("{{{{ {expression} }}}}"), Value::UNDEFINED)
            .unwrap()
    }

    #[test]
    fn dates_keep_the_offset_they_were_written_in() {
        assert_eq!(
            run("'2026-11-23T08:05:00+01:00'|datetime_fr"),
            "23 novembre 2026 à 8\u{a0}h\u{a0}05"
        );
        assert_eq!(run("'2026-08-01T23:59:00Z'|date_fr"), "1er août 2026");
        assert_eq!(run("'2026-08-01'|date_fr"), "1er août 2026");
    }

    #[test]
    fn numbers_and_cuts() {
        assert_eq!(run("1234567.5|number_fr"), "1\u{202f}234\u{202f}567,5");
        assert_eq!(run("-12|number_fr"), "−12");
        assert_eq!(run("'Le marbre, sur lequel'|truncate(12)"), "Le marbre…");
        assert_eq!(run("'été'|truncate(3)"), "été");
    }
}
