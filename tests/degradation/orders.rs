//! What the processes of the rig tell each other: a line of JSON each, down standard input and up
//! standard output. Owns the pipes. A process whose input ends has nothing more to do and ends, so
//! none outlives the one that has started it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// What a process says has been said by then, or never is.
const PATIENCE: Duration = Duration::from_secs(30);

/// Orders that may wait to be carried out.
const WAITING_MAX: usize = 64;

/// The lines that come in.
pub(crate) struct Orders(mpsc::Receiver<String>);

impl Orders {
    /// From standard input.
    pub(crate) fn listen() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        std::thread::spawn(move || {
            for line in std::io::stdin().lines().map_while(Result::ok) {
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        Self(receiver)
    }

    /// The next one, or `None` at the end.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Option<T> {
        let line = self.0.recv().await?;
        Some(serde_json::from_str(&line).expect("an order that can be read"))
    }
}

fn line(what: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(what).expect("it can be written");
    line.push(b'\n');
    line
}

/// Says something on standard output.
pub(crate) fn say(what: &impl Serialize) {
    let mut out = std::io::stdout().lock();
    // whoever has started this process may be gone: it then ends anyway
    let _ = out.write_all(&line(what)).and_then(|()| out.flush());
}

/// Another process of this very program.
pub(crate) struct Helper {
    process: Child,
    orders: Option<ChildStdin>,
    answers: Option<BufReader<ChildStdout>>,
    role: &'static str,
}

impl Helper {
    /// Starts it in this role, and tells it how to begin.
    pub(crate) fn start(role: &'static str, beginning: &impl Serialize) -> Self {
        let program = std::env::current_exe().expect("this program has a name");
        let mut command = Command::new(program);
        command.args(["role", role]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("it starts");
        let orders = process.stdin.take();
        let answers = process.stdout.take().map(BufReader::new);
        let mut helper = Self {
            process,
            orders,
            answers,
            role,
        };
        helper.order(beginning);
        helper
    }

    /// Its id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Tells it something. A line fits into the pipe, so this does not wait.
    pub(crate) fn order(&mut self, what: &impl Serialize) {
        let orders = self.orders.as_mut().expect("it has not been ended");
        let told = orders.write_all(&line(what));
        told.unwrap_or_else(|error| panic!("{} does not listen: {error}", self.role));
    }

    /// What it says next.
    pub(crate) async fn answer<T: DeserializeOwned>(&mut self) -> T {
        let mut answers = self.answers.take().expect("one answer at a time");
        let reading = spawn_blocking(move || {
            let mut line = String::new();
            let read = answers.read_line(&mut line);
            (answers, read.map(|_| line).unwrap_or_default())
        });
        let read = timeout(PATIENCE, reading).await;
        let read = read.unwrap_or_else(|_| panic!("{} says nothing", self.role));
        let (answers, line) = read.expect("reading does not panic");
        self.answers = Some(answers);
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{}: {error}: {line}", self.role))
    }
}

impl Drop for Helper {
    /// Lets it end, and ends it where it does not.
    fn drop(&mut self) {
        self.orders = None;
        for _ in 0..100 {
            if matches!(self.process.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
