//! Targets from the containers of a Docker engine, or of another that speaks its API.

use std::collections::BTreeMap;

use decima_config::{
    DockerDiscovery, DockerHost, format_duration,
    labels::{self, Labels},
};
use http::Method;
use reqwest::Url;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::time::timeout;

use super::{
    Findings, TargetGroup,
    findings::Groups,
    groups::{ADDRESS, host_port, sanitized},
};
use crate::http_client::{self, HttpClient, HttpError};

/// Longest answer: ten thousand containers.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// Containers whose network is that of another, one after the other; Docker itself allows one.
const SHARED_NETWORKS_MAX: usize = 8;

/// An engine that did not list its containers.
#[derive(Debug, thiserror::Error)]
enum DockerError {
    #[error("error while listing {what}")]
    Http {
        what: &'static str,
        #[source]
        source: HttpError,
    },
    #[error("the list of {what} is not as it should be")]
    Json {
        what: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("timed out after {after}")]
    Timeout { after: String },
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    host_config: HostConfig,
    network_settings: Option<NetworkSettings>,
    ports: Option<Vec<Port>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    #[serde(default)]
    network_mode: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    networks: Option<BTreeMap<String, Option<Attached>>>,
}

/// A network that a container is in.
#[derive(Deserialize)]
struct Attached {
    #[serde(rename = "IPAddress", default)]
    ip_address: String,
    #[serde(rename = "NetworkID", default)]
    network_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Port {
    #[serde(rename = "IP", default)]
    ip: String,
    private_port: u16,
    #[serde(default)]
    public_port: u16,
    #[serde(rename = "Type", default)]
    protocol: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Network {
    id: String,
    name: String,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    internal: bool,
    #[serde(default)]
    ingress: bool,
    labels: Option<BTreeMap<String, String>>,
}

/// Asks again and again.
pub(super) async fn run(config: &DockerDiscovery, findings: &Findings) {
    let engine = Engine::new(config);
    let mut ticks = super::refresh_ticks(config.refresh_interval);
    loop {
        ticks.tick().await;
        match timeout(config.refresh_interval, engine.ask(config)).await {
            Ok(Ok(targets)) => {
                let group = TargetGroup { targets, labels: Labels::new() };
                findings.found(Groups::from([(String::new(), group)]));
            }
            Ok(Err(error)) => findings.failed(&error),
            Err(_) => {
                let after = format_duration(config.refresh_interval);
                findings.failed(&DockerError::Timeout { after });
            }
        }
    }
}

struct Engine {
    client: HttpClient,
    url: Url,
}

impl Engine {
    fn new(config: &DockerDiscovery) -> Self {
        match &config.host {
            DockerHost::Unix { socket, url } => {
                Self { client: HttpClient::over_unix_socket(socket.clone()), url: url.clone() }
            }
            DockerHost::Http(url) => {
                Self { client: HttpClient::new(config.http_client.clone()), url: url.clone() }
            }
        }
    }

    async fn ask(&self, config: &DockerDiscovery) -> Result<Vec<Labels>, DockerError> {
        let mut url = super::below(&self.url, &["containers", "json"]);
        if !config.filters.is_empty() {
            // Names and values are text, so this does not fail.
            let filters = serde_json::to_string(&config.filters).unwrap_or_default();
            url.query_pairs_mut().append_pair("filters", &filters);
        }
        let containers: Vec<Container> = self.list("containers", url).await?;
        let networks: Vec<Network> = self.list("networks", super::below(&self.url, &["networks"])).await?;
        let networks =
            networks.iter().map(|network| (network.id.as_str(), network_labels(network))).collect();
        Ok(targets(config, &containers, &networks))
    }

    async fn list<T: DeserializeOwned>(&self, what: &'static str, url: Url) -> Result<T, DockerError> {
        let body = async {
            let request = self.client.request(Method::GET, url).await?;
            http_client::body(http_client::send(request).await?, ANSWER_BYTES_MAX).await
        };
        let body = body.await.map_err(|source| DockerError::Http { what, source })?;
        serde_json::from_slice(&body).map_err(|source| DockerError::Json { what, source })
    }
}

fn network_labels(network: &Network) -> Labels {
    let mut labels = Labels::new();
    let own = [
        ("id", network.id.as_str()),
        ("name", network.name.as_str()),
        ("scope", network.scope.as_str()),
        ("internal", if network.internal { "true" } else { "false" }),
        ("ingress", if network.ingress { "true" } else { "false" }),
    ];
    for (name, value) in own {
        labels::set(&mut labels, format!("__meta_docker_network_{name}"), value);
    }
    for (name, value) in network.labels.iter().flatten() {
        labels::set(&mut labels, format!("__meta_docker_network_label_{}", sanitized(name)), value.as_str());
    }
    labels
}

/// One target per port of each container in each of its networks, or one for its address if it has no port.
fn targets(
    config: &DockerDiscovery,
    containers: &[Container],
    networks: &BTreeMap<&str, Labels>,
) -> Vec<Labels> {
    let by_id: BTreeMap<&str, &Container> =
        containers.iter().map(|container| (container.id.as_str(), container)).collect();
    let mut targets = Vec::new();
    for container in containers {
        let Some(name) = container.names.first() else { continue };
        let mut common = Labels::new();
        labels::set(&mut common, "__meta_docker_container_id", container.id.as_str());
        labels::set(&mut common, "__meta_docker_container_name", name.as_str());
        let mode = container.host_config.network_mode.as_str();
        labels::set(&mut common, "__meta_docker_container_network_mode", mode);
        for (name, value) in container.labels.iter().flatten() {
            labels::set(
                &mut common,
                format!("__meta_docker_container_label_{}", sanitized(name)),
                value.as_str(),
            );
        }
        let mut attached = attached(container, &by_id);
        if config.match_first_network {
            attached.truncate(1);
        }
        for network in attached {
            let mut common = common.clone();
            common.extend(networks.get(network.network_id.as_str()).into_iter().flatten().map(owned));
            labels::set(&mut common, "__meta_docker_network_ip", network.ip_address.as_str());
            let ports = container.ports.iter().flatten().filter(|port| port.protocol == "tcp");
            let before = targets.len();
            targets.extend(ports.map(|port| {
                let mut target = common.clone();
                labels::set(&mut target, "__meta_docker_port_private", port.private_port.to_string());
                if port.public_port > 0 {
                    labels::set(&mut target, "__meta_docker_port_public", port.public_port.to_string());
                    labels::set(&mut target, "__meta_docker_port_public_ip", port.ip.as_str());
                }
                labels::set(&mut target, ADDRESS, host_port(&network.ip_address, port.private_port));
                target
            }));
            if targets.len() == before {
                let address = match mode {
                    "host" => config.host_networking_host.clone(),
                    _ => host_port(&network.ip_address, config.port),
                };
                labels::set(&mut common, ADDRESS, address);
                targets.push(common);
            }
        }
    }
    targets
}

/// The networks that a container is in by its own, or else by the container that it shares one with; by name.
fn attached<'a>(container: &'a Container, by_id: &BTreeMap<&str, &'a Container>) -> Vec<&'a Attached> {
    let mut current = container;
    for _ in 0..SHARED_NETWORKS_MAX {
        let settings = current.network_settings.as_ref();
        let networks = settings.and_then(|settings| settings.networks.as_ref());
        if let Some(networks) = networks.filter(|networks| !networks.is_empty()) {
            return networks.values().flatten().collect();
        }
        let shared = current.host_config.network_mode.strip_prefix("container:");
        match shared.and_then(|id| by_id.get(id)) {
            Some(other) => current = other,
            None => break,
        }
    }
    Vec::new()
}

fn owned((name, value): (&String, &String)) -> (String, String) {
    (name.clone(), value.clone())
}

#[cfg(test)]
mod tests;
