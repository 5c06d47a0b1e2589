//! What happens: the events that a seed draws, each a moment of virtual time.

use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use marbre::cache::purge::{Purge, Selector};
use marbre::chaos::Wanted;
use marbre::clock::Moment;
use marbre::degradation::Level;
use marbre::degradation::Switch;
use marbre::degradation::switches::{Act, Factor};
use marbre::site::chaos::HarmKind;

use super::declared::{Declared, ORIGINS};
use super::newsroom::Piece;
use super::reader::STORIES;
use super::store::Trouble;

/// One event.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// So many readers come at once.
    Readers(usize),
    /// So many within a second.
    Crowd(usize),
    /// An origin changes how it is.
    Turn(&'static str),
    /// All origins are well.
    AllWell,
    /// An operator sets a switch for a while.
    Switch(Act, Duration),
    /// An operator takes a switch back.
    Clear(Act),
    /// An operator purges.
    Purge(Selector, bool),
    /// The newsroom declares its site anew.
    Reload,
    /// It declares what is no site.
    BadReload,
    /// A fault is set on purpose.
    Fault(Box<Wanted>),
    /// All faults are ended.
    EndFaults,
    /// The store that nodes share changes how it is.
    Store(Trouble),
    /// Another node purges.
    OthersPurge(Selector, bool),
    /// Another node has an operator who decides.
    OthersSwitch(Act, Duration),
    /// Another node says what nobody understands.
    OthersNoise(Bytes),
    /// The server is started anew, with the wall clock so many seconds off.
    Restart(i64),
    /// Nothing happens for a while.
    Calm(Duration),
}

impl Event {
    /// One word.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Readers(_) => "readers",
            Self::Crowd(_) => "crowds",
            Self::Turn(_) => "turns of origins",
            Self::AllWell => "recoveries",
            Self::Switch(..) => "switches",
            Self::Clear(_) => "switches cleared",
            Self::Purge(..) => "purges",
            Self::Reload => "reloads",
            Self::BadReload => "reloads refused",
            Self::Fault(_) => "faults",
            Self::EndFaults => "faults ended",
            Self::Store(_) => "troubles of the store",
            Self::OthersPurge(..) => "purges of other nodes",
            Self::OthersSwitch(..) => "switches of other nodes",
            Self::OthersNoise(_) => "noise of other nodes",
            Self::Restart(0) => "restarts",
            Self::Restart(_) => "restarts with the clock off",
            Self::Calm(_) => "calms",
        }
    }

    /// Draws one. `has_store`: whether there are other nodes.
    pub(crate) fn draw(rng: &mut Rng, declared: &Declared, has_store: bool) -> Self {
        match rng.u8(..100) {
            0..40 => Self::Readers(rng.usize(1..=12)),
            40..45 => Self::Crowd(rng.usize(30..120)),
            45..58 => Self::Turn(ORIGINS[rng.usize(..ORIGINS.len())]),
            58..61 => Self::AllWell,
            61..67 => Self::Switch(act(rng, declared), span(rng)),
            67..70 => Self::Clear(act(rng, declared)),
            70..78 => Self::Purge(selector(rng, declared), rng.bool()),
            78..82 => Self::Reload,
            82..84 => Self::BadReload,
            84..87 => Self::Fault(Box::new(fault(rng, declared))),
            87..89 => Self::EndFaults,
            89..92 if has_store => Self::Store(Trouble::draw(rng)),
            92..94 if has_store => Self::OthersPurge(selector(rng, declared), rng.bool()),
            94..95 if has_store => Self::OthersSwitch(act(rng, declared), span(rng)),
            95..96 if has_store => Self::OthersNoise(noise(rng)),
            96..98 => Self::Restart(match rng.u8(..3) {
                0 => rng.i64(-3_600..3_600),
                _ => 0,
            }),
            98.. => Self::Calm(Duration::from_secs(rng.u64(1..60))),
            _ => Self::Readers(rng.usize(1..=12)),
        }
    }
}

fn span(rng: &mut Rng) -> Duration {
    Duration::from_secs(rng.u64(1..40))
}

fn act(rng: &mut Rng, declared: &Declared) -> Act {
    let place = rng.usize(..declared.blocks.len());
    let block = || declared.blocks[place].name.to_owned();
    let level = Level::new(rng.u8(..5));
    match rng.u8(..9) {
        0 | 1 => Act::Off { block: block() },
        2 => Act::On { block: block() },
        3 => Act::Pin { level },
        4 => Act::Floor { level },
        5 => Act::Cap { level },
        6 => Act::Freeze,
        7 => Act::DryRun,
        _ => {
            let factor = Factor::new([0.5, 2.0, 5.0][rng.usize(..3)]);
            Act::Ttl {
                factor: factor.expect("a factor that is allowed"),
            }
        }
    }
}

/// Who decides here, and who elsewhere.
pub(crate) const OURS: &str = "night desk";
pub(crate) const OTHERS: &str = "other desk";

/// The switch of an act, set now.
pub(crate) fn switch(act: Act, owner: &str, now: Moment, span: Duration) -> Switch {
    let switch = Switch::new(act, owner, "the weather", now, span);
    switch.expect("who, why and for how long are given")
}

fn selector(rng: &mut Rng, declared: &Declared) -> Selector {
    let block = &declared.blocks[rng.usize(..declared.blocks.len())];
    let story = rng.u8(..STORIES).to_string();
    match rng.u8(..8) {
        0 => Selector::All,
        1 | 2 => Selector::Fragment(block.name.to_owned()),
        3..6 => Selector::Key {
            fragment: block.name.to_owned(),
            target: format!("/{}/{story}", block.source),
        },
        _ => Selector::Tag(Piece::tag(&story)),
    }
}

/// The purge of what is selected, now.
pub(crate) const fn purge(selector: Selector, hard: bool, at: Moment) -> Purge {
    Purge { selector, at, hard }
}

fn fault(rng: &mut Rng, declared: &Declared) -> Wanted {
    let harms = [
        HarmKind::Latency,
        HarmKind::Error,
        HarmKind::Refuse,
        HarmKind::Reset,
        HarmKind::Hang,
        HarmKind::Cut,
        HarmKind::Garbage,
    ];
    let harm = harms[rng.usize(..harms.len())];
    let block = &declared.blocks[rng.usize(..declared.blocks.len())];
    let is_of_origin = rng.bool();
    Wanted {
        origin: is_of_origin.then(|| block.origin.to_owned()),
        fragment: (!is_of_origin).then(|| block.name.to_owned()),
        harm: Some(harm),
        latency: (harm == HarmKind::Latency).then(|| "400ms".to_owned()),
        status: (harm == HarmKind::Error).then_some(503),
        rate: rng.bool().then_some(0.5),
        share: rng.bool().then_some(0.5),
        owner: OURS.to_owned(),
        reason: "the weather".to_owned(),
        r#for: Some(format!("{}s", rng.u64(1..40))),
        ..Wanted::default()
    }
}

fn noise(rng: &mut Rng) -> Bytes {
    match rng.u8(..3) {
        0 => Bytes::from_static(b"{\"purge\":{}}"),
        1 => Bytes::from_static(b"\xff\xfe"),
        _ => Bytes::from((0..rng.usize(..64)).map(|_| rng.u8(..)).collect::<Vec<_>>()),
    }
}

/// Something about everything that can be decided.
pub(crate) fn all_acts() -> Vec<Act> {
    let level = Level::FULL;
    let blocks = super::declared::NAMES.iter();
    let mut acts: Vec<Act> = blocks
        .map(|name| Act::Off {
            block: (*name).to_owned(),
        })
        .collect();
    acts.extend([
        Act::Pin { level },
        Act::Floor { level },
        Act::Cap { level },
        Act::Freeze,
        Act::DryRun,
        Act::Ttl {
            factor: Factor::new(1.0).expect("a factor that is allowed"),
        },
    ]);
    acts
}
