//! Here is a way to find targets, gives you the targets that there are now, again and again.
//!
//! ```text
//! discovery ── looks, asks or watches ──► findings: groups of targets by source ──► job
//! ```
//!
//! Constraints: answers and files are bounded, and so is what is asked at once. Invariants: what cannot be read leaves what
//! was found before, and says so ([`Status`]); a group that is the same as before is the same [`Arc`], so that nobody looks
//! at its targets again.
//! Labels are Prometheus': `__address__`, and `__meta_` labels that tell more. Start at [`run`].

mod consul;
#[cfg(feature = "dns")]
mod dns;
mod docker;
mod file;
mod findings;
mod groups;
mod http;
#[cfg(feature = "kubernetes")]
mod kubernetes;
#[cfg(test)]
mod testing;

use std::time::{Duration, SystemTime};

use decima_config::{Discovery, TargetGroup};
use reqwest::Url;
use tokio::time::{Interval, MissedTickBehavior};

pub use self::groups::{GroupsError, from_json as groups_from_json, from_yaml as groups_from_yaml};
pub(crate) use self::{file::wrong_files, findings::Findings};

/// How a discovery goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The word that names its kind, such as `file`.
    pub kind: &'static str,
    /// What it looks at, such as a URL.
    pub subject: String,
    /// Targets that it knows, before relabelling.
    pub targets: usize,
    /// When it last learned everything that there is to know; `None` if never.
    pub last_success: Option<SystemTime>,
    /// Why it does not know everything now; empty if it does.
    pub last_error: String,
    /// How often it failed to.
    pub failures: u64,
}

/// Finds targets for ever; cancelled by dropping.
pub(crate) async fn run(discovery: &Discovery, findings: &Findings) {
    match discovery {
        Discovery::File(file) => file::run(file, findings).await,
        Discovery::Http(http) => http::run(http, findings).await,
        #[cfg(feature = "dns")]
        Discovery::Dns(dns) => dns::run(dns, findings).await,
        #[cfg(not(feature = "dns"))]
        Discovery::Dns(_) => findings.failed(&decima_config::NotBuilt::DNS),
        Discovery::Consul(consul) => consul::run(consul, findings).await,
        Discovery::Docker(docker) => docker::run(docker, findings).await,
        #[cfg(feature = "kubernetes")]
        Discovery::Kubernetes(kubernetes) => kubernetes::run(kubernetes, findings).await,
        #[cfg(not(feature = "kubernetes"))]
        Discovery::Kubernetes(_) => findings.failed(&decima_config::NotBuilt::KUBERNETES),
    }
}

/// One tick at once, and one after each interval; a late one does not bring the next ones nearer to each other.
fn refresh_ticks(interval: Duration) -> Interval {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// The URL with further parts of a path.
fn below(url: &Url, parts: &[&str]) -> Url {
    let mut url = url.clone();
    // Only URLs without a host have no path, and the configuration refuses them.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(parts);
    }
    url
}
