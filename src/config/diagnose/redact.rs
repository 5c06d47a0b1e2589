//! Blots secrets out of a text before anyone may see it. Owns the recognition of tokens, of
//! headers and of passwords in URLs; works on the letters, because a file with a syntax error has no tree to ask.
//!
//! Invariant: the result has the same length and the same lines, so that spans still point right.

/// What is in the name of a key whose value nobody may be shown, also where it is misspelt at its end, or is a key
/// that marbre does not know.
const WORDS: [&str; 13] = [
    "tok",
    "secr",
    "passw",
    "passp",
    "pwd",
    "credential",
    "api_key",
    "api-key",
    "apikey",
    "auth",
    "bearer",
    "debug_key",
    "admin_key",
];

/// The text with the values of keys that are called as secrets are ([`WORDS`]), the values of headers for
/// collectors, `user:password@` in URLs, and private keys in PEM, replaced by `*`; `${ENV}` references stay, for
/// they are names, and so do the names of files (`token_file`).
pub(super) fn blot(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let lower = text.to_ascii_lowercase();
    let found = WORDS.iter().flat_map(|word| lower.match_indices(word));
    for (at, _) in found {
        let is_of_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let before = text[..at].trim_end_matches(is_of_key);
        let rest = text[at..].trim_start_matches(is_of_key);
        let key = &text[before.len()..text.len() - rest.len()];
        // that of a header is one of several on its line: see below
        let is_header = key.eq_ignore_ascii_case("authorization");
        if is_header || key.ends_with("_file") || key.ends_with("_files") {
            continue;
        }
        // `?token={query.t}` in a source is no key
        let is_key =
            before.is_empty() || before.ends_with(['\n', ' ', '\t', '.', '"', '\'', '{', ',']);
        let after = rest.trim_start_matches(['"', '\'', ' ', '\t']);
        if is_key && let Some(value) = after.strip_prefix('=') {
            blot_value(&mut bytes, text.len() - value.len(), value);
        }
    }
    // a header is one of several on its line
    for (at, word) in lower.match_indices("authorization") {
        let after = text[at + word.len()..].trim_start_matches(['"', '\'', ' ', '\t']);
        if let Some(value) = after.strip_prefix('=') {
            let line = value.split('\n').next().unwrap_or_default();
            cover_strings(&mut bytes, text.len() - value.len(), line);
        }
    }
    // what should be a table of headers and is none
    for (at, word) in text.match_indices("headers") {
        let is_whole = text[..at].is_empty() || text[..at].ends_with(['\n', ' ', '\t', '.']);
        let after = text[at + word.len()..].trim_start_matches([' ', '\t']);
        if is_whole
            && let Some(value) = after.strip_prefix('=')
            && !value.trim_start().starts_with('{')
        {
            blot_value(&mut bytes, text.len() - value.len(), value);
        }
    }
    for (start, value) in headers(text) {
        cover_strings(&mut bytes, start, value);
    }
    for (at, mark) in text.match_indices("://") {
        let start = at + mark.len();
        let literal = text[start..].split(['"', '\'', ' ', '\n', '\r']).next();
        let literal = literal.unwrap_or_default();
        let authority = literal.split('/').next().unwrap_or_default();
        // what is no port may be a password with a slash, which belongs encoded
        let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
        let looks_whole = authority
            .rsplit_once(':')
            .is_none_or(|(_, port)| is_port(port));
        let login = match authority.rfind('@') {
            None if !looks_whole => literal.rfind('@'),
            end => end,
        };
        if let Some(end) = login {
            cover(&mut bytes, start, &text[start..start + end]);
        }
    }
    for (start, key) in private_keys(text) {
        cover(&mut bytes, start, key);
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// Where the headers for collectors are: what follows `headers = {` on its line, and each line of a
/// table `[….headers]`. A block or a page may be called `header`.
fn headers(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let (mut at, mut is_table, mut names_others) = (0, false, false);
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        if trimmed.starts_with('[') {
            let table = trimmed.split(']').next().unwrap_or_default();
            let (first, rest) = path(table.trim_start_matches('['));
            names_others = NAMES_OTHERS.contains(&first) && !rest.contains('.');
            is_table = table.contains("header") && !table.contains("header_files") && !names_others;
        } else if names_others || NAMES_OTHERS.contains(&path(trimmed).0) {
            // what it is called is the site's affair
        } else if is_table || trimmed.contains("headers.") {
            let value = line.split_once('=').map_or("", |(_, value)| value);
            found.push((at + line.len() - value.len(), value));
        } else if let Some((_, rest)) = line.split_once("header")
            && !rest.starts_with("_files")
            && let value = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && value.trim_start().starts_with('=')
            && value.contains('{')
        {
            found.push((at + line.len() - value.len(), value));
        }
        at += line.len();
    }
    found
}

/// The tables in which the site names things, none of which has headers.
const NAMES_OTHERS: [&str; 2] = ["fragments", "pages"];

/// A path of keys: its first, and the others.
fn path(keys: &str) -> (&str, &str) {
    let (first, rest) = keys.split_once('.').unwrap_or((keys, ""));
    (first.trim(), rest)
}

/// Where private keys are that somebody has put where the name of their file belongs: to their end, or to that of
/// the text.
fn private_keys(text: &str) -> Vec<(usize, &str)> {
    let marks = text.match_indices("PRIVATE KEY-----");
    let begin = marks.filter(|(at, _)| {
        let line = text[..*at].rsplit('\n').next().unwrap_or_default();
        line.contains("-----BEGIN ")
    });
    let keys = begin.map(|(at, mark)| {
        let start = at + mark.len();
        let end = text[start..].find("-----END ");
        (
            start,
            &text[start..end.map_or(text.len(), |end| start + end)],
        )
    });
    keys.collect()
}

/// Covers what stands between quotes.
fn cover_strings(bytes: &mut [u8], start: usize, text: &str) {
    let mut at = start;
    for (index, piece) in text.split(['"', '\'']).enumerate() {
        if index % 2 == 1 {
            cover(bytes, at, piece);
        }
        at += piece.len() + 1;
    }
}

/// Covers a TOML value: to the end of its line, or of its multi-line string.
fn blot_value(bytes: &mut [u8], start: usize, value: &str) {
    let trimmed = value.trim_start_matches([' ', '\t']);
    let start = start + (value.len() - trimmed.len());
    let fence = ["\"\"\"", "'''"]
        .into_iter()
        .find(|f| trimmed.starts_with(f));
    // a list or a table may go on; whatever stands behind its end on the line goes with it
    let bracket = match trimmed.chars().next() {
        Some('[') => trimmed.find(']').unwrap_or(trimmed.len()),
        Some('{') => trimmed.find('}').unwrap_or(trimmed.len()),
        _ => 0,
    };
    let line_end = |from: usize| trimmed[from..].find('\n').map(|at| from + at);
    let end = match fence {
        Some(fence) => trimmed[3..].find(fence).map_or(trimmed.len(), |i| i + 3),
        None => line_end(bracket).unwrap_or(trimmed.len()),
    };
    cover(bytes, start, &trimmed[..end]);
}

/// Covers letters and digits outside `${…}`; quotes and line ends stay so that it still reads.
fn cover(bytes: &mut [u8], start: usize, text: &str) {
    let (mut at, mut rest) = (start, text);
    while !rest.is_empty() {
        if let Some(len) = rest
            .strip_prefix("${")
            .and_then(|r| r.find(['}', '\n', '"']))
        {
            // the default of `${NAME:-default}` may be a secret, and so may what shells write in other ways
            let inside = &rest[2..len + 2];
            let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let default = inside.trim_start_matches(is_of_name);
            let mark = if default.starts_with(":-") { 2 } else { 0 };
            let end = at + len + 2;
            bytes[end - default.len() + mark..end].fill(b'*');
            at += len + 3;
            rest = &rest[len + 3..];
            continue;
        }
        let c = rest.chars().next().unwrap_or(' ');
        if !matches!(c, '"' | '\'' | '\n' | '\r') {
            bytes[at..at + c.len_utf8()].fill(b'*');
        }
        at += c.len_utf8();
        rest = &rest[c.len_utf8()..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn secrets_are_covered_and_names_are_not() {
        assert_eq!(blot("token = \"s3cret\"\nx=1"), "token = \"******\"\nx=1");
        assert_eq!(
            blot("rehearse_token = \"s3cret\"\n"),
            "rehearse_token = \"******\"\n"
        );
        assert_eq!(
            blot("debug_secret = \"hush\"\n"),
            "debug_secret = \"****\"\n"
        );
        assert_eq!(
            blot("source = \"cms:/x?my_token={query.t}\""),
            "source = \"cms:/x?my_token={query.t}\""
        );
        assert_eq!(blot("admin={token='é'}"), "admin={token='**'*");
        assert_eq!(blot("token = \"${T:-abc}\""), "token = \"${T:-***}\"");
        assert_eq!(blot("token = \"${T-abc}\""), "token = \"${T****}\"");
        assert_eq!(blot("token = \"${T}\""), "token = \"${T}\"");
        assert_eq!(
            blot("token = \"\"\"\nab\n\"\"\"\nx"),
            "token = \"\"\"\n**\n\"\"\"\nx"
        );
        assert_eq!(
            blot("u = \"http://me:pw@host/x@y\""),
            "u = \"http://*****@host/x@y\""
        );
        assert_eq!(
            blot("u = \"redis://:p/w@host:1\"\nv = \"http://h:80/@x\""),
            "u = \"redis://****@host:1\"\nv = \"http://h:80/@x\""
        );
        for site in [
            "[fragments.header]\nsource = 'file:a.html'\npriority = 'essential'",
            "[fragments]\nheader = { source = 'file:a.html' }",
            "fragments.header = { source = 'file:a.html' }",
            "[pages.headers]\nroute = '/'",
        ] {
            assert_eq!(blot(site), site);
        }
        assert_eq!(
            blot("[fragments.header]\nsource = 'a'\n[telemetry.traces.header]\nkey = 's3'"),
            "[fragments.header]\nsource = 'a'\n[telemetry.traces.header]\nkey = '**'"
        );
        assert_eq!(blot("tokn = 's3'\nx"), "tokn = '**'\nx");
        assert_eq!(blot("DB-Secret='s3'"), "DB-Secret='**'");
        for key in ["apikey", "auth", "bearer", "Passphrase", "debug_key"] {
            let line = |value| format!("{key} = '{value}'\nx = 'y'");
            assert_eq!(blot(&line("s3")), line("**"));
        }
        assert_eq!(
            blot("token = [\n'ab',\n'c']\nx = 1"),
            "token = *\n'**'*\n'*'*\nx = 1"
        );
        assert_eq!(blot("a.token_file = 's3'"), "a.token_file = 's3'");
        assert_eq!(blot("password = 'open'"), "password = '****'");
        assert_eq!(blot("password_file = 'a/b'"), "password_file = 'a/b'");
        assert_eq!(
            blot(
                "key = \"\"\"-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----\"\"\"\nx = 1"
            ),
            "key = \"\"\"-----BEGIN PRIVATE KEY-----\n***\n-----END PRIVATE KEY-----\"\"\"\nx = 1"
        );
        assert_eq!(blot("\"token\"=\"open"), "\"token\"=\"****");
        assert_eq!(
            blot("headers = { authorization = \"Bearer s\", x = '${K}' }\n"),
            "headers = { authorization = \"********\", x = '${K}' }\n"
        );
        assert_eq!(
            blot("[telemetry.traces.headers]\nx-key = \"s3\"\n[site]\nlanguage = \"fr\""),
            "[telemetry.traces.headers]\nx-key = \"**\"\n[site]\nlanguage = \"fr\""
        );
        assert_eq!(blot("headers = \"s3\"\nx"), "headers = \"**\"\nx");
        assert_eq!(
            blot("header = { x-key = \"s3\" }"),
            "header = { x-key = \"**\" }"
        );
        assert_eq!(
            blot("header_files = { x-key = \"s3\" }"),
            "header_files = { x-key = \"s3\" }"
        );
        assert_eq!(
            blot("traces.headers.key = \"s\""),
            "traces.headers.key = \"*\""
        );
        assert_eq!(
            blot("forward_headers = [\"accept\"]"),
            "forward_headers = [\"accept\"]"
        );
    }

    proptest! {
        #[test]
        fn length_and_lines_stay(pieces in prop::collection::vec(prop::sample::select(vec![
            "token", "headers", "=", " ", "{", "[", "\"", "é", "${", "}", ":-", "\n", "://", "@", "/", "\"\"\"", "secret", "password", "-----BEGIN PRIVATE KEY-----", "-----END ", ":",
        ]), 0..20)) {
            let text = pieces.concat();
            let blotted = blot(&text);
            prop_assert_eq!(blotted.len(), text.len());
            prop_assert_eq!(blotted.lines().count(), text.lines().count());
        }
    }
}
