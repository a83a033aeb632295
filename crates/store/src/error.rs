//! What can fail in the store, by operation family.

use decima_base::ErrorKind;

use crate::bucket::BucketError;

/// A read of a block or manifest that did not give what was written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The bytes are not those that were written.
    #[error("block {block}: {file} is damaged: {reason}")]
    Corrupt {
        /// Name of the block.
        block: String,
        /// File inside the block.
        file: String,
        /// What does not fit, with offsets.
        reason: String,
    },
    /// The object store did not answer.
    #[error("block {block}: cannot read {file}")]
    Unavailable {
        /// Name of the block.
        block: String,
        /// File inside the block.
        file: String,
        /// Why.
        #[source]
        source: std::sync::Arc<object_store::Error>,
    },
    /// The file is gone (dropped by retention while the query ran).
    #[error("block {block}: {file} does not exist")]
    Missing {
        /// Name of the block.
        block: String,
        /// File inside the block.
        file: String,
    },
}

impl ReadError {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            // What a manifest names is there, or was lost: it is not that nobody ever sent it.
            Self::Corrupt { .. } | Self::Missing { .. } => ErrorKind::Corrupt,
            Self::Unavailable { .. } => ErrorKind::Unavailable,
        }
    }
}

/// A request that was not acknowledged. Nothing of it is stored, unless putting it was tried: see [`StorageFull`](Self::StorageFull)
/// and [`Unavailable`](Self::Unavailable).
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The head is full and flushing did not make room in time.
    #[error("the head is full ({held_bytes} of {limit_bytes} bytes); try again")]
    HeadFull {
        /// Memory that the head holds.
        held_bytes: u64,
        /// Its limit.
        limit_bytes: u64,
    },
    /// The log's storage is full. The request is kept as the next to be put, so that it may be stored once there is space; a repeat of
    /// it is recognised.
    #[error("no space left for the log; the request is not acknowledged, try again when there is")]
    StorageFull,
    /// The store is as large as it may be.
    #[error(
        "the store would need {used_bytes} bytes, and may have {max_bytes} (--storage-max-bytes); nothing was stored, try again when older blocks are gone"
    )]
    StorageBudget {
        /// What it would need, with the block of its log.
        used_bytes: u64,
        /// The limit.
        max_bytes: u64,
    },
    /// Every sample is older than the retention or too far ahead of the clock.
    #[error(
        "all {rejected} samples are outside the accepted times (before {oldest_ns} ns or after {newest_ns} ns)"
    )]
    AllOutsideTimes {
        /// Samples refused.
        rejected: u64,
        /// Oldest time accepted.
        oldest_ns: i64,
        /// Newest time accepted.
        newest_ns: i64,
    },
    /// The log cannot be written now. The request may be stored nevertheless; a repeat of it is recognised.
    #[error("the log cannot be written: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// The store is closing.
    #[error("the store is closing")]
    Closed,
    /// The process only answers.
    #[error("this process only answers queries (--role query); profiles go to the one that writes")]
    ReadOnly,
}

impl AppendError {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::HeadFull { .. } | Self::StorageFull | Self::StorageBudget { .. } => {
                ErrorKind::ResourceExhausted
            }
            Self::AllOutsideTimes { .. } => ErrorKind::InvalidArgument,
            Self::Unavailable { .. } | Self::Closed => ErrorKind::Unavailable,
            Self::ReadOnly => ErrorKind::Unimplemented,
        }
    }
}

/// A store that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{path} is in use by another process (its lock is held)")]
    Locked {
        /// The directory.
        path: String,
    },
    /// The settings of the bucket cannot be used.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The bucket does not do what the store stands on.
    #[error("cannot use {place}: {reason}")]
    Unusable {
        /// The bucket.
        place: String,
        /// What it does not do.
        reason: String,
    },
    /// Other processes became the writer each time that this one tried.
    #[error("other processes keep opening the same store")]
    Contended,
    /// There are blocks or a log, and nothing that lists them.
    #[error(
        "there are blocks or a log, but no manifest: it was deleted, or the list of the bucket is behind. Nothing was changed; put the manifest back, or move the rest away to begin anew"
    )]
    NoManifest,
    /// The blocks belong to a log in a directory that was not named.
    #[error(
        "the blocks belong to a log that is elsewhere (its id is {id}): --log-path must name its directory; if it is lost, or empty after a clean stop, --abandon-log begins a new one"
    )]
    LogElsewhere {
        /// Name of the log, as in the file `id` of its directory.
        id: String,
    },
    /// The log in the bucket has samples, and the settings name another log.
    #[error(
        "the log in the bucket holds samples that are in no block yet: start once without --log-path and stop it, then name the log's directory"
    )]
    LogNotEmpty,
    /// The directory cannot be made or used.
    #[error("cannot use the directory {path}")]
    Directory {
        /// The directory.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The object store failed.
    #[error("cannot read {object}")]
    Storage {
        /// Path of the object.
        object: String,
        /// Why.
        #[source]
        source: object_store::Error,
    },
    /// A file is damaged or of a newer format.
    #[error("{object}: {reason}")]
    Corrupt {
        /// Path of the object.
        object: String,
        /// What does not fit.
        reason: String,
    },
}
