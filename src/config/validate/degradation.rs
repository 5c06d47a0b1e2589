//! `[degradation]` → what a site aims at and by which law. Owns the rules about targets and the
//! rehearsal token; the ladder is its own.

use std::time::Duration;

use http::HeaderName;

use super::secrets::{Found, Keys, LENGTH_MIN};
use super::settings::place;
use super::{Context, body, forwards};
use crate::config::diagnose::{Diagnostic, FileId};
use crate::config::file::{self, At, Tunable};
use crate::config::read::{Declared, Entry};
use crate::config::values::show_duration;
use crate::fragment::Fragment;
use crate::plan;
use crate::site::{DegradationSpec, LawSpec, Mode, Page, RehearseToken};

/// What a target must leave for blocks at least, once its margin is taken off.
const LEFT_MIN: Duration = Duration::from_millis(1);

/// `None` for a token that was reported.
pub(super) fn degradation(declared: &Declared, cx: &mut Context<'_>) -> Option<DegradationSpec> {
    let (written, main) = (&declared.degradation, declared.main);
    check_margin(written, main, cx);
    if let Some(cookie) = &written.reader_cookie
        && !forwards::is_cookie_name(cookie)
    {
        let finding = Diagnostic::error(format!("`{}` is not a cookie name", **cookie));
        let label = "expected a name, without its value";
        cx.report(finding.at(place(cookie, main), label));
    }
    let header = written.reader_header.as_ref();
    let reader_header = header.and_then(|header| reader_header(header, main, cx));
    let keys = Keys {
        name: "rehearse_token",
        written: written.rehearse_token.as_ref(),
        file: written.rehearse_token_file.as_ref(),
    };
    let token = keys.is_declared().then(|| rehearse_token(&keys, main, cx));
    let law = law(written, main, cx);
    Some(DegradationSpec {
        mode: match *written.mode {
            file::Mode::On => Mode::On,
            file::Mode::DryRun => Mode::DryRun,
            file::Mode::Off => Mode::Off,
        },
        target: written.target.as_ref().map(|target| target.0),
        margin: written.margin.0,
        law,
        reader_cookie: written.reader_cookie.as_ref().map(|name| name.to_string()),
        reader_header,
        save_data: *written.save_data,
        rehearse_token: match token {
            Some(token) => Some(token?),
            None => None,
        },
        workers: written
            .workers
            .as_ref()
            .and_then(|workers| usize::try_from(**workers).ok()),
        wait_max: written.wait_max.0,
    })
}

/// `None` for one that was reported.
fn reader_header(header: &At<String>, main: FileId, cx: &mut Context<'_>) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(header.as_bytes());
    if name.is_err() {
        let finding = Diagnostic::error(format!("`{}` is not a header name", **header));
        cx.report(finding.at(place(header, main), "expected letters, digits and `-`"));
    }
    name.ok()
}

fn check_margin(written: &file::Degradation, main: FileId, cx: &mut Context<'_>) {
    let Some(target) = &written.target else {
        return;
    };
    if target.0 < written.margin.0 + LEFT_MIN {
        let margin = show_duration(written.margin.0);
        let finding = Diagnostic::error("`target` leaves no time for optional blocks").at(
            place(target, main),
            format!("{margin} of it are the `margin`, kept for all that is not waiting"),
        );
        cx.report(finding.help("raise `target`, or lower `margin`"));
    }
}

fn law(written: &file::Degradation, main: FileId, cx: &mut Context<'_>) -> LawSpec {
    let work_rate = constants(&written.work_rate, main, cx);
    let aimd = constants(&written.aimd, main, cx);
    match *written.law {
        file::LawName::WorkRate => LawSpec::WorkRate {
            constants: Box::new(work_rate),
            rate_by_cores: !written
                .work_rate
                .written()
                .any(|(knob, _)| knob.key == "rate_max"),
        },
        file::LawName::Aimd => LawSpec::Aimd(aimd),
    }
}

fn constants<L: Tunable>(written: &file::Constants<L>, main: FileId, cx: &mut Context<'_>) -> L {
    let mut constants = L::default();
    for (knob, value) in written.written() {
        if let Err(why) = knob.put(&mut constants, value.0) {
            let finding = Diagnostic::error(format!("`{}` cannot be set", knob.key));
            cx.report(finding.at(place(value, main), why.to_string()));
        }
    }
    constants
}

fn rehearse_token(keys: &Keys<'_>, main: FileId, cx: &mut Context<'_>) -> Option<RehearseToken> {
    let Found {
        text,
        key,
        place,
        is_long,
    } = keys.read(main, cx)??;
    let is_usable = |b: u8| b.is_ascii_graphic() && !b",;\"".contains(&b);
    if text.is_empty() || !text.bytes().all(is_usable) {
        cx.report(
            Diagnostic::error(format!("`{key}` cannot be used"))
                .at(
                    place,
                    "it is empty, or holds spaces, `,`, `;`, `\"` or letters that a header cannot carry",
                )
                .help("use 16 or more printable ASCII characters"),
        );
        return None;
    }
    if !is_long {
        cx.report(Diagnostic::warning(format!("`{key}` is short")).at(
            place,
            format!("fewer than {LENGTH_MIN} characters can be guessed"),
        ));
    }
    Some(RehearseToken::new(text))
}

/// What a page aims at: the time that it should take, and how long its optional blocks are waited
/// for, where that is limited.
pub(super) fn aim(
    entry: &Entry<file::Page>,
    written: &file::Page,
    declared: &Declared,
    cx: &mut Context<'_>,
) -> (Duration, Option<Duration>) {
    let (budget, margin) = (written.budget.0, declared.degradation.margin.0);
    if let Some(own) = &written.target {
        if own.0 > budget {
            let finding = Diagnostic::error(format!(
                "page `{}` may never take as long as its target",
                entry.name
            ));
            let finding = finding
                .at(entry.at(own), "longer than the page's `budget`")
                .also(entry.at(&written.budget), show_duration(budget));
            cx.report(finding.help("lower `target`, or raise `budget`"));
        } else if own.0 < margin + LEFT_MIN {
            let finding = Diagnostic::error("`target` leaves no time for optional blocks").at(
                entry.at(own),
                format!(
                    "{} of it are the `margin`, kept for all that is not waiting",
                    show_duration(margin)
                ),
            );
            cx.report(finding.help("raise it, or lower `margin` in `[degradation]`"));
        }
    }
    let site_wide = declared.degradation.target.as_ref();
    let target = written.target.as_ref().or(site_wide).map(|t| t.0);
    let Some(target) = target.map(|target| target.min(budget)) else {
        return (budget, None);
    };
    (target, Some(target.saturating_sub(margin).max(LEFT_MIN)))
}

/// Warns of optional blocks that are declared to be waited for longer than the pages that they are on
/// can wait.
pub(super) fn warn_cut(
    declared: &Declared,
    pages: &[Option<Page>],
    fragments: &[Option<Fragment>],
    cx: &mut Context<'_>,
) {
    for (i, fragment) in fragments.iter().enumerate() {
        let (Some(fragment), Some((entry, written))) = (fragment, body(&declared.fragments, i))
        else {
            continue;
        };
        let Some(timeout) = &written.timeout else {
            continue;
        };
        let on = pages.iter().flatten().filter(|page| {
            let has = page.members.iter().any(|m| m.fragment.index() == i);
            let cut = page.optional_time.is_some_and(|time| time < timeout.0);
            has && cut && !fragment.is_required()
        });
        let cuts: Vec<(Duration, &str)> = on
            .map(|page| (plan::slot_time(page, fragment), page.name.as_str()))
            .collect();
        let Some((shortest, _)) = cuts.iter().min() else {
            continue;
        };
        let pages: Vec<String> = cuts.iter().map(|(_, name)| format!("`{name}`")).collect();
        let finding = Diagnostic::warning(format!(
            "`{}` is waited for at most {}, not {}",
            fragment.name,
            show_duration(*shortest),
            show_duration(timeout.0)
        ))
        .at(
            entry.at(timeout),
            format!(
                "longer than the target of {} less its margin: it is cut",
                pages.join(", ")
            ),
        );
        cx.report(finding.help("lower it, or raise `target`"));
    }
}
