//! Tokens by which somebody may see how a page of theirs was made (`Marbre-Debug`). Owns what a token
//! says, how it is signed, and when it is good; pure: the time is an argument.
//!
//! A token is `d1.END.SIGNATURE`: seconds since 1970 until which it is good, and the HMAC-SHA-256 of that
//! by a key that is made of the site's secret. Invariant: comparing takes as long whatever was given.

use std::fmt;
use std::time::Duration;

use ring::hmac;

use crate::clock::Moment;

/// What a token begins with by which a page says how it was made.
pub const FORM: &str = "d1";

/// What one begins with by which a page has the faults that are set for whoever has such a token.
pub const CHAOS: &str = "c1";

/// The longest that a token may be good for.
pub const LIFE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// What tokens are signed with.
#[derive(Clone)]
pub struct DebugSecret {
    secret: String,
    key: hmac::Key,
}

/// Why a token is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DebugRefused {
    /// It was not made with this secret, or is none.
    #[error("wrong")]
    Wrong,
    /// It was good once.
    #[error("expired")]
    Expired,
}

impl DebugSecret {
    /// The secret of this text.
    pub fn new(secret: impl Into<String>) -> Self {
        let secret = secret.into();
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        // what else may be signed with the same text is none of a token
        let derived = hmac::sign(&key, b"marbre debug token, version 1");
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()),
            secret,
        }
    }

    /// A token that is good until then.
    pub fn token(&self, end: Moment) -> String {
        self.token_for(FORM, end)
    }

    /// The same of another form: for another purpose it is good for nothing.
    pub fn token_for(&self, form: &str, end: Moment) -> String {
        let signed = format!("{form}.{}", end.micros() / 1_000_000);
        let signature = hmac::sign(&self.key, signed.as_bytes());
        let digits = signature.as_ref().iter().map(|byte| format!("{byte:02x}"));
        format!("{signed}.{}", digits.collect::<String>())
    }

    /// Until when a token is good, if it is good now.
    pub fn check(&self, token: &str, now: Moment) -> Result<Moment, DebugRefused> {
        self.check_for(FORM, token, now)
    }

    /// The same of a token of another form.
    pub fn check_for(&self, form: &str, token: &str, now: Moment) -> Result<Moment, DebugRefused> {
        let (signed, signature) = token.rsplit_once('.').ok_or(DebugRefused::Wrong)?;
        let signature = unhex(signature).ok_or(DebugRefused::Wrong)?;
        hmac::verify(&self.key, signed.as_bytes(), &signature).map_err(|_| DebugRefused::Wrong)?;
        let end = signed
            .strip_prefix(form)
            .and_then(|rest| rest.strip_prefix('.'));
        let end: u64 = end
            .and_then(|end| end.parse().ok())
            .ok_or(DebugRefused::Wrong)?;
        let end = Moment::from_micros(end.saturating_mul(1_000_000));
        match end > now {
            true if end.since(now) <= LIFE_MAX => Ok(end),
            true => Err(DebugRefused::Wrong),
            false => Err(DebugRefused::Expired),
        }
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks_exact(2);
    if !digits.remainder().is_empty() || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

impl PartialEq for DebugSecret {
    fn eq(&self, other: &Self) -> bool {
        self.secret == other.secret
    }
}

impl Eq for DebugSecret {}

impl fmt::Debug for DebugSecret {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DebugSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_micros(1_800_000_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_token_is_good_until_its_end_and_for_its_secret() {
        let secret = DebugSecret::new("a secret of some length");
        let token = secret.token(NOW.after(HOUR));
        assert_eq!(secret.check(&token, NOW), Ok(NOW.after(HOUR)));
        let last = NOW.after(HOUR - Duration::from_secs(1));
        assert_eq!(secret.check(&token, last), Ok(NOW.after(HOUR)));
        let over = NOW.after(HOUR);
        assert_eq!(secret.check(&token, over), Err(DebugRefused::Expired));
        let other = DebugSecret::new("another secret, as long");
        assert_eq!(other.check(&token, NOW), Err(DebugRefused::Wrong));
        assert_eq!(format!("{secret:?}"), "DebugSecret(…)");
        let of_faults = secret.token_for(CHAOS, NOW.after(HOUR));
        assert!(secret.check_for(CHAOS, &of_faults, NOW).is_ok());
        assert_eq!(secret.check(&of_faults, NOW), Err(DebugRefused::Wrong));
        assert_eq!(
            secret.check_for(CHAOS, &token, NOW),
            Err(DebugRefused::Wrong)
        );
    }

    #[test]
    fn what_was_changed_or_lasts_too_long_is_wrong() {
        let secret = DebugSecret::new("a secret of some length");
        let token = secret.token(NOW.after(HOUR));
        let (_, signature) = token.rsplit_once('.').unwrap();
        let later = NOW.after(2 * HOUR).micros() / 1_000_000;
        let too_long = secret.token(NOW.after(LIFE_MAX + HOUR));
        for wrong in [
            format!("d1.{later}.{signature}"),
            format!("{}0", &token[..token.len() - 1]),
            token.trim_start_matches("d1.").to_owned(),
            format!("{token}00"),
            "d1..".to_owned(),
            "é".to_owned(),
            String::new(),
            too_long,
        ] {
            // the last digit may have been a nought
            let is_same = wrong == token;
            let found = secret.check(&wrong, NOW);
            assert_eq!(found.is_err(), !is_same, "{wrong}");
            assert_ne!(found, Err(DebugRefused::Expired), "{wrong}");
        }
    }
}
