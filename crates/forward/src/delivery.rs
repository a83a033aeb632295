//! From the spool to the remote store: segments are read in order, and their requests go on in lanes.
//!
//! ```text
//! take segment ─► read ─► lane of the sender: attempt, wait, attempt … ─► arrived or dropped ─► all of it: finish
//!                              └─► aside, if it is the request: attempt, wait, attempt … ─┘
//! ```
//! A sender's requests are in one lane and so arrive in their order. While the remote store is away, lanes wait. A request
//! that may be at fault itself ([`crate::trouble`]) leaves its lane, and with it the order, so that others go past it and show
//! whether the remote store is well. Invariants: a segment is finished after the last of its requests arrived or was dropped,
//! never before; what is under way is bounded in bytes, as is what is aside, which is bounded in number too. When there is no
//! room aside, requests in doubt stay in their lanes; if then nothing arrives, others are tried before their turn ([`probe`]).

mod aside;
mod probe;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    error::Error as _,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore, futures::Notified, mpsc},
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tonic::Status;

use self::{
    aside::{Aside, Place, Room},
    probe::{Ahead, PROBES, Probes},
};
use crate::{
    clock,
    counts::{ByMethod, Counters, DropReason, Line},
    record::{Method, Record},
    remote::Remote,
    spool::{Spool, Taken, chain},
    trouble::Trouble,
    verdict::{self, Verdict},
};

/// Requests on their way at once, each of another sender. At 50 ms from here to the store and back that is 300 a second.
const LANES: usize = 16;
/// Bytes of segments that are being sent: they are read into memory and cannot be dropped to make room. The largest message
/// fits.
const BYTES_MAX: usize = 64 << 20;
/// What each of their requests weighs at least.
const REQUEST_BYTES_MIN: u64 = 1 << 10;
/// Old segments are looked for so often.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
/// Time for requests under way to arrive when the process stops. What does not is sent after the next start.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a request waits after a failure: doubled each time, up to the longest, and up to twice as long by chance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waits {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
}

pub(crate) const WAITS: Waits = Waits { min: Duration::from_millis(500), max: Duration::from_secs(15) };

/// What differs in tests.
#[derive(Debug, Clone, Copy)]
struct Timing {
    waits: Waits,
    probes: Probes,
    /// Bytes of segments that are being sent.
    bytes_max: usize,
}

/// What runs until it is stopped, or dropped.
pub(crate) struct Delivery {
    stop: DropGuard,
    tasks: JoinSet<()>,
    aside: TaskTracker,
    counters: Arc<Counters>,
}

/// What lanes share.
struct Shared {
    spool: Spool,
    remote: Remote,
    counters: Arc<Counters>,
    age_max: Duration,
    timing: Timing,
    stop: CancellationToken,
    aside: Aside,
    /// Requests that arrived before their turn.
    ahead: Ahead,
    /// Told when the remote store takes requests again.
    recovered: Notify,
    /// Requests that have arrived.
    arrivals: AtomicU64,
    /// Methods of which a request was given up, and none has arrived since.
    given_up: Mutex<HashSet<Method>>,
}

/// A segment whose requests are on their way.
struct Open {
    taken: Taken,
    left: AtomicUsize,
    room: Mutex<Room>,
}

/// A request on its way.
struct Parcel {
    record: Record,
    segment: Arc<Open>,
    trouble: Trouble,
    waits: ExponentialBackoff,
}

/// What became of a request.
enum Outcome {
    /// It arrived, or was dropped.
    Over,
    /// It gets out of the way of others.
    Leaves(Place),
    /// The process stops before.
    Stopped,
}

/// The process stops.
struct Stopped;

impl Waits {
    pub(crate) fn begin(self) -> ExponentialBackoff {
        ExponentialBuilder::default()
            .with_min_delay(self.min)
            .with_max_delay(self.max)
            .with_jitter()
            .without_max_times()
            .build()
    }
}

impl Delivery {
    /// Begins to send what is in the spool. Must be called in a Tokio runtime.
    pub(crate) fn start(spool: Spool, remote: Remote, counters: Arc<Counters>, age_max: Duration) -> Self {
        let timing = Timing { waits: WAITS, probes: PROBES, bytes_max: BYTES_MAX };
        Self::with(spool, remote, counters, age_max, timing)
    }

    fn with(
        spool: Spool,
        remote: Remote,
        counters: Arc<Counters>,
        age_max: Duration,
        timing: Timing,
    ) -> Self {
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            spool,
            remote,
            counters: counters.clone(),
            age_max,
            timing,
            stop: stop.clone(),
            aside: Aside::default(),
            ahead: Ahead::default(),
            recovered: Notify::new(),
            arrivals: AtomicU64::new(0),
            given_up: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        let lanes = (0..LANES).map(|_| {
            // Bounded by the room for segments.
            let (lane, parcels) = mpsc::unbounded_channel();
            tasks.spawn(shared.clone().lane(parcels));
            lane
        });
        let lanes = lanes.collect();
        tasks.spawn(shared.clone().dispatch(lanes));
        tasks.spawn(shared.clone().probe());
        let aside = shared.aside.tasks.clone();
        tasks.spawn(shared.sweep());
        Self { stop: stop.drop_guard(), tasks, aside, counters }
    }

    /// Lets requests under way arrive, for a while, and ends.
    pub(crate) async fn stop(self) {
        let Self { stop, mut tasks, aside, counters } = self;
        drop(stop);
        let ended = async {
            while tasks.join_next().await.is_some() {}
            aside.close();
            aside.wait().await;
        };
        if tokio::time::timeout(STOP_TIMEOUT, ended).await.is_err() {
            tracing::warn!("requests were still on their way; they are sent again after the next start");
        }
        counters.log_all();
    }
}

impl Shared {
    async fn dispatch(self: Arc<Self>, lanes: Vec<mpsc::UnboundedSender<Parcel>>) {
        let bytes_max = self.timing.bytes_max;
        let bytes = Arc::new(Semaphore::new(bytes_max));
        let work = async {
            loop {
                let taken = self.spool.take().await;
                let weight = taken.size_bytes().max(taken.requests().saturating_mul(REQUEST_BYTES_MIN));
                let weight = u32::try_from(weight.min(bytes_max as u64)).unwrap_or(u32::MAX);
                let Ok(permit) = bytes.clone().acquire_many_owned(weight).await else { return };
                let records = self.ahead.rest(taken, self.spool.read(taken).await).await;
                if records.is_empty() {
                    self.spool.finish(taken).await;
                    continue;
                }
                let (left, room) = (AtomicUsize::new(records.len()), Mutex::new(Room::under_way(permit)));
                let segment = Arc::new(Open { taken, left, room });
                for record in records {
                    let lane = lanes.get((record.sender % LANES as u64) as usize);
                    let (segment, waits) = (segment.clone(), self.timing.waits.begin());
                    let parcel = Parcel { record, segment, trouble: Trouble::default(), waits };
                    if let Some(lane) = lane {
                        // Lanes end only when everything does.
                        let _ = lane.send(parcel);
                    }
                }
            }
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            () = work => {}
        }
    }

    async fn lane(self: Arc<Self>, mut parcels: mpsc::UnboundedReceiver<Parcel>) {
        loop {
            let parcel = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                parcel = parcels.recv() => parcel,
            };
            let Some(mut parcel) = parcel else { return };
            let leaves = |parcel: &Parcel| match parcel.trouble.is_its_own() {
                true => self.aside.place(&mut parcel.segment.room.lock()),
                false => None,
            };
            match self.deliver(&mut parcel, leaves).await {
                Outcome::Over => self.over(parcel).await,
                Outcome::Leaves(place) => {
                    self.aside.tasks.spawn(self.clone().beside(parcel, place));
                }
                Outcome::Stopped => return,
            }
        }
    }

    /// Goes on with a request that left its lane.
    async fn beside(self: Arc<Self>, mut parcel: Parcel, place: Place) {
        let waited = self.wait(self.recovered.notified(), &mut parcel).await;
        if waited.is_ok() && matches!(self.deliver(&mut parcel, |_| None).await, Outcome::Over) {
            self.over(parcel).await;
        }
        drop(place);
    }

    async fn over(&self, parcel: Parcel) {
        if parcel.segment.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.spool.finish(parcel.segment.taken).await;
        }
    }

    /// Tries until the request has arrived, is dropped, or `leaves` has a place for it.
    async fn deliver(&self, parcel: &mut Parcel, leaves: impl Fn(&Parcel) -> Option<Place>) -> Outcome {
        loop {
            let recovered = self.recovered.notified();
            if self.attempt(&parcel.record, &mut parcel.trouble).await {
                return Outcome::Over;
            }
            if let Some(place) = leaves(parcel) {
                return Outcome::Leaves(place);
            }
            if self.wait(recovered, parcel).await.is_err() {
                return Outcome::Stopped;
            }
        }
    }

    /// Tries once; whether the request has arrived, or is dropped.
    async fn attempt(&self, record: &Record, trouble: &mut Trouble) -> bool {
        if self.is_old(record) {
            let method = ByMethod::one(record.method);
            self.counters.dropped(DropReason::Age, &method, "older than --spool-max-age");
            return true;
        }
        let status = match self.remote.send(record).await {
            Ok(sent) => {
                self.arrived(record, sent.left_out);
                return true;
            }
            Err(status) => status,
        };
        let arrivals = self.arrivals.load(Ordering::Relaxed);
        let verdict = verdict::of(&status);
        let is_refused = match verdict {
            Verdict::Never => true,
            Verdict::Doubtful => {
                trouble.doubt(arrivals);
                self.gives_up(record.method, trouble)
            }
            Verdict::Later => {
                trouble.later(arrivals);
                false
            }
        };
        match is_refused {
            true => self.refused(record, &status),
            false => self.failed(record.method, &status, verdict),
        }
        is_refused
    }

    /// Waits for the next attempt.
    async fn wait(&self, recovered: Notified<'_>, parcel: &mut Parcel) -> Result<(), Stopped> {
        let wait = parcel.waits.next().unwrap_or(self.timing.waits.max);
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Stopped),
            () = recovered => Ok(()),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    /// Whether one more doubt is one too many.
    fn gives_up(&self, method: Method, trouble: &Trouble) -> bool {
        let mut given_up = self.given_up.lock();
        let gives_up = trouble.is_given_up(given_up.contains(&method), self.aside.is_crowded());
        if gives_up {
            given_up.insert(method);
        }
        gives_up
    }

    fn is_old(&self, record: &Record) -> bool {
        let age_ms = clock::now_ms().saturating_sub(record.received_ms);
        u128::try_from(age_ms).is_ok_and(|age_ms| age_ms > self.age_max.as_millis())
    }

    fn arrived(&self, record: &Record, left_out: u64) {
        self.arrivals.fetch_add(1, Ordering::Relaxed);
        self.given_up.lock().remove(&record.method);
        if self.counters.forwarded(record.method, record.size_bytes(), left_out) {
            tracing::info!(store = %self.remote.origin(), "the remote store takes requests again");
            self.recovered.notify_waiters();
        }
    }

    fn failed(&self, method: Method, status: &Status, verdict: Verdict) {
        let (store, error) = (self.remote.origin(), words(status));
        let line = self.counters.failed(method, status.code(), verdict);
        let method = method.name();
        match line {
            Some(Line::Away) => {
                tracing::warn!(%store, method, error, "the remote store does not take requests; they wait in the spool");
            }
            Some(Line::InDoubt) => {
                tracing::warn!(%store, method, error, "a request is in doubt; it is tried again beside the others");
            }
            None => tracing::debug!(%store, method, error, "the remote store did not take a request"),
        }
    }

    fn refused(&self, record: &Record, status: &Status) {
        self.counters.refused(record.method, status.code());
        self.counters.dropped(DropReason::Refused, &ByMethod::one(record.method), &words(status));
    }

    async fn sweep(self: Arc<Self>) {
        let mut ticks = interval(SWEEP_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = ticks.tick() => {
                    self.spool.drop_old(clock::now_ms()).await;
                    self.counters.log_rest();
                }
            }
        }
    }
}

/// A status in one line: code, message, and what is behind it if the remote store did not say it.
pub(crate) fn words(status: &Status) -> String {
    match status.source() {
        None => format!("{:?}: {}", status.code(), status.message()),
        Some(cause) => format!("{:?}: {}", status.code(), chain(cause)),
    }
}
