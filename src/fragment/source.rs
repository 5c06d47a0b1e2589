//! Sources: where a fragment's content is declared to come from, and the request it becomes for one
//! page, or for whoever brings the answer of his own accord. Owns the source template and its
//! percent-encoding; knows nothing of connections.
//!
//! Invariant: the host never comes from a request, and whatever a request puts into a template
//! stays within the one path segment or query value that the template gives it.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

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
    /// `push:/path`: what was pushed under that path and query; nobody is asked.
    Push(TargetTemplate),
    /// `file:` or `inline:` or `data:`: finished HTML, read (and rendered) when the site was loaded.
    Ready(Bytes),
}

impl Source {
    /// Who is asked, if anybody is.
    pub fn origin(&self) -> Option<OriginId> {
        match self {
            Self::Http { origin, .. } => Some(*origin),
            Self::Push(_) | Self::Ready(_) => None,
        }
    }

    /// Of what its copies are kept under, the path and query; none for what is not copied.
    pub fn target(&self) -> Option<&TargetTemplate> {
        match self {
            Self::Http { target, .. } | Self::Push(target) => Some(target),
            Self::Ready(_) => None,
        }
    }
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
    /// `{item}`, or `{item.x}` with the path in the item: an item of a list.
    Item(String),
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
            Self::Item(path) => facts.item.get(path).map(String::as_str),
        }
    }

    /// Whether it tells one reader from another.
    pub fn is_personal(&self) -> bool {
        match self {
            Self::Cookie(_) => true,
            Self::Header(name) => name == "authorization",
            Self::Param(_) | Self::Query(_) | Self::Lang | Self::Device | Self::Item(_) => false,
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
            Self::Item(path) if path.is_empty() => f.write_str("item"),
            Self::Item(path) => write!(f, "item.{path}"),
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
    #[error("`{{{0}}}`: values come from `query.`, `cookie.`, `header.` or `item.`")]
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

    /// Whether everything that it takes from an item of a list is there, and can stand where it
    /// stands: a path without its id is another path.
    pub fn has_its_item(&self, facts: &Facts) -> bool {
        self.pieces.iter().all(|piece| match piece {
            Piece::Variable {
                variable: variable @ Variable::Item(_),
                in_query,
            } => variable
                .value(facts)
                .is_some_and(|value| !value.is_empty() && (*in_query || safe_segment(value))),
            Piece::Literal(_) | Piece::Variable { .. } => true,
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

    /// The route parameters with which the template resolves to `target`, in the order of its
    /// variables; `None` if it never does. Where two variables meet without a `/` between them the
    /// first takes as little as it can.
    pub fn params_of(&self, target: &str) -> Option<Vec<(String, String)>> {
        let mut found = Vec::with_capacity(self.pieces.len());
        let mut steps = 0;
        if !matches(&self.pieces, target, &mut found, &mut steps) {
            return None;
        }
        let params = found.into_iter().filter_map(|(variable, value)| {
            let Variable::Param(name) = variable else {
                return None;
            };
            Some((name.clone(), value))
        });
        Some(params.collect())
    }
}

/// Ways to divide a target among variables that are tried: a sane template needs a few for each
/// byte, and an absurd one must not take all day.
const STEPS_MAX: usize = 1 << 16;

/// Whether these pieces resolve to `text`, with one value for each variable.
fn matches<'p>(
    pieces: &'p [Piece],
    text: &str,
    found: &mut Vec<(&'p Variable, String)>,
    steps: &mut usize,
) -> bool {
    let (variable, in_query, rest) = match pieces {
        [] => return text.is_empty(),
        [Piece::Literal(literal), rest @ ..] => {
            let after = text.strip_prefix(literal.as_str());
            return after.is_some_and(|after| matches(rest, after, found, steps));
        }
        [Piece::Variable { variable, in_query }, rest @ ..] => (variable, *in_query, rest),
    };
    let is_value = |b: u8| b.is_ascii_alphanumeric() || b"-._~%".contains(&b);
    let len_max = text.bytes().take_while(|b| is_value(*b)).count();
    for len in 0..=len_max {
        *steps += 1;
        if *steps > STEPS_MAX {
            return false;
        }
        let Some(value) = value_of(&text[..len], variable, in_query) else {
            continue;
        };
        let known = found.iter().find(|(known, _)| *known == variable);
        if known.is_some_and(|(_, known)| *known != value) {
            continue;
        }
        found.push((variable, value));
        if matches(rest, &text[len..], found, steps) {
            return true;
        }
        found.pop();
    }
    false
}

/// The value that is written as `text`, if one is: as [`resolve`](TargetTemplate::resolve) writes it.
fn value_of(text: &str, variable: &Variable, in_query: bool) -> Option<String> {
    let value = percent_decode_str(text).decode_utf8().ok()?;
    let is_given = match (text.is_empty(), in_query) {
        // a route has a value for each of its parameters; everything else may be missing
        (true, _) => !matches!(variable, Variable::Param(_)),
        (false, false) => safe_segment(&value),
        (false, true) => true,
    };
    let is_written_so = || utf8_percent_encode(&value, RESERVED).to_string() == text;
    (is_given && is_written_so()).then(|| value.into_owned())
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
        None if name == "item" => Ok(Variable::Item(String::new())),
        None if word(name) => Ok(Variable::Param(name.to_owned())),
        Some(("item", path)) if path.split('.').all(word) => Ok(Variable::Item(path.to_owned())),
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
    /// The route parameters that the source uses: what its template sees as `params`. Of a list,
    /// also everything else that its items vary with, by the name it has in a source.
    pub params: Vec<(String, String)>,
}

impl SourceRequest {
    /// What `fragment` asks for on behalf of every request, unless it depends on the request.
    pub fn same_for_all(fragment: &Fragment) -> Option<Self> {
        let depends = fragment.source.target().is_some_and(|target| {
            let mut varies = fragment.list.iter().flat_map(|list| &list.varies);
            target.variables().chain(varies.by_ref()).next().is_some()
                || !fragment.forward_headers.is_empty()
                || !fragment.forward_cookies.is_empty()
        });
        (!depends).then(|| Self::new(fragment, &Facts::default()))
    }

    /// What `fragment` asks for on behalf of a request.
    pub fn new(fragment: &Fragment, facts: &Facts) -> Self {
        let Some(target) = fragment.source.target() else {
            let (target, headers, params) = Default::default();
            return Self {
                fingerprint: fragment.fingerprint,
                target,
                headers,
                params,
            };
        };
        let mut params = Vec::new();
        if sees_params(fragment) {
            params.extend(target.variables().filter_map(|variable| match variable {
                Variable::Param(name) => Some((name.clone(), facts.param(name)?.to_owned())),
                Variable::Query(_)
                | Variable::Cookie(_)
                | Variable::Header(_)
                | Variable::Lang
                | Variable::Device
                | Variable::Item(_) => None,
            }));
        }
        let varies = fragment.list.iter().flat_map(|list| &list.varies);
        for variable in varies {
            let name = variable.to_string();
            if let Some(value) = variable.value(facts)
                && params.iter().all(|(known, _)| *known != name)
            {
                params.push((name, value.to_owned()));
            }
        }
        Self {
            fingerprint: fragment.fingerprint,
            target: target.resolve(facts),
            headers: forwarded(fragment, facts),
            params,
        }
    }

    /// What `fragment` asks for where its template resolves to `target` and a request has these
    /// forwarded headers; `None` if it never resolves to that. With it, what a template sees as
    /// `params`.
    pub fn resolved(
        fragment: &Fragment,
        target: &str,
        headers: BTreeMap<String, String>,
    ) -> Option<(Self, Vec<(String, String)>)> {
        let params = fragment.source.target()?.params_of(target)?;
        let facts = Facts {
            headers,
            ..Facts::default()
        };
        let request = Self {
            fingerprint: fragment.fingerprint,
            target: target.to_owned(),
            headers: forwarded(fragment, &facts),
            params: match sees_params(fragment) {
                true => params.clone(),
                false => Vec::new(),
            },
        };
        Some((request, params))
    }
}

/// Whether what a page shows of the fragment is rendered with the page's parameters. What was pushed
/// has been rendered when it came.
fn sees_params(fragment: &Fragment) -> bool {
    let is_asked_for = matches!(fragment.source, Source::Http { .. });
    is_asked_for && fragment.template.is_some()
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
    fn an_item_is_all_there_or_it_is_missing() {
        let target = TargetTemplate::parse("/t/{item.a.id}?n={item}&l={lang}").unwrap();
        let mut facts = facts("x", "");
        assert!(!target.has_its_item(&facts));
        facts.item.insert(String::new(), "a/b".to_owned());
        facts.item.insert("a.id".to_owned(), "é".to_owned());
        assert!(target.has_its_item(&facts));
        assert_eq!(target.resolve(&facts), "/t/%C3%A9?n=a%2Fb&l=fr");
        for unsafe_in_a_path in ["", "a/b", ".."] {
            facts
                .item
                .insert("a.id".to_owned(), unsafe_in_a_path.to_owned());
            assert!(!target.has_its_item(&facts), "{unsafe_in_a_path:?}");
        }
        assert_eq!(target.to_string(), "/t/{item.a.id}?n={item}&l={lang}");
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
            ("/{item.}", TargetError::BadName("item.".into())),
            ("/{item.a..b}", TargetError::BadName("item.a..b".into())),
            ("/a b", TargetError::BadCharacter(' ')),
            ("/a#b", TargetError::BadCharacter('#')),
            ("/a/../b", TargetError::DotSegment),
        ] {
            assert_eq!(TargetTemplate::parse(text), Err(error), "{text}");
        }
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let pair = |(n, v): &(&str, &str)| ((*n).to_owned(), (*v).to_owned());
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn parameters_are_found_again_in_a_target() {
        type Found<'f> = Option<&'f [(&'f str, &'f str)]>;
        let rows: [(&str, &str, Found<'_>); 19] = [
            ("/front", "/front", Some(&[])),
            ("/front", "/front/", None),
            ("/a/{slug}", "/a/foo", Some(&[("slug", "foo")])),
            (
                "/a/{slug}",
                "/a/l%27%C3%A9t%C3%A9",
                Some(&[("slug", "l'été")]),
            ),
            ("/a/{slug}", "/a/l'%C3%A9t%C3%A9", None),
            ("/a/{slug}", "/a/l%27%c3%a9t%c3%a9", None),
            ("/a/{slug}", "/a/%41", None),
            ("/a/{slug}", "/a/%FF", None),
            ("/a/{slug}", "/a/%2", None),
            ("/a/{slug}", "/a/x%2Fy", None),
            ("/a/{slug}", "/a/..", None),
            ("/a/{slug}", "/a/", None),
            ("/a/{slug}", "/a/b/c", None),
            ("/a/{x}-{y}", "/a/p-q-r", Some(&[("x", "p"), ("y", "q-r")])),
            (
                "/{x}.html?x={x}",
                "/a.html.html?x=a.html",
                Some(&[("x", "a.html"), ("x", "a.html")]),
            ),
            ("/{x}.html?x={x}", "/a.html?x=b", None),
            ("/s?q={query.q}", "/s?q=", Some(&[])),
            (
                "/s/{x}?q={query.q}&l={lang}",
                "/s/1?q=a%2Fb&l=fr",
                Some(&[("x", "1")]),
            ),
            ("/s?q={query.q}", "/s?q=a&more=b", None),
        ];
        for (template, target, expected) in rows {
            let found = TargetTemplate::parse(template).unwrap().params_of(target);
            assert_eq!(found, expected.map(pairs), "{template} {target}");
        }
    }

    #[test]
    fn an_absurd_template_is_given_up() {
        let template = "{a}".repeat(12);
        let template = TargetTemplate::parse(&format!("/{template}!")).unwrap();
        assert_eq!(template.params_of(&format!("/{}", "x".repeat(4000))), None);
    }

    proptest! {
        #[test]
        fn what_resolves_is_found_again(slug in "[^/\\\\\\p{Cc}]{1,12}", q in any::<String>()) {
            prop_assume!(safe_segment(&slug));
            let target = TargetTemplate::parse("/a/{slug}/z?q={query.q}").unwrap();
            let found = target.params_of(&target.resolve(&facts(&slug, &q)));
            prop_assert_eq!(found, Some(pairs(&[("slug", &slug)])));
        }

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
