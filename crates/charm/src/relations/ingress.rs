//! `traefik_route`: Traefik leads from outside to both ports.

use serde_json::{Map, Value, json};

use super::{Problem, Wanted, is_host};
use crate::{
    names::{GRPC_PORT, HTTP_PORT, INGRESS},
    world::World,
};

/// How the store is reached from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingress {
    /// Host, in brackets if it is an IPv6 address.
    pub host: String,
    /// Whether the ingress speaks TLS.
    pub is_tls: bool,
}

/// What the ingress says of itself. An ingress that has not said its host yet is none.
pub fn read(world: &World) -> Result<Option<Ingress>, Problem> {
    let Some(relation) = world.of(INGRESS).next() else { return Ok(None) };
    let text = |key: &str| relation.remote.get(key).map(String::as_str).unwrap_or_default();
    let host = text("external_host");
    if host.is_empty() {
        return Err(Problem::passing(INGRESS, "waiting for the host of the ingress"));
    }
    if !is_host(host) {
        return Err(Problem::of(&relation.id, "external_host is not a host"));
    }
    let is_tls = match text("scheme") {
        "https" => true,
        "http" | "" => false,
        _ => return Err(Problem::of(&relation.id, "scheme is neither http nor https")),
    };
    Ok(Some(Ingress { host: host.to_owned(), is_tls }))
}

/// The routes that Traefik is asked for, one a port.
pub fn wanted(world: &World, is_tls: bool) -> Wanted {
    let (mut entry_points, mut routers, mut services) = (Map::new(), Map::new(), Map::new());
    let prefix = format!("juju-{}-{}", world.model_name, world.unit.app());
    // Plain gRPC is HTTP/2 without TLS, which Traefik has to be told.
    let schemes = if is_tls { ("https", "https") } else { ("h2c", "http") };
    for (name, port, scheme) in [("parca-grpc", GRPC_PORT, schemes.0), ("parca-http", HTTP_PORT, schemes.1)] {
        let service = format!("{prefix}-service-{name}");
        entry_points.insert(name.to_owned(), json!({"address": format!(":{port}")}));
        routers.insert(
            format!("{prefix}-{name}"),
            json!({"entryPoints": [name], "service": service, "rule": "ClientIP(`0.0.0.0/0`)"}),
        );
        let url = format!("{scheme}://{}:{port}", world.fqdn);
        services.insert(service, json!({"loadBalancer": {"servers": [{"url": url}]}}));
    }
    let config: Value = json!({"http": {"routers": routers, "services": services}});
    vec![
        ("config", config.to_string()),
        ("static", json!({"entryPoints": entry_points}).to_string()),
        ("raw", "False".to_owned()),
    ]
}
