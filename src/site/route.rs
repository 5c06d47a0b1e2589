//! Path patterns → what answers. Owns matching and the decoding of parameters; the matching itself
//! is `matchit`'s, whose rule is that a literal segment beats a parameter, whatever the order of
//! declaration.
//!
//! Invariant: a decoded parameter is valid UTF-8 and one safe path segment, and a path with dot
//! segments, in any spelling, matches nothing.

use percent_encoding::percent_decode_str;

use crate::fragment::facts::safe_segment;

use super::PageId;

/// What begins so is the server's own, and no pattern of a site leads there.
pub const OWN: &str = "/.marbre/";

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A composed page.
    Page(PageId),
    /// Index into [`Site::proxies`](super::Site::proxies).
    Proxy(usize),
    /// Index into [`Site::statics`](super::Site::statics).
    Static(usize),
    /// [`Site::status`](super::Site::status).
    Status {
        /// Whether it is asked for as JSON.
        as_json: bool,
    },
}

/// A pattern that cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Another pattern matches the same paths with the same precedence.
    #[error("it conflicts with `{0}`")]
    Conflict(String),
    /// Not a pattern.
    #[error("{0}")]
    Invalid(String),
}

/// A matched path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Something answers.
    Match {
        /// What.
        target: Target,
        /// Parameters in pattern order. Decoded for pages; as they were written for proxies and
        /// folders, so that what is passed through is what was asked for.
        params: Vec<(String, String)>,
    },
    /// Nothing answers.
    Nothing,
    /// The path is not one that any page could have; says why.
    Refused(&'static str),
}

/// All patterns of a site.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    tree: matchit::Router<Target>,
}

impl Routes {
    /// No patterns.
    pub fn new() -> Self {
        Self {
            tree: matchit::Router::new(),
        }
    }

    /// Adds a pattern: literal segments, `{name}` for one segment, `{*name}` for the rest.
    pub fn insert(&mut self, pattern: &str, target: Target) -> Result<(), RouteError> {
        if !pattern.starts_with('/') {
            return Err(RouteError::Invalid(
                "a route must start with `/`".to_owned(),
            ));
        }
        if pattern.contains(['?', '#']) {
            return Err(RouteError::Invalid(
                "a route is a path, without `?` or `#`".to_owned(),
            ));
        }
        self.tree.insert(pattern, target).map_err(|error| {
            if let matchit::InsertError::Conflict { with } = error {
                return RouteError::Conflict(with);
            }
            RouteError::Invalid(error.to_string())
        })
    }

    /// What answers to the path of a request, as it was written in the request line.
    pub fn find(&self, path: &str) -> Found {
        if path.contains('\\') {
            // the client library would ask the origin for a path with a slash in its place
            return Found::Refused("the path has a backslash");
        }
        if has_dot_segment(path) {
            return Found::Refused("the path has `.` or `..` segments");
        }
        let Ok(matched) = self.tree.at(path) else {
            return Found::Nothing;
        };
        let target = *matched.value;
        let raw = matched.params.iter();
        let params = match target {
            Target::Proxy(_) | Target::Static(_) | Target::Status { .. } => Some(
                raw.map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect(),
            ),
            Target::Page(_) => raw
                .map(|(name, value)| Some((name.to_owned(), decode_segment(value)?)))
                .collect::<Option<Vec<_>>>(),
        };
        match params {
            Some(params) => Found::Match { target, params },
            None => Found::Refused("a path parameter is not one readable path segment"),
        }
    }
}

/// Decodes one path segment; `None` when it has a broken escape, is not UTF-8, or is unsafe.
fn decode_segment(raw: &str) -> Option<String> {
    let bytes = raw.as_bytes();
    let well_formed = (0..bytes.len()).filter(|&i| bytes[i] == b'%').all(|i| {
        bytes
            .get(i + 1..i + 3)
            .is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    });
    let decoded = percent_decode_str(raw).decode_utf8().ok()?;
    (well_formed && safe_segment(&decoded)).then(|| decoded.into_owned())
}

/// Whether a path has a `.` or `..` segment, also as `%2e`, or hides one behind `%2f` or `%5c`.
fn has_dot_segment(path: &str) -> bool {
    // most paths have neither a dot at a segment's start nor an escape
    if !path.contains("/.") && !path.contains('%') && !path.contains('\\') {
        return false;
    }
    let decoded = percent_decode_str(path).collect::<Vec<u8>>();
    decoded
        .split(|b| matches!(b, b'/' | b'\\'))
        .any(|s| matches!(s, b"." | b".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes() -> Routes {
        let mut routes = Routes::new();
        for (i, pattern) in ["/", "/a/{slug}", "/a/front", "/s/{x}/{y}"]
            .iter()
            .enumerate()
        {
            routes.insert(pattern, Target::Page(PageId(i))).unwrap();
        }
        routes.insert("/p/{*path}", Target::Proxy(0)).unwrap();
        routes
    }

    fn found(path: &str) -> Option<(Target, Vec<String>)> {
        match routes().find(path) {
            Found::Match { target, params } => {
                Some((target, params.into_iter().map(|(_, v)| v).collect()))
            }
            Found::Nothing | Found::Refused(_) => None,
        }
    }

    #[test]
    fn the_most_specific_pattern_wins() {
        assert_eq!(found("/a/front"), Some((Target::Page(PageId(2)), vec![])));
        assert_eq!(
            found("/a/other"),
            Some((Target::Page(PageId(1)), vec!["other".into()]))
        );
        assert_eq!(found("/nothing"), None);
    }

    #[test]
    fn parameters_are_decoded_for_pages_and_untouched_for_proxies() {
        let decoded = Some((Target::Page(PageId(1)), vec!["l'été".into()]));
        assert_eq!(found("/a/l%27%C3%A9t%C3%A9"), decoded);
        assert_eq!(
            found("/p/a%20b/c"),
            Some((Target::Proxy(0), vec!["a%20b/c".into()]))
        );
    }

    #[test]
    fn paths_that_could_climb_are_refused() {
        for path in [
            "/a/..",
            "/a/%2e%2e",
            "/a/x%2fy",
            "/a/x%5cy",
            "/a/%0d%0aX",
            "/a/%00",
            "/a/%ff",
            "/a/%zz",
            "/a/%",
            "/p/../x",
            "/p/%2E%2e/x",
            "/p/x%2f..%2fy",
            "/p/..%5cx",
            "/a/x%2f..",
        ] {
            assert!(matches!(routes().find(path), Found::Refused(_)), "{path}");
        }
    }

    #[test]
    fn conflicts_name_the_other_pattern() {
        let mut routes = routes();
        assert_eq!(
            routes.insert("/a/{id}", Target::Proxy(1)),
            Err(RouteError::Conflict("/a/{slug}".into()))
        );
        assert!(matches!(
            routes.insert("a", Target::Proxy(1)),
            Err(RouteError::Invalid(_))
        ));
    }
}
