//! How each origin of the demo newspaper is made to misbehave, while it runs.
//!
//! It owns the dials, one per origin, and what a change to them may say. It must not know how an
//! origin carries its trouble out. Its invariant: a dial holds only values within its limits, and
//! whoever watches it sees every turn at once.

mod desk;

use std::convert::Infallible;
use std::sync::Arc;

use futures::future;
use serde::Serialize;
use tokio::sync::watch;

use crate::report::Event;
use crate::telemetry::slo::FaultGate;

pub(super) use desk::router;

/// The longest delay a dial can add: longer than any deadline worth testing.
const LATENCY_MS_MAX: u64 = 600_000;

/// The trouble of one origin. All at zero, it answers at once and in full.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Dial {
    /// Added before each answer, in milliseconds.
    pub latency_ms: u64,
    /// The share of answers that are a 500, from 0 to 1.
    pub error: f64,
    /// Accepts and never answers.
    pub hang: bool,
    /// Announces the full length, sends half, breaks the connection.
    pub cut: bool,
    /// Sends the head, then a byte a second.
    pub drip: bool,
    /// The port is closed: connections are refused, open ones dropped.
    pub off: bool,
}

impl Dial {
    /// This dial after `change`.
    pub fn turned(self, change: &Change) -> Self {
        let from = if change.reset { Self::default() } else { self };
        Self {
            latency_ms: change.latency_ms.unwrap_or(from.latency_ms),
            error: change.error.unwrap_or(from.error),
            hang: change.hang.unwrap_or(from.hang),
            cut: change.cut.unwrap_or(from.cut),
            drip: change.drip.unwrap_or(from.drip),
            off: change.off.unwrap_or(from.off),
        }
    }

    /// What is wrong with the origin, in words; nothing where it is healthy.
    pub fn trouble(&self) -> Option<String> {
        let mut words = Vec::new();
        if self.latency_ms > 0 {
            words.push(format!("{} ms later", self.latency_ms));
        }
        if self.error > 0.0 {
            words.push(format!("{:.0} % errors", self.error * 100.0));
        }
        let switches = [
            (self.hang, "hangs"),
            (self.cut, "cuts its answers off"),
            (self.drip, "drips"),
            (self.off, "refuses connections"),
        ];
        let on = switches.iter().filter(|(is_on, _)| *is_on);
        words.extend(on.map(|(_, what)| (*what).to_owned()));
        (!words.is_empty()).then(|| words.join(", "))
    }

    /// Whether the origin answers at once and in full.
    pub fn is_healthy(&self) -> bool {
        *self == Self::default()
    }
}

/// What to turn; what is not named stays as it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Change {
    /// Back to health first; the rest of the change applies to that.
    pub reset: bool,
    pub latency_ms: Option<u64>,
    pub error: Option<f64>,
    pub hang: Option<bool>,
    pub cut: Option<bool>,
    pub drip: Option<bool>,
    pub off: Option<bool>,
}

/// Why a change was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error("there is no dial `{0}`: latency_ms, error, hang, cut, drip, off or reset")]
    UnknownDial(String),
    #[error("`{dial}` cannot be `{value}`: {expected}")]
    BadValue {
        dial: String,
        value: String,
        expected: &'static str,
    },
}

impl Change {
    /// Back to health.
    pub(super) fn health() -> Self {
        Self {
            reset: true,
            ..Self::default()
        }
    }

    /// Reads `latency_ms=800&error=0.5`, the form a query and a posted form share.
    ///
    /// All values are plain numbers, so nothing needs decoding; an empty value changes nothing.
    pub fn parse(form: &str) -> Result<Self, ChangeError> {
        let mut change = Self::default();
        for pair in form.split('&').filter(|pair| !pair.is_empty()) {
            let (dial, value) = pair.split_once('=').unwrap_or((pair, "1"));
            if !value.is_empty() {
                change.set(dial, value)?;
            }
        }
        Ok(change)
    }

    fn set(&mut self, dial: &str, value: &str) -> Result<(), ChangeError> {
        let refuse = |expected| ChangeError::BadValue {
            dial: dial.to_owned(),
            value: value.to_owned(),
            expected,
        };
        let switch = || match value {
            "1" | "true" | "on" => Ok(true),
            "0" | "false" => Ok(false),
            _ => Err(refuse("0 or 1")),
        };
        match dial {
            "latency_ms" => {
                let wanted = value.parse().ok().filter(|&ms: &u64| ms <= LATENCY_MS_MAX);
                self.latency_ms = Some(wanted.ok_or_else(|| refuse("0 to 600000 milliseconds"))?);
            }
            "error" => {
                let wanted = value
                    .parse()
                    .ok()
                    .filter(|share| (0.0..=1.0).contains(share));
                self.error = Some(wanted.ok_or_else(|| refuse("a share from 0 to 1"))?);
            }
            "hang" => self.hang = Some(switch()?),
            "cut" => self.cut = Some(switch()?),
            "drip" => self.drip = Some(switch()?),
            "off" => self.off = Some(switch()?),
            "reset" => self.reset = switch()?,
            _ => return Err(ChangeError::UnknownDial(dial.to_owned())),
        }
        Ok(())
    }
}

/// The dials of all origins; clones turn the same ones.
#[derive(Debug, Clone)]
pub struct Dials(Arc<Vec<(&'static str, watch::Sender<Dial>)>>);

impl Dials {
    /// A healthy dial for each origin, in this order.
    pub(super) fn new(origins: &[&'static str]) -> Self {
        let healthy = |&origin| (origin, watch::Sender::new(Dial::default()));
        Self(Arc::new(origins.iter().map(healthy).collect()))
    }

    /// Each origin with its dial, in the newspaper's order.
    pub fn all(&self) -> Vec<(&'static str, Dial)> {
        self.0
            .iter()
            .map(|(origin, dial)| (*origin, *dial.borrow()))
            .collect()
    }

    /// Turns the dial of `origin`, and says what it is now; `None` if there is no such origin.
    pub fn turn(&self, origin: &str, change: &Change) -> Option<Dial> {
        let dial = self.sender(origin)?;
        dial.send_modify(|dial| *dial = dial.turned(change));
        Some(*dial.borrow())
    }

    /// Makes every origin healthy whenever no fault may be set, and as long as that is so.
    pub async fn end_when_closed(self, gate: FaultGate) -> Infallible {
        loop {
            gate.closes().await;
            for (origin, _) in self.all() {
                self.turn(origin, &Change::health());
            }
            gate.opens().await;
        }
    }

    /// Follows the dial of `origin`.
    pub(super) fn watch(&self, origin: &str) -> Option<watch::Receiver<Dial>> {
        Some(self.sender(origin)?.subscribe())
    }

    /// Tells of every turn.
    pub async fn tell(self, tell: impl Fn(&Event) + Send) -> Infallible {
        let mut told: Vec<Dial> = self.all().into_iter().map(|(_, dial)| dial).collect();
        let mut watched: Vec<_> = self.0.iter().map(|(_, dial)| dial.subscribe()).collect();
        loop {
            let turned = watched.iter_mut().map(|dial| Box::pin(dial.changed()));
            // the senders are held here: it never fails
            let _ = future::select_all(turned).await;
            for ((origin, dial), told) in self.all().into_iter().zip(&mut told) {
                if dial != *told {
                    *told = dial;
                    tell(&Event::Fault {
                        origin: origin.to_owned(),
                        trouble: dial.trouble(),
                    });
                }
            }
        }
    }

    fn sender(&self, origin: &str) -> Option<&watch::Sender<Dial>> {
        self.0
            .iter()
            .find(|(name, _)| *name == origin)
            .map(|(_, dial)| dial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_turns_what_it_names_and_nothing_else() {
        let dials = Dials::new(&["cms", "media"]);
        let slow = Change::parse("latency_ms=800&hang=1").unwrap();
        let failing = Change::parse("error=0.5&hang=0&drip=").unwrap();
        dials.turn("cms", &slow);
        let dial = dials.turn("cms", &failing).unwrap();
        assert_eq!(
            dial,
            Dial {
                latency_ms: 800,
                error: 0.5,
                ..Dial::default()
            }
        );
        assert!(dials.all()[1].1.is_healthy());
        assert_eq!(dials.turn("printer", &slow), None);
    }

    #[test]
    fn reset_comes_before_the_rest_of_a_change() {
        let troubled = Dial {
            latency_ms: 9,
            cut: true,
            ..Dial::default()
        };
        let dial = troubled.turned(&Change::parse("off=1&reset=1").unwrap());
        assert_eq!(
            dial,
            Dial {
                off: true,
                ..Dial::default()
            }
        );
    }

    #[test]
    fn values_out_of_their_limits_are_refused() {
        assert!(Change::parse("latency_ms=600000&error=1").is_ok());
        for form in [
            "latency_ms=600001",
            "latency_ms=-1",
            "error=1.01",
            "error=NaN",
            "hang=maybe",
        ] {
            assert!(
                matches!(Change::parse(form), Err(ChangeError::BadValue { .. })),
                "{form}"
            );
        }
        let unknown = Change::parse("speed=1");
        assert_eq!(unknown, Err(ChangeError::UnknownDial("speed".to_owned())));
    }
}
