//! Each check is seen to fail: a page that was right is changed into what a server would show that broke
//! the promise.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use marbre::cache::purge::{Purge, Selector};
use marbre::clock::Clock;
use marbre::degradation::{Level, Mode, Overrides};
use marbre::report::{Blocks, Cause, OmitReason, Outcome, PageReport};
use tokio::time::sleep;

use super::declared::{Declared, PAGES};
use super::events;
use super::newsroom::Newsroom;
use super::promises::{self, Broken, Met, Moment, Promise};
use super::reader::{Answer, Asks, Read, read};
use super::store::{Store, Trouble};
use super::world::{Setting, World};
use crate::in_virtual_time;

/// The wall clock at the beginning.
fn noon() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_768_305_600)
}

/// A page that keeps all promises, and the newsroom it is of.
struct Right {
    read: Read,
    newsroom: Arc<Newsroom>,
    moment: Moment,
}

async fn right() -> Right {
    let newsroom = Newsroom::new();
    let declared = Arc::new(Declared::draw(&mut Rng::with_seed(1)).calm());
    let setting = Setting {
        folder: None,
        store: None,
        pages_max: 10,
        work: Duration::ZERO,
    };
    newsroom.starts(noon());
    let world = World::start(declared, &newsroom, noon(), setting).await;
    sleep(Duration::from_secs(1)).await;
    // the second one has all of it at hand
    read(Arc::clone(&world), Asks::plainly(1, PAGES[0], 1)).await;
    sleep(Duration::from_millis(100)).await;
    let read = read(Arc::clone(&world), Asks::plainly(2, PAGES[0], 1)).await;
    let moment = world.moment();
    world.stop().await;
    Right {
        read,
        newsroom,
        moment,
    }
}

impl Right {
    fn answer(&mut self) -> &mut Answer {
        self.read.answer.as_mut().expect("it was waited for")
    }

    fn report(&mut self) -> &mut PageReport<'static> {
        self.read.report.as_mut().expect("it is accounted for")
    }

    /// Changes what the account says of the first or the last block.
    fn says(&mut self, is_last: bool, outcome: &Outcome) {
        let report = self.report();
        let mut entries: Vec<_> = report.fragments.iter().cloned().collect();
        let place = if is_last { entries.len() - 1 } else { 0 };
        entries[place].outcome = std::borrow::Cow::Owned(outcome.clone());
        report.fragments = entries.into_iter().collect::<Blocks<'_>>();
    }

    fn check(&self) -> Result<(), Broken> {
        promises::of_a_page(&self.read, &self.newsroom, &mut Met::new())
    }

    fn breaks(&self, promise: Promise) {
        let broken = self.check().expect_err("it was to be seen");
        assert_eq!(broken.promise, promise, "{broken}");
    }
}

/// Changes a page that is right, and sees that the check of this promise tells.
fn breaking(promise: Promise, change: impl FnOnce(&mut Right)) {
    in_virtual_time(async {
        let mut right = right().await;
        assert!(right.check().is_ok(), "{:?}", right.check());
        change(&mut right);
        right.breaks(promise);
    });
}

#[test]
fn an_error_page_although_the_article_is_known() {
    breaking(Promise::Core, |page| {
        promises::remember(&page.read, &page.newsroom);
        page.read.began = page.read.ended;
        page.answer().status = 503;
    });
}

#[test]
fn not_found_although_no_origin_has_said_so() {
    breaking(Promise::Core, |page| page.answer().status = 404);
}

#[test]
fn a_page_that_outlives_its_budget() {
    breaking(Promise::Budget, |page| {
        let budget = page.read.declared.budget;
        page.report().duration = budget + Duration::from_millis(2);
    });
}

#[test]
fn half_a_fragment() {
    breaking(Promise::Whole, |page| {
        let half = page.answer().body.len() - 8;
        page.answer().body.truncate(half);
    });
}

#[test]
fn a_fragment_of_another_story() {
    breaking(Promise::Whole, |page| {
        page.answer().body = page.answer().body.replacen("|1|", "|2|", 1);
    });
}

#[test]
fn a_block_that_is_given_up_although_the_level_keeps_it() {
    breaking(Promise::Order, |page| {
        page.says(true, &Outcome::Omitted(OmitReason::Shed(Level::new(1))));
    });
}

#[test]
fn a_level_that_is_not_the_pinned_one() {
    breaking(Promise::OperatorsWord, |page| {
        let overrides = Overrides {
            pin: Some(Level::new(1)),
            ..Overrides::default()
        };
        page.read.mode = Arc::new(Mode {
            overrides: Arc::new(overrides),
            ..Mode::full()
        });
    });
}

#[test]
fn a_block_that_is_shown_although_it_is_off() {
    breaking(Promise::OperatorsWord, |page| {
        let last = page.read.declared.blocks.last().expect("there are blocks");
        let overrides = Overrides {
            off: [last.name.to_owned()].into(),
            ..Overrides::default()
        };
        page.read.mode = Arc::new(Mode {
            overrides: Arc::new(overrides),
            ..Mode::full()
        });
    });
}

#[test]
fn a_piece_that_is_somebody_else_s() {
    breaking(Promise::Personal, |page| {
        page.answer().body = page.answer().body.replacen("|-", "|r7", 1);
    });
}

#[test]
fn a_personal_page_that_others_may_keep() {
    breaking(Promise::Personal, |page| {
        page.read.asks.who = Some("r7".to_owned());
        page.answer().body = page.answer().body.replacen("|-", "|r7", 1);
    });
}

#[test]
fn a_degraded_page_that_others_may_keep() {
    breaking(Promise::NotPassedOff, |page| {
        let shared = http::HeaderValue::from_static("max-age=0, s-maxage=1");
        page.answer().headers.insert("cache-control", shared);
        let failed = OmitReason::Failed(Cause::Timeout);
        page.says(true, &Outcome::Omitted(failed));
    });
}

#[test]
fn a_page_that_others_may_keep_for_longer_than_declared() {
    breaking(Promise::NotPassedOff, |page| {
        let shared = http::HeaderValue::from_static("max-age=0, s-maxage=9999");
        page.answer().headers.insert("cache-control", shared);
    });
}

#[test]
fn unchanged_to_a_reader_who_has_nothing() {
    breaking(Promise::NotPassedOff, |page| page.answer().status = 304);
}

#[test]
fn a_copy_that_was_purged() {
    for hard in [true, false] {
        breaking(Promise::Purged, |page| purges(page, hard, false));
    }
}

/// All copies are purged, and a page begins a second later; where it `is_set_back`, of a server by whose wall
/// clock it is an hour earlier.
fn purges(page: &mut Right, hard: bool, is_set_back: bool) {
    let clock = Clock::start();
    page.newsroom.purges(&Purge {
        selector: Selector::All,
        at: clock.moment(clock.now()),
        hard,
    });
    if is_set_back {
        page.newsroom.starts(noon() - Duration::from_secs(3_600));
    }
    page.read.began += Duration::from_secs(1);
    page.read.ended += Duration::from_secs(1);
}

#[test]
fn a_copy_of_the_future_that_was_thrown_away() {
    breaking(Promise::Purged, |page| purges(page, true, true));
    in_virtual_time(async {
        let mut page = right().await;
        purges(&mut page, false, true);
        // what is of the future is stale as it is
        assert!(page.check().is_ok(), "{:?}", page.check());
    });
}

#[test]
fn a_block_that_is_missing_though_there_is_room_for_it() {
    in_virtual_time(async {
        let mut page = right().await;
        assert!(promises::is_full(&page.read));
        for cause in [Cause::Busy, Cause::Timeout] {
            page.says(true, &Outcome::Omitted(OmitReason::Failed(cause)));
            assert!(!promises::is_full(&page.read), "{:?}", page.read.report);
        }
    });
}

#[test]
fn a_store_that_was_told_of_a_purge_or_had_the_time() {
    in_virtual_time(async {
        let store = Store::new();
        let purge = events::purge(Selector::All, true, marbre::clock::Moment::default());
        let at = Duration::from_secs;
        assert!(!store.was_told(at(1), &purge), "it has taken nothing yet");
        sleep(at(60)).await;
        store.turn(Trouble::Gone);
        assert!(store.was_told(at(1), &purge) && !store.was_told(at(50), &purge));
        sleep(at(60)).await;
        assert!(!store.was_told(at(50), &purge), "it was away");
    });
}

#[test]
fn a_copy_that_is_too_old() {
    breaking(Promise::Age, |page| {
        page.read.ended += Duration::from_secs(3_600);
        page.read.began = page.read.ended;
    });
}

#[test]
fn a_page_of_two_declarations() {
    breaking(Promise::OneGeneration, |page| {
        page.answer().body = page.answer().body.replacen("<u>1:", "<u>2:", 1);
    });
}

#[test]
fn a_page_that_nobody_has_accounted_for() {
    breaking(Promise::Counted, |page| page.read.report = None);
}

#[test]
fn a_level_that_the_page_does_not_tell() {
    breaking(Promise::Counted, |page| {
        let level = http::HeaderValue::from_static("3");
        page.answer().headers.insert("marbre-level", level);
    });
}

#[test]
fn a_server_beyond_its_limits_or_that_does_not_come_to_rest() {
    in_virtual_time(async {
        let moment = right().await.moment;
        assert!(promises::of_a_moment(&moment).is_ok());
        assert!(promises::of_the_end(&moment, 100).is_ok(), "{moment:?}");
        let broken = |moment: &Moment| promises::of_a_moment(moment).unwrap_err().promise;
        let changed = |change: fn(&mut Moment)| {
            let mut moment = moment.clone();
            change(&mut moment);
            moment
        };
        let too_many = changed(|now| now.asked = vec![(9, 8)]);
        assert_eq!(broken(&too_many), Promise::Limits);
        let too_large = changed(|now| now.bytes = now.bytes_max + 1);
        assert_eq!(broken(&too_large), Promise::Limits);
        let too_full = changed(|now| now.pages = now.pages_max * 2 + 1);
        assert_eq!(broken(&too_full), Promise::Limits);
        let too_high = changed(|now| now.level = now.level_max + 1);
        assert_eq!(broken(&too_high), Promise::Order);
        let left = |moment: &Moment| promises::of_the_end(moment, 100).unwrap_err().promise;
        assert_eq!(left(&changed(|now| now.flights = 1)), Promise::Limits);
        assert_eq!(left(&changed(|now| now.pages = 1)), Promise::Limits);
        assert_eq!(left(&changed(|now| now.copies = 101)), Promise::Limits);
        assert_eq!(left(&changed(|now| now.level = 1)), Promise::Returns);
        assert_eq!(left(&changed(|now| now.phi = 0.5)), Promise::Returns);
    });
}

#[test]
fn counts_that_are_not_those_of_what_was_seen() {
    let tally = marbre::telemetry::Tally::new(Clock::start()).state();
    assert!(promises::counts(&tally, (0, 0, 0)).is_ok());
    for counts in [(1, 0, 0), (0, 1, 0), (0, 0, 1)] {
        let broken = promises::counts(&tally, counts).unwrap_err();
        assert_eq!(broken.promise, Promise::Counted);
    }
}
