//! Object files on disk until the remote store has answered for them.
//!
//! ```text
//! announce ─► receive: chunks ─► staging ─► object of bytes, fsynced ─► complete: record, fsynced ─► acknowledged, waits
//!                                                                            take ─► finish: record, bytes deleted
//! ```
//! Constraints: bytes are there before the record that names them, and go after it, so that a crash leaves a file that waits
//! whole, or bytes that nobody names, which a start removes. Invariants: a file that was acknowledged survives whatever
//! happens to the process; the bytes of all files, those announced included, stay below the bound, beyond which none is
//! announced: nothing here is dropped to make room. What is being received is forgotten when the process ends: its sender's
//! call fails with it. A file is known by build ID and kind as its sender named it, and by no other name: a Parca knows files
//! by these.

mod upload_sink;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use decima_debuginfo::{DebuginfoError, decision::Reason};
use futures::TryStreamExt as _;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _, path::Path};
use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

pub use self::upload_sink::UploadSink;
use super::{
    UploadError,
    counts::{FileCounters, FileCounts},
    delivery::Attempts,
    record::{FileRecord, Name},
};
use crate::{clock, counts::DropReason, settings::ObjectFiles, spool::Directory};

/// Begins the names of objects; those of segments begin with a digit.
const PREFIX: &str = "debuginfo-";
/// Ends those of records.
const RECORD: &str = ".record";
/// Files that wait or are being received: each is held in memory by name.
const FILES_MAX: usize = 16_384;
/// Without so much room no sender is told to upload: programs are larger.
const ROOM_MIN_BYTES: u64 = 1 << 20;
/// How long after the time for an upload has passed its place is kept, as Parca does.
const STALE_GRACE: Duration = Duration::from_secs(120);
/// Read at one time.
pub(crate) const CHUNK_BYTES: u64 = 1 << 20;

/// What a sender says of a file before it sends it.
#[derive(Debug, Clone)]
pub(crate) struct Announcement {
    pub(crate) build_id_type: i32,
    pub(crate) hash: String,
    pub(crate) force: bool,
    pub(crate) size_bytes: u64,
}

/// The object files of a spool.
pub(crate) struct Files {
    objects: Arc<dyn ObjectStore>,
    bounds: ObjectFiles,
    age_max: Duration,
    index: Mutex<Index>,
    /// What is being received is announced, becomes complete or is forgotten one at a time.
    changes: tokio::sync::Mutex<()>,
    changed: Notify,
    pub(crate) counters: FileCounters,
    /// Keeps other processes out for as long as files are open.
    _directory: Directory,
}

#[derive(Default)]
struct Index {
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
    numbers: HashMap<Name, u64>,
    receiving: HashMap<Name, Receiving>,
    /// Before that, nothing is handed out: the remote store is away.
    not_before: Option<Instant>,
}

struct Waiting {
    record: Arc<FileRecord>,
    /// `None` while the file is on its way.
    attempts: Option<Attempts>,
    ready_at: Instant,
}

struct Receiving {
    upload_id: String,
    announcement: Announcement,
    since: Instant,
    part: Part,
}

/// How far a file is that is being received.
enum Part {
    Announced,
    Arriving,
    /// Its bytes are durable under this number.
    Arrived {
        number: u64,
        checksum: u64,
    },
}

/// A file that is handed out.
pub(crate) struct Taken {
    pub(crate) number: u64,
    pub(crate) record: Arc<FileRecord>,
    pub(crate) attempts: Attempts,
}

/// A file whose bytes are not what was received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Damage {
    /// They cannot be read.
    #[error("its bytes cannot be read")]
    Read(#[source] object_store::Error),
    /// They are others.
    #[error("its bytes have the checksum {found:016x}, and had {expected:016x}")]
    Checksum { expected: u64, found: u64 },
}

impl Index {
    fn size_bytes(&self) -> u64 {
        let waiting = self.waiting.values().map(|waiting| waiting.record.size_bytes);
        let receiving = self.receiving.values().map(|receiving| receiving.announcement.size_bytes);
        waiting.chain(receiving).fold(0, u64::saturating_add)
    }

    fn add(&mut self, number: u64, record: FileRecord) {
        self.next = self.next.max(number + 1);
        self.numbers.insert(record.name.clone(), number);
        let (attempts, ready_at) = (Some(Attempts::default()), Instant::now());
        self.waiting.insert(number, Waiting { record: Arc::new(record), attempts, ready_at });
    }

    fn remove(&mut self, number: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&number)?;
        if self.numbers.get(&waiting.record.name) == Some(&number) {
            self.numbers.remove(&waiting.record.name);
        }
        Some(waiting)
    }

    /// Hands out the file whose time came first, or tells how long to wait for one.
    fn take(&mut self, now: Instant) -> Result<Taken, Option<Duration>> {
        if let Some(wait) = self.not_before.and_then(|at| at.checked_duration_since(now))
            && !wait.is_zero()
        {
            return Err(Some(wait));
        }
        let waiting = self.waiting.iter_mut().filter(|(_, waiting)| waiting.attempts.is_some());
        let Some((&number, first)) = waiting.min_by_key(|(_, waiting)| waiting.ready_at) else {
            return Err(None);
        };
        match first.ready_at.checked_duration_since(now).filter(|wait| !wait.is_zero()) {
            Some(wait) => Err(Some(wait)),
            None => {
                let attempts = first.attempts.take().unwrap_or_default();
                Ok(Taken { number, record: first.record.clone(), attempts })
            }
        }
    }

    /// What is known of a file here; `None` if nothing is.
    fn known(&self, name: &Name, force: bool) -> Option<Reason> {
        let is_known = self.numbers.contains_key(name) || self.receiving.contains_key(name);
        // Also of a file that waits: its sender asks again, and hears then what became of it.
        is_known.then_some(if force { Reason::UploadInProgressForced } else { Reason::UploadInProgress })
    }

    fn files(&self) -> usize {
        self.waiting.len() + self.receiving.len()
    }
}

impl Files {
    /// Reads what waits, and removes what was being received.
    pub(crate) async fn open(
        directory: Directory,
        bounds: ObjectFiles,
        age_max: Duration,
    ) -> Result<Arc<Self>, object_store::Error> {
        let objects = directory.objects.clone();
        let counters = FileCounters::default();
        let listed: Vec<ObjectMeta> = objects.list(None).try_collect().await?;
        let mut bytes: HashMap<u64, Path> = HashMap::new();
        let mut records = Vec::new();
        for ObjectMeta { location, .. } in listed {
            match parse_name(location.as_ref()) {
                Some((number, true)) => records.push((number, location)),
                Some((number, false)) => drop(bytes.insert(number, location)),
                None => {}
            }
        }
        records.sort();
        let mut index = Index::default();
        for (number, location) in records {
            index.next = index.next.max(number + 1);
            let read = objects.get(&location).await?.bytes().await?;
            match FileRecord::decode(&read) {
                Ok(record) if bytes.remove(&number).is_some() => {
                    // Replaced by the later one, which a crash kept from removing it.
                    if let Some(&before) = index.numbers.get(&record.name) {
                        index.remove(before);
                        delete(&*objects, &record_path(before)).await;
                        delete(&*objects, &bytes_path(before)).await;
                    }
                    index.add(number, record);
                    continue;
                }
                // Its bytes go before its record only if both are to go.
                Ok(record) => counters.dropped(DropReason::Damaged, Some(&record.name), "its bytes are gone"),
                Err(error) => {
                    let detail = format!("{location}: {error}");
                    counters.dropped(DropReason::Damaged, None, &detail);
                }
            }
            delete(&*objects, &location).await;
        }
        for (number, location) in bytes {
            index.next = index.next.max(number + 1);
            delete(&*objects, &location).await;
        }
        Ok(Arc::new(Self {
            objects,
            bounds,
            age_max,
            index: Mutex::new(index),
            changes: tokio::sync::Mutex::default(),
            changed: Notify::new(),
            counters,
            _directory: directory,
        }))
    }

    /// What is known of a file here; `None` if nothing is.
    pub(crate) fn known(&self, name: &Name, force: bool) -> Option<Reason> {
        self.index.lock().known(name, force)
    }

    /// Whether a sender can be told to upload.
    pub(crate) fn has_room(&self) -> bool {
        let index = self.index.lock();
        let room_bytes = self.bounds.bytes_max.saturating_sub(index.size_bytes());
        room_bytes >= ROOM_MIN_BYTES.min(self.bounds.bytes_max).max(1) && index.files() < FILES_MAX
    }

    /// How long an upload may take.
    pub(crate) fn upload_max_duration(&self) -> Duration {
        self.bounds.upload_max_duration
    }

    /// Sets room aside for a file; gives the name of its upload.
    pub(crate) async fn announce(
        &self,
        name: Name,
        announcement: Announcement,
    ) -> Result<String, UploadError> {
        let size_bytes = announcement.size_bytes;
        let max_bytes = self.bounds.file_bytes_max.min(self.bounds.bytes_max);
        if size_bytes > max_bytes {
            return Err(DebuginfoError::TooLarge { size_bytes, max_bytes }.into());
        }
        let upload_id = Uuid::new_v4().to_string();
        let _changes = self.changes.lock().await;
        let replaced = {
            let mut index = self.index.lock();
            if let Some(reason) = index.known(&name, announcement.force).filter(|it| !it.wants_upload()) {
                return Err(DebuginfoError::NotWanted { reason: reason.as_str() }.into());
            }
            let replaced = index.receiving.remove(&name);
            let room_bytes = self.bounds.bytes_max.saturating_sub(index.size_bytes());
            if size_bytes > room_bytes || index.files() >= FILES_MAX {
                index.receiving.extend(replaced.map(|before| (name, before)));
                return Err(UploadError::NoRoom { size_bytes, room_bytes });
            }
            let (since, part) = (Instant::now(), Part::Announced);
            let upload_id = upload_id.clone();
            index.receiving.insert(name, Receiving { upload_id, announcement, since, part });
            replaced
        };
        self.forget(replaced).await;
        Ok(upload_id)
    }

    /// Takes the bytes of a file that was announced.
    pub(crate) async fn receive(
        self: &Arc<Self>,
        name: Name,
        upload_id: &str,
    ) -> Result<UploadSink, UploadError> {
        let (number, announced_bytes, before) = {
            let mut index = self.index.lock();
            let number = index.next;
            let receiving = index.receiving.get_mut(&name).ok_or(DebuginfoError::NotInitiated)?;
            if receiving.upload_id != upload_id {
                return Err(DebuginfoError::OtherUpload.into());
            }
            if matches!(receiving.part, Part::Arriving) {
                let reason = Reason::UploadInProgress.as_str();
                return Err(DebuginfoError::NotWanted { reason }.into());
            }
            let before = std::mem::replace(&mut receiving.part, Part::Arriving);
            let announced_bytes = receiving.announcement.size_bytes;
            index.next += 1;
            (number, announced_bytes, before)
        };
        let mut sink = UploadSink::new(self.clone(), name, upload_id, number, announced_bytes);
        if let Part::Arrived { number, .. } = before {
            delete(&*self.objects, &bytes_path(number)).await;
        }
        sink.open().await?;
        Ok(sink)
    }

    /// A file is complete: from now on it waits.
    pub(crate) async fn complete(&self, name: &Name, upload_id: &str) -> Result<(), UploadError> {
        let _changes = self.changes.lock().await;
        let (number, record) = {
            let index = self.index.lock();
            let Some(receiving) = index.receiving.get(name) else {
                let waiting = index.numbers.get(name).and_then(|number| index.waiting.get(number));
                return match waiting {
                    // Said again, by a sender that did not hear the answer.
                    Some(waiting) if waiting.record.upload_id == upload_id => Ok(()),
                    Some(_) => Err(DebuginfoError::OtherFinished.into()),
                    None => Err(DebuginfoError::Unknown.into()),
                };
            };
            if receiving.upload_id != upload_id {
                return Err(DebuginfoError::OtherFinished.into());
            }
            let Part::Arrived { number, checksum } = receiving.part else {
                return Err(DebuginfoError::NothingUploaded.into());
            };
            let Announcement { build_id_type, hash, force, size_bytes } = receiving.announcement.clone();
            let (name, upload_id) = (name.clone(), upload_id.to_owned());
            let received_ms = clock::now_ms();
            let record =
                FileRecord { name, build_id_type, hash, force, size_bytes, checksum, received_ms, upload_id };
            (number, record)
        };
        self.objects.put(&record_path(number), record.encode().into()).await?;
        let before = {
            let mut index = self.index.lock();
            index.receiving.remove(name);
            let before = index.numbers.get(name).copied();
            before.and_then(|before| index.remove(before));
            index.add(number, record);
            before
        };
        self.counters.spooled();
        self.changed.notify_waiters();
        if let Some(before) = before {
            self.delete(before).await;
        }
        Ok(())
    }

    /// Hands out a file whose time has come; waits for one. `tick`: what is old is looked for so often.
    pub(crate) async fn take(&self, tick: Duration) -> Taken {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            self.drop_old(clock::now_ms()).await;
            self.forget_stale().await;
            let wait = match self.index.lock().take(Instant::now()) {
                Ok(taken) => return taken,
                Err(wait) => wait.map_or(tick, |wait| wait.min(tick)),
            };
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// A file is over: it arrived, is not wanted, or is dropped.
    pub(crate) async fn finish(&self, number: u64) {
        self.delete(number).await;
        self.index.lock().remove(number);
    }

    /// Whether a file that is handed out was not replaced meanwhile.
    pub(crate) fn is_current(&self, number: u64) -> bool {
        self.index.lock().waiting.contains_key(&number)
    }

    /// Hands a file out again after a while; if the remote store is away, no other before.
    pub(crate) fn put_off(&self, taken: Taken, wait: Duration, is_away: bool) {
        let mut index = self.index.lock();
        let at = Instant::now() + wait;
        if is_away {
            index.not_before = Some(at);
        }
        if let Some(waiting) = index.waiting.get_mut(&taken.number) {
            // Also if all wait: then the others go first.
            waiting.ready_at = at;
            waiting.attempts = Some(taken.attempts);
        }
        drop(index);
        self.changed.notify_waiters();
    }

    /// The remote store answers: those that waited for that need not wait any more.
    pub(crate) fn hurry(&self) {
        if self.index.lock().not_before.take().is_some() {
            self.changed.notify_waiters();
        }
    }

    /// Compares the bytes of a file with what was received.
    pub(crate) async fn check(&self, number: u64, record: &FileRecord) -> Result<(), Damage> {
        let mut checksum = Xxh3::new();
        let mut at = 0;
        while at < record.size_bytes {
            let chunk = self.read(number, record, at).await.map_err(Damage::Read)?;
            checksum.update(&chunk);
            at += CHUNK_BYTES;
        }
        let (expected, found) = (record.checksum, checksum.digest());
        if expected == found { Ok(()) } else { Err(Damage::Checksum { expected, found }) }
    }

    /// The next bytes of a file, from an offset within it.
    pub(crate) async fn read(
        &self,
        number: u64,
        record: &FileRecord,
        offset: u64,
    ) -> Result<Bytes, object_store::Error> {
        let end = offset.saturating_add(CHUNK_BYTES).min(record.size_bytes);
        self.objects.get_range(&bytes_path(number), offset..end).await
    }

    pub(crate) fn is_old(&self, record: &FileRecord, now_ms: i64) -> bool {
        let age_ms = now_ms.saturating_sub(record.received_ms);
        u128::try_from(age_ms).is_ok_and(|age_ms| age_ms > self.age_max.as_millis())
    }

    /// Adds what waits to the numbers.
    pub(crate) fn counts(&self) -> FileCounts {
        let index = self.index.lock();
        FileCounts {
            waiting: index.waiting.len() as u64,
            bytes: index.size_bytes(),
            bytes_max: self.bounds.bytes_max,
            ..self.counters.read()
        }
    }

    /// Drops the files that have waited for too long and are not on their way.
    async fn drop_old(&self, now_ms: i64) {
        let old: Vec<_> = {
            let mut index = self.index.lock();
            let is_old =
                |waiting: &Waiting| waiting.attempts.is_some() && self.is_old(&waiting.record, now_ms);
            let waiting = index.waiting.iter();
            let old: Vec<_> =
                waiting.filter(|(_, waiting)| is_old(waiting)).map(|(&number, _)| number).collect();
            old.into_iter().filter_map(|number| Some((number, index.remove(number)?.record))).collect()
        };
        for (number, record) in old {
            self.delete(number).await;
            self.counters.dropped(DropReason::Age, Some(&record.name), super::TOO_OLD);
        }
    }

    /// Forgets uploads that were announced and did not end in time.
    async fn forget_stale(&self) {
        let stale_after = self.bounds.upload_max_duration.saturating_add(STALE_GRACE);
        let _changes = self.changes.lock().await;
        let stale: Vec<_> = {
            let mut index = self.index.lock();
            // One that arrives is ended by who receives it.
            let is_stale = |_: &Name, receiving: &mut Receiving| {
                !matches!(receiving.part, Part::Arriving) && receiving.since.elapsed() > stale_after
            };
            index.receiving.extract_if(is_stale).map(|(_, receiving)| receiving).collect()
        };
        for receiving in stale {
            self.forget(Some(receiving)).await;
        }
    }

    async fn forget(&self, receiving: Option<Receiving>) {
        if let Some(Receiving { part: Part::Arrived { number, .. }, .. }) = receiving {
            delete(&*self.objects, &bytes_path(number)).await;
        }
    }

    async fn delete(&self, number: u64) {
        // What names it, then the bytes.
        delete(&*self.objects, &record_path(number)).await;
        delete(&*self.objects, &bytes_path(number)).await;
    }
}

fn bytes_path(number: u64) -> Path {
    Path::from(format!("{PREFIX}{number:020}"))
}

fn record_path(number: u64) -> Path {
    Path::from(format!("{PREFIX}{number:020}{RECORD}"))
}

/// The number of an object, and whether it is a record.
fn parse_name(name: &str) -> Option<(u64, bool)> {
    let rest = name.strip_prefix(PREFIX)?;
    let (digits, is_record) = match rest.strip_suffix(RECORD) {
        Some(digits) => (digits, true),
        None => (rest, false),
    };
    Some((digits.parse().ok().filter(|&number| number < u64::MAX)?, is_record))
}

/// Deletes an object. One that stays is found at the next start.
async fn delete(objects: &dyn ObjectStore, path: &Path) {
    match objects.delete(path).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
        Err(error) => {
            let error = crate::spool::chain(&error);
            tracing::warn!(%path, error, "an object file of the spool cannot be deleted");
        }
    }
}

#[cfg(test)]
mod tests;
