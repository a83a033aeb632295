//! Here is a configuration, gives you its targets' profiles in the store, again and again.
//!
//! ```text
//! job ── client ; group of targets ── target = address × profile ── loop: wait, fetch, push, remember how it went
//! ```
//!
//! Constraints: memory for bodies and the number of requests under way are bounded over all jobs; a slow target delays
//! nobody else. Invariants: nothing is retried (the next interval is the retry); what a target sends is stored as
//! received, under the labels of the target; after [`Scraper::shutdown`] nothing more is stored.
//! Start at [`Scraper`].

mod client;
mod round;
mod target;
mod tls;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    error::Error,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    client::{BodyBounds, JobClient},
    round::{Health, Round},
    target::{Dropped, Target, Targets},
};
use crate::{
    config::{Config, ScrapeConfig},
    discovery::TargetGroup,
    labels::Labels,
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
    /// Labels added to every series; they win over those of the target.
    pub external_labels: Vec<(String, String)>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            body_bytes_max: 64 << 20,
            in_flight_bytes_max: 256 << 20,
            requests_max: 512,
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

/// The loops of one job. Dropping it stops them.
struct Job {
    config: Arc<ScrapeConfig>,
    client: Arc<JobClient>,
    active: HashMap<u128, Active>,
    dropped: Vec<Dropped>,
}

struct Active {
    target: Arc<Target>,
    health: Arc<Mutex<Health>>,
    cancelled: CancellationToken,
}

impl Drop for Active {
    fn drop(&mut self) {
        self.cancelled.cancel();
    }
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
    /// Targets that are the same in a job that is the same go on undisturbed. Must be called in a Tokio runtime.
    pub fn apply(&self, config: &Config) {
        let mut jobs = self.shared.jobs.lock();
        jobs.retain(|name, job| {
            config.scrape_configs.iter().any(|c| c.job_name == *name && *c == *job.config)
        });
        for config in &config.scrape_configs {
            let job = jobs.entry(config.job_name.clone()).or_insert_with(|| Job {
                config: Arc::new(config.clone()),
                client: Arc::new(JobClient::new(config.http_client.clone())),
                active: HashMap::new(),
                dropped: Vec::new(),
            });
            job.discovered(&self.shared, &config.static_configs);
        }
    }

    /// Takes `groups` for all targets that `job` has now. Unknown jobs are ignored: a reload may just have removed them.
    pub fn discovered(&self, job: &str, groups: &[TargetGroup]) {
        if let Some(job) = self.shared.jobs.lock().get_mut(job) {
            job.discovered(&self.shared, groups);
        }
    }

    /// What is known of the targets, by job, then by what is fetched.
    pub fn targets(&self, state: TargetState) -> Vec<TargetStatus> {
        let mut statuses = Vec::new();
        for job in self.shared.jobs.lock().values() {
            let start = statuses.len();
            if state != TargetState::Dropped {
                statuses.extend(job.active.values().map(|active| active.status(&job.config.job_name)));
            }
            if state != TargetState::Active {
                statuses
                    .extend(job.dropped.iter().map(|dropped| dropped_status(&job.config.job_name, dropped)));
            }
            statuses[start..]
                .sort_by(|a, b| (&a.url, &a.discovered_labels).cmp(&(&b.url, &b.discovered_labels)));
        }
        statuses
    }

    /// Stops all loops. Requests under way are given up, profiles being stored are stored.
    pub async fn shutdown(&self) {
        self.shared.cancelled.cancel();
        self.shared.jobs.lock().clear();
        self.shared.loops.close();
        self.shared.loops.wait().await;
    }
}

impl Job {
    fn discovered(&mut self, shared: &Arc<Shared>, groups: &[TargetGroup]) {
        let Targets { active, dropped } =
            target::targets(&self.config, groups, &shared.settings.external_labels);
        self.dropped = dropped;
        let wanted: HashSet<u128> = active.iter().map(Target::hash).collect();
        self.active.retain(|hash, _| wanted.contains(hash));
        for target in active {
            let hash = target.hash();
            // The same target twice, or one that runs already.
            if self.active.contains_key(&hash) {
                continue;
            }
            let (target, health) = (Arc::new(target), Arc::new(Mutex::new(Health::default())));
            let cancelled = shared.cancelled.child_token();
            let round = Round {
                target: target.clone(),
                hash,
                config: self.config.clone(),
                client: self.client.clone(),
                sink: shared.sink.clone(),
                bodies: shared.bodies.clone(),
                requests: shared.requests.clone(),
                health: health.clone(),
                cancelled: cancelled.clone(),
            };
            shared.loops.spawn(round.run());
            self.active.insert(hash, Active { target, health, cancelled });
        }
    }
}

impl Active {
    fn status(&self, job: &str) -> TargetStatus {
        let health = self.health.lock();
        TargetStatus {
            job: job.to_owned(),
            discovered_labels: self.target.discovered.clone(),
            labels: self.target.labels.clone(),
            active: true,
            url: self.target.url.to_string(),
            health: health.health,
            last_error: health.last_error.clone(),
            last_scrape: health.last_scrape,
            last_scrape_duration: health.last_scrape_duration,
        }
    }
}

fn dropped_status(job: &str, dropped: &Dropped) -> TargetStatus {
    TargetStatus {
        job: job.to_owned(),
        discovered_labels: dropped.discovered.clone(),
        labels: Labels::new(),
        active: false,
        url: String::new(),
        health: TargetHealth::Unknown,
        last_error: dropped.error.as_ref().map(ToString::to_string).unwrap_or_default(),
        last_scrape: None,
        last_scrape_duration: Duration::ZERO,
    }
}

#[cfg(test)]
mod tests;
