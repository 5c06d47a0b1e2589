//! One run of a scene: starts the processes, lets the readers read, does what the script says, and
//! gives the recording. Owns the order of all that; everything it has started ends with it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use marbre::clock::Clock;
use tokio::task::LocalSet;
use tokio::time::sleep_until;

use super::composer;
use super::load::{Readers, client};
use super::measure::Recording;
use super::orders::Helper;
use super::origins::{self, AllCounts};
use super::script::{Deed, Scene};
use super::site::Site;
use super::watch::{Seen, watch};

/// How long an operator waits for an answer.
const OPERATOR_PATIENCE: Duration = Duration::from_secs(5);

/// Plays a scene.
pub(crate) fn play(scene: &Scene, seed: u64) -> Recording {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let recording = LocalSet::new().block_on(&runtime, record(scene, seed));
    runtime.shutdown_background();
    recording
}

async fn record(scene: &Scene, seed: u64) -> Recording {
    let mut rng = fastrand::Rng::with_seed(seed);
    let beginning = origins::Beginning {
        places: scene.places,
        seed: rng.u64(..),
    };
    let mut origins = Helper::start("origins", &beginning);
    let listening: origins::Listening = origins.answer().await;
    let site = Site::write(scene.settings, &listening.addresses);
    let beginning = composer::Beginning {
        file: site.file(),
        costs: scene.costs,
        seed: rng.u64(..),
    };
    let mut composer = Helper::start("composer", &beginning);
    let listening: composer::Listening = composer.answer().await;

    let phases = scene.phases;
    let clock = Clock::start();
    let readers = Readers::new(listening.pages, clock, rng.u64(..), scene.cookie, phases);
    let seen = Rc::new(RefCell::new(Seen::default()));
    let watching = tokio::task::spawn_local(watch(
        Rc::clone(&readers),
        listening.admin,
        composer.pid(),
        origins.pid(),
        Rc::clone(&seen),
    ));
    let ((), counts) = tokio::join!(
        readers.read(scene.demand),
        perform(scene, &readers, &mut origins, &mut composer, listening),
    );
    watching.abort();
    let seen = seen.borrow().clone();
    Recording {
        phases,
        pages: readers.pages(),
        seen,
        counts,
    }
}

/// Does what the script says, and counts what origins have done at both ends of what happens.
async fn perform(
    scene: &Scene,
    readers: &Readers,
    origins: &mut Helper,
    composer: &mut Helper,
    listening: composer::Listening,
) -> [AllCounts; 2] {
    let phases = scene.phases;
    let at = |second: f64| sleep_until(readers.began + Duration::from_secs_f64(second));
    let mut script = (scene.script)(&phases);
    script.sort_by(|a, b| a.0.total_cmp(&b.0));
    at(phases.event_at()).await;
    origins.order(&origins::Order::Count);
    let before = origins.answer().await;
    let mut after = None;
    for (second, deed) in script {
        if after.is_none() && second >= phases.over_at() {
            at(phases.over_at()).await;
            after = Some(count(origins).await);
        }
        at(second).await;
        match deed {
            Deed::Origins(order) => origins.order(&order),
            Deed::Composer(order) => composer.order(&order),
            Deed::Operator { path, body } => operate(listening, path, body).await,
        }
    }
    let after = match after {
        Some(after) => after,
        None => {
            at(phases.over_at()).await;
            count(origins).await
        }
    };
    [before, after]
}

async fn count(origins: &mut Helper) -> AllCounts {
    origins.order(&origins::Order::Count);
    origins.answer().await
}

async fn operate(listening: composer::Listening, path: &str, body: &'static str) {
    let url = format!("http://{}{path}", listening.admin);
    let put = client(OPERATOR_PATIENCE)
        .put(&url)
        .header("content-type", "application/json");
    match put.body(body).send().await {
        Ok(answer) if answer.status().is_success() => {}
        Ok(answer) => println!("PUT {path}: {}", answer.status()),
        Err(error) => println!("PUT {path}: {error}"),
    }
}
