//! Counters that many threads add to and few read: each thread adds to its own, so that no two cores take a
//! line of memory from one another for every page. Owns whose counter is whose; pure but for knowing the
//! thread.
//!
//! Invariant: what was added is in one of the counters, whichever thread has added it.

use std::num::NonZero;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::available_parallelism;

/// Threads beyond share counters, which costs time and nothing else.
const STRIPES_MAX: usize = 64;

/// What is read together from memory: a pair of lines, of which processors fetch the second unasked.
const LINES: usize = 128;

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The how-manieth thread this is of those that have counted something.
    static THREAD: usize = THREADS.fetch_add(1, Ordering::Relaxed);
}

/// The same counters once for each thread.
#[derive(Debug)]
pub struct Striped<T> {
    /// One at least; the last is that of all threads that have none of their own.
    stripes: Box<[Apart<T>]>,
}

/// Shares no line of memory with another.
#[derive(Debug)]
#[repr(align(128))]
struct Apart<T>(T);

impl<T> Striped<T> {
    /// One of these for each thread.
    pub fn of(make: impl Fn() -> T) -> Self {
        // some threads that count are no workers, and a worker is not to share with others for that
        let threads = 2 * available_parallelism().map_or(1, NonZero::get);
        let stripes = threads.min(STRIPES_MAX) + 1;
        Self {
            stripes: (0..stripes).map(|_| Apart(make())).collect(),
        }
    }

    /// That of this thread, to add to.
    pub fn mine(&self) -> Mine<'_, T> {
        let thread = THREAD.with(|thread| *thread);
        let last = self.stripes.len() - 1;
        Mine {
            counters: &self.stripes[thread.min(last)].0,
            is_alone: thread < last,
        }
    }

    /// Those of all threads, to read.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.stripes.iter().map(|stripe| &stripe.0)
    }

    /// What a counter of all of them comes to.
    pub fn sum(&self, read: impl Fn(&T) -> u64) -> u64 {
        self.all().map(read).fold(0, u64::wrapping_add)
    }
}

/// The counters of this thread.
#[derive(Debug)]
pub struct Mine<'s, T> {
    counters: &'s T,
    /// Whether no other thread adds to them.
    is_alone: bool,
}

impl<T> Mine<'_, T> {
    /// Whether no other thread adds to these.
    pub fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// Adds to a counter of these, which nobody sets to anything meanwhile: whoever reads it only reads.
    ///
    /// Where no other thread adds to it, this does without a locked instruction, which costs more than all
    /// the rest of counting.
    pub fn add(&self, counter: &AtomicU64, count: u64) {
        match self.is_alone {
            true => {
                let sum = counter.load(Ordering::Relaxed).wrapping_add(count);
                counter.store(sum, Ordering::Relaxed);
            }
            false => _ = counter.fetch_add(count, Ordering::Relaxed),
        }
    }
}

impl<T> Deref for Mine<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.counters
    }
}

impl<T: Default> Default for Striped<T> {
    fn default() -> Self {
        Self::of(T::default)
    }
}

/// So many counters for one thread, in memory that those of another do not reach into.
pub fn row<T: Default>(length: usize) -> Vec<T> {
    let of_one = size_of::<T>().max(1);
    let mut row = Vec::with_capacity((length * of_one).next_multiple_of(LINES).div_ceil(of_one));
    row.resize_with(length, T::default);
    row
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn nothing_is_lost_however_many_threads_there_are() {
        let counter = Striped::<AtomicU64>::default();
        let add = || {
            let mine = counter.mine();
            (0..1000).for_each(|_| mine.add(&mine, 1));
        };
        std::thread::scope(|scope| {
            for _ in 0..3 * counter.stripes.len() {
                scope.spawn(add);
            }
        });
        let sum = counter.sum(|stripe| stripe.load(Ordering::Relaxed));
        assert_eq!(sum, 3000 * counter.stripes.len() as u64);
    }

    #[test]
    fn a_thread_has_its_own() {
        let counter = Striped::<AtomicU64>::default();
        let place = || std::ptr::from_ref(&*counter.mine()).addr();
        assert_eq!(place(), place());
        assert!(counter.all().count() >= 2);
        let places = counter.all().map(|one| std::ptr::from_ref(one).addr());
        assert!(places.into_iter().all(|place| place % LINES == 0));
    }

    #[test]
    fn a_row_is_as_long_as_it_is_to_be() {
        let row = row::<AtomicU64>(3);
        assert_eq!(row.len(), 3);
        assert!(row.capacity() * size_of::<AtomicU64>() >= LINES);
    }
}
