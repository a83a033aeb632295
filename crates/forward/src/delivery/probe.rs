//! Requests that are tried before their turn, when nothing arrives and there is no more room for requests in doubt.
//!
//! What is behind these would never be tried: requests that are all wrong, one sender's or of a method that the remote store
//! does not offer, would hold up everything else until the spool is full of it. So the newest ones are tried, one of each
//! method at a time: if the remote store takes one, it is the others that are at fault. Invariant: one that was taken is not
//! sent again in its turn, unless the process is killed.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

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

/// Requests that were taken before their turn: the number of their segment, and their place in it.
#[derive(Default)]
pub(super) struct Ahead(Mutex<BTreeSet<(u64, usize)>>);

impl Ahead {
    /// The requests of a segment, which is the next one to be sent, without those that were taken.
    pub(super) fn rest(&self, taken: Taken, records: Vec<Record>) -> Vec<Record> {
        let mut ahead = self.0.lock();
        let of_segment: BTreeSet<_> =
            ahead.range((taken.number(), 0)..=(taken.number(), usize::MAX)).map(|&(_, at)| at).collect();
        // Those of segments before were dropped with these.
        *ahead = ahead.split_off(&(taken.number() + 1, 0));
        let records = records.into_iter().enumerate().filter(|(at, _)| !of_segment.contains(at));
        records.map(|(_, record)| record).collect()
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
            if self.ahead.0.lock().contains(&place) || !methods.insert(record.method) {
                continue;
            }
            // What is wrong with it is found out in its turn.
            if let Ok(sent) = self.remote.send(&record).await {
                self.ahead.0.lock().insert(place);
                self.arrived(&record, sent.left_out);
            }
        }
    }
}
