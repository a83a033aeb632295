use std::{path::Path, pin::Pin, sync::atomic::AtomicBool};

use bytes::Bytes;
use decima_proto::{
    Encoded,
    parca::profilestore::v1alpha1::{
        WriteArrowRequest, WriteArrowResponse, WriteRawResponse, WriteRequest, WriteResponse,
        profile_store_service_server::{ProfileStoreService, ProfileStoreServiceServer},
    },
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_stream::{Stream, wrappers::TcpListenerStream};
use tonic::{Response, Streaming};

use super::*;
use crate::{
    counts::Counts,
    settings::{Remote as Settings, Trust},
    spool::{Bounds, Directory},
};

/// Far longer than any of this takes.
const PATIENCE: Duration = Duration::from_secs(120);
const QUICK: Timing = Timing {
    waits: Waits { min: Duration::from_millis(1), max: Duration::from_millis(8) },
    probes: Probes { after: Duration::from_millis(30), every: Duration::from_millis(5) },
    bytes_max: BYTES_MAX,
};

type Answer = dyn Fn(&str, u64) -> Result<(), Status> + Send + Sync;

/// A request that is taken when there is a permit for it, and answered then.
const HELD: &str = "held";

/// A remote store: requests are names, of which it takes those that `answer` takes; that has the number of the attempt, too.
#[derive(Clone)]
struct Parca {
    answer: Arc<Answer>,
    attempts: Arc<AtomicU64>,
    held: Arc<AtomicU64>,
    permits: Arc<Semaphore>,
    arrived: Arc<Mutex<Vec<String>>>,
}

#[tonic::async_trait]
impl ProfileStoreService for Parca {
    async fn write_raw(
        &self,
        request: tonic::Request<Encoded>,
    ) -> Result<Response<WriteRawResponse>, Status> {
        let name = String::from_utf8(request.into_inner().0.to_vec()).unwrap();
        (self.answer)(&name, self.attempts.fetch_add(1, Ordering::Relaxed))?;
        if name == HELD {
            self.held.fetch_add(1, Ordering::Relaxed);
            self.permits.acquire().await.unwrap().forget();
        }
        self.arrived.lock().push(name);
        Ok(Response::new(WriteRawResponse {}))
    }

    type WriteStream = Pin<Box<dyn Stream<Item = Result<WriteResponse, Status>> + Send>>;

    async fn write(
        &self,
        _: tonic::Request<Streaming<WriteRequest>>,
    ) -> Result<Response<Self::WriteStream>, Status> {
        Err(Status::unimplemented("write"))
    }

    async fn write_arrow(
        &self,
        _: tonic::Request<WriteArrowRequest>,
    ) -> Result<Response<WriteArrowResponse>, Status> {
        Err(Status::unimplemented("write_arrow"))
    }
}

/// A spool from which requests go to a [`Parca`].
struct Forwarding {
    spool: Spool,
    counters: Arc<Counters>,
    delivery: Delivery,
    parca: Parca,
}

impl Forwarding {
    async fn start(
        folder: &Path,
        answer: impl Fn(&str, u64) -> Result<(), Status> + Send + Sync + 'static,
    ) -> Self {
        Self::with(folder, answer, QUICK).await
    }

    async fn with(
        folder: &Path,
        answer: impl Fn(&str, u64) -> Result<(), Status> + Send + Sync + 'static,
        timing: Timing,
    ) -> Self {
        let parca = Parca {
            answer: Arc::new(answer),
            attempts: Arc::default(),
            held: Arc::default(),
            permits: Arc::new(Semaphore::new(0)),
            arrived: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = Settings {
            origin: format!("http://{}", listener.local_addr().unwrap()).parse().unwrap(),
            trust: Trust::System,
            token: None,
            headers: Vec::new(),
        };
        let service = ProfileStoreServiceServer::new(parca.clone());
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        let (counters, age_max) = (Arc::<Counters>::default(), Duration::from_secs(3600));
        let bounds = Bounds { size_bytes_max: 1 << 30, age_max };
        let directory = Directory::open(folder).unwrap();
        let spool = Spool::open(directory, bounds, counters.clone()).await.unwrap();
        let remote = Remote::new(&settings).unwrap();
        let delivery = Delivery::with(spool.clone(), remote, counters.clone(), age_max, timing);
        Self { spool, counters, delivery, parca }
    }

    async fn append(&self, sender: u64, name: &str) {
        let parts = vec![Bytes::copy_from_slice(name.as_bytes())];
        let record = Record { method: Method::WriteRaw, sender, received_ms: clock::now_ms(), parts };
        self.spool.append(record).await.unwrap();
    }

    fn counts(&self) -> Counts {
        let mut counts = self.counters.read();
        self.spool.describe(&mut counts);
        counts
    }

    /// Until something is true, which must come true.
    async fn until(&self, what: &str, is_true: impl Fn(&Self) -> bool) {
        let wait = async {
            while !is_true(self) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        assert!(waited.is_ok(), "{what}: {:?}, arrived {:?}", self.counts(), self.parca.arrived.lock());
    }

    /// What arrived, sorted.
    fn arrived(&self) -> Vec<String> {
        let mut arrived = self.parca.arrived.lock().clone();
        arrived.sort();
        arrived
    }
}

/// One sender's every second request is wrong, in Parca's way of saying so; some senders share its lane, some do not.
#[tokio::test]
async fn wrong_requests_hold_up_nobody_and_are_dropped() {
    const ROUNDS: u64 = 40;
    const SENDERS: [u64; 5] = [1, 1 + LANES as u64, 2, 3, 4];
    let folder = tempfile::tempdir().unwrap();
    let wrong = |name: &str| match name.starts_with("wrong") {
        true => Err(Status::unknown("invalid profile type at row 0")),
        false => Ok(()),
    };
    let forwarding = Forwarding::start(folder.path(), move |name, _| wrong(name)).await;
    let mut good = Vec::new();
    for round in 0..ROUNDS {
        for sender in SENDERS {
            let is_wrong = sender == 1 && round % 2 == 0;
            let name = format!("{} {sender} {round}", if is_wrong { "wrong" } else { "good" });
            forwarding.append(sender, &name).await;
            good.extend((!is_wrong).then_some(name));
        }
    }
    good.sort();
    forwarding
        .until("all good ones arrive", |forwarding| forwarding.parca.arrived.lock().len() >= good.len())
        .await;
    assert_eq!(forwarding.arrived(), good);
    // The last wrong ones are known for what they are by what arrives after them.
    let wrong_count = ROUNDS / 2;
    let mut round = ROUNDS;
    while forwarding.counts().dropped[&DropReason::Refused] < wrong_count {
        forwarding.append(2, &format!("more 2 {round}")).await;
        let arrived = good.len() as u64 + (round - ROUNDS) + 1;
        forwarding
            .until("more arrive", |forwarding| forwarding.parca.arrived.lock().len() as u64 >= arrived)
            .await;
        round += 1;
    }
    forwarding.until("nothing is left", |forwarding| forwarding.counts().spool_requests == 0).await;
    let counts = forwarding.counts();
    let refused = (Method::WriteRaw, tonic::Code::Unknown as i32);
    assert_eq!(counts.refused.into_iter().collect::<Vec<_>>(), [(refused, wrong_count)]);
    assert_eq!(counts.dropped.values().sum::<u64>(), wrong_count);
    forwarding.delivery.stop().await;
}

/// More than there are places for requests in doubt.
#[tokio::test]
async fn a_remote_store_that_refuses_everything_for_a_while_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let refusals = |attempt: u64| match attempt {
        0..1500 => Err(Status::unknown("write failed")),
        1500..1600 => Err(Status::internal("write failed")),
        _ => Ok(()),
    };
    let forwarding = Forwarding::start(folder.path(), move |_, attempt| refusals(attempt)).await;
    let mut names = Vec::new();
    for at in 0..400 {
        let name = format!("{at}");
        forwarding.append(at % 20, &name).await;
        names.push(name);
    }
    names.sort();
    forwarding.until("everything arrives", |forwarding| forwarding.counts().spool_requests == 0).await;
    assert_eq!(forwarding.arrived(), names);
    assert_eq!(forwarding.counts().dropped.values().sum::<u64>(), 0);
    forwarding.delivery.stop().await;
}

/// The remote store answers to the one that was tried before its turn when its turn has come.
#[tokio::test]
async fn what_was_tried_before_its_turn_arrives_once() {
    let folder = tempfile::tempdir().unwrap();
    let is_well = Arc::new(AtomicBool::new(false));
    let answer = {
        let is_well = is_well.clone();
        move |name: &str, _| match name == HELD || is_well.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err(Status::unknown("write failed")),
        }
    };
    let timing = Timing { bytes_max: 128 << 10, ..QUICK };
    let forwarding = Forwarding::with(folder.path(), answer, timing).await;
    let mut names = Vec::new();
    for at in 0..400 {
        let name = format!("{at}");
        forwarding.append(at % 20, &name).await;
        names.push(name);
    }
    forwarding.append(20, HELD).await;
    let is_tried = |forwarding: &Forwarding| forwarding.parca.held.load(Ordering::Relaxed) > 0;
    forwarding.until("the newest is tried", is_tried).await;
    is_well.store(true, Ordering::Relaxed);
    forwarding.until("its turn comes", |forwarding| forwarding.spool.newest().is_none()).await;
    forwarding
        .until("the others arrive", |forwarding| forwarding.parca.arrived.lock().len() >= names.len())
        .await;
    forwarding.parca.permits.add_permits(2);
    forwarding.until("everything arrives", |forwarding| forwarding.counts().spool_requests == 0).await;
    names.push(HELD.to_owned());
    names.sort();
    assert_eq!(forwarding.arrived(), names, "each once");
    forwarding.delivery.stop().await;
}

#[tokio::test]
async fn what_is_in_doubt_when_the_process_stops_is_in_the_spool() {
    let folder = tempfile::tempdir().unwrap();
    let forwarding = Forwarding::start(folder.path(), |_, _| Err(Status::internal("broken"))).await;
    for at in 0..3 {
        forwarding.append(at, "any").await;
    }
    let attempts = |forwarding: &Forwarding| forwarding.parca.attempts.load(Ordering::Relaxed);
    forwarding.until("some attempts", |forwarding| attempts(forwarding) > 20).await;
    let Forwarding { spool, counters, delivery, parca } = forwarding;
    delivery.stop().await;
    let attempts = parca.attempts.load(Ordering::Relaxed);
    let mut counts = Counts::default();
    spool.describe(&mut counts);
    assert_eq!((counts.spool_requests, counters.read().dropped.values().sum::<u64>()), (3, 0));
    assert_eq!(parca.attempts.load(Ordering::Relaxed), attempts, "nothing goes on");
}

/// More than there is room for, all of them wrong, before the first that is not.
#[tokio::test]
async fn wrong_requests_without_end_do_not_hold_up_what_comes_after_them() {
    const WRONG: usize = 600;
    let folder = tempfile::tempdir().unwrap();
    let answer = |name: &str| match name {
        "wrong" => Err(Status::unimplemented("unknown method")),
        _ => Ok(()),
    };
    // As many under way as there are places aside.
    let timing = Timing { bytes_max: 128 << 10, ..QUICK };
    let forwarding = Forwarding::with(folder.path(), move |name, _| answer(name), timing).await;
    for _ in 0..WRONG {
        forwarding.append(1, "wrong").await;
    }
    let counts = forwarding.counts();
    assert_eq!((counts.spool_requests, counts.dropped[&DropReason::Refused]), (WRONG as u64, 0));
    let mut good = Vec::new();
    while forwarding.counts().spool_requests > 100 {
        good.push(format!("good {}", good.len()));
        forwarding.append(2, good.last().unwrap()).await;
        let arrived = good.len();
        forwarding.until("it arrives", |forwarding| forwarding.parca.arrived.lock().len() >= arrived).await;
    }
    good.sort();
    assert_eq!(forwarding.arrived(), good, "each once");
    assert!(forwarding.counts().dropped[&DropReason::Refused] > 0);
    forwarding.delivery.stop().await;
}

/// Nothing else arrives that could tell against the first.
#[tokio::test]
async fn what_is_behind_a_request_in_doubt_goes_past_it() {
    let folder = tempfile::tempdir().unwrap();
    let answer = |name: &str| match name {
        "doubtful" => Err(Status::internal("broken")),
        _ => Ok(()),
    };
    let forwarding = Forwarding::start(folder.path(), move |name, _| answer(name)).await;
    forwarding.append(1, "doubtful").await;
    for _ in 0..20 {
        forwarding.append(1, "behind").await;
    }
    forwarding.until("those behind", |forwarding| forwarding.parca.arrived.lock().len() == 20).await;
    let rest = |counts: Counts| counts.dropped[&DropReason::Refused] + counts.spool_requests;
    forwarding.until("the rest", |forwarding| rest(forwarding.counts()) == 1).await;
    forwarding.delivery.stop().await;
}

/// A request at which an attempt fails, by no fault of its own, while others arrive: it is kept, and does not hold them up.
#[tokio::test]
async fn a_request_that_is_put_off_holds_up_its_lane_for_a_few_attempts_only() {
    let folder = tempfile::tempdir().unwrap();
    let put_off = |name: &str| match name {
        "slow" => Err(Status::deadline_exceeded("no answer")),
        _ => Ok(()),
    };
    let forwarding = Forwarding::start(folder.path(), move |name, _| put_off(name)).await;
    forwarding.append(1, "slow").await;
    forwarding.append(1, "behind").await;
    let is_past =
        |forwarding: &Forwarding| forwarding.parca.arrived.lock().iter().any(|name| name == "behind");
    while !is_past(&forwarding) {
        forwarding.append(2, "other").await;
        tokio::task::yield_now().await;
    }
    forwarding.until("the rest", |forwarding| forwarding.counts().spool_requests == 1).await;
    assert_eq!(forwarding.counts().dropped.values().sum::<u64>(), 0);
    forwarding.delivery.stop().await;
}

#[test]
fn statuses_in_words() {
    assert_eq!(words(&Status::unavailable("stopping")), "Unavailable: stopping");
    let broken = Status::from_error(Box::new(std::io::Error::other("reset")));
    assert_eq!(words(&broken), "Unknown: reset");
}
