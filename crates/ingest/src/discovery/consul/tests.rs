use axum::{
    Router,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;
use crate::discovery::testing::{Running, discovery, serve, show};

/// Names of services with the addresses of their instances.
type Instances = BTreeMap<String, Vec<String>>;

/// A catalog whose queries block until it changes, and what it was asked.
#[derive(Clone)]
struct Fake {
    instances: watch::Sender<(u64, Instances)>,
    broken: Arc<Mutex<bool>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    async fn start() -> (Self, std::net::SocketAddr) {
        let fake = Self {
            instances: watch::Sender::new((1, Instances::new())),
            broken: Arc::default(),
            asked: Arc::default(),
        };
        let routes = Router::new()
            .route(
                "/prefix/v1/agent/self",
                get(async || axum::Json(json!({"Config": {"Datacenter": "dc1"}}))),
            )
            .route("/prefix/v1/catalog/services", get(services))
            .route("/prefix/v1/health/service/{name}", get(service))
            .with_state(fake.clone());
        (fake, serve(routes).await)
    }

    fn set(&self, services: &[(&str, &[&str])]) {
        let instances = services
            .iter()
            .map(|(name, all)| ((*name).to_owned(), all.iter().map(|a| (*a).to_owned()).collect()))
            .collect();
        self.instances.send_modify(|state| *state = (state.0 + 1, instances));
    }

    /// Answers when there is more than at the index of the query.
    async fn answer(
        &self,
        path: &str,
        query: &str,
        headers: &HeaderMap,
        body: impl Fn(&Instances) -> Value,
    ) -> Response {
        assert_eq!(headers["x-consul-token"], "secret");
        self.asked.lock().push(format!("{path}?{query}"));
        if *self.broken.lock() {
            return (StatusCode::INTERNAL_SERVER_ERROR, "No cluster leader").into_response();
        }
        let index = query.split('&').find_map(|pair| pair.strip_prefix("index=")?.parse().ok()).unwrap_or(0);
        let mut state = self.instances.subscribe();
        let state = state.wait_for(|(now, _)| *now > index).await.unwrap().clone();
        ([("x-consul-index", state.0.to_string())], axum::Json(body(&state.1))).into_response()
    }
}

async fn services(State(fake): State<Fake>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let body = |instances: &Instances| {
        instances
            .keys()
            .map(|name| (name.clone(), json!([if name == "db" { "sql" } else { "http" }])))
            .collect()
    };
    fake.answer("services", &query.unwrap_or_default(), &headers, body).await
}

async fn service(
    State(fake): State<Fake>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let entry = |address: &String| {
        json!({
            "Node": {
                "ID": "n", "Node": "node1", "Address": "10.0.0.9", "Datacenter": "dc1",
                "TaggedAddresses": {"wan": "192.0.2.1"}, "Meta": {"os-name": "linux"},
            },
            "Service": {
                "ID": format!("{name}-1"), "Service": name, "Tags": ["http", "v2"], "Address": address,
                "TaggedAddresses": {"lan": {"Address": "10.0.0.9", "Port": 1}},
                "Meta": {"team": "a"}, "Port": 6060, "Namespace": "ns1",
            },
            "Checks": [{"CheckID": "serfHealth", "Status": "passing"}, {"CheckID": "x", "Status": "warning"}],
        })
    };
    let body = |instances: &Instances| instances.get(&name).into_iter().flatten().map(entry).collect();
    fake.answer(&name, &query.unwrap_or_default(), &headers, body).await
}

fn lines(address: std::net::SocketAddr, more: &str) -> String {
    format!(
        "consul_sd_configs: [{{server: '{address}', path_prefix: /prefix, token: secret, refresh_interval: 10ms{more}}}]"
    )
}

#[tokio::test]
async fn services_come_and_go() {
    let (fake, address) = Fake::start().await;
    fake.set(&[("api", &["10.0.0.1", ""]), ("db", &["10.0.0.3"])]);
    let running = Running::start(discovery(&lines(address, "")));
    assert_eq!(running.addresses(3).await, ["10.0.0.1:6060", "10.0.0.9:6060", "10.0.0.3:6060"]);
    let (targets, status) = running.until(|_, _| true).await;
    assert_eq!((status.kind, status.subject), ("consul", format!("http://{address}/prefix")));
    assert_eq!(
        show(&targets[0], "__meta_consul_"),
        "__address__=10.0.0.1:6060\naddress=10.0.0.9\ndc=dc1\nhealth=warning\nmetadata_os_name=linux\nnamespace=ns1\n\
         node=node1\nservice=api\nservice_address=10.0.0.1\nservice_id=api-1\nservice_metadata_team=a\n\
         service_port=6060\ntagged_address_wan=192.0.2.1\ntags=,http,v2,\n"
    );
    fake.set(&[("api", &["10.0.0.1"]), ("db", &["10.0.0.3"]), ("new", &["10.0.0.4"])]);
    running
        .until(|targets, _| {
            targets.iter().any(|labels| labels[ADDRESS] == "10.0.0.4:6060") && targets.len() == 3
        })
        .await;
    fake.set(&[("new", &["10.0.0.4"])]);
    assert_eq!(running.addresses(1).await, ["10.0.0.4:6060"]);
    fake.set(&[]);
    running.addresses(0).await;
    let asked = fake.asked.lock();
    assert_eq!(asked[0], "services?stale=");
    assert!(asked.iter().any(|asked| asked == "services?index=2&wait=120000ms&stale="), "{asked:?}");
}

#[tokio::test]
async fn only_what_is_asked_for() {
    let (fake, address) = Fake::start().await;
    fake.set(&[("api", &["10.0.0.1"]), ("db", &["10.0.0.3"])]);
    let by_tag = Running::start(discovery(&lines(
        address,
        ", tags: [sql], datacenter: dc2, node_meta: {os: linux}, filter: x, allow_stale: false",
    )));
    assert_eq!(by_tag.addresses(1).await, ["10.0.0.3:6060"]);
    assert_eq!(fake.asked.lock()[0], "services?dc=dc2&node-meta=os%3Alinux&filter=x");
    assert!(fake.asked.lock().iter().any(|asked| asked == "db?dc=dc2&node-meta=os%3Alinux&tag=sql"));
    drop(by_tag);
    fake.asked.lock().clear();
    let by_name = Running::start(discovery(&lines(address, ", services: [api, later]")));
    assert_eq!(by_name.addresses(1).await, ["10.0.0.1:6060"]);
    fake.set(&[("api", &["10.0.0.1"]), ("later", &["10.0.0.5"])]);
    assert_eq!(by_name.addresses(2).await, ["10.0.0.1:6060", "10.0.0.5:6060"]);
    assert!(fake.asked.lock().iter().all(|asked| !asked.starts_with("services")));
}

#[tokio::test]
async fn a_failing_server_keeps_what_was_found() {
    let (fake, address) = Fake::start().await;
    fake.set(&[("api", &["10.0.0.1"])]);
    let running = Running::start(discovery(&lines(address, "")));
    running.addresses(1).await;
    *fake.broken.lock() = true;
    // Ends the wait of the queries under way.
    fake.set(&[("api", &["10.0.0.1"])]);
    let (targets, status) = running.until(|_, status| !status.last_error.is_empty()).await;
    assert_eq!(targets.len(), 1);
    let refused = "server returned HTTP status 500 Internal Server Error: No cluster leader";
    assert!(status.last_error.ends_with(refused), "{}", status.last_error);
}

#[test]
fn health_is_the_worst() {
    let check = |checks: &[(&str, &str)], expected: &str| {
        let checks: Vec<Check> =
            checks.iter().map(|(id, status)| Check { id: (*id).into(), status: (*status).into() }).collect();
        assert_eq!(health(&checks), expected);
    };
    check(&[], "passing");
    check(&[("a", "passing"), ("b", "warning")], "warning");
    check(&[("a", "critical"), ("b", "warning")], "critical");
    check(&[("_service_maintenance:x", "critical")], "maintenance");
    check(&[("_node_maintenance", "critical")], "maintenance");
}
