//! Whether a switch means anything on a site. Owns the rule that the core cannot be switched off; pure.

use crate::degradation::NoSuchLevel;
use crate::degradation::switches::Act;
use crate::fragment::{FragmentId, Priority};

use super::Site;

/// Why a switch means nothing, or not what it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// There is no such fragment.
    #[error("the site has no fragment `{0}`")]
    Unknown(String),
    /// It is what the page is about.
    #[error(
        "`{0}` is core: a page without it would be no page, so it cannot be switched off. When its \
         origin is in trouble it is shown from its last good copy"
    )]
    Core(String),
    /// It is a part of a list.
    #[error("`{item}` is an item of the list `{list}`: switch that one")]
    Item {
        /// The item.
        item: String,
        /// What it is an item of.
        list: String,
    },
    /// It is there at every level already.
    #[error("`{name}` is {priority}, which no level gives up: it is on at any rate")]
    NeverGivenUp {
        /// The fragment.
        name: String,
        /// Its priority.
        priority: Priority,
    },
    /// There is no such schedule.
    #[error("the site schedules nothing under the name `{0}`")]
    NoSchedule(String),
    /// The ladder is not that long.
    #[error("{0}")]
    Level(NoSuchLevel),
}

/// Whether a switch means on this site what it says.
pub fn fits(site: &Site, act: &Act) -> Result<(), Misfit> {
    match act {
        Act::Off { block } => match block_of(site, block)? {
            Priority::Core => Err(Misfit::Core(block.clone())),
            Priority::Essential | Priority::Optional(_) => Ok(()),
        },
        Act::On { block } => match block_of(site, block)? {
            Priority::Optional(_) => Ok(()),
            priority @ (Priority::Core | Priority::Essential) => Err(Misfit::NeverGivenUp {
                name: block.clone(),
                priority,
            }),
        },
        Act::Pin { level } | Act::Floor { level } | Act::Cap { level } => {
            let known = site.ladder.level(level.get());
            known.map(drop).map_err(Misfit::Level)
        }
        Act::Skip { schedule } => match site.schedules.iter().any(|s| s.name == *schedule) {
            true => Ok(()),
            false => Err(Misfit::NoSchedule(schedule.clone())),
        },
        Act::Freeze | Act::DryRun | Act::Ttl { .. } => Ok(()),
    }
}

/// The priority of what can be switched by itself.
fn block_of(site: &Site, name: &str) -> Result<Priority, Misfit> {
    let id = site.fragment_named(name);
    let id = id.ok_or_else(|| Misfit::Unknown(name.to_owned()))?;
    match list_of(site, id) {
        Some(list) => Err(Misfit::Item {
            item: name.to_owned(),
            list: list.to_owned(),
        }),
        None => Ok(site.fragment(id).priority),
    }
}

fn list_of(site: &Site, item: FragmentId) -> Option<&str> {
    let is_of = |list: &crate::fragment::List| list.item == item;
    let mut fragments = site.fragments.iter();
    let list = fragments.find(|fragment| fragment.list.as_ref().is_some_and(is_of));
    list.map(|list| list.name.as_str())
}
