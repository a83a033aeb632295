//! Memory of a compaction: its inputs are streamed, not loaded.
//!
//! A process of its own, since it counts everything that is allocated.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Mutex, time::Duration};

use decima_profile::SampleBatch;
use decima_store::{
    Settings, Store, Tiers,
    source::{ScanRequest, Snapshot, TimeRange},
};
use decima_testkit::batch::{self, Row};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Held by the test that counts.
static COUNTING: Mutex<()> = Mutex::new(());

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

/// A value that does not compress.
fn value(of: i64) -> i64 {
    (of.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) >> 33) | 1
}

/// Samples of one service over a second, each of one of these functions.
fn batch(service: &str, functions: std::ops::Range<usize>, samples: usize, time_ns: i64) -> SampleBatch {
    let names: Vec<String> = functions.map(|function| format!("function{function}")).collect();
    let stacktraces: Vec<[&str; 1]> = names.iter().map(|name| [name.as_str()]).collect();
    let row = |n: usize| -> Row<'_> {
        let at_ns = time_ns + n as i64 * (1_000_000_000 / samples as i64);
        (&stacktraces[n % stacktraces.len()], at_ns, value(at_ns), "")
    };
    batch::batch(service, &(0..samples).map(row).collect::<Vec<_>>())
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
                let batch = batch("a", 0..100, SAMPLES, second * 1_000_000_000);
                store.append(batch, None).await.unwrap();
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
    let _counting = COUNTING.lock().unwrap();
    let (small, large) = (peak_bytes(4), peak_bytes(16));
    let samples = BLOCKS * 12 * SAMPLES;
    eprintln!("{small} bytes, and {large} with {samples} samples more");
    assert!(large < 64 << 20, "{large} bytes");
    // Less than the samples have once decoded: what grows is the row group that is being written, up to a bound of its own.
    let growth = large.saturating_sub(small);
    assert!(growth < 32 * samples, "{growth} bytes more for {samples} samples more");
}

const SERVICES: [&str; 4] = ["a", "b", "c", "d"];
/// Memory in which the blocks can be read, and little can be held of what is merged.
const BARE_MEMORY_BYTES: u64 = 104 << 20;

/// What the blocks of a store hold: their locations, their samples, and the sum of those.
async fn held(snapshot: Snapshot) -> (u64, u64, i64) {
    let mut held = (0, 0, 0i64);
    for source in snapshot.sources {
        let table = source.series().await.unwrap();
        held.0 += table.location_count;
        let series = (0..table.series.len() as u32).collect();
        let request = ScanRequest { series, range: TimeRange::ALL, attributes: Vec::new(), with_times: true };
        let mut count = |run: decima_store::source::SampleRun<'_>| {
            held.1 += run.values.len() as u64;
            held.2 += run.values.iter().sum::<i64>();
        };
        source.scan(&request, &mut count).await.unwrap();
    }
    held
}

/// What a compaction holds at most of blocks that have the same locations, so many for each service, in bytes.
fn peak_bytes_of_locations(functions: usize) -> usize {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let before = runtime.block_on(async {
        let store = Store::open(settings(directory.path(), 0)).await.unwrap();
        for block in 0..BLOCKS as i64 {
            for (at, service) in SERVICES.into_iter().enumerate() {
                let of_service = at * functions..(at + 1) * functions;
                let batch = batch(service, of_service, functions, block * 1_000_000_000);
                store.append(batch, None).await.unwrap();
            }
            store.flush().await.unwrap();
        }
        let before = held(store.snapshot()).await;
        store.close().await.unwrap();
        before
    });
    let locations = (BLOCKS * SERVICES.len() * functions) as u64;
    assert_eq!((before.0, before.1), (locations, locations));
    runtime.block_on(async {
        let store = Store::open(settings(directory.path(), BARE_MEMORY_BYTES)).await.unwrap();
        let held_bytes = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        assert_eq!(store.compact(3 * HOUR_NS).await.unwrap(), BLOCKS as u64);
        let peak_bytes = ALLOCATOR.peak_usage() - held_bytes;
        assert_eq!(store.counts().blocks, 1);
        assert_eq!(held(store.snapshot()).await, before, "there was no memory to hold each location once");
        peak_bytes
    })
}

#[test]
fn what_is_too_large_to_be_held_is_merged_all_the_same() {
    let _counting = COUNTING.lock().unwrap();
    let (small, large) = (peak_bytes_of_locations(9_000), peak_bytes_of_locations(18_000));
    let locations = BLOCKS * SERVICES.len() * 9_000;
    eprintln!("{small} bytes, and {large} with {locations} locations more");
    assert!((large as u64) < BARE_MEMORY_BYTES, "{large} bytes");
    // Held at once, each takes more than 300 bytes. What grows are the row groups in the making, up to a bound of their own.
    let growth = large.saturating_sub(small);
    assert!(growth < 100 * locations, "{growth} bytes more for {locations} locations more");
}
