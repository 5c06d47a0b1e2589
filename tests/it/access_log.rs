//! The access log: one record for each request that was answered, whatever it was answered with; none of
//! it can be forged by a request; and no page waits when it cannot be written.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::time::{sleep, timeout};

use crate::support::newsroom::Draft;
use crate::support::program::unpooled;
use crate::support::{Newsroom, Operator, Origin, Program, html, newsroom, origin, raw, status};

/// What has not come by then does not come: a guard against tests that hang, not a measure.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at a file.
const PAUSE: Duration = Duration::from_millis(5);

async fn cms() -> Origin {
    origin()
        .on("/article", html("<p>text</p>"))
        .on("/raw/x", html("passed through"))
        .start()
        .await
}

/// A site with an access log of these keys.
fn site(cms: &Origin, keys: &str) -> Draft {
    newsroom()
        .toml(&format!("[telemetry.access_log]\n{keys}\n"))
        .origin("cms", cms)
        .core("article", "cms:/article")
        .optional("block", 40, "cms:/none")
        .optional("sick", 30, "cms:/sick")
        .page("page", "/", "[article][block][sick]")
        .page("plain", "/plain/{x}", "[article]")
        .file("assets/a.txt", "a file")
        .toml("[[proxy]]\nroute = \"/raw/{*path}\"\norigin = \"cms\"\npath = \"/raw/{*path}\"")
        .toml("[[static]]\nroute = \"/assets\"\ndir = \"templates/assets\"")
        .toml("[status]\npath = \"/status\"")
}

fn file(site: &Newsroom) -> PathBuf {
    site.folder().join("access.log")
}

/// The lines of a file, once there are so many.
async fn lines(file: &Path, count: usize) -> Vec<String> {
    let mut text = String::new();
    let seen = timeout(PATIENCE, async {
        loop {
            text = std::fs::read_to_string(file).unwrap_or_default();
            if text.matches('\n').count() >= count {
                return;
            }
            sleep(PAUSE).await;
        }
    });
    assert!(seen.await.is_ok(), "{count} lines in:\n{text}");
    text.lines().map(str::to_owned).collect()
}

async fn records(file: &Path, count: usize) -> Vec<Value> {
    let lines = lines(file, count).await;
    assert_eq!(lines.len(), count, "{lines:#?}");
    let read = |line: &String| serde_json::from_str(line).expect("a line is JSON");
    lines.iter().map(read).collect()
}

/// A number that is told to Prometheus.
async fn metric(operator: &Operator, name: &str) -> f64 {
    let (_, text) = operator.get("/metrics").await;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}:\n{text}"))
        .parse()
        .unwrap()
}

/// Returns when so many records were lost.
async fn lost(operator: &Operator, count: f64) {
    let seen = timeout(PATIENCE, async {
        while metric(operator, "marbre_access_log_lost_total").await < count {
            sleep(PAUSE).await;
        }
    });
    assert!(seen.await.is_ok(), "{count} records are lost");
}

#[tokio::test]
async fn every_answer_has_its_record() {
    let cms = cms().await;
    cms.on("/sick", status(500));
    let site = site(&cms, "to = \"file:access.log\"").start().await;
    let reader = site.reader();
    let page = reader
        .get_with("/?secret=1", &[("cookie", "sid=s3cret")])
        .await;
    page.is(200, "<p>text</p>");
    for path in [
        "/raw/x",
        "/assets/a.txt",
        "/status",
        "/nothing",
        "/.marbre/x",
    ] {
        reader.get(path).await;
    }
    let head = reader.request("HEAD", "/plain/a");
    reader.send(head).await;
    let records = records(&file(&site), 7).await;
    let told = |record: &Value| {
        let of = |key: &str| record[key].as_str().unwrap().to_owned();
        let status = record["status"].as_u64().unwrap();
        (of("method"), of("path"), of("kind"), status)
    };
    let expected = [
        ("GET", "/", "page", 200),
        ("GET", "/raw/x", "proxy", 200),
        ("GET", "/assets/a.txt", "static", 200),
        ("GET", "/status", "status", 200),
        ("GET", "/nothing", "refused", 404),
        ("GET", "/.marbre/x", "block", 404),
        ("HEAD", "/plain/a", "page", 200),
    ];
    for (record, (method, path, kind, status)) in records.iter().zip(expected) {
        let expected = (method.into(), path.into(), kind.into(), status);
        assert_eq!(told(record), expected, "{record:#}");
        assert!(record["first_byte_ms"].as_f64() <= record["total_ms"].as_f64());
        assert!(
            record["client"].is_null() && record["left"].is_null(),
            "{record:#}"
        );
    }
    assert_eq!(records[1]["bytes"], "passed through".len());
    let first = &records[0];
    assert_eq!(first["bytes"], "<p>text</p>".len());
    assert_eq!(
        (&first["page"], &first["level"]),
        (&"page".into(), &0.into())
    );
    assert_eq!(first["complete"], false);
    assert_eq!(first["missing"], serde_json::json!(["sick"]));
    let blocks = serde_json::json!({ "article": "fetched", "block": "absent", "sick": "failed" });
    assert_eq!(first["blocks"], blocks);
    assert_eq!(first["trace_id"].as_str(), page.header("marbre-trace"));
    let text = std::fs::read_to_string(file(&site)).unwrap();
    assert!(
        !text.contains("s3cret") && !text.contains("secret="),
        "{text}"
    );
}

#[tokio::test]
async fn no_request_can_forge_a_record() {
    let cms = cms().await;
    for format in ["json", "human"] {
        let keys = format!("to = \"file:access.log\"\nformat = \"{format}\"\nquery = true");
        let site = site(&cms, &keys).start().await;
        let reader = site.reader();
        let paths: [&[u8]; 5] = [
            b"/plain/a%0d%0aGET%20/forged%20200",
            b"/plain/\"},{\"path\":\"/forged",
            b"/plain/\xc2\x85\xe2\x80\xa8\xe2\x80\xae",
            b"/plain/a?x=%0a{\"status\":200}",
            b"/plain/\\u000a\\",
        ];
        for path in paths {
            let request = [
                b"GET ",
                path,
                b" HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
            ];
            reader.bytes(request.concat()).await;
        }
        // what the HTTP library refuses by itself has no record; this one comes after all of them
        reader.get("/plain/last").await;
        let last = || async {
            let text = std::fs::read_to_string(file(&site)).unwrap_or_default();
            text.contains("/plain/last").then_some(text)
        };
        let text = timeout(PATIENCE, async {
            loop {
                match last().await {
                    Some(text) => return text,
                    None => sleep(PAUSE).await,
                }
            }
        });
        let text = text.await.expect("the last record comes");
        assert!(text.lines().count() <= paths.len() + 1, "{text}");
        for line in text.lines() {
            let is_plain = line.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
            assert!(is_plain, "{line}");
            match format {
                "json" => {
                    let record: Value = serde_json::from_str(line).expect("a record");
                    assert!(record["path"].as_str().unwrap().starts_with("/plain/"));
                }
                _ => assert_eq!(line.split(' ').nth(1), Some("GET"), "{line}"),
            }
        }
    }
}

#[tokio::test]
async fn a_share_is_recorded_and_what_was_not_well_in_any_case() {
    let cms = cms().await;
    let keys = "to = \"file:access.log\"\nsample = 0.0\nslow = \"10m\"";
    let site = site(&cms, keys).start().await;
    let reader = site.reader();
    for path in ["/plain/a", "/raw/x", "/nothing"] {
        reader.get(path).await;
    }
    cms.on("/sick", status(500));
    assert_eq!(reader.get("/").await.status, 200);
    cms.kill();
    assert_eq!(reader.get("/plain/b").await.status, 503);
    assert_eq!(reader.get("/raw/x").await.status, 502);
    let records = records(&file(&site), 3).await;
    let paths: Vec<_> = records
        .iter()
        .map(|r| r["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["/", "/plain/b", "/raw/x"]);
}

#[tokio::test]
async fn of_who_asks_it_says_as_much_as_is_declared() {
    let cms = cms().await;
    for (client, expected) in [
        ("off", None),
        ("truncated", Some("203.0.113.0")),
        ("full", Some("203.0.113.77")),
    ] {
        let keys = format!("to = \"file:access.log\"\nclient = \"{client}\"");
        let site = site(&cms, &keys)
            .degradation("mode = \"off\"\nreader_header = \"x-forwarded-for\"")
            .start()
            .await;
        let from = [("x-forwarded-for", "203.0.113.77, 10.0.0.1")];
        site.reader().get_with("/plain/a", &from).await;
        let records = records(&file(&site), 1).await;
        assert_eq!(records[0]["client"].as_str(), expected);
    }
}

#[tokio::test]
async fn a_reader_who_leaves_has_a_record_too() {
    let cms = origin()
        .on("/article", html("<p>text</p>"))
        .on("/slow", raw("").then_hang())
        .start()
        .await;
    let site = newsroom()
        .toml("[telemetry.access_log]\nto = \"file:access.log\"")
        .patient_origin("cms", &cms.url())
        .core("article", "cms:/article")
        .fragment("slow", "40", "cms:/slow", "timeout = \"30s\"\nttl = \"0s\"")
        .page_within("page", "/", "[article][slow]", "30s")
        .start()
        .await;
    let mut stream = site.reader().connect().await;
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, request)
        .await
        .unwrap();
    let mut first = [0; 15];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    drop(stream);
    let records = records(&file(&site), 1).await;
    assert_eq!(
        (&records[0]["left"], &records[0]["page"]),
        (&true.into(), &"page".into())
    );
}

#[tokio::test]
async fn pages_are_served_on_a_full_disk_and_what_is_lost_is_counted() {
    let cms = cms().await;
    for to in ["file:/dev/full", "file:nowhere/access.log"] {
        let site = site(&cms, &format!("to = \"{to}\"")).start().await;
        let operator = Operator::of(&site);
        assert_eq!(metric(&operator, "marbre_access_log_lost_total").await, 0.0);
        for _ in 0..20 {
            site.reader().get("/plain/a").await.is(200, "<p>text</p>");
        }
        lost(&operator, 20.0).await;
    }
}

/// A server whose standard output is a pipe, and the other end of it.
async fn piped(cms: &Origin) -> (tempfile::TempDir, std::fs::File, Program) {
    let folder = site(cms, "to = \"stdout\"").written();
    let pipe = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let opening = pipe.clone();
    let other_end = tokio::task::spawn_blocking(move || std::fs::File::open(opening));
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_marbre");
    command
        .args(["-c", "exec \"$0\" serve > pipe", program])
        .current_dir(folder.path());
    let program = Program::start_as(command, &unpooled()).await;
    let other_end = other_end.await.unwrap().unwrap();
    (folder, other_end, program)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_who_reads_standard_output_costs_records_and_no_page() {
    let cms = cms().await;
    let (_folder, mut other_end, program) = piped(&cms).await;
    assert_eq!(program.get("/plain/first").await.0, 200);
    let read = tokio::task::spawn_blocking(move || {
        let mut line = Vec::new();
        let mut byte = [0];
        while byte != *b"\n" {
            std::io::Read::read_exact(&mut other_end, &mut byte).unwrap();
            line.extend(byte);
        }
        // and closes it
        line
    });
    let line: Value = serde_json::from_slice(&read.await.unwrap()).unwrap();
    assert_eq!(line["path"], "/plain/first");
    for _ in 0..10 {
        assert_eq!(
            program.get("/plain/a").await,
            (200, "<p>text</p>".to_owned())
        );
    }
    lost(&Operator::of_program(&program), 10.0).await;
    program
        .says("the access log cannot be written to standard output")
        .await;
    let log = program.stop().await;
    let said = log.matches("the access log cannot be written").count();
    assert_eq!(said, 1, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_standard_output_who_reads_nothing_holds_up_nobody() {
    let cms = cms().await;
    let (_folder, other_end, program) = piped(&cms).await;
    // a pipe holds 64 KiB: some three hundred records
    for n in 0..400 {
        let (status, _) = program.get(&format!("/plain/{n}")).await;
        assert_eq!(status, 200);
    }
    program.stop().await;
    drop(other_end);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_moved_away_is_opened_anew_on_a_hangup() {
    let cms = cms().await;
    let folder = site(&cms, "to = \"file:access.log\"").written();
    let (file, old) = (folder.path().join("access.log"), folder.path().join("old"));
    let program = Program::start(folder.path(), &unpooled()).await;
    program.get("/plain/before").await;
    assert_eq!(records(&file, 1).await[0]["path"], "/plain/before");
    std::fs::rename(&file, &old).unwrap();
    program.hang_up();
    // the file is there again before anything is to be written
    lines(&file, 0).await;
    let made = timeout(PATIENCE, async {
        while !file.exists() {
            sleep(PAUSE).await;
        }
    });
    assert!(made.await.is_ok(), "{}", program.log());
    program.get("/plain/after").await;
    assert_eq!(records(&file, 1).await[0]["path"], "/plain/after");
    assert_eq!(records(&old, 1).await[0]["path"], "/plain/before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_records_are_written_before_a_server_stops() {
    let cms = cms().await;
    let folder = site(&cms, "to = \"file:access.log\"").written();
    let program = Program::start(folder.path(), &unpooled()).await;
    for n in 0..50 {
        program.get(&format!("/plain/{n}")).await;
    }
    program.stop().await;
    let text = std::fs::read_to_string(folder.path().join("access.log")).unwrap();
    assert_eq!(text.lines().count(), 50);
}
