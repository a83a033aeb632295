//! What is known of a cluster: objects by kind, each kept by one watch per namespace.

use std::{collections::BTreeMap, fmt::Debug, mem, pin::pin, sync::Arc, time::Duration};

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
use tokio::{sync::Notify, time::Instant};

use super::objects::{EndpointSlice, Endpoints, Ingress, Node, Pod, Service};
use crate::error_chain::error_chain;

/// Objects of one kind that are kept: Kubernetes is made for clusters of at most 150,000 pods.
const OBJECTS_MAX: usize = 200_000;
/// Answer of a server that has forgotten the version from which a watch wanted to go on: everything is listed again.
const GONE: u16 = 410;
/// When a failure that was not repeated is over, as nothing is told when a watch goes on. Attempts are at most a
/// minute apart, and one takes at most a minute.
const OVER_AFTER: Duration = Duration::from_secs(180);

/// An object that can be watched.
pub(super) trait Object:
    Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static
{
}

impl<K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static> Object for K {}

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

impl<K: Resource> Store<K> {
    /// Keeps an object without what is large and says nothing about targets; tells whether there was room.
    pub(super) fn put(&mut self, mut object: K) -> bool {
        object.meta_mut().managed_fields = None;
        let key = key(object.meta());
        let room = self.objects.len() < OBJECTS_MAX || self.objects.contains_key(&key);
        if room {
            self.objects.insert(key, object);
        }
        room
    }

    /// Takes a list for all that there is, in a namespace if one is given.
    fn replace(&mut self, namespace: Option<&str>, mut listed: Self) {
        match namespace {
            Some(namespace) => self.objects.retain(|(other, _), _| other != namespace),
            None => self.objects.clear(),
        }
        self.objects.append(&mut listed.objects);
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
    pub(super) nodes: Store<Node>,
    /// By what is watched.
    watches: BTreeMap<String, WatchState>,
}

#[derive(Default)]
struct WatchState {
    /// Everything was listed once.
    listed: bool,
    /// What went wrong last, and when.
    failure: Option<(String, Instant)>,
    /// Objects for which there was no room.
    left_out: usize,
}

impl Cluster {
    /// Whether every watch has listed everything once.
    pub(super) fn is_listed(&self) -> bool {
        self.watches.values().all(|watch| watch.listed)
    }

    /// What is wrong with the first watch that does not work.
    pub(super) fn error(&self, now: Instant) -> Option<String> {
        self.watches.iter().find_map(|(name, watch)| {
            let failure = watch.failure.as_ref().filter(|(_, at)| now.duration_since(*at) < OVER_AFTER);
            match (failure, watch.left_out) {
                (Some((text, _)), _) => Some(format!("{name}: {text}")),
                (None, 0) => None,
                (None, left_out) => {
                    Some(format!("{name}: {left_out} objects beyond {OBJECTS_MAX} are not looked at"))
                }
            }
        })
    }

    /// Says that something will be watched, so that nobody takes the lists for complete without it.
    pub(super) fn announce<K: Object>(&mut self, namespace: Option<&str>) {
        self.watches.insert(watch_name::<K>(namespace), WatchState::default());
    }

    fn watch(&mut self, name: &str) -> &mut WatchState {
        self.watches.entry(name.to_owned()).or_default()
    }
}

fn watch_name<K: Object>(namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) => format!("{} of {namespace}", K::plural(&())),
        None => K::plural(&()).into_owned(),
    }
}

/// A cluster that watches write to.
#[derive(Default)]
pub(super) struct Watched {
    pub(super) cluster: Mutex<Cluster>,
    pub(super) changed: Notify,
}

/// Watches the objects of `api`, which are those of a namespace if there is one, for ever.
pub(super) async fn watch<K: Object>(
    api: Api<K>,
    namespace: Option<String>,
    config: watcher::Config,
    watched: Arc<Watched>,
    store: fn(&mut Cluster) -> &mut Store<K>,
) {
    let name = watch_name::<K>(namespace.as_deref());
    let mut list = Store::default();
    let mut left_out = 0;
    let mut events = pin!(watcher(api, config).default_backoff());
    while let Some(event) = events.next().await {
        let mut cluster = watched.cluster.lock();
        match event {
            Ok(Event::Init) => {
                list = Store::default();
                left_out = 0;
                continue;
            }
            Ok(Event::InitApply(object)) => {
                left_out += usize::from(!list.put(object));
                continue;
            }
            Ok(Event::InitDone) => {
                store(&mut cluster).replace(namespace.as_deref(), mem::take(&mut list));
                *cluster.watch(&name) = WatchState { listed: true, failure: None, left_out };
            }
            Ok(Event::Apply(object)) => {
                let has_room = store(&mut cluster).put(object);
                let state = cluster.watch(&name);
                state.failure = None;
                state.left_out += usize::from(!has_room);
            }
            Ok(Event::Delete(object)) => {
                store(&mut cluster).objects.remove(&key(object.meta()));
                cluster.watch(&name).failure = None;
            }
            Err(watcher::Error::WatchError(status)) if status.code == GONE => continue,
            Err(error) => cluster.watch(&name).failure = Some((error_chain(&error), Instant::now())),
        }
        drop(cluster);
        watched.changed.notify_one();
    }
}
