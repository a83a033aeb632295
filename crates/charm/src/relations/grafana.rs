//! `grafana_datasource`: Grafana learns where to read from, with a token if reading needs one.

use serde_json::{Value, json};

use super::{Wanted, ingress::Ingress};
use crate::{names::HTTP_PORT, token::Token, world::World};

/// Where people and Grafana find the store.
pub fn url(world: &World, ingress: Option<&Ingress>, is_tls: bool) -> String {
    let scheme = |is_tls: bool| if is_tls { "https" } else { "http" };
    match ingress {
        Some(ingress) => format!("{}://{}:{HTTP_PORT}", scheme(ingress.is_tls), ingress.host),
        None => format!("{}://{}:{HTTP_PORT}", scheme(is_tls), service_name(world)),
    }
}

/// Name of the application's service in the cluster, which stays when pods come and go.
pub fn service_name(world: &World) -> String {
    let domain = world.fqdn.split_once(".svc.").map_or("cluster.local", |(_, domain)| domain);
    format!("{}.{}.svc.{domain}", world.unit.app(), world.model_name)
}

/// What Grafana is told; the token only if one is needed.
pub fn wanted(world: &World, url: &str, token: Option<&Token>) -> Wanted {
    let (extra, secure) = match token {
        None => (Value::Null, Value::Null),
        Some(token) => (
            json!({"httpHeaderName1": "Authorization"}),
            json!({"httpHeaderValue1": format!("Bearer {}", token.as_str())}),
        ),
    };
    let data = json!({
        "model": world.model_name,
        "model_uuid": world.model_uuid,
        "application": world.unit.app().as_str(),
        "type": "parca",
        "extra_fields": extra,
        "secure_extra_fields": secure,
    });
    vec![("grafana_source_app_host", url.to_owned()), ("grafana_source_data", data.to_string())]
}
