//! One object of the log, until it is durable.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    error::AppendError,
    host::Handle,
    log::codec::{self, LogPosition, LoggedRequest},
    storage::{PutError, Storage},
};

/// Tries of a put before its requests are answered with an error.
const PUT_TRIES: u32 = 3;

/// A log object that could not be put yet. Its rows are interned, its samples are not visible.
pub(super) struct Outstanding {
    pub(super) position: LogPosition,
    pub(super) nonce: u128,
    pub(super) object: Bytes,
    pub(super) requests: Vec<LoggedRequest>,
}

/// Why an object is not there.
pub(super) enum PersistError {
    Full,
    Fenced,
    Unavailable(String),
}

impl PersistError {
    /// What requests are answered.
    pub(super) fn as_append_error(&self) -> AppendError {
        match self {
            Self::Full => AppendError::StorageFull,
            Self::Fenced => {
                AppendError::Unavailable { reason: "another process has taken over the log".to_owned() }
            }
            Self::Unavailable(reason) => AppendError::Unavailable { reason: reason.clone() },
        }
    }
}

/// Puts a log object; success also if an earlier try of ours had succeeded.
pub(super) fn persist(
    storage: &Storage,
    outstanding: &Outstanding,
    runtime: &Handle,
) -> Result<(), PersistError> {
    let path = Storage::log_path(outstanding.position);
    let mut reason = String::new();
    for attempt in 0..PUT_TRIES {
        if attempt > 0 {
            runtime.sleep(Duration::from_millis(50 << attempt));
        }
        match runtime.block_on(storage.create(&path, outstanding.object.clone())) {
            Ok(()) => return Ok(()),
            Err(PutError::Full) => return Err(PersistError::Full),
            Err(PutError::Exists) => match runtime.block_on(storage.get(&path)) {
                Ok(bytes) => match codec::open(&bytes) {
                    Ok((header, _)) if header.nonce == outstanding.nonce => return Ok(()),
                    _ => return Err(PersistError::Fenced),
                },
                Err(e) => reason = e.to_string(),
            },
            Err(PutError::Other(e)) => reason = e.to_string(),
        }
    }
    Err(PersistError::Unavailable(reason))
}
