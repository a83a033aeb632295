//! Here is a configuration, gives you its targets' profiles in the store, again and again.
//!
//! ```text
//! job ── discoveries ─► groups of targets ── target = address × profile ── loop: wait, fetch, push, remember how it went
//! ```
//!
//! Constraints: memory for bodies and the number of requests under way are bounded over all jobs, that of targets per job;
//! a slow target delays nobody else. Invariants: nothing is retried (the next interval is the retry); what a target sends is stored as
//! received, under the labels of the target; after [`Scraper::shutdown`] nothing more is stored.
//! Start at [`Scraper`].

mod client;
mod job;
mod round;
mod target;

use std::{
    collections::BTreeMap,
    error::Error,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use decima_config::{Config, labels::Labels};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{client::BodyBounds, job::Job};
use crate::{
    discovery,
    push::{Push, RawSeries},
};

/// Where profiles that were scraped go: into a store, or on to one.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Takes all series or none. When it returns, they are durable.
    ///
    /// `received_ns` is the Unix time of receipt, used for profiles without a time.
    async fn store(
        &self,
        series: Vec<RawSeries>,
        received_ns: i64,
    ) -> Result<(), Box<dyn Error + Send + Sync>>;
}

#[async_trait]
impl Sink for Push {
    async fn store(
        &self,
        series: Vec<RawSeries>,
        received_ns: i64,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.write_raw(series, received_ns, None).await?;
        Ok(())
    }
}

/// Bounds of scraping, and labels for what is scraped.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bytes of one profile as received; larger ones are refused.
    pub body_bytes_max: usize,
    /// Bytes of all profiles being received or stored; beyond it, receiving waits.
    pub in_flight_bytes_max: usize,
    /// Requests under way; beyond it, scrapes wait. Each holds a file descriptor, and one for CPU lasts a whole interval.
    pub requests_max: usize,
    /// Targets of one job (address × profile) that are scraped; further ones are left out, and told.
    pub targets_per_job_max: usize,
    /// Least time from one change of a job's targets to the next, so that a cluster in motion is not relabelled all the time.
    pub sync_interval: Duration,
    /// Labels added to every series; they win over those of the target.
    pub external_labels: Vec<(String, String)>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            body_bytes_max: 64 << 20,
            in_flight_bytes_max: 256 << 20,
            requests_max: 512,
            targets_per_job_max: 20_000,
            sync_interval: Duration::from_secs(5),
            external_labels: Vec::new(),
        }
    }
}

/// Whether a target answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetHealth {
    /// It has not been asked yet.
    Unknown,
    /// The last profile was fetched and stored.
    Good,
    /// The last profile was not.
    Bad,
}

/// Which targets to tell about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TargetState {
    /// All.
    #[default]
    Any,
    /// Those that are scraped.
    Active,
    /// Those that relabelling dropped, or that have no usable address.
    Dropped,
}

/// What is known of a target.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetStatus {
    /// Name of the job that it belongs to.
    pub job: String,
    /// Labels before relabelling.
    pub discovered_labels: Labels,
    /// Labels that its profiles are stored under, `__name__` among them; empty if it is dropped.
    pub labels: Labels,
    /// Whether it is scraped.
    pub active: bool,
    /// What is fetched; empty if it is dropped.
    pub url: String,
    /// Whether it answers.
    pub health: TargetHealth,
    /// Why the last scrape failed, or why there is none; empty if neither.
    pub last_error: String,
    /// When the last scrape started.
    pub last_scrape: Option<SystemTime>,
    /// How long the last scrape took, storing included.
    pub last_scrape_duration: Duration,
}

/// How a job goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobStatus {
    /// Its name.
    pub job: String,
    /// Targets whose last profile was stored.
    pub good: usize,
    /// Targets whose last profile was not.
    pub bad: usize,
    /// Targets that were not asked yet.
    pub unknown: usize,
    /// Targets that are not scraped: dropped by a rule, or without a usable address.
    pub dropped: usize,
    /// Targets that are not scraped because there are too many.
    pub left_out: usize,
    /// Why; empty if there are none.
    pub error: String,
    /// How each of its discoveries goes, in the order of the configuration.
    pub discoveries: Vec<discovery::Status>,
}

/// Scrapes what a configuration says. Clones share the work.
#[derive(Clone)]
pub struct Scraper {
    shared: Arc<Shared>,
}

struct Shared {
    sink: Arc<dyn Sink>,
    settings: Settings,
    bodies: BodyBounds,
    requests: Arc<Semaphore>,
    jobs: Mutex<BTreeMap<String, Job>>,
    loops: TaskTracker,
    cancelled: CancellationToken,
}

impl Scraper {
    /// A scraper without jobs, whose profiles go to `sink`.
    pub fn new(sink: impl Sink + 'static, settings: Settings) -> Self {
        let bodies = BodyBounds::new(settings.body_bytes_max, settings.in_flight_bytes_max);
        let requests = Arc::new(Semaphore::new(settings.requests_max.clamp(1, Semaphore::MAX_PERMITS)));
        let (jobs, loops, cancelled) = (Mutex::default(), TaskTracker::new(), CancellationToken::new());
        let sink = Arc::new(sink);
        Self { shared: Arc::new(Shared { sink, settings, bodies, requests, jobs, loops, cancelled }) }
    }

    /// Scrapes what `config` says from now on, and nothing else.
    ///
    /// Jobs that are the same go on undisturbed; so do targets that are the same in a job that fetches as before. Must be
    /// called in a Tokio runtime.
    pub fn apply(&self, config: &Config) {
        let mut jobs = self.shared.jobs.lock();
        if self.shared.cancelled.is_cancelled() {
            return;
        }
        jobs.retain(|name, job| {
            let config = config.scrape_configs.iter().find(|config| config.job_name == *name);
            config.is_some_and(|config| config.fetches_as(job.config()))
        });
        for config in &config.scrape_configs {
            match jobs.get_mut(&config.job_name) {
                Some(job) if **job.config() == *config => {}
                Some(job) => {
                    job.reconfigure(config);
                    job.start(&self.shared);
                }
                None => {
                    let mut job = Job::new(config);
                    job.start(&self.shared);
                    jobs.insert(config.job_name.clone(), job);
                }
            }
        }
    }

    /// What is known of the targets, by job, then by what is fetched. Of those that are dropped, the first thousand of a job.
    pub fn targets(&self, state: TargetState) -> Vec<TargetStatus> {
        self.shared.jobs.lock().values().flat_map(|job| job.targets(state)).collect()
    }

    /// How the jobs go, by name.
    pub fn jobs(&self) -> Vec<JobStatus> {
        self.shared.jobs.lock().values().map(|job| job.status(&self.shared)).collect()
    }

    /// Stops all loops. Requests under way are given up, profiles being stored are stored.
    pub async fn shutdown(&self) {
        self.shared.cancelled.cancel();
        self.shared.jobs.lock().clear();
        self.shared.loops.close();
        self.shared.loops.wait().await;
    }
}

#[cfg(test)]
mod tests;
