//! Experiments that say less than they seem to: their fault has hit nothing, or was over before they were.

use serde_json::{Value, json};

use crate::chaos::{cms, draft, program, state};
use crate::support::{Newsroom, Origin};

/// A page with a copy that is fresh for an hour, beside one that is asked for each time.
async fn site(cms: &Origin) -> Newsroom {
    let kept = "[fragments.kept]\npriority = 50\nsource = \"cms:/block\"\nttl = \"1h\"\ntimeout = \"20s\"\n";
    let draft = draft(cms, kept);
    let draft = draft.page_within("kept", "/kept/{path}", "[article][kept]", "25s");
    draft.start().await
}

/// An experiment with this fault, on this page.
fn experiment(path: &str, set: &str) -> String {
    format!(
        "title = \"It fails\"\nowner = \"desk\"\n[traffic]\npaths = [\"{path}\"]\npages = 4\n\
         [[steady]]\nshare = 0.5\ncomplete = \"all\"\n\
         [[steps]]\nfault = \"it-fails\"\nset = {{ {set} }}\nfor = \"5m\"\n\
         [[steps]]\nread = 8\n[[steps]]\nend = \"it-fails\"\n"
    )
}

/// What is printed of it, what is reported, and the exit code.
async fn carry_out(site: &Newsroom, text: &str) -> (Value, String, String, i32) {
    let folder = tempfile::tempdir().unwrap();
    let (file, report) = (folder.path().join("e.toml"), folder.path().join("e.md"));
    std::fs::write(&file, text).unwrap();
    let (file, report) = (file.to_str().unwrap(), report.to_str().unwrap());
    let (url, admin) = (site.url(), site.admin_url());
    let all = ["run", file, "--site", &url, "--admin", &admin];
    let (told, why, _) = program(&[&all[..], &["--json"]].concat()).await;
    let told = serde_json::from_str(&told).unwrap_or_else(|_| panic!("{told}{why}"));
    let (said, _, code) = program(&[&all[..], &["--report", report]].concat()).await;
    (told, said, std::fs::read_to_string(report).unwrap(), code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_that_hits_nothing_has_shown_nothing() {
    let cms = cms().await;
    let site = site(&cms).await;
    for (what, path, set) in [
        (
            "fresh copies",
            "/kept/a",
            "fragment = \"kept\", harm = \"error\"",
        ),
        (
            "a share that is none",
            "/a",
            "fragment = \"block\", harm = \"error\", share = 0.0001",
        ),
        (
            "as many pages as may, and fresh copies",
            "/kept/a",
            "fragment = \"kept\", harm = \"error\", pages_max = 3",
        ),
    ] {
        let (told, said, report, code) = carry_out(&site, &experiment(path, set)).await;
        assert_eq!(told["verdict"], "untried", "{what}: {told:#}");
        assert_eq!(told["faults"][0]["requests"], 0, "{what}: {told:#}");
        assert_eq!(code, 3, "{what}: {said}");
        for text in [&said, &report] {
            assert!(text.contains("Nothing was tried"), "{what}: {text}");
            let hit = text.contains("The fault it-fails has hit no request");
            assert!(hit, "{what}: {text}");
        }
    }
    assert_eq!(state(&site).await["faults"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_that_was_over_before_its_time_is_told_of() {
    let cms = cms().await;
    let site = site(&cms).await;
    let set = "fragment = \"block\", harm = \"error\", pages_max = 3";
    let (told, said, report, code) = carry_out(&site, &experiment("/a", set)).await;
    assert_eq!((&told["verdict"], code), (&json!("holds"), 0), "{told:#}");
    let fault = &told["faults"][0];
    assert_eq!(
        (&fault["how"], &fault["pages"]),
        (&json!("full"), &json!(3))
    );
    for text in [&said, &report] {
        let line = "The fault it-fails was over before its time: 3 pages have had it, and `pages_max` \
                    lets no more.";
        assert!(text.contains(line), "{text}");
    }
}
