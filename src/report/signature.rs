//! Who has asked for something, and why. Owns what of it is kept and how it is told; whether it has to be said
//! is for whoever is asked.

use std::fmt;

use crate::degradation::switches::{Unfit, name_of, reason_of};

/// Who has asked for something and why, as far as that was said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signature {
    /// Who.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

impl Signature {
    /// What was said, if it can be kept: it is held to what the owner and the reason of a switch are.
    pub fn read(by: &str, reason: &str) -> Result<Self, Unfit> {
        Ok(Self {
            by: name_of(by)?,
            reason: reason_of(reason)?,
        })
    }

    /// Of what nobody has asked for, but happens for this reason.
    pub fn because(reason: &str) -> Self {
        Self {
            by: None,
            reason: Some(reason.to_owned()),
        }
    }
}

/// As the end of what is told: `, by Léa: a rehearsal`; nothing where nothing was said.
impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(by) = &self.by {
            write!(f, ", by {by}")?;
        }
        match &self.reason {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_told_and_what_cannot_be_shown_is_refused() {
        let told = |by, reason| Signature::read(by, reason).map(|signed| signed.to_string());
        assert_eq!(told("", " "), Ok(String::new()));
        assert_eq!(told(" Léa ", ""), Ok(", by Léa".to_owned()));
        assert_eq!(told("", "a test"), Ok(": a test".to_owned()));
        assert_eq!(told("Léa", "a test"), Ok(", by Léa: a test".to_owned()));
        assert_eq!(told("L\na", ""), Err(Unfit::Unprintable("by")));
        assert_eq!(told("", "a\u{202e}b"), Err(Unfit::Unprintable("reason")));
        assert!(told(&"é".repeat(1000), "").is_err());
    }
}
