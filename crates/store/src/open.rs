//! A process becomes the writer of a store, and what it finds there.
//!
//! ```text
//! list blocks ─► replay the log ─► seal it ─► claim: put the next manifest ─► tell what nothing refers to
//! ```
//! Nothing is changed before all that is needed is read and found whole. What is put in the log between its replay and its seal has
//! it replayed once more. After the seal a process that still believes to be the writer cannot acknowledge; after the claim it cannot change the
//! manifest either, so that what it was flushing is never listed. Both are objects put create-if-absent: of several
//! processes one gets further, and the others begin anew from what it has left.
//!
//! A list may lag behind: what it does not tell of is found by name, and where nothing is listed that must be there, nothing is
//! changed.
//!
//! Invariant: only blocks that were listed before the claim are orphans. They are deleted later, as those that this process drops are: other
//! processes may still read them. Theirs were the processes before this
//! one, which can list nothing any more; blocks of a process that takes over later are not among them, however slow this
//! one is.

use std::{collections::BTreeMap, time::Duration};

use tracing::warn;

use crate::{
    error::OpenError,
    host::Handle,
    log::{
        codec::{self, LogPosition, ObjectError, ObjectKind},
        columns::Raw,
        replay::{self, Replayed},
    },
    manifest::Manifest,
    place::Place,
    storage::{PutError, Storage},
};

/// How often a process that loses against another one begins anew.
const CLAIMS_MAX: u32 = 5;
/// How long it waits for a list without manifests, where there must be some.
const LIST_WAIT: Duration = Duration::from_secs(1);

/// A store that this process may write.
pub(crate) struct Claimed {
    /// The version that this process has put.
    pub(crate) manifest: Manifest,
    pub(crate) replayed: Replayed,
    /// Blocks that no manifest names, by name with their size: a crash left them, or a reader may still have them.
    pub(crate) orphans: BTreeMap<String, u64>,
}

/// What a start needs, read and found whole.
struct Found {
    /// With the log that this process writes.
    manifest: Manifest,
    replayed: Replayed,
    /// A log that was in the bucket and that one elsewhere follows, with its end.
    left: Option<(Storage, LogPosition)>,
}

/// Takes the store over.
pub(crate) async fn claim(storage: &Storage, place: &Place, host: &Handle) -> Result<Claimed, OpenError> {
    for claim in 1..=CLAIMS_MAX {
        let mut orphans = storage.block_sizes().await?;
        let (manifest, torn) = storage.newest_manifest().await?;
        if manifest.version == 0 && !(orphans.is_empty() && storage.log_positions().await?.is_empty()) {
            // All of it would be taken for left over. A list of a bucket that is behind tells of the manifests soon.
            if claim == CLAIMS_MAX || place.is_local {
                return Err(OpenError::NoManifest);
            }
            tokio::time::sleep(LIST_WAIT).await;
            continue;
        }
        let taken = async {
            let found = find(storage, &manifest, place).await?;
            if torn.is_some() {
                storage.drop_torn_manifest().await?;
            }
            end_log(storage, &manifest, found, place, host).await
        };
        let (manifest, replayed) = match taken.await {
            Ok(taken) => taken,
            // The process before this one may have flushed between the manifest and the list of its log.
            Err(_) if storage.newest_manifest().await?.0.version > manifest.version => continue,
            Err(e) => return Err(e),
        };
        let mut next = manifest.clone();
        next.version += 1;
        next.writer = host.ulid().to_string();
        next.epoch = replayed.epoch.max(manifest.epoch) + 1;
        match storage.put_manifest(&next).await {
            Ok(()) => {}
            Err(PutError::Exists) if storage.manifest().await? == next => {}
            Err(PutError::Exists) => continue,
            Err(e) => return Err(unwritable("the next manifest".to_owned(), e)),
        }
        orphans.retain(|id, _| next.blocks.iter().all(|block| block.id != *id));
        sweep(storage, &next).await?;
        return Ok(Claimed { manifest: next, replayed, orphans });
    }
    Err(OpenError::Contended)
}

/// Reads the log, and changes nothing. Makes sure that it is the one that the blocks belong to, and lets an empty one be followed by
/// one elsewhere.
async fn find(storage: &Storage, manifest: &Manifest, place: &Place) -> Result<Found, OpenError> {
    if manifest.log_id.as_deref() == place.log_id() {
        let replayed = replay::replay(storage, manifest.log_floor).await?;
        return Ok(Found { manifest: manifest.clone(), replayed, left: None });
    }
    if let Some(id) = &manifest.log_id
        && !place.abandons_log
    {
        return Err(OpenError::LogElsewhere { id: id.clone() });
    }
    let mut left = None;
    if manifest.log_id.is_none() && manifest.version > 0 {
        // The log was in the bucket: nothing may be left in it.
        let bucket = Storage { log: storage.objects.clone(), ..storage.clone() };
        let replayed = replay::replay(&bucket, manifest.log_floor).await?;
        if (replayed.head.objects > 0 || replayed.frozen.is_some()) && !place.abandons_log {
            return Err(OpenError::LogNotEmpty);
        }
        left = Some((bucket, replayed.next));
    }
    let epoch = manifest.epoch.max(manifest.log_floor.epoch) + 1;
    let moved = Manifest {
        log_id: place.log_id().map(str::to_owned),
        log_floor: LogPosition { epoch, seq: 0 },
        epoch,
        ..manifest.clone()
    };
    let replayed = replay::replay(storage, moved.log_floor).await?;
    Ok(Found { manifest: moved, replayed, left })
}

/// Has nobody write the log any more, and gives what is in it then.
async fn end_log(
    storage: &Storage,
    before: &Manifest,
    found: Found,
    place: &Place,
    host: &Handle,
) -> Result<(Manifest, Replayed), OpenError> {
    let Found { manifest, mut replayed, left } = found;
    if let Some((bucket, end)) = left
        && seal(&bucket, before, end, host).await?.has_more
        && !place.abandons_log
    {
        return Err(OpenError::LogNotEmpty);
    }
    if place.abandons_log && before.log_id != manifest.log_id {
        warn!("a new log begins; what only the old one held is not seen again");
    }
    let sealed = seal(storage, &manifest, replayed.next, host).await?;
    if sealed.has_more {
        drop(replayed);
        replayed = replay::replay(storage, manifest.log_floor).await?;
    }
    replayed.epoch = replayed.epoch.max(sealed.epoch);
    Ok((manifest, replayed))
}

fn unwritable(object: String, error: PutError) -> OpenError {
    let source = match error {
        PutError::Other(source) => object_store::Error::Generic { store: "store", source: Box::new(source) },
        other => object_store::Error::Generic { store: "store", source: Box::new(other) },
    };
    OpenError::Storage { object, source }
}

/// What the seal of a log found.
struct Sealed {
    /// The last epoch that is sealed.
    epoch: u64,
    /// Whether there was more than was read before.
    has_more: bool,
}

/// Ends every epoch that a process may still write to: the one in which the log goes on at `next`, and that of the newest manifest.
async fn seal(
    storage: &Storage,
    manifest: &Manifest,
    next: LogPosition,
    host: &Handle,
) -> Result<Sealed, OpenError> {
    let floor = manifest.log_floor;
    let mut position = next.max(LogPosition { epoch: 1, seq: 0 });
    let mut has_more = false;
    // An epoch whose process has written nothing is sealed at its first position.
    while position.seq > 0 || position.epoch <= manifest.epoch.max(floor.epoch) {
        let path = Storage::log_path(position);
        let damaged = |reason: String| OpenError::Corrupt { object: path.to_string(), reason };
        let object = codec::encode(position, u128::from(host.ulid()), ObjectKind::Seal, &Raw::default())
            .map_err(|e| damaged(format!("cannot encode a seal: {e}")))?;
        let found = match storage.create_in_any_case(&path, object.into()).await {
            Ok(()) => Some(ObjectKind::Seal),
            // Somebody was first: with a seal, which is as good, with samples, behind which the seal goes, or with what
            // is torn, in whose place it goes.
            Err(PutError::Exists) => kind(storage, position).await?,
            Err(other) => return Err(unwritable(path.to_string(), other)),
        };
        position = match found {
            Some(ObjectKind::Seal) => LogPosition { epoch: position.epoch + 1, seq: 0 },
            Some(ObjectKind::Delta | ObjectKind::HeadStart) => {
                has_more = true;
                LogPosition { epoch: position.epoch, seq: position.seq + 1 }
            }
            None => position,
        };
    }
    Ok(Sealed { epoch: position.epoch - 1, has_more })
}

/// What an object is. One that is torn was never acknowledged: it is deleted, and `None`.
async fn kind(storage: &Storage, position: LogPosition) -> Result<Option<ObjectKind>, OpenError> {
    let path = Storage::log_path(position);
    let unreadable = |source| OpenError::Storage { object: path.to_string(), source };
    let bytes = storage.get(&path).await.map_err(unreadable)?;
    match codec::open(&bytes) {
        Ok((header, _)) => Ok(Some(header.kind)),
        Err(ObjectError::Torn { .. }) => {
            storage.delete(&path).await.map_err(unreadable)?;
            Ok(None)
        }
        Err(e) => Err(OpenError::Corrupt { object: path.to_string(), reason: e.to_string() }),
    }
}

/// Deletes log objects below the floor and old manifests: what a crash left between two steps.
async fn sweep(storage: &Storage, manifest: &Manifest) -> Result<(), OpenError> {
    storage.drop_log_below(manifest.log_floor).await?;
    storage.prune_manifests(manifest.version).await
}
