//! The composer's cores and who waits for them. Owns the order of work, which is that of the
//! [executor](crate::degradation::executor), and the measure of how long work waits; does not know what
//! the work is.

use std::collections::VecDeque;

use crate::degradation::executor::NEWEST_FIRST_AFTER;

use super::time::{At, Span};

/// Work for a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Job {
    Plan(usize),
    Render(usize, usize),
    Assemble(usize),
    Snapshot(usize),
}

/// The cores.
#[derive(Debug)]
pub(super) struct Composer {
    is_fifo: bool,
    cores: Vec<Option<Running>>,
    speed: f64,
    /// Until when all of it stands still.
    still: At,
    /// Of pages that have begun.
    begun: VecDeque<Waiting>,
    /// Of pages that have not.
    new: VecDeque<Waiting>,
    /// Waits of the two, since they were asked for last.
    begun_waits: Waits,
    new_waits: Waits,
}

#[derive(Debug, Clone, Copy, Default)]
struct Waits {
    sum: Span,
    count: u32,
}

impl Waits {
    fn record(&mut self, wait: Span) {
        self.sum = self.sum + wait;
        self.count += 1;
    }

    fn mean_ms(self) -> f64 {
        self.sum.ms() / f64::from(self.count.max(1))
    }
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    job: Job,
    since: At,
    takes: Span,
}

/// Work that is being done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Running {
    pub(super) job: Job,
    pub(super) began: At,
    ends: At,
}

/// What a core does next, and until when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    pub(super) core: usize,
    pub(super) ends: At,
}

impl Composer {
    pub(super) fn new(cores: usize, is_fifo: bool) -> Self {
        Self {
            is_fifo,
            cores: vec![None; cores],
            speed: 1.0,
            still: At::default(),
            begun: VecDeque::new(),
            new: VecDeque::new(),
            begun_waits: Waits::default(),
            new_waits: Waits::default(),
        }
    }

    /// Work that takes so long at the usual speed.
    pub(super) fn add(&mut self, job: Job, takes: Span, now: At) {
        let waiting = Waiting {
            job,
            since: now,
            takes,
        };
        match job {
            Job::Plan(_) if !self.is_fifo => self.new.push_back(waiting),
            // whoever is turned away takes no turn
            Job::Snapshot(_) if !self.is_fifo => self.begun.push_front(waiting),
            Job::Plan(_) | Job::Render(..) | Job::Assemble(_) | Job::Snapshot(_) => {
                self.begun.push_back(waiting);
            }
        }
    }

    /// Begins what there is a free core for; call it until there is nothing.
    pub(super) fn begin(&mut self, now: At) -> Option<Begun> {
        let core = self.cores.iter().position(Option::is_none)?;
        let next = self.next(now)?;
        self.record(&next, now);
        let takes = Span::from_ms(next.takes.ms() / self.speed);
        let ends = now.max(self.still) + takes;
        self.cores[core] = Some(Running {
            job: next.job,
            began: now,
            ends,
        });
        Some(Begun { core, ends })
    }

    fn next(&mut self, now: At) -> Option<Waiting> {
        if let Some(begun) = self.begun.pop_front() {
            return Some(begun);
        }
        let oldest = self.new.front()?.since;
        match now.since(oldest).duration() > NEWEST_FIRST_AFTER {
            true => self.new.pop_back(),
            false => self.new.pop_front(),
        }
    }

    /// A core should have come to its end: what it has done, or until when it goes on.
    pub(super) fn end(&mut self, core: usize, now: At) -> Result<Running, At> {
        let running = self.cores[core].expect("a core that ends has begun");
        if running.ends > now {
            return Err(running.ends);
        }
        self.cores[core] = None;
        Ok(running)
    }

    /// Whether the page that was added last has not begun.
    pub(super) fn is_waiting(&self, page: usize) -> bool {
        let last = [self.new.back(), self.begun.back()];
        let mut last = last.into_iter().flatten();
        last.any(|waiting| waiting.job == Job::Plan(page))
    }

    /// A page that has not begun has waited for as long as it may. Whether it is still there; it is
    /// not any more.
    pub(super) fn give_up(&mut self, page: usize, now: At) -> bool {
        let take = |line: &mut VecDeque<Waiting>| {
            let place = line.iter().position(|w| w.job == Job::Plan(page))?;
            line.remove(place)
        };
        let waiting = take(&mut self.new).or_else(|| take(&mut self.begun));
        if let Some(waiting) = waiting {
            self.record(&waiting, now);
        }
        waiting.is_some()
    }

    /// All of it stands still for a while.
    pub(super) fn stand_still(&mut self, span: Span, now: At) {
        self.still = now + span;
        for running in self.cores.iter_mut().flatten() {
            running.ends = running.ends + span;
        }
    }

    pub(super) fn set_speed(&mut self, speed: f64) {
        self.speed = speed;
    }

    /// The mean wait of pages that have begun or were given up since this was asked last, or of work
    /// for pages that have begun where that is more; not less than half of what the oldest has waited.
    pub(super) fn take_queue_delay(&mut self, now: At) -> Span {
        let begun = std::mem::take(&mut self.begun_waits);
        let new = std::mem::take(&mut self.new_waits);
        let mean = begun.mean_ms().max(new.mean_ms());
        let oldest = [self.begun.front(), self.new.front()];
        let ages = oldest
            .into_iter()
            .flatten()
            .map(|w| now.since(w.since).ms());
        Span::from_ms(ages.fold(mean, |most, age| most.max(age / 2.0)))
    }

    fn record(&mut self, waited: &Waiting, now: At) {
        let wait = now.since(waited.since);
        match waited.job {
            // in one line it is one wait
            Job::Plan(_) if !self.is_fifo => self.new_waits.record(wait),
            Job::Plan(_) | Job::Render(..) | Job::Assemble(_) => self.begun_waits.record(wait),
            Job::Snapshot(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: f64) -> At {
        At::default() + Span::from_ms(ms)
    }

    fn composer(jobs: &[(f64, Job)]) -> Composer {
        let mut composer = Composer::new(1, false);
        composer.add(Job::Render(99, 0), Span::from_ms(1000.0), at(0.0));
        assert!(composer.begin(at(0.0)).is_some());
        for (ms, job) in jobs {
            composer.add(*job, Span::from_ms(1.0), at(*ms));
        }
        composer
    }

    fn order(mut composer: Composer, ms: f64) -> Vec<Job> {
        std::iter::from_fn(|| composer.next(at(ms)).map(|next| next.job)).collect()
    }

    #[test]
    fn what_has_begun_goes_first_and_the_newest_once_pages_wait() {
        let jobs = [
            (1.0, Job::Plan(1)),
            (2.0, Job::Plan(2)),
            (3.0, Job::Render(0, 4)),
        ];
        let [one, two, render] = jobs.map(|(_, job)| job);
        assert_eq!(order(composer(&jobs), 4.0), [render, one, two]);
        assert_eq!(order(composer(&jobs), 40.0), [render, two, one]);
    }

    #[test]
    fn the_delay_is_a_mean_and_half_of_the_oldest_at_least() {
        let mut composer = composer(&[(10.0, Job::Plan(1))]);
        assert_eq!(composer.take_queue_delay(at(40.0)), Span::from_ms(15.0));
        assert!(composer.give_up(1, at(70.0)) && !composer.give_up(1, at(70.0)));
        assert_eq!(composer.take_queue_delay(at(70.0)), Span::from_ms(60.0));
        assert_eq!(composer.take_queue_delay(at(70.0)), Span::from_ms(0.0));
    }

    #[test]
    fn what_stands_still_ends_later() {
        let mut composer = composer(&[]);
        composer.stand_still(Span::from_ms(40.0), at(500.0));
        assert_eq!(composer.end(0, at(1000.0)).unwrap_err(), at(1040.0));
        let done = composer.end(0, at(1040.0)).unwrap();
        assert_eq!(done.began, at(0.0));
    }
}
