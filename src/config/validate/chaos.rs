//! `[chaos.NAME]` → the faults that can be set. Owns that each is on something that the site has, and that
//! its times are times.

use jiff::tz::TimeZone;

use super::Context;
use super::schedules::signed_by;
use crate::config::diagnose::{Diagnostic, Place};
use crate::config::file::{self, At};
use crate::config::read::{Declared, Entry};
use crate::config::values::nearest;
use crate::degradation::switches::Window;
use crate::degradation::switches::schedule::{Edge, read_moment};
use crate::fragment::quantity::show_duration;
use crate::site::Site;
use crate::site::chaos::{FaultSpec, LASTS_MAX, PAGES, Sound, Stray, Target, Written};

/// Faults of one site: more than anybody can know of.
const FAULTS_MAX: usize = 100;

/// A fault, and where it is written on what it is.
pub(super) struct Placed {
    spec: FaultSpec,
    target: Place,
    signed: Option<Place>,
}

pub(super) fn faults(declared: &Declared, zone: &TimeZone, cx: &mut Context<'_>) -> Vec<Placed> {
    let entries = &declared.faults;
    if let Some(last) = entries.get(FAULTS_MAX) {
        let finding = Diagnostic::error(format!("more than {FAULTS_MAX} faults"));
        cx.report(finding.at(last.place.clone(), "one too many"));
    }
    let bodies = entries
        .iter()
        .filter_map(|entry| Some((entry, entry.body.as_ref()?)));
    bodies
        .filter_map(|(entry, written)| fault(entry, written, zone, cx))
        .collect()
}

fn fault(
    entry: &Entry<file::Fault>,
    written: &file::Fault,
    zone: &TimeZone,
    cx: &mut Context<'_>,
) -> Option<Placed> {
    let sound = sound(entry, written, cx);
    let times = times(entry, written, zone, cx);
    let what = format!("fault `{}`", entry.name);
    let signed = signed_by(&what, entry, (&written.owner, &written.reason), cx);
    let (sound, (lasts, window), (owner, reason)) = (sound?, times?, signed?);
    let target = match &sound.target {
        Target::Origin(_) => written.origin.as_ref().map(|at| entry.at(at)),
        Target::Fragment(_) => written.fragment.as_ref().map(|at| entry.at(at)),
        Target::Store => written.store.as_ref().map(|at| entry.at(at)),
    };
    Some(Placed {
        spec: FaultSpec {
            name: entry.name.clone(),
            target: sound.target,
            harm: sound.harm,
            rate: sound.rate,
            reach: sound.reach,
            owner,
            reason,
            lasts,
            window,
            pages_max: written.pages_max.as_ref().map_or(PAGES, |n| u64::from(**n)),
            stop_on: written.stop_on.as_ref().map(|on| on.0).unwrap_or_default(),
        },
        target: target.unwrap_or_else(|| entry.place.clone()),
        signed: written.signed.as_ref().map(|at| entry.at(at)),
    })
}

fn sound(entry: &Entry<file::Fault>, written: &file::Fault, cx: &mut Context<'_>) -> Option<Sound> {
    let text = |at: &Option<At<String>>| at.as_ref().map(ToString::to_string);
    let span = |at: &Option<At<file::TimeSpan>>| at.as_ref().map(|span| span.0);
    let is = |at: &Option<At<bool>>| at.as_ref().is_some_and(|flag| **flag);
    let found = Written {
        origin: text(&written.origin),
        fragment: text(&written.fragment),
        store: is(&written.store),
        harm: Some(written.harm.0),
        latency: span(&written.latency),
        spread: written.spread.as_ref().map(|n| **n),
        status: written.status.as_ref().map(|n| **n),
        every: span(&written.every),
        over: span(&written.over),
        rate: written.rate.as_ref().map(|n| **n),
        share: written.share.as_ref().map(|n| **n),
        signed: is(&written.signed),
    }
    .fault();
    let wrong = match found {
        Ok(sound) => return Some(sound),
        Err(wrong) => wrong,
    };
    // what was wrong in it has been reported, and this may come of it
    for one in wrong.iter().filter(|_| entry.is_whole) {
        let place = match one.key {
            "origin" => place(entry, &written.origin),
            "fragment" => place(entry, &written.fragment),
            "store" => place(entry, &written.store),
            "harm" => Some(entry.at(&written.harm)),
            "latency" => place(entry, &written.latency),
            "spread" => place(entry, &written.spread),
            "status" => place(entry, &written.status),
            "every" => place(entry, &written.every),
            "over" => place(entry, &written.over),
            "rate" => place(entry, &written.rate),
            "share" => place(entry, &written.share),
            _ => place(entry, &written.signed),
        };
        let finding = Diagnostic::error(format!("fault `{}` cannot be set so", entry.name));
        cx.report(finding.at(
            place.unwrap_or_else(|| entry.place.clone()),
            one.why.clone(),
        ));
    }
    None
}

fn place<T>(entry: &Entry<file::Fault>, at: &Option<At<T>>) -> Option<Place> {
    at.as_ref().map(|at| entry.at(at))
}

type Times = (std::time::Duration, Option<Window>);

fn times(
    entry: &Entry<file::Fault>,
    written: &file::Fault,
    zone: &TimeZone,
    cx: &mut Context<'_>,
) -> Option<Times> {
    let (from, until) = match (&written.lasts, &written.from, &written.until) {
        (Some(lasts), None, None) => return Some((lasts.0, None)),
        (None, Some(from), Some(until)) => (from, until),
        (lasts, from, until) => {
            if !entry.is_whole {
                return None;
            }
            let place = lasts.as_ref().map(|at| entry.at(at));
            let place = place.or_else(|| from.as_ref().or(until.as_ref()).map(|at| entry.at(at)));
            let label = match (lasts, from, until) {
                (Some(_), ..) => "it ends in one of two ways",
                (None, Some(_), None) => "it has no `until`",
                (None, None, Some(_)) => "it has no `from`",
                (None, ..) => "it has no end",
            };
            let finding = Diagnostic::error(format!("when does fault `{}` end?", entry.name))
                .at(place.unwrap_or_else(|| entry.place.clone()), label);
            cx.report(finding.help("write `for = \"10m\"` for one that somebody begins, or `from` and `until` for one that begins by itself"));
            return None;
        }
    };
    let mut read = |text: &At<String>, edge| match read_moment(text, zone, edge) {
        Ok(moment) => Some(moment),
        Err(_) => {
            let finding = Diagnostic::error(format!("`{}` is no moment", **text));
            cx.report(finding.at(
                entry.at(text),
                "expected a moment such as `2026-11-03T10:00`",
            ));
            None
        }
    };
    let (begin, end) = (read(from, Edge::From), read(until, Edge::Until));
    let window = Window {
        from: begin?,
        until: end?,
    };
    let span = window.until.since(window.from);
    if window.until <= window.from || span > LASTS_MAX {
        let most = show_duration(LASTS_MAX);
        let label = match window.until <= window.from {
            true => "not later than `from`".to_owned(),
            false => format!("expected {most} after `from` at most"),
        };
        let finding = Diagnostic::error(format!("fault `{}` cannot last so", entry.name));
        cx.report(finding.at(entry.at(until), label));
        return None;
    }
    Some((span, Some(window)))
}

/// Whether each is on something that the site has; it does not become part of it otherwise.
pub(super) fn settle(placed: Vec<Placed>, has_store: bool, site: &mut Site, cx: &mut Context<'_>) {
    for one in placed {
        match one.spec.fits(site, has_store) {
            Ok(()) => {}
            Err(stray) => cx.report(strays(&one, &stray, site)),
        }
        site.faults.push(one.spec);
    }
}

fn strays(one: &Placed, stray: &Stray, site: &Site) -> Diagnostic {
    let place = match stray {
        Stray::NoSecret => one.signed.clone().unwrap_or_else(|| one.target.clone()),
        Stray::Unknown(_) | Stray::NeverAsked(_) => one.target.clone(),
    };
    let label = match stray {
        Stray::Unknown(_) => "there is no such thing here",
        Stray::NeverAsked(_) => "nobody is asked for it",
        Stray::NoSecret => "nobody could have a token",
    };
    let finding = Diagnostic::error(stray.to_string()).at(place, label);
    let near = match stray {
        Stray::Unknown(Target::Origin(name)) => {
            nearest(name, site.origins.iter().map(|o| o.name.as_str()))
        }
        Stray::Unknown(Target::Fragment(name)) => {
            nearest(name, site.fragments.iter().map(|f| f.name.as_str()))
        }
        Stray::Unknown(Target::Store) => {
            return finding.help("declare one: `valkey = \"redis://…\"` in [shared]");
        }
        Stray::NeverAsked(_) | Stray::NoSecret => None,
    };
    match near {
        Some(near) => finding.help(format!("did you mean `{near}`?")),
        None => finding,
    }
}
