//! A stand-in is asked in the time that is left, and only where the level has not given it up.

use std::time::Duration;

use crate::origin::{FakeOrigin, Fault};
use crate::stage::{Stage, declaration};
use crate::virtual_time;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// An article and a block that hangs for its 300 ms, for which `c` stands in; the page has 500 ms,
/// of which 20 are for writing.
fn stage(chain: &str, priority_of_c: &str, freshness_of_c: &str, c: FakeOrigin) -> Stage {
    let text = declaration(&[("a", "\"core\""), ("b", "50"), ("c", priority_of_c)])
        .replace(
            "[fragments.b]",
            &format!("[fragments.b]\nfallback = [{chain}]"),
        )
        .replace("[fragments.c]", &format!("[fragments.c]\n{freshness_of_c}"));
    Stage::build(&text, &["a", "b"], |name| match name {
        "b" => FakeOrigin::always(Fault::Hang),
        "c" => c.clone(),
        _ => FakeOrigin::always(Fault::None),
    })
}

#[test]
fn a_stand_in_is_asked_after_the_first_source_timed_out() {
    virtual_time(async {
        let c = FakeOrigin::always(Fault::Slow(ms(100)));
        let page = stage("\"fragment:c\"", "60", "", c).ask(0).await;
        assert_eq!(page.body, "<a>whole</a><c>whole</c>");
        assert_eq!(page.outcome("b"), "sibling c (timeout)");
        assert_eq!(page.report.duration, ms(400));
    });
}

#[test]
fn a_stand_in_has_what_is_left_of_the_page() {
    virtual_time(async {
        for (chain, body, outcome) in [
            ("\"fragment:c\"", "<a>whole</a>", "failed (timeout)"),
            (
                "\"fragment:c\", \"inline:<i>r</i>\"",
                "<a>whole</a><i>r</i>",
                "inline (timeout)",
            ),
        ] {
            let c = FakeOrigin::always(Fault::Slow(ms(250)));
            let page = stage(chain, "60", "", c).ask(0).await;
            assert_eq!(
                (page.body.as_str(), page.outcome("b").as_str()),
                (body, outcome)
            );
            assert_eq!(page.report.duration, ms(480));
        }
    });
}

#[test]
fn of_a_stand_in_that_is_given_up_only_a_copy_is_used() {
    virtual_time(async {
        let stage = stage(
            "\"fragment:c\"",
            "40",
            "ttl = \"1s\"\nkeep = \"1h\"",
            FakeOrigin::always(Fault::None),
        );
        let c = &stage.origins["c"];
        let page = stage.ask(1).await;
        assert_eq!(page.body, "<a>whole</a>");
        assert_eq!(page.report.duration, ms(300));
        assert!(c.asked().is_empty(), "the level gives it up");

        assert_eq!(stage.ask(0).await.outcome("b"), "sibling c (timeout)");
        assert_eq!(c.asked().len(), 1);
        tokio::time::sleep(Duration::from_secs(60)).await;

        let page = stage.ask(1).await;
        assert_eq!(
            page.body, "<a>whole</a><c>whole</c>",
            "a copy costs nobody anything"
        );
        assert!(c.asked().is_empty(), "the level gives it up");
    });
}

#[test]
fn a_stand_in_with_nothing_to_show_does_not_end_the_chain() {
    virtual_time(async {
        let c = FakeOrigin::always(Fault::Status(204));
        let chain = "\"fragment:c\", \"inline:<i>r</i>\"";
        let page = stage(chain, "60", "", c).ask(0).await;
        assert_eq!(page.body, "<a>whole</a><i>r</i>");
        assert_eq!(page.outcome("b"), "inline (timeout)");
    });
}
