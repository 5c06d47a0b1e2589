//! What must be true of every page, whatever its origins did.

use marbre::compose::Verdict;
use marbre::degradation::Level;
use marbre::fragment::{Fragment, Priority, Rung, RungKind};
use marbre::report::{OmitReason, Outcome};
use marbre::site::Site;

use crate::origin::whole;
use crate::stage::{Asked, Stage};

/// What a run has met, so that a simulation in which nothing happens is noticed.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) pages: usize,
    pub(crate) full: usize,
    pub(crate) degraded: usize,
    pub(crate) unavailable: usize,
    pub(crate) stale: usize,
    pub(crate) cached: usize,
    pub(crate) panics: usize,
    pub(crate) absent: usize,
    pub(crate) refused: usize,
    pub(crate) stand_ins: usize,
}

impl Seen {
    pub(crate) fn add(&mut self, other: &Self) {
        self.pages += other.pages;
        self.full += other.full;
        self.degraded += other.degraded;
        self.unavailable += other.unavailable;
        self.stale += other.stale;
        self.cached += other.cached;
        self.panics += other.panics;
        self.absent += other.absent;
        self.refused += other.refused;
        self.stand_ins += other.stand_ins;
    }
}

/// Checks one page.
pub(crate) fn check(stage: &Stage, level: u8, page: &Asked, seen: &mut Seen) {
    let site = &stage.edition.site;
    let declared = &site.pages[0];
    let report = &page.report;
    seen.pages += 1;

    // no page outlives its budget: virtual time moves only when everyone waits, so this is exact
    assert!(
        report.duration <= declared.budget,
        "{report:?} outlives {:?}",
        declared.budget
    );
    assert!(report.head_after <= report.duration, "{report:?}");
    assert!(report.finished, "{report:?}");
    assert_eq!(report.fragments.len(), declared.members.len(), "{report:?}");
    assert_eq!(report.level, Level::new(level));

    let mut rest = page.body.as_str();
    for (fragment, account) in site.members(declared).zip(&report.fragments) {
        let outcome = &*account.outcome;
        assert_eq!(account.name, fragment.name);
        seen.stale += usize::from(matches!(outcome, Outcome::Stale(_)));
        seen.cached += usize::from(*outcome == Outcome::Cached);
        seen.absent += usize::from(*outcome == Outcome::Absent);
        seen.stand_ins += usize::from(matches!(outcome, Outcome::Sibling(..)));
        if page.verdict != Verdict::Page {
            continue;
        }
        // whole or not at all, in document order, and what the account says is what is there
        let expected = expected(site, fragment, outcome);
        assert!(
            rest.starts_with(&expected),
            "{expected} is not at {rest}: {report:?}"
        );
        rest = &rest[expected.len()..];
        check_member(stage, level, fragment, outcome);
    }
    check_verdict(stage, page, rest, seen);
}

/// What a fragment is to look like when this has become of it, by its declaration.
fn expected(site: &Site, fragment: &Fragment, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Cached | Outcome::Fetched | Outcome::Stale(_) => whole(&fragment.name),
        Outcome::Sibling(name, _) => {
            let declared = chain(site, fragment).into_iter().any(|rung| match rung {
                Rung::Sibling(id) => site.fragment(*id).name == *name,
                Rung::Ready { .. } | Rung::Lazy => false,
            });
            assert!(declared, "{name} is no stand-in for {}", fragment.name);
            whole(name)
        }
        Outcome::Inline(_) => {
            let mut chain = chain(site, fragment).into_iter();
            // content that is at hand never fails, so nothing after the first is ever taken
            let reserve = chain.find_map(|rung| match rung {
                Rung::Ready { kind, body } => Some((*kind, body)),
                Rung::Sibling(_) | Rung::Lazy => None,
            });
            let (kind, body) = reserve.expect("what was taken is declared");
            assert_eq!(kind, RungKind::Inline);
            String::from_utf8(body.to_vec()).expect("a declaration is UTF-8")
        }
        Outcome::Omitted(_) | Outcome::Absent => String::new(),
        Outcome::Partial { .. }
        | Outcome::Lazy(_)
        | Outcome::Declared
        | Outcome::Static(_)
        | Outcome::DefaultData(_) => {
            panic!("nothing here is declared so: {outcome}")
        }
    }
}

/// The rungs of a fragment, and after each sibling that sibling's own.
fn chain<'s>(site: &'s Site, fragment: &'s Fragment) -> Vec<&'s Rung> {
    let mut rungs = Vec::new();
    for rung in &fragment.fallback {
        rungs.push(rung);
        if let Rung::Sibling(id) = rung {
            rungs.extend(chain(site, site.fragment(*id)));
        }
    }
    rungs
}

fn sheds(site: &Site, level: u8, fragment: &Fragment) -> bool {
    let id = site.fragment_named(&fragment.name);
    let id = id.expect("a fragment of the site");
    site.ladder.sheds(Level::new(level), id)
}

fn check_member(stage: &Stage, level: u8, fragment: &Fragment, outcome: &Outcome) {
    let (site, priority) = (&stage.edition.site, fragment.priority);
    let shed = sheds(site, level, fragment);
    let says_shed = matches!(outcome, Outcome::Omitted(OmitReason::Shed(_)));
    assert_eq!(
        shed, says_shed,
        "what the ladder gives up is given up, and nothing else"
    );
    if priority == Priority::Core {
        let shows = outcome.is_whole() && *outcome != Outcome::Absent;
        assert!(shows, "a page without its core: {outcome}");
    }
    if *outcome == Outcome::Absent {
        let optional = priority.rank().is_some();
        assert!(optional, "nothing to show is no answer of what is required");
    }
}

fn check_verdict(stage: &Stage, page: &Asked, rest: &str, seen: &mut Seen) {
    let report = &page.report;
    match page.verdict {
        Verdict::Page => {
            assert_eq!(rest, "", "nothing but the fragments");
            assert_eq!(report.status, 200);
            if report.is_complete() {
                seen.full += 1
            } else {
                seen.degraded += 1
            }
        }
        Verdict::Unavailable => {
            assert_eq!((report.status, page.body.as_str()), (503, ""));
            let site = &stage.edition.site;
            let mut members = site.members(&site.pages[0]).zip(&report.fragments);
            let failed = members.any(|(fragment, account)| {
                let failed = matches!(*account.outcome, Outcome::Omitted(OmitReason::Failed(_)));
                fragment.priority == Priority::Core && failed
            });
            assert!(failed, "no page, although no core has failed: {report:?}");
            seen.unavailable += 1;
        }
        Verdict::Refused(status) => {
            assert_eq!((status.as_u16(), page.body.as_str()), (404, ""));
            seen.refused += 1;
        }
        // the fake origins give no place to go to
        Verdict::Redirect(..) => panic!("a redirect to nowhere: {report:?}"),
    }
}

/// Raising the level never asks more: what is given up is not asked for at all.
pub(crate) fn check_fetches(stage: &Stage, level: u8) {
    let site = &stage.edition.site;
    for fragment in &site.fragments {
        let asked = stage.origins[&fragment.name].asked();
        if sheds(site, level, fragment) {
            assert!(
                asked.is_empty(),
                "{} was asked for at level {level}",
                fragment.name
            );
        }
    }
}
