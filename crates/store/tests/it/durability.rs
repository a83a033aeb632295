//! Restarts of every kind.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use decima_store::{AppendError, OpenError, Settings, Store};

use crate::batches::{Row, batch, contents, points_sum};

pub(crate) fn settings(path: &std::path::Path) -> Settings {
    Settings {
        path: path.to_owned(),
        head_memory_bytes: 64 << 20,
        retention: Some(Duration::from_secs(15 * 86_400)),
        tiers: decima_store::Tiers::default(),
        storage_max_bytes: None,
        ahead_max: Duration::from_secs(600),
        partition_labels: vec!["job".to_owned()],
        cache_bytes: 16 << 20,
        compaction_memory_bytes: 256 << 20,
    }
}

pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

/// Leaves the store as a crash does: no flush, no seal.
pub(crate) fn crash(store: Store) {
    drop(store);
    std::thread::sleep(Duration::from_millis(50));
}

pub(crate) const STACKS: [&[&str]; 4] =
    [&["leaf", "middle", "root"], &["middle", "root"], &["other", "kernel_entry", "root"], &[]];

pub(crate) fn rows(t: i64) -> Vec<Row> {
    vec![
        (STACKS[0], t, 5, ""),
        (STACKS[1], t, -7, "/a"),
        (STACKS[2], t + 1_500_000_000, i64::MAX / 64, "/b"),
        (STACKS[3], t, 11, ""),
        (STACKS[0], t, 6, ""),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_samples_survive_every_kind_of_restart() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(settings(directory.path())).await.unwrap();
    let t = now() - 60_000_000_000;
    for (at, service) in ["a", "b", "a"].iter().enumerate() {
        let appended = store.append(batch(service, &rows(t + at as i64)), Some(at as u128)).await.unwrap();
        assert_eq!((appended.samples, appended.duplicate), (5, false));
    }
    let expected = contents(&store).await;
    let expected_points = points_sum(&store).await;
    assert_eq!(expected.values().filter(|v| **v == 11).count(), 6, "{expected:?}");
    assert_eq!(expected_points.1, 15);

    crash(store);
    let store = Store::open(settings(directory.path())).await.unwrap();
    assert_eq!(contents(&store).await, expected, "after a crash");
    assert_eq!(points_sum(&store).await, expected_points);
    let repeat = store.append(batch("a", &rows(t)), Some(0)).await.unwrap();
    assert!(repeat.duplicate);
    store.append(batch("c", &rows(t)), Some(77)).await.unwrap();
    let expected = contents(&store).await;

    crash(store);
    let store = Store::open(settings(directory.path())).await.unwrap();
    assert_eq!(contents(&store).await, expected, "after a crash in the second epoch");
    store.flush().await.unwrap();
    assert_eq!(contents(&store).await, expected, "from a block");
    let expected_points = points_sum(&store).await;
    store.append(batch("c", &rows(t)), None).await.unwrap();
    let expected = contents(&store).await;

    crash(store);
    let store = Store::open(settings(directory.path())).await.unwrap();
    assert_eq!(contents(&store).await, expected, "block and log after a crash");
    assert_ne!(points_sum(&store).await, expected_points);
    assert!(store.append(batch("a", &rows(t)), Some(77)).await.unwrap().duplicate, "known from the block");
    store.close().await.unwrap();
    assert_eq!(
        store.append(batch("a", &rows(t)), None).await.err().map(|e| e.to_string()),
        Some(AppendError::Closed.to_string())
    );
    drop(store);

    let store = Store::open(settings(directory.path())).await.unwrap();
    assert_eq!(contents(&store).await, expected, "after a clean close");
    assert_eq!(store.counts().head_samples, 0);
    assert_eq!(store.counts().blocks, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_per_directory() {
    let directory = tempfile::tempdir().unwrap();
    let first = Store::open(settings(directory.path())).await.unwrap();
    let second = Store::open(settings(directory.path())).await;
    assert!(matches!(second, Err(OpenError::Locked { .. })));
    drop(first);
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_outside_the_accepted_times_are_refused_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(settings(directory.path())).await.unwrap();
    let (old, new) = (now() - 16 * 86_400_000_000_000, now() + 3_600_000_000_000);
    let refused = store.append(batch("a", &[(STACKS[0], old, 1, ""), (STACKS[0], new, 1, "")]), None).await;
    assert!(matches!(refused, Err(AppendError::AllOutsideTimes { rejected: 2, .. })));
    let late = now() - 14 * 86_400_000_000_000;
    let some = store.append(batch("a", &[(STACKS[0], old, 1, ""), (STACKS[0], late, 1, "")]), None).await;
    assert_eq!(some.map(|a| (a.samples, a.rejected)).ok(), Some((1, 1)));
    assert_eq!(store.counts().rejected_samples, 3);
}

/// Each sender sends its next request when the one before is answered.
#[tokio::test(flavor = "multi_thread")]
async fn senders_that_send_together_share_objects_of_the_log() {
    const REQUESTS: u64 = 40;
    let t = now() - 60_000_000_000;
    let objects_of = |senders: u64| async move {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(settings(directory.path())).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for sender in 0..senders {
            let store = store.clone();
            tasks.spawn(async move {
                for at in 0..REQUESTS {
                    let row = (STACKS[0], t + (sender * REQUESTS + at) as i64, 1, "");
                    assert_eq!(store.append(batch("a", &[row]), None).await.unwrap().samples, 1);
                }
            });
        }
        tasks.join_all().await;
        assert_eq!(points_sum(&store).await.1, senders * REQUESTS);
        store.counts().log_objects
    };
    assert_eq!(objects_of(1).await, REQUESTS);
    let objects = objects_of(8).await;
    assert!(objects <= REQUESTS + REQUESTS / 4, "{objects} objects for {} requests", 8 * REQUESTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announced_request_holds_up_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(settings(directory.path())).await.unwrap();
    let t = now() - 60_000_000_000;
    let (never, late) = (store.announce(), store.announce());
    for service in ["a", "b"] {
        assert_eq!(store.append(batch(service, &rows(t)), None).await.unwrap().samples, 5);
    }
    drop(never);
    assert_eq!(late.append(batch("c", &rows(t)), None).await.unwrap().samples, 5);
    let expected = contents(&store).await;
    crash(store);
    let store = Store::open(settings(directory.path())).await.unwrap();
    assert_eq!(contents(&store).await, expected);
    assert_eq!(points_sum(&store).await.1, 15);
}
