//! Signing in with a browser, where a token is declared. Owns the session's cookie: what is in it, how
//! long it is good, and who may have one.
//!
//! Invariants: the token itself is never sent to a browser; a cookie that was changed, is too old, or
//! was given for another token is none; a token cannot be guessed faster than [`TRIES_MAX`] times in
//! [`TRIES_TIME`].

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{Html, IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use percent_encoding::percent_decode;
use ring::hmac;

use crate::clock::{Instant, Moment};

use super::{AdminState, dashboard};

type Shared = State<Arc<AdminState>>;

/// The cookie's name.
const NAME: &str = "marbre_session";

/// For how long one sign-in is good: a long shift.
const LIFE: Duration = Duration::from_secs(12 * 3600);

/// Wrong tokens that are looked at in [`TRIES_TIME`].
const TRIES_MAX: u32 = 10;

/// See [`TRIES_MAX`].
const TRIES_TIME: Duration = Duration::from_secs(10);

/// Largest form, in bytes: a token and what a browser adds.
pub(super) const BODY_BYTES_MAX: usize = 4096;

/// Who may have a session, and whose cookie is one.
pub struct Sessions {
    token: Option<String>,
    key: hmac::Key,
    tries: Mutex<Tries>,
}

#[derive(Default)]
struct Tries {
    since: Option<Instant>,
    wrong: u32,
}

impl Sessions {
    /// Sessions for those who know this token. Another token ends all that the last one began.
    pub fn new(token: Option<String>) -> Self {
        let secret = token.as_deref().unwrap_or_default().as_bytes();
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        // what signs cookies is derived: a signature of anything else by the token is none of a session
        let derived = hmac::sign(&key, b"marbre admin session, version 1");
        Self {
            token,
            key: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()),
            tries: Mutex::default(),
        }
    }

    /// The token that is declared.
    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Whether the request comes with a session that is good now.
    pub(super) fn admits(&self, headers: &HeaderMap, now: Moment) -> bool {
        self.token.is_some() && cookies(headers).any(|value| self.is_good(value, now))
    }

    fn is_good(&self, value: &str, now: Moment) -> bool {
        let Some((end, signature)) = value.split_once('.') else {
            return false;
        };
        let Some(signature) = unhex(signature) else {
            return false;
        };
        let signed = hmac::verify(&self.key, end.as_bytes(), &signature).is_ok();
        let end = end.parse::<u64>().map(Moment::from_micros);
        signed && end.is_ok_and(|end| end > now && end.since(now) <= LIFE)
    }

    fn cookie(&self, now: Moment) -> String {
        let end = now.after(LIFE).micros().to_string();
        let signature = hex(hmac::sign(&self.key, end.as_bytes()).as_ref());
        format!("{end}.{signature}")
    }

    /// Whether this is the token; an error where too many were wrong just now.
    fn check(&self, given: &str, now: Instant) -> Result<bool, ()> {
        let Some(token) = &self.token else {
            return Ok(false);
        };
        let mut tries = self.tries.lock();
        let is_over = |since: Instant| now.saturating_duration_since(since) >= TRIES_TIME;
        if tries.since.is_none_or(is_over) {
            *tries = Tries {
                since: Some(now),
                wrong: 0,
            };
        }
        if tries.wrong >= TRIES_MAX {
            return Err(());
        }
        let is_right = super::is_same(given.as_bytes(), token.as_bytes());
        tries.wrong += u32::from(!is_right);
        Ok(is_right)
    }
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(COOKIE).into_iter();
    let pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    pairs.filter_map(|pair| pair.trim().strip_prefix(NAME)?.strip_prefix('='))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks_exact(2);
    if !digits.remainder().is_empty() {
        return None;
    }
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[derive(Template)]
#[template(path = "admin/login.html")]
struct Form<'t> {
    trouble: &'t str,
}

/// The form.
pub(super) async fn form(State(state): Shared, headers: HeaderMap) -> Response {
    let now = state.composer.clock();
    let now = now.moment(now.now());
    if state.sessions.token().is_none() || state.sessions.admits(&headers, now) {
        return to("/", None);
    }
    page(StatusCode::OK, "")
}

/// The token that was typed in.
pub(super) async fn enter(State(state): Shared, headers: HeaderMap, body: Bytes) -> Response {
    if super::is_cross_site(&headers) {
        let text = "refused: this was sent by a page of another site\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    let clock = state.composer.clock();
    let given = field(&body).unwrap_or_default();
    match state.sessions.check(given.trim(), clock.now()) {
        Err(()) => page(
            StatusCode::TOO_MANY_REQUESTS,
            "Too many wrong tokens just now. Wait ten seconds and try again.",
        ),
        Ok(false) => page(
            StatusCode::FORBIDDEN,
            "This is not the token that is declared as token in [admin].",
        ),
        Ok(true) => {
            let value = state.sessions.cookie(clock.moment(clock.now()));
            to("/", Some(&cookie(&value, LIFE, &headers)))
        }
    }
}

/// The end of a session in this browser.
pub(super) async fn leave(headers: HeaderMap) -> Response {
    to("/login", Some(&cookie("", Duration::ZERO, &headers)))
}

fn cookie(value: &str, life: Duration, headers: &HeaderMap) -> String {
    let proto = headers
        .get("x-forwarded-proto")
        .map(|proto| proto.as_bytes());
    // without TLS in front a browser would not send a secure one back
    let secure = if proto == Some(b"https") {
        "; Secure"
    } else {
        ""
    };
    let life = life.as_secs();
    format!("{NAME}={value}; Path=/; Max-Age={life}; HttpOnly; SameSite=Strict{secure}")
}

fn field(body: &[u8]) -> Option<String> {
    let mut pairs = body.split(|byte| *byte == b'&');
    let value = pairs.find_map(|pair| pair.strip_prefix(b"token="))?;
    let spaced: Vec<u8> = value
        .iter()
        .map(|b| if *b == b'+' { b' ' } else { *b })
        .collect();
    let decoded = percent_decode(&spaced).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

fn page(status: StatusCode, trouble: &str) -> Response {
    let html = Form { trouble }.render();
    let html = html.expect("a template of one string always renders");
    dashboard::guarded((status, Html(html)).into_response())
}

fn to(path: &'static str, cookie: Option<&str>) -> Response {
    let headers = [(LOCATION, path), (CACHE_CONTROL, "no-store")];
    let mut response = (StatusCode::SEE_OTHER, headers).into_response();
    if let Some(cookie) = cookie.and_then(|cookie| cookie.parse().ok()) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn sessions(token: &str) -> Sessions {
        Sessions::new(Some(token.to_owned()))
    }

    fn sent(value: &str) -> HeaderMap {
        let line = format!("other=1; {NAME}={value}");
        HeaderMap::from_iter([(COOKIE, line.parse().unwrap())])
    }

    #[test]
    fn a_cookie_is_good_for_its_life_and_its_token() {
        let now = Moment::from_micros(1_000_000_000_000);
        let of = sessions("a token of some length");
        let value = of.cookie(now);
        assert!(of.admits(&sent(&value), now));
        assert!(of.admits(&sent(&value), now.after(LIFE / 2)));
        assert!(!of.admits(&sent(&value), now.after(LIFE)));
        assert!(!sessions("another token, as long").admits(&sent(&value), now));
        assert!(!Sessions::new(None).admits(&sent(&value), now));
        assert!(!of.admits(&HeaderMap::new(), now));
    }

    #[test]
    fn a_cookie_that_was_changed_is_none() {
        let now = Moment::from_micros(1_000_000_000_000);
        let of = sessions("a token of some length");
        let value = of.cookie(now);
        let (end, signature) = value.split_once('.').unwrap();
        let later = now.after(LIFE + Duration::from_secs(60)).micros();
        for changed in [
            format!("{later}.{signature}"),
            format!("{end}.{}", "0".repeat(64)),
            format!("{end}."),
            format!("{end}.zz"),
            end.to_owned(),
            String::new(),
        ] {
            assert!(!of.admits(&sent(&changed), now), "{changed}");
        }
    }

    #[test]
    fn a_token_cannot_be_guessed_fast() {
        let of = sessions("a token of some length");
        let now = Clock::start().now();
        for _ in 0..TRIES_MAX {
            assert_eq!(of.check("wrong", now), Ok(false));
        }
        assert_eq!(of.check("a token of some length", now), Err(()));
        let later = now + TRIES_TIME;
        assert_eq!(of.check("a token of some length", later), Ok(true));
    }

    #[test]
    fn a_form_is_decoded() {
        assert_eq!(field(b"x=1&token=a%2Bb+c").as_deref(), Some("a+b c"));
        assert_eq!(field(b"nothing"), None);
    }
}
