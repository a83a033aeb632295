//! Layers: services, checks and log targets by name, and how they override those of layers below.
//!
//! What is left out is not sent, so that it stays as a lower layer has it. Fields that this crate does not know are not
//! kept when a plan is read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A layer, or a plan: all layers combined.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Layer {
    /// What it is, in a line.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub summary: String,
    /// What runs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<String, Service>,
    /// What is looked at from time to time.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub checks: BTreeMap<String, Check>,
    /// Where the output of services goes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub log_targets: BTreeMap<String, LogTarget>,
}

/// What an entry does to one of the same name in a layer below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Override {
    /// Takes its place.
    #[default]
    Replace,
    /// Is laid over it, field by field.
    Merge,
}

/// Whether a service or a check begins by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Startup {
    /// With the container and with each replan.
    Enabled,
    /// When somebody starts it.
    #[default]
    #[serde(other)]
    Disabled,
}

/// A program that runs in the container.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Service {
    /// What it does to an entry below.
    pub r#override: Override,
    /// What it is, in a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Whether it begins by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub startup: Option<Startup>,
    /// Program and arguments, in one line with the quotes of a shell but nothing else of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Services to be started before it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// Services to be started after it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<String>,
    /// Services without which it is not started.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
    /// Variables.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// User that it runs as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Group that it runs as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Folder that it runs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// What to do when it ends well: `restart`, `shutdown`, `ignore`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_success: Option<String>,
    /// What to do when it fails: `restart`, `shutdown`, `ignore`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<String>,
    /// What to do when a check fails, by its name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub on_check_failure: BTreeMap<String, String>,
    /// How long it has to end before it is killed, as `10s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kill_delay: Option<String>,
}

/// Something that is looked at from time to time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Check {
    /// What it does to an entry below.
    pub r#override: Override,
    /// `alive` or `ready`: which probes of Kubernetes it counts for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// How often, as `10s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<String>,
    /// How long it may take, as `3s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Failures in a row from which on it counts as failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u32>,
    /// Looks whether a page can be had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpCheck>,
    /// Looks whether a port is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpCheck>,
}

/// Looks whether a page can be had: any status from 200 to 299.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpCheck {
    /// The page.
    pub url: String,
    /// Headers of the request.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// Looks whether a port is open.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TcpCheck {
    /// The port.
    pub port: u16,
    /// Its host, if not this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// Where the output of services goes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct LogTarget {
    /// What it does to an entry below.
    pub r#override: Override,
    /// `loki` or `opentelemetry`.
    pub r#type: String,
    /// Where to push.
    pub location: String,
    /// Services whose output goes there; `all` for all, `-name` to take one out. Empty for none.
    pub services: Vec<String>,
    /// Labels on each line.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_not_sent() {
        let service = Service {
            command: Some("/parca".to_owned()),
            startup: Some(Startup::Enabled),
            ..Service::default()
        };
        let layer = Layer { services: BTreeMap::from([("parca".to_owned(), service)]), ..Layer::default() };
        assert_eq!(
            serde_json::to_string(&layer).unwrap(),
            r#"{"services":{"parca":{"override":"replace","startup":"enabled","command":"/parca"}}}"#
        );
    }

    #[test]
    fn a_plan_as_the_daemon_writes_it() {
        let plan = "services:\n    parca:\n        startup: enabled\n        override: replace\n        command: /parca --a=b\n        environment:\n            A: \"1\"\n        backoff-delay: 1s\nchecks:\n    up:\n        override: replace\n        startup: enabled\n        threshold: 3\n        http:\n            url: http://localhost:7994/ready\n";
        let plan: Layer = serde_saphyr::from_str(plan).unwrap();
        assert_eq!(plan.services["parca"].command.as_deref(), Some("/parca --a=b"));
        assert_eq!(plan.services["parca"].environment["A"], "1");
        assert_eq!(plan.checks["up"].http.as_ref().unwrap().url, "http://localhost:7994/ready");
    }
}
