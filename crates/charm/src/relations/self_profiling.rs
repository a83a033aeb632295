//! `parca_scrape`, providing: another store scrapes this one's own profiles.

use serde_json::json;

use super::{Wanted, certificates::Certificate, topology};
use crate::{names::HTTP_PORT, world::World};

/// What each unit says.
pub fn unit(world: &World) -> Wanted {
    vec![
        ("parca_scrape_unit_address", world.fqdn.clone()),
        ("parca_scrape_unit_name", world.unit.to_string()),
    ]
}

/// What the application says.
pub fn app(world: &World, certificate: Option<&Certificate>) -> Wanted {
    let mut job = json!({"static_configs": [{"targets": [format!("*:{HTTP_PORT}")]}]});
    if let Some(certificate) = certificate {
        job["scheme"] = json!("https");
        job["tls_config"] = json!({"ca": certificate.ca});
    }
    vec![("scrape_metadata", topology(world).to_string()), ("scrape_jobs", json!([job]).to_string())]
}
