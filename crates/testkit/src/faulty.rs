//! A bucket that fails as buckets and disks do, the same way each time for the same seed.
//!
//! ```text
//! connection ─► before ─► (fails) ─► effect ─► after ─► (the answer is lost) ─► answer
//! ```
//! Each process has a [`Connection`] of its own to the one [`Bucket`]. A request is a task: it goes on when whoever waits for it
//! is gone, so that what a process sent before it died takes effect later, whole or [torn](Faults::torn), or not at all. Time
//! is Tokio's, which a test pauses.
//!
//! Invariant: what is said to have failed before its effect had none. All randomness comes from the seed, in the order of the requests;
//! whoever wants the same twice makes the requests in the same order. [`Bucket::journal`] tells them all.

use std::{
    collections::BTreeMap,
    fmt, io,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
    memory::InMemory, path::Path,
};
use tokio::time::Instant;

use crate::random::Random;

/// What goes wrong. Chances are of a thousand requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// How long a request takes to arrive, and its answer to come back, at most each.
    pub latency: Duration,
    /// Requests that take up to [`stall`](Self::stall) to arrive.
    pub slow: usize,
    /// How long a slow request takes to arrive, at most.
    pub stall: Duration,
    /// Requests that fail without any effect.
    pub fails_before: usize,
    /// Requests that do what they are asked for and then fail.
    pub fails_after: usize,
    /// Objects that are put when their process is gone already and of which only a part arrives.
    pub torn: usize,
    /// How long a list may not tell of a change. Each list decides anew, for each object.
    pub list_lag: Duration,
    /// Whether there is no space left but what is deleted from now on.
    pub is_full: bool,
}

impl Faults {
    /// Nothing goes wrong, and nothing takes any time.
    pub const NONE: Self = Self {
        latency: Duration::ZERO,
        slow: 0,
        stall: Duration::ZERO,
        fails_before: 0,
        fails_after: 0,
        torn: 0,
        list_lag: Duration::ZERO,
        is_full: false,
    };
}

/// What a disk gives a file at a time.
const DISK_BLOCK_BYTES: u64 = 4096;

/// The last change of an object.
struct Change {
    at: Instant,
    /// What a list told of it before; `None` = it was not there.
    before: Option<ObjectMeta>,
}

/// A folder and what was put there.
#[derive(Default)]
struct Watched {
    folder: Option<String>,
    objects: BTreeMap<Path, Bytes>,
}

/// Objects, and what happens to the requests for them.
pub struct Bucket {
    objects: InMemory,
    began: Instant,
    random: Mutex<Random>,
    faults: Mutex<Faults>,
    /// Disk blocks that were freed since the disk is full, and not taken again.
    freed_blocks: Mutex<u64>,
    changes: Mutex<BTreeMap<Path, Change>>,
    watched: Mutex<Watched>,
    journal: Mutex<Vec<String>>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty bucket")
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed<T>(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Result<T> {
    Err(Error::Generic { store: "faulty", source: source.into() })
}

impl Bucket {
    /// An empty bucket, whose faults follow from a seed. Must be made in the runtime whose clock it is to go by.
    pub fn new(seed: u64, faults: Faults) -> Arc<Self> {
        Arc::new(Self {
            objects: InMemory::new(),
            began: Instant::now(),
            random: Mutex::new(Random::of(&[seed, 0xB0C_4E7])),
            faults: Mutex::new(faults),
            freed_blocks: Mutex::default(),
            changes: Mutex::default(),
            watched: Mutex::default(),
            journal: Mutex::default(),
        })
    }

    /// The way of a process to the bucket; `name` is the process in the journal.
    pub fn connect(self: &Arc<Self>, name: &str) -> Arc<Connection> {
        Arc::new(Connection {
            line: Arc::new(Line {
                bucket: Arc::clone(self),
                name: name.to_owned(),
                is_cut: AtomicBool::new(false),
            }),
        })
    }

    /// Changes what goes wrong from now on.
    pub fn set(&self, faults: Faults) {
        let before = std::mem::replace(&mut *held(&self.faults), faults);
        if !before.is_full {
            *held(&self.freed_blocks) = 0;
        }
    }

    /// What goes wrong now.
    pub fn faults(&self) -> Faults {
        *held(&self.faults)
    }

    /// The objects themselves, for tests that look behind the faults.
    pub fn objects(&self) -> &dyn ObjectStore {
        &self.objects
    }

    /// Keeps from now on what is put into folders of this name, for [`put_there`](Self::put_there).
    pub fn watch(&self, folder: &str) {
        held(&self.watched).folder = Some(format!("/{folder}/"));
    }

    /// What was first put under each name of the folders that are watched, also if it is deleted since.
    pub fn put_there(&self) -> BTreeMap<Path, Bytes> {
        held(&self.watched).objects.clone()
    }

    fn keep_watched(&self, path: &Path, payload: &PutPayload) {
        let mut watched = held(&self.watched);
        if watched.folder.as_ref().is_some_and(|folder| path.as_ref().contains(folder)) {
            watched.objects.entry(path.clone()).or_insert_with(|| payload.clone().into());
        }
    }

    /// Writes a line into the journal.
    pub fn note(&self, line: fmt::Arguments<'_>) {
        let at = self.began.elapsed();
        held(&self.journal).push(format!("{:>12.3} {line}", at.as_secs_f64()));
    }

    /// Every request so far, with its time and outcome, and what else was [noted](Self::note).
    pub fn journal(&self) -> Vec<String> {
        held(&self.journal).clone()
    }

    fn happens(&self, chance: usize) -> bool {
        chance > 0 && held(&self.random).below(1000) < chance
    }

    fn duration(&self, most: Duration) -> Duration {
        // Milliseconds, which is what Tokio's timers resolve.
        Duration::from_millis(held(&self.random).below(most.as_millis() as usize + 1) as u64)
    }

    async fn remember(&self, path: &Path) {
        let before = self.objects.head(path).await.ok();
        held(&self.changes).insert(path.clone(), Change { at: Instant::now(), before });
    }

    async fn delete(&self, path: &Path) -> Result<()> {
        self.remember(path).await;
        let size_bytes = self.objects.head(path).await.map_or(0, |meta| meta.size);
        self.objects.delete(path).await?;
        self.free(size_bytes);
        Ok(())
    }

    fn free(&self, size_bytes: u64) {
        *held(&self.freed_blocks) += size_bytes.div_ceil(DISK_BLOCK_BYTES);
    }

    /// Takes space for so many bytes, if there is some.
    fn take(&self, size_bytes: u64) -> Result<()> {
        if !self.faults().is_full {
            return Ok(());
        }
        let mut freed = held(&self.freed_blocks);
        match freed.checked_sub(size_bytes.div_ceil(DISK_BLOCK_BYTES)) {
            Some(left) => {
                *freed = left;
                Ok(())
            }
            None => failed(io::Error::from(io::ErrorKind::StorageFull)),
        }
    }

    /// What a list tells: recent changes may be missing in it.
    async fn listed(&self, prefix: Option<&Path>) -> Result<Vec<ObjectMeta>> {
        let lag = self.faults().list_lag;
        let now = self.objects.list(prefix).try_collect::<Vec<_>>().await?;
        let mut told: BTreeMap<Path, ObjectMeta> =
            now.into_iter().map(|meta| (meta.location.clone(), meta)).collect();
        let changes = held(&self.changes);
        for (path, change) in changes.iter() {
            let is_asked_for = prefix.is_none_or(|prefix| path.prefix_match(prefix).is_some());
            if !is_asked_for || change.at.elapsed() >= lag || !self.happens(300) {
                continue;
            }
            match &change.before {
                Some(before) => told.insert(path.clone(), before.clone()),
                None => told.remove(path),
            };
        }
        Ok(told.into_values().collect())
    }
}

/// A process's way to the bucket.
#[derive(Debug)]
pub struct Connection {
    line: Arc<Line>,
}

#[derive(Debug)]
struct Line {
    bucket: Arc<Bucket>,
    name: String,
    is_cut: AtomicBool,
}

impl Connection {
    /// The process is gone: no request begins any more. Those under way may still arrive.
    pub fn cut(&self) {
        self.line.is_cut.store(true, Ordering::SeqCst);
    }

    /// Makes a request: a task, so that it goes on without whoever waits for it.
    async fn request<T: Send + 'static>(
        &self,
        what: String,
        effect: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let line = Arc::clone(&self.line);
        if line.is_cut() {
            return failed("the process is gone");
        }
        let request = tokio::spawn(async move {
            let bucket = &line.bucket;
            let faults = bucket.faults();
            let most = if bucket.happens(faults.slow) { faults.stall } else { faults.latency };
            let (before, after) = (bucket.duration(most), bucket.duration(faults.latency));
            let (fails_before, fails_after) =
                (bucket.happens(faults.fails_before), bucket.happens(faults.fails_after));
            pause(before).await;
            if fails_before {
                bucket.note(format_args!("{} {what}: fails", line.name));
                return failed("the request is lost");
            }
            let outcome = effect.await;
            let told = match &outcome {
                Ok(_) if fails_after => "done, and the answer is lost".to_owned(),
                Ok(_) => "done".to_owned(),
                Err(e) => short(e),
            };
            bucket.note(format_args!("{} {what}: {told}", line.name));
            pause(after).await;
            if fails_after { failed("the answer is lost") } else { outcome }
        });
        match request.await {
            Ok(outcome) => outcome,
            Err(source) => Err(Error::JoinError { source }),
        }
    }
}

async fn pause(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}

fn short(error: &Error) -> String {
    match error {
        Error::NotFound { .. } => "there is none".to_owned(),
        Error::AlreadyExists { .. } => "there is one".to_owned(),
        other => other.to_string(),
    }
}

impl Line {
    fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::SeqCst)
    }

    async fn put(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let faults = self.bucket.faults();
        // A manifest is one small write, which disks and buckets do not tear.
        let may_tear = self.is_cut() && !path.as_ref().contains("/manifest/");
        let payload = if may_tear && self.bucket.happens(faults.torn) {
            let bytes: Vec<u8> = payload.iter().flat_map(|part| part.to_vec()).collect();
            let kept = held(&self.bucket.random).below(bytes.len() + 1);
            self.bucket.note(format_args!("{} {path} is torn at {kept} of {}", self.name, bytes.len()));
            bytes[..kept].to_vec().into()
        } else {
            payload
        };
        self.bucket.remember(path).await;
        let put = self.bucket.objects.put_opts(path, payload.clone(), options).await?;
        self.bucket.keep_watched(path, &payload);
        Ok(put)
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty bucket of {}", self.line.name)
    }
}

#[async_trait]
impl ObjectStore for Connection {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let what = format!("put {path} of {} bytes", payload.content_length());
        let (line, path) = (Arc::clone(&self.line), path.clone());
        let effect = async move {
            let size_bytes = payload.content_length() as u64;
            line.bucket.take(size_bytes)?;
            let outcome = line.put(&path, payload, options).await;
            if outcome.is_err() {
                line.bucket.free(size_bytes);
            }
            outcome
        };
        self.request(what, effect).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(Upload { line: Arc::clone(&self.line), path: path.clone(), parts: Arc::default() }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let what = format!("get {path}");
        let (line, path) = (Arc::clone(&self.line), path.clone());
        self.request(what, async move { line.bucket.objects.get_opts(&path, options).await }).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let what = format!("get {path} {ranges:?}");
        let (line, path, ranges) = (Arc::clone(&self.line), path.clone(), ranges.to_vec());
        self.request(what, async move { line.bucket.objects.get_ranges(&path, &ranges).await }).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let connection = Self { line: Arc::clone(&self.line) };
        let deleted = paths.then(move |path| {
            let connection = Self { line: Arc::clone(&connection.line) };
            async move {
                let path = path?;
                let (line, deleted) = (Arc::clone(&connection.line), path.clone());
                let effect = async move { line.bucket.delete(&deleted).await };
                connection.request(format!("delete {path}"), effect).await.map(|()| path)
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let connection = Self { line: Arc::clone(&self.line) };
        let prefix = prefix.cloned();
        stream::once(async move {
            let what = format!("list {}", prefix.as_ref().map_or("", |prefix| prefix.as_ref()));
            let line = Arc::clone(&connection.line);
            connection.request(what, async move { line.bucket.listed(prefix.as_ref()).await }).await
        })
        .map_ok(|metas| stream::iter(metas).map(Ok))
        .try_flatten()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let what = format!("list {} by folder", prefix.map_or("", |prefix| prefix.as_ref()));
        let (line, prefix) = (Arc::clone(&self.line), prefix.cloned());
        self.request(what, async move { line.bucket.objects.list_with_delimiter(prefix.as_ref()).await })
            .await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let what = format!("copy {from} to {to}");
        let (line, from, to) = (Arc::clone(&self.line), from.clone(), to.clone());
        self.request(what, async move {
            line.bucket.remember(&to).await;
            line.bucket.objects.copy_opts(&from, &to, options).await
        })
        .await
    }
}

/// An upload in parts, which is an object once it is complete.
#[derive(Debug)]
struct Upload {
    line: Arc<Line>,
    path: Path,
    parts: Arc<Mutex<Vec<Bytes>>>,
}

impl Upload {
    fn connection(&self) -> Connection {
        Connection { line: Arc::clone(&self.line) }
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (connection, parts, path) = (self.connection(), Arc::clone(&self.parts), self.path.clone());
        let place = {
            let mut parts = held(&parts);
            parts.push(Bytes::new());
            parts.len() - 1
        };
        Box::pin(async move {
            let line = Arc::clone(&connection.line);
            let effect = async move {
                line.bucket.take(data.content_length() as u64)?;
                held(&parts)[place] = data.into();
                Ok(())
            };
            connection.request(format!("put part {place} of {path}"), effect).await
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let parts: Vec<u8> = held(&self.parts).iter().flat_map(|part| part.to_vec()).collect();
        let (line, path) = (Arc::clone(&self.line), self.path.clone());
        let what = format!("complete {path} of {} bytes", parts.len());
        let effect = async move { line.put(&path, parts.into(), PutOptions::default()).await };
        self.connection().request(what, effect).await
    }

    async fn abort(&mut self) -> Result<()> {
        for part in held(&self.parts).drain(..) {
            self.line.bucket.free(part.len() as u64);
        }
        Ok(())
    }
}
