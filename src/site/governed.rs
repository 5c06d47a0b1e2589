//! What the [governor](crate::degradation::Governor) is told of a site, and what of its decisions the
//! site has a say in. Owns the translation: fragments become places, and what operators have switched
//! becomes what is paid for.

use crate::degradation::costs::{Charge, Shape};
use crate::degradation::governor::Asked;
use crate::degradation::mode::Effect;
use crate::degradation::{BlockReading, Mode, Overrides, Step};
use crate::fragment::{Fragment, FragmentId, Source};

use super::Site;

/// What was seen of the optional fragments that are asked of an origin.
pub fn asked(site: &Site, readings: &[(FragmentId, BlockReading)]) -> Vec<Asked> {
    let asked = readings.iter().filter_map(|(id, reading)| {
        let Source::Http { origin, .. } = site.fragment(*id).source else {
            return None;
        };
        Some(Asked {
            place: id.index(),
            origin: origin.index(),
            reading: *reading,
        })
    });
    asked.collect()
}

/// What is done with what the law decides.
pub fn effect(mode: super::Mode) -> Effect {
    match mode {
        super::Mode::On => Effect::GivesUp,
        super::Mode::DryRun => Effect::DryRun,
        super::Mode::Off => Effect::None,
    }
}

/// What is declared, as far as costs are concerned.
pub fn shape(site: &Site) -> Shape {
    let members = |page: &super::Page| {
        let members = page.members.iter();
        members.map(|member| member.fragment.index()).collect()
    };
    let blocks = |step: &Step| step.blocks.iter().map(|block| block.index()).collect();
    Shape {
        pages: site.pages.iter().map(members).collect(),
        steps: site.ladder.steps().iter().map(blocks).collect(),
        names: site.fragments.iter().map(|f| f.name.clone()).collect(),
        items: site
            .fragments
            .iter()
            .map(|f| f.list.as_ref().map(|list| list.item.index()))
            .collect(),
    }
}

/// What is to be made of the cost of each fragment.
pub fn charges(
    site: &Site,
    overrides: &Overrides,
    readings: &[(FragmentId, BlockReading)],
) -> Vec<Charge> {
    let charge = |fragment: &Fragment| match () {
        () if overrides.off.contains(&fragment.name) => Charge::Nothing,
        () if overrides.on.contains(&fragment.name) => Charge::Kept,
        () => Charge::Usual,
    };
    let mut charges: Vec<Charge> = site.fragments.iter().map(charge).collect();
    for (id, _) in readings.iter().filter(|(_, reading)| reading.is_open) {
        charges[id.index()] = Charge::Nothing;
    }
    charges
}

/// Whether a fragment is to be asked for although nobody's page shows it at present: it will be shown
/// again, and nobody else finds out how its origin is. Where degradation is off it is as declared: what is
/// not shown is not asked for.
pub fn is_given_up(mode: &Mode, site: &Site, id: FragmentId) -> bool {
    if site.degradation.mode == super::Mode::Off || mode.effect == Effect::None {
        return false;
    }
    let name = &site.fragment(id).name;
    let is_shed = site.ladder.sheds(mode.level_of_all(), id);
    (is_shed && !mode.overrides.is_on(name)) || mode.overrides.is_off(name)
}
