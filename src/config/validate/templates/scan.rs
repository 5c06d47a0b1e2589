//! What a template refers to, by its letters: other templates, filters, tests. Owns a reading of
//! tags that is just good enough for this; the engine's own parser is not public.
//!
//! Invariant: never wrong about a name it reports; may overlook what is spelled unusually.

use std::ops::Range;

/// Another template that is named in a tag.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) name: String,
    pub(super) span: Range<usize>,
    /// `ignore missing`
    pub(super) may_be_missing: bool,
    /// The name is not a literal.
    pub(super) is_computed: bool,
}

/// What a word is used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WordKind {
    /// `x|name`
    Filter,
    /// `x is name`
    Test,
}

/// A name that the engine resolves when it runs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) kind: WordKind,
    pub(super) name: String,
    pub(super) span: Range<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token<'t> {
    Name(&'t str),
    Text(&'t str),
    Mark(char),
}

/// The templates that this one includes, imports or extends.
pub(super) fn references(text: &str) -> Vec<Reference> {
    let mut references = Vec::new();
    for tag in tags(text).into_iter().filter(|tag| tag.is_block) {
        let tokens = tokens(text, &tag.inside);
        let Some((Token::Name("include" | "import" | "extends" | "from"), _)) = tokens.first()
        else {
            continue;
        };
        let may_be_missing = tokens
            .iter()
            .any(|(token, _)| *token == Token::Name("missing"));
        let reference = |name: &str, span: Range<usize>, is_computed| Reference {
            name: name.to_owned(),
            span,
            may_be_missing,
            is_computed,
        };
        let is_list = matches!(tokens.get(1), Some((Token::Mark('['), _)));
        let after_name = match tokens.get(2) {
            None => true,
            Some((Token::Name(word), _)) => {
                matches!(*word, "as" | "import" | "ignore" | "with" | "without")
            }
            Some(_) => false,
        };
        match tokens.get(1) {
            Some((Token::Text(name), span)) if after_name => {
                references.push(reference(name, span.clone(), false));
            }
            Some(_) if is_list => {
                let literals = tokens.iter().filter_map(|(token, span)| match token {
                    Token::Text(name) => Some((*name, span.clone())),
                    Token::Name(_) | Token::Mark(_) => None,
                });
                // of a list, the first that exists is taken
                references.extend(literals.map(|(name, span)| Reference {
                    may_be_missing: true,
                    ..reference(name, span, false)
                }));
            }
            Some((_, span)) => references.push(reference("", span.clone(), true)),
            None => {}
        }
    }
    references
}

/// The filters and tests that a template uses.
pub(super) fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    for tag in tags(text) {
        let tokens = tokens(text, &tag.inside);
        for (i, (token, span)) in tokens.iter().enumerate() {
            let Token::Name(name) = token else { continue };
            let before = |n: usize| i.checked_sub(n).map(|i| &tokens[i].0);
            let kind = match (before(1), before(2)) {
                (Some(Token::Mark('|')), _) => WordKind::Filter,
                (Some(Token::Name("is")), _) if *name != "not" => WordKind::Test,
                (Some(Token::Name("not")), Some(Token::Name("is"))) => WordKind::Test,
                _ => continue,
            };
            words.push(Word {
                kind,
                name: (*name).to_owned(),
                span: span.clone(),
            });
        }
    }
    words
}

struct Tag {
    inside: Range<usize>,
    is_block: bool,
}

/// The `{{ … }}` and `{% … %}` of a template, without comments and what is between `raw` tags.
fn tags(text: &str) -> Vec<Tag> {
    let (mut tags, mut at, mut raw) = (Vec::new(), 0, false);
    while let Some(open) = text[at..].find('{').map(|i| at + i) {
        let (close, is_block) = match text.as_bytes().get(open + 1) {
            Some(b'#') if !raw => {
                at = text[open..].find("#}").map_or(text.len(), |i| open + i + 2);
                continue;
            }
            Some(b'{') if !raw => ("}}", false),
            Some(b'%') => ("%}", true),
            _ => {
                at = open + 1;
                continue;
            }
        };
        let start = open + 2;
        let Some(end) = end_of_tag(text, start, close) else {
            break;
        };
        let inside = start..end;
        let word = text[inside.clone()]
            .trim_matches(|c: char| matches!(c, '-' | '+') || c.is_whitespace());
        match word {
            "raw" if is_block => raw = true,
            "endraw" if is_block => raw = false,
            _ if !raw => tags.push(Tag { inside, is_block }),
            _ => {
                at = open + 2;
                continue;
            }
        }
        at = end + 2;
    }
    tags
}

/// Where a tag's content ends, strings skipped.
fn end_of_tag(text: &str, start: usize, close: &str) -> Option<usize> {
    let mut quote = None;
    for (i, c) in text[start..].char_indices() {
        match quote {
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if text[start + i..].starts_with(close) => return Some(start + i),
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None => {}
        }
    }
    None
}

fn tokens<'t>(text: &'t str, inside: &Range<usize>) -> Vec<(Token<'t>, Range<usize>)> {
    let (mut tokens, mut at) = (Vec::new(), inside.start);
    while at < inside.end {
        let rest = &text[at..inside.end];
        let c = rest.chars().next().unwrap_or(' ');
        let is_letter = |c: char| c.is_alphanumeric() || c == '_';
        let len = match c {
            '"' | '\'' => rest[1..].find(c).map_or(rest.len(), |i| i + 2),
            c if is_letter(c) => rest.find(|c| !is_letter(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let token = &rest[..len];
        match c {
            '"' | '\'' => {
                let name = token[1..].strip_suffix(c).unwrap_or(&token[1..]);
                tokens.push((Token::Text(name), at + 1..at + 1 + name.len()));
            }
            c if is_letter(c) => tokens.push((Token::Name(token), at..at + len)),
            c if c.is_whitespace() => {}
            // `{%-` and `-%}`
            '-' | '+' if at == inside.start || at + 1 == inside.end => {}
            c => tokens.push((Token::Mark(c), at..at + len)),
        }
        at += len;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(text: &str) -> Vec<(String, bool, bool)> {
        references(text)
            .into_iter()
            .map(|r| (r.name, r.may_be_missing, r.is_computed))
            .collect()
    }

    #[test]
    fn references_in_any_dress() {
        let sure = |name: &str| (name.to_owned(), false, false);
        assert_eq!(
            names("{% include 'a' %}{%- extends \"b\" -%}"),
            [sure("a"), sure("b")]
        );
        assert_eq!(
            names("{% import 'a' as x %}{% from 'b' import y %}"),
            [sure("a"), sure("b")]
        );
        assert_eq!(
            names("{% include 'a' ignore missing %}"),
            [("a".into(), true, false)]
        );
        assert_eq!(names("{% include ['a', 'b'] %}").len(), 2);
        assert_eq!(
            names("{% include kind ~ '.html' %}"),
            [(String::new(), false, true)]
        );
        assert_eq!(
            names("{% include 'a' if x else 'b' %}"),
            [(String::new(), false, true)]
        );
        for none in [
            "{# {% include 'a' %} #}",
            "{% raw %}{% include 'a' %}{% endraw %}",
            "{{ \"{% include 'a' %}\" }}",
            "{% set include = 'a' %}",
            "{% include",
        ] {
            assert_eq!(names(none), [], "{none}");
        }
    }

    #[test]
    fn filters_and_tests() {
        let found: Vec<_> =
            words("{{ a|upper|join('|x') }}{% if b is not even and c is odd %}|no{% endif %}")
                .into_iter()
                .map(|w| (w.kind, w.name))
                .collect();
        let expected = [
            (WordKind::Filter, "upper"),
            (WordKind::Filter, "join"),
            (WordKind::Test, "even"),
            (WordKind::Test, "odd"),
        ];
        assert_eq!(found, expected.map(|(kind, name)| (kind, name.to_owned())));
    }

    proptest! {
        #[test]
        fn never_panics(pieces in prop::collection::vec(prop::sample::select(vec![
            "{%", "%}", "{{", "}}", "{#", "#}", "include", " ", "'", "\"", "a", "|", "is", "é", "-", "raw", "endraw", "[",
        ]), 0..25)) {
            let text = pieces.concat();
            let _ = (references(&text), words(&text));
        }
    }
}
