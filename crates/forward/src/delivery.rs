//! From the spool to the remote store: segments are read in order, and their requests go on in lanes.
//!
//! ```text
//! take segment ─► read ─► lane of the sender: attempt, wait, attempt … ─► arrived or dropped ─► all of it: finish
//! ```
//! A sender's requests are in one lane and so arrive in their order; a request that is tried again holds up its lane only,
//! until the bounds on what is under way are reached. Invariants: a segment is finished after the last of its requests
//! arrived or was dropped, never before; what is under way is bounded in bytes and in segments.

use std::{
    collections::HashSet,
    error::Error as _,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    clock,
    counts::{Counters, DropReason},
    record::{Method, Record},
    remote::Remote,
    spool::{Spool, Taken, chain},
    verdict::{self, Verdict},
};

/// Requests on their way at once, each of another sender. At 50 ms from here to the store and back that is 300 a second.
const LANES: usize = 16;
/// Bytes of requests that were read and have not arrived. The largest message fits.
const BYTES_MAX: usize = 64 << 20;
/// What a request weighs at least.
const REQUEST_BYTES_MIN: usize = 1 << 10;
/// Segments that are read and not finished: they cannot be dropped to make room.
const SEGMENTS_MAX: usize = 8;
/// First wait after a failure; doubled each time, up to the longest, and up to twice as long by chance.
const WAIT_MIN: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(15);
/// Attempts of a request that may be at fault itself, if others arrive meanwhile: half a minute.
const DOUBTS_MAX: u32 = 6;
/// Time for such a request if nothing else arrives either, so that it may be the remote store that is at fault.
const DOUBT_TIME_MAX: Duration = Duration::from_secs(10 * 60);
/// Old segments are looked for so often.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
/// Time for requests under way to arrive when the process stops. What does not is sent after the next start.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// What runs until it is stopped.
pub(crate) struct Delivery {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// What lanes share.
struct Shared {
    spool: Spool,
    remote: Remote,
    counters: Arc<Counters>,
    age_max: Duration,
    stop: CancellationToken,
    /// Told when the remote store takes requests again.
    recovered: Notify,
    /// Requests that have arrived.
    arrivals: AtomicU64,
    /// Methods of which a request was given up while others arrived, and none has arrived since: the remote store does not
    /// offer them, or all are wrong in the same way. One doubt is enough then.
    given_up: Mutex<HashSet<Method>>,
}

/// A segment whose requests are on their way.
struct Open {
    taken: Taken,
    left: AtomicUsize,
    _place: OwnedSemaphorePermit,
}

/// A request on its way.
struct Parcel {
    record: Record,
    segment: Arc<Open>,
    _weight: OwnedSemaphorePermit,
}

/// The process stops before the request arrived.
struct Stopped;

/// What is held against a request.
struct Doubt {
    /// Attempts that may have failed by its fault.
    count: u32,
    since: Instant,
    /// Requests that had arrived when it began.
    arrivals: u64,
}

impl Delivery {
    /// Begins to send what is in the spool. Must be called in a Tokio runtime.
    pub(crate) fn start(spool: Spool, remote: Remote, counters: Arc<Counters>, age_max: Duration) -> Self {
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            spool,
            remote,
            counters,
            age_max,
            stop: stop.clone(),
            recovered: Notify::new(),
            arrivals: AtomicU64::new(0),
            given_up: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        let lanes = (0..LANES).map(|_| {
            // Bounded by the weights.
            let (lane, parcels) = mpsc::unbounded_channel();
            tasks.spawn(shared.clone().lane(parcels));
            lane
        });
        let lanes = lanes.collect();
        tasks.spawn(shared.clone().dispatch(lanes));
        tasks.spawn(shared.sweep());
        Self { stop, tasks }
    }

    /// Lets requests under way arrive, for a while, and ends.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_TIMEOUT, ended).await.is_err() {
            tracing::warn!("requests were still on their way; they are sent again after the next start");
        }
    }
}

impl Shared {
    async fn dispatch(self: Arc<Self>, lanes: Vec<mpsc::UnboundedSender<Parcel>>) {
        let segments = Arc::new(Semaphore::new(SEGMENTS_MAX));
        let bytes = Arc::new(Semaphore::new(BYTES_MAX));
        let work = async {
            loop {
                let Ok(place) = segments.clone().acquire_owned().await else { return };
                let taken = self.spool.take().await;
                let records = self.spool.read(taken).await;
                if records.is_empty() {
                    self.spool.finish(taken).await;
                    continue;
                }
                let segment = Arc::new(Open { taken, left: AtomicUsize::new(records.len()), _place: place });
                for record in records {
                    let weight = record.size_bytes().clamp(REQUEST_BYTES_MIN, BYTES_MAX) as u32;
                    let Ok(weight) = bytes.clone().acquire_many_owned(weight).await else { return };
                    let lane = lanes.get((record.sender % LANES as u64) as usize);
                    let parcel = Parcel { record, segment: segment.clone(), _weight: weight };
                    // Lanes end only when everything does.
                    let _ = lane.map(|lane| lane.send(parcel));
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
            let Some(parcel) = parcel else { return };
            let Ok(()) = self.deliver(&parcel.record).await else { return };
            if parcel.segment.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.spool.finish(parcel.segment.taken).await;
            }
        }
    }

    /// Tries until the request has arrived, or is dropped.
    async fn deliver(&self, record: &Record) -> Result<(), Stopped> {
        let mut waits = ExponentialBuilder::default()
            .with_min_delay(WAIT_MIN)
            .with_max_delay(WAIT_MAX)
            .with_jitter()
            .without_max_times()
            .build();
        let mut doubt = None;
        loop {
            if self.is_old(record) {
                self.counters.dropped(DropReason::Age, 1, "older than --spool-max-age");
                return Ok(());
            }
            let recovered = self.recovered.notified();
            match self.remote.send(record).await {
                Ok(sent) => {
                    self.arrived(record, sent.left_out);
                    return Ok(());
                }
                Err(status) => match verdict::of(&status) {
                    Verdict::Never => {
                        self.refused(record, &status);
                        return Ok(());
                    }
                    Verdict::Doubtful => {
                        if self.gives_up(record.method, &mut doubt) {
                            self.refused(record, &status);
                            return Ok(());
                        }
                        self.failed(record.method, &status);
                    }
                    Verdict::Later => self.failed(record.method, &status),
                },
            }
            let wait = waits.next().unwrap_or(WAIT_MAX);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Stopped),
                () = recovered => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Whether one more doubt is one too many.
    fn gives_up(&self, method: Method, doubt: &mut Option<Doubt>) -> bool {
        let arrivals = self.arrivals.load(Ordering::Relaxed);
        let doubt = doubt.get_or_insert_with(|| Doubt { count: 0, since: Instant::now(), arrivals });
        doubt.count += 1;
        if self.given_up.lock().contains(&method) {
            return true;
        }
        let others_arrive = arrivals != doubt.arrivals;
        if doubt.count >= DOUBTS_MAX && others_arrive {
            self.given_up.lock().insert(method);
            return true;
        }
        doubt.since.elapsed() >= DOUBT_TIME_MAX
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

    fn failed(&self, method: Method, status: &Status) {
        let (code, error) = (status.code(), words(status));
        let (store, method_name) = (self.remote.origin(), method.name());
        if self.counters.failed(method, code) {
            let method = method_name;
            tracing::warn!(%store, method, error, "the remote store does not take requests; they wait in the spool");
        } else {
            tracing::debug!(%store, method = method_name, error, "the remote store still does not take requests");
        }
    }

    fn refused(&self, record: &Record, status: &Status) {
        self.counters.refused(record.method, status.code());
        let detail = format!("{}: {}", record.method.name(), words(status));
        self.counters.dropped(DropReason::Refused, 1, &detail);
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
fn words(status: &Status) -> String {
    match status.source() {
        None => format!("{:?}: {}", status.code(), status.message()),
        Some(cause) => format!("{:?}: {}", status.code(), chain(cause)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Remote as RemoteSettings, Trust};

    async fn shared(folder: &std::path::Path) -> Shared {
        let remote = RemoteSettings {
            origin: http::Uri::from_static("http://127.0.0.1:1"),
            trust: Trust::System,
            token: None,
            headers: Vec::new(),
        };
        let counters = Arc::new(Counters::default());
        let age_max = Duration::from_secs(60);
        let bounds = crate::spool::Bounds { size_bytes_max: 1 << 20, age_max };
        Shared {
            spool: Spool::open(folder, bounds, counters.clone()).await.unwrap(),
            remote: Remote::new(&remote).unwrap(),
            counters,
            age_max,
            stop: CancellationToken::new(),
            recovered: Notify::new(),
            arrivals: AtomicU64::new(0),
            given_up: Mutex::default(),
        }
    }

    fn record(method: Method) -> Record {
        Record { method, sender: 1, received_ms: clock::now_ms(), parts: Vec::new() }
    }

    #[tokio::test]
    async fn doubts_count_while_others_arrive() {
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(folder.path()).await;
        // Nothing arrives: it may be the remote store.
        let mut doubt = None;
        for _ in 0..DOUBTS_MAX * 2 {
            assert!(!shared.gives_up(Method::Export, &mut doubt));
        }
        shared.arrived(&record(Method::WriteRaw), 0);
        assert!(shared.gives_up(Method::Export, &mut doubt), "others arrive, and this one does not");
        // The next ones of this method have no more than one attempt, others have all.
        assert!(shared.gives_up(Method::Export, &mut None));
        assert!(!shared.gives_up(Method::WriteRaw, &mut None));
        // Until one arrives.
        shared.arrived(&record(Method::Export), 0);
        let mut doubt = None;
        for attempt in 1..=DOUBTS_MAX {
            shared.arrived(&record(Method::WriteRaw), 0);
            assert_eq!(shared.gives_up(Method::Export, &mut doubt), attempt == DOUBTS_MAX, "{attempt}");
            shared.arrivals.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn nothing_is_kept_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(folder.path()).await;
        let mut doubt = None;
        assert!(!shared.gives_up(Method::Write, &mut doubt));
        let long_ago = Instant::now().checked_sub(DOUBT_TIME_MAX).unwrap();
        doubt.as_mut().unwrap().since = long_ago;
        assert!(shared.gives_up(Method::Write, &mut doubt));
        let old = Record { received_ms: clock::now_ms() - 61_000, ..record(Method::Write) };
        assert!(shared.is_old(&old) && !shared.is_old(&record(Method::Write)));
    }

    #[test]
    fn statuses_in_words() {
        assert_eq!(words(&Status::unavailable("stopping")), "Unavailable: stopping");
        let broken = Status::from_error(Box::new(std::io::Error::other("reset")));
        assert_eq!(words(&broken), "Unknown: reset");
    }
}
