//! Targets from the objects of a Kubernetes cluster, by listing them and watching what changes.
//!
//! ```text
//! API ── watch per kind and namespace ─► cluster (objects) ─► targets (labels, pure) ─► findings
//! ```
//! Requests are made by the HTTP client that every other request is made by, so that its settings, and tokens that are
//! renewed in their files, count here too.

mod cluster;
mod objects;
mod targets;

use std::{path::Path, pin::pin, sync::Arc, time::Duration};

use http::{Request, Response};
use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource, client::Body, runtime::watcher};
use reqwest::Url;
use serde::de::DeserializeOwned;
use tokio::{task::JoinSet, time::timeout};

use self::cluster::{Cluster, Store, Watched, watch};
use super::{
    Findings,
    findings::Groups,
};
use crate::{
    config::{
        Credentials, HttpClientConfig, KubernetesApi, KubernetesDiscovery, KubernetesRole, SecretSource, TlsConfig,
    },
    http_client::{HttpClient, HttpError},
};

/// From one change to the next look: changes come in swarms.
const SETTLE: Duration = Duration::from_millis(500);
/// From a failure to the next attempt, before there is a client that tries again itself.
const RETRY: Duration = Duration::from_secs(15);
/// How long the head of an answer may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Where a pod finds who it is.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A cluster that cannot be asked.
#[derive(Debug, thiserror::Error)]
enum KubernetesError {
    #[error("not in a pod: {variable} is not set, so api_server is needed")]
    NotInPod { variable: &'static str },
    #[error("cannot read {path}")]
    File {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{text:?} is not the URL of a server")]
    Url { text: String },
    #[error("{0}")]
    Watch(String),
}

/// Watches for ever.
pub(super) async fn run(config: &KubernetesDiscovery, findings: &Findings) {
    let (client, namespaces) = loop {
        match connect(config) {
            Ok(connected) => break connected,
            Err(error) => findings.failed(&error),
        }
        tokio::time::sleep(RETRY).await;
    };
    observe(config, &client, &namespaces, findings).await;
}

/// A client, and the namespaces to look at; none for all.
fn connect(config: &KubernetesDiscovery) -> Result<(Client, Vec<String>), KubernetesError> {
    let mut namespaces = config.namespaces.clone();
    let account = Path::new(SERVICE_ACCOUNT);
    if config.own_namespace {
        let path = account.join("namespace");
        let text = std::fs::read_to_string(&path)
            .map_err(|source| KubernetesError::File { path: path.display().to_string(), source })?;
        namespaces.push(text.trim().to_owned());
    }
    let (url, http_client) = match &config.api {
        KubernetesApi::Server(url) => (url.clone(), config.http_client.clone()),
        KubernetesApi::InCluster => {
            let variable = |variable| std::env::var(variable).map_err(|_| KubernetesError::NotInPod { variable });
            let (host, port) = (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
            let host = if host.contains(':') { format!("[{host}]") } else { host };
            let text = format!("https://{host}:{port}");
            let url = Url::parse(&text).map_err(|_| KubernetesError::Url { text })?;
            (url, service_account(account))
        }
    };
    Ok((client(HttpClient::new(http_client), url), namespaces))
}

/// How a pod shows who it is.
fn service_account(folder: &Path) -> HttpClientConfig {
    let file = |name| Some(SecretSource::File(folder.join(name)));
    HttpClientConfig {
        credentials: Some(Credentials::Authorization { scheme: "Bearer".to_owned(), credentials: file("token") }),
        tls: TlsConfig { ca: file("ca.crt"), ..TlsConfig::default() },
        ..HttpClientConfig::default()
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The client of Kubernetes over ours.
fn client(http: HttpClient, url: Url) -> Client {
    let http = Arc::new(http);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (http, mut url) = (Arc::clone(&http), url.clone());
        async move {
            let (head, _) = request.into_parts();
            let path = format!("{}{}", url.path().trim_end_matches('/'), head.uri.path());
            url.set_path(&path);
            url.set_query(head.uri.query());
            let request = http.request(head.method, url).await?.headers(head.headers);
            let answered = timeout(HEAD_TIMEOUT, request.send()).await?;
            let response: Response<reqwest::Body> = answered.map_err(HttpError::Request)?.into();
            Ok::<_, BoxError>(response)
        }
    });
    Client::new(service, "default")
}

/// Watches what the role needs, and tells what it makes.
async fn observe(config: &KubernetesDiscovery, client: &Client, namespaces: &[String], findings: &Findings) {
    let watched = Arc::new(Watched::default());
    let mut watches = Watches { config, client, namespaces, watched: &watched, tasks: JoinSet::new() };
    match config.role {
        KubernetesRole::Pod => watches.namespaced(KubernetesRole::Pod, |cluster| &mut cluster.pods),
        KubernetesRole::Service => watches.namespaced(KubernetesRole::Service, |cluster| &mut cluster.services),
        KubernetesRole::Ingress => watches.namespaced(KubernetesRole::Ingress, |cluster| &mut cluster.ingresses),
        KubernetesRole::Node => {}
        KubernetesRole::Endpoints => {
            watches.namespaced(KubernetesRole::Endpoints, |cluster| &mut cluster.endpoints);
            watches.behind_endpoints();
        }
        KubernetesRole::EndpointSlice => {
            watches.namespaced(KubernetesRole::EndpointSlice, |cluster| &mut cluster.endpoint_slices);
            watches.behind_endpoints();
        }
    }
    if config.role == KubernetesRole::Node || config.attach_node {
        watches.nodes();
    }
    // Dropped with this future, and the watches with it.
    let _tasks = watches.tasks;
    let mut changed = pin!(watched.changed.notified());
    loop {
        changed.as_mut().await;
        changed.set(watched.changed.notified());
        tokio::time::sleep(SETTLE).await;
        let cluster = watched.cluster.lock();
        let error = cluster.error().map(KubernetesError::Watch);
        match (cluster.is_listed(), error) {
            (true, None) => findings.found(groups(config.role, &cluster)),
            (true, Some(error)) => findings.found_partly(groups(config.role, &cluster), &error),
            (false, Some(error)) => findings.failed(&error),
            (false, None) => {}
        }
    }
}

/// The watches of a discovery.
struct Watches<'a> {
    config: &'a KubernetesDiscovery,
    client: &'a Client,
    namespaces: &'a [String],
    watched: &'a Arc<Watched>,
    tasks: JoinSet<()>,
}

impl Watches<'_> {
    /// One watch per namespace, or one for all.
    fn namespaced<K>(&mut self, role: KubernetesRole, store: fn(&mut Cluster) -> &mut Store<K>)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug
            + Send
            + 'static,
    {
        if self.namespaces.is_empty() {
            return self.start(Api::all(self.client.clone()), None, role, store);
        }
        for namespace in self.namespaces {
            let api = Api::namespaced(self.client.clone(), namespace);
            self.start(api, Some(namespace.clone()), role, store);
        }
    }

    /// What labels of endpoints are made of besides.
    fn behind_endpoints(&mut self) {
        self.namespaced(KubernetesRole::Service, |cluster| &mut cluster.services);
        self.namespaced(KubernetesRole::Pod, |cluster| &mut cluster.pods);
    }

    fn nodes(&mut self) {
        self.watched.cluster.lock().nodes = Some(Store::default());
        let store: fn(&mut Cluster) -> &mut Store<objects::Node> =
            |cluster| cluster.nodes.get_or_insert_with(Store::default);
        self.start(Api::all(self.client.clone()), None, KubernetesRole::Node, store);
    }

    fn start<K>(
        &mut self,
        api: Api<K>,
        namespace: Option<String>,
        role: KubernetesRole,
        store: fn(&mut Cluster) -> &mut Store<K>,
    ) where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
    {
        let mut config = watcher::Config::default();
        if let Some(selector) = self.config.selectors.get(&role) {
            config.label_selector.clone_from(&selector.label);
            config.field_selector.clone_from(&selector.field);
        }
        self.watched.announce::<K>(namespace.as_deref());
        self.tasks.spawn(watch(api, namespace, config, Arc::clone(self.watched), store));
    }
}

/// The groups of all objects of the role, by object.
fn groups(role: KubernetesRole, cluster: &Cluster) -> Groups {
    fn each<'a, K: 'a>(
        store: &'a Store<K>,
        group: impl Fn(&'a K) -> super::TargetGroup + 'a,
    ) -> impl Iterator<Item = (String, super::TargetGroup)> + 'a {
        store.objects.iter().map(move |((namespace, name), object)| (format!("{namespace}/{name}"), group(object)))
    }
    match role {
        KubernetesRole::Pod => each(&cluster.pods, |pod| targets::of_pod(pod, cluster)).collect(),
        KubernetesRole::Service => each(&cluster.services, targets::of_service).collect(),
        KubernetesRole::Ingress => each(&cluster.ingresses, targets::of_ingress).collect(),
        KubernetesRole::Node => cluster.nodes.iter().flat_map(|nodes| each(nodes, targets::of_node)).collect(),
        KubernetesRole::Endpoints => {
            each(&cluster.endpoints, |endpoints| targets::of_endpoints(endpoints, cluster)).collect()
        }
        KubernetesRole::EndpointSlice => {
            each(&cluster.endpoint_slices, |slice| targets::of_endpoint_slice(slice, cluster)).collect()
        }
    }
}

#[cfg(test)]
mod tests;
