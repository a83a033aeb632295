//! What a store takes from its machine beside its objects: the time, names that nobody else has, and threads.
//!
//! The work of a store is threads that block on futures, since encoding and decoding keep a processor busy, which tasks must not.
//! A [`Host`] is all that they touch, so that a simulation runs the same threads one at a time, on a clock of its own.
//!
//! Invariant: nothing else in the store reads a clock, draws a name or begins a thread. Durations are measured with Tokio's clock,
//! which a simulation moves too.

use std::{fmt, io, pin::Pin, sync::Arc};

use ulid::Ulid;

use crate::clock;

/// A machine, or what plays one.
pub trait Host: fmt::Debug + Send + Sync {
    /// Unix time now. It may step back, as a clock does that is set.
    fn now_ns(&self) -> i64;

    /// A number that no other process has, a ULID's.
    fn unique(&self) -> u128;

    /// Begins a thread.
    fn thread(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<()>;

    /// Waits for a future, on a thread that the host began.
    fn wait(&self, future: Pin<&mut dyn Future<Output = ()>>);

    /// Lets the other threads of the process go before the one that calls, from now on.
    fn yield_to_others(&self);

    /// The runtime that drives timers and tasks.
    fn runtime(&self) -> &tokio::runtime::Handle;
}

/// This machine.
#[derive(Debug)]
struct Machine {
    runtime: tokio::runtime::Handle,
}

impl Host for Machine {
    fn now_ns(&self) -> i64 {
        clock::now_ns()
    }

    fn unique(&self) -> u128 {
        Ulid::new().into()
    }

    fn thread(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
    }

    fn wait(&self, future: Pin<&mut dyn Future<Output = ()>>) {
        self.runtime.block_on(future);
    }

    fn yield_to_others(&self) {
        // The scheduler gives the thread what the others leave.
        #[cfg(target_os = "linux")]
        if let Err(e) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19) {
            tracing::warn!(error = %e, "a thread runs with the priority of queries");
        }
    }

    fn runtime(&self) -> &tokio::runtime::Handle {
        &self.runtime
    }
}

/// A host as the threads of a store hold it.
#[derive(Debug, Clone)]
pub(crate) struct Handle(Arc<dyn Host>);

impl Handle {
    pub(crate) fn new(host: Arc<dyn Host>) -> Self {
        Self(host)
    }

    /// This machine, with the runtime that the caller is in.
    pub(crate) fn machine() -> Self {
        Self(Arc::new(Machine { runtime: tokio::runtime::Handle::current() }))
    }

    pub(crate) fn now_ns(&self) -> i64 {
        self.0.now_ns()
    }

    pub(crate) fn ulid(&self) -> Ulid {
        self.0.unique().into()
    }

    pub(crate) fn thread(&self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.0.thread(name, Box::new(work))
    }

    pub(crate) fn yield_to_others(&self) {
        self.0.yield_to_others();
    }

    /// Waits for a future on a thread of the store.
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let mut output = None;
        self.0.wait(std::pin::pin!(async { output = Some(future.await) }));
        let Some(output) = output else { unreachable!("a host waits until the future has ended") };
        output
    }

    pub(crate) fn sleep(&self, duration: std::time::Duration) {
        // The timer belongs to the runtime, which it finds when it is polled.
        self.block_on(async { tokio::time::sleep(duration).await });
    }

    /// Begins a task.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.0.runtime().spawn(task)
    }
}
