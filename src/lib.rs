//! Marbre composes the pages of a news site from fragments.
//!
//! *Le marbre* is the stone on which newspaper pages were made up, and the stock of finished copy
//! kept in reserve to fill a hole: composition and fallback in one word. This page is the map of
//! the code; what the program is for and how to run it is in the README.
//!
//! # Floors
//!
//! A module imports lower floors only, never a neighbour. `tests/architecture.rs` holds this.
//!
//! | floor | modules | what |
//! |---|---|---|
//! | 7 | [`cli`] | people |
//! | 6 | [`app`] [`demo`] | wiring: `app` is the only place that knows everyone |
//! | 5 | [`server`] [`admin`] [`simulate`] [`experiment`] | HTTP in, HTTP out; rehearsal without either |
//! | 4 | [`compose`] [`config`] [`telemetry`] [`switchboard`] [`chaos`] | put together |
//! | 3 | [`plan`] [`cache`] [`fetch`] [`render`] | the verbs |
//! | 2 | [`site`] [`report`] | the whole declared site; the account of a page |
//! | 1 | [`layout`] [`degradation`] | the two ideas with a theory of their own |
//! | 0 | [`fragment`] [`clock`] [`state_file`] [`stitch`] | words, the time, what outlasts a restart, the gzip of pieces |
//!
//! # The journey of one request
//!
//! 1. [`server::accept`] takes the connection; [`server`] finds what answers to the path.
//! 2. The page handler takes **one** edition, so that a reload never splits a page, and one
//!    [mode](degradation::Mode): whether this reader's page is composed, and at which level. A page that
//!    cannot be composed in time is its snapshot, or at least its text.
//! 3. In its [turn](degradation::executor), [`plan::request`] reads the [`Facts`](fragment::facts::Facts) that the site has asked for.
//! 4. [`plan::plan`] decides what each slot will do, and until when.
//! 5. [`compose::compose`] starts every slot. Each takes a fresh copy, from memory or from
//!    [beyond](cache::beyond), or joins or launches a flight: fetch, check, render, store. A slot
//!    that gets nothing by its deadline goes down its chain: stale copy, fallback rungs, nothing.
//!    A page whose core gets nothing is replaced by its snapshot.
//! 6. [`compose::assemble`] writes in document order; the first byte waits for the core's verdict.
//! 7. When the body ends, or the reader leaves, the [`PageReport`](report::PageReport) goes to the
//!    observers.
//!
//! A document in a markup language takes another way: [`server`] passes its request through, and
//! [`compose::weave`] drives the language's machine over the answer as it streams. Each include is found
//! out to be a fragment, and filled as a slot by the same chain.
//!
//! Beside the path, ten times a second, the [governor](degradation::governor) reads what was counted and
//! how long work waited, lets the [law](degradation::law) decide, and publishes the next mode; and the
//! [doors](fetch) to the origins look at what each block's requests have come to.
//!
//! A reload is the same line, slower: [`config::watch`] → [`config::load`] → a
//! [`Site`](site::Site) → [`config::diff()`] → swap. A bad file changes nothing.
//!
//! # In another program
//!
//! [`config::Declaration`] declares a site in code, [`app::Options`] takes what a program brings along (its
//! [origins](fetch::Origin), its [law](degradation::law::OwnLaw), its [observers](report::Observer)), and
//! [`app::App`] is the server, which can be mounted in a router. `docs/library.md` tells of it, with examples.
//!
//! # Invariants
//!
//! - A core fragment always fills, or there is no page: never a 200 without its article.
//! - No page outlives its budget, whatever origins do.
//! - A fragment is inserted whole or not at all.
//! - Raising the level never adds a fetch, and levels are nested.
//! - The law's signal is the wait of this process's own work; what an origin does moves its own blocks
//!   only, unless many origins are short at once.
//! - A reader sees a block go once and come back once: who keeps what not everybody gets is drawn, not
//!   thrown anew for each page.
//! - A slot owns its deadline, a flight owns the work: a late answer misses its page and fills the
//!   cache for the next.
//! - What is older never takes the place of what is newer, whatever its way: a late flight, a disk,
//!   another node, a push out of order.
//! - One sick origin costs its own blocks only: nothing in front of an origin is shared with another.
//! - What is one reader's own stays in memory, under that reader's key.
//! - Only [`clock`] reads the time, only [`fetch::origin`] is a server's way to the network, and only
//!   files whose module doc says *shell* touch anything else outside.
//! - What a document says leads to no host and no port that the site has not declared, and what it
//!   includes is read as markup only where that is declared.
//! - Operators are above the law, by switches that have an owner, a reason and an end. A switch is in
//!   force before anything else is done about it, and none takes the core off a page.
//!
//! # Words
//!
//! One concept, one word. **Avoid** names the synonyms that are not used here.
//!
//! | word | means | avoid |
//! |---|---|---|
//! | Site | everything validated from `fragments.toml` and the templates; immutable, swapped whole | config (once loaded), registry |
//! | Edition | a site and the connections that serve it | |
//! | Page, Route | a composable page; the pattern that leads to it | view, endpoint |
//! | Layout, Segment, Slot | parsed template; literal or hole; the hole | skeleton |
//! | Part | a named piece of a fragment that another slot shows, such as its `<head>` lines | |
//! | Document, Machine | what an origin answers in a markup language; what reads that language as it arrives ([`layout::markup`]) | template |
//! | Include | what a document asks to have inserted: one of the fragments, or one on the terms of `[markup]` | edge include |
//! | Fragment | an independently obtained piece: core, essential or optional | widget, component |
//! | List, Item | a fragment whose answer names others; one of those, obtained apart as another fragment | collection, loop |
//! | Source, Origin | where a fragment is declared to come from; the named service that answers | backend, upstream |
//! | Facts | what the request tells the plan | context |
//! | Plan, Step | what this page will do; what this slot will do | strategy |
//! | deadline, timeout, budget | an instant; a duration; what is left | |
//! | Attempt, Flight | one try at an origin; the shared work several pages wait on | |
//! | Replica, Canary | one of the hosts that answer for an origin; one on trial, with a small share | node, instance |
//! | Grade | core, essential or optional: a priority without its rank; each has a breaker of its own at an origin | class, tier |
//! | Breaker | whether an origin is asked: closed (healthy), open, half-open, recovering | fuse |
//! | Bulkhead | the places for requests in flight at one origin, some of them reserved | pool, queue |
//! | Limiter, Baseline | how much one optional fragment may ask of its origin at present; what an answer takes usually | throttle |
//! | Share | of a block that gives way to a slow origin: how many of the readers keep it, always the same ones | quota |
//! | Probe | a request that finds out how an origin is, off the page where that can be | ping |
//! | Retry, Failover, Hedge | asked again after a failure; elsewhere, as nobody could be reached; elsewhere too, as the first is slow | |
//! | Copy, Entry | a fragment as it was answered, rendered, with all that says how good it still is | cached object |
//! | Snapshot | the last complete copy of a whole page | dump |
//! | Purge | a moment up to which copies are stale (soft) or gone (hard) | ban, flush |
//! | Fresh, Stale, Kept, Dead | within ttl; within grace; within keep; beyond | expired |
//! | Outcome | how a slot was filled, or why not | status, result |
//! | Level, Ladder | the present degradation (0 = full page); what each level gives up, in order | |
//! | Sample, Decision, Governor | what the sensors say; what the law answers; the loop between them | manager |
//! | theta, admission | the share of the optional work of a page that can be afforded; of pages that can be composed | dimmer |
//! | Cut, Share | where theta cuts the ladder; who keeps what not everybody can have | |
//! | Mode | what pages are planned by at present: the law's decision and the operators' | |
//! | Turn | leave to work, of which there are as many as cores; also: which node asks the origin for all of them | permit, lock |
//! | Limiter, Baseline | how many requests of one block are in flight; what its answers take usually | throttle |
//! | Switch, Overrides | an operator's decision with owner, reason and end; what all of them come to | flag, toggle |
//! | Schedule, Window | switches that begin and end by the clock, declared with the site; from when to when | timer, cron |
//! | Ledger, Record | what operators have decided, on whichever node; one of these, as nodes tell it | |
//! | Report, Observer | the account of one page; whoever reads it | |
//! | Objective, Promise | a share of pages that is to be good; what makes a page a good one | target |
//! | Error budget, Burn | what may miss an objective over its period; how fast that is used, 1 being as fast as it may be | |
//! | Value, Loss | what one view of a block is worth, as declared; why its reader did not get it | revenue |
//! | Tier | where copies are: memory, disk, shared store | |
//! | Variant | a content as it is sent compressed, made once and kept with it | encoding |
//! | Story | a page in full: what was planned, tried and asked, for whoever wants to know | |
//! | Record | one request and its answer, as a line of the access log | entry |
//! | Supervisor | whoever has started the process and waits for its word, such as systemd | init, manager |

#![forbid(unsafe_code)]

pub mod clock;
pub mod fragment;
pub mod state_file;
pub mod stitch;
pub mod striped;

pub mod degradation;
pub mod layout;

pub mod report;
pub mod site;

pub mod cache;
pub mod fetch;
pub mod plan;
pub mod render;

pub mod chaos;
pub mod compose;
pub mod config;
pub mod switchboard;
pub mod telemetry;

pub mod admin;
pub mod experiment;
pub mod server;
pub mod simulate;

pub mod app;
pub mod demo;

pub mod cli;

#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
