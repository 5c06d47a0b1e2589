//! Decisions on several nodes as stories and as properties: whatever the order in which they hear of each
//! other, they come to the same, and what was taken back does not come back.

use proptest::prelude::*;

use super::*;
use crate::degradation::Level;
use crate::degradation::switches::{Act, Subject};

const NOW: Moment = Moment::from_micros(1_750_000_000_000_000);

const HOUR: Duration = Duration::from_secs(3600);

fn floor(level: u8, at: Moment, hours: u32) -> Switch {
    let level = Level::new(level);
    Switch::new(Act::Floor { level }, "desk", "a test", at, HOUR * hours).unwrap()
}

fn key() -> Key {
    Key::from(&Subject::Floor)
}

/// The level that stands.
fn stands(ledger: &Ledger) -> Option<u8> {
    ledger.switches().get(key()).map(|switch| {
        let Act::Floor { level } = switch.act else {
            panic!("{switch:?}");
        };
        level.get()
    })
}

fn hear(ledger: &mut Ledger, records: &[Record], now: Moment) {
    for record in records {
        ledger.merge(record.clone(), now).unwrap();
    }
}

#[test]
fn the_later_decision_stands_on_both() {
    let (mut a, mut b) = (Ledger::default(), Ledger::default());
    let (_, one) = a.set(floor(1, NOW, 2), NOW, "a").unwrap();
    let later = NOW.after(HOUR);
    let (_, two) = b.set(floor(2, later, 2), later, "b").unwrap();
    let heard = a.merge(two.clone(), later).unwrap();
    assert!(
        matches!(
            heard,
            Merged::Set {
                replaced: Some(_),
                ..
            }
        ),
        "{heard:?}"
    );
    assert_eq!(b.merge(one, later), Ok(Merged::Known));
    assert_eq!((stands(&a), stands(&b)), (Some(2), Some(2)));
    assert_eq!(a.merge(two, later), Ok(Merged::Known));
}

#[test]
fn at_the_same_moment_the_node_decides() {
    let (mut a, mut b) = (Ledger::default(), Ledger::default());
    let (_, one) = a.set(floor(1, NOW, 2), NOW, "a").unwrap();
    let (_, two) = b.set(floor(2, NOW, 2), NOW, "b").unwrap();
    hear(&mut a, &[two], NOW);
    hear(&mut b, &[one], NOW);
    assert_eq!((stands(&a), stands(&b)), (Some(2), Some(2)));
}

#[test]
fn whoever_knows_of_it_is_later_by_a_slow_clock_too() {
    let (mut a, mut b) = (Ledger::default(), Ledger::default());
    let (_, set) = a.set(floor(1, NOW, 9), NOW, "a").unwrap();
    let slow = NOW.before(HOUR);
    hear(&mut b, &[set], slow);
    let (_, cleared) = b.clear(&key(), "Marc", slow, "b").unwrap();
    let heard = a.merge(cleared, NOW).unwrap();
    assert!(
        matches!(heard, Merged::Cleared { ref by, .. } if by == "Marc"),
        "{heard:?}"
    );
    assert_eq!((stands(&a), stands(&b)), (None, None));
}

#[test]
fn what_was_taken_back_does_not_return_with_who_was_away() {
    let mut a = Ledger::default();
    let (_, set) = a.set(floor(1, NOW, 48), NOW, "a").unwrap();
    let mut away = Ledger::default();
    hear(&mut away, std::slice::from_ref(&set), NOW);
    // replaced by a short one, which is over, and forgotten were it not for the long one
    let later = NOW.after(HOUR);
    a.set(floor(2, later, 1), later, "a").unwrap();
    let much_later = NOW.after(HOUR * 10);
    assert_eq!(a.expire(much_later).len(), 1);
    assert_eq!(a.merge(set, much_later), Ok(Merged::Known));
    assert_eq!(stands(&a), None);
    hear(&mut away, &a.records(), much_later);
    assert_eq!(stands(&away), None);
    // and once that would be over too, nothing is remembered
    let end = NOW.after(HOUR * 49);
    a.expire(end);
    assert_eq!(a.records(), []);
    hear(&mut a, &away.records(), end);
    assert_eq!(stands(&a), None);
}

#[test]
fn too_much_to_remember_is_refused_rather_than_brought_back() {
    let mut ledger = Ledger::default();
    let off = |n: usize, hours: u32| {
        let block = format!("block-{n}");
        Switch::new(Act::Off { block }, "x", "x", NOW, HOUR * hours).unwrap()
    };
    let (_, first) = ledger.set(off(0, 2), NOW, "a").unwrap();
    ledger.clear(&first.key, "x", NOW, "a").unwrap();
    for n in 1..=KNOWN_MAX {
        let (_, set) = ledger.set(off(n, 3), NOW, "a").unwrap();
        ledger.clear(&set.key, "x", NOW, "a").unwrap();
    }
    assert_eq!(ledger.records().len(), KNOWN_MAX);
    assert_eq!(ledger.merge(first, NOW), Ok(Merged::Known));
    assert_eq!(ledger.switches().iter().count(), 0);
    // what is decided from then on counts
    assert!(ledger.set(off(0, 2), NOW, "a").is_ok());
}

#[test]
fn what_cannot_have_been_decided_is_refused() {
    let (_, good) = Ledger::default().set(floor(1, NOW, 2), NOW, "a").unwrap();
    let merge = |change: fn(&mut Record)| {
        let mut record = good.clone();
        change(&mut record);
        Ledger::default().merge(record, NOW)
    };
    assert!(merge(|_| {}).is_ok());
    assert_eq!(
        merge(|r| r.key = Key::from(&Subject::Pin)),
        Err(Refused::Unfit)
    );
    assert_eq!(merge(|r| r.outlives = NOW), Err(Refused::Unfit));
    assert_eq!(
        merge(|r| r.version.node = "x".repeat(999)),
        Err(Refused::Unfit)
    );
    assert_eq!(merge(|r| r.by = Some("x".repeat(999))), Err(Refused::Unfit));
    let unfit = |r: &mut Record| r.switch.as_mut().unwrap().owner.clear();
    assert_eq!(merge(unfit), Err(Refused::Unfit));
    let ahead = merge(|r| r.version.at = Moment::from_micros(u64::MAX));
    assert!(matches!(ahead, Err(Refused::Ahead(_))));
}

/// What happens on one of three nodes: a switch is set or taken back, or it hears all of another.
#[derive(Debug, Clone)]
enum Step {
    Set(usize, u8, u32),
    Clear(usize),
    Hear(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0usize..3, 0u8..9, 1u32..30).prop_map(|(n, level, hours)| Step::Set(n, level, hours)),
        (0usize..3).prop_map(Step::Clear),
        (0usize..3, 0usize..3).prop_map(|(n, of)| Step::Hear(n, of)),
    ];
    prop::collection::vec(step, 0..40)
}

proptest! {
    /// Whatever happened on whichever, by clocks that are hours apart: once each has heard all others they
    /// hold the same, and it is what was decided last of all.
    #[test]
    fn all_come_to_the_same(steps in steps(), skew in prop::array::uniform3(0u32..5)) {
        let mut nodes = [Ledger::default(), Ledger::default(), Ledger::default()];
        let mut now = NOW;
        for step in steps {
            now = now.after(HOUR);
            let clock = |n: usize| now.before(HOUR * skew[n]);
            match step {
                Step::Set(n, level, hours) => {
                    let (at, name) = (clock(n), format!("node-{n}"));
                    nodes[n].expire(at);
                    nodes[n].set(floor(level, at, hours), at, &name).unwrap();
                }
                Step::Clear(n) => {
                    nodes[n].expire(clock(n));
                    nodes[n].clear(&key(), "x", clock(n), &format!("node-{n}"));
                }
                Step::Hear(n, of) => {
                    let records = nodes[of].records();
                    hear(&mut nodes[n], &records, clock(n));
                }
            }
        }
        nodes.iter_mut().for_each(|node| _ = node.expire(now));
        let last = nodes.iter().flat_map(Ledger::records).max_by_key(|r| r.version.clone());
        let expected = last.and_then(|r| r.switch).filter(|switch| switch.until > now);
        for _ in 0..2 {
            for (n, of) in [(0, 1), (1, 2), (2, 0), (0, 2), (1, 0), (2, 1)] {
                let records = nodes[of].records();
                hear(&mut nodes[n], &records, now);
            }
        }
        for node in &mut nodes {
            node.expire(now);
            prop_assert_eq!(node.switches().get(key()), expected.as_ref());
        }
    }
}
