//! Questions that nobody's page asks (shell): how is each replica? Owns the rhythm; what a result means
//! for the choice of a replica is [`balance`](super::balance)'s.
//!
//! Two failures in a row put a replica out, so that one lost packet does not; one good answer brings it
//! back, by the slow start of whoever returns.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::StreamExt as _;
use http::HeaderMap;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::report::{Cause, OriginChange};
use crate::site::HealthCheck;

use super::door::Door;
use super::origin::{Origin, OriginRequest};

/// Bad results in a row that put a replica out.
const FAILURES_MAX: u32 = 2;

/// Between two looks at whether the door is still used.
const LOOK: Duration = Duration::from_secs(1);

/// The most of an answer that is read; what comes beyond is not needed to know that it came.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Begins to ask, once for each door. It ends when the door is no longer used, and at `stop`.
pub(super) fn begin(door: &Arc<Door>, tasks: &TaskTracker, stop: &CancellationToken) {
    let Some(check) = &door.spec.health else {
        return;
    };
    if door.is_checked.swap(true, Ordering::Relaxed) {
        return;
    }
    for replica in 0..door.replicas.len() {
        let watching = watch(Arc::downgrade(door), check.clone(), replica);
        let stop = stop.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = watching => {}
            }
        });
    }
}

async fn watch(door: Weak<Door>, check: HealthCheck, replica: usize) {
    let mut failures = 0;
    // not all replicas of all origins in the same moment
    pause(check.interval.mul_f64(fastrand::f64()), &door).await;
    while let Some(origin) = door
        .upgrade()
        .map(|door| Arc::clone(&door.replicas[replica]))
    {
        let result = ask(&*origin, &check).await;
        failures = if result.is_ok() { 0 } else { failures + 1 };
        let Some(known) = door.upgrade() else { return };
        match result {
            Ok(()) => tell(&known, replica, true, String::new()),
            Err(cause) if failures >= FAILURES_MAX => {
                tell(&known, replica, false, cause.to_string());
            }
            Err(_) => {}
        }
        drop(known);
        pause(check.interval, &door).await;
    }
}

/// Sleeps, but notices soon when the door is not used any more: it may be hours to the next question.
async fn pause(span: Duration, door: &Weak<Door>) {
    let mut left = span;
    while !left.is_zero() && door.strong_count() > 0 {
        let step = left.min(LOOK);
        sleep(step).await;
        left -= step;
    }
}

fn tell(door: &Door, replica: usize, is_healthy: bool, why: String) {
    let now = door.means.clock.now();
    let is_news = door.guards.lock().balance.checked(replica, is_healthy, now);
    if is_news {
        door.tell_of(Some(replica), OriginChange::Health { is_healthy, why });
    }
}

async fn ask(origin: &dyn Origin, check: &HealthCheck) -> Result<(), Cause> {
    let request = OriginRequest::get(check.path.clone(), HeaderMap::new());
    let asking = async {
        let mut response = origin.send(request).await?;
        if !response.status.is_success() {
            return Err(Cause::Status(response.status.as_u16()));
        }
        let mut read = 0;
        while let Some(chunk) = response.body.next().await.transpose()? {
            read += chunk.len();
            if read > BODY_BYTES_MAX {
                break;
            }
        }
        Ok(())
    };
    timeout(check.timeout, asking)
        .await
        .unwrap_or(Err(Cause::Timeout))
}
