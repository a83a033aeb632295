//! Pprof profiles pushed by senders or read by the scraper: limits, labels, and on to the store.
//!
//! Here is a request of several series with several profiles each; all of it becomes one
//! [`SampleBatch`](decima_profile::SampleBatch), and the store takes it whole, or one field of it is wrong and nothing is
//! stored. [`batch_of`] is the pure part; [`Push`] adds the store and counts.
//!
//! ```text
//! series ─ labels ─► check: __name__ → profile name, sorted, unique, bounded, empty values gone
//!        └ profile ─► decompress ─► decode ─► name + labels of the series; sample labels stay attributes ─► one batch
//! ```

mod batch;
mod counts;
mod labels;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use decima_base::ErrorKind;
use decima_store::{AppendError, Appended, Store};

pub use self::batch::{Decoded, batch_of};
use self::counts::Counters;
pub use self::counts::Counts;
use crate::config::SampleType;

/// Requests with more bytes than this are decoded on a thread for blocking work: a few milliseconds, during which a
/// runtime of two workers had better do something else. Below it, the hand-over would cost more than it spares.
const INLINE_BYTES_MAX: usize = 256 << 10;

/// Bounds on what one request may carry.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one decompressed profile.
    pub profile_bytes_max: usize,
    /// Labels of one series, and different sample labels of one profile.
    pub label_count_max: usize,
    /// Bytes of the name of a label or sample label.
    pub label_name_bytes_max: usize,
    /// Bytes of the value of a label or sample label, and of each part of a profile type.
    pub label_value_bytes_max: usize,
    /// Locations of one stacktrace; deeper ones are refused.
    pub stack_depth_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            profile_bytes_max: 128 << 20,
            label_count_max: 64,
            label_name_bytes_max: 1024,
            label_value_bytes_max: 4096,
            stack_depth_max: 8192,
        }
    }
}

/// One series of a request: labels with `__name__`, and its profiles as received (gzip, zstd or plain pprof).
#[derive(Debug, Clone, Default)]
pub struct RawSeries {
    /// Label set as received.
    pub labels: Vec<(String, String)>,
    /// Profiles as received.
    pub profiles: Vec<Bytes>,
    /// Sample types to store; empty = all.
    pub keep: Vec<SampleType>,
}

/// A request that was refused. Nothing of it is stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PushError {
    /// The request is wrong; the message names series, sample and field.
    #[error("{message}")]
    InvalidArgument {
        /// For the sender.
        message: String,
    },
    /// The store did not take it.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl PushError {
    /// What the sender can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidArgument { .. } => ErrorKind::InvalidArgument,
            Self::Append(e) => e.kind(),
        }
    }
}

/// The way in for pprof. Clones share it.
#[derive(Clone)]
pub struct Push {
    store: Store,
    limits: Limits,
    counters: Arc<Counters>,
}

impl Push {
    /// A way into `store`.
    pub fn new(store: Store, limits: Limits) -> Self {
        Self { store, limits, counters: Arc::default() }
    }

    /// What came this way since the start, over all clones.
    pub fn counts(&self) -> Counts {
        self.counters.read()
    }

    /// Stores all series of a request as one, or none.
    ///
    /// `received_ns` is the Unix time of receipt, used for profiles without a time. `request_hash` makes repeats recognisable.
    /// A request without samples is accepted and leaves no trace in the store.
    pub async fn write_raw(
        &self,
        series: Vec<RawSeries>,
        received_ns: i64,
        request_hash: Option<u128>,
    ) -> Result<Appended, PushError> {
        let outcome = self.store_all(series, received_ns, request_hash).await;
        self.counters.note(&outcome);
        outcome
    }

    async fn store_all(
        &self,
        series: Vec<RawSeries>,
        received_ns: i64,
        request_hash: Option<u128>,
    ) -> Result<Appended, PushError> {
        let decoded = self.decode(series, received_ns).await?;
        self.counters.note_decoded(&decoded);
        if decoded.batch.series.is_empty() {
            return Ok(Appended::default());
        }
        Ok(self.store.append(decoded.batch, request_hash).await?)
    }

    async fn decode(&self, series: Vec<RawSeries>, received_ns: i64) -> Result<Decoded, PushError> {
        let size_bytes: usize = series.iter().flat_map(|series| &series.profiles).map(Bytes::len).sum();
        if size_bytes <= INLINE_BYTES_MAX {
            return batch_of(&series, &self.limits, received_ns);
        }
        let limits = self.limits.clone();
        match tokio::task::spawn_blocking(move || batch_of(&series, &limits, received_ns)).await {
            Ok(decoded) => decoded,
            Err(error) => match error.try_into_panic() {
                // A panic fails this request, as it would have without the other thread.
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(AppendError::Closed.into()),
            },
        }
    }
}
