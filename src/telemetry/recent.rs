//! The latest pages in full, for whoever asks about one by its trace. Owns which are remembered, and the
//! memory of them, which is bounded in bytes.
//!
//! Invariant: a page waits for no lock here. What finds the queue full is not remembered.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::fragment::trace;
use crate::report::{Event, Observer, PageReport, Story};
use crate::site::RecentSettings;

use super::traces::Allowance;

/// Pages that may wait to be remembered.
const QUEUE_PAGES: usize = 256;

/// Between two looks at what waits, where nobody asks.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

/// The latest pages.
pub struct Recent {
    settings: RecentSettings,
    queue: mpsc::Sender<Story>,
    ring: Mutex<Ring>,
    sampled: Allowance,
    notable: Allowance,
    clock: Clock,
}

struct Ring {
    waiting: mpsc::Receiver<Story>,
    /// Oldest first.
    pages: VecDeque<Page>,
    bytes: usize,
}

struct Page {
    trace_id: String,
    /// When it was asked for.
    at: String,
    json: Box<str>,
}

/// What there is at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Pages.
    pub pages: usize,
    /// When the oldest of them was asked for.
    pub oldest: Option<String>,
}

impl Recent {
    /// Nothing remembered yet.
    pub fn new(settings: RecentSettings, clock: Clock) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_PAGES);
        Self {
            sampled: Allowance::new(settings.sample_max),
            notable: Allowance::new(settings.notable_max),
            settings,
            queue,
            ring: Mutex::new(Ring {
                waiting,
                pages: VecDeque::new(),
                bytes: 0,
            }),
            clock,
        }
    }

    /// Takes in what waits, until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        while timeout(PAUSE, stop.cancelled()).await.is_err() {
            self.ring.lock().take_in(self.settings.bytes_max);
        }
    }

    /// What is remembered of the pages of a trace, newest first, as JSON.
    pub fn find(&self, trace_id: u128) -> Vec<String> {
        let trace_id = format!("{trace_id:032x}");
        let mut ring = self.ring.lock();
        ring.take_in(self.settings.bytes_max);
        let found = ring.pages.iter().rev();
        let found = found.filter(|page| page.trace_id == trace_id);
        found.map(|page| page.json.to_string()).collect()
    }

    /// How much is remembered.
    pub fn held(&self) -> Held {
        let ring = self.ring.lock();
        Held {
            pages: ring.pages.len(),
            oldest: ring.pages.front().map(|page| page.at.clone()),
        }
    }

    /// What is remembered, and how much of it.
    pub fn settings(&self) -> &RecentSettings {
        &self.settings
    }
}

impl Ring {
    fn take_in(&mut self, bytes_max: usize) {
        while let Ok(story) = self.waiting.try_recv() {
            let json = serde_json::to_string(&story).expect("what is told has string keys");
            let page = Page {
                trace_id: story.trace_id,
                at: story.at,
                json: json.into_boxed_str(),
            };
            if page.bytes() > bytes_max {
                continue;
            }
            self.bytes += page.bytes();
            self.pages.push_back(page);
            while self.bytes > bytes_max {
                let Some(oldest) = self.pages.pop_front() else {
                    break;
                };
                self.bytes -= oldest.bytes();
            }
        }
    }
}

impl Page {
    fn bytes(&self) -> usize {
        self.json.len() + self.trace_id.len() + self.at.len() + size_of::<Self>()
    }
}

impl Observer for Recent {
    fn page(&self, _: &PageReport<'_>) {}

    /// By chance, or because somebody will want to know why the page was as it was; of each only so many a
    /// second: a story costs more than a page, and what is remembered is to reach back further than a moment.
    fn wants_story(&self, report: &PageReport<'_>) -> bool {
        if self.settings.bytes_max == 0 {
            return false;
        }
        let second = || self.clock.uptime(self.clock.now()).as_secs();
        if trace::is_of(report.trace_id, self.settings.sample) && self.sampled.take(second()) {
            return true;
        }
        let is_short = report.status == 200 && report.finished && !report.is_complete();
        let is_notable = report.is_sampled
            || is_short
            || report.status >= 500
            || report.level.get() > 0
            || report.took() >= self.settings.slow;
        is_notable && self.notable.take(second())
    }

    fn story(&self, story: Story) {
        if let Ok(place) = self.queue.try_reserve() {
            place.send(story);
        }
    }

    fn event(&self, _: &Event) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Afforded;
    use std::time::Duration;

    fn recent(bytes_max: usize) -> Recent {
        let settings = RecentSettings {
            bytes_max,
            sample: 0.0,
            sample_max: 0,
            slow: Duration::from_secs(1),
            notable_max: 100,
        };
        Recent::new(settings, Clock::start())
    }

    fn story(trace_id: u128) -> Story {
        Story {
            trace_id: format!("{trace_id:032x}"),
            page: "page".to_owned(),
            route: "/".to_owned(),
            path: "/".to_owned(),
            at: format!("at {trace_id}"),
            status: 200,
            level: 0,
            level_name: String::new(),
            level_text_only: 0,
            afforded: Afforded::default(),
            rehearsal: false,
            complete: true,
            finished: true,
            snapshot_age_s: None,
            made_ms_ago: None,
            budget_ms: 0,
            cost_ms: None,
            head_ms: 0.0,
            settled_ms: 0.0,
            total_ms: 0.0,
            blocks: Vec::new(),
            attempts: Vec::new(),
        }
    }

    #[test]
    fn the_oldest_is_forgotten_first_and_memory_is_bounded() {
        let recent = recent(4096);
        for trace_id in 1..=100 {
            recent.story(story(trace_id));
        }
        let newest = recent.find(100);
        assert_eq!(newest.len(), 1);
        assert_eq!(
            serde_json::from_str::<Story>(&newest[0]).unwrap(),
            story(100)
        );
        assert!(recent.find(1).is_empty());
        let held = recent.held();
        assert!((2..20).contains(&held.pages), "{held:?}");
        assert_eq!(held.oldest, Some(format!("at {}", 101 - held.pages)));
        assert!(recent.ring.lock().bytes <= 4096);
    }

    #[test]
    fn what_nobody_takes_in_does_not_grow() {
        let recent = recent(1 << 20);
        for trace_id in 1..=10_000 {
            recent.story(story(trace_id));
        }
        assert!(recent.find(10_000).is_empty(), "the queue was full");
        assert_eq!(recent.held().pages, QUEUE_PAGES);
        // one trace may have several pages
        recent.story(story(7));
        assert_eq!(recent.find(7).len(), 2);
    }

    #[test]
    fn a_page_larger_than_all_of_it_is_not_remembered() {
        let recent = recent(10);
        recent.story(story(1));
        assert!(recent.find(1).is_empty());
    }
}
