//! The addresses of names (shell). Owns the look-ups: that there is one at a time for each name, who
//! waits for it, and that it goes on when nobody does any more. What an answer is worth is decided
//! in `known`.
//!
//! The system's resolver is asked, with its files and its order of things; but it may take seconds,
//! or never answer, exactly when a network is sick, and it keeps nothing. So what it said last is
//! kept here for as long as it says nothing better.
//!
//! Invariant: nobody waits but for a name that has never been found, and then for that name only.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::site::markup::is_public;

mod known;

use known::{Decision, Known};

/// Names that are kept. They come from the declaration, so that only years of reloads bring more.
const NAMES_MAX: usize = 1024;

/// What the standard library says before what the system says.
const SYSTEM_PREFIX: &str = "failed to lookup address information: ";

/// Asks for the addresses of a name.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// The system's resolver. A look-up holds a thread until it ends, also when nobody waits for it.
pub fn system() -> Lookup {
    let look_up = |name: String| async move {
        let found = tokio::net::lookup_host((name, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    };
    Arc::new(move |name| look_up(name).boxed())
}

/// Why a name has no addresses.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{name} cannot be looked up: {why}")]
pub struct NameError {
    name: String,
    why: String,
}

/// The addresses of names. All clones know the same, so that nothing is forgotten when an origin is
/// declared anew.
#[derive(Clone)]
pub struct Resolver {
    inner: Arc<Inner>,
    ttl: Duration,
}

struct Inner {
    look_up: Lookup,
    clock: Clock,
    tasks: TaskTracker,
    names: Mutex<BTreeMap<String, Name>>,
}

#[derive(Default)]
struct Name {
    known: Known,
    flight: Option<Flight>,
}

/// A look-up that is under way, for everybody who waits for it.
type Flight = Shared<BoxFuture<'static, Result<Vec<IpAddr>, NameError>>>;

enum Answer {
    Now(Vec<IpAddr>),
    After(Flight),
}

impl Resolver {
    /// The look-ups run on `tasks`. Addresses are good for no time at all: see
    /// [`with_ttl`](Self::with_ttl).
    pub fn new(look_up: Lookup, clock: Clock, tasks: TaskTracker) -> Self {
        let inner = Inner {
            look_up,
            clock,
            tasks,
            names: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
            ttl: Duration::ZERO,
        }
    }

    /// The same for somebody to whom addresses are good for so long.
    pub fn with_ttl(&self, ttl: Duration) -> Self {
        let inner = Arc::clone(&self.inner);
        Self { inner, ttl }
    }

    /// By which it knows how old an address is.
    pub fn clock(&self) -> Clock {
        self.inner.clock
    }

    /// The addresses of a name, the one to try first in front; never none. The caller bounds the
    /// time: what it does not wait for comes to whoever asks next.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, NameError> {
        match self.inner.ask(name, self.ttl)? {
            Answer::Now(addresses) => Ok(addresses),
            Answer::After(flight) => {
                let found = flight.await?;
                let mut names = self.inner.names.lock();
                let turn = names.get_mut(name).map(|entry| entry.known.next());
                Ok(turn.unwrap_or(found))
            }
        }
    }
}

/// The same for hosts that documents name: addresses of this machine and of private networks are as if
/// they were not there, so that nothing is connected to but what was looked at.
#[derive(Clone)]
pub struct PublicOnly(pub Resolver);

impl PublicOnly {
    /// The public addresses of a name.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, NameError> {
        let mut addresses = self.0.addresses(name).await?;
        addresses.retain(|address| is_public(*address));
        match addresses.is_empty() {
            true => Err(failed(name, "it has only addresses of a private network")),
            false => Ok(addresses),
        }
    }
}

impl Inner {
    fn ask(self: &Arc<Self>, name: &str, ttl: Duration) -> Result<Answer, NameError> {
        let mut names = self.names.lock();
        if !names.contains_key(name) && !make_room(&mut names) {
            return Err(failed(name, "too many names are being looked up"));
        }
        let entry = names.entry(name.to_owned()).or_default();
        let decision = entry.known.ask(self.clock.now(), ttl);
        if matches!(decision, Decision::LookUp | Decision::Refresh(_)) {
            entry.flight = Some(self.launch(name));
        }
        Ok(match decision {
            Decision::Serve(addresses) | Decision::Refresh(addresses) => Answer::Now(addresses),
            Decision::LookUp | Decision::Wait => {
                let flight = entry.flight.clone();
                Answer::After(flight.expect("a look-up is under way"))
            }
        })
    }

    fn launch(self: &Arc<Self>, name: &str) -> Flight {
        let (inner, name) = (Arc::clone(self), name.to_owned());
        let flight = async move {
            let found = (inner.look_up)(name.clone()).await;
            inner.land(&name, found)
        };
        let flight = flight.boxed().shared();
        self.tasks.spawn(flight.clone());
        flight
    }

    fn land(&self, name: &str, found: io::Result<Vec<IpAddr>>) -> Result<Vec<IpAddr>, NameError> {
        let now = self.clock.now();
        let mut names = self.names.lock();
        let entry = names
            .get_mut(name)
            .expect("a name is kept while it is looked up");
        entry.flight = None;
        let why = match found {
            Ok(addresses) if addresses.is_empty() => "it has no addresses".to_owned(),
            Ok(addresses) => {
                entry.known.found(addresses.clone(), now);
                return Ok(addresses);
            }
            Err(error) => error.to_string(),
        };
        entry.known.failed(now);
        Err(failed(name, why.trim_start_matches(SYSTEM_PREFIX)))
    }
}

/// Forgets the name that nobody has asked for the longest, if there are too many; whether there is
/// room for one more.
fn make_room(names: &mut BTreeMap<String, Name>) -> bool {
    if names.len() < NAMES_MAX {
        return true;
    }
    let unused = names.iter();
    let unused = unused.filter_map(|(name, entry)| Some((entry.known.unused_since()?, name)));
    let oldest = unused.min().map(|(_, name)| name.clone());
    oldest.is_some_and(|name| names.remove(&name).is_some())
}

fn failed(name: &str, why: &str) -> NameError {
    NameError {
        name: name.to_owned(),
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests;
