//! The small languages inside strings: durations, sizes, `${ENV}`, and near words. Owns their
//! reading; knows nothing of files or of which setting a value is for.

use jiff::tz::TimeZone;

pub use crate::fragment::quantity::{parse_duration, parse_size, show_duration, show_size};

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
            // what follows may be a value, by the rules of another program: `${NAME-value}`
            let known = name.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
            let known = &name[..name.len() - known.len()];
            return Err(ExpandError {
                problem: format!("`${{{known}…}}` is not the name of an environment variable"),
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

/// The time zone of this name in the IANA database; `Err` gives the name that was probably meant.
pub fn zone(name: &str) -> Result<TimeZone, Option<String>> {
    TimeZone::get(name).map_err(|_| {
        let names: Vec<String> = jiff::tz::db()
            .available()
            .map(|known| known.to_string())
            .collect();
        nearest(name, names.iter().map(String::as_str)).map(str::to_owned)
    })
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
        fn nothing_panics(text in any::<String>()) {
            let _ = expand(&text, &|_| None);
        }
    }
}
