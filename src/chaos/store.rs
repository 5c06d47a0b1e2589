//! The shared store, sick on purpose (shell). Owns what each effect is to a call of it.

use std::io;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};

use crate::cache::shared::Upset;

use super::faults::Effect;
use super::{Chaos, Running, origin};
use crate::site::chaos::Target;

impl Upset for Chaos {
    fn call(&self) -> Option<BoxFuture<'static, io::Result<()>>> {
        if !self.is_active() {
            return None;
        }
        let now = self.clock.now();
        let running = self.running.load();
        let of_store = |one: &&Arc<Running>| one.spec.target == Target::Store;
        let (effect, by) = running.iter().filter(of_store).find_map(|one| {
            let effect = one.rule().of_call(one.next(), now)?;
            one.count_request();
            Some((effect, Arc::clone(one)))
        })?;
        let (over, name) = (by.over.clone(), by.spec.name.clone());
        Some(
            async move {
                let failed = |kind| Err(io::Error::new(kind, format!("fault {name}")));
                match effect {
                    Effect::Late(delay) => {
                        origin::wait(delay, &over).await;
                        Ok(())
                    }
                    // whoever asks has a time for it
                    Effect::Hang => {
                        over.cancelled().await;
                        failed(io::ErrorKind::TimedOut)
                    }
                    Effect::Unreachable => failed(io::ErrorKind::ConnectionRefused),
                    Effect::Status(_)
                    | Effect::Reset
                    | Effect::Cut
                    | Effect::Drip(_)
                    | Effect::Garbage => failed(io::ErrorKind::Other),
                }
            }
            .boxed(),
        )
    }
}
