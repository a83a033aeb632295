//! The store's own profiles, where and as Go programs offer theirs: `/debug/pprof/{profile,allocs,heap}`.
//!
//! `profile` measures CPU for `seconds` and answers when it is done, also while others do.
//! `allocs` and `heap` tell what is allocated now, as far as jemalloc samples it.
//!
//! What the binary must do for memory: use `tikv_jemallocator` (features `profiling` and,
//! but for musl, `unprefixed_malloc_on_supported_platforms`) as its allocator, and tell jemalloc before `main` to sample, by
//!
//! ```text
//! #[unsafe(export_name = "malloc_conf")]
//! pub static MALLOC_CONF: &[u8; 45] = b"prof:true,prof_active:true,lg_prof_sample:19\0";
//! ```
//!
//! Without it `allocs` and `heap` answer 503 and say so. For names of functions the binary keeps its symbol table, for
//! inlined ones and lines it is built with `line-tables-only` or more.
//!
//! Start at [`routes`]. Limits: x86-64 and arm64 (elsewhere `profile` answers 501); stacks are cut at 128 frames; on
//! arm64 a function that calls no other counts for its caller, which is how far the unwinder goes there.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod cpu;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod cpu {
    use std::time::Duration;

    use super::SelfProfileError;

    #[expect(clippy::unused_async, reason = "as where it is there")]
    pub(super) async fn profile(_: Duration) -> Result<Vec<u8>, SelfProfileError> {
        Err(SelfProfileError::NotHere)
    }
}
mod heap;
mod names;
mod report;
mod symbols;

use std::time::Duration;

use axum::{
    Router,
    body::Bytes,
    extract::{Query, rejection::QueryRejection},
    http::{HeaderName, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};
use serde::Deserialize;

/// What Go's endpoint measures when not told.
const SECONDS_DEFAULT: u64 = 30;

/// Longest measurement.
const SECONDS_MAX: u64 = 300;

const INDEX: &str = "<!doctype html><title>/debug/pprof/</title><h1>/debug/pprof/</h1><ul>\
<li><a href=profile?seconds=10>profile</a>: CPU, measured for <code>seconds</code> (default 30)\
<li><a href=allocs>allocs</a>: memory, by what allocated it\
<li><a href=heap>heap</a>: the same\
</ul><p>Each is a pprof file: <code>go tool pprof URL</code>.";

/// A profile that cannot be had.
#[derive(Debug, thiserror::Error)]
enum SelfProfileError {
    #[error("seconds: {reason}")]
    Seconds { reason: String },
    #[error(
        "too many CPU profiles are being taken, or for too long without a pause; try again when they are done"
    )]
    Busy,
    #[cfg_attr(
        any(target_arch = "x86_64", target_arch = "aarch64"),
        expect(dead_code, reason = "what other architectures answer")
    )]
    #[error("CPU profiles are not available on this architecture")]
    NotHere,
    #[error("the CPU profiler does not work: {reason}")]
    Cpu { reason: String },
    #[error("jemalloc does not sample allocations: the allocator or its setting prof:true is missing")]
    HeapOff,
    #[error("jemalloc's profile cannot be had: {reason}")]
    Heap { reason: String },
}

impl IntoResponse for SelfProfileError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Seconds { .. } => StatusCode::BAD_REQUEST,
            Self::Busy => StatusCode::CONFLICT,
            Self::NotHere => StatusCode::NOT_IMPLEMENTED,
            Self::HeapOff => StatusCode::SERVICE_UNAVAILABLE,
            Self::Cpu { .. } | Self::Heap { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, format!("{self}\n")).into_response()
    }
}

/// The routes, with their full paths. They must not be under a timeout shorter than [the longest measurement](SECONDS_MAX).
pub fn routes() -> Router {
    Router::new()
        // Below whatever path prefix: what is asked for last is replaced.
        .route("/debug/pprof", get(|| async { Redirect::permanent("pprof/") }))
        .route("/debug/pprof/", get(|| async { Html(INDEX) }))
        .route("/debug/pprof/profile", get(profile))
        .route("/debug/pprof/allocs", get(|| memory("allocs")))
        .route("/debug/pprof/heap", get(|| memory("heap")))
        .route("/debug/pprof/symbol", get(no_symbols).post(no_symbols))
}

#[derive(Deserialize)]
struct ProfileParams {
    seconds: Option<u64>,
}

async fn profile(params: Result<Query<ProfileParams>, QueryRejection>) -> Result<Response, SelfProfileError> {
    let Query(params) = params.map_err(|error| SelfProfileError::Seconds { reason: error.body_text() })?;
    let seconds = params.seconds.filter(|seconds| *seconds > 0).unwrap_or(SECONDS_DEFAULT);
    if seconds > SECONDS_MAX {
        let reason = format!("{seconds} is more than {SECONDS_MAX}");
        return Err(SelfProfileError::Seconds { reason });
    }
    Ok(pprof("profile", cpu::profile(Duration::from_secs(seconds)).await?))
}

async fn memory(name: &'static str) -> Result<Response, SelfProfileError> {
    Ok(pprof(name, heap::profile().await?))
}

/// `go tool pprof` asks for the functions of those few mappings of a profile that have none. Whoever made the profile looked for them.
async fn no_symbols() -> &'static str {
    "num_symbols: 0\n"
}

/// A gzipped pprof, named for those who save it.
fn pprof(name: &str, bytes: Vec<u8>) -> Response {
    let headers: [(HeaderName, String); 2] = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.pb.gz\"")),
    ];
    (headers, Bytes::from(bytes)).into_response()
}

#[cfg(test)]
mod tests;
