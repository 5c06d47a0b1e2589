//! Whether faults may be set on purpose (shell: whoever sets them waits for it). Owns the reason why not.

use std::sync::Arc;

use tokio::sync::watch;

/// Whether faults may be set; clones are the same one.
#[derive(Debug, Clone)]
pub struct FaultGate(Arc<watch::Sender<Option<Arc<str>>>>);

impl Default for FaultGate {
    /// They may.
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl FaultGate {
    /// Why no fault may be set, if none may.
    pub fn closed(&self) -> Option<Arc<str>> {
        self.0.borrow().clone()
    }

    /// Comes back when no fault may be set, with the reason.
    pub async fn closes(&self) -> Arc<str> {
        let mut watched = self.0.subscribe();
        let closed = watched.wait_for(Option::is_some).await;
        // the sender is held here: it never fails
        closed
            .ok()
            .and_then(|closed| closed.clone())
            .unwrap_or_default()
    }

    /// Comes back when faults may be set.
    pub async fn opens(&self) {
        let mut watched = self.0.subscribe();
        let _ = watched.wait_for(Option::is_none).await;
    }

    pub(super) fn set(&self, why_closed: Option<String>) {
        self.0.send_if_modified(|closed| {
            let is_new = closed.as_deref() != why_closed.as_deref();
            if is_new {
                *closed = why_closed.map(Arc::from);
            }
            is_new
        });
    }
}
