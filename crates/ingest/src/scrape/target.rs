//! Here is a job and a group of targets found for it, gives you what to fetch, where, and under which labels.
//!
//! One target per address and profile. Pure: no I/O, no clock.

use std::sync::Arc;

use http::uri::Authority;
use reqwest::Url;
use xxhash_rust::xxh3::xxh3_128;

use decima_config::{
    Endpoint, Scheme, ScrapeConfig, TargetGroup,
    labels::{self, Labels},
    relabel::relabel,
};

const ADDRESS: &str = "__address__";
pub(super) const NAME: &str = "__name__";
const PARAM_PREFIX: &str = "__param_";
const PATH: &str = "__profile_path__";
const SCHEME: &str = "__scheme__";
const SECONDS: &str = "__param_seconds";

/// Targets of a job that are dropped and remembered, to be shown: a rule may drop all but a few of a large cluster.
pub(super) const DROPPED_MAX: usize = 1000;

/// A profile of an address that is fetched again and again.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Target {
    /// Labels before relabelling.
    pub(super) discovered: Labels,
    /// Labels to store, `__name__` among them.
    pub(super) labels: Labels,
    /// What to fetch.
    pub(super) url: Url,
    /// What to fetch the first time, if that differs.
    pub(super) first_url: Option<Url>,
    /// The same for the same labels and URL, and nothing else; spreads first scrapes and recognises targets.
    pub(super) hash: u128,
}

fn hash(labels: &Labels, url: &Url) -> u128 {
    let mut text = Vec::new();
    for (name, value) in labels {
        for part in [name, value] {
            text.extend_from_slice(part.as_bytes());
            text.push(0xff);
        }
    }
    text.extend_from_slice(url.as_str().as_bytes());
    xxh3_128(&text)
}

/// A target that is not scraped.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Dropped {
    /// Labels before relabelling.
    pub(super) discovered: Labels,
    /// Why, unless a rule wanted it so.
    pub(super) error: Option<TargetError>,
}

/// Labels that make no target.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum TargetError {
    /// There is no address, or relabelling removed it.
    #[error("no address")]
    NoAddress,
    /// The address is no host and port.
    #[error("{address:?} is not a valid hostname")]
    Address {
        /// The address as relabelling left it.
        address: String,
    },
    /// The scheme is neither of HTTP's.
    #[error("{scheme:?} is neither \"http\" nor \"https\"")]
    Scheme {
        /// The scheme as relabelling left it.
        scheme: String,
    },
    /// Together they make no URL.
    #[error("{text:?} is not a URL")]
    Url {
        /// The text.
        text: String,
    },
}

/// What is scraped and what is not, of one group.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Targets {
    pub(super) active: Vec<Arc<Target>>,
    /// The first [`DROPPED_MAX`] of them.
    pub(super) dropped: Vec<Arc<Dropped>>,
    /// How many there are.
    pub(super) dropped_count: usize,
}

/// The targets of a group for `job`. `external` labels are added to what is stored and win over a target's own.
pub(super) fn targets(job: &ScrapeConfig, group: &TargetGroup, external: &[(String, String)]) -> Targets {
    let mut targets = Targets::default();
    for given in &group.targets {
        for (profile, endpoint) in &job.endpoints {
            let discovered = discovered(job, group, given, profile, endpoint);
            match target(job, &discovered, external) {
                Ok(Some(target)) => targets.active.push(Arc::new(target)),
                Ok(None) => targets.drop(Dropped { discovered, error: None }),
                Err(error) => targets.drop(Dropped { discovered, error: Some(error) }),
            }
        }
    }
    targets
}

impl Targets {
    fn drop(&mut self, dropped: Dropped) {
        self.dropped_count += 1;
        if self.dropped.len() < DROPPED_MAX {
            self.dropped.push(Arc::new(dropped));
        }
    }
}

/// The labels that relabelling sees: the target's, then the group's, then the job's.
fn discovered(
    job: &ScrapeConfig,
    group: &TargetGroup,
    given: &Labels,
    profile: &str,
    endpoint: &Endpoint,
) -> Labels {
    let mut labels = Labels::new();
    labels::set(&mut labels, "job", job.job_name.as_str());
    labels::set(&mut labels, SCHEME, job.scheme.as_str());
    for (name, values) in &job.params {
        if let Some(value) = values.first() {
            labels::set(&mut labels, format!("{PARAM_PREFIX}{name}"), value.as_str());
        }
    }
    let found = group.labels.iter().chain(given);
    labels.extend(
        found.filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.clone(), value.clone())),
    );
    // These are what tells the targets of one address apart, so nothing found may replace them.
    labels::set(&mut labels, NAME, profile);
    labels::set(&mut labels, PATH, endpoint.path.as_str());
    if let Some(seconds) = endpoint.delta_seconds {
        labels::set(&mut labels, SECONDS, seconds.to_string());
    }
    labels
}

fn target(
    job: &ScrapeConfig,
    discovered: &Labels,
    external: &[(String, String)],
) -> Result<Option<Target>, TargetError> {
    let mut labels = discovered.clone();
    if !relabel(&mut labels, &job.relabel_configs) {
        return Ok(None);
    }
    let scheme = match labels::get(&labels, SCHEME) {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => return Err(TargetError::Scheme { scheme: other.to_owned() }),
    };
    let address = with_port(labels::get(&labels, ADDRESS), scheme)?;
    let url = url(job, &labels, scheme, &address)?;
    let first_url = first_url(job, &labels, scheme, &address)?;
    labels.entry("instance".to_owned()).or_insert(address);
    labels.retain(|name, _| !name.starts_with("__") || name == NAME);
    for (name, value) in external {
        labels::set(&mut labels, name.as_str(), value.as_str());
    }
    let hash = hash(&labels, &url);
    Ok(Some(Target { discovered: discovered.clone(), labels, url, first_url, hash }))
}

fn with_port(address: &str, scheme: Scheme) -> Result<String, TargetError> {
    if address.is_empty() {
        return Err(TargetError::NoAddress);
    }
    let malformed = || TargetError::Address { address: address.to_owned() };
    let authority: Authority = address.parse().map_err(|_| malformed())?;
    if address.contains('@') || authority.host().is_empty() {
        return Err(malformed());
    }
    match (authority.port(), address.ends_with(':')) {
        (Some(_), _) => Ok(address.to_owned()),
        (None, true) => Err(malformed()),
        (None, false) => Ok(format!("{address}:{}", scheme.default_port())),
    }
}

fn url(job: &ScrapeConfig, labels: &Labels, scheme: Scheme, address: &str) -> Result<Url, TargetError> {
    let text = format!("{}://{address}", scheme.as_str());
    let mut url = Url::parse(&text).map_err(|_| TargetError::Url { text })?;
    url.set_path(labels::get(labels, PATH));
    let mut params = job.params.clone();
    for (name, value) in labels {
        let Some(name) = name.strip_prefix(PARAM_PREFIX) else { continue };
        let values = params.entry(name.to_owned()).or_default();
        match values.first_mut() {
            Some(first) => first.clone_from(value),
            None => values.push(value.clone()),
        }
    }
    if params.values().any(|values| !values.is_empty()) {
        let pairs = params.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
        url.query_pairs_mut().extend_pairs(pairs);
    }
    Ok(url)
}

/// The URL of a first scrape that is shorter than the others.
fn first_url(
    job: &ScrapeConfig,
    labels: &Labels,
    scheme: Scheme,
    address: &str,
) -> Result<Option<Url>, TargetError> {
    let decima_config::FirstScrape::AtOnce { delta_seconds, .. } = job.first_scrape else { return Ok(None) };
    if !labels.contains_key(SECONDS) {
        return Ok(None);
    }
    let mut labels = labels.clone();
    labels::set(&mut labels, SECONDS, delta_seconds.to_string());
    url(job, &labels, scheme, address).map(Some)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use decima_config::{Config, self_scrape};

    use super::*;

    fn job(lines: &str) -> ScrapeConfig {
        let only_memory = "profiling_config: {pprof_config: {block: {enabled: false}, goroutine: {enabled: false}, mutex: {enabled: false}, process_cpu: {enabled: false}}}";
        let lines = if lines.contains("profiling_config") {
            lines.to_owned()
        } else {
            format!("{lines}\n{only_memory}")
        };
        let text = format!(
            "scrape_configs:\n- job_name: api\n{}",
            lines.lines().map(|l| format!("  {l}\n")).collect::<String>()
        );
        Config::parse(&text, "parca.yaml", Path::new("")).unwrap().scrape_configs.remove(0)
    }

    fn show(labels: &Labels) -> String {
        labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    }

    /// Labels and URL of each target; what was dropped as `dropped` with the reason.
    #[track_caller]
    fn check(lines: &str, expected: &[(&str, &str)]) {
        let job = job(lines);
        let targets = targets(&job, &job.static_configs[0], &[("region".into(), "eu".into())]);
        let active = targets.active.iter().map(|t| (show(&t.labels), t.url.to_string()));
        let dropped = targets
            .dropped
            .iter()
            .map(|d| ("dropped".to_owned(), d.error.as_ref().map_or(String::new(), ToString::to_string)));
        let got: Vec<_> = active.chain(dropped).collect();
        let got: Vec<_> = got.iter().map(|(labels, url)| (labels.as_str(), url.as_str())).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn labels_and_urls() {
        check(
            "static_configs: [{targets: ['a:1', b], labels: {env: test}}]",
            &[
                ("__name__=memory env=test instance=a:1 job=api region=eu", "http://a:1/debug/pprof/allocs"),
                ("__name__=memory env=test instance=b:80 job=api region=eu", "http://b/debug/pprof/allocs"),
            ],
        );
        check(
            "scheme: https\nstatic_configs: [{targets: ['[::1]', '10.0.0.1']}]",
            &[
                ("__name__=memory instance=[::1]:443 job=api region=eu", "https://[::1]/debug/pprof/allocs"),
                (
                    "__name__=memory instance=10.0.0.1:443 job=api region=eu",
                    "https://10.0.0.1/debug/pprof/allocs",
                ),
            ],
        );
        check(
            "params: {gc: ['1'], x: [a b, c]}\nstatic_configs: [{targets: ['a:1']}]",
            &[(
                "__name__=memory instance=a:1 job=api region=eu",
                "http://a:1/debug/pprof/allocs?gc=1&x=a+b&x=c",
            )],
        );
        check(
            "static_configs: [{targets: ['a:1'], labels: {job: other, instance: i, __param_gc: '1', empty: ''}}]",
            &[("__name__=memory instance=i job=other region=eu", "http://a:1/debug/pprof/allocs?gc=1")],
        );
    }

    #[test]
    fn delta_takes_seconds_only_where_it_is() {
        let lines = "scrape_interval: 15s\nparams: {debug: ['0']}\nprofiling_config: {pprof_config: {block: {enabled: false}, goroutine: {enabled: false}, mutex: {enabled: false}}}\nstatic_configs: [{targets: ['a:1']}]";
        check(
            lines,
            &[
                ("__name__=memory instance=a:1 job=api region=eu", "http://a:1/debug/pprof/allocs?debug=0"),
                (
                    "__name__=process_cpu instance=a:1 job=api region=eu",
                    "http://a:1/debug/pprof/profile?debug=0&seconds=15",
                ),
            ],
        );
    }

    #[test]
    fn relabelled() {
        let rules = "relabel_configs:\n- {source_labels: [__address__], regex: 'drop.*', action: drop}\n- {source_labels: [pod], target_label: __address__, regex: (.+), replacement: '$1:9'}\n- {source_labels: [path], regex: (.+), target_label: __profile_path__}\n- {regex: pod|path, action: labeldrop}";
        check(
            &format!(
                "{rules}\nstatic_configs: [{{targets: ['drop:1', 'a:1'], labels: {{pod: p, path: /x/y, __meta_z: '1'}}}}]"
            ),
            &[("__name__=memory instance=p:9 job=api region=eu", "http://p:9/x/y"), ("dropped", "")],
        );
        let to_address = |address: &str| {
            format!(
                "relabel_configs: [{{target_label: __address__, replacement: '{address}'}}]\nstatic_configs: [{{targets: ['x/y']}}]"
            )
        };
        check(&to_address("a/b"), &[("dropped", "\"a/b\" is not a valid hostname")]);
        check(&to_address("user@a:1"), &[("dropped", "\"user@a:1\" is not a valid hostname")]);
        check(&to_address("a:"), &[("dropped", "\"a:\" is not a valid hostname")]);
        check(&to_address(""), &[("dropped", "no address")]);
        check(
            "relabel_configs: [{target_label: __scheme__, replacement: ftp}]\nstatic_configs: [{targets: [a]}]",
            &[("dropped", "\"ftp\" is neither \"http\" nor \"https\"")],
        );
    }

    #[test]
    fn first_scrape_of_the_store_itself_is_short() {
        let config = self_scrape("127.0.0.1:7070".parse().unwrap(), "");
        let job = &config.scrape_configs[0];
        let targets = targets(job, &job.static_configs[0], &[]);
        let urls: Vec<_> =
            targets.active.iter().map(|t| (t.url.as_str(), t.first_url.as_ref().map(Url::as_str))).collect();
        assert_eq!(
            urls,
            [
                (
                    "http://127.0.0.1:7070/debug/pprof/profile?seconds=10",
                    Some("http://127.0.0.1:7070/debug/pprof/profile?seconds=5")
                ),
                ("http://127.0.0.1:7070/debug/pprof/allocs", None),
            ]
        );
        assert_eq!(show(&targets.active[0].labels), "__name__=decima_cpu instance=127.0.0.1:7070 job=decima");
    }

    #[test]
    fn hash_tells_targets_apart() {
        let job = job("static_configs: [{targets: ['a:1', 'a:1', 'b:1']}]");
        let targets = targets(&job, &job.static_configs[0], &[]).active;
        assert_eq!(targets[0].hash, targets[1].hash);
        assert_ne!(targets[0].hash, targets[2].hash);
    }
}
