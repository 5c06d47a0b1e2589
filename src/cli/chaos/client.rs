//! The readers of an experiment (shell). Owns how pages are asked for, and when one counts as answered.

use std::time::Duration;

use reqwest::Client;
use reqwest::redirect::Policy;

use crate::clock::Clock;
use crate::experiment::{Own, Traffic};

/// A reader who has no page by then has gone: longer than any budget.
const PATIENCE: Duration = Duration::from_secs(30);

/// Readers who ask for pages one after another, several at the same time.
pub(super) struct Crowd<'t> {
    client: Client,
    clock: Clock,
    site: String,
    traffic: &'t Traffic,
}

impl<'t> Crowd<'t> {
    pub(super) fn new(site: &str, traffic: &'t Traffic, clock: Clock) -> Result<Self, String> {
        // the first caller installs it; later calls find it installed
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .timeout(PATIENCE)
            .build();
        let site = match site.contains("://") {
            true => site.to_owned(),
            false => format!("http://{site}"),
        };
        Ok(Self {
            client: client.map_err(|error| error.to_string())?,
            clock,
            site: site.trim_end_matches('/').to_owned(),
            traffic,
        })
    }

    /// Asks for so many pages.
    pub(super) async fn read(&self, pages: u32) -> Own {
        let at_once = self.traffic.at_once.max(1);
        let next = std::sync::atomic::AtomicU32::new(0);
        let reader = || async {
            let mut own = Own::default();
            loop {
                let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if number >= pages {
                    return own;
                }
                self.read_one(number, &mut own).await;
            }
        };
        let readers = (0..at_once).map(|_| reader());
        let mut all = Own::default();
        for own in futures::future::join_all(readers).await {
            all.add(own);
        }
        all
    }

    async fn read_one(&self, number: u32, own: &mut Own) {
        let paths = &self.traffic.paths;
        let path = &paths[number as usize % paths.len()];
        let began = self.clock.now();
        let asked = self.client.get(format!("{}{path}", self.site)).send();
        let answered = async {
            let answer = asked.await.ok()?;
            let status = answer.status().as_u16();
            answer.bytes().await.ok().map(|_| status)
        };
        match answered.await {
            Some(status) => {
                *own.answered.entry(status).or_default() += 1;
                own.times
                    .push(self.clock.now().saturating_duration_since(began));
            }
            None => own.unanswered += 1,
        }
    }
}
