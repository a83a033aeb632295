//! One target's loop: wait for its time, fetch, store, remember how it went.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use decima_config::{FirstScrape, SampleType, ScrapeConfig, format_duration};
use parking_lot::Mutex;
use reqwest::Url;
use tokio::{
    sync::Semaphore,
    time::{MissedTickBehavior, interval_at, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{
    Sink, TargetHealth,
    client::{self, BodyBounds, FetchError},
    target::{NAME, Target},
};
use crate::{error_chain::error_chain, http_client::HttpClient, push::RawSeries};

/// How the last scrape went.
pub(super) struct Health {
    pub(super) health: TargetHealth,
    pub(super) last_error: String,
    pub(super) last_scrape: Option<SystemTime>,
    pub(super) last_scrape_duration: Duration,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            health: TargetHealth::Unknown,
            last_error: String::new(),
            last_scrape: None,
            last_scrape_duration: Duration::ZERO,
        }
    }
}

/// A scrape that stored nothing.
#[derive(Debug, thiserror::Error)]
enum ScrapeError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("cannot be stored")]
    Sink(#[source] Box<dyn Error + Send + Sync>),
    #[error("timed out after {}", format_duration(*after))]
    Timeout { after: Duration },
}

/// What a loop works with.
pub(super) struct Round {
    pub(super) target: Arc<Target>,
    pub(super) config: Arc<ScrapeConfig>,
    pub(super) client: Arc<HttpClient>,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) bodies: BodyBounds,
    pub(super) requests: Arc<Semaphore>,
    pub(super) health: Arc<Mutex<Health>>,
    pub(super) cancelled: CancellationToken,
}

impl Round {
    /// Runs until cancelled.
    pub(super) async fn run(self) {
        let interval = self.config.scrape_interval;
        let offset = match self.config.first_scrape {
            FirstScrape::AtOnce { .. } if self.target.first_url.is_some() => Duration::ZERO,
            FirstScrape::AtOnce { others_after, .. } => others_after,
            FirstScrape::Spread => offset(since_epoch(SystemTime::now()), interval, self.target.hash),
        };
        let mut ticks = interval_at(tokio::time::Instant::now() + offset, interval);
        // A delta takes the whole interval, so each comes a little late; the next starts right after it, without a gap.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut url = self.target.first_url.as_ref().unwrap_or(&self.target.url);
        loop {
            tokio::select! {
                biased;
                () = self.cancelled.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let (scraped_at, started) = (SystemTime::now(), Instant::now());
            let Some(outcome) = self.scrape(url, scraped_at).await else { return };
            self.remember(scraped_at, started.elapsed(), outcome);
            url = &self.target.url;
        }
    }

    /// Fetches and stores; `None` if cancelled meanwhile.
    async fn scrape(&self, url: &Url, now: SystemTime) -> Option<Result<(), ScrapeError>> {
        let after = self.config.scrape_timeout;
        let deadline = Instant::now() + after;
        let fetched = timeout(after, async {
            // Only closing the semaphore fails, and nobody does.
            let _permit = self.requests.acquire().await.ok();
            client::fetch(&self.client, url, &self.bodies).await
        });
        let body = tokio::select! {
            biased;
            () = self.cancelled.cancelled() => return None,
            fetched = fetched => match fetched {
                Ok(Ok(body)) => body,
                Ok(Err(error)) => return Some(Err(error.into())),
                Err(_) => return Some(Err(ScrapeError::Timeout { after })),
            },
        };
        let labels = self.target.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let series = RawSeries { labels, profiles: vec![body.bytes.clone()], keep: self.keep() };
        let received_ns = i64::try_from(since_epoch(now).as_nanos()).unwrap_or(i64::MAX);
        let stored = timeout(
            deadline.saturating_duration_since(Instant::now()),
            self.sink.store(vec![series], received_ns),
        );
        Some(match stored.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(ScrapeError::Sink(error)),
            Err(_) => Err(ScrapeError::Timeout { after }),
        })
    }

    /// Sample types to store of what this target's endpoint gives.
    fn keep(&self) -> Vec<SampleType> {
        let endpoint = self.target.discovered.get(NAME).and_then(|name| self.config.endpoints.get(name));
        endpoint.map(|endpoint| endpoint.keep_sample_type.clone()).unwrap_or_default()
    }

    fn remember(&self, scraped_at: SystemTime, duration: Duration, outcome: Result<(), ScrapeError>) {
        let (now, last_error) = match outcome {
            Ok(()) => (TargetHealth::Good, String::new()),
            Err(error) => (TargetHealth::Bad, error_chain(&error)),
        };
        let mut health = self.health.lock();
        let before = std::mem::replace(&mut health.health, now);
        health.last_scrape = Some(scraped_at);
        health.last_scrape_duration = duration;
        health.last_error.clone_from(&last_error);
        drop(health);
        let (url, duration_ms) = (self.target.url.as_str(), duration.as_millis());
        match (before, now) {
            // Once is enough: a target that stays away would fill the log.
            (TargetHealth::Bad, TargetHealth::Bad) => debug!(url, error = last_error, "target still fails"),
            (_, TargetHealth::Bad) => warn!(url, error = last_error, "target fails"),
            _ => debug!(url, duration_ms, "scraped"),
        }
    }
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// How long to wait for a target's place in the interval: places depend on the target only and stay the same over restarts.
fn offset(now: Duration, interval: Duration, hash: u128) -> Duration {
    let interval_ns = interval.as_nanos().max(1);
    let until_start_ns = interval_ns - now.as_nanos() % interval_ns;
    let wait_ns = (until_start_ns + hash % interval_ns) % interval_ns;
    Duration::from_nanos(u64::try_from(wait_ns).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_is_a_place_in_the_interval() {
        let interval = Duration::from_secs(10);
        for (now, hash) in [(0, 0), (3, 7), (9, 1), (1_700_000_004, 12_345_678_901)] {
            let wait = offset(Duration::from_secs(now), interval, hash);
            assert!(wait < interval);
            let place = (Duration::from_secs(now) + wait).as_nanos() % interval.as_nanos();
            assert_eq!(place, hash % interval.as_nanos(), "the place depends on the target only");
        }
    }
}
