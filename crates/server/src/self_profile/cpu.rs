//! CPU: what runs when the process' timer of consumed CPU time goes off.
//!
//! The signal handler is the `pprof` crate's, with the unwinder that takes no locks and reads no memory that is not
//! there. That unwinder reads the program's unwind tables when it is first used, which must not happen in the middle of
//! an allocation; so the first measurement sends the signal to itself before the timer does.
//!
//! There is one timer in a process and one profiler, which all who measure at the same time share: each takes what the profiler has
//! when it ends without what it had when it began. So whoever asks gets a profile while the store takes its own.

use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{Signal, raise};
use parking_lot::Mutex;
use pprof::{ProfilerGuard, ProfilerGuardBuilder, UnresolvedReport};

use super::{
    SelfProfileError,
    report::{self, Measured},
    symbols,
};

/// Samples a second of CPU; not a divisor of the round intervals at which programs do things. Half of what is usual is enough for a
/// store that takes its own profiles all the time, and each sample walks a deep stack.
const FREQUENCY_HZ: i32 = 49;

/// The timer takes whole microseconds.
const PERIOD_NS: i64 = 1_000_000 / FREQUENCY_HZ as i64 * 1000;

/// How long the profiler goes on. It is begun anew by the next measurement then, or ended if there is none. What it has grows, and each
/// measurement goes through it; but to begin takes more than a measurement does.
const RUN: Duration = Duration::from_secs(60);

/// The same while measurements overlap.
const OVERLAP_MAX: Duration = Duration::from_secs(900);

/// Measurements at once: each holds what the profiler had when it began, which may be megabytes.
const MEASUREMENTS_MAX: usize = 8;

static PROFILER: Mutex<Profiler> =
    Mutex::new(Profiler { is_unwinder_ready: false, running: None, measurements: 0, is_watched: false });

/// The profiler of the process.
struct Profiler {
    is_unwinder_ready: bool,
    /// Since when it runs.
    running: Option<(ProfilerGuard<'static>, Instant)>,
    /// By which it is used.
    measurements: usize,
    /// Whether a task ends it when it is not used.
    is_watched: bool,
}

/// A measurement under way.
struct Measurement {
    /// What the profiler had when this began, if it ran.
    before: Option<UnresolvedReport>,
    time: SystemTime,
    began: Instant,
}

/// Measures for `duration` and gives a gzipped pprof. Dropping the future ends the measurement.
pub(super) async fn profile(duration: Duration) -> Result<Vec<u8>, SelfProfileError> {
    let measurement = blocking(Measurement::begin).await??;
    tokio::time::sleep(duration).await;
    blocking(move || measurement.end()).await?
}

async fn end_when_unused() {
    loop {
        tokio::time::sleep(RUN).await;
        if let Ok(true) | Err(_) = blocking(|| PROFILER.lock().end_if_unused()).await {
            return;
        }
    }
}

impl Profiler {
    /// Whether it is no longer running.
    fn end_if_unused(&mut self) -> bool {
        let is_unused = self.measurements == 0;
        if is_unused {
            self.running = None;
            self.is_watched = false;
        }
        is_unused
    }

    fn start(&mut self) -> Result<(), SelfProfileError> {
        if self.measurements >= MEASUREMENTS_MAX {
            return Err(SelfProfileError::Busy);
        }
        if let Some((_, since)) = &self.running {
            match (since.elapsed(), self.measurements) {
                (age, 0) if age >= RUN => self.running = None,
                (age, _) if age >= OVERLAP_MAX => return Err(SelfProfileError::Busy),
                _ => return Ok(()),
            }
        }
        if !self.is_unwinder_ready {
            prepare_unwinder()?;
            self.is_unwinder_ready = true;
        }
        self.running = Some((start(FREQUENCY_HZ)?, Instant::now()));
        // The profiler looks up the functions that it is begun by, and what was read for that would stay: the debuginfo that a system has
        // of its libraries takes tens of megabytes.
        backtrace::clear_symbol_cache();
        if !std::mem::replace(&mut self.is_watched, true) {
            tokio::spawn(end_when_unused());
        }
        Ok(())
    }

    /// What it has since it was started.
    fn report(&self) -> Result<Option<UnresolvedReport>, SelfProfileError> {
        let report = self.running.as_ref().map(|(guard, _)| guard.report().build_unresolved());
        report.transpose().map_err(|error| SelfProfileError::Cpu { reason: error.to_string() })
    }
}

impl Measurement {
    fn begin() -> Result<Self, SelfProfileError> {
        let mut profiler = PROFILER.lock();
        let was_running = profiler.running.is_some();
        profiler.start()?;
        profiler.measurements += 1;
        let mut measurement = Self { before: None, time: SystemTime::now(), began: Instant::now() };
        let before = if was_running { profiler.report() } else { Ok(None) };
        // A measurement that ends takes the lock.
        drop(profiler);
        measurement.before = before?;
        Ok(measurement)
    }

    fn end(self) -> Result<Vec<u8>, SelfProfileError> {
        let duration = self.began.elapsed();
        let after = PROFILER.lock().report()?;
        let measured = self.measured(after.as_ref(), duration);
        drop(self);
        Ok(symbols::with(|symbols| report::encode(&measured, symbols)))
    }

    fn measured(&self, after: Option<&UnresolvedReport>, duration: Duration) -> Measured {
        let stacks = after.iter().flat_map(|after| &after.data).filter_map(|(stack, &count)| {
            let before = self.before.as_ref().and_then(|before| before.data.get(stack));
            let count = (count - before.copied().unwrap_or(0)) as i64;
            if count <= 0 {
                return None;
            }
            let addresses = stack.frames.iter().enumerate().map(|(depth, frame)| {
                // All but the leaf are addresses of return, just behind the call.
                if depth == 0 { frame.ip as u64 } else { (frame.ip as u64).saturating_sub(1) }
            });
            Some((addresses.collect(), vec![count, count * PERIOD_NS]))
        });
        Measured {
            sample_types: vec![("samples", "count"), ("cpu", "nanoseconds")],
            period: ("cpu", "nanoseconds", PERIOD_NS),
            time: self.time,
            duration_ns: i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX),
            stacks: stacks.collect(),
            is_instrument: |_| false,
        }
    }
}

impl Drop for Measurement {
    fn drop(&mut self) {
        PROFILER.lock().measurements -= 1;
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SelfProfileError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| SelfProfileError::Cpu { reason: error.to_string() })
}

fn start(frequency_hz: i32) -> Result<ProfilerGuard<'static>, SelfProfileError> {
    ProfilerGuardBuilder::default().frequency(frequency_hz).build().map_err(|error| match error {
        pprof::Error::Running => SelfProfileError::Busy,
        error => SelfProfileError::Cpu { reason: error.to_string() },
    })
}

fn prepare_unwinder() -> Result<(), SelfProfileError> {
    // A timer this slow does not get there first.
    let guard = start(1)?;
    let raised = raise(Signal::SIGPROF).map_err(|error| SelfProfileError::Cpu { reason: error.to_string() });
    drop(guard);
    raised
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_measure_at_once_and_no_more() {
        let mut profiler = Profiler {
            is_unwinder_ready: false,
            running: None,
            measurements: MEASUREMENTS_MAX,
            is_watched: false,
        };
        assert!(matches!(profiler.start(), Err(SelfProfileError::Busy)));
        assert!(profiler.running.is_none());
    }
}
