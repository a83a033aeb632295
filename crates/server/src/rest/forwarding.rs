//! How forwarding goes, for the page: where to, and what waits. Programs read the metrics, which say the same.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use decima_forward::Forwarder;
use serde::Serialize;
use tonic::Status;

use super::Gateway;
use crate::status;

/// What became of requests since the start, and what waits now.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Forwarding {
    address: String,
    /// Whether the remote store takes requests, as far as the last attempt tells; null before the first.
    remote_good: Option<bool>,
    spool_bytes: u64,
    spool_bytes_max: u64,
    spool_requests: u64,
    /// Unix time of what has waited for longest, nearly; null if nothing waits.
    spool_oldest_ms: Option<i64>,
    forwarded_requests: u64,
    /// Requests that were taken and do not arrive, by reason.
    dropped_requests: BTreeMap<&'static str, u64>,
    object_files: ObjectFiles,
}

/// The same of object files.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ObjectFiles {
    waiting: u64,
    bytes: u64,
    bytes_max: u64,
    forwarded: u64,
    /// Those that the remote store did not want.
    not_wanted: u64,
    dropped: BTreeMap<&'static str, u64>,
}

impl Forwarding {
    fn of(forwarder: &Forwarder) -> Self {
        let counts = forwarder.counts();
        Self {
            address: forwarder.address(),
            remote_good: counts.remote_good,
            spool_bytes: counts.spool_bytes,
            spool_bytes_max: counts.spool_bytes_max,
            spool_requests: counts.spool_requests,
            spool_oldest_ms: counts.spool_oldest_ms,
            forwarded_requests: counts.forwarded.values().sum(),
            dropped_requests: counts
                .dropped
                .into_iter()
                .map(|(reason, requests)| (reason.name(), requests))
                .collect(),
            object_files: ObjectFiles {
                waiting: counts.object_files.waiting,
                bytes: counts.object_files.bytes,
                bytes_max: counts.object_files.bytes_max,
                forwarded: counts.object_files.forwarded,
                not_wanted: counts.object_files.not_wanted,
                dropped: counts
                    .object_files
                    .dropped
                    .into_iter()
                    .map(|(reason, files)| (reason.name(), files))
                    .collect(),
            },
        }
    }
}

pub(super) async fn forwarding(State(gateway): State<Arc<Gateway>>) -> Response {
    match &gateway.forwarder {
        Some(forwarder) => Json(Forwarding::of(forwarder)).into_response(),
        None => status::to_rest(&Status::not_found("this process keeps what it takes")),
    }
}
