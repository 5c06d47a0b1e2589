//! Pieces of a document with all that it takes to make text of them (shell). Owns what is started together,
//! what stands in for what fails, and included documents, which are woven as a whole.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::task::JoinHandle;

use crate::layout::markup::{Include, Machine, Missing, OnFailure, Piece, Step};
use crate::report::Cause;
use crate::site::markup::Marked;

use super::{Base, Loom, Rope, include, missing};

/// A piece of the page in its place.
pub(super) enum Thread {
    Ready(Bytes),
    Spun(Spun),
}

/// Work that ends when nobody waits for it any more.
pub(super) struct Spun(JoinHandle<Result<Rope, Missing>>);

impl Spun {
    pub(super) fn spin(loom: &Loom, work: BoxFuture<'static, Result<Rope, Missing>>) -> Self {
        Self(loom.order.composer.tasks.spawn(work))
    }

    pub(super) async fn end(&mut self) -> Result<Rope, Missing> {
        (&mut self.0).await.unwrap_or_else(|_| {
            Err(Missing {
                status: None,
                why: Cause::Panic.to_string(),
            })
        })
    }
}

impl Drop for Spun {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A piece of a document with all that it takes to make text of it.
pub(super) enum Job {
    Text(Bytes),
    Include {
        include: Box<Include>,
        /// Reads its content, if that is markup.
        machine: Option<Box<dyn Machine>>,
        /// Stands in for it.
        instead: Vec<Self>,
    },
    Try {
        attempt: Vec<Self>,
        except: Vec<Self>,
    },
}

pub(super) fn join(rope: Rope) -> Bytes {
    match <[Bytes; 1]>::try_from(rope) {
        Ok([one]) => one,
        Err(several) => several.concat().into(),
    }
}

impl Loom {
    fn jobs(&self, pieces: Vec<Piece>, machine: &dyn Machine, depth: usize) -> Vec<Job> {
        let jobs = pieces.into_iter().map(|p| self.job(p, machine, depth));
        jobs.collect()
    }

    pub(super) fn job(&self, piece: Piece, machine: &dyn Machine, depth: usize) -> Job {
        match piece {
            Piece::Text(text) => Job::Text(text),
            // the head has left, or will not wait for this
            Piece::Head(_) => Job::Text(Bytes::new()),
            Piece::Include(mut include) => {
                let reads = self.spec.nested != Marked::Never && include.is_markup != Some(false);
                let instead = match std::mem::take(&mut include.on_failure) {
                    OnFailure::Instead(pieces) => {
                        include.on_failure = OnFailure::LeaveOut;
                        self.jobs(pieces, machine, depth)
                    }
                    on_failure @ (OnFailure::Fail | OnFailure::LeaveOut) => {
                        include.on_failure = on_failure;
                        Vec::new()
                    }
                };
                Job::Include {
                    include,
                    machine: reads.then(|| machine.nested()),
                    instead,
                }
            }
            Piece::Try { attempt, except } => Job::Try {
                attempt: self.jobs(attempt, machine, depth),
                except: self.jobs(except, machine, depth),
            },
        }
    }

    /// Nothing in the place of what fails, unless the site would rather have no page.
    pub(super) fn or_gap(&self, woven: Result<Rope, Missing>) -> Result<Rope, Cause> {
        match woven {
            Ok(rope) => Ok(rope),
            Err(missing) if self.spec.fails_page => Err(Cause::Transport(missing.why)),
            Err(_) => Ok(Rope::new()),
        }
    }
}

/// Makes text of a piece.
pub(super) fn run(
    loom: Arc<Loom>,
    base: Arc<Base>,
    job: Job,
    depth: usize,
) -> BoxFuture<'static, Result<Rope, Missing>> {
    async move {
        match job {
            Job::Text(text) => Ok(vec![text]),
            Job::Try { attempt, except } => {
                let attempted = run_all(&loom, &base, attempt, depth).await;
                match attempted {
                    Ok(rope) => Ok(rope),
                    Err(_) => run_all(&loom, &base, except, depth).await,
                }
            }
            Job::Include {
                include,
                machine,
                instead,
            } => match include::obtain(&loom, &base, &include, machine, depth).await {
                Ok(rope) => Ok(rope),
                Err(_) if !instead.is_empty() => run_all(&loom, &base, instead, depth).await,
                Err(_) if include.on_failure != OnFailure::Fail => Ok(Rope::new()),
                Err(missing) => Err(missing),
            },
        }
    }
    .boxed()
}

/// Starts all of them, and puts what they come to in order; fails when one does.
async fn run_all(
    loom: &Arc<Loom>,
    base: &Arc<Base>,
    jobs: Vec<Job>,
    depth: usize,
) -> Result<Rope, Missing> {
    let threads = jobs.into_iter().map(|job| match job {
        Job::Text(text) => Thread::Ready(text),
        job @ (Job::Include { .. } | Job::Try { .. }) => {
            let work = run(Arc::clone(loom), Arc::clone(base), job, depth);
            Thread::Spun(Spun::spin(loom, work))
        }
    });
    let mut threads: Vec<Thread> = threads.collect();
    let mut rope = Rope::new();
    for thread in &mut threads {
        match thread {
            Thread::Ready(bytes) => rope.push(bytes.clone()),
            Thread::Spun(spun) => rope.extend(spun.end().await?),
        }
    }
    Ok(rope)
}

/// Weaves an included document, which is here as a whole.
pub(super) async fn weave_nested(
    loom: &Arc<Loom>,
    base: Base,
    mut machine: Box<dyn Machine>,
    content: Bytes,
    depth: usize,
) -> Result<Rope, Missing> {
    let base = Arc::new(base);
    machine.feed(content);
    machine.finish();
    let mut threads = Vec::new();
    loop {
        match machine.next() {
            Step::Piece(Piece::Text(text)) => threads.push(Thread::Ready(text)),
            Step::Piece(piece) => {
                let job = loom.job(piece, &*machine, depth);
                let work = run(Arc::clone(loom), Arc::clone(&base), job, depth);
                threads.push(Thread::Spun(Spun::spin(loom, work)));
            }
            Step::Ask(include) => {
                let job = loom.job(Piece::Include(include), &*machine, depth);
                let content = run(Arc::clone(loom), Arc::clone(&base), job, depth).await;
                machine.answered(content.map(join));
            }
            Step::More | Step::End => break,
            Step::Fail(problem) => return Err(missing(&problem.to_string())),
        }
    }
    let mut rope = Rope::new();
    for thread in &mut threads {
        match thread {
            Thread::Ready(bytes) => rope.push(bytes.clone()),
            Thread::Spun(spun) => {
                let woven = loom.or_gap(spun.end().await);
                rope.extend(woven.map_err(|cause| missing(&cause.to_string()))?);
            }
        }
    }
    Ok(rope)
}
