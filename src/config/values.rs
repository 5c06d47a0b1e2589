//! The small languages inside strings: durations, sizes, `${ENV}`, percent-free text. Owns their
//! reading and their writing back; knows nothing of files or of which setting a value is for.
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

/// Why a string with `${…}` cannot be expanded. Carries names, never values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpandError {
    /// What is wrong.
    pub problem: String,
    /// The part of the string that is wrong, as written.
    pub culprit: String,
    /// What to do about it.
    pub help: String,
}

/// Replaces `${NAME}` and `${NAME:-default}`; the default also stands in for an empty variable.
pub fn expand(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, ExpandError> {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(start) = rest.find("${") {
        out.push_str(&rest[..start]);
        let Some(len) = rest[start..].find('}') else {
            return Err(ExpandError {
                problem: "`${` is never closed".to_owned(),
                culprit: rest[start..].to_owned(),
                help: "write `${NAME}` or `${NAME:-default}`".to_owned(),
            });
        };
        let inside = &rest[start + 2..start + len];
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let culprit = || rest[start..=start + len].to_owned();
        if !is_variable_name(name) {
            return Err(ExpandError {
                problem: format!("`{name}` is not the name of an environment variable"),
                culprit: culprit(),
                help: "write `${NAME}` or `${NAME:-default}`".to_owned(),
            });
        }
        match (env(name), default) {
            (Some(value), None) => out.push_str(&value),
            (Some(value), Some(_)) if !value.is_empty() => out.push_str(&value),
            (_, Some(default)) => out.push_str(default),
            (None, None) => {
                return Err(ExpandError {
                    problem: format!("the environment variable `{name}` is not set"),
                    culprit: culprit(),
                    help: format!("set it, or give a default: `${{{name}:-…}}`"),
                });
            }
        }
        rest = &rest[start + len + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The candidate that `word` was probably meant to be.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let lower = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()),
                candidate,
            )
        })
        // one slip in three letters is a misprint; more is another word
        .filter(|(slips, candidate)| *slips <= 1 + candidate.chars().count().min(12) / 4)
        .min_by_key(|(slips, candidate)| (*slips, *candidate))
        .map(|(_, candidate)| candidate)
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

    #[test]
    fn variables() {
        let env = |name: &str| match name {
            "HOST" => Some("cms".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        assert_eq!(expand("http://${HOST}:80", &env).unwrap(), "http://cms:80");
        assert_eq!(expand("${NO:-a}${EMPTY:-b}${EMPTY}$", &env).unwrap(), "ab$");
        assert_eq!(expand("x${NO}", &env).unwrap_err().culprit, "${NO}");
        assert_eq!(expand("x${NO", &env).unwrap_err().culprit, "${NO");
        assert_eq!(expand("${a b}", &env).unwrap_err().culprit, "${a b}");
    }

    #[test]
    fn near_words() {
        assert_eq!(
            nearest("slidshow", ["article", "slideshow"]),
            Some("slideshow")
        );
        assert_eq!(nearest("tmeout", ["timeout", "ttl"]), Some("timeout"));
        assert_eq!(nearest("zebra", ["article", "slideshow"]), None);
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
            let _ = (parse_duration(&text), parse_size(&text), expand(&text, &|_| None));
        }
    }
}
