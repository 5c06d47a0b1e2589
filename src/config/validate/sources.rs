//! `source = "…"` → where content comes from. Owns the five spellings; content that is part of the
//! site is read, and rendered, here.

use bytes::Bytes;

use super::declared::Declared;
use super::{Context, assets, body, forwards, settings};
use crate::config::diagnose::{Diagnostic, Place};
use crate::config::file::{self, At};
use crate::config::read::Entry;
use crate::fragment::source::{OriginId, Source, TargetTemplate, Variable};

/// A source as it is spelled.
pub(super) enum Spelled<'t> {
    /// `origin:/path`
    Http { origin: &'t str, target: &'t str },
    /// `push:/path`, or `push`
    Push(&'t str),
    /// `file:PATH`
    File(&'t str),
    /// `inline:HTML`
    Inline(&'t str),
    /// `data:PATH`
    Data(&'t str),
}

const PUSH: &str = "push";

pub(super) fn spell(text: &str) -> Option<Spelled<'_>> {
    if text == PUSH {
        return Some(Spelled::Push("/"));
    }
    let (word, rest) = text.split_once(':')?;
    Some(match word {
        PUSH => Spelled::Push(rest),
        "file" => Spelled::File(rest),
        "inline" => Spelled::Inline(rest),
        "data" => Spelled::Data(rest),
        origin => Spelled::Http {
            origin,
            target: rest,
        },
    })
}

/// The source of a fragment.
pub(super) fn source(
    entry: &Entry<file::Fragment>,
    fragment: &file::Fragment,
    declared: &Declared<'_>,
    cx: &mut Context<'_>,
) -> Option<Source> {
    let place = entry.at(&fragment.source);
    match spell(&fragment.source) {
        None => {
            cx.report(
                Diagnostic::error("`source` does not say where the content comes from")
                    .at(
                        place,
                        "expected `ORIGIN:/path`, `push:/path`, `file:PATH`, `inline:HTML` or `data:PATH`",
                    )
                    .did_you_mean_source(&fragment.source, declared),
            );
            None
        }
        Some(Spelled::Http { origin, target }) => {
            let origin = find_origin(origin, target, &place, declared, cx);
            // a URL has been reported as one
            let is_reported = origin.is_none() && target.starts_with("//");
            let target = match is_reported {
                true => None,
                false => parse_target(target, &place, cx),
            };
            Some(Source::Http {
                origin: origin?,
                target: target?,
            })
        }
        Some(Spelled::Push(target)) => {
            check_pushed(entry, fragment, cx);
            let target = parse_target(target, &place, cx)?;
            refuse_personal(&target, &place, cx);
            Some(Source::Push(target))
        }
        Some(Spelled::File(path)) => {
            let content = assets::read(path, &place, cx)?;
            sized(Bytes::from(content), fragment, place, cx).map(Source::Ready)
        }
        Some(Spelled::Inline(html)) => {
            sized(Bytes::from(html.to_owned()), fragment, place, cx).map(Source::Ready)
        }
        Some(Spelled::Data(path)) => {
            rendered(path, entry, fragment, &place, declared, cx).map(Source::Ready)
        }
    }
}

impl Diagnostic {
    /// A source that is only a word may be the name of an origin.
    fn did_you_mean_source(self, text: &str, declared: &Declared<'_>) -> Self {
        match declared.origin_names.get(text) {
            Some(_) => self.help(format!("write the path too: `{text}:/path`")),
            None if text.starts_with('/') => {
                let origin = declared
                    .origins
                    .first()
                    .map_or("ORIGIN", |entry| entry.name.as_str());
                self.help(format!("write the origin too: `{origin}:{text}`"))
            }
            None => self,
        }
    }
}

fn find_origin(
    origin: &str,
    target: &str,
    place: &Place,
    declared: &Declared<'_>,
    cx: &mut Context<'_>,
) -> Option<OriginId> {
    if matches!(origin, "http" | "https") && target.starts_with("//") {
        cx.report(
            Diagnostic::error("`source` names an origin, not a URL")
                .at(cx.within(place, &format!("{origin}://")), "hosts are declared once, by name")
                .help(format!(
                    "declare `[origins.NAME]` with `urls = \"{origin}://HOST\"`, and write `NAME:/path`"
                )),
        );
        return None;
    }
    declared
        .origin_names
        .find(origin, cx.within(place, origin), cx)
        .map(OriginId)
}

fn parse_target(target: &str, place: &Place, cx: &mut Context<'_>) -> Option<TargetTemplate> {
    match TargetTemplate::parse(target) {
        Ok(target) => {
            check_headers(&target, place, cx);
            Some(target)
        }
        Err(error) => {
            let place = cx.within(place, target);
            let finding = Diagnostic::error("the path of this `source` cannot be read");
            cx.report(finding.at(place, error.to_string()).help(
                "variables are `{param}` of the route, `{query.x}`, `{cookie.x}`, `{header.x}`, `{lang}` \
                 and `{device}`",
            ));
            None
        }
    }
}

/// Nobody is asked for what is pushed, so nothing can be said about the asking; and nobody who
/// pushes knows a reader's cookie.
fn check_pushed(entry: &Entry<file::Fragment>, fragment: &file::Fragment, cx: &mut Context<'_>) {
    let spans = [
        ("timeout", fragment.timeout.as_ref().and_then(At::span)),
        ("patience", fragment.patience.span()),
        ("early_refresh", fragment.early_refresh.span()),
        ("jitter", fragment.jitter.span()),
    ];
    for (key, span) in spans {
        let Some(span) = span else { continue };
        let place = Place {
            file: entry.place.file,
            span,
        };
        cx.report(
            Diagnostic::warning(format!(
                "`{key}` has no effect on a fragment that is pushed"
            ))
            .at(place, "nobody is asked for it")
            .also(entry.at(&fragment.source), "pushed"),
        );
    }
    let authorization = fragment
        .forward_headers
        .iter()
        .filter(|name| name.eq_ignore_ascii_case("authorization"));
    for name in fragment.forward_cookies.iter().chain(authorization) {
        cx.report(personal_push(entry.at(name)));
    }
}

fn refuse_personal(target: &TargetTemplate, place: &Place, cx: &mut Context<'_>) {
    for variable in target.variables() {
        if variable.is_personal() {
            let place = cx.within(place, &format!("{{{variable}}}"));
            cx.report(personal_push(place));
        }
    }
}

fn personal_push(place: Place) -> Diagnostic {
    Diagnostic::error("what is pushed is for everybody")
        .at(place, "this is one reader's own")
        .help("take it out, or ask an origin: `source = \"ORIGIN:/path\"` is asked for each reader")
}

/// What may not be forwarded may not be put into a path either.
fn check_headers(target: &TargetTemplate, place: &Place, cx: &mut Context<'_>) {
    for variable in target.variables() {
        let Variable::Header(name) = variable else {
            continue;
        };
        if let Some((why, help)) = forwards::refusal(name) {
            let help = if name == "cookie" {
                "write `{cookie.NAME}`"
            } else {
                help
            };
            let spelled = format!("{{{variable}}}");
            let finding = Diagnostic::error(format!("`{spelled}` cannot be used in a source"));
            cx.report(finding.at(cx.within(place, &spelled), why).help(help));
        }
    }
}

/// JSON of the site through the fragment's own template.
pub(super) fn rendered(
    path: &str,
    entry: &Entry<file::Fragment>,
    fragment: &file::Fragment,
    place: &Place,
    declared: &Declared<'_>,
    cx: &mut Context<'_>,
) -> Option<Bytes> {
    let json = assets::read_text(path, place, cx);
    let Some(template) = &fragment.template else {
        // a template that was taken out because it is wrong has been reported
        if entry.is_whole {
            cx.report(
                Diagnostic::error(format!(
                    "`data:` needs a template in `[fragments.{}]`",
                    entry.name
                ))
                .at(
                    cx.within(place, &format!("data:{path}")),
                    "this is JSON, and pages are HTML",
                )
                .help("add `template = \"fragments/….html\"`, or use a file of HTML"),
            );
        }
        return None;
    };
    let json = json?;
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&json) {
        let file = cx.found.add_file(assets::shown(path, cx), &json);
        let at = offset(&json, error.line(), error.column());
        let message = error.to_string();
        let reason = message
            .split(" at line ")
            .next()
            .unwrap_or_default()
            .to_owned();
        cx.report(
            Diagnostic::error(format!("{} is not JSON", assets::shown(path, cx)))
                .at(
                    Place {
                        file,
                        span: at..at + 1,
                    },
                    reason,
                )
                .also(cx.within(place, path), "used here"),
        );
        return None;
    }
    if !declared.templates.is_sound(template) {
        return None;
    }
    let (engine, output_max) = (&declared.templates.engine, declared.output_max);
    match crate::render::html(
        engine,
        template,
        json.as_bytes(),
        &[],
        &entry.name,
        output_max,
    ) {
        Ok(html) => Some(html),
        Err(error) => {
            let message = format!("`{template}` cannot render {}", assets::shown(path, cx));
            let place = cx.within(place, path);
            cx.report(Diagnostic::error(message).at(place, error.to_string()));
            None
        }
    }
}

/// Content of the site obeys the fragment's own limit.
pub(super) fn sized(
    content: Bytes,
    fragment: &file::Fragment,
    place: Place,
    cx: &mut Context<'_>,
) -> Option<Bytes> {
    let max = settings::bytes(&fragment.max_size);
    if content.len() <= max {
        return Some(content);
    }
    let size = crate::config::values::show_size(content.len() as u64);
    cx.report(
        Diagnostic::error("this content is larger than the fragment's `max_size`")
            .at(
                place,
                format!("{size}, but at most {} may be used", show(max)),
            )
            .help("make it smaller, or raise `max_size`"),
    );
    None
}

fn show(bytes: usize) -> String {
    crate::config::values::show_size(bytes as u64)
}

/// The byte at a line and column, both from 1.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    (before + column.saturating_sub(1)).min(text.len())
}

/// When the origin of a source gives up, and where that is written.
pub(super) fn origin_timeout(
    declared: &Declared<'_>,
    source: &str,
) -> Option<(Place, std::time::Duration)> {
    let Some(Spelled::Http { origin, .. }) = spell(source) else {
        return None;
    };
    let (entry, origin) = body(declared.origins, declared.origin_names.get(origin)?)?;
    Some((entry.at(&origin.timeout), origin.timeout.0))
}
