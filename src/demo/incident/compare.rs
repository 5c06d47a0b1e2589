//! The journal against the readers: two counts of the same pages, made by those who sent them and by those
//! who got them. Owns the table and when the two agree; pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::readers::Played;
use crate::telemetry::journal::{Entry, Summary, What};

/// By how much the two may differ, in percent of the greater one.
const TOLERANCE: f64 = 1.0;

/// One number, counted twice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What is counted.
    pub what: String,
    /// As the journal tells it.
    pub journal: f64,
    /// As the readers do.
    pub readers: f64,
    /// Whether the two agree.
    pub agrees: bool,
}

impl Row {
    fn new(what: impl Into<String>, journal: f64, readers: f64) -> Self {
        let differ = (journal - readers).abs();
        Self {
            what: what.into(),
            journal,
            readers,
            agrees: differ * 100.0 <= TOLERANCE * journal.max(readers),
        }
    }

    /// By how much the two differ, in percent of the greater one.
    fn differ(&self) -> f64 {
        let differ = (self.journal - self.readers).abs();
        match self.journal.max(self.readers) {
            0.0 => 0.0,
            most => 100.0 * differ / most,
        }
    }
}

/// Every number that both can count.
pub fn rows(entries: &[Entry], played: &Played, worth: impl Fn(&str) -> f64) -> Vec<Row> {
    let told = told(entries);
    let seen = &played.seen;
    // counts are far below 2^53
    let row =
        |what: &str, journal: u64, readers: u64| Row::new(what, journal as f64, readers as f64);
    let counted = told.full + told.degraded + told.snapshots + told.unavailable + told.left;
    let mut rows = vec![
        row("pages", told.pages, seen.pages),
        row("full pages", told.full, seen.full),
        row(
            "pages with blocks missing or replaced",
            told.degraded,
            seen.degraded,
        ),
        row("snapshots", told.snapshots, seen.snapshots),
        row("error pages", told.unavailable, seen.unavailable),
        row(
            "redirects and pages that there are not",
            told.pages.saturating_sub(counted),
            seen.other,
        ),
        row("without an end", told.left, seen.broken + seen.failed),
        row("blocks replaced", told.stand_ins, seen.stand_ins),
    ];
    let lost = |name: &str| {
        told.lost
            .get(name)
            .map_or(0, |causes| causes.values().sum())
    };
    let names: BTreeMap<&String, ()> = told
        .lost
        .keys()
        .chain(seen.lost.keys())
        .map(|n| (n, ()))
        .collect();
    for name in names.into_keys() {
        let seen = seen.lost.get(name).copied().unwrap_or(0);
        rows.push(row(&format!("blocks missing: {name}"), lost(name), seen));
    }
    let value: f64 = seen
        .lost
        .iter()
        .map(|(name, n)| *n as f64 * worth(name))
        .sum();
    rows.push(Row::new(
        "value lost",
        told.value_lost.values().sum(),
        value,
    ));
    rows
}

/// All that the journal says readers got.
fn told(entries: &[Entry]) -> Summary {
    let mut told = Summary::default();
    for entry in entries {
        if let What::Tally(summary) = &entry.what {
            told.add(summary);
        }
    }
    told
}

/// The table, in Markdown, for the end of the draft.
pub fn table(rows: &[Row], played: &Played) -> String {
    let mut text = String::from(
        "## The journal against the readers' own count\n\n\
         | what | journal | readers | differ by |\n|---|---:|---:|---:|\n",
    );
    for row in rows {
        let Row {
            what,
            journal,
            readers,
            agrees,
        } = row;
        let mark = if *agrees { "" } else { " **!**" };
        let _ = writeln!(
            text,
            "| {what} | {journal:.0} | {readers:.0} | {:.2} %{mark} |",
            row.differ()
        );
    }
    let ms = |share| played.seen.quantile(share).map(|took| took.as_millis());
    if let Some((half, most)) = ms(0.5).zip(ms(0.95)) {
        let _ = writeln!(
            text,
            "\nAs readers measured it, from when each page was due to its last byte: half within {half} ms, \
             95 % within {most} ms."
        );
    }
    if played.unasked > 0 {
        let _ = writeln!(
            text,
            "{} more pages were due and not asked for: too many readers were waiting.",
            played.unasked
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;

    fn tally(full: u64, lost: u64) -> Entry {
        let causes = BTreeMap::from([("shed".to_owned(), lost)]);
        let summary = Summary {
            pages: full + lost,
            full,
            degraded: lost,
            lost: BTreeMap::from([("live".to_owned(), causes)]),
            value_lost: BTreeMap::from([("shed".to_owned(), 60.0 * lost as f64)]),
            ..Summary::default()
        };
        Entry::new(Moment::from_micros(0), "", What::Tally(summary))
    }

    fn played(full: u64, lost: u64) -> Played {
        let mut played = Played::default();
        played.seen.pages = full + lost;
        played.seen.full = full;
        played.seen.degraded = lost;
        played.seen.lost.insert("live".to_owned(), lost);
        played
    }

    #[test]
    fn the_two_agree_within_one_percent_and_not_beyond() {
        let entries = [tally(500, 40), tally(500, 60)];
        let disagree = |full, lost| {
            let rows = rows(&entries, &played(full, lost), |_| 60.0);
            let off = rows.into_iter().filter(|row| !row.agrees);
            off.map(|row| row.what).collect::<Vec<_>>()
        };
        assert!(disagree(1000, 100).is_empty());
        assert!(disagree(1010, 100).is_empty());
        assert_eq!(disagree(1011, 100), ["full pages"]);
        let off = disagree(1000, 98);
        let live = [
            "pages with blocks missing or replaced",
            "blocks missing: live",
            "value lost",
        ];
        assert_eq!(off, live);
        let rows = rows(&entries, &played(1000, 98), |_| 60.0);
        let table = table(&rows, &played(1000, 98));
        assert!(
            table.contains("| blocks missing: live | 100 | 98 | 2.00 % **!** |"),
            "{table}"
        );
        assert!(
            table.contains("| full pages | 1000 | 1000 | 0.00 % |"),
            "{table}"
        );
    }
}
