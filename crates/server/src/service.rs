//! The services: one file each, with its `from_proto` and `to_proto`. They know messages and the crates behind them,
//! neither HTTP nor which protocol a call came by.

pub(crate) mod agents;
pub(crate) mod debuginfo;
pub(crate) mod otlp;
pub(crate) mod profile_store;
pub(crate) mod query;
pub(crate) mod scrape;

use std::time::Instant;

use decima_forward::Forwarder;
use decima_ingest::push::{Origin, Protocol, Push};
use http::Extensions;

use crate::{settings::Peer, time};

/// Where what comes in goes.
#[derive(Clone)]
pub(crate) enum Way {
    /// Into the store.
    Store(Push),
    /// On to another one.
    Forward(Forwarder),
}

/// Where a request comes from, now.
pub(crate) fn origin(protocol: Protocol, extensions: &Extensions) -> Origin {
    Origin {
        protocol,
        address: extensions.get::<Peer>().map(|peer| peer.0.ip()),
        received: Instant::now(),
        received_ns: time::now_ns(),
    }
}
