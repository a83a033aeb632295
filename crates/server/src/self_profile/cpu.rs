//! CPU: what runs when the process' timer of consumed CPU time goes off.
//!
//! The signal handler is the `pprof` crate's, with the unwinder that takes no locks and reads no memory that is not
//! there. That unwinder reads the program's unwind tables when it is first used, which must not happen in the middle of
//! an allocation; so the first measurement sends the signal to itself before the timer does.

use std::time::Duration;

use nix::sys::signal::{Signal, raise};
use pprof::{ProfilerGuard, ProfilerGuardBuilder, UnresolvedReport};
use tokio::sync::Mutex;

use super::{
    SelfProfileError,
    report::{self, Measured},
    symbols,
};

/// Samples a second of CPU; not a divisor of the round intervals at which programs do things.
const FREQUENCY_HZ: i32 = 99;

/// The timer takes whole microseconds.
const PERIOD_NS: i64 = 1_000_000 / FREQUENCY_HZ as i64 * 1000;

/// Held while measuring; tells whether the unwinder is ready.
static MEASURING: Mutex<bool> = Mutex::const_new(false);

/// Measures for `duration` and gives a gzipped pprof. Dropping the future ends the measurement.
pub(super) async fn profile(duration: Duration) -> Result<Vec<u8>, SelfProfileError> {
    let mut unwinder_ready = MEASURING.try_lock().map_err(|_| SelfProfileError::Busy)?;
    if !*unwinder_ready {
        blocking(prepare_unwinder).await??;
        *unwinder_ready = true;
    }
    let guard = start(FREQUENCY_HZ)?;
    tokio::time::sleep(duration).await;
    blocking(move || finish(&guard)).await?
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

fn finish(guard: &ProfilerGuard<'static>) -> Result<Vec<u8>, SelfProfileError> {
    let report = guard.report().build_unresolved();
    let report = report.map_err(|error| SelfProfileError::Cpu { reason: error.to_string() })?;
    Ok(symbols::with(|symbols| report::encode(&measured(&report), symbols)))
}

fn measured(report: &UnresolvedReport) -> Measured {
    let stacks = report.data.iter().map(|(stack, &count)| {
        let count = count as i64;
        let addresses = stack.frames.iter().enumerate().map(|(depth, frame)| {
            // All but the leaf are addresses of return, just behind the call.
            if depth == 0 { frame.ip as u64 } else { (frame.ip as u64).saturating_sub(1) }
        });
        (addresses.collect(), vec![count, count * PERIOD_NS])
    });
    Measured {
        sample_types: vec![("samples", "count"), ("cpu", "nanoseconds")],
        period: ("cpu", "nanoseconds", PERIOD_NS),
        time: report.timing.start_time,
        duration_ns: i64::try_from(report.timing.duration.as_nanos()).unwrap_or(i64::MAX),
        stacks: stacks.collect(),
        is_instrument: |_| false,
    }
}
