//! The store itself: opening, appending, snapshots, closing.

use std::{path::PathBuf, sync::Arc, time::Duration};

use decima_profile::SampleBatch;

use crate::{
    error::{AppendError, OpenError},
    source::Snapshot,
};

/// How a store is kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Data directory.
    pub path: PathBuf,
    /// Memory that heads may hold; appends wait, then are refused, beyond it.
    pub head_memory_bytes: u64,
    /// Samples older than this are refused and blocks older dropped; `None` = for ever.
    pub retention: Option<Duration>,
    /// How far ahead of the clock a sample may be.
    pub ahead_max: Duration,
    /// Labels that choose the partition, first present wins.
    pub partition_labels: Vec<String>,
    /// Memory for decoded block parts.
    pub cache_bytes: u64,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Appended {
    /// Samples stored.
    pub samples: u64,
    /// Samples refused for their time.
    pub rejected: u64,
    /// The same request was stored before; nothing was added.
    pub duplicate: bool,
}

/// A handle; clones share the store.
#[derive(Clone)]
pub struct Store {
    _inner: Arc<()>,
}

impl Store {
    /// Opens or creates the store and replays the log. Must be called in a Tokio runtime.
    #[expect(clippy::unused_async, reason = "skeleton")]
    pub async fn open(_settings: Settings) -> Result<Self, OpenError> {
        Ok(Self { _inner: Arc::new(()) })
    }

    /// Stores a batch. Returns when it is durable and visible to the next snapshot.
    ///
    /// `request_hash` identifies the request for [duplicate recognition](Appended::duplicate); `None` = never a duplicate.
    #[expect(clippy::unused_async, reason = "skeleton")]
    pub async fn append(
        &self,
        _batch: SampleBatch,
        _request_hash: Option<u128>,
    ) -> Result<Appended, AppendError> {
        Ok(Appended::default())
    }

    /// Everything acknowledged so far.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { sources: Vec::new() }
    }

    /// Flushes the head to a block and stops. Appends after this fail with [`AppendError::Closed`].
    #[expect(clippy::unused_async, reason = "skeleton")]
    pub async fn close(&self) -> Result<(), AppendError> {
        Ok(())
    }
}
