//! The loop of the [governor](crate::degradation::Governor) (shell): looks at the sensors every tick,
//! and publishes what pages are planned by. Owns the tick; what is made of it is decided elsewhere.
//!
//! It is a thread of its own: on an overloaded machine the runtime is late, and this must not be.

use std::convert::Infallible;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{Clock, Instant};
use crate::compose::{Composer, Edition};
use crate::degradation::governor::{Seen, TICK, Turned};
use crate::degradation::law::Own;
use crate::degradation::meters::Counted;
use crate::degradation::mode::Effect;
use crate::degradation::{Governor, Lag, Law, Level, Mode, Overrides};
use crate::report::{Event, Throttle};
use crate::site::governed::{asked, charges, effect, shape};
use crate::site::{self, Site};
use crate::telemetry::Samples;

use super::learned::KnownRate;

/// Between two changes of the level that are told: a step that some readers keep and others do not
/// moves every tick.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// What the loop looks at, and where it puts what it finds.
pub struct Governing {
    /// What is served at present.
    pub edition: Arc<ArcSwap<Edition>>,
    /// Whose waits are the signal, and whose observers are told.
    pub composer: Arc<Composer>,
    /// How late the runtime is.
    pub lag: Arc<Lag>,
    /// What operators have decided.
    pub overrides: Arc<ArcSwap<Overrides>>,
    /// What pages are planned by.
    pub mode: Arc<ArcSwap<Mode>>,
    /// What was found, for whoever draws it.
    pub samples: Arc<Samples>,
    /// Whether origins are spared.
    pub is_limiting: Arc<AtomicBool>,
    /// What is known of the machine, from before a restart to begin with.
    pub rate: Arc<KnownRate>,
    /// The processor time that was used so far; see [`Clock::cpu`].
    pub cpu: fn(&Clock) -> Option<Duration>,
    /// Decides instead of the law that the site declares.
    pub own_law: Option<Own>,
}

/// What one edition was seen to have at the last tick.
struct Followed {
    edition: Arc<Edition>,
    counted: Counted,
}

/// What is remembered from tick to tick.
pub struct Memory {
    followed: Followed,
    governor: Governor,
    told: Told,
    /// When the last tick was, and the processor time that had been used by then.
    then: Instant,
    cpu: Option<Duration>,
}

/// The level that people were told.
struct Told {
    level: Level,
    at: Instant,
}

impl Governing {
    /// Begins, until `stop` or the end of the runtime. `tasks` tells when it has ended: it holds what
    /// the next server on the same folder needs for itself.
    pub(super) fn begin(self, tasks: &TaskTracker, stop: CancellationToken) -> io::Result<()> {
        let (goes_on, stopped) = mpsc::sync_channel::<Infallible>(0);
        let thread = thread::Builder::new().name("marbre-governor".to_owned());
        let thread = thread.spawn(move || self.run(&stopped))?;
        tasks.spawn(async move {
            stop.cancelled().await;
            drop(goes_on);
            let _ = spawn_blocking(move || thread.join()).await;
        });
        Ok(())
    }

    fn run(self, stopped: &Receiver<Infallible>) {
        let (mut memory, complaints) = (None, Throttle::default());
        loop {
            self.turn_or_lose(&mut memory, &complaints);
            if stopped.recv_timeout(TICK) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    /// One tick, or the beginning of a memory where there is none. A panic costs the memory, and
    /// gives full pages: the last mode would else be what they are planned by for ever.
    fn turn_or_lose(&self, memory: &mut Option<Memory>, complaints: &Throttle) {
        let turning = AssertUnwindSafe(|| match memory {
            Some(memory) => self.turn(memory),
            None => *memory = Some(self.remember()),
        });
        if catch_unwind(turning).is_ok() {
            return;
        }
        *memory = None;
        self.is_limiting.store(false, Ordering::Relaxed);
        self.publish(Mode {
            overrides: self.overrides.load_full(),
            ..first(&self.edition.load().site)
        });
        if let Some(untold) = complaints.due("panic", self.composer.clock().now()) {
            tracing::error!(
                untold = untold.0,
                "the governor panicked: what it had learned of costs and of strained origins since the \
                 start is lost, pages are full until it has learned them anew; what operators have \
                 decided stays in force, and so does the rate of this machine{untold}"
            );
        }
    }

    /// Begins to remember, with what there is now.
    pub fn remember(&self) -> Memory {
        let clock = self.composer.clock();
        let followed = self.follow();
        let site = &followed.edition.site;
        let (then, cpu) = (clock.now(), (self.cpu)(&clock));
        Memory {
            governor: Governor::new(self.law(site), shape(site), self.rate.value()),
            followed,
            told: Told {
                level: Level::FULL,
                at: then,
            },
            then,
            cpu,
        }
    }

    /// One tick.
    pub fn turn(&self, memory: &mut Memory) {
        let clock = self.composer.clock();
        let (now, used) = (clock.now(), (self.cpu)(&clock));
        let Memory {
            followed,
            governor,
            told,
            then,
            cpu,
        } = memory;
        let counted = self.counted(followed, governor);
        let site = &followed.edition.site;
        let overrides = self.overrides.load_full();
        let span = now.saturating_duration_since(*then);
        let is_on = site.degradation.mode == site::Mode::On && !overrides.is_dry_run;
        let readings = followed
            .edition
            .fetcher
            .tick(span, |id| governor.is_shared(id.index()));
        let effect = effect(site.degradation.mode);
        let turned = governor.tick(Seen {
            span,
            counted,
            queue_delay: self.queue_delay(now),
            lateness: followed.edition.meters.times.turn(),
            cpu: used
                .zip(*cpu)
                .map(|(used, before)| used.saturating_sub(before)),
            charges: charges(site, &overrides, &readings),
            asked: asked(site, &readings),
            effect,
            overrides,
        });
        (*then, *cpu) = (now, used);
        // what was learned while nothing came of it has been tried on nobody
        if effect != Effect::None {
            self.rate.learn(governor.rate());
        }
        self.tell(site, &turned, told, now);
        self.samples
            .add(&turned, clock.moment(now), site.ladder.text_only());
        // what origins are asked of is limited by who may give up blocks and pages, or by nobody
        let is_limiting = is_on && !turned.mode.is_held_down();
        self.is_limiting.store(is_limiting, Ordering::Relaxed);
        self.publish(turned.mode);
    }

    /// What pages are planned by from now on. A switch that was set meanwhile is in force already, and
    /// stays so.
    fn publish(&self, mode: Mode) {
        let known = Arc::clone(&mode.overrides);
        self.mode.store(Arc::new(mode));
        let overrides = self.overrides.load_full();
        if !Arc::ptr_eq(&overrides, &known) {
            self.mode.rcu(|mode| Mode {
                overrides: Arc::clone(&overrides),
                ..Mode::clone(mode)
            });
        }
    }

    fn follow(&self) -> Followed {
        let edition = self.edition.load_full();
        Followed {
            counted: edition.meters.counted(),
            edition,
        }
    }

    /// What was counted since the last tick. What the last moments of a site before a reload have
    /// counted is not counted.
    fn counted(&self, followed: &mut Followed, governor: &mut Governor) -> Counted {
        if !Arc::ptr_eq(&followed.edition, &self.edition.load()) {
            *followed = self.follow();
            let site = &followed.edition.site;
            governor.declare(self.law(site), shape(site));
        }
        let counted = followed.edition.meters.counted();
        let since = counted.since(&followed.counted);
        followed.counted = counted;
        since
    }

    fn law(&self, site: &Site) -> Law {
        if let Some(own) = &self.own_law {
            return Law::Own(own.clone());
        }
        let cores = self.composer.executor().permits();
        site.degradation.law.for_cores(cores)
    }

    fn queue_delay(&self, now: Instant) -> Duration {
        let waits = self.composer.executor().take_queue_delay();
        waits.max(self.lag.take_mean(now))
    }

    fn tell(&self, site: &Site, turned: &Turned, told: &mut Told, now: Instant) {
        let mode = &turned.mode;
        let level = mode.by_law(site.ladder.text_only());
        let is_soon = now.saturating_duration_since(told.at) < TOLD_EVERY;
        if level == told.level || is_soon {
            return;
        }
        let event = Event::Degraded {
            from: told.level,
            to: level,
            sample: turned.sample,
            decision: mode.decision,
            phi: mode.phi,
            is_dry_run: !mode.gives_up(),
        };
        let observers = self.composer.observers();
        observers.iter().for_each(|observer| observer.event(&event));
        *told = Told { level, at: now };
    }
}

/// What the first pages are planned by, before there was a tick.
pub fn first(site: &Site) -> Mode {
    Mode {
        effect: effect(site.degradation.mode),
        ..Mode::full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;
    use crate::config;
    use crate::degradation::costs::Shape;
    use crate::degradation::{Cut, Decision};
    use crate::fetch::{Fetcher, Means};

    fn governing(degradation: &str) -> Governing {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fragments.toml");
        std::fs::create_dir(folder.path().join("templates")).unwrap();
        let slots = "<fragment name=\"a\"></fragment><fragment name=\"b\"></fragment>";
        std::fs::write(folder.path().join("templates/layout.html"), slots).unwrap();
        let toml = format!(
            "[pages.p]\nroute = \"/\"\nlayout = \"layout.html\"\n\
             [fragments.a]\npriority = \"core\"\nsource = \"inline:a\"\n\
             [fragments.b]\npriority = 40\nsource = \"inline:b\"\n\
             [degradation]\n{degradation}\n"
        );
        std::fs::write(&file, toml).unwrap();
        let site = match config::load(&file, &|_| None) {
            Ok(loaded) => loaded.site,
            Err(diagnostics) => panic!("{diagnostics}"),
        };
        let means = Means::new(Clock::start(), Vec::new());
        let fetcher = Fetcher::new(&site, None, &means, |_| Ok(Vec::new())).unwrap();
        let composer = Composer::new(Cache::new(1 << 20), means.clock, TaskTracker::new(), vec![]);
        Governing {
            mode: Arc::new(ArcSwap::from_pointee(first(&site))),
            edition: Arc::new(ArcSwap::from_pointee(Edition::new(site, fetcher))),
            composer: Arc::new(composer),
            lag: means.lag,
            overrides: Arc::default(),
            samples: Arc::default(),
            is_limiting: means.is_limiting,
            rate: Arc::new(KnownRate::new(Some(1234.5))),
            cpu: Clock::cpu,
            own_law: None,
        }
    }

    #[test]
    fn a_panic_gives_full_pages_and_the_loop_goes_on() {
        let (governing, complaints) = (governing("mode = \"on\""), Throttle::default());
        let mut memory = None;
        (0..2).for_each(|_| governing.turn_or_lose(&mut memory, &complaints));
        assert!(governing.is_limiting.load(Ordering::Relaxed));
        assert_eq!(governing.samples.since(0).len(), 1);
        // the last mode is a cut one, and a switch is set
        governing.mode.rcu(|mode| Mode {
            decision: Decision {
                theta: 0.0,
                ..Decision::FULL
            },
            cut: Cut::at(0.0, &[1.0]),
            ..Mode::clone(mode)
        });
        let overrides = Arc::new(Overrides {
            floor: Some(Level::new(1)),
            ..Overrides::default()
        });
        governing.overrides.store(Arc::clone(&overrides));
        // a step of a fragment that there is not
        let broken = Shape {
            steps: vec![vec![9]],
            ..Shape::default()
        };
        let law = Law::for_cores(1);
        memory.as_mut().unwrap().governor = Governor::new(law, broken, None);
        governing.turn_or_lose(&mut memory, &complaints);
        assert!(memory.is_none());
        let mode = governing.mode.load_full();
        assert_eq!((mode.cut, mode.decision), (Cut::NONE, Decision::FULL));
        assert_eq!(mode.effect, Effect::GivesUp);
        assert_eq!(mode.overrides, overrides);
        assert!(!governing.is_limiting.load(Ordering::Relaxed));
        (0..2).for_each(|_| governing.turn_or_lose(&mut memory, &complaints));
        assert_eq!(governing.samples.since(0).len(), 2);
        assert!(governing.is_limiting.load(Ordering::Relaxed));
    }

    #[test]
    fn the_rate_that_is_kept_is_what_a_law_has_learned_and_tried() {
        for (degradation, is_kept) in [
            ("mode = \"on\"", false),
            ("mode = \"off\"", true),
            ("mode = \"on\"\nlaw = \"aimd\"", true),
        ] {
            let (governing, complaints) = (governing(degradation), Throttle::default());
            let mut memory = None;
            governing.turn_or_lose(&mut memory, &complaints);
            // a machine that gets less done
            let other = governing.law(&governing.edition.load().site);
            let other = Governor::new(other, Shape::default(), Some(999.0));
            let says = other.rate();
            memory.as_mut().unwrap().governor = other;
            governing.turn_or_lose(&mut memory, &complaints);
            let expected = if is_kept { Some(1234.5) } else { says };
            assert_eq!(governing.rate.value(), expected, "{degradation}");
        }
    }
}
