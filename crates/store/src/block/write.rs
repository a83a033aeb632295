//! Makes a block: series by series, partition by partition, in the order of its files.
//!
//! [`BlockBuilder`] numbers what it is given and encodes it; where samples come from is its caller's: a head
//! ([`encode`](super::encode)) or other blocks ([`compact`](crate::compact)). What it holds beyond the encoded files are the series.

mod location_rows;
mod table;

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
    builder::{MapBuilder, MapFieldNames, StringBuilder, StringDictionaryBuilder},
    types::Int32Type,
};
use parquet::errors::ParquetError;

pub(crate) use self::table::Encoded;
use self::table::Table;
use super::{
    columns::{self, GROUP_ROWS_MIN, LOCATION_GROUP_ROWS_MIN},
    meta::{BLOCK_FORMAT, BlockMeta, LocationCounts},
};
use crate::{
    head::SeriesKey,
    source::{AttributeTable, Point, Symbols, TimeRange, Tree},
    tiers,
};

/// A request that the block makes recognisable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SeenRequest {
    pub(crate) hash: u128,
    pub(crate) received_ns: i64,
}

impl SeenRequest {
    /// From pairs of hash and time of receipt.
    pub(crate) fn all(requests: Vec<(u128, i64)>) -> Vec<Self> {
        requests.into_iter().map(|(hash, received_ns)| Self { hash, received_ns }).collect()
    }
}

/// The files of a block and their description.
pub(crate) struct EncodedBlock {
    pub(crate) meta: BlockMeta,
    pub(crate) files: Vec<(&'static str, Encoded)>,
}

/// Marks a location without an id in the block.
const UNMAPPED: u32 = u32::MAX;

/// A row of `series.parquet` in the making.
struct SeriesRow {
    key: SeriesKey,
    partition_name: String,
    numbers: [i64; columns::SERIES_NUMBERS.len()],
}

/// Samples of one series, sorted by time.
pub(crate) struct SampleColumns {
    pub(crate) times_ns: Vec<i64>,
    pub(crate) durations_ns: Vec<i64>,
    /// Ids of the block.
    pub(crate) stacktraces: Vec<i32>,
    pub(crate) values: Vec<i64>,
    /// Columns of the text attributes, then of the integer attributes, in their order.
    pub(crate) attributes: Vec<ArrayRef>,
}

/// Where a partition begins.
#[derive(Default)]
struct PartitionStart {
    name: String,
    node: u64,
    stacktrace: u64,
    locations: LocationCounts,
}

/// Where a series begins.
#[derive(Default)]
struct SeriesStart {
    row: u64,
    point: u64,
    sum: i128,
}

/// What the locations of a partition's tree are in the block.
pub(crate) struct LocationIds {
    /// Locations below have their id already.
    known: u32,
    /// Ids of those from there on.
    ids: Vec<u32>,
}

impl LocationIds {
    /// Locations below `known` are ids of the block, and so many behind them have none yet.
    pub(crate) fn new(known: u32, others: usize) -> Self {
        Self { known, ids: vec![UNMAPPED; others] }
    }

    /// So many locations without an id, but for those that are [shared](BlockBuilder::write_shared_locations).
    pub(crate) fn with_shared(count: usize, shared: &[u32]) -> Self {
        let mut ids = Self::new(0, count);
        for (id, &location) in (0..).zip(shared) {
            ids.ids[location as usize] = id;
        }
        ids
    }
}

/// Parents and locations of nodes, as they are written.
#[derive(Default)]
pub(crate) struct NodeColumns {
    /// How many nodes before each its parent is.
    pub(crate) distances: Vec<i32>,
    /// Ids of the block.
    pub(crate) locations: Vec<i32>,
}

/// A block in the making.
pub(crate) struct BlockBuilder {
    resolution_ns: i64,
    locations: Table,
    samples: Table,
    points: Table,
    nodes: Table,
    stacktraces: Table,
    text_attributes: Vec<String>,
    integer_attributes: BTreeMap<String, String>,
    location_counts: LocationCounts,
    series: Vec<SeriesRow>,
    range: Option<TimeRange>,
    partition: PartitionStart,
    begun: SeriesStart,
    sample_count: u64,
    point_count: u64,
    node_count: u64,
    stacktrace_count: u64,
    partition_count: u64,
    partition_nodes_max: u64,
}

impl BlockBuilder {
    /// A block without rows.
    pub(crate) fn new(
        text_attributes: Vec<String>,
        integer_attributes: BTreeMap<String, String>,
        resolution_ns: i64,
    ) -> Result<Self, ParquetError> {
        let integer_names: Vec<String> = integer_attributes.keys().cloned().collect();
        Ok(Self {
            resolution_ns,
            locations: Table::new(columns::locations())?,
            samples: Table::new(columns::samples(&text_attributes, &integer_names))?,
            points: Table::new(columns::points(resolution_ns > 0))?,
            nodes: Table::new(columns::nodes())?,
            stacktraces: Table::new(columns::stacktraces())?,
            text_attributes,
            integer_attributes,
            location_counts: LocationCounts::default(),
            series: Vec::new(),
            range: None,
            partition: PartitionStart::default(),
            begun: SeriesStart::default(),
            sample_count: 0,
            point_count: 0,
            node_count: 0,
            stacktrace_count: 0,
            partition_count: 0,
            partition_nodes_max: 0,
        })
    }

    /// Names of the text attributes, in the order of their columns.
    pub(crate) fn text_attributes(&self) -> &[String] {
        &self.text_attributes
    }

    /// Names of the integer attributes, in the order of their columns, with their units.
    pub(crate) fn integer_attributes(&self) -> &BTreeMap<String, String> {
        &self.integer_attributes
    }

    /// The files that grow with the number of rows.
    pub(crate) fn tables(&mut self) -> [(&'static str, &mut Table); 5] {
        [
            (columns::LOCATIONS, &mut self.locations),
            (columns::SAMPLES, &mut self.samples),
            (columns::POINTS, &mut self.points),
            (columns::NODES, &mut self.nodes),
            (columns::STACKTRACES, &mut self.stacktraces),
        ]
    }

    /// Adds locations that several partitions use, before the first partition: they get the first ids, so that a partition's own
    /// ones are contiguous.
    pub(crate) fn write_shared_locations(
        &mut self,
        symbols: &Symbols,
        locations: &[u32],
    ) -> Result<(), ParquetError> {
        self.write_locations(symbols, locations)?;
        self.end_shared_locations()
    }

    /// Up to here locations were shared ones.
    pub(crate) fn end_shared_locations(&mut self) -> Result<(), ParquetError> {
        let LocationCounts { locations, rows, .. } = self.location_counts;
        self.location_counts.shared_locations = locations;
        self.location_counts.shared_rows = rows;
        self.location_counts.shared_text_bytes = self.location_counts.text_bytes;
        self.locations.end_group()
    }

    fn write_locations(&mut self, symbols: &Symbols, locations: &[u32]) -> Result<(), ParquetError> {
        let first = self.location_counts.locations;
        let rows = locations.iter().map(|&l| location_rows::count(symbols, l)).sum::<u64>();
        self.locations.begin_run(rows, LOCATION_GROUP_ROWS_MIN)?;
        let columns = location_rows::columns(symbols, first as i32, locations);
        self.location_counts.text_bytes += location_rows::text_bytes(&columns);
        self.locations.write(columns)?;
        self.location_counts.locations += locations.len() as u64;
        self.location_counts.rows += rows;
        Ok(())
    }

    /// Adds rows of the locations of another block, whose ids become larger by so much.
    pub(crate) fn copy_locations(&mut self, rows: &RecordBatch, shift: i64) -> Result<(), ParquetError> {
        let (Some((ids, others)), true) = (rows.columns().split_first(), rows.num_rows() > 0) else {
            return Ok(());
        };
        let Some(ids) = ids.as_any().downcast_ref::<Int32Array>() else {
            return Err(ParquetError::General("ids of locations are not numbers".to_owned()));
        };
        let ids: Int32Array = ids.values().iter().map(|&id| (i64::from(id) + shift) as i32).collect();
        let last = ids.values().last().copied().unwrap_or_default();
        let mut columns: Vec<ArrayRef> = vec![Arc::new(ids)];
        columns.extend(others.iter().cloned());
        self.location_counts.text_bytes += location_rows::text_bytes(&columns);
        self.locations.write(columns)?;
        self.location_counts.locations = last as u64 + 1;
        self.location_counts.rows += rows.num_rows() as u64;
        Ok(())
    }

    /// Number of locations so far.
    pub(crate) fn location_count(&self) -> u64 {
        self.location_counts.locations
    }

    /// First node and first stacktrace of what comes next.
    pub(crate) fn next_ids(&self) -> (u32, u32) {
        (self.node_count as u32, self.stacktrace_count as u32)
    }

    /// Begins a partition of so many nodes, stacktraces and rows of locations, which are added one by one.
    pub(crate) fn begin_bare_partition(
        &mut self,
        name: &str,
        node_count: u64,
        stacktrace_count: u64,
        location_row_count: u64,
    ) -> Result<(), ParquetError> {
        self.partition = PartitionStart {
            name: name.to_owned(),
            node: self.node_count,
            stacktrace: self.stacktrace_count,
            locations: self.location_counts,
        };
        self.nodes.begin_run(node_count, GROUP_ROWS_MIN)?;
        self.stacktraces.begin_run(stacktrace_count, GROUP_ROWS_MIN)?;
        self.locations.begin_run(location_row_count, LOCATION_GROUP_ROWS_MIN)
    }

    /// Begins the series of a profile type in the partition, which are asked for together. They have so many samples and points; 0 if
    /// that is not known.
    pub(crate) fn begin_profile_type(
        &mut self,
        sample_count: u64,
        point_count: u64,
    ) -> Result<(), ParquetError> {
        self.samples.begin_run(sample_count, GROUP_ROWS_MIN)?;
        self.points.begin_run(point_count, GROUP_ROWS_MIN)
    }

    /// Adds nodes in preorder.
    pub(crate) fn write_nodes(&mut self, nodes: NodeColumns) -> Result<(), ParquetError> {
        self.node_count += nodes.distances.len() as u64;
        let distances = Int32Array::from(nodes.distances);
        self.nodes.write(vec![Arc::new(distances), Arc::new(Int32Array::from(nodes.locations))])
    }

    /// Adds stacktraces by the nodes of the block that they end at, ascending.
    pub(crate) fn write_leaves(&mut self, leaves: Vec<i32>) -> Result<(), ParquetError> {
        self.stacktrace_count += leaves.len() as u64;
        self.stacktraces.write(vec![Arc::new(Int32Array::from(leaves))])
    }

    /// Begins a partition with its tree, and returns the block's id of each of its stacktraces. `ids` tells what the tree's locations
    /// are in the block; those that have no id are of `symbols`, in their order, and get one.
    pub(crate) fn begin_partition(
        &mut self,
        name: &str,
        tree: &Tree,
        symbols: &Symbols,
        ids: &mut LocationIds,
    ) -> Result<Vec<u32>, ParquetError> {
        // Its own locations are not known yet.
        self.begin_bare_partition(name, tree.parent.len() as u64, tree.leaf.len() as u64, 0)?;
        let preorder = preorder(tree);
        let mut rank = vec![0u32; preorder.len()];
        for (new, &old) in preorder.iter().enumerate() {
            rank[old as usize] = new as u32;
        }
        let distances = preorder
            .iter()
            .map(|&old| (rank[old as usize] - rank[tree.parent[old as usize] as usize]) as i32)
            .collect();
        let mut own = Vec::new();
        let mut location_id = |location: u32| -> u32 {
            let Some(other) = location.checked_sub(ids.known) else { return location };
            let id = &mut ids.ids[other as usize];
            if *id == UNMAPPED {
                *id = self.location_counts.locations as u32 + own.len() as u32;
                own.push(other);
            }
            *id
        };
        let location =
            |&old: &u32| if old == 0 { 0 } else { location_id(tree.location[old as usize]) as i32 };
        let locations = preorder.iter().map(location).collect();
        self.write_locations(symbols, &own)?;
        let first = self.node_count as i32;
        self.write_nodes(NodeColumns { distances, locations })?;
        let mut order: Vec<u32> = (0..tree.leaf.len() as u32).collect();
        order.sort_by_key(|&s| rank[tree.leaf[s as usize] as usize]);
        let mut stacktraces = vec![0u32; order.len()];
        for (new, &old) in order.iter().enumerate() {
            stacktraces[old as usize] = (self.stacktrace_count + new as u64) as u32;
        }
        let leaf = |&s: &u32| first + rank[tree.leaf[s as usize] as usize] as i32;
        self.write_leaves(order.iter().map(leaf).collect())?;
        Ok(stacktraces)
    }

    /// Ends the partition, after its series.
    pub(crate) fn end_partition(&mut self) {
        self.partition_count += 1;
        self.partition_nodes_max = self.partition_nodes_max.max(self.node_count - self.partition.node);
    }

    fn widen(&mut self, times: TimeRange) {
        self.range = Some(self.range.map_or(times, |range| range.with(times)));
    }

    /// Adds samples of the series that is to be ended next.
    pub(crate) fn write_samples(&mut self, rows: SampleColumns) -> Result<(), ParquetError> {
        let (Some(&start_ns), Some(&end_ns)) = (rows.times_ns.first(), rows.times_ns.last()) else {
            return Ok(());
        };
        if self.resolution_ns == 0 {
            self.widen(TimeRange { start_ns, end_ns });
        }
        let series = self.series.len() as i32;
        self.begun.sum += rows.values.iter().map(|&value| i128::from(value)).sum::<i128>();
        self.sample_count += rows.values.len() as u64;
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(vec![series; rows.values.len()])),
            Arc::new(Int64Array::from(rows.times_ns)),
            Arc::new(Int64Array::from(rows.durations_ns)),
            Arc::new(Int32Array::from(rows.stacktraces)),
            Arc::new(Int64Array::from(rows.values)),
        ];
        columns.extend(rows.attributes);
        self.samples.write(columns)
    }

    /// Adds points, sorted, of the series that is to be ended next.
    pub(crate) fn write_points(&mut self, points: &[Point]) -> Result<(), ParquetError> {
        let series = self.series.len() as i32;
        let column = |f: &dyn Fn(&Point) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from(points.iter().map(f).collect::<Vec<_>>()))
        };
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(vec![series; points.len()])),
            column(&|p| p.time_ns),
            column(&|p| p.bucket_ns),
            column(&|p| p.sum),
            column(&|p| p.count as i64),
            column(&|p| p.duration_ns),
        ];
        if self.resolution_ns > 0 {
            columns.push(column(&|p| p.instants as i64));
        }
        self.points.write(columns)?;
        self.point_count += points.len() as u64;
        Ok(())
    }

    /// Ends a series, whose samples are within `range`. Its times in a coarse block are those of whole buckets.
    pub(crate) fn end_series(&mut self, key: SeriesKey, range: TimeRange) {
        let range = tiers::buckets_of(range, self.resolution_ns);
        if self.resolution_ns > 0 {
            self.widen(range);
        }
        let begun = std::mem::take(&mut self.begun);
        let partition = &self.partition;
        self.series.push(SeriesRow {
            key,
            partition_name: partition.name.clone(),
            numbers: [
                range.start_ns,
                range.end_ns,
                begun.row as i64,
                (self.sample_count - begun.row) as i64,
                columns::stored_sum(begun.sum),
                begun.point as i64,
                (self.point_count - begun.point) as i64,
                self.partition_count as i64,
                partition.node as i64,
                (self.node_count - partition.node) as i64,
                partition.stacktrace as i64,
                (self.stacktrace_count - partition.stacktrace) as i64,
                partition.locations.locations as i64,
                (self.location_counts.locations - partition.locations.locations) as i64,
                partition.locations.rows as i64,
                (self.location_counts.rows - partition.locations.rows) as i64,
            ],
        });
        self.begun = SeriesStart { row: self.sample_count, point: self.point_count, sum: 0 };
    }

    /// Ends the block. `attributes` have the series of `series_ids`, one for each series of the block. Files are what was not
    /// taken from their tables before; the description has none yet.
    pub(crate) fn finish(
        self,
        id: String,
        tenant: &str,
        attributes: &AttributeTable,
        series_ids: &[u32],
        requests: &[SeenRequest],
    ) -> Result<EncodedBlock, ParquetError> {
        let range = self.range.unwrap_or(TimeRange { start_ns: 0, end_ns: 0 });
        let labels = self.series.iter().flat_map(|series| series.key.labels.iter());
        let label_bytes: usize = labels.map(|(name, value)| name.len() + value.len()).sum();
        let files = vec![
            (columns::SERIES, series_file(&self.series)?),
            (columns::LOCATIONS, self.locations.finish()?),
            (columns::ATTRIBUTES, attributes_file(attributes, series_ids)?),
            (columns::REQUESTS, requests_file(requests)?),
            (columns::SAMPLES, self.samples.finish()?),
            (columns::POINTS, self.points.finish()?),
            (columns::NODES, self.nodes.finish()?),
            (columns::STACKTRACES, self.stacktraces.finish()?),
        ];
        let meta = BlockMeta {
            format: BLOCK_FORMAT,
            id,
            tenant: tenant.to_owned(),
            resolution_ns: self.resolution_ns,
            min_time_ns: range.start_ns,
            max_time_ns: range.end_ns,
            samples: self.sample_count,
            series: self.series.len() as u64,
            partitions: self.partition_count,
            stacktraces: self.stacktrace_count,
            nodes: self.node_count,
            partition_nodes_max: self.partition_nodes_max,
            inputs: Vec::new(),
            series_bytes: (label_bytes + attributes.size_bytes()) as u64,
            locations: self.location_counts,
            text_attributes: self.text_attributes,
            integer_attributes: self.integer_attributes,
            files: BTreeMap::new(),
        };
        Ok(EncodedBlock { meta, files })
    }
}

/// Nodes of a tree in preorder, siblings in the order of their ids.
fn preorder(tree: &Tree) -> Vec<u32> {
    let count = tree.parent.len();
    let mut first_child = vec![0u32; count];
    let mut next_sibling = vec![0u32; count];
    for node in (1..count).rev() {
        let parent = tree.parent[node] as usize;
        next_sibling[node] = first_child[parent];
        first_child[parent] = node as u32;
    }
    let mut order = Vec::with_capacity(count);
    let mut pending = Vec::new();
    if count > 0 {
        pending.push(0u32);
    }
    while let Some(node) = pending.pop() {
        order.push(node);
        if next_sibling[node as usize] != 0 {
            pending.push(next_sibling[node as usize]);
        }
        if first_child[node as usize] != 0 {
            pending.push(first_child[node as usize]);
        }
    }
    order
}

fn series_file(rows: &[SeriesRow]) -> Result<Encoded, ParquetError> {
    let mut table = Table::new(columns::series())?;
    let text = |f: &dyn Fn(&decima_profile::ProfileType) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| f(&r.key.profile_type).to_owned())))
    };
    let names = MapFieldNames { entry: "entries".into(), key: "keys".into(), value: "values".into() };
    let mut labels = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for row in rows {
        for (name, value) in row.key.labels.iter() {
            labels.keys().append_value(name);
            labels.values().append_value(value);
        }
        labels.append(true)?;
    }
    let mut columns: Vec<ArrayRef> = vec![
        text(&|t| &t.name),
        text(&|t| &t.sample_type),
        text(&|t| &t.sample_unit),
        text(&|t| &t.period_type),
        text(&|t| &t.period_unit),
        Arc::new(BooleanArray::from(rows.iter().map(|r| r.key.profile_type.delta).collect::<Vec<_>>())),
        Arc::new(Int64Array::from(rows.iter().map(|r| r.key.period).collect::<Vec<_>>())),
        Arc::new(Int64Array::from(rows.iter().map(|r| r.key.duration_ns).collect::<Vec<_>>())),
        Arc::new(labels.finish()),
    ];
    for at in 0..columns::SERIES_NUMBERS.len() {
        columns.push(Arc::new(Int64Array::from(rows.iter().map(|r| r.numbers[at]).collect::<Vec<_>>())));
    }
    columns.push(Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.partition_name))));
    table.write(columns)?;
    table.finish()
}

/// Attributes of the block's series, sorted by name, series and value; `ids` are the series of the table.
fn attributes_file(attributes: &AttributeTable, ids: &[u32]) -> Result<Encoded, ParquetError> {
    let mut table = Table::new(columns::attributes())?;
    for (name, attribute) in attributes.iter() {
        let mut series = Vec::new();
        let mut values = StringDictionaryBuilder::<Int32Type>::new();
        let mut times: Vec<TimeRange> = Vec::new();
        let mut truncated = Vec::new();
        for (id, &of) in (0..).zip(ids) {
            let Some(of) = attribute.of_series(of) else { continue };
            let mut listed: Vec<(&str, TimeRange)> =
                of.values.iter().map(|(&value, &times)| (attribute.text(value), times)).collect();
            listed.sort_unstable_by_key(|(text, _)| *text);
            series.resize(series.len() + 1 + listed.len(), id);
            truncated.resize(series.len(), of.truncated);
            values.append_null();
            times.push(of.range);
            for (text, range) in listed {
                values.append_value(text);
                times.push(range);
            }
        }
        let names = DictionaryArray::try_new(
            Int32Array::from(vec![0; series.len()]),
            Arc::new(StringArray::from(vec![name])),
        )?;
        table.write(vec![
            Arc::new(names),
            Arc::new(Int32Array::from(series)),
            Arc::new(values.finish()),
            Arc::new(times.iter().map(|t| Some(t.start_ns)).collect::<Int64Array>()),
            Arc::new(times.iter().map(|t| Some(t.end_ns)).collect::<Int64Array>()),
            Arc::new(BooleanArray::from(truncated)),
        ])?;
    }
    table.finish()
}

fn requests_file(requests: &[SeenRequest]) -> Result<Encoded, ParquetError> {
    let column = |f: &dyn Fn(&SeenRequest) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from(requests.iter().map(f).collect::<Vec<_>>()))
    };
    let mut table = Table::new(columns::requests())?;
    table.write(vec![
        column(&|r| r.received_ns),
        column(&|r| (r.hash >> 64) as i64),
        column(&|r| r.hash as i64),
    ])?;
    table.finish()
}
