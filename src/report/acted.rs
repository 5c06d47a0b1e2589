//! Who has changed something, and from where. Owns what the record of an act says; whether an act is one is for
//! whoever carries it out.

use std::fmt;
use std::net::IpAddr;

use crate::clock::Moment;

use super::{Signature, Untold};

/// Something that was changed at the wish of whoever operates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acted {
    /// What was asked for: `PUT /level`.
    pub act: String,
    /// What whoever has asked for it may do.
    pub role: &'static str,
    /// How they are known.
    pub known_by: KnownBy,
    /// Where it came from.
    pub from: IpAddr,
    /// What they were told; `None`: they have not waited for it.
    pub status: Option<u16>,
    /// What they have said of it.
    pub given: Given,
    /// How many acts like it, by the same, are not in the record.
    pub untold: Untold,
}

/// How somebody is known who acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KnownBy {
    /// By nothing: no token is declared.
    Nothing,
    /// By a token that came with the request.
    Bearer,
    /// By a session, which has this name. It is not what the browser holds, and cannot be turned into it.
    Session(String),
}

/// What somebody has said of an act.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Given {
    /// Who wants it, and why.
    pub signed: Signature,
    /// When it ends by itself.
    pub until: Option<Moment>,
}

impl Given {
    /// That of what has no end.
    pub fn by(signed: Signature) -> Self {
        Self {
            signed,
            until: None,
        }
    }
}

/// One word: `none`, `bearer`, or the name of the session.
impl fmt::Display for KnownBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "none",
            Self::Bearer => "bearer",
            Self::Session(name) => name,
        })
    }
}

/// Why somebody was not let in, or not to this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAllowed {
    /// What was presented is good for this alone.
    MayOnly(&'static str),
    /// What was presented is no token of this site.
    WrongToken,
    /// Too many wrong tokens came from there just before.
    TooManyTokens,
    /// A page of another site has sent it.
    OtherSite,
}

/// What follows the address.
impl fmt::Display for NotAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MayOnly(role) => write!(f, "whose token may only {role}"),
            Self::WrongToken => f.write_str("whose token is none of this site"),
            Self::TooManyTokens => f.write_str("which has sent too many wrong tokens"),
            Self::OtherSite => f.write_str("whose browser was sent by a page of another site"),
        }
    }
}

impl fmt::Display for Acted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            act, role, from, ..
        } = self;
        write!(f, "{act} from {from}, ")?;
        match &self.known_by {
            KnownBy::Nothing => f.write_str("where no token is declared")?,
            KnownBy::Bearer => write!(f, "with the token to {role}")?,
            KnownBy::Session(name) => write!(f, "in the session {name} to {role}")?,
        }
        if self.status.is_none() {
            f.write_str(", without waiting for the answer")?;
        }
        if let Some(until) = self.given.until {
            write!(f, ", until {until}")?;
        }
        write!(f, "{}{}", self.given.signed, self.untold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn an_act_is_told_with_all_that_is_known_of_it() {
        let acted = Acted {
            act: "PUT /switches/pin".to_owned(),
            role: "operate",
            known_by: KnownBy::Session("3f9a1c2e".to_owned()),
            from: Ipv4Addr::LOCALHOST.into(),
            status: Some(200),
            given: Given {
                signed: Signature::read("Léa", "a test").unwrap(),
                until: Some(Moment::from_micros(1_700_000_000_000_000)),
            },
            untold: Untold(0),
        };
        assert_eq!(
            acted.to_string(),
            "PUT /switches/pin from 127.0.0.1, in the session 3f9a1c2e to operate, until \
             2023-11-14T22:13:20Z, by Léa: a test"
        );
        let bare = Acted {
            act: "PUT /fragments/live/12".to_owned(),
            known_by: KnownBy::Bearer,
            status: None,
            given: Given::default(),
            untold: Untold(3),
            ..acted
        };
        assert_eq!(
            bare.to_string(),
            "PUT /fragments/live/12 from 127.0.0.1, with the token to operate, without waiting for the \
             answer (and 3 times more since this was said last)"
        );
    }
}
