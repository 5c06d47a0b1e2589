//! Turns: their number, their order, and that nobody is forgotten.

use std::sync::atomic::AtomicBool;

use futures::FutureExt as _;
use futures::future::join_all;
use tokio::time::advance;
use tokio_util::task::TaskTracker;

use super::*;

const MS: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_millis(60);

fn executor(permits: usize) -> Arc<Executor> {
    Arc::new(Executor::new(permits, Clock::start(), Arc::default()))
}

#[tokio::test(start_paused = true)]
async fn there_are_as_many_turns_as_permits() {
    let executor = executor(2);
    let first = executor.begin(PATIENCE).await.unwrap();
    let _second = executor.begin(PATIENCE).await.unwrap();
    let mut third = Box::pin(executor.begin(PATIENCE));
    assert!(third.as_mut().now_or_never().is_none());
    drop(first);
    assert!(third.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn whoever_has_waited_too_long_is_not_begun() {
    let executor = executor(1);
    let held = executor.begin(PATIENCE).await.unwrap();
    assert_eq!(executor.begin(PATIENCE).await.err(), Some(Overdue));
    assert_eq!(
        executor.take_queue_delay(),
        PATIENCE / 2,
        "the mean of nothing and sixty"
    );
    drop(held);
    assert!(
        executor.begin(PATIENCE).await.is_ok(),
        "who has left holds up nobody"
    );
}

#[tokio::test(start_paused = true)]
async fn turns_go_by_the_line() {
    for (patience, wait, in_order) in [
        (PATIENCE, 20 * MS, true),
        (PATIENCE, 50 * MS, false),
        (20 * MS, 17 * MS, false),
        (400 * MS, 290 * MS, true),
    ] {
        let executor = executor(1);
        let held = executor.begin(patience).await.unwrap();
        let mut older = Box::pin(executor.begin(patience));
        assert!(older.as_mut().now_or_never().is_none());
        advance(wait).await;
        let mut newer = Box::pin(executor.begin(patience));
        assert!(newer.as_mut().now_or_never().is_none());
        let mut begun = Box::pin(executor.go_on());
        assert!(begun.as_mut().now_or_never().is_none());
        drop(held);
        let first = older.as_mut().now_or_never();
        assert_eq!(first.is_some(), in_order, "after {wait:?}");
        drop(first);
        // at the same moment what has begun goes before what has not
        drop(begun.await);
        assert!(newer.await.is_ok());
        if !in_order {
            assert!(older.await.is_ok());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_granted_to_who_has_left_goes_to_the_next() {
    let executor = executor(1);
    let held = executor.begin(PATIENCE).await.unwrap();
    let mut leaves = Box::pin(executor.go_on());
    let mut stays = Box::pin(executor.go_on());
    assert!(leaves.as_mut().now_or_never().is_none());
    assert!(stays.as_mut().now_or_never().is_none());
    // granted, and dropped before it is looked at
    drop(held);
    drop(leaves);
    drop(stays.await);
    assert_eq!(executor.busy.load(Ordering::SeqCst), 0);
    assert_eq!(executor.waiting.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn emulated_work_holds_the_turn() {
    let emulation: Emulation = Arc::new(|job| match job {
        Job::Render("ads") => 40 * MS,
        Job::Plan | Job::Render(_) | Job::Assemble => MS,
    });
    let executor = Executor::new(1, Clock::start(), Arc::default()).emulating(Some(emulation));
    let executor = Arc::new(executor);
    let (ads, core) = futures::join!(
        executor.run(Job::Render("ads"), || 7),
        executor.run(Job::Render("article"), || 8)
    );
    assert_eq!((ads.0, core.0), (7, 8));
    assert!(ads.1 >= 40 * MS && core.1 < 40 * MS);
    assert!(executor.take_queue_delay() >= 20 * MS, "(0 + 40) / 2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_real_threads_nobody_is_forgotten_and_the_bound_holds() {
    const PERMITS: usize = 3;
    let executor = executor(PERMITS);
    let inside = Arc::new(AtomicUsize::new(0));
    let broken = Arc::new(AtomicBool::new(false));
    let tasks = TaskTracker::new();
    let jobs = (0..400).map(|job| {
        let (executor, inside, broken) = (
            Arc::clone(&executor),
            Arc::clone(&inside),
            Arc::clone(&broken),
        );
        tasks.spawn(async move {
            for _ in 0..50 {
                let turn = match job % 2 {
                    0 => executor.go_on().await,
                    _ => match executor.begin(Duration::from_secs(60)).await {
                        Ok(turn) => turn,
                        Err(Overdue) => return,
                    },
                };
                if inside.fetch_add(1, Ordering::SeqCst) >= PERMITS {
                    broken.store(true, Ordering::SeqCst);
                }
                yield_now().await;
                inside.fetch_sub(1, Ordering::SeqCst);
                drop(turn);
            }
        })
    });
    for job in join_all(jobs).await {
        job.unwrap();
    }
    assert!(!broken.load(Ordering::SeqCst));
    assert_eq!(executor.busy.load(Ordering::SeqCst), 0);
    assert_eq!(executor.waiting.load(Ordering::SeqCst), 0);
}
