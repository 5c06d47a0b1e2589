//! What became of a request, and whether that speaks against its origin. Owns this judgement; pure.

use crate::report::Cause;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A whole answer in good time.
    Good,
    /// A whole answer, but much later than usual.
    Slow,
    /// No answer by the deadline.
    Missed,
    /// No answer, or a wrong one.
    Failed,
}

impl Verdict {
    /// Of a request that has brought nothing for this reason.
    pub(super) fn of(cause: &Cause) -> Self {
        match is_failure(cause) {
            true => Self::Failed,
            false => Self::Good,
        }
    }
}

/// The status by which a client is told that it asks too much (RFC 6585, 4).
const TOO_MANY_REQUESTS: u16 = 429;

/// Whether it is the origin that failed. What is not there, not allowed or elsewhere is an answer, and
/// what is of our own making says nothing.
pub(super) fn is_failure(cause: &Cause) -> bool {
    match cause {
        Cause::Timeout
        | Cause::Connect(_)
        | Cause::Transport(_)
        | Cause::Truncated(_)
        | Cause::TooLarge(_)
        | Cause::ContentType(_)
        | Cause::Empty
        | Cause::TooSmall(_)
        | Cause::Lacks(_)
        | Cause::Unreadable(_) => true,
        Cause::Status(status) => *status >= 500 || *status == TOO_MANY_REQUESTS,
        Cause::Redirect(_)
        | Cause::TooFew { .. }
        | Cause::Template(_)
        | Cause::NotPushed
        | Cause::Busy
        | Cause::Limited
        | Cause::Open
        | Cause::Switched
        | Cause::Panic
        | Cause::Stopping => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_speaks_against_an_origin() {
        for (cause, expected) in [
            (Cause::Timeout, true),
            (Cause::Connect("refused".into()), true),
            (Cause::Transport("reset".into()), true),
            (Cause::Truncated("early end".into()), true),
            (Cause::Status(500), true),
            (Cause::Status(503), true),
            (Cause::Status(429), true),
            (Cause::Status(404), false),
            (Cause::Status(403), false),
            (Cause::ContentType("image/png".into()), true),
            (Cause::Unreadable("not UTF-8".into()), true),
            (Cause::Redirect("to another host".into()), false),
            (Cause::Template("undefined".into()), false),
            (Cause::Busy, false),
            (Cause::Limited, false),
            (Cause::Open, false),
            (Cause::Stopping, false),
        ] {
            assert_eq!(is_failure(&cause), expected, "{cause}");
        }
    }
}
