//! The server itself, a process of its own: all of marbre as it is, but that its jobs take as long as
//! they are told to. Owns that emulation.
//!
//! A job sleeps while it holds its turn at the executor, so the queue before it is a real one, and the
//! machine's cores stay free for the rest of the rig.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use marbre::app::{App, Options};
use marbre::clock::{Clock, Instant};
use marbre::degradation::executor::Job;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::orders::{Orders, say};
use super::plant::{self, Costs, JOB_CV, NOISY_CV, WORKERS, Work};

/// How the server begins.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Beginning {
    pub(crate) file: PathBuf,
    pub(crate) costs: Costs,
    pub(crate) seed: u64,
}

/// Where it listens.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Listening {
    pub(crate) pages: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// What may be asked of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Order {
    /// How many times its time a job takes.
    Slow { factor: f64 },
    /// Jobs of very different lengths, and now and then all workers stop for a moment.
    Noise,
    /// Every second block costs twice as much from now on, the others half as much.
    Scramble,
}

/// From one stop of all workers to the next when it is noisy, on average.
const STALLS_EVERY_S: f64 = 2.0;

/// How long they stop.
const STALL_MS: f64 = 40.0;

/// Serves until standard input ends.
pub(crate) fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(serve());
    runtime.shutdown_background();
}

async fn serve() {
    let mut orders = Orders::listen();
    let beginning: Beginning = orders.next().await.expect("it is told how to begin");
    let late = overshoot(Clock::start()).await;
    let machine = Arc::new(Machine::new(&beginning, late));
    let working = Arc::clone(&machine);
    let options = Options {
        emulated_work: Some(Arc::new(move |job| working.span(job))),
        ..Options::new(beginning.file)
    };
    let app = App::start(options).await;
    let app = app.unwrap_or_else(|error| panic!("the server does not start: {error}"));
    say(&Listening {
        pages: app.address,
        admin: app.admin_address,
    });
    while let Some(order) = orders.next().await {
        machine.carry_out(&order);
    }
    app.stop().await;
}

/// How long jobs take.
struct Machine {
    costs: Costs,
    clock: Clock,
    mood: Mutex<Mood>,
    /// How much longer than asked for a job sleeps.
    overshoot: Duration,
}

struct Mood {
    rng: fastrand::Rng,
    factor: f64,
    is_scrambled: bool,
    noise: Option<Noise>,
}

struct Noise {
    stalls_at: Instant,
    /// Jobs that the present stall has yet to hold up: one for each worker.
    stalled: usize,
}

impl Machine {
    fn new(beginning: &Beginning, overshoot: Duration) -> Self {
        Self {
            costs: beginning.costs,
            clock: Clock::start(),
            mood: Mutex::new(Mood {
                rng: fastrand::Rng::with_seed(beginning.seed),
                factor: 1.0,
                is_scrambled: false,
                noise: None,
            }),
            overshoot,
        }
    }

    fn carry_out(&self, order: &Order) {
        let mut mood = self.mood.lock();
        match order {
            Order::Slow { factor } => mood.factor = *factor,
            Order::Scramble => mood.is_scrambled = true,
            Order::Noise => {
                mood.noise = Some(Noise {
                    stalls_at: self.clock.now(),
                    stalled: 0,
                });
            }
        }
    }

    /// How long the server is to sleep for a job.
    fn span(&self, job: Job<'_>) -> Duration {
        let work = match job {
            Job::Plan => Work::Plan,
            Job::Render(name) => match plant::block_named(name) {
                Some(block) => Work::Render(block),
                None => return Duration::ZERO,
            },
            Job::Assemble => Work::Assemble,
        };
        self.meant(work).saturating_sub(self.overshoot)
    }

    fn meant(&self, work: Work) -> Duration {
        let mut mood = self.mood.lock();
        let mood = &mut *mood;
        let scramble = match work {
            Work::Render(block) if mood.is_scrambled && block % 2 == 1 => 2.0,
            Work::Render(_) if mood.is_scrambled => 0.5,
            Work::Plan | Work::Render(_) | Work::Assemble => 1.0,
        };
        let mean = self.costs.mean_ms(work) * mood.factor * scramble;
        let Some(noise) = &mut mood.noise else {
            return plant::ms(plant::lognormal(&mut mood.rng, mean, JOB_CV));
        };
        if noise.stalls_at <= self.clock.now() {
            let next = plant::exponential(&mut mood.rng, STALLS_EVERY_S);
            noise.stalls_at = self.clock.now() + Duration::from_secs_f64(next);
            noise.stalled = WORKERS;
        }
        let stall = if noise.stalled > 0 { STALL_MS } else { 0.0 };
        noise.stalled = noise.stalled.saturating_sub(1);
        plant::ms(stall + plant::lognormal(&mut mood.rng, mean, NOISY_CV))
    }
}

/// Sleeps that are measured to know how late they are.
const SAMPLES: u32 = 200;

/// How much longer than asked for a job of the server sleeps, with the way to the thread and back.
async fn overshoot(clock: Clock) -> Duration {
    let asked = Duration::from_micros(500);
    let began = clock.now();
    for _ in 0..SAMPLES {
        let sleep = tokio::task::spawn_blocking(move || std::thread::sleep(asked));
        sleep.await.expect("sleeping does not panic");
    }
    (clock.now() - began).saturating_sub(asked * SAMPLES) / SAMPLES
}
