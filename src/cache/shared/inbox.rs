//! Where the other nodes' messages arrive (shell). Owns how far the log has been read.
//!
//! On every new connection the log is read from its beginning, and what has been seen is skipped:
//! no clock has to be right for that, and it does not matter whether the server has kept its log,
//! lost it, or handed over to a replica. The log is short, and connections are rare.
//!
//! Each message carries its node, a random name of one process, and a number. A node writes its
//! messages one by one, and may write one twice; so whatever is not above the highest number seen
//! of a node is known.
//!
//! Invariant: a message is delivered once, in the order of its node, and never to its own node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::Value;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

use super::address::Address;
use super::counts::{Counts, add};
use super::keys::Keys;
use super::link::{Failure, Link, tell};
use super::trouble::{Gravity, Part, Troubles};

/// How long the server holds an answer back while there is no message.
pub(super) const WAIT: Duration = Duration::from_secs(2);

/// Before the log is asked for again where it was refused.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Processes whose numbers are remembered. Each restart is one; beyond it, those not heard of for
/// longest are forgotten.
const NODES_MAX: usize = 4096;

/// Before the first message.
const BEGINNING: &str = "0-0";

/// Reads the log into `messages`.
pub(super) struct Inbox {
    pub(super) link: Arc<Link>,
    pub(super) address: Arc<Address>,
    pub(super) keys: Arc<Keys>,
    pub(super) counts: Arc<Counts>,
    pub(super) troubles: Arc<Troubles>,
    pub(super) clock: Clock,
    /// While it is full the log is not read on, and nothing is lost.
    pub(super) messages: mpsc::Sender<Bytes>,
}

impl Inbox {
    /// Reads until `stop`, or until nobody listens.
    pub(super) async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.read()).await;
    }

    async fn read(&self) {
        let mut seen = Seen::default();
        let mut cursor = BEGINNING.to_owned();
        loop {
            self.link.ready().await;
            match self.link.ask(&self.keys.read_log(&cursor, WAIT)).await {
                Ok(answer) => {
                    tell(&self.address, self.troubles.end(Part::Receiving));
                    for (id, entry) in entries(answer) {
                        cursor = id;
                        if self.deliver(entry, &mut seen).await.is_err() {
                            return;
                        }
                    }
                }
                Err(failure) => {
                    cursor = BEGINNING.to_owned();
                    self.fail(&failure).await;
                }
            }
        }
    }

    async fn deliver(
        &self,
        entry: Option<Message>,
        seen: &mut Seen,
    ) -> Result<(), mpsc::error::SendError<Bytes>> {
        let Some(message) = entry else { return Ok(()) };
        if message.node == self.keys.node() || !seen.is_new(&message.node, message.number) {
            return Ok(());
        }
        add(&self.counts.messages_in, 1);
        self.messages.send(message.body).await
    }

    async fn fail(&self, failure: &Failure) {
        let Failure::Error(trouble) = failure else {
            return;
        };
        match trouble.gravity {
            // the link complains, and is not ready until it is made again
            Gravity::Gone => {}
            Gravity::Down => sleep(RETRY_PAUSE).await,
            Gravity::Refused | Gravity::Replica | Gravity::Wrong | Gravity::Foreign => {
                let now = self.clock.now();
                let told = self.troubles.begin(Part::Receiving, &trouble.text, now);
                tell(&self.address, told);
                sleep(RETRY_PAUSE).await;
            }
        }
    }
}

/// A message in the log.
#[derive(Debug, PartialEq, Eq)]
struct Message {
    node: String,
    number: u64,
    body: Bytes,
}

/// The entries of an answer to XREAD, each with its id; none where an entry is no message.
fn entries(answer: Value) -> Vec<(String, Option<Message>)> {
    let streams = items(answer).into_iter();
    let entries = streams.flat_map(|stream| items(items(stream).pop().unwrap_or_default()));
    entries
        .filter_map(|entry| {
            let mut entry = items(entry).into_iter();
            let id = text(entry.next()?)?;
            Some((id, entry.next().and_then(message)))
        })
        .collect()
}

fn message(fields: Value) -> Option<Message> {
    let mut named = BTreeMap::new();
    let mut fields = items(fields).into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        named.insert(text(name)?, value);
    }
    let Value::BulkString(body) = named.remove("m")? else {
        return None;
    };
    Some(Message {
        node: text(named.remove("n")?)?,
        number: text(named.remove("s")?)?.parse().ok()?,
        body: body.into(),
    })
}

fn items(value: Value) -> Vec<Value> {
    if let Value::Array(items) = value {
        items
    } else {
        Vec::new()
    }
}

fn text(value: Value) -> Option<String> {
    let Value::BulkString(bytes) = value else {
        return None;
    };
    String::from_utf8(bytes).ok()
}

/// The highest number seen of each node.
#[derive(Debug, Default)]
struct Seen {
    /// node → its highest number, and when that was heard, counted in messages
    nodes: BTreeMap<String, (u64, u64)>,
    heard: u64,
}

impl Seen {
    /// Whether the message has not been seen; seeing it makes it known.
    fn is_new(&mut self, node: &str, number: u64) -> bool {
        self.heard += 1;
        match self.nodes.get_mut(node) {
            Some((highest, _)) if number <= *highest => return false,
            Some(known) => *known = (number, self.heard),
            None => {
                self.make_room();
                self.nodes.insert(node.to_owned(), (number, self.heard));
            }
        }
        true
    }

    fn make_room(&mut self) {
        if self.nodes.len() < NODES_MAX {
            return;
        }
        let quietest = self.nodes.iter().min_by_key(|(_, (_, heard))| *heard);
        if let Some(node) = quietest.map(|(node, _)| node.clone()) {
            self.nodes.remove(&node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn log(listed: Vec<(&str, &[&str])>) -> Value {
        let entry = |(id, fields): (&str, &[&str])| {
            let fields = fields.iter().map(|field| bulk(field)).collect();
            Value::Array(vec![bulk(id), Value::Array(fields)])
        };
        let listed = listed.into_iter().map(entry).collect();
        Value::Array(vec![Value::Array(vec![
            bulk("marbre:log"),
            Value::Array(listed),
        ])])
    }

    #[test]
    fn entries_that_are_no_messages_are_passed_over_and_not_stopped_at() {
        assert_eq!(entries(Value::Nil), []);
        assert_eq!(entries(log(vec![])), []);
        let read = entries(log(vec![
            ("1-0", &["n", "a", "s", "7", "m", "purge"]),
            ("2-0", &["n", "a", "s", "seven", "m", "purge"]),
            ("3-0", &["hello", "world"]),
            ("4-0", &["n", "a", "s"]),
            ("5-0", &["m", "x", "later", "field", "s", "8", "n", "b"]),
        ]));
        let expect = |node: &str, number, body: &str| {
            Some(Message {
                node: node.to_owned(),
                number,
                body: Bytes::copy_from_slice(body.as_bytes()),
            })
        };
        let expected = [
            ("1-0", expect("a", 7, "purge")),
            ("2-0", None),
            ("3-0", None),
            ("4-0", None),
            ("5-0", expect("b", 8, "x")),
        ];
        let read: Vec<_> = read.iter().map(|(id, m)| (id.as_str(), m)).collect();
        let expected: Vec<_> = expected.iter().map(|(id, m)| (*id, m)).collect();
        assert_eq!(read, expected);
    }

    #[test]
    fn what_was_seen_is_not_new_however_often_it_is_read() {
        let mut seen = Seen::default();
        let heard = [("a", 1), ("b", 1), ("a", 2), ("a", 2), ("a", 1), ("b", 5)];
        let new = heard.map(|(node, number)| seen.is_new(node, number));
        assert_eq!(new, [true, true, true, false, false, true]);
        assert!(heard.iter().all(|(node, n)| !seen.is_new(node, *n)));
    }

    #[test]
    fn the_quietest_of_too_many_nodes_is_forgotten() {
        let mut seen = Seen::default();
        for node in 0..NODES_MAX {
            assert!(seen.is_new(&format!("n{node}"), 1));
        }
        assert!(seen.is_new("n0", 2), "heard of again");
        assert!(seen.is_new("one more", 1));
        assert_eq!(seen.nodes.len(), NODES_MAX);
        assert!(!seen.is_new("n0", 2));
        assert!(seen.is_new("n1", 1), "forgotten");
    }
}
