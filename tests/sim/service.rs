//! A service in virtual time: some servers and a queue, answers that take as long as real ones do, and
//! twelve ways to be sick.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use marbre::clock::{Clock, Instant};
use marbre::fetch::dns::Resolver;
use marbre::fetch::{Origin, OriginRequest, OriginResponse};
use marbre::report::Cause;
use parking_lot::Mutex;
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::task::TaskTracker;

use crate::origin::whole;

/// How a service is sick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Refuses connections.
    Refuse,
    /// Breaks connections before it answers.
    Reset,
    /// Accepts and never answers.
    Hang,
    /// Sends the head, then a byte a second.
    Drip,
    /// Takes ten times as long.
    Slow,
    /// Three in ten answers are a 500.
    ThirtyPercent,
    /// All answers are a 500.
    AllFail,
    /// Says 200 and something that is not HTML.
    Garbage,
    /// Refuses for three seconds, is well for three, and so on.
    Flapping,
    /// Its name cannot be looked up, and the resolver does not even say so.
    DnsStall,
    /// Of four replicas one refuses and one never answers.
    HalfDead,
    /// All refuse; when it is well again, half of them still do.
    HalfReturns,
    /// So slow that requests queue up, and go on being served when nobody waits any more.
    Overload,
}

pub(crate) const WAYS: [Way; 12] = [
    Way::Refuse,
    Way::Reset,
    Way::Hang,
    Way::Drip,
    Way::Slow,
    Way::ThirtyPercent,
    Way::AllFail,
    Way::Garbage,
    Way::Flapping,
    Way::DnsStall,
    Way::HalfDead,
    Way::Overload,
];

/// The spans of a run: well, sick, well again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Course {
    pub(crate) begins: Instant,
    pub(crate) sick_from: Instant,
    pub(crate) well_from: Instant,
    pub(crate) ends: Instant,
}

impl Course {
    pub(crate) fn seconds(well: u64, sick: u64, well_again: u64) -> Self {
        let begins = Clock::start().now();
        let after = |seconds| begins + Duration::from_secs(seconds);
        Self {
            begins,
            sick_from: after(well),
            well_from: after(well + sick),
            ends: after(well + sick + well_again),
        }
    }

    /// The spans in which a flapping service refuses.
    pub(crate) fn downs(&self) -> Vec<(Instant, Instant)> {
        let downs = (0..).map(|n| self.sick_from + Duration::from_secs(6 * n));
        let downs = downs.take_while(|down| *down < self.well_from);
        downs
            .map(|down| (down, self.well_from.min(down + Duration::from_secs(3))))
            .collect()
    }

    fn is_down(&self, now: Instant) -> bool {
        let is_sick = now >= self.sick_from && now < self.well_from;
        is_sick && (now - self.sick_from).as_secs() % 6 < 3
    }
}

/// Typical time of an answer, and how far they scatter: those of the research's model.
const TYPICAL: f64 = 0.018;
const SIGMA: f64 = 0.5;

/// Requests that one replica serves at once.
const SERVERS: usize = 4;

/// For a connection, as `connect_timeout` says where nothing is declared.
const CONNECT_TIME: Duration = Duration::from_secs(1);

/// One replica.
#[derive(Clone)]
pub(crate) struct Service {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    seed: u64,
    /// `None`: always well.
    way: Option<Way>,
    course: Course,
    replica: usize,
    /// How many times slower than the others it is.
    slower: f64,
    resolver: Resolver,
    state: Mutex<State>,
}

struct State {
    asked: Vec<Instant>,
    /// When each server is free.
    free: [Instant; SERVERS],
}

impl Service {
    pub(crate) fn new(
        name: &str,
        seed: u64,
        way: Option<Way>,
        course: Course,
        replica: usize,
    ) -> Self {
        let well_from = course.well_from;
        // what was known is not known any more: the process was started anew
        let look_up = move |_| {
            let found = async move {
                sleep_until(well_from).await;
                Ok(vec![[127, 0, 0, 1].into()])
            };
            found.boxed()
        };
        let resolver = Resolver::new(Arc::new(look_up), Clock::start(), TaskTracker::new());
        let inner = Inner {
            name: name.to_owned(),
            seed: seed ^ (replica as u64) << 32 ^ hash(name),
            way,
            course,
            replica,
            slower: 1.0,
            resolver,
            state: Mutex::new(State {
                asked: Vec::new(),
                free: [course.begins; SERVERS],
            }),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The same, so many times slower from when it is sick until it is well.
    pub(crate) fn slower(self, times: f64) -> Self {
        let inner = Arc::into_inner(self.inner).expect("it is not used yet");
        Self {
            inner: Arc::new(Inner {
                slower: times,
                ..inner
            }),
        }
    }

    /// When it was asked.
    pub(crate) fn asked(&self) -> Vec<Instant> {
        self.inner.state.lock().asked.clone()
    }
}

fn hash(name: &str) -> u64 {
    name.bytes()
        .fold(17, |hash, byte| hash * 31 + u64::from(byte))
}

/// Normal, by Box and Muller.
fn normal(rng: &mut Rng) -> f64 {
    let (a, b) = (1.0 - rng.f64(), rng.f64());
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

/// A factor that is 1 typically.
pub(crate) fn lognormal(sigma: f64, rng: &mut Rng) -> f64 {
    (sigma * normal(rng)).exp()
}

impl Origin for Service {
    fn send(&self, _: OriginRequest) -> BoxFuture<'static, Result<OriginResponse, Cause>> {
        let inner = Arc::clone(&self.inner);
        let now = Clock::start().now();
        let number = {
            let asked = &mut inner.state.lock().asked;
            asked.push(now);
            asked.len() as u64
        };
        // the same for the same request of the same run, whatever happens to others
        let rng = Rng::with_seed(inner.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        async move { inner.answer(now, rng).await }.boxed()
    }
}

impl Inner {
    async fn answer(&self, now: Instant, mut rng: Rng) -> Result<OriginResponse, Cause> {
        let is_sick = now >= self.course.sick_from && now < self.course.well_from;
        let way = self.way.filter(|_| is_sick);
        let refused = || Cause::Connect("refused".to_owned());
        let stays_dead = self.way == Some(Way::HalfReturns) && self.replica.is_multiple_of(2);
        if stays_dead && now >= self.course.well_from {
            return Err(refused());
        }
        match way {
            Some(Way::Refuse) => return Err(refused()),
            Some(Way::Flapping) if self.course.is_down(now) => return Err(refused()),
            Some(Way::HalfDead) if self.replica == 0 => return Err(refused()),
            Some(Way::HalfDead) if self.replica == 2 => std::future::pending().await,
            Some(Way::HalfReturns) => return Err(refused()),
            Some(Way::Reset) => return Err(Cause::Transport("reset".to_owned())),
            Some(Way::Hang) => std::future::pending().await,
            Some(Way::DnsStall) => {
                let addresses = self.resolver.addresses(&self.name);
                timeout(CONNECT_TIME, addresses)
                    .await
                    .map_err(|_| Cause::Connect("no connection in time".to_owned()))?
                    .map_err(|error| Cause::Connect(error.to_string()))?;
            }
            Some(_) | None => {}
        }
        let times = match way {
            Some(Way::Slow) => 10.0,
            Some(Way::Overload) => 25.0,
            Some(_) | None if is_sick => self.slower,
            Some(_) | None => 1.0,
        };
        let takes = TYPICAL * times * lognormal(SIGMA, &mut rng);
        self.served(now, Duration::from_secs_f64(takes)).await;
        let chance = rng.f64();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
        let html = Bytes::from(whole(&self.name));
        let mut response = OriginResponse::whole(StatusCode::OK, headers, html.clone());
        match way {
            Some(Way::AllFail) => response.status = StatusCode::INTERNAL_SERVER_ERROR,
            Some(Way::ThirtyPercent) if chance < 0.3 => {
                response.status = StatusCode::INTERNAL_SERVER_ERROR;
            }
            Some(Way::Garbage) => {
                let noise = Bytes::from_static(b"\xff\xfe\x00garbage");
                response.body = stream::iter([Ok(noise)]).boxed();
            }
            Some(Way::Drip) => {
                let bytes = stream::iter(html.to_vec());
                let dripping = bytes.then(|byte| async move {
                    sleep(Duration::from_secs(1)).await;
                    Ok(Bytes::copy_from_slice(&[byte]))
                });
                response.body = dripping.boxed();
            }
            Some(_) | None => {}
        }
        Ok(response)
    }

    /// Waits for a server and for its work, which is done whether anybody waits or not.
    async fn served(&self, now: Instant, takes: Duration) {
        let done = {
            let free = &mut self.state.lock().free;
            let first = free.iter_mut().min().expect("there are servers");
            *first = now.max(*first) + takes;
            *first
        };
        sleep_until(done).await;
    }
}
