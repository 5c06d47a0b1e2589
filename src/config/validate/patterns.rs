//! Route patterns as they are spelled. Owns their parameters and what is said of a wrong pattern;
//! matching is [`site::route`](crate::site::route)'s.

use std::ops::Range;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// A parameter of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Param {
    pub(super) name: String,
    /// `{*name}`: all that follows.
    pub(super) is_rest: bool,
}

/// What is wrong with a pattern.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PatternError {
    pub(super) label: String,
    pub(super) help: String,
    /// The part that is wrong.
    pub(super) culprit: Range<usize>,
}

fn wrong<T>(culprit: Range<usize>, label: &str, help: &str) -> Result<T, PatternError> {
    Err(PatternError {
        label: label.to_owned(),
        help: help.to_owned(),
        culprit,
    })
}

/// The parameters of a pattern, in order.
pub(super) fn params(pattern: &str) -> Result<Vec<Param>, PatternError> {
    let whole = 0..pattern.len();
    if !pattern.starts_with('/') {
        return wrong(
            whole,
            "it must start with `/`",
            "for example `/articles/{slug}`",
        );
    }
    if let Some(at) = pattern.find(['?', '#']) {
        return wrong(
            at..pattern.len(),
            "a route is a path only",
            "queries are read with `{query.x}`",
        );
    }
    if let Some((at, c)) = pattern.char_indices().find(|(_, c)| !c.is_ascii_graphic()) {
        let text = c.to_string();
        let encoded = utf8_percent_encode(&text, NON_ALPHANUMERIC);
        let help = format!("paths arrive percent-encoded: write `{encoded}`");
        return wrong(
            at..at + c.len_utf8(),
            "no path ever has this character",
            &help,
        );
    }
    let (mut params, mut at) = (Vec::<Param>::new(), 1);
    let mut segments = pattern[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let span = at..at + segment.len();
        at += segment.len() + 1;
        if matches!(segment, "." | "..") {
            return wrong(span, "paths with `.` and `..` are refused", "remove it");
        }
        let Some(param) = param(segment, &span)? else {
            continue;
        };
        if param.is_rest && segments.peek().is_some() {
            return wrong(span, "it takes all that follows", "put it last");
        }
        if params.iter().any(|p| p.name == param.name) {
            return wrong(
                span,
                "this name is taken",
                "give each parameter its own name",
            );
        }
        params.push(param);
    }
    Ok(params)
}

fn param(segment: &str, span: &Range<usize>) -> Result<Option<Param>, PatternError> {
    let Some(open) = segment.find(['{', '}']) else {
        return Ok(None);
    };
    let Some(inside) = segment[open..]
        .strip_prefix('{')
        .and_then(|s| s.strip_suffix('}'))
    else {
        let help = "a parameter is `{name}`, to the end of its segment";
        return wrong(span.clone(), "these braces do not make a parameter", help);
    };
    let (name, is_rest) = match inside.strip_prefix('*') {
        Some(name) => (name, true),
        None => (inside, false),
    };
    if is_rest && open > 0 {
        return wrong(
            span.clone(),
            "`{*…}` must be a whole segment",
            "put a `/` before it",
        );
    }
    let is_word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if name.is_empty() || !name.bytes().all(is_word) {
        let help = "names are letters, digits, `-` and `_`";
        return wrong(span.clone(), "this is not a parameter's name", help);
    }
    if matches!(name, "lang" | "device") {
        let help = "choose another name";
        return wrong(
            span.clone(),
            "in a source, this word means the reader's",
            help,
        );
    }
    if name == "item" {
        let help = "choose another name";
        return wrong(
            span.clone(),
            "in a source, this word means an item of a list",
            help,
        );
    }
    Ok(Some(Param {
        name: name.to_owned(),
        is_rest,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parameters_in_order() {
        let names = |pattern| {
            params(pattern).map(|p| {
                p.into_iter()
                    .map(|p| (p.name, p.is_rest))
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(names("/"), Ok(vec![]));
        assert_eq!(
            names("/a/{x}/id-{y}"),
            Ok(vec![("x".into(), false), ("y".into(), false)])
        );
        assert_eq!(names("/a/{*rest}"), Ok(vec![("rest".into(), true)]));
    }

    #[test]
    fn wrong_patterns_point_at_the_culprit() {
        for (pattern, culprit) in [
            ("a", 0..1),
            ("/a?b", 2..4),
            ("/é", 1..3),
            ("/a/../b", 3..5),
            ("/{x", 1..3),
            ("/{x}.html", 1..9),
            ("/{x}{y}", 1..7),
            ("/{*x}/a", 1..5),
            ("/a{*x}", 1..6),
            ("/{x}/{x}", 5..8),
            ("/{}", 1..3),
            ("/{lang}", 1..7),
            ("/{item}", 1..7),
        ] {
            assert_eq!(params(pattern).unwrap_err().culprit, culprit, "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_can_be_routed(pieces in prop::collection::vec(prop::sample::select(vec![
            "/", "a", "{", "}", "x", "*", "-", "{y}", "{*z}", "{{", ".",
        ]), 0..12)) {
            let pattern = format!("/{}", pieces.concat());
            if params(&pattern).is_ok() {
                let target = crate::site::Target::Proxy(0);
                prop_assert_eq!(crate::site::Routes::new().insert(&pattern, target), Ok(()), "{}", pattern);
            }
        }
    }
}
