//! Counters of the store.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{counted::RequestCounts, query_cost::Distribution, read_cache::ReadCacheCounts};

/// Counters that the writer advances.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) appended_samples: AtomicU64,
    pub(crate) rejected_samples: AtomicU64,
    pub(crate) duplicate_requests: AtomicU64,
    pub(crate) refused_requests: AtomicU64,
    pub(crate) log_objects: AtomicU64,
    pub(crate) log_bytes: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) flush_failures: AtomicU64,
    pub(crate) head_bytes: AtomicU64,
    pub(crate) expired_blocks: AtomicU64,
    pub(crate) space_dropped_blocks: AtomicU64,
    pub(crate) storage_bytes: AtomicU64,
    pub(crate) compactions: AtomicU64,
    pub(crate) compacted_blocks: AtomicU64,
    pub(crate) compaction_failures: AtomicU64,
    pub(crate) compaction_backlog_blocks: AtomicU64,
    pub(crate) compaction_left_out_blocks: AtomicU64,
    pub(crate) compaction_samples: AtomicU64,
    pub(crate) compaction_planned_samples: AtomicU64,
    pub(crate) fenced: AtomicU64,
    pub(crate) refresh_failures: AtomicU64,
}

/// Numbers for monitoring; counters since the start unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreCounts {
    /// Samples stored.
    pub appended_samples: u64,
    /// Samples refused for their time.
    pub rejected_samples: u64,
    /// Requests recognised as stored before.
    pub duplicate_requests: u64,
    /// Requests refused for lack of memory or disk.
    pub refused_requests: u64,
    /// Log objects written.
    pub log_objects: u64,
    /// Bytes of log objects written.
    pub log_bytes: u64,
    /// Heads written to blocks.
    pub flushes: u64,
    /// Attempts to do so that failed.
    pub flush_failures: u64,
    /// Blocks dropped by retention.
    pub expired_blocks: u64,
    /// Blocks dropped because the store was as large as it may be.
    pub space_dropped_blocks: u64,
    /// What the store takes now: blocks, those that are still read, the log, and what is being made of them.
    pub storage_bytes: u64,
    /// Compactions that ended.
    pub compactions: u64,
    /// Blocks that became others by them.
    pub compacted_blocks: u64,
    /// Compactions that failed; their blocks are as they were.
    pub compaction_failures: u64,
    /// Blocks that wait to be merged, those of the compaction under way included, as of its begin.
    pub compaction_backlog_blocks: u64,
    /// Blocks that could not be merged, damaged ones mostly, and that others are merged without.
    pub compaction_left_out_blocks: u64,
    /// Samples that the compaction under way has merged; 0 if there is none.
    pub compaction_samples: u64,
    /// Samples that it merges altogether.
    pub compaction_planned_samples: u64,
    /// 1 once another process has taken over the log, or the log cannot go on: nothing is acknowledged any more.
    pub fenced: u64,
    /// Times that a process that only answers could not look for what is new.
    pub refresh_failures: u64,
    /// Requests of the place where the blocks are.
    pub requests: RequestCounts,
    /// Requests for objects or ranges of them that single queries made, if the blocks are in a bucket. Those that have ended count.
    pub query_gets: Distribution,
    /// Bytes that single queries read there.
    pub query_read_bytes: Distribution,
    /// Reads through the read cache; all 0 if there is none.
    pub read_cache: ReadCacheCounts,
    /// Blocks there are now.
    pub blocks: u64,
    /// Size of all blocks now.
    pub block_bytes: u64,
    /// Samples in blocks now.
    pub block_samples: u64,
    /// Samples in heads now.
    pub head_samples: u64,
    /// Memory of heads, about.
    pub head_bytes: u64,
    /// Memory of decoded block parts, about.
    pub cache_bytes: u64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> StoreCounts {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        StoreCounts {
            appended_samples: get(&self.appended_samples),
            rejected_samples: get(&self.rejected_samples),
            duplicate_requests: get(&self.duplicate_requests),
            refused_requests: get(&self.refused_requests),
            log_objects: get(&self.log_objects),
            log_bytes: get(&self.log_bytes),
            flushes: get(&self.flushes),
            flush_failures: get(&self.flush_failures),
            expired_blocks: get(&self.expired_blocks),
            space_dropped_blocks: get(&self.space_dropped_blocks),
            storage_bytes: get(&self.storage_bytes),
            compactions: get(&self.compactions),
            compacted_blocks: get(&self.compacted_blocks),
            compaction_failures: get(&self.compaction_failures),
            compaction_backlog_blocks: get(&self.compaction_backlog_blocks),
            compaction_left_out_blocks: get(&self.compaction_left_out_blocks),
            compaction_samples: get(&self.compaction_samples),
            compaction_planned_samples: get(&self.compaction_planned_samples),
            fenced: get(&self.fenced),
            refresh_failures: get(&self.refresh_failures),
            ..StoreCounts::default()
        }
    }
}
