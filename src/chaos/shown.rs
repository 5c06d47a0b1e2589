//! The faults as people and programs are shown them. Owns their form in JSON.

use std::sync::atomic::Ordering;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::fragment::{Fragment, Priority};
use crate::report::FaultEnd;
use crate::site::Site;
use crate::site::chaos::{FaultSpec, Harm, Reach};
use crate::site::slo::percent;

use super::{Chaos, Past, Running, Wanted, hit};

/// A fault that is in force.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Fault")]
pub struct Shown {
    /// Its name.
    pub name: String,
    /// On what.
    pub on: String,
    /// What goes wrong with what, for whom.
    pub says: String,
    /// What would set it again, for as long as it has still to go.
    pub fault: Wanted,
    /// Whether the site declares that it is in force now, and nobody has set it.
    pub by_clock: bool,
    /// Since when, RFC 3339.
    pub began: String,
    /// Until when, RFC 3339.
    pub until: String,
    /// How long it has still, in seconds.
    pub left_s: u64,
    /// Pages that have had it.
    pub pages: u64,
    /// Requests that it has hit.
    pub requests: u64,
}

/// A fault that the site declares.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "FaultDeclared")]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// On what.
    pub on: String,
    /// What goes wrong with what, for whom.
    pub says: String,
    /// Who has declared it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// How long it lasts.
    pub lasts: String,
    /// When it begins by itself, RFC 3339; absent if somebody has to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// A fault that is over.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "FaultOver")]
pub struct Over {
    /// Its name.
    pub name: String,
    /// What went wrong with what, for whom.
    pub says: String,
    /// Who had set it.
    pub owner: String,
    /// Why it was set.
    pub reason: String,
    /// Since when, RFC 3339.
    pub began: String,
    /// Until when, RFC 3339.
    pub ended: String,
    /// How: `over`, `ended`, `replaced`, `full`, `aborted` or `undeclared`.
    pub how: FaultEnd,
    /// Why, and by whom, if somebody has ended it.
    pub why: String,
    /// Pages that have had it.
    pub pages: u64,
    /// Requests that it has hit.
    pub requests: u64,
}

/// All of them.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Faults")]
pub struct State {
    /// Those in force.
    pub faults: Vec<Shown>,
    /// Those that the site declares.
    pub declared: Vec<Declared>,
    /// The last that are over, the latest first.
    pub past: Vec<Over>,
    /// Why none may be set, if none may.
    pub forbidden: Option<String>,
}

/// What a fault would hit.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "FaultPreview")]
pub struct Preview {
    /// What would go wrong with what, for whom.
    pub says: String,
    /// For how long.
    pub lasts: String,
    /// The blocks that it could hit, with what becomes of each.
    pub blocks: Vec<Hit>,
    /// The pages that show any of them.
    pub pages: Vec<String>,
    /// What would make it do less than it says.
    pub notes: Vec<String>,
}

/// A block that a fault would hit.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "FaultHit")]
pub struct Hit {
    /// The block.
    pub block: String,
    /// Its priority, in words.
    pub priority: String,
    /// What readers get instead, if nothing comes.
    pub instead: String,
}

impl Chaos {
    /// What is in force, declared and over.
    pub fn state(&self) -> State {
        let held = self.held.lock();
        let declared = held.declared.iter().map(|spec| Declared {
            name: spec.name.clone(),
            on: spec.target.to_string(),
            says: spec.says(),
            owner: spec.owner.clone(),
            reason: spec.reason.clone(),
            lasts: crate::fragment::quantity::show_duration(spec.lasts),
            from: spec.window.map(|window| window.from.to_string()),
        });
        State {
            faults: self
                .running
                .load()
                .iter()
                .map(|one| self.shown(one))
                .collect(),
            declared: declared.collect(),
            past: held.past.iter().map(Past::shown).collect(),
            forbidden: held.room.closed.as_deref().map(str::to_owned),
        }
    }

    /// One that is in force, or was a moment ago.
    pub fn shown(&self, one: &Running) -> Shown {
        let left = one.until.since(self.now());
        Shown {
            name: one.spec.name.clone(),
            on: one.spec.target.to_string(),
            says: one.spec.says(),
            fault: Wanted::of(&one.spec, left),
            by_clock: one.is_by_clock,
            began: one.began.to_string(),
            until: one.until.to_string(),
            left_s: (left + Duration::from_millis(999)).as_secs(),
            pages: one.pages.load(Ordering::Relaxed).min(one.spec.pages_max),
            requests: one.requests.load(Ordering::Relaxed),
        }
    }
}

impl Past {
    fn shown(&self) -> Over {
        Over {
            name: self.spec.name.clone(),
            says: self.spec.says(),
            owner: self.spec.owner.clone(),
            reason: self.spec.reason.clone(),
            began: self.began.to_string(),
            ended: self.ended.to_string(),
            how: self.how,
            why: self
                .signed
                .to_string()
                .trim_start_matches([',', ':', ' '])
                .to_owned(),
            pages: self.pages,
            requests: self.requests,
        }
    }
}

/// What a fault would hit on a site.
pub fn preview(spec: &FaultSpec, site: &Site) -> Preview {
    let (mut blocks, mut pages): (Vec<Hit>, Vec<String>) = Default::default();
    for page in &site.pages {
        let hit = hit(site, page, &spec.target);
        if !hit.is_empty() {
            pages.push(page.name.clone());
        }
        for id in hit {
            let fragment = site.fragment(id);
            if blocks.iter().all(|known| known.block != fragment.name) {
                blocks.push(Hit {
                    block: fragment.name.clone(),
                    priority: fragment.priority.to_string(),
                    instead: instead(fragment),
                });
            }
        }
    }
    let mut notes = Vec::new();
    if blocks.is_empty() {
        notes.push("no page shows anything of it".to_owned());
    }
    if spec.harm == Harm::Dns {
        notes.push(
            "connections that there are go on, and so do addresses that were found before"
                .to_owned(),
        );
    }
    if let Reach {
        share,
        signed: false,
    } = spec.reach
        && share < 1.0
    {
        notes.push(format!(
            "{} of the pages, always the same readers",
            percent(share)
        ));
    }
    notes.push("fresh copies are shown as ever: it is met where the origin is asked".to_owned());
    Preview {
        says: spec.says(),
        lasts: crate::fragment::quantity::show_duration(spec.lasts),
        blocks,
        pages,
        notes,
    }
}

fn instead(fragment: &Fragment) -> String {
    let chain = match fragment.fallback.is_empty() {
        true => "",
        false => ", then what stands in for it",
    };
    let last = match fragment.priority {
        Priority::Core => ", then the page's snapshot, then the error page",
        Priority::Essential | Priority::Optional(_) => ", then its place stays empty",
    };
    format!("its last good copy{chain}{last}")
}
