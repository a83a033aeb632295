//! Interning of series by content.
//!
//! As [`SymbolIndex`](super::symbols::SymbolIndex), the index holds ids only and compares through the rows.

use std::hash::BuildHasher;

use decima_profile::ProfileType;
use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::{HeadSeries, SeriesKey};

/// The parts of a [`SeriesKey`], wherever they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SeriesParts<'a> {
    pub(super) profile_type: &'a ProfileType,
    pub(super) labels: &'a [(String, String)],
    pub(super) period: i64,
    pub(super) duration_ns: i64,
}

impl<'a> SeriesParts<'a> {
    fn of(key: &'a SeriesKey) -> Self {
        Self {
            profile_type: &key.profile_type,
            labels: &key.labels,
            period: key.period,
            duration_ns: key.duration_ns,
        }
    }

    /// A key of its own.
    pub(super) fn to_key(self) -> SeriesKey {
        SeriesKey {
            profile_type: self.profile_type.clone().into(),
            labels: self.labels.into(),
            period: self.period,
            duration_ns: self.duration_ns,
        }
    }
}

/// Content → id, for the series of a head.
#[derive(Default)]
pub(super) struct SeriesIndex {
    hasher: RandomState,
    /// With their hashes, since a series has many labels.
    ids: HashTable<(u64, u32)>,
}

impl SeriesIndex {
    /// The index of existing rows.
    pub(super) fn of(series: &[HeadSeries]) -> Self {
        let mut index = Self::default();
        for (id, row) in series.iter().enumerate() {
            index.insert(SeriesParts::of(&row.key), id as u32);
        }
        index
    }

    /// The id of a series that is among the rows.
    pub(super) fn get(&self, series: &[HeadSeries], parts: SeriesParts<'_>) -> Option<u32> {
        let hash = self.hasher.hash_one(parts);
        let is =
            |&(known, id): &(u64, u32)| known == hash && SeriesParts::of(&series[id as usize].key) == parts;
        self.ids.find(hash, is).map(|&(_, id)| id)
    }

    /// Gives an id to a series that has none.
    pub(super) fn insert(&mut self, parts: SeriesParts<'_>, id: u32) {
        let hash = self.hasher.hash_one(parts);
        self.ids.insert_unique(hash, (hash, id), |&(hash, _)| hash);
    }
}
