//! The store that nodes share, in memory: what a Valkey would answer to the commands that a node sends,
//! slowly, not at all, or with what is no answer; and the other nodes, who say what a seed has them say.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use marbre::cache::beyond::switch_message;
use marbre::cache::purge::Purge;
use marbre::cache::shared::{Dial, Stream};
use marbre::clock::{Clock, Instant};
use marbre::degradation::Switch;
use marbre::degradation::switches::Key;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// How long a store may be well until it is told what it was not: a node tries to reach it every dozen
/// seconds, and looks every few whether its record is the store's.
const TOLD_AGAIN: Duration = Duration::from_secs(20);

/// Bytes under way on one connection.
const PIPE: usize = 1 << 16;

/// How the store is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Trouble {
    None,
    /// Each answer takes so long.
    Slow(Duration),
    /// Nothing is answered.
    Hangs,
    /// No connection can be made, and those that there are end.
    Gone,
    /// What is stored is answered with other bytes.
    Garbage,
    /// Every answer is an error.
    Errors,
    /// It has forgotten everything, and is well.
    Emptied,
}

impl Trouble {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        match rng.u8(..8) {
            0 => Self::Slow(Duration::from_millis(rng.u64(1..200))),
            1 => Self::Hangs,
            2 => Self::Gone,
            3 => Self::Garbage,
            4 => Self::Errors,
            5 => Self::Emptied,
            _ => Self::None,
        }
    }
}

#[derive(Default)]
struct Kept {
    /// Values, and when they are over.
    values: BTreeMap<Vec<u8>, (Vec<u8>, Instant)>,
    /// Messages: node, number, body. Their ids count from one.
    log: Vec<[Vec<u8>; 3]>,
    /// Messages of other nodes so far.
    said: u64,
}

impl Kept {
    fn get(&self, key: &[u8], now: Instant) -> Option<&Vec<u8>> {
        let (value, until) = self.values.get(key)?;
        (*until > now).then_some(value)
    }
}

/// The store.
pub(crate) struct Store {
    trouble: Mutex<Trouble>,
    /// Since when it is well, if it is; and what it had the time to be told while it was, since it began.
    well: Mutex<(Option<Instant>, Duration)>,
    began: Instant,
    kept: Mutex<Kept>,
    /// Wakes those who wait for a message, or for the trouble to be another.
    changed: Notify,
}

/// A value that can be answered (RESP2).
enum Value {
    Ok,
    Nil,
    Number(i64),
    Bulk(Vec<u8>),
    Error,
    List(Vec<Self>),
}

impl Value {
    fn write(&self, to: &mut Vec<u8>) {
        match self {
            Self::Ok => to.extend(b"+OK\r\n"),
            Self::Nil => to.extend(b"$-1\r\n"),
            Self::Number(number) => to.extend(format!(":{number}\r\n").bytes()),
            Self::Bulk(bytes) => {
                to.extend(format!("${}\r\n", bytes.len()).bytes());
                to.extend(bytes);
                to.extend(b"\r\n");
            }
            Self::Error => to.extend(b"-ERR the weather\r\n"),
            Self::List(values) => {
                to.extend(format!("*{}\r\n", values.len()).bytes());
                values.iter().for_each(|value| value.write(to));
            }
        }
    }
}

impl Store {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            trouble: Mutex::new(Trouble::None),
            well: Mutex::new((Some(Clock::start().now()), Duration::ZERO)),
            began: Clock::start().now(),
            kept: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// From now on it is so.
    pub(crate) fn turn(&self, trouble: Trouble) {
        if trouble == Trouble::Emptied {
            let mut kept = self.kept.lock();
            *kept = Kept {
                said: kept.said,
                ..Kept::default()
            };
            drop(kept);
            *self.trouble.lock() = Trouble::None;
        } else {
            *self.trouble.lock() = trouble;
        }
        self.note_health();
        self.changed.notify_waiters();
    }

    fn note_health(&self) {
        let is_well = *self.trouble.lock() == Trouble::None;
        let now = Clock::start().now();
        let (since, told) = &mut *self.well.lock();
        if let Some(start) = *since
            && now >= start + TOLD_AGAIN
        {
            *told = (now - TOLD_AGAIN).saturating_duration_since(self.began);
        }
        *since = is_well.then(|| since.unwrap_or(now));
    }

    /// Whether a purge of that moment must be known here: it is in the record, or the store was well for as long
    /// since as it takes to be told again. That nodes were told of it by a message helps nobody who starts later.
    pub(crate) fn was_told(&self, at: Duration, purge: &Purge) -> bool {
        self.note_health();
        self.well.lock().1 >= at || self.has_on_record(purge)
    }

    fn has_on_record(&self, purge: &Purge) -> bool {
        let selector = serde_json::json!(purge.selector);
        let at = purge.at.micros();
        let tells = |latest: &serde_json::Value| {
            let of = |field: &str| latest[field].as_u64().unwrap_or_default();
            of("hard").max(of("ahead")) >= at
        };
        let kept = self.kept.lock();
        kept.values.values().any(|(value, _)| {
            // behind what the frame says of itself
            let Some(from) = value.windows(2).position(|two| two == b"[[") else {
                return false;
            };
            let mut read = serde_json::Deserializer::from_slice(&value[from..])
                .into_iter::<Vec<(serde_json::Value, serde_json::Value)>>();
            let record = read.next().and_then(Result::ok).unwrap_or_default();
            record
                .iter()
                .any(|(known, latest)| *known == selector && tells(latest))
        })
    }

    /// Another node tells of a purge.
    pub(crate) fn others_purge(&self, purge: &Purge) {
        let message = serde_json::json!({ "purge": purge });
        self.others_say(&Bytes::from(message.to_string()));
    }

    /// Another node tells of a switch.
    pub(crate) fn others_switch(&self, switch: &Switch) {
        let record = serde_json::json!({
            "key": Key::from(&switch.act.subject()),
            "at": switch.set,
            "node": "others",
            "outlives": switch.until,
            "switch": switch,
        });
        self.others_say(&switch_message(record));
    }

    /// Another node says this.
    pub(crate) fn others_say(&self, message: &[u8]) {
        let mut kept = self.kept.lock();
        kept.said += 1;
        let number = kept.said.to_string().into_bytes();
        kept.log
            .push([b"others".to_vec(), number, message.to_vec()]);
        drop(kept);
        self.changed.notify_waiters();
    }

    /// Answers on one connection until it ends.
    async fn serve(self: Arc<Self>, mut pipe: DuplexStream) {
        let mut read = Vec::new();
        loop {
            while let Some((command, length)) = command(&read) {
                read.drain(..length);
                let Some(answer) = self.answer(&command).await else {
                    return;
                };
                let mut bytes = Vec::new();
                answer.write(&mut bytes);
                if pipe.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            let changed = self.changed.notified();
            if *self.trouble.lock() == Trouble::Gone {
                return;
            }
            tokio::select! {
                biased;
                got = pipe.read_buf(&mut read) => match got {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                },
                () = changed => {}
            }
        }
    }

    /// `None`: the connection ends.
    async fn answer(&self, command: &[Vec<u8>]) -> Option<Value> {
        let trouble = *self.trouble.lock();
        match trouble {
            Trouble::None | Trouble::Garbage | Trouble::Emptied => {}
            Trouble::Slow(span) => sleep(span).await,
            Trouble::Hangs => loop {
                let changed = self.changed.notified();
                if *self.trouble.lock() != Trouble::Hangs {
                    break;
                }
                changed.await;
            },
            Trouble::Gone => return None,
            Trouble::Errors => return Some(Value::Error),
        }
        let answered = match command[0].to_ascii_uppercase().as_slice() {
            b"XREAD" => self.messages(command).await,
            _ => self.at_once(command),
        };
        match (trouble, answered) {
            (Trouble::Garbage, Value::Bulk(bytes)) => {
                Some(Value::Bulk(bytes.iter().rev().copied().collect()))
            }
            (_, answered) => Some(answered),
        }
    }

    fn at_once(&self, command: &[Vec<u8>]) -> Value {
        let now = Clock::start().now();
        let mut kept = self.kept.lock();
        let after = |millis: &[u8]| now + Duration::from_millis(number(millis));
        match command[0].to_ascii_uppercase().as_slice() {
            b"GET" => match kept.get(&command[1], now) {
                Some(value) => Value::Bulk(value.clone()),
                None => Value::Nil,
            },
            // a lease: SET key node NX PX span
            b"SET" => match kept.get(&command[1], now) {
                Some(_) => Value::Nil,
                None => {
                    let value = (command[2].clone(), after(&command[5]));
                    kept.values.insert(command[1].clone(), value);
                    Value::Ok
                }
            },
            // the two scripts: a lease is given back, a frame is put
            b"EVAL" if command.len() == 5 => {
                let key = &command[3];
                let is_theirs = kept.get(key, now) == Some(&command[4]);
                if is_theirs {
                    kept.values.remove(key);
                }
                Value::Number(i64::from(is_theirs))
            }
            b"EVAL" => Value::Number(i64::from(put(&mut kept, command, now))),
            b"UNLINK" => Value::Number(i64::from(kept.values.remove(&command[1]).is_some())),
            b"XADD" => {
                let field = |name: &[u8]| {
                    let place = command.iter().rposition(|part| part == name);
                    place
                        .and_then(|place| command.get(place + 1))
                        .cloned()
                        .unwrap_or_default()
                };
                let message = [field(b"n"), field(b"s"), command[command.len() - 1].clone()];
                kept.log.push(message);
                let id = format!("{}-0", kept.log.len());
                drop(kept);
                self.changed.notify_waiters();
                Value::Bulk(id.into_bytes())
            }
            b"XTRIM" | b"PEXPIRE" => Value::Number(0),
            _ => Value::Ok,
        }
    }

    /// XREAD COUNT n BLOCK span STREAMS key cursor.
    async fn messages(&self, command: &[Vec<u8>]) -> Value {
        let cursor = String::from_utf8_lossy(&command[command.len() - 1]).into_owned();
        let read = cursor
            .split('-')
            .next()
            .and_then(|count| count.parse().ok());
        let (read, wait) = (
            read.unwrap_or(0_usize),
            Duration::from_millis(number(&command[4])),
        );
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                if self.kept.lock().log.len() > read || *self.trouble.lock() == Trouble::Gone {
                    return;
                }
                changed.await;
            }
        };
        let _ = timeout(wait, waiting).await;
        let kept = self.kept.lock();
        let entry = |(place, [node, number, body]): (usize, &[Vec<u8>; 3])| {
            let fields = [b"n", node.as_slice(), b"s", number, b"m", body];
            let fields = fields.iter().map(|field| Value::Bulk(field.to_vec()));
            let id = format!("{}-0", place + 1).into_bytes();
            Value::List(vec![Value::Bulk(id), Value::List(fields.collect())])
        };
        let entries: Vec<_> = kept
            .log
            .iter()
            .enumerate()
            .skip(read)
            .take(128)
            .map(entry)
            .collect();
        if entries.is_empty() {
            return Value::Nil;
        }
        let stream = vec![Value::Bulk(b"log".to_vec()), Value::List(entries)];
        Value::List(vec![Value::List(stream)])
    }
}

/// What the script does: EVAL script 1 key header began keep value. `false`: a newer one is there.
fn put(kept: &mut Kept, command: &[Vec<u8>], now: Instant) -> bool {
    let (key, header, began) = (&command[3], &command[4], &command[5]);
    if let Some(known) = kept.get(key, now) {
        // magic, version, time: each of one width
        let version = |header: &[u8]| header.get(4..24).map(<[u8]>::to_vec);
        let stored = known.get(25..45).map(<[u8]>::to_vec);
        let (known, incoming) = (version(known), version(header));
        let both = [&known, &incoming].iter().all(|version| {
            version
                .as_ref()
                .is_some_and(|version| !version.contains(&b'-'))
        });
        let is_newer = match both && known != incoming {
            true => known > incoming,
            false => stored.is_some_and(|stored| stored > *began),
        };
        if is_newer {
            return false;
        }
    }
    let until = now + Duration::from_millis(number(&command[6]));
    kept.values.insert(key.clone(), (command[7].clone(), until));
    true
}

fn number(digits: &[u8]) -> u64 {
    let digits = std::str::from_utf8(digits).ok();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// The first command of what has been read, and its length; `None`: it is not whole yet.
fn command(read: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let (count, mut at) = counted(read, 0, b'*')?;
    let mut parts = Vec::new();
    for _ in 0..count {
        let (length, begins) = counted(read, at, b'$')?;
        parts.push(read.get(begins..begins + length)?.to_vec());
        at = begins + length + 2;
    }
    (at <= read.len()).then_some((parts, at))
}

/// A number behind its sign, and where what follows begins.
fn counted(read: &[u8], at: usize, sign: u8) -> Option<(usize, usize)> {
    let rest = read.get(at..)?;
    let end = rest.windows(2).position(|two| two == b"\r\n")?;
    assert_eq!(rest[0], sign, "what is no command");
    let count = std::str::from_utf8(&rest[1..end]).ok()?.parse().ok()?;
    Some((count, at + end + 2))
}

/// The way to a store.
pub(crate) struct Way(pub(crate) Arc<Store>);

impl Dial for Way {
    fn dial(&self) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let store = Arc::clone(&self.0);
        async move {
            if *store.trouble.lock() == Trouble::Gone {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (ours, theirs) = duplex(PIPE);
            #[allow(
                clippy::disallowed_methods,
                reason = "it ends with the other end of the pipe"
            )]
            tokio::spawn(store.serve(theirs));
            Ok(Box::new(ours) as Box<dyn Stream>)
        }
        .boxed()
    }
}
