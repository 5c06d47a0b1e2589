//! The address of a switch. Owns its spelling: the subject, and for one that begins later `@` and when,
//! so that tonight's and next week's stand side by side.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Moment;

use super::{NoSubject, Subject};

/// What tells a switch from all others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// What it is about.
    pub subject: Subject,
    /// When it begins, if it was set to begin later.
    pub from: Option<Moment>,
}

impl From<&Subject> for Key {
    fn from(subject: &Subject) -> Self {
        let (subject, from) = (subject.clone(), None);
        Self { subject, from }
    }
}

impl From<&Self> for Key {
    fn from(key: &Self) -> Self {
        key.clone()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.from {
            Some(from) => write!(f, "{}@{from}", self.subject),
            None => self.subject.fmt(f),
        }
    }
}

impl FromStr for Key {
    type Err = NoSubject;

    fn from_str(text: &str) -> Result<Self, NoSubject> {
        let (subject, from) = match text.rsplit_once('@') {
            Some((subject, from)) => {
                let from = from.parse().map_err(|_| NoSubject(text.to_owned()))?;
                (subject, Some(from))
            }
            None => (text, None),
        };
        let subject = subject.parse()?;
        Ok(Self { subject, from })
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
