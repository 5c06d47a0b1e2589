//! The expressions of `if` and `elif`: a text, or two that are compared, or a text and a regular
//! expression. Owns their syntax, which is nginx's, and what a match leaves behind.
//!
//! Regular expressions are linear in the text, so there are no look-arounds and no back-references.

use std::collections::BTreeMap;

use bytes::Bytes;
use regex::bytes::{Regex, RegexBuilder};

use super::variables::{Fuel, Invalid, Scope};

/// What it costs to compile a regular expression, in bytes of [`Fuel`]: some 50 µs.
const COMPILING: usize = 16 * 1024;

/// How big a compiled expression may get, in bytes.
const COMPILED_BYTES_MAX: usize = 256 * 1024;

/// Expressions that are kept compiled, of one document.
const KEPT_MAX: usize = 32;

/// What has been compiled for a document; `None` is one that is none.
#[derive(Debug, Default)]
pub(super) struct Compiled(BTreeMap<Vec<u8>, Option<Regex>>);

/// What an expression comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub holds: bool,
    /// If a regular expression matched: the whole match and the groups up to the last that took part.
    pub captures: Option<Vec<Bytes>>,
    /// The groups with names.
    pub named: Vec<(Vec<u8>, Bytes)>,
}

/// Whether the expression holds.
pub(super) fn judge(
    expression: &[u8],
    scope: &Scope<'_>,
    compiled: &mut Compiled,
    fuel: &mut Fuel,
) -> Result<Verdict, Invalid> {
    let len = expression
        .iter()
        .position(|b| !b.is_ascii_alphanumeric() && !b"${}_\"'".contains(b))
        .unwrap_or(expression.len());
    let (left, rest) = expression.split_at(len);
    let left = scope.expand(&left.to_ascii_lowercase(), fuel)?;
    let rest = without_spaces(rest);
    if rest.is_empty() {
        return Ok(Verdict {
            holds: !left.is_empty(),
            ..Verdict::default()
        });
    }
    let (wanted, right) = if let Some(right) = rest.strip_prefix(b"=") {
        (true, right)
    } else {
        (false, rest.strip_prefix(b"!=").ok_or(Invalid)?)
    };
    let mut verdict = compare(left, without_spaces(right), scope, compiled, fuel)?;
    verdict.holds = verdict.holds == wanted;
    Ok(verdict)
}

fn compare(
    left: Vec<u8>,
    right: &[u8],
    scope: &Scope<'_>,
    compiled: &mut Compiled,
    fuel: &mut Fuel,
) -> Result<Verdict, Invalid> {
    if right.len() > 1
        && let Some(pattern) = right.strip_prefix(b"/")
    {
        let pattern = pattern.strip_suffix(b"/").ok_or(Invalid)?;
        let pattern = scope.expand(pattern, fuel)?;
        let regex = compiled.get(pattern, fuel)?;
        fuel.burn(left.len())?;
        return Ok(search(&regex, Bytes::from(left)));
    }
    // a slash that is not to begin a regular expression
    let right = match right {
        [b'\\', b'/', ..] => &right[1..],
        _ => right,
    };
    Ok(Verdict {
        holds: left == scope.expand(right, fuel)?,
        ..Verdict::default()
    })
}

fn search(regex: &Regex, text: Bytes) -> Verdict {
    let Some(found) = regex.captures(&text) else {
        return Verdict::default();
    };
    let group = |index| match found.get(index) {
        Some(group) => text.slice(group.range()),
        None => Bytes::new(),
    };
    let last = (0..found.len()).rfind(|index| found.get(*index).is_some());
    let named = regex.capture_names().enumerate();
    Verdict {
        holds: true,
        captures: Some((0..=last.unwrap_or(0)).map(group).collect()),
        named: named
            .filter_map(|(index, name)| Some((name?.as_bytes().to_vec(), group(index))))
            .collect(),
    }
}

impl Compiled {
    fn get(&mut self, pattern: Vec<u8>, fuel: &mut Fuel) -> Result<Regex, Invalid> {
        if let Some(known) = self.0.get(&pattern) {
            return known.clone().ok_or(Invalid);
        }
        fuel.burn(COMPILING)?;
        let regex = compile(&pattern);
        if self.0.len() < KEPT_MAX {
            self.0.insert(pattern, regex.clone());
        }
        regex.ok_or(Invalid)
    }
}

fn compile(pattern: &[u8]) -> Option<Regex> {
    RegexBuilder::new(std::str::from_utf8(pattern).ok()?)
        .unicode(false)
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(COMPILED_BYTES_MAX)
        .nest_limit(32)
        .build()
        .ok()
}

fn without_spaces(mut text: &[u8]) -> &[u8] {
    while let Some(rest) = text.strip_prefix(b" ") {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::markup::{Limits, trial};
    use crate::layout::ssi::dates::Dates;
    use crate::layout::ssi::variables::Memory;

    fn judged(expression: &str) -> Result<Verdict, Invalid> {
        let limits = Limits::default();
        judge(
            expression.as_bytes(),
            &Scope {
                memory: &Memory::default(),
                asked: &trial::asked("v=Equal&cap=hereCAP1andCAP2&e=&path=/a/b&x=a*", &[]),
                dates: &Dates::default(),
                limits: &limits,
            },
            &mut Compiled::default(),
            &mut Fuel::of(&limits),
        )
    }

    #[test]
    fn texts_and_comparisons() {
        for (expression, holds) in [
            ("$arg_v", true),
            ("$arg_v  ", true),
            ("$arg_none", false),
            ("$arg_e", false),
            ("", false),
            ("text", true),
            ("$arg_v = Equal", true),
            ("$arg_v=Equal", true),
            ("$ARG_V = Equal", true),
            // what follows the operator is compared to its end
            ("$arg_v = Equal ", false),
            ("$arg_v != Equal", false),
            ("$arg_v != other", true),
            // what is written on the left is lowered, values are not
            ("EQUAL = equal", true),
            ("EQUAL = $arg_v", false),
            ("= ", true),
            ("$arg_none = ", true),
            ("${arg_v}x = Equalx", true),
            ("$arg_path = \\/a/b", true),
            ("$arg_path != /a/", false),
            ("$arg_e = /", false),
            ("'a' = 'a'", true),
        ] {
            assert_eq!(
                judged(expression).map(|v| v.holds),
                Ok(holds),
                "{expression}"
            );
        }
    }

    #[test]
    fn regular_expressions() {
        for (expression, holds) in [
            ("$arg_v = /^Eq/", true),
            ("$arg_v = /eq/", false),
            ("$arg_v = /(?i)eq/", true),
            ("$arg_v != /^Eq/", false),
            ("$arg_v = /u.l\\$/", true),
            ("$arg_cap = /CAP\\d/", true),
            ("$arg_path = /^/a/b/", true),
            // a pattern may hold variables
            ("aaa = /^$arg_x\\$/", true),
        ] {
            assert_eq!(
                judged(expression).map(|v| v.holds),
                Ok(holds),
                "{expression}"
            );
        }
        let verdict = judged("$arg_cap = /(?P<first>CAP.).*(CAP.)|(never)/").unwrap();
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        assert_eq!(
            verdict.captures,
            Some(vec![bytes("CAP1andCAP2"), bytes("CAP1"), bytes("CAP2")]),
        );
        assert_eq!(verdict.named, [(b"first".to_vec(), bytes("CAP1"))]);
    }

    #[test]
    fn what_is_no_expression() {
        for expression in [
            "a b",
            "a-b = c",
            "$arg_v ! x",
            "$arg_v = /a",
            "$arg_v = /(/",
            "$arg_v = /a$/",
            "$arg_v = /(?=look)/",
            "$arg_v = /(a)\\1/",
            "$arg_v = /(a{1000}){1000}/",
            "$",
            "${arg_v",
            "a = $",
        ] {
            assert_eq!(judged(expression), Err(Invalid), "{expression}");
        }
    }

    #[test]
    fn compiling_costs_and_is_remembered() {
        let limits = Limits {
            steps: 2 * COMPILING as u64 / 64,
            ..Limits::default()
        };
        let mut compiled = Compiled::default();
        let mut fuel = Fuel::of(&limits);
        for _ in 0..10 {
            assert!(compiled.get(b"one".to_vec(), &mut fuel).is_ok());
        }
        assert!(compiled.get(b"two".to_vec(), &mut fuel).is_ok());
        assert!(compiled.get(b"three".to_vec(), &mut fuel).is_err());
    }
}
