//! How available a page is on paper: what its origins promise, multiplied. Owns the arithmetic; what an
//! origin really does is measured elsewhere.
//!
//! Origins are taken to fail independently, and one is up only if all that it depends on is. Copies are
//! left out: they only ever make it better, by how much depends on what readers ask for.

use std::collections::BTreeSet;

use crate::fragment::{Fragment, FragmentId, Rung, Source};

use super::{Page, Site};

/// Minutes in a month of thirty days.
const MINUTES_A_MONTH: f64 = 30.0 * 24.0 * 60.0;

/// Origins up to which every combination of them being up and down is looked at; with more, siblings
/// that stand in for a core are left out, which can only understate it.
const COMBINED_MAX: usize = 12;

/// A page's availability.
#[derive(Debug, Clone, PartialEq)]
pub struct Availability {
    /// That all its blocks are as declared.
    pub all: f64,
    /// That its core is there, or what is declared to stand in for it.
    pub core: f64,
    /// The origin that costs most, and its own availability.
    pub weakest: Option<(String, f64)>,
    /// Origins of the page that promise nothing, and are taken never to fail.
    pub unsaid: Vec<String>,
}

impl Availability {
    /// Of a page; `None` where none of its origins promises anything.
    pub fn of(site: &Site, page: &Page) -> Option<Self> {
        let members = page.members.iter().map(|member| member.fragment);
        let needed: BTreeSet<usize> = members.flat_map(|id| needs(site, id)).collect();
        let promised = |index: &usize| Some((*index, site.origins[*index].availability?));
        let promises: Vec<(usize, f64)> = needed.iter().filter_map(promised).collect();
        let weakest = promises.iter().min_by(|(_, a), (_, b)| a.total_cmp(b))?;
        let unsaid = needed.iter().filter(|index| promised(index).is_none());
        Some(Self {
            all: promises.iter().map(|(_, promise)| promise).product(),
            core: core(site, page),
            weakest: Some((site.origins[weakest.0].name.clone(), weakest.1)),
            unsaid: unsaid
                .map(|index| site.origins[*index].name.clone())
                .collect(),
        })
    }
}

/// Minutes a month that something of this availability is missing.
pub fn minutes_a_month(availability: f64) -> f64 {
    (1.0 - availability) * MINUTES_A_MONTH
}

/// The nines in it: 3 for 0.999.
pub fn nines(availability: f64) -> f64 {
    -(1.0 - availability).log10()
}

/// The origins without which a fragment is not as declared, by their places.
fn needs(site: &Site, id: FragmentId) -> BTreeSet<usize> {
    let fragment = site.fragment(id);
    let mut found = BTreeSet::new();
    let item = fragment.list.as_ref().map(|list| site.fragment(list.item));
    let mut open: Vec<usize> = [Some(fragment), item]
        .into_iter()
        .flatten()
        .filter_map(asks)
        .collect();
    // what leads back to where it began was found before
    while let Some(index) = open.pop() {
        if !found.insert(index) {
            continue;
        }
        let depends_on = &site.origins[index].depends_on;
        let named = |name: &String| site.origins.iter().position(|o| o.name == *name);
        open.extend(depends_on.iter().filter_map(named));
    }
    found
}

fn asks(fragment: &Fragment) -> Option<usize> {
    match &fragment.source {
        Source::Http { origin, .. } => Some(origin.index()),
        Source::Push(_) | Source::Ready(_) => None,
    }
}

/// How one fragment can be there: any of these sets of origins is enough.
fn ways(site: &Site, id: FragmentId, with_siblings: bool) -> Vec<BTreeSet<usize>> {
    let mut ways = vec![needs(site, id)];
    for rung in &site.fragment(id).fallback {
        match rung {
            Rung::Ready { .. } => ways.push(BTreeSet::new()),
            Rung::Sibling(sibling) if with_siblings => {
                ways.extend(self::ways(site, *sibling, true))
            }
            Rung::Sibling(_) | Rung::Lazy => {}
        }
    }
    ways
}

/// The probability that each core of a page can be there in one way at least.
fn core(site: &Site, page: &Page) -> f64 {
    let members = page.members.iter().map(|member| member.fragment);
    let cores: Vec<FragmentId> = members
        .filter(|id| site.fragment(*id).priority.is_core())
        .collect();
    let all_ways = |with_siblings| {
        let ways = cores.iter().map(|id| ways(site, *id, with_siblings));
        ways.collect::<Vec<_>>()
    };
    let origins = |ways: &[Vec<BTreeSet<usize>>]| {
        let all = ways.iter().flatten().flatten().copied();
        all.collect::<BTreeSet<usize>>()
            .into_iter()
            .collect::<Vec<_>>()
    };
    let mut ways = all_ways(true);
    let mut involved = origins(&ways);
    let promise = |index: usize| site.origins[index].availability.unwrap_or(1.0);
    if involved.len() > COMBINED_MAX {
        ways = all_ways(false);
        ways.retain(|ways| !ways.iter().any(BTreeSet::is_empty));
        involved = origins(&ways);
        return involved.iter().map(|index| promise(*index)).product();
    }
    let mut sum = 0.0;
    for up in 0..1_usize << involved.len() {
        let is_up = |index: usize| {
            let bit = involved.iter().position(|known| *known == index);
            bit.is_some_and(|bit| up >> bit & 1 == 1)
        };
        let is_there =
            |ways: &Vec<BTreeSet<usize>>| ways.iter().any(|way| way.iter().all(|o| is_up(*o)));
        if ways.iter().all(is_there) {
            let chance = |index: &usize| match is_up(*index) {
                true => promise(*index),
                false => 1.0 - promise(*index),
            };
            sum += involved.iter().map(chance).product::<f64>();
        }
    }
    sum
}
