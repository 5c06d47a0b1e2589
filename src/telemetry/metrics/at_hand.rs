//! Pages whose blocks were all at hand at once, fresh and in memory: most of them. Owns their count page by
//! page, so that nothing is counted for each of their blocks; whoever counts blocks adds what is told here
//! when somebody reads.
//!
//! Invariants: a page is counted here or block by block, and never both: [`Sum::at_hand`](crate::report::Sum)
//! says which. Nothing that was counted is lost when another site is declared.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::histogram::{Counted, Histogram};
use crate::report::PageReport;
use crate::site::{Page, Site};
use crate::telemetry::named::Named;

/// The counts.
#[derive(Debug, Default)]
pub struct AtHand {
    table: ArcSwap<Table>,
    /// By fragment, of pages that are not declared.
    others: Mutex<BTreeMap<String, Counted>>,
}

#[derive(Debug, Default)]
struct Table {
    pages: Named<Row>,
    /// Of the site before: a page of it may be ending still.
    before: Vec<Arc<Row>>,
}

/// One page.
#[derive(Debug)]
struct Row {
    /// The names of its fragments.
    members: Vec<String>,
    /// How long it took until its blocks were there, which is the same for all of them.
    settled: Histogram,
}

impl AtHand {
    /// Another site is served.
    pub fn declare(&self, site: &Site) {
        let known = self.table.load();
        let pages: Vec<_> = site
            .pages
            .iter()
            .map(|page| row(&known, site, page))
            .collect();
        let is_kept = |row: &Arc<Row>| pages.iter().any(|(_, kept)| Arc::ptr_eq(kept, row));
        let replaced = known.pages.iter().map(|(_, row)| Arc::clone(row));
        let before = replaced.filter(|row| !is_kept(row)).collect();
        let pages = pages
            .iter()
            .map(|(name, row)| (name.clone(), Arc::clone(row)));
        let table = Table {
            pages: pages.collect(),
            before,
        };
        // held over both, so that nobody reads less than was counted, or some of it twice
        let mut others = self.others.lock();
        self.table.store(Arc::new(table));
        // whatever was ending when that one was replaced has ended since
        for row in &known.before {
            row.add_to(&mut others);
        }
    }

    /// Counts a page, if it is one of these.
    pub(super) fn count(&self, report: &PageReport<'_>) {
        let sum = report.fragments.sum();
        let Some(settled) = sum.at_hand else { return };
        let example = Some((report.trace_id, report.began));
        let table = self.table.load();
        match table.pages.at(report.place, &report.page) {
            Some(row) if row.members.len() == sum.blocks => row.settled.add(settled, example),
            Some(_) | None => {
                let one = Histogram::default();
                one.add(settled, example);
                let mut others = self.others.lock();
                for fragment in &report.fragments {
                    add(&mut others, &fragment.name, &one.counted());
                }
            }
        }
    }

    /// How often each fragment was there on such a page, by its name.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let all = self.by_fragment().into_iter();
        all.map(|(name, counted)| (name, counted.count())).collect()
    }

    /// The same, with how long it took.
    pub(super) fn by_fragment(&self) -> BTreeMap<String, Counted> {
        let others = self.others.lock();
        let table = self.table.load();
        let mut all = others.clone();
        drop(others);
        let rows = table.pages.iter().map(|(_, row)| row);
        for row in rows.chain(&table.before) {
            row.add_to(&mut all);
        }
        all
    }
}

impl Row {
    fn add_to(&self, all: &mut BTreeMap<String, Counted>) {
        let counted = self.settled.counted();
        if counted.count() > 0 {
            for member in &self.members {
                add(all, member, &counted);
            }
        }
    }
}

fn add(all: &mut BTreeMap<String, Counted>, name: &str, more: &Counted) {
    match all.get_mut(name) {
        Some(counted) => counted.add(more),
        None => _ = all.insert(name.to_owned(), more.clone()),
    }
}

/// The row of a page, which is the one that is known if it has the same fragments.
fn row(known: &Table, site: &Site, page: &Page) -> (String, Arc<Row>) {
    let members = site.members(page).map(|fragment| fragment.name.clone());
    let members: Vec<_> = members.collect();
    let row = known.pages.get(&page.name).map(Arc::clone);
    let row = match row.filter(|row| row.members == members) {
        Some(row) => row,
        None => Arc::new(Row {
            members,
            settled: Histogram::default(),
        }),
    };
    (page.name.clone(), row)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::time::Duration;

    use super::*;
    use crate::report::{Found, FragmentReport, Looked, Outcome, Tier, example};

    /// A site whose page has these blocks.
    fn site(blocks: &[&str]) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fragments.toml");
        let declared = blocks.iter().enumerate().map(|(place, name)| {
            let priority = if place == 0 { "\"core\"" } else { "40" };
            format!("[fragments.{name}]\npriority = {priority}\nsource = \"inline:a\"\n")
        });
        let declared: String = declared.collect();
        let page = "[pages.front]\nroute = \"/\"\nlayout = \"front.html\"\n";
        std::fs::write(&file, declared + page).unwrap();
        std::fs::create_dir(folder.path().join("templates")).unwrap();
        let slots = blocks
            .iter()
            .map(|name| format!("<fragment name=\"{name}\"></fragment>"));
        let layout: String = slots.collect();
        std::fs::write(folder.path().join("templates/front.html"), layout).unwrap();
        crate::config::load(&file, &|_| None).unwrap().site
    }

    /// A page of this name, all of whose blocks were at hand.
    fn page(name: &'static str, blocks: &[&'static str]) -> PageReport<'static> {
        let looked = Looked::default().with(Tier::Memory, Found::Fresh);
        let fragments = blocks
            .iter()
            .enumerate()
            .map(|(place, name)| FragmentReport {
                name: (*name).into(),
                place,
                outcome: Cow::Owned(Outcome::Cached),
                value: 1.0,
                looked,
                age: None,
                duration: Duration::from_millis(1),
                span_id: 0,
            });
        PageReport {
            page: name.into(),
            fragments: fragments.collect(),
            ..example::page(200, &[], 2)
        }
    }

    fn counts(at_hand: &AtHand) -> Vec<(String, u64)> {
        at_hand.counts().into_iter().collect()
    }

    #[test]
    fn nothing_is_lost_when_another_site_is_declared() {
        let at_hand = AtHand::default();
        let (old, new) = (["a", "b"], ["a", "c"]);
        at_hand.declare(&site(&old));
        for _ in 0..3 {
            at_hand.count(&page("front", &old));
        }
        let both = |a, b| vec![("a".to_owned(), a), ("b".to_owned(), b)];
        assert_eq!(counts(&at_hand), both(3, 3));
        // with the same blocks it goes on counting, with others those of before stay
        at_hand.declare(&site(&old));
        at_hand.count(&page("front", &old));
        assert_eq!(counts(&at_hand), both(4, 4));
        at_hand.declare(&site(&new));
        assert_eq!(counts(&at_hand), both(4, 4));
        at_hand.count(&page("front", &new));
        let with_c = |a, b, c| [both(a, b), vec![("c".to_owned(), c)]].concat();
        assert_eq!(counts(&at_hand), with_c(5, 4, 1));
        for _ in 0..2 {
            at_hand.declare(&site(&["a"]));
            assert_eq!(counts(&at_hand), with_c(5, 4, 1));
        }
    }

    #[test]
    fn a_page_that_is_not_declared_any_more_is_counted_block_by_block() {
        let at_hand = AtHand::default();
        at_hand.declare(&site(&["a"]));
        at_hand.count(&page("gone", &["a", "b"]));
        at_hand.count(&page("front", &["a"]));
        at_hand.count(&page("front", &[]));
        let expected = [("a".to_owned(), 2), ("b".to_owned(), 1)];
        assert_eq!(counts(&at_hand), expected);
    }
}
