//! The services: one file each, with its `from_proto` and `to_proto`. They know messages and the crates behind them,
//! neither HTTP nor which protocol a call came by.

pub(crate) mod agents;
pub(crate) mod debuginfo;
pub(crate) mod ingest;
pub(crate) mod otlp;
pub(crate) mod profile_store;
pub(crate) mod query;
pub(crate) mod scrape;
pub(crate) mod telemetry;

use std::{sync::Arc, time::Instant};

use decima_forward::Forwarder;
use decima_ingest::push::{Origin, Outcome, Protocol, Push, Refusal, Senders};
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

impl Way {
    /// Who sends on, if that is where it goes.
    pub(crate) fn forwarder(&self) -> Option<&Forwarder> {
        match self {
            Self::Store(_) => None,
            Self::Forward(forwarder) => Some(forwarder),
        }
    }

    /// Who pushes this way.
    pub(crate) fn senders(&self) -> &Arc<Senders> {
        match self {
            Self::Store(push) => push.senders(),
            Self::Forward(forwarder) => forwarder.senders(),
        }
    }
}

/// The way in that a method is, by its path without the first slash.
pub(crate) fn protocol_of(path: &str) -> Option<Protocol> {
    let (service, method) = path.split_once('/')?;
    match (service, method) {
        ("parca.profilestore.v1alpha1.ProfileStoreService", "WriteRaw") => Some(Protocol::WriteRaw),
        ("parca.profilestore.v1alpha1.ProfileStoreService", "Write") => Some(Protocol::Write),
        ("parca.profilestore.v1alpha1.ProfileStoreService", "WriteArrow") => Some(Protocol::WriteArrow),
        ("parca.debuginfo.v1alpha1.DebuginfoService", _) => Some(Protocol::Debuginfo),
        ("parca.telemetry.v1alpha1.TelemetryService", _) => Some(Protocol::Telemetry),
        ("opentelemetry.proto.collector.profiles.v1development.ProfilesService", _) => {
            Some(Protocol::OtlpGrpc)
        }
        _ => None,
    }
}

/// The way in that a path over HTTP is, below the path prefix.
pub(crate) fn protocol_of_http(path: &str) -> Option<Protocol> {
    match path {
        crate::otlp_http::PATH => Some(Protocol::OtlpHttp),
        "/api/profiles/writeraw" => Some(Protocol::WriteRaw),
        "/api/profiles/writearrow" => Some(Protocol::WriteArrow),
        "/api/profiles/write" => Some(Protocol::Write),
        "/api/upload" | "/api/shouldinitiateupload" | "/api/initiateupload" | "/api/markuploadfinished" => {
            Some(Protocol::Debuginfo)
        }
        "/api/telemetry/panic" => Some(Protocol::Telemetry),
        _ => None,
    }
}

/// Notes that a request was refused before anybody could tell whose it is.
pub(crate) fn note_refused(senders: &Senders, origin: &Origin, reason: Refusal, message: &str) {
    let refused = Some((reason, message.to_owned()));
    senders.note("", origin, Outcome { took: origin.received.elapsed(), refused, ..Outcome::default() });
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
