//! A store of a size that it must not pass.

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

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

/// Whether a file is one of those that the limit is about.
fn counts(path: &str) -> bool {
    path.contains("/log/") || path.contains("/blocks/")
}

/// Size of log and blocks.
async fn size(objects: &InMemory) -> u64 {
    let all: Vec<_> = objects.list(None).try_collect().await.unwrap();
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

/// Walks a directory again and again.
struct Walker {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Walker {
    fn start(directory: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stops = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut largest = 0;
            while !stops.load(Ordering::SeqCst) {
                // What changes meanwhile would be counted with what is gone.
                let (files, again) = (sizes(&directory), sizes(&directory));
                if files == again {
                    largest = largest.max(files.values().sum());
                }
            }
            largest
        });
        Self { stop, thread }
    }

    /// The largest size that was seen.
    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

/// Sizes of all files of log and blocks below a directory. One with two names is there once.
fn sizes(directory: &Path) -> BTreeMap<u64, u64> {
    let all = walkdir::WalkDir::new(directory).into_iter().filter_map(Result::ok);
    let counted = all.filter(|entry| entry.path().to_str().is_some_and(counts));
    let files = counted.filter_map(|entry| entry.metadata().ok()).filter(std::fs::Metadata::is_file);
    files.map(|meta| (meta.ino(), meta.len())).collect()
}

/// The resolution and the sum of each service.
async fn services(store: &Store) -> BTreeMap<String, (i64, i64)> {
    let mut found: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for source in store.snapshot().sources {
        let table = source.series().await.unwrap();
        for series in &table.series {
            found.entry(series.label("job").to_owned()).or_default().0 = table.resolution_ns;
        }
    }
    for (key, value) in contents(store).await {
        let (service, _) = key.split_once(';').unwrap();
        found.get_mut(service).unwrap().1 += value;
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_all_tiers_never_passes_its_limit() {
    const MAX_BYTES: u64 = 500_000;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let store = Store::open(Settings { path: path.to_owned(), ..limited(None) }).await.unwrap();
    let midnight = now() / DAY_NS * DAY_NS;
    for (service, days) in [("hours", 9), ("tens", 5), ("samples", 1)] {
        store.append(batch(service, &rows(midnight - days * DAY_NS)), None).await.unwrap();
        store.flush().await.unwrap();
    }
    store.close().await.unwrap();
    drop(store);
    let hours = |hours: u64| Some(Duration::from_secs(3600 * hours));
    let tiers = Tiers { raw: hours(3 * 24), ten_seconds: hours(7 * 24) };
    let unlimited = Settings { tiers, ..settings(path) };
    let store = Store::open(unlimited.clone()).await.unwrap();
    store.compact(now()).await.unwrap();
    let found = services(&store).await;
    let sum: i64 = rows(0).iter().map(|row| row.2).sum();
    let expected = [("hours", HOUR_NS), ("samples", 0), ("tens", TEN_SECONDS_NS)];
    assert_eq!(found, expected.map(|(name, resolution_ns)| (name.to_owned(), (resolution_ns, sum))).into());
    store.close().await.unwrap();
    drop(store);

    // Merged, small blocks are so much smaller that the limit would be reached only if merging did not keep up.
    let limited = Settings { storage_max_bytes: Some(MAX_BYTES), compaction_memory_bytes: 0, ..unlimited };
    let walker = Walker::start(path.to_owned());
    let store = Store::open(limited.clone()).await.unwrap();
    let (mut acknowledged, mut refused, mut held) = (Vec::new(), 0, BTreeMap::new());
    let mut left: Vec<String> = ["hours", "tens", "samples"].map(str::to_owned).into();
    for request in 0..300 {
        let service = format!("request{request}");
        match store.append(batch(&service, &rows(now())), None).await {
            Ok(_) => {
                acknowledged.push(service);
                store.flush().await.unwrap();
            }
            Err(AppendError::StorageBudget { max_bytes: MAX_BYTES, .. }) => {
                refused += 1;
                // Until files of dropped blocks have gone.
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(other) => panic!("{other}"),
        }
        held = services(&store).await;
        for (service, &(_, held_sum)) in &held {
            assert_eq!(held_sum, sum, "{service} is there whole or not at all");
        }
        // The coarsest goes first, and samples of today only when nothing else is left.
        while left.first().is_some_and(|service| !held.contains_key(service)) {
            left.remove(0);
        }
        assert!(left.iter().all(|service| held.contains_key(service)), "of {left:?}: {held:?}");
        let dropped = acknowledged.iter().filter(|service| !held.contains_key(*service)).count();
        assert!(dropped == 0 || left.is_empty(), "{dropped} are gone before {left:?}");
        assert!(dropped == 0 || store.counts().space_dropped_blocks > 3);
        assert!(acknowledged.last().is_none_or(|newest| held.contains_key(newest)));
        if refused > 0 && dropped > 0 {
            break;
        }
    }
    assert!(refused > 0 && left.is_empty() && held.len() < acknowledged.len(), "{refused} {left:?}");
    crash(store);
    let store = Store::open(limited).await.unwrap();
    assert_eq!(services(&store).await, held);
    store.close().await.unwrap();
    let largest = walker.stop();
    assert!(largest <= MAX_BYTES, "{largest}");
    assert!(largest > MAX_BYTES / 2, "{largest}: the limit was near");
}
