//! Interning of locations by content, for the rows of a batch that are mostly known.
//!
//! A batch brings thousands of locations with all that they consist of, and the tables that they are in are larger than the caches of a
//! processor. So a location is known by a fingerprint of its content, which takes nothing but the batch: its strings, functions and mapping
//! are not looked up unless it is new. Stacktraces are known by the fingerprints of their locations in turn, see
//! [`StacktraceIndex`](super::partition::StacktraceIndex), so that most locations are not looked up either. Fingerprints of a batch come
//! [with it](super::incoming).
//!
//! The seed of fingerprints is of this process, so that nobody can send two locations with one fingerprint on purpose; it is kept
//! nowhere.

use std::{hash::BuildHasher, sync::LazyLock};

use super::ids::{Ids, TOGETHER};
use crate::source::Symbols;

/// The seed of fingerprints in this process.
pub(super) fn seed() -> u64 {
    static SEED: LazyLock<u64> = LazyLock::new(|| foldhash::fast::RandomState::default().hash_one(()));
    *SEED
}

/// Content → id, for the locations of one [`Symbols`].
#[derive(Default)]
pub(crate) struct LocationIndex {
    /// By location.
    fingerprints: Vec<u128>,
    ids: Ids,
}

impl LocationIndex {
    /// The index of existing rows.
    pub(crate) fn of(symbols: &Symbols) -> Self {
        let mut index = Self::default();
        for fingerprint in symbols.location_fingerprints(seed()) {
            index.push(fingerprint);
        }
        index
    }

    /// The fingerprints of the locations that have ids, by id.
    pub(crate) fn fingerprints(&self) -> &[u128] {
        &self.fingerprints
    }

    /// The ids of locations with at most [`TOGETHER`] fingerprints; `None` for those that are new.
    pub(crate) fn find(&self, fingerprints: impl Iterator<Item = u128> + Clone) -> [Option<u32>; TOGETHER] {
        self.ids.find(fingerprints)
    }

    /// The id of the location with a fingerprint.
    pub(crate) fn get(&self, fingerprint: u128) -> Option<u32> {
        self.ids.get(fingerprint)
    }

    /// Gives the next id to a location that has none.
    pub(crate) fn push(&mut self, fingerprint: u128) -> u32 {
        let id = self.fingerprints.len() as u32;
        self.fingerprints.push(fingerprint);
        self.ids.insert(fingerprint, id);
        id
    }

    /// Memory of the tables.
    pub(crate) fn size_bytes(&self) -> usize {
        16 * self.fingerprints.capacity() + self.ids.size_bytes()
    }
}
