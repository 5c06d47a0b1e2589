//! A reader who does not read holds up nothing but their own page.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use marbre::compose::Verdict;

use crate::origin::{FakeOrigin, Fault};
use crate::stage::{Stage, declaration};
use crate::virtual_time;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// An article, a block that hangs and a block that comes after 200 ms.
fn stage() -> Stage {
    let text = declaration(&[("a", "\"core\""), ("b", "50"), ("c", "50")]);
    Stage::build(&text, &["a", "b", "c"], |name| {
        FakeOrigin::always(match name {
            "b" => Fault::Hang,
            "c" => Fault::Slow(ms(200)),
            _ => Fault::None,
        })
    })
}

#[test]
fn slots_settle_and_flights_end_while_nobody_reads() {
    virtual_time(async {
        let (stage, guard) = (stage(), Arc::new(()));
        let page = stage.begin("/p/1", Arc::clone(&guard)).await;
        assert_eq!(page.head.verdict, Verdict::Page);
        assert_eq!(Arc::strong_count(&guard), 2, "two slots are being filled");

        tokio::time::sleep(ms(201)).await;
        assert_eq!((stage.in_flight("b"), stage.in_flight("c")), (1, 0));
        tokio::time::sleep(ms(100)).await;
        assert_eq!(Arc::strong_count(&guard), 1, "the last slot had 300 ms");

        // the flight has the origin's own time, and no more
        tokio::time::sleep(ms(1_700)).await;
        assert_eq!(stage.in_flight("b"), 0);
        assert_eq!(stage.composer.flights_under_way(), 0);

        let Ok(body) = page.body.collect().await;
        assert_eq!(body.to_bytes(), "<a>whole</a><c>whole</c>");
    });
}

#[test]
fn what_is_being_filled_for_a_reader_who_leaves_is_let_go() {
    virtual_time(async {
        let (stage, guard) = (stage(), Arc::new(()));
        let page = stage.begin("/p/1", Arc::clone(&guard)).await;
        drop(page);
        tokio::time::sleep(ms(1)).await;
        assert_eq!(Arc::strong_count(&guard), 1);
        tokio::time::sleep(ms(2_000)).await;
        assert_eq!(stage.composer.flights_under_way(), 0);
    });
}
