use axum::{Router, extract::Query, http::StatusCode, routing::get};
use serde_json::{Value, json};

use super::*;
use crate::discovery::testing::{Running, discovery, serve, show};

fn containers() -> Value {
    json!([
        {
            "Id": "c1", "Names": ["/api", "/other"], "Labels": {"com.test/team": "a"},
            "HostConfig": {"NetworkMode": "front"},
            "NetworkSettings": {"Networks": {
                "front": {"IPAddress": "10.1.0.2", "NetworkID": "n1"},
                "back": {"IPAddress": "10.2.0.2", "NetworkID": "n2"},
            }},
            "Ports": [
                {"IP": "0.0.0.0", "PrivatePort": 6060, "PublicPort": 16060, "Type": "tcp"},
                {"PrivatePort": 7070, "Type": "tcp"},
                {"PrivatePort": 53, "Type": "udp"},
            ],
        },
        // In the network of another.
        {
            "Id": "c2", "Names": ["/sidecar"], "Labels": null,
            "HostConfig": {"NetworkMode": "container:c1"},
            "NetworkSettings": {"Networks": {}},
            "Ports": null,
        },
        // In that of the host.
        {
            "Id": "c3", "Names": ["/host"], "Labels": {},
            "HostConfig": {"NetworkMode": "host"},
            "NetworkSettings": {"Networks": {"host": {"IPAddress": "", "NetworkID": "n3"}}},
            "Ports": [],
        },
        // In that of each other, and in none.
        {"Id": "c4", "Names": ["/loop"], "HostConfig": {"NetworkMode": "container:c4"}},
        {"Id": "c5", "Names": [], "HostConfig": {"NetworkMode": "none"}},
    ])
}

fn networks() -> Value {
    json!([
        {"Id": "n1", "Name": "front", "Scope": "local", "Internal": false, "Ingress": false, "Labels": {"zone": "dmz"}},
        {"Id": "n2", "Name": "back", "Scope": "local", "Internal": true, "Labels": {}},
    ])
}

fn engine() -> Router {
    let list = async |Query(query): Query<BTreeMap<String, String>>| {
        assert_eq!(query["filters"], r#"{"status":["running"]}"#);
        axum::Json(containers())
    };
    Router::new()
        .route("/containers/json", get(list))
        .route("/networks", get(async || axum::Json(networks())))
}

const FILTERS: &str = "filters: [{name: status, values: [running]}]";

#[tokio::test]
async fn containers_become_targets() {
    let address = serve(engine()).await;
    let running =
        Running::start(discovery(&format!("docker_sd_configs: [{{host: 'tcp://{address}', {FILTERS}}}]")));
    let (targets, status) = running.until(|targets, _| targets.len() == 4).await;
    assert_eq!((status.kind, status.last_error.as_str()), ("docker", ""));
    // The first network by name.
    assert_eq!(
        show(&targets[0], "__meta_docker_"),
        "__address__=10.2.0.2:6060\ncontainer_id=c1\ncontainer_label_com_test_team=a\ncontainer_name=/api\n\
         container_network_mode=front\nnetwork_id=n2\nnetwork_ingress=false\nnetwork_internal=true\n\
         network_ip=10.2.0.2\nnetwork_name=back\nnetwork_scope=local\nport_private=6060\nport_public=16060\n\
         port_public_ip=0.0.0.0\n"
    );
    let addresses: Vec<_> = targets.iter().map(|labels| labels[ADDRESS].as_str()).collect();
    assert_eq!(addresses, ["10.2.0.2:6060", "10.2.0.2:7070", "10.2.0.2:80", "localhost"]);
    assert_eq!(targets[2]["__meta_docker_container_name"], "/sidecar");
}

#[tokio::test]
async fn over_a_socket_with_every_network() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move { axum::serve(listener, engine()).await.unwrap() });
    let running = Running::start(discovery(&format!(
        "docker_sd_configs: [{{host: 'unix://{}', port: 9, match_first_network: false, host_networking_host: gw, {FILTERS}}}]",
        socket.display()
    )));
    let expected = [
        "10.2.0.2:6060",
        "10.2.0.2:7070",
        "10.1.0.2:6060",
        "10.1.0.2:7070",
        "10.2.0.2:9",
        "10.1.0.2:9",
        "gw",
    ];
    assert_eq!(running.addresses(expected.len()).await, expected);
    let (targets, _) = running.until(|_, _| true).await;
    assert_eq!(targets[2]["__meta_docker_network_label_zone"], "dmz");
}

#[tokio::test]
async fn failures_are_told() {
    let check = async |lines: String, expected: &str| {
        let running = Running::start(discovery(&lines));
        let (_, status) = running.until(|_, status| !status.last_error.is_empty()).await;
        assert!(status.last_error.starts_with(expected), "{}", status.last_error);
    };
    check(
        "docker_sd_configs: [{host: 'unix:///nowhere/docker.sock'}]".to_owned(),
        "error while listing containers: request failed",
    )
    .await;
    let broken = Router::new().route("/containers/json", get(async || (StatusCode::FORBIDDEN, "not you")));
    let address = serve(broken).await;
    let refused = "error while listing containers: server returned HTTP status 403 Forbidden: not you";
    check(format!("docker_sd_configs: [{{host: 'http://{address}'}}]"), refused).await;
    let odd = Router::new().route("/containers/json", get(async || "{}"));
    let address = serve(odd).await;
    check(
        format!("docker_sd_configs: [{{host: 'http://{address}'}}]"),
        "the list of containers is not as it should be",
    )
    .await;
}
