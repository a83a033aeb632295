//! The life of a store: what happens to it is drawn from a seed, and what it holds is compared with the model as it goes.

mod full_disk;

use std::{path::PathBuf, sync::Arc, time::Duration};

use decima_store::{
    AppendError, OpenError, Place, ReadError, Settings, Store, Tiers, inspect, manifest::Manifest,
    source::Snapshot,
};
use decima_testkit::{
    faulty::{Bucket, Faults},
    random::Random,
};
use futures::TryStreamExt;
use object_store::ObjectMeta;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::{
    batches,
    drops::Drops,
    model::{Ledger, State},
    process::{Clock, Process, ProcessHost},
};

const SECOND_NS: i64 = 1_000_000_000;
const HOUR_NS: i64 = 3_600 * SECOND_NS;
/// When a life begins: a Monday morning.
const BEGIN_NS: i64 = 1_767_600_000 * SECOND_NS;
/// The least that a store may have where it has a limit: of it, a flush alone may take 64 KiB.
const STORAGE_MIN_BYTES: u64 = 120_000;
/// Things that happen in a life.
const EVENTS: usize = 40;
/// Samples older than this are dropped.
const RETENTION: Duration = Duration::from_secs(3 * 86_400);
/// How long a request may be sent again with its hash: the store knows it for an hour.
const REPEAT_NS: i64 = HOUR_NS / 2;
/// Starts until one has to succeed; the last of them without faults.
const STARTS_MAX: u32 = 30;
/// After how many starts the faults end.
const FAULTY_STARTS: u32 = 10;
/// After how long without requests no object is left that is not needed: blocks that were merged, or that a process before left,
/// stay for half a minute, and retention is looked at once a minute.
const TIDY: Duration = Duration::from_secs(300);
/// How often, where there is a limit: some are merged only when others are gone.
const TIDY_ROUNDS: u32 = 3;
/// What any life has ended after.
const LIFE_MAX: Duration = Duration::from_secs(30 * 86_400);

/// The bucket as it mostly is.
const CALM: Faults = Faults { latency: Duration::from_millis(20), ..Faults::NONE };
/// A bucket on a bad day.
const FLAKY: Faults = Faults {
    latency: Duration::from_millis(200),
    slow: 30,
    stall: Duration::from_secs(20),
    fails_before: 30,
    fails_after: 30,
    torn: 500,
    list_lag: Duration::from_secs(3),
    is_full: false,
};
/// A bucket that mostly fails.
const BROKEN: Faults = Faults { fails_before: 300, fails_after: 200, slow: 100, ..FLAKY };
/// A full disk.
const FULL: Faults = Faults { is_full: true, ..CALM };

/// How a life went.
pub struct Outcome {
    /// Every request of the bucket and everything that happened, with its time.
    pub journal: Vec<String>,
    /// What broke the model, if anything did.
    pub failure: Option<String>,
}

/// Lives the life of a seed.
pub fn run(seed: u64) -> Outcome {
    live(seed, Kind::Drawn)
}

/// Lives with a disk that is full and stays so, until the retention has let something go; the seed tells what was on it.
pub fn run_on_a_full_disk(seed: u64) -> Outcome {
    live(seed, Kind::FullDisk)
}

/// What happens in a life.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Drawn,
    FullDisk,
}

fn live(seed: u64, kind: Kind) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => return Outcome { journal: Vec::new(), failure: Some(format!("no runtime: {e}")) },
    };
    runtime.block_on(async {
        let mut life = Life::new(seed);
        let lived = tokio::time::timeout(LIFE_MAX, async {
            match kind {
                Kind::Drawn => life.live().await,
                Kind::FullDisk => life.live_on_a_full_disk().await,
            }
        });
        let failure = match lived.await {
            Ok(outcome) => outcome.err(),
            Err(_) => Some("it does not end".to_owned()),
        };
        life.end().await;
        let failure =
            failure.or_else(|| life.panics.first().map(|panic| format!("a thread panicked: {panic}")));
        Outcome { journal: life.bucket.journal(), failure }
    })
}

/// How the store of a life is kept: in every other one, old samples become sums, and in every third it has a limit that is reached
/// with some blocks.
fn settings(seed: u64) -> Settings {
    let storage_max_bytes = seed.is_multiple_of(3).then_some(STORAGE_MIN_BYTES + seed % 8 * 20_000);
    let hours = |hours: u64| Some(Duration::from_secs(3_600 * hours));
    let tiers = if seed.is_multiple_of(2) {
        Tiers::default()
    } else {
        Tiers { raw: hours(6), ten_seconds: hours(24) }
    };
    Settings {
        tiers,
        path: PathBuf::new(),
        head_memory_bytes: 64 << 20,
        retention: Some(RETENTION),
        storage_max_bytes,
        ahead_max: Duration::from_secs(600),
        partition_labels: vec!["job".to_owned()],
        cache_bytes: 4 << 20,
        compaction_memory_bytes: 256 << 20,
    }
}

/// A store and the process that it is in.
struct Running {
    process: Arc<Process>,
    store: Store,
}

struct Life {
    seed: u64,
    random: Random,
    bucket: Arc<Bucket>,
    clock: Arc<Clock>,
    /// The latest time that the clock ever showed: what was too old then may be gone.
    latest_ns: i64,
    ledger: Arc<Mutex<Ledger>>,
    writer: Option<Running>,
    /// A writer that another has taken over from.
    former: Option<Running>,
    reader: Option<Running>,
    processes: usize,
    /// Requests and flushes that wait for their answer.
    senders: JoinSet<()>,
    panics: Vec<String>,
}

impl Life {
    fn new(seed: u64) -> Self {
        let clock = Clock::new(BEGIN_NS);
        let bucket = Bucket::new(seed, CALM);
        bucket.watch("manifest");
        Self {
            seed,
            random: Random::of(&[seed, 0x11FE]),
            bucket,
            latest_ns: clock.now_ns(),
            clock,
            ledger: Arc::default(),
            writer: None,
            former: None,
            reader: None,
            processes: 0,
            senders: JoinSet::new(),
            panics: Vec::new(),
        }
    }

    async fn live(&mut self) -> Result<(), String> {
        self.take_over().await?;
        for _ in 0..EVENTS {
            self.event().await?;
            self.latest_ns = self.latest_ns.max(self.clock.now_ns());
        }
        self.settle().await
    }

    /// Waits for what was sent to be answered.
    async fn answers(&mut self) -> Result<(), String> {
        let waiting = tokio::time::timeout(Duration::from_secs(600), async {
            while self.senders.join_next().await.is_some() {}
        });
        waiting.await.map_err(|_| "a request is never answered".to_owned())
    }

    async fn event(&mut self) -> Result<(), String> {
        match self.random.below(100) {
            0..30 => self.send(),
            30..36 => self.send_again(),
            36..46 => self.wait(Duration::from_secs(3)).await,
            46..50 => self.wait(Duration::from_secs(200)).await,
            50..55 => self.flush(),
            55..59 => self.compact(),
            59..69 => self.check_writer().await?,
            69..72 => self.check_reader().await?,
            72..79 => self.kill_writer().await?,
            79..82 => self.take_over().await?,
            82..84 => self.follow().await?,
            84..86 => self.stall(),
            86..92 => self.set_clock(),
            _ => self.set_faults(),
        }
        Ok(())
    }

    fn note(&self, line: std::fmt::Arguments<'_>) {
        self.bucket.note(line);
    }

    async fn wait(&mut self, most: Duration) {
        let ms = self.random.below(most.as_millis() as usize) as u64;
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    /// A few new requests at once; some of them go to a writer that may not be one any more.
    fn send(&mut self) {
        for _ in 0..1 + self.random.below(6) {
            let age_ns = match self.random.below(10) {
                0 => self.random.below(48) as i64 * HOUR_NS,
                _ => self.random.below(600) as i64 * SECOND_NS,
            };
            let number = self.ledger.lock().add(&mut self.random, self.clock.now_ns(), age_ns);
            let to_former = self.former.is_some() && self.random.percent(30);
            self.begin_append(number, to_former);
        }
    }

    /// A request that was sent before, whatever became of it.
    fn send_again(&mut self) {
        let count = self.ledger.lock().requests.len();
        if count == 0 {
            return;
        }
        let number = count - 1 - self.random.low(count, 2.0);
        let age_ns = self.clock.now_ns() - self.ledger.lock().requests[number].sent_ns;
        // The store knows hashes by its clock, which may have been set in the meantime.
        if (0..REPEAT_NS).contains(&age_ns) && self.latest_ns - self.clock.now_ns() < REPEAT_NS {
            self.begin_append(number, false);
        }
    }

    fn begin_append(&mut self, number: usize, to_former: bool) {
        let to = if to_former { &self.former } else { &self.writer };
        let Some(Running { process, store }) = to else { return };
        let (name, store) = (process.name().to_owned(), store.clone());
        let (ledger, bucket) = (Arc::clone(&self.ledger), Arc::clone(&self.bucket));
        let batch = ledger.lock().requests[number].batch();
        self.senders.spawn(async move {
            let outcome = store.append(batch, Some(number as u128 + 1)).await;
            match &outcome {
                Ok(appended) => {
                    bucket.note(format_args!("{name} acknowledges request {number}: {appended:?}"));
                    ledger.lock().requests[number].state = State::Acknowledged;
                }
                Err(e) => bucket.note(format_args!("{name} does not take request {number}: {e}")),
            }
        });
    }

    fn flush(&mut self) {
        let Some(Running { process, store }) = &self.writer else { return };
        let (name, store, bucket) = (process.name().to_owned(), store.clone(), Arc::clone(&self.bucket));
        self.senders.spawn(async move {
            let outcome = store.flush().await.map_err(|e: AppendError| e.to_string());
            bucket.note(format_args!("{name} is flushed: {outcome:?}"));
        });
    }

    fn compact(&mut self) {
        let Some(Running { process, store }) = &self.writer else { return };
        let (name, store, bucket) = (process.name().to_owned(), store.clone(), Arc::clone(&self.bucket));
        let now_ns = self.clock.now_ns();
        self.senders.spawn(async move {
            let outcome = store.compact(now_ns).await.map_err(|e| e.to_string());
            bucket.note(format_args!("{name} is compacted: {outcome:?}"));
        });
    }

    fn stall(&mut self) {
        let duration = Duration::from_secs(1 + self.random.below(400) as u64);
        let running = if self.random.percent(70) { &self.writer } else { &self.former };
        if let Some(Running { process, .. }) = running {
            self.bucket.note(format_args!("{} stalls for {duration:?}", process.name()));
            process.stall(duration);
        }
    }

    fn set_clock(&mut self) {
        while self.senders.try_join_next().is_some() {}
        if !self.senders.is_empty() {
            // Hashes are known for an hour of the clock: a repeat that waits would be taken for new.
            return;
        }
        let by_ns = match self.random.below(10) {
            0 => -(self.random.below(600) as i64) * SECOND_NS,
            1 => 24 * HOUR_NS,
            _ => (1 + self.random.below(9)) as i64 * HOUR_NS,
        };
        self.note(format_args!("the clock is set by {} s", by_ns / SECOND_NS));
        self.clock.set_by(by_ns);
    }

    fn set_faults(&mut self) {
        let faults = *match self.random.below(10) {
            0..4 => &CALM,
            4..8 => &FLAKY,
            8 => &BROKEN,
            _ => &FULL,
        };
        self.note(format_args!("the bucket is {faults:?}"));
        self.bucket.set(faults);
    }

    async fn kill(&mut self, running: Option<Running>) {
        let Some(Running { process, store }) = running else { return };
        self.note(format_args!("{} is killed", process.name()));
        process.kill().await;
        drop(store);
        self.panics.extend(process.panics());
    }

    async fn kill_writer(&mut self) -> Result<(), String> {
        let writer = self.writer.take();
        self.kill(writer).await;
        self.take_over().await
    }

    /// A new process becomes the writer, whether there is one or not.
    async fn take_over(&mut self) -> Result<(), String> {
        let former = self.former.take();
        self.kill(former).await;
        let writer = self.open(Role::Writes).await?;
        self.former = self.writer.replace(writer);
        self.check_writer().await
    }

    async fn follow(&mut self) -> Result<(), String> {
        let reader = self.reader.take();
        self.kill(reader).await;
        self.reader = Some(self.open(Role::Follows).await?);
        self.check_reader().await
    }

    /// Starts processes until one has opened the store; some are killed while they do.
    async fn open(&mut self, role: Role) -> Result<Running, String> {
        let before = self.bucket.faults();
        for start in 0..STARTS_MAX {
            if start == FAULTY_STARTS {
                self.bucket.set(CALM);
            }
            self.processes += 1;
            let name = format!("{}{}", role.name(), self.processes);
            let process = Process::start(name, self.seed, &self.bucket, &self.clock);
            let place =
                Place::objects(process.connection.clone()).from_host(Arc::new(ProcessHost(process.clone())));
            let opening = async {
                match role {
                    Role::Writes => Store::open_at(settings(self.seed), place).await,
                    Role::Follows => Store::follow(settings(self.seed), &place).await,
                }
            };
            let patience = match self.random.below(10) {
                0 if start < FAULTY_STARTS => Duration::from_millis(self.random.below(500) as u64),
                _ => Duration::from_secs(600),
            };
            let opened = tokio::time::timeout(patience, opening).await;
            match opened {
                Ok(Ok(store)) => {
                    self.note(format_args!("{} has opened the store", process.name()));
                    self.bucket.set(before);
                    return Ok(Running { process, store });
                }
                Ok(Err(e @ (OpenError::Storage { .. } | OpenError::Contended))) => {
                    self.note(format_args!("{} does not open: {e}", process.name()));
                }
                Ok(Err(e)) => return Err(format!("{} does not open the store: {e}", process.name())),
                Err(_) => self.note(format_args!("{} is killed while it opens the store", process.name())),
            }
            process.kill().await;
            self.panics.extend(process.panics());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Err("no process can open the store".to_owned())
    }

    /// Reads from a store. What the bucket refuses is not read, and no mistake of the store.
    async fn check(&self, running: &Running, must: &[usize]) -> Result<(), String> {
        let name = running.process.name();
        let read = async |snapshot: Snapshot| {
            Ok::<_, ReadError>((batches::read(&snapshot).await?, batches::read_points(&snapshot).await?))
        };
        let mut outcome = read(running.store.snapshot()).await;
        if running.store.follows() && matches!(outcome, Err(ReadError::Missing { .. })) {
            // A block was merged and is gone since this process last looked.
            running.store.refresh().await;
            outcome = read(running.store.snapshot()).await;
        }
        let has_looked = self.bucket.faults() == CALM;
        let (found, points) = match outcome {
            Ok(read) => read,
            Err(e @ ReadError::Missing { .. }) if running.store.follows() && !has_looked => {
                self.note(format_args!("{name} cannot look for what is new, and not be read: {e}"));
                return Ok(());
            }
            Err(e @ ReadError::Unavailable { .. }) => {
                self.note(format_args!("{name} cannot be read: {e}"));
                return Ok(());
            }
            Err(e) => return Err(format!("{name} cannot be read: {e}")),
        };
        let latest_ns = self.latest_ns.max(self.clock.now_ns());
        let oldest_ns = latest_ns - RETENTION.as_nanos() as i64;
        let ledger = self.ledger.lock();
        let drops = self.drops(latest_ns)?;
        let must: Vec<usize> =
            must.iter().copied().filter(|&number| !ledger.requests[number].may_have_gone(&drops)).collect();
        let must = &must[..];
        let are_sums = settings(self.seed).tiers != Tiers::default();
        let (sum, count) = (found.values().sum::<i64>(), found.len() as u64);
        if are_sums {
            ledger.check_sums(&found, must, oldest_ns).map_err(|e| format!("{name}: {e}"))?;
        } else {
            ledger.check(&found, must, oldest_ns).map_err(|e| format!("{name}: {e}"))?;
        }
        // Of sums there may be several of one key.
        if points.0 != sum || (points.1 != count && !are_sums) {
            return Err(format!("{name}: points say {points:?}, samples {:?}", (sum, count)));
        }
        self.note(format_args!("{name} holds {count} samples"));
        Ok(())
    }

    /// What the store has dropped so far.
    fn drops(&self, latest_ns: i64) -> Result<Drops, String> {
        let versions: Result<Vec<Manifest>, String> = self
            .bucket
            .put_there()
            .into_iter()
            .map(|(path, bytes)| serde_json::from_slice(&bytes).map_err(|e| format!("{path}: {e}")))
            .collect();
        let has_limit = settings(self.seed).storage_max_bytes.is_some();
        Drops::of(&versions?, has_limit, RETENTION.as_nanos() as i64, latest_ns)
    }

    /// Holds the size of log and blocks against the limit.
    async fn check_size(&self) -> Result<(), String> {
        let Some(max_bytes) = settings(self.seed).storage_max_bytes else { return Ok(()) };
        let objects: Vec<ObjectMeta> =
            self.bucket.objects().list(None).try_collect().await.map_err(|e| e.to_string())?;
        let counts = |meta: &&ObjectMeta| !meta.location.as_ref().contains("/manifest/");
        let size_bytes: u64 = objects.iter().filter(counts).map(|meta| meta.size).sum();
        self.note(format_args!("it takes {size_bytes} bytes of {max_bytes}"));
        if size_bytes > max_bytes {
            Err(format!("{size_bytes} bytes, more than {max_bytes}"))
        } else {
            Ok(())
        }
    }

    async fn check_writer(&self) -> Result<(), String> {
        let Some(writer) = &self.writer else { return Ok(()) };
        // What the former acknowledges until it is told to stop is in the log that this one has read.
        let must = self.ledger.lock().acknowledged();
        self.check(writer, &must).await
    }

    /// A process that follows may be behind, but not wrong.
    async fn check_reader(&self) -> Result<(), String> {
        match &self.reader {
            Some(reader) => self.check(reader, &[]).await,
            None => Ok(()),
        }
    }

    /// All faults end, and everything that was acknowledged is there: for the writer, for who follows, after a restart, after a
    /// compaction; and no object is left that nothing refers to.
    async fn settle(&mut self) -> Result<(), String> {
        self.note(format_args!("all is calm"));
        self.bucket.set(CALM);
        tokio::time::sleep(Duration::from_secs(500)).await;
        self.answers().await?;
        self.check_writer().await?;
        if let Some(reader) = &self.reader {
            let must = self.ledger.lock().acknowledged();
            self.check(reader, &must).await?;
        }
        self.kill_writer().await?;
        self.follow().await?;
        if let Some(writer) = &self.writer {
            writer.store.flush().await.map_err(|e| format!("the head cannot be flushed: {e}"))?;
            self.check_writer().await?;
            self.clock.set_by(26 * HOUR_NS);
            self.latest_ns = self.clock.now_ns();
            let now_ns = self.clock.now_ns();
            writer.store.compact(now_ns).await.map_err(|e| format!("blocks cannot be merged: {e}"))?;
            self.check_writer().await?;
            writer.store.close().await.map_err(|e| format!("it cannot be closed: {e}"))?;
        }
        let writer = self.writer.take();
        self.kill(writer).await;
        self.take_over().await?;
        let rounds = if settings(self.seed).storage_max_bytes.is_some() { TIDY_ROUNDS } else { 1 };
        tokio::time::sleep(TIDY * rounds).await;
        if let Some(reader) = &self.reader {
            let must = self.ledger.lock().acknowledged();
            self.check(reader, &must).await?;
        }
        let process = Process::start("inspector".to_owned(), self.seed, &self.bucket, &self.clock);
        let place =
            Place::objects(process.connection.clone()).from_host(Arc::new(ProcessHost(process.clone())));
        let inventory =
            inspect::inspect(&place, true).await.map_err(|e| format!("it cannot be inspected: {e}"))?;
        self.check_size().await?;
        let left: Vec<String> = inventory.findings.into_iter().chain(inventory.unknown).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("found at the end: {}", left.join(", "))) }
    }

    /// Leaves no thread behind.
    async fn end(&mut self) {
        for running in [self.writer.take(), self.former.take(), self.reader.take()] {
            self.kill(running).await;
        }
        self.senders.shutdown().await;
    }
}

/// What a process does with the store.
#[derive(Debug, Clone, Copy)]
enum Role {
    Writes,
    Follows,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Writes => "writer",
            Self::Follows => "reader",
        }
    }
}
