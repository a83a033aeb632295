//! Places for what waits for its sender: so many in all, and no sender has more than its share of them.
//!
//! A sender is an address with the token that it shows: behind a proxy, all have one address, and without tokens nobody can
//! be told apart but by address. Of a sender that has several connections, each has a share again, so that one that hangs
//! leaves places to the others.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Weak},
};

use http::Extensions;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::settings::{Holder, Peer};

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
    _permits: [OwnedSemaphorePermit; 3],
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
        Place { _permits: [connection, sender, permit(Arc::clone(&self.all)).await] }
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
