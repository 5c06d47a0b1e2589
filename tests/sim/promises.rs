//! What must be true of every page, whatever its origins did.

use marbre::compose::Verdict;
use marbre::degradation::Level;
use marbre::fragment::Priority;
use marbre::report::{OmitReason, Outcome};

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
        let outcome = &account.outcome;
        assert_eq!(account.name, fragment.name);
        seen.stale += usize::from(matches!(outcome, Outcome::Stale(_)));
        seen.cached += usize::from(*outcome == Outcome::Cached);
        if page.verdict != Verdict::Page {
            continue;
        }
        // whole or not at all, in document order, and what the account says is what is there
        let expected = match outcome {
            Outcome::Cached | Outcome::Fetched | Outcome::Stale(_) => whole(&fragment.name),
            Outcome::Sibling(name, _) => {
                if rest.starts_with(&whole(name)) {
                    whole(name)
                } else {
                    format!("<{name}>reserve</{name}>")
                }
            }
            Outcome::Inline(_) => {
                let reserve = rest.find('>').map_or("", |at| &rest[1..at]);
                format!("<{reserve}>reserve</{reserve}>")
            }
            Outcome::Omitted(_) | Outcome::Absent => String::new(),
            Outcome::Declared | Outcome::Static(_) | Outcome::DefaultData(_) => {
                panic!("nothing here is declared so: {report:?}")
            }
        };
        assert!(
            rest.starts_with(&expected),
            "{expected} is not at {rest}: {report:?}"
        );
        rest = &rest[expected.len()..];
        check_member(stage, level, fragment.priority, outcome);
    }
    check_verdict(stage, page, rest, seen);
}

fn check_member(stage: &Stage, level: u8, priority: Priority, outcome: &Outcome) {
    let shed = stage.edition.site.ladder.sheds(Level::new(level), priority);
    let says_shed = matches!(outcome, Outcome::Omitted(OmitReason::Shed(_)));
    assert_eq!(
        shed, says_shed,
        "what the ladder gives up is given up, and nothing else"
    );
    if priority == Priority::Core {
        assert!(outcome.is_whole(), "a page without its core: {outcome}");
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
                let failed = matches!(account.outcome, Outcome::Omitted(OmitReason::Failed(_)));
                fragment.priority == Priority::Core && failed
            });
            assert!(failed, "no page, although no core has failed: {report:?}");
            seen.unavailable += 1;
        }
        // a fake core redirects now and then
        Verdict::Redirect(..) | Verdict::Refused(_) => assert_eq!(page.body, ""),
    }
}

/// Raising the level never asks more: what is given up is not asked for at all.
pub(crate) fn check_fetches(stage: &Stage, level: u8) {
    let site = &stage.edition.site;
    // a sibling may be asked for in another's place
    let any_sibling = site.fragments.iter().any(|f| !f.fallback.is_empty());
    for fragment in &site.fragments {
        let asked = stage.origins[&fragment.name].asked();
        if site.ladder.sheds(Level::new(level), fragment.priority) && !any_sibling {
            assert!(
                asked.is_empty(),
                "{} was asked for at level {level}",
                fragment.name
            );
        }
    }
}
