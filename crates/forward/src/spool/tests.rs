use std::time::Duration;

use object_store::memory::InMemory;

use super::*;
use crate::record::Method;

fn bounds(size_bytes_max: u64) -> Bounds {
    Bounds { size_bytes_max, age_max: Duration::from_secs(3600) }
}

fn record(content: usize, received_ms: i64) -> Record {
    let parts = vec![Bytes::from(content.to_string().into_bytes())];
    Record { method: Method::WriteArrow, sender: 1, received_ms, parts }
}

fn content(record: &Record) -> usize {
    std::str::from_utf8(&record.parts[0]).unwrap().parse().unwrap()
}

async fn over(objects: &Arc<InMemory>, bounds: Bounds) -> (Spool, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    (Spool::open(Directory::of(objects.clone()), bounds, counters.clone()).await.unwrap(), counters)
}

fn describe(spool: &Spool) -> Counts {
    let mut counts = Counts::default();
    spool.describe(&mut counts);
    counts
}

/// Everything that waits, oldest first; finished if `finish`.
async fn drain(spool: &Spool, finish: bool) -> Vec<usize> {
    let mut all = Vec::new();
    while spool.shared.index.lock().oldest().is_some() {
        let taken = spool.take().await;
        all.extend(spool.read(taken).await.iter().map(content));
        if finish {
            spool.finish(taken).await;
        }
    }
    all
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_crash_in_order() {
    let objects = Arc::new(InMemory::new());
    let (spool, _) = over(&objects, bounds(1 << 20)).await;
    for at in 0..10 {
        spool.append(record(at, 5)).await.unwrap();
    }
    let first = spool.take().await;
    assert_eq!(spool.read(first).await.iter().map(content).collect::<Vec<_>>(), [0]);
    let second = spool.take().await;
    spool.finish(second).await;
    drop(spool);
    // The first was handed out and not finished: it comes again.
    let (spool, _) = over(&objects, bounds(1 << 20)).await;
    assert_eq!(describe(&spool).spool_requests, 9);
    spool.append(record(10, 6)).await.unwrap();
    assert_eq!(drain(&spool, true).await, [0, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!((describe(&spool).spool_bytes, describe(&spool).spool_oldest_ms), (0, None));
    drop(spool);
    let (spool, _) = over(&objects, bounds(1 << 20)).await;
    assert_eq!(drain(&spool, true).await, [] as [usize; 0]);
}

#[tokio::test]
async fn requests_that_wait_together_share_a_segment() {
    let objects = Arc::new(InMemory::new());
    let (spool, _) = over(&objects, bounds(1 << 20)).await;
    let appends = (0..100).map(|at| spool.append(record(at, 5)));
    assert!(futures::future::join_all(appends).await.iter().all(Result::is_ok));
    let segments = spool.shared.index.lock().segments.len();
    assert!(segments < 100, "{segments} segments of 100 requests");
    // Those that wait at the same time have no order among them.
    let mut all = drain(&spool, true).await;
    all.sort_unstable();
    assert_eq!(all, (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_oldest_go_when_it_is_full() {
    let objects = Arc::new(InMemory::new());
    let one = segment::size_bytes([record(1000, 5).encode().len()]) as u64;
    let (spool, counters) = over(&objects, bounds(one * 3)).await;
    for at in 1000..1003 {
        spool.append(record(at, 5)).await.unwrap();
    }
    // What is being sent is not dropped.
    let taken = spool.take().await;
    for at in 1003..1005 {
        spool.append(record(at, 5)).await.unwrap();
    }
    assert_eq!(describe(&spool).spool_bytes, one * 3);
    assert_eq!(counters.read().dropped[&DropReason::SpoolFull], 2);
    assert_eq!(drain(&spool, false).await, [1003, 1004]);
    // The first had a line in the log.
    let second = ByMethod::one(Method::WriteArrow);
    let rest = counters.rest(Duration::ZERO);
    assert_eq!(rest, [(DropReason::SpoolFull, second, "beyond --spool-max-bytes".to_owned())]);
    // Now all is being sent, and nothing can go.
    let error = spool.append(record(1005, 5)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    spool.finish(taken).await;
    spool.append(record(1006, 5)).await.unwrap();
    assert_eq!(counters.read().dropped[&DropReason::SpoolFull], 2);
    // A smaller bound is kept from the start.
    drop(spool);
    let (spool, counters) = over(&objects, bounds(one)).await;
    assert_eq!(counters.read().dropped[&DropReason::SpoolFull], 2);
    assert_eq!(drain(&spool, true).await, [1006]);
    let large = Record { parts: vec![Bytes::from(vec![0; 1000])], ..record(0, 5) };
    assert!(matches!(spool.append(large).await, Err(SpoolError::Full { .. })));
}

#[tokio::test]
async fn the_old_go() {
    let objects = Arc::new(InMemory::new());
    let (spool, counters) = over(&objects, bounds(1 << 20)).await;
    for (at, received_ms) in [1000, 2000, 9000].into_iter().enumerate() {
        spool.append(record(at, received_ms)).await.unwrap();
    }
    spool.drop_old(3_600_000 + 2000).await;
    assert_eq!(counters.read().dropped[&DropReason::Age], 1);
    spool.drop_old(3_600_000 + 2001).await;
    assert_eq!(counters.read().dropped[&DropReason::Age], 2);
    assert_eq!(drain(&spool, true).await, [2]);
}

#[tokio::test]
async fn damage_is_counted_and_what_is_whole_is_read() {
    let records: Vec<_> = (0..3).map(|at| record(at, 5).encode()).collect();
    let whole = segment::encode(&records);
    let size = whole.len() as u64;
    // The last object as a crash of the machine may leave it, at every length.
    for cut in 0..=whole.len() {
        let objects = Arc::new(InMemory::new());
        let name = path(3, &Segment { requests: 3, newest_ms: 5, size_bytes: size });
        objects.put(&name, PutPayload::from(whole[..cut].to_vec())).await.unwrap();
        let (spool, counters) = over(&objects, bounds(1 << 20)).await;
        spool.append(record(7, 6)).await.unwrap();
        let mut read = drain(&spool, true).await;
        assert_eq!(read.pop(), Some(7), "what comes later is not held up");
        assert_eq!(read, (0..read.len()).collect::<Vec<_>>());
        let lost = counters.read().dropped[&DropReason::Damaged];
        if lost > 0 || cut == whole.len() {
            assert_eq!(lost + read.len() as u64, 3, "{cut}");
        } else {
            // A cut between two requests looks like an end; the name tells otherwise.
            panic!("{cut}: {} requests are gone and not counted", 3 - read.len());
        }
    }
}

#[tokio::test]
async fn one_process_has_it_and_strangers_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    let open = async || Spool::open(Directory::open(&path)?, bounds(1 << 20), Arc::default()).await;
    let spool = open().await.unwrap();
    assert!(matches!(open().await, Err(OpenError::Locked { .. })));
    spool.append(record(1, 5)).await.unwrap();
    std::fs::write(path.join("00000000000000000009-1-5#1"), "being written").unwrap();
    std::fs::write(path.join("notes.txt"), "a stranger").unwrap();
    drop(spool);
    // The writer lets go of the lock when it has seen that nobody appends any more.
    let spool = loop {
        match open().await {
            Ok(spool) => break spool,
            Err(OpenError::Locked { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error:?}"),
        }
    };
    assert_eq!(drain(&spool, true).await, [1]);
    let left: BTreeMap<_, _> = std::fs::read_dir(&path)
        .unwrap()
        .map(|entry| (entry.unwrap().file_name().into_string().unwrap(), ()))
        .collect();
    assert_eq!(left.into_keys().collect::<Vec<_>>(), ["lock", "notes.txt"]);
}

#[tokio::test]
async fn a_crash_after_any_change_loses_nothing_that_was_answered() {
    let objects = Arc::new(InMemory::new());
    let (spool, _) = over(&objects, bounds(1 << 20)).await;
    // What is on disk after each change, and which requests must be there then.
    let mut lives = Vec::new();
    let mut waiting: Vec<usize> = Vec::new();
    for at in 0..6 {
        spool.append(record(at, 5)).await.unwrap();
        waiting.push(at);
        lives.push((objects.fork(), waiting.clone()));
        if at % 2 == 1 {
            // Handed out changes nothing on disk; arrived does.
            let taken = spool.take().await;
            let read: Vec<_> = spool.read(taken).await.iter().map(content).collect();
            lives.push((objects.fork(), waiting.clone()));
            spool.finish(taken).await;
            waiting.retain(|request| !read.contains(request));
            lives.push((objects.fork(), waiting.clone()));
        }
    }
    assert_eq!(waiting, [3, 4, 5]);
    for (at, (objects, expected)) in lives.into_iter().enumerate() {
        let objects = Arc::new(objects);
        let (spool, counters) = over(&objects, bounds(1 << 20)).await;
        // It goes on after what there was, and through the next crash.
        spool.append(record(99, 6)).await.unwrap();
        drop(spool);
        let (spool, _) = over(&objects, bounds(1 << 20)).await;
        assert_eq!(drain(&spool, true).await, [expected, vec![99]].concat(), "life {at}");
        assert!(counters.read().dropped.values().all(|&count| count == 0), "life {at}");
    }
}
