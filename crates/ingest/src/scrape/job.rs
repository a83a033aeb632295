//! One job: what is found for it, the targets that this makes, and their loops.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
    time::Duration,
};

use decima_config::{Discovery, ScrapeConfig, TargetGroup, labels::Labels};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    JobStatus, Shared, TargetHealth, TargetState, TargetStatus,
    round::{Health, Round},
    target::{self, DROPPED_MAX, Dropped, Target, Targets},
};
use crate::{
    discovery::{self, Findings},
    http_client::HttpClient,
};

/// A job with its loops. Dropping it stops them.
pub(super) struct Job {
    config: Arc<ScrapeConfig>,
    client: Arc<HttpClient>,
    static_groups: Vec<Arc<TargetGroup>>,
    discoveries: Vec<Running>,
    /// Told by the discoveries.
    changed: Arc<Notify>,
    found: Found,
    active: HashMap<u128, Active>,
    /// How many targets there are beyond the bound.
    left_out: usize,
    _follower: Option<DropGuard>,
}

/// A discovery that runs. Dropping it stops it.
struct Running {
    discovery: Discovery,
    findings: Findings,
    _stop: DropGuard,
}

/// A target with its loop. Dropping it stops the loop.
struct Active {
    target: Arc<Target>,
    health: Arc<Mutex<Health>>,
    _stop: DropGuard,
}

/// The targets that the groups of a job make; those of a group stay as they are as long as the group is the same.
#[derive(Clone, Default)]
pub(super) struct Found {
    groups: Vec<(Arc<TargetGroup>, Arc<Targets>)>,
}

impl Found {
    /// The targets of `groups`.
    fn of(
        groups: Vec<Arc<TargetGroup>>,
        config: &ScrapeConfig,
        external: &[(String, String)],
        before: &Self,
    ) -> Self {
        // The groups of `before` live, so no address stands for two of them.
        let known: HashMap<*const TargetGroup, &Arc<Targets>> =
            before.groups.iter().map(|(group, targets)| (Arc::as_ptr(group), targets)).collect();
        let targets = |group: &Arc<TargetGroup>| match known.get(&Arc::as_ptr(group)) {
            Some(targets) => Arc::clone(targets),
            None => Arc::new(target::targets(config, group, external)),
        };
        let groups = groups.into_iter().map(|group| {
            let targets = targets(&group);
            (group, targets)
        });
        Self { groups: groups.collect() }
    }

    fn active(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.groups.iter().flat_map(|(_, targets)| &targets.active)
    }

    fn dropped(&self) -> impl Iterator<Item = &Arc<Dropped>> {
        self.groups.iter().flat_map(|(_, targets)| &targets.dropped).take(DROPPED_MAX)
    }

    fn dropped_count(&self) -> usize {
        self.groups.iter().map(|(_, targets)| targets.dropped_count).sum()
    }
}

/// What has to be worked out for a job, without holding the jobs.
pub(super) struct Work {
    config: Arc<ScrapeConfig>,
    groups: Vec<Arc<TargetGroup>>,
    before: Found,
}

impl Work {
    /// Relabels what is new.
    pub(super) fn run(self, external: &[(String, String)]) -> (Arc<ScrapeConfig>, Found) {
        let found = Found::of(self.groups, &self.config, external, &self.before);
        (self.config, found)
    }
}

impl Job {
    /// A job that does not run yet.
    pub(super) fn new(config: &ScrapeConfig) -> Self {
        Self {
            config: Arc::new(config.clone()),
            client: Arc::new(HttpClient::new(config.http_client.clone())),
            static_groups: config.static_configs.iter().cloned().map(Arc::new).collect(),
            discoveries: Vec::new(),
            changed: Arc::default(),
            found: Found::default(),
            active: HashMap::new(),
            left_out: 0,
            _follower: None,
        }
    }

    pub(super) fn config(&self) -> &Arc<ScrapeConfig> {
        &self.config
    }

    /// Takes a configuration that fetches as the one before: targets and discoveries that are in both go on undisturbed.
    pub(super) fn reconfigure(&mut self, config: &ScrapeConfig) {
        self.config = Arc::new(config.clone());
        self.static_groups = config.static_configs.iter().cloned().map(Arc::new).collect();
        // Made by the rules from before.
        self.found = Found::default();
    }

    /// Runs the discoveries of the configuration, and the loops of the targets that are known now.
    pub(super) fn start(&mut self, shared: &Arc<Shared>) {
        let mut before = std::mem::take(&mut self.discoveries);
        for discovery in &self.config.discoveries {
            let running = match before.iter().position(|running| running.discovery == *discovery) {
                Some(index) => before.swap_remove(index),
                None => Running::start(discovery, &self.config.job_name, &self.changed, shared),
            };
            self.discoveries.push(running);
        }
        if !self.discoveries.is_empty() && self._follower.is_none() {
            let stop = shared.cancelled.child_token();
            let follow = follow(
                Arc::downgrade(shared),
                self.config.job_name.clone(),
                self.changed.clone(),
                stop.clone(),
            );
            shared.loops.spawn(follow);
            self._follower = Some(stop.drop_guard());
        }
        let (_, found) = self.work().run(&shared.settings.external_labels);
        self.take(shared, found);
    }

    /// What is to be worked out when there is more.
    pub(super) fn work(&self) -> Work {
        let found = self.discoveries.iter().flat_map(|running| running.findings.groups());
        Work {
            config: Arc::clone(&self.config),
            groups: self.static_groups.iter().cloned().chain(found).collect(),
            before: self.found.clone(),
        }
    }

    /// Starts the loops of new targets and stops those of targets that are gone.
    pub(super) fn take(&mut self, shared: &Arc<Shared>, found: Found) {
        self.found = found;
        let wanted: HashSet<u128> = self.found.active().map(|target| target.hash).collect();
        // Until a new discovery has answered, nobody knows that a target is gone.
        if self.discoveries.iter().all(|running| running.findings.has_answered()) {
            self.active.retain(|hash, _| wanted.contains(hash));
        }
        let before = self.left_out;
        self.left_out = 0;
        for target in self.found.active() {
            // The same target twice, or one that runs already.
            if self.active.contains_key(&target.hash) {
                continue;
            }
            if self.active.len() >= shared.settings.targets_per_job_max {
                self.left_out += 1;
                continue;
            }
            let active = Active::start(target, &self.config, &self.client, shared);
            self.active.insert(target.hash, active);
        }
        if self.left_out > 0 && before == 0 {
            let (job, error) = (self.config.job_name.as_str(), self.error(shared));
            tracing::warn!(job, error, "a job has too many targets");
        }
    }

    fn error(&self, shared: &Shared) -> String {
        match self.left_out {
            0 => String::new(),
            left_out => {
                let most = shared.settings.targets_per_job_max;
                format!("{left_out} targets are beyond the {most} of a job and not scraped")
            }
        }
    }

    pub(super) fn status(&self, shared: &Shared) -> JobStatus {
        let count =
            |health| self.active.values().filter(|active| active.health.lock().health == health).count();
        JobStatus {
            job: self.config.job_name.clone(),
            good: count(TargetHealth::Good),
            bad: count(TargetHealth::Bad),
            unknown: count(TargetHealth::Unknown),
            dropped: self.found.dropped_count(),
            left_out: self.left_out,
            error: self.error(shared),
            discoveries: self.discoveries.iter().map(|running| running.findings.status()).collect(),
        }
    }

    pub(super) fn targets(&self, state: TargetState) -> Vec<TargetStatus> {
        let job = self.config.job_name.as_str();
        let mut statuses = Vec::new();
        if state != TargetState::Dropped {
            statuses.extend(self.active.values().map(|active| active.status(job)));
        }
        if state != TargetState::Active {
            statuses.extend(self.found.dropped().map(|dropped| dropped_status(job, dropped)));
        }
        statuses.sort_by(|a, b| (&a.url, &a.discovered_labels).cmp(&(&b.url, &b.discovered_labels)));
        statuses
    }
}

impl Running {
    fn start(discovery: &Discovery, job: &str, changed: &Arc<Notify>, shared: &Arc<Shared>) -> Self {
        let findings = Findings::new(discovery, job, Arc::clone(changed));
        let stop = shared.cancelled.child_token();
        shared.loops.spawn({
            let (discovery, findings, stop) = (discovery.clone(), findings.clone(), stop.clone());
            async move {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = discovery::run(&discovery, &findings) => {}
                }
            }
        });
        Self { discovery: discovery.clone(), findings, _stop: stop.drop_guard() }
    }
}

impl Active {
    fn start(
        target: &Arc<Target>,
        config: &Arc<ScrapeConfig>,
        client: &Arc<HttpClient>,
        shared: &Arc<Shared>,
    ) -> Self {
        let health = Arc::new(Mutex::new(Health::default()));
        let stop = shared.cancelled.child_token();
        let round = Round {
            target: Arc::clone(target),
            config: Arc::clone(config),
            client: Arc::clone(client),
            sink: Arc::clone(&shared.sink),
            bodies: shared.bodies.clone(),
            requests: Arc::clone(&shared.requests),
            health: Arc::clone(&health),
            cancelled: stop.clone(),
        };
        shared.loops.spawn(round.run());
        Self { target: Arc::clone(target), health, _stop: stop.drop_guard() }
    }

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

/// Takes what discoveries find for a job: the first at once, then no more often than the settings allow.
async fn follow(shared: Weak<Shared>, job: String, changed: Arc<Notify>, stop: CancellationToken) {
    let stopped = stop.clone();
    let following = async {
        loop {
            changed.notified().await;
            let Some(shared) = shared.upgrade() else { return };
            let interval = shared.settings.sync_interval;
            sync(&shared, &job).await;
            drop(shared);
            tokio::time::sleep(interval).await;
        }
    };
    tokio::select! {
        biased;
        () = stopped.cancelled() => {}
        () = following => {}
    }
}

/// Takes what there is for a job. Relabelling a large cluster takes a second, so nobody waits for it.
async fn sync(shared: &Arc<Shared>, job: &str) {
    let Some(work) = shared.jobs.lock().get(job).map(Job::work) else { return };
    let external = shared.settings.external_labels.clone();
    let Ok((config, found)) = tokio::task::spawn_blocking(move || work.run(&external)).await else { return };
    if let Some(job) = shared.jobs.lock().get_mut(job)
        // Else a reload came meanwhile, and has looked itself.
        && Arc::ptr_eq(job.config(), &config)
        && !shared.cancelled.is_cancelled()
    {
        job.take(shared, found);
    }
}
