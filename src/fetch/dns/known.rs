//! What is known of a name, and what that is worth at a given moment. Owns the order in which
//! addresses are given out; pure: time is an argument. Knows neither the name nor how it is looked
//! up.
//!
//! Invariants: what was found once is answered at once ever after; a look-up is asked for only when
//! none is under way.

use std::net::IpAddr;
use std::time::Duration;

use crate::clock::Instant;

/// After a look-up that failed, what is known is given out for so long before the next.
const AGAIN: Duration = Duration::from_secs(1);

/// What is known of one name; at first nothing.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// As the last good look-up gave them; empty before the first.
    addresses: Vec<IpAddr>,
    found_at: Option<Instant>,
    /// Until then nothing is looked up, the last time having failed.
    pause_until: Option<Instant>,
    is_looked_up: bool,
    asked_at: Option<Instant>,
    /// How often they have been given out.
    turn: usize,
}

/// What to do for whoever asks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Answer.
    Serve(Vec<IpAddr>),
    /// Answer, and look the name up meanwhile.
    Refresh(Vec<IpAddr>),
    /// Look the name up, and wait for that.
    LookUp,
    /// Wait for the look-up that is under way.
    Wait,
}

impl Known {
    /// Somebody asks, to whom addresses are good for `ttl`; what is decided is taken as done.
    pub(super) fn ask(&mut self, now: Instant, ttl: Duration) -> Decision {
        self.asked_at = Some(now);
        if self.addresses.is_empty() {
            let is_under_way = std::mem::replace(&mut self.is_looked_up, true);
            return match is_under_way {
                true => Decision::Wait,
                false => Decision::LookUp,
            };
        }
        let is_good = self.found_at.is_some_and(|found| now < found + ttl);
        let is_pause = self.pause_until.is_some_and(|until| now < until);
        if self.is_looked_up || is_good || is_pause {
            return Decision::Serve(self.next());
        }
        self.is_looked_up = true;
        Decision::Refresh(self.next())
    }

    /// A look-up has ended, with at least one address.
    pub(super) fn found(&mut self, addresses: Vec<IpAddr>, now: Instant) {
        self.addresses = addresses;
        self.found_at = Some(now);
        self.pause_until = None;
        self.is_looked_up = false;
    }

    /// A look-up has ended, with nothing.
    pub(super) fn failed(&mut self, now: Instant) {
        self.pause_until = Some(now + AGAIN);
        self.is_looked_up = false;
    }

    /// When somebody last asked, unless a look-up is under way.
    pub(super) fn unused_since(&self) -> Option<Instant> {
        self.asked_at.filter(|_| !self.is_looked_up)
    }

    /// The addresses, each time with another one first. The kind that the system prefers, IPv4 or
    /// IPv6, stays in front: whoever connects gives the other one a chance later.
    pub(super) fn next(&mut self) -> Vec<IpAddr> {
        let prefers_v4 = self.addresses.first().is_some_and(IpAddr::is_ipv4);
        let turn = self.turn;
        self.turn = self.turn.wrapping_add(1);
        let of_kind = |v4: bool| {
            let kind = self.addresses.iter().filter(move |a| a.is_ipv4() == v4);
            let mut kind: Vec<IpAddr> = kind.copied().collect();
            let first = turn.checked_rem(kind.len()).unwrap_or(0);
            kind.rotate_left(first);
            kind
        };
        [of_kind(prefers_v4), of_kind(!prefers_v4)].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const TTL: Duration = Duration::from_secs(30);

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn an_unknown_name_is_looked_up_once_and_waited_for() {
        let now = Clock::start().now();
        let mut name = Known::default();
        assert_eq!(name.ask(now, TTL), Decision::LookUp);
        assert_eq!(name.ask(now, TTL), Decision::Wait);
        name.failed(now);
        // a failure is not kept: the next one to ask tries again
        assert_eq!(name.ask(now, TTL), Decision::LookUp);
        assert_eq!(name.ask(now, TTL), Decision::Wait);
        name.found(addresses(&["10.0.0.1"]), now);
        assert_eq!(
            name.ask(now, TTL),
            Decision::Serve(addresses(&["10.0.0.1"]))
        );
    }

    #[test]
    fn what_is_known_is_answered_whatever_its_age() {
        let now = Clock::start().now();
        let known = || addresses(&["10.0.0.1"]);
        let mut name = Known::default();
        name.found(known(), now);
        let short = Duration::from_millis(1);
        assert_eq!(name.ask(now + TTL - short, TTL), Decision::Serve(known()));
        let late = now + TTL;
        assert_eq!(name.ask(late, TTL), Decision::Refresh(known()));
        assert_eq!(
            name.ask(late, TTL),
            Decision::Serve(known()),
            "one at a time"
        );
        assert_eq!(name.ask(late + 100 * TTL, TTL), Decision::Serve(known()));
        name.failed(late);
        assert_eq!(
            name.ask(late + AGAIN - short, TTL),
            Decision::Serve(known())
        );
        assert_eq!(name.ask(late + AGAIN, TTL), Decision::Refresh(known()));
        name.found(addresses(&["10.0.0.2"]), late);
        assert_eq!(
            name.ask(late, TTL),
            Decision::Serve(addresses(&["10.0.0.2"]))
        );
    }

    #[test]
    fn each_address_is_first_in_turn_and_the_preferred_kind_stays_in_front() {
        let now = Clock::start().now();
        let mut name = Known::default();
        name.found(
            addresses(&["::1", "10.0.0.1", "::2", "10.0.0.2", "::3"]),
            now,
        );
        for expected in [
            ["::1", "::2", "::3", "10.0.0.1", "10.0.0.2"],
            ["::2", "::3", "::1", "10.0.0.2", "10.0.0.1"],
            ["::3", "::1", "::2", "10.0.0.1", "10.0.0.2"],
            ["::1", "::2", "::3", "10.0.0.2", "10.0.0.1"],
        ] {
            assert_eq!(name.next(), addresses(&expected));
        }
    }
}
