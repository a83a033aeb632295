//! What the store takes of the space that it may have, and which blocks go when that is not enough. Pure.
//!
//! Blocks that were dropped or merged stay for a while for those that read them, and a compaction has its inputs beside what it makes. So
//! blocks go before the limit is reached, and what arrives is refused only when that was not enough: at the limit.

use crate::manifest::Manifest;

/// Parts of a hundred of the limit from which on blocks are dropped; the rest is for what is made and for what is still read.
const KEPT_PERCENT: u64 = 90;
/// Files of a flush beside what grows with the samples: two blocks of eight Parquet files.
const FLUSH_BYTES: u64 = 64 << 10;

/// What takes space, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Space {
    /// Blocks of the manifest.
    pub(crate) listed: u64,
    /// Blocks that are in no manifest any more, and log objects below the floor, until they have gone.
    pub(crate) retired: u64,
    /// The log since its floor.
    pub(crate) log: u64,
    /// What the compaction under way may write: no more than it reads.
    pub(crate) compaction: u64,
}

impl Space {
    /// All of it, with the block that the log is to become: no larger than the log.
    pub(crate) fn used(&self) -> u64 {
        self.kept() + self.retired + self.compaction
    }

    /// All of it once so many bytes more are in the log.
    pub(crate) fn used_with(&self, incoming: u64) -> u64 {
        Self { log: self.log + incoming.max(1), ..*self }.used()
    }

    fn kept(&self) -> u64 {
        self.listed + 2 * self.log + if self.log > 0 { FLUSH_BYTES } else { 0 }
    }

    /// Names of the blocks to drop so that the rest fits: the coarsest go first, of those the oldest.
    pub(crate) fn excess(&self, manifest: &Manifest, max_bytes: u64) -> Vec<String> {
        let most = max_bytes / 100 * KEPT_PERCENT;
        let mut kept = self.kept();
        let mut blocks: Vec<_> = manifest.blocks.iter().collect();
        blocks.sort_by_key(|block| (std::cmp::Reverse(block.resolution_ns), block.max_time_ns));
        let mut excess = Vec::new();
        for block in blocks {
            if kept <= most {
                break;
            }
            kept -= block.size_bytes.min(kept);
            excess.push(block.id.clone());
        }
        excess
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        log::codec::LogPosition,
        manifest::BlockEntry,
        tiers::{HOUR_NS, TEN_SECONDS_NS},
    };

    /// Blocks of 100 bytes: name, resolution, time.
    fn check(blocks: &[(&str, i64, i64)], log: u64, max_bytes: u64, expected: &[&str]) {
        let entries = blocks.iter().map(|&(id, resolution_ns, max_time_ns)| BlockEntry {
            id: id.to_owned(),
            min_time_ns: 0,
            max_time_ns,
            samples: 1,
            size_bytes: 100,
            newest_request_ns: 0,
            meta_checksum: String::new(),
            level: 0,
            resolution_ns,
            partition_nodes_max: 0,
            locations: 0,
            series: 0,
            series_bytes: 0,
            location_text_bytes: 0,
        });
        let manifest = Manifest::empty().with_blocks(entries, LogPosition::default());
        let space = Space { listed: 100 * blocks.len() as u64, log, ..Space::default() };
        assert_eq!(space.excess(&manifest, max_bytes), expected, "{max_bytes}");
    }

    #[test]
    fn the_coarsest_go_first_then_the_oldest() {
        let blocks = [
            ("new", 0, 9),
            ("old", 0, 7),
            ("tens", TEN_SECONDS_NS, 5),
            ("late hour", HOUR_NS, 4),
            ("hour", HOUR_NS, 3),
        ];
        check(&blocks, 0, 600, &[]);
        check(&blocks, 0, 500, &["hour"]);
        check(&blocks, 0, 300, &["hour", "late hour", "tens"]);
        check(&blocks, 0, 200, &["hour", "late hour", "tens", "old"]);
        check(&blocks, 0, 0, &["hour", "late hour", "tens", "old", "new"]);
        check(&blocks[..1], FLUSH_BYTES, 4 * FLUSH_BYTES, &[]);
        check(&blocks[..1], FLUSH_BYTES, 3 * FLUSH_BYTES, &["new"]);
    }

    #[test]
    fn what_is_still_read_counts() {
        let space = Space { listed: 1, retired: 10, log: 100, compaction: 1000 };
        assert_eq!(space.used(), 1211 + FLUSH_BYTES);
        assert_eq!(space.used_with(10), 1231 + FLUSH_BYTES);
        let empty = Space { listed: 5, ..Space::default() };
        assert_eq!((empty.used(), empty.used_with(1)), (5, 7 + FLUSH_BYTES));
    }
}
