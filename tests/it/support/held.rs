//! What a running server holds: memory, descriptors and tasks, as the system and the server itself tell of it.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::Program;

/// What is not so by then never is: a guard against tests that hang, not a measure.
const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks at something that nothing tells of.
const PAUSE: Duration = Duration::from_millis(20);

const KIB: u64 = 1 << 10;

/// What the server holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    /// Resident memory, in bytes.
    pub(crate) rss: u64,
    /// The most that it ever was.
    pub(crate) peak: u64,
    pub(crate) descriptors: usize,
    pub(crate) tasks: u64,
}

impl Program {
    /// What it holds when nothing is under way and nobody is connected.
    pub(crate) async fn at_rest(&self) -> Held {
        let mut seen: Vec<Held> = Vec::new();
        // a connection whose reader has gone may be counted for a moment
        loop {
            let held = self.held().await;
            seen.push(held);
            let alike = seen.iter().rev().take_while(|other| {
                (other.descriptors, other.tasks) == (held.descriptors, held.tasks)
            });
            if alike.count() == 5 {
                return held;
            }
            sleep(PAUSE).await;
        }
    }

    /// What it holds once everything has gone that came after this.
    pub(crate) async fn back_to(&self, before: &Held) -> Held {
        let mut now = self.held().await;
        let back = async {
            while now.descriptors > before.descriptors
                || now.tasks > before.tasks
                || self.under_way().await != 0
            {
                sleep(PAUSE).await;
                now = self.held().await;
            }
        };
        let came = timeout(PATIENCE, back).await;
        assert!(came.is_ok(), "something stays: {before:?} {now:?}");
        now
    }

    /// Returns when so many pages are being made, no more and no fewer.
    pub(crate) async fn has_in_flight(&self, pages: usize) {
        let mut seen = 0;
        let waiting = async {
            loop {
                seen = sum(&self.metrics().await, "marbre_pages_in_flight");
                if seen == pages as u64 {
                    return;
                }
                sleep(PAUSE).await;
            }
        };
        let came = timeout(PATIENCE, waiting).await;
        assert!(came.is_ok(), "{seen} pages are being made, not {pages}");
    }

    /// Pages, flights and requests to origins.
    async fn under_way(&self) -> u64 {
        let metrics = self.metrics().await;
        let gauges = [
            "marbre_pages_in_flight",
            "marbre_flights",
            "marbre_origin_in_flight",
        ];
        gauges.iter().map(|gauge| sum(&metrics, gauge)).sum()
    }

    pub(crate) async fn held(&self) -> Held {
        let tasks = sum(&self.metrics().await, "marbre_tasks");
        let process = format!("/proc/{}", self.id());
        let status = std::fs::read_to_string(format!("{process}/status"));
        let status = status.expect("it runs");
        let descriptors = std::fs::read_dir(format!("{process}/fd"));
        Held {
            rss: kib(&status, "VmRSS:") * KIB,
            peak: kib(&status, "VmHWM:") * KIB,
            descriptors: descriptors.expect("it is ours").count(),
            tasks,
        }
    }

    pub(crate) async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.admin);
        let answer = self.client.get(url).send().await;
        let answer = answer.expect("the admin listener answers").text().await;
        answer.expect("/metrics ends")
    }
}

fn kib(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in {status}"))
}

/// All series of a metric together.
pub(crate) fn sum(metrics: &str, name: &str) -> u64 {
    let values = metrics.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let named = series.split('{').next()?;
        (named == name).then(|| value.parse::<f64>().expect("a number"))
    });
    let total: f64 = values.sum();
    format!("{total:.0}").parse().expect("it is not negative")
}
