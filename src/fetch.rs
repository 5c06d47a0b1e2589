//! Asking origins. Owns the one door to each origin and the order of the guards in front of it:
//! limit in flight, then one attempt. Knows nothing of caches, pages or templates.
//!
//! Invariant: what comes out is a whole answer that satisfied every limit, or a
//! [`Cause`]; never a part of a body.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::fragment::OriginId;
use crate::report::Cause;
use crate::site::{OriginSpec, Site};

pub mod attempt;
pub mod dns;
pub mod http;
pub mod origin;

pub use attempt::{Answer, Ask, Content, Expect, WithoutContent};
pub use origin::{Origin, OriginRequest, OriginResponse};

/// The doors to the origins of one site.
pub struct Fetcher {
    doors: Vec<Door>,
}

struct Door {
    spec: OriginSpec,
    replicas: Vec<Arc<dyn Origin>>,
    permits: Arc<Semaphore>,
    /// Apart from the fragments' permits: a stream may stay open for hours.
    streams: Arc<Semaphore>,
}

impl Fetcher {
    /// Opens a door to each origin of the site. A door of `previous` whose declaration has not
    /// changed is taken over, with its connections and what it has in flight.
    pub fn new(
        site: &Site,
        previous: Option<&Self>,
        mut connect: impl FnMut(&OriginSpec) -> Result<Vec<Arc<dyn Origin>>, Cause>,
    ) -> Result<Self, Cause> {
        let open = |spec: &OriginSpec| {
            let fresh = || Arc::new(Semaphore::new(spec.max_in_flight));
            let known = previous.and_then(|p| p.doors.iter().find(|door| door.spec == *spec));
            Ok(Door {
                spec: spec.clone(),
                replicas: match known {
                    Some(door) => door.replicas.clone(),
                    None => connect(spec)?,
                },
                permits: known.map_or_else(fresh, |door| Arc::clone(&door.permits)),
                streams: known.map_or_else(fresh, |door| Arc::clone(&door.streams)),
            })
        };
        Ok(Self {
            doors: site
                .origins
                .iter()
                .map(open)
                .collect::<Result<_, Cause>>()?,
        })
    }

    /// Asks an origin once for a whole answer. The caller bounds the time.
    pub async fn fetch(
        &self,
        id: OriginId,
        ask: &Ask<'_>,
        expect: &Expect<'_>,
    ) -> Result<Answer, Cause> {
        let door = &self.doors[id.index()];
        let _permit = door.permits.try_acquire().map_err(|_| Cause::Busy)?;
        attempt::run(&*door.replicas[0], ask, expect).await
    }

    /// Passes a request through to an origin; the answer is streamed. As many streams may be open
    /// as fragments may be in flight, and neither takes the other's place. A connection that has
    /// left HTTP is a stream until it ends.
    pub async fn pass(
        &self,
        id: OriginId,
        request: OriginRequest,
    ) -> Result<OriginResponse, Cause> {
        let door = &self.doors[id.index()];
        let permit = Arc::clone(&door.streams)
            .try_acquire_owned()
            .map_err(|_| Cause::Busy)?;
        let mut response = door.replicas[0].send(request).await?;
        response.hold(permit);
        Ok(response)
    }

    /// Requests in flight at an origin, and how many it may have.
    pub fn in_flight(&self, id: OriginId) -> (usize, usize) {
        let door = &self.doors[id.index()];
        let max = door.spec.max_in_flight;
        (max.saturating_sub(door.permits.available_permits()), max)
    }
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.doors.iter().map(|door| &door.spec.name))
            .finish()
    }
}
