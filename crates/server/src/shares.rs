//! Places for what waits for its sender: so many in all, and no sender has more than its share of them.
//!
//! A sender is an address with the token that it shows: behind a proxy, all have one address, and without tokens nobody can
//! be told apart but by address. Of a sender that has several connections, each has a share again, so that one that hangs
//! leaves places to the others. Who has a place and pauses while others wait for one loses it soon.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use http::Extensions;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use crate::settings::{Holder, Peer};

/// Time for which the sender of a stream may send nothing while others wait for its place.
const CROWDED_PAUSE_MAX: Duration = Duration::from_secs(2);
/// How often that is looked at.
const CROWDED_EVERY: Duration = Duration::from_millis(250);

/// Senders remembered before those without a place are forgotten.
const REMEMBERED: usize = 1024;

/// Who sends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Party {
    peer: Option<SocketAddr>,
    holder: Option<Holder>,
}

impl Party {
    /// Of a request with these extensions.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        Self {
            peer: extensions.get::<Peer>().map(|peer| peer.0),
            holder: extensions.get::<Holder>().copied(),
        }
    }
}

/// Who has a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Shareholder {
    Connection(Party),
    Sender(Option<IpAddr>, Option<Holder>),
}

/// How many places there are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// In all.
    pub(crate) all: usize,
    /// Of one sender.
    pub(crate) sender: usize,
    /// Of one of its connections.
    pub(crate) connection: usize,
}

/// The places.
#[derive(Debug)]
pub(crate) struct Shares {
    bounds: Bounds,
    all: Arc<Semaphore>,
    shares: Mutex<HashMap<Shareholder, Weak<Semaphore>>>,
}

/// A place, taken until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    permits: [OwnedSemaphorePermit; 3],
}

/// When the body of a request last had something. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Progress(Arc<Mutex<Instant>>);

impl Progress {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// Notes that something came.
    pub(crate) fn note(&self) {
        *self.0.lock() = Instant::now();
    }

    /// Of a request with these extensions; of one whose body came whole, it is always now.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_else(Self::new)
    }
}

impl Place {
    /// Whether others may be waiting for it.
    fn is_wanted(&self) -> bool {
        self.permits.iter().any(|permit| permit.semaphore().available_permits() == 0)
    }

    /// Waits for something that a sender is to send, unless it sends nothing for a while and others wait for its place.
    pub(crate) async fn hold<T>(
        &self,
        sent: impl Future<Output = T>,
        progress: &Progress,
    ) -> Result<T, Status> {
        self.hold_for(CROWDED_PAUSE_MAX, sent, progress).await
    }

    async fn hold_for<T>(
        &self,
        pause_max: Duration,
        sent: impl Future<Output = T>,
        progress: &Progress,
    ) -> Result<T, Status> {
        let begin = Instant::now();
        let mut sent = std::pin::pin!(sent);
        loop {
            if let Ok(sent) = tokio::time::timeout(CROWDED_EVERY.min(pause_max), &mut sent).await {
                return Ok(sent);
            }
            let last = begin.max(*progress.0.lock());
            if last.elapsed() >= pause_max && self.is_wanted() {
                let pause = humantime::format_duration(pause_max);
                let message =
                    format!("the sender has sent nothing for {pause}, and others wait for its place");
                return Err(Status::deadline_exceeded(message));
            }
        }
    }
}

impl Shares {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, all: Arc::new(Semaphore::new(bounds.all)), shares: Mutex::default() }
    }

    /// Waits for a place.
    pub(crate) async fn place(&self, party: Party) -> Place {
        let sender = Shareholder::Sender(party.peer.map(|peer| peer.ip().to_canonical()), party.holder);
        let connection = self.share(Shareholder::Connection(party), self.bounds.connection);
        // In this order, so that whoever waits holds nothing that others of its kind would need.
        let connection = permit(connection).await;
        let sender = permit(self.share(sender, self.bounds.sender)).await;
        Place { permits: [connection, sender, permit(Arc::clone(&self.all)).await] }
    }

    fn share(&self, of: Shareholder, places: usize) -> Arc<Semaphore> {
        let mut shares = self.shares.lock();
        if let Some(share) = shares.get(&of).and_then(Weak::upgrade) {
            return share;
        }
        if shares.len() >= REMEMBERED {
            shares.retain(|_, share| share.strong_count() > 0);
        }
        let share = Arc::new(Semaphore::new(places));
        shares.insert(of, Arc::downgrade(&share));
        share
    }
}

async fn permit(semaphore: Arc<Semaphore>) -> OwnedSemaphorePermit {
    match semaphore.acquire_owned().await {
        Ok(permit) => permit,
        // Nobody closes them.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::auth::Digest;

    fn party(last: u8, port: u16) -> Party {
        Party { peer: Some(SocketAddr::from(([10, 0, 0, last], port))), holder: None }
    }

    #[test]
    fn nobody_takes_the_places_of_others() {
        let shares = Shares::new(Bounds { all: 6, sender: 4, connection: 2 });
        let take = |party: Party| shares.place(party).now_or_never();
        let of_first: Vec<_> = (0..10).filter_map(|_| take(party(1, 1))).collect();
        assert_eq!(of_first.len(), 2, "one connection");
        let of_others: Vec<_> = (2..10).filter_map(|port| take(party(1, port))).collect();
        assert_eq!(of_others.len(), 2, "one sender");
        let _second = take(party(2, 1)).expect("another sender is served");
        let _token = take(Party { holder: Some(Holder::from(Digest::of("a"))), ..party(1, 1) })
            .expect("another token is one");
        assert!(take(party(3, 1)).is_none(), "there are no more places");
        drop(of_first);
        assert!(take(party(3, 1)).is_some() && take(party(1, 1)).is_some());
    }

    #[tokio::test]
    async fn who_pauses_loses_a_place_that_others_want() {
        let shares = Shares::new(Bounds { all: 2, sender: 2, connection: 2 });
        let place = shares.place(party(1, 1)).await;
        let (pause, progress) = (Duration::from_millis(20), Progress::new());
        let never = || std::future::pending::<()>();
        assert!(place.hold_for(pause, never(), &progress).now_or_never().is_none());
        // While there are places, whoever has one may pause.
        let patient = place.hold_for(pause, never(), &progress);
        assert!(tokio::time::timeout(pause * 5, patient).await.is_err());
        assert_eq!(place.hold_for(pause, std::future::ready(7), &progress).await.unwrap(), 7);
        let _other = shares.place(party(2, 1)).await;
        // What comes in parts is no pause.
        let parts = async {
            for _ in 0..10 {
                tokio::time::sleep(pause / 2).await;
                progress.note();
            }
        };
        assert!(place.hold_for(pause * 10, parts, &progress).await.is_ok());
        let refused = place.hold_for(pause, never(), &progress).await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.message()),
            (
                tonic::Code::DeadlineExceeded,
                "the sender has sent nothing for 20ms, and others wait for its place"
            )
        );
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let shares = Shares::new(Bounds { all: 2, sender: 1, connection: 1 });
        let held = shares.place(party(1, 1)).now_or_never();
        for port in 0..3 * REMEMBERED as u16 {
            assert!(shares.place(party(2, port)).now_or_never().is_some());
        }
        assert!(shares.shares.lock().len() <= REMEMBERED + 1);
        assert!(shares.place(party(1, 1)).now_or_never().is_none());
        drop(held);
    }
}
