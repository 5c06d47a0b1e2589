//! Every page ends in one account, and a page that was handed over whole is never told as one that
//! its reader left half-way.

use crate::support::{html, newsroom, origin};

#[tokio::test]
async fn a_page_that_ends_with_an_empty_block_was_read_to_its_end() {
    for layout in [
        "[article][block]",
        "[article][block][block]",
        "[block][article]<i>end</i>",
    ] {
        for coding in ["identity", "gzip"] {
            let cms = origin().on("/article", html("<p>text</p>")).start().await;
            let site = newsroom()
                .origin("cms", &cms)
                .fragment("article", "\"core\"", "cms:/article", "ttl = \"1h\"")
                .optional("block", 40, "cms:/block")
                .page("page", "/", layout)
                .level(1)
                .start()
                .await;
            let reader = site.reader();
            // the second page is whole before its head leaves, so its length is announced
            for _ in 0..2 {
                let asked = reader.request("GET", "/").header("accept-encoding", coding);
                assert_eq!(reader.send(asked).await.status, 200);
            }
            let tally = site.state().await["tally"].clone();
            let told = (&tally["pages"], &tally["left"]);
            assert_eq!(told, (&2.into(), &0.into()), "{layout} {coding}");
        }
    }
}
