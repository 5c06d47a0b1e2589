//! Readers: what one asks for, and what it has seen in the end.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use fastrand::Rng;
use http::{HeaderMap, Method, Request, header};
use http_body_util::BodyExt as _;
use marbre::compose::Edition;
use marbre::degradation::Mode;
use marbre::report::PageReport;
use tokio::time::{sleep, timeout};
use tower::ServiceExt as _;

use super::declared::{Declared, PAGES};
use super::world::World;

/// Stories that there are.
pub(crate) const STORIES: u8 = 5;

/// What a reader does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Manner {
    /// Reads the page to its end.
    Reads,
    /// Leaves after so long, whatever there is by then.
    Leaves(Duration),
    /// Leaves when the head has come.
    LooksOnly,
    /// Begins to read the body only after so long.
    Slow(Duration),
}

/// What one reader asks for.
#[derive(Debug, Clone)]
pub(crate) struct Asks {
    /// Tells this request from all others.
    pub(crate) trace: u128,
    pub(crate) page: &'static str,
    pub(crate) story: u8,
    pub(crate) who: Option<String>,
    pub(crate) is_head: bool,
    pub(crate) saves_data: bool,
    pub(crate) has: Option<String>,
    pub(crate) manner: Manner,
}

impl Asks {
    pub(crate) fn draw(rng: &mut Rng, trace: u128, has: Option<String>) -> Self {
        let span = Duration::from_millis(rng.u64(1..600));
        Self {
            trace,
            page: PAGES[rng.usize(..PAGES.len())],
            story: rng.u8(..STORIES),
            who: rng.bool().then(|| format!("r{}", rng.u8(..9))),
            is_head: rng.u8(..16) == 0,
            saves_data: rng.u8(..8) == 0,
            has: has.filter(|_| rng.u8(..4) == 0),
            manner: match rng.u8(..16) {
                0 => Manner::Leaves(span),
                1 => Manner::LooksOnly,
                2 => Manner::Slow(span),
                _ => Manner::Reads,
            },
        }
    }

    /// The page of this story as anybody may ask for it.
    pub(crate) fn plainly(trace: u128, page: &'static str, story: u8) -> Self {
        Self {
            trace,
            page,
            story,
            who: None,
            is_head: false,
            saves_data: false,
            has: None,
            manner: Manner::Reads,
        }
    }

    fn request(&self) -> Request<Body> {
        let path = format!("/{}/{}", self.page, self.story);
        let span = (self.trace as u64).max(1);
        let mut request = Request::builder()
            .method(if self.is_head {
                Method::HEAD
            } else {
                Method::GET
            })
            .uri(path)
            .header(header::HOST, "news.invalid")
            .header(
                "traceparent",
                format!("00-{:032x}-{span:016x}-00", self.trace),
            );
        if let Some(who) = &self.who {
            request = request.header(header::COOKIE, format!("who={who}"));
        }
        if self.saves_data {
            request = request.header("save-data", "on");
        }
        if let Some(tag) = &self.has {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        request.body(Body::empty()).expect("a request")
    }
}

/// What came to a reader who has waited for it.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    /// A header, or nothing.
    pub(crate) fn says(&self, name: &str) -> &str {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    }

    pub(crate) fn is_snapshot(&self) -> bool {
        self.says("marbre-level").contains(";snapshot")
    }
}

/// What one reader has asked for and seen, and what was in force when it asked.
#[derive(Clone)]
pub(crate) struct Read {
    pub(crate) asks: Asks,
    pub(crate) declared: Arc<Declared>,
    pub(crate) edition: Arc<Edition>,
    pub(crate) mode: Arc<Mode>,
    /// The factor of all ttls, the greater of that at the beginning and that at the end.
    pub(crate) ttl_factor: f64,
    pub(crate) began: Duration,
    pub(crate) ended: Duration,
    /// What had come when the reader left or was content.
    pub(crate) answer: Option<Answer>,
    pub(crate) report: Option<PageReport<'static>>,
    /// What a job takes.
    pub(crate) work: Duration,
    /// Whether some page was turned away meanwhile.
    pub(crate) is_crowded: bool,
    /// Whether a fault was set on purpose when it asked.
    pub(crate) is_disturbed: bool,
}

/// Refusals for want of a place: the last of the counts.
fn turned_away(world: &World) -> u64 {
    world.pages.shed().last().copied().unwrap_or_default()
}

/// One reader asks the world.
pub(crate) async fn read(world: Arc<World>, asks: Asks) -> Read {
    let present = world.present();
    let (mode, began) = (world.mode.load_full(), world.newsroom.now());
    let refused = turned_away(&world);
    let is_disturbed = world.chaos.is_active();
    let factor = world.composer.cache().ttl_factor();
    let answering = answer(&world, &asks);
    let answer = match asks.manner {
        Manner::Leaves(after) => timeout(after, answering).await.ok(),
        Manner::Reads | Manner::LooksOnly | Manner::Slow(_) => Some(answering.await),
    };
    // what is accounted for at the reader's leaving is by now
    let report = world.reports.take(asks.trace);
    Read {
        declared: present.declared,
        edition: present.edition,
        mode,
        ttl_factor: factor.max(world.composer.cache().ttl_factor()),
        began,
        ended: world.newsroom.now(),
        answer,
        report,
        work: world.work,
        is_crowded: turned_away(&world) > refused,
        is_disturbed,
        asks,
    }
}

async fn answer(world: &World, asks: &Asks) -> Answer {
    let Ok(response) = world.router.clone().oneshot(asks.request()).await;
    let (head, body) = response.into_parts();
    let body = match asks.manner {
        // no connection asks for the body of an answer to HEAD
        _ if asks.is_head => Vec::new(),
        Manner::LooksOnly => {
            drop(body);
            Vec::new()
        }
        Manner::Slow(pause) => {
            sleep(pause).await;
            whole(body).await
        }
        Manner::Reads | Manner::Leaves(_) => whole(body).await,
    };
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: String::from_utf8(body).unwrap_or_else(|_| "not text".to_owned()),
    }
}

async fn whole(body: Body) -> Vec<u8> {
    match body.collect().await {
        Ok(body) => body.to_bytes().to_vec(),
        Err(error) => format!("broken off: {error}").into_bytes(),
    }
}
