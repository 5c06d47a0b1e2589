//! How a site degrades: what it aims at, by which law, and who may see it. Owns these settings once they
//! have been found valid; the order in which blocks are given up is the [`Ladder`](crate::degradation::Ladder).

use std::fmt;
use std::time::Duration;

use http::HeaderName;

use crate::degradation::Law;
use crate::degradation::law::{aimd, work_rate};

/// `[degradation]`, valid and complete.
#[derive(Debug, Clone, PartialEq)]
pub struct DegradationSpec {
    /// Whether anything is given up.
    pub mode: Mode,
    /// What a page should take at the 95th percentile; `None`: its budget. What it comes to for a page
    /// is in [`Page::target`](super::Page::target).
    pub target: Option<Duration>,
    /// What is kept of a page's target for all that is not waiting for blocks.
    pub margin: Duration,
    /// How it is decided how much can be afforded.
    pub law: LawSpec,
    /// The cookie that tells one reader from another; `None`: `reader_header` does.
    pub reader_cookie: Option<String>,
    /// The request header that does where there is no such cookie; `None`: the client's address does.
    pub reader_header: Option<HeaderName>,
    /// Levels that a reader with `Save-Data: on` starts lower; 0: it makes no difference.
    pub save_data: u8,
    /// What a request must say to see a page at a level of its choice; `None`: nobody can.
    pub rehearse_token: Option<RehearseToken>,
    /// Pages that are worked on at the same moment; `None`: as many as the machine has cores. Taken at
    /// start.
    pub workers: Option<usize>,
    /// A page that has waited longer before anything could be done for it is answered from its
    /// snapshot.
    pub wait_max: Duration,
}

/// How it is decided how much can be afforded.
#[derive(Debug, Clone, PartialEq)]
pub enum LawSpec {
    /// See [`work_rate`].
    WorkRate {
        /// Its constants.
        constants: Box<work_rate::Constants>,
        /// Whether the most work that can be done follows the machine's cores.
        rate_by_cores: bool,
    },
    /// See [`aimd`].
    Aimd(aimd::Constants),
}

impl LawSpec {
    /// The law, on a machine of so many cores.
    pub fn for_cores(&self, cores: usize) -> Law {
        match self {
            Self::WorkRate {
                constants,
                rate_by_cores: true,
            } => Law::WorkRate(work_rate::Constants {
                rate_max: work_rate::Constants::for_cores(cores).rate_max,
                ..*constants.clone()
            }),
            Self::WorkRate { constants, .. } => Law::WorkRate(*constants.clone()),
            Self::Aimd(constants) => Law::Aimd(constants.clone()),
        }
    }

    /// As it is written.
    pub fn label(&self) -> &'static str {
        match self {
            Self::WorkRate { .. } => "work-rate",
            Self::Aimd(_) => "aimd",
        }
    }
}

impl Default for LawSpec {
    fn default() -> Self {
        Self::WorkRate {
            constants: Box::default(),
            rate_by_cores: true,
        }
    }
}

impl Default for DegradationSpec {
    fn default() -> Self {
        Self {
            mode: Mode::On,
            target: None,
            margin: Duration::from_millis(50),
            law: LawSpec::default(),
            reader_cookie: None,
            reader_header: None,
            save_data: 1,
            rehearse_token: None,
            workers: None,
            wait_max: Duration::from_millis(60),
        }
    }
}

/// Whether anything is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Whatever must be.
    #[default]
    On,
    /// Nothing, but it is said what would be.
    DryRun,
    /// Nothing, and nothing is decided.
    Off,
}

impl Mode {
    /// As it is written.
    pub fn label(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::DryRun => "dry-run",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// What a request must say to see a page at a level of its choice.
#[derive(Clone, PartialEq, Eq)]
pub struct RehearseToken(String);

impl RehearseToken {
    /// The token of this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether `given` is it, in a time that does not depend on where the two differ.
    pub fn is(&self, given: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let differ = given.iter().zip(own).fold(0, |d, (a, b)| d | (a ^ b));
        given.len() == own.len() && differ == 0
    }
}

impl fmt::Debug for RehearseToken {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RehearseToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_itself_and_is_not_shown() {
        let token = RehearseToken::new("0123456789abcdef");
        for (given, is) in [
            ("0123456789abcdef", true),
            ("0123456789abcdeF", false),
            ("0123456789abcde", false),
            ("0123456789abcdef0", false),
            ("", false),
        ] {
            assert_eq!(token.is(given.as_bytes()), is, "{given}");
        }
        assert_eq!(format!("{token:?}"), "RehearseToken(…)");
    }
}
