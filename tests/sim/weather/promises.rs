//! What must be true of every page and at every moment, whatever the weather: the promises of
//! `docs/promises.md`, as far as they show here. The one place where they are checked. Pure, so that each
//! check can be seen to fail.

use std::fmt;
use std::time::Duration;

use marbre::degradation::Level;
use marbre::fragment::Priority;
use marbre::report::{Cause, OmitReason, Outcome, PageReport};
use marbre::telemetry::tally::TallyState;

use super::declared::{Block, Rank, Reserve};
use super::newsroom::{Newsroom, Piece};
use super::reader::{Answer, Manner, Read};

/// A promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Promise {
    Core,
    Budget,
    Whole,
    Order,
    OperatorsWord,
    Personal,
    NotPassedOff,
    Purged,
    Age,
    OneGeneration,
    Limits,
    Returns,
    Counted,
    NothingLost,
}

impl Promise {
    /// As `docs/promises.md` has it.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Core => "the article is always rendered where it can be had",
            Self::Budget => "no page outlives its budget",
            Self::Whole => "a fragment is inserted whole or not at all",
            Self::Order => "blocks go in the declared order",
            Self::OperatorsWord => "what operators decide is what pages are planned by",
            Self::Personal => "what is one reader's own is given to no other",
            Self::NotPassedOff => "degraded pages are not passed off as full ones",
            Self::Purged => "what was purged is not served again",
            Self::Age => "nothing older than declared is served",
            Self::OneGeneration => "each page is of one declaration",
            Self::Limits => "everything has a limit",
            Self::Returns => "blocks come back",
            Self::Counted => "degradation is visible: what is counted is what was seen",
            Self::NothingLost => "nothing is lost by a wrong declaration",
        }
    }
}

/// A promise that was not kept.
#[derive(Debug, Clone)]
pub(crate) struct Broken {
    pub(crate) promise: Promise,
    pub(crate) why: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.promise.words(), self.why)
    }
}

/// The promise is kept if `holds`.
pub(crate) fn keep(
    promise: Promise,
    holds: bool,
    why: impl FnOnce() -> String,
) -> Result<(), Broken> {
    match holds {
        true => Ok(()),
        false => Err(Broken {
            promise,
            why: why(),
        }),
    }
}

/// What stands in the place of one block.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Filled {
    Nothing,
    Piece(Piece),
    /// The reserve of this generation and name.
    Reserve(u32, String),
}

/// A page, read: generation and name of each slot, and what is in it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Slot {
    pub(crate) generation: u32,
    pub(crate) name: String,
    pub(crate) filled: Filled,
}

/// What is between a tag and its end, and the rest.
fn tagged<'t>(text: &'t str, tag: &str) -> Option<(&'t str, &'t str)> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    text.strip_prefix(open.as_str())?.split_once(close.as_str())
}

fn numbered(text: &str) -> Option<(u32, String)> {
    let (generation, name) = text.split_once(':')?;
    Some((generation.parse().ok()?, name.to_owned()))
}

/// Reads a page; `None` where anything else is in it.
pub(crate) fn slots(body: &str) -> Option<Vec<Slot>> {
    let (mut slots, mut rest) = (Vec::new(), body);
    while !rest.is_empty() {
        let (label, after) = tagged(rest, "u")?;
        let (generation, name) = numbered(label)?;
        let (filled, after) = if let Some((piece, after)) = tagged(after, "i") {
            (Filled::Piece(Piece::read(piece)?), after)
        } else if let Some((reserve, after)) = tagged(after, "s") {
            let (generation, name) = numbered(reserve)?;
            (Filled::Reserve(generation, name), after)
        } else {
            (Filled::Nothing, after)
        };
        slots.push(Slot {
            generation,
            name,
            filled,
        });
        rest = after;
    }
    Some(slots)
}

/// What a run has met, by kind.
pub(crate) type Met = std::collections::BTreeMap<&'static str, u64>;

pub(crate) fn met(seen: &mut Met, what: &'static str) {
    *seen.entry(what).or_default() += 1;
}

/// Checks what one reader has seen, and remembers what can be relied upon from now on.
pub(crate) fn of_a_page(read: &Read, newsroom: &Newsroom, seen: &mut Met) -> Result<(), Broken> {
    met(seen, "pages");
    let Some(report) = &read.report else {
        let why = || format!("no account of the page of {:?}", read.asks);
        return keep(Promise::Counted, false, why);
    };
    let Some(answer) = &read.answer else {
        met(seen, "left before the head");
        return Ok(());
    };
    in_time(read, report)?;
    plan_is_right(read, report, answer)?;
    not_passed_off(read, report, answer)?;
    match answer.status {
        200 => a_page(read, report, answer, newsroom, seen),
        304 => {
            met(seen, "unchanged");
            let why = || format!("{:?} has not said that it has a page", read.asks);
            keep(Promise::NotPassedOff, read.asks.has.is_some(), why)?;
            let why = || format!("unchanged, but {report:?}");
            keep(Promise::NotPassedOff, answer.body.is_empty(), why)
        }
        404 => {
            met(seen, "refused");
            let mut cores = cores(read);
            let story = read.asks.story.to_string();
            let refused = cores.any(|core| newsroom.has_refused(&core.source, &story));
            let why = || format!("404, though no core was ever refused: {report:?}");
            keep(Promise::Core, refused, why)
        }
        503 => {
            met(seen, "unavailable");
            core_is_nowhere(read, newsroom)
        }
        status => keep(Promise::Whole, false, || {
            format!("status {status}: {report:?}")
        }),
    }
}

fn cores(read: &Read) -> impl Iterator<Item = &Block> {
    let members = read.declared.members(read.asks.page);
    members.filter(|block| block.rank == Rank::Core)
}

/// What a timer of the runtime may be late by.
const TIMER: Duration = Duration::from_millis(1);

/// Jobs of other pages that one may wait for, where work takes time: those of a crowd that came at once,
/// before any law can have known of it. What is promised is that no origin makes a page any longer.
const QUEUE: u32 = 240;

/// Virtual time moves only when everybody waits, so this is exact.
pub(crate) fn in_time(read: &Read, report: &PageReport<'_>) -> Result<(), Broken> {
    let most = read.declared.budget + TIMER + read.work * QUEUE;
    let is_waited_for = report.finished && !matches!(read.asks.manner, Manner::Slow(_));
    let is_in_time = !is_waited_for || report.duration <= most;
    keep(Promise::Budget, is_in_time, || {
        format!("{most:?}: {report:?}")
    })?;
    let why = || format!("the head after the end: {report:?}");
    keep(Promise::Budget, report.head_after <= report.duration, why)
}

/// The level and what is given up at it.
pub(crate) fn plan_is_right(
    read: &Read,
    report: &PageReport<'_>,
    answer: &Answer,
) -> Result<(), Broken> {
    let site = &read.edition.site;
    let (overrides, text_only) = (&read.mode.overrides, site.ladder.text_only());
    let is_composed = !answer.is_snapshot() && answer.status != 503;
    if let Some(pin) = overrides.pin.filter(|_| is_composed && !read.is_crowded) {
        // what is full of pages gives the text alone
        let is_pinned = report.level == pin.min(text_only) || report.level == text_only;
        keep(Promise::OperatorsWord, is_pinned, || {
            format!("pinned at {pin}: {report:?}")
        })?;
    }
    for account in &report.fragments {
        let Some(id) = site.fragment_named(&account.name) else {
            let why = || format!("{} is not declared: {report:?}", account.name);
            return keep(Promise::OneGeneration, false, why);
        };
        let (priority, outcome) = (site.fragment(id).priority, &*account.outcome);
        if matches!(outcome, Outcome::Omitted(OmitReason::Unneeded)) {
            continue;
        }
        let (is_off, is_on) = (
            overrides.is_off(&account.name),
            overrides.is_on(&account.name),
        );
        let is_optional = matches!(priority, Priority::Optional(_));
        let is_shed = is_optional && !is_on && !is_off && site.ladder.sheds(report.level, id);
        let says_shed = matches!(outcome, Outcome::Omitted(OmitReason::Shed(_)));
        if is_composed {
            let why = || format!("{} at level {}: {outcome}", account.name, report.level);
            keep(Promise::Order, is_shed == says_shed, why)?;
        }
        let is_own = matches!(
            outcome,
            Outcome::Cached | Outcome::Fetched | Outcome::Stale(_)
        );
        let is_shown_though_off = is_off && is_own && priority != Priority::Core;
        let why = || format!("{} is off: {outcome}", account.name);
        keep(
            Promise::OperatorsWord,
            !is_shown_though_off || !is_composed,
            why,
        )?;
    }
    Ok(())
}

/// What is said of who may keep the page.
pub(crate) fn not_passed_off(
    read: &Read,
    report: &PageReport<'_>,
    answer: &Answer,
) -> Result<(), Broken> {
    if !matches!(answer.status, 200 | 304) {
        return Ok(());
    }
    let says = answer.says("cache-control");
    let is_shared = says.contains("s-maxage");
    let is_whole = report.level == Level::FULL && report.is_complete();
    let why = || format!("`{says}` of a page that is not whole: {report:?}");
    keep(Promise::NotPassedOff, !is_shared || is_whole, why)?;
    let is_given_up = report.level > Level::FULL;
    let why = || format!("`{says}` at level {}", report.level);
    keep(
        Promise::NotPassedOff,
        !is_given_up || says.contains("no-store"),
        why,
    )?;
    let longest = read.declared.shared_max_age.as_secs();
    let seconds = says.split("s-maxage=").nth(1);
    let seconds = seconds.and_then(|rest| rest.split(',').next()?.parse::<u64>().ok());
    let why = || format!("`{says}`, and {longest} s is declared");
    keep(
        Promise::NotPassedOff,
        seconds.is_none_or(|seconds| seconds <= longest),
        why,
    )?;
    let level = answer.says("marbre-level");
    let why = || format!("the level is said to be `{level}`: {report:?}");
    keep(
        Promise::Counted,
        level.split(';').next() == Some(&report.level.to_string()),
        why,
    )
}

fn a_page(
    read: &Read,
    report: &PageReport<'_>,
    answer: &Answer,
    newsroom: &Newsroom,
    seen: &mut Met,
) -> Result<(), Broken> {
    met(
        seen,
        if report.is_complete() {
            "full"
        } else {
            "degraded"
        },
    );
    if read.asks.is_head || read.asks.manner == Manner::LooksOnly {
        // what of a body that came all the same nobody sends is the connection's affair
        met(seen, "heads");
        return Ok(());
    }
    let Some(slots) = slots(&answer.body) else {
        let why = || format!("{}: {report:?}", answer.body);
        return keep(Promise::Whole, false, why);
    };
    if answer.is_snapshot() || report.snapshot.is_some() {
        met(seen, "snapshots");
        return a_snapshot(read, &slots, newsroom);
    }
    one_generation(read, &slots)?;
    for (slot, account) in slots.iter().zip(&report.fragments) {
        let block = read
            .declared
            .block(&slot.name)
            .expect("slots are of this generation");
        met(seen, account.outcome.label());
        filled(read, block, slot, &account.outcome)?;
        if let Filled::Piece(piece) = &slot.filled {
            piece_may_be_shown(read, piece, &account.outcome, newsroom)?;
            personal(read, answer, piece)?;
        }
    }
    Ok(())
}

/// All slots are of the declaration that was in force when the page was asked for.
pub(crate) fn one_generation(read: &Read, slots: &[Slot]) -> Result<(), Broken> {
    let declared = &read.declared;
    let expected = declared.members(read.asks.page).map(|block| block.name);
    let found = slots.iter().map(|slot| slot.name.as_str());
    let is_same = expected.eq(found);
    let of_it = |slot: &Slot| {
        let reserve = match &slot.filled {
            Filled::Reserve(generation, _) => *generation == declared.generation,
            Filled::Nothing | Filled::Piece(_) => true,
        };
        slot.generation == declared.generation && reserve
    };
    let why = || format!("generation {}: {slots:?}", declared.generation);
    keep(
        Promise::OneGeneration,
        is_same && slots.iter().all(of_it),
        why,
    )
}

/// What is in a slot is what the account says, of the block or of what may stand in for it.
pub(crate) fn filled(
    read: &Read,
    block: &Block,
    slot: &Slot,
    outcome: &Outcome,
) -> Result<(), Broken> {
    let story = read.asks.story.to_string();
    let is_of = |name: &str, piece: &Piece| {
        let block = read.declared.block(name);
        block.is_some_and(|block| block.source == piece.source) && piece.id == story
    };
    let is_right = match (outcome, &slot.filled) {
        (Outcome::Cached | Outcome::Fetched | Outcome::Stale(_), Filled::Piece(piece)) => {
            is_of(block.name, piece)
        }
        (Outcome::Sibling(name, _), Filled::Piece(piece)) => {
            block.reserve == Reserve::Sibling(read.declared.block(name).map_or("", |b| b.name))
                && is_of(name, piece)
        }
        (Outcome::Inline(_), Filled::Reserve(_, name)) => {
            let sibling = match block.reserve {
                Reserve::Sibling(sibling) => sibling,
                Reserve::None | Reserve::Inline => block.name,
            };
            name == block.name || name == sibling
        }
        (Outcome::Omitted(_) | Outcome::Absent, Filled::Nothing) => true,
        _ => false,
    };
    keep(Promise::Whole, is_right, || format!("{outcome}: {slot:?}"))?;
    let is_missing = matches!(slot.filled, Filled::Nothing);
    let why = || format!("a page without its core {}: {outcome}", block.name);
    keep(Promise::Core, block.rank != Rank::Core || !is_missing, why)
}

/// Between what an origin says and what is known of when it was asked.
const SLACK: Duration = Duration::from_secs(4);

/// Whether a piece is young enough, and was not purged.
pub(crate) fn piece_may_be_shown(
    read: &Read,
    piece: &Piece,
    outcome: &Outcome,
    newsroom: &Newsroom,
) -> Result<(), Broken> {
    if !newsroom.can_tell_age(piece) {
        return not_thrown_away(read, piece, newsroom);
    }
    let age = read.ended.saturating_sub(piece.made);
    if let Some(block) = read.declared.block(piece.name()) {
        let most = if matches!(outcome, Outcome::Fetched) {
            Duration::ZERO
        } else if matches!(outcome, Outcome::Cached) {
            block.ttl.mul_f64(read.ttl_factor)
        } else {
            block.whole(read.ttl_factor)
        };
        // the page's own time, and that of the answer
        let most = most + (read.ended - read.began) + SLACK;
        keep(Promise::Age, age <= most, || {
            format!("{age:?} of {most:?}: {piece:?} {outcome}")
        })?;
    }
    not_purged(read, piece, *outcome == Outcome::Cached, newsroom)
}

/// No copy of what was purged is shown, or is shown as fresh, on a page that began after it was.
pub(crate) fn not_purged(
    read: &Read,
    piece: &Piece,
    is_fresh: bool,
    newsroom: &Newsroom,
) -> Result<(), Broken> {
    let is_gone = newsroom.is_purged(piece, true, read.began);
    keep(Promise::Purged, !is_gone, || {
        format!("{piece:?} on {:?}", read.asks)
    })?;
    let is_stale = is_fresh && newsroom.is_purged(piece, false, read.began);
    keep(Promise::Purged, !is_stale, || {
        format!("{piece:?} as fresh on {:?}", read.asks)
    })
}

/// The same of a copy that has a time of the future beside it, since the wall clock was set back: what was
/// thrown away does not come back. Whether it was made stale says nothing: it is stale as it is.
pub(crate) fn not_thrown_away(
    read: &Read,
    piece: &Piece,
    newsroom: &Newsroom,
) -> Result<(), Broken> {
    let is_gone =
        newsroom.is_of_the_future(piece, read.ended) && newsroom.was_thrown_away(piece, read.began);
    keep(Promise::Purged, !is_gone, || {
        format!("{piece:?}, of the future, on {:?}", read.asks)
    })
}

/// What is made for one reader is on that reader's page alone, and kept by nobody else.
pub(crate) fn personal(read: &Read, answer: &Answer, piece: &Piece) -> Result<(), Broken> {
    let Some(owner) = &piece.owner else {
        return Ok(());
    };
    let is_theirs = read.asks.who.as_ref() == Some(owner);
    keep(Promise::Personal, is_theirs, || {
        format!("{piece:?} on {:?}", read.asks)
    })?;
    let says = answer.says("cache-control");
    let is_kept_by_nobody = says.contains("private") || says.contains("no-store");
    keep(Promise::Personal, is_kept_by_nobody, || {
        format!("`{says}` with {piece:?}")
    })
}

/// A snapshot is a whole page of one declaration, for everybody, and not too old.
pub(crate) fn a_snapshot(read: &Read, slots: &[Slot], newsroom: &Newsroom) -> Result<(), Broken> {
    let generation = slots.first().map(|slot| slot.generation);
    let is_one = slots.iter().all(|slot| Some(slot.generation) == generation);
    keep(Promise::OneGeneration, is_one, || format!("{slots:?}"))?;
    for slot in slots {
        let Filled::Piece(piece) = &slot.filled else {
            continue;
        };
        let why = || format!("{piece:?} in a snapshot");
        keep(Promise::Personal, piece.owner.is_none(), why)?;
        if !newsroom.can_tell_age(piece) {
            not_thrown_away(read, piece, newsroom)?;
            continue;
        }
        let age = read.ended.saturating_sub(piece.made);
        let most = read.declared.snapshot_keep + (read.ended - read.began) + SLACK;
        keep(Promise::Age, age <= most, || {
            format!("a snapshot's {piece:?}, {age:?} of {most:?}")
        })?;
        not_purged(read, piece, false, newsroom)?;
    }
    Ok(())
}

/// An error page only where neither an answer nor a copy of some core can be had.
pub(crate) fn core_is_nowhere(read: &Read, newsroom: &Newsroom) -> Result<(), Broken> {
    let story = read.asks.story.to_string();
    let is_at_hand = |core: &Block| {
        let made = newsroom.known((core.origin, &core.source), &story, read.began);
        // what is within the ttl may be less, by chance; and it counts from the answer
        let lasts = (core.grace + core.keep).saturating_sub(SLACK);
        made.is_some_and(|made| newsroom.age_by_the_clock(made, read.ended) < lasts)
    };
    let could_be_had = cores(read).all(is_at_hand) && !read.is_crowded;
    let why = || {
        format!(
            "{:?} got {:?}, though its cores are known",
            read.asks, read.report
        )
    };
    keep(Promise::Core, !could_be_had, why)
}

/// Remembers the pieces that copies must now be there of.
pub(crate) fn remember(read: &Read, newsroom: &Newsroom) {
    let Some(answer) = read.answer.as_ref().filter(|answer| answer.status == 200) else {
        return;
    };
    // a page that was drawn for a fault is made of what nobody keeps
    let is_drawn = !answer.says("marbre-chaos").is_empty();
    if read.is_disturbed || answer.is_snapshot() || is_drawn {
        return;
    }
    for slot in slots(&answer.body).into_iter().flatten() {
        if let Filled::Piece(piece) = slot.filled
            && piece.owner.is_none()
            && let Some(block) = read.declared.block(&slot.name)
            // what is good for no time is not kept, however long it would be by a later declaration
            && !block.whole(1.0).is_zero()
        {
            newsroom.shows(block.origin, &piece, read.ended);
        }
    }
}

/// The server at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Moment {
    pub(crate) pages: usize,
    pub(crate) pages_max: usize,
    pub(crate) flights: usize,
    /// Requests at each origin, and how many there may be.
    pub(crate) asked: Vec<(usize, usize)>,
    pub(crate) copies: usize,
    pub(crate) bytes: u64,
    pub(crate) bytes_max: u64,
    pub(crate) level: u8,
    pub(crate) level_max: u8,
    pub(crate) theta: f64,
    pub(crate) admit: f64,
    pub(crate) phi: f64,
}

/// Checks what must be so at any moment.
pub(crate) fn of_a_moment(now: &Moment) -> Result<(), Broken> {
    let origins = now.asked.iter().all(|(asked, max)| asked <= max);
    // the text of as many pages again
    let pages = now.pages <= now.pages_max * 2;
    let is_bounded = origins && pages && now.bytes <= now.bytes_max;
    keep(Promise::Limits, is_bounded, || format!("{now:?}"))?;
    let shares = [now.theta, now.admit, now.phi];
    let is_sound = shares.iter().all(|share| (0.0..=1.0).contains(share));
    keep(
        Promise::Order,
        is_sound && now.level <= now.level_max,
        || format!("{now:?}"),
    )
}

/// Whether a page is as full as its declaration lets it be: an origin that is declared with less room than the page
/// has blocks of it refuses the others ("more are refused, not queued"), however well it is.
pub(crate) fn is_full(read: &Read) -> bool {
    let Some(report) = read.report.as_ref() else {
        return false;
    };
    let has_no_room = |name: &str, outcome: &Outcome| {
        let block = read.declared.block(name);
        outcome.cause() == Some(&Cause::Busy) && block.is_some_and(|block| is_short(read, block))
    };
    let mut accounts = report.fragments.iter();
    if accounts.any(|a| is_core(read, &a.name) && has_no_room(&a.name, &a.outcome)) {
        // the error page lacks the others too
        return true;
    }
    let mut accounts = report.fragments.iter();
    report.status == 200
        && report.snapshot.is_none()
        && accounts.all(|a| a.outcome.is_whole() || has_no_room(&a.name, &a.outcome))
}

fn is_core(read: &Read, name: &str) -> bool {
    let block = read.declared.block(name);
    block.is_some_and(|block| block.rank == Rank::Core)
}

/// Whether a page asks an origin for more blocks at once than it has places, or for more optional ones than are left
/// beside those that are reserved. Then it may lack any of them: what is asked for several pages at once goes out a turn
/// later than what is asked for one alone, also where it is the core.
fn is_short(read: &Read, block: &Block) -> bool {
    let is_optional = |block: &Block| matches!(block.rank, Rank::Optional(_));
    let origins = &read.edition.site.origins;
    let Some(spec) = origins.iter().find(|spec| spec.name == block.origin) else {
        return false;
    };
    let asked = read.declared.members(read.asks.page);
    let asked: Vec<_> = asked.filter(|other| other.origin == block.origin).collect();
    let optional = asked.iter().filter(|block| is_optional(block)).count();
    let room = spec.max_in_flight.saturating_sub(spec.reserved);
    let is_tight = asked.len() > spec.max_in_flight;
    match block.rank {
        Rank::Optional(_) => optional > room || is_tight,
        Rank::Core | Rank::Essential => is_tight,
    }
}

/// Checks what must be so when the weather has ended and everybody has left.
pub(crate) fn of_the_end(now: &Moment, copies_max: usize) -> Result<(), Broken> {
    let is_idle = now.pages == 0 && now.flights == 0 && now.asked.iter().all(|(n, _)| *n == 0);
    let is_small = now.copies <= copies_max;
    keep(Promise::Limits, is_idle && is_small, || {
        format!("{copies_max} copies: {now:?}")
    })?;
    let shares = [now.theta, now.admit, now.phi];
    let is_full = now.level == 0 && shares.iter().all(|share| *share >= 1.0);
    keep(Promise::Returns, is_full, || format!("{now:?}"))
}

/// What is counted is what was seen: pages asked for, accounted for, and accounted for twice.
pub(crate) fn counts(
    tally: &TallyState,
    (asked, reported, again): (u64, u64, u64),
) -> Result<(), Broken> {
    let why = || format!("{asked} asked for, {reported} accounted for, {again} twice, {tally:?}");
    let is_whole = tally.pages == asked && reported == asked && again == 0;
    keep(Promise::Counted, is_whole, why)
}
