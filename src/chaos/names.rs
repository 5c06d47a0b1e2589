//! Names that cannot be looked up, on purpose (shell).

use std::io;
use std::sync::Arc;

use futures::future::FutureExt as _;

use crate::fetch::dns::Lookup;

use super::Chaos;

impl Chaos {
    /// The same resolver, which fails for the hosts of origins that have this fault. What was looked up
    /// before is known still, as it would be.
    pub fn disturbing(self: &Arc<Self>, look_up: Lookup) -> Lookup {
        let chaos = Arc::clone(self);
        Arc::new(move |name| match chaos.forgets(&name) {
            Some(fault) => {
                let error = io::Error::other(format!("it is not found (fault {fault})"));
                async { Err(error) }.boxed()
            }
            None => look_up(name),
        })
    }

    /// The fault because of which a name cannot be looked up.
    fn forgets(&self, name: &str) -> Option<String> {
        if !self.is_active() {
            return None;
        }
        let running = self.running.load();
        let mut about = running
            .iter()
            .filter(|one| one.hosts.iter().any(|host| host == name));
        let found = about.next()?;
        found.count_request();
        Some(found.spec.name.clone())
    }
}
