//! W3C trace context (<https://www.w3.org/TR/trace-context/>): which trace a page belongs to, what of it
//! is read from a request and what is sent to origins. Owns the rules of both headers; pure, chance is
//! an argument.
//!
//! Invariant: what is not valid to the letter is as if it were not there. A page has a trace in any case.

/// Longest `tracestate` that is passed on (3.3.1.5).
const STATE_BYTES_MAX: usize = 512;

/// Most members of a `tracestate` (3.3.1.1).
const STATE_MEMBERS_MAX: usize = 32;

/// The trace of one page, and the page's own span in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// 128 bits, not zero when the context is present.
    pub trace_id: u128,
    /// The span of the page itself.
    pub span_id: u64,
    /// The span of whoever has asked for the page; 0 where it does not say.
    pub parent_id: u64,
    /// Whether whoever has asked wants it recorded, or chance does.
    pub sampled: bool,
    /// The `tracestate` header, as received.
    pub state: Option<String>,
}

impl Trace {
    /// A trace of its own, made of chance.
    pub fn random(chance: u128) -> Self {
        Self {
            trace_id: chance.max(1),
            span_id: span_of(chance),
            ..Self::default()
        }
    }

    /// The trace that a request belongs to by its headers: the values of `traceparent`, of which there
    /// must be one, and of `tracestate`, of which there may be several. A trace of its own where they
    /// are not valid.
    pub fn received<'h>(
        mut traceparents: impl Iterator<Item = &'h str>,
        tracestates: impl Iterator<Item = &'h str>,
        chance: u128,
    ) -> Self {
        let parent = traceparents.next().and_then(Self::parse);
        match (parent, traceparents.next()) {
            (Some(trace), None) => Self {
                span_id: span_of(chance),
                state: state(tracestates),
                ..trace
            },
            _ => Self::random(chance),
        }
    }

    /// Reads a `traceparent` header; `None` when it is not valid under version 00 (or a later
    /// version with the same four leading fields).
    pub fn parse(traceparent: &str) -> Option<Self> {
        let mut fields = traceparent.split('-');
        let (version, id, parent, flags) = (
            fields.next()?,
            fields.next()?,
            fields.next()?,
            fields.next()?,
        );
        let hex = |s: &str, n: usize| {
            s.len() == n
                && s.bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        if !hex(version, 2) || !hex(id, 32) || !hex(parent, 16) || !hex(flags, 2) {
            return None;
        }
        if version == "ff" || (version == "00" && fields.next().is_some()) {
            return None;
        }
        let trace_id = u128::from_str_radix(id, 16).ok()?;
        let parent_id = u64::from_str_radix(parent, 16).ok()?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        (trace_id != 0 && parent_id != 0).then_some(Self {
            trace_id,
            parent_id,
            sampled: flags & 1 == 1,
            ..Self::default()
        })
    }

    /// The `traceparent` to send with one attempt, whose span is `span_id`.
    pub fn traceparent(&self, span_id: u64) -> String {
        // one for each request to an origin: put together by hand
        let mut text = String::with_capacity("00-".len() + 32 + "-".len() + 16 + "-00".len());
        text.push_str("00-");
        push_hex(&mut text, &self.trace_id.max(1).to_be_bytes());
        text.push('-');
        push_hex(&mut text, &span_id.max(1).to_be_bytes());
        text.push_str(match self.sampled {
            true => "-01",
            false => "-00",
        });
        text
    }

    /// The same, sampled also if it is of this share of all traces.
    #[must_use]
    pub fn sampled_at(mut self, share: f64) -> Self {
        self.sampled |= is_of(self.trace_id, share);
        self
    }

    /// The span of one of the page's slots.
    pub fn slot(&self, member: usize) -> u64 {
        // an odd factor leaves no two of them the same
        let member = u64::try_from(member).unwrap_or(u64::MAX).wrapping_add(1);
        let id = self.span_id ^ member.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        id.max(1)
    }
}

/// A trace as it is told: 32 hexadecimal digits.
pub fn told(trace_id: u128) -> String {
    let mut text = String::with_capacity(32);
    push_hex(&mut text, &trace_id.to_be_bytes());
    text
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 0xf)]));
    }
}

/// Whether a trace is of this share of all traces: the same answer on every node, because it is made of
/// what is random in the id (W3C trace context level 2 has that in the lowest 56 bits).
pub fn is_of(trace_id: u128, share: f64) -> bool {
    const RANDOM_BITS: u32 = 56;
    let random = (trace_id & ((1 << RANDOM_BITS) - 1)) as f64;
    // the greatest numbers are rounded up
    share >= 1.0 || random < share * (1_u64 << RANDOM_BITS) as f64
}

fn span_of(chance: u128) -> u64 {
    // the trace's id may be the same chance: its span does not repeat a half of it
    let (high, low) = ((chance >> 64) as u64, chance as u64);
    (high.rotate_left(17) ^ low).max(1)
}

/// `tracestate` in one line; `None` where there is none, or none that is valid.
fn state<'h>(lines: impl Iterator<Item = &'h str>) -> Option<String> {
    let lines: Vec<&str> = lines.collect();
    let all = lines.join(",");
    let is_valid = all.len() <= STATE_BYTES_MAX && {
        let members = all.split(',').map(|m| m.trim_matches([' ', '\t']));
        let members: Vec<&str> = members.filter(|m| !m.is_empty()).collect();
        let is_twice = |i: usize| members[..i].iter().any(|m| key(m) == key(members[i]));
        (1..=STATE_MEMBERS_MAX).contains(&members.len())
            && members.iter().all(|member| is_member(member))
            && !(0..members.len()).any(is_twice)
    };
    is_valid.then_some(all)
}

fn key(member: &str) -> &str {
    member.split('=').next().unwrap_or_default()
}

fn is_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else {
        return false;
    };
    let is_key_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-*/@".contains(&b);
    let is_value_byte = |b: u8| (b' '..=b'~').contains(&b) && b != b',' && b != b'=';
    let begins_well = key
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    begins_well
        && key.len() <= 256
        && key.bytes().all(is_key_byte)
        && (1..=256).contains(&value.len())
        && value.bytes().all(is_value_byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn traceparent_round_trip() {
        let trace = Trace::parse(HEADER).unwrap();
        assert_eq!(trace.traceparent(trace.parent_id), HEADER);
    }

    #[test]
    fn invalid_traceparents_are_ignored() {
        for header in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
        ] {
            assert_eq!(Trace::parse(header), None, "{header}");
        }
        let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
        assert!(Trace::parse(later).is_some(), "of a later version");
    }

    fn received(parents: &[&str], states: &[&str]) -> Trace {
        Trace::received(parents.iter().copied(), states.iter().copied(), 7)
    }

    #[test]
    fn a_page_without_a_valid_context_begins_a_trace() {
        for parents in [&[][..], &["nonsense"], &[HEADER, HEADER]] {
            let trace = received(parents, &["a=1"]);
            assert_eq!(trace, Trace::random(7), "{parents:?}");
            assert_eq!((trace.trace_id, trace.parent_id), (7, 0));
            assert!(trace.span_id != 0 && trace.state.is_none());
        }
        assert_eq!(Trace::random(0).trace_id, 1, "no id is zero");
    }

    #[test]
    fn tracestate_is_passed_on_when_it_is_valid() {
        let state = |states: &[&str]| received(&[HEADER], states).state;
        assert_eq!(state(&["a=1"]).as_deref(), Some("a=1"));
        assert_eq!(
            state(&["a=1, b@c=2", "d=3"]).as_deref(),
            Some("a=1, b@c=2,d=3")
        );
        let (long, many) = (format!("a={}", "x".repeat(600)), "a=1,".repeat(33));
        for bad in [
            &[][..],
            &[""],
            &["a"],
            &["A=1"],
            &["a=1,a=2"],
            &["a="],
            &["a=b=c"],
            &[&long],
            &[&many],
        ] {
            assert_eq!(state(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_share_of_the_traces_is_sampled_and_the_same_ones_everywhere() {
        let ids = (0..1024_u128).map(|n| n << 46);
        let count = |share| ids.clone().filter(|id| is_of(*id, share)).count();
        assert_eq!((count(0.0), count(0.125), count(1.0)), (0, 128, 1024));
        assert!(Trace::random(u128::MAX).sampled_at(1.0).sampled);
        let wanted = Trace::parse(HEADER).unwrap();
        assert!(wanted.sampled_at(0.0).sampled, "whoever asks for it has it");
    }

    #[test]
    fn the_slots_of_a_page_have_spans_of_their_own() {
        let trace = Trace::random(42);
        let mut spans: Vec<u64> = (0..64).map(|member| trace.slot(member)).collect();
        spans.push(trace.span_id);
        spans.sort_unstable();
        spans.dedup();
        assert_eq!(spans.len(), 65);
    }
}
