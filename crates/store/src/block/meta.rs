//! `block.json`: what a block holds and how its files are checked.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::source::TimeRange;

/// Version of the block format this program writes.
pub(crate) const BLOCK_FORMAT: u32 = 3;
/// The oldest version that it reads, whose checksums are of parts of one size: 1 was never released.
pub(crate) const OLDEST_BLOCK_FORMAT: u32 = 2;

/// Part of a file that one checksum covers, at most: small enough that checking costs a narrow query little, large enough that the
/// checksums of a 20 MB block fit in 7 kB.
pub(crate) const PART_BYTES: u64 = 32 << 10;

/// Contents of `block.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlockMeta {
    /// Version of the format.
    pub(crate) format: u32,
    /// Name of the block, a ULID.
    pub(crate) id: String,
    /// Tenant whose samples these are.
    pub(crate) tenant: String,
    /// 0: samples are as they came. Else they are sums over buckets of so many nanoseconds.
    #[serde(default)]
    pub(crate) resolution_ns: i64,
    /// Time of the first sample.
    pub(crate) min_time_ns: i64,
    /// Time of the last sample.
    pub(crate) max_time_ns: i64,
    /// Number of samples.
    pub(crate) samples: u64,
    /// Number of series.
    pub(crate) series: u64,
    /// Number of partitions.
    pub(crate) partitions: u64,
    /// Number of distinct stacktraces.
    pub(crate) stacktraces: u64,
    /// Number of tree nodes.
    pub(crate) nodes: u64,
    /// Nodes of the largest partition: what a compaction must hold.
    #[serde(default)]
    pub(crate) partition_nodes_max: u64,
    /// The blocks that it was merged of; none if it was made of a head.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) inputs: Vec<String>,
    /// Memory for the labels of its series and for `attributes.parquet` once decoded, about.
    #[serde(default)]
    pub(crate) series_bytes: u64,
    /// Locations.
    pub(crate) locations: LocationCounts,
    /// Sample attributes: names of text columns.
    pub(crate) text_attributes: Vec<String>,
    /// Sample attributes: names of integer columns, with their unit.
    pub(crate) integer_attributes: BTreeMap<String, String>,
    /// Files by name.
    pub(crate) files: BTreeMap<String, FileMeta>,
}

/// What `locations.parquet` holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LocationCounts {
    /// Number of locations.
    pub(crate) locations: u64,
    /// Number of rows: one a location and line.
    pub(crate) rows: u64,
    /// The first of the locations, that several partitions use.
    pub(crate) shared_locations: u64,
    /// Their rows.
    pub(crate) shared_rows: u64,
    /// Text of all rows, in each batch that was written once.
    #[serde(default)]
    pub(crate) text_bytes: u64,
    /// Text of the rows of shared locations.
    #[serde(default)]
    pub(crate) shared_text_bytes: u64,
}

/// Size and checksums of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileMeta {
    /// Size of the file.
    pub(crate) size_bytes: u64,
    /// xxh3-64 of each part, little endian, in base64.
    pub(crate) checksums: String,
    /// Ends of row groups, ascending, as checksums are written. A part ends there, and where it has 32 KiB: who reads whole row groups reads
    /// nothing else. Blocks of format 2 have none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) group_ends: String,
}

impl BlockMeta {
    /// Times covered.
    pub(crate) fn range(&self) -> TimeRange {
        TimeRange { start_ns: self.min_time_ns, end_ns: self.max_time_ns }
    }

    /// Size of all files.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.files.values().map(|f| f.size_bytes).sum()
    }
}

/// Size and checksums of a file that comes in pieces.
#[derive(Debug, Default)]
pub(crate) struct Checksums {
    /// The part that is not full yet.
    part: Vec<u8>,
    sums: Vec<u64>,
    size_bytes: u64,
    /// Ends of row groups that are to come.
    group_ends: VecDeque<u64>,
    ended: Vec<u64>,
}

impl Checksums {
    /// Tells where row groups end (ascending) in what is added from now on.
    pub(crate) fn expect_ends(&mut self, group_ends: &[u64]) {
        self.group_ends.extend(group_ends);
    }

    /// Adds the next bytes of the file.
    pub(crate) fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let of_group =
                self.group_ends.front().map_or(u64::MAX, |end| end.saturating_sub(self.size_bytes));
            let room = of_group.min(PART_BYTES - self.part.len() as u64);
            let (now, later) = bytes.split_at(bytes.len().min(room as usize));
            self.part.extend_from_slice(now);
            self.size_bytes += now.len() as u64;
            bytes = later;
            let ends_group = self.group_ends.front().is_some_and(|&end| end <= self.size_bytes);
            if ends_group {
                self.ended.extend(self.group_ends.pop_front());
            }
            if ends_group || self.part.len() as u64 == PART_BYTES {
                self.end_part();
            }
        }
    }

    fn end_part(&mut self) {
        if !self.part.is_empty() {
            self.sums.push(xxh3_64(&self.part));
            self.part.clear();
        }
    }

    /// The whole file's.
    pub(crate) fn finish(mut self) -> FileMeta {
        self.end_part();
        FileMeta {
            size_bytes: self.size_bytes,
            checksums: encode(&self.sums),
            group_ends: encode(&self.ended),
        }
    }
}

/// Numbers, little endian, in base64.
fn encode(numbers: &[u64]) -> String {
    STANDARD.encode(numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>())
}

/// The reverse; `None` if it is something else.
fn decode(text: &str) -> Option<Vec<u64>> {
    let bytes = STANDARD.decode(text).ok()?;
    let (numbers, rest) = bytes.as_chunks::<8>();
    rest.is_empty().then(|| numbers.iter().map(|number| u64::from_le_bytes(*number)).collect())
}

/// Parts of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Where each ends.
    ends: Vec<u64>,
    sums: Vec<u64>,
}

impl Parts {
    /// The parts that have bytes of a range, by number.
    pub(crate) fn numbers(&self, range: &Range<u64>) -> Range<usize> {
        let first = self.ends.partition_point(|end| *end <= range.start);
        let last = self.ends.partition_point(|end| *end < range.end);
        first..if range.is_empty() { first } else { last + 1 }
    }

    /// The bytes of a part; of one that there is not, none.
    pub(crate) fn range(&self, number: usize) -> Range<u64> {
        let start =
            number.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or_default();
        start..self.ends.get(number).copied().unwrap_or(start)
    }

    /// xxh3-64 of a part.
    pub(crate) fn sum(&self, number: usize) -> Option<u64> {
        self.sums.get(number).copied()
    }

    /// A range widened to whole parts.
    pub(crate) fn around(&self, range: &Range<u64>) -> Range<u64> {
        let numbers = self.numbers(range);
        match numbers.end.checked_sub(1) {
            Some(last) if !numbers.is_empty() => self.range(numbers.start).start..self.range(last).end,
            _ => range.start..range.start,
        }
    }
}

impl FileMeta {
    /// Size and checksums of `bytes`, whose row groups end where told (ascending).
    pub(crate) fn of(bytes: &[u8], group_ends: &[u64]) -> Self {
        let mut sums = Checksums::default();
        sums.expect_ends(group_ends);
        sums.add(bytes);
        sums.finish()
    }

    /// The parts; `None` if there are not as many checksums as size and row groups ask for.
    pub(crate) fn parts(&self) -> Option<Parts> {
        let sums = decode(&self.checksums)?;
        let mut ends = Vec::with_capacity(sums.len());
        let mut start = 0;
        for end in decode(&self.group_ends)?.into_iter().chain([self.size_bytes]) {
            if end < start || end > self.size_bytes {
                return None;
            }
            while start < end {
                if ends.len() == sums.len() {
                    return None;
                }
                start = end.min(start + PART_BYTES);
                ends.push(start);
            }
        }
        (sums.len() == ends.len()).then_some(Parts { ends, sums })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIB: u64 = 1 << 10;

    #[test]
    fn parts_end_with_row_groups() {
        let bytes: Vec<u8> = (0..100 * KIB).map(|at| (at % 251) as u8).collect();
        let meta = FileMeta::of(&bytes, &[10 * KIB, 50 * KIB, 82 * KIB]);
        let parts = meta.parts().unwrap();
        let ends: Vec<u64> = parts.ends.iter().map(|end| end / KIB).collect();
        assert_eq!(ends, [10, 42, 50, 82, 100]);
        let check = |range: (u64, u64), expected: (u64, u64)| {
            assert_eq!(
                parts.around(&(range.0 * KIB..range.1 * KIB)),
                expected.0 * KIB..expected.1 * KIB,
                "{range:?}"
            );
        };
        check((0, 10), (0, 10));
        check((10, 50), (10, 50));
        check((11, 12), (10, 42));
        check((49, 51), (42, 82));
        check((99, 100), (82, 100));
        check((0, 100), (0, 100));
    }

    #[test]
    fn parts_of_the_format_before_are_of_one_size() {
        let bytes = vec![7; 70 * KIB as usize];
        let written = serde_json::to_string(&FileMeta::of(&bytes, &[])).unwrap();
        assert!(!written.contains("group_ends"), "{written}");
        let meta: FileMeta = serde_json::from_str(&written).unwrap();
        assert_eq!(meta.parts().unwrap().ends, [32 * KIB, 64 * KIB, 70 * KIB]);
    }

    #[test]
    fn descriptions_that_do_not_fit_are_none() {
        let good = FileMeta::of(&vec![7; 70 * KIB as usize], &[KIB, 40 * KIB]);
        assert!(good.parts().is_some());
        let check = |change: fn(&mut FileMeta)| {
            let mut bad = good.clone();
            change(&mut bad);
            assert_eq!(bad.parts(), None, "{bad:?}");
        };
        check(|meta| meta.size_bytes = u64::MAX);
        check(|meta| meta.size_bytes = 39 * KIB);
        check(|meta| meta.group_ends.clear());
        check(|meta| meta.group_ends = encode(&[40 * KIB, 20 * KIB]));
        check(|meta| meta.group_ends = encode(&[u64::MAX]));
        check(|meta| meta.group_ends = encode(&[40 * KIB, 41 * KIB, 42 * KIB]));
        check(|meta| meta.group_ends.push('!'));
        check(|meta| meta.checksums.clear());
        check(|meta| meta.checksums.truncate(meta.checksums.len() - 4));
        check(|meta| meta.checksums.push('!'));
    }

    proptest! {
        #[test]
        fn every_byte_is_in_the_part_whose_checksum_covers_it(
            sizes in prop::collection::vec(1usize..50_000, 0..12),
            cuts in prop::collection::vec(1usize..40_000, 0..20),
        ) {
            let bytes: Vec<u8> = (0..sizes.iter().sum::<usize>()).map(|at| (at * 7 % 253) as u8).collect();
            let group_ends: Vec<u64> =
                sizes.iter().scan(0u64, |end, size| { *end += *size as u64; Some(*end) }).collect();
            // However it comes in pieces.
            let mut sums = Checksums::default();
            sums.expect_ends(&group_ends);
            let mut rest = &bytes[..];
            for cut in cuts {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                sums.add(now);
                rest = later;
            }
            sums.add(rest);
            let meta = sums.finish();
            prop_assert_eq!(&meta, &FileMeta::of(&bytes, &group_ends));
            let parts = meta.parts().ok_or_else(|| TestCaseError::fail("no parts"))?;
            let all = parts.numbers(&(0..bytes.len() as u64));
            let mut before = 0;
            for number in all {
                let range = parts.range(number);
                prop_assert_eq!(range.start, before);
                prop_assert!(range.end - range.start <= PART_BYTES);
                prop_assert_eq!(parts.sum(number), Some(xxh3_64(&bytes[range.start as usize..range.end as usize])));
                before = range.end;
            }
            prop_assert_eq!(before, bytes.len() as u64);
            prop_assert!(group_ends.iter().all(|end| parts.ends.contains(end)));
        }
    }
}
