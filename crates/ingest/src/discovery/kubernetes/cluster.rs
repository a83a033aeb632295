//! What is known of a cluster: objects by kind, each kept by one watch per namespace.

use std::{collections::BTreeMap, fmt::Debug, pin::pin, sync::Arc};

use futures::StreamExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use super::objects::{EndpointSlice, Endpoints, Ingress, Node, Pod, Service};
use crate::error_chain::error_chain;

/// Objects of one kind: more than Kubernetes says that a cluster can have pods would need another design anyway.
const OBJECTS_MAX: usize = 200_000;
/// Answer of a server that has forgotten the version from which a watch wanted to go on: it lists again.
const GONE: u16 = 410;

/// Namespace and name.
pub(super) type Key = (String, String);

pub(super) fn key(meta: &ObjectMeta) -> Key {
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

/// Objects of one kind.
pub(super) struct Store<K> {
    pub(super) objects: BTreeMap<Key, K>,
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        Self { objects: BTreeMap::new() }
    }
}

/// Everything that is watched.
#[derive(Default)]
pub(super) struct Cluster {
    pub(super) pods: Store<Pod>,
    pub(super) services: Store<Service>,
    pub(super) endpoints: Store<Endpoints>,
    pub(super) endpoint_slices: Store<EndpointSlice>,
    pub(super) ingresses: Store<Ingress>,
    /// `None` if nobody wants to know of them.
    pub(super) nodes: Option<Store<Node>>,
    /// By watch: whether it has listed everything once, and what is wrong with it.
    watches: BTreeMap<String, WatchState>,
}

#[derive(Default)]
struct WatchState {
    listed: bool,
    error: String,
}

impl Cluster {
    /// Whether every watch has listed everything once.
    pub(super) fn is_listed(&self) -> bool {
        self.watches.values().all(|watch| watch.listed)
    }

    /// What is wrong with the first watch that does not work.
    pub(super) fn error(&self) -> Option<String> {
        self.watches.iter().find(|(_, watch)| !watch.error.is_empty()).map(|(name, watch)| format!("{name}: {}", watch.error))
    }
}

/// A cluster that watches write to.
#[derive(Default)]
pub(super) struct Watched {
    pub(super) cluster: Mutex<Cluster>,
    pub(super) changed: Notify,
}

/// Watches the objects of `api`, which are those of a namespace if there is one, for ever.
pub(super) async fn watch<K>(
    api: Api<K>,
    namespace: Option<String>,
    config: watcher::Config,
    watched: Arc<Watched>,
    store: fn(&mut Cluster) -> &mut Store<K>,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut pending = BTreeMap::new();
    let name = match &namespace {
        Some(namespace) => format!("{} of {namespace}", K::plural(&())),
        None => K::plural(&()).into_owned(),
    };
    let mut events = pin!(watcher(api, config).default_backoff());
    while let Some(event) = events.next().await {
        let mut cluster = watched.cluster.lock();
        let state = cluster.watches.entry(name.clone()).or_default();
        match &event {
            Ok(Event::InitDone) => {
                state.listed = true;
                state.error.clear();
            }
            Ok(Event::Apply(_) | Event::Delete(_)) => state.error.clear(),
            Ok(Event::Init | Event::InitApply(_)) => {}
            Err(watcher::Error::WatchError(status)) if status.code == GONE => {}
            Err(error) => state.error = error_chain(error),
        }
        let store = store(&mut cluster);
        let news = match event {
            Ok(Event::Init) => {
                pending = BTreeMap::new();
                false
            }
            Ok(Event::InitApply(object)) => {
                if pending.len() < OBJECTS_MAX {
                    pending.insert(key(object.meta()), trimmed(object));
                }
                false
            }
            Ok(Event::InitDone) => {
                match &namespace {
                    Some(namespace) => store.objects.retain(|(other, _), _| other != namespace),
                    None => store.objects.clear(),
                }
                store.objects.append(&mut pending);
                true
            }
            Ok(Event::Apply(object)) => {
                if store.objects.len() < OBJECTS_MAX {
                    store.objects.insert(key(object.meta()), trimmed(object));
                }
                true
            }
            Ok(Event::Delete(object)) => store.objects.remove(&key(object.meta())).is_some(),
            Err(_) => true,
        };
        drop(cluster);
        if news {
            watched.changed.notify_one();
        }
    }
}

/// Without what is large and says nothing about targets.
fn trimmed<K: Resource>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}

impl Watched {
    /// Announces a watch, so that nobody takes the lists for complete without it.
    pub(super) fn announce<K: Resource<DynamicType = ()>>(&self, namespace: Option<&str>) {
        let name = match namespace {
            Some(namespace) => format!("{} of {namespace}", K::plural(&())),
            None => K::plural(&()).into_owned(),
        };
        self.cluster.lock().watches.entry(name).or_default();
    }
}
