//! What became of requests, for metrics and the log.

use std::{
    collections::BTreeMap,
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tonic::Code;

use crate::{debuginfo::FileCounts, record::Method, verdict::Verdict};

/// Drops of one kind, and failures, are logged at most so often.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// A remote store that takes nothing for so long is away. One that refuses now and then is not: each refusal has its own
/// wait.
const AWAY_AFTER: Duration = Duration::from_secs(2);
/// One of which nothing but requests in doubt has been heard for so long is held to be away too: what may be wrong with one
/// request is not wrong with all.
const AWAY_BY_DOUBTS_AFTER: Duration = Duration::from_secs(30);

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
    /// Whether the remote store takes requests, as far as the last attempt tells; `None` before the first. One of a request
    /// in doubt tells nothing, unless nothing has arrived for half a minute.
    pub remote_good: Option<bool>,
    /// Bytes of the spool.
    pub spool_bytes: u64,
    /// Bytes that it may have.
    pub spool_bytes_max: u64,
    /// Requests in it, those being sent included.
    pub spool_requests: u64,
    /// Unix time of the newest request of its oldest segment.
    pub spool_oldest_ms: Option<i64>,
    /// Object files, which are counted apart.
    pub object_files: FileCounts,
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
    /// Attempts have failed, and none has succeeded since.
    failing: Option<Failing>,
    away_logged: Option<Instant>,
    doubt_logged: Option<Instant>,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    /// Whether that is because of the remote store, and not of requests in doubt.
    is_away: bool,
}

/// What a failed attempt is worth a line for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// The remote store took requests before, and does not now.
    Away,
    /// It may be the request.
    InDoubt,
}

#[derive(Debug, Default)]
struct Dropped {
    count: u64,
    logged: Option<Instant>,
    since_logged: ByMethod,
    /// What was said of the last of these.
    detail: String,
}

/// Requests by method, as far as that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ByMethod(BTreeMap<Option<Method>, u64>);

impl ByMethod {
    pub(crate) fn one(method: Method) -> Self {
        Self([(Some(method), 1)].into())
    }

    pub(crate) fn unknown(requests: u64) -> Self {
        Self([(None, requests)].into())
    }

    /// Requests of these methods, and unknown ones, if they are to be more.
    pub(crate) fn of(methods: impl IntoIterator<Item = Method>, requests: u64) -> Self {
        let mut all = Self::default();
        methods.into_iter().for_each(|method| all.add(&Self::one(method)));
        all.add(&Self::unknown(requests.saturating_sub(all.requests())));
        all
    }

    fn add(&mut self, more: &Self) {
        for (&method, &requests) in more.0.iter().filter(|&(_, &requests)| requests > 0) {
            let all = self.0.entry(method).or_default();
            *all = all.saturating_add(requests);
        }
    }

    fn requests(&self) -> u64 {
        self.0.values().fold(0, |all, &requests| all.saturating_add(requests))
    }
}

impl fmt::Display for ByMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (method, requests)) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(f, "{separator}{} {requests}", method.map_or("unknown", Method::name))?;
        }
        Ok(())
    }
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
        let failing = by_kind.failing.take();
        failing.is_some_and(|failing| failing.is_away && failing.since.elapsed() >= AWAY_AFTER)
    }

    /// Counts an attempt that failed and is repeated. The line that it is worth: something new, and not what was logged just
    /// now.
    pub(crate) fn failed(&self, method: Method, code: Code, verdict: Verdict) -> Option<Line> {
        let mut by_kind = self.by_kind.lock();
        let by_kind = &mut *by_kind;
        *by_kind.failed_attempts.entry((method, code as i32)).or_default() += 1;
        let now = Instant::now();
        let failing = by_kind.failing.get_or_insert(Failing { since: now, is_away: false });
        failing.is_away |=
            verdict != Verdict::Doubtful || now.duration_since(failing.since) >= AWAY_BY_DOUBTS_AFTER;
        let (line, logged) = match failing.is_away {
            // What was known is not said again.
            true if by_kind.remote_good.replace(false) == Some(false) => return None,
            true => (Line::Away, &mut by_kind.away_logged),
            false => (Line::InDoubt, &mut by_kind.doubt_logged),
        };
        if logged.is_some_and(|at| now.duration_since(at) < LOG_INTERVAL) {
            return None;
        }
        *logged = Some(now);
        Some(line)
    }

    pub(crate) fn refused(&self, method: Method, code: Code) {
        *self.by_kind.lock().refused.entry((method, code as i32)).or_default() += 1;
    }

    /// Counts and logs requests that are dropped; `detail` says more.
    pub(crate) fn dropped(&self, reason: DropReason, requests: &ByMethod, detail: &str) {
        if requests.requests() == 0 {
            return;
        }
        let mut by_kind = self.by_kind.lock();
        let dropped = by_kind.dropped.entry(reason).or_default();
        dropped.count = dropped.count.saturating_add(requests.requests());
        dropped.since_logged.add(requests);
        detail.clone_into(&mut dropped.detail);
        if dropped.logged.is_some_and(|at| at.elapsed() < LOG_INTERVAL) {
            return;
        }
        dropped.logged = Some(Instant::now());
        let methods = std::mem::take(&mut dropped.since_logged);
        drop(by_kind);
        let (reason, requests) = (reason.name(), methods.requests());
        tracing::warn!(reason, requests, %methods, detail, "dropped requests instead of forwarding them");
    }

    /// Logs what was dropped after the last line of its reason, if a line is due: nothing else may be dropped, and it is to be
    /// told.
    pub(crate) fn log_rest(&self) {
        self.log(LOG_INTERVAL);
    }

    /// Logs what was dropped and has no line yet: the process ends.
    pub(crate) fn log_all(&self) {
        self.log(Duration::ZERO);
    }

    fn log(&self, interval: Duration) {
        for (reason, methods, detail) in self.rest(interval) {
            let (reason, requests) = (reason.name(), methods.requests());
            tracing::warn!(reason, requests, %methods, detail, "dropped more requests instead of forwarding them");
        }
    }

    /// What was dropped after the last line of its reason, with what was said of the last of it, if that line was so long
    /// ago.
    pub(crate) fn rest(&self, interval: Duration) -> Vec<(DropReason, ByMethod, String)> {
        let mut rest = Vec::new();
        for (reason, dropped) in &mut self.by_kind.lock().dropped {
            let is_due = dropped.logged.is_none_or(|at| at.elapsed() >= interval);
            if is_due && dropped.since_logged.requests() > 0 {
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
    fn a_request_in_doubt_is_not_a_remote_store_that_is_away() {
        let counters = Counters::default();
        let fail = |verdict| counters.failed(Method::Write, Code::Unknown, verdict);
        let arrive = || counters.forwarded(Method::Write, 1, 0);
        let long_ago = || counters.by_kind.lock().failing.as_mut().unwrap().since -= AWAY_BY_DOUBTS_AFTER;
        assert_eq!(fail(Verdict::Doubtful), Some(Line::InDoubt));
        assert_eq!((fail(Verdict::Doubtful), counters.read().remote_good), (None, None), "just now");
        assert!(!arrive(), "it was not away");
        assert_eq!((fail(Verdict::Doubtful), counters.read().remote_good), (None, Some(true)));
        // Nothing arrives: whatever the words, it takes no requests.
        long_ago();
        assert_eq!(fail(Verdict::Doubtful), Some(Line::Away));
        assert_eq!(
            (fail(Verdict::Doubtful), counters.read().remote_good),
            (None, Some(false)),
            "it is known"
        );
        assert!(arrive());
        assert_eq!((fail(Verdict::Later), counters.read().remote_good), (None, Some(false)), "just now");
        assert!(!arrive(), "one that refuses now and then is not away");
        fail(Verdict::Later);
        long_ago();
        assert!(arrive());
    }

    #[test]
    fn later_drops_are_named_too() {
        let counters = Counters::default();
        let requests = [(Method::Write, "first"), (Method::Write, "second"), (Method::WriteRaw, "third")];
        for (method, detail) in requests {
            counters.dropped(DropReason::Refused, &ByMethod::one(method), detail);
        }
        assert!(counters.rest(LOG_INTERVAL).is_empty(), "there was a line just now");
        let long_ago = Instant::now().checked_sub(LOG_INTERVAL);
        counters.by_kind.lock().dropped.get_mut(&DropReason::Refused).unwrap().logged = long_ago;
        let second_and_third = ByMethod::of([Method::WriteRaw, Method::Write], 2);
        let rest = [(DropReason::Refused, second_and_third, "third".to_owned())];
        assert_eq!(counters.rest(LOG_INTERVAL), rest);
        assert!(counters.rest(Duration::ZERO).is_empty());
        assert_eq!(counters.read().dropped[&DropReason::Refused], 3);
        // At the end nothing is kept back.
        counters.dropped(DropReason::Refused, &ByMethod::of([Method::Export], 3), "last");
        assert!(counters.rest(LOG_INTERVAL).is_empty());
        let [(_, methods, _)] = &*counters.rest(Duration::ZERO) else { panic!("one reason") };
        assert_eq!(methods.to_string(), "unknown 2, otlp_export 1");
    }
}
