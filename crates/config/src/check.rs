//! From what the file says to what is done: defaults, bounds, combinations, paths.

mod discovery;
mod http_client;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use decima_store::bucket::Bucket;

use super::{
    Config, ConfigError, Endpoint, FirstScrape, SampleType, Scheme, ScrapeConfig, bucket, format_duration,
    parse_duration,
    raw::{self, Spanned},
};
use crate::{
    TargetGroup,
    labels::Labels,
    relabel::{Rule, RuleFields},
};

const INTERVAL_DEFAULT: Duration = Duration::from_secs(10);

/// By how much the timeout is longer than the interval unless given.
pub(super) const TIMEOUT_MARGIN: Duration = Duration::from_secs(3);

const PROCESS_CPU: &str = "process_cpu";
const PROCESS_CPU_TIMEOUT_MIN: Duration = Duration::from_secs(2);

/// Profiles that are fetched unless the file says otherwise: name, path, whether the target measures for a while.
const ENDPOINTS_DEFAULT: [(&str, &str, bool); 5] = [
    ("memory", "/debug/pprof/allocs", false),
    ("block", "/debug/pprof/block", false),
    ("goroutine", "/debug/pprof/goroutine", false),
    ("mutex", "/debug/pprof/mutex", false),
    (PROCESS_CPU, "/debug/pprof/profile", true),
];

/// What errors and paths are relative to.
pub(super) struct Checker<'a> {
    pub(super) file: &'a str,
    pub(super) directory: &'a Path,
}

/// Where a value stands: its path in the file, and the line.
#[derive(Clone)]
struct Place {
    field: String,
    line: u64,
}

impl Place {
    fn key(&self, key: &str, line: u64) -> Self {
        let field = if self.field.is_empty() { key.to_owned() } else { format!("{}.{key}", self.field) };
        Self { field, line }
    }

    fn index(&self, index: usize, line: u64) -> Self {
        Self { field: format!("{}[{index}]", self.field), line }
    }
}

fn line<T>(spanned: &Spanned<T>) -> u64 {
    spanned.referenced.line()
}

impl Checker<'_> {
    fn invalid<T>(&self, place: Place, reason: impl Into<String>) -> Result<T, ConfigError> {
        Err(ConfigError::Invalid {
            file: self.file.to_owned(),
            line: place.line,
            field: place.field,
            reason: reason.into(),
        })
    }

    pub(super) fn config(&self, raw: raw::Config) -> Result<Config, ConfigError> {
        let root = Place { field: String::new(), line: 1 };
        let object_storage = match raw.object_storage {
            Some(storage) => Some(self.object_storage(storage, &root)?),
            None => None,
        };
        let mut names = BTreeSet::new();
        let mut scrape_configs = Vec::new();
        for (index, job) in raw.scrape_configs.into_iter().flatten().enumerate() {
            let place = root.key("scrape_configs", line(&job)).index(index, line(&job));
            let name_line = job.value.job_name.as_ref().map_or(place.line, line);
            let job = self.scrape_config(job.value, &place)?;
            if !names.insert(job.job_name.clone()) {
                let reason = format!("duplicate job_name found in scrape configs: {}", job.job_name);
                return self.invalid(place.key("job_name", name_line), reason);
            }
            scrape_configs.push(job);
        }
        Ok(Config { object_storage, scrape_configs })
    }

    fn object_storage(&self, raw: Spanned<raw::ObjectStorage>, root: &Place) -> Result<Bucket, ConfigError> {
        let storage = root.key("object_storage", line(&raw));
        let Some(bucket) = raw.value.bucket else {
            return self.invalid(storage.key("bucket", storage.line), "bucket is missing");
        };
        let place = storage.key("bucket", line(&bucket));
        let Some(kind) = bucket.value.kind else {
            return self.invalid(place.key("type", place.line), "type is missing");
        };
        let kind_place = place.key("type", line(&kind));
        let Some(config) = bucket.value.config else {
            return self.invalid(place.key("config", place.line), "config is missing");
        };
        let config_place = place.key("config", line(&config));
        let lines: BTreeMap<_, _> =
            config.value.iter().map(|(key, value)| (key.clone(), line(value))).collect();
        let values = config.value.into_iter().map(|(key, value)| (key, value.value)).collect();
        match bucket::kind(&kind.value, values) {
            Ok(kind) => Ok(Bucket { kind, prefix: bucket.value.prefix.unwrap_or_default() }),
            Err(bucket::Wrong::Kind(reason)) => self.invalid(kind_place, reason),
            Err(bucket::Wrong::Key(key, reason)) if key.is_empty() => self.invalid(config_place, reason),
            Err(bucket::Wrong::Key(key, reason)) => {
                let first = key.split('.').next().unwrap_or_default();
                let line = lines.get(first).copied().unwrap_or(config_place.line);
                self.invalid(config_place.key(&key, line), reason)
            }
        }
    }

    fn scrape_config(&self, mut raw: raw::ScrapeConfig, place: &Place) -> Result<ScrapeConfig, ConfigError> {
        let job_name = match raw.job_name.take() {
            Some(name) if !name.value.is_empty() => name.value,
            name => {
                let line = name.as_ref().map_or(place.line, line);
                return self.invalid(place.key("job_name", line), "job_name is empty");
            }
        };
        if let Some((key, line)) = raw.not_built().next() {
            return self.invalid(place.key(key, line), "is not supported yet");
        }
        let interval = self
            .duration("scrape_interval", raw.scrape_interval.as_ref(), place)?
            .unwrap_or(INTERVAL_DEFAULT);
        if interval.is_zero() {
            let line = raw.scrape_interval.as_ref().map_or(place.line, line);
            return self.invalid(place.key("scrape_interval", line), "must be longer than 0");
        }
        let timeout = self.duration("scrape_timeout", raw.scrape_timeout.as_ref(), place)?;
        // Parca takes 0 for absent.
        let timeout = timeout.filter(|timeout| !timeout.is_zero()).unwrap_or(interval + TIMEOUT_MARGIN);
        let timeout_line =
            raw.scrape_timeout.as_ref().or(raw.scrape_interval.as_ref()).map_or(place.line, line);
        let timeout_place = place.key("scrape_timeout", timeout_line);
        if timeout <= interval {
            let reason = format!("scrape timeout must be greater than the interval: {job_name}");
            return self.invalid(timeout_place, reason);
        }
        let scheme = match &raw.scheme {
            None => Scheme::Http,
            Some(text) => match text.value.as_str() {
                "http" => Scheme::Http,
                "https" => Scheme::Https,
                other => {
                    let reason = format!("{other:?} is neither \"http\" nor \"https\"");
                    return self.invalid(place.key("scheme", line(text)), reason);
                }
            },
        };
        let endpoints =
            self.endpoints(raw.profiling_config.take().unwrap_or_default(), interval, timeout, place)?;
        if endpoints.contains_key(PROCESS_CPU) && timeout < PROCESS_CPU_TIMEOUT_MIN {
            let reason = format!("process_cpu scrape_timeout must be at least 2 seconds in {job_name}");
            return self.invalid(timeout_place, reason);
        }
        let relabel_configs = self.rules(std::mem::take(&mut raw.relabel_configs), place)?;
        let static_configs = std::mem::take(&mut raw.static_configs);
        let static_configs = self.static_configs(static_configs, relabel_configs.is_empty(), place)?;
        Ok(ScrapeConfig {
            job_name,
            params: std::mem::take(&mut raw.params),
            scrape_interval: interval,
            scrape_timeout: timeout,
            scheme,
            normalized_addresses: raw.normalized_addresses,
            endpoints,
            relabel_configs,
            static_configs,
            discoveries: self.discoveries(&mut raw, place)?,
            http_client: self.http_client(raw.take_http_client(), place)?,
            first_scrape: FirstScrape::Spread,
        })
    }

    fn duration(
        &self,
        key: &str,
        text: Option<&Spanned<String>>,
        place: &Place,
    ) -> Result<Option<Duration>, ConfigError> {
        let Some(text) = text else { return Ok(None) };
        match parse_duration(&text.value) {
            Ok(duration) => Ok(Some(duration)),
            Err(error) => self.invalid(place.key(key, line(text)), error.to_string()),
        }
    }

    fn endpoints(
        &self,
        raw: raw::ProfilingConfig,
        interval: Duration,
        timeout: Duration,
        job: &Place,
    ) -> Result<BTreeMap<String, Endpoint>, ConfigError> {
        let prefix = raw.path_prefix.unwrap_or_default();
        let mut endpoints = BTreeMap::new();
        for (name, path, delta) in ENDPOINTS_DEFAULT {
            let delta_seconds = delta.then(|| whole_seconds(interval));
            let path = join_path(&prefix, path);
            endpoints.insert(name.to_owned(), Endpoint { path, delta_seconds, keep_sample_type: Vec::new() });
        }
        let section = job.key("profiling_config", job.line).key("pprof_config", job.line);
        for (name, spanned) in raw.pprof_config {
            let place = section.key(&name, line(&spanned));
            let given = spanned.value;
            let default = ENDPOINTS_DEFAULT.iter().find(|(default, ..)| *default == name);
            if !given.enabled.unwrap_or(default.is_some()) {
                endpoints.remove(&name);
                continue;
            }
            let path = given.path.filter(|path| !path.is_empty());
            let Some(path) = path.as_deref().or(default.map(|(_, path, _)| *path)) else {
                return self.invalid(place.key("path", place.line), "path is empty");
            };
            let delta = given.delta.unwrap_or(default.is_some_and(|(.., delta)| *delta));
            let seconds = given.seconds.as_ref().map(|seconds| seconds.value).filter(|seconds| *seconds > 0);
            if let Some(seconds) = seconds.filter(|seconds| delta && Duration::from_secs(*seconds) >= timeout)
            {
                let line = given.seconds.as_ref().map_or(place.line, line);
                let timeout = format_duration(timeout);
                let reason = format!("{seconds} seconds are not less than the scrape_timeout of {timeout}");
                return self.invalid(place.key("seconds", line), reason);
            }
            let endpoint = Endpoint {
                path: join_path(&prefix, path),
                delta_seconds: delta.then(|| seconds.unwrap_or(whole_seconds(interval))),
                keep_sample_type: given
                    .keep_sample_type
                    .into_iter()
                    .map(|t| SampleType { kind: t.kind, unit: t.unit })
                    .collect(),
            };
            endpoints.insert(name, endpoint);
        }
        Ok(endpoints)
    }

    fn rules(
        &self,
        raw: Vec<Spanned<Option<raw::RelabelConfig>>>,
        job: &Place,
    ) -> Result<Vec<Rule>, ConfigError> {
        let mut rules = Vec::with_capacity(raw.len());
        for (index, spanned) in raw.into_iter().enumerate() {
            let place = job.key("relabel_configs", job.line).index(index, line(&spanned));
            let Some(given) = spanned.value else {
                return self.invalid(place, "empty or null target relabeling rule in scrape config");
            };
            let fields = RuleFields {
                source_labels: given.source_labels,
                separator: given.separator,
                regex: given.regex,
                modulus: given.modulus,
                target_label: given.target_label,
                replacement: given.replacement,
                action: given.action,
            };
            match fields.check() {
                Ok(rule) => rules.push(rule),
                Err(error) => return self.invalid(place.key(error.field, place.line), error.reason),
            }
        }
        Ok(rules)
    }

    fn static_configs(
        &self,
        raw: Vec<raw::StaticConfig>,
        must_be_hosts: bool,
        job: &Place,
    ) -> Result<Vec<TargetGroup>, ConfigError> {
        let mut groups = Vec::with_capacity(raw.len());
        for (index, group) in raw.into_iter().enumerate() {
            let place = job.key("static_configs", job.line).index(index, job.line);
            let mut targets = Vec::with_capacity(group.targets.len());
            for (index, target) in group.targets.into_iter().enumerate() {
                let place = place.key("targets", line(&target)).index(index, line(&target));
                if target.value.is_empty() {
                    return self.invalid(place, "the target is empty");
                }
                if must_be_hosts && target.value.contains('/') {
                    return self.invalid(place, format!("{:?} is not a valid hostname", target.value));
                }
                targets.push(Labels::from([("__address__".to_owned(), target.value)]));
            }
            if group.labels.contains_key("") {
                return self.invalid(place.key("labels", place.line), "the name of a label is empty");
            }
            groups.push(TargetGroup { targets, labels: group.labels });
        }
        Ok(groups)
    }
}

/// Pprof endpoints take whole seconds, and 0 means their own default of 30.
fn whole_seconds(interval: Duration) -> u64 {
    interval.as_secs().max(1)
}

/// Both parts with one slash before each.
pub(super) fn join_path(prefix: &str, path: &str) -> String {
    let parts = [prefix, path].map(|part| part.trim_matches('/'));
    parts.into_iter().filter(|part| !part.is_empty()).map(|part| format!("/{part}")).collect()
}
