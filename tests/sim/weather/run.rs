//! One run: the weather of a seed over one site, event after event, with everything looked at after each.

use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use futures::FutureExt as _;
use marbre::report::Signature;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::sleep;
use xxhash_rust::xxh3::xxh3_128;

use super::declared::{Declared, PAGES};
use super::events::{self, Event, OTHERS, OURS};
use super::newsroom::Newsroom;
use super::promises::{self, Broken, Met, Promise, keep, met};
use super::reader::{Asks, Read, STORIES, read};
use super::store::{Store, Trouble, Way};
use super::world::{Setting, World};

/// The wall clock at the beginning: a winter's noon, so that no run is near the end of a day.
const NOON: Duration = Duration::from_secs(1_768_305_600);

/// Events of one run.
const EVENTS: usize = 60;

/// How long it may take after the weather until pages are full again.
const RECOVERY: Duration = Duration::from_secs(300);

/// What a run has come to.
pub(crate) struct Run {
    pub(crate) met: Met,
    /// Every event, and every page with what was said of it.
    pub(crate) transcript: String,
    pub(crate) broken: Option<Broken>,
}

impl Run {
    /// The same for the same transcript only.
    pub(crate) fn digest(&self) -> u128 {
        xxh3_128(self.transcript.as_bytes())
    }
}

struct Play<'p> {
    rng: Rng,
    newsroom: Arc<Newsroom>,
    world: Arc<World>,
    folder: Option<&'p Path>,
    store: Option<Arc<Store>>,
    pages_max: usize,
    work: Duration,
    wall: SystemTime,
    readers: JoinSet<Read>,
    /// Pages that have ended in this very moment, in which others may end too.
    done: Vec<Read>,
    asked: u64,
    /// Of those, how many were asked of servers that have been stopped.
    asked_before: u64,
    /// Validators that readers were told, the last one.
    tag: Option<String>,
    seen: Met,
    transcript: Mutex<String>,
}

/// Whether work takes time under this seed and places are few, so that pages wait for one another. Whom of several that wait
/// for one flight the runtime wakes first is its own chance (the shards of `tokio::sync::watch`), which no
/// seed is given to: where that matters, a run is the same in what it draws, and not to the last page.
pub(crate) const fn is_crowded(seed: u64) -> bool {
    seed % 4 == 3
}

/// Plays one seed.
pub(crate) async fn play(seed: u64) -> Run {
    let mut rng = Rng::with_seed(seed);
    let kept = (rng.u8(..8) == 0).then(|| tempfile::tempdir().expect("a temporary folder"));
    let store = (rng.u8(..3) == 0).then(Store::new);
    let newsroom = Newsroom::new();
    let declared = Arc::new(Declared::draw(&mut rng));
    let pages_max = match is_crowded(seed) {
        true => [4, 64][rng.usize(..2)],
        false => 1_000,
    };
    let work = match is_crowded(seed) {
        true => Duration::from_millis([2, 6][rng.usize(..2)]),
        false => Duration::ZERO,
    };
    let wall = UNIX_EPOCH + NOON;
    let folder = kept.as_ref().map(tempfile::TempDir::path);
    let setting = Setting {
        folder,
        store: store
            .as_ref()
            .map(|store| Arc::new(Way(Arc::clone(store))) as _),
        pages_max,
        work,
    };
    newsroom.starts(wall);
    let world = World::start(declared, &newsroom, wall, setting).await;
    let mut play = Play {
        rng,
        newsroom,
        world,
        folder,
        store,
        pages_max,
        work,
        wall,
        readers: JoinSet::new(),
        done: Vec::new(),
        asked: 0,
        asked_before: 0,
        tag: None,
        seen: Met::new(),
        transcript: Mutex::default(),
    };
    let played = AssertUnwindSafe(play.whole()).catch_unwind().await;
    let broken = match played {
        Ok(played) => played.err(),
        Err(panic) => std::panic::resume_unwind(panic),
    };
    play.world.tell(&mut play.seen);
    play.world.stop().await;
    let panics = play.newsroom.panics.load(Ordering::Relaxed);
    *play.seen.entry("panics of origins").or_default() += panics as u64;
    Run {
        met: play.seen,
        transcript: play.transcript.into_inner(),
        broken,
    }
}

impl Play<'_> {
    async fn whole(&mut self) -> Result<(), Broken> {
        for _ in 0..EVENTS {
            let declared = self.world.present().declared;
            let event = Event::draw(&mut self.rng, &declared, self.store.is_some());
            met(&mut self.seen, event.kind());
            self.write(format_args!("{event:?}"));
            self.happens(event).await?;
            let pause = [1, 30, 300, 3_000][self.rng.usize(..4)];
            let pause = Duration::from_millis(self.rng.u64(1..=pause));
            self.passes(pause).await?;
        }
        self.ends().await
    }

    fn write(&self, what: std::fmt::Arguments<'_>) {
        let at = self.newsroom.now().as_micros();
        let _ = writeln!(self.transcript.lock(), "{at} {what}");
    }

    /// Lets time pass, and looks at what has come of it.
    async fn passes(&mut self, span: Duration) -> Result<(), Broken> {
        sleep(span).await;
        self.look()
    }

    /// Looks at all that has happened.
    fn look(&mut self) -> Result<(), Broken> {
        while let Some(read) = self.readers.try_join_next() {
            self.done
                .push(read.unwrap_or_else(|error| panic!("a reader: {error}")));
        }
        let now = self.newsroom.now();
        let (reads, done) = self.done.drain(..).partition(|read| read.ended < now);
        self.done = done;
        self.have_read(reads)?;
        self.world.look();
        match self.world.broken.lock().take() {
            Some(broken) => Err(broken),
            None => Ok(()),
        }
    }

    /// In the order in which they have come to their end, and of those of one moment in that in which they
    /// came: who of them is the first to be told is left to chance by the runtime.
    fn have_read(&mut self, mut reads: Vec<Read>) -> Result<(), Broken> {
        reads.sort_by_key(|read| (read.ended, read.asks.trace));
        reads.into_iter().try_for_each(|read| self.has_read(read))
    }

    fn has_read(&mut self, read: Read) -> Result<(), Broken> {
        let answer = read.answer.as_ref();
        self.write(format_args!(
            "page {} {:?} {:?} {:?}",
            read.asks.trace,
            answer.map(|answer| answer.status),
            answer.map(|answer| (answer.says("cache-control"), answer.says("marbre-level"))),
            answer.map(|answer| answer.body.as_str()),
        ));
        promises::of_a_page(&read, &self.newsroom, &mut self.seen)?;
        promises::remember(&read, &self.newsroom);
        if let Some(answer) = answer {
            let tag = answer.says("etag");
            if !tag.is_empty() {
                self.tag = Some(tag.to_owned());
            }
        }
        Ok(())
    }

    fn ask(&mut self, asks: Asks) {
        self.readers.spawn(read(Arc::clone(&self.world), asks));
    }

    fn comes(&mut self) {
        self.asked += 1;
        let asks = Asks::draw(&mut self.rng, u128::from(self.asked), self.tag.clone());
        self.ask(asks);
    }

    /// Waits until everybody has left.
    async fn leave(&mut self) -> Result<(), Broken> {
        let mut reads = std::mem::take(&mut self.done);
        while let Some(read) = self.readers.join_next().await {
            reads.push(read.unwrap_or_else(|error| panic!("a reader: {error}")));
        }
        self.have_read(reads)
    }

    async fn happens(&mut self, event: Event) -> Result<(), Broken> {
        let clock = self.world.composer.clock();
        let now = clock.moment(clock.now());
        match event {
            Event::Readers(count) => (0..count).for_each(|_| self.comes()),
            Event::Crowd(count) => {
                for _ in 0..count {
                    self.comes();
                    let pause = Duration::from_micros(self.rng.u64(1..20_000));
                    self.passes(pause).await?;
                }
            }
            Event::Turn(origin) => self.newsroom.turn(origin, &mut self.rng),
            Event::AllWell => self.newsroom.all_well(),
            Event::Switch(act, span) => {
                // what contradicts another is refused, and says so
                let _ = self
                    .world
                    .switches
                    .set(events::switch(act, OURS, now, span));
            }
            Event::Clear(act) => {
                self.world.switches.clear(&act.subject(), OURS);
            }
            Event::Purge(selector, hard) => {
                let purge = events::purge(selector, hard, now);
                self.newsroom.purges(&purge);
                self.world.composer.cache().purge(&[purge]);
            }
            Event::Reload => {
                let next = self.world.present().declared.next(&mut self.rng);
                let reloaded = self.world.reload(Arc::new(next), false);
                keep(Promise::NothingLost, reloaded.is_ok(), || {
                    format!("{reloaded:?}")
                })?;
            }
            Event::BadReload => self.bad_reload()?,
            Event::Fault(wanted) => {
                let name = format!("f{}", self.rng.u8(..4));
                let spec = wanted.spec(&name, None);
                let spec = spec.unwrap_or_else(|why| panic!("{wanted:?}: {why}"));
                let _ = self.world.chaos.begin(spec);
            }
            Event::EndFaults => self.end_faults(),
            Event::Store(trouble) => {
                if let Some(store) = &self.store {
                    store.turn(trouble);
                }
            }
            Event::OthersPurge(selector, hard) => {
                let purge = events::purge(selector, hard, now);
                if let Some(store) = &self.store {
                    self.newsroom.others_purge(&purge);
                    store.others_purge(&purge);
                }
            }
            Event::OthersSwitch(act, span) => {
                if let Some(store) = &self.store {
                    store.others_switch(&events::switch(act, OTHERS, now, span));
                }
            }
            Event::OthersNoise(noise) => {
                if let Some(store) = &self.store {
                    store.others_say(&noise);
                }
            }
            Event::Restart(off) => self.restart(off).await?,
            Event::Calm(span) => self.passes(span).await?,
        }
        self.look()
    }

    fn end_faults(&self) {
        for name in ["f0", "f1", "f2", "f3"] {
            self.world.chaos.end(name, Signature::default());
        }
    }

    /// What cannot be read changes nothing.
    fn bad_reload(&mut self) -> Result<(), Broken> {
        let before = self.world.present();
        let next = Arc::new(before.declared.next(&mut self.rng));
        let refused = self.world.reload(next, true).is_err();
        let after = self.world.present();
        let is_same = Arc::ptr_eq(&before.edition, &after.edition);
        keep(Promise::NothingLost, refused && is_same, || {
            "what is no site has taken the site's place".to_owned()
        })
    }

    async fn restart(&mut self, off: i64) -> Result<(), Broken> {
        self.leave().await?;
        self.counted()?;
        self.world.tell(&mut self.seen);
        self.world.stop().await;
        // the new server starts while the folder is still the old one's, as in a rolling restart;
        // what is on disk is written and read by real threads, for which virtual time does not wait: whether
        // it is found in time says nothing here, and is for the tests of real processes
        self.newsroom.forget();
        if self.folder.is_none() || self.store.is_some() {
            // without a disk no copy of before is shown but the store's, and what that was never told it tells
            // nobody; with one it is known, but only once the folder is the new server's
            let store = self.store.as_deref();
            let is_told = |at, purge: &_| store.is_some_and(|store| store.was_told(at, purge));
            self.newsroom.forgets_purges(is_told);
        }
        // what is beside a copy is the wall clock's time
        let wall = self.wall + self.newsroom.now();
        let jump = Duration::from_secs(off.unsigned_abs());
        let wall = if off < 0 { wall - jump } else { wall + jump };
        self.newsroom.starts(wall);
        self.wall = wall - self.newsroom.now();
        let declared = self.world.present().declared;
        let setting = Setting {
            folder: self.folder,
            store: self
                .store
                .as_ref()
                .map(|store| Arc::new(Way(Arc::clone(store))) as _),
            pages_max: self.pages_max,
            work: self.work,
        };
        self.world = World::start(declared, &self.newsroom, wall, setting).await;
        Ok(())
    }

    /// What this server has counted is what it was asked for.
    fn counted(&mut self) -> Result<(), Broken> {
        let asked = self.asked - self.asked_before;
        let reports = &self.world.reports;
        let counts = (asked, reports.count(), reports.again());
        promises::counts(&self.world.tally.state(), counts)?;
        self.asked_before = self.asked;
        Ok(())
    }

    /// The weather ends: everybody leaves, all is well, and after a while it is as if nothing had been.
    async fn ends(&mut self) -> Result<(), Broken> {
        self.newsroom.all_well();
        self.end_faults();
        if let Some(store) = &self.store {
            store.turn(Trouble::None);
        }
        self.leave().await?;
        let until = self.newsroom.now() + RECOVERY;
        loop {
            // also what other nodes and the last process have set, as soon as it is heard of: by a wall clock
            // that was set back it lasts as long as that is behind
            for act in events::all_acts() {
                self.world.switches.clear(&act.subject(), OURS);
            }
            self.passes(Duration::from_secs(5)).await?;
            let Some(lacking) = self.round().await? else {
                break;
            };
            let is_over = self.newsroom.now() > until;
            let now = self.world.moment();
            keep(Promise::Returns, !is_over, || {
                format!("no full pages after the weather: {now:?}, {lacking}")
            })?;
        }
        self.passes(Duration::from_secs(60)).await?;
        self.leave().await?;
        // each block under each source it had, for each story and reader, and each page's snapshots
        let copies_max = 8 * 3 * usize::from(STORIES) * 11 + 4 * usize::from(STORIES) * 61;
        promises::of_the_end(&self.world.moment(), copies_max)?;
        self.counted()
    }

    /// One reader for each page of each story; `None`: all are full, else one that is not.
    async fn round(&mut self) -> Result<Option<String>, Broken> {
        let mut lacking = None;
        for page in PAGES {
            for story in 0..STORIES {
                self.asked += 1;
                let asks = Asks::plainly(u128::from(self.asked), page, story);
                let read = read(Arc::clone(&self.world), asks).await;
                if !promises::is_full(&read) {
                    lacking = Some(format!("{:?}", read.report));
                }
                self.has_read(read)?;
            }
        }
        Ok(lacking)
    }
}
