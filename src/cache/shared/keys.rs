//! What things are called in the store, and the commands on them. Owns every name and every
//! argument; pure.
//!
//! Invariant: every command, or pipeline of commands, touches keys of one cluster slot: a lease has
//! the same hash tag (the part in braces, Redis Cluster specification) as its frame.

use std::time::Duration;

use redis::{Cmd, Pipeline, cmd, pipe};

use crate::cache::key::CopyId;

use super::stamp::{self, Stamp};

/// Messages that the store keeps, about.
const LOG_LENGTH: usize = 10_000;

/// How long it keeps them.
const LOG_SPAN: Duration = Duration::from_secs(3600);

/// Messages in one answer.
const LOG_BATCH: usize = 128;

/// The server takes the milliseconds as a signed 64-bit instant; ten years are out of everyone's
/// way.
const KEEP_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// KEYS: the lease. ARGV: whose it must be.
const RELEASE: &str = r"
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
";

/// The names of one namespace.
#[derive(Debug)]
pub(super) struct Keys {
    prefix: String,
    /// Whose leases and messages these are.
    node: String,
}

impl Keys {
    /// In the namespace `prefix`, as `node`.
    pub(super) fn new(prefix: String, node: String) -> Self {
        Self { prefix, node }
    }

    /// Who we are.
    pub(super) fn node(&self) -> &str {
        &self.node
    }

    fn frame(&self, id: CopyId) -> String {
        format!("{}:{{{id}}}", self.prefix)
    }

    fn lease(&self, id: CopyId) -> String {
        format!("{}:lease", self.frame(id))
    }

    fn log(&self) -> String {
        format!("{}:log", self.prefix)
    }

    /// Reads nothing.
    pub(super) fn probe(&self) -> Cmd {
        with("GET", [format!("{}:probe", self.prefix)])
    }

    /// Reads a frame.
    pub(super) fn get(&self, id: CopyId) -> Cmd {
        with("GET", [self.frame(id)])
    }

    /// Reads a frame and takes the lease if it is free.
    pub(super) fn get_or_lease(&self, id: CopyId, lease: Duration) -> Pipeline {
        let mut both = pipe();
        both.add_command(self.get(id));
        both.cmd("SET").arg(self.lease(id)).arg(&self.node);
        both.arg("NX").arg("PX").arg(millis(lease));
        both.ignore_errors();
        both
    }

    /// Gives our own lease back.
    pub(super) fn release(&self, id: CopyId) -> Cmd {
        let mut release = with("EVAL", [RELEASE, "1"]);
        release.arg(self.lease(id)).arg(&self.node);
        release
    }

    /// Puts a frame unless a newer one is there.
    ///
    /// EVAL and not EVALSHA: the script's few hundred bytes are less than any frame, and there is
    /// no second round trip after a server has forgotten it.
    pub(super) fn put(&self, id: CopyId, stamp: &Stamp, keep: Duration, frame: &[u8]) -> Cmd {
        let header = stamp.header();
        let value = [header.as_bytes(), frame].concat();
        let mut put = with("EVAL", [stamp::PUT, "1"]);
        put.arg(self.frame(id)).arg(header);
        put.arg(stamp.began_digits()).arg(millis(keep)).arg(value);
        put
    }

    /// Removes a frame; the server frees it in its own time.
    pub(super) fn remove(&self, id: CopyId) -> Cmd {
        with("UNLINK", [self.frame(id)])
    }

    /// Adds a message. `latest` is the server's time of the message before, in milliseconds: what
    /// is too old is cut by the server's clock, for a node's own might be wrong and cut too much.
    pub(super) fn publish(&self, number: u64, message: &[u8], latest: Option<u64>) -> Pipeline {
        let mut publish = pipe();
        publish.cmd("XADD").arg(self.log());
        publish.arg("MAXLEN").arg("~").arg(LOG_LENGTH).arg("*");
        publish.arg("n").arg(&self.node).arg("s").arg(number);
        publish.arg("m").arg(message);
        if let Some(latest) = latest {
            let oldest = latest.saturating_sub(millis(LOG_SPAN));
            publish.cmd("XTRIM").arg(self.log());
            publish.arg("MINID").arg("~").arg(oldest);
        }
        // a namespace that is not used any more vanishes
        publish.cmd("PEXPIRE").arg(self.log());
        publish.arg(2 * millis(LOG_SPAN));
        publish.ignore_errors();
        publish
    }

    /// Reads the messages after `cursor`, waiting for one if there is none.
    pub(super) fn read_log(&self, cursor: &str, wait: Duration) -> Cmd {
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(LOG_BATCH);
        read.arg("BLOCK").arg(millis(wait));
        read.arg("STREAMS").arg(self.log()).arg(cursor);
        read
    }
}

fn with<T: redis::ToRedisArgs, const N: usize>(name: &str, arguments: [T; N]) -> Cmd {
    let mut command = cmd(name);
    arguments.into_iter().for_each(|argument| {
        command.arg(argument);
    });
    command
}

/// What the server takes: at least one.
fn millis(duration: Duration) -> u64 {
    let millis = duration.min(KEEP_MAX).as_millis();
    u64::try_from(millis).expect("ten years fit").max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_and_its_lease_share_a_slot() {
        let keys = Keys::new("news".to_owned(), "n".to_owned());
        let id = CopyId([0xab; 32]);
        let tag = format!("{{{id}}}");
        assert_eq!(keys.frame(id), format!("news:{tag}"));
        assert_eq!(keys.lease(id), format!("news:{tag}:lease"));
    }

    #[test]
    fn durations_are_what_the_server_takes() {
        assert_eq!(millis(Duration::ZERO), 1);
        assert_eq!(millis(Duration::from_secs(2)), 2000);
        assert_eq!(millis(Duration::MAX), millis(KEEP_MAX));
    }
}
