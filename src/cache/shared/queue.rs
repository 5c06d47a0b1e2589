//! What is still to be written. Owns the order and the limits; pure.
//!
//! Two kinds wait in one order. Frames, and the leases released behind them, are worth a hit each:
//! beyond the limit the new one is dropped. Notes (removals and messages) are worth being right:
//! they have a limit of their own, and beyond it the oldest is dropped, since the newest are the
//! ones that nobody has acted on yet.
//!
//! Invariant: what is asked for later is never written earlier.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::cache::key::CopyId;
use crate::clock::Instant;

use super::stamp::Stamp;

/// Frames and releases that wait.
const FRAMES_MAX: usize = 4096;

/// Bytes of frames that wait.
const FRAME_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Removals and messages that wait: an hour of three in a second.
const NOTES_MAX: usize = 10_000;

/// Bytes of messages that wait.
const NOTE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Something to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Job {
    /// A frame.
    Put(Put),
    /// The node's lease, if it still holds it.
    Release(CopyId),
    /// No frame.
    Remove(CopyId),
    /// To all nodes.
    Message(Bytes),
}

/// A frame to be put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Put {
    pub(super) id: CopyId,
    pub(super) stamp: Stamp,
    /// From `asked` on.
    pub(super) keep: Duration,
    pub(super) asked: Instant,
    pub(super) frame: Bytes,
}

impl Job {
    fn bytes(&self) -> usize {
        match self {
            Self::Put(put) => put.frame.len(),
            Self::Message(message) => message.len(),
            Self::Release(_) | Self::Remove(_) => 0,
        }
    }

    fn is_note(&self) -> bool {
        match self {
            Self::Put(_) | Self::Release(_) => false,
            Self::Remove(_) | Self::Message(_) => true,
        }
    }
}

/// A job and its place in the order, which is never given twice.
pub(super) type Numbered = (u64, Job);

/// The jobs that wait.
#[derive(Debug, Default)]
pub(super) struct Queue {
    frames: Lane,
    notes: Lane,
    number: u64,
}

#[derive(Debug, Default)]
struct Lane {
    jobs: VecDeque<Numbered>,
    bytes: usize,
}

impl Lane {
    fn push(&mut self, number: u64, job: Job) {
        self.bytes += job.bytes();
        self.jobs.push_back((number, job));
    }

    fn pop(&mut self) {
        if let Some((_, job)) = self.jobs.pop_front() {
            self.bytes -= job.bytes();
        }
    }

    fn number(&self) -> Option<u64> {
        self.jobs.front().map(|(number, _)| *number)
    }
}

impl Queue {
    /// Adds a job; how many were dropped for want of room, this one included.
    pub(super) fn push(&mut self, job: Job) -> usize {
        let before = self.len() + 1;
        self.number += 1;
        if job.is_note() {
            self.notes.push(self.number, job);
            while self.notes.jobs.len() > NOTES_MAX || self.notes.bytes > NOTE_BYTES_MAX {
                self.notes.pop();
            }
        } else if self.frames.jobs.len() < FRAMES_MAX
            && self.frames.bytes + job.bytes() <= FRAME_BYTES_MAX
        {
            self.frames.push(self.number, job);
        }
        before - self.len()
    }

    /// The oldest job. It stays until it is [`done`](Self::done).
    pub(super) fn first(&self) -> Option<Numbered> {
        let (frame, note) = (self.frames.number(), self.notes.number());
        let lane = match (frame, note) {
            (Some(frame), Some(note)) if frame < note => &self.frames,
            (Some(_), None) => &self.frames,
            _ => &self.notes,
        };
        lane.jobs.front().cloned()
    }

    /// The job with this number need not be done again.
    pub(super) fn done(&mut self, number: u64) {
        for lane in [&mut self.frames, &mut self.notes] {
            if lane.number() == Some(number) {
                lane.pop();
            }
        }
    }

    /// The place of the last job that was added.
    pub(super) fn last(&self) -> u64 {
        self.number
    }

    /// Whether a removal or a message waits that was added by then.
    pub(super) fn has_notes_up_to(&self, place: u64) -> bool {
        self.notes.number().is_some_and(|first| first <= place)
    }

    /// Jobs that wait.
    pub(super) fn len(&self) -> usize {
        self.frames.jobs.len() + self.notes.jobs.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn put(bytes: usize) -> Job {
        let stamp = Stamp {
            version: None,
            stored_at: 0,
            began: 0,
        };
        Job::Put(Put {
            id: CopyId([0; 32]),
            stamp,
            keep: Duration::from_secs(1),
            asked: Clock::start().now(),
            frame: vec![0; bytes].into(),
        })
    }

    fn message(text: &str) -> Job {
        Job::Message(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn drain(queue: &mut Queue) -> Vec<Job> {
        let mut jobs = Vec::new();
        while let Some((number, job)) = queue.first() {
            queue.done(number);
            jobs.push(job);
        }
        jobs
    }

    #[test]
    fn the_order_is_that_of_asking() {
        let mut queue = Queue::default();
        let id = CopyId([7; 32]);
        let jobs = [
            put(3),
            message("a"),
            put(4),
            Job::Release(id),
            Job::Remove(id),
            put(5),
        ];
        jobs.iter()
            .for_each(|job| assert_eq!(queue.push(job.clone()), 0));
        // asked times differ between puts of the test, so they are compared by their bytes
        let order: Vec<_> = drain(&mut queue)
            .iter()
            .map(|j| (j.is_note(), j.bytes()))
            .collect();
        let expected: Vec<_> = jobs.iter().map(|j| (j.is_note(), j.bytes())).collect();
        assert_eq!(order, expected);
        assert_eq!((queue.frames.bytes, queue.notes.bytes), (0, 0));
    }

    #[test]
    fn too_many_frames_drop_the_new_one() {
        let mut queue = Queue::default();
        assert_eq!(queue.push(put(FRAME_BYTES_MAX - 1)), 0);
        assert_eq!(queue.push(put(2)), 1, "one byte too many");
        assert_eq!(queue.push(put(1)), 0);
        assert_eq!(queue.len(), 2);

        let mut queue = Queue::default();
        let dropped: usize = (0..FRAMES_MAX + 3).map(|_| queue.push(put(0))).sum();
        assert_eq!((dropped, queue.len()), (3, FRAMES_MAX));
        assert_eq!(queue.push(message("there is room for this")), 0);
    }

    #[test]
    fn too_many_notes_drop_the_oldest() {
        let mut queue = Queue::default();
        let dropped: usize = (0..NOTES_MAX + 2)
            .map(|n| queue.push(message(&n.to_string())))
            .sum();
        assert_eq!(dropped, 2);
        assert_eq!(queue.first(), Some((3, message("2"))));

        let mut queue = Queue::default();
        queue.push(message("small"));
        let big = Job::Message(vec![0; NOTE_BYTES_MAX].into());
        assert_eq!(queue.push(big.clone()), 1);
        assert_eq!(drain(&mut queue), [big]);
    }

    #[test]
    fn a_job_dropped_while_it_is_done_takes_no_other_with_it() {
        let mut queue = Queue::default();
        queue.push(message("first"));
        let (number, _) = queue.first().unwrap();
        queue.push(Job::Message(vec![0; NOTE_BYTES_MAX].into()));
        queue.done(number);
        assert_eq!(queue.len(), 1);
    }
}
