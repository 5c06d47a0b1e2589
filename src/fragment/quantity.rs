//! Durations and sizes as people write them: `250ms`, `7d`, `512KiB`. Owns their reading and their
//! writing back.
//!
//! Invariant: what [`show_duration`] and [`show_size`] write, [`parse_duration`] and
//! [`parse_size`] read back as the same value.

use std::time::Duration;

/// Units of time, largest first.
const TIME: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Units of size, in the order in which they are preferred for writing.
const SIZE: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// Reads `"250ms"`, `"30s"`, `"1h30m"`; the error says what is wrong with it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (mut total, mut rest) = (0u64, text.trim());
    if rest.is_empty() {
        return Err("it is empty".to_owned());
    }
    while !rest.is_empty() {
        let (number, unit, tail) = quantity(rest)?;
        let (_, factor) = TIME.iter().find(|(name, _)| *name == unit).ok_or_else(|| {
            if unit.is_empty() {
                format!("`{number}` has no unit: ms, s, m, h or d")
            } else {
                format!("`{unit}` is not a unit of time: ms, s, m, h or d")
            }
        })?;
        let part = number
            .checked_mul(*factor)
            .and_then(|part| total.checked_add(part));
        total = part.ok_or("it is too long to count")?;
        rest = tail;
    }
    Ok(Duration::from_millis(total))
}

/// Reads `"512KiB"`, `"10MB"`, `"4096B"` as bytes; the error says what is wrong with it.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit, tail) = quantity(text.trim())?;
    if !tail.is_empty() {
        return Err("a size is one number and one unit".to_owned());
    }
    let (_, factor) = SIZE.iter().find(|(name, _)| *name == unit).ok_or_else(|| {
        if unit.is_empty() {
            format!("`{number}` has no unit: B, KiB, MiB or GiB")
        } else {
            format!("`{unit}` is not a unit of size: B, KiB, MiB or GiB")
        }
    })?;
    number
        .checked_mul(*factor)
        .ok_or_else(|| "it is too large to count".to_owned())
}

/// A number, the letters that follow it, and what comes after them.
fn quantity(text: &str) -> Result<(u64, &str, &str), String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    if number.is_empty() {
        return Err(format!("`{text}` does not begin with a whole number"));
    }
    let letters = rest
        .find(|c: char| !c.is_alphabetic())
        .unwrap_or(rest.len());
    let (unit, tail) = rest.split_at(letters);
    if unit.is_empty() && !tail.is_empty() && !tail.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(format!("`{text}` is not a whole number and a unit"));
    }
    let number = number
        .parse()
        .map_err(|_| "it is too large to count".to_owned())?;
    Ok((number, unit, tail))
}

/// The shortest text for a duration of whole milliseconds.
pub fn show_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, factor) in TIME {
        if rest >= factor {
            text.push_str(&format!("{}{unit}", rest / factor));
            rest %= factor;
        }
    }
    text
}

/// The shortest exact text for a size.
pub fn show_size(bytes: u64) -> String {
    let whole = SIZE
        .iter()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    let (unit, factor) = whole.copied().unwrap_or(("B", 1));
    format!("{}{unit}", bytes / factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        let ms = |text| parse_duration(text).map(|d| d.as_millis());
        assert_eq!(ms("250ms"), Ok(250));
        assert_eq!(ms("1h30m"), Ok(5_400_000));
        assert_eq!(ms("7d"), Ok(604_800_000));
        assert_eq!(ms("0s"), Ok(0));
        for bad in [
            "",
            "s",
            "5",
            "1.5s",
            "-1s",
            "5 s",
            "5sec",
            "5é",
            "1h30",
            "99999999999999999999s",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert!(parse_duration("300000000000d").is_err());
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("512KiB"), Ok(524_288));
        assert_eq!(parse_size("10MB"), Ok(10_000_000));
        assert_eq!(parse_size("4096B"), Ok(4096));
        for bad in [
            "",
            "10",
            "MiB",
            "1.5MiB",
            "1MiB1KiB",
            "1mib",
            "99999999999GiB",
        ] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(n in 0u64..1 << 40) {
            let duration = Duration::from_millis(n);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
            prop_assert_eq!(parse_size(&show_size(n)), Ok(n));
        }

        #[test]
        fn nothing_panics(text in any::<String>()) {
            let _ = (parse_duration(&text), parse_size(&text));
        }
    }
}
