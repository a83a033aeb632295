//! The manifest: which blocks there are and where the log begins.
//!
//! `manifest/<version>.json`, version in 20 digits, is put create-if-absent and never changed; the highest one counts. One version
//! adds a block *and* moves the log's floor past what the block holds, so a sample is never in both or in neither. A process
//! that becomes the writer puts a version too, so that none before it can. The last field is a checksum of all before it.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::{log::codec::LogPosition, source::TimeRange};

/// Version of the manifest format this program writes, and the newest it reads.
pub const MANIFEST_FORMAT: u32 = 3;

/// How many versions stay for people to look at; readers need only the newest.
pub(crate) const VERSIONS_KEPT: u64 = 4;

/// One version of the list of blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the format.
    pub format: u32,
    /// Number of this version, from 1.
    pub version: u64,
    /// Process that put this version, a ULID; tells its own puts from those of others.
    #[serde(default)]
    pub writer: String,
    /// Epoch of the log that this process writes.
    #[serde(default)]
    pub epoch: u64,
    /// Name of the log, if it is not beside the blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_id: Option<String>,
    /// First log object that the blocks do not hold.
    pub log_floor: LogPosition,
    /// The blocks, oldest first.
    pub blocks: Vec<BlockEntry>,
}

/// A block in the manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockEntry {
    /// Name, a ULID.
    pub id: String,
    /// Time of the first sample; of a coarse block, the begin of its bucket.
    pub min_time_ns: i64,
    /// Time of the last sample; of a coarse block, the end of its bucket.
    pub max_time_ns: i64,
    /// Number of samples.
    pub samples: u64,
    /// Size of all its files.
    pub size_bytes: u64,
    /// When its newest request was received; how long repeats must be recognised follows from it.
    pub newest_request_ns: i64,
    /// xxh3-64 of `block.json`, in hex.
    pub meta_checksum: String,
    /// How its samples were merged: 0 = the block of a head, 1 = within two hours, 2 = of a day.
    #[serde(default)]
    pub level: u8,
    /// 0: its samples are as they came. Else they are sums over buckets of so many nanoseconds ([`tiers`](crate::tiers)).
    #[serde(default)]
    pub resolution_ns: i64,
    /// Nodes of its largest partition. These numbers tell what a compaction must hold of it.
    #[serde(default)]
    pub partition_nodes_max: u64,
    /// Number of its locations.
    #[serde(default)]
    pub locations: u64,
    /// Number of its series.
    #[serde(default)]
    pub series: u64,
    /// Memory for the labels of its series and what these have of sample attributes, about. Earlier versions did not say.
    #[serde(default)]
    pub series_bytes: u64,
    /// Text of its locations. Earlier versions did not say.
    #[serde(default)]
    pub location_text_bytes: u64,
}

impl Manifest {
    /// The manifest of an empty store.
    pub(crate) fn empty() -> Self {
        Self {
            format: MANIFEST_FORMAT,
            version: 0,
            writer: String::new(),
            epoch: 0,
            log_id: None,
            log_floor: LogPosition::default(),
            blocks: Vec::new(),
        }
    }

    /// The next version, with blocks added and the floor moved.
    pub(crate) fn with_blocks(
        &self,
        blocks: impl IntoIterator<Item = BlockEntry>,
        log_floor: LogPosition,
    ) -> Self {
        let mut next = self.clone();
        next.version += 1;
        next.log_floor = log_floor;
        next.blocks.extend(blocks);
        next
    }

    /// The next version with one block in the place of others; `None` if one of those is not there.
    pub(crate) fn with_replaced(&self, replaced: &[String], block: BlockEntry) -> Option<Self> {
        let mut next = self.clone();
        next.version += 1;
        let at = next.blocks.iter().position(|b| replaced.contains(&b.id))?;
        next.blocks.retain(|b| !replaced.contains(&b.id));
        if next.blocks.len() + replaced.len() != self.blocks.len() {
            return None;
        }
        next.blocks.insert(at, block);
        Some(next)
    }

    /// The next version without some blocks, and those; `None` if there are none.
    pub(crate) fn without(&self, ids: &[String]) -> Option<(Self, Vec<BlockEntry>)> {
        self.keeping(|block| !ids.contains(&block.id))
    }

    fn keeping(&self, is_kept: impl Fn(&BlockEntry) -> bool) -> Option<(Self, Vec<BlockEntry>)> {
        let (keep, dropped): (Vec<_>, Vec<_>) = self.blocks.iter().cloned().partition(is_kept);
        if dropped.is_empty() {
            return None;
        }
        let mut next = self.clone();
        next.version += 1;
        next.blocks = keep;
        Some((next, dropped))
    }

    /// The next version without the blocks whose samples are all older than `oldest_ns`, and those blocks; `None` if there are none.
    pub(crate) fn without_expired(&self, oldest_ns: i64) -> Option<(Self, Vec<BlockEntry>)> {
        self.keeping(|block| block.max_time_ns >= oldest_ns)
    }
}

impl BlockEntry {
    /// Times covered.
    pub fn range(&self) -> TimeRange {
        TimeRange { start_ns: self.min_time_ns, end_ns: self.max_time_ns }
    }
}

/// What stands between a manifest and its checksum.
const CHECKSUM: &str = ",\n  \"checksum\": \"";
/// What stands behind it.
const END: &str = "\"\n}";
/// Digits of a checksum.
const DIGITS: usize = 16;
/// The first format whose manifests all have a checksum.
const CHECKED_FORMAT: u32 = 3;

/// What every version of the format has.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// The bytes of a manifest.
pub(crate) fn encode(manifest: &Manifest) -> Vec<u8> {
    let mut json = serde_json::to_vec_pretty(manifest).unwrap_or_default();
    // The checksum is one more field: it goes before the last line, which is a brace.
    json.truncate(json.len().saturating_sub(2));
    let checksum = xxh3_64(&json);
    json.extend_from_slice(format!("{CHECKSUM}{checksum:016x}{END}").as_bytes());
    json
}

/// Reads a manifest, or says what is wrong with it.
pub(crate) fn decode(bytes: &[u8]) -> Result<Manifest, String> {
    let not_one = |e: serde_json::Error| format!("not a manifest: {e}");
    let Format { format } = serde_json::from_slice(bytes).map_err(not_one)?;
    if format > MANIFEST_FORMAT {
        return Err(format!("manifest format {format}, this program reads up to {MANIFEST_FORMAT}"));
    }
    let signed = bytes.len().saturating_sub(CHECKSUM.len() + DIGITS + END.len());
    let (signed, tail) = bytes.split_at(signed);
    let has_checksum = format >= CHECKED_FORMAT || tail.starts_with(CHECKSUM.as_bytes());
    if has_checksum && tail != format!("{CHECKSUM}{:016x}{END}", xxh3_64(signed)).as_bytes() {
        return Err("its checksum does not fit".to_owned());
    }
    serde_json::from_slice(bytes).map_err(not_one)
}

/// Whether bytes are the begin of a manifest that was not written to its end.
pub(crate) fn is_torn(bytes: &[u8]) -> bool {
    let decoded = serde_json::from_slice::<Format>(bytes);
    decoded.is_err_and(|e| e.is_eof()) && !bytes.ends_with(END.as_bytes())
}

/// Object name of a version.
pub(crate) fn file_name(version: u64) -> String {
    format!("{version:020}.json")
}

/// Version of an object name; `None` for names that are not ours.
pub(crate) fn version_of(file_name: &str) -> Option<u64> {
    let digits = file_name.strip_suffix(".json")?;
    let is_number = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, max_time_ns: i64) -> BlockEntry {
        BlockEntry {
            id: id.to_owned(),
            min_time_ns: 0,
            max_time_ns,
            samples: 1,
            size_bytes: 1,
            newest_request_ns: 0,
            meta_checksum: String::new(),
            level: 0,
            resolution_ns: 0,
            partition_nodes_max: 0,
            locations: 0,
            series: 0,
            series_bytes: 0,
            location_text_bytes: 0,
        }
    }

    #[test]
    fn a_version_adds_a_block_and_moves_the_floor() {
        let floor = LogPosition { epoch: 3, seq: 9 };
        let next = Manifest::empty().with_blocks([entry("a", 5)], floor);
        assert_eq!((next.version, next.log_floor, next.blocks.len()), (1, floor, 1));
    }

    #[test]
    fn a_block_takes_the_place_of_others() {
        let blocks = ["a", "b", "c", "d"].map(|id| entry(id, 5));
        let manifest = Manifest::empty().with_blocks(blocks, LogPosition { epoch: 1, seq: 2 });
        let ids = |inputs: &[&str]| -> Option<(u64, Vec<String>)> {
            let inputs: Vec<String> = inputs.iter().map(|id| (*id).to_owned()).collect();
            let next = manifest.with_replaced(&inputs, entry("new", 5))?;
            assert_eq!(next.log_floor, manifest.log_floor);
            Some((next.version, next.blocks.into_iter().map(|b| b.id).collect()))
        };
        assert_eq!(ids(&["b", "d"]), Some((2, vec!["a".to_owned(), "new".to_owned(), "c".to_owned()])));
        assert_eq!(ids(&["b", "gone"]), None);
        assert_eq!(ids(&["gone"]), None);
    }

    #[test]
    fn only_whole_blocks_expire() {
        let manifest = Manifest::empty()
            .with_blocks([entry("old", 9)], LogPosition::default())
            .with_blocks([entry("new", 10)], LogPosition::default());
        let Some((next, dropped)) = manifest.without_expired(10) else { panic!("nothing expired") };
        assert_eq!(next.blocks.iter().map(|b| b.id.as_str()).collect::<Vec<_>>(), ["new"]);
        assert_eq!(dropped.iter().map(|b| b.id.as_str()).collect::<Vec<_>>(), ["old"]);
        assert_eq!(next.without_expired(10), None);
    }

    #[test]
    fn every_bit_counts() {
        let manifest = Manifest::empty().with_blocks([entry("a", 5), entry("b", 9)], LogPosition::default());
        let bytes = encode(&manifest);
        assert_eq!(decode(&bytes).as_ref(), Ok(&manifest));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&damaged).is_err(), "bit {bit}: {}", String::from_utf8_lossy(&damaged));
        }
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).is_err(), "{end} bytes");
        }
    }

    #[test]
    fn manifests_before_the_checksum_are_read() {
        let old = Manifest { format: 2, ..Manifest::empty() };
        assert_eq!(decode(&serde_json::to_vec(&old).unwrap()), Ok(old));
    }

    #[test]
    fn names() {
        assert_eq!(version_of(&file_name(42)), Some(42));
        assert_eq!(version_of("42.json"), None);
        assert_eq!(version_of("00000000000000000042.json#1"), None);
    }
}
