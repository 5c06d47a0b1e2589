//! `[schedules.NAME]` and `site.zone` → what is set by the clock. Owns the rules about times and zones, and
//! that what is set means something on this site.

use jiff::civil::Time;
use jiff::tz::TimeZone;

use super::Context;
use super::settings::place;
use crate::config::diagnose::{Diagnostic, Place};
use crate::config::file::{self, At};
use crate::config::read::{Declared, Entry};
use crate::config::values::{self, nearest};
use crate::degradation::switches::schedule::{Edge, When, read_moment, show_local};
use crate::degradation::switches::{Act, Factor, SPAN_MAX, SPAN_MIN, Schedule, Window};
use crate::degradation::{Level, Switch};
use crate::fragment::quantity::show_duration;
use crate::site::Site;
use crate::site::fit::{Misfit, fits};

/// Schedules of one site: more than anybody can know of.
const SCHEDULES_MAX: usize = 100;

/// A schedule, and where each of its acts is written.
pub(super) struct Placed {
    schedule: Schedule,
    acts: Vec<Place>,
}

/// The zone of the site's local times.
pub(super) fn site_zone(declared: &Declared, cx: &mut Context<'_>) -> TimeZone {
    let written = &declared.site.zone;
    zone(written, place(written, declared.main), cx).unwrap_or(TimeZone::UTC)
}

fn zone(name: &At<String>, place: Place, cx: &mut Context<'_>) -> Option<TimeZone> {
    match values::zone(name) {
        Ok(zone) => Some(zone),
        Err(near) => {
            let finding = Diagnostic::error(format!("unknown time zone `{}`", **name))
                .at(place, "expected a name such as `Europe/Paris`");
            cx.report(match near {
                Some(near) => finding.help(format!("did you mean `{near}`?")),
                None => {
                    finding.help("names are those of the IANA time zone database; `UTC` is one")
                }
            });
            None
        }
    }
}

pub(super) fn schedules(
    declared: &Declared,
    site_zone: &TimeZone,
    cx: &mut Context<'_>,
) -> Vec<Placed> {
    let entries = &declared.schedules;
    if let Some(last) = entries.get(SCHEDULES_MAX) {
        let finding = Diagnostic::error(format!("more than {SCHEDULES_MAX} schedules"));
        cx.report(finding.at(last.place.clone(), "one too many"));
    }
    let bodies = entries
        .iter()
        .filter_map(|entry| Some((entry, entry.body.as_ref()?)));
    bodies
        .filter_map(|(entry, written)| schedule(entry, written, site_zone, cx))
        .collect()
}

fn schedule(
    entry: &Entry<file::Schedule>,
    written: &file::Schedule,
    site_zone: &TimeZone,
    cx: &mut Context<'_>,
) -> Option<Placed> {
    let zone = match &written.zone {
        Some(name) => zone(name, entry.at(name), cx)?,
        None => site_zone.clone(),
    };
    let when = match written.days.is_empty() {
        true => once(entry, written, &zone, cx),
        false => weekly(entry, written, cx),
    };
    let acts = acts(entry, written, cx);
    let what = format!("schedule `{}`", entry.name);
    let (owner, reason) = signed_by(&what, entry, (&written.owner, &written.reason), cx)?;
    let (acts, places) = acts?.into_iter().unzip();
    let schedule = Schedule {
        name: entry.name.clone(),
        acts,
        owner,
        reason,
        when: when?,
        zone,
    };
    Some(Placed {
        schedule,
        acts: places,
    })
}

/// Who and why, by the rules that hold for every switch.
pub(super) fn signed_by<T>(
    what: &str,
    entry: &Entry<T>,
    (owner, reason): (&At<String>, &At<String>),
    cx: &mut Context<'_>,
) -> Option<(String, String)> {
    let at = crate::clock::Moment::default();
    match Switch::new(Act::Freeze, owner, reason, at, SPAN_MIN) {
        Ok(switch) => Some((switch.owner, switch.reason)),
        Err(why) => {
            let finding = Diagnostic::error(format!("{what} is not signed"));
            cx.report(finding.at(entry.at(owner), why.to_string()));
            None
        }
    }
}

fn once(
    entry: &Entry<file::Schedule>,
    written: &file::Schedule,
    zone: &TimeZone,
    cx: &mut Context<'_>,
) -> Option<When> {
    let mut read = |text: &At<String>, edge| match read_moment(text, zone, edge) {
        Ok(moment) => Some(moment),
        Err(_) => {
            let (what, label) = match text.parse::<Time>() {
                Ok(_) => ("is a time without a day", "expected a day and a time"),
                Err(_) => (
                    "is no moment",
                    "expected a moment such as `2026-11-03T20:00`",
                ),
            };
            cx.report(
                Diagnostic::error(format!("`{}` {what}", **text))
                    .at(entry.at(text), label)
                    .help("write `2026-11-03T20:00` or `2026-11-03T20:00+01:00`; for every week, say on which `days`"),
            );
            None
        }
    };
    let (from, until) = (
        read(&written.from, Edge::From),
        read(&written.until, Edge::Until),
    );
    let (from, until) = (from?, until?);
    if until <= from {
        let finding = Diagnostic::error(format!("`{}` is over before it begins", entry.name))
            .at(entry.at(&written.until), "not later than `from`")
            .also(entry.at(&written.from), show_local(from, zone));
        cx.report(finding.help("by the clocks of its zone it must end after it begins"));
        return None;
    }
    let span = until.since(from);
    if span > SPAN_MAX || span < SPAN_MIN {
        let finding = Diagnostic::error(format!("`{}` lasts {}", entry.name, show_duration(span)));
        let label = format!(
            "expected {} to {} after `from`",
            show_duration(SPAN_MIN),
            show_duration(SPAN_MAX)
        );
        let finding = finding.at(entry.at(&written.until), label);
        cx.report(finding.help("what is to stay so belongs in the declaration of the site"));
        return None;
    }
    Some(When::Once(Window { from, until }))
}

fn weekly(
    entry: &Entry<file::Schedule>,
    written: &file::Schedule,
    cx: &mut Context<'_>,
) -> Option<When> {
    let mut read = |text: &At<String>| match text.parse::<Time>() {
        Ok(time) if !text.contains(['T', '-']) => Some(time),
        _ => {
            cx.report(
                Diagnostic::error(format!("`{}` is no time of day", **text))
                    .at(entry.at(text), "expected a time such as `20:00`")
                    .help("a schedule with `days` has times; leave `days` out for one with a date"),
            );
            None
        }
    };
    let (from, until) = (read(&written.from), read(&written.until));
    let mut days: Vec<_> = written.days.iter().map(|day| day.weekday()).collect();
    days.sort_by_key(|day| day.to_monday_zero_offset());
    days.dedup();
    Some(When::Weekly {
        days,
        from: from?,
        until: until?,
    })
}

/// What is set, and where it is written.
fn acts(
    entry: &Entry<file::Schedule>,
    written: &file::Schedule,
    cx: &mut Context<'_>,
) -> Option<Vec<(Act, Place)>> {
    let mut acts = Vec::new();
    for (level, act) in [
        (
            &written.floor,
            (|level| Act::Floor { level }) as fn(Level) -> Act,
        ),
        (&written.cap, |level| Act::Cap { level }),
        (&written.pin, |level| Act::Pin { level }),
    ] {
        let level = level.iter();
        acts.extend(level.map(|level| (act(Level::new(**level)), entry.at(level))));
    }
    if let Some(factor) = &written.ttl {
        // the schema has looked at its range
        let made = Factor::new(**factor).ok()?;
        acts.push((Act::Ttl { factor: made }, entry.at(factor)));
    }
    let block = |name: &At<String>| name.to_string();
    let off = written.off.iter();
    acts.extend(off.map(|name| (Act::Off { block: block(name) }, entry.at(name))));
    let on = written.on.iter();
    acts.extend(on.map(|name| (Act::On { block: block(name) }, entry.at(name))));
    for (flag, act) in [
        (&written.freeze, Act::Freeze),
        (&written.dry_run, Act::DryRun),
    ] {
        let set = flag.iter().filter(|flag| ***flag);
        acts.extend(set.map(|flag| (act.clone(), entry.at(flag))));
    }
    if acts.is_empty() {
        cx.report(
            Diagnostic::error(format!("schedule `{}` sets nothing", entry.name))
                .at(entry.place.clone(), "no switch is declared in it")
                .help("declare `floor`, `cap`, `pin`, `ttl`, `off`, `on`, `freeze` or `dry_run`"),
        );
        return None;
    }
    if let (Some(floor), Some(cap)) = (&written.floor, &written.cap)
        && **floor > **cap
    {
        let finding = Diagnostic::error("the floor is above the cap");
        let finding = finding.at(entry.at(floor), "no page can be planned so");
        cx.report(finding.also(entry.at(cap), "the highest level"));
        return None;
    }
    let mut known: Vec<(crate::degradation::switches::Subject, &Place)> = Vec::new();
    for (act, place) in &acts {
        let subject = act.subject();
        if let Some((_, first)) = known.iter().find(|(known, _)| *known == subject) {
            let finding = Diagnostic::error(format!("`{}` sets {subject} twice", entry.name))
                .at(place.clone(), "for the second time");
            cx.report(finding.also((*first).clone(), "for the first time"));
            return None;
        }
        known.push((subject, place));
    }
    Some(acts)
}

/// Whether what is set means something on this site; it does not become part of it otherwise.
pub(super) fn settle(placed: Vec<Placed>, site: &mut Site, cx: &mut Context<'_>) {
    for one in placed {
        for (act, place) in one.schedule.acts.iter().zip(&one.acts) {
            let Err(misfit) = fits(site, act) else {
                continue;
            };
            let finding = Diagnostic::error(misfit.to_string());
            let finding = finding.at(place.clone(), "cannot be set here");
            let name = match &misfit {
                Misfit::Unknown(name) => name,
                Misfit::Core(_)
                | Misfit::Item { .. }
                | Misfit::NeverGivenUp { .. }
                | Misfit::NoSchedule(_)
                | Misfit::Level(_) => {
                    cx.report(finding);
                    continue;
                }
            };
            let names = site.fragments.iter().map(|f| f.name.as_str());
            cx.report(match nearest(name, names) {
                Some(near) => finding.help(format!("did you mean `{near}`?")),
                None => finding,
            });
        }
        site.schedules.push(one.schedule);
    }
}
