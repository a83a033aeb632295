//! A crash after any change of the storage: the changes of one life of a store are recorded, and each prefix of them is opened.
//!
//! The model: what was acknowledged within the prefix is there, nothing is there twice, a request is there whole or not at
//! all; and that stays true of the store that comes up, through its own flush and the next crash.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use decima_store::{Place, Store};
use futures::{StreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};

use tokio::sync::Semaphore;

use crate::{
    batches::{batch, contents},
    durability::{crash, now, rows, settings},
};

/// One change: an object put, or deleted.
pub(crate) type Change = (Path, Option<PutPayload>);

/// Records what changes, in order.
#[derive(Debug)]
pub(crate) struct Recorder {
    inner: InMemory,
    changes: Arc<Mutex<Vec<Change>>>,
    /// Files of blocks wait for one of its permits, so that requests arrive between the freeze of a head and its block.
    gate: Semaphore,
    waits: AtomicBool,
}

impl Recorder {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: InMemory::new(),
            changes: Arc::default(),
            gate: Semaphore::new(0),
            waits: AtomicBool::new(false),
        })
    }

    fn note(&self, path: &Path, payload: Option<PutPayload>) {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).push((path.clone(), payload));
    }

    /// Lets files of blocks be put without waiting.
    pub(crate) fn open_gate(&self) {
        self.gate.add_permits(10_000);
    }

    pub(crate) fn changes(&self) -> Vec<Change> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl std::fmt::Display for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("recorder")
    }
}

#[async_trait]
impl ObjectStore for Recorder {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if path.as_ref().contains("/blocks/") {
            self.waits.store(true, Ordering::SeqCst);
            let permit = self.gate.acquire().await.map_err(|source| object_store::Error::Generic {
                store: "recorder",
                source: Box::new(source),
            })?;
            permit.forget();
        }
        let result = self.inner.put_opts(path, payload.clone(), options).await?;
        self.note(path, Some(payload));
        Ok(result)
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

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let changes = self.changes.clone();
        let deleted = self.inner.delete_stream(paths).inspect(move |path| {
            if let Ok(path) = path {
                changes.lock().unwrap_or_else(PoisonError::into_inner).push((path.clone(), None));
            }
        });
        deleted.boxed()
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

/// When a request was sent and acknowledged, in changes recorded so far.
struct Sent {
    service: String,
    sent_at: usize,
    acknowledged_at: usize,
    contents: BTreeMap<String, i64>,
}

const UNUSED: &str = "unused";

const DAY_NS: i64 = 86_400_000_000_000;

/// A time in the window of two hours that is not over: its blocks are merged when a test says so.
fn current_window() -> i64 {
    let width_ns = 2 * 3_600_000_000_000;
    now().div_euclid(width_ns) * width_ns
}

/// A store's life: requests, three flushes with requests meanwhile, a crash in between, a compaction at the end.
async fn live(objects: &Arc<Recorder>) -> Vec<Sent> {
    let mut sent = Vec::new();
    let first_ns = current_window();
    for life in 0..2 {
        let store = Store::open_at(settings(UNUSED.as_ref()), Place::objects(objects.clone())).await.unwrap();
        for round in 0..2 {
            let flushing = (round == 1).then(|| {
                let store = store.clone();
                tokio::spawn(async move { store.flush().await })
            });
            while flushing.is_some() && !objects.waits.swap(false, Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            for request in 0..6i64 {
                // The last requests of a round arrive while its files are written.
                objects.gate.add_permits(if flushing.is_some() && request > 2 { 3 } else { 0 });
                let service = format!("life{life}-round{round}-request{request}");
                let sent_at = objects.count();
                store.append(batch(&service, &rows(first_ns + request)), None).await.unwrap();
                let acknowledged_at = objects.count();
                let of_service =
                    |(key, value): (String, i64)| key.starts_with(&service).then_some((key, value));
                let contents = contents(&store).await.into_iter().filter_map(of_service).collect();
                sent.push(Sent { service, sent_at, acknowledged_at, contents });
            }
            if let Some(flushing) = flushing {
                objects.gate.add_permits(100);
                flushing.await.unwrap().unwrap();
                objects.gate.forget_permits(usize::MAX);
                objects.waits.store(false, Ordering::SeqCst);
            }
        }
        if life == 1 {
            objects.gate.add_permits(100);
            store.flush().await.unwrap();
            assert_eq!(store.compact(now() + DAY_NS).await.unwrap(), 3, "blocks become one");
            objects.gate.forget_permits(usize::MAX);
        }
        crash(store);
    }
    sent
}

/// What of the requests a store that comes up after `count` changes must hold, and does.
fn check(found: &BTreeMap<String, i64>, sent: &[Sent], count: usize, when: &str) {
    let mut expected = BTreeMap::new();
    for request in sent {
        let is_there = found.keys().any(|key| key.starts_with(&request.service));
        let must = request.acknowledged_at <= count;
        let may = request.sent_at <= count;
        assert!(is_there || !must, "{} is lost after {count} changes, {when}", request.service);
        assert!(may || !is_there, "{} is there after {count} changes, {when}", request.service);
        if is_there {
            expected.extend(request.contents.clone());
        }
    }
    assert_eq!(*found, expected, "after {count} changes, {when}");
}

/// The storage after these changes.
pub(crate) async fn replayed(changes: &[Change]) -> Arc<InMemory> {
    let objects = Arc::new(InMemory::new());
    for (path, payload) in changes {
        match payload {
            Some(payload) => {
                objects.put(path, payload.clone()).await.unwrap();
            }
            None => objects.delete(path).await.unwrap(),
        }
    }
    objects
}

/// Opens, reads, flushes while a request arrives, crashes, opens again.
async fn check_prefix(objects: Arc<InMemory>, sent: &[Sent], count: usize) {
    let open = async || {
        let store = Store::open_at(settings(UNUSED.as_ref()), Place::objects(objects.clone())).await;
        store.unwrap_or_else(|e| panic!("after {count} changes: {e}"))
    };
    let store = open().await;
    check(&contents(&store).await, sent, count, "at the start");
    crash(store);
    let store = open().await;
    check(&contents(&store).await, sent, count, "at the second start");
    store.append(batch("later", &rows(now())), None).await.unwrap();
    store.flush().await.unwrap();
    let is_older = |key: &String| !key.starts_with("later");
    let mut held = contents(&store).await;
    held.retain(|key, _| is_older(key));
    check(&held, sent, count, "after a flush");
    store.compact(now() + DAY_NS).await.unwrap();
    let mut held = contents(&store).await;
    held.retain(|key, _| is_older(key));
    check(&held, sent, count, "after a compaction");
    store.close().await.unwrap();
    let store = open().await;
    let mut held = contents(&store).await;
    let before = held.len();
    held.retain(|key, _| is_older(key));
    assert!(held.len() < before, "what came after the crash is kept too");
    check(&held, sent, count, "after a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_prefix_of_changes_opens_with_all_that_was_acknowledged() {
    let objects = Recorder::new();
    let sent = live(&objects).await;
    let changes = objects.changes();
    assert!(changes.len() > 60, "{} changes", changes.len());
    let (changes, sent) = (&changes, &sent);
    let checks = (0..=changes.len()).map(async |count| {
        check_prefix(replayed(&changes[..count]).await, sent, count).await;
    });
    // A crash is mostly waiting for the threads of the store to notice.
    futures::stream::iter(checks).buffer_unordered(8).collect::<Vec<()>>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_last_object_is_as_if_it_had_not_been_written() {
    let objects = Recorder::new();
    let sent = live(&objects).await;
    let changes = objects.changes();
    let mut torn: BTreeMap<&str, usize> = BTreeMap::new();
    for count in 1..=changes.len() {
        let (path, Some(payload)) = &changes[count - 1] else { continue };
        let bytes = payload.iter().flat_map(|part| part.to_vec()).collect::<Vec<u8>>();
        // Files of one block are cut by the same rule: one look at some is enough.
        let (kind, parts) = match path.as_ref() {
            path if path.contains("/log/") => ("log", if bytes.len() > 64 { 2 } else { 3 }),
            path if path.contains("/manifest/") => ("manifest", 4),
            path if path.ends_with("block.json") || path.ends_with("samples.parquet") => ("block", 2),
            _ => continue,
        };
        *torn.entry(kind).or_default() += 1;
        let part = 1 + count % (parts - 1);
        let objects = replayed(&changes[..count - 1]).await;
        objects.put(path, bytes[..bytes.len() * part / parts].to_vec().into()).await.unwrap();
        check_prefix(objects, &sent, count - 1).await;
    }
    assert!(torn["log"] > 20 && torn["manifest"] > 4 && torn["block"] > 6, "{torn:?}");
}
