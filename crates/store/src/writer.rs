//! The one thread that changes the store.
//!
//! It takes requests from a bounded queue in groups. For each group: intern → encode → put → make visible → answer. One
//! put is outstanding at a time. A put that fails is tried again with the same bytes at the same position, before anything else,
//! since later objects build on its ids; meanwhile requests are refused.
//!
//! Invariants: samples are visible only when they are durable; an answer comes only when they are visible; only this thread
//! writes manifests.

mod blocks;
mod compaction;
mod persist;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use decima_profile::SampleBatch;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tracing::{error, warn};

use self::{
    blocks::{Flushed, Flushing, Retired, drop_log_below},
    compaction::Compactions,
    persist::{Outstanding, PersistError, persist},
};
use crate::{
    block::write::SeenRequest,
    error::AppendError,
    filter::{Accepted, drop_outside},
    flush::{self, Held},
    head::Incoming,
    host::Handle,
    log::{
        codec::{self, LogPosition, LoggedRequest, ObjectKind},
        encode::encode_delta,
        replay::{Replayed, ReplayedHead},
    },
    manifest::Manifest,
    metrics::Counters,
    storage::Storage,
    store::{Appended, Shared},
};

/// How long a repeat of a request is recognised: senders retry for up to 25 minutes.
pub(crate) const DUPLICATE_WINDOW_NS: i64 = 3_600_000_000_000;
/// How often the thread looks at age, retention and failed puts when nothing arrives.
const TICK: Duration = Duration::from_secs(1);
/// The same while a block is being made, which is to be seen soon.
const SHORT_TICK: Duration = Duration::from_millis(50);
/// Requests written as one log object at most: what one answer may wait for.
const GROUP_REQUESTS_MAX: usize = 64;
/// How long a group waits for requests that are still decoded or that come as often as those before: senders that had their answers
/// together send the next ones together. A put takes a file system about as long, and a bucket many times that.
const GROUP_WAIT: Duration = Duration::from_millis(5);
/// Decoded bytes of one group, about, at most.
const GROUP_BYTES_MAX: usize = 16 << 20;
/// How long nothing is put until the writer looks whether the log is still its own: a request each time.
const SEAL_LOOK: Duration = Duration::from_secs(10);
/// How long requests wait for memory before they are refused.
const ROOM_WAIT: Duration = Duration::from_secs(5);

/// What the thread is asked to do.
pub(crate) enum Command {
    Append { incoming: Box<Incoming>, hash: Option<u128>, arrived: Instant, reply: Reply<Appended> },
    Flush { reply: Reply<()> },
    Compact { now_ns: i64, reply: Reply<u64> },
    Close { reply: Reply<()> },
}

type Reply<T> = oneshot::Sender<Result<T, AppendError>>;

/// Where the log stands.
pub(crate) struct Log {
    pub(crate) next: LogPosition,
    /// Objects since the floor.
    pub(crate) objects: u64,
    /// Bytes since the floor.
    pub(crate) bytes: u64,
    pub(crate) newest_request_ns: i64,
}

impl Log {
    /// A new epoch behind what was replayed.
    pub(crate) fn after(replayed: &Replayed, epoch: u64) -> Self {
        let frozen = replayed.frozen.as_ref().map_or((0, 0), |(head, _)| (head.objects, head.bytes));
        Self {
            next: LogPosition { epoch, seq: 0 },
            objects: replayed.head.objects + frozen.0,
            bytes: replayed.head.bytes + frozen.1,
            newest_request_ns: replayed.newest_request_ns,
        }
    }
}

struct Pending {
    incoming: Box<Incoming>,
    hash: Option<u128>,
    arrived: Instant,
    reply: Reply<Appended>,
    rejected: u64,
}

pub(crate) struct Writer {
    shared: Arc<Shared>,
    manifest: Manifest,
    log: Log,
    /// Received time by request hash.
    seen: HashMap<u128, i64>,
    /// Requests of the current head.
    head_requests: Vec<SeenRequest>,
    /// Whether the next log object is the first of the current head.
    is_head_start: bool,
    head_began: Option<Instant>,
    outstanding: Option<Outstanding>,
    encoder: codec::Encoder,
    flushing: Option<Flushing>,
    flushed: (mpsc::UnboundedSender<Flushed>, mpsc::UnboundedReceiver<Flushed>),
    /// A block that is written but not yet in the manifest.
    unlisted: Option<Flushed>,
    compactions: Compactions,
    /// When a block of a head was last taken into the manifest, or the process began.
    flushed_at: Instant,
    /// When samples were last stored, or the process began.
    appended_at: Instant,
    /// Blocks that no manifest names any more, and whose files are still there.
    retired: Vec<Retired>,
    /// Log objects that are being deleted.
    leaving_log_bytes: Arc<AtomicU64>,
    retention_checked: Option<Instant>,
    is_fenced: bool,
    /// When the log was known to be this process's.
    owned_at: Instant,
    /// Handle of our own queue, to tell whether anybody is left to serve.
    commands: mpsc::WeakSender<Command>,
    /// Requests that were on their way when a group was last put, those of the group among them.
    in_flight: usize,
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        manifest: Manifest,
        log: Log,
        seen: HashMap<u128, i64>,
        head_requests: Vec<(u128, i64)>,
        orphans: BTreeMap<String, u64>,
        commands: mpsc::WeakSender<Command>,
    ) -> Self {
        let has_samples = shared.state.lock().head.view.sample_count > 0;
        Self {
            shared,
            manifest,
            log,
            seen,
            head_requests: SeenRequest::all(head_requests),
            is_head_start: false,
            head_began: has_samples.then(Instant::now),
            outstanding: None,
            encoder: codec::Encoder::default(),
            flushing: None,
            flushed: mpsc::unbounded_channel(),
            unlisted: None,
            compactions: Compactions::default(),
            flushed_at: Instant::now(),
            appended_at: Instant::now(),
            retired: Retired::orphans(orphans),
            leaving_log_bytes: Arc::default(),
            retention_checked: None,
            is_fenced: false,
            owned_at: Instant::now(),
            commands,
            in_flight: 0,
        }
    }

    /// Serves until it is closed or every handle is gone. A `frozen` head, with the log position behind it, is flushed first.
    pub(crate) fn run(
        mut self,
        frozen: Option<(ReplayedHead, LogPosition)>,
        mut queue: mpsc::Receiver<Command>,
        runtime: &Handle,
    ) {
        if let Some((head, floor)) = frozen {
            self.resume_flush(head, floor, runtime);
        }
        self.count_head();
        loop {
            let tick = if self.awaits_block() { SHORT_TICK } else { TICK };
            let first = runtime.block_on(async { tokio::time::timeout(tick, queue.recv()).await });
            let mut next = match first {
                Ok(None) => return,
                Ok(Some(command)) => Some(command),
                Err(_) => None,
            };
            let mut group = Vec::new();
            let mut group_bytes = 0;
            let mut until = None;
            while let Some(Command::Append { incoming, hash, arrived, reply }) = next {
                group_bytes += incoming.batch.strings.buffer().len();
                group.push(Pending { incoming, hash, arrived, reply, rejected: 0 });
                next = if group.len() < GROUP_REQUESTS_MAX && group_bytes < GROUP_BYTES_MAX {
                    self.next_of_group(&mut queue, group.len(), &mut until, runtime)
                } else {
                    None
                };
            }
            if !group.is_empty() {
                self.in_flight = group.len();
                self.append(group, &queue, runtime);
            }
            match next {
                Some(Command::Flush { reply }) => self.flush_on_request(reply, runtime),
                Some(Command::Compact { now_ns, reply }) => {
                    // Whoever asked may be gone; the work is done either way.
                    let _ = reply.send(self.compact_all(now_ns, runtime));
                }
                Some(Command::Close { reply }) => {
                    queue.close();
                    let result = self.close(runtime);
                    // Whoever asked may be gone; the work is done either way.
                    let _ = reply.send(result);
                    return;
                }
                Some(Command::Append { .. }) | None => {}
            }
            self.housekeep(runtime);
        }
    }

    /// The next command, if there is one, or one comes in time that is announced or expected: a group has as many requests as were in
    /// flight when the one before was put. `until` is set by the first that is waited for.
    fn next_of_group(
        &self,
        queue: &mut mpsc::Receiver<Command>,
        len: usize,
        until: &mut Option<Instant>,
        runtime: &Handle,
    ) -> Option<Command> {
        if let Ok(command) = queue.try_recv() {
            return Some(command);
        }
        if len >= self.in_flight && self.shared.announced.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let until = *until.get_or_insert_with(|| Instant::now() + GROUP_WAIT);
        runtime.block_on(async { tokio::time::timeout_at(until, queue.recv()).await }).ok().flatten()
    }

    fn append(&mut self, group: Vec<Pending>, queue: &mpsc::Receiver<Command>, runtime: &Handle) {
        if let Err(e) = self.settle_outstanding(runtime).and_then(|()| self.wait_for_room(&group, runtime)) {
            Counters::add(&self.shared.counters.refused_requests, group.len() as u64);
            for request in group {
                let _ = request.reply.send(Err(e.clone()));
            }
            return;
        }
        let group = self.admit(group);
        if group.is_empty() {
            return;
        }
        let (repeats, group): (Vec<_>, Vec<_>) = {
            let mut hashes = std::collections::HashSet::new();
            group.into_iter().partition(|r| r.hash.is_some_and(|h| !hashes.insert(h)))
        };
        let received_ns = runtime.now_ns();
        let mut answers = Vec::with_capacity(group.len());
        let mut requests = Vec::with_capacity(group.len());
        let mut mark = self.shared.state.lock().head.mark();
        for request in group {
            let chunks = self.shared.state.lock().head.intern(&request.incoming, &mut mark);
            let samples = chunks.iter().map(|c| c.values.len() as u64).sum();
            answers.push((request.reply, Appended { samples, rejected: request.rejected, duplicate: false }));
            requests.push(LoggedRequest { received_ns, hash: request.hash, chunks });
        }
        let view = self.shared.state.lock().head.view.clone();
        let raw = encode_delta(&view, &mark, &requests);
        drop(view);
        let nonce = u128::from(runtime.ulid());
        let position = self.log.next;
        let kind =
            if std::mem::take(&mut self.is_head_start) { ObjectKind::HeadStart } else { ObjectKind::Delta };
        let object = match self.encoder.encode(position, nonce, kind, &raw) {
            Ok(object) => Bytes::from(object),
            Err(e) => {
                // zstd only fails for lack of memory; the rows stay interned and come with the next object's ids, so
                // the log must not go on.
                self.fence();
                error!(error = %e, "cannot compress a log object; no more samples are accepted");
                Bytes::new()
            }
        };
        self.outstanding = Some(Outstanding { position, nonce, object, requests });
        let result = self.settle_outstanding(runtime);
        self.in_flight += queue.len() + self.shared.announced.load(Ordering::Relaxed);
        if result.is_err() {
            Counters::add(&self.shared.counters.refused_requests, answers.len() as u64);
        }
        for (reply, appended) in answers {
            let _ = reply.send(result.clone().map(|()| appended));
        }
        for repeat in repeats {
            Counters::add(&self.shared.counters.duplicate_requests, 1);
            let appended = Appended { duplicate: true, ..Appended::default() };
            let _ = repeat.reply.send(result.clone().map(|()| appended));
        }
    }

    /// Answers what needs no log: repeats, nothing at all, only samples outside the accepted times.
    fn admit(&mut self, group: Vec<Pending>) -> Vec<Pending> {
        let accepted = self.accepted();
        let mut admitted = Vec::with_capacity(group.len());
        for mut request in group {
            if request.hash.is_some_and(|h| self.seen.contains_key(&h)) {
                Counters::add(&self.shared.counters.duplicate_requests, 1);
                let appended = Appended { duplicate: true, ..Appended::default() };
                let _ = request.reply.send(Ok(appended));
                continue;
            }
            request.rejected = drop_outside(&mut request.incoming.batch, accepted);
            Counters::add(&self.shared.counters.rejected_samples, request.rejected);
            if request.incoming.batch.sample_count() > 0 {
                admitted.push(request);
            } else if request.rejected > 0 {
                let _ = request.reply.send(Err(AppendError::AllOutsideTimes {
                    rejected: request.rejected,
                    oldest_ns: accepted.oldest_ns,
                    newest_ns: accepted.newest_ns,
                }));
            } else {
                let _ = request.reply.send(Ok(Appended::default()));
            }
        }
        admitted
    }

    fn accepted(&self) -> Accepted {
        let now = self.shared.host.now_ns();
        let settings = &self.shared.settings;
        Accepted {
            oldest_ns: settings.retention.map_or(i64::MIN, |r| now.saturating_sub(nanoseconds(r))),
            newest_ns: now.saturating_add(nanoseconds(settings.ahead_max)),
        }
    }

    /// From now on nothing is acknowledged.
    fn fence(&mut self) {
        self.is_fenced = true;
        self.shared.counters.fenced.store(1, Ordering::Relaxed);
    }

    /// Puts the outstanding object, if there is one, and makes its samples visible.
    fn settle_outstanding(&mut self, runtime: &Handle) -> Result<(), AppendError> {
        if self.is_fenced {
            return Err(PersistError::Fenced.as_append_error());
        }
        let Some(outstanding) = self.outstanding.take() else { return Ok(()) };
        if let Err(e) = persist(&self.shared.storage, &outstanding, runtime) {
            match &e {
                PersistError::Fenced => {
                    self.fence();
                    error!("another process has taken over the log; no more samples are accepted");
                }
                PersistError::Full => warn!("no space left for the log; samples are refused"),
                PersistError::Unavailable(reason) => {
                    warn!(reason, "the log cannot be written; samples are refused");
                }
            }
            self.outstanding = Some(outstanding);
            return Err(e.as_append_error());
        }
        self.owned_at = Instant::now();
        self.appended_at = self.owned_at;
        self.log.next.seq += 1;
        self.log.objects += 1;
        self.log.bytes += outstanding.object.len() as u64;
        let counters = &self.shared.counters;
        Counters::add(&counters.log_objects, 1);
        Counters::add(&counters.log_bytes, outstanding.object.len() as u64);
        let mut state = self.shared.state.lock();
        for request in outstanding.requests {
            self.log.newest_request_ns = self.log.newest_request_ns.max(request.received_ns);
            if let Some(hash) = request.hash {
                self.seen.insert(hash, request.received_ns);
                self.head_requests.push(SeenRequest { hash, received_ns: request.received_ns });
            }
            let samples: usize = request.chunks.iter().map(|c| c.values.len()).sum();
            Counters::add(&counters.appended_samples, samples as u64);
            state.head.apply(request.chunks);
        }
        drop(state);
        self.head_began.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Waits until the heads have room, flushing early. The store must have some too.
    ///
    /// What the oldest request has waited counts: it did so behind others that waited for room.
    fn wait_for_room(&mut self, group: &[Pending], runtime: &Handle) -> Result<(), AppendError> {
        let incoming_bytes = size_bytes(group);
        if self.check_space(incoming_bytes).is_err() {
            self.collect_flushed(Duration::ZERO, runtime);
            self.make_space(runtime);
            self.check_space(incoming_bytes)?;
        }
        let limit = self.shared.settings.head_memory_bytes;
        let oldest = group.iter().map(|request| request.arrived).min().unwrap_or_else(Instant::now);
        let deadline = oldest + ROOM_WAIT;
        loop {
            self.collect_flushed(Duration::ZERO, runtime);
            let held = self.held().memory_bytes;
            let frozen = self.flushing.as_ref().map_or(0, |f| f.memory_bytes);
            if held + frozen < limit {
                return Ok(());
            }
            if self.flushing.is_none() {
                self.begin_flush(runtime);
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(AppendError::HeadFull { held_bytes: held + frozen, limit_bytes: limit });
            }
            self.collect_flushed(left, runtime);
        }
    }

    /// Whether a block is being made.
    fn awaits_block(&self) -> bool {
        self.flushing.is_some() || self.compactions.are_running()
    }

    fn held(&self) -> Held {
        let state = self.shared.state.lock();
        let before = self.flushing.as_ref().map_or((0, 0), |f| (f.objects, f.bytes));
        Held {
            age: self.head_began.map_or(Duration::ZERO, |at| at.elapsed()),
            samples: state.head.view.sample_count,
            log_bytes: self.log.bytes - before.1,
            log_objects: self.log.objects - before.0,
            memory_bytes: state.head.size_bytes() as u64,
        }
    }

    fn count_head(&self) {
        let frozen = self.flushing.as_ref().map_or(0, |f| f.memory_bytes);
        self.shared.counters.head_bytes.store(self.held().memory_bytes + frozen, Ordering::Relaxed);
    }

    fn housekeep(&mut self, runtime: &Handle) {
        if self.outstanding.is_some() && !self.is_fenced {
            // Refusals are answered where requests arrive; here the object only gets its next chance.
            let _ = self.settle_outstanding(runtime);
        }
        self.look_for_seal(runtime);
        self.collect_flushed(Duration::ZERO, runtime);
        // A head that was being flushed when another process took over is the last that is read here.
        if self.flushing.is_none()
            && self.outstanding.is_none()
            && !self.is_fenced
            && flush::is_due(self.held(), self.shared.settings.head_memory_bytes)
        {
            self.begin_flush(runtime);
        }
        self.delete_retired(runtime);
        self.make_space(runtime);
        self.compact(runtime);
        self.count_head();
        let is_checked = self.retention_checked.is_some_and(|at| at.elapsed() < Duration::from_secs(60));
        if !is_checked {
            self.retention_checked = Some(Instant::now());
            self.expire(runtime);
            let oldest = runtime.now_ns() - DUPLICATE_WINDOW_NS;
            self.seen.retain(|_, received| *received > oldest);
        }
    }

    /// An idle writer learns that another process has taken over from the seal at its next position.
    fn look_for_seal(&mut self, runtime: &Handle) {
        if self.is_fenced || self.outstanding.is_some() || self.owned_at.elapsed() < SEAL_LOOK {
            return;
        }
        // A bucket that does not answer tells nothing; requests will find out.
        self.owned_at = Instant::now();
        let next = Storage::log_path(self.log.next);
        if let Ok(Some(_)) = runtime.block_on(self.shared.storage.size(&next)) {
            self.fence();
            error!("another process has taken over the log; no more samples are accepted");
        }
    }

    fn flush_on_request(&mut self, reply: Reply<()>, runtime: &Handle) {
        if let Err(e) = self.settle_outstanding(runtime) {
            let _ = reply.send(Err(e));
            return;
        }
        while self.flushing.is_some() {
            self.collect_flushed(TICK, runtime);
        }
        if self.held().samples == 0 {
            let _ = reply.send(Ok(()));
            return;
        }
        self.begin_flush(runtime);
        if let Some(flushing) = &mut self.flushing {
            flushing.waiters.push(reply);
        }
    }

    fn close(&mut self, runtime: &Handle) -> Result<(), AppendError> {
        self.stop_compaction();
        self.settle_outstanding(runtime)?;
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.flushing.is_some() && Instant::now() < deadline {
            self.collect_flushed(TICK, runtime);
        }
        if self.flushing.is_none() && self.held().samples > 0 {
            self.begin_flush(runtime);
            while self.flushing.is_some() && Instant::now() < deadline {
                self.collect_flushed(TICK, runtime);
            }
        }
        if self.flushing.is_some() {
            return Err(AppendError::Unavailable {
                reason: "the head could not be written to a block; the log keeps its samples".to_owned(),
            });
        }
        // Leave nothing below the floor behind.
        runtime.block_on(drop_log_below(
            self.shared.storage.clone(),
            self.manifest.log_floor,
            self.manifest.version,
        ));
        Ok(())
    }
}

/// What requests take in the log at most, about: it is compressed there.
fn size_bytes(group: &[Pending]) -> u64 {
    let of = |batch: &SampleBatch| {
        batch.strings.buffer().len()
            + 24 * batch.locations.len()
            + 16 * (batch.lines.len() + batch.functions.len())
            + 4 * batch.stacktrace_locations.len()
            + 20 * batch.sample_count()
    };
    group.iter().map(|request| of(&request.incoming.batch) as u64).sum()
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
