//! Answers that are brought: pushed by whoever publishes them, or taken back. Owns what they become;
//! who may bring them is not known here.
//!
//! Invariant: what is pushed has passed every check that an origin's answer passes, so that a page
//! does not know the one from the other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{ETAG, LAST_MODIFIED, SET_COOKIE};

use crate::cache::freshness::CacheControl;
use crate::cache::{Content, Entry, Older, Purge, Pushed, Selector, Validators};
use crate::clock::Moment;
use crate::degradation::{Level, Reader};
use crate::fetch::attempt;
use crate::fragment::{Fragment, FragmentId, Source, SourceRequest, Trace};
use crate::layout::parts::Parts;
use crate::report::Cause;

use super::flight::{said, work};
use super::{Composer, Edition, Order};

/// How long a copy is fresh whose publisher does not say: until the next one. 68 years, the largest
/// delta-seconds of RFC 9111, 1.2.2.
const UNTIL_REPLACED: Duration = Duration::from_secs(1 << 31);

/// An answer that nobody has asked for.
#[derive(Debug, Clone)]
pub struct Brought {
    /// Its bytes.
    pub body: Bytes,
    /// Whether they are JSON for the fragment's template.
    pub json: bool,
    /// What came with it: tags, validators, and for a core fragment what is for the page's head.
    pub headers: HeaderMap,
    /// What it says of its lifetime.
    pub says: CacheControl,
    /// Its publisher's own count.
    pub version: Option<u64>,
    /// What its template sees as `params`.
    pub params: Vec<(String, String)>,
}

/// Why an answer that was brought is not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// It does not pass the checks of an origin's answer.
    #[error("{0}")]
    Unusable(Cause),
    /// The template says that there is nothing to show.
    #[error("the template says that there is nothing to show")]
    Nothing,
    /// By the declaration such a copy is never used.
    #[error("a copy of this fragment is never used: it has no `ttl`, `grace` or `keep`")]
    Useless,
    /// There is a newer one.
    #[error(transparent)]
    Older(#[from] Older),
}

impl Composer {
    /// Keeps what was brought as the copy that answers `request`.
    pub async fn push(
        self: &Arc<Self>,
        edition: &Arc<Edition>,
        id: FragmentId,
        request: Arc<SourceRequest>,
        brought: Brought,
    ) -> Result<Pushed, PushError> {
        let fragment = edition.site.fragment(id);
        let parts = self.shown(edition, fragment, &request, &brought)?;
        let mut headers = brought.headers;
        headers.remove(SET_COOKIE);
        let mut says = brought.says;
        if let Source::Push(_) = fragment.source {
            says.max_age = says.max_age.or(Some(UNTIL_REPLACED));
        }
        let content = Content::Html(parts);
        let entry = Entry {
            head: said::head(fragment, &headers),
            says,
            validators: Validators {
                etag: headers.get(ETAG).cloned(),
                last_modified: headers.get(LAST_MODIFIED).cloned(),
            },
            tags: said::tags(&headers),
            version: brought.version,
            chance: fastrand::u8(..),
            ..Entry::new(fragment.name.as_str(), content, self.moment())
        };
        if !entry.is_worth_storing(&fragment.freshness) {
            return Err(PushError::Useless);
        }
        let (entry, reach) = (entry.compacted(), fragment.reach);
        let pushed = self
            .cache
            .push(request, entry, &fragment.freshness, reach)
            .await?;
        Ok(pushed)
    }

    /// What of it is to be shown, if it is as good as an origin's answer.
    fn shown(
        self: &Arc<Self>,
        edition: &Arc<Edition>,
        fragment: &Fragment,
        request: &SourceRequest,
        brought: &Brought,
    ) -> Result<Parts, PushError> {
        let body = brought.body.clone();
        let mut html = attempt::sound(body, &fragment.limits).map_err(PushError::Unusable)?;
        if brought.json {
            let order = Order {
                lazy_on: None,
                composer: Arc::clone(self),
                edition: Arc::clone(edition),
                trace: Trace::default(),
                trail: Arc::default(),
                facts: Arc::default(),
                level: Level::FULL,
                overrides: Arc::default(),
                reader: Reader::NOBODY,
                is_frugal: false,
                is_rehearsal: false,
                drawn: None,
            };
            let request = SourceRequest {
                params: brought.params.clone(),
                ..request.clone()
            };
            html = work::html(&order, fragment, &request, html)
                .map_err(PushError::Unusable)?
                .ok_or(PushError::Nothing)?;
        }
        work::check_content(fragment, &html).map_err(PushError::Unusable)?;
        let parts = Parts::split(html);
        match parts.is_empty() {
            true => Err(PushError::Unusable(Cause::Empty)),
            false => Ok(parts),
        }
    }

    /// Takes back the copy that answers `request`, whoever brought it, and the snapshots of pages
    /// that show it. What is pushed with a lower version later stays away.
    pub async fn withdraw(
        &self,
        fragment: &Fragment,
        request: Arc<SourceRequest>,
        version: Option<u64>,
    ) -> Result<Pushed, Older> {
        let entry = Entry {
            version,
            ..Entry::new(fragment.name.as_str(), Content::Withdrawn, self.moment())
        };
        let target = request.target.clone();
        let (declared, reach) = (&fragment.freshness, fragment.reach);
        let withdrawn = self.cache.push(request, entry, declared, reach).await?;
        // a purge by key takes what varies with the reader too: where there is such, only one of
        // several was taken back
        if fragment.forward_headers.is_empty() {
            let before = withdrawn.entry.stored_at.micros().saturating_sub(1);
            self.cache.purge(&[Purge {
                selector: Selector::Key {
                    fragment: fragment.name.clone(),
                    target,
                },
                at: Moment::from_micros(before),
                hard: true,
            }]);
        }
        Ok(withdrawn)
    }

    fn moment(&self) -> Moment {
        self.clock.moment(self.clock.now())
    }
}
