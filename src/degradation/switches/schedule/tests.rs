//! Windows as tables: once and weekly, across midnight, across the clocks' change, over and to come.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::degradation::Level;
use crate::degradation::switches::{Key, Overrides, Subject, Switches};

fn paris() -> TimeZone {
    TimeZone::get("Europe/Paris").unwrap()
}

fn at(text: &str) -> Moment {
    read_moment(text, &paris(), Edge::From).unwrap()
}

fn weekly(days: &[Weekday], from: &str, until: &str) -> Schedule {
    schedule(
        "weekly",
        1,
        When::Weekly {
            days: days.to_vec(),
            from: from.parse().unwrap(),
            until: until.parse().unwrap(),
        },
    )
}

fn once(name: &str, level: u8, from: &str, until: &str) -> Schedule {
    let when = When::Once(Window {
        from: at(from),
        until: read_moment(until, &paris(), Edge::Until).unwrap(),
    });
    schedule(name, level, when)
}

fn schedule(name: &str, level: u8, when: When) -> Schedule {
    let level = Level::new(level);
    Schedule {
        name: name.to_owned(),
        acts: vec![Act::Floor { level }],
        owner: "desk".to_owned(),
        reason: "a test".to_owned(),
        when,
        zone: paris(),
    }
}

/// The window as Paris sees it.
fn seen(schedule: &Schedule, now: &str) -> String {
    let said = |at| show_local(at, &paris());
    match schedule.window(at(now)) {
        Some(window) => format!("{} {}", said(window.from), said(window.until)),
        None => "over".to_owned(),
    }
}

#[test]
fn moments_are_local_unless_they_say_otherwise() {
    for (text, expected) in [
        ("2026-11-03T20:00", "2026-11-03T19:00:00Z"),
        ("2026-11-03 20:00:30", "2026-11-03T19:00:30Z"),
        ("2026-07-03T20:00", "2026-07-03T18:00:00Z"),
        ("2026-11-03T20:00+00:00", "2026-11-03T20:00:00Z"),
        ("2026-11-03T20:00Z", "2026-11-03T20:00:00Z"),
    ] {
        assert_eq!(at(text).to_string(), expected, "{text}");
    }
    for wrong in [
        "",
        "x",
        "2026-11-03",
        "20:00",
        "2026-13-03T20:00",
        "1969-01-01T00:00",
    ] {
        let read = read_moment(wrong, &paris(), Edge::From);
        assert_eq!(read, Err(NoMoment(wrong.to_owned())), "{wrong}");
    }
    assert_eq!(
        say_local(at("2026-11-03T20:00"), &paris()),
        "Tue 3 Nov 2026 20:00 CET"
    );
}

#[test]
fn a_local_time_that_comes_twice_or_never() {
    let of = |text: &str, edge| {
        let moment = read_moment(text, &paris(), edge).unwrap();
        show_local(moment, &paris())
    };
    // put back from 3 to 2 on 25 October 2026: half past two comes twice
    assert_eq!(of("2026-10-25T02:30", Edge::From), "2026-10-25T02:30+02:00");
    assert_eq!(
        of("2026-10-25T02:30", Edge::Until),
        "2026-10-25T02:30+01:00"
    );
    // put forward from 2 to 3 on 29 March 2026: it never comes, and the jump stands for it
    for edge in [Edge::From, Edge::Until] {
        assert_eq!(of("2026-03-29T02:30", edge), "2026-03-29T03:00+02:00");
    }
    assert_eq!(
        of("2026-10-25T02:30+02:00", Edge::Until),
        "2026-10-25T02:30+02:00"
    );
}

#[test]
fn once_is_to_come_then_there_then_over() {
    let night = once("night", 1, "2026-11-03T20:00", "2026-11-04T02:00");
    let window = "2026-11-03T20:00+01:00 2026-11-04T02:00+01:00";
    for now in [
        "2026-01-01T00:00",
        "2026-11-03T20:00",
        "2026-11-04T01:59:59",
    ] {
        assert_eq!(seen(&night, now), window, "{now}");
    }
    assert_eq!(seen(&night, "2026-11-04T02:00"), "over");
    assert_eq!(seen(&night, "2030-01-01T00:00"), "over");
}

#[test]
fn weekly_is_there_again_each_week() {
    let sundays = weekly(&[Weekday::Sunday], "20:00", "02:00");
    let this = "2026-06-07T20:00+02:00 2026-06-08T02:00+02:00";
    let next = "2026-06-14T20:00+02:00 2026-06-15T02:00+02:00";
    for (now, window) in [
        ("2026-06-01T02:00", this),
        ("2026-06-07T19:59", this),
        ("2026-06-07T20:00", this),
        // the day after, by the clock
        ("2026-06-08T01:59", this),
        ("2026-06-08T02:00", next),
    ] {
        assert_eq!(seen(&sundays, now), window, "{now}");
    }
    let days = weekly(&[Weekday::Monday, Weekday::Friday], "08:00", "08:00");
    assert_eq!(
        seen(&days, "2026-06-02T08:00"),
        "2026-06-05T08:00+02:00 2026-06-06T08:00+02:00"
    );
}

#[test]
fn weekly_across_the_clocks_change() {
    let nights = |from: &str, until: &str| weekly(&[Weekday::Sunday], from, until);
    // a window that the jump swallows does not take place: the next week's is the next
    let within = nights("02:10", "02:50");
    assert_eq!(
        seen(&within, "2026-03-28T12:00"),
        "2026-04-05T02:10+02:00 2026-04-05T02:50+02:00"
    );
    // one that begins or ends in it begins or ends at it
    assert_eq!(
        seen(&nights("02:30", "04:00"), "2026-03-28T12:00"),
        "2026-03-29T03:00+02:00 2026-03-29T04:00+02:00"
    );
    assert_eq!(
        seen(&nights("01:00", "02:30"), "2026-03-28T12:00"),
        "2026-03-29T01:00+01:00 2026-03-29T03:00+02:00"
    );
    // where the hour comes twice, both are covered
    assert_eq!(
        seen(&within, "2026-10-24T12:00"),
        "2026-10-25T02:10+02:00 2026-10-25T02:50+01:00"
    );
    // the same local times, an hour apart
    let evenings = nights("20:00", "22:00");
    assert_eq!(
        seen(&evenings, "2026-10-19T12:00"),
        "2026-10-25T20:00+01:00 2026-10-25T22:00+01:00"
    );
    assert_eq!(
        seen(&evenings, "2026-10-18T12:00"),
        "2026-10-18T20:00+02:00 2026-10-18T22:00+02:00"
    );
}

fn floor(switches: &Switches, schedules: &[Schedule], now: &str) -> Option<u8> {
    let Overrides { floor, .. } = switches.in_force_with(schedules, at(now));
    floor.map(Level::get)
}

#[test]
fn of_several_about_the_same_the_one_that_began_last_counts() {
    let night = once("night", 1, "2026-11-03T20:00", "2026-11-04T02:00");
    let peak = once("peak", 2, "2026-11-03T22:00", "2026-11-03T23:00");
    let late = once("late", 3, "2026-11-03T22:30", "2026-11-04T03:00");
    let mut switches = Switches::default();
    for schedules in [
        vec![night.clone(), peak.clone(), late.clone()],
        vec![late, peak, night],
    ] {
        let floor = |now| floor(&switches, &schedules, now);
        assert_eq!(floor("2026-11-03T19:59:59"), None);
        assert_eq!(floor("2026-11-03T20:00"), Some(1));
        assert_eq!(floor("2026-11-03T22:00"), Some(2));
        assert_eq!(floor("2026-11-03T22:30"), Some(3));
        assert_eq!(floor("2026-11-03T23:30"), Some(3));
        assert_eq!(floor("2026-11-04T02:30"), Some(3));
        assert_eq!(floor("2026-11-04T03:00"), None);
    }
    // whoever sets one by hand meanwhile is the last to begin; one of before gives way, and is back
    let schedules = [once("night", 1, "2026-11-03T20:00", "2026-11-04T02:00")];
    let by_hand = |level, now, hours: u64| {
        let level = Level::new(level);
        let span = Duration::from_secs(hours * 3600);
        Switch::new(Act::Floor { level }, "x", "x", at(now), span).unwrap()
    };
    switches.set(by_hand(4, "2026-11-03T12:00", 20)).unwrap();
    let of = |switches: &Switches, now| floor(switches, &schedules, now);
    assert_eq!(of(&switches, "2026-11-03T19:00"), Some(4));
    assert_eq!(of(&switches, "2026-11-03T21:00"), Some(1));
    assert_eq!(of(&switches, "2026-11-04T03:00"), Some(4));
    switches.set(by_hand(5, "2026-11-03T21:00", 1)).unwrap();
    assert_eq!(of(&switches, "2026-11-03T21:30"), Some(5));
    assert_eq!(of(&switches, "2026-11-03T22:30"), Some(1));
}

#[test]
fn one_that_is_set_to_begin_later_stands_beside_those_of_now() {
    let now = at("2026-11-03T12:00");
    let planned = |level, from: &str, until: &str| {
        let level = Level::new(level);
        Switch::planned(Act::Floor { level }, "x", "x", now, at(from), at(until))
    };
    let mut switches = Switches::default();
    let tonight = planned(2, "2026-11-03T20:00", "2026-11-04T02:00").unwrap();
    let key = tonight.key();
    assert_eq!(key.to_string(), "floor@2026-11-03T19:00:00Z");
    assert_eq!(key.to_string().parse(), Ok(key.clone()));
    switches.set(tonight).unwrap();
    switches
        .set(planned(1, "2026-11-10T20:00", "2026-11-11T02:00").unwrap())
        .unwrap();
    let of = |switches: &Switches, now| floor(switches, &[], now);
    assert_eq!(of(&switches, "2026-11-03T19:59"), None);
    assert_eq!(of(&switches, "2026-11-03T20:00"), Some(2));
    assert_eq!(of(&switches, "2026-11-05T20:00"), None);
    assert_eq!(of(&switches, "2026-11-10T20:00"), Some(1));
    // taken back while it is in force
    assert!(switches.clear(&key).is_some());
    assert_eq!(of(&switches, "2026-11-03T20:00"), None);
    assert_eq!(switches.next_change(&[], now), Some(at("2026-11-10T20:00")));
    // what has begun by then is set now
    let already = planned(1, "2026-11-03T11:00", "2026-11-03T13:00").unwrap();
    assert_eq!(already.key(), Key::from(&Subject::Floor));
    for (from, until) in [
        ("2026-11-03T20:00", "2026-11-03T20:00"),
        ("2026-11-03T20:00", "2026-11-03T19:00"),
        ("2026-11-03T10:00", "2026-11-03T11:00"),
        ("2026-11-03T20:00", "2026-12-30T19:00"),
        ("2028-11-03T20:00", "2028-11-03T21:00"),
    ] {
        assert!(planned(1, from, until).is_err(), "{from} {until}");
    }
}

#[test]
fn one_that_was_set_for_now_is_in_force_by_a_clock_that_is_behind() {
    let level = Level::new(1);
    let set = at("2026-11-03T12:00");
    let switch = Switch::new(Act::Floor { level }, "x", "x", set, Duration::from_secs(60));
    let mut switches = Switches::default();
    switches.set(switch.unwrap()).unwrap();
    assert_eq!(floor(&switches, &[], "2026-11-03T11:59"), Some(1));
    assert_eq!(floor(&switches, &[], "2026-11-03T12:01"), None);
}

#[test]
fn a_skipped_one_is_back_the_next_time() {
    let sundays = [weekly(&[Weekday::Sunday], "20:00", "22:00")];
    let now = at("2026-06-03T12:00");
    let mut switches = Switches::default();
    let until = sundays[0].window(now).unwrap().until;
    let schedule = "weekly".to_owned();
    let skip = Switch::planned(Act::Skip { schedule }, "x", "x", now, now, until);
    switches.set(skip.unwrap()).unwrap();
    let of = |switches: &Switches, now| floor(switches, &sundays, now);
    assert_eq!(of(&switches, "2026-06-07T21:00"), None);
    assert_eq!(of(&switches, "2026-06-14T21:00"), Some(1));
    switches.clear(&Subject::Schedule("weekly".to_owned()));
    assert_eq!(of(&switches, "2026-06-07T21:00"), Some(1));
}

#[test]
fn a_floor_above_a_cap_counts_where_schedules_cross() {
    let cap = Schedule {
        acts: vec![Act::Cap {
            level: Level::new(1),
        }],
        ..once("cap", 0, "2026-11-03T20:00", "2026-11-04T02:00")
    };
    let floor = once("floor", 2, "2026-11-03T20:00", "2026-11-04T02:00");
    let overrides = Switches::default().in_force_with(&[cap, floor], at("2026-11-03T21:00"));
    assert_eq!(overrides.level(Level::FULL), Level::new(2));
    assert_eq!(overrides.level(Level::new(5)), Level::new(2));
}

proptest! {
    /// Whatever the hour, the day and the week: a window is not empty, it holds `now` or is to come, and
    /// nothing changes before the next change that is named.
    #[test]
    fn nothing_changes_unannounced(
        start in 1_700_000_000u64..1_900_000_000,
        days in prop::sample::subsequence(vec![
            Weekday::Monday, Weekday::Wednesday, Weekday::Saturday, Weekday::Sunday], 1..4),
        from in 0i8..24, until in 0i8..24,
    ) {
        let time = |hour: i8| Time::constant(hour, 30, 0, 0);
        let when = When::Weekly { days, from: time(from), until: time(until) };
        let schedules = [schedule("x", 1, when)];
        let switches = Switches::default();
        let mut now = Moment::from_micros(start * 1_000_000);
        for _ in 0..8 {
            let window = schedules[0].window(now).unwrap();
            prop_assert!(window.from < window.until && window.until > now);
            let next = switches.next_change(&schedules, now).unwrap();
            prop_assert!(next > now);
            let before = Moment::from_micros(next.micros() - 1);
            let in_force = |at| switches.in_force_with(&schedules, at).floor.is_some();
            prop_assert_eq!(in_force(now), in_force(before));
            prop_assert_eq!(in_force(now), window.holds(now));
            now = next;
        }
    }
}
