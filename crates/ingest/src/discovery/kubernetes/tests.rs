//! Against an API server that lists and watches as a real one does: versions, bookmarks, 410, and going away.

use std::{collections::BTreeMap, net::SocketAddr};

use axum::{
    Json, Router,
    body::Body,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use decima_config::labels::Labels;
use futures::stream;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, crypto::ring};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch as signal,
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::*;
use crate::discovery::testing::{Running, discovery, serve, show};

/// An API server with pods, which can be watched.
#[derive(Clone)]
struct Fake {
    state: Arc<Mutex<FakeState>>,
    /// Told when there is something new for watches.
    changed: signal::Sender<()>,
}

#[derive(Default)]
struct FakeState {
    version: u64,
    pods: BTreeMap<String, Value>,
    /// Lines of watches, by version.
    events: Vec<(u64, Value)>,
    /// Watches that began before it was raised have ended.
    connections: u64,
    /// Watches from before this version are refused as gone.
    oldest: u64,
    /// What was asked: `list` or `watch` with the version, selector and token.
    asked: Vec<String>,
}

impl Fake {
    fn new() -> Self {
        let fake = Self { state: Arc::default(), changed: signal::channel(()).0 };
        fake.state.lock().version = 1;
        fake
    }

    fn routes(&self) -> Router {
        let routes = Router::new().route("/api/v1/pods", get(answer));
        routes.route("/api/v1/namespaces/{namespace}/pods", get(answer)).with_state(self.clone())
    }

    /// Changes a pod, and tells it to those who watch.
    fn change(&self, kind: &str, name: &str, ip: &str) {
        let mut state = self.state.lock();
        state.version += 1;
        let version = state.version;
        let pod = pod(name, ip, version);
        match kind {
            "DELETED" => _ = state.pods.remove(name),
            _ => _ = state.pods.insert(name.to_owned(), pod.clone()),
        }
        state.events.push((version, json!({"type": kind, "object": pod})));
        drop(state);
        self.changed.send_replace(());
    }

    /// Tells those who watch a version at which nothing changed for them.
    fn bookmark(&self) -> u64 {
        let mut state = self.state.lock();
        state.version += 10;
        let version = state.version;
        let object =
            json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": version.to_string()}});
        state.events.push((version, json!({"type": "BOOKMARK", "object": object})));
        drop(state);
        self.changed.send_replace(());
        version
    }

    /// Ends all connections.
    fn hang_up(&self) {
        self.state.lock().connections += 1;
        self.changed.send_replace(());
    }

    /// Forgets what was before, and what its pods were.
    fn forget(&self, name: &str, ip: &str) {
        let mut state = self.state.lock();
        state.version += 10;
        state.oldest = state.version;
        state.events.clear();
        state.pods = BTreeMap::from([(name.to_owned(), pod(name, ip, state.version))]);
    }

    fn asked(&self, part: &str) -> usize {
        self.state.lock().asked.iter().filter(|asked| asked.contains(part)).count()
    }

    /// Waits until something was asked so often.
    async fn until_asked(&self, part: &str, count: usize) {
        for _ in 0..3000 {
            if self.asked(part) >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{part} {count} times: {:?}", self.state.lock().asked);
    }
}

async fn answer(
    State(fake): State<Fake>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let watches = query.get("watch").is_some_and(|watch| watch == "true");
    let given = |name: &str| query.get(name).cloned().unwrap_or_default();
    let from = given("resourceVersion");
    let token = headers.get("authorization").map_or("", |value| value.to_str().unwrap());
    let mut state = fake.state.lock();
    let kind = if watches { "watch" } else { "list" };
    state.asked.push(format!("{kind} from={from} label={} token={token};", given("labelSelector")));
    if !watches {
        let items: Vec<_> = state.pods.values().cloned().collect();
        let version = state.version.to_string();
        let list = json!({
            "kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items,
        });
        return Json(list).into_response();
    }
    let from: u64 = from.parse().unwrap();
    if from < state.oldest {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410,
            "message": "too old resource version",
        });
        return format!("{}\n", json!({"type": "ERROR", "object": status})).into_response();
    }
    let connection =
        Watching { fake: fake.clone(), told: fake.changed.subscribe(), from, began: state.connections };
    Body::from_stream(stream::unfold(connection, Watching::next)).into_response()
}

/// A connection that watches.
struct Watching {
    fake: Fake,
    told: signal::Receiver<()>,
    from: u64,
    began: u64,
}

impl Watching {
    /// The next line; none if the connection has ended.
    async fn next(mut self) -> Option<(Result<String, std::convert::Infallible>, Self)> {
        loop {
            let line = {
                let state = self.fake.state.lock();
                if state.connections != self.began {
                    return None;
                }
                state.events.iter().find(|(version, _)| *version > self.from).cloned()
            };
            if let Some((version, event)) = line {
                self.from = version;
                return Some((Ok(format!("{event}\n")), self));
            }
            self.told.changed().await.ok()?;
        }
    }
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
    let fake = Fake::new();
    let address = serve(fake.routes()).await;
    fake.change("ADDED", "api-1", "10.0.0.1");
    let running = Running::start(discovery(&format!(
        "kubernetes_sd_configs: [{{role: pod, api_server: 'http://{address}', bearer_token: t, selectors: [{{role: pod, label: 'a=b'}}]}}]"
    )));
    assert_eq!(running.addresses(3).await, ["10.0.0.1:6060", "10.0.0.1", "10.0.0.1"]);
    let (targets, status) = running.until(|_, _| true).await;
    assert_eq!((status.kind, status.last_error.as_str()), ("kubernetes", ""));
    assert_eq!(status.subject, format!("pod of http://{address}/"));
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
    fake.change("MODIFIED", "api-2", "10.0.0.3");
    running.until(|targets, _| targets.iter().any(|target| target["__address__"] == "10.0.0.3:6060")).await;
    fake.change("DELETED", "api-1", "10.0.0.1");
    assert_eq!(running.addresses(3).await[0], "10.0.0.3:6060");
    assert_eq!((fake.asked("label=a=b token=Bearer t;"), fake.asked("list")), (2, 1));
}

#[tokio::test]
async fn watches_go_on_and_begin_anew() {
    let fake = Fake::new();
    let address = serve(fake.routes()).await;
    fake.change("ADDED", "api-1", "10.0.0.1");
    let running = Running::start(discovery(&format!(
        "kubernetes_sd_configs: [{{role: pod, api_server: 'http://{address}', namespaces: {{names: [shop]}}}}]"
    )));
    running.addresses(3).await;
    // The connection ends: it is watched on from the last version that was told.
    fake.until_asked("watch from=2", 1).await;
    let version = fake.bookmark();
    fake.change("ADDED", "api-2", "10.0.0.2");
    running.addresses(6).await;
    fake.hang_up();
    fake.until_asked(&format!("watch from={}", version + 1), 1).await;
    let version = fake.bookmark();
    // A bookmark is not seen from outside: it is on the same connection before what follows.
    fake.change("DELETED", "api-2", "10.0.0.2");
    running.addresses(3).await;
    fake.hang_up();
    fake.until_asked(&format!("watch from={}", version + 1), 1).await;
    assert_eq!(fake.asked("list"), 1);
    // The connection ends, and the server has forgotten that version meanwhile: everything is listed again.
    fake.forget("api-3", "10.0.0.3");
    fake.hang_up();
    let named = |name: &'static str| {
        move |targets: &[Labels], _: &_| {
            targets.iter().all(|target| target["__meta_kubernetes_pod_name"] == name) && targets.len() == 3
        }
    };
    running.until(named("api-3")).await;
    assert_eq!(fake.asked("list"), 2);
    fake.change("ADDED", "api-4", "10.0.0.4");
    let (_, status) = running.until(|targets, _| targets.len() == 6).await;
    assert_eq!(status.last_error, "", "being told to begin anew is no failure");
}

/// Serves until it is told to stop, connections included.
async fn serve_at(address: SocketAddr, routes: Router) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() }))
}

#[tokio::test]
async fn a_server_that_goes_away_and_comes_back() {
    let fake = Fake::new();
    let (address, server) = serve_at(([127, 0, 0, 1], 0).into(), fake.routes()).await;
    fake.change("ADDED", "api-1", "10.0.0.1");
    let running = Running::start(discovery(&format!(
        "kubernetes_sd_configs: [{{role: pod, api_server: 'http://{address}'}}]"
    )));
    running.addresses(3).await;
    fake.until_asked("watch", 1).await;
    server.abort();
    let _ = server.await;
    fake.hang_up();
    let (targets, status) = running.until(|_, status| !status.last_error.is_empty()).await;
    assert_eq!(targets.len(), 3, "what was found stays");
    assert!(status.last_error.starts_with("pods: "), "{}", status.last_error);
    assert!(status.last_error.contains("onnection refused"), "{}", status.last_error);
    fake.change("ADDED", "api-2", "10.0.0.2");
    let (_, server) = serve_at(address, fake.routes()).await;
    let (_, status) = running.until(|targets, _| targets.len() == 6).await;
    assert_eq!(status.last_error, "");
    server.abort();
}

#[tokio::test]
async fn a_server_that_refuses_is_told() {
    let refusal = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403,
        "message": "services is forbidden: User \"x\" cannot list resource \"services\"",
    });
    let refuse = move || async move { (StatusCode::FORBIDDEN, Json(refusal)) };
    let address = serve(Router::new().route("/api/v1/services", get(refuse))).await;
    let running = Running::start(discovery(&format!(
        "kubernetes_sd_configs: [{{role: service, api_server: 'http://{address}'}}]"
    )));
    let (_, status) = running.until(|_, status| !status.last_error.is_empty()).await;
    assert!(status.last_error.starts_with("services: "), "{}", status.last_error);
    assert!(status.last_error.contains("cannot list resource"), "{}", status.last_error);
}

/// Serves on 127.0.0.1 with a certificate for it; gives the authority's, PEM.
async fn serve_over_tls(routes: Router) -> (SocketAddr, String) {
    let mut parameters = CertificateParams::new([]).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listener = TlsListener { listener, acceptor: Arc::new(config).into() };
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    (address, authority.pem())
}

struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (connection, address) = self.listener.accept().await.unwrap();
            if let Ok(connection) = self.acceptor.accept(connection).await {
                return (connection, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// What `connect` makes of a configuration, watching pods.
async fn watch_pods(lines: &str, pod: &Pod) -> (Findings, JoinHandle<()>) {
    let decima_config::Discovery::Kubernetes(config) = discovery(lines) else { panic!("{lines}") };
    let findings = Findings::new(&discovery(lines), "api", Arc::default());
    let (client, namespaces) = connect(&config, pod).await.unwrap();
    let task = tokio::spawn({
        let findings = findings.clone();
        async move { observe(&config, client, namespaces, &findings).await }
    });
    (findings, task)
}

async fn until_found(findings: &Findings, count: usize) {
    for _ in 0..3000 {
        if findings.status().targets == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", findings.status());
}

#[tokio::test]
async fn a_pod_shows_who_it_is() {
    let fake = Fake::new();
    let (address, authority) = serve_over_tls(fake.routes()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    file("ca.crt", &authority);
    file("token", "one\n");
    file("namespace", "shop");
    let pod = Pod {
        host: Some(address.ip().to_string()),
        port: Some(address.port().to_string()),
        service_account: folder.path().to_owned(),
    };
    fake.change("ADDED", "api-1", "10.0.0.1");
    let (findings, task) =
        watch_pods("kubernetes_sd_configs: [{role: pod, namespaces: {own_namespace: true}}]", &pod).await;
    until_found(&findings, 3).await;
    fake.until_asked("watch from=2 label= token=Bearer one;", 1).await;
    // Kubernetes writes a new token every hour.
    file("token", "two\n");
    fake.hang_up();
    fake.until_asked("watch from=2 label= token=Bearer two;", 1).await;
    task.abort();
}

#[tokio::test]
async fn a_kubeconfig_says_where_and_who() {
    let fake = Fake::new();
    let (address, authority) = serve_over_tls(fake.routes()).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.crt"), authority).unwrap();
    let path = folder.path().join("config");
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {
            "server": format!("https://{address}"), "certificate-authority": "ca.crt",
        }}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
    });
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    fake.change("ADDED", "api-1", "10.0.0.1");
    let lines = format!("kubernetes_sd_configs: [{{role: pod, kubeconfig_file: '{}'}}]", path.display());
    let (findings, task) = watch_pods(&lines, &Pod::of_this_process()).await;
    until_found(&findings, 3).await;
    fake.until_asked("watch from=2 label= token=Bearer secret;", 1).await;
    task.abort();
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
        [
            "__address__=[fd00::1]:10250\nnode_address_Hostname=node1\nnode_address_InternalIP=fd00::1\nnode_name=node1\n\
          node_provider_id=cloud://1\ninstance=node1\n"
        ]
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
    cluster
        .services
        .objects
        .insert(at("api"), object(json!({"metadata": {"name": "api", "namespace": "shop"}})));
    let node = object(json!({"metadata": {"name": "node1", "labels": {"zone": "z1"}}}));
    cluster.nodes = Store { objects: BTreeMap::from([((String::new(), "node1".to_owned()), node)]) };
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
        "__address__=10.0.0.1:8080\n",
        "endpointslice_address_type=IPv4\n",
        "endpointslice_port=8080\n",
        "endpointslice_endpoint_conditions_ready=true\n",
        "endpointslice_endpoint_zone=z1\n",
        "endpointslice_endpoint_node_name=node1\n",
        "endpointslice_address_target_name=api-1\n",
        "service_name=api\n",
        "pod_name=api-1\n",
        "node_label_zone=z1\n",
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
    for word in
        ["endpoint_ready=true\n", "pod_container_name=main\n", "service_name=api\n", "endpoints_name=api\n"]
    {
        assert!(found[0].contains(word), "{word} in {}", found[0]);
    }
    assert!(found[1].contains("endpoint_ready=false\n"));
    // `null` is how an empty slice of endpoints comes.
    let empty =
        object(json!({"metadata": {"name": "x"}, "addressType": "IPv4", "endpoints": null, "ports": null}));
    assert_eq!(targets::of_endpoint_slice(&empty, &cluster).targets, Vec::<Labels>::new());
}
