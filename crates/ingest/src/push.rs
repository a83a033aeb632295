//! What senders push or the scraper reads: limits, labels, and on to the store, with a record of who sent what.
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
pub mod check;
mod counts;
mod labels;
mod refusal;
mod request;
mod senders;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZero,
    sync::Arc,
};

use bytes::Bytes;
use decima_base::ErrorKind;
use decima_config::SampleType;
use decima_store::{Announced, AppendError, Appended, Store};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use self::counts::Counters;
pub use self::{
    batch::{Decoded, batch_of},
    counts::Counts,
    refusal::Refusal,
    request::RawRequest,
    senders::{Origin, Outcome, Sender, SenderCounts, Senders},
};
use crate::{
    agent::{self, first::Pending},
    arrow::{ArrowError, Schemas},
    object_files::ObjectFiles,
    otlp::{self, Layout, OtlpError},
};

/// Requests with more bytes than this are decoded on a thread for blocking work: a few milliseconds, during which a
/// runtime of two workers had better do something else. Below it, the hand-over would cost more than it spares.
const INLINE_BYTES_MAX: usize = 256 << 10;
/// Bytes of compressed profiles count so many times: they become ten times as many, and a thousand times if that is what
/// their sender is after.
const COMPRESSED_WEIGHT: usize = 16;
/// Large requests that are decoded at once, for each processor: more of them would not be ready sooner, and each takes
/// several times its size in memory meanwhile.
const LARGE_PER_PROCESSOR: usize = 1;
/// Labels of agents that are remembered as belonging to samples.
const SAMPLE_LABELS_MAX: usize = 256;

/// Ways in for pushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Pprof with labels.
    WriteRaw,
    /// The agent's first schema.
    Write,
    /// The agent's second schema.
    WriteArrow,
    /// OTLP over gRPC.
    OtlpGrpc,
    /// OTLP over HTTP.
    OtlpHttp,
    /// Object files.
    Debuginfo,
    /// Agents that ended.
    Telemetry,
}

impl Protocol {
    /// As metrics show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::WriteRaw => "write_raw",
            Self::Write => "write",
            Self::WriteArrow => "write_arrow",
            Self::OtlpGrpc => "otlp_grpc",
            Self::OtlpHttp => "otlp_http",
            Self::Debuginfo => "debuginfo",
            Self::Telemetry => "telemetry",
        }
    }
}

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
    /// The request is wrong; the message names series, sample and field, or column and row.
    #[error("{message}")]
    InvalidArgument {
        /// Kind of mistake.
        reason: Refusal,
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

    /// Samples that were left out for their time, if they were all of the request.
    pub(crate) fn rejected_samples(&self) -> u64 {
        match self {
            Self::Append(AppendError::AllOutsideTimes { rejected, .. }) => *rejected,
            _ => 0,
        }
    }

    /// A field that is to hold an Arrow stream and is empty.
    pub fn no_stream(field: &str) -> Self {
        let message = format!("{field}: missing, an Arrow stream begins with its schema");
        Self::InvalidArgument { reason: Refusal::Missing, message }
    }

    /// Samples of the first schema whose stacktraces cannot be asked for.
    pub(crate) fn unanswerable(error: &dyn std::fmt::Display) -> Self {
        let message = format!("the stacktrace ids cannot be asked for: {error}");
        Self::InvalidArgument { reason: Refusal::Malformed, message }
    }

    /// What counters call it.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::InvalidArgument { reason, .. } => *reason,
            Self::Append(e) => Refusal::of_append(e),
        }
    }
}

impl From<ArrowError> for PushError {
    fn from(error: ArrowError) -> Self {
        Self::InvalidArgument { reason: Refusal::from(&error), message: error.to_string() }
    }
}

impl From<OtlpError> for PushError {
    fn from(error: OtlpError) -> Self {
        Self::InvalidArgument { reason: error.reason, message: error.to_string() }
    }
}

/// The first half of an exchange in the agent's first schema: samples without their stacktraces.
pub struct FirstHalf {
    pending: Pending,
    node: String,
    received_bytes: u64,
}

impl FirstHalf {
    /// The message that asks for the stacktraces; `None` if there are none to ask for.
    pub fn question(&self) -> Result<Option<Vec<u8>>, PushError> {
        if self.pending.is_empty() {
            return Ok(None);
        }
        self.pending.question().map(Some).map_err(|error| PushError::unanswerable(&error))
    }
}

/// What became of an OTLP request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exported {
    /// What was stored.
    pub appended: Appended,
    /// Profiles that were wrong and are left out.
    pub rejected_profiles: u64,
    /// What was wrong with the first of them; empty if there is none.
    pub rejection: String,
}

/// A request, as far as it was read.
struct Read {
    /// The first `node` label, if that much could be read.
    node: String,
    /// Identifies it.
    hash: Option<u128>,
    decoded: Result<Decoded, PushError>,
}

/// What is wrong with a request, and whose it is, if that much could be read.
struct Wrong {
    node: String,
    error: PushError,
}

impl From<PushError> for Wrong {
    fn from(error: PushError) -> Self {
        Self { node: String::new(), error }
    }
}

/// A request that has come.
struct Arrived<'a> {
    /// Who is noted as its sender.
    origin: Option<&'a Origin>,
    announced: Announced,
}

/// Parts of a request that are left out.
#[derive(Default)]
struct LeftOut {
    /// Profiles, by the kind of mistake.
    profiles: BTreeMap<Refusal, u64>,
    /// What was wrong with the first of them.
    rejection: String,
}

/// The way in for what senders push. Clones share it.
#[derive(Clone)]
pub struct Push {
    store: Store,
    limits: Limits,
    shared: Arc<Shared>,
}

struct Shared {
    /// For decoding large requests.
    large: Arc<Semaphore>,
    counters: Counters,
    senders: Arc<Senders>,
    object_files: ObjectFiles,
    /// Labels that belong to samples by the settings, or as agents' requests have shown.
    sample_labels: Mutex<Arc<BTreeSet<String>>>,
    /// Schemas of agents' requests.
    schemas: Schemas,
}

impl Push {
    /// A way into `store`. Of agents' labels, [`SAMPLE_LABELS`](agent::SAMPLE_LABELS) belong to samples.
    pub fn new(store: Store, limits: Limits) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let shared = Shared {
            large: Arc::new(Semaphore::new(processors * LARGE_PER_PROCESSOR)),
            counters: Counters::default(),
            senders: Arc::default(),
            object_files: ObjectFiles::default(),
            sample_labels: Mutex::default(),
            schemas: Schemas::default(),
        };
        let push = Self { store, limits, shared: Arc::new(shared) };
        push.with_sample_labels(agent::sample_labels())
    }

    /// The same, but of agents' labels these belong to samples whatever their values are, and those that requests show to.
    #[must_use]
    pub fn with_sample_labels(self, names: BTreeSet<String>) -> Self {
        *self.shared.sample_labels.lock() = Arc::new(names);
        self
    }

    /// What came this way since the start, over all clones.
    pub fn counts(&self) -> Counts {
        self.shared.counters.read()
    }

    /// Who pushes, and what became of it; also of what is refused before it comes here, or goes elsewhere.
    pub fn senders(&self) -> &Arc<Senders> {
        &self.shared.senders
    }

    /// Names of object files that requests have told, and that others may add to.
    pub fn object_files(&self) -> &ObjectFiles {
        &self.shared.object_files
    }

    /// Stores all series of a request as one, or none.
    ///
    /// `received_ns` is the Unix time of receipt, used for profiles without a time. `request_hash` makes repeats recognisable.
    /// A request without samples is accepted and leaves no trace in the store. Nobody is listed as its sender.
    pub async fn write_raw(
        &self,
        series: Vec<RawSeries>,
        received_ns: i64,
        request_hash: Option<u128>,
    ) -> Result<Appended, PushError> {
        let arrived = self.arrived(None);
        let decoded = self.decode_raw(series, received_ns).await;
        self.finish(arrived, String::new(), decoded, request_hash, LeftOut::default()).await
    }

    /// Stores all series of an encoded request of `WriteRaw` as one, or none, and notes who sent it.
    pub async fn push_raw(&self, message: Bytes, origin: &Origin) -> Result<Appended, PushError> {
        let arrived = self.arrived(Some(origin));
        let (limits, received_ns) = (self.limits.clone(), origin.received_ns);
        let weight = message.len().saturating_mul(COMPRESSED_WEIGHT);
        let read = self.work(weight, move || {
            let request = match RawRequest::read(&message, &limits) {
                Ok(request) => request,
                Err(error) => return Read { node: String::new(), hash: None, decoded: Err(error) },
            };
            let decoded = batch_of(&request.series, &limits, received_ns).map(|mut decoded| {
                decoded.repaired_strings += request.repaired_strings;
                decoded
            });
            Read { node: request.node().to_owned(), hash: Some(request.hash()), decoded }
        });
        let Read { node, hash, decoded } = read.await?;
        self.finish(arrived, node, decoded, hash, LeftOut::default()).await
    }

    /// Stores a request in the agent's second schema: an Arrow stream of samples with their stacktraces.
    pub async fn write_arrow(
        &self,
        stream: Bytes,
        origin: &Origin,
        request_hash: Option<u128>,
    ) -> Result<Appended, PushError> {
        let arrived = self.arrived(Some(origin));
        let size_bytes = stream.len();
        let decoded = self
            .agent("ipc_buffer", stream, size_bytes, move |stream, context| {
                Ok(of_agent(agent::second::decode(stream, context)?, size_bytes))
            })
            .await;
        let (node, decoded) = taken_apart(decoded);
        self.finish(arrived, node, decoded, request_hash, LeftOut::default()).await
    }

    /// Takes the first message of an exchange in the agent's first schema.
    ///
    /// Nothing is stored before [`end_write`](Self::end_write); a refusal is noted here.
    pub async fn begin_write(&self, stream: Bytes, origin: &Origin) -> Result<FirstHalf, PushError> {
        let received_bytes = stream.len();
        let half = self
            .agent("record", stream, received_bytes, move |stream, context| {
                let pending = agent::first::samples(stream, context)?;
                let node = pending.node();
                Ok((FirstHalf { pending, node, received_bytes: received_bytes as u64 }, BTreeSet::new()))
            })
            .await;
        half.map_err(|Wrong { node, error }| {
            self.note(Some(origin), &node, &Err(error.clone()), 0, LeftOut::default());
            error
        })
    }

    /// Stores an exchange in the agent's first schema, given its second message: the locations of the stacktraces.
    pub async fn end_write(
        &self,
        half: FirstHalf,
        stream: Bytes,
        origin: &Origin,
        request_hash: Option<u128>,
    ) -> Result<Appended, PushError> {
        let arrived = self.arrived(Some(origin));
        let FirstHalf { pending, node, received_bytes } = half;
        let received_bytes = received_bytes as usize + stream.len();
        let decoded = if pending.is_empty() {
            Ok(Decoded { profiles: 1, received_bytes: received_bytes as u64, ..Decoded::default() })
        } else {
            self.agent("record", stream, received_bytes, move |stream, context| {
                Ok(of_agent(pending.with_locations(stream, context)?, received_bytes))
            })
            .await
        };
        let (_, decoded) = taken_apart(decoded);
        self.finish(arrived, node, decoded, request_hash, LeftOut::default()).await
    }

    /// Stores an OTLP request. Profiles that are wrong are left out, unless all are.
    ///
    /// `layout` is known where fields have names.
    pub async fn export(
        &self,
        message: Bytes,
        layout: Option<Layout>,
        origin: &Origin,
        request_hash: Option<u128>,
    ) -> Result<Exported, PushError> {
        let arrived = self.arrived(Some(origin));
        let (limits, received_ns) = (self.limits.clone(), origin.received_ns);
        let remembered = self.shared.senders.layout(origin.address);
        let size_bytes = message.len();
        let decoded = self
            .work(size_bytes, move || {
                otlp::decode(&message, &limits, layout, remembered, received_ns)
                    .map_err(|error| Wrong { node: otlp::node_of_wrong(&message), error: error.into() })
            })
            .await;
        let (mut exported, mut left_out) = (Exported::default(), LeftOut::default());
        let decoded = decoded.unwrap_or_else(|error| Err(error.into())).and_then(|decoded| {
            exported.rejected_profiles = decoded.rejected_profiles.values().sum();
            match decoded.rejection {
                Some(error) if decoded.profiles == 0 => {
                    return Err(Wrong { node: decoded.node, error: error.into() });
                }
                Some(error) => {
                    exported.rejection = error.to_string();
                    left_out = LeftOut {
                        profiles: decoded.rejected_profiles,
                        rejection: exported.rejection.clone(),
                    };
                }
                None => {}
            }
            if let (None, Some(layout)) = (layout, decoded.layout) {
                self.shared.senders.note_layout(origin.address, layout);
            }
            for (build_id, hash) in &decoded.object_files {
                self.shared.object_files.learn(build_id, hash);
            }
            Ok(Decoded {
                batch: decoded.batch,
                profiles: decoded.profiles,
                received_bytes: size_bytes as u64,
                repaired_strings: decoded.repaired_strings,
                node: decoded.node,
            })
        });
        let (node, decoded) = taken_apart(decoded);
        exported.appended = self.finish(arrived, node, decoded, request_hash, left_out).await?;
        Ok(exported)
    }

    fn arrived<'a>(&self, origin: Option<&'a Origin>) -> Arrived<'a> {
        Arrived { origin, announced: self.store.announce() }
    }

    /// Stores what was decoded and notes what became of it.
    async fn finish(
        &self,
        Arrived { origin, announced }: Arrived<'_>,
        mut node: String,
        decoded: Result<Decoded, PushError>,
        request_hash: Option<u128>,
        left_out: LeftOut,
    ) -> Result<Appended, PushError> {
        let mut repaired_strings = 0;
        let outcome = match decoded {
            Err(error) => Err(error),
            Ok(decoded) => {
                self.shared.counters.note_decoded(&decoded);
                repaired_strings = decoded.repaired_strings;
                if !decoded.node.is_empty() {
                    node = decoded.node;
                }
                if decoded.batch.series.is_empty() {
                    Ok(Appended::default())
                } else {
                    announced.append(decoded.batch, request_hash).await.map_err(PushError::from)
                }
            }
        };
        self.note(origin, &node, &outcome, repaired_strings, left_out);
        outcome
    }

    fn note(
        &self,
        origin: Option<&Origin>,
        node: &str,
        outcome: &Result<Appended, PushError>,
        repaired_strings: u64,
        left_out: LeftOut,
    ) {
        self.shared.counters.note(outcome);
        let Some(origin) = origin else { return };
        let appended = outcome.as_ref().copied().unwrap_or_default();
        let outcome = Outcome {
            took: origin.received.elapsed(),
            samples: appended.samples,
            rejected_samples: outcome.as_ref().map_or_else(PushError::rejected_samples, |a| a.rejected),
            repaired_strings,
            refused: outcome.as_ref().err().map(|error| (error.refusal(), error.to_string())),
            rejected_profiles: left_out.profiles,
            rejection: left_out.rejection,
        };
        self.shared.senders.note(node, origin, outcome);
    }

    /// Decodes what an agent sent in a field, and learns which labels belong to samples.
    async fn agent<T: Send + 'static>(
        &self,
        field: &str,
        stream: Bytes,
        size_bytes: usize,
        decode: impl FnOnce(&[u8], agent::Context<'_>) -> Result<(T, BTreeSet<String>), ArrowError>
        + Send
        + 'static,
    ) -> Result<T, Wrong> {
        if stream.is_empty() {
            return Err(PushError::no_stream(field).into());
        }
        let (limits, shared) = (self.limits.clone(), self.shared.clone());
        let decoded = self.work(size_bytes, move || {
            let sample_labels = shared.sample_labels.lock().clone();
            let schemas = Some(&shared.schemas);
            let context = agent::Context { limits: &limits, sample_labels: &sample_labels, schemas };
            decode(&stream, context)
                .map_err(|error| Wrong { node: agent::node_of_wrong(&stream, &limits), error: error.into() })
        });
        let (decoded, found) = decoded.await??;
        if !found.is_empty() {
            let mut known = self.shared.sample_labels.lock();
            if known.len() + found.len() <= SAMPLE_LABELS_MAX {
                Arc::make_mut(&mut known).extend(found);
            }
        }
        Ok(decoded)
    }

    async fn decode_raw(&self, series: Vec<RawSeries>, received_ns: i64) -> Result<Decoded, PushError> {
        let size_bytes: usize = series.iter().flat_map(|series| &series.profiles).map(Bytes::len).sum();
        let (weight, limits) = (size_bytes.saturating_mul(COMPRESSED_WEIGHT), self.limits.clone());
        self.work(weight, move || batch_of(&series, &limits, received_ns)).await?
    }

    /// Does work on so many bytes here, or on another thread, in its turn, if it would take long. Fails only if the process
    /// stops first.
    async fn work<T: Send + 'static>(
        &self,
        size_bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PushError> {
        if size_bytes <= INLINE_BYTES_MAX {
            return Ok(work());
        }
        let turn = self.shared.large.clone().acquire_owned().await.map_err(|_| AppendError::Closed)?;
        // The turn ends with the work, which goes on if nobody waits for it any more.
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        match done.await {
            Ok(done) => Ok(done),
            Err(error) => match error.try_into_panic() {
                // A panic fails this request, as it would have without the other thread.
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(AppendError::Closed.into()),
            },
        }
    }
}

/// Whose a request is, and what was decoded of it, which may tell better whose it is.
fn taken_apart(decoded: Result<Decoded, Wrong>) -> (String, Result<Decoded, PushError>) {
    match decoded {
        Ok(decoded) => (String::new(), Ok(decoded)),
        Err(Wrong { node, error }) => (node, Err(error)),
    }
}

/// An agent's request as any other.
fn of_agent(decoded: agent::Decoded, received_bytes: usize) -> (Decoded, BTreeSet<String>) {
    let agent::Decoded { batch, repaired_strings, node, sample_labels } = decoded;
    let received_bytes = received_bytes as u64;
    (Decoded { batch, profiles: 1, received_bytes, repaired_strings, node }, sample_labels)
}
