//! The running account of one page: what each member has come to so far. Owns the slots' results
//! until they are written, and the report that is made of them at the end.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};

use crate::cache::{Entry, Ingredient};
use crate::clock::Instant;
use crate::degradation::Level;
use crate::fragment::facts::Facts;
use crate::fragment::{Fragment, SourceRequest};
use crate::plan::Plan;
use crate::report::{
    Afforded, Blocks, Cause, FragmentReport, Looked, Observer, OmitReason, Outcome, PageReport,
    Story, Sum,
};
use crate::site::{Page, PageId};

use super::made::Made;
use super::slot::{Fill, Settled};
use super::{Order, PageHead, Wanted, story};

/// What a member has come to that nobody has waited for.
static UNNEEDED: Outcome = Outcome::Omitted(OmitReason::Unneeded);

pub(crate) struct Account {
    order: Arc<Order>,
    page: PageId,
    path: String,
    level: Level,
    /// When the request came in.
    arrived: Instant,
    /// When the page was begun.
    started: Instant,
    planned_at: Level,
    head_after: Duration,
    status: u16,
    /// Headers that the core gave.
    headers: Vec<(HeaderName, HeaderValue)>,
    personal: bool,
    /// How old the snapshot is that takes the page's place.
    snapshot: Option<Duration>,
    finished: bool,
    /// Whether its slots were planned, and not its snapshot shown at once.
    pub(super) is_planned: bool,
    is_turned_away: bool,
    afforded: Afforded,
    witness: Option<Arc<dyn Observer>>,
    /// Whether its reader's browser shows slots that come late.
    pub(super) takes_late_slots: bool,
    members: Members,
    /// How long before this page an equal one was put together, if that is what it is made of.
    made_ago: Option<Duration>,
}

/// What the members of a page have come to.
enum Members {
    /// On this page.
    Own(Vec<Option<Settled>>),
    /// On one like it, a moment ago.
    Made(Arc<Made>),
}

impl Members {
    fn all(&self) -> &[Option<Settled>] {
        match self {
            Self::Own(members) => members,
            Self::Made(made) => &made.members,
        }
    }
}

impl Account {
    pub(super) fn new(order: Arc<Order>, plan: &Plan, wanted: Wanted<'_>) -> Self {
        Self {
            order,
            page: plan.page,
            path: wanted.path.to_owned(),
            level: plan.level,
            arrived: plan.arrived,
            started: plan.started,
            planned_at: plan.level,
            head_after: Duration::ZERO,
            status: 0,
            headers: Vec::new(),
            personal: false,
            snapshot: None,
            finished: false,
            is_planned: true,
            is_turned_away: false,
            afforded: wanted.afforded,
            witness: wanted.witness,
            takes_late_slots: wanted.takes_late_slots,
            members: Members::Own(plan.steps.iter().map(|_| None).collect()),
            made_ago: None,
        }
    }

    /// For whom the page is, and what serves it.
    pub(super) fn order(&self) -> &Arc<Order> {
        &self.order
    }

    /// The page as it is declared.
    pub(super) fn declared(&self) -> &Page {
        self.order.edition.site.page(self.page)
    }

    pub(super) fn level(&self) -> Level {
        self.level
    }

    pub(super) fn facts(&self) -> &Facts {
        &self.order.facts
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Headers that the core gave.
    pub(super) fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// Whether the page is one reader's own.
    pub(super) fn is_personal(&self) -> bool {
        self.personal
    }

    /// What the page is made of: each fragment with what its origin is asked for, and the items of
    /// each list.
    pub(super) fn made_of(&self) -> Vec<Ingredient> {
        let mut made_of = Vec::new();
        for (fragment, settled) in self.members() {
            made_of.push(Ingredient {
                fragment: fragment.name.clone(),
                target: SourceRequest::new(fragment, &self.order.facts).target,
            });
            if let Some(Fill::Entry(list)) = settled.map(|settled| &settled.content) {
                made_of.extend(list.made_of.iter().cloned());
            }
        }
        made_of
    }

    /// Each fragment of the page and what it has come to.
    pub(super) fn members(&self) -> impl Iterator<Item = (&Fragment, Option<&Settled>)> {
        let fragments = self.order.edition.site.members(self.declared());
        fragments.zip(self.members.all().iter().map(Option::as_ref))
    }

    /// A snapshot takes the page's place.
    pub(super) fn replaced_by(&mut self, snapshot: &Entry, now: Instant) {
        self.snapshot = Some(snapshot.age(self.order.composer.clock.moment(now)));
        self.level = self.order.edition.site.ladder.snapshot();
    }

    /// Whether this is the page, and not its snapshot, and not told yet.
    pub(super) fn is_open(&self) -> bool {
        !self.finished && self.snapshot.is_none() && self.status == 200
    }

    pub(super) fn settle(&mut self, member: usize, settled: Settled) {
        // none is left once the account is closed: of a body whose length was announced, the last bytes
        // may be written before the last word of a slot that adds none is heard
        if let Members::Own(members) = &mut self.members
            && let Some(place) = members.get_mut(member)
        {
            *place = Some(settled);
        }
    }

    /// Whoever filled the slots has stopped: what is not settled by now never will be.
    pub(super) fn give_up_the_rest(&mut self) {
        let now = self.order.composer.clock.now();
        // of one that was made nothing is left
        let Members::Own(members) = &mut self.members else {
            return;
        };
        for member in members.iter_mut().filter(|member| member.is_none()) {
            let reason = OmitReason::Failed(Cause::Stopping);
            *member = Some(Settled::omitted(reason, now));
        }
    }

    /// What a member has come to, if it has.
    pub(super) fn settled(&self, member: usize) -> Option<&Settled> {
        // none is left once the account is closed
        self.members.all().get(member)?.as_ref()
    }

    pub(super) fn head_settled(&mut self, head: &PageHead, now: Instant) {
        self.status = head.verdict.status().as_u16();
        self.head_after = now.saturating_duration_since(self.arrived);
        self.personal = head.private;
        self.headers.clone_from(&head.headers);
    }

    /// The body has been handed over whole: the account is closed before the last bytes are on the
    /// wire, so that whoever has read the page can read its account.
    pub(super) fn finish(&mut self) {
        if !self.finished {
            self.finished = true;
            self.close();
        }
    }

    /// There is no room for the page. How soon that was known says nothing of how long pages take.
    pub(super) fn turn_away(&mut self) {
        self.status = StatusCode::SERVICE_UNAVAILABLE.as_u16();
        self.is_turned_away = true;
        self.finish();
    }

    fn close(&mut self) {
        let members = std::mem::replace(&mut self.members, Members::Own(Vec::new()));
        let sum = self.sum(&members);
        if self.status != 0 && !self.is_turned_away {
            let took = self.head_after.max(sum.settled);
            let target = self.declared().target;
            self.order.edition.meters.times.record(took, target);
        }
        if self.order.observers().is_empty() && self.witness.is_none() {
            return;
        }
        let ended = self.order.composer.clock.now();
        let make = || self.blocks(&members, ended);
        let report = self.report(Blocks::new(sum, &make), ended);
        let witness = self.witness.as_ref();
        self.order.tell(witness, &report, || self.story(&report));
    }

    /// The page is what another one has come to: its members were all at hand when it was begun.
    pub(super) fn is_made_of(&mut self, made: Arc<Made>) {
        self.made_ago = Some(made.since(self.order.composer.clock.moment(self.started)));
        self.members = Members::Made(made);
    }

    /// The page is this one, of which others will be made.
    pub(super) fn is_this(&mut self, made: Arc<Made>) {
        self.members = Members::Made(made);
    }

    /// What the members have come to, for whoever makes the same of them again.
    pub(super) fn take_members(&mut self) -> Vec<Option<Settled>> {
        match std::mem::replace(&mut self.members, Members::Own(Vec::new())) {
            Members::Own(members) => members,
            made @ Members::Made(_) => {
                self.members = made;
                Vec::new()
            }
        }
    }

    /// Which page it is.
    pub(super) fn page(&self) -> PageId {
        self.page
    }

    /// From the request to when it was begun.
    pub(super) fn waited(&self) -> Duration {
        self.started.saturating_duration_since(self.arrived)
    }

    /// What the members come to together by now.
    pub(super) fn sum_so_far(&self) -> Sum {
        self.sum(&self.members)
    }

    /// What the members come to together.
    fn sum(&self, members: &Members) -> Sum {
        let members = match members {
            Members::Own(members) => members,
            Members::Made(made) => {
                let settled = self.waited();
                return Sum {
                    settled,
                    at_hand: Some(settled),
                    ..made.sum
                };
            }
        };
        let site = &self.order.edition.site;
        // most are settled in the same moment
        let (mut last, mut after) = (self.arrived, Duration::ZERO);
        let declared = self.declared().members.iter();
        let told = declared.zip(members).map(|(member, settled)| {
            let value = site.fragment(member.fragment).value;
            let Some(settled) = settled else {
                return (&UNNEEDED, value, Looked::default(), Duration::ZERO);
            };
            if settled.at != last {
                last = settled.at;
                after = last.saturating_duration_since(self.arrived);
            }
            (&settled.outcome, value, settled.looked, after)
        });
        let sum = Sum::of(told);
        Sum {
            // nobody's page
            at_hand: sum.at_hand.filter(|_| !self.order.is_rehearsal),
            ..sum
        }
    }

    /// Name, outcome and duration of each member that is settled.
    pub(super) fn known(&self) -> impl Iterator<Item = (&str, &Outcome, Duration)> {
        let members = &self.order.edition.site.page(self.page).members;
        members
            .iter()
            .zip(self.members.all())
            .filter_map(|(member, settled)| {
                let settled = settled.as_ref()?;
                let name = self
                    .order
                    .edition
                    .site
                    .fragment(member.fragment)
                    .name
                    .as_str();
                Some((
                    name,
                    &settled.outcome,
                    self.settled_at(&self.members, settled)
                        .saturating_duration_since(self.arrived),
                ))
            })
    }

    /// When one of these was settled.
    fn settled_at(&self, members: &Members, settled: &Settled) -> Instant {
        match members {
            Members::Own(_) => settled.at,
            Members::Made(_) => self.started,
        }
    }

    fn story(&self, report: &PageReport<'_>) -> Story {
        let level = self.is_planned.then_some(self.planned_at);
        let page = story::Told {
            id: self.page,
            level,
            started: self.started,
            afforded: self.afforded,
            made_ago: self.made_ago,
        };
        story::story(&self.order, page, report)
    }

    /// An entry for each member.
    fn blocks<'r>(&'r self, all: &'r Members, ended: Instant) -> Vec<FragmentReport<'r>> {
        let after = |at: Instant| at.saturating_duration_since(self.arrived);
        let (site, page) = (&self.order.edition.site, self.declared());
        let trace = &self.order.trace;
        let members = page.members.iter().zip(all.all()).enumerate();
        let fragments = members.map(|(slot, (member, settled))| {
            let fragment = site.fragment(member.fragment);
            let (outcome, looked, age, at) = match settled {
                Some(settled) => {
                    let at = self.settled_at(all, settled);
                    let since = at.saturating_duration_since(settled.at);
                    let age = settled.age.map(|age| age + since);
                    (&settled.outcome, settled.looked, age, at)
                }
                None => (&UNNEEDED, Looked::default(), None, ended),
            };
            FragmentReport {
                name: Cow::Borrowed(&fragment.name),
                place: member.fragment.index(),
                outcome: Cow::Borrowed(outcome),
                value: fragment.value,
                looked,
                age,
                duration: after(at),
                span_id: trace.slot(slot),
            }
        });
        fragments.collect()
    }

    fn report<'r>(&'r self, fragments: Blocks<'r>, ended: Instant) -> PageReport<'r> {
        let (page, trace) = (self.declared(), &self.order.trace);
        PageReport {
            page: Cow::Borrowed(&page.name),
            place: self.page.index(),
            path: Cow::Borrowed(&self.path),
            trace_id: trace.trace_id,
            span_id: trace.span_id,
            parent_id: trace.parent_id,
            is_sampled: trace.sampled,
            began: self.order.composer.clock.moment(self.arrived),
            level: self.level,
            is_rehearsal: self.order.is_rehearsal,
            status: self.status,
            head_after: self.head_after,
            duration: ended.saturating_duration_since(self.arrived),
            finished: self.finished,
            snapshot: self.snapshot,
            fragments,
            // of what was at hand nobody was asked
            attempts: match self.made_ago {
                Some(_) => Vec::new(),
                None => self.order.attempts(self.arrived),
            },
        }
    }
}

impl Drop for Account {
    /// The reader has left before the end, if the account is still open.
    fn drop(&mut self) {
        if !self.finished {
            self.close();
        }
    }
}
