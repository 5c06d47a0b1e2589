//! The switches as people and programs are shown them: what is in force, and what begins later. Owns the
//! form of it in JSON; pure.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Moment;
use crate::degradation::Switch;
use crate::degradation::switches::schedule::{Schedule, When, say_local, show_local};
use crate::degradation::switches::{Act, Standing, Switches, Window};
use crate::site::Site;
use crate::site::fit::fits;

/// A switch as people and programs are shown it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Switch")]
pub struct Shown {
    /// What it is about.
    pub subject: String,
    /// What takes it back: its address below `/switches/`.
    pub address: String,
    /// The schedule that has set it, if it was nobody by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_schedule: Option<String>,
    /// What it does.
    #[serde(flatten)]
    pub act: Act,
    /// The same in words.
    pub says: String,
    /// Who has decided so.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// When that was decided, RFC 3339.
    pub set: String,
    /// When it begins, or began, if that is later, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The same as the site's clocks show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_local: Option<String>,
    /// Until when, RFC 3339; absent if it lasts as long as the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// The same as the site's clocks show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_local: Option<String>,
    /// How long it is until it begins, in seconds, if it has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begins_in_s: Option<u64>,
    /// How long it has still, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_s: Option<u64>,
    /// Whether it is in force: not if it begins later, or another about the same has begun since.
    pub counts: bool,
    /// Why it does less than it says at present, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What begins later, and what the site schedules: several switches as one entry.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "SwitchPlanned")]
pub struct Planned {
    /// What takes it back, or skips it: its address below `/switches/`.
    pub address: String,
    /// `waits`, `begun`, `skipped` or `over`.
    pub state: &'static str,
    /// What is so meanwhile.
    pub says: Vec<String>,
    /// Who has decided so.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// On which days of the week, if it is there every week.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weekly: Option<String>,
    /// When it begins next, or has begun, RFC 3339; absent if it is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Until when, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Both as the clocks of its zone show them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<String>,
    /// How long it is until it begins, in seconds; 0 if it has begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begins_in_s: Option<u64>,
    /// What it does not do of what it says, or who has skipped it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// How decisions get to the other nodes.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "SwitchesShared")]
pub struct Shared {
    /// Whether all that was decided here has been sent.
    pub sent: bool,
    /// What is wrong, if something is.
    pub trouble: Option<String>,
}

/// All of them.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Switches")]
pub struct State {
    /// Those in force, by subject.
    pub switches: Vec<Shown>,
    /// Those that begin later, and what the site schedules.
    pub scheduled: Vec<Planned>,
    /// The zone of the site's local times.
    pub zone: String,
    /// Why they would not survive a restart, if they would not.
    pub trouble: Option<String>,
    /// How decisions get to the other nodes; absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<Shared>,
}

impl Shown {
    /// A switch, as it is on this site.
    pub(super) fn new(switch: &Switch, site: &Site, now: Moment) -> Self {
        let local = |at| show_local(at, &site.zone);
        let (begin, end) = (switch.from, switch.end());
        Self {
            subject: switch.act.subject().to_string(),
            address: switch.key().to_string(),
            by_schedule: None,
            says: switch.act.to_string(),
            owner: switch.owner.clone(),
            reason: switch.reason.clone(),
            set: switch.set.to_string(),
            from: begin.map(|at| at.to_string()),
            from_local: begin.map(local),
            until: end.map(|end| end.to_string()),
            until_local: end.map(local),
            begins_in_s: begin
                .filter(|begin| *begin > now)
                .map(|begin| seconds(begin.since(now))),
            left_s: end.map(|end| seconds(end.since(now.max(switch.begin())))),
            counts: switch.has_begun(now),
            note: fits(site, &switch.act).err().map(|why| why.to_string()),
            act: switch.act.clone(),
        }
    }

    /// One that stands.
    pub(super) fn standing(one: &Standing, site: &Site, now: Moment) -> Self {
        let shown = Self::new(&one.switch, site, now);
        let beneath = || {
            let above = one.beneath.as_ref()?;
            Some(format!("what {above} has set since counts"))
        };
        Self {
            address: match &one.schedule {
                Some(name) => address_of(name),
                None => shown.address,
            },
            by_schedule: one.schedule.clone(),
            counts: one.beneath.is_none(),
            note: shown.note.or_else(beneath),
            ..shown
        }
    }
}

/// Where a schedule is skipped.
fn address_of(schedule: &str) -> String {
    format!("schedule/{schedule}")
}

/// What begins later, the next first, and what is over last.
pub(super) fn scheduled(switches: &Switches, site: &Site, now: Moment) -> Vec<Planned> {
    let own = switches.iter().filter(|switch| !switch.has_begun(now));
    let own = own.map(|switch| {
        let window = Some(switch.window());
        let note = fits(site, &switch.act).err().map(|why| why.to_string());
        let planned = Planned {
            address: switch.key().to_string(),
            state: "waits",
            says: vec![switch.act.to_string()],
            owner: switch.owner.clone(),
            reason: switch.reason.clone(),
            weekly: None,
            from: None,
            until: None,
            local: None,
            begins_in_s: None,
            note,
        };
        (window, planned.at(window, &site.zone, now))
    });
    let declared = site.schedules.iter().map(|schedule| {
        let window = schedule.window(now);
        (window, of_schedule(schedule, window, switches, now))
    });
    let mut all: Vec<_> = own.chain(declared).collect();
    all.sort_by_key(|(window, _)| (window.is_none(), *window));
    all.into_iter().map(|(_, planned)| planned).collect()
}

/// What the site schedules, before anybody has decided anything.
pub fn declared(site: &Site, now: Moment) -> Vec<Planned> {
    scheduled(&Switches::default(), site, now)
}

fn of_schedule(
    schedule: &Schedule,
    window: Option<Window>,
    switches: &Switches,
    now: Moment,
) -> Planned {
    let skip = window.and_then(|window| switches.skipped(&schedule.name, window));
    let state = match (window, skip) {
        (None, _) => "over",
        (Some(_), Some(_)) => "skipped",
        (Some(window), None) if window.holds(now) => "begun",
        (Some(_), None) => "waits",
    };
    let planned = Planned {
        address: address_of(&schedule.name),
        state,
        says: schedule.acts.iter().map(Act::to_string).collect(),
        owner: schedule.owner.clone(),
        reason: schedule.reason.clone(),
        weekly: weekly(schedule),
        from: None,
        until: None,
        local: None,
        begins_in_s: None,
        note: skip.map(|skip| format!("skipped by {}: {}", skip.owner, skip.reason)),
    };
    planned.at(window, &schedule.zone, now)
}

impl Planned {
    fn at(self, window: Option<Window>, zone: &jiff::tz::TimeZone, now: Moment) -> Self {
        let local = |window: Window| {
            let (from, until) = (say_local(window.from, zone), say_local(window.until, zone));
            format!("{from} to {until}")
        };
        Self {
            from: window.map(|window| window.from.to_string()),
            until: window.map(|window| window.until.to_string()),
            local: window.map(local),
            begins_in_s: window.map(|window| seconds(window.from.since(now))),
            ..self
        }
    }
}

/// The days of a schedule that is there every week, and its times: `Sun 20:00 to 02:00`.
pub fn weekly(schedule: &Schedule) -> Option<String> {
    let When::Weekly { days, from, until } = &schedule.when else {
        return None;
    };
    let names = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let name = |day: &jiff::civil::Weekday| {
        let index = usize::try_from(day.to_monday_zero_offset()).unwrap_or_default();
        names[index]
    };
    let days: Vec<&str> = days.iter().map(name).collect();
    let time = |time: &jiff::civil::Time| time.strftime("%H:%M").to_string();
    Some(format!(
        "{} {} to {}",
        days.join(", "),
        time(from),
        time(until)
    ))
}

/// Whole seconds, a part of one being one: what has just been set for two hours has two hours left.
fn seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}
