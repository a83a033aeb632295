//! The head: samples since the last flush, in memory, and the interner that gives their stacktraces ids.
//!
//! A head is written by the log writer only. Interning happens before the log object is put, and changes tables that no
//! sample refers to yet; [`Head::apply`] adds the samples once they are durable, and only then can a query see them. Queries take
//! a [`HeadView`], which shares memory with the head until the next write to the same part.
//!
//! Invariants: ids are dense and given in order of arrival, so that the tables' growth since a [`Mark`] is exactly what a log
//! object must hold; nothing is ever removed. Absent: clock, I/O.

pub(crate) mod chunk;
mod ids;
mod incoming;
mod intern;
mod locations;
pub(crate) mod partition;
mod rows;
mod series;
mod source;
pub(crate) mod symbols;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use decima_profile::ProfileType;

use crate::{
    head::{
        chunk::{Chunk, ValueTimes},
        locations::LocationIndex,
        partition::{Partition, StacktraceIndex},
        series::SeriesIndex,
        symbols::SymbolIndex,
    },
    source::{AttributeTable, Symbols, TimeRange},
};

pub(crate) use incoming::Incoming;
pub(crate) use source::HeadSource;

/// What identifies a series.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SeriesKey {
    pub(crate) profile_type: Arc<ProfileType>,
    pub(crate) labels: Arc<[(String, String)]>,
    pub(crate) period: i64,
    /// Nominal, see [`nominal_duration_ns`](crate::duration::nominal_duration_ns).
    pub(crate) duration_ns: i64,
}

/// A series of the head.
#[derive(Debug, Clone)]
pub(crate) struct HeadSeries {
    pub(crate) key: SeriesKey,
    pub(crate) partition: u32,
    /// Times of visible samples; start > end while there are none.
    pub(crate) range: TimeRange,
    pub(crate) sample_count: u64,
}

/// What queries read of a head. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct HeadView {
    pub(crate) symbols: Arc<Symbols>,
    pub(crate) series: Arc<Vec<HeadSeries>>,
    /// Names of partitions by id.
    pub(crate) partition_names: Arc<Vec<String>>,
    pub(crate) partitions: Arc<Vec<Arc<Partition>>>,
    pub(crate) attributes: Arc<AttributeTable>,
    pub(crate) sample_count: u64,
}

/// Lengths of the tables at one moment; what came after them is what a log object must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) strings: usize,
    pub(crate) mappings: usize,
    pub(crate) functions: usize,
    pub(crate) locations: usize,
    pub(crate) series: usize,
    pub(crate) partitions: usize,
    /// Nodes and stacktraces of the partitions that changed since, by partition id.
    pub(crate) trees: BTreeMap<u32, (usize, usize)>,
}

/// Ids of an attribute's values that are listed in the table of a view, by string ids of the attribute's name and of the value.
pub(crate) type ListedTexts = foldhash::HashMap<(u32, u32), u32>;

/// The head: tables and the indexes that intern into them.
pub(crate) struct Head {
    pub(crate) view: HeadView,
    partition_labels: Arc<[String]>,
    symbol_index: Option<SymbolIndex>,
    location_index: Option<LocationIndex>,
    series_index: Option<SeriesIndex>,
    partition_index: Option<HashMap<String, u32>>,
    stacktrace_indexes: Vec<Option<StacktraceIndex>>,
    listed_texts: ListedTexts,
    chunk_bytes: usize,
}

impl Head {
    /// An empty head.
    pub(crate) fn new(partition_labels: Arc<[String]>) -> Self {
        Self {
            view: HeadView::default(),
            partition_labels,
            symbol_index: None,
            location_index: None,
            series_index: None,
            partition_index: Some(HashMap::default()),
            stacktrace_indexes: Vec::new(),
            listed_texts: ListedTexts::default(),
            chunk_bytes: 0,
        }
    }

    /// A head over tables that a replay has filled; indexes are rebuilt when an append needs them.
    pub(crate) fn replayed(view: HeadView, partition_labels: Arc<[String]>) -> Self {
        let stacktrace_indexes = view.partitions.iter().map(|_| None).collect();
        let chunk_bytes = view.partitions.iter().flat_map(|p| p.chunks.iter()).map(|c| c.size_bytes()).sum();
        Self {
            view,
            partition_labels,
            symbol_index: None,
            location_index: None,
            series_index: None,
            partition_index: None,
            stacktrace_indexes,
            listed_texts: ListedTexts::default(),
            chunk_bytes,
        }
    }

    /// Makes chunks visible. They must be durable.
    pub(crate) fn apply(&mut self, chunks: Vec<Arc<Chunk>>) {
        for chunk in chunks {
            self.chunk_bytes += chunk.size_bytes();
            self.view.summarize(&chunk, &mut self.listed_texts);
            self.view.add_chunk(chunk);
        }
    }

    /// Memory that the head holds, about.
    pub(crate) fn size_bytes(&self) -> usize {
        let trees: usize = self.view.partitions.iter().map(|p| p.tree_size_bytes()).sum();
        let stacktraces: usize =
            self.stacktrace_indexes.iter().flatten().map(StacktraceIndex::size_bytes).sum();
        self.chunk_bytes
            + trees
            + stacktraces
            + symbols::symbols_size_bytes(&self.view.symbols)
            + self.symbol_index.as_ref().map_or(0, SymbolIndex::size_bytes)
            + self.location_index.as_ref().map_or(0, LocationIndex::size_bytes)
            + self.view.attributes.size_bytes()
            + 13 * self.listed_texts.capacity()
            + 400 * self.view.series.len()
    }
}

impl HeadView {
    /// Adds a chunk's attributes to what is known of those of its series.
    pub(crate) fn summarize(&mut self, chunk: &Chunk, listed: &mut ListedTexts) {
        if chunk.attributes.is_empty() {
            return;
        }
        let table = Arc::make_mut(&mut self.attributes);
        let strings = &self.symbols.strings;
        for attribute in &chunk.attributes {
            let times = chunk.times_of_values(attribute);
            let Some(all) = times.all() else { continue };
            let mut known = table.entry(strings.get(attribute.name)).of_series_mut(chunk.series, all);
            if known.is_closed() {
                continue;
            }
            match times {
                ValueTimes::Text(times) => {
                    for (text, range) in times {
                        let key = (attribute.name, text);
                        let id = listed.get(&key).copied();
                        let added = known.add(id, || strings.get(text).into(), range);
                        if let (None, Some(added)) = (id, added) {
                            listed.insert(key, added);
                        }
                    }
                }
                ValueTimes::Integer(times) => {
                    for (value, range) in times {
                        known.add(None, || value.to_string().into(), range);
                    }
                }
            }
        }
    }

    /// Adds a chunk with its points and the statistics of its series.
    pub(crate) fn add_chunk(&mut self, chunk: Arc<Chunk>) {
        let range = chunk.range();
        let series = &mut Arc::make_mut(&mut self.series)[chunk.series as usize];
        series.range.start_ns = series.range.start_ns.min(range.start_ns);
        series.range.end_ns = series.range.end_ns.max(range.end_ns);
        series.sample_count += chunk.values.len() as u64;
        self.sample_count += chunk.values.len() as u64;
        let partition = Arc::make_mut(&mut Arc::make_mut(&mut self.partitions)[series.partition as usize]);
        let points = Arc::make_mut(&mut partition.points);
        points.extend(chunk.points().into_iter().map(|p| (chunk.series, p)));
        Arc::make_mut(&mut partition.chunks).push(chunk);
    }

    /// The part of the view whose samples are in a range of times. Tables are shared; partitions without such samples stay empty.
    pub(crate) fn within(&self, range: TimeRange) -> Self {
        let own = self.range();
        if range.start_ns <= own.start_ns && own.end_ns <= range.end_ns {
            return self.clone();
        }
        let mut series = self.series.to_vec();
        for row in &mut series {
            row.range = EMPTY_RANGE;
            row.sample_count = 0;
        }
        let partitions = self
            .partitions
            .iter()
            .map(|p| Arc::new(Partition { tree: p.tree.clone(), ..Partition::default() }))
            .collect();
        let mut part = Self {
            series: Arc::new(series),
            partitions: Arc::new(partitions),
            attributes: Arc::default(),
            sample_count: 0,
            ..self.clone()
        };
        let mut listed = ListedTexts::default();
        for chunk in self.partitions.iter().flat_map(|p| p.chunks.iter()) {
            if let Some(chunk) = chunk::within(chunk, range) {
                part.summarize(&chunk, &mut listed);
                part.add_chunk(chunk);
            }
        }
        part
    }

    /// Times of the first and last visible sample; start > end if there are none.
    pub(crate) fn range(&self) -> TimeRange {
        self.series.iter().fold(EMPTY_RANGE, |all, s| TimeRange {
            start_ns: all.start_ns.min(s.range.start_ns),
            end_ns: all.end_ns.max(s.range.end_ns),
        })
    }
}

/// The range of nothing.
pub(crate) const EMPTY_RANGE: TimeRange = TimeRange { start_ns: i64::MAX, end_ns: i64::MIN };
