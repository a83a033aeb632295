//! Fingerprint → id, for tables that are larger than the caches of a processor.
//!
//! A fingerprint has 128 bits and is the identity of what it is of: at 10⁹ of a kind the chance of one wrong merge is below 10⁻²⁰. It
//! stands beside its id, so that a look takes one piece of memory; and several are looked up [together](TOGETHER), so that the
//! processor waits for all these pieces at once.

use hashbrown::HashTable;

/// Fingerprints that are looked up together.
pub(crate) const TOGETHER: usize = 32;

/// Ids by fingerprint.
#[derive(Default)]
pub(super) struct Ids {
    entries: HashTable<Entry>,
}

/// Halves of a fingerprint, since a whole one would be padded.
#[derive(Clone, Copy)]
struct Entry {
    high: u64,
    low: u64,
    id: u32,
}

impl Entry {
    fn fingerprint(self) -> u128 {
        (u128::from(self.high) << 64) | u128::from(self.low)
    }
}

impl Ids {
    /// The ids of at most [`TOGETHER`] fingerprints; `None` for those that are new.
    pub(super) fn find(&self, fingerprints: impl Iterator<Item = u128> + Clone) -> [Option<u32>; TOGETHER] {
        let mut found = [None; TOGETHER];
        // The first entry in a slot for a fingerprint is mostly the right one.
        for (found, fingerprint) in found.iter_mut().zip(fingerprints.clone()) {
            *found = self.entries.find(fingerprint as u64, |_| true);
        }
        let mut ids = [None; TOGETHER];
        for ((id, found), fingerprint) in ids.iter_mut().zip(found).zip(fingerprints) {
            *id = found.and_then(|entry| match entry.fingerprint() == fingerprint {
                true => Some(entry.id),
                false => self.get(fingerprint),
            });
        }
        ids
    }

    /// The id of a fingerprint.
    pub(super) fn get(&self, fingerprint: u128) -> Option<u32> {
        let is = |entry: &Entry| entry.fingerprint() == fingerprint;
        self.entries.find(fingerprint as u64, is).map(|entry| entry.id)
    }

    /// Adds a fingerprint that is not there.
    pub(super) fn insert(&mut self, fingerprint: u128, id: u32) {
        let (high, low) = ((fingerprint >> 64) as u64, fingerprint as u64);
        self.entries.insert_unique(low, Entry { high, low, id }, |entry| entry.low);
    }

    /// Memory of the table.
    pub(super) fn size_bytes(&self) -> usize {
        (size_of::<Entry>() + 1) * self.entries.capacity()
    }
}
