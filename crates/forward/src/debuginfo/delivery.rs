//! From the spool to the remote store: a few files at once, each until it arrived, is not wanted, or is dropped.
//!
//! While the remote store is away, all wait; a file that is in doubt, or that somebody else uploads, waits by itself.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use backon::ExponentialBackoff;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Status;

use super::{
    files::{Damage, Files, Taken},
    hand_over::{Attempted, HandOver},
};
use crate::{
    clock,
    counts::DropReason,
    delivery::{STOP_TIMEOUT, SWEEP_INTERVAL, WAITS, Waits, words},
    trouble::Trouble,
};

/// Files on their way at once: one that is large holds up no small one.
const WORKERS: usize = 2;
/// How long a file waits by itself. At the longest as agents do: an attempt may send all of it.
const FILE_WAITS: Waits = Waits { min: Duration::from_secs(1), max: Duration::from_secs(5 * 60) };
/// Times that a file is tried to be read.
const READ_TRIES: u32 = 3;

/// What is known of the attempts of a file.
#[derive(Default)]
pub(crate) struct Attempts {
    trouble: Trouble,
    waits: Option<ExponentialBackoff>,
    /// When the remote store last agreed to an upload of it.
    pub(crate) announced: Option<Instant>,
    reads_failed: u32,
}

/// What runs until it is stopped, or dropped.
pub(crate) struct Delivery {
    stop: DropGuard,
    tasks: JoinSet<()>,
}

struct Shared {
    files: Arc<Files>,
    hand_over: HandOver,
    stop: CancellationToken,
    all: Waits,
    each: Waits,
    /// How long until the remote store that is away is tried again.
    away: Mutex<ExponentialBackoff>,
}

impl Delivery {
    /// Begins to send the files that wait. Must be called in a Tokio runtime.
    pub(crate) fn start(files: Arc<Files>, hand_over: HandOver) -> Self {
        Self::with_waits(files, hand_over, WAITS, FILE_WAITS)
    }

    pub(super) fn with_waits(files: Arc<Files>, hand_over: HandOver, all: Waits, each: Waits) -> Self {
        let stop = CancellationToken::new();
        let away = Mutex::new(all.begin());
        let shared = Arc::new(Shared { files, hand_over, stop: stop.clone(), all, each, away });
        let mut tasks = JoinSet::new();
        for _ in 0..WORKERS {
            tasks.spawn(shared.clone().work());
        }
        Self { stop: stop.drop_guard(), tasks }
    }

    /// Lets files under way arrive, for a while, and ends.
    pub(crate) async fn stop(self) {
        let Self { stop, mut tasks } = self;
        drop(stop);
        let ended = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_TIMEOUT, ended).await.is_err() {
            tracing::warn!("object files were still on their way; they are sent again after the next start");
        }
    }
}

impl Shared {
    async fn work(self: Arc<Self>) {
        loop {
            let mut taken = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                taken = self.files.take(SWEEP_INTERVAL) => taken,
            };
            if self.files.is_old(&taken.record, clock::now_ms()) {
                self.drop_file(&taken, DropReason::Age, super::TOO_OLD).await;
                continue;
            }
            let attempted = self.hand_over.attempt(&mut taken).await;
            self.settle(taken, attempted).await;
        }
    }

    async fn settle(&self, taken: Taken, attempted: Attempted) {
        let (counters, record) = (&self.files.counters, taken.record.clone());
        let file = record.name.to_string();
        match attempted {
            Attempted::Taken => {
                tracing::debug!(file, "the remote store has taken an object file");
                counters.forwarded(record.size_bytes);
                self.back();
                self.files.finish(taken.number).await;
            }
            Attempted::NotWanted(reason) => {
                tracing::debug!(file, reason, "the remote store does not want an object file");
                counters.not_wanted();
                self.back();
                self.files.finish(taken.number).await;
            }
            Attempted::InProgress => {
                self.back();
                self.put_off(taken);
            }
            Attempted::Damaged(damage) => self.damaged(taken, &damage).await,
            Attempted::Away(status) => {
                counters.failed(status.code());
                let wait = self.away.lock().next().unwrap_or(self.all.max);
                if counters.away(true) {
                    let error = words(&status);
                    tracing::warn!(
                        error,
                        "the remote store does not take object files; they wait in the spool"
                    );
                }
                self.files.put_off(taken, wait, true);
            }
            Attempted::Waits(status) => {
                counters.failed(status.code());
                tracing::warn!(file, error = words(&status), "an object file waits in the spool");
                self.put_off(taken);
            }
            Attempted::InDoubt(status) => self.doubt(taken, &status).await,
            Attempted::Refused(status) => {
                self.back();
                self.drop_file(&taken, DropReason::Refused, &words(&status)).await;
            }
        }
    }

    /// The remote store answers.
    fn back(&self) {
        *self.away.lock() = self.all.begin();
        if self.files.counters.away(false) {
            tracing::info!("the remote store takes object files again");
        }
        self.files.hurry();
    }

    /// The file waits by itself.
    fn put_off(&self, mut taken: Taken) {
        let waits = taken.attempts.waits.get_or_insert_with(|| self.each.begin());
        let wait = waits.next().unwrap_or(self.each.max);
        self.files.put_off(taken, wait, false);
    }

    async fn damaged(&self, mut taken: Taken, damage: &Damage) {
        taken.attempts.reads_failed += 1;
        let may_be_read = matches!(damage, Damage::Read(_)) && taken.attempts.reads_failed < READ_TRIES;
        if may_be_read {
            self.put_off(taken);
        } else {
            let detail = crate::spool::chain(damage);
            self.drop_file(&taken, DropReason::Damaged, &detail).await;
        }
    }

    /// It may be the file, or the remote store: dropped only if other files fare better.
    async fn doubt(&self, mut taken: Taken, status: &Status) {
        self.files.counters.failed(status.code());
        taken.attempts.trouble.doubt(self.files.counters.settled());
        if taken.attempts.trouble.is_given_up(false, false) {
            self.drop_file(&taken, DropReason::Refused, &words(status)).await;
            return;
        }
        let file = taken.record.name.to_string();
        tracing::warn!(file, error = words(status), "an object file is in doubt; it is tried again");
        self.put_off(taken);
    }

    async fn drop_file(&self, taken: &Taken, reason: DropReason, detail: &str) {
        if self.files.is_current(taken.number) {
            self.files.counters.dropped(reason, Some(&taken.record.name), detail);
        }
        self.files.finish(taken.number).await;
    }
}
