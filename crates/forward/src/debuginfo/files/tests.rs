use object_store::memory::InMemory;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn bounds() -> ObjectFiles {
    ObjectFiles { bytes_max: 10_000, file_bytes_max: 4_000, upload_max_duration: 60 * SECOND }
}

async fn over(objects: &Arc<InMemory>, bounds: ObjectFiles) -> Arc<Files> {
    Files::open(Directory::of(objects.clone()), bounds, 3600 * SECOND).await.unwrap()
}

async fn fresh() -> (Arc<InMemory>, Arc<Files>) {
    let objects = Arc::new(InMemory::new());
    let files = over(&objects, bounds()).await;
    (objects, files)
}

fn name(build_id: &str) -> Name {
    super::super::name(build_id, 0).unwrap()
}

fn announcement(size_bytes: usize, force: bool) -> Announcement {
    Announcement { build_id_type: 1, hash: "h".to_owned(), force, size_bytes: size_bytes as u64 }
}

/// All steps of an upload; gives its name.
async fn upload(files: &Arc<Files>, build_id: &str, content: &[u8]) -> Result<String, UploadError> {
    let upload_id = files.announce(name(build_id), announcement(content.len(), false)).await?;
    let mut sink = files.receive(name(build_id), &upload_id).await?;
    for chunk in content.chunks(700) {
        sink.write(Bytes::copy_from_slice(chunk)).await?;
    }
    assert_eq!(sink.finish().await?, content.len() as u64);
    files.complete(&name(build_id), &upload_id).await?;
    Ok(upload_id)
}

/// Content of so many bytes that differs from that of others.
fn content(size_bytes: usize, of: u8) -> Vec<u8> {
    (0..size_bytes).map(|at| (at as u8).wrapping_mul(7) ^ of).collect()
}

async fn stored(objects: &InMemory) -> usize {
    objects.list(None).try_collect::<Vec<_>>().await.unwrap().len()
}

/// What waits, oldest first.
fn waiting(files: &Files) -> Vec<String> {
    files.index.lock().waiting.values().map(|waiting| waiting.record.name.build_id.to_string()).collect()
}

/// What a file holds now.
async fn held(files: &Files, build_id: &str) -> Vec<u8> {
    let number = files.index.lock().numbers[&name(build_id)];
    let record = files.index.lock().waiting[&number].record.clone();
    files.check(number, &record).await.unwrap();
    let mut held = Vec::new();
    while (held.len() as u64) < record.size_bytes {
        held.extend_from_slice(&files.read(number, &record, held.len() as u64).await.unwrap());
    }
    held
}

#[track_caller]
fn refused<T>(outcome: Result<T, UploadError>, words: &str) {
    let error = outcome.err().expect("it is refused").to_string();
    assert!(error.contains(words), "{words}: {error}");
}

#[tokio::test]
async fn a_crash_after_any_change_loses_nothing_that_was_acknowledged() {
    let (objects, files) = fresh().await;
    let mut lives = Vec::new();
    let mut expected: Vec<String> = Vec::new();
    for build_id in ["aaaa", "bbbb", "cccc"] {
        let bytes = content(1500, build_id.as_bytes()[0]);
        let upload_id = files.announce(name(build_id), announcement(1500, false)).await.unwrap();
        let mut sink = files.receive(name(build_id), &upload_id).await.unwrap();
        sink.write(bytes.clone().into()).await.unwrap();
        lives.push((objects.fork(), expected.clone()));
        sink.finish().await.unwrap();
        // Its bytes are there, and nobody said that it is complete.
        lives.push((objects.fork(), expected.clone()));
        files.complete(&name(build_id), &upload_id).await.unwrap();
        expected.push(build_id.to_owned());
        lives.push((objects.fork(), expected.clone()));
    }
    let taken = files.take(SECOND).await;
    lives.push((objects.fork(), expected.clone()));
    objects.delete(&record_path(taken.number)).await.unwrap();
    expected.remove(0);
    // Between record and bytes.
    lives.push((objects.fork(), expected.clone()));
    files.finish(taken.number).await;
    lives.push((objects.fork(), expected.clone()));
    for (life, (objects, expected)) in lives.into_iter().enumerate() {
        let objects = Arc::new(objects);
        let files = over(&objects, bounds()).await;
        assert_eq!(waiting(&files), expected, "life {life}");
        assert_eq!(stored(&objects).await, expected.len() * 2, "life {life}: nothing is left behind");
        assert!(files.counts().dropped.values().all(|&count| count == 0), "life {life}");
        for build_id in &expected {
            assert_eq!(held(&files, build_id).await, content(1500, build_id.as_bytes()[0]));
        }
        // It goes on after what there was, and through the next crash.
        upload(&files, "dddd", &content(9, 1)).await.unwrap();
        let files = over(&objects, bounds()).await;
        assert_eq!(waiting(&files), [expected, vec!["dddd".to_owned()]].concat(), "life {life}");
    }
}

#[tokio::test]
async fn half_a_file_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let left = || {
        let entries = std::fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let open =
        async || Files::open(Directory::open(folder.path()).unwrap(), bounds(), 3600 * SECOND).await.unwrap();
    let files = open().await;
    let upload_id = files.announce(name("abcd"), announcement(3000, false)).await.unwrap();
    // The sender's stream ends too early, goes on for too long, breaks off.
    let mut sink = files.receive(name("abcd"), &upload_id).await.unwrap();
    sink.write(content(2999, 1).into()).await.unwrap();
    refused(sink.finish().await, "2999 bytes have arrived, and 3000 were announced");
    refused(files.complete(&name("abcd"), &upload_id).await, "nothing was uploaded");
    let mut sink = files.receive(name("abcd"), &upload_id).await.unwrap();
    refused(sink.write(content(3001, 1).into()).await, "3001 bytes have arrived, and 3000 were announced");
    sink.abort().await;
    let mut sink = files.receive(name("abcd"), &upload_id).await.unwrap();
    sink.write(content(10, 1).into()).await.unwrap();
    refused(files.receive(name("abcd"), &upload_id).await, Reason::UploadInProgress.as_str());
    drop(sink);
    while left() != ["lock"] {
        tokio::task::yield_now().await;
    }
    // The process is killed in the middle.
    let mut sink = files.receive(name("abcd"), &upload_id).await.unwrap();
    sink.write(content(10, 1).into()).await.unwrap();
    assert_eq!(left().len(), 2, "{:?}", left());
    std::mem::forget(sink);
    std::fs::write(folder.path().join("debuginfo-00000000000000000009#1"), "half").unwrap();
    let path = folder.path().to_owned();
    drop(files);
    // The lock is the process's, which goes on here: what a start removes is removed without it.
    std::fs::remove_file(path.join("lock")).unwrap();
    let files = open().await;
    assert_eq!((left(), waiting(&files)), (vec!["lock".to_owned()], vec![]));
    upload(&files, "abcd", &content(3000, 2)).await.unwrap();
    assert_eq!(held(&files, "abcd").await, content(3000, 2));
    assert_eq!(left(), ["debuginfo-00000000000000000000", "debuginfo-00000000000000000000.record", "lock"]);
}

#[tokio::test]
async fn bounds_hold() {
    let (_, files) = fresh().await;
    refused(
        files.announce(name("abcd"), announcement(4001, false)).await,
        "upload size 4001 exceeds maximum allowed size 4000",
    );
    upload(&files, "aaaa", &content(4000, 1)).await.unwrap();
    // What is announced has its room.
    files.announce(name("bbbb"), announcement(4000, false)).await.unwrap();
    refused(files.announce(name("cccc"), announcement(2001, false)).await, "2000 are left");
    assert_eq!(files.counts().bytes, 8000);
    assert!(!files.has_room(), "that is less than programs have");
    upload(&files, "cccc", &content(2000, 1)).await.unwrap();
    let taken = files.take(SECOND).await;
    files.finish(taken.number).await;
    let counts = files.counts();
    assert_eq!((counts.waiting, counts.bytes, counts.bytes_max, counts.spooled), (1, 6000, 10_000, 2));
    let none = over(&Arc::new(InMemory::new()), ObjectFiles { bytes_max: 0, ..bounds() }).await;
    assert!(!none.has_room());
}

#[tokio::test]
async fn steps_out_of_order() {
    let (objects, files) = fresh().await;
    let of = || name("abcd");
    refused(files.receive(of(), "x").await, "not previously initiated");
    refused(files.complete(&of(), "x").await, "no debuginfo metadata found");
    let first = files.announce(of(), announcement(9, false)).await.unwrap();
    assert_eq!(first.len(), 36, "as long as Parca's");
    refused(files.announce(of(), announcement(9, false)).await, "still in-progress");
    refused(files.receive(of(), "x").await, "does not match");
    refused(files.complete(&of(), "x").await, "mismatch");
    // By force, the later one counts: also when the one before has arrived.
    let mut sink = files.receive(of(), &first).await.unwrap();
    sink.write(content(9, 1).into()).await.unwrap();
    let second = files.announce(of(), announcement(9, true)).await.unwrap();
    refused(sink.finish().await, "does not match");
    let mut sink = files.receive(of(), &second).await.unwrap();
    sink.write(content(9, 2).into()).await.unwrap();
    sink.finish().await.unwrap();
    // The same once more, which an agent may try that did not hear the answer.
    let mut sink = files.receive(of(), &second).await.unwrap();
    sink.write(content(9, 3).into()).await.unwrap();
    sink.finish().await.unwrap();
    files.complete(&of(), &second).await.unwrap();
    files.complete(&of(), &second).await.unwrap();
    refused(files.complete(&of(), &first).await, "mismatch");
    assert_eq!((held(&files, "abcd").await, stored(&objects).await), (content(9, 3), 2));
    // Another kind of file of the same build ID is another file.
    assert_eq!(files.known(&super::super::name("abcd", 1).unwrap(), false), None);
    assert_eq!(files.known(&of(), false), Some(Reason::UploadInProgress));
    // What waits is replaced by force, even while it is on its way.
    let taken = files.take(SECOND).await;
    let third = files.announce(of(), announcement(9, true)).await.unwrap();
    let mut sink = files.receive(of(), &third).await.unwrap();
    sink.write(content(9, 4).into()).await.unwrap();
    sink.finish().await.unwrap();
    files.complete(&of(), &third).await.unwrap();
    assert!(!files.is_current(taken.number));
    files.put_off(taken, Duration::ZERO, false);
    assert_eq!((held(&files, "abcd").await, stored(&objects).await), (content(9, 4), 2));
    assert_eq!(waiting(&files), ["abcd"]);
}

#[tokio::test]
async fn what_was_announced_and_does_not_come_is_forgotten() {
    let objects = Arc::new(InMemory::new());
    let files = over(&objects, bounds()).await;
    let upload_id = files.announce(name("abcd"), announcement(9, false)).await.unwrap();
    let mut sink = files.receive(name("abcd"), &upload_id).await.unwrap();
    sink.write(content(9, 1).into()).await.unwrap();
    let long_ago = |files: &Files| {
        files.index.lock().receiving.get_mut(&name("abcd")).unwrap().since -= 60 * SECOND + STALE_GRACE;
    };
    long_ago(&files);
    files.forget_stale().await;
    assert!(files.known(&name("abcd"), false).is_some(), "it arrives");
    sink.finish().await.unwrap();
    files.forget_stale().await;
    assert_eq!((files.known(&name("abcd"), false), stored(&objects).await), (None, 0));
}

#[tokio::test]
async fn the_old_go() {
    let (objects, files) = fresh().await;
    for build_id in ["aaaa", "bbbb"] {
        upload(&files, build_id, &content(9, 1)).await.unwrap();
    }
    let taken = files.take(SECOND).await;
    files.drop_old(clock::now_ms() + 3_600_000 - 1000).await;
    assert_eq!(waiting(&files).len(), 2);
    files.drop_old(clock::now_ms() + 3_600_000 + 1000).await;
    assert_eq!(waiting(&files), ["aaaa"], "that one is on its way");
    files.finish(taken.number).await;
    assert_eq!((files.counts().dropped[&DropReason::Age], stored(&objects).await), (1, 0));
}

#[tokio::test]
async fn damage_is_noticed() {
    let (objects, files) = fresh().await;
    upload(&files, "aaaa", &content(2000, 1)).await.unwrap();
    upload(&files, "bbbb", &content(2000, 1)).await.unwrap();
    upload(&files, "cccc", &content(2000, 1)).await.unwrap();
    let mut damaged = content(2000, 1);
    damaged[1000] ^= 1;
    objects.put(&bytes_path(0), damaged.into()).await.unwrap();
    let taken = files.take(SECOND).await;
    let damage = files.check(taken.number, &taken.record).await.unwrap_err();
    assert!(matches!(damage, Damage::Checksum { .. }), "{damage}");
    objects.put(&bytes_path(0), content(1999, 1).into()).await.unwrap();
    assert!(files.check(taken.number, &taken.record).await.is_err(), "it is shorter");
    objects.delete(&bytes_path(0)).await.unwrap();
    let damage = files.check(taken.number, &taken.record).await.unwrap_err();
    assert!(matches!(damage, Damage::Read(_)), "{damage}");
    // A start counts what is not whole any more, and removes it.
    objects.put(&record_path(1), "no record".into()).await.unwrap();
    let files = over(&objects, bounds()).await;
    assert_eq!((waiting(&files), stored(&objects).await), (vec!["cccc".to_owned()], 2));
    assert_eq!(files.counts().dropped[&DropReason::Damaged], 2);
}

#[tokio::test]
async fn who_waits_for_how_long() {
    let (_, files) = fresh().await;
    for build_id in ["aaaa", "bbbb"] {
        upload(&files, build_id, &content(9, 1)).await.unwrap();
    }
    let now = Instant::now();
    let take = |after: Duration| files.index.lock().take(now + after);
    let first = take(SECOND).unwrap();
    files.put_off(first, 100 * SECOND, false);
    let second = take(SECOND).unwrap();
    assert_eq!(second.record.name.build_id.as_str(), "bbbb", "the first waits by itself");
    assert!(take(90 * SECOND).is_err_and(|wait| wait.is_some()));
    files.put_off(second, 10 * SECOND, true);
    assert!(take(5 * SECOND).is_err_and(|wait| wait.is_some()), "the remote store is away");
    assert_eq!(take(200 * SECOND).unwrap().record.name.build_id.as_str(), "bbbb", "whose time came first");
    files.hurry();
    assert_eq!(take(200 * SECOND).unwrap().record.name.build_id.as_str(), "aaaa");
    assert!(take(200 * SECOND).is_err_and(|wait| wait.is_none()), "all are on their way");
}
