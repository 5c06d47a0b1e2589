//! Whether a request is made once more, and when. Owns the rule; pure: time and chance are arguments.
//!
//! A retry helps against what is over a moment later, and harms what is overloaded. So it is made only
//! where it is safe (the request changes nothing) and may help (no connection, a connection that broke
//! before the answer's head, statuses that the site names), after a pause with full jitter (uniform
//! between nothing and the doubled backoff; Brooker, "Exponential Backoff And Jitter", 2015), never after
//! the deadline, within the origin's [budget](super::budget), and not where its breaker is not closed.
//!
//! A replica that could not be reached has not seen the request: asking the next one is no retry. It is
//! done at once, and in each attempt once for each replica: what is down in the first may have been
//! started again by the second. It has a budget of its own, which is as large as what is asked, so that
//! not every request knocks at every door when all of them are gone.

use std::time::{Duration, SystemTime};

use crate::report::Cause;
use crate::site::RetryPolicy;

/// Doublings of the backoff, at most.
const DOUBLINGS_MAX: u32 = 10;

/// An attempt that failed, and what there is to go on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failed<'f> {
    pub(super) cause: &'f Cause,
    /// How long the origin has asked to be left alone.
    pub(super) wait: Option<Duration>,
    /// Attempts so far, this one included; asking the next replica was none.
    pub(super) attempts: u32,
    /// Whether there is a replica that was not asked in this attempt.
    pub(super) has_other: bool,
    /// What is left until the deadline.
    pub(super) left: Duration,
    /// Whether the breaker is closed, and nobody has asked to do without retries.
    pub(super) is_free: bool,
}

/// What to do after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// Nothing: the failure is the result.
    No,
    /// Ask the next replica at once.
    FailOver,
    /// Ask again after this pause, if the budget allows.
    After(Duration),
}

/// Decides. `chance` is uniform in 0..1.
pub(super) fn decide(policy: &RetryPolicy, failed: &Failed<'_>, chance: f64) -> Again {
    if failed.left.is_zero() {
        return Again::No;
    }
    if matches!(failed.cause, Cause::Connect(_)) && failed.has_other {
        return Again::FailOver;
    }
    if !failed.is_free || failed.attempts >= policy.attempts || !may_help(policy, failed.cause) {
        return Again::No;
    }
    let pause = pause(policy, failed.attempts, chance).max(failed.wait.unwrap_or_default());
    if pause >= failed.left {
        return Again::No;
    }
    Again::After(pause)
}

fn may_help(policy: &RetryPolicy, cause: &Cause) -> bool {
    match cause {
        Cause::Connect(_) | Cause::Transport(_) => true,
        Cause::Status(status) => policy.statuses.contains(status),
        Cause::Timeout
        | Cause::Truncated(_)
        | Cause::Redirect(_)
        | Cause::TooLarge(_)
        | Cause::ContentType(_)
        | Cause::Empty
        | Cause::TooSmall(_)
        | Cause::Lacks(_)
        | Cause::TooFew { .. }
        | Cause::Unreadable(_)
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

fn pause(policy: &RetryPolicy, attempts: u32, chance: f64) -> Duration {
    let doublings = attempts.saturating_sub(1).min(DOUBLINGS_MAX);
    let longest = policy.backoff.saturating_mul(1 << doublings);
    longest.mul_f64(chance.clamp(0.0, 1.0))
}

/// How long `Retry-After` asks to wait: seconds, or a date (RFC 9110, 10.2.3).
pub(super) fn wait_asked(value: &str, wall: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|digit| digit.is_ascii_digit()) {
        return Some(Duration::from_secs(
            value.parse::<u32>().unwrap_or(u32::MAX).into(),
        ));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(wall).unwrap_or_default())
}

/// What holds of every `Retry-After`.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn hold(input: &[u8]) {
    const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);
    let wall = SystemTime::UNIX_EPOCH + FOR_EVER;
    for line in String::from_utf8_lossy(input).lines() {
        let Some(wait) = wait_asked(line, wall) else {
            continue;
        };
        if let Ok(date) = httpdate::parse_http_date(line.trim()) {
            assert_eq!(wait, date.duration_since(wall).unwrap_or_default());
        } else {
            assert!(wait <= FOR_EVER, "{line}");
            let again = wait_asked(&wait.as_secs().to_string(), wall);
            assert_eq!(again, Some(wait), "{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn policy() -> RetryPolicy {
        RetryPolicy {
            attempts: 3,
            budget_percent: 20,
            backoff: ms(20),
            statuses: vec![502, 503, 504],
        }
    }

    fn failed(cause: &Cause) -> Failed<'_> {
        Failed {
            cause,
            wait: None,
            attempts: 1,
            has_other: false,
            left: ms(100),
            is_free: true,
        }
    }

    #[test]
    fn what_may_be_tried_again() {
        let after = Again::After(ms(10));
        for (cause, expected) in [
            (Cause::Connect("refused".into()), after),
            (Cause::Transport("reset".into()), after),
            (Cause::Status(503), after),
            (Cause::Status(500), Again::No),
            (Cause::Status(404), Again::No),
            (Cause::Timeout, Again::No),
            (Cause::Truncated("early end".into()), Again::No),
            (Cause::ContentType("image/png".into()), Again::No),
            (Cause::Busy, Again::No),
        ] {
            let decided = decide(&policy(), &failed(&cause), 0.5);
            assert_eq!(decided, expected, "{cause}");
        }
    }

    #[test]
    fn when_it_is_not_tried_again() {
        let cause = Cause::Status(503);
        let base = failed(&cause);
        for (case, expected) in [
            (
                Failed {
                    attempts: 3,
                    ..base
                },
                Again::No,
            ),
            (
                Failed {
                    is_free: false,
                    ..base
                },
                Again::No,
            ),
            (
                Failed {
                    left: ms(10),
                    ..base
                },
                Again::No,
            ),
            (
                Failed {
                    wait: Some(ms(100)),
                    ..base
                },
                Again::No,
            ),
            (
                Failed {
                    wait: Some(ms(99)),
                    ..base
                },
                Again::After(ms(99)),
            ),
            (
                Failed {
                    attempts: 2,
                    ..base
                },
                Again::After(ms(20)),
            ),
            // that there is another replica does not make a refusal by this one any better
            (
                Failed {
                    has_other: true,
                    ..base
                },
                Again::After(ms(10)),
            ),
        ] {
            assert_eq!(decide(&policy(), &case, 0.5), expected, "{case:?}");
        }
    }

    #[test]
    fn the_next_replica_is_asked_at_once_where_one_could_not_be_reached() {
        let cause = Cause::Connect("refused".into());
        let base = Failed {
            has_other: true,
            ..failed(&cause)
        };
        for case in [
            base,
            Failed {
                attempts: 9,
                ..base
            },
            Failed {
                is_free: false,
                ..base
            },
        ] {
            assert_eq!(decide(&policy(), &case, 0.5), Again::FailOver, "{case:?}");
        }
        let late = Failed {
            left: ms(0),
            ..base
        };
        assert_eq!(decide(&policy(), &late, 0.5), Again::No);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let wall = httpdate::parse_http_date("Thu, 26 Nov 2026 08:00:00 GMT").unwrap();
        for (value, expected) in [
            ("3", Some(ms(3000))),
            (" 0 ", Some(ms(0))),
            (
                "99999999999999999999999",
                Some(Duration::from_secs(u64::from(u32::MAX))),
            ),
            ("Thu, 26 Nov 2026 08:00:05 GMT", Some(ms(5000))),
            ("Thu, 26 Nov 2026 07:00:00 GMT", Some(ms(0))),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(wait_asked(value, wall), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn never_past_the_deadline_nor_more_often_than_declared(
            attempts in 1u32..20, left in 0u64..200, wait in proptest::option::of(0u64..400),
            chance in 0.0f64..1.0, has_other: bool, is_free: bool,
        ) {
            for cause in [Cause::Status(502), Cause::Transport("reset".into())] {
                let case = Failed {
                    attempts, has_other, is_free, left: ms(left), wait: wait.map(ms),
                    ..failed(&cause)
                };
                if let Again::After(pause) = decide(&policy(), &case, chance) {
                    prop_assert!(pause < ms(left));
                    prop_assert!(pause >= case.wait.unwrap_or_default());
                    prop_assert!(attempts < 3 && is_free);
                    let longest = ms(20) * 2u32.pow(attempts - 1);
                    prop_assert!(pause <= longest.max(case.wait.unwrap_or_default()));
                }
            }
        }
    }
}
