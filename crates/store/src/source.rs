//! What a query sees of the store: a [`Snapshot`] of [`Source`]s, each a block or a head.
//!
//! All ids (`series`, `partition`, `stacktrace`, location, function, string) are local to their source; content identifies
//! across sources. A source hands out columns and never rows. Nothing here knows selectors or reports.
//!
//! ```text
//! series.partition ─► Tree(parent, location; leaf of each stacktrace) ─► Symbols(location → lines → function → strings)
//! scan ─► runs of samples: (series, time, stacktrace, value, attributes) ; points ─► (series, time, sum, count)
//! ```

mod attributes;
mod fingerprints;

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use decima_profile::ProfileType;

pub use self::attributes::{Attribute, AttributeTable, SeriesAttribute};
pub(crate) use self::fingerprints::{Contents, stacktrace_fingerprint};
use crate::error::ReadError;

/// A closed range of Unix times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// First time inside.
    pub start_ns: i64,
    /// Last time inside.
    pub end_ns: i64,
}

impl TimeRange {
    /// Every time there is.
    pub const ALL: Self = Self { start_ns: i64::MIN, end_ns: i64::MAX };

    /// Whether `time_ns` is inside.
    pub fn contains(&self, time_ns: i64) -> bool {
        self.start_ns <= time_ns && time_ns <= self.end_ns
    }

    /// The smallest range that contains both.
    pub fn with(self, other: Self) -> Self {
        Self { start_ns: self.start_ns.min(other.start_ns), end_ns: self.end_ns.max(other.end_ns) }
    }

    /// Whether any time is in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start_ns <= other.end_ns && other.start_ns <= self.end_ns
    }
}

/// One series: a profile type with a label set, a period and a nominal duration.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What the values measure.
    pub profile_type: Arc<ProfileType>,
    /// Sorted by name, unique, no empty values.
    pub labels: Arc<[(String, String)]>,
    /// Sampling period in units of the period type; 0 if unknown.
    pub period: i64,
    /// Time span that each of its samples covers, rounded: whole seconds from one second up. Samples and points have the exact one.
    pub duration_ns: i64,
    /// Index of the partition whose tree its samples use.
    pub partition: u32,
    /// Times of its first and last sample in this source.
    pub range: TimeRange,
    /// Number of its samples in this source.
    pub sample_count: u64,
}

impl Series {
    /// The value of a label, `""` if absent.
    pub fn label(&self, name: &str) -> &str {
        match self.labels.binary_search_by(|(n, _)| n.as_str().cmp(name)) {
            Ok(at) => &self.labels[at].1,
            Err(_) => "",
        }
    }
}

/// What a location takes once decoded, without its texts: rows of it, of its lines and of their functions.
pub(crate) const LOCATION_BYTES: u64 = 80;
/// How often a query holds the texts of locations beside the source: as names, and in the answer.
pub(crate) const NAME_COPIES: u64 = 2;

/// How much there is to read of a partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PartitionSize {
    /// Nodes of its tree.
    pub node_count: u32,
    /// Distinct stacktraces.
    pub stacktrace_count: u32,
    /// Locations that only this partition uses.
    pub location_count: u32,
}

/// All series of a source, by id.
#[derive(Debug, Clone, Default)]
pub struct SeriesTable {
    /// By series id.
    pub series: Vec<Series>,
    /// Sizes of the partitions.
    pub partitions: Vec<PartitionSize>,
    /// Number of locations of the source.
    pub location_count: u64,
    /// How many of them are of no one partition.
    pub shared_location_count: u64,
    /// Memory that all of them take for a query, with their texts, about; 0 if that is not known.
    pub location_bytes: u64,
    /// Sample attributes.
    pub attributes: Arc<AttributeTable>,
    /// 0: samples are as they came. Else the source is coarse: a sample is the sum of a stacktrace over a bucket of so many nanoseconds
    /// since 1970, with the time at which that begins and none of the attributes, of which only the names are known.
    pub resolution_ns: i64,
}

/// The stacktraces of one partition: a tree of locations, root first.
///
/// Node 0 is the root and has no location. `parent[n] < n` for every other node, so that one pass from the end sums
/// children into parents, and one pass from the start hands properties down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    /// Parent of each node; `parent[0] == 0`.
    pub parent: Vec<u32>,
    /// Location of each node in the source's [`Symbols`]; `location[0]` means nothing.
    pub location: Vec<u32>,
    /// Leaf node of each stacktrace id of this partition. The empty stacktrace has leaf 0.
    pub leaf: Vec<u32>,
    /// Number of nodes at and under each node, if [`Self::index_preorder`] found the tree to be in preorder; else empty. The nodes
    /// under node `n` are then `n..n + subtree_sizes[n]`.
    pub subtree_sizes: Vec<u32>,
}

impl Tree {
    /// How much there is of it.
    pub fn size(&self) -> PartitionSize {
        PartitionSize {
            node_count: self.parent.len() as u32,
            stacktrace_count: self.leaf.len() as u32,
            location_count: 0,
        }
    }

    /// Fills in [`Self::subtree_sizes`]. Fails, with a reason that names the node, if the tree is not in preorder.
    pub fn index_preorder(&mut self) -> Result<(), String> {
        self.subtree_sizes.clear();
        let mut sizes = vec![1u32; self.parent.len()];
        for node in (1..sizes.len()).rev() {
            sizes[self.parent[node] as usize] += sizes[node];
        }
        // Runs of the right length that lie within the parent's run hold just the nodes under each: the root's holds all, and if a
        // node's run holds what is under it, those of its children hold all of what is under them and have no room for more.
        let end = |node: usize| node + sizes[node] as usize;
        let strays = (1..sizes.len()).find(|&node| end(node) > end(self.parent[node] as usize));
        match strays {
            Some(node) => Err(format!("node {node} is not in preorder")),
            None => {
                self.subtree_sizes = sizes;
                Ok(())
            }
        }
    }
}

/// Strings of a source, concatenated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StringColumn {
    bytes: String,
    offsets: Vec<u32>,
}

impl Default for StringColumn {
    fn default() -> Self {
        Self { bytes: String::new(), offsets: vec![0] }
    }
}

impl StringColumn {
    /// The text with this id; `""` beyond the end.
    pub fn get(&self, id: u32) -> &str {
        let id = id as usize;
        match (self.offsets.get(id), self.offsets.get(id + 1)) {
            (Some(&start), Some(&end)) => &self.bytes[start as usize..end as usize],
            _ => "",
        }
    }

    /// Adds a text, returns its id. Does not look for repeats.
    pub fn push(&mut self, text: &str) -> u32 {
        self.bytes.push_str(text);
        self.offsets.push(self.bytes.len() as u32);
        (self.offsets.len() - 2) as u32
    }

    /// Number of strings.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory held.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len() + 4 * self.offsets.len()
    }
}

/// Mapping, function and line rows use the model of `decima_profile`; their string ids point into [`Symbols::strings`].
pub use decima_profile::batch::{Function, Line, Mapping, NO_MAPPING};

/// Locations of a source and what they expand to. String 0 is empty; equal texts have equal ids within a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Symbols {
    /// All text.
    pub strings: StringColumn,
    /// Object files.
    pub mappings: Vec<Mapping>,
    /// Functions.
    pub functions: Vec<Function>,
    /// Mapping of each location or [`NO_MAPPING`].
    pub location_mapping: Vec<u32>,
    /// Address of each location.
    pub location_address: Vec<u64>,
    /// Frame type (string id) of each location.
    pub location_frame_type: Vec<u32>,
    /// Lines of location `l` are `lines[first_line[l]..first_line[l + 1]]`, innermost inlined function first. Starts with 0.
    pub first_line: Vec<u32>,
    /// Lines of all locations.
    pub lines: Vec<Line>,
}

impl Symbols {
    /// Lines of a location, innermost inlined function first; none if it is not symbolised.
    pub fn location_lines(&self, location: u32) -> &[Line] {
        let l = location as usize;
        match (self.first_line.get(l), self.first_line.get(l + 1)) {
            (Some(&a), Some(&b)) => &self.lines[a as usize..b as usize],
            _ => &[],
        }
    }

    /// Adds a location, whose id is the number of those before it. Does not look for repeats.
    pub(crate) fn push_location(&mut self, mapping: u32, address: u64, frame_type: u32, lines: &[Line]) {
        self.location_mapping.push(mapping);
        self.location_address.push(address);
        self.location_frame_type.push(frame_type);
        self.lines.extend_from_slice(lines);
        self.first_line.push(self.lines.len() as u32);
    }

    /// Number of locations.
    pub fn location_count(&self) -> usize {
        self.location_address.len()
    }

    /// Memory that a query takes for them, with the names it makes of them, about.
    pub fn query_bytes(&self) -> u64 {
        let texts_bytes = (1 + NAME_COPIES) * self.strings.size_bytes() as u64;
        LOCATION_BYTES * self.location_count() as u64 + texts_bytes
    }
}

/// One value for all rows, or one each.
#[derive(Debug, Clone, Copy)]
pub enum Each<'a> {
    /// The same value for all rows.
    Constant(i64),
    /// One value a row.
    Rows(&'a [i64]),
}

impl Each<'_> {
    /// Value at a row.
    pub fn get(&self, row: usize) -> i64 {
        match self {
            Self::Constant(v) => *v,
            Self::Rows(v) => v[row],
        }
    }
}

/// Samples of one series, at most a few ten thousand at a time.
#[derive(Debug)]
pub struct SampleRun<'a> {
    /// Series id.
    pub series: u32,
    /// Partition of the series.
    pub partition: u32,
    /// Unix time of each sample.
    pub times_ns: Each<'a>,
    /// Time span each sample covers.
    pub durations_ns: Each<'a>,
    /// Stacktrace ids within the partition.
    pub stacktraces: &'a [u32],
    /// Values; same length.
    pub values: &'a [i64],
    /// Values of the attributes asked for, in the order of [`ScanRequest::attributes`]; `None` = no sample here has it.
    pub attributes: &'a [Option<AttributeRun<'a>>],
}

/// Values of one attribute in a run, one a sample.
#[derive(Debug, Clone, Copy)]
pub enum AttributeRun<'a> {
    /// Ids into `dictionary`; id 0 is the empty text = absent.
    Text {
        /// One id a sample.
        ids: &'a [u32],
        /// Texts by id. Holds at least the ids used; may be far larger.
        dictionary: &'a StringColumn,
    },
    /// Numbers.
    Integer(&'a [Option<i64>]),
}

/// A sum of samples for range queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// Unix time: exact, or the start of the bucket.
    pub time_ns: i64,
    /// 0: all its samples have exactly `time_ns`. Else its samples are in `time_ns..time_ns + bucket_ns`.
    pub bucket_ns: i64,
    /// Sum of the values. A sum that does not fit is in several points of the same time.
    pub sum: i64,
    /// Number of samples.
    pub count: u64,
    /// Shortest time span that its samples cover; the bucket's in a coarse source.
    pub duration_ns: i64,
    /// In a coarse source, how many points of finer times it is the sum of: what a state has to be divided by. Else 1.
    pub instants: u64,
}

/// What to read of a source.
#[derive(Debug, Clone)]
pub struct ScanRequest {
    /// Series ids, ascending.
    pub series: Vec<u32>,
    /// Times wanted; the source leaves out all others exactly. Of a coarse source, every bucket that has any of these times is wanted.
    pub range: TimeRange,
    /// Names of attributes wanted.
    pub attributes: Vec<String>,
    /// Whether [`SampleRun::times_ns`] and [`SampleRun::durations_ns`] are wanted. Otherwise they mean nothing, and a block does
    /// not decode them where the range covers a series whole.
    pub with_times: bool,
}

/// A block or a head.
#[async_trait]
pub trait Source: Send + Sync {
    /// Name for messages: the block's, or `head`.
    fn name(&self) -> &str;

    /// Times of the first and last sample.
    fn range(&self) -> TimeRange;

    /// All series and attribute names. Cached: cheap to call again.
    async fn series(&self) -> Result<Arc<SeriesTable>, ReadError>;

    /// Locations and functions that the stacktraces of partitions (ascending) are made of, and perhaps others. Locations are
    /// numbered as in the [trees](Self::trees) of the same partitions and no others. Cached: cheap to call again.
    async fn symbols(&self, partitions: &[u32]) -> Result<Arc<Symbols>, ReadError>;

    /// Trees of the partitions at `wanted` in `partitions` (ascending), in that order, with locations numbered as in
    /// [`Self::symbols`] of all of `partitions`.
    async fn trees(&self, partitions: &[u32], wanted: Range<usize>) -> Result<Vec<Arc<Tree>>, ReadError>;

    /// Hands every sample asked for to `sink`, grouped in runs. A series may come in several runs, in no order.
    async fn scan(
        &self,
        request: &ScanRequest,
        sink: &mut (dyn for<'a> FnMut(SampleRun<'a>) + Send),
    ) -> Result<(), ReadError>;

    /// As [`scan`](Self::scan), of a part of the samples: several at the same time have all of them, each once. A source that cannot be
    /// divided has them all in the first.
    async fn scan_part(
        &self,
        request: &ScanRequest,
        part: Part,
        sink: &mut (dyn for<'a> FnMut(SampleRun<'a>) + Send),
    ) -> Result<(), ReadError> {
        if part.at == 0 { self.scan(request, sink).await } else { Ok(()) }
    }

    /// Hands the points of the series asked for to `sink`, each series' points sorted by time (a series may come more than
    /// once). Points whose samples may lie partly outside the range are included: the caller decides by `bucket_ns`.
    async fn points(
        &self,
        request: &ScanRequest,
        sink: &mut (dyn for<'a> FnMut(u32, &'a [Point]) + Send),
    ) -> Result<(), ReadError>;
}

/// One of several parts of equal size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Which: below `of`.
    pub at: u64,
    /// How many there are, at least one.
    pub of: u64,
}

impl Part {
    /// Everything.
    pub const WHOLE: Self = Self { at: 0, of: 1 };

    /// Where the part of so many things is.
    pub fn range(self, count: usize) -> Range<usize> {
        let bound = |at: u64| (count as u128 * u128::from(at) / u128::from(self.of.max(1))) as usize;
        bound(self.at)..bound(self.at + 1).min(count)
    }
}

/// One consistent view of everything acknowledged at one moment: each sample is in exactly one source.
#[derive(Clone)]
pub struct Snapshot {
    /// Blocks and heads.
    pub sources: Vec<Arc<dyn Source>>,
}
