//! Room for requests that have left their lanes, apart from the room of what is under way: they must not hold up others.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use crate::spool::SEGMENT_BYTES;

/// Requests aside, each of which is attempted every few seconds.
const REQUESTS_MAX: usize = 128;
/// Bytes of the segments that they are in: those stay on disk whole, and cannot be dropped to make room. As much as may be
/// under way fits twice.
const BYTES_MAX: usize = 128 << 20;

/// The requests aside.
pub(super) struct Aside {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    /// What goes on with them.
    pub(super) tasks: TaskTracker,
}

/// The place of one of them, free when it is dropped.
pub(super) struct Place {
    _request: OwnedSemaphorePermit,
}

/// The room that a segment takes, free when it is dropped.
pub(super) struct Room {
    permit: OwnedSemaphorePermit,
    is_aside: bool,
}

impl Room {
    /// Of a segment of which nothing is aside.
    pub(super) fn under_way(permit: OwnedSemaphorePermit) -> Self {
        Self { permit, is_aside: false }
    }
}

impl Default for Aside {
    fn default() -> Self {
        Self {
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            bytes: Arc::new(Semaphore::new(BYTES_MAX)),
            tasks: TaskTracker::new(),
        }
    }
}

impl Aside {
    /// A place for a request of a segment, whose room is then here too; `None` if there is none.
    pub(super) fn place(&self, segment: &mut Room) -> Option<Place> {
        let request = self.requests.clone().try_acquire_owned().ok()?;
        if !segment.is_aside {
            let weight = u32::try_from(segment.permit.num_permits()).unwrap_or(u32::MAX);
            let permit = self.bytes.clone().try_acquire_many_owned(weight).ok()?;
            *segment = Room { permit, is_aside: true };
        }
        Some(Place { _request: request })
    }

    /// Whether there is no place, or no room for a segment of the usual size.
    pub(super) fn is_crowded(&self) -> bool {
        self.requests.available_permits() == 0 || self.bytes.available_permits() < SEGMENT_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_frees_its_room_once_one_of_its_requests_leaves() {
        let (under_way, aside) = (Arc::new(Semaphore::new(100)), Aside::default());
        let permit = under_way.clone().try_acquire_many_owned(60).unwrap();
        let mut segment = Room::under_way(permit);
        let places = [aside.place(&mut segment).unwrap(), aside.place(&mut segment).unwrap()];
        assert_eq!((under_way.available_permits(), aside.bytes.available_permits()), (100, BYTES_MAX - 60));
        drop(places);
        assert_eq!(aside.requests.available_permits(), REQUESTS_MAX);
        drop(segment);
        assert_eq!(aside.bytes.available_permits(), BYTES_MAX);
    }

    #[test]
    fn both_bounds_hold() {
        let large = Arc::new(Semaphore::new(BYTES_MAX * 2));
        let room =
            |bytes: usize| Room::under_way(large.clone().try_acquire_many_owned(bytes as u32).unwrap());
        let aside = Aside::default();
        let (mut first, mut second) = (room(1), room(BYTES_MAX));
        let mut places = vec![aside.place(&mut first).unwrap()];
        assert!(aside.place(&mut second).is_none() && !aside.is_crowded());
        places.extend((1..REQUESTS_MAX).map(|_| aside.place(&mut first).unwrap()));
        assert!(aside.place(&mut first).is_none() && aside.is_crowded());
        drop((places, first));
        assert!(!aside.is_crowded() && aside.place(&mut second).is_some() && aside.is_crowded());
    }
}
