//! The charm's metadata: what the Python charm declares stays declared, and what the program uses is there.

use decima_charm::names;
use serde_json::Value;

fn metadata() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charm/charmcraft.yaml");
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Endpoints of the Python charm: section, name, interface.
const ENDPOINTS: &[(&str, &str, &str)] = &[
    ("peers", "parca-peers", "parca_peers"),
    ("provides", "grafana-dashboard", "grafana_dashboard"),
    ("provides", "grafana-source", "grafana_datasource"),
    ("provides", "metrics-endpoint", "prometheus_scrape"),
    ("provides", "parca-store-endpoint", "parca_store"),
    ("provides", "provide-cmr-mesh", "cross_model_mesh"),
    ("provides", "self-profiling-endpoint", "parca_scrape"),
    ("provides", "slos", "sloth"),
    ("requires", "catalogue", "catalogue"),
    ("requires", "certificates", "tls-certificates"),
    ("requires", "charm-tracing", "tracing"),
    ("requires", "external-parca-store-endpoint", "parca_store"),
    ("requires", "ingress", "traefik_route"),
    ("requires", "istio-ingress", "istio_ingress_route"),
    ("requires", "logging", "loki_push_api"),
    ("requires", "profiling-endpoint", "parca_scrape"),
    ("requires", "require-cmr-mesh", "cross_model_mesh"),
    ("requires", "s3", "s3"),
    ("requires", "service-mesh", "service_mesh"),
    ("requires", "workload-tracing", "tracing"),
];

#[test]
fn a_refresh_finds_what_it_leaves() {
    let metadata = metadata();
    assert_eq!(metadata["name"], "parca-k8s");
    for (section, name, interface) in ENDPOINTS {
        assert_eq!(metadata[section][name]["interface"], *interface, "{section}.{name}");
    }
    let declared =
        ["peers", "provides", "requires"].map(|section| metadata[section].as_object().unwrap().len());
    assert_eq!(declared.iter().sum::<usize>(), ENDPOINTS.len());
    assert_eq!(metadata["storage"]["profiles"]["type"], "filesystem");
    assert_eq!(metadata["resources"]["parca-image"]["type"], "oci-image");
    for container in ["parca", "nginx", "nginx-prometheus-exporter"] {
        assert_eq!(metadata["containers"][container]["resource"], "parca-image", "{container}");
    }
    for (option, default) in
        [("enable-persistence", Value::Bool(false)), ("memory-storage-limit", Value::from(4096))]
    {
        assert_eq!(metadata["config"]["options"][option]["default"], default);
    }
    assert!(
        metadata["actions"]["list-endpoints"].is_object()
            && metadata["actions"]["get-slo-template"].is_object()
    );
}

#[test]
fn what_the_program_uses_is_declared() {
    let metadata = metadata();
    let container = &metadata["containers"][names::CONTAINER];
    assert_eq!(container["mounts"][0]["location"], names::STORAGE);
    assert!(names::DATA.starts_with(names::STORAGE));
    for endpoint in [
        names::STORE,
        names::EXTERNAL_STORE,
        names::PROFILING,
        names::SELF_PROFILING,
        names::METRICS,
        names::GRAFANA,
        names::INGRESS,
        names::LOGGING,
        names::CERTIFICATES,
        names::S3,
        names::PEERS,
    ] {
        assert!(ENDPOINTS.iter().any(|(_, name, _)| *name == endpoint), "{endpoint}");
    }
    assert_eq!(metadata["config"]["options"]["require-sign-in"]["type"], "boolean");
    for action in ["create-token", "revoke-token"] {
        assert_eq!(metadata["actions"][action]["required"][0], "name");
    }
}
