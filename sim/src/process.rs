//! A process of the simulation: the threads of a store, one at a time, until it is killed.
//!
//! ```text
//! task of the thread ── your turn ──► thread: runs until its future waits ── waits ──► task: sleeps until it is woken
//! ```
//! Each thread that a store begins is a thread, with a task that hands it the only turn there is and waits, blocking, until it is given
//! back. So nothing runs at the same time as anything else, in an order that follows from Tokio's queue and the paused
//! clock alone.
//!
//! Invariant: a killed process does nothing more. Its threads unwind where they wait, as if nothing came after that.

use std::{
    any::Any,
    cell::RefCell,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use decima_store::Host;
use decima_testkit::{
    faulty::{Bucket, Connection},
    random::Random,
};
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::{runtime::Handle, time::Instant};

/// What a thread of a killed process unwinds with.
struct Killed;

/// The clock that all processes see. Setting it does not move their timers.
#[derive(Debug)]
pub(crate) struct Clock {
    began: Instant,
    unix_ns: Mutex<i64>,
}

impl Clock {
    /// A clock that shows a Unix time now.
    pub(crate) fn new(unix_ns: i64) -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), unix_ns: Mutex::new(unix_ns) })
    }

    pub(crate) fn now_ns(&self) -> i64 {
        *self.unix_ns.lock() + i64::try_from(self.began.elapsed().as_nanos()).unwrap_or(i64::MAX)
    }

    /// Sets the clock forward, or back.
    pub(crate) fn set_by(&self, ns: i64) {
        *self.unix_ns.lock() += ns;
    }
}

/// A process: what it is to its store, and the way to stop it.
pub(crate) struct Process {
    name: String,
    runtime: Handle,
    clock: Arc<Clock>,
    /// The way to the bucket, which ends with the process.
    pub(crate) connection: Arc<Connection>,
    random: Mutex<Random>,
    is_killed: AtomicBool,
    /// No thread gets its turn before.
    stalled_until: Mutex<Instant>,
    /// Those that have not ended.
    threads: Mutex<Vec<Arc<Turn>>>,
    /// What a thread panicked with.
    panics: Mutex<Vec<String>>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Process {
    /// A process with a name of its own, in the runtime of the caller.
    pub(crate) fn start(name: String, seed: u64, bucket: &Arc<Bucket>, clock: &Arc<Clock>) -> Arc<Self> {
        let of_name: Vec<u64> = name.bytes().map(u64::from).chain([seed]).collect();
        bucket.note(format_args!("{name} starts"));
        Arc::new(Self {
            runtime: Handle::current(),
            clock: Arc::clone(clock),
            connection: bucket.connect(&name),
            random: Mutex::new(Random::of(&of_name)),
            is_killed: AtomicBool::new(false),
            stalled_until: Mutex::new(Instant::now()),
            threads: Mutex::default(),
            panics: Mutex::default(),
            name,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Stops it where it is, and returns when none of its threads is left.
    pub(crate) async fn kill(&self) {
        self.connection.cut();
        self.is_killed.store(true, Ordering::SeqCst);
        *self.stalled_until.lock() = Instant::now();
        loop {
            let threads = self.threads.lock().clone();
            if threads.is_empty() {
                return;
            }
            for thread in threads {
                thread.wake();
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Gives none of its threads a turn for a while, as an overloaded machine does.
    pub(crate) fn stall(&self, duration: Duration) {
        *self.stalled_until.lock() = Instant::now() + duration;
    }

    /// What its threads panicked with.
    pub(crate) fn panics(&self) -> Vec<String> {
        self.panics.lock().clone()
    }

    fn is_killed(&self) -> bool {
        self.is_killed.load(Ordering::SeqCst)
    }

    async fn wait_out_stall(&self) {
        loop {
            let until = *self.stalled_until.lock();
            if until <= Instant::now() || self.is_killed() {
                return;
            }
            // A kill ends the stall; it is noticed within a second of the simulation.
            tokio::time::sleep_until(until.min(Instant::now() + Duration::from_secs(1))).await;
        }
    }
}

/// What a thread says when it gives the turn back.
enum Gave {
    Waits,
    Ended,
}

/// Whether a thread is to have a turn.
struct Turn {
    is_woken: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        self.task.wake();
    }
}

impl Turn {
    /// Ends when the thread is to have its next turn.
    async fn woken(&self) {
        std::future::poll_fn(|context| {
            self.task.register(context.waker());
            if self.is_woken.swap(false, Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// The thread's side of its turns.
struct Seat {
    turn: Arc<Turn>,
    given: mpsc::Receiver<()>,
    give_back: mpsc::SyncSender<Gave>,
}

thread_local! {
    static SEAT: RefCell<Option<Seat>> = const { RefCell::new(None) };
}

/// Gives the turn back and waits for the next.
fn give_back() {
    SEAT.with_borrow(|seat| {
        let Some(seat) = seat else { unreachable!("only threads of the simulation wait") };
        let is_over = seat.give_back.send(Gave::Waits).is_err() || seat.given.recv().is_err();
        if is_over {
            // The simulation has ended.
            resume_unwind(Box::new(Killed));
        }
    });
}

/// Text of a panic; `None` if it is the end of a killed process.
fn text(panic: &(dyn Any + Send)) -> Option<String> {
    if panic.is::<Killed>() {
        return None;
    }
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    Some(text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned()))
}

/// A process as its store sees it.
#[derive(Debug, Clone)]
pub(crate) struct ProcessHost(pub(crate) Arc<Process>);

impl Host for ProcessHost {
    fn now_ns(&self) -> i64 {
        self.0.clock.now_ns()
    }

    fn unique(&self) -> u128 {
        let mut random = self.0.random.lock();
        u128::from(random.bits()) << 64 | u128::from(random.bits())
    }

    fn thread(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        let process = Arc::clone(&self.0);
        let (give, given) = mpsc::sync_channel(1);
        let (give_back, given_back) = mpsc::sync_channel(1);
        let turn = Arc::new(Turn { is_woken: AtomicBool::new(true), task: AtomicWaker::new() });
        let seat = Seat { turn: Arc::clone(&turn), given, give_back: give_back.clone() };
        let (of_thread, runtime) = (Arc::clone(&process), self.0.runtime.clone());
        std::thread::Builder::new().name(format!("{} {name}", process.name)).spawn(move || {
            if seat.given.recv().is_err() || of_thread.is_killed() {
                return;
            }
            SEAT.set(Some(seat));
            // Timers and the paused clock are found in the context.
            let _context = runtime.enter();
            if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
                of_thread.panics.lock().extend(text(&*panic));
            }
            let _ = give_back.send(Gave::Ended);
        })?;
        process.threads.lock().push(Arc::clone(&turn));
        self.0.runtime.spawn(async move {
            loop {
                turn.woken().await;
                process.wait_out_stall().await;
                // A thread that is gone without a word has ended.
                let has_ended =
                    give.send(()).is_err() || matches!(given_back.recv(), Ok(Gave::Ended) | Err(_));
                if has_ended {
                    process.threads.lock().retain(|other| !Arc::ptr_eq(other, &turn));
                    return;
                }
            }
        });
        Ok(())
    }

    fn wait(&self, mut future: Pin<&mut dyn Future<Output = ()>>) {
        let Some(turn) = SEAT.with_borrow(|seat| seat.as_ref().map(|seat| Arc::clone(&seat.turn))) else {
            unreachable!("only threads of the simulation wait")
        };
        let waker = Waker::from(turn);
        let mut context = Context::from_waker(&waker);
        loop {
            if self.0.is_killed() {
                resume_unwind(Box::new(Killed));
            }
            if future.as_mut().poll(&mut context).is_ready() {
                return;
            }
            give_back();
        }
    }

    fn yield_to_others(&self) {}

    fn runtime(&self) -> &Handle {
        &self.0.runtime
    }
}
