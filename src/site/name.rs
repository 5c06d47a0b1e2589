//! What things are called: origins, fragments, pages, steps of the ladder, schedules, faults. Owns which texts are
//! names; pure.
//!
//! Invariant: a name can stand in a path, in a header and in a metric as it is.

/// Whether a text can be a name.
pub fn is_name(text: &str) -> bool {
    let is_fit = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (1..=64).contains(&text.len()) && text.bytes().all(is_fit)
}

/// Says what names are like, if what something is called is none.
pub fn check_name(what: &str, text: &str) -> Result<(), String> {
    match is_name(text) {
        true => Ok(()),
        false => Err(format!(
            "{what} is called by up to 64 letters, digits, `-` and `_`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_path() {
        let longest = "a".repeat(64);
        for name in ["a", "media-slow", "_1", &longest] {
            assert_eq!(check_name("a fault", name), Ok(()), "{name}");
        }
        for text in [
            "",
            "..",
            "a/b",
            "%2e",
            "a b",
            "a?b",
            "\u{e9}",
            &"a".repeat(65),
        ] {
            assert!(check_name("a fault", text).is_err(), "{text}");
        }
    }
}
