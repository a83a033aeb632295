//! What became of requests, for metrics and the log.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tonic::Code;

use crate::record::Method;

/// Drops of one kind, and failures, are logged at most so often.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// A remote store that takes nothing for so long is away. One that refuses now and then is not: each refusal has its own
/// wait.
const AWAY_AFTER: Duration = Duration::from_secs(2);

/// Why a request that had been taken does not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// It waited for longer than `--spool-max-age`.
    Age,
    /// The spool was full, and this was the oldest.
    SpoolFull,
    /// Its bytes in the spool are damaged.
    Damaged,
    /// The remote store will never take it.
    Refused,
}

impl DropReason {
    /// As metrics and logs show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::SpoolFull => "spool_full",
            Self::Damaged => "damaged",
            Self::Refused => "refused",
        }
    }

    const ALL: [Self; 4] = [Self::Age, Self::SpoolFull, Self::Damaged, Self::Refused];
}

/// What became of requests since the start, and what waits now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests in the spool, durable, by method.
    pub spooled: BTreeMap<Method, u64>,
    /// Requests that the remote store has taken, by method.
    pub forwarded: BTreeMap<Method, u64>,
    /// Bytes of these.
    pub forwarded_bytes: u64,
    /// Attempts that failed, by method and the number of the gRPC code that the remote store, or the way to it, gave.
    pub failed_attempts: BTreeMap<(Method, i32), u64>,
    /// Requests dropped, by reason; every reason is there.
    pub dropped: BTreeMap<DropReason, u64>,
    /// Requests that the remote store refused for good, by method and number of the code.
    pub refused: BTreeMap<(Method, i32), u64>,
    /// Samples and OTLP profiles that the remote store left out of requests that it took.
    pub left_out: u64,
    /// Whether the last attempt was answered with success; `None` before the first.
    pub remote_good: Option<bool>,
    /// Bytes of the spool.
    pub spool_bytes: u64,
    /// Bytes that it may have.
    pub spool_bytes_max: u64,
    /// Requests in it, those being sent included.
    pub spool_requests: u64,
    /// Unix time of the newest request of its oldest segment.
    pub spool_oldest_ms: Option<i64>,
}

/// The numbers as they grow.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    by_kind: Mutex<ByKind>,
    forwarded_bytes: AtomicU64,
    left_out: AtomicU64,
}

#[derive(Debug, Default)]
struct ByKind {
    spooled: BTreeMap<Method, u64>,
    forwarded: BTreeMap<Method, u64>,
    failed_attempts: BTreeMap<(Method, i32), u64>,
    refused: BTreeMap<(Method, i32), u64>,
    dropped: BTreeMap<DropReason, Dropped>,
    remote_good: Option<bool>,
    /// Since when attempts have failed and none succeeded.
    failing_since: Option<Instant>,
    failure_logged: Option<Instant>,
}

#[derive(Debug, Default)]
struct Dropped {
    count: u64,
    logged: Option<Instant>,
    since_logged: u64,
    /// What was said of the last of these.
    detail: String,
}

impl Counters {
    pub(crate) fn spooled(&self, method: Method) {
        *self.by_kind.lock().spooled.entry(method).or_default() += 1;
    }

    /// Counts a request that arrived. Whether the remote store was away before.
    pub(crate) fn forwarded(&self, method: Method, size_bytes: usize, left_out: u64) -> bool {
        self.forwarded_bytes.fetch_add(size_bytes as u64, Ordering::Relaxed);
        self.left_out.fetch_add(left_out, Ordering::Relaxed);
        let mut by_kind = self.by_kind.lock();
        *by_kind.forwarded.entry(method).or_default() += 1;
        by_kind.remote_good = Some(true);
        by_kind.failing_since.take().is_some_and(|since| since.elapsed() >= AWAY_AFTER)
    }

    /// Counts an attempt that failed. Whether that is worth a line: it had succeeded, and the last line was not just now.
    pub(crate) fn failed(&self, method: Method, code: Code) -> bool {
        let mut by_kind = self.by_kind.lock();
        *by_kind.failed_attempts.entry((method, code as i32)).or_default() += 1;
        let now = Instant::now();
        by_kind.failing_since.get_or_insert(now);
        let is_new = by_kind.remote_good.replace(false) != Some(false);
        let was_logged = by_kind.failure_logged.is_some_and(|at| now.duration_since(at) < LOG_INTERVAL);
        if is_new && !was_logged {
            by_kind.failure_logged = Some(now);
        }
        is_new && !was_logged
    }

    pub(crate) fn refused(&self, method: Method, code: Code) {
        *self.by_kind.lock().refused.entry((method, code as i32)).or_default() += 1;
    }

    /// Counts and logs requests that are dropped; `detail` says more.
    pub(crate) fn dropped(&self, reason: DropReason, requests: u64, detail: &str) {
        if requests == 0 {
            return;
        }
        let mut by_kind = self.by_kind.lock();
        let dropped = by_kind.dropped.entry(reason).or_default();
        dropped.count += requests;
        dropped.since_logged += requests;
        detail.clone_into(&mut dropped.detail);
        if dropped.logged.is_some_and(|at| at.elapsed() < LOG_INTERVAL) {
            return;
        }
        dropped.logged = Some(Instant::now());
        let requests = std::mem::take(&mut dropped.since_logged);
        drop(by_kind);
        tracing::warn!(
            reason = reason.name(),
            requests,
            detail,
            "dropped requests instead of forwarding them"
        );
    }

    /// Logs what was dropped after the last line of its reason: nothing else may be dropped, and it is to be told.
    pub(crate) fn log_rest(&self) {
        for (reason, requests, detail) in self.rest() {
            let reason = reason.name();
            tracing::warn!(reason, requests, detail, "dropped more requests instead of forwarding them");
        }
    }

    /// What was dropped after the last line of its reason, with what was said of the last of it, if a line is due.
    fn rest(&self) -> Vec<(DropReason, u64, String)> {
        let mut rest = Vec::new();
        for (reason, dropped) in &mut self.by_kind.lock().dropped {
            let is_due = dropped.logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL);
            if is_due && dropped.since_logged > 0 {
                dropped.logged = Some(Instant::now());
                let detail = std::mem::take(&mut dropped.detail);
                rest.push((*reason, std::mem::take(&mut dropped.since_logged), detail));
            }
        }
        rest
    }

    /// The numbers now; those of the spool are the caller's.
    pub(crate) fn read(&self) -> Counts {
        let by_kind = self.by_kind.lock();
        let dropped = |reason| by_kind.dropped.get(&reason).map_or(0, |dropped| dropped.count);
        Counts {
            spooled: by_kind.spooled.clone(),
            forwarded: by_kind.forwarded.clone(),
            forwarded_bytes: self.forwarded_bytes.load(Ordering::Relaxed),
            failed_attempts: by_kind.failed_attempts.clone(),
            dropped: DropReason::ALL.into_iter().map(|reason| (reason, dropped(reason))).collect(),
            refused: by_kind.refused.clone(),
            left_out: self.left_out.load(Ordering::Relaxed),
            remote_good: by_kind.remote_good,
            ..Counts::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_drops_are_named_too() {
        let counters = Counters::default();
        for detail in ["write: first", "write: second", "write_raw: third"] {
            counters.dropped(DropReason::Refused, 1, detail);
        }
        assert!(counters.rest().is_empty(), "there was a line just now");
        let long_ago = Instant::now().checked_sub(LOG_INTERVAL);
        counters.by_kind.lock().dropped.get_mut(&DropReason::Refused).unwrap().logged = long_ago;
        assert_eq!(counters.rest(), [(DropReason::Refused, 2, "write_raw: third".to_owned())]);
        assert!(counters.rest().is_empty());
        assert_eq!(counters.read().dropped[&DropReason::Refused], 3);
    }
}
