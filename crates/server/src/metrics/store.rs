//! Numbers of the store, as metrics.

use std::fmt;

use decima_store::{Distribution, StoreCounts};
use prometheus_client::{
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
};

use super::{encode_counters, encode_gauge};

/// Writes the numbers of the store.
pub(super) fn encode(encoder: &mut DescriptorEncoder, counts: &StoreCounts) -> Result<(), fmt::Error> {
    let counters = [
        ("appends_refused", "Requests refused for lack of memory or disk", counts.refused_requests),
        ("log_objects", "Log objects written", counts.log_objects),
        ("log_bytes", "Bytes of log objects written", counts.log_bytes),
        ("flushes", "Heads written to blocks", counts.flushes),
        ("flush_failures", "Attempts to write a head that failed", counts.flush_failures),
        ("blocks_expired", "Blocks dropped by retention", counts.expired_blocks),
        ("blocks_dropped_for_space", "Blocks dropped for --storage-max-bytes", counts.space_dropped_blocks),
        ("compactions", "Compactions that ended", counts.compactions),
        ("compaction_failures", "Compactions that failed; blocks are as before", counts.compaction_failures),
        ("blocks_compacted", "Blocks that became larger ones", counts.compacted_blocks),
        ("object_gets", "Objects and ranges read where the blocks are", counts.requests.gets),
        ("object_read_bytes", "Bytes of them", counts.requests.read_bytes),
        ("object_puts", "Objects put where the blocks are", counts.requests.puts),
        ("object_lists", "Lists of objects begun there", counts.requests.lists),
        ("object_deletes", "Objects deleted there", counts.requests.deletes),
        (
            "read_cache_hits",
            "Parts of blocks (32 KiB or less) found in the read cache",
            counts.read_cache.hits,
        ),
        ("read_cache_misses", "Parts that were not there, read from the bucket", counts.read_cache.misses),
        ("read_cache_damaged", "Parts that were damaged there, read again", counts.read_cache.damaged),
        (
            "read_cache_write_failures",
            "Parts that could not be written to the read cache",
            counts.read_cache.write_failures,
        ),
        (
            "refresh_failures",
            "Times that a process that only answers could not look for what is new",
            counts.refresh_failures,
        ),
    ];
    encode_counters(encoder, &counters)?;
    let gauges = [
        ("blocks", "Blocks", counts.blocks),
        ("block_bytes", "Size of all blocks", counts.block_bytes),
        ("block_samples", "Samples in blocks", counts.block_samples),
        ("storage_bytes", "Log and blocks, with those being made or still read", counts.storage_bytes),
        ("compaction_backlog_blocks", "Blocks due to be merged", counts.compaction_backlog_blocks),
        (
            "compaction_left_out_blocks",
            "Blocks that could not be merged, damaged ones mostly, and that others are merged without",
            counts.compaction_left_out_blocks,
        ),
        ("compaction_samples", "Samples merged by the compaction under way", counts.compaction_samples),
        (
            "compaction_planned_samples",
            "Samples that the compaction under way merges altogether",
            counts.compaction_planned_samples,
        ),
        ("head_samples", "Samples in heads", counts.head_samples),
        ("head_bytes", "Memory of heads", counts.head_bytes),
        ("cache_bytes", "Memory of decoded block parts", counts.cache_bytes),
        ("read_cache_bytes", "What the read cache takes of its disk", counts.read_cache.size_bytes),
        (
            "read_cache_ready",
            "Whether what earlier processes left has been found; until then no parts are kept",
            u64::from(counts.read_cache.is_indexed),
        ),
        ("fenced", "1 once another process writes the log", counts.fenced),
    ];
    for (name, help, amount) in gauges {
        encode_gauge(encoder, name, help, amount)?;
    }
    encode_distribution(
        encoder,
        "query_object_gets",
        "Objects and ranges that one query read from the bucket of the blocks",
        &counts.query_gets,
    )?;
    encode_distribution(encoder, "query_object_read_bytes", "Bytes of them", &counts.query_read_bytes)
}

fn encode_distribution(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    queries: &Distribution,
) -> Result<(), fmt::Error> {
    let most = |most| if most == u64::MAX { f64::MAX } else { most as f64 };
    let ranges = queries.ranges.map(|(amount, count)| (most(amount), count));
    encoder.encode_descriptor(name, help, None, MetricType::Histogram)?.encode_histogram::<NoLabelSet>(
        queries.sum as f64,
        queries.count(),
        &ranges,
        None,
    )
}
