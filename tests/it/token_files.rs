//! Secrets in files of their own: read without the end of their line, told apart from what cannot be one, and taken
//! anew without a restart. What they hold is told to nobody.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use marbre::config::{self, Diagnostics, Loaded};
use tempfile::TempDir;

use crate::support::newspaper::patiently;
use crate::support::newsroom::Draft;
use crate::support::{Newsroom, Operator, newsroom};

const FIRST: &str = "first-of-the-tokens-0001";
const SECOND: &str = "second-of-the-tokens-002";
const LOOKS: &str = "a-screen-on-the-wall-01";

fn draft(admin: &str) -> Draft {
    newsroom()
        .admin(admin)
        .fragment("front", "\"core\"", "inline:<p>front</p>", "")
        .page("front", "/", "[front]")
}

/// A file beside the declaration that its owner alone can read.
fn secret(folder: &Path, name: &str, content: impl AsRef<[u8]>) {
    let file = folder.join(name);
    // replaced whole, as whoever changes a secret does
    let new = folder.join(format!(".{name}.new"));
    fs::write(&new, content).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(new, file).unwrap();
}

fn load(folder: &TempDir) -> Result<Loaded, Diagnostics> {
    config::load(&folder.path().join("fragments.toml"), &|name| {
        (name == "CREDENTIALS_DIRECTORY").then(|| folder.path().display().to_string())
    })
}

async fn status(site: &Newsroom, token: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    Operator::of(site)
        .ask("GET", "/state", "", &headers)
        .await
        .0
}

#[tokio::test]
async fn a_token_is_taken_from_its_file_and_changed_without_a_restart() {
    let keys = "token_file = \"token\"\nread_token_file = \"read-token\"";
    let draft = draft(keys);
    secret(draft.folder(), "token", format!("{FIRST}\n"));
    secret(draft.folder(), "read-token", format!("{LOOKS}\r\n"));
    let site = draft.start().await;
    for (token, expected) in [(FIRST, 200), (LOOKS, 200), (SECOND, 401)] {
        assert_eq!(status(&site, token).await, expected, "{token}");
    }
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let enter = async |token: &str| {
        let form = client.post(format!("{}/login", site.admin_url()));
        let entered = form.body(format!("token={token}")).send().await.unwrap();
        assert_eq!(entered.status(), 303);
        let cookie = entered.headers()["set-cookie"].to_str().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    };
    let (acts, looks) = (enter(FIRST).await, enter(LOOKS).await);
    let with = async |cookie: &str| {
        let state = client.get(format!("{}/state", site.admin_url()));
        let state = state.header("cookie", cookie).send().await.unwrap();
        state.status().as_u16()
    };
    assert_eq!((with(&acts).await, with(&looks).await), (200, 200));
    // the file is watched: nobody has to say anything
    let mut happens = site.app.journal().follow();
    secret(&site.folder(), "token", format!("{SECOND}\n"));
    patiently(async { while !happens.recv().await.unwrap().says.contains("other tokens") {} })
        .await;
    assert_eq!(status(&site, SECOND).await, 200);
    assert_eq!(status(&site, FIRST).await, 401);
    assert_eq!(with(&acts).await, 401, "its token is gone");
    assert_eq!(with(&looks).await, 200, "its token is the same");
    let bearer = format!("Bearer {SECOND}");
    let headers = [("authorization", bearer.as_str())];
    let operator = Operator::of(&site);
    let (_, journal) = operator
        .ask("GET", "/journal?kinds=reload", "", &headers)
        .await;
    assert!(journal.contains("[admin] has other tokens"), "{journal}");
    for token in [FIRST, SECOND, LOOKS] {
        assert!(!journal.contains(token), "{journal}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_token_any_more_leaves_the_one_before() {
    let draft = draft("token_file = \"token\"");
    secret(draft.folder(), "token", FIRST);
    let mut site = draft.start().await;
    for broken in ["", "short", "two\nlines-of-some-length"] {
        secret(&site.folder(), "token", broken);
        let why = site.app.reload().await.unwrap_err();
        assert!(why.contains("`token_file`"), "{why}");
        assert!(broken.is_empty() || !why.contains(broken), "{why}");
        assert_eq!(status(&site, FIRST).await, 200);
    }
    // nor is the door opened by taking the key away: that takes a restart
    site.rewrite(|text| text.replace("token_file = \"token\"\n", ""));
    let changes = site.app.reload().await.unwrap();
    assert!(changes.join("; ").contains("next start"), "{changes:?}");
    assert_eq!(status(&site, FIRST).await, 200);
    assert_eq!(Operator::of(&site).get("/state").await.0, 401);
}

#[test]
fn what_cannot_be_a_secret_is_told_with_where_and_what() {
    for (content, says) in [
        (None, "there is no such file"),
        (Some(&b""[..]), "it is empty"),
        (Some(b"\n"), "it is empty"),
        (Some(b"0123456789\n"), "fewer than 16 characters"),
        (
            Some(b"0123456789abcdef\n0123456789abcdef\n"),
            "more than one line",
        ),
        (
            Some(b"\xff\xfe0123456789abcdef"),
            "something else than text",
        ),
        (Some(b"0123456789 abcdef\n"), "a header cannot carry"),
    ] {
        let folder = draft("token_file = \"the-token\"").written();
        if let Some(content) = content {
            secret(folder.path(), "the-token", content);
        }
        let told = load(&folder).unwrap_err().to_string();
        for part in [says, "`token_file`", "fragments.toml:", "\"the-token\""] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!told.contains("0123456789"), "{told}");
    }
}

#[test]
fn a_secret_is_said_once() {
    for (keys, both) in [
        (
            "token = \"0123456789abcdef\"\ntoken_file = \"x\"",
            "`token` and `token_file`",
        ),
        (
            "token = \"0123456789abcdef\"\nread_token = \"fedcba9876543210\"\nread_token_file = \"x\"",
            "`read_token` and `read_token_file`",
        ),
    ] {
        let told = load(&draft(keys).written()).unwrap_err().to_string();
        assert!(told.contains(both) && told.contains("leave"), "{told}");
        assert!(!told.contains("0123456789"), "{told}");
    }
}

#[test]
fn every_secret_may_have_a_file_and_the_folder_of_it_may_be_a_variable() {
    let all = draft(
        "token_file = \"${CREDENTIALS_DIRECTORY}/a\"\nread_token_file = \"${CREDENTIALS_DIRECTORY}/b\"",
    )
    .toml(
        "[degradation]\nrehearse_token_file = \"c\"\n\
         [telemetry]\ndebug_secret_file = \"d\"\n\
         [shared]\nvalkey = \"redis://marbre@127.0.0.1:1\"\npassword_file = \"e\"\n\
         [telemetry.traces]\nendpoint = \"http://127.0.0.1:1/\"\nheader_files = { authorization = \"f\" }\n\
         [telemetry.metrics]\nendpoint = \"http://127.0.0.1:1/\"\nheader_files = { x-key = \"g\" }",
    );
    let folder = all.written();
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        secret(
            folder.path(),
            name,
            format!("{name}-secret-of-some/length@\n"),
        );
    }
    let loaded = load(&folder).unwrap_or_else(|why| panic!("{why}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let server = &loaded.server;
    let tokens = &server.admin_tokens;
    assert_eq!(tokens.operate.as_deref(), Some("a-secret-of-some/length@"));
    assert_eq!(tokens.read.as_deref(), Some("b-secret-of-some/length@"));
    let degradation = &loaded.site.degradation;
    let rehearse = degradation.rehearse_token.as_ref().unwrap();
    assert!(rehearse.is(b"c-secret-of-some/length@"));
    assert!(loaded.site.debug.is_some());
    let url = &server.shared.as_ref().unwrap().url;
    assert_eq!(
        url,
        "redis://marbre:e%2Dsecret%2Dof%2Dsome%2Flength%40@127.0.0.1:1"
    );
    let headers = |collector: &marbre::site::CollectorSettings| collector.headers.clone();
    let sent = headers(&server.traces.as_ref().unwrap().collector);
    assert_eq!(
        sent,
        [(
            "authorization".to_owned(),
            "f-secret-of-some/length@".to_owned()
        )]
    );
    let sent = headers(&server.metrics.as_ref().unwrap().collector);
    assert_eq!(
        sent,
        [("x-key".to_owned(), "g-secret-of-some/length@".to_owned())]
    );
    // each of them is looked at again when it changes
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        let file = folder.path().join(name);
        assert!(
            loaded.watched.iter().any(|watched| watched.ends_with(name)),
            "{file:?}"
        );
    }
}

#[test]
fn a_secret_that_is_open_to_everybody_is_warned_of() {
    let folder = draft("token_file = \"open\"").written();
    secret(folder.path(), "open", FIRST);
    let open = folder.path().join("open");
    let modes = [(0o600, false), (0o640, false), (0o644, true), (0o602, true)];
    for (mode, warned) in modes {
        fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
        let warnings = load(&folder).unwrap().warnings.to_string();
        assert_eq!(
            warnings.contains("open to everybody"),
            warned,
            "{mode:o} {warnings}"
        );
        assert!(!warnings.contains(FIRST));
    }
}

#[test]
fn the_stores_password_is_said_once_too() {
    let folder = draft("")
        .toml("[shared]\nvalkey = \"redis://marbre:hidden-one@127.0.0.1:1\"\npassword_file = \"e\"")
        .written();
    secret(folder.path(), "e", "hidden-two");
    let told = load(&folder).unwrap_err().to_string();
    assert!(told.contains("both say the password"), "{told}");
    assert!(
        !told.contains("hidden-one") && !told.contains("hidden-two"),
        "{told}"
    );
}
