//! `block.json`: what a block holds and how its files are checked.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::source::TimeRange;

/// Version of the block format this program writes, and the only one it reads: 1 was never released.
pub(crate) const BLOCK_FORMAT: u32 = 2;

/// Part of a file that one checksum covers: small enough that checking costs a narrow query little, large enough that the
/// checksums of a 20 MB block fit in 7 kB.
pub(crate) const PART_BYTES: u64 = 32 << 10;

/// Contents of `block.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// Size and checksums of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileMeta {
    /// Size of the file.
    pub(crate) size_bytes: u64,
    /// xxh3-64 of each 32 KiB part, little endian, in base64.
    pub(crate) checksums: String,
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
    sums: Vec<u8>,
    size_bytes: u64,
}

impl Checksums {
    /// Adds the next bytes of the file.
    pub(crate) fn add(&mut self, mut bytes: &[u8]) {
        self.size_bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PART_BYTES as usize - self.part.len()));
            self.part.extend_from_slice(now);
            bytes = later;
            if self.part.len() == PART_BYTES as usize {
                self.end_part();
            }
        }
    }

    fn end_part(&mut self) {
        self.sums.extend(xxh3_64(&self.part).to_le_bytes());
        self.part.clear();
    }

    /// The whole file's.
    pub(crate) fn finish(mut self) -> FileMeta {
        if !self.part.is_empty() {
            self.end_part();
        }
        FileMeta { size_bytes: self.size_bytes, checksums: STANDARD.encode(self.sums) }
    }
}

impl FileMeta {
    /// Size and checksums of `bytes`.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut sums = Checksums::default();
        sums.add(bytes);
        sums.finish()
    }

    /// The checksums by part; `None` if there are not as many as the size asks for.
    pub(crate) fn sums(&self) -> Option<Vec<u64>> {
        let bytes = STANDARD.decode(&self.checksums).ok()?;
        if bytes.len() as u64 != self.size_bytes.div_ceil(PART_BYTES) * 8 {
            return None;
        }
        Some(
            bytes
                .chunks_exact(8)
                .map(|c| c.iter().rev().fold(0u64, |acc, &b| (acc << 8) | u64::from(b)))
                .collect(),
        )
    }
}
