//! A page in full: what was planned for it, what was tried, what came of it, and how long each part took.
//! Owns how that is told, as JSON and in words; made where a page ends, and only of pages that somebody
//! asks about.
//!
//! Invariant: nothing in it is a secret of whoever has asked for the page. No cookie, header or query of
//! the request is in it, nor is what an origin was asked for because of a cookie or a header.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What could be afforded when a page was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Afforded {
    /// The share of the optional work of a page.
    pub theta: f64,
    /// The share of pages that were composed.
    pub admission: f64,
    /// The share of the optional requests that origins could take.
    pub phi: f64,
}

impl Default for Afforded {
    fn default() -> Self {
        Self {
            theta: 1.0,
            admission: 1.0,
            phi: 1.0,
        }
    }
}

/// A page in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Story {
    /// Its trace, 32 hexadecimal digits.
    pub trace_id: String,
    /// Its name in `fragments.toml`.
    pub page: String,
    /// The pattern that its path matches.
    pub route: String,
    /// The path that was asked for, without its query.
    pub path: String,
    /// When, in RFC 3339.
    pub at: String,
    /// The status that was sent; 0 when the reader had left before there was one.
    pub status: u16,
    /// The level that it has.
    pub level: u8,
    /// What people call that level.
    pub level_name: String,
    /// The level at which only the text is left.
    pub level_text_only: u8,
    /// What could be afforded.
    #[serde(flatten)]
    pub afforded: Afforded,
    /// Whether somebody has chosen the level to see it.
    pub rehearsal: bool,
    /// Whether every block was there.
    pub complete: bool,
    /// Whether it was read to its end.
    pub finished: bool,
    /// How old the snapshot is that took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_age_s: Option<u64>,
    /// How long before it an equal page was put together, whose text it is: nothing that it is made of has
    /// changed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_ms_ago: Option<f64>,
    /// What it may take.
    pub budget_ms: u64,
    /// The work that such a page costs here besides its blocks, on the average since the site was loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_ms: Option<f64>,
    /// From the request to the head of the answer.
    pub head_ms: f64,
    /// From the request to when the last block was there.
    pub settled_ms: f64,
    /// From the request to the last byte handed over.
    pub total_ms: f64,
    /// Its blocks, in document order.
    pub blocks: Vec<Block>,
    /// What was asked of origins on its behalf. What it has waited for together with other pages was
    /// asked by the first of them.
    pub attempts: Vec<Asked>,
}

/// One fragment of the page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StoryBlock")]
pub struct Block {
    /// Its name.
    pub fragment: String,
    /// `core`, `essential` or `optional N`.
    pub priority: String,
    /// What was planned: `serve`, `stand-in`, `off` or `omit`.
    pub plan: String,
    /// Where it comes from.
    pub source: String,
    /// How long its slot may wait, from the request on.
    pub deadline_ms: u64,
    /// What may fill it instead, as declared.
    pub chain: Vec<String>,
    /// The first level that gives it up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shed_at_level: Option<u8>,
    /// The share of the readers whose pages ask for it, where its origin is slower than usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// The work that it costs a page here, on the average since the site was loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_ms: Option<f64>,
    /// How it was filled, in one word.
    pub outcome: String,
    /// The same with what was in the way.
    pub says: String,
    /// How old the copy is that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_s: Option<f64>,
    /// From the request to when it was settled.
    pub settled_ms: f64,
    /// What was tried, in its order, where its source did not do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<Tried>,
}

/// A rung of a chain that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StoryRung")]
pub struct Tried {
    /// What.
    pub rung: String,
    /// Why it did not fill the slot; nothing where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
}

/// A request to an origin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StoryAttempt")]
pub struct Asked {
    /// For which fragment.
    pub fragment: String,
    /// The origin.
    pub origin: String,
    /// Which of its replicas, by its place in the declaration.
    pub replica: usize,
    /// From the request to its beginning.
    pub began_ms: f64,
    /// How long it took; nothing where the page ended first, or another attempt was faster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<f64>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The fault on purpose that has hit it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

impl Story {
    /// As lines for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text)
            .expect("writing to a string cannot fail");
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Self {
            trace_id,
            page,
            route,
            path,
            at,
            status,
            level,
            level_name,
            level_text_only,
            budget_ms,
            ..
        } = self;
        writeln!(out, "page {page} ({route}), {path}, {at}, trace {trace_id}")?;
        let became = match (self.snapshot_age_s, self.complete, self.finished) {
            (_, _, false) => "its reader left before the end".to_owned(),
            (Some(age), ..) => format!("its snapshot of {age} s ago"),
            (_, true, _) => "complete".to_owned(),
            (..) if *status == 200 => "not complete".to_owned(),
            (..) => "not the page".to_owned(),
        };
        let rehearsed = if self.rehearsal { ", rehearsed" } else { "" };
        writeln!(
            out,
            "status {status}, {became}; level {level} of {level_text_only} ({level_name}{rehearsed})"
        )?;
        if let Some(ago) = self.made_ms_ago {
            writeln!(
                out,
                "as an equal page that was put together {ago:.1} ms before: nothing on it has changed since"
            )?;
        }
        let Afforded {
            theta,
            admission,
            phi,
        } = self.afforded;
        writeln!(
            out,
            "affordable: theta {theta:.3} of the optional work, {admission:.3} of the pages, phi \
             {phi:.3} of the optional requests"
        )?;
        let (head, settled, total) = (self.head_ms, self.settled_ms, self.total_ms);
        writeln!(
            out,
            "head after {head:.1} ms, all settled after {settled:.1} ms, over after {total:.1} ms; \
             budget {budget_ms} ms{}",
            cost(self.cost_ms)
        )?;
        let names = self
            .blocks
            .iter()
            .map(|block| block.fragment.chars().count());
        let width = names.max().unwrap_or(0);
        for block in &self.blocks {
            block.write(out, width)?;
        }
        if !self.attempts.is_empty() {
            writeln!(out, "asked of origins:")?;
        }
        for asked in &self.attempts {
            let Asked {
                fragment,
                origin,
                replica,
                began_ms,
                ..
            } = asked;
            let took = match asked.took_ms {
                Some(took) => format!("{took:.1} ms"),
                None => "not ended by then".to_owned(),
            };
            let cause = asked.cause.as_deref().unwrap_or("answered");
            let cause = if asked.took_ms.is_some() { cause } else { "" };
            let line = format!(
                "  {began_ms:>8.1} ms  {origin}, replica {replica}, for {fragment}: {took} {cause}"
            );
            let fault = asked.fault.as_ref();
            let fault = fault.map_or_else(String::new, |name| format!(" (fault {name})"));
            writeln!(out, "{}{fault}", line.trim_end())?;
        }
        Ok(())
    }
}

impl Block {
    fn write(&self, out: &mut String, width: usize) -> std::fmt::Result {
        let Self {
            fragment,
            priority,
            plan,
            source,
            deadline_ms,
            says,
            settled_ms,
            ..
        } = self;
        let age = self.age_s.map(|age| format!(", {age:.1} s old"));
        let age = age.unwrap_or_default();
        writeln!(
            out,
            "  {fragment:width$}  {settled_ms:>8.1} ms  {says}{age}"
        )?;
        let what = match plan.as_str() {
            "serve" => format!("{source} within {deadline_ms} ms"),
            "stand-in" => "switched off: what stands in".to_owned(),
            "off" => "switched off".to_owned(),
            _ => "left out".to_owned(),
        };
        let shed = self.shed_at_level.map(|level| {
            let at = format!(", given up at level {level}");
            match self.share {
                Some(share) => format!("{at}, kept by {:.0} % of the readers", share * 100.0),
                None => at,
            }
        });
        let shed = shed.unwrap_or_default() + &cost(self.cost_ms);
        writeln!(
            out,
            "  {:width$}  planned: {priority}, {what}{shed}; then: {}",
            "",
            self.chain.join(", ")
        )?;
        for Tried { rung, why_not } in &self.tried {
            match why_not {
                Some(why) => writeln!(out, "  {:width$}  tried: {rung}: {why}", "")?,
                None => writeln!(out, "  {:width$}  tried: {rung}: used", "")?,
            }
        }
        Ok(())
    }
}

fn cost(ms: Option<f64>) -> String {
    ms.map_or_else(String::new, |ms| format!(", costs {ms:.3} ms of work"))
}

/// A text as an HTML comment that nothing in it can end. `-->`, `--!>` and a beginning `>` end a comment
/// (HTML, 13.2.5.43 to 13.2.5.52): there is no `<`, no `>`, and there are no two dashes in a row.
pub fn comment(text: &str) -> String {
    let mut out = String::from("\n<!-- marbre\n");
    let mut last = '\n';
    for letter in text.chars() {
        match letter {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '-' if last == '-' => out.push_str("&#45;"),
            '\n' => out.push('\n'),
            letter if letter.is_control() => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
        last = letter;
    }
    out.push_str("\n-->\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story() -> Story {
        Story {
            trace_id: "0123".repeat(8),
            page: "article".to_owned(),
            route: "/articles/{slug}".to_owned(),
            path: "/articles/x".to_owned(),
            at: "2026-11-26T12:00:00Z".to_owned(),
            status: 200,
            level: 1,
            level_name: "ad".to_owned(),
            level_text_only: 2,
            afforded: Afforded {
                theta: 0.5,
                ..Afforded::default()
            },
            rehearsal: false,
            complete: false,
            finished: true,
            snapshot_age_s: None,
            made_ms_ago: None,
            budget_ms: 1000,
            cost_ms: Some(0.4),
            head_ms: 12.0,
            settled_ms: 250.0,
            total_ms: 251.5,
            blocks: vec![Block {
                fragment: "related".to_owned(),
                priority: "optional 40".to_owned(),
                plan: "serve".to_owned(),
                source: "reco:/related/x".to_owned(),
                deadline_ms: 250,
                chain: vec!["stale for 1h".to_owned(), "omit".to_owned()],
                shed_at_level: Some(2),
                share: None,
                cost_ms: Some(0.0625),
                outcome: "failed".to_owned(),
                says: "failed (timeout)".to_owned(),
                age_s: None,
                settled_ms: 250.0,
                tried: vec![Tried {
                    rung: "its source".to_owned(),
                    why_not: Some("timeout".to_owned()),
                }],
            }],
            attempts: vec![Asked {
                fragment: "related".to_owned(),
                origin: "reco".to_owned(),
                replica: 0,
                began_ms: 0.5,
                took_ms: Some(249.5),
                cause: Some("timeout".to_owned()),
                fault: Some("reco-hangs".to_owned()),
            }],
        }
    }

    #[test]
    fn a_story_reads_as_one() {
        let expected = "\
page article (/articles/{slug}), /articles/x, 2026-11-26T12:00:00Z, trace 01230123012301230123012301230123
status 200, not complete; level 1 of 2 (ad)
affordable: theta 0.500 of the optional work, 1.000 of the pages, phi 1.000 of the optional requests
head after 12.0 ms, all settled after 250.0 ms, over after 251.5 ms; budget 1000 ms, costs 0.400 ms of work
  related     250.0 ms  failed (timeout)
           planned: optional 40, reco:/related/x within 250 ms, given up at level 2, costs 0.062 ms of work; then: stale for 1h, omit
           tried: its source: timeout
asked of origins:
       0.5 ms  reco, replica 0, for related: 249.5 ms timeout (fault reco-hangs)
";
        assert_eq!(story().text(), expected);
    }

    #[test]
    fn a_story_is_the_same_after_it_was_json() {
        let json = serde_json::to_string(&story()).unwrap();
        assert_eq!(serde_json::from_str::<Story>(&json).unwrap(), story());
    }

    #[test]
    fn nothing_ends_a_comment() {
        for text in [
            "-->",
            "--!>",
            "--",
            "---->",
            ">",
            "->",
            "<!--",
            "a\r\n--\u{0}>",
            "-",
            "\n-->\n-",
        ] {
            let comment = comment(text);
            let inside = comment
                .strip_prefix("\n<!-- marbre\n")
                .and_then(|rest| rest.strip_suffix("\n-->\n"))
                .unwrap();
            assert!(
                !inside.contains("--") && !inside.contains(['<', '>']),
                "{comment}"
            );
        }
    }
}
