//! The cookie of an operator who has signed in. A browser sends it to every port of the host, and so to the
//! readers' side too. Owns that it goes no further from there: not to an origin, not into a page.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use crate::site::SESSION_COOKIE;

/// Takes it out of what a browser sends; the other cookies stay as they are.
pub(super) fn take_out(headers: &mut HeaderMap) {
    let has = |line: &HeaderValue| line.as_bytes().split(|b| *b == b';').any(is_own);
    if !headers.get_all(COOKIE).iter().any(has) {
        return;
    }
    let lines: Vec<HeaderValue> = headers.get_all(COOKIE).iter().cloned().collect();
    headers.remove(COOKIE);
    for line in lines {
        let pairs = line.as_bytes().split(|b| *b == b';');
        let others: Vec<&[u8]> = pairs.filter(|pair| !is_own(pair)).collect();
        let rest = others.join(&b';');
        // what was a header's value is still one with less in it
        if let Ok(rest) = HeaderValue::from_bytes(rest.trim_ascii())
            && !rest.is_empty()
        {
            headers.append(COOKIE, rest);
        }
    }
}

/// Whether this pair of a name and a value is it.
fn is_own(pair: &[u8]) -> bool {
    let name = pair.trim_ascii().strip_prefix(SESSION_COOKIE.as_bytes());
    name.is_some_and(|value| value.trim_ascii_start().starts_with(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_operators_cookie_is_taken_out() {
        for (lines, left) in [
            (&["a=1; b=2"][..], &["a=1; b=2"][..]),
            (&["marbre_session=1.ab"], &[]),
            (&["a=1; marbre_session=1.ab; b=2"], &["a=1; b=2"]),
            (&["marbre_session=1.ab;b=2", "c=3"], &["b=2", "c=3"]),
            (&["marbre_session = 1; marbre_session=2"], &[]),
            (
                &["marbre_session_of=1; x=marbre_session=2"],
                &["marbre_session_of=1; x=marbre_session=2"],
            ),
            (&["marbre_session"], &["marbre_session"]),
        ] {
            let value = |line: &&str| HeaderValue::from_str(line).unwrap();
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(COOKIE, value(line));
            }
            take_out(&mut headers);
            let found: Vec<_> = headers.get_all(COOKIE).iter().cloned().collect();
            assert_eq!(found, left.iter().map(value).collect::<Vec<_>>());
        }
    }
}
