//! Requests on disk until the remote store has them.
//!
//! ```text
//! append ─► queue ─► writer: all that wait make one segment ─► object, fsynced ─► answered
//!                                                                  │
//!                           take (oldest first) ◄── index ◄────────┘        finish ─► object deleted
//! ```
//! Constraints: a segment is put once and never changed, so that a crash leaves it whole or absent; its name says how many
//! requests it holds and how old they are, so that a start reads no segment. Invariants: what was answered is durable; the
//! sizes of all segments stay below the bound, for which the oldest ones that nobody reads are dropped first; every request
//! that is dropped is counted with its reason. A request whose segment was not finished when the process ended is handed out
//! again: at least once, never less. One process has a spool at a time.

mod segment;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    error::Error,
    fs::File,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use decima_base::ErrorKind;
use futures::TryStreamExt as _;
use object_store::{
    ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, local::LocalFileSystem,
    path::Path,
};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tracing::warn;

use crate::{
    clock,
    counts::{ByMethod, Counters, Counts, DropReason},
    record::Record,
};

/// Segments are closed at this size: small enough that dropping or repeating one is little, large enough that hundreds of
/// senders share an fsync.
pub(crate) const SEGMENT_BYTES: usize = 8 << 20;
/// Requests of one segment, for the same reasons.
const SEGMENT_REQUESTS: usize = 1024;
/// Bytes of requests that wait to be written; further senders wait. Twice the largest message.
const WAITING_BYTES_MAX: usize = 128 << 20;
/// Requests that wait.
const WAITING_REQUESTS_MAX: usize = 4096;
/// Times that a segment is tried to be read.
const READ_TRIES: u32 = 3;
/// Time between these.
const READ_PAUSE: Duration = Duration::from_millis(100);

/// Bounds of a spool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Bytes of all segments.
    pub(crate) size_bytes_max: u64,
    /// Requests that are older are dropped.
    pub(crate) age_max: Duration,
}

/// A spool that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made or locked.
    #[error("the spool in {path} cannot be opened")]
    Directory {
        /// Of the spool.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process forwards from it.
    #[error("the spool in {path} is in use by another process")]
    Locked {
        /// Of the spool.
        path: String,
    },
    /// Its segments cannot be listed.
    #[error("the segments of the spool cannot be listed")]
    List(#[source] object_store::Error),
}

/// A request that is not in the spool.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SpoolError {
    /// It does not fit, even with everything dropped that may be.
    #[error("the spool is full: {size_bytes} bytes do not fit into --spool-max-bytes")]
    Full {
        /// Of the request.
        size_bytes: u64,
    },
    /// The disk did not take it.
    #[error("the spool cannot be written")]
    Write(#[source] Arc<object_store::Error>),
    /// The process is stopping.
    #[error("the forwarder is stopping")]
    Closed,
}

impl SpoolError {
    /// What the sender can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Full { .. } => ErrorKind::ResourceExhausted,
            Self::Write(_) | Self::Closed => ErrorKind::Unavailable,
        }
    }
}

/// A spool. Clones share it; what waits is written even if nobody holds one any more.
#[derive(Clone)]
pub(crate) struct Spool {
    shared: Arc<Shared>,
    waiting: mpsc::Sender<Waiting>,
    waiting_bytes: Arc<Semaphore>,
}

struct Waiting {
    record: Bytes,
    received_ms: i64,
    answer: oneshot::Sender<Result<(), SpoolError>>,
}

struct Shared {
    objects: Arc<dyn ObjectStore>,
    bounds: Bounds,
    index: Mutex<Index>,
    arrived: Notify,
    counters: Arc<Counters>,
    /// Held for as long as the spool is open.
    _lock: Option<Arc<File>>,
}

/// The directory of a spool. It is this process's for as long as a clone is held.
#[derive(Clone)]
pub(crate) struct Directory {
    pub(crate) objects: Arc<dyn ObjectStore>,
    lock: Option<Arc<File>>,
}

impl Directory {
    /// Locks a directory, which is made if it is not there, and removes what a killed process was writing.
    pub(crate) fn open(path: &std::path::Path) -> Result<Self, OpenError> {
        let (lock, objects) = open_directory(path)?;
        Ok(Self { objects, lock: Some(Arc::new(lock)) })
    }

    /// Nobody else's from the beginning.
    #[cfg(test)]
    pub(crate) fn of(objects: Arc<dyn ObjectStore>) -> Self {
        Self { objects, lock: None }
    }
}

/// The segments that there are. Those before `next_take` are being sent.
#[derive(Default)]
struct Index {
    segments: BTreeMap<u64, Segment>,
    size_bytes: u64,
    next_put: u64,
    next_take: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    requests: u64,
    newest_ms: i64,
    size_bytes: u64,
}

/// A segment that is handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    number: u64,
    segment: Segment,
}

impl Taken {
    /// Of the segment.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// On disk.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.segment.size_bytes
    }

    /// As many as its name tells.
    pub(crate) fn requests(&self) -> u64 {
        self.segment.requests
    }
}

impl Index {
    fn add(&mut self, number: u64, segment: Segment) {
        self.size_bytes += segment.size_bytes;
        self.next_put = self.next_put.max(number + 1);
        self.segments.insert(number, segment);
    }

    fn remove(&mut self, number: u64) -> Option<Segment> {
        let segment = self.segments.remove(&number)?;
        self.size_bytes -= segment.size_bytes;
        Some(segment)
    }

    /// The oldest segment that is not being sent.
    fn oldest(&self) -> Option<(u64, Segment)> {
        self.segments.range(self.next_take..).next().map(|(&number, &segment)| (number, segment))
    }
}

impl Spool {
    /// Opens the spool in a directory. Must be called in a Tokio runtime.
    pub(crate) async fn open(
        directory: Directory,
        bounds: Bounds,
        counters: Arc<Counters>,
    ) -> Result<Self, OpenError> {
        let Directory { objects, lock } = directory;
        let listed: Vec<ObjectMeta> = objects.list(None).try_collect().await.map_err(OpenError::List)?;
        let mut index = Index::default();
        for object in listed {
            if let Some((number, segment)) = parse_name(object.location.as_ref(), object.size) {
                index.add(number, segment);
            }
        }
        index.next_take = index.segments.keys().next().copied().unwrap_or(index.next_put);
        let shared = Arc::new(Shared {
            objects,
            bounds,
            index: Mutex::new(index),
            arrived: Notify::new(),
            counters,
            _lock: lock,
        });
        shared.make_room(0).await;
        let (waiting, queue) = mpsc::channel(WAITING_REQUESTS_MAX);
        tokio::spawn(shared.clone().write(queue));
        Ok(Self { shared, waiting, waiting_bytes: Arc::new(Semaphore::new(WAITING_BYTES_MAX)) })
    }

    /// Puts a request on disk. When this returns it survives whatever happens to the process.
    pub(crate) async fn append(&self, record: Record) -> Result<(), SpoolError> {
        let (method, received_ms) = (record.method, record.received_ms);
        let record = record.encode();
        let size_bytes = record.len();
        if size_bytes as u64 > self.shared.bounds.size_bytes_max {
            return Err(SpoolError::Full { size_bytes: size_bytes as u64 });
        }
        let weight = u32::try_from(size_bytes.min(WAITING_BYTES_MAX)).unwrap_or(u32::MAX);
        let _room = self.waiting_bytes.acquire_many(weight).await.map_err(|_| SpoolError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { record, received_ms, answer };
        self.waiting.send(waiting).await.map_err(|_| SpoolError::Closed)?;
        answered.await.map_err(|_| SpoolError::Closed)??;
        self.shared.counters.spooled(method);
        Ok(())
    }

    /// Hands out the oldest segment that was not handed out; waits for one if there is none.
    pub(crate) async fn take(&self) -> Taken {
        loop {
            let arrived = self.shared.arrived.notified();
            {
                let mut index = self.shared.index.lock();
                if let Some((number, segment)) = index.oldest() {
                    index.next_take = number + 1;
                    return Taken { number, segment };
                }
            }
            arrived.await;
        }
    }

    /// The newest segment that was not handed out, which it is not by this.
    pub(crate) fn newest(&self) -> Option<Taken> {
        let index = self.shared.index.lock();
        let (&number, &segment) = index.segments.range(index.next_take..).next_back()?;
        Some(Taken { number, segment })
    }

    /// Whether a segment is still there and was not handed out.
    pub(crate) fn is_waiting(&self, segment: Taken) -> bool {
        let index = self.shared.index.lock();
        segment.number >= index.next_take && index.segments.contains_key(&segment.number)
    }

    /// The requests of a segment that can be read.
    pub(crate) async fn peek(&self, taken: Taken) -> Vec<Record> {
        self.shared.records(taken.number, &taken.segment).await
    }

    /// The requests of a segment, in order. Those that cannot be read are dropped.
    pub(crate) async fn read(&self, taken: Taken) -> Vec<Record> {
        let Taken { number, segment } = taken;
        let mut tried = 1;
        let bytes = loop {
            let read = async { self.shared.objects.get(&path(number, &segment)).await?.bytes().await };
            match read.await {
                Ok(bytes) => break bytes,
                Err(error) if tried == READ_TRIES => {
                    let lost = ByMethod::unknown(segment.requests);
                    self.shared.counters.dropped(DropReason::Damaged, &lost, &chain(&error));
                    return Vec::new();
                }
                Err(_) => {}
            }
            tried += 1;
            tokio::time::sleep(READ_PAUSE).await;
        };
        let decoded = segment::decode(&bytes);
        // The name says how many there were: one that ends between two requests looks whole otherwise.
        let lost = segment.requests.saturating_sub(decoded.records.len() as u64);
        if lost > 0 || decoded.damaged_at.is_some() {
            let offset = decoded.damaged_at.unwrap_or(bytes.len());
            let detail = format!("segment {number} is damaged at byte {offset}");
            self.shared.counters.dropped(DropReason::Damaged, &ByMethod::unknown(lost), &detail);
        }
        decoded.records
    }

    /// Everything of a segment has arrived, or is dropped.
    pub(crate) async fn finish(&self, taken: Taken) {
        self.shared.index.lock().remove(taken.number);
        self.shared.delete(taken.number, &taken.segment).await;
    }

    /// Drops the segments whose requests are all too old and that nobody reads.
    pub(crate) async fn drop_old(&self, now_ms: i64) {
        let age_max_ms = i64::try_from(self.shared.bounds.age_max.as_millis()).unwrap_or(i64::MAX);
        loop {
            let removed = {
                let mut index = self.shared.index.lock();
                match index.oldest() {
                    Some((number, segment)) if now_ms.saturating_sub(segment.newest_ms) > age_max_ms => {
                        index.remove(number);
                        (number, segment)
                    }
                    _ => return,
                }
            };
            let (number, segment) = removed;
            let methods = self.shared.methods(number, &segment).await;
            self.shared.delete(number, &segment).await;
            self.shared.counters.dropped(DropReason::Age, &methods, "older than --spool-max-age");
        }
    }

    /// Adds what is in the spool to the numbers.
    pub(crate) fn describe(&self, counts: &mut Counts) {
        let index = self.shared.index.lock();
        counts.spool_bytes = index.size_bytes;
        counts.spool_bytes_max = self.shared.bounds.size_bytes_max;
        counts.spool_requests = index.segments.values().map(|segment| segment.requests).sum();
        counts.spool_oldest_ms = index.segments.values().next().map(|segment| segment.newest_ms);
    }
}

impl Shared {
    /// Writes what waits, until nobody can append any more.
    async fn write(self: Arc<Self>, mut queue: mpsc::Receiver<Waiting>) {
        while let Some(first) = queue.recv().await {
            let mut size_bytes = first.record.len();
            let mut batch = VecDeque::from([first]);
            while size_bytes < SEGMENT_BYTES && batch.len() < SEGMENT_REQUESTS {
                let Ok(next) = queue.try_recv() else { break };
                size_bytes += next.record.len();
                batch.push_back(next);
            }
            let outcome = self.put(&batch).await;
            if let Err(error) = &outcome {
                warn!(error = %chain(error), requests = batch.len(), "requests are refused");
            }
            for waiting in batch {
                // Nobody waits for the answer if the sender is gone.
                let _ = waiting.answer.send(outcome.clone());
            }
        }
    }

    async fn put(&self, batch: &VecDeque<Waiting>) -> Result<(), SpoolError> {
        let records: Vec<_> = batch.iter().map(|waiting| waiting.record.clone()).collect();
        let size_bytes = segment::size_bytes(records.iter().map(Bytes::len)) as u64;
        if !self.make_room(size_bytes).await {
            return Err(SpoolError::Full { size_bytes });
        }
        let newest_ms = batch.iter().map(|waiting| waiting.received_ms).max().unwrap_or_else(clock::now_ms);
        let segment = Segment { requests: batch.len() as u64, newest_ms, size_bytes };
        let number = {
            let mut index = self.index.lock();
            let number = index.next_put;
            // Also if writing fails: what a failed write left behind must not be in the way of the next.
            index.next_put += 1;
            number
        };
        let payload = PutPayload::from(segment::encode(&records));
        let options = PutOptions::from(PutMode::Overwrite);
        self.objects
            .put_opts(&path(number, &segment), payload, options)
            .await
            .map_err(|error| SpoolError::Write(Arc::new(error)))?;
        self.index.lock().add(number, segment);
        self.arrived.notify_one();
        Ok(())
    }

    /// Drops the oldest segments until so many bytes fit; whether they do.
    async fn make_room(&self, size_bytes: u64) -> bool {
        loop {
            let removed = {
                let mut index = self.index.lock();
                if index.size_bytes.saturating_add(size_bytes) <= self.bounds.size_bytes_max {
                    return true;
                }
                let Some((number, segment)) = index.oldest() else { return false };
                index.remove(number);
                (number, segment)
            };
            let (number, segment) = removed;
            let methods = self.methods(number, &segment).await;
            self.delete(number, &segment).await;
            self.counters.dropped(DropReason::SpoolFull, &methods, "beyond --spool-max-bytes");
        }
    }

    /// The methods of a segment that is dropped, for the log.
    async fn methods(&self, number: u64, segment: &Segment) -> ByMethod {
        // What cannot be read is dropped all the same.
        let records = self.records(number, segment).await;
        ByMethod::of(records.into_iter().map(|record| record.method), segment.requests)
    }

    /// The requests of a segment that can be read.
    async fn records(&self, number: u64, segment: &Segment) -> Vec<Record> {
        let read = async { self.objects.get(&path(number, segment)).await?.bytes().await };
        read.await.map_or_else(|_| Vec::new(), |bytes| segment::decode(&bytes).records)
    }

    /// Deletes a segment that the index does not have any more. One that stays is sent again after the next start.
    async fn delete(&self, number: u64, segment: &Segment) {
        match self.objects.delete(&path(number, segment)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => warn!(number, error = %chain(&error), "a segment of the spool cannot be deleted"),
        }
    }
}

/// `<number>-<requests>-<newest>`: numbers in decimal, the first of twenty digits, the last a Unix time in milliseconds.
fn path(number: u64, segment: &Segment) -> Path {
    Path::from(format!("{number:020}-{}-{}", segment.requests, segment.newest_ms))
}

fn parse_name(name: &str, size_bytes: u64) -> Option<(u64, Segment)> {
    let mut parts = name.splitn(3, '-');
    let number = parts.next()?.parse().ok().filter(|&number| number < u64::MAX)?;
    let requests = parts.next()?.parse().ok()?;
    let newest_ms = parts.next()?.parse().ok()?;
    Some((number, Segment { requests, newest_ms, size_bytes }))
}

/// Locks the directory, removes what a killed process was writing, and opens it as an object store.
fn open_directory(path: &std::path::Path) -> Result<(File, Arc<dyn ObjectStore>), OpenError> {
    let directory = |source| OpenError::Directory { path: path.display().to_string(), source };
    std::fs::create_dir_all(path).map_err(directory)?;
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.join("lock"))
        .map_err(directory)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            return Err(OpenError::Locked { path: path.display().to_string() });
        }
        Err(std::fs::TryLockError::Error(source)) => return Err(directory(source)),
    }
    for entry in std::fs::read_dir(path).map_err(directory)? {
        let entry = entry.map_err(directory)?;
        // What is being written is called `name#1` until it is whole; the object store does not list it.
        if entry.file_name().to_str().is_some_and(|name| name.contains('#')) {
            std::fs::remove_file(entry.path()).map_err(directory)?;
        }
    }
    let objects = LocalFileSystem::new_with_prefix(path).map_err(OpenError::List)?.with_fsync(true);
    Ok((lock, Arc::new(objects)))
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some libraries repeat their causes.
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
