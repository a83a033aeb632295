//! A process that only answers follows the one that writes: its manifest, and its log where that is in the same bucket.
//!
//! ```text
//! each second: get the next log objects ─► get the next manifests ─► take both in, as one change of the state
//! ```
//! Objects are asked for by the name that comes next, since a list costs ten times as much in a bucket; a list of the
//! manifests now and then catches up with what a process that stood still has missed.
//!
//! Invariants: nothing is written. The log is read before the manifest, so that the manifest tells of every head that ended
//! before an object that was read: what is taken in is always the blocks of one manifest and the log behind its floor.
//! Memory is bounded as the writer's is; a head that does not fit is followed again once it is a block.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tracing::{info, warn};

use crate::{
    block::ListedBlock,
    error::{OpenError, ReadError},
    head::Head,
    log::{
        codec::{Header, LogPosition, ObjectError, ObjectKind},
        decode::{self, Delta},
        replay::{self, Replayed},
    },
    manifest::{BlockEntry, Manifest},
    metrics::Counters,
    storage::Storage,
    store::{Shared, State},
};

/// How often the bucket is looked at. Two requests each time: 5 million a month, which costs some 2 $ at the usual prices.
pub(crate) const REFRESH: Duration = Duration::from_secs(1);
/// How many refreshes there are between two lists of the manifests.
const LIST_EVERY: u32 = 30;
/// Objects asked for at once while there are more.
const AHEAD_MAX: u64 = 16;
/// Bytes of log taken in by one refresh: what it holds decoded until it takes the lock.
const ROUND_BYTES_MAX: usize = 8 << 20;
/// How often a start that the writer overtakes is tried again.
const LOADS_MAX: u32 = 5;

/// Queries that may wait for a refresh of their own.
const ASKED_MAX: usize = 64;

/// What a follower begins with.
pub(crate) struct Loaded {
    pub(crate) manifest: Manifest,
    pub(crate) replayed: Replayed,
}

/// Reads the newest manifest and the log behind it.
pub(crate) async fn load(storage: &Storage) -> Result<Loaded, OpenError> {
    for _ in 0..LOADS_MAX {
        let manifest = storage.manifest().await?;
        let replayed = if manifest.log_id.is_some() {
            Ok(Replayed { next: manifest.log_floor, ..Replayed::default() })
        } else {
            replay::replay(storage, manifest.log_floor).await
        };
        // A flush meanwhile may have deleted what was listed, or ended a head that seemed to go on.
        if storage.manifest().await?.version == manifest.version {
            return Ok(Loaded { manifest, replayed: replayed? });
        }
    }
    Err(OpenError::Contended)
}

/// An object of the log, checked and parsed.
struct Found {
    header: Header,
    delta: Delta,
}

/// Where a follower stands.
pub(crate) struct Follower {
    shared: Arc<Shared>,
    manifest: Manifest,
    /// The object that comes next.
    next: LogPosition,
    /// The first object of the current head.
    head_start: LogPosition,
    /// Whether the current head has any object.
    has_head: bool,
    /// Whether the head is left alone until it is a block, for lack of memory.
    is_behind: bool,
}

impl Follower {
    /// Follows from what was loaded into the state.
    pub(crate) fn new(shared: Arc<Shared>, manifest: Manifest, replayed: &Replayed) -> Self {
        let mut follower = Self {
            shared,
            manifest,
            next: LogPosition::default(),
            head_start: LogPosition::default(),
            has_head: false,
            is_behind: false,
        };
        follower.stand_at(replayed);
        follower
    }

    fn stand_at(&mut self, replayed: &Replayed) {
        self.next = replayed.next.max(LogPosition { epoch: 1, seq: 0 });
        self.head_start = replayed.frozen.as_ref().map_or(self.manifest.log_floor, |(_, start)| *start);
        self.has_head = replayed.head.objects > 0;
        self.is_behind = false;
    }

    /// The blocks of the manifest that it begins with.
    pub(crate) async fn blocks(&self) -> Result<Vec<ListedBlock>, OpenError> {
        self.listed(&self.manifest.blocks).await
    }

    /// Refreshes until it is dropped, and at once when it is asked to; answers when it has.
    pub(crate) fn run(mut self) -> (JoinSet<()>, mpsc::Sender<oneshot::Sender<()>>) {
        let mut tasks = JoinSet::new();
        let (ask, mut asked) = mpsc::channel::<oneshot::Sender<()>>(ASKED_MAX);
        tasks.spawn(async move {
            let mut is_failing = false;
            for round in 1u32.. {
                let reply = match tokio::time::timeout(REFRESH, asked.recv()).await {
                    Ok(None) => return,
                    Ok(reply) => reply,
                    Err(_) => None,
                };
                match self.refresh(round.is_multiple_of(LIST_EVERY) || reply.is_some()).await {
                    Ok(()) => {
                        if std::mem::take(&mut is_failing) {
                            info!("the bucket can be read again");
                        }
                    }
                    Err(error) => {
                        Counters::add(&self.shared.counters.refresh_failures, 1);
                        if !std::mem::replace(&mut is_failing, true) {
                            warn!(%error, source = ?std::error::Error::source(&error), "the bucket cannot be read; answers are as old as this");
                        }
                    }
                }
                if let Some(reply) = reply {
                    // Who asked may be gone.
                    let _ = reply.send(());
                }
            }
        });
        (tasks, ask)
    }

    async fn refresh(&mut self, lists: bool) -> Result<(), OpenError> {
        let found = if self.is_behind || self.manifest.log_id.is_some() {
            Vec::new()
        } else {
            self.new_objects().await?
        };
        let manifest = self.newer_manifest(lists).await?;
        let blocks = match &manifest {
            Some(manifest) => Some(self.listed(&manifest.blocks).await?),
            None => None,
        };
        if !self.take_in(manifest, blocks, found)? {
            self.reload().await?;
        }
        Ok(())
    }

    /// The objects that follow, as far as they are there.
    async fn new_objects(&self) -> Result<Vec<Found>, OpenError> {
        let storage = &self.shared.storage;
        let (mut found, mut found_bytes) = (Vec::new(), 0);
        let (mut next, mut ahead) = (self.next, 1);
        while found_bytes < ROUND_BYTES_MAX {
            let positions = (0..ahead).map(|n| LogPosition { seq: next.seq + n, ..next });
            let gets = positions.map(|position| get(storage.clone(), position));
            let mut is_sealed = false;
            for (position, got) in future::join_all(gets).await {
                let path = Storage::log_path(position);
                let bytes = match got {
                    Ok(bytes) => bytes,
                    Err(object_store::Error::NotFound { .. }) => return Ok(found),
                    Err(source) => return Err(OpenError::Storage { object: path.to_string(), source }),
                };
                let corrupt = |reason: String| OpenError::Corrupt { object: path.to_string(), reason };
                let (header, delta) = match replay::open(&bytes) {
                    // It is being written, or its writer is gone.
                    Err(ObjectError::Torn { .. }) => return Ok(found),
                    other => other.map_err(|e| corrupt(e.to_string()))?,
                };
                if header.position != position {
                    return Err(corrupt("it is another position's object".to_owned()));
                }
                found_bytes += bytes.len();
                is_sealed = header.kind == ObjectKind::Seal;
                found.push(Found { header, delta });
                if is_sealed {
                    break;
                }
            }
            (next, ahead) = if is_sealed {
                (LogPosition { epoch: next.epoch + 1, seq: 0 }, 1)
            } else {
                (LogPosition { seq: next.seq + ahead, ..next }, (ahead * 4).min(AHEAD_MAX))
            };
        }
        Ok(found)
    }

    async fn newer_manifest(&self, lists: bool) -> Result<Option<Manifest>, OpenError> {
        let storage = &self.shared.storage;
        if lists {
            let newest = storage.manifest().await?;
            return Ok(Some(newest).filter(|newest| newest.version > self.manifest.version));
        }
        let mut newer: Option<Manifest> = None;
        loop {
            let version = newer.as_ref().unwrap_or(&self.manifest).version + 1;
            match storage.manifest_version(version).await? {
                Some(manifest) => newer = Some(manifest),
                None => return Ok(newer),
            }
        }
    }

    /// The blocks of a manifest; those that are known already are not read again.
    async fn listed(&self, entries: &[BlockEntry]) -> Result<Vec<ListedBlock>, OpenError> {
        let known = self.shared.state.lock().blocks.clone();
        let mut blocks = Vec::with_capacity(entries.len());
        for entry in entries {
            if let Some(block) = known.iter().find(|block| block.entry == *entry) {
                blocks.push(block.clone());
                continue;
            }
            blocks.push(self.shared.listed(entry).await.map_err(|e| match e {
                ReadError::Unavailable { block, source, .. } => OpenError::Storage {
                    object: block,
                    source: object_store::Error::Generic { store: "block", source: Box::new(source) },
                },
                other => OpenError::Corrupt { object: entry.id.clone(), reason: other.to_string() },
            })?);
        }
        Ok(blocks)
    }

    /// Changes the state. Whether what was read fits to it.
    fn take_in(
        &mut self,
        manifest: Option<Manifest>,
        blocks: Option<Vec<ListedBlock>>,
        found: Vec<Found>,
    ) -> Result<bool, OpenError> {
        let shared = self.shared.clone();
        let mut state = shared.state.lock();
        if let (Some(manifest), Some(blocks)) = (manifest, blocks) {
            let floor = manifest.log_floor;
            let is_elsewhere = manifest.log_id.is_some();
            if is_elsewhere || (floor > self.head_start && self.next <= floor) {
                // All that is held is in blocks now.
                state.head = Head::new(Arc::default());
                state.frozen = None;
                (self.next, self.head_start) = (floor, floor);
                (self.has_head, self.is_behind) = (false, false);
            } else if floor > self.head_start {
                return Ok(false);
            } else if floor == self.head_start {
                state.frozen = None;
                self.is_behind = false;
            }
            state.blocks = blocks;
            self.manifest = manifest;
        }
        for Found { header, delta } in found {
            if header.position == self.next && !self.take_object(&mut state, &header, delta)? {
                return Ok(false);
            }
        }
        let held = state.head.size_bytes() as u64;
        self.shared.counters.head_bytes.store(held, std::sync::atomic::Ordering::Relaxed);
        let limit = self.shared.settings.head_memory_bytes;
        if held > limit && !std::mem::replace(&mut self.is_behind, true) {
            warn!(
                held,
                limit,
                "newer samples are not seen until the writer has made a block of the head: --head-memory is smaller than its"
            );
        }
        Ok(true)
    }

    fn take_object(&mut self, state: &mut State, header: &Header, delta: Delta) -> Result<bool, OpenError> {
        let position = header.position;
        self.next = LogPosition { epoch: position.epoch, seq: position.seq + 1 };
        match header.kind {
            ObjectKind::Seal => self.next = LogPosition { epoch: position.epoch + 1, seq: 0 },
            ObjectKind::Delta | ObjectKind::HeadStart => {
                if header.kind == ObjectKind::HeadStart && self.has_head {
                    let ended = std::mem::replace(&mut state.head, Head::new(Arc::default()));
                    // A head is only frozen when no other is.
                    if state.frozen.replace(ended.view).is_some() {
                        return Ok(false);
                    }
                    self.head_start = position;
                }
                self.has_head = true;
                let requests =
                    decode::apply(&mut state.head.view, delta).map_err(|e| OpenError::Corrupt {
                        object: Storage::log_path(position).to_string(),
                        reason: e.to_string(),
                    })?;
                for request in requests {
                    state.head.apply(request.chunks);
                }
            }
        }
        Ok(true)
    }

    /// Begins anew, after having stood still for too long.
    async fn reload(&mut self) -> Result<(), OpenError> {
        let Loaded { manifest, replayed } = load(&self.shared.storage).await?;
        let blocks = self.listed(&manifest.blocks).await?;
        self.manifest = manifest;
        self.stand_at(&replayed);
        let mut state = self.shared.state.lock();
        state.head = Head::replayed(replayed.head.view, Arc::default());
        state.frozen = replayed.frozen.map(|(head, _)| head.view);
        state.blocks = blocks;
        Ok(())
    }
}

async fn get(storage: Storage, position: LogPosition) -> (LogPosition, object_store::Result<Bytes>) {
    let got = storage.get(&Storage::log_path(position)).await;
    (position, got)
}
