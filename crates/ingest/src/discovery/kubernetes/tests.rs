use std::collections::BTreeMap;

use axum::{
    Json, Router,
    body::Body as ResponseBody,
    extract::{Query, State},
    response::{IntoResponse, Response as Answer},
    routing::get,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use super::*;
use crate::{
    discovery::{TargetGroup, testing::{Running, discovery, serve, show}},
    labels::Labels,
};

/// An API server with pods, which can be watched.
#[derive(Clone)]
struct Fake {
    state: Arc<Mutex<FakeState>>,
    /// Lines of watches under way; `None` ends them.
    events: broadcast::Sender<Option<String>>,
}

#[derive(Default)]
struct FakeState {
    version: u64,
    pods: BTreeMap<String, Value>,
    asked: Vec<String>,
    /// Watches from before this version are refused as gone.
    oldest: u64,
}

impl Fake {
    async fn start() -> (Self, std::net::SocketAddr) {
        let fake = Self { state: Arc::default(), events: broadcast::channel(64).0 };
        fake.state.lock().version = 1;
        let routes = Router::new().route("/api/v1/pods", get(pods)).with_state(fake.clone());
        (fake, serve(routes).await)
    }

    fn change(&self, kind: &str, name: &str, ip: &str) {
        let mut state = self.state.lock();
        state.version += 1;
        let pod = pod(name, ip, state.version);
        match kind {
            "DELETED" => _ = state.pods.remove(name),
            _ => _ = state.pods.insert(name.to_owned(), pod.clone()),
        }
        let _ = self.events.send(Some(json!({"type": kind, "object": pod}).to_string()));
    }

    fn count(&self, part: &str) -> usize {
        self.state.lock().asked.iter().filter(|asked| asked.contains(part)).count()
    }
}

async fn pods(State(fake): State<Fake>, Query(query): Query<BTreeMap<String, String>>) -> Answer {
    let mut state = fake.state.lock();
    let watches = query.get("watch").is_some_and(|watch| watch == "true");
    let from: u64 = query.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
    let selector = query.get("labelSelector").cloned().unwrap_or_default();
    state.asked.push(format!("{} {selector}", if watches { "watch" } else { "list" }));
    if !watches {
        let items: Vec<_> = state.pods.values().cloned().collect();
        let version = state.version.to_string();
        return Json(json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items})).into_response();
    }
    if from < state.oldest {
        let gone = json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "too old resource version", "reason": "Expired", "code": 410}});
        return format!("{gone}\n").into_response();
    }
    let mut events = fake.events.subscribe();
    let stream = async_stream(async move || match events.recv().await {
        Ok(Some(line)) => Some(format!("{line}\n")),
        _ => None,
    });
    ResponseBody::from_stream(stream).into_response()
}

/// A stream of what a function gives until it gives nothing.
fn async_stream<F: AsyncFnMut() -> Option<String> + Send + 'static>(
    next: F,
) -> impl futures::Stream<Item = Result<String, std::convert::Infallible>>
where
    for<'a> F::CallRefFuture<'a>: Send,
{
    futures::stream::unfold(next, async |mut next| next().await.map(|line| (Ok(line), next)))
}

fn pod(name: &str, ip: &str, version: u64) -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "name": name, "namespace": "shop", "uid": "u1", "resourceVersion": version.to_string(),
            "labels": {"app.kubernetes.io/name": "api"}, "annotations": {"note": "x"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "api-1", "uid": "r", "controller": true}],
        },
        "spec": {
            "nodeName": "node1",
            "containers": [
                {"name": "main", "image": "api:1", "ports": [{"name": "pprof", "containerPort": 6060, "protocol": "TCP"}]},
                {"name": "side", "image": "side:1"},
            ],
            "initContainers": [{"name": "setup", "image": "setup:1"}],
        },
        "status": {
            "phase": "Running", "podIP": ip, "hostIP": "10.9.0.1",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "main", "containerID": "containerd://1"}],
        },
    })
}

#[tokio::test]
async fn pods_are_listed_and_watched() {
    let (fake, address) = Fake::start().await;
    fake.change("ADDED", "api-1", "10.0.0.1");
    let running = Running::start(discovery(&format!(
        "kubernetes_sd_configs: [{{role: pod, api_server: 'http://{address}', bearer_token: t, selectors: [{{role: pod, label: 'a=b'}}]}}]"
    )));
    assert_eq!(running.addresses(3).await, ["10.0.0.1:6060", "10.0.0.1", "10.0.0.1"]);
    let (targets, status) = running.until(|_, _| true).await;
    assert_eq!((status.kind, status.last_error.as_str()), ("kubernetes", ""));
    assert_eq!(
        show(&targets[0], "__meta_kubernetes_"),
        "__address__=10.0.0.1:6060\nnamespace=shop\npod_annotation_note=x\npod_annotationpresent_note=true\n\
         pod_container_id=containerd://1\npod_container_image=api:1\npod_container_init=false\npod_container_name=main\n\
         pod_container_port_name=pprof\npod_container_port_number=6060\npod_container_port_protocol=TCP\n\
         pod_controller_kind=ReplicaSet\npod_controller_name=api-1\npod_host_ip=10.9.0.1\npod_ip=10.0.0.1\n\
         pod_label_app_kubernetes_io_name=api\npod_labelpresent_app_kubernetes_io_name=true\npod_name=api-1\n\
         pod_node_name=node1\npod_phase=Running\npod_ready=true\npod_uid=u1\n"
    );
    assert_eq!(targets[2]["__meta_kubernetes_pod_container_init"], "true");
    fake.change("ADDED", "api-2", "10.0.0.2");
    running.addresses(6).await;
    fake.change("DELETED", "api-1", "10.0.0.1");
    assert_eq!(running.addresses(3).await[0], "10.0.0.2:6060");
    assert_eq!((fake.count("list a=b"), fake.count("list")), (1, 1));
    // The connection ends: it is watched on from where it was.
    let _ = fake.events.send(None);
    while fake.count("watch") < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(fake.count("list"), 1);
    // The connection ends, and the server has forgotten that version meanwhile: everything is listed again.
    {
        let mut state = fake.state.lock();
        state.version += 10;
        state.oldest = state.version;
        let version = state.version;
        state.pods = BTreeMap::from([("api-3".to_owned(), pod("api-3", "10.0.0.3", version))]);
    }
    let _ = fake.events.send(None);
    running.until(|targets, _| targets.iter().all(|target| target["__meta_kubernetes_pod_name"] == "api-3")).await;
    assert!(fake.count("list") >= 2);
    fake.change("ADDED", "api-4", "10.0.0.4");
    let (_, status) = running.until(|targets, _| targets.len() == 6).await;
    assert_eq!(status.last_error, "");
}

#[tokio::test]
async fn a_server_that_refuses_is_told() {
    let address = serve(Router::new()).await;
    let running = Running::start(discovery(&format!(
        "kubernetes_sd_configs: [{{role: service, api_server: 'http://{address}'}}]"
    )));
    let (_, status) = running.until(|_, status| !status.last_error.is_empty()).await;
    assert!(status.last_error.starts_with("services: "), "{}", status.last_error);
}

fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn lines(group: &TargetGroup) -> Vec<String> {
    let whole = |target: &Labels| {
        let mut labels = group.labels.clone();
        labels.extend(target.clone());
        show(&labels, "__meta_kubernetes_")
    };
    group.targets.iter().map(whole).collect()
}

#[test]
fn a_service_and_a_node_and_an_ingress() {
    let service = object(json!({
        "metadata": {"name": "api", "namespace": "shop", "labels": {"a": "b"}},
        "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.1", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
    }));
    assert_eq!(
        lines(&targets::of_service(&service)),
        ["__address__=api.shop.svc:80\nnamespace=shop\nservice_cluster_ip=10.96.0.1\nservice_label_a=b\n\
          service_labelpresent_a=true\nservice_name=api\nservice_port_name=http\nservice_port_number=80\n\
          service_port_protocol=TCP\nservice_type=ClusterIP\n"]
    );
    let node = object(json!({
        "metadata": {"name": "node1"}, "spec": {"providerID": "cloud://1"},
        "status": {
            "addresses": [{"type": "Hostname", "address": "node1"}, {"type": "InternalIP", "address": "fd00::1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        },
    }));
    assert_eq!(
        lines(&targets::of_node(&node)),
        ["__address__=[fd00::1]:10250\nnode_address_Hostname=node1\nnode_address_InternalIP=fd00::1\nnode_name=node1\n\
          node_provider_id=cloud://1\ninstance=node1\n"]
    );
    let ingress = object(json!({
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "ingressClassName": "nginx", "tls": [{"hosts": ["*.test"]}],
            "rules": [{"host": "a.test", "http": {"paths": [{"path": "/x"}, {}]}}, {"host": "b.c.test"}],
        },
    }));
    let found = lines(&targets::of_ingress(&ingress));
    assert_eq!(
        found[0],
        "__address__=a.test\ningress_class_name=nginx\ningress_host=a.test\ningress_name=web\ningress_path=/x\n\
         ingress_scheme=https\nnamespace=shop\n"
    );
    assert!(found[1].contains("ingress_path=/\n") && found[2].contains("ingress_scheme=http\n"), "{found:?}");
}

#[test]
fn endpoints_have_labels_of_service_pod_and_node() {
    let mut cluster = Cluster::default();
    let at = |name: &str| ("shop".to_owned(), name.to_owned());
    cluster.pods.objects.insert(at("api-1"), object(pod("api-1", "10.0.0.1", 1)));
    cluster.services.objects.insert(at("api"), object(json!({"metadata": {"name": "api", "namespace": "shop"}})));
    let node = object(json!({"metadata": {"name": "node1", "labels": {"zone": "z1"}}}));
    cluster.nodes = Some(Store { objects: BTreeMap::from([((String::new(), "node1".to_owned()), node)]) });
    let target = json!({"kind": "Pod", "namespace": "shop", "name": "api-1"});
    let slice = object(json!({
        "metadata": {"name": "api-x", "namespace": "shop", "labels": {"kubernetes.io/service-name": "api"}},
        "addressType": "IPv4",
        "endpoints": [{
            "addresses": ["10.0.0.1"], "conditions": {"ready": true}, "nodeName": "node1", "zone": "z1",
            "targetRef": target,
        }],
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
    }));
    let found = lines(&targets::of_endpoint_slice(&slice, &cluster));
    let words = [
        "__address__=10.0.0.1:8080\n", "endpointslice_address_type=IPv4\n", "endpointslice_port=8080\n",
        "endpointslice_endpoint_conditions_ready=true\n", "endpointslice_endpoint_zone=z1\n",
        "endpointslice_endpoint_node_name=node1\n", "endpointslice_address_target_name=api-1\n",
        "service_name=api\n", "pod_name=api-1\n", "node_label_zone=z1\n",
    ];
    for word in words {
        assert!(found[0].contains(word), "{word} in {}", found[0]);
    }
    // The port of the pod that the service does not have.
    assert_eq!(found.len(), 2);
    for word in ["__address__=10.0.0.1:6060\n", "pod_container_port_name=pprof\n", "node_label_zone=z1\n"] {
        assert!(found[1].contains(word), "{word} in {}", found[1]);
    }
    let endpoints = object(json!({
        "metadata": {"name": "api", "namespace": "shop"},
        "subsets": [{
            "addresses": [{"ip": "10.0.0.1", "targetRef": target}], "notReadyAddresses": [{"ip": "10.0.0.7"}],
            "ports": [{"name": "pprof", "port": 6060, "protocol": "TCP"}],
        }],
    }));
    let found = lines(&targets::of_endpoints(&endpoints, &cluster));
    assert_eq!(found.len(), 2, "the pod's only port is covered");
    for word in ["endpoint_ready=true\n", "pod_container_name=main\n", "service_name=api\n", "endpoints_name=api\n"] {
        assert!(found[0].contains(word), "{word} in {}", found[0]);
    }
    assert!(found[1].contains("endpoint_ready=false\n"));
    // `null` is how an empty slice of endpoints comes.
    let empty = object(json!({"metadata": {"name": "x"}, "addressType": "IPv4", "endpoints": null, "ports": null}));
    assert_eq!(targets::of_endpoint_slice(&empty, &cluster).targets, Vec::<Labels>::new());
}
