//! Memory of a compaction: its inputs are streamed, not loaded.
//!
//! A process of its own, since it counts everything that is allocated.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use decima_profile::{
    ProfileType, SampleBatch,
    batch::{Function, Line, Location, NO_MAPPING, SeriesSamples, Strings},
};
use decima_store::{Settings, Store, Tiers};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const HOUR_NS: i64 = 3_600_000_000_000;
/// Samples of a request.
const SAMPLES: usize = 5_000;
/// Blocks that become one.
const BLOCKS: usize = 4;

fn settings(path: &std::path::Path, compaction_memory_bytes: u64) -> Settings {
    Settings {
        path: path.to_owned(),
        head_memory_bytes: 256 << 20,
        retention: None,
        tiers: Tiers::default(),
        storage_max_bytes: None,
        ahead_max: Duration::from_secs(600),
        partition_labels: vec!["job".to_owned()],
        cache_bytes: 1 << 20,
        compaction_memory_bytes,
    }
}

/// Samples of one series over a second, each of one of a hundred functions, with values that do not compress.
fn batch(time_ns: i64) -> SampleBatch {
    let mut batch = SampleBatch {
        strings: Strings::over(Vec::new()),
        stacktrace_offsets: vec![0],
        ..SampleBatch::default()
    };
    for function in 0..100u32 {
        let name = batch.strings.push(&format!("function{function}"));
        batch.functions.push(Function { name, ..Function::default() });
        batch.lines.push(Line { function, line: 1, column: 0 });
        batch.locations.push(Location {
            mapping: NO_MAPPING,
            address: 0,
            frame_type: 0,
            first_line: function,
            line_count: 1,
        });
        batch.stacktrace_locations.push(function);
        batch.stacktrace_offsets.push(function + 1);
    }
    let mut value = time_ns;
    let values = (0..SAMPLES).map(|_| {
        value = value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (value >> 33) | 1
    });
    batch.series.push(SeriesSamples {
        profile_type: ProfileType::parse("process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta").unwrap(),
        labels: vec![("job".to_owned(), "a".to_owned())],
        period: 1,
        duration_ns: 0,
        values: values.collect(),
        times_ns: (0..SAMPLES as i64).map(|n| time_ns + n * 200_000).collect(),
        stacktraces: (0..SAMPLES as u32).map(|n| n % 100).collect(),
        attributes: Vec::new(),
    });
    batch
}

/// What a compaction of blocks of so many requests holds at most beyond what was held before, in bytes.
fn peak_bytes(requests: usize) -> usize {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    runtime.block_on(async {
        let store = Store::open(settings(directory.path(), 0)).await.unwrap();
        for block in 0..BLOCKS {
            for request in 0..requests {
                let second = (block * requests + request) as i64;
                store.append(batch(second * 1_000_000_000), None).await.unwrap();
            }
            store.flush().await.unwrap();
        }
        store.close().await.unwrap();
    });
    runtime.block_on(async {
        let store = Store::open(settings(directory.path(), 256 << 20)).await.unwrap();
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        assert_eq!(store.compact(3 * HOUR_NS).await.unwrap(), BLOCKS as u64);
        ALLOCATOR.peak_usage() - before
    })
}

#[test]
fn a_compaction_streams_its_inputs() {
    let (small, large) = (peak_bytes(4), peak_bytes(16));
    let samples = BLOCKS * 12 * SAMPLES;
    eprintln!("{small} bytes, and {large} with {samples} samples more");
    assert!(large < 64 << 20, "{large} bytes");
    // Less than the samples have once decoded: what grows is the row group that is being written, up to a bound of its own.
    let growth = large.saturating_sub(small);
    assert!(growth < 32 * samples, "{growth} bytes more for {samples} samples more");
}
