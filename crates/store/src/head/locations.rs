//! Interning of locations by content, for the rows of a batch that are mostly known.
//!
//! A batch brings thousands of locations with all that they consist of, and the tables that they are in are larger than the caches of a
//! processor. So a location is known by a fingerprint of its content, which takes nothing but the batch: its strings, functions and mapping
//! are not looked up unless it is new. Stacktraces are known by the fingerprints of their locations in turn, see
//! [`StacktraceIndex`](super::partition::StacktraceIndex), so that most locations are not looked up either. Fingerprints of a batch come
//! [with it](super::incoming).
//!
//! A fingerprint has 128 bits: at 10⁹ locations the chance of one wrong merge is below 10⁻²⁰. Its seed is of this process, so that nobody
//! can send two locations with one fingerprint on purpose; it is kept nowhere.

use std::{hash::BuildHasher, sync::LazyLock};

use hashbrown::HashTable;

use crate::source::Symbols;

/// Rows that are looked up together, so that the memory which one of them waits for is fetched beside that of others.
pub(crate) const TOGETHER: usize = 32;

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
    /// Locations by fingerprint.
    ids: HashTable<u32>,
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
        let mut found = [None; TOGETHER];
        // The first id in a slot for a fingerprint is mostly the right one.
        for (found, fingerprint) in found.iter_mut().zip(fingerprints.clone()) {
            *found = self.ids.find(fingerprint as u64, |_| true).copied();
        }
        for (found, fingerprint) in found.iter_mut().zip(fingerprints) {
            if found.is_some_and(|id| self.fingerprints[id as usize] != fingerprint) {
                *found = self.get(fingerprint);
            }
        }
        found
    }

    /// The id of the location with a fingerprint.
    pub(crate) fn get(&self, fingerprint: u128) -> Option<u32> {
        let is = |&id: &u32| self.fingerprints[id as usize] == fingerprint;
        self.ids.find(fingerprint as u64, is).copied()
    }

    /// Gives the next id to a location that has none.
    pub(crate) fn push(&mut self, fingerprint: u128) -> u32 {
        let id = self.fingerprints.len() as u32;
        self.fingerprints.push(fingerprint);
        let fingerprints = &self.fingerprints;
        self.ids.insert_unique(fingerprint as u64, id, |&id| fingerprints[id as usize] as u64);
        id
    }

    /// Memory of the tables.
    pub(crate) fn size_bytes(&self) -> usize {
        16 * self.fingerprints.capacity() + 5 * self.ids.capacity()
    }
}
