//! Signing in with a browser, where a token is declared. Owns the session's cookie: what is in it, how
//! long it is good, and who may have one.
//!
//! Invariants: a token itself is never sent to a browser; a cookie that was changed, is too old, was
//! signed out with, or was given for another token is none, and one that was given for reading is none for acts; from one
//! address a token cannot be guessed faster than [`TRIES_MAX`] times in [`TRIES_TIME`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use askama::Template;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::response::{Html, IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderMap, Method, StatusCode};
use parking_lot::Mutex;
use percent_encoding::percent_decode;
use ring::{digest, hmac};

use crate::clock::{Instant, Moment};
use crate::report::{KnownBy, NotAllowed};
use crate::site::{AdminRole, AdminTokens, SESSION_COOKIE};

use super::audit::{Actor, LetIn};
use super::{AdminState, Peer, dashboard};

type Shared = State<Arc<AdminState>>;

/// For how long one sign-in is good: a long shift.
const LIFE: Duration = Duration::from_secs(12 * 3600);

/// Wrong tokens of one address that are looked at in [`TRIES_TIME`].
const TRIES_MAX: u32 = 10;

/// See [`TRIES_MAX`].
const TRIES_TIME: Duration = Duration::from_secs(10);

/// Addresses whose wrong tokens are counted at once; beyond it the oldest is forgotten.
const GUESSERS_MAX: usize = 1024;

/// Sessions that are remembered as ended; beyond it the one that would end first by itself is forgotten.
const ENDED_MAX: usize = 4096;

/// What somebody is told who signs in with something else.
const WRONG: &str = "This is neither token nor read_token as declared in [admin].";

/// Largest form, in bytes: a token and what a browser adds.
pub(super) const BODY_BYTES_MAX: usize = 4096;

/// Who may have a session, and whose cookie is one.
pub struct Sessions {
    /// Those of who may do most come first.
    passes: ArcSwap<Vec<Pass>>,
    tries: Mutex<BTreeMap<IpAddr, Tries>>,
    /// Those that were ended before their time, by when that would come.
    ended: Mutex<BTreeSet<Ticket>>,
}

/// When a session is over by itself, and the signature of that.
type Ticket = (Moment, Vec<u8>);

/// A token, and what it is good for.
struct Pass {
    role: AdminRole,
    token: String,
    key: hmac::Key,
}

/// Wrong tokens of one address.
struct Tries {
    since: Instant,
    wrong: u32,
}

/// Too many wrong tokens came from there just now: this one is not looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Sessions {
    /// Sessions for those who know one of these tokens. Another token ends all that the last one began.
    pub fn new(tokens: &AdminTokens) -> Self {
        let sessions = Self {
            passes: ArcSwap::default(),
            tries: Mutex::default(),
            ended: Mutex::default(),
        };
        sessions.declare(tokens);
        sessions
    }

    /// Whether a token is declared.
    pub(super) fn need_a_token(&self) -> bool {
        !self.passes.load().is_empty()
    }

    /// Takes other tokens from now on. A session goes on whose token is one of them still.
    pub fn declare(&self, tokens: &AdminTokens) {
        let passes = tokens.each().map(|(role, token)| Pass::new(role, token));
        self.passes.store(Arc::new(passes.collect()));
    }

    /// What the session that the request comes with is good for, if it is good now.
    pub(super) fn admits(&self, headers: &HeaderMap, now: Moment) -> Option<AdminRole> {
        self.session(headers, now).map(|(role, _)| role)
    }

    /// The same, with the name of the session: what tells it from others, and opens nothing.
    pub(super) fn session(&self, headers: &HeaderMap, now: Moment) -> Option<(AdminRole, String)> {
        let passes = self.passes.load();
        let mut found = passes.iter().filter_map(|pass| {
            let value = cookies(headers).find(|value| {
                let ticket = pass.ticket(value, now);
                ticket.is_some_and(|ticket| !self.ended.lock().contains(&ticket))
            })?;
            Some((pass.role, name_of(value)))
        });
        found.next()
    }

    /// Ends each session that the request comes with, wherever its cookie is kept. That is known to this
    /// process alone, and for as long as it runs.
    pub(super) fn end(&self, headers: &HeaderMap, now: Moment) {
        let passes = self.passes.load();
        let mut ended = self.ended.lock();
        // those whose time has come are over anyway
        *ended = ended.split_off(&(now, Vec::new()));
        for value in cookies(headers) {
            let ticket = passes.iter().find_map(|pass| pass.ticket(value, now));
            ended.extend(ticket);
        }
        while ended.len() > ENDED_MAX {
            ended.pop_first();
        }
    }

    fn cookie(&self, role: AdminRole, now: Moment) -> Option<String> {
        let passes = self.passes.load();
        let pass = passes.iter().find(|pass| pass.role == role);
        pass.map(|pass| pass.cookie(now))
    }

    /// What this token is good for, if it is one.
    pub(super) fn check(
        &self,
        given: &[u8],
        from: IpAddr,
        now: Instant,
    ) -> Result<Option<AdminRole>, TooMany> {
        let from = network(from);
        let mut tries = self.tries.lock();
        let is_over = |tries: &Tries| now.saturating_duration_since(tries.since) >= TRIES_TIME;
        if tries.get(&from).is_some_and(is_over) {
            tries.remove(&from);
        }
        if tries
            .get(&from)
            .is_some_and(|tries| tries.wrong >= TRIES_MAX)
        {
            return Err(TooMany);
        }
        // each is compared, so that the time does not tell which one was nearly right
        let is_right = |pass: &Pass| super::is_same(given, pass.token.as_bytes());
        let passes = self.passes.load();
        let role = passes.iter().fold(None, |found, pass| {
            let right = is_right(pass).then_some(pass.role);
            found.or(right)
        });
        if role.is_none() {
            if tries.len() >= GUESSERS_MAX && !tries.contains_key(&from) {
                tries.retain(|_, tries| !is_over(tries));
                let oldest = tries.iter().min_by_key(|(_, tries)| tries.since);
                let oldest = oldest.map(|(address, _)| *address);
                if let Some(oldest) = oldest.filter(|_| tries.len() >= GUESSERS_MAX) {
                    tries.remove(&oldest);
                }
            }
            let tries = tries.entry(from);
            let first = Tries {
                since: now,
                wrong: 0,
            };
            tries.or_insert(first).wrong += 1;
        }
        Ok(role)
    }
}

/// Whose wrong tokens are counted together: of IPv6 the network, for one machine has as many addresses
/// of it as it likes.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

impl Pass {
    fn new(role: AdminRole, token: &str) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes());
        // what signs cookies is derived: a signature of anything else by the token is none of a session
        let derived = hmac::sign(&key, b"marbre admin session, version 1");
        Self {
            role,
            token: token.to_owned(),
            key: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()),
        }
    }

    /// What is in this cookie, if it is that of a session now.
    fn ticket(&self, value: &str, now: Moment) -> Option<Ticket> {
        let (end, signature) = value.split_once('.')?;
        let signature = unhex(signature)?;
        hmac::verify(&self.key, end.as_bytes(), &signature).ok()?;
        let end = Moment::from_micros(end.parse().ok()?);
        (end > now && end.since(now) <= LIFE).then_some((end, signature))
    }

    fn cookie(&self, now: Moment) -> String {
        let end = now.after(LIFE).micros().to_string();
        let signature = hex(hmac::sign(&self.key, end.as_bytes()).as_ref());
        format!("{end}.{signature}")
    }
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(COOKIE).into_iter();
    let pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    pairs.filter_map(|pair| pair.trim().strip_prefix(SESSION_COOKIE)?.strip_prefix('='))
}

/// How a session is called: a few digits of a digest, from which its cookie cannot be made.
fn name_of(cookie: &str) -> String {
    let digest = digest::digest(&digest::SHA256, cookie.as_bytes());
    hex(&digest.as_ref()[..4])
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
    if !state.sessions.need_a_token() || state.sessions.admits(&headers, now).is_some() {
        return to("/", None);
    }
    page(StatusCode::OK, "")
}

/// The token that was typed in.
pub(super) async fn enter(
    State(state): Shared,
    Extension(peer): Extension<Peer>,
    Extension(let_in): Extension<LetIn>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let asked = (&Method::POST, "/login");
    if super::is_cross_site(&headers) {
        state.tell_refusal(asked, NotAllowed::OtherSite, peer);
        let text = "refused: this was sent by a page of another site\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    let clock = state.composer.clock();
    let given = field(&body).unwrap_or_default();
    let given = given.trim().as_bytes();
    match state.sessions.check(given, peer.0, clock.now()) {
        Err(TooMany) => {
            state.tell_refusal(asked, NotAllowed::TooManyTokens, peer);
            page(
                StatusCode::TOO_MANY_REQUESTS,
                "Too many wrong tokens just now. Wait ten seconds and try again.",
            )
        }
        Ok(None) => {
            state.tell_refusal(asked, NotAllowed::WrongToken, peer);
            page(StatusCode::FORBIDDEN, WRONG)
        }
        Ok(Some(role)) => {
            let value = state.sessions.cookie(role, clock.moment(clock.now()));
            // the tokens may just have become others
            let Some(value) = value else {
                return page(StatusCode::FORBIDDEN, WRONG);
            };
            let known_by = KnownBy::Session(name_of(&value));
            let_in.say(Actor { role, known_by });
            to("/", Some(&cookie(&value, LIFE, &headers)))
        }
    }
}

/// The end of a session.
pub(super) async fn leave(State(state): Shared, headers: HeaderMap) -> Response {
    state.sessions.end(&headers, state.now());
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
    format!("{SESSION_COOKIE}={value}; Path=/; Max-Age={life}; HttpOnly; SameSite=Strict{secure}")
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
    use std::net::Ipv4Addr;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn sessions(token: &str) -> Sessions {
        Sessions::new(&AdminTokens {
            operate: Some(token.to_owned()),
            read: Some("a token for the screen".to_owned()),
        })
    }

    fn sent(value: &str) -> HeaderMap {
        let line = format!("other=1; {SESSION_COOKIE}={value}");
        HeaderMap::from_iter([(COOKIE, line.parse().unwrap())])
    }

    #[test]
    fn a_cookie_is_good_for_its_life_and_its_token() {
        let now = Moment::from_micros(1_000_000_000_000);
        let of = sessions("a token of some length");
        let value = of.cookie(AdminRole::Operate, now).unwrap();
        let other = sessions("another token, as long");
        let open = Sessions::new(&AdminTokens::default());
        for (of, at, role) in [
            (&of, now, Some(AdminRole::Operate)),
            (&of, now.after(LIFE / 2), Some(AdminRole::Operate)),
            (&of, now.after(LIFE), None),
            (&other, now, None),
            (&open, now, None),
        ] {
            assert_eq!(of.admits(&sent(&value), at), role);
        }
        assert_eq!(of.admits(&HeaderMap::new(), now), None);
        let reading = of.cookie(AdminRole::Read, now).unwrap();
        assert_eq!(of.admits(&sent(&reading), now), Some(AdminRole::Read));
        // the other token is another one, but this one is the same
        assert_eq!(other.admits(&sent(&reading), now), Some(AdminRole::Read));
        assert_eq!(open.cookie(AdminRole::Read, now), None);
    }

    #[test]
    fn who_signs_out_is_out_with_every_copy_of_the_cookie() {
        let now = Moment::from_micros(1_000_000_000_000);
        let of = sessions("a token of some length");
        let value = of.cookie(AdminRole::Operate, now).unwrap();
        let later = now.after(Duration::from_secs(1));
        let other = of.cookie(AdminRole::Operate, later).unwrap();
        of.end(&sent("0.00"), now);
        assert_eq!(of.admits(&sent(&value), now), Some(AdminRole::Operate));
        of.end(&sent(&value), later);
        assert_eq!(of.admits(&sent(&value), later), None);
        assert_eq!(of.admits(&sent(&other), later), Some(AdminRole::Operate));
        // in hexadecimal digits that are written otherwise it is the same one
        let (end, signature) = value.split_once('.').unwrap();
        let shouted = format!("{end}.{}", signature.to_uppercase());
        assert_eq!(of.admits(&sent(&shouted), later), None);
        // nothing is kept of those that are over by themselves
        of.end(&sent(&other), later.after(LIFE));
        assert!(of.ended.lock().is_empty());
        for time in 0..=u64::try_from(ENDED_MAX).unwrap() {
            let at = now.after(Duration::from_millis(time));
            let value = of.cookie(AdminRole::Read, at).unwrap();
            of.end(&sent(&value), at);
        }
        assert_eq!(of.ended.lock().len(), ENDED_MAX);
    }

    #[test]
    fn a_cookie_that_was_changed_is_none() {
        let now = Moment::from_micros(1_000_000_000_000);
        let of = sessions("a token of some length");
        let value = of.cookie(AdminRole::Operate, now).unwrap();
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
            assert_eq!(of.admits(&sent(&changed), now), None, "{changed}");
        }
    }

    #[test]
    fn a_token_cannot_be_guessed_fast() {
        let of = sessions("a token of some length");
        let now = Clock::start().now();
        let right = b"a token of some length";
        for _ in 0..TRIES_MAX {
            assert_eq!(of.check(b"wrong", HERE, now), Ok(None));
        }
        assert_eq!(of.check(right, HERE, now), Err(TooMany));
        let elsewhere = Ipv4Addr::new(192, 0, 2, 1).into();
        assert_eq!(
            of.check(right, elsewhere, now),
            Ok(Some(AdminRole::Operate))
        );
        let later = now + TRIES_TIME;
        assert_eq!(of.check(right, HERE, later), Ok(Some(AdminRole::Operate)));
        let reading = b"a token for the screen";
        assert_eq!(of.check(reading, HERE, later), Ok(Some(AdminRole::Read)));
    }

    #[test]
    fn those_who_guess_are_counted_in_bounded_room() {
        let of = sessions("a token of some length");
        let now = Clock::start().now();
        let many = u32::try_from(GUESSERS_MAX).unwrap() + 10;
        for address in 0..many {
            let from = Ipv4Addr::from(0x0a00_0000 + address).into();
            assert_eq!(of.check(b"wrong", from, now), Ok(None));
        }
        assert_eq!(of.tries.lock().len(), GUESSERS_MAX);
        // the addresses of one network are one guesser
        for address in 0..TRIES_MAX {
            let last = u16::try_from(address).unwrap();
            let from = Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 0, 0, 0, last).into();
            assert_eq!(of.check(b"wrong", from, now), Ok(None));
        }
        let other = Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 9, 9, 9, 9).into();
        assert_eq!(of.check(b"wrong", other, now), Err(TooMany));
    }

    #[test]
    fn a_form_is_decoded() {
        assert_eq!(field(b"x=1&token=a%2Bb+c").as_deref(), Some("a+b c"));
        assert_eq!(field(b"nothing"), None);
    }
}
