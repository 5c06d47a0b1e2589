//! What runs beside the pages for as long as the server does (shell). Owns how often each looks; what is done
//! is decided elsewhere.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::chaos::Chaos;
use crate::compose::Composer;
use crate::switchboard::Switchboard;
use crate::telemetry::slo::FaultGate;

/// Between two looks at what must be on disk.
const TENDING: Duration = Duration::from_secs(2);

/// Looks after what must outlive the process.
pub(super) async fn tend(composer: Arc<Composer>, stop: CancellationToken) {
    let now = || composer.clock().moment(composer.clock().now());
    while timeout(TENDING, stop.cancelled()).await.is_err() {
        composer.cache().tend(now()).await;
    }
    // the next process knows of a purge of the last moment
    let _ = timeout(TENDING, composer.cache().tend(now())).await;
}

/// No fault is in force that what is promised to readers leaves no room for.
pub(super) async fn follow_gate(gate: FaultGate, chaos: Arc<Chaos>, stop: CancellationToken) {
    let mut watched = gate.watched();
    let following = async {
        loop {
            chaos.heed(|| gate.room());
            // the gate is held here: its sender does not end
            if watched.changed().await.is_err() {
                return;
            }
        }
    };
    stop.run_until_cancelled::<_>(following).await;
}

/// Acts on what other nodes tell.
pub(super) async fn follow_nodes(
    composer: Arc<Composer>,
    board: Arc<Switchboard>,
    stop: CancellationToken,
) {
    let cache = composer.cache();
    let messages = cache.shared().and_then(|shared| shared.messages());
    let Some(messages) = messages else { return };
    tokio::select! {
        () = stop.cancelled() => {}
        () = cache.follow(messages, composer.clock(), |decision| board.heed(decision)) => {}
    }
}
