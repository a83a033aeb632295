//! Targets from the services of a Consul catalog, by blocking queries: Consul answers when something changes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use decima_config::{
    ConsulDiscovery,
    labels::{self, Labels},
};
use http::{HeaderMap, Method};
use parking_lot::Mutex;
use reqwest::Url;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{
    task::{AbortHandle, JoinSet},
    time::timeout,
};

use super::{
    Findings, TargetGroup,
    findings::Groups,
    groups::{ADDRESS, host_port, sanitized},
};
use crate::{
    error_chain::error_chain,
    http_client::{self, HttpClient, HttpError, header_value},
};

/// How long Consul may wait for a change.
const WAIT: Duration = Duration::from_secs(120);
/// How much longer an answer may take: Consul adds up to a sixteenth of the wait.
const WAIT_MARGIN: Duration = Duration::from_secs(15);
/// From a failure to the next attempt.
const RETRY: Duration = Duration::from_secs(15);
/// Longest answer: ten thousand instances.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// Services of one discovery: each holds a connection all the time.
const SERVICES_MAX: usize = 1000;

const INDEX: &str = "x-consul-index";
const TOKEN: &str = "x-consul-token";

/// A catalog that did not answer as it should.
#[derive(Debug, thiserror::Error)]
enum ConsulError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("the answer for {path} is not as it should be")]
    Json {
        path: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("timed out after {} s", (WAIT + WAIT_MARGIN).as_secs())]
    Timeout,
    #[error("{count} services are more than {SERVICES_MAX}; the last ones are not looked at")]
    TooMany { count: usize },
    #[error("{0}")]
    Service(String),
}

#[derive(Deserialize)]
struct Agent {
    #[serde(rename = "Config")]
    config: AgentConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AgentConfig {
    datacenter: String,
}

/// A service on a node.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: Node,
    service: Service,
    checks: Option<Vec<Check>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    node: String,
    #[serde(default)]
    address: String,
    tagged_addresses: Option<BTreeMap<String, String>>,
    meta: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "ID", default)]
    id: String,
    tags: Option<Vec<String>>,
    #[serde(default)]
    address: String,
    meta: Option<BTreeMap<String, String>>,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    partition: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    #[serde(rename = "CheckID", default)]
    id: String,
    #[serde(default)]
    status: String,
}

/// Watches for ever.
pub(super) async fn run(config: &ConsulDiscovery, findings: &Findings) {
    let catalog =
        Arc::new(Catalog { config: config.clone(), client: HttpClient::new(config.http_client.clone()) });
    let datacenter = loop {
        match catalog.datacenter().await {
            Ok(datacenter) => break datacenter,
            Err(error) => findings.failed(&error),
        }
        tokio::time::sleep(RETRY).await;
    };
    let watch = Watch {
        catalog,
        datacenter: datacenter.into(),
        found: Arc::new(Found { findings: findings.clone(), state: Mutex::default() }),
    };
    if config.services.is_empty() || !config.tags.is_empty() {
        watch.catalog().await;
    } else {
        watch.services().await;
    }
}

/// What is known of each service, put together for the job.
struct Found {
    findings: Findings,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By name; `None` until the service has been asked for.
    services: BTreeMap<String, Option<TargetGroup>>,
    /// Why services could not be asked for, by name; the catalog's has the empty name.
    errors: BTreeMap<String, String>,
}

impl Found {
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        // A list that is not complete yet would stop the targets of the services that are missing.
        if state.services.iter().any(|(name, group)| group.is_none() && !state.errors.contains_key(name)) {
            return;
        }
        let known = state.services.iter().filter_map(|(name, group)| Some((name.clone(), group.clone()?)));
        let groups: Groups = known.collect();
        let error = state.errors.values().next().cloned().map(ConsulError::Service);
        match error {
            None => self.findings.found(groups),
            Some(error) => self.findings.found_partly(groups, &error),
        }
    }

    fn fail(&self, service: &str, error: &ConsulError) {
        let mut reason = error_chain(error);
        if !service.is_empty() {
            reason = format!("service {service}: {reason}");
        }
        self.change(|state| _ = state.errors.insert(service.to_owned(), reason));
    }
}

#[derive(Clone)]
struct Watch {
    catalog: Arc<Catalog>,
    datacenter: Arc<str>,
    found: Arc<Found>,
}

impl Watch {
    /// Watches which services there are, and each of those that are asked for.
    async fn catalog(self) {
        let mut ticks = super::refresh_ticks(self.catalog.config.refresh_interval);
        let mut watched: HashMap<String, AbortHandle> = HashMap::new();
        let mut tasks = JoinSet::new();
        let mut index = 0;
        loop {
            ticks.tick().await;
            let (services, new_index) = match self.catalog.services(index).await {
                Ok(answer) => answer,
                Err(error) => {
                    index = 0;
                    self.found.fail("", &error);
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            };
            // The wait ended without a change.
            if new_index == index {
                continue;
            }
            index = new_index;
            let mut wanted: Vec<String> = services
                .into_iter()
                .filter(|(name, tags)| self.catalog.config.watches(name, tags.as_deref().unwrap_or_default()))
                .map(|(name, _)| name)
                .collect();
            let count = wanted.len();
            wanted.truncate(SERVICES_MAX);
            watched.retain(|name, task| {
                let stays = wanted.contains(name);
                if !stays {
                    task.abort();
                }
                stays
            });
            self.found.change(|state| {
                state.services.retain(|name, _| wanted.contains(name));
                state.errors.retain(|name, _| wanted.contains(name));
                for name in &wanted {
                    state.services.entry(name.clone()).or_default();
                }
                if count > SERVICES_MAX {
                    state.errors.insert(String::new(), ConsulError::TooMany { count }.to_string());
                }
            });
            for name in wanted {
                watched.entry(name.clone()).or_insert_with(|| tasks.spawn(self.clone().service(name)));
            }
            while tasks.try_join_next().is_some() {}
        }
    }

    /// Watches the services that the configuration names.
    async fn services(self) {
        let mut names = self.catalog.config.services.clone();
        names.truncate(SERVICES_MAX);
        self.found.change(|state| state.services.extend(names.iter().map(|name| (name.clone(), None))));
        let mut tasks: JoinSet<()> = names.into_iter().map(|name| self.clone().service(name)).collect();
        while tasks.join_next().await.is_some() {}
    }

    /// Watches one service.
    async fn service(self, name: String) {
        let mut ticks = super::refresh_ticks(self.catalog.config.refresh_interval);
        let mut index = 0;
        loop {
            ticks.tick().await;
            match self.catalog.service(&name, index).await {
                Ok((entries, new_index)) => {
                    let same = new_index == index && index != 0;
                    index = new_index;
                    let group =
                        (!same).then(|| group(&self.catalog.config, &self.datacenter, &name, &entries));
                    self.found.change(|state| {
                        state.errors.remove(&name);
                        // Else it is gone from the catalog.
                        if let (Some(known), Some(group)) = (state.services.get_mut(&name), group) {
                            *known = Some(group);
                        }
                    });
                }
                Err(error) => {
                    index = 0;
                    self.found.fail(&name, &error);
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}

/// The API as far as it is used.
struct Catalog {
    config: ConsulDiscovery,
    client: HttpClient,
}

impl Catalog {
    async fn datacenter(&self) -> Result<String, ConsulError> {
        if let Some(datacenter) = &self.config.datacenter {
            return Ok(datacenter.clone());
        }
        let (agent, _) = self.get::<Agent>(&["agent", "self"], &[]).await?;
        Ok(agent.config.datacenter)
    }

    /// Names of services with all tags that instances have.
    async fn services(
        &self,
        index: u64,
    ) -> Result<(BTreeMap<String, Option<Vec<String>>>, u64), ConsulError> {
        let mut query = self.wait_for(index);
        if let Some(filter) = &self.config.filter {
            query.push(("filter", filter.clone()));
        }
        self.get(&["catalog", "services"], &query).await
    }

    async fn service(&self, name: &str, index: u64) -> Result<(Vec<Entry>, u64), ConsulError> {
        let mut query = self.wait_for(index);
        query.extend(self.config.tags.iter().map(|tag| ("tag", tag.clone())));
        self.get(&["health", "service", name], &query).await
    }

    /// The parameters by which a query waits until there is more than at `index`.
    fn wait_for(&self, index: u64) -> Vec<(&'static str, String)> {
        let config = &self.config;
        let mut query = Vec::new();
        if index > 0 {
            query.push(("index", index.to_string()));
            query.push(("wait", format!("{}ms", WAIT.as_millis())));
        }
        if config.allow_stale {
            query.push(("stale", String::new()));
        }
        query.extend(config.node_meta.iter().map(|(name, value)| ("node-meta", format!("{name}:{value}"))));
        query
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<(T, u64), ConsulError> {
        let config = &self.config;
        let mut url: Url = super::below(&super::below(&config.url, &["v1"]), path);
        let scope = [("dc", &config.datacenter), ("ns", &config.namespace), ("partition", &config.partition)];
        for (name, value) in scope {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        for (name, value) in query {
            url.query_pairs_mut().append_pair(name, value);
        }
        let mut request = self.client.request(Method::GET, url).await?;
        if let Some(token) = &config.token {
            request = request.header(TOKEN, header_value(TOKEN, token.expose())?);
        }
        let answered = timeout(WAIT + WAIT_MARGIN, async {
            let response = http_client::send(request).await?;
            let index = index_of(response.headers());
            Ok::<_, HttpError>((http_client::body(response, ANSWER_BYTES_MAX).await?, index))
        });
        let (body, index) = answered.await.map_err(|_| ConsulError::Timeout)??;
        let parsed = serde_json::from_slice(&body)
            .map_err(|source| ConsulError::Json { path: path.join("/"), source })?;
        Ok((parsed, index))
    }
}

/// The index of an answer; 0, which waits for nothing, if there is none.
fn index_of(headers: &HeaderMap) -> u64 {
    headers.get(INDEX).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0)
}

fn group(config: &ConsulDiscovery, datacenter: &str, name: &str, entries: &[Entry]) -> TargetGroup {
    let mut labels = Labels::new();
    labels::set(&mut labels, "__meta_consul_service", name);
    labels::set(&mut labels, "__meta_consul_dc", datacenter);
    TargetGroup { targets: entries.iter().map(|entry| target(config, entry)).collect(), labels }
}

fn target(config: &ConsulDiscovery, entry: &Entry) -> Labels {
    let Entry { node, service, checks } = entry;
    let separator = &config.tag_separator;
    // Separators around each, so that a rule need not care for the place of a tag.
    let tags: String = service.tags.iter().flatten().map(|tag| format!("{separator}{tag}")).collect();
    let host = if service.address.is_empty() { &node.address } else { &service.address };
    let mut labels = Labels::new();
    let own = [
        (ADDRESS, host_port(host, service.port)),
        ("__meta_consul_address", node.address.clone()),
        ("__meta_consul_node", node.node.clone()),
        ("__meta_consul_namespace", service.namespace.clone()),
        ("__meta_consul_partition", service.partition.clone()),
        ("__meta_consul_tags", if tags.is_empty() { separator.repeat(2) } else { tags + separator }),
        ("__meta_consul_service_address", service.address.clone()),
        ("__meta_consul_service_port", service.port.to_string()),
        ("__meta_consul_service_id", service.id.clone()),
        ("__meta_consul_health", health(checks.as_deref().unwrap_or_default()).to_owned()),
    ];
    for (name, value) in own {
        labels::set(&mut labels, name, value);
    }
    let given = [
        ("metadata", &node.meta),
        ("service_metadata", &service.meta),
        ("tagged_address", &node.tagged_addresses),
    ];
    for (kind, values) in given {
        for (name, value) in values.iter().flatten() {
            labels::set(&mut labels, format!("__meta_consul_{kind}_{}", sanitized(name)), value.as_str());
        }
    }
    labels
}

/// The worst of all checks, as Consul's own clients put them together.
fn health(checks: &[Check]) -> &'static str {
    let maintained =
        |check: &Check| check.id == "_node_maintenance" || check.id.starts_with("_service_maintenance:");
    if checks.iter().any(maintained) {
        return "maintenance";
    }
    ["critical", "warning"]
        .into_iter()
        .find(|worst| checks.iter().any(|check| check.status == *worst))
        .unwrap_or("passing")
}

#[cfg(test)]
mod tests;
