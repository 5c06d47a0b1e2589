//! Lists in virtual time: which item is in time to the millisecond, and when the list is handed over.

use std::time::Duration;

use http::HeaderName;
use marbre::cache::{Purge, Selector};

use crate::origin::{FakeOrigin, Fault};
use crate::stage::{Stage, declaration};
use crate::virtual_time;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A core, and a list of ten whose items go wrong in turn. The list has 300 ms in all, of which a
/// twentieth is kept for handing it over.
fn ten(more: &str, page: &str, faults: impl Into<Vec<Fault>>, says: &'static str) -> Stage {
    let text = declaration(&[("a", "\"core\""), ("l", "50"), ("t", "50")])
        .replace(
            "[fragments.l]",
            &format!("[fragments.l]\nitem = \"t\"\n{more}"),
        )
        .replace("\"t:/t\"", "\"t:/t/{item}\"\nttl = \"60s\"\nkeep = \"1h\"")
        .replace("budget = \"500ms\"", page);
    let faults = faults.into();
    Stage::build(&text, &["a", "l"], move |name| match name {
        "l" => FakeOrigin::always(Fault::None).json("[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"),
        "t" => FakeOrigin::in_turn(faults.clone())
            .saying(&[(HeaderName::from_static("surrogate-key"), says)]),
        _ => FakeOrigin::always(Fault::None),
    })
}

/// One that goes wrong so, after nine that do not.
fn the_tenth(fault: Fault) -> Vec<Fault> {
    let mut faults = vec![Fault::None; 9];
    faults.push(fault);
    faults
}

fn body(items: usize) -> String {
    format!("<a>whole</a>{}", "<t>whole</t>".repeat(items))
}

const BUDGET: &str = "budget = \"500ms\"";

#[test]
fn nine_of_ten_are_handed_over_just_before_the_deadline() {
    for (fault, items, outcome, after) in [
        (Fault::Slow(ms(284)), 10, "fetched", 284),
        (Fault::Slow(ms(286)), 9, "partial (1 of 10 missing)", 285),
        (Fault::Hang, 9, "partial (1 of 10 missing)", 285),
        (Fault::Drip, 9, "partial (1 of 10 missing)", 285),
        (Fault::Cut(1), 9, "partial (1 of 10 missing)", 0),
        (Fault::Panic, 9, "partial (1 of 10 missing)", 0),
    ] {
        virtual_time(async {
            let page = ten("", BUDGET, the_tenth(fault), "").ask(0).await;
            assert_eq!(page.body, body(items), "{fault:?}");
            assert_eq!(page.outcome("l"), outcome, "{fault:?}");
            assert_eq!(page.report.duration, ms(after), "{fault:?}");
            assert_eq!(page.report.is_complete(), items == 10, "{fault:?}");
        });
    }
}

#[test]
fn a_page_with_less_time_gets_what_there_is_by_then() {
    virtual_time(async {
        let page = "budget = \"200ms\"";
        let page = ten("", page, the_tenth(Fault::Hang), "").ask(0).await;
        assert_eq!(page.body, body(9));
        // a twentieth of the page's 200 ms is its own margin, one of the list's 300 ms the list's
        assert_eq!(page.report.duration, ms(200 - 10 - 15));
    });
}

#[test]
fn a_late_item_is_in_the_next_list_and_a_complete_list_asks_nobody() {
    virtual_time(async {
        let faults = the_tenth(Fault::Slow(ms(400)));
        let stage = ten("ttl = \"60s\"", BUDGET, faults, "");
        assert_eq!(stage.ask(0).await.body, body(9));
        tokio::time::sleep(ms(200)).await;
        assert_eq!(stage.origins["t"].asked().len(), 10);
        assert_eq!(stage.ask(0).await.body, body(9), "not asked again at once");
        assert_eq!(stage.origins["l"].asked().len(), 1);
        tokio::time::sleep(ms(1_000)).await;
        let page = stage.ask(0).await;
        assert_eq!((page.body, page.report.duration), (body(10), ms(0)));
        assert_eq!(stage.ask(0).await.outcome("l"), "cached");
        assert_eq!(stage.origins["l"].asked().len(), 1);
        assert_eq!(
            stage.origins["t"].asked().len(),
            0,
            "their copies are fresh"
        );
    });
}

#[test]
fn a_list_of_stale_items_is_whole_but_not_fresh() {
    virtual_time(async {
        let mut faults = vec![Fault::None; 10];
        faults.push(Fault::Refused);
        let stage = ten("ttl = \"60s\"", BUDGET, faults, "");
        assert_eq!(stage.ask(0).await.outcome("l"), "fetched");
        assert_eq!(stage.ask(0).await.outcome("l"), "cached");
        tokio::time::sleep(ms(61_000)).await;
        for asked in 2..4 {
            let page = stage.ask(0).await;
            assert_eq!((page.body, page.report.is_complete()), (body(10), true));
            let items = stage.origins["t"].asked().len();
            assert!(
                items >= 10,
                "{asked}: the next page asks again, not {items}"
            );
            // for so long nobody asks again after a failure
            tokio::time::sleep(ms(200)).await;
        }
        assert_eq!(stage.origins["l"].asked().len(), 3);
    });
}

#[test]
fn a_list_goes_with_the_tags_of_its_items() {
    virtual_time(async {
        let stage = ten("ttl = \"60s\"", BUDGET, [Fault::None], "story-1");
        assert_eq!(stage.ask(0).await.outcome("l"), "fetched");
        tokio::time::sleep(ms(1)).await;
        let clock = stage.composer.clock();
        for selector in [
            Selector::Tag("story-1".to_owned()),
            Selector::Fragment("t".to_owned()),
            Selector::Key {
                fragment: "t".to_owned(),
                target: "/t/7".to_owned(),
            },
        ] {
            assert_eq!(stage.ask(0).await.outcome("l"), "cached", "{selector}");
            let purge = Purge {
                selector: selector.clone(),
                at: clock.moment(clock.now()),
                hard: false,
            };
            assert!(
                stage.composer.cache().purge(std::slice::from_ref(&purge)) > 0,
                "{selector}"
            );
            tokio::time::sleep(ms(1)).await;
            assert_eq!(stage.ask(0).await.outcome("l"), "fetched", "{selector}");
            tokio::time::sleep(ms(1)).await;
        }
    });
}
