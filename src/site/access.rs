//! Who may ask the server what, on the listener of operators. Owns the two roles and the tokens that they
//! are known by; pure.
//!
//! Invariant: a token is not part of what a debugger or a log is shown.

use std::fmt;

/// The name of the cookie of an operator who has signed in with a browser.
pub const SESSION_COOKIE: &str = "marbre_session";

/// What somebody who has a token may do. Who may do more may do all that is less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdminRole {
    /// Looks: whatever `GET` answers.
    Read,
    /// Acts, too.
    Operate,
}

impl AdminRole {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
        }
    }
}

/// The tokens of `[admin]`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct AdminTokens {
    /// Of who may do everything. `None`: whoever reaches the listener may.
    pub operate: Option<String>,
    /// Of who may only look; never without the other.
    pub read: Option<String>,
}

impl AdminTokens {
    /// Each token that is declared, and what it is good for.
    pub fn each(&self) -> impl Iterator<Item = (AdminRole, &str)> {
        let all = [
            (AdminRole::Operate, &self.operate),
            (AdminRole::Read, &self.read),
        ];
        all.into_iter()
            .filter_map(|(role, token)| Some((role, token.as_deref()?)))
    }
}

impl fmt::Debug for AdminTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminTokens(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_shown() {
        let tokens = AdminTokens {
            operate: Some("0123456789abcdef".to_owned()),
            read: Some("fedcba9876543210".to_owned()),
        };
        assert_eq!(format!("{tokens:?}"), "AdminTokens(…)");
        let each: Vec<_> = tokens.each().map(|(role, _)| role.name()).collect();
        assert_eq!(each, ["operate", "read"]);
        assert!(AdminRole::Read < AdminRole::Operate);
    }
}
