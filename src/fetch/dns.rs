//! The addresses of names (shell). Owns the look-ups: that there is one at a time for each name, who
//! waits for it, and that it goes on when nobody does any more. What an answer is worth is decided
//! in [`known`].
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

mod known;

use known::{Decision, Known};

/// Names of one origin. They come from the declaration; nobody declares more replicas.
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

/// The addresses of the names of one origin.
#[derive(Clone)]
pub struct Resolver {
    inner: Arc<Inner>,
}

struct Inner {
    look_up: Lookup,
    ttl: Duration,
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
type Flight = Shared<BoxFuture<'static, Result<(), NameError>>>;

enum Answer {
    Now(Vec<IpAddr>),
    After(Flight),
}

impl Resolver {
    /// Addresses are looked up again `ttl` after they were found; the look-ups run on `tasks`.
    pub fn new(look_up: Lookup, ttl: Duration, clock: Clock, tasks: TaskTracker) -> Self {
        let inner = Inner {
            look_up,
            ttl,
            clock,
            tasks,
            names: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The addresses of a name, the one to try first in front; never none. The caller bounds the
    /// time: what it does not wait for comes to whoever asks next.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, NameError> {
        match self.inner.ask(name)? {
            Answer::Now(addresses) => Ok(addresses),
            Answer::After(flight) => {
                flight.await?;
                let mut names = self.inner.names.lock();
                let found = names.get_mut(name).expect("names are never forgotten");
                Ok(found.known.next())
            }
        }
    }
}

impl Inner {
    fn ask(self: &Arc<Self>, name: &str) -> Result<Answer, NameError> {
        let mut names = self.names.lock();
        if names.len() >= NAMES_MAX && !names.contains_key(name) {
            return Err(failed(name, "the origin has too many names"));
        }
        let entry = names.entry(name.to_owned()).or_default();
        let decision = entry.known.ask(self.clock.now());
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

    fn land(&self, name: &str, found: io::Result<Vec<IpAddr>>) -> Result<(), NameError> {
        let now = self.clock.now();
        let mut names = self.names.lock();
        let entry = names.get_mut(name).expect("names are never forgotten");
        entry.flight = None;
        let why = match found {
            Ok(addresses) if addresses.is_empty() => "it has no addresses".to_owned(),
            Ok(addresses) => {
                entry.known.found(addresses, now, self.ttl);
                return Ok(());
            }
            Err(error) => error.to_string(),
        };
        entry.known.failed(now);
        Err(failed(name, why.trim_start_matches(SYSTEM_PREFIX)))
    }
}

fn failed(name: &str, why: &str) -> NameError {
    NameError {
        name: name.to_owned(),
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests;
