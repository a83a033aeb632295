//! Compaction: blocks of the same time become one, which holds each stacktrace, location and series once.
//!
//! ```text
//! plan ─► merge ─► digest of the inputs = digest of the block ─► next manifest ─► inputs deleted when nobody reads them
//! ```
//! Invariants: what is read stays the same, row by row, or sum by sum where the block becomes [coarser](crate::tiers); the manifest changes only after that is verified from what was stored; memory is
//! bounded by a setting, whatever the size of the inputs: [`plan`] chooses so many as there is memory for their pages, and [`merge`] streams them. Absent: changes to the manifest,
//! which are the [writer](crate::writer)'s. Start at [`compact`].

mod cursor;
mod digest;
mod fingerprints;
mod locations;
mod merge;
mod pending;
pub(crate) mod plan;
mod rollup;
mod stacktraces;
mod symbols;
#[cfg(test)]
mod tests;
mod tree;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use parquet::errors::ParquetError;

use self::digest::{Digest, DigestError};
use crate::{
    block::{
        meta::BlockMeta,
        read::{self, BlockReader},
        write::SeenRequest,
    },
    error::ReadError,
    manifest::BlockEntry,
    storage::{PutError, Storage},
};

/// Memory for series of the inputs, and for footers and series of what was written.
const CACHE_BYTES: u64 = 16 << 20;

/// How far a compaction is, and whether it is to stop.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) stop: AtomicBool,
    /// Samples merged.
    pub(crate) done: AtomicU64,
}

/// The compaction was told to stop.
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
pub(crate) struct Stopped;

impl Progress {
    fn check(&self) -> Result<(), Stopped> {
        if self.stop.load(Ordering::Relaxed) { Err(Stopped) } else { Ok(()) }
    }

    fn advance(&self, rows: usize) {
        self.done.fetch_add(rows as u64, Ordering::Relaxed);
    }
}

/// A compaction that did not become a block. Its inputs are as they were.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompactError {
    #[error("an input cannot be read: {0}")]
    Read(#[from] ReadError),
    #[error("block {block}: {reason}")]
    Misfit { block: String, reason: &'static str },
    #[error("the block cannot be encoded: {0}")]
    Encode(#[from] ParquetError),
    #[error("the block cannot be put: {0}")]
    Put(#[from] object_store::Error),
    #[error("the block's description cannot be put: {0}")]
    PutMeta(#[from] PutError),
    #[error("what was written is not what was read: {written:?}, not {read:?}")]
    NotConserved { read: Box<Digest>, written: Box<Digest> },
    #[error("it panicked")]
    Panicked,
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl CompactError {
    /// The inputs that would make the next try fail as this one did: the one that is damaged, or all if it is not known which.
    pub(crate) fn left_out(&self, inputs: &[String]) -> Vec<String> {
        match self {
            Self::Read(ReadError::Corrupt { block, .. } | ReadError::Missing { block, .. })
            | Self::Misfit { block, .. } => inputs.iter().filter(|input| *input == block).cloned().collect(),
            Self::Encode(_) | Self::NotConserved { .. } | Self::Panicked => inputs.to_vec(),
            Self::Read(ReadError::Unavailable { .. })
            | Self::Put(_)
            | Self::PutMeta(_)
            | Self::Stopped(_) => Vec::new(),
        }
    }
}

impl From<DigestError> for CompactError {
    fn from(error: DigestError) -> Self {
        match error {
            DigestError::Read(e) => Self::Read(e),
            DigestError::Stopped(e) => Self::Stopped(e),
        }
    }
}

/// What a compaction is to make.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Name of the block.
    pub(crate) id: String,
    pub(crate) level: u8,
    /// What the compaction may hold.
    pub(crate) memory_bytes: u64,
    /// At least that of every input.
    pub(crate) resolution_ns: i64,
    /// Requests received before need not be recognised any more.
    pub(crate) oldest_request_ns: i64,
}

/// Makes one block of one or several, verified and ready for the manifest. On failure nothing of it stays, unless that cannot be deleted
/// either; the next start does then.
pub(crate) async fn compact(
    storage: &Storage,
    inputs: &[BlockEntry],
    target: &Target,
    progress: &Progress,
) -> Result<(BlockEntry, BlockMeta), CompactError> {
    let compacted = verified(storage, inputs, target, progress).await;
    if compacted.is_err()
        && let Err(e) = storage.delete_block(&target.id).await
    {
        tracing::warn!(block = target.id, error = %e, "a half-written block could not be deleted; the next start will");
    }
    compacted
}

async fn verified(
    storage: &Storage,
    inputs: &[BlockEntry],
    target: &Target,
    progress: &Progress,
) -> Result<(BlockEntry, BlockMeta), CompactError> {
    let oldest_request_ns = target.oldest_request_ns;
    let cache = Arc::new(read::cache(CACHE_BYTES + inputs.len() as u64 * plan::FOOTERS_BYTES));
    let reader = |meta: BlockMeta| {
        let directory = Storage::block_path(&meta.id);
        BlockReader::new(meta, directory, storage.objects.clone(), cache.clone())
    };
    let mut blocks = Vec::with_capacity(inputs.len());
    let mut requests: Vec<SeenRequest> = Vec::new();
    let mut newest_request_ns = i64::MIN;
    for entry in inputs {
        let block = reader(storage.block_meta(entry).await?);
        if entry.newest_request_ns > oldest_request_ns {
            requests.extend(block.requests().await?);
        }
        newest_request_ns = newest_request_ns.max(entry.newest_request_ns);
        blocks.push(block);
    }
    requests.retain(|request| request.received_ns > oldest_request_ns);
    requests.sort_unstable_by_key(|request| request.received_ns);
    let room_bytes = plan::room_bytes(inputs, target.memory_bytes);
    let mut meta = merge::merge(&blocks, target, room_bytes, &requests, storage, progress).await?;
    meta.inputs = inputs.iter().map(|entry| entry.id.clone()).collect();
    let mut expected = Digest::default();
    for block in &blocks {
        expected = expected.with(Digest::of(block, target.resolution_ns, room_bytes, progress).await?);
    }
    let written = Digest::of(&reader(meta.clone()), target.resolution_ns, room_bytes, progress).await?;
    if written != expected {
        return Err(CompactError::NotConserved { read: Box::new(expected), written: Box::new(written) });
    }
    let entry = storage.put_block_meta(&meta, newest_request_ns, target.level).await?;
    Ok((entry, meta))
}
