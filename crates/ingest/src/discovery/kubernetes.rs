//! Targets from the objects of a Kubernetes cluster, by listing them and watching what changes.
//!
//! ```text
//! API ── watch per kind and namespace ─► cluster (objects) ─► targets (labels, pure) ─► findings
//! ```
//! Lists, versions from which a watch goes on, and waiting after failures are kube's. Objects are trimmed to what their labels
//! are made of; how many are kept of a kind is bounded.
//! Start at [`run`]; [`targets`] has the labels.

mod client;
mod cluster;
mod objects;
mod targets;

use std::{sync::Arc, time::Duration};

use decima_config::{KubernetesDiscovery, KubernetesRole};
use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource, runtime::watcher};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use self::{
    client::{Pod, connect},
    cluster::{Cluster, Object, Store, Watched, watch},
};
use super::{Findings, TargetGroup, findings::Groups};

/// From one change to the next look: changes come in swarms.
const SETTLE: Duration = Duration::from_millis(500);
/// After how long without a change it is looked whether what failed still does.
const RECHECK: Duration = Duration::from_secs(60);
/// From a failure to the next attempt, before there is a client that tries again itself.
const RETRY: Duration = Duration::from_secs(15);

/// A cluster of which not everything is known.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Incomplete(String);

/// Watches for ever.
pub(super) async fn run(config: &KubernetesDiscovery, findings: &Findings) {
    let pod = Pod::of_this_process();
    let (client, namespaces) = loop {
        match connect(config, &pod).await {
            Ok(connected) => break connected,
            Err(error) => findings.failed(&error),
        }
        tokio::time::sleep(RETRY).await;
    };
    observe(config, client, namespaces, findings).await;
}

/// Watches what the role needs, and tells what it makes.
async fn observe(config: &KubernetesDiscovery, client: Client, namespaces: Vec<String>, findings: &Findings) {
    let watched = Arc::new(Watched::default());
    // Dropped with this future, and the watches with it.
    let _tasks = Watches::start(config, client, namespaces, &watched);
    loop {
        let _ = timeout(RECHECK, watched.changed.notified()).await;
        tokio::time::sleep(SETTLE).await;
        let cluster = watched.cluster.lock();
        let error = cluster.error(Instant::now()).map(Incomplete);
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
    client: Client,
    namespaces: Vec<String>,
    watched: &'a Arc<Watched>,
    tasks: JoinSet<()>,
}

impl<'a> Watches<'a> {
    /// Starts all that the configuration needs.
    fn start(
        config: &'a KubernetesDiscovery,
        client: Client,
        namespaces: Vec<String>,
        watched: &'a Arc<Watched>,
    ) -> JoinSet<()> {
        let mut watches = Self { config, client, namespaces, watched, tasks: JoinSet::new() };
        for kind in KubernetesRole::ALL {
            if config.role.looks_at(kind) || config.attach_node && kind == KubernetesRole::Node {
                watches.kind(kind);
            }
        }
        watches.tasks
    }

    fn kind(&mut self, kind: KubernetesRole) {
        match kind {
            KubernetesRole::Pod => self.namespaced(kind, |cluster| &mut cluster.pods),
            KubernetesRole::Service => self.namespaced(kind, |cluster| &mut cluster.services),
            KubernetesRole::Endpoints => self.namespaced(kind, |cluster| &mut cluster.endpoints),
            KubernetesRole::EndpointSlice => self.namespaced(kind, |cluster| &mut cluster.endpoint_slices),
            KubernetesRole::Ingress => self.namespaced(kind, |cluster| &mut cluster.ingresses),
            KubernetesRole::Node => {
                self.one(Api::all(self.client.clone()), None, kind, |cluster| &mut cluster.nodes);
            }
        }
    }

    /// One watch per namespace, or one for all.
    fn namespaced<K>(&mut self, kind: KubernetesRole, store: fn(&mut Cluster) -> &mut Store<K>)
    where
        K: Object + Resource<Scope = NamespaceResourceScope>,
    {
        if self.namespaces.is_empty() {
            return self.one(Api::all(self.client.clone()), None, kind, store);
        }
        for namespace in self.namespaces.clone() {
            let api = Api::namespaced(self.client.clone(), &namespace);
            self.one(api, Some(namespace), kind, store);
        }
    }

    fn one<K: Object>(
        &mut self,
        api: Api<K>,
        namespace: Option<String>,
        kind: KubernetesRole,
        store: fn(&mut Cluster) -> &mut Store<K>,
    ) {
        let mut config = watcher::Config::default();
        if let Some(selector) = self.config.selectors.get(&kind) {
            config.label_selector.clone_from(&selector.label);
            config.field_selector.clone_from(&selector.field);
        }
        self.watched.cluster.lock().announce::<K>(namespace.as_deref());
        self.tasks.spawn(watch(api, namespace, config, Arc::clone(self.watched), store));
    }
}

/// The groups of all objects of the role, by object.
fn groups(role: KubernetesRole, cluster: &Cluster) -> Groups {
    match role {
        KubernetesRole::Pod => each(&cluster.pods, |pod| targets::of_pod(pod, cluster)),
        KubernetesRole::Service => each(&cluster.services, targets::of_service),
        KubernetesRole::Ingress => each(&cluster.ingresses, targets::of_ingress),
        KubernetesRole::Node => each(&cluster.nodes, targets::of_node),
        KubernetesRole::Endpoints => {
            each(&cluster.endpoints, |endpoints| targets::of_endpoints(endpoints, cluster))
        }
        KubernetesRole::EndpointSlice => {
            each(&cluster.endpoint_slices, |slice| targets::of_endpoint_slice(slice, cluster))
        }
    }
}

fn each<K>(store: &Store<K>, group: impl Fn(&K) -> TargetGroup) -> Groups {
    let named =
        store.objects.iter().map(|((namespace, name), object)| (format!("{namespace}/{name}"), object));
    named.map(|(source, object)| (source, group(object))).collect()
}

#[cfg(test)]
mod tests;
