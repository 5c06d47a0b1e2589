//! The demo's origins in a process of their own, for `benches/overload`: says where they are, and
//! serves until standard input ends.

use marbre::demo;

use super::orders::{Orders, say};

/// Serves until standard input ends.
pub(crate) fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut orders = Orders::listen();
        let demo = demo::start(true).await;
        let demo = demo.unwrap_or_else(|error| panic!("the demo's origins do not start: {error}"));
        say(&demo.variables());
        while orders.next::<serde_json::Value>().await.is_some() {}
    });
    runtime.shutdown_background();
}
