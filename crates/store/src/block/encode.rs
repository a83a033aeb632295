//! Makes a block of a head.
//!
//! Partition by partition, so that memory beyond the head is one partition's tables and the encoded files: trees become
//! preorder, stacktraces are numbered in tree order, samples are sorted by series, time and stacktrace.

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::{ArrayRef, DictionaryArray, Int32Array, Int64Array, StringArray};
use foldhash::HashMap;
use parquet::errors::ParquetError;

use super::{
    meta::FileMeta,
    write::{BlockBuilder, Encoded, EncodedBlock, LocationIds, SampleColumns, SeenRequest},
};
use crate::{
    head::{
        HeadView,
        chunk::{Chunk, ChunkAttributeValues},
        partition::Partition,
    },
    source::{Point, StringColumn},
};

/// A sample to be sorted: (time, stacktrace of the block, index of the chunk, row in the chunk).
type SortedRow = (i64, u32, u32, u32);

/// Encodes all visible samples of a head as a block.
pub(crate) fn encode_head(
    id: String,
    tenant: &str,
    view: &HeadView,
    requests: &[SeenRequest],
) -> Result<EncodedBlock, ParquetError> {
    let (text_attributes, integer_attributes) = attribute_columns(view);
    let mut builder = BlockBuilder::new(text_attributes, integer_attributes, 0)?;
    let shared = shared_locations(view);
    builder.write_shared_locations(&view.symbols, &shared)?;
    let mut locations = LocationIds::with_shared(view.symbols.location_count(), &shared);
    let mut order: Vec<u32> = (0..view.partitions.len() as u32).collect();
    order.sort_by(|&a, &b| view.partition_names[a as usize].cmp(&view.partition_names[b as usize]));
    let mut series_ids = Vec::with_capacity(view.series.len());
    for partition in order {
        if !view.partitions[partition as usize].chunks.is_empty() {
            encode_partition(&mut builder, view, partition, &mut locations, &mut series_ids)?;
        }
    }
    let mut block = builder.finish(id, tenant, &view.attributes, &series_ids, requests)?;
    let described =
        |(name, file): &(&str, Encoded)| ((*name).to_owned(), FileMeta::of(&file.bytes, &file.group_ends));
    block.meta.files = block.files.iter().map(described).collect();
    Ok(block)
}

fn encode_partition(
    builder: &mut BlockBuilder,
    view: &HeadView,
    partition: u32,
    locations: &mut LocationIds,
    series_ids: &mut Vec<u32>,
) -> Result<(), ParquetError> {
    let rows = &view.partitions[partition as usize];
    let name = &view.partition_names[partition as usize];
    let stacktrace_ids = builder.begin_partition(name, &rows.tree, &view.symbols, locations)?;
    let mut by_series: BTreeMap<u32, Vec<&Arc<Chunk>>> = BTreeMap::new();
    for chunk in rows.chunks.iter() {
        by_series.entry(chunk.series).or_default().push(chunk);
    }
    let mut series: Vec<u32> = by_series.keys().copied().collect();
    let key = |id: u32| &view.series[id as usize].key;
    series.sort_by(|&a, &b| key(a).cmp(key(b)));
    for series in series.chunk_by(|&a, &b| key(a).profile_type == key(b).profile_type) {
        let points: Vec<Vec<Point>> = series.iter().map(|&id| series_points(rows, id)).collect();
        let chunks = series.iter().flat_map(|id| &by_series[id]);
        let sample_count = chunks.map(|chunk| chunk.values.len() as u64).sum();
        builder.begin_profile_type(sample_count, points.iter().map(|of| of.len() as u64).sum())?;
        for (&id, points) in series.iter().zip(&points) {
            let samples = series_samples(builder, &by_series[&id], &stacktrace_ids, &view.symbols.strings)?;
            builder.write_samples(samples)?;
            builder.write_points(points)?;
            builder.end_series(key(id).clone(), view.series[id as usize].range);
            series_ids.push(id);
        }
    }
    builder.end_partition();
    Ok(())
}

/// One series' samples in order of time and stacktrace.
fn series_samples(
    builder: &BlockBuilder,
    chunks: &[&Arc<Chunk>],
    stacktrace_ids: &[u32],
    strings: &StringColumn,
) -> Result<SampleColumns, ParquetError> {
    let mut rows: Vec<SortedRow> = Vec::with_capacity(chunks.iter().map(|c| c.values.len()).sum());
    for (at, chunk) in chunks.iter().enumerate() {
        for (row, &stacktrace) in chunk.stacktraces.iter().enumerate() {
            let time = if chunk.times_ns.len() == 1 { chunk.times_ns[0] } else { chunk.times_ns[row] };
            rows.push((time, stacktrace_ids[stacktrace as usize], at as u32, row as u32));
        }
    }
    rows.sort_unstable();
    let text = builder.text_attributes().iter().map(|name| text_column(strings, name, chunks, &rows));
    let integer = builder.integer_attributes().keys();
    let integer = integer.map(|name| Ok(integer_column(strings, name, chunks, &rows)));
    let attributes = text.chain(integer).collect::<Result<_, _>>()?;
    Ok(SampleColumns {
        times_ns: rows.iter().map(|r| r.0).collect(),
        durations_ns: rows.iter().map(|r| chunks[r.2 as usize].duration_ns).collect(),
        stacktraces: rows.iter().map(|r| r.1 as i32).collect(),
        values: rows.iter().map(|r| chunks[r.2 as usize].values[r.3 as usize]).collect(),
        attributes,
    })
}

fn text_column(
    strings: &StringColumn,
    name: &str,
    chunks: &[&Arc<Chunk>],
    rows: &[SortedRow],
) -> Result<ArrayRef, ParquetError> {
    let by_chunk: Vec<Option<&Vec<u32>>> = chunks
        .iter()
        .map(|chunk| {
            chunk.attributes.iter().find_map(|a| match &a.values {
                ChunkAttributeValues::Text(ids) if strings.get(a.name) == name => Some(ids),
                _ => None,
            })
        })
        .collect();
    let mut keys: HashMap<u32, i32> = HashMap::default();
    let mut texts = Vec::new();
    let key_of_row = |row: &SortedRow| {
        let id = by_chunk[row.2 as usize].map(|ids| ids[row.3 as usize]).filter(|&id| id != 0)?;
        Some(*keys.entry(id).or_insert_with(|| {
            texts.push(strings.get(id));
            (texts.len() - 1) as i32
        }))
    };
    let keys: Int32Array = rows.iter().map(key_of_row).collect();
    Ok(Arc::new(DictionaryArray::try_new(keys, Arc::new(StringArray::from(texts)))?))
}

fn integer_column(
    strings: &StringColumn,
    name: &str,
    chunks: &[&Arc<Chunk>],
    rows: &[SortedRow],
) -> ArrayRef {
    let by_chunk: Vec<Option<&Vec<Option<i64>>>> = chunks
        .iter()
        .map(|chunk| {
            chunk.attributes.iter().find_map(|a| match &a.values {
                ChunkAttributeValues::Integer { values, .. } if strings.get(a.name) == name => Some(values),
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

fn series_points(partition: &Partition, series: u32) -> Vec<Point> {
    let mut points: Vec<Point> =
        partition.points.iter().filter(|(s, _)| *s == series).map(|(_, p)| *p).collect();
    points.sort_by_key(|p| (p.time_ns, p.bucket_ns));
    merge_points(&points)
}

/// Sums points of the same time and width, as far as their sums fit.
fn merge_points(sorted: &[Point]) -> Vec<Point> {
    let mut merged: Vec<Point> = Vec::with_capacity(sorted.len());
    for point in sorted {
        let same = merged
            .last_mut()
            .filter(|last| last.time_ns == point.time_ns && last.bucket_ns == point.bucket_ns);
        match same.and_then(|last| Some((last.sum.checked_add(point.sum)?, last))) {
            Some((sum, last)) => {
                last.sum = sum;
                last.count += point.count;
                last.duration_ns = last.duration_ns.min(point.duration_ns);
            }
            None => merged.push(*point),
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

/// Locations that several partitions use.
fn shared_locations(view: &HeadView) -> Vec<u32> {
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
    (0..).zip(user).filter(|(_, user)| *user == SHARED).map(|(location, _)| location).collect()
}
