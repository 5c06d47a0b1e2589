//! Sources: where a fragment's content is declared to come from, and the request it becomes for one
//! page. Owns the source template and its percent-encoding; knows nothing of connections.
//!
//! Invariant: the host never comes from a request, and whatever a request puts into a template
//! stays within the one path segment or query value that the template gives it.

use std::fmt;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::Fragment;
use super::facts::{Facts, safe_segment};

/// An origin's place in its site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OriginId(pub(crate) usize);

impl OriginId {
    /// The index in declaration order.
    pub fn index(self) -> usize {
        self.0
    }
}

/// Where content is declared to come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// `origin:/path`: asked over HTTP.
    Http {
        /// The named service.
        origin: OriginId,
        /// The path and query to ask for.
        target: TargetTemplate,
    },
    /// `file:` or `inline:` or `data:`: finished HTML, read (and rendered) when the site was loaded.
    Ready(Bytes),
}

/// Everything but `A-Z a-z 0-9 - . _ ~` is encoded (the unreserved set of RFC 3986, 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A value that a source template takes from the request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variable {
    /// `{slug}`: a route parameter.
    Param(String),
    /// `{query.x}`
    Query(String),
    /// `{cookie.x}`
    Cookie(String),
    /// `{header.x}`, lower case.
    Header(String),
    /// `{lang}`
    Lang,
    /// `{device}`
    Device,
}

impl Variable {
    /// What a request gives for it.
    pub fn value<'f>(&self, facts: &'f Facts) -> Option<&'f str> {
        match self {
            Self::Param(name) => facts.param(name),
            Self::Query(name) => facts.query.get(name).map(String::as_str),
            Self::Cookie(name) => facts.cookies.get(name).map(String::as_str),
            Self::Header(name) => facts.headers.get(name).map(String::as_str),
            Self::Lang => Some(&facts.lang),
            Self::Device => Some(facts.device.as_str()),
        }
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Param(name) => f.write_str(name),
            Self::Query(name) => write!(f, "query.{name}"),
            Self::Cookie(name) => write!(f, "cookie.{name}"),
            Self::Header(name) => write!(f, "header.{name}"),
            Self::Lang => f.write_str("lang"),
            Self::Device => f.write_str("device"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Variable { variable: Variable, in_query: bool },
}

/// A path and query with `{variables}`, parsed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetTemplate {
    pieces: Vec<Piece>,
}

/// Why a source template cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It must be an absolute path.
    #[error("the path must start with `/`")]
    NotAbsolute,
    /// A `{` without its `}`.
    #[error("`{{` at byte {0} is never closed")]
    Unclosed(usize),
    /// A stray `}`.
    #[error("`}}` at byte {0} closes nothing")]
    Unopened(usize),
    /// `{}` or a name with odd characters.
    #[error("`{{{0}}}` is not a variable name")]
    BadName(String),
    /// `{something.x}` with an unknown first part.
    #[error("`{{{0}}}`: values come from `query.`, `cookie.` or `header.`")]
    UnknownSpace(String),
    /// A space, a control character, a fragment or anything that is not ASCII.
    #[error("{0:?} must be percent-encoded")]
    BadCharacter(char),
    /// A dot segment would be resolved away by the client library.
    #[error("`.` and `..` are not allowed as path segments")]
    DotSegment,
}

impl TargetTemplate {
    /// Parses `/path/{param}?q={query.q}`.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if !text.starts_with('/') || text.starts_with("//") {
            return Err(TargetError::NotAbsolute);
        }
        let path = text.split_once('?').map_or(text, |(path, _)| path);
        if path.split('/').any(|s| matches!(s, "." | "..")) {
            return Err(TargetError::DotSegment);
        }
        let (mut pieces, mut rest, mut at, mut in_query) = (Vec::new(), text, 0, false);
        while let Some(brace) = rest.find(['{', '}']) {
            if rest.as_bytes()[brace] == b'}' {
                return Err(TargetError::Unopened(at + brace));
            }
            let end = rest[brace..]
                .find('}')
                .ok_or(TargetError::Unclosed(at + brace))?
                + brace;
            literal(&mut pieces, &rest[..brace], &mut in_query)?;
            let variable = parse_variable(&rest[brace + 1..end])?;
            pieces.push(Piece::Variable { variable, in_query });
            at += end + 1;
            rest = &rest[end + 1..];
        }
        literal(&mut pieces, rest, &mut in_query)?;
        Ok(Self { pieces })
    }

    /// The variables that the template uses.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Literal(_) => None,
            Piece::Variable { variable, .. } => Some(variable),
        })
    }

    /// The path and query for one request. A value that is missing, or that would not be one safe
    /// path segment, is replaced by nothing.
    pub fn resolve(&self, facts: &Facts) -> String {
        let mut target = String::with_capacity(64);
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => target.push_str(text),
                Piece::Variable { variable, in_query } => {
                    let value = variable.value(facts).unwrap_or_default();
                    if *in_query || safe_segment(value) {
                        target.extend(utf8_percent_encode(value, RESERVED));
                    }
                }
            }
        }
        target
    }
}

impl fmt::Display for TargetTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => f.write_str(text)?,
                Piece::Variable { variable, .. } => write!(f, "{{{variable}}}")?,
            }
        }
        Ok(())
    }
}

fn literal(pieces: &mut Vec<Piece>, text: &str, in_query: &mut bool) -> Result<(), TargetError> {
    if let Some(bad) = text
        .chars()
        .find(|c| !c.is_ascii_graphic() || matches!(c, '#' | '\\'))
    {
        return Err(TargetError::BadCharacter(bad));
    }
    *in_query |= text.contains('?');
    if !text.is_empty() {
        pieces.push(Piece::Literal(text.to_owned()));
    }
    Ok(())
}

fn parse_variable(name: &str) -> Result<Variable, TargetError> {
    let word = |s: &str| {
        !s.is_empty()
            && s.bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    };
    match name.split_once('.') {
        None if name == "lang" => Ok(Variable::Lang),
        None if name == "device" => Ok(Variable::Device),
        None if word(name) => Ok(Variable::Param(name.to_owned())),
        Some((_, key)) if !word(key) => Err(TargetError::BadName(name.to_owned())),
        Some(("query", key)) => Ok(Variable::Query(key.to_owned())),
        Some(("cookie", key)) => Ok(Variable::Cookie(key.to_owned())),
        Some(("header", key)) => Ok(Variable::Header(key.to_ascii_lowercase())),
        Some(_) => Err(TargetError::UnknownSpace(name.to_owned())),
        None => Err(TargetError::BadName(name.to_owned())),
    }
}

/// What one page asks for one fragment. All of it together is the key of the copy: two pages that
/// ask the same get the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SourceRequest {
    /// [`Fragment::fingerprint`](super::Fragment::fingerprint).
    pub fingerprint: u64,
    /// Path and query, encoded; empty when the content was declared in place.
    pub target: String,
    /// Headers that the fragment is allowed to pass on, by lower-case name, `cookie` included.
    pub headers: Vec<(String, String)>,
    /// The route parameters that the source uses: what its template sees as `params`.
    pub params: Vec<(String, String)>,
}

impl SourceRequest {
    /// What `fragment` asks for on behalf of a request.
    pub fn new(fragment: &Fragment, facts: &Facts) -> Self {
        let Source::Http { target, .. } = &fragment.source else {
            let (target, headers, params) = Default::default();
            return Self {
                fingerprint: fragment.fingerprint,
                target,
                headers,
                params,
            };
        };
        let mut params = Vec::new();
        if fragment.template.is_some() {
            params.extend(target.variables().filter_map(|variable| match variable {
                Variable::Param(name) => Some((name.clone(), facts.param(name)?.to_owned())),
                Variable::Query(_)
                | Variable::Cookie(_)
                | Variable::Header(_)
                | Variable::Lang
                | Variable::Device => None,
            }));
        }
        Self {
            fingerprint: fragment.fingerprint,
            target: target.resolve(facts),
            headers: forwarded(fragment, facts),
            params,
        }
    }
}

fn forwarded(fragment: &Fragment, facts: &Facts) -> Vec<(String, String)> {
    let known = |name: &String| Some((name.clone(), facts.headers.get(name)?.clone()));
    let mut headers: Vec<_> = fragment.forward_headers.iter().filter_map(known).collect();
    let cookies: Vec<String> = fragment
        .forward_cookies
        .iter()
        .filter_map(|name| Some(format!("{name}={}", facts.cookies.get(name)?)))
        .collect();
    if !cookies.is_empty() {
        headers.push(("cookie".to_owned(), cookies.join("; ")));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn facts(slug: &str, q: &str) -> Facts {
        Facts {
            params: vec![("slug".into(), slug.into())],
            query: [("q".to_owned(), q.to_owned())].into(),
            lang: "fr".into(),
            ..Facts::default()
        }
    }

    #[test]
    fn values_are_encoded_where_they_stand() {
        let target = TargetTemplate::parse("/api/{slug}/x?q={query.q}&l={lang}").unwrap();
        assert_eq!(
            target.resolve(&facts("l'été", "a/b&c=d")),
            "/api/l%27%C3%A9t%C3%A9/x?q=a%2Fb%26c%3Dd&l=fr"
        );
    }

    #[test]
    fn wrong_templates_say_what_is_wrong() {
        for (text, error) in [
            ("api", TargetError::NotAbsolute),
            ("//host/x", TargetError::NotAbsolute),
            ("/{slug", TargetError::Unclosed(1)),
            ("/slug}", TargetError::Unopened(5)),
            ("/{}", TargetError::BadName("".into())),
            ("/{env.HOME}", TargetError::UnknownSpace("env.HOME".into())),
            ("/a b", TargetError::BadCharacter(' ')),
            ("/a#b", TargetError::BadCharacter('#')),
            ("/a/../b", TargetError::DotSegment),
        ] {
            assert_eq!(TargetTemplate::parse(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_parameter_never_leaves_its_segment(slug in any::<String>(), q in any::<String>()) {
            let target = TargetTemplate::parse("/a/{slug}/z?q={query.q}").unwrap();
            let resolved = target.resolve(&facts(&slug, &q));
            let (path, query) = resolved.split_once('?').unwrap();
            prop_assert_eq!(path.split('/').count(), 4);
            prop_assert!(path.starts_with("/a/") && path.ends_with("/z"));
            prop_assert!(!path.split('/').any(|s| s == "." || s == ".."));
            prop_assert!(!query[2..].contains(['&', '=', '#', '/', ' ', '\r', '\n']));
        }
    }
}
