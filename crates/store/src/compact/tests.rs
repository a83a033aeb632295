//! What is merged is the same, whether there is memory for it or not.

use decima_testkit::{
    batch::{Row, batch},
    random::Random,
};
use object_store::memory::InMemory;

use super::*;
use crate::{block::encode::encode_head, head::Head, storage::TENANT, tiers::TEN_SECONDS_NS};

const ENOUGH: u64 = 1 << 30;
const SERVICES: [&str; 3] = ["api", "batch", "web"];
const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "kernel_a", "kernel_b", "main", "poll"];

fn storage() -> Storage {
    let objects = Arc::new(InMemory::new());
    Storage { objects: objects.clone(), log: objects, read_cache: None }
}

/// A block of random samples of some services, with and without a stacktrace.
async fn block(storage: &Storage, seed: u64, services: &[&str]) -> BlockEntry {
    let mut random = Random::of(&[seed]);
    let mut head = Head::new(vec!["job".to_owned()].into());
    for service in services {
        let stacktraces: Vec<Vec<&str>> = (0..30)
            .map(|_| (0..random.below(7)).map(|_| NAMES[random.low(NAMES.len(), 1.5)]).collect())
            .collect();
        let rows: Vec<Row<'_>> = stacktraces
            .iter()
            .map(|stacktrace| {
                let time_ns = random.below(60_000) as i64 * 1_000_000;
                let route = ["", "", "/x", "/y"][random.below(4)];
                (&stacktrace[..], time_ns, random.below(1000) as i64 - 300, route)
            })
            .collect();
        let mut mark = head.mark();
        let chunks = head.intern(&batch(service, &rows).into(), &mut mark);
        head.apply(chunks);
    }
    let encoded = encode_head(format!("{seed}-{}", services.join("-")), TENANT, &head.view, &[]).unwrap();
    storage.put_block(encoded, 0).await.unwrap().0
}

async fn compacted(
    storage: &Storage,
    id: &str,
    inputs: &[BlockEntry],
    memory_bytes: u64,
    resolution_ns: i64,
) -> (BlockEntry, BlockMeta) {
    let target =
        Target { id: id.to_owned(), level: 1, memory_bytes, resolution_ns, oldest_request_ns: i64::MIN };
    compact(storage, inputs, &target, &Progress::default()).await.unwrap()
}

async fn digest(storage: &Storage, meta: &BlockMeta, memory_bytes: u64) -> Digest {
    let cache = Arc::new(read::cache(1 << 20));
    let block = BlockReader::new(meta.clone(), Storage::block_path(&meta.id), storage.objects.clone(), cache);
    Digest::of(&block, meta.resolution_ns, memory_bytes, &Progress::default()).await.unwrap()
}

/// Merges blocks with memory and without, and what was merged without once more with it.
async fn check(blocks: &[(u64, &[&str])], resolution_ns: i64) {
    let storage = storage();
    let mut inputs = Vec::new();
    for &(seed, services) in blocks {
        inputs.push(block(&storage, seed, services).await);
    }
    // A merge verifies that every sample is what it was.
    let (_, whole) = compacted(&storage, "whole", &inputs, ENOUGH, resolution_ns).await;
    let (entry, bare) = compacted(&storage, "bare", &inputs, 0, resolution_ns).await;
    let expected = digest(&storage, &whole, ENOUGH).await;
    assert_eq!(digest(&storage, &bare, ENOUGH).await, expected, "{blocks:?}");
    assert_eq!((bare.series, bare.partitions), (whole.series, whole.partitions), "{blocks:?}");
    let is_larger = bare.locations.locations >= whole.locations.locations && bare.nodes >= whole.nodes;
    assert!(is_larger, "{blocks:?}");
    let (_, again) = compacted(&storage, "again", std::slice::from_ref(&entry), ENOUGH, resolution_ns).await;
    assert_eq!(digest(&storage, &again, ENOUGH).await, expected, "{blocks:?}");
    let counts = |meta: &BlockMeta| (meta.locations.locations, meta.nodes, meta.stacktraces);
    assert_eq!(counts(&again), counts(&whole), "{blocks:?}");
    // What follows each other can follow others.
    let (_, twice) = compacted(&storage, "twice", &[entry, inputs[0].clone()], 0, resolution_ns).await;
    assert_eq!(twice.series, whole.series, "{blocks:?}");
}

#[tokio::test]
async fn it_is_the_same_without_memory() {
    for resolution_ns in [0, TEN_SECONDS_NS] {
        check(&[(1, &SERVICES)], resolution_ns).await;
        check(&[(1, &SERVICES), (2, &SERVICES)], resolution_ns).await;
        check(&[(3, &SERVICES[..1]), (4, &SERVICES[1..]), (5, &SERVICES)], resolution_ns).await;
        check(&[(6, &["web"]), (6, &["api"])], resolution_ns).await;
        for seed in 0..20 {
            check(&[(2 * seed, &SERVICES[seed as usize % 3..]), (2 * seed + 1, &SERVICES)], resolution_ns)
                .await;
        }
    }
}

#[tokio::test]
async fn fingerprints_are_those_of_content_however_many_are_held() {
    let storage = storage();
    let entry = block(&storage, 9, &SERVICES).await;
    let meta = storage.block_meta(&entry).await.unwrap();
    let cache = Arc::new(read::cache(1 << 20));
    let block = BlockReader::new(meta, Storage::block_path(&entry.id), storage.objects.clone(), cache);
    let series = block.block_series().await.unwrap();
    let shared_rows = block.meta.locations.shared_rows as usize;
    let shared = fingerprints::of_locations(&block, 0..shared_rows).await.unwrap();
    for partition in 0..3 {
        let walk =
            async || fingerprints::Walk::of_partition(&block, &series, partition, &shared).await.unwrap();
        let all = walk().await.next(usize::MAX).await.unwrap();
        let mut walked = walk().await;
        let mut parts = Vec::new();
        loop {
            let part = walked.next(3).await.unwrap();
            parts.extend_from_slice(&part);
            if part.len() < 3 {
                break;
            }
        }
        assert_eq!(parts, all, "{partition}");
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len(), "{partition}");
        assert_eq!(all.len(), series.partitions[partition as usize].stacktrace_count, "{partition}");
    }
}
