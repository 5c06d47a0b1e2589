//! An experiment that is broken off, at whichever moment and however, leaves no fault behind of which
//! nobody is told.

use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, copy, copy_bidirectional, sink};
use tokio::net::{TcpListener, TcpStream};

use crate::chaos::{DECLARED, EXPERIMENT, cms, draft, is_set, state};
use crate::support::origin::spawn;
use crate::support::{Newsroom, Operator};

/// An experiment that is carried out in a process of its own.
struct Carried {
    child: Child,
    _folder: TempDir,
}

impl Carried {
    fn out(before: &[&str], text: &str, site: &Newsroom, admin: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("e.toml");
        std::fs::write(&file, text).unwrap();
        let program = env!("CARGO_BIN_EXE_marbre");
        let all = [before, &[program, "chaos", "run", "--json"]].concat();
        let mut command = Command::new(all[0]);
        command.args(&all[1..]).arg(&file);
        command.args(["--site", &site.url(), "--admin", admin]);
        command.env_remove("RUST_LOG").stdout(Stdio::piped());
        Self {
            child: command.spawn().expect("the program was built"),
            _folder: folder,
        }
    }

    fn is_sent(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &pid])
            .status();
        assert!(sent.unwrap().success());
    }

    /// What it tells when it has ended.
    async fn told(self) -> Value {
        let ending = tokio::task::spawn_blocking(move || self.child.wait_with_output());
        let output = ending.await.unwrap().unwrap();
        let told = serde_json::from_slice(&output.stdout);
        told.unwrap_or_else(|_| panic!("{output:?}"))
    }
}

async fn has_a_fault(site: &Newsroom) {
    let is_there = |state: &Value| state["chaos"]["faults"] != json!([]);
    site.state_when("fault", is_there).await;
}

fn patient() -> String {
    EXPERIMENT.replace("read = 7", "wait = \"1h\"")
}

/// What becomes of the answer to a `PUT`.
#[derive(Clone, Copy, PartialEq)]
enum Answer {
    KeptBack,
    CutOff,
}

/// The way to a server on which answers to a `PUT` are lost.
async fn lossy(admin: String, answer: Answer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = admin.trim_start_matches("http://").to_owned();
    spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect(&server).await.unwrap();
            spawn(async move {
                let mut first = [0; 3];
                while matches!(client.peek(&mut first).await, Ok(1 | 2)) {}
                if first != *b"PUT" {
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                    return;
                }
                let (mut from, _to) = client.split();
                let (mut answered, mut asked) = server.split();
                let (mut nowhere, mut one) = (sink(), [0]);
                match answer {
                    Answer::KeptBack => {
                        let asking = copy(&mut from, &mut asked);
                        let _ = tokio::join!(asking, copy(&mut answered, &mut nowhere));
                    }
                    Answer::CutOff => tokio::select! {
                        _ = copy(&mut from, &mut asked) => {}
                        _ = answered.read(&mut one) => {}
                    },
                }
            });
        }
    });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_whose_setting_was_not_answered_is_rolled_back() {
    let cms = cms().await;
    let site = draft(&cms, DECLARED).start().await;
    for answer in [Answer::CutOff, Answer::KeptBack] {
        let admin = lossy(site.admin_url(), answer).await;
        let carried = Carried::out(&[], &patient(), &site, &admin);
        if answer == Answer::KeptBack {
            has_a_fault(&site).await;
            carried.is_sent("INT");
        }
        let told = carried.told().await;
        assert_eq!(told["verdict"], "aborted", "{told:#}");
        assert_eq!(told["left_behind"], json!([]), "{told:#}");
        assert_eq!(state(&site).await["faults"], json!([]));
        assert_eq!(state(&site).await["past"][0]["how"], "ended");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_rolled_back_by_whichever_signal_it_is_ended() {
    let cms = cms().await;
    let site = draft(&cms, DECLARED).start().await;
    for signal in ["INT", "TERM", "HUP"] {
        let carried = Carried::out(&[], &patient(), &site, &site.admin_url());
        has_a_fault(&site).await;
        carried.is_sent(signal);
        let told = carried.told().await;
        assert_eq!(told["verdict"], "aborted", "{signal}: {told:#}");
        assert_eq!(state(&site).await["faults"], json!([]), "{signal}");
    }
    // who says beforehand that nobody stays has said that it is to go on
    let gone = EXPERIMENT.replace("read = 7", "run = [\"sh\", \"-c\", \"kill -HUP $PPID\"]");
    let gone = gone + "[[steps]]\nfault = \"block-fails\"\n[[steps]]\nread = 7\n";
    let carried = Carried::out(&["nohup"], &gone, &site, &site.admin_url());
    let told = carried.told().await;
    assert_eq!(told["aborted"], json!(null), "{told:#}");
    assert_eq!(state(&site).await["faults"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_of_somebody_else_is_not_ended_where_ones_own_was_refused() {
    let cms = cms().await;
    let site = draft(&cms, "").start().await;
    let theirs = json!({"origin": "cms", "harm": "latency", "latency": "1ms"});
    is_set(&Operator::of(&site), "block-fails", theirs).await;
    // nobody declares it, and the experiment does not say what it is
    let carried = Carried::out(&[], EXPERIMENT, &site, &site.admin_url());
    let told = carried.told().await;
    assert_eq!(told["verdict"], "aborted", "{told:#}");
    assert_eq!(state(&site).await["faults"][0]["name"], "block-fails");
}
