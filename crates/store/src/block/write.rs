//! Makes a block of a head.
//!
//! Partition by partition, so that memory beyond the head is one partition's tables and the encoded files: trees become
//! preorder, stacktraces are numbered in tree order, samples are sorted by series, time and stacktrace.

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
    builder::{MapBuilder, MapFieldNames, StringBuilder, StringDictionaryBuilder},
    types::Int32Type,
};
use arrow_schema::Schema;
use parquet::{arrow::ArrowWriter, errors::ParquetError, file::properties::WriterProperties};

use super::{
    columns,
    meta::{BLOCK_FORMAT, BlockMeta, FileMeta, LocationCounts},
};
use crate::{
    head::{
        HeadView,
        chunk::{Chunk, ChunkAttributeValues},
        partition::Partition,
    },
    source::{AttributeTable, NO_MAPPING, Point, Symbols, TimeRange, Tree},
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

/// The files of a block, complete and in memory, and their description.
pub(crate) struct EncodedBlock {
    pub(crate) meta: BlockMeta,
    pub(crate) files: Vec<(&'static str, Vec<u8>)>,
}

/// A sample to be sorted: (time, stacktrace of the block, index of the chunk, row in the chunk).
type SortedRow = (i64, u32, u32, u32);

/// Marks a location without an id in the block.
const UNMAPPED: u32 = u32::MAX;

/// Encodes all visible samples of a head as a block.
pub(crate) fn encode_head(
    id: String,
    tenant: &str,
    view: &HeadView,
    requests: &[SeenRequest],
) -> Result<EncodedBlock, ParquetError> {
    let mut writer = BlockWriter::new(view)?;
    let mut order: Vec<u32> = (0..view.partitions.len() as u32).collect();
    order.sort_by(|&a, &b| view.partition_names[a as usize].cmp(&view.partition_names[b as usize]));
    for partition in order {
        if !view.partitions[partition as usize].chunks.is_empty() {
            writer.partition(partition)?;
        }
    }
    writer.finish(id, tenant, requests)
}

/// One Parquet file in the making.
struct Table {
    schema: Arc<Schema>,
    writer: ArrowWriter<Vec<u8>>,
}

impl Table {
    fn new((schema, properties): (Arc<Schema>, WriterProperties)) -> Result<Self, ParquetError> {
        let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties))?;
        Ok(Self { schema, writer })
    }

    fn write(&mut self, columns: Vec<ArrayRef>) -> Result<(), ParquetError> {
        let batch = RecordBatch::try_new(self.schema.clone(), columns)?;
        self.writer.write(&batch)
    }

    fn finish(self) -> Result<Vec<u8>, ParquetError> {
        self.writer.into_inner()
    }
}

/// A row of `series.parquet` in the making.
struct SeriesRow {
    head_series: u32,
    partition_name: String,
    numbers: [i64; columns::SERIES_NUMBERS.len()],
}

struct BlockWriter<'a> {
    view: &'a HeadView,
    samples: Table,
    points: Table,
    nodes: Table,
    stacktraces: Table,
    text_attributes: Vec<String>,
    integer_attributes: BTreeMap<String, String>,
    /// Block id of each head location.
    location_ids: Vec<u32>,
    /// Head location of each block location.
    locations: Vec<u32>,
    location_counts: LocationCounts,
    series: Vec<SeriesRow>,
    sample_count: u64,
    point_count: u64,
    node_count: u64,
    stacktrace_count: u64,
    partition_count: u64,
}

impl<'a> BlockWriter<'a> {
    fn new(view: &'a HeadView) -> Result<Self, ParquetError> {
        let (text_attributes, integer_attributes) = attribute_columns(view);
        let integer_names: Vec<String> = integer_attributes.keys().cloned().collect();
        let (location_ids, locations) = shared_locations(view);
        let shared_rows = locations.iter().map(|&l| location_row_count(&view.symbols, l)).sum();
        let shared_locations = locations.len() as u64;
        Ok(Self {
            samples: Table::new(columns::samples(&text_attributes, &integer_names))?,
            points: Table::new(columns::points())?,
            nodes: Table::new(columns::nodes())?,
            stacktraces: Table::new(columns::stacktraces())?,
            text_attributes,
            integer_attributes,
            location_ids,
            locations,
            location_counts: LocationCounts {
                locations: shared_locations,
                rows: shared_rows,
                shared_locations,
                shared_rows,
            },
            series: Vec::new(),
            sample_count: 0,
            point_count: 0,
            node_count: 0,
            stacktrace_count: 0,
            partition_count: 0,
            view,
        })
    }

    fn partition(&mut self, partition: u32) -> Result<(), ParquetError> {
        let rows = &self.view.partitions[partition as usize];
        let (first_node, first_stacktrace) = (self.node_count, self.stacktrace_count);
        let before = self.location_counts;
        let stacktrace_ids = self.tree(&rows.tree)?;
        let mut by_series: BTreeMap<u32, Vec<&Arc<Chunk>>> = BTreeMap::new();
        for chunk in rows.chunks.iter() {
            by_series.entry(chunk.series).or_default().push(chunk);
        }
        let mut series: Vec<u32> = by_series.keys().copied().collect();
        series.sort_by(|&a, &b| {
            let (a, b) = (&self.view.series[a as usize].key, &self.view.series[b as usize].key);
            (&a.profile_type, &a.labels, a.period, a.duration_ns).cmp(&(
                &b.profile_type,
                &b.labels,
                b.period,
                b.duration_ns,
            ))
        });
        for id in series {
            let (first_row, first_point) = (self.sample_count, self.point_count);
            let sum = self.series_samples(&by_series[&id], &stacktrace_ids)?;
            self.series_points(rows, id)?;
            let range = self.view.series[id as usize].range;
            self.series.push(SeriesRow {
                head_series: id,
                partition_name: self.view.partition_names[partition as usize].clone(),
                numbers: [
                    range.start_ns,
                    range.end_ns,
                    first_row as i64,
                    (self.sample_count - first_row) as i64,
                    sum,
                    first_point as i64,
                    (self.point_count - first_point) as i64,
                    self.partition_count as i64,
                    first_node as i64,
                    (self.node_count - first_node) as i64,
                    first_stacktrace as i64,
                    (self.stacktrace_count - first_stacktrace) as i64,
                    before.locations as i64,
                    (self.location_counts.locations - before.locations) as i64,
                    before.rows as i64,
                    (self.location_counts.rows - before.rows) as i64,
                ],
            });
        }
        self.partition_count += 1;
        Ok(())
    }

    /// Writes a partition's tree and returns the block's id of each of its stacktraces.
    fn tree(&mut self, tree: &Tree) -> Result<Vec<u32>, ParquetError> {
        let preorder = preorder(tree);
        let mut rank = vec![0u32; preorder.len()];
        for (new, &old) in preorder.iter().enumerate() {
            rank[old as usize] = new as u32;
        }
        let distances: Int32Array = preorder
            .iter()
            .map(|&old| (rank[old as usize] - rank[tree.parent[old as usize] as usize]) as i32)
            .collect::<Vec<_>>()
            .into();
        let mut locations = Vec::with_capacity(preorder.len());
        for &old in &preorder {
            locations.push(if old == 0 { 0 } else { self.location_id(tree.location[old as usize]) as i32 });
        }
        self.nodes.write(vec![Arc::new(distances), Arc::new(Int32Array::from(locations))])?;
        let mut order: Vec<u32> = (0..tree.leaf.len() as u32).collect();
        order.sort_by_key(|&s| rank[tree.leaf[s as usize] as usize]);
        let mut ids = vec![0u32; order.len()];
        for (new, &old) in order.iter().enumerate() {
            ids[old as usize] = (self.stacktrace_count + new as u64) as u32;
        }
        let first = self.node_count as i32;
        let leaves: Int32Array = order
            .iter()
            .map(|&s| first + rank[tree.leaf[s as usize] as usize] as i32)
            .collect::<Vec<_>>()
            .into();
        self.stacktraces.write(vec![Arc::new(leaves)])?;
        self.node_count += preorder.len() as u64;
        self.stacktrace_count += ids.len() as u64;
        Ok(ids)
    }

    fn location_id(&mut self, head_location: u32) -> u32 {
        let id = &mut self.location_ids[head_location as usize];
        if *id == UNMAPPED {
            *id = self.locations.len() as u32;
            self.locations.push(head_location);
            self.location_counts.locations += 1;
            self.location_counts.rows += location_row_count(&self.view.symbols, head_location);
        }
        *id
    }

    /// Writes one series' samples in order of time and stacktrace; returns their sum.
    fn series_samples(
        &mut self,
        chunks: &[&Arc<Chunk>],
        stacktrace_ids: &[u32],
    ) -> Result<i64, ParquetError> {
        let mut rows: Vec<SortedRow> = Vec::with_capacity(chunks.iter().map(|c| c.values.len()).sum());
        for (at, chunk) in chunks.iter().enumerate() {
            for (row, &stacktrace) in chunk.stacktraces.iter().enumerate() {
                let time = if chunk.times_ns.len() == 1 { chunk.times_ns[0] } else { chunk.times_ns[row] };
                rows.push((time, stacktrace_ids[stacktrace as usize], at as u32, row as u32));
            }
        }
        rows.sort_unstable();
        let series = self.series.len() as i32;
        let value = |r: &SortedRow| chunks[r.2 as usize].values[r.3 as usize];
        let sum = rows.iter().fold(0i64, |acc, r| acc.saturating_add(value(r)));
        let column64 = |f: &dyn Fn(&SortedRow) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from(rows.iter().map(f).collect::<Vec<_>>()))
        };
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(vec![series; rows.len()])),
            column64(&|r| r.0),
            column64(&|r| chunks[r.2 as usize].duration_ns),
            Arc::new(Int32Array::from(rows.iter().map(|r| r.1 as i32).collect::<Vec<_>>())),
            column64(&value),
        ];
        for name in &self.text_attributes {
            columns.push(self.text_column(name, chunks, &rows));
        }
        for name in self.integer_attributes.keys() {
            columns.push(self.integer_column(name, chunks, &rows));
        }
        self.samples.write(columns)?;
        self.sample_count += rows.len() as u64;
        Ok(sum)
    }

    fn text_column(&self, name: &str, chunks: &[&Arc<Chunk>], rows: &[SortedRow]) -> ArrayRef {
        let strings = &self.view.symbols.strings;
        let by_chunk: Vec<Option<&Vec<u32>>> = chunks
            .iter()
            .map(|chunk| {
                chunk.attributes.iter().find_map(|a| match &a.values {
                    ChunkAttributeValues::Text(ids) if strings.get(a.name) == name => Some(ids),
                    _ => None,
                })
            })
            .collect();
        let mut builder = StringDictionaryBuilder::<Int32Type>::new();
        for row in rows {
            match by_chunk[row.2 as usize].map(|ids| ids[row.3 as usize]) {
                Some(id) if id != 0 => builder.append_value(strings.get(id)),
                _ => builder.append_null(),
            }
        }
        Arc::new(builder.finish())
    }

    fn integer_column(&self, name: &str, chunks: &[&Arc<Chunk>], rows: &[SortedRow]) -> ArrayRef {
        let strings = &self.view.symbols.strings;
        let by_chunk: Vec<Option<&Vec<Option<i64>>>> = chunks
            .iter()
            .map(|chunk| {
                chunk.attributes.iter().find_map(|a| match &a.values {
                    ChunkAttributeValues::Integer { values, .. } if strings.get(a.name) == name => {
                        Some(values)
                    }
                    _ => None,
                })
            })
            .collect();
        Arc::new(
            rows.iter()
                .map(|row| by_chunk[row.2 as usize].and_then(|values| values[row.3 as usize]))
                .collect::<Int64Array>(),
        )
    }

    fn series_points(&mut self, partition: &Partition, head_series: u32) -> Result<(), ParquetError> {
        let mut points: Vec<Point> =
            partition.points.iter().filter(|(s, _)| *s == head_series).map(|(_, p)| *p).collect();
        points.sort_by_key(|p| (p.time_ns, p.bucket_ns));
        let merged = merge_points(&points);
        let series = self.series.len() as i32;
        let column = |f: &dyn Fn(&Point) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from(merged.iter().map(f).collect::<Vec<_>>()))
        };
        self.points.write(vec![
            Arc::new(Int32Array::from(vec![series; merged.len()])),
            column(&|p| p.time_ns),
            column(&|p| p.bucket_ns),
            column(&|p| p.sum),
            column(&|p| p.count as i64),
            column(&|p| p.duration_ns),
        ])?;
        self.point_count += merged.len() as u64;
        Ok(())
    }

    fn finish(
        self,
        id: String,
        tenant: &str,
        requests: &[SeenRequest],
    ) -> Result<EncodedBlock, ParquetError> {
        let range = self.view.range();
        let mut files = vec![
            (columns::SERIES, series_file(self.view, &self.series)?),
            (columns::LOCATIONS, locations_file(&self.view.symbols, &self.locations)?),
            (columns::ATTRIBUTES, attributes_file(&self.view.attributes, &self.series)?),
            (columns::REQUESTS, requests_file(requests)?),
        ];
        files.push((columns::SAMPLES, self.samples.finish()?));
        files.push((columns::POINTS, self.points.finish()?));
        files.push((columns::NODES, self.nodes.finish()?));
        files.push((columns::STACKTRACES, self.stacktraces.finish()?));
        let meta = BlockMeta {
            format: BLOCK_FORMAT,
            id,
            tenant: tenant.to_owned(),
            min_time_ns: range.start_ns,
            max_time_ns: range.end_ns,
            samples: self.sample_count,
            series: self.series.len() as u64,
            partitions: self.partition_count,
            stacktraces: self.stacktrace_count,
            nodes: self.node_count,
            locations: self.location_counts,
            text_attributes: self.text_attributes,
            integer_attributes: self.integer_attributes,
            files: files.iter().map(|(name, bytes)| ((*name).to_owned(), FileMeta::of(bytes))).collect(),
        };
        Ok(EncodedBlock { meta, files })
    }
}

/// Sums points of the same time and width.
fn merge_points(sorted: &[Point]) -> Vec<Point> {
    let mut merged: Vec<Point> = Vec::with_capacity(sorted.len());
    for point in sorted {
        match merged.last_mut() {
            Some(last) if last.time_ns == point.time_ns && last.bucket_ns == point.bucket_ns => {
                last.sum = last.sum.saturating_add(point.sum);
                last.count += point.count;
                last.duration_ns = last.duration_ns.min(point.duration_ns);
            }
            _ => merged.push(*point),
        }
    }
    merged
}

/// Names of text attributes, and of integer attributes with the unit first seen.
fn attribute_columns(view: &HeadView) -> (Vec<String>, BTreeMap<String, String>) {
    let strings = &view.symbols.strings;
    let mut text = std::collections::BTreeSet::new();
    let mut integer = BTreeMap::new();
    for chunk in view.partitions.iter().flat_map(|p| p.chunks.iter()) {
        for attribute in &chunk.attributes {
            match &attribute.values {
                ChunkAttributeValues::Text(_) => {
                    text.insert(attribute.name);
                }
                ChunkAttributeValues::Integer { unit, .. } => {
                    integer.entry(attribute.name).or_insert(*unit);
                }
            }
        }
    }
    let mut text: Vec<String> = text.into_iter().map(|id| strings.get(id).to_owned()).collect();
    text.sort();
    let integer = integer
        .into_iter()
        .map(|(name, unit)| (strings.get(name).to_owned(), strings.get(unit).to_owned()))
        .collect();
    (text, integer)
}

/// Gives locations that several partitions use the first ids, so that a partition's own ones stay contiguous.
///
/// Returns the block id of each head location (others unmapped) and the head location of each block id so far.
fn shared_locations(view: &HeadView) -> (Vec<u32>, Vec<u32>) {
    const NONE: u32 = u32::MAX;
    const SHARED: u32 = u32::MAX - 1;
    let mut user = vec![NONE; view.symbols.location_count()];
    for (partition, rows) in view.partitions.iter().enumerate() {
        if rows.chunks.is_empty() {
            continue;
        }
        for &location in rows.tree.location.iter().skip(1) {
            let user = &mut user[location as usize];
            if *user == NONE {
                *user = partition as u32;
            } else if *user != partition as u32 {
                *user = SHARED;
            }
        }
    }
    let mut ids = vec![UNMAPPED; user.len()];
    let mut locations = Vec::new();
    for (location, _) in user.iter().enumerate().filter(|(_, u)| **u == SHARED) {
        ids[location] = locations.len() as u32;
        locations.push(location as u32);
    }
    (ids, locations)
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

fn series_file(view: &HeadView, rows: &[SeriesRow]) -> Result<Vec<u8>, ParquetError> {
    let mut table = Table::new(columns::series())?;
    let text = |f: &dyn Fn(&decima_profile::ProfileType) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(
            rows.iter().map(|r| f(&view.series[r.head_series as usize].key.profile_type).to_owned()),
        ))
    };
    let names = MapFieldNames { entry: "entries".into(), key: "keys".into(), value: "values".into() };
    let mut labels = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for row in rows {
        for (name, value) in view.series[row.head_series as usize].key.labels.iter() {
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
        Arc::new(BooleanArray::from(
            rows.iter()
                .map(|r| view.series[r.head_series as usize].key.profile_type.delta)
                .collect::<Vec<_>>(),
        )),
        Arc::new(Int64Array::from(
            rows.iter().map(|r| view.series[r.head_series as usize].key.period).collect::<Vec<_>>(),
        )),
        Arc::new(Int64Array::from(
            rows.iter().map(|r| view.series[r.head_series as usize].key.duration_ns).collect::<Vec<_>>(),
        )),
        Arc::new(labels.finish()),
    ];
    for at in 0..columns::SERIES_NUMBERS.len() {
        columns.push(Arc::new(Int64Array::from(rows.iter().map(|r| r.numbers[at]).collect::<Vec<_>>())));
    }
    columns.push(Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.partition_name))));
    table.write(columns)?;
    table.finish()
}

/// Rows that a location has in `locations.parquet`.
fn location_row_count(symbols: &Symbols, location: u32) -> u64 {
    symbols.location_lines(location).len().max(1) as u64
}

fn locations_file(symbols: &Symbols, locations: &[u32]) -> Result<Vec<u8>, ParquetError> {
    /// (block location, head location, line of it)
    type Row = (i32, u32, Option<crate::source::Line>);
    let mut rows: Vec<Row> = Vec::with_capacity(locations.len());
    for (id, &location) in locations.iter().enumerate() {
        let lines = symbols.location_lines(location);
        if lines.is_empty() {
            rows.push((id as i32, location, None));
        }
        rows.extend(lines.iter().map(|line| (id as i32, location, Some(*line))));
    }
    let mapping = |r: &Row| {
        let id = symbols.location_mapping[r.1 as usize];
        if id == NO_MAPPING { None } else { symbols.mappings.get(id as usize) }
    };
    let function = |r: &Row| r.2.map(|line| symbols.functions[line.function as usize]);
    let text = |f: &dyn Fn(&Row) -> Option<u32>| -> ArrayRef {
        let mut builder = StringDictionaryBuilder::<Int32Type>::new();
        for row in &rows {
            builder.append_option(f(row).map(|id| symbols.strings.get(id)));
        }
        Arc::new(builder.finish())
    };
    let number = |f: &dyn Fn(&Row) -> Option<i64>| -> ArrayRef {
        Arc::new(rows.iter().map(f).collect::<Int64Array>())
    };
    let mut table = Table::new(columns::locations())?;
    table.write(vec![
        Arc::new(Int32Array::from(rows.iter().map(|r| r.0).collect::<Vec<_>>())),
        number(&|r| Some(symbols.location_address[r.1 as usize] as i64)),
        text(&|r| Some(symbols.location_frame_type[r.1 as usize])),
        number(&|r| mapping(r).map(|m| m.start as i64)),
        number(&|r| mapping(r).map(|m| m.limit as i64)),
        number(&|r| mapping(r).map(|m| m.offset as i64)),
        text(&|r| mapping(r).map(|m| m.file)),
        text(&|r| mapping(r).map(|m| m.build_id)),
        text(&|r| function(r).map(|f| f.name)),
        text(&|r| function(r).map(|f| f.system_name)),
        text(&|r| function(r).map(|f| f.filename)),
        number(&|r| function(r).map(|f| f.start_line)),
        number(&|r| r.2.map(|l| l.line)),
        number(&|r| r.2.map(|l| l.column)),
    ])?;
    table.finish()
}

/// Attributes of the series that have rows, sorted by name, series and value.
fn attributes_file(attributes: &AttributeTable, rows: &[SeriesRow]) -> Result<Vec<u8>, ParquetError> {
    let mut table = Table::new(columns::attributes())?;
    for (name, attribute) in attributes.iter() {
        let mut series = Vec::new();
        let mut values = StringDictionaryBuilder::<Int32Type>::new();
        let mut times: Vec<TimeRange> = Vec::new();
        let mut truncated = Vec::new();
        for (id, row) in (0..).zip(rows) {
            let Some(of) = attribute.of_series(row.head_series) else { continue };
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

fn requests_file(requests: &[SeenRequest]) -> Result<Vec<u8>, ParquetError> {
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
