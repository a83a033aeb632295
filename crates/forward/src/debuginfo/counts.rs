//! What became of object files, for metrics and the log.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use parking_lot::Mutex;
use tonic::Code;

use super::record::Name;
use crate::counts::DropReason;

/// What became of object files since the start, and what waits now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileCounts {
    /// Files in the spool, durable.
    pub spooled: u64,
    /// Files that the remote store has taken.
    pub forwarded: u64,
    /// Bytes of these.
    pub forwarded_bytes: u64,
    /// Files that it did not want: it has them, or knows where they are.
    pub not_wanted: u64,
    /// Attempts that failed and are repeated, by the number of the gRPC code.
    pub failed_attempts: BTreeMap<i32, u64>,
    /// Files dropped, by reason; each reason that files have is there.
    pub dropped: BTreeMap<DropReason, u64>,
    /// Files that wait or are on their way.
    pub waiting: u64,
    /// Bytes of these, and those set aside for files that are being received.
    pub bytes: u64,
    /// Bytes that they may have.
    pub bytes_max: u64,
}

/// Why files are dropped: none is to make room for another.
const REASONS: [DropReason; 3] = [DropReason::Age, DropReason::Damaged, DropReason::Refused];

/// The numbers as they grow.
#[derive(Debug, Default)]
pub(crate) struct FileCounters {
    spooled: AtomicU64,
    forwarded: AtomicU64,
    forwarded_bytes: AtomicU64,
    not_wanted: AtomicU64,
    by_kind: Mutex<ByKind>,
    is_away: AtomicBool,
}

#[derive(Debug, Default)]
struct ByKind {
    failed_attempts: BTreeMap<i32, u64>,
    dropped: BTreeMap<DropReason, u64>,
}

impl FileCounters {
    pub(crate) fn spooled(&self) {
        self.spooled.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn forwarded(&self, size_bytes: u64) {
        self.forwarded.fetch_add(1, Ordering::Relaxed);
        self.forwarded_bytes.fetch_add(size_bytes, Ordering::Relaxed);
    }

    pub(crate) fn not_wanted(&self) {
        self.not_wanted.fetch_add(1, Ordering::Relaxed);
    }

    /// Files that the remote store has answered for: the others' lot tells whether it is one file that is wrong.
    pub(crate) fn settled(&self) -> u64 {
        self.forwarded.load(Ordering::Relaxed) + self.not_wanted.load(Ordering::Relaxed)
    }

    pub(crate) fn failed(&self, code: Code) {
        *self.by_kind.lock().failed_attempts.entry(code as i32).or_default() += 1;
    }

    /// Notes whether the remote store is away; whether that is new.
    pub(crate) fn away(&self, is_away: bool) -> bool {
        self.is_away.swap(is_away, Ordering::Relaxed) != is_away
    }

    /// Counts and logs a file that is dropped. Each is named: it is of one program, and there are few.
    pub(crate) fn dropped(&self, reason: DropReason, file: Option<&Name>, detail: &str) {
        *self.by_kind.lock().dropped.entry(reason).or_default() += 1;
        let file = file.map_or_else(|| "unknown".to_owned(), Name::to_string);
        let reason = reason.name();
        tracing::warn!(file, reason, detail, "dropped an object file instead of forwarding it");
    }

    /// The numbers now; those of what waits are the caller's.
    pub(crate) fn read(&self) -> FileCounts {
        let number = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let by_kind = self.by_kind.lock();
        let dropped = |reason: DropReason| by_kind.dropped.get(&reason).copied().unwrap_or_default();
        FileCounts {
            spooled: number(&self.spooled),
            forwarded: number(&self.forwarded),
            forwarded_bytes: number(&self.forwarded_bytes),
            not_wanted: number(&self.not_wanted),
            failed_attempts: by_kind.failed_attempts.clone(),
            dropped: REASONS.map(|reason| (reason, dropped(reason))).into(),
            ..FileCounts::default()
        }
    }
}
