//! Requests that are tried before their turn, when nothing arrives and there is no more room for requests in doubt.
//!
//! What is behind these would never be tried: requests that are all wrong, one sender's or of a method that the remote store
//! does not offer, would hold up everything else until the spool is full of it. So the newest ones are tried, one of each
//! method at a time: if the remote store takes one, it is the others that are at fault. Invariant: one that was taken is not
//! sent again in its turn, unless the process ends before that. So a segment whose turn comes while one of its requests is
//! being tried waits for the outcome.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::Shared;
use crate::{record::Record, spool::Taken};

/// When, and how often.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probes {
    /// Nothing has arrived for so long.
    pub(super) after: Duration,
    pub(super) every: Duration,
}

pub(super) const PROBES: Probes = Probes { after: Duration::from_secs(60), every: Duration::from_secs(10) };

/// Requests that were taken before their turn, or are being tried.
#[derive(Default)]
pub(super) struct Ahead {
    /// Those that were taken: the number of their segment, and their place in it.
    taken: Mutex<BTreeSet<(u64, usize)>>,
    /// The segment of which a request is being tried.
    trying: watch::Sender<Option<u64>>,
}

/// While it lives, a request of a segment is being tried.
struct Trying<'a>(&'a watch::Sender<Option<u64>>);

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        self.0.send_replace(None);
    }
}

impl Ahead {
    /// The requests of a segment, which is the next one to be sent, without those that were taken.
    pub(super) async fn rest(&self, segment: Taken, records: Vec<Record>) -> Vec<Record> {
        // The sender of the channel is this, so that the wait cannot fail.
        let _ = self.trying.subscribe().wait_for(|&trying| trying != Some(segment.number())).await;
        let mut taken = self.taken.lock();
        let of_segment: BTreeSet<_> =
            taken.range((segment.number(), 0)..=(segment.number(), usize::MAX)).map(|&(_, at)| at).collect();
        // Those of segments before were dropped with these.
        *taken = taken.split_off(&(segment.number() + 1, 0));
        let records = records.into_iter().enumerate().filter(|(at, _)| !of_segment.contains(at));
        records.map(|(_, record)| record).collect()
    }

    fn begin(&self, segment: Taken) -> Trying<'_> {
        self.trying.send_replace(Some(segment.number()));
        Trying(&self.trying)
    }
}

impl Shared {
    /// Tries requests before their turn whenever that is needed.
    pub(super) async fn probe(self: Arc<Self>) {
        let (mut arrivals, mut since) = (0, Instant::now());
        let work = async {
            loop {
                tokio::time::sleep(self.timing.probes.every).await;
                let arrived = self.arrivals.load(Ordering::Relaxed);
                if arrived != arrivals || !self.aside.is_crowded() {
                    (arrivals, since) = (arrived, Instant::now());
                } else if since.elapsed() >= self.timing.probes.after {
                    self.try_newest().await;
                    // What arrived by this is no sign that others do in their turn.
                    arrivals = self.arrivals.load(Ordering::Relaxed);
                }
            }
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            () = work => {}
        }
    }

    /// Tries the newest request of each method in the newest segment, once.
    async fn try_newest(&self) {
        let Some(newest) = self.spool.newest() else { return };
        let mut methods = HashSet::new();
        for (at, record) in self.spool.peek(newest).await.into_iter().enumerate().rev() {
            let place = (newest.number(), at);
            if self.ahead.taken.lock().contains(&place) || !methods.insert(record.method) {
                continue;
            }
            let _trying = self.ahead.begin(newest);
            // Looked at after it is known that this begins: a segment handed out later waits for the outcome.
            if !self.spool.is_waiting(newest) {
                return;
            }
            // What is wrong with it is found out in its turn.
            if let Ok(sent) = self.remote.send(&record).await {
                self.ahead.taken.lock().insert(place);
                self.arrived(&record, sent.left_out);
            }
        }
    }
}
