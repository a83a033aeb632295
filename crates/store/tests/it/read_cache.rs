//! Blocks of a bucket read by way of a disk.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use decima_store::{OpenError, Place, ReadCacheCounts, ReadError, Store, StoreCounts};
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, memory::InMemory};

use crate::{
    batches::{Row, batch, contents, read},
    durability::{STACKS, now, settings},
};

const SIZE_BYTES: u64 = 64 << 20;

/// A bucket with a block of several services.
async fn bucket() -> Arc<InMemory> {
    let objects = Arc::new(InMemory::new());
    let store = Store::open_at(settings("unused".as_ref()), Place::objects(objects.clone())).await.unwrap();
    let t = now() - 600_000_000_000;
    for service in 0..8 {
        let value = |at: i64| ((at * 1_000 + service).wrapping_mul(0x1E37_79B9_7F4A_7C15) >> 43) & 0xf_ffff;
        let rows: Vec<Row> = (0..8_000)
            .map(|at| (STACKS[(at % 3) as usize], t + at * 50_000_000 + value(at), value(at), "/a"))
            .collect();
        store.append(batch(&format!("service{service}"), &rows), None).await.unwrap();
    }
    store.close().await.unwrap();
    objects
}

fn place(objects: &Arc<InMemory>, cache: &Path) -> Result<Place, OpenError> {
    Place::objects(objects.clone()).with_read_cache(cache, SIZE_BYTES)
}

/// A process that only answers, with nothing in memory yet. The one before may be about to leave the directory.
async fn reader(objects: &Arc<InMemory>, cache: &Path) -> Store {
    let place = loop {
        match place(objects, cache) {
            Err(OpenError::Locked { .. }) => tokio::time::sleep(Duration::from_millis(10)).await,
            place => break place.unwrap(),
        }
    };
    let store = Store::follow(settings("unused".as_ref()), &place).await.unwrap();
    while !store.counts().read_cache.is_indexed {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    store
}

/// Reads everything, and gives what that took.
async fn counted(store: &Store) -> (usize, StoreCounts) {
    let gets = store.counts().requests.gets;
    let rows = contents(store).await.len();
    let mut counts = store.counts();
    counts.requests.gets -= gets;
    (rows, counts)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if folder.is_dir() {
            found.extend(fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_asked_for_each_part_once() {
    let (objects, cache) = (bucket().await, tempfile::tempdir().unwrap());
    let first = reader(&objects, cache.path()).await;
    let (rows, counts) = counted(&first).await;
    assert!(rows > 1_000 && counts.requests.gets > 0 && counts.read_cache.misses > 5, "{counts:?}");
    let again = place(&objects, cache.path()).map(|_| ());
    assert!(matches!(again, Err(OpenError::Locked { .. })), "{again:?}");
    drop(first);

    // After a restart nothing is asked but what is new: the process looks for manifests and a log.
    let second = reader(&objects, cache.path()).await;
    let before = second.counts().requests.read_bytes;
    let (same, counts) = counted(&second).await;
    assert_eq!((same, counts.read_cache.misses, counts.read_cache.damaged), (rows, 0, 0));
    assert!(counts.read_cache.hits > 10, "{counts:?}");
    let read_bytes = second.counts().requests.read_bytes - before;
    assert!(read_bytes < 32 << 10, "{read_bytes} bytes were read that are on the disk");
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_and_torn_files_are_read_again() {
    let (objects, cache) = (bucket().await, tempfile::tempdir().unwrap());
    let (rows, _) = counted(&reader(&objects, cache.path()).await).await;
    let files = files(cache.path());
    for (at, file) in files.iter().enumerate() {
        let mut bytes = fs::read(file).unwrap();
        match at % 3 {
            0 => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }
            1 => bytes.truncate(at % bytes.len()),
            _ => bytes.push(0),
        }
        fs::write(file, bytes).unwrap();
    }
    let (same, counts) = counted(&reader(&objects, cache.path()).await).await;
    assert_eq!(same, rows);
    assert!(counts.read_cache.damaged as usize >= files.len(), "{counts:?} of {} files", files.len());
    let (same, counts) = counted(&reader(&objects, cache.path()).await).await;
    assert_eq!((same, counts.read_cache.damaged, counts.read_cache.misses), (rows, 0, 0), "mended");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_may_go_at_any_time() {
    let (objects, cache) = (bucket().await, tempfile::tempdir().unwrap());
    let store = reader(&objects, cache.path()).await;
    let (rows, _) = counted(&store).await;
    fs::remove_dir_all(cache.path()).unwrap();
    // Samples are not in memory, so that they are read again.
    let (same, counts) = counted(&store).await;
    assert_eq!(same, rows);
    assert!(counts.requests.gets > 0 && counts.read_cache.damaged == 0, "{counts:?}");
    assert!(!files(cache.path()).is_empty(), "and kept again");
}

/// What the bucket says is compared with the block's checksums before it is kept: a bad answer is not repeated from the disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_answer_is_not_kept() {
    let (objects, cache) = (bucket().await, tempfile::tempdir().unwrap());
    let store = reader(&objects, cache.path()).await;
    let (rows, _) = counted(&store).await;
    fs::remove_dir_all(cache.path()).unwrap();
    let samples = futures::TryStreamExt::try_collect::<Vec<_>>(objects.list(None)).await.unwrap();
    let samples =
        samples.into_iter().find(|meta| meta.location.as_ref().ends_with("/samples.parquet")).unwrap();
    let good = objects.get(&samples.location).await.unwrap().bytes().await.unwrap();
    let mut bad = good.to_vec();
    bad.iter_mut().step_by(1_000).for_each(|byte| *byte ^= 0x10);
    objects.put(&samples.location, PutPayload::from(bad)).await.unwrap();
    let failed = read(&store.snapshot()).await;
    assert!(matches!(failed, Err(ReadError::Corrupt { .. })), "{failed:?}");
    objects.put(&samples.location, PutPayload::from(good)).await.unwrap();
    let (same, counts) = counted(&store).await;
    assert_eq!((same, counts.read_cache.damaged), (rows, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_files_has_no_read_cache() {
    let (directory, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let place =
        Place::directory(directory.path()).unwrap().with_read_cache(cache.path(), SIZE_BYTES).unwrap();
    let store = Store::open_at(settings(directory.path()), place).await.unwrap();
    store.append(batch("shop", &[(STACKS[0], now() - 1_000_000_000, 1, "")]), None).await.unwrap();
    store.flush().await.unwrap();
    let (rows, counts) = counted(&store).await;
    assert_eq!((rows, counts.read_cache), (1, ReadCacheCounts::default()));
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
    store.close().await.unwrap();
}
