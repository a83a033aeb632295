//! A store of a size that it must not pass.

use std::{sync::Arc, time::Duration};

use decima_store::{
    AppendError, Place, Settings, Store, Tiers,
    inspect::inspect,
    tiers::{HOUR_NS, TEN_SECONDS_NS},
};
use futures::TryStreamExt;
use object_store::{ObjectStore, memory::InMemory};

use crate::{
    batches::{batch, contents},
    durability::{STACKS, crash, now, rows, settings},
    faults::eventually,
};

const DAY_NS: i64 = 24 * HOUR_NS;

fn limited(storage_max_bytes: Option<u64>) -> Settings {
    Settings { storage_max_bytes, compaction_memory_bytes: 0, ..settings("unused".as_ref()) }
}

async fn open(objects: &Arc<InMemory>, settings: Settings) -> Store {
    Store::open_at(settings, Place::objects(objects.clone())).await.unwrap()
}

/// Size of log and blocks.
async fn size(objects: &InMemory) -> u64 {
    let all: Vec<_> = objects.list(None).try_collect().await.unwrap();
    let counts = |path: &str| path.contains("/log/") || path.contains("/blocks/");
    all.iter().filter(|meta| counts(meta.location.as_ref())).map(|meta| meta.size).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_coarsest_and_oldest_blocks_go_first() {
    let objects = Arc::new(InMemory::new());
    let store = open(&objects, limited(None)).await;
    let midnight = now() / DAY_NS * DAY_NS;
    for days in [9, 5, 1, 0] {
        let t = if days == 0 { now() } else { midnight - days * DAY_NS };
        store.append(batch("a", &[(STACKS[0], t, days + 1, "")]), None).await.unwrap();
        store.flush().await.unwrap();
    }
    store.close().await.unwrap();
    let hours = |hours: u64| Some(Duration::from_secs(3600 * hours));
    let tiers = Tiers { raw: hours(3 * 24), ten_seconds: hours(7 * 24) };
    let store = open(&objects, Settings { tiers, ..settings("unused".as_ref()) }).await;
    store.compact(now()).await.unwrap();
    store.close().await.unwrap();
    let blocks = inspect(&Place::objects(objects.clone()), false).await.unwrap().blocks;
    let mut blocks: Vec<(i64, i64, u64)> = blocks
        .iter()
        .map(|block| (block.resolution_ns, block.max_time_ns, block.file_bytes.values().sum()))
        .collect();
    blocks.sort_by_key(|&(resolution_ns, time_ns, _)| (std::cmp::Reverse(resolution_ns), time_ns));
    assert_eq!(blocks.iter().map(|block| block.0).collect::<Vec<_>>(), [HOUR_NS, TEN_SECONDS_NS, 0, 0]);
    for gone in 0..blocks.len() {
        let left: u64 = blocks[gone..].iter().map(|block| block.2).sum();
        // Nine tenths of it hold what is left, and nothing more.
        let store = open(&objects, limited(Some(left.div_ceil(90) * 100))).await;
        let expected: Vec<(i64, i64)> = blocks[gone..].iter().map(|block| (block.0, block.1)).collect();
        eventually(async || {
            let mut found = Vec::new();
            for source in store.snapshot().sources {
                found.push((source.series().await.unwrap().resolution_ns, source.range().end_ns));
            }
            found.sort_by_key(|&(resolution_ns, time_ns)| (std::cmp::Reverse(resolution_ns), time_ns));
            found == expected
        })
        .await;
        assert_eq!(store.counts().space_dropped_blocks, u64::from(gone > 0));
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_is_refused_before_the_limit_and_nothing_is_lost() {
    const MAX_BYTES: u64 = 600_000;
    let objects = Arc::new(InMemory::new());
    let store = open(&objects, limited(Some(MAX_BYTES))).await;
    let mut acknowledged = 0;
    let refused = loop {
        match store.append(batch("a", &rows(now() + acknowledged)), None).await {
            Ok(_) => acknowledged += 1,
            Err(refused) => break refused,
        }
        store.flush().await.unwrap();
        assert!(size(&objects).await <= MAX_BYTES, "after {acknowledged} requests");
    };
    assert!(matches!(refused, AppendError::StorageBudget { max_bytes: MAX_BYTES, .. }), "{refused}");
    assert_eq!(refused.kind(), decima_base::ErrorKind::ResourceExhausted);
    let counts = store.counts();
    assert!(counts.refused_requests > 0 && counts.space_dropped_blocks > 0 && counts.storage_bytes > 0);
    let held = contents(&store).await;
    assert!(!held.is_empty());
    crash(store);
    let store = open(&objects, limited(Some(MAX_BYTES))).await;
    assert_eq!(contents(&store).await, held);
    // What was dropped is still there for those that read it, and counts.
    let refused = store.append(batch("a", &rows(now())), None).await;
    assert!(matches!(refused, Err(AppendError::StorageBudget { .. })), "{refused:?}");
    drop(store);
    let store = open(&objects, limited(Some(2 * MAX_BYTES))).await;
    store.append(batch("a", &rows(now())), None).await.unwrap();
    assert!(contents(&store).await.len() > held.len());
}
