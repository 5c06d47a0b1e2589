//! What waits for the writer. Owns the order of operations on one id, and their bounds; does not
//! write.
//!
//! Invariant: the latest operation on an id is the one that is kept, and a removal that was asked
//! for is not forgotten because something else was asked for after it: if the later record cannot
//! be written, the removal still is.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::cache::key::CopyId;

use super::Frame;

/// Records waiting or being written.
const PUTS_MAX: usize = 4096;

/// Their rough weight in bytes.
const WEIGHT_MAX: usize = 32 << 20;

/// Operations waiting in all. A removal is small, and losing one matters more than losing a copy.
const OPERATIONS_MAX: usize = 1 << 16;

/// Who may wait for a flush at once.
const FLUSHES_MAX: usize = 1024;

/// What is to be done with an id.
pub(super) enum Operation {
    Put(Put),
    Remove,
}

pub(super) struct Put {
    pub(super) weight: usize,
    pub(super) pinned: bool,
    pub(super) good_until: u64,
    pub(super) frame: Frame,
    /// A removal was asked for before, and is not on disk.
    pub(super) after_removal: bool,
}

/// What the writer is called for.
#[derive(Default)]
pub(super) struct Call {
    pub(super) operations: BTreeMap<CopyId, Operation>,
    /// Who waits until everything in `operations` is on disk.
    pub(super) flushes: Vec<oneshot::Sender<bool>>,
    /// There is to be no other call.
    pub(super) stop: bool,
}

#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    operations: BTreeMap<CopyId, Operation>,
    puts: usize,
    weight: usize,
    /// Taken by the writer and not done.
    in_hand: usize,
    in_hand_weight: usize,
    flushes: Vec<oneshot::Sender<bool>>,
    stop: bool,
}

impl Waiting {
    fn insert(&mut self, id: CopyId, operation: Operation) {
        if let Operation::Put(put) = &operation {
            self.puts += 1;
            self.weight += put.weight;
        }
        if let Some(Operation::Put(old)) = self.operations.insert(id, operation) {
            self.puts -= 1;
            self.weight -= old.weight;
        }
    }

    fn has_room(&self, id: &CopyId, weight: usize) -> bool {
        let (puts, held) = match self.operations.get(id) {
            Some(Operation::Put(old)) => (self.puts - 1, self.weight - old.weight),
            Some(Operation::Remove) | None => (self.puts, self.weight),
        };
        puts + self.in_hand < PUTS_MAX
            && held + self.in_hand_weight + weight <= WEIGHT_MAX
            && self.operations.len() < OPERATIONS_MAX
    }

    fn removes(&self, id: &CopyId) -> bool {
        match self.operations.get(id) {
            Some(Operation::Put(put)) => put.after_removal,
            Some(Operation::Remove) => true,
            None => false,
        }
    }
}

impl Queue {
    /// Queues a record; says whether there was room.
    pub(super) fn put(&self, id: CopyId, mut put: Put) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.stop || !waiting.has_room(&id, put.weight) {
            return false;
        }
        put.after_removal = waiting.removes(&id);
        waiting.insert(id, Operation::Put(put));
        self.changed.notify_one();
        true
    }

    /// Queues a removal, `hide` being called while nothing can be published; says whether there
    /// was room.
    pub(super) fn remove(&self, id: CopyId, hide: impl FnOnce()) -> bool {
        let mut waiting = self.waiting.lock();
        hide();
        let room =
            waiting.operations.len() < OPERATIONS_MAX || waiting.operations.contains_key(&id);
        if room {
            waiting.insert(id, Operation::Remove);
            self.changed.notify_one();
        }
        room
    }

    /// Puts a removal back that could not be written, unless something was asked for since.
    pub(super) fn remove_again(&self, id: CopyId) {
        let mut waiting = self.waiting.lock();
        match waiting.operations.get_mut(&id) {
            Some(Operation::Put(put)) => put.after_removal = true,
            Some(Operation::Remove) => {}
            None => waiting.insert(id, Operation::Remove),
        }
    }

    /// Calls `publish` with what tells whether a removal of an id waits, which none can come
    /// between: what was written before a removal must not be shown after it.
    pub(super) fn publish<T>(&self, publish: impl FnOnce(&dyn Fn(&CopyId) -> bool) -> T) -> T {
        let waiting = self.waiting.lock();
        publish(&|id| waiting.removes(id))
    }

    /// Asks that everything queued so far be on disk. The answer is whether it is, and is given up
    /// if there is nobody to write it, or too many ask at once.
    pub(super) fn ask_flush(&self) -> oneshot::Receiver<bool> {
        let (answer, answered) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        if waiting.flushes.len() < FLUSHES_MAX {
            waiting.flushes.push(answer);
            self.changed.notify_one();
        }
        answered
    }

    /// Asks the writer to write what is there and end.
    pub(super) fn stop(&self) {
        self.waiting.lock().stop = true;
        self.changed.notify_one();
    }

    /// What was in hand is done with.
    pub(super) fn done(&self) {
        let mut waiting = self.waiting.lock();
        waiting.in_hand = 0;
        waiting.in_hand_weight = 0;
    }

    /// Operations waiting or being written.
    pub(super) fn len(&self) -> usize {
        let waiting = self.waiting.lock();
        waiting.operations.len() + waiting.in_hand
    }

    /// Waits for a change, at most for so long if `at_most` is given, unless there is something to
    /// do now; takes the operations if `willing`, or if a flush or the end is asked for.
    pub(super) fn next(&self, at_most: Option<Duration>, willing: bool) -> Call {
        self.done();
        let mut waiting = self.waiting.lock();
        let urgent = |waiting: &Waiting| waiting.stop || !waiting.flushes.is_empty();
        let idle = !willing || waiting.operations.is_empty();
        if !urgent(&waiting) && idle {
            match at_most {
                Some(pause) => drop(self.changed.wait_for(&mut waiting, pause)),
                None => self.changed.wait(&mut waiting),
            }
        }
        let mut call = Call {
            stop: waiting.stop,
            ..Call::default()
        };
        if urgent(&waiting) || willing {
            call.flushes = std::mem::take(&mut waiting.flushes);
            waiting.in_hand = std::mem::take(&mut waiting.puts);
            debug_assert!(waiting.in_hand <= PUTS_MAX, "records are counted");
            waiting.in_hand_weight = std::mem::take(&mut waiting.weight);
            call.operations = std::mem::take(&mut waiting.operations);
        }
        call
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(weight: usize) -> Put {
        Put {
            weight,
            pinned: false,
            good_until: 0,
            frame: Box::new(Vec::new),
            after_removal: false,
        }
    }

    fn id(number: usize) -> CopyId {
        CopyId::named(&number.to_string())
    }

    #[test]
    fn records_are_bounded_by_number() {
        let queue = Queue::default();
        let kept = (0..PUTS_MAX + 10).filter(|n| queue.put(id(*n), put(1)));
        assert_eq!(kept.count(), PUTS_MAX);
        assert!(queue.put(id(0), put(1)), "it takes its own place");
        assert!(queue.remove(id(PUTS_MAX + 1), || ()), "a removal is small");
        let call = queue.next(None, true);
        assert_eq!(call.operations.len(), PUTS_MAX + 1);
        assert!(!queue.put(id(0), put(1)), "what is in hand counts");
        drop(queue.next(Some(Duration::ZERO), false));
        assert!(queue.put(id(0), put(1)));
    }

    #[test]
    fn records_are_bounded_by_weight() {
        let queue = Queue::default();
        assert!(queue.put(id(0), put(WEIGHT_MAX)));
        assert!(!queue.put(id(1), put(1)));
        assert!(queue.put(id(0), put(WEIGHT_MAX - 1)), "instead of itself");
        assert!(queue.put(id(1), put(1)));
        assert!(!queue.put(id(2), put(1)));
    }

    #[test]
    fn removals_are_bounded() {
        let queue = Queue::default();
        let kept = (0..OPERATIONS_MAX + 10).filter(|n| queue.remove(id(*n), || ()));
        assert_eq!(kept.count(), OPERATIONS_MAX);
    }

    #[test]
    fn a_removal_is_not_forgotten_for_what_comes_after_it() {
        let queue = Queue::default();
        assert!(queue.remove(id(0), || ()));
        assert!(queue.put(id(0), put(1)));
        assert!(queue.put(id(0), put(1)));
        let call = queue.next(None, true);
        let after = match &call.operations[&id(0)] {
            Operation::Put(put) => put.after_removal,
            Operation::Remove => false,
        };
        assert!(after);
    }

    #[test]
    fn an_unwilling_writer_is_called_for_a_flush_only() {
        let queue = Queue::default();
        assert!(queue.put(id(0), put(1)));
        assert!(
            queue
                .next(Some(Duration::ZERO), false)
                .operations
                .is_empty()
        );
        let mut flush = queue.ask_flush();
        let mut call = queue.next(None, false);
        assert_eq!((call.flushes.len(), call.operations.len()), (1, 1));
        let flushes = queue.next(Some(Duration::ZERO), true).flushes;
        assert!(flushes.is_empty());
        call.flushes.pop().unwrap().send(true).unwrap();
        assert_eq!(flush.try_recv(), Ok(true));
    }
}
