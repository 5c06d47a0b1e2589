//! What is known of a name, and what that is worth at a given moment. Owns the order in which
//! addresses are given out; pure: time is an argument. Knows neither the name nor how it is looked
//! up.
//!
//! Invariants: what was found once is answered at once ever after; between two look-ups that are
//! asked for, one of them has ended.

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
    /// When they are looked up again, if somebody asks.
    good_until: Option<Instant>,
    is_looked_up: bool,
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
    /// Somebody asks; what is decided is taken as done.
    pub(super) fn ask(&mut self, now: Instant) -> Decision {
        if self.addresses.is_empty() {
            let is_under_way = std::mem::replace(&mut self.is_looked_up, true);
            return match is_under_way {
                true => Decision::Wait,
                false => Decision::LookUp,
            };
        }
        if self.is_looked_up || self.good_until.is_some_and(|until| now < until) {
            return Decision::Serve(self.next());
        }
        self.is_looked_up = true;
        Decision::Refresh(self.next())
    }

    /// A look-up has ended, with at least one address.
    pub(super) fn found(&mut self, addresses: Vec<IpAddr>, now: Instant, ttl: Duration) {
        self.addresses = addresses;
        self.good_until = Some(now + ttl);
        self.is_looked_up = false;
    }

    /// A look-up has ended, with nothing.
    pub(super) fn failed(&mut self, now: Instant) {
        self.good_until = Some(now + AGAIN);
        self.is_looked_up = false;
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
        assert_eq!(name.ask(now), Decision::LookUp);
        assert_eq!(name.ask(now), Decision::Wait);
        name.failed(now);
        // a failure is not kept: the next one to ask tries again
        assert_eq!(name.ask(now), Decision::LookUp);
        assert_eq!(name.ask(now), Decision::Wait);
        name.found(addresses(&["10.0.0.1"]), now, TTL);
        assert_eq!(name.ask(now), Decision::Serve(addresses(&["10.0.0.1"])));
    }

    #[test]
    fn what_is_known_is_answered_whatever_its_age() {
        let now = Clock::start().now();
        let known = || addresses(&["10.0.0.1"]);
        let mut name = Known::default();
        name.found(known(), now, TTL);
        let short = Duration::from_millis(1);
        assert_eq!(name.ask(now + TTL - short), Decision::Serve(known()));
        let late = now + TTL;
        assert_eq!(name.ask(late), Decision::Refresh(known()));
        assert_eq!(name.ask(late), Decision::Serve(known()), "one at a time");
        assert_eq!(name.ask(late + 100 * TTL), Decision::Serve(known()));
        name.failed(late);
        assert_eq!(name.ask(late + AGAIN - short), Decision::Serve(known()));
        assert_eq!(name.ask(late + AGAIN), Decision::Refresh(known()));
        name.found(addresses(&["10.0.0.2"]), late, TTL);
        assert_eq!(name.ask(late), Decision::Serve(addresses(&["10.0.0.2"])));
    }

    #[test]
    fn each_address_is_first_in_turn_and_the_preferred_kind_stays_in_front() {
        let now = Clock::start().now();
        let mut name = Known::default();
        name.found(
            addresses(&["::1", "10.0.0.1", "::2", "10.0.0.2", "::3"]),
            now,
            TTL,
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
