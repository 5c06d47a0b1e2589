//! What the error budgets leave room for (shell: whoever sets faults on purpose waits for it). Owns what was
//! said last.

use std::sync::Arc;

use tokio::sync::watch;

use crate::site::chaos::FaultRoom;

/// Whether faults may be set, as all of them may where nobody says otherwise; clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct FaultGate(Arc<watch::Sender<FaultRoom>>);

impl FaultGate {
    /// Why no fault may be set, if none may.
    pub fn closed(&self) -> Option<Arc<str>> {
        self.0.borrow().closed.clone()
    }

    /// What there is room for.
    pub fn room(&self) -> FaultRoom {
        self.0.borrow().clone()
    }

    /// Says whenever that is another.
    pub fn watched(&self) -> watch::Receiver<FaultRoom> {
        self.0.subscribe()
    }

    /// Comes back when no fault may be set, with the reason.
    pub async fn closes(&self) -> Arc<str> {
        let mut watched = self.0.subscribe();
        let closed = watched.wait_for(|room| room.closed.is_some()).await;
        // the sender is held here: it never fails
        closed
            .ok()
            .and_then(|room| room.closed.clone())
            .unwrap_or_default()
    }

    /// Comes back when faults may be set.
    pub async fn opens(&self) {
        let mut watched = self.0.subscribe();
        let _ = watched.wait_for(|room| room.closed.is_none()).await;
    }

    pub(super) fn set(&self, room: FaultRoom) {
        self.0.send_if_modified(|known| {
            let is_new = *known != room;
            *known = room;
            is_new
        });
    }
}
