//! The origins, a process of their own: one listener for each block, whose answer takes a place among
//! so many, its own time there, and then a place at the database that all of them share. Owns what an
//! answer takes and how many came too late.
//!
//! As real services do, they go on with what nobody waits for any more.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::SystemTime;

use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use marbre::clock::Clock;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::{LocalSet, spawn_local};

use super::orders::{Orders, say};
use super::plant::{self, BLOCKS, DATABASE_SERVERS, DEADLINE, ORIGIN_CV};
use super::sleep;

/// How origins begin.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Beginning {
    /// How many times the places of the table there are.
    pub(crate) places: usize,
    pub(crate) seed: u64,
}

/// Where they listen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Listening {
    pub(crate) addresses: Vec<SocketAddr>,
}

/// What may be asked of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Order {
    /// How many times its own time a block takes.
    Slow { block: usize, factor: f64 },
    /// Whether it answers at all; what was asked meanwhile is answered when it does again.
    Hang { block: usize, hangs: bool },
    /// How many times its time the database takes.
    Database { factor: f64 },
    /// Answered with [`Counts`].
    Count,
}

/// What has happened at one origin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) calls: u64,
    /// Answers that came after their deadline: nobody has used them.
    pub(crate) late: u64,
}

/// What happened at all of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct AllCounts {
    pub(crate) blocks: Vec<Counts>,
}

struct Origin {
    block: usize,
    places: Semaphore,
    factor: Cell<f64>,
    hangs: watch::Sender<bool>,
    counts: Cell<Counts>,
    shared: Rc<Shared>,
}

struct Shared {
    clock: Clock,
    database: Semaphore,
    database_factor: Cell<f64>,
    rng: RefCell<fastrand::Rng>,
    overshoot: std::time::Duration,
}

/// Serves until standard input ends.
pub(crate) fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, serve());
}

async fn serve() {
    let mut orders = Orders::listen();
    let beginning: Beginning = orders.next().await.expect("it is told how to begin");
    let overshoot = sleep::overshoot(Clock::start()).await;
    let shared = Rc::new(Shared {
        clock: Clock::start(),
        database: Semaphore::new(DATABASE_SERVERS * beginning.places),
        database_factor: Cell::new(1.0),
        rng: RefCell::new(fastrand::Rng::with_seed(beginning.seed)),
        overshoot,
    });
    let mut origins = Vec::new();
    let mut addresses = Vec::new();
    for (block, plan) in BLOCKS.iter().enumerate() {
        let origin = Rc::new(Origin {
            block,
            places: Semaphore::new(plan.servers * beginning.places),
            factor: Cell::new(1.0),
            hangs: watch::Sender::new(false),
            counts: Cell::default(),
            shared: Rc::clone(&shared),
        });
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = marbre::server::accept::bind(any).unwrap();
        addresses.push(listener.local_addr().unwrap());
        spawn_local(accept(listener, Rc::clone(&origin)));
        origins.push(origin);
    }
    say(&Listening { addresses });
    while let Some(order) = orders.next().await {
        match order {
            Order::Slow { block, factor } => origins[block].factor.set(factor),
            Order::Hang { block, hangs } => _ = origins[block].hangs.send_replace(hangs),
            Order::Database { factor } => shared.database_factor.set(factor),
            Order::Count => say(&AllCounts {
                blocks: origins.iter().map(|origin| origin.counts.get()).collect(),
            }),
        }
    }
}

async fn accept(listener: TcpListener, origin: Rc<Origin>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let origin = Rc::clone(&origin);
        let service = service_fn(move |_: Request<_>| {
            let origin = Rc::clone(&origin);
            async move { Ok::<_, Infallible>(answer(origin).await) }
        });
        // a connection that is given up is no failure here
        spawn_local(async move {
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(origin: Rc<Origin>) -> Response<Full<Bytes>> {
    let mut hangs = origin.hangs.subscribe();
    let counts = origin.counts.get();
    origin.counts.set(Counts {
        calls: counts.calls + 1,
        ..counts
    });
    // whoever has left by then is not served any more: its connection is gone
    let _ = hangs.wait_for(|hangs| !hangs).await;
    let block = origin.block;
    // a task of its own goes on when the connection is gone
    let _ = spawn_local(async move { origin.work().await }).await;
    let at = SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default()
        .as_micros();
    let name = BLOCKS[block].name;
    let body = format!("{{\"name\":\"{name}\",\"at\":{at},\"text\":\"{TEXT}\"}}");
    let answer = Response::builder().header("content-type", "application/json");
    answer.body(Full::new(Bytes::from(body))).unwrap()
}

impl Origin {
    async fn work(&self) {
        let (shared, plan) = (&*self.shared, &BLOCKS[self.block]);
        let arrived = shared.clock.now();
        let place = self.places.acquire().await;
        let own = self.factor.get() * shared.draw(plan.own_ms);
        sleep::compensated(plant::ms(own), shared.overshoot).await;
        // its place is held meanwhile
        let record = shared.database.acquire().await;
        let database = shared.database_factor.get() * shared.draw(plant::database_ms(self.block));
        sleep::compensated(plant::ms(database), shared.overshoot).await;
        drop((record, place));
        if arrived + DEADLINE < shared.clock.now() {
            let counts = self.counts.get();
            self.counts.set(Counts {
                late: counts.late + 1,
                ..counts
            });
        }
    }
}

impl Shared {
    fn draw(&self, mean_ms: f64) -> f64 {
        plant::lognormal(&mut self.rng.borrow_mut(), mean_ms, ORIGIN_CV)
    }
}

/// What a block says, so that it is not empty.
const TEXT: &str = "Le conseil a vote le budget dans la nuit, apres six heures de debat; les travaux \
    du port commencent au printemps et dureront deux ans, et la ligne de nuit circule de nouveau des \
    vendredi. Nos reporters etaient sur place et racontent.";
