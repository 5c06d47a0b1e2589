//! The composer's cores, and the [line](crate::degradation::line) of those who wait for them. Owns the
//! measure of how long work waits, which is that of the
//! [executor](crate::degradation::executor); does not know what the work is.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Instant;
use crate::degradation::line::{Line, Stage, Waiting};

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
    start: Instant,
    is_in_order: bool,
    cores: Vec<Option<Running>>,
    speed: f64,
    /// Until when all of it stands still.
    still: At,
    /// For how long a page that has not begun waits at most.
    patience: Duration,
    line: Line<Work>,
    /// Pages that are turned away, which takes no turn.
    turned_away: VecDeque<Work>,
    /// Waits since they were asked for last.
    wait_sum: Duration,
    waits: u32,
}

#[derive(Debug, Clone, Copy)]
struct Work {
    job: Job,
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
    /// `start` is the instant of the first moment. `is_in_order` does without the line's own order.
    pub(super) fn new(cores: usize, patience: Duration, is_in_order: bool, start: Instant) -> Self {
        Self {
            start,
            is_in_order,
            cores: vec![None; cores],
            speed: 1.0,
            still: At::default(),
            patience,
            line: Line::default(),
            turned_away: VecDeque::new(),
            wait_sum: Duration::ZERO,
            waits: 0,
        }
    }

    fn instant(&self, at: At) -> Instant {
        self.start + at.duration()
    }

    /// Work that takes so long at the usual speed.
    pub(super) fn add(&mut self, job: Job, takes: Span, now: At) {
        let work = Work { job, takes };
        let stage = match job {
            Job::Snapshot(_) => return self.turned_away.push_back(work),
            Job::Plan(_) if !self.is_in_order => Stage::New {
                patience: self.patience,
            },
            Job::Plan(_) | Job::Render(..) | Job::Assemble(_) => Stage::Begun,
        };
        self.line.add(stage, self.instant(now), work);
    }

    /// Begins what there is a free core for; call it until there is nothing.
    pub(super) fn begin(&mut self, now: At) -> Option<Begun> {
        let core = self.cores.iter().position(Option::is_none)?;
        let Work { job, takes } = self.next(now)?;
        let takes = Span::from_ms(takes.ms() / self.speed);
        let ends = now.max(self.still) + takes;
        self.cores[core] = Some(Running {
            job,
            began: now,
            ends,
        });
        Some(Begun { core, ends })
    }

    fn next(&mut self, now: At) -> Option<Work> {
        if let Some(work) = self.turned_away.pop_front() {
            return Some(work);
        }
        let (next, _) = self.line.next(self.instant(now), |_| true);
        let next = next?;
        self.record(&next, now);
        Some(next.who)
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

    /// A page has waited for as long as it may before it is begun. Whether it had not been; it will
    /// not be any more.
    pub(super) fn give_up(&mut self, page: usize, now: At) -> bool {
        let waiting = self.line.remove(|work| work.job == Job::Plan(page));
        if let Some(waiting) = &waiting {
            self.record(waiting, now);
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

    /// The mean wait of what has begun or was given up since this was asked last; not less than half of
    /// what the oldest has waited for.
    pub(super) fn take_queue_delay(&mut self, now: At) -> Duration {
        let mean = self.wait_sum.checked_div(self.waits).unwrap_or_default();
        (self.wait_sum, self.waits) = (Duration::ZERO, 0);
        let age = self.line.oldest(|_| true);
        let age = age.map(|since| self.instant(now).saturating_duration_since(since));
        mean.max(age.unwrap_or_default() / 2)
    }

    fn record(&mut self, waited: &Waiting<Work>, now: At) {
        self.wait_sum += self.instant(now).saturating_duration_since(waited.since);
        self.waits += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn at(ms: f64) -> At {
        At::default() + Span::from_ms(ms)
    }

    /// One core, which is busy for a second.
    fn composer() -> Composer {
        let (patience, start) = (Duration::from_millis(60), Clock::start().now());
        let mut composer = Composer::new(1, patience, false, start);
        composer.add(Job::Render(99, 0), Span::from_ms(1000.0), at(0.0));
        assert!(composer.begin(at(0.0)).is_some());
        composer
    }

    #[test]
    fn the_delay_is_a_mean_and_half_of_the_oldest_at_least() {
        let (mut composer, ms) = (composer(), Duration::from_millis);
        composer.add(Job::Plan(1), Span::from_ms(1.0), at(10.0));
        assert_eq!(composer.take_queue_delay(at(40.0)), ms(15));
        assert!(composer.give_up(1, at(70.0)) && !composer.give_up(1, at(70.0)));
        assert_eq!(composer.take_queue_delay(at(70.0)), ms(60));
        assert_eq!(composer.take_queue_delay(at(70.0)), ms(0));
    }

    #[test]
    fn what_stands_still_ends_later() {
        let mut composer = composer();
        composer.stand_still(Span::from_ms(40.0), at(500.0));
        assert_eq!(composer.end(0, at(1000.0)).unwrap_err(), at(1040.0));
        let done = composer.end(0, at(1040.0)).unwrap();
        assert_eq!(done.began, at(0.0));
    }

    #[test]
    fn whoever_is_turned_away_takes_no_turn_and_waits_for_nobody() {
        let mut composer = composer();
        composer.add(Job::Plan(1), Span::from_ms(1.0), at(10.0));
        composer.add(Job::Snapshot(2), Span::from_ms(1.0), at(20.0));
        assert!(composer.end(0, at(1000.0)).is_ok());
        let _ = composer.begin(at(1000.0));
        assert_eq!(composer.end(0, at(1001.0)).unwrap().job, Job::Snapshot(2));
    }
}
