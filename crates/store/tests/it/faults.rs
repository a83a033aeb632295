//! Full disks, damaged files, and what a store says of them.

use std::{
    collections::BTreeMap,
    ops::Range,
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use decima_store::{AppendError, OpenError, Place, ReadError, Settings, Store, inspect};
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};

use crate::{
    batches::{batch, contents},
    durability::{STACKS, crash, now, rows, settings},
};

/// A store whose disk can be full.
#[derive(Debug)]
struct Faulty {
    inner: InMemory,
    is_full: AtomicBool,
    /// Files of blocks cannot be put.
    has_no_blocks: AtomicBool,
    /// The next put succeeds, but its caller hears of a failure.
    loses_answer: AtomicBool,
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if self.is_full.load(Ordering::SeqCst) {
            let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(object_store::Error::Generic { store: "faulty", source: Box::new(source) });
        }
        if self.has_no_blocks.load(Ordering::SeqCst) && path.as_ref().contains("/blocks/") {
            return Err(object_store::Error::Generic { store: "faulty", source: "not now".into() });
        }
        let result = self.inner.put_opts(path, payload, options).await;
        if self.loses_answer.swap(false, Ordering::SeqCst) {
            return Err(object_store::Error::Generic {
                store: "faulty",
                source: "the answer is lost".into(),
            });
        }
        result
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(path, options).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(path, ranges).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn faulty() -> Arc<Faulty> {
    Arc::new(Faulty {
        inner: InMemory::new(),
        is_full: AtomicBool::new(false),
        has_no_blocks: AtomicBool::new(false),
        loses_answer: AtomicBool::new(false),
    })
}

/// Waits until something is true.
pub(crate) async fn eventually(mut is_true: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if is_true().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never became true");
}

/// Some hundred kilobytes of names, new ones for each number.
fn wide(number: usize) -> decima_profile::SampleBatch {
    let names: Vec<String> = (0..400).map(|at| format!("{number}/{at}{}", "x".repeat(500))).collect();
    let stacks: Vec<Vec<&str>> = names.iter().map(|name| vec![name.as_str()]).collect();
    let rows: Vec<decima_testkit::batch::Row<'_>> =
        stacks.iter().map(|stack| (stack.as_slice(), now(), 1, "")).collect();
    decima_testkit::batch::batch("a", &rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_head_makes_senders_wait_then_refuses_them_and_recovers() {
    let objects = faulty();
    let settings = Settings { head_memory_bytes: 2 << 20, ..settings("unused".as_ref()) };
    let store = Arc::new(Store::open_at(settings, Place::objects(objects.clone())).await.unwrap());
    objects.has_no_blocks.store(true, Ordering::SeqCst);
    let mut stored = 0;
    let refused = loop {
        match store.append(wide(stored), None).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    let AppendError::HeadFull { held_bytes, limit_bytes } = refused else { panic!("{refused}") };
    assert!(held_bytes >= limit_bytes && limit_bytes == 2 << 20, "{refused}");
    assert!(stored > 0 && stored < 20, "{stored}");
    // Who waits behind others that wait does not wait twice as long.
    let waiting = (0..4).map(|number| {
        let store = store.clone();
        tokio::spawn(async move { store.append(wide(100 + number), None).await })
    });
    let answers = tokio::time::timeout(Duration::from_secs(9), futures::future::join_all(waiting)).await;
    for answer in answers.unwrap() {
        assert!(matches!(answer.unwrap(), Err(AppendError::HeadFull { .. })));
    }
    assert_eq!(store.counts().appended_samples, 400 * stored as u64);

    objects.has_no_blocks.store(false, Ordering::SeqCst);
    eventually(async || store.append(wide(stored), None).await.is_ok()).await;
    assert_eq!(contents(&store).await.len(), 400 * (stored + 1));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_appends_and_recovers() {
    let objects = faulty();
    let unused = std::path::Path::new("unused");
    let store = Store::open_at(settings(unused), Place::objects(objects.clone())).await.unwrap();
    let t = now();
    store.append(batch("a", &rows(t)), Some(1)).await.unwrap();
    let before = contents(&store).await;

    objects.is_full.store(true, Ordering::SeqCst);
    let refused = store.append(batch("b", &rows(t)), Some(2)).await;
    assert!(matches!(refused, Err(AppendError::StorageFull)), "{refused:?}");
    let refused = store.append(batch("c", &rows(t)), Some(3)).await;
    assert!(matches!(refused, Err(AppendError::StorageFull)), "{refused:?}");
    assert_eq!(contents(&store).await, before, "reads go on, and nothing that was refused is seen");

    objects.is_full.store(false, Ordering::SeqCst);
    // The request that was refused half-way is stored once, whether its sender tries again or not.
    let again = store.append(batch("b", &rows(t)), Some(2)).await.unwrap();
    assert!(again.duplicate);
    store.append(batch("c", &rows(t)), Some(3)).await.unwrap();
    let expected = contents(&store).await;
    assert_eq!(expected.len(), 3 * before.len());

    crash(store);
    let store = Store::open_at(settings(unused), Place::objects(objects.clone())).await.unwrap();
    assert_eq!(contents(&store).await, expected);
    objects.is_full.store(true, Ordering::SeqCst);
    let flushing = tokio::spawn({
        let store = store.clone();
        async move { store.flush().await }
    });
    eventually(async || store.counts().flush_failures > 0).await;
    assert_eq!(contents(&store).await, expected, "a head that cannot be flushed is still read");
    objects.is_full.store(false, Ordering::SeqCst);
    flushing.await.unwrap().unwrap();
    assert_eq!(contents(&store).await, expected);
    assert_eq!((store.counts().blocks, store.counts().head_samples), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_whose_answer_is_lost_counts_once() {
    let objects = faulty();
    let unused = std::path::Path::new("unused");
    let store = Store::open_at(settings(unused), Place::objects(objects.clone())).await.unwrap();
    objects.loses_answer.store(true, Ordering::SeqCst);
    store.append(batch("a", &rows(now())), None).await.unwrap();
    let expected = contents(&store).await;
    crash(store);
    let store = Store::open_at(settings(unused), Place::objects(objects)).await.unwrap();
    assert_eq!(contents(&store).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_writer_stops_the_first() {
    let objects = faulty();
    let unused = std::path::Path::new("unused");
    let first = Store::open_at(settings(unused), Place::objects(objects.clone())).await.unwrap();
    first.append(batch("a", &rows(now())), None).await.unwrap();
    let second = Store::open_at(settings(unused), Place::objects(objects)).await.unwrap();
    let refused = first.append(batch("a", &rows(now())), None).await;
    assert!(matches!(refused, Err(AppendError::Unavailable { .. })), "{refused:?}");
    second.append(batch("b", &rows(now())), None).await.unwrap();
    assert_eq!(second.counts().head_samples, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_stood_still_while_others_took_over_acknowledges_nothing() {
    let objects = faulty();
    let unused = std::path::Path::new("unused");
    let first = Store::open_at(settings(unused), Place::objects(objects.clone())).await.unwrap();
    first.append(batch("a", &rows(now())), None).await.unwrap();
    // Others flush what it had, delete the log, and pass and delete the version of the manifest that would be its next.
    for service in ["b", "c", "d", "e"] {
        let other = Store::open_at(settings(unused), Place::objects(objects.clone())).await.unwrap();
        other.append(batch(service, &rows(now())), None).await.unwrap();
        other.close().await.unwrap();
    }
    let last = Store::open_at(settings(unused), Place::objects(objects.clone())).await.unwrap();
    let expected = contents(&last).await;
    last.append(batch("f", &rows(now())), None).await.unwrap();
    let flushed = first.flush().await;
    assert!(flushed.is_err(), "its manifest does not count");
    let refused = first.append(batch("g", &rows(now())), None).await;
    assert!(matches!(refused, Err(AppendError::Unavailable { .. })), "{refused:?}");
    crash(last);
    let store = Store::open_at(settings(unused), Place::objects(objects)).await.unwrap();
    let mut found = contents(&store).await;
    assert_eq!(found.len(), expected.len() + 4, "what was acknowledged last is there too");
    found.retain(|key, _| expected.contains_key(key));
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seal_outlives_the_log_before_it() {
    let objects = faulty();
    let unused = std::path::Path::new("unused");
    let first = Store::open_at(settings(unused), Place::objects(objects.clone())).await.unwrap();
    first.append(batch("a", &rows(now())), None).await.unwrap();
    let second = Store::open_at(settings(unused), Place::objects(objects)).await.unwrap();
    second.close().await.unwrap();
    let refused = first.append(batch("b", &rows(now())), None).await;
    assert!(matches!(refused, Err(AppendError::Unavailable { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn late_samples_get_a_block_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(settings(directory.path())).await.unwrap();
    let (t, late) = (now() - 5_000_000_000, now() - 5 * 86_400_000_000_000);
    store.append(batch("a", &rows(t)), None).await.unwrap();
    store.append(batch("a", &[(STACKS[0], late, 3, ""), (STACKS[1], t, 4, "/x")]), None).await.unwrap();
    let expected = contents(&store).await;
    store.flush().await.unwrap();
    assert_eq!(contents(&store).await, expected);
    let ranges: Vec<_> = store.snapshot().sources.iter().map(|s| s.range()).collect();
    assert_eq!(ranges.len(), 2);
    assert_eq!((ranges[0].start_ns, ranges[0].end_ns), (late, late));
    assert_eq!(ranges[1].start_ns, t);
}

/// Flips one bit in the middle of a file and expects reads to name the block and the file.
async fn check_damage(file: &str) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(settings(directory.path())).await.unwrap();
    store.append(batch("a", &rows(now())), Some(1)).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let blocks = directory.path().join("default/blocks");
    let block = std::fs::read_dir(&blocks).unwrap().next().unwrap().unwrap();
    let path = block.path().join(file);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&path, bytes).unwrap();

    let findings =
        inspect::inspect(&Place::shared_directory(directory.path()).unwrap(), true).await.unwrap().findings;
    let name = block.file_name().into_string().unwrap();
    assert!(findings.iter().any(|f| f.contains(&name) && f.contains(file)), "{file}: {findings:?}");

    // The store starts, and only what needs the file fails.
    let store = Store::open(settings(directory.path())).await.unwrap();
    let mut errors = Vec::new();
    for source in store.snapshot().sources {
        let request = decima_store::source::ScanRequest {
            series: vec![0],
            range: decima_store::source::TimeRange::ALL,
            attributes: Vec::new(),
            with_times: true,
        };
        errors.extend(source.series().await.err());
        errors.extend(source.symbols(&[0]).await.err());
        errors.extend(source.trees(&[0], 0..1).await.err());
        errors.extend(source.scan(&request, &mut |_| {}).await.err());
        errors.extend(source.points(&request, &mut |_, _| {}).await.err());
    }
    let named = errors
        .iter()
        .any(|e| matches!(e, ReadError::Corrupt { block, file: f, .. } if *block == name && f == file));
    // Hashes of requests are read at the start only; without them repeats are not recognised.
    assert_eq!(named, file != "requests.parquet", "{file}: {errors:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_found_in_every_file() {
    for file in [
        "samples.parquet",
        "points.parquet",
        "nodes.parquet",
        "stacktraces.parquet",
        "locations.parquet",
        "series.parquet",
        "attributes.parquet",
        "requests.parquet",
        "block.json",
    ] {
        check_damage(file).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_of_the_manifest_or_the_log_stops_the_start_and_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(settings(directory.path())).await.unwrap();
    store.append(batch("a", &rows(now())), Some(1)).await.unwrap();
    store.flush().await.unwrap();
    store.append(batch("b", &rows(now())), Some(2)).await.unwrap();
    let expected = contents(&store).await;
    crash(store);
    let root = directory.path().join("default");
    let newest = |folder: &str| {
        std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()).max().unwrap()
    };
    for path in [newest("manifest"), newest("log/00000000000000000001")] {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let whole = std::fs::read(&path).unwrap();
        for part in 0..40 {
            let mut damaged = whole.clone();
            damaged[whole.len() * part / 40] ^= 1 << (part % 8);
            std::fs::write(&path, damaged).unwrap();
            let refused = Store::open(settings(directory.path())).await.err();
            let Some(OpenError::Corrupt { object, .. }) = &refused else {
                panic!("{name}, part {part}: {refused:?}")
            };
            assert!(object.ends_with(&name), "{object}");
        }
        std::fs::write(&path, whole).unwrap();
    }
    let store = Store::open(settings(directory.path())).await.unwrap();
    assert_eq!(contents(&store).await, expected, "nothing was changed meanwhile");
    store.close().await.unwrap();
    drop(store);

    // An older manifest is of no use any more, and its damage is told.
    let manifests = std::fs::read_dir(root.join("manifest")).unwrap().map(|entry| entry.unwrap().path());
    let oldest = manifests.min().unwrap();
    let mut damaged = std::fs::read(&oldest).unwrap();
    damaged[30] ^= 1;
    std::fs::write(&oldest, damaged).unwrap();
    let place = Place::shared_directory(directory.path()).unwrap();
    let findings = inspect::inspect(&place, true).await.unwrap().findings;
    let name = oldest.file_name().unwrap().to_str().unwrap();
    assert!(findings.len() == 1 && findings[0].contains(name), "{findings:?}");
    let store = Store::open(settings(directory.path())).await.unwrap();
    assert_eq!(contents(&store).await, expected);
}

/// Every file of a directory.
fn files(directory: &std::path::Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let all = walkdir::WalkDir::new(directory).into_iter().map(|entry| entry.unwrap());
    let files = all.filter(|entry| entry.file_type().is_file());
    files.map(|entry| (entry.path().to_owned(), std::fs::read(entry.path()).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_has_changed_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(settings(directory.path())).await.unwrap();
    store.append(batch("a", &rows(now())), Some(1)).await.unwrap();
    store.flush().await.unwrap();
    for service in ["b", "c", "d"] {
        store.append(batch(service, &rows(now())), None).await.unwrap();
    }
    let expected = contents(&store).await;
    crash(store);
    let root = directory.path().join("default");
    let newest = |folder: &str| {
        std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()).max().unwrap()
    };
    let last = newest("log/00000000000000000001");
    let middle = last.with_file_name(format!("{:020}", 2));
    assert!(middle < last);
    // The next start puts a manifest, after all else was read.
    crash(Store::open(settings(directory.path())).await.unwrap());
    let manifest = newest("manifest");
    let whole = [&middle, &manifest].map(|path| std::fs::read(path).unwrap());
    let mut damaged = whole[0].clone();
    *damaged.last_mut().unwrap() ^= 1;
    std::fs::write(&middle, damaged).unwrap();
    for is_torn in [false, true] {
        if is_torn {
            std::fs::write(&manifest, &whole[1][..whole[1].len() / 2]).unwrap();
        }
        let before = files(directory.path());
        let refused = Store::open(settings(directory.path())).await.err();
        let name = "00000000000000000001/00000000000000000002";
        assert!(
            matches!(&refused, Some(OpenError::Corrupt { object, .. }) if object.ends_with(name)),
            "{refused:?}"
        );
        assert_eq!(files(directory.path()), before, "torn: {is_torn}");
    }
    std::fs::write(&middle, &whole[0]).unwrap();
    // A log elsewhere follows an empty one only.
    let (before, elsewhere) = (files(directory.path()), tempfile::tempdir().unwrap());
    let place = Place::directory(directory.path()).unwrap().with_log_path(elsewhere.path()).unwrap();
    let refused = Store::open_at(settings(directory.path()), place).await.err();
    assert!(matches!(refused, Some(OpenError::LogNotEmpty)), "{refused:?}");
    assert_eq!(files(directory.path()), before);

    let store = Store::open(settings(directory.path())).await.unwrap();
    assert_eq!(contents(&store).await, expected);
    store.close().await.unwrap();
    drop(store);
    let place = Place::shared_directory(directory.path()).unwrap();
    assert_eq!(inspect::inspect(&place, true).await.unwrap().findings, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_without_a_manifest_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(settings(directory.path())).await.unwrap();
    store.append(batch("a", &rows(now())), Some(1)).await.unwrap();
    let expected = contents(&store).await;
    store.close().await.unwrap();
    drop(store);
    let (folder, aside) = (directory.path().join("default/manifest"), directory.path().join("aside"));
    std::fs::rename(&folder, &aside).unwrap();
    let refused = Store::open(settings(directory.path())).await.err();
    assert!(matches!(refused, Some(OpenError::NoManifest)), "{refused:?}");
    std::fs::rename(&aside, &folder).unwrap();
    let store = Store::open(settings(directory.path())).await.unwrap();
    assert_eq!(contents(&store).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_read_up_to_a_torn_end_and_not_beyond_damage() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(settings(directory.path())).await.unwrap();
    let mut contents_after = vec![contents(&store).await];
    for service in ["a", "b", "c"] {
        store.append(batch(service, &rows(now())), None).await.unwrap();
        contents_after.push(contents(&store).await);
    }
    crash(store);
    let log = directory.path().join("default/log/00000000000000000001");
    let object = |seq: u64| log.join(format!("{seq:020}"));
    let whole = std::fs::read(object(2)).unwrap();

    std::fs::write(object(2), &whole[..whole.len() - 1]).unwrap();
    let store = Store::open(settings(directory.path())).await.unwrap();
    assert_eq!(contents(&store).await, contents_after[2], "a torn last object was never acknowledged");
    crash(store);

    let mut damaged = std::fs::read(object(1)).unwrap();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    std::fs::write(object(1), &damaged).unwrap();
    let refused = Store::open(settings(directory.path())).await.err();
    assert!(
        matches!(&refused, Some(OpenError::Corrupt { object, .. }) if object.ends_with("00000000000000000001/00000000000000000001")),
        "{refused:?}"
    );

    std::fs::remove_file(object(1)).unwrap();
    let refused = Store::open(settings(directory.path())).await.err();
    assert!(
        matches!(&refused, Some(OpenError::Corrupt { reason, .. }) if reason.contains("missing")),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_others_are_left_alone_and_listed() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(settings(directory.path())).await.unwrap();
    store.append(batch("a", &rows(now())), None).await.unwrap();
    let expected = contents(&store).await;
    crash(store);
    let epoch = "default/log/00000000000000000001";
    let names = [
        "default/notes.txt".to_owned(),
        "default/blocks/mine/samples.parquet".to_owned(),
        "default/log/old/1".to_owned(),
        "default/log/99/0".to_owned(),
        format!("{epoch}/+7"),
        format!("{epoch}/+0000000000000000007"),
        "default/manifest/latest.json".to_owned(),
        "default/manifest/+0000000000000000007.json".to_owned(),
        "notes.txt".to_owned(),
    ];
    // What is being written has such names, which are not objects.
    let of_writers = ["report#2", "default/my#3", "lost+found/file#1"].map(str::to_owned);
    for name in names.iter().chain(&of_writers) {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "not of the store").unwrap();
    }
    let store = Store::open(settings(directory.path())).await.unwrap();
    assert_eq!(contents(&store).await, expected);
    store.close().await.unwrap();
    drop(store);
    let place = Place::shared_directory(directory.path()).unwrap();
    let inventory = inspect::inspect(&place, true).await.unwrap();
    for name in names.iter().chain(&of_writers[..2]).chain([&"lost+found".to_owned()]) {
        assert!(inventory.unknown.contains(name), "{name}: {:?}", inventory.unknown);
    }
    for name in names.iter().chain(&of_writers) {
        assert!(directory.path().join(name).exists(), "{name} was deleted");
    }
    assert!(inventory.findings.is_empty(), "{:?}", inventory.findings);

    // A name that no object can have hides others, so that nothing is changed beside it.
    let unnamed = directory.path().join(std::ffi::OsStr::from_bytes(b"default/blocks/\xff"));
    std::fs::write(&unnamed, "not of the store").unwrap();
    let refused = Store::open(settings(directory.path())).await.err().unwrap();
    assert!(format!("{refused:?}").contains("blocks/%FF"), "{refused:?}");
    let inventory = inspect::inspect(&place, true).await.unwrap();
    assert!(inventory.findings.iter().any(|finding| finding.contains("blocks")), "{:?}", inventory.findings);
    std::fs::remove_file(unnamed).unwrap();
    let store = Store::open(settings(directory.path())).await.unwrap();
    assert_eq!(contents(&store).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_format_is_refused_with_both_versions_named() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(settings(directory.path())).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let folder = directory.path().join("default/manifest");
    let newest = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).max().unwrap();
    let text = std::fs::read_to_string(&newest).unwrap();
    let newer = text.replace("\"format\": 3", "\"format\": 4");
    assert_ne!(text, newer, "{text}");
    std::fs::write(&newest, newer).unwrap();
    let refused = Store::open(settings(directory.path())).await.err().map(|e| e.to_string()).unwrap();
    assert!(refused.ends_with("manifest format 4, this program reads up to 3"), "{refused}");
}
