//! Hands on what senders push and what is scraped to a remote store, by way of a spool on disk.
//!
//! ```text
//! request ─► external labels ─► spool (fsynced) ─► answered
//!                                 └─► delivery: attempt, wait, attempt … ─► remote store
//! ```
//! Constraints: what a store like ours would refuse is refused here, where its sender hears of it, and all else goes on as it
//! came (what the remote store makes of it is its business, be it a Decima or a Parca); the remote store may be away for as
//! long as the spool has room. Invariants: a request is answered after it is durable; the requests of a sender arrive in
//! their order, but for those that would hold up others; a request arrives at least once, and what does not arrive is counted
//! and named. Object files go the same way beside the requests ([`debuginfo`]). Nothing of this process is asked for here:
//! no query reads the spool. Start at [`Forwarder`].

mod clock;
mod counts;
mod debuginfo;
mod delivery;
mod fields;
pub mod labels;
pub mod otlp;
mod pprof;
mod raw;
mod record;
mod remote;
pub mod settings;
mod spool;
mod trouble;
mod verdict;

use std::{error::Error, net::IpAddr, num::NonZero, sync::Arc};

use bytes::Bytes;
use decima_base::ErrorKind;
use decima_ingest::{
    otlp::Layout,
    push::{
        Limits, Origin, Outcome, PushError, RawSeries, Refusal, Senders,
        check::{self, Checked},
    },
    scrape::Sink,
};
use decima_proto::parca::profilestore::v1alpha1::{
    Label, LabelSet, RawProfileSeries, RawSample, WriteRawRequest,
};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::Semaphore;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use self::{
    counts::Counters,
    debuginfo::{Files, HandOver},
    delivery::Delivery,
    labels::External,
    raw::Additions,
    record::Record,
    remote::Remote,
    spool::{Directory, Spool},
};
pub use self::{
    counts::{Counts, DropReason},
    debuginfo::{Debuginfo, FileCounts, UploadError, UploadSink},
    record::Method,
    remote::{CredentialsError, RemoteError},
    settings::Settings,
    spool::{OpenError, SpoolError},
};

/// Requests with more bytes than this are worked on elsewhere than in the runtime's threads: decompressing takes a millisecond
/// and more.
const INLINE_BYTES_MAX: usize = 256 << 10;

/// Bytes of compressed profiles count so many times: that is about what they become.
const COMPRESSED_WEIGHT: usize = 16;

/// A forwarder that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings of the remote store cannot be used.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The spool cannot be used.
    #[error(transparent)]
    Spool(#[from] OpenError),
}

/// A request that was not taken.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ForwardError {
    /// It is wrong: labels cannot be added to it.
    #[error("{message}")]
    InvalidArgument {
        /// Kind of mistake.
        reason: Refusal,
        /// For the sender.
        message: String,
    },
    /// The spool did not take it.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

impl ForwardError {
    /// What the sender can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidArgument { .. } => ErrorKind::InvalidArgument,
            Self::Spool(error) => error.kind(),
        }
    }

    fn refusal(&self) -> Refusal {
        match self {
            Self::InvalidArgument { reason, .. } => *reason,
            Self::Spool(_) => Refusal::Store,
        }
    }

    fn malformed(error: impl std::fmt::Display) -> Self {
        Self::InvalidArgument { reason: Refusal::Malformed, message: error.to_string() }
    }
}

impl From<PushError> for ForwardError {
    fn from(error: PushError) -> Self {
        Self::InvalidArgument { reason: error.refusal(), message: error.to_string() }
    }
}

/// A request that was looked at, as it goes on.
struct Ready {
    checked: Checked,
    parts: Result<Vec<Bytes>, ForwardError>,
}

impl Ready {
    /// What a store would refuse is refused here, where its sender hears of it.
    fn of(mut checked: Checked, parts: impl FnOnce() -> Result<Vec<Bytes>, ForwardError>) -> Self {
        let parts = match checked.wrong.take() {
            Some(error) => Err(error.into()),
            None => parts(),
        };
        Self { checked, parts }
    }
}

/// Takes requests and sees to it that they arrive. Clones share it.
#[derive(Clone)]
pub struct Forwarder {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    external: External,
    remote: Remote,
    spool: Spool,
    counters: Arc<Counters>,
    /// For checking large requests: as many at once as there are processors.
    large: Arc<Semaphore>,
    senders: Arc<Senders>,
    debuginfo: Debuginfo,
    deliveries: Mutex<Option<(Delivery, debuginfo::Delivery)>>,
}

impl Forwarder {
    /// Opens the spool and begins to send what is in it. The remote store need not be there.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let remote = Remote::new(&settings.remote)?;
        let counters = Arc::new(Counters::default());
        let bounds =
            spool::Bounds { size_bytes_max: settings.spool_bytes_max, age_max: settings.spool_age_max };
        let directory = Directory::open(&settings.spool_path)?;
        let spool = Spool::open(directory.clone(), bounds, counters.clone()).await?;
        let files = Files::open(directory, settings.object_files, settings.spool_age_max).await;
        let files = files.map_err(OpenError::List)?;
        let delivery =
            Delivery::start(spool.clone(), remote.clone(), counters.clone(), settings.spool_age_max);
        let hand_over = HandOver::new(files.clone(), remote.clone(), settings.remote.trust.clone());
        let file_delivery = debuginfo::Delivery::start(files.clone(), hand_over);
        let debuginfo = Debuginfo::new(files, remote.clone());
        let external = External::new(settings.external_labels.clone());
        let (senders, deliveries) = (Arc::default(), Mutex::new(Some((delivery, file_delivery))));
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let large = Arc::new(Semaphore::new(processors));
        let shared =
            Shared { settings, external, remote, spool, counters, large, senders, debuginfo, deliveries };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Where requests go.
    pub fn address(&self) -> String {
        self.shared.remote.origin().to_string().trim_end_matches('/').to_owned()
    }

    /// What became of requests since the start, and what waits now.
    pub fn counts(&self) -> Counts {
        let mut counts = self.shared.counters.read();
        self.shared.spool.describe(&mut counts);
        counts.object_files = self.shared.debuginfo.counts();
        counts
    }

    /// Who pushes, and what became of it; by `node` label, where a request has one that is looked at, and address. Also of
    /// what is refused before it comes here.
    pub fn senders(&self) -> &Arc<Senders> {
        &self.shared.senders
    }

    /// What takes object files.
    pub fn debuginfo(&self) -> &Debuginfo {
        &self.shared.debuginfo
    }

    /// Takes an encoded request of profiles with their labels.
    pub async fn write_raw(&self, request: Bytes, origin: &Origin) -> Result<(), ForwardError> {
        let shared = self.shared.clone();
        let (limits, received_ns) = (self.limits(), origin.received_ns);
        let weight = request.len().saturating_mul(COMPRESSED_WEIGHT);
        let parts = self.checked(weight, move || {
            let checked = check::raw(&request, &limits, received_ns);
            let additions = Additions {
                external: &shared.external,
                received_ns,
                profile_bytes_max: limits.profile_bytes_max,
            };
            let ready = || Ok(vec![additions.to_request(&request).map_err(ForwardError::malformed)?]);
            Ready::of(checked, ready)
        });
        self.finish(Method::WriteRaw, parts.await, origin).await
    }

    /// Takes both records of an exchange in the agent's first schema.
    pub async fn write(&self, samples: Bytes, locations: Bytes, origin: &Origin) -> Result<(), ForwardError> {
        let (shared, limits) = (self.shared.clone(), self.limits());
        let parts = self.checked(samples.len() + locations.len(), move || {
            let checked = check::exchange(&samples, &locations, &limits);
            Ready::of(checked, || {
                let samples =
                    shared.external.add_to_first_schema(samples).map_err(ForwardError::malformed)?;
                Ok(vec![samples, locations])
            })
        });
        self.finish(Method::Write, parts.await, origin).await
    }

    /// Takes a stream in the agent's second schema.
    pub async fn write_arrow(&self, stream: Bytes, origin: &Origin) -> Result<(), ForwardError> {
        let (shared, limits) = (self.shared.clone(), self.limits());
        let parts = self.checked(stream.len(), move || {
            let checked = match stream.is_empty() {
                false => check::arrow(&stream, &limits),
                true => Checked { wrong: Some(PushError::no_stream("ipc_buffer")), ..Checked::default() },
            };
            Ready::of(checked, || {
                Ok(vec![shared.external.add_to_second_schema(stream).map_err(ForwardError::malformed)?])
            })
        });
        self.finish(Method::WriteArrow, parts.await, origin).await
    }

    /// Takes an encoded OTLP request, whose layout is known if it was JSON.
    pub async fn export(
        &self,
        request: Bytes,
        layout: Option<Layout>,
        origin: &Origin,
    ) -> Result<(), ForwardError> {
        let (shared, limits, received_ns) = (self.shared.clone(), self.limits(), origin.received_ns);
        let parts = self.checked(request.len(), move || {
            let mut checked = check::export(&request, layout, &limits, received_ns);
            let request = match self::otlp::repaired(&request) {
                None => request,
                Some((repaired, strings)) => {
                    checked.repaired_strings = strings;
                    repaired
                }
            };
            Ready::of(checked, || {
                Ok(vec![shared.external.add_to_otlp(request).map_err(ForwardError::malformed)?])
            })
        });
        self.finish(Method::Export, parts.await, origin).await
    }

    /// Checks a request of so many bytes and makes it ready, here, or on another thread, in its turn, if it would take long.
    async fn checked(&self, size_bytes: usize, work: impl FnOnce() -> Ready + Send + 'static) -> Ready {
        let turn = match size_bytes > INLINE_BYTES_MAX {
            true => self.shared.large.clone().acquire_owned().await.ok(),
            false => None,
        };
        let ready = self::work(size_bytes, move || {
            let ready = work();
            // The turn ends with the work, which goes on if nobody waits for it any more.
            drop(turn);
            ready
        });
        let stopped = || Ready { checked: Checked::default(), parts: Err(SpoolError::Closed.into()) };
        ready.await.unwrap_or_else(stopped)
    }

    /// The message that asks for the stacktraces of a first record; `None` if there are none to ask for. A record that is
    /// wrong is refused, and its sender's refusal noted.
    pub fn question(&self, samples: &[u8], origin: &Origin) -> Result<Option<Vec<u8>>, ForwardError> {
        let question = match samples.is_empty() {
            false => decima_ingest::agent::question(samples, &self.limits()),
            true => Err(PushError::no_stream("record")),
        };
        question.map_err(|error| {
            let node = check::exchange(samples, &[], &self.limits()).node;
            let error = ForwardError::from(error);
            self.note(origin, Checked { node, ..Checked::default() }, &Err(error.clone()));
            error
        })
    }

    fn limits(&self) -> Limits {
        Limits { profile_bytes_max: self.shared.settings.profile_bytes_max, ..Limits::default() }
    }

    /// Lets requests under way arrive, for a while, and sends no more. What is in the spool stays.
    pub async fn stop(&self) {
        let deliveries = self.shared.deliveries.lock().take();
        if let Some((requests, files)) = deliveries {
            tokio::join!(requests.stop(), files.stop());
        }
    }

    async fn finish(&self, method: Method, ready: Ready, origin: &Origin) -> Result<(), ForwardError> {
        let outcome = match ready.parts {
            Err(error) => Err(error),
            Ok(parts) => {
                let sender = origin.address.map_or(0, |address| match address {
                    IpAddr::V4(address) => xxh3_64(&address.octets()),
                    IpAddr::V6(address) => xxh3_64(&address.octets()),
                });
                let record = Record { method, sender, received_ms: origin.received_ns / 1_000_000, parts };
                self.shared.spool.append(record).await.map_err(ForwardError::from)
            }
        };
        self.note(origin, ready.checked, &outcome);
        outcome
    }

    fn note(&self, origin: &Origin, checked: Checked, outcome: &Result<(), ForwardError>) {
        let refused = outcome.as_ref().err().map(|error| (error.refusal(), error.to_string()));
        let Checked { node, samples, repaired_strings, wrong: _ } = checked;
        let samples = if refused.is_none() { samples } else { 0 };
        let took = origin.received.elapsed();
        let outcome = Outcome { took, samples, repaired_strings, refused, ..Outcome::default() };
        self.shared.senders.note(&node, origin, outcome);
    }
}

#[async_trait::async_trait]
impl Sink for Forwarder {
    async fn store(
        &self,
        series: Vec<RawSeries>,
        received_ns: i64,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let (external, profile_bytes_max) =
            (self.shared.external.clone(), self.shared.settings.profile_bytes_max);
        let size_bytes = series.iter().flat_map(|series| &series.profiles).map(Bytes::len).sum();
        let record = work(size_bytes, move || {
            let mut sender = Xxh3::new();
            let mut request = WriteRawRequest::default();
            for RawSeries { labels, profiles, keep } in series {
                for (name, value) in &labels {
                    sender.update(name.as_bytes());
                    sender.update(value.as_bytes());
                }
                let labels = labels.into_iter().map(|(name, value)| Label { name, value }).collect();
                let mut labels = LabelSet { labels };
                external.set(&mut labels);
                let samples = profiles.iter().map(|profile| RawSample {
                    raw_profile: pprof::ready(profile, &keep, received_ns, profile_bytes_max),
                    ..RawSample::default()
                });
                let samples = samples.collect();
                request.series.push(RawProfileSeries { labels: Some(labels), samples });
            }
            let parts = vec![request.encode_to_vec().into()];
            let received_ms = received_ns / 1_000_000;
            Record { method: Method::WriteRaw, sender: sender.digest(), received_ms, parts }
        });
        let record = record.await.ok_or(SpoolError::Closed)?;
        Ok(self.shared.spool.append(record).await?)
    }
}

/// Does work on so many bytes here, or on another thread if it would take long; `None` if the process stops first.
async fn work<T: Send + 'static>(size_bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    if size_bytes <= INLINE_BYTES_MAX {
        return Some(work());
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Some(done),
        Err(error) => match error.try_into_panic() {
            // A panic fails this request, as it would have without the other thread.
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => None,
        },
    }
}
