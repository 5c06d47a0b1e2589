//! A server within another program: what the program brings along of its own, and how it is mounted. Owns
//! the ways to say so; what is started of it is the [server](super::App) as ever.
//!
//! Invariant: what is brought along stands where what is built in would stand. An origin of one's own is
//! behind the same breaker, bulkhead and deadlines; a law of one's own is under the same switches.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use axum::Router;

use crate::config::{self, Declaration, Diagnostics, Loaded};
use crate::degradation::law::{Own, OwnLaw};
use crate::fetch::Origin;
use crate::report::{Observer, Signature};
use crate::server;

use super::reload::Core;
use super::{App, Options, StartError};

/// What a program brings along.
#[derive(Default)]
pub struct Brought {
    /// Instead of a file.
    pub(super) declaration: Option<Declaration>,
    /// Who answers for declared origins, by their names.
    pub(super) origins: BTreeMap<String, Arc<dyn Origin>>,
    pub(super) observers: Vec<Arc<dyn Observer>>,
    pub(super) law: Option<Own>,
    pub(super) is_mounted: bool,
    pub(super) has_no_operators: bool,
}

/// Why another declaration has not taken the place of the one before.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

impl Options {
    /// To serve a site that is declared in code.
    pub fn declared(declaration: Declaration) -> Self {
        let mut options = Self::new("fragments.toml");
        options.brought.declaration = Some(declaration);
        options
    }

    /// Opens no listener to readers: they come by [`App::router`].
    #[must_use]
    pub fn mounted(mut self) -> Self {
        self.brought.is_mounted = true;
        self
    }

    /// Opens no listener to operators: no dashboard, no admin API, no `/metrics`. The program's own
    /// [observers](Self::observer) are all that tells.
    #[must_use]
    pub fn without_operators(mut self) -> Self {
        self.brought.has_no_operators = true;
        self
    }

    /// Lets the program answer itself for the declared origin of this name. Nobody connects to its `urls`
    /// then: they are what its replicas are called. That it is declared is found out at the start.
    #[must_use]
    pub fn origin(mut self, name: impl Into<String>, origin: Arc<dyn Origin>) -> Self {
        self.brought.origins.insert(name.into(), origin);
        self
    }

    /// Tells somebody more of each page and of each event, on the request path: whoever has much to do with
    /// it passes it on to a thread or a task of its own.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.brought.observers.push(observer);
        self
    }

    /// Lets this law decide, instead of the one that the site declares.
    #[must_use]
    pub fn law(mut self, law: impl OwnLaw) -> Self {
        self.brought.law = Some(Own::new(law));
        self
    }
}

impl App {
    /// What answers to readers, to be mounted in a router: as its fallback, so that paths are the site's
    /// own. Where the program serves with the address of who connects
    /// (`into_make_service_with_connect_info::<SocketAddr>`), that is who reads; the site's
    /// `trusted_peers` hold as ever.
    ///
    /// A program that ends stops accepting and finishes its requests first, then [stops](Self::stop) this.
    pub fn router(&self) -> Router {
        let trusted = Arc::new(self.settings.trusted_peers.clone());
        server::mounted(Arc::clone(&self.readers), trusted)
    }

    /// Puts another declaration in the place of the one before, and gives what has changed. Pages under way
    /// keep the one that they began with; one that is wrong changes nothing.
    pub async fn declare(&self, declaration: Declaration) -> Result<Vec<String>, Refused> {
        let core = Arc::clone(&self.core);
        core.reload(Signature::default(), Some(declaration))
            .await
            .map_err(Refused)
    }
}

impl Core {
    /// What the site is now: what its program says, or its file.
    pub(super) fn load(&self, declaration: Option<&Declaration>) -> Result<Loaded, Diagnostics> {
        match declaration {
            Some(declaration) => declaration.load(&*self.env),
            None => config::load(&self.file, &*self.env),
        }
    }
}

impl Brought {
    /// An origin that is brought along and that no site knows.
    pub(super) fn check(&self, loaded: &Loaded) -> Result<(), StartError> {
        let is_declared = |name: &String| loaded.site.origins.iter().any(|spec| spec.name == *name);
        match self.origins.keys().find(|name| !is_declared(name)) {
            Some(name) => Err(StartError::NoSuchOrigin(name.clone())),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Brought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Brought")
            .field("origins", &self.origins.keys())
            .field("observers", &self.observers.len())
            .field("law", &self.law)
            .field("is_mounted", &self.is_mounted)
            .finish_non_exhaustive()
    }
}
