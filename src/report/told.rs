//! What has happened, in words. Owns the sentences that the log, the admin state and the journal share.

use std::fmt;

use crate::degradation::Decision;
use crate::fragment::quantity::show_duration;

use super::{Event, FaultChange, SloChange, SwitchChange};

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reloaded { changes, signed } if changes.is_empty() => {
                write!(f, "site reloaded: no change{signed}")
            }
            Self::Reloaded { changes, signed } => {
                write!(f, "site reloaded: {}{signed}", changes.join("; "))
            }
            Self::ReloadRefused { why, signed } => {
                write!(f, "site not reloaded{signed}, the one before stays:\n{why}")
            }
            Self::Switched(change) => {
                write!(f, "switch {}: {change}", change.switch().act.subject())
            }
            Self::SwitchesLost(why) => write!(f, "no switch is set, whatever was before: {why}"),
            Self::Degraded {
                from,
                to,
                decision,
                phi,
                is_dry_run,
                ..
            } => {
                let Decision {
                    theta,
                    admit,
                    rate,
                    reason,
                } = decision;
                let would = if *is_dry_run { "would go" } else { "goes" };
                write!(
                    f,
                    "level {would} from {from} to {to}: {reason} (theta {theta:.2}, "
                )?;
                // it is 1 unless several origins at once are short of breath
                if *phi < 1.0 {
                    write!(f, "phi {phi:.2}, ")?;
                }
                write!(
                    f,
                    "{:.0} % of pages composed, {rate:.0} ms of work a second)",
                    admit * 100.0
                )
            }
            Self::Purged { what, hard, copies } => {
                let how = if *hard { "hard" } else { "softly" };
                write!(f, "purged {how}: {what}, {copies} copies in memory")
            }
            Self::Origin {
                origin,
                replica,
                owner,
                change,
            } => {
                match replica {
                    None => write!(f, "origin {origin} {change}")?,
                    Some(replica) => write!(f, "replica {replica} of origin {origin} {change}")?,
                }
                match owner {
                    Some(owner) => write!(f, " (owner: {owner})"),
                    None => Ok(()),
                }
            }
            Self::Started {
                version,
                is_after_crash,
            } => {
                write!(f, "marbre {version} serves")?;
                match is_after_crash {
                    true => f.write_str("; the one before ended without saying so"),
                    false => Ok(()),
                }
            }
            Self::Stopping => f.write_str("stopping: pages in flight are being finished"),
            Self::Stopped(true) => f.write_str("stopped: all that was in flight is finished"),
            Self::Stopped(false) => f.write_str("stopped: some connections were cut"),
            Self::Acted(acted) => write!(f, "{acted}"),
            Self::ActRefused {
                act,
                why,
                from,
                untold,
            } => write!(f, "refused {act} to {from}, {why}{untold}"),
            Self::Pushed => f.write_str("a copy was pushed or withdrawn"),
            Self::Fault {
                origin,
                trouble: Some(trouble),
                lasts,
                signed,
            } => {
                write!(f, "origin {origin} is made to misbehave: {trouble}")?;
                if let Some(lasts) = lasts {
                    write!(f, ", for {}", show_duration(*lasts))?;
                }
                write!(f, "{signed}")
            }
            Self::Fault { origin, signed, .. } => {
                write!(f, "origin {origin} is made healthy again{signed}")
            }
            Self::Chaos {
                name,
                change,
                signed,
                on,
            } => match change {
                FaultChange::Begun {
                    says,
                    lasts,
                    pages_max,
                } => {
                    let lasts = show_duration(*lasts);
                    write!(
                        f,
                        "fault {name} is set on purpose: {says}, for {lasts} or {pages_max} pages{signed}"
                    )
                }
                FaultChange::Ended {
                    how,
                    pages,
                    requests,
                } => write!(
                    f,
                    "fault {name} on {on} is over ({}), {pages} pages and {requests} requests have had it{signed}",
                    how.label()
                ),
            },
            Self::Certificates(Ok(())) => {
                f.write_str("[server.tls]: the certificates have changed and are shown")
            }
            Self::Certificates(Err(why)) => {
                write!(f, "[server.tls]: {why}; the certificates before are shown")
            }
            Self::Slo { objective, change } => write!(f, "objective {objective} {change}"),
        }
    }
}

impl fmt::Display for SloChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Burning { rate, over } => write!(
                f,
                "is being missed: over {} its error budget was used {rate:.1} times as fast as it may be",
                show_duration(*over)
            ),
            Self::Spent => f.write_str("has nothing left of its error budget"),
            Self::Restored => f.write_str("has some of its error budget again"),
            Self::Recovered => f.write_str("is kept again"),
        }
    }
}

impl SwitchChange {
    /// The switch that it is about.
    pub fn switch(&self) -> &crate::degradation::Switch {
        match self {
            Self::Set { switch, .. }
            | Self::Cleared { switch, .. }
            | Self::Begun { switch, .. }
            | Self::Over(switch) => switch,
        }
    }
}
