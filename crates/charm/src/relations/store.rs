//! `parca_store`, providing: senders learn where the store is, and each relation's token.

use decima_juju::RelationId;
use parca_store::{ADDRESS_KEY, BEARER_TOKEN_KEY, INSECURE_KEY};

use super::{Wanted, ingress::Ingress};
use crate::{names::GRPC_PORT, token::Token, world::World};

/// What senders of a relation are told.
pub fn wanted(world: &World, ingress: Option<&Ingress>, is_tls: bool, token: &Token) -> Wanted {
    let (host, is_tls) = match ingress {
        Some(ingress) => (ingress.host.as_str(), ingress.is_tls),
        None => (world.fqdn.as_str(), is_tls),
    };
    vec![
        (ADDRESS_KEY, format!("{host}:{GRPC_PORT}")),
        (BEARER_TOKEN_KEY, token.as_str().to_owned()),
        (INSECURE_KEY, (!is_tls).to_string()),
    ]
}

/// Name of a relation's token in the workload.
pub fn grant_name(relation: &RelationId) -> String {
    relation.to_string()
}
