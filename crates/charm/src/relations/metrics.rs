//! `prometheus_scrape`: Prometheus learns where this store's metrics are, and what to watch over.

use serde_json::{Value, json};

use super::{Wanted, certificates::Certificate, topology};
use crate::{names::HTTP_PORT, world::World};

/// What each unit says.
pub fn unit(world: &World) -> Wanted {
    vec![
        ("prometheus_scrape_unit_address", world.fqdn.clone()),
        ("prometheus_scrape_unit_name", world.unit.to_string()),
        ("prometheus_scrape_unit_fqdn", world.fqdn.clone()),
    ]
}

/// What the application says.
pub fn app(world: &World, certificate: Option<&Certificate>) -> Wanted {
    let mut job = json!({
        "metrics_path": "/metrics",
        "static_configs": [{"targets": [format!("*:{HTTP_PORT}")]}],
    });
    if let Some(certificate) = certificate {
        job["scheme"] = json!("https");
        // Prometheus' charm takes the certificate itself here.
        job["tls_config"] = json!({"ca_file": certificate.ca});
    }
    vec![
        ("scrape_metadata", topology(world).to_string()),
        ("scrape_jobs", json!([job]).to_string()),
        ("alert_rules", alert_rules(world).to_string()),
    ]
}

/// Two rules that hold for every charm: a target that is down, and one that is not there at all.
fn alert_rules(world: &World) -> Value {
    let labels = json!({
        "juju_model": world.model_name,
        "juju_model_uuid": world.model_uuid,
        "juju_application": world.unit.app().as_str(),
        "juju_charm": crate::names::CHARM,
        "severity": "critical",
    });
    // Names of models and applications have no characters that PromQL would want escaped.
    let of = format!(
        "juju_model=\"{}\",juju_model_uuid=\"{}\",juju_application=\"{}\"",
        world.model_name,
        world.model_uuid,
        world.unit.app()
    );
    let rule = |alert: &str, expr: String, summary: &str| json!({"alert": alert, "expr": expr, "for": "5m", "labels": labels, "annotations": {"summary": summary}});
    let uuid: String = world.model_uuid.chars().take(8).collect();
    json!({"groups": [{
        "name": format!("{}_{uuid}_{}_HostHealth_rules", world.model_name, world.unit.app()),
        "rules": [
            rule("HostDown", format!("up{{{of}}} < 1"), "A unit of the profile store does not answer Prometheus."),
            rule("HostMetricsMissing", format!("absent(up{{{of}}})"), "Prometheus has no target for the profile store."),
        ],
    }]})
}
