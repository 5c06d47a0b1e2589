//! What hostile documents cost the readers of markup: 1 MiB of each kind beside 1 MiB of an article and of
//! letters, in processor time of the thread, the least of several runs. `cargo bench --bench markup` prints
//! the tables.
//!
//! Documents arrive in chunks as from an origin. What a machine says is taken and dropped; nothing is
//! fetched, and what it waits for cannot be had.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints, and panics where it cannot run"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use jiff::tz::TimeZone;
use marbre::layout::esi::{Esi, fixed};
use marbre::layout::html;
use marbre::layout::markup::{Asked, Limits, Machine, Missing, Step};
use marbre::layout::ssi::Ssi;
use marbre::layout::tailor::Tailor;
use rustix::time::{ClockId, clock_gettime};

/// Bytes of a document.
const LONG: usize = 1 << 20;

/// Bytes of a chunk: what HTTP's buffers usually hold.
const CHUNK: usize = 16 << 10;

/// Runs of which the least counts.
const RUNS: usize = 9;

/// A news article as it comes, without anything that a reader of markup looks for.
const ARTICLE: &str = "<p class=\"lead\">The council has <a href=\"/news/council\">decided</a> on \
                       Monday that the old bridge stays, and so do those who live beside it.</p>\n";

/// What a document repeats, and how it is called.
type Unit = (&'static str, String);

fn main() {
    for (language, units) in [
        ("ESI", esi()),
        ("SSI", ssi()),
        ("Tailor", tailor()),
        ("layout", layout()),
    ] {
        println!("\n| {language}, 1 MiB of | ms | times an article |\n|---|---|---|");
        let article = least(language, ARTICLE);
        let row = |name: &str, took: Duration| {
            let times = took.as_secs_f64() / article.as_secs_f64();
            println!("| {name} | {:.2} | {times:.1} |", took.as_secs_f64() * 1e3);
        };
        row(
            "letters",
            least(language, "nothing but letters and blanks. "),
        );
        row("an article", article);
        for (name, unit) in units {
            row(name, least(language, &unit));
        }
    }
}

fn named(units: &[(&'static str, &str)]) -> Vec<Unit> {
    let units = units.iter();
    units
        .map(|(name, unit)| (*name, (*unit).to_owned()))
        .collect()
}

fn esi() -> Vec<Unit> {
    let mut units = named(&[
        ("`<`", "<"),
        ("`<esi:`", "<esi:"),
        ("`</esi:`", "</esi:"),
        ("`<!--esi`", "<!--esi"),
        ("`<!--`", "<!--"),
        ("`<![CDATA[`", "<![CDATA["),
        ("`-->`", "-->"),
        ("`<esi:vars>`", "<esi:vars>"),
        ("`<esi:vars></esi:vars>`", "<esi:vars></esi:vars>"),
        ("`<esi:try><esi:attempt>`", "<esi:try><esi:attempt>"),
        (
            "`<esi:choose><esi:when test=\"1\">`",
            "<esi:choose><esi:when test=\"1\">",
        ),
        ("`<esi:include src=\"/x\">`", "<esi:include src=\"/x\">"),
        ("`<esi:include src=\"/x\"/>`", "<esi:include src=\"/x\"/>"),
        ("`<esi:x a=\"`", "<esi:x a=\""),
        ("`<esi:x a='b' `", "<esi:x a='b' "),
        ("`<esi:remove>`", "<esi:remove>"),
        ("`<esi:text>`", "<esi:text>"),
    ]);
    let within = [
        ("`$(` in `vars`", "$("),
        ("`$` in `vars`", "$"),
        ("`$(a{'` in `vars`", "$(a{'"),
        ("`$(x|'y')` in `vars`", "$(x|'y')"),
        ("`$f(` in `vars`", "$f("),
        ("`$(HTTP_COOKIE{a})` in `vars`", "$(HTTP_COOKIE{a})"),
    ];
    let within = within.map(|(name, unit)| {
        let many = unit.repeat(LONG / unit.len());
        (name, format!("<esi:vars>{many}"))
    });
    let tag = format!("<esi:include {}>", "a=\"b\" ".repeat(8000));
    let quotes = format!("<esi:include src=\"/x\" a={}>", "\"\"".repeat(16_000));
    units.extend(within);
    units.extend([
        ("tags of 8,000 attributes", tag),
        ("tags of 16,000 quotes", quotes),
        (
            "`assign` and `$(x)`",
            "<esi:assign name=\"x\" value=\"1\"/><esi:vars>$(x)</esi:vars>".to_owned(),
        ),
        (
            "`when` with an expression",
            "<esi:choose><esi:when test=\"$(HTTP_COOKIE{a})=='b'\">x</esi:when></esi:choose>"
                .to_owned(),
        ),
    ]);
    units
}

fn ssi() -> Vec<Unit> {
    let mut units = named(&[
        ("`<`", "<"),
        ("`<!--`", "<!--"),
        ("`<!--#`", "<!--#"),
        ("`<!--# `", "<!--# "),
        ("`<!--#x -->`", "<!--#x -->"),
        ("`<!--#echo var=\"`", "<!--#echo var=\""),
        ("`<!--#echo var=\"a\" -->`", "<!--#echo var=\"a\" -->"),
        ("`<!--#echo a=\"\\\\`", "<!--#echo a=\"\\\\"),
        ("`<!--#if expr=\"$a\" -->`", "<!--#if expr=\"$a\" -->"),
        (
            "`<!--#if expr=\"$a = /(x|x)*y/\" -->`",
            "<!--#if expr=\"$a = /(x|x)*y/\" -->",
        ),
        (
            "`<!--#set var=\"a\" value=\"$a$a\" -->`",
            "<!--#set var=\"a\" value=\"$a$a\" -->",
        ),
        ("`<!--#block name=\"a\" -->`", "<!--#block name=\"a\" -->"),
        (
            "`<!--#include virtual=\"/x\" -->`",
            "<!--#include virtual=\"/x\" -->",
        ),
    ]);
    let many = "a=\"b\" ".repeat(1000);
    units.push((
        "directives of 1,000 parameters",
        format!("<!--#echo {many}-->"),
    ));
    units
}

fn tailor() -> Vec<Unit> {
    let mut units = named(&[
        ("`<`", "<"),
        ("`<f`", "<f"),
        ("`<fragment `", "<fragment "),
        ("`<fragment>`", "<fragment>"),
        ("`<fragment src=\"`", "<fragment src=\""),
        ("`<fragment src=/x>`", "<fragment src=/x>"),
        ("`<fragment src=/x async>`", "<fragment src=/x async>"),
        ("`<!--`", "<!--"),
        ("`<!-- --`", "<!-- --"),
        ("`<script>`", "<script>"),
        ("`<script></`", "<script></"),
        ("`<style></style>`", "<style></style>"),
        ("`<slot>`", "<slot>"),
        ("`<template><slot>`", "<template><slot>"),
        ("`</body>`", "</body>"),
    ]);
    let many = "a=\"b\" ".repeat(8000);
    units.push(("tags of 8,000 attributes", format!("<fragment {many}>")));
    units
}

fn layout() -> Vec<Unit> {
    let mut units = named(&[
        ("`<`", "<"),
        ("`<fragment `", "<fragment "),
        ("`<fragment>`", "<fragment>"),
        ("`<fragment name=\"`", "<fragment name=\""),
        ("`<fragment name=\"a\">`", "<fragment name=\"a\">"),
        (
            "`<fragment name=\"a\"></fragment>`",
            "<fragment name=\"a\"></fragment>",
        ),
        ("`<!--`", "<!--"),
        ("`<script>`", "<script>"),
        ("`<esi:`", "<esi:"),
        ("`<esi:remove>`", "<esi:remove>"),
        ("`<esi:include src=\"/x\"/>`", "<esi:include src=\"/x\"/>"),
        ("`<esi:choose>`", "<esi:choose>"),
    ]);
    let many = "a=\"b\" ".repeat(8000);
    units.push((
        "tags of 8,000 attributes",
        format!("<fragment name=\"a\" {many}></fragment>"),
    ));
    units
}

/// What 1 MiB of this takes at least.
fn least(language: &str, unit: &str) -> Duration {
    let document = Bytes::from(unit.repeat(LONG / unit.len().min(LONG)));
    let took = (0..RUNS).map(|_| {
        let began = used();
        read(language, &document);
        used().saturating_sub(began)
    });
    took.min().unwrap()
}

/// Processor time of this thread.
fn used() -> Duration {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(used).unwrap()
}

fn read(language: &str, document: &Bytes) {
    if language == "layout" {
        let Ok(layout) = html::parse(document) else {
            return;
        };
        let named = |src: &str| Some(src.to_owned());
        drop(black_box(fixed::with_includes(document, layout, &named)));
        return;
    }
    let (asked, limits) = (Arc::new(asked()), Limits::default());
    let machine: Box<dyn Machine> = match language {
        "ESI" => Box::new(Esi::new(asked, limits, true)),
        "SSI" => Box::new(Ssi::new(asked, limits, TimeZone::UTC)),
        _ => Box::new(Tailor::new(limits)),
    };
    run(machine, document);
}

fn run(mut machine: Box<dyn Machine>, document: &Bytes) {
    let chunks = (0..document.len()).step_by(CHUNK);
    let mut chunks = chunks.map(|at| document.slice(at..document.len().min(at + CHUNK)));
    loop {
        match machine.next() {
            Step::Piece(piece) => drop(black_box(piece)),
            Step::Ask(_) => machine.answered(Err(Missing {
                status: None,
                why: String::new(),
            })),
            Step::More => match chunks.next() {
                Some(chunk) => machine.feed(chunk),
                None => machine.finish(),
            },
            Step::End | Step::Fail(_) => return,
        }
    }
}

fn asked() -> Asked {
    let mut headers = HeaderMap::new();
    headers.insert("cookie", "a=b; c=d".parse().unwrap());
    Asked {
        method: Method::GET,
        scheme: "http",
        path: "/page".to_owned(),
        query: "a=xxxxxxxx".to_owned(),
        headers,
        client: None,
        unix_seconds: 784_111_777,
    }
}
