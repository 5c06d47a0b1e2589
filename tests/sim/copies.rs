//! What is kept and what is not, and which of two answers counts. Virtual time makes sure that pages
//! are asked for in the same moment, and that answers land in the order that is told. Where there is a disk,
//! which has a thread of its own, only the wall clock is made up.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;
use http::header::{CACHE_CONTROL, LOCATION, SET_COOKIE};
use marbre::cache::disk::{self, Disk};
use marbre::cache::{Cache, Content, Entry, Purge, Selector};
use marbre::clock::{Clock, Moment};
use marbre::compose::Verdict;
use marbre::fragment::{Freshness, Reach, SourceRequest};
use marbre::plan::Action;

use crate::origin::{FakeOrigin, Fault};
use crate::stage::{Stage, declaration};
use crate::virtual_time;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A page of one core.
fn core(freshness: &str, origin: FakeOrigin) -> Stage {
    let text = declaration(&[("a", "\"core\"")])
        .replace("[fragments.a]", &format!("[fragments.a]\n{freshness}"));
    Stage::build(&text, &["a"], |_| origin.clone())
}

/// A page of a core and a block.
fn block(freshness: &str, origin: FakeOrigin) -> Stage {
    let text = declaration(&[("a", "\"core\""), ("b", "50")])
        .replace("[fragments.b]", &format!("[fragments.b]\n{freshness}"));
    Stage::build(&text, &["a", "b"], |name| match name {
        "b" => origin.clone(),
        _ => FakeOrigin::always(Fault::None),
    })
}

const DAY: &str = "ttl = \"1h\"\nkeep = \"24h\"";

#[test]
fn a_late_flight_does_not_bring_a_withdrawn_story_back() {
    virtual_time(async {
        let stage = core(
            DAY,
            FakeOrigin::in_turn([Fault::Slow(ms(1_000)), Fault::Status(410), Fault::Refused]),
        );
        assert_eq!(stage.ask(0).await.verdict, Verdict::Unavailable);
        tokio::time::sleep(ms(100)).await;
        assert_eq!(
            stage.ask(0).await.verdict,
            Verdict::Refused(StatusCode::GONE)
        );
        tokio::time::sleep(ms(1_000)).await;
        assert_eq!(
            stage.composer.flights_under_way(),
            0,
            "the first has landed"
        );
        let next = stage.ask(0).await;
        assert_eq!(
            (next.verdict, next.body.as_str()),
            (Verdict::Unavailable, "")
        );
    });
}

#[test]
fn a_late_absence_does_not_take_a_newer_copy_away() {
    virtual_time(async {
        let stage = block(
            DAY,
            FakeOrigin::in_turn([Fault::Late(ms(1_000), 404), Fault::None, Fault::Refused]),
        );
        assert_eq!(stage.ask(0).await.outcome("b"), "failed (timeout)");
        tokio::time::sleep(ms(100)).await;
        assert_eq!(stage.ask(0).await.outcome("b"), "fetched");
        tokio::time::sleep(ms(1_000)).await;
        assert_eq!(
            stage.composer.flights_under_way(),
            0,
            "the first has landed"
        );
        assert_eq!(stage.ask(0).await.outcome("b"), "cached");
    });
}

#[test]
fn nothing_to_show_takes_the_place_of_a_copy_also_where_it_may_not_be_kept() {
    virtual_time(async {
        for control in ["no-store", "private"] {
            let says = [(CACHE_CONTROL, control)];
            let origin = FakeOrigin::in_turn([Fault::Status(404), Fault::Refused]);
            let stage = block("keep = \"24h\"", origin.saying(&says));
            let plan = stage.plan("/p/1", 0);
            let Action::Serve(serve) = &plan.steps[1].action else {
                panic!("nothing is given up at level 0");
            };
            let clock = stage.composer.clock();
            let now = clock.moment(clock.now());
            let parts = marbre::layout::parts::Parts::split("<b>old</b>".into());
            let copy = Entry::new("b", Content::Html(parts), now);
            let fragment = &stage.edition.site.fragments[1];
            let (declared, request) = (&fragment.freshness, serve.request(fragment));
            let request = Arc::clone(request);
            stage
                .composer
                .cache()
                .store(request, copy, declared, Reach::default(), now);
            tokio::time::sleep(ms(10)).await;
            assert_eq!(stage.ask(0).await.outcome("b"), "absent");
            let next = stage.ask(0).await;
            assert_eq!(next.body, "<a>whole</a>", "{control}");
        }
    });
}

#[test]
fn a_personal_redirect_goes_to_no_other_reader() {
    virtual_time(async {
        for (header, value, asked) in [
            (SET_COOKIE, "session=1", 3),
            (CACHE_CONTROL, "private", 3),
            (CACHE_CONTROL, "no-store", 3),
            (CACHE_CONTROL, "max-age=60", 1),
        ] {
            let says = [(LOCATION, "/login"), (header, value)];
            let stage = core(DAY, FakeOrigin::always(Fault::Status(302)).saying(&says));
            let (a, b, c) = tokio::join!(stage.ask(0), stage.ask(0), stage.ask(0));
            for page in [a, b, c] {
                assert_eq!(page.verdict.status(), StatusCode::FOUND);
            }
            assert_eq!(stage.origins["a"].asked().len(), asked, "{value}");
        }
    });
}

#[test]
fn no_store_counts_where_no_ttl_is_declared() {
    virtual_time(async {
        for (ttl, asked, then) in [
            ("", 3, Verdict::Unavailable),
            ("ttl = \"1s\"\n", 1, Verdict::Page),
        ] {
            let freshness = format!("{ttl}grace = \"1h\"\nkeep = \"1h\"");
            let faults: &[Fault] = if asked == 3 {
                &[Fault::None, Fault::None, Fault::None, Fault::Refused]
            } else {
                &[Fault::None, Fault::Refused]
            };
            let origin = FakeOrigin::in_turn(faults).saying(&[(CACHE_CONTROL, "no-store")]);
            let stage = core(&freshness, origin);
            let (a, b, c) = tokio::join!(stage.ask(0), stage.ask(0), stage.ask(0));
            for page in [a, b, c] {
                assert_eq!(page.body, "<a>whole</a>");
            }
            assert_eq!(
                stage.origins["a"].asked().len(),
                asked,
                "shared or not: {ttl}"
            );
            tokio::time::sleep(ms(2_000)).await;
            assert_eq!(stage.ask(0).await.verdict, then, "kept or not: {ttl}");
        }
    });
}

#[test]
fn a_copy_has_bytes_of_its_own() {
    virtual_time(async {
        let stage = core(DAY, FakeOrigin::always(Fault::Lasting));
        assert_eq!(stage.ask(0).await.body, "<a>whole</a>");
        let plan = stage.plan("/p/1", 0);
        let Action::Serve(serve) = &plan.steps[0].action else {
            panic!("a core is never given up");
        };
        let fragment = &stage.edition.site.fragments[0];
        let (declared, request) = (&fragment.freshness, serve.request(fragment));
        let clock = stage.composer.clock();
        let now = clock.moment(clock.now());
        let copy = stage.composer.cache().lookup(request, declared, now);
        let copy = copy.expect("it was asked for just now");
        let Content::Html(parts) = &copy.entry.content else {
            panic!("there is something to show");
        };
        // what is lent out of the origin's memory never is
        assert!(parts.main.is_unique());
    });
}

#[test]
fn nothing_to_show_is_what_the_priority_says() {
    virtual_time(async {
        for status in [204, 404] {
            let site = |priority: &str| {
                let text = declaration(&[("a", "\"core\""), ("b", priority)]);
                Stage::build(&text, &["a", "b"], |name| {
                    FakeOrigin::always(match name {
                        "b" => Fault::Status(status),
                        _ => Fault::None,
                    })
                })
            };
            let page = site("50").ask(0).await;
            assert_eq!(page.body, "<a>whole</a>");
            assert_eq!(page.outcome("b"), "absent");
            assert!(page.report.is_complete());

            let page = site("\"essential\"").ask(0).await;
            assert_eq!(page.body, "<a>whole</a>");
            let cause = if status == 204 { "empty" } else { "status 404" };
            assert_eq!(page.outcome("b"), format!("failed ({cause})"));

            let page = site("\"core\"").ask(0).await;
            let verdict = if status == 204 {
                Verdict::Unavailable
            } else {
                Verdict::Refused(StatusCode::NOT_FOUND)
            };
            assert_eq!((page.verdict, page.body.as_str()), (verdict, ""));
        }
    });
}

/// The copies of a server that starts at this time of its wall clock, and what that shows.
fn started(folder: &std::path::Path, wall: SystemTime) -> (Cache, Moment) {
    let clock = Clock::start_at(wall);
    let settings = disk::Settings {
        folder: folder.to_owned(),
        bytes_max: 1 << 20,
    };
    let now = clock.moment(clock.now());
    let disk = Arc::new(Disk::open(settings, clock));
    let cache = Cache::new(1 << 20).timed_by(clock);
    (cache.with_disk(disk, now), now)
}

const HOUR: Duration = Duration::from_secs(3_600);

const ON_DISK: Reach = Reach {
    disk: true,
    shared: false,
    pinned: false,
};

/// A copy of a block, of that moment.
fn put(cache: &Cache, request: &Arc<SourceRequest>, at: Moment) {
    let declared = Freshness {
        keep: Some(24 * HOUR),
        ..Freshness::NONE
    };
    let parts = marbre::layout::parts::Parts::split("<b>old</b>".into());
    let copy = Entry::new("b", Content::Html(parts), at);
    cache.store(Arc::clone(request), copy, &declared, ON_DISK, at);
}

/// All copies of a block are thrown away.
fn purge_of(fragment: &str, at: Moment) -> Purge {
    Purge {
        selector: Selector::Fragment(fragment.to_owned()),
        at,
        hard: true,
    }
}

#[tokio::test]
async fn what_was_thrown_away_does_not_come_back_when_the_clock_is_set_back() {
    let request = |target: &str| {
        Arc::new(SourceRequest {
            fingerprint: 1,
            target: target.to_owned(),
            headers: vec![],
            params: vec![],
        })
    };
    let (before, after) = (request("/before"), request("/after"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let noon = UNIX_EPOCH + Duration::from_secs(1_768_305_600);
    {
        let (cache, now) = started(folder.path(), noon);
        put(&cache, &before, now);
        cache.purge(&[purge_of("b", now.after(ms(1)))]);
        put(&cache, &after, now.after(ms(2)));
        assert!(cache.disk().expect("it has one").flush().await);
    }
    // the second start reads what the first has written of it
    for _ in 0..2 {
        let (cache, now) = started(folder.path(), noon - HOUR);
        for (request, is_there) in [(&before, false), (&after, true)] {
            let recalled = cache.recall(request, ON_DISK, ms(10_000)).await;
            assert_eq!(recalled.on_disk, Some(true), "{}", request.target);
            let found = cache.peek(request).is_some();
            assert_eq!(found, is_there, "{}", request.target);
        }
        // another purge has the record written anew
        cache.purge(&[purge_of("another", now)]);
        assert!(cache.disk().expect("it has one").flush().await);
    }
}

#[tokio::test]
async fn what_was_thrown_away_does_not_come_back_from_a_folder_that_was_another_processs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let noon = UNIX_EPOCH + Duration::from_secs(1_768_305_600);
    let request = |target: &str| {
        Arc::new(SourceRequest {
            fingerprint: 1,
            target: target.to_owned(),
            headers: vec![],
            params: vec![],
        })
    };
    let (before, after) = (request("/before"), request("/after"));
    let (last, now) = started(folder.path(), noon);
    put(&last, &before, now);
    last.purge(&[purge_of("b", now)]);
    put(&last, &after, now.after(ms(2)));
    assert!(last.disk().expect("it has one").flush().await);
    let (next, now) = started(folder.path(), noon + ms(10));
    let disk = next.disk().expect("it has one");
    assert!(!disk.is_open(), "the last process holds the folder");
    next.purge(&[purge_of("another", now)]);
    drop(last);
    // which tries to open it
    disk.flush().await;
    assert!(disk.is_open());
    for (request, is_there) in [(&before, false), (&after, true)] {
        let recalled = next.recall(request, ON_DISK, ms(10_000)).await;
        assert_eq!(recalled.on_disk, Some(true), "{}", request.target);
        let found = next.peek(request).is_some();
        assert_eq!(found, is_there, "{}", request.target);
    }
    // what it has purged meanwhile does not take the record's place
    next.tend(now).await;
    drop(next);
    let (third, _) = started(folder.path(), noon + ms(20));
    third.recall(&before, ON_DISK, ms(10_000)).await;
    assert!(third.peek(&before).is_none());
}
