//! Switches as a table and as properties: what can be set, what takes whose place, what is in force.

use std::collections::BTreeSet;

use super::*;
use proptest::prelude::*;

const NOW: Moment = Moment::from_micros(1_750_000_000_000_000);

const HOUR: Duration = Duration::from_secs(3600);

fn switch(act: Act) -> Switch {
    Switch::new(act, "desk", "a test", NOW, HOUR).unwrap()
}

fn off(block: &str) -> Act {
    let block = block.to_owned();
    Act::Off { block }
}

fn on(block: &str) -> Act {
    let block = block.to_owned();
    Act::On { block }
}

fn level(number: u8) -> Level {
    Level::new(number)
}

fn all(acts: impl IntoIterator<Item = Act>) -> Switches {
    let mut switches = Switches::default();
    for act in acts {
        switches.set(switch(act)).unwrap();
    }
    switches
}

#[test]
fn a_switch_says_whose_it_is_and_why() {
    let made = |owner: &str, reason: &str| Switch::new(Act::Freeze, owner, reason, NOW, HOUR);
    let trimmed = made("  Anne ", " élections\u{a0}").unwrap();
    assert_eq!(
        (trimmed.owner.as_str(), trimmed.reason.as_str()),
        ("Anne", "élections")
    );
    for (owner, reason, why) in [
        ("", "x", Unfit::NoOwner),
        ("  ", "x", Unfit::NoOwner),
        ("x", "\t", Unfit::NoReason),
        ("a\nb", "x", Unfit::Unprintable("owner")),
        ("x", "a\u{1b}[2Jb", Unfit::Unprintable("reason")),
        ("x", "a\u{202e}b", Unfit::Unprintable("reason")),
        ("x", "a\u{2028}b", Unfit::Unprintable("reason")),
    ] {
        assert_eq!(made(owner, reason), Err(why), "{owner:?} {reason:?}");
    }
}

#[test]
fn who_takes_one_back_is_held_to_what_an_owner_is_held_to() {
    assert_eq!(name_of(" Marc "), Ok(Some("Marc".to_owned())));
    assert_eq!(name_of("\u{a0} "), Ok(None));
    for unprintable in [
        "a\nb",
        "a\u{1b}[2Jb",
        "a\u{202e}b",
        "a\u{2066}b",
        "\u{200f}",
        "a\u{2028}b",
    ] {
        let refused = Err(Unfit::Unprintable("by"));
        assert_eq!(name_of(unprintable), refused, "{unprintable:?}");
    }
    assert!(name_of(&"é".repeat(OWNER_MAX)).is_ok());
    let (what, length, max) = ("by", OWNER_MAX + 1, OWNER_MAX);
    let too_long = Err(Unfit::TooLong { what, length, max });
    assert_eq!(name_of(&"é".repeat(length)), too_long);
}

#[test]
fn what_is_said_has_a_limit() {
    let made = |owner: usize, reason: usize| {
        let text = |length| "é".repeat(length);
        Switch::new(Act::Freeze, &text(owner), &text(reason), NOW, HOUR)
    };
    assert!(made(OWNER_MAX, REASON_MAX).is_ok());
    let too_long = |what, length, max| Err(Unfit::TooLong { what, length, max });
    assert_eq!(
        made(OWNER_MAX + 1, 1),
        too_long("owner", OWNER_MAX + 1, OWNER_MAX)
    );
    assert_eq!(
        made(1, REASON_MAX + 1),
        too_long("reason", REASON_MAX + 1, REASON_MAX)
    );
}

#[test]
fn a_switch_has_an_end() {
    let made = |span| Switch::new(Act::Freeze, "x", "x", NOW, span);
    assert_eq!(
        made(SPAN).unwrap().until,
        NOW.after(Duration::from_secs(43_200))
    );
    assert!(made(SPAN_MIN).is_ok() && made(SPAN_MAX).is_ok());
    let over = SPAN_MAX + Duration::from_millis(1);
    assert_eq!(made(over), Err(Unfit::Span(over)));
    assert_eq!(made(Duration::ZERO), Err(Unfit::Span(Duration::ZERO)));
    assert_eq!(
        made(Duration::from_secs(31 * 24 * 3600))
            .unwrap_err()
            .to_string(),
        "a switch can be set for 1s to 30d, not for 31d"
    );
}

#[test]
fn there_is_one_switch_for_each_subject() {
    let mut switches = Switches::default();
    assert_eq!(switches.set(switch(off("ad"))), Ok(None));
    assert_eq!(switches.set(switch(off("live"))), Ok(None));
    // the other way round is the same subject
    let before = switches.set(switch(on("ad"))).unwrap().unwrap();
    assert_eq!(before.act, off("ad"));
    assert_eq!(switches.iter().count(), 2);
    let overrides = switches.in_force(NOW);
    assert!(overrides.is_on("ad") && !overrides.is_off("ad") && overrides.is_off("live"));
    assert_eq!(
        switches.clear(&Subject::Block("ad".into())).unwrap().act,
        on("ad")
    );
    assert_eq!(switches.clear(&Subject::Block("ad".into())), None);
}

#[test]
fn what_they_come_to() {
    let factor = Factor::new(4.0).unwrap();
    let switches = all([
        off("ad"),
        on("live"),
        Act::Pin { level: level(2) },
        Act::Floor { level: level(1) },
        Act::Cap { level: level(3) },
        Act::Freeze,
        Act::DryRun,
        Act::Ttl { factor },
    ]);
    let expected = Overrides {
        off: BTreeSet::from(["ad".to_owned()]),
        on: BTreeSet::from(["live".to_owned()]),
        pin: Some(level(2)),
        floor: Some(level(1)),
        cap: Some(level(3)),
        is_frozen: true,
        is_dry_run: true,
        ttl_factor: 4.0,
    };
    assert_eq!(switches.in_force(NOW), expected);
    assert_eq!(switches.in_force(NOW.after(HOUR)), Overrides::default());
    assert_eq!(Switches::default().in_force(NOW), Overrides::default());
}

#[test]
fn each_is_over_at_its_own_end() {
    let mut switches = Switches::default();
    for (act, hours) in [(off("ad"), 2), (Act::Freeze, 1), (Act::DryRun, 3)] {
        let switch = Switch::new(act, "x", "x", NOW, HOUR * hours).unwrap();
        switches.set(switch).unwrap();
    }
    assert_eq!(switches.next_change(&[], NOW), Some(NOW.after(HOUR)));
    assert_eq!(switches.expire(NOW), []);
    let almost = Moment::from_micros(NOW.after(HOUR).micros() - 1);
    assert!(switches.in_force(almost).is_frozen);
    let gone: Vec<Act> = switches
        .expire(NOW.after(HOUR))
        .into_iter()
        .map(|s| s.act)
        .collect();
    assert_eq!(gone, [Act::Freeze]);
    assert_eq!(switches.next_change(&[], NOW), Some(NOW.after(HOUR * 2)));
    assert_eq!(switches.expire(NOW.after(HOUR * 5)).len(), 2);
    assert_eq!(switches.next_change(&[], NOW), None);
}

#[test]
fn the_level_of_a_page() {
    let of = |pin: Option<u8>, floor: Option<u8>, cap: Option<u8>, by_law| {
        let overrides = Overrides {
            pin: pin.map(level),
            floor: floor.map(level),
            cap: cap.map(level),
            ..Overrides::default()
        };
        overrides.level(level(by_law)).get()
    };
    assert_eq!(of(None, None, None, 3), 3);
    assert_eq!(of(None, Some(2), None, 1), 2);
    assert_eq!(of(None, Some(2), None, 3), 3);
    assert_eq!(of(None, None, Some(2), 3), 2);
    assert_eq!(of(None, Some(1), Some(2), 0), 1);
    // a pin is above everything
    assert_eq!(of(Some(0), Some(1), Some(2), 5), 0);
    assert_eq!(of(Some(7), Some(1), Some(2), 5), 7);
}

#[test]
fn a_floor_and_a_cap_that_contradict_each_other_are_refused() {
    let mut switches = all([Act::Cap { level: level(2) }]);
    let error = switches
        .set(switch(Act::Floor { level: level(3) }))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the floor 3 would be above the cap 2: `cap` was set by desk (a test); clear it first"
    );
    assert_eq!(
        switches.set(switch(Act::Floor { level: level(2) })),
        Ok(None)
    );
    let error = switches
        .set(switch(Act::Cap { level: level(1) }))
        .unwrap_err();
    assert!(matches!(
        error,
        Unfit::Crossed {
            other: Subject::Floor,
            ..
        }
    ));
    // what was refused has changed nothing
    assert_eq!(switches.in_force(NOW).cap, Some(level(2)));
}

#[test]
fn there_are_not_more_than_can_be_read() {
    let mut switches = all((0..SWITCHES_MAX).map(|n| off(&format!("block-{n}"))));
    assert_eq!(switches.set(switch(Act::Freeze)), Err(Unfit::Full));
    assert!(switches.set(switch(on("block-7"))).unwrap().is_some());
    switches.clear(&Subject::Block("block-7".into()));
    assert_eq!(switches.set(switch(Act::Freeze)), Ok(None));
}

#[test]
fn factors() {
    assert_eq!(Factor::new(0.1).map(Factor::get), Ok(0.1));
    assert_eq!(Factor::new(100.0).map(Factor::get), Ok(100.0));
    assert_eq!(Factor::new(2.5).unwrap().to_string(), "2.5");
    for wrong in [0.0, 0.09, -1.0, 100.1, f64::NAN, f64::INFINITY] {
        assert!(Factor::new(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn subjects_are_spelled_as_they_are_shown() {
    for act in [
        off("ad"),
        Act::Pin { level: level(1) },
        Act::Floor { level: level(1) },
        Act::Cap { level: level(1) },
        Act::Freeze,
        Act::DryRun,
        Act::Ttl {
            factor: Factor::new(2.0).unwrap(),
        },
    ] {
        let subject = act.subject();
        assert_eq!(subject.to_string().parse(), Ok(subject));
    }
    for wrong in ["", "block/", "block", "Pin", "level", "pin/2"] {
        assert_eq!(wrong.parse::<Subject>(), Err(NoSubject(wrong.to_owned())));
    }
}

#[test]
fn what_was_written_by_hand_is_looked_at() {
    let good = switch(off("ad"));
    let changed = |change: fn(&mut Switch)| {
        let mut switch = good.clone();
        change(&mut switch);
        Switches::recalled(vec![switch])
    };
    assert!(changed(|_| {}).is_some());
    assert!(changed(|s| s.owner.clear()).is_none());
    assert!(changed(|s| s.reason.push('\n')).is_none());
    assert!(changed(|s| s.until = s.set.after(SPAN_MAX * 2)).is_none());
    assert!(changed(|s| s.until = s.set).is_none());
    assert!(changed(|s| s.act = off("")).is_none());
    // as it is written: nobody could make it otherwise
    let factor = serde_json::from_str("1").unwrap();
    let stretched = Switch {
        act: Act::Ttl { factor },
        ..good.clone()
    };
    assert_eq!(Switches::recalled(vec![stretched]), None);
    let twice = vec![switch(off("ad")), switch(on("ad"))];
    assert!(Switches::recalled(twice).is_none());
}

fn acts() -> impl Strategy<Value = Act> {
    let levels = (0u8..6).prop_map(level);
    prop_oneof![
        "[a-d]".prop_map(|block| Act::Off { block }),
        "[a-d]".prop_map(|block| Act::On { block }),
        levels.clone().prop_map(|level| Act::Pin { level }),
        levels.clone().prop_map(|level| Act::Floor { level }),
        levels.prop_map(|level| Act::Cap { level }),
        Just(Act::Freeze),
        Just(Act::DryRun),
        (1u32..1000).prop_map(|n| Act::Ttl {
            factor: Factor::new(f64::from(n) / 10.0).unwrap(),
        }),
    ]
}

proptest! {
    /// Whatever is set and cleared, in whatever order and whenever: what is held can be written down and
    /// read again, what is over is not in force, and no subject is there twice.
    #[test]
    fn any_history_is_sound(history in prop::collection::vec((acts(), 1u64..100, any::<bool>()), 0..40)) {
        let (mut switches, mut now) = (Switches::default(), NOW);
        for (act, hours, clears) in history {
            now = now.after(HOUR);
            switches.expire(now);
            if clears {
                switches.clear(&act.subject());
                prop_assert_eq!(switches.get(&act.subject()), None);
            } else if let Ok(switch) = Switch::new(act, "x", "x", now, HOUR * u32::try_from(hours).unwrap()) {
                let before = switches.get(&switch.act.subject()).cloned();
                match switches.set(switch.clone()) {
                    Ok(replaced) => {
                        prop_assert_eq!(replaced, before);
                        prop_assert_eq!(switches.get(&switch.act.subject()), Some(&switch));
                    }
                    Err(_) => prop_assert_eq!(switches.get(&switch.act.subject()), before.as_ref()),
                }
            }
            let overrides = switches.in_force(now);
            prop_assert!(overrides.off.is_disjoint(&overrides.on));
            let crossed = overrides.floor.zip(overrides.cap).is_some_and(|(floor, cap)| floor > cap);
            prop_assert!(!crossed);
            prop_assert!(switches.iter().all(|switch| switch.until > now));
            let written = serde_json::to_string(&switches.iter().collect::<Vec<_>>()).unwrap();
            let read: Vec<Switch> = serde_json::from_str(&written).unwrap();
            prop_assert_eq!(Switches::recalled(read), Some(switches.clone()));
        }
        let end = now.after(SPAN_MAX);
        prop_assert_eq!(switches.in_force(end), Overrides::default());
        switches.expire(end);
        prop_assert_eq!(switches, Switches::default());
    }

    #[test]
    fn a_pin_decides_and_otherwise_the_bounds_do(pin in prop::option::of(0u8..9), floor in prop::option::of(0u8..9), cap in prop::option::of(0u8..9), by_law in 0u8..9) {
        let overrides = Overrides {
            pin: pin.map(level),
            floor: floor.map(level),
            cap: cap.map(level),
            ..Overrides::default()
        };
        let found = overrides.level(level(by_law));
        match pin {
            Some(pin) => prop_assert_eq!(found, level(pin)),
            None => {
                prop_assert!(floor.is_none_or(|floor| found >= level(floor)));
                let is_sane = floor.zip(cap).is_none_or(|(floor, cap)| floor <= cap);
                prop_assert!(!is_sane || cap.is_none_or(|cap| found <= level(cap)));
                // a higher decision never gives a lower level
                prop_assert!(overrides.level(level(by_law + 1)) >= found);
            }
        }
    }
}
