//! How each origin of the demo newspaper is made to misbehave, while it runs.
//!
//! It owns the dials, one per origin, what a change to them may say, and how long a trouble lasts. It must
//! not know how an origin carries its trouble out. Its invariant: a dial holds only values within its limits,
//! and whoever watches it sees every turn at once.

mod desk;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::future;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::sleep_until;

use crate::clock::{Clock, Instant};
use crate::degradation::switches::Unfit;
use crate::fragment::quantity::parse_duration;
use crate::report::{Event, Given, Signature};
use crate::telemetry::slo::FaultGate;

pub(super) use desk::router;

/// The longest delay a dial can add: longer than any deadline worth testing.
const LATENCY_MS_MAX: u64 = 600_000;

/// The shortest and the longest time for which a dial can be turned: what nobody would see, and what nobody
/// would remember.
const LASTS_MIN: Duration = Duration::from_secs(1);
const LASTS_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Why a dial is at zero again that nobody has turned back.
const OVER: &str = "its time is over";

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
    #[error(
        "there is no dial `{0}`: latency_ms, error, hang, cut, drip, off or reset; beside them by, reason and for"
    )]
    UnknownDial(String),
    #[error(transparent)]
    Unfit(#[from] Unfit),
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

    /// Reads `latency_ms=800&error=0.5`; an empty value changes nothing.
    pub fn parse(form: &str) -> Result<Self, ChangeError> {
        let mut change = Self::default();
        for (dial, value) in pairs(form) {
            change.set(dial, value)?;
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

/// The fields of a form that have a value: those that are only named are 1.
fn pairs(form: &str) -> impl Iterator<Item = (&str, &str)> {
    let fields = form.split('&').filter(|field| !field.is_empty());
    let pairs = fields.map(|field| field.split_once('=').unwrap_or((field, "1")));
    pairs.filter(|(_, value)| !value.is_empty())
}

/// A change, with who wants it and for how long.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Order {
    /// What is to be turned.
    pub change: Change,
    /// Who wants it and why, as far as they say so.
    pub signed: Signature,
    /// For how long; without an end if nothing is said of it.
    pub lasts: Option<Duration>,
}

impl Order {
    /// Reads `hang=1&for=10m&by=L%C3%A9a&reason=a+test`, the form a query and a posted form share.
    pub fn parse(form: &str) -> Result<Self, ChangeError> {
        let mut order = Self::default();
        let (mut by, mut reason) = (String::new(), String::new());
        let mut is_health = false;
        for (field, value) in pairs(form) {
            match field {
                // whatever else the form holds that the button is in
                "reset" if value == "only" => is_health = true,
                "by" => by = decoded(field, value)?,
                "reason" => reason = decoded(field, value)?,
                "for" => order.lasts = Some(span(value)?),
                dial => order.change.set(dial, value)?,
            }
        }
        if is_health {
            (order.change, order.lasts) = (Change::health(), None);
        }
        order.signed = Signature::read(&by, &reason)?;
        Ok(order)
    }

    /// Back to health.
    fn health(signed: Signature) -> Self {
        Self {
            change: Change::health(),
            signed,
            lasts: None,
        }
    }
}

/// The text that a form holds.
fn decoded(field: &str, value: &str) -> Result<String, ChangeError> {
    let spaced = value.replace('+', " ");
    let text = percent_decode_str(&spaced).decode_utf8();
    let text = text.map_err(|_| ChangeError::BadValue {
        dial: field.to_owned(),
        value: value.to_owned(),
        expected: "percent-encoded UTF-8",
    })?;
    Ok(text.into_owned())
}

fn span(value: &str) -> Result<Duration, ChangeError> {
    let span = parse_duration(value).ok();
    let span = span.filter(|span| (LASTS_MIN..=LASTS_MAX).contains(span));
    span.ok_or_else(|| ChangeError::BadValue {
        dial: "for".to_owned(),
        value: value.to_owned(),
        expected: "1s to 7d, such as 10m",
    })
}

/// A dial, and how it has come to be so.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Turned {
    pub(super) dial: Dial,
    /// Who has turned it last, and why.
    pub(super) signed: Signature,
    /// For how long it was turned so, if not for good.
    lasts: Option<Duration>,
    /// When it is healthy again by itself, if it is.
    pub(super) ends: Option<Instant>,
}

/// The dials of all origins; clones turn the same ones.
#[derive(Debug, Clone)]
pub struct Dials {
    of: Arc<Vec<(&'static str, watch::Sender<Turned>)>>,
    clock: Clock,
}

impl Dials {
    /// A healthy dial for each origin, in this order.
    pub(super) fn new(origins: &[&'static str]) -> Self {
        let healthy = |&origin| (origin, watch::Sender::new(Turned::default()));
        Self {
            of: Arc::new(origins.iter().map(healthy).collect()),
            clock: Clock::start(),
        }
    }

    /// Each origin with its dial, in the newspaper's order.
    pub fn all(&self) -> Vec<(&'static str, Dial)> {
        let dials = self.of.iter();
        dials
            .map(|(origin, turned)| (*origin, turned.borrow().dial))
            .collect()
    }

    /// The same with how each has come to be so, and in how long it ends by itself.
    pub(super) fn turned(&self) -> Vec<(&'static str, Turned, Option<Duration>)> {
        let now = self.clock.now();
        let look = |(origin, turned): &(&'static str, watch::Sender<Turned>)| {
            let turned = turned.borrow().clone();
            let left = turned.ends.map(|ends| ends.saturating_duration_since(now));
            (*origin, turned, left)
        };
        self.of.iter().map(look).collect()
    }

    /// Turns the dial of `origin` for good, and says what it is now; `None` if there is no such origin.
    pub fn turn(&self, origin: &str, change: &Change) -> Option<Dial> {
        self.carry_out(
            origin,
            &Order {
                change: change.clone(),
                ..Order::default()
            },
        )
    }

    /// Turns the dial of `origin` as somebody wants it.
    pub fn carry_out(&self, origin: &str, order: &Order) -> Option<Dial> {
        let sender = self.sender(origin)?;
        let now = self.clock.now();
        sender.send_modify(|turned| {
            let dial = turned.dial.turned(&order.change);
            let lasts = order.lasts.filter(|_| !dial.is_healthy());
            *turned = Turned {
                dial,
                signed: order.signed.clone(),
                lasts,
                ends: lasts.map(|lasts| now + lasts),
            };
        });
        Some(sender.borrow().dial)
    }

    /// What is said of an order by whoever gives it.
    pub(super) fn given(&self, order: &Order) -> Given {
        let now = self.clock.moment(self.clock.now());
        Given {
            signed: order.signed.clone(),
            until: order.lasts.map(|lasts| now.after(lasts)),
        }
    }

    /// Makes every origin healthy whenever no fault may be set, and as long as that is so.
    pub async fn end_when_closed(self, gate: FaultGate) -> Infallible {
        loop {
            let why = gate.closes().await;
            let health = Order::health(Signature::because(&why));
            for (origin, _) in self.all() {
                self.carry_out(origin, &health);
            }
            gate.opens().await;
        }
    }

    /// Makes each origin healthy when the time is over for which its dial was turned.
    pub async fn end_in_time(self) -> Infallible {
        let mut watched: Vec<_> = self.of.iter().map(|(_, dial)| dial.subscribe()).collect();
        loop {
            let ends = self.of.iter().filter_map(|(_, dial)| dial.borrow().ends);
            let next = ends.min();
            let over = async {
                match next {
                    Some(end) => sleep_until(end).await,
                    None => future::pending().await,
                }
            };
            let turned = watched.iter_mut().map(|dial| Box::pin(dial.changed()));
            tokio::select! {
                _ = future::select_all(turned) => {}
                () = over => self.end_what_is_over(),
            }
        }
    }

    fn end_what_is_over(&self) {
        let now = self.clock.now();
        for (_, dial) in self.of.iter() {
            dial.send_if_modified(|turned| {
                let is_over = turned.ends.is_some_and(|end| end <= now);
                if is_over {
                    *turned = Turned {
                        signed: Signature::because(OVER),
                        ..Turned::default()
                    };
                }
                is_over
            });
        }
    }

    /// Follows the dial of `origin`.
    pub(super) fn watch(&self, origin: &str) -> Option<watch::Receiver<Turned>> {
        Some(self.sender(origin)?.subscribe())
    }

    /// Tells of every turn.
    pub async fn tell(self, tell: impl Fn(&Event) + Send) -> Infallible {
        let mut told: Vec<Turned> = self.of.iter().map(|(_, of)| of.borrow().clone()).collect();
        let mut watched: Vec<_> = self.of.iter().map(|(_, dial)| dial.subscribe()).collect();
        loop {
            let turned = watched.iter_mut().map(|dial| Box::pin(dial.changed()));
            // the senders are held here: it never fails
            let _ = future::select_all(turned).await;
            for ((origin, turned), told) in self.of.iter().zip(&mut told) {
                let turned = turned.borrow().clone();
                if (turned.dial, turned.ends) != (told.dial, told.ends) {
                    tell(&Event::Fault {
                        origin: (*origin).to_owned(),
                        trouble: turned.dial.trouble(),
                        lasts: turned.lasts,
                        signed: turned.signed.clone(),
                    });
                    *told = turned;
                }
            }
        }
    }

    fn sender(&self, origin: &str) -> Option<&watch::Sender<Turned>> {
        self.of
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
    fn an_order_says_who_why_and_for_how_long() {
        let order = Order::parse("hang=1&by=L%C3%A9a&reason=a+test%3F&for=10m").unwrap();
        assert!(order.change.hang == Some(true));
        assert_eq!(order.signed.to_string(), ", by Léa: a test?");
        assert_eq!(order.lasts, Some(Duration::from_secs(600)));
        assert_eq!(Order::parse("off=1").unwrap().signed, Signature::default());
        for form in ["by=%FF", "by=a%0Ab", "for=0s", "for=169h", "for=soon"] {
            let refused = Order::parse(&format!("off=1&{form}"));
            assert!(refused.is_err(), "{form}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_trouble_ends_when_its_time_is_over_and_no_earlier() {
        let dials = Dials::new(&["cms", "media"]);
        let (told, mut events) = tokio::sync::mpsc::channel(9);
        let tell = |event: &Event| told.try_send(event.to_string()).unwrap();
        let play = async {
            let turn = |origin, form| dials.carry_out(origin, &Order::parse(form).unwrap());
            turn("cms", "off=1&for=10m&by=desk&reason=a+test");
            turn("media", "hang=1");
            assert!(events.recv().await.unwrap().ends_with(
                "origin cms is made to misbehave: refuses connections, for 10m, by desk: a test"
            ));
            assert!(
                events
                    .recv()
                    .await
                    .unwrap()
                    .ends_with("media is made to misbehave: hangs")
            );
            tokio::time::advance(Duration::from_secs(599)).await;
            // turned again before its end: the first end is none any more
            turn("cms", "cut=1&for=20m");
            assert!(
                events
                    .recv()
                    .await
                    .unwrap()
                    .contains("cuts its answers off, refuses connections, for 20m")
            );
            tokio::time::advance(Duration::from_secs(1199)).await;
            assert!(dials.all()[0].1.off);
            tokio::time::advance(Duration::from_secs(2)).await;
            let healthy = events.recv().await.unwrap();
            assert_eq!(
                healthy,
                "origin cms is made healthy again: its time is over"
            );
            assert!(dials.all()[0].1.is_healthy());
            assert!(dials.all()[1].1.hang, "what was turned for good stays");
        };
        // who tells of a turn has to be there before it
        tokio::select! {
            biased;
            never = dials.clone().end_in_time() => match never {},
            never = dials.clone().tell(tell) => match never {},
            () = play => {}
        }
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
