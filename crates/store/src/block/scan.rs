//! Row ranges of a block's files become trees, runs of samples and points.

use std::{ops::Range, sync::Arc};

use arrow_array::{Array, DictionaryArray, Int64Array, RecordBatch, StringArray, types::Int32Type};

use super::{
    columns::{self, INTEGER_PREFIX, TEXT_PREFIX},
    locations::{LocationPart, Numbering},
    read::{BlockReader, BlockSeries, ids, numbers},
};
use crate::{
    error::ReadError,
    source::{AttributeRun, Each, Part, Point, SampleRun, ScanRequest, StringColumn, TimeRange, Tree},
    tiers,
};

/// Rows for which memory is reserved before they are read: a count from a file is believed up to here.
const RESERVED_MAX: usize = 1 << 22;

/// Reads the trees of some of `partitions` (ascending), those at `wanted` (ascending), with locations numbered as in `part`, which
/// is that of all of `partitions`.
pub(crate) async fn trees(
    block: &BlockReader,
    series: &BlockSeries,
    partitions: &[u32],
    wanted: &[usize],
    part: &LocationPart,
) -> Result<Vec<Arc<Tree>>, ReadError> {
    let rows: Vec<_> = wanted.iter().map(|&at| series.partitions[partitions[at] as usize]).collect();
    let numberings: Vec<_> = wanted.iter().map(|&at| part.numbering(at)).collect();
    let mut trees: Vec<Tree> = rows
        .iter()
        .map(|r| Tree {
            parent: Vec::with_capacity(r.node_count.min(RESERVED_MAX)),
            location: Vec::with_capacity(r.node_count.min(RESERVED_MAX)),
            leaf: Vec::with_capacity(r.stacktrace_count.min(RESERVED_MAX)),
            subtree_sizes: Vec::new(),
        })
        .collect();
    let node_ranges: Vec<Range<usize>> =
        rows.iter().map(|r| r.first_node..r.first_node + r.node_count).collect();
    let mut at = 0;
    block
        .rows(columns::NODES, Some(&merge(&node_ranges)), &["parent_distance", "location"], |batch| {
            let distance = ids(batch, "parent_distance")?;
            let location = ids(batch, "location")?;
            split(&node_ranges, &mut at, batch.num_rows(), |index, _, part| {
                let (tree, numbering) = (&mut trees[index], &numberings[index]);
                add_parents(tree, &distance[part.clone()])?;
                add_locations(tree, &location[part], numbering)
            })
        })
        .await?;
    let leaf_ranges: Vec<Range<usize>> =
        rows.iter().map(|r| r.first_stacktrace..r.first_stacktrace + r.stacktrace_count).collect();
    let mut at = 0;
    block
        .rows(columns::STACKTRACES, Some(&merge(&leaf_ranges)), &["leaf"], |batch| {
            let leaf = ids(batch, "leaf")?;
            split(&leaf_ranges, &mut at, batch.num_rows(), |tree, _, part| {
                let first = rows[tree].first_node as u32;
                let tree = &mut trees[tree];
                for &l in &leaf[part] {
                    let local = (l as u32).wrapping_sub(first);
                    if local as usize >= tree.parent.len() {
                        return Err(format!("leaf {l} is not in its partition"));
                    }
                    tree.leaf.push(local);
                }
                Ok(())
            })
        })
        .await?;
    for (tree, &at) in trees.iter_mut().zip(wanted) {
        let partition = partitions[at];
        tree.index_preorder().map_err(|reason| ReadError::Corrupt {
            block: block.id.to_string(),
            file: columns::NODES.to_owned(),
            reason: format!("{reason} of partition {partition}"),
        })?;
    }
    Ok(trees.into_iter().map(Arc::new).collect())
}

// Both of these go over millions of rows in a query: what is wrong is looked for only after something was.

fn add_parents(tree: &mut Tree, distances: &[i32]) -> Result<(), String> {
    let first = tree.parent.len() as u32;
    // The root's distance is 0.
    let mut are_before = true;
    tree.parent.extend((first..).zip(distances).map(|(node, &distance)| {
        let parent = node.wrapping_sub(distance as u32);
        are_before &= parent < node || node == 0 && parent == 0;
        parent
    }));
    if are_before {
        return Ok(());
    }
    let parents = (first..).zip(&tree.parent[first as usize..]);
    let stray = parents.into_iter().find(|&(node, &parent)| parent >= node && (node, parent) != (0, 0));
    Err(format!("node {} does not come after its parent", stray.map_or(first, |(node, _)| node)))
}

fn add_locations(tree: &mut Tree, locations: &[i32], numbering: &Numbering) -> Result<(), String> {
    let first = tree.location.len();
    let mut are_known = true;
    // A root has none.
    let skipped = usize::from(first == 0).min(locations.len());
    tree.location.extend(&[0][..skipped]);
    tree.location.extend(locations[skipped..].iter().map(|&location| {
        let numbered = numbering.get(location as u32);
        are_known &= numbered.is_some();
        numbered.unwrap_or_default()
    }));
    if are_known {
        return Ok(());
    }
    let stray = (skipped..locations.len()).find(|&at| numbering.get(locations[at] as u32).is_none());
    let at = stray.unwrap_or_default();
    Err(format!("location {} of node {} is not of its partition", locations[at], first + at))
}

/// Joins ranges that touch.
fn merge(ranges: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges.iter().filter(|r| !r.is_empty()) {
        match merged.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => merged.push(range.clone()),
        }
    }
    merged
}

/// Walks `count` rows that come from the concatenation of `ranges`, handing each piece that lies in one range to `each` as
/// (index of the range, offset in the range, rows of the batch). `done` counts rows over all calls.
fn split(
    ranges: &[Range<usize>],
    done: &mut usize,
    count: usize,
    mut each: impl FnMut(usize, usize, Range<usize>) -> Result<(), String>,
) -> Result<(), String> {
    let mut start = 0;
    let mut before = 0;
    let mut taken = 0;
    for (index, range) in ranges.iter().enumerate() {
        let len = range.len();
        start += len;
        if *done + taken >= start {
            before = start;
            continue;
        }
        let offset = *done + taken - before;
        let take = (len - offset).min(count - taken);
        if take > 0 {
            each(index, offset, taken..taken + take)?;
        }
        taken += take;
        before = start;
        if taken == count {
            break;
        }
    }
    *done += taken;
    if taken == count { Ok(()) } else { Err("more rows than asked for".to_owned()) }
}

/// An attribute that the block has.
enum Wanted {
    Text(String),
    Integer(String),
    Absent,
}

/// The series asked for that the block has and that may have samples in the range.
fn selected(series: &BlockSeries, request: &ScanRequest) -> Vec<u32> {
    let table = &series.table.series;
    let is_wanted = |id: &u32| table.get(*id as usize).is_some_and(|row| row.range.overlaps(&request.range));
    request.series.iter().copied().filter(is_wanted).collect()
}

/// A part of the rows of series, with the series that it has.
fn part_of(series: &[u32], ranges: &[Range<usize>], part: Part) -> (Vec<u32>, Vec<Range<usize>>) {
    let wanted = part.range(ranges.iter().map(Range::len).sum());
    let mut before = 0;
    let mut chosen = (Vec::new(), Vec::new());
    for (&id, rows) in series.iter().zip(ranges) {
        let from = wanted.start.clamp(before, before + rows.len()) - before;
        let to = wanted.end.clamp(before, before + rows.len()) - before;
        if from < to {
            chosen.0.push(id);
            chosen.1.push(rows.start + from..rows.start + to);
        }
        before += rows.len();
    }
    chosen
}

/// Hands the samples asked for to `sink`.
pub(crate) async fn samples(
    block: &BlockReader,
    series: &BlockSeries,
    request: &ScanRequest,
    part: Part,
    sink: &mut (dyn for<'a> FnMut(SampleRun<'a>) + Send),
) -> Result<(), ReadError> {
    let selected = selected(series, request);
    let covered = selected.iter().all(|&s| covers(request.range, series.table.series[s as usize].range));
    let ranges: Vec<Range<usize>> = selected
        .iter()
        .map(|&s| {
            let rows = series.rows[s as usize];
            rows.first_row..rows.first_row + rows.row_count
        })
        .collect();
    let (selected, ranges) = part_of(&selected, &ranges, part);
    if selected.is_empty() {
        return Ok(());
    }
    let wanted: Vec<Wanted> = request
        .attributes
        .iter()
        .map(|name| {
            if block.meta.text_attributes.contains(name) {
                Wanted::Text(format!("{TEXT_PREFIX}{name}"))
            } else if block.meta.integer_attributes.contains_key(name) {
                Wanted::Integer(format!("{INTEGER_PREFIX}{name}"))
            } else {
                Wanted::Absent
            }
        })
        .collect();
    let mut columns = vec!["stacktrace", "value"];
    // A sample of a coarse block stands for all times of its bucket.
    let first_ns = tiers::bucket_start(request.range.start_ns, block.meta.resolution_ns);
    let with_times = request.with_times || !covered;
    if with_times {
        columns.extend(["time_ns", "duration_ns"]);
    }
    for attribute in &wanted {
        match attribute {
            Wanted::Text(name) | Wanted::Integer(name) => columns.push(name),
            Wanted::Absent => {}
        }
    }
    let mut at = 0;
    let mut scratch = Vec::new();
    block
        .rows(columns::SAMPLES, Some(&merge(&ranges)), &columns, |batch| {
            let stacktraces = ids(batch, "stacktrace")?;
            let values = numbers(batch, "value")?;
            let times = if with_times {
                Some((numbers(batch, "time_ns")?, numbers(batch, "duration_ns")?))
            } else {
                None
            };
            let attributes = decode_attributes(batch, &wanted)?;
            split(&ranges, &mut at, batch.num_rows(), |index, _, part| {
                let id = selected[index];
                let partition = series.rows[id as usize].partition;
                let rows = series.partitions[partition as usize];
                // Samples of a series are sorted by time, so the wanted ones are one piece.
                let part = match times {
                    Some((times, _)) => {
                        let own = &times[part.clone()];
                        let start = own.partition_point(|&t| t < first_ns);
                        let end = own.partition_point(|&t| t <= request.range.end_ns);
                        part.start + start..part.start + end.max(start)
                    }
                    None => part,
                };
                if part.is_empty() {
                    return Ok(());
                }
                scratch.clear();
                let first = rows.first_stacktrace as u32;
                scratch.extend(stacktraces[part.clone()].iter().map(|&s| (s as u32).wrapping_sub(first)));
                if scratch.iter().any(|&s| s as usize >= rows.stacktrace_count) {
                    return Err("a stacktrace is not in its partition".to_owned());
                }
                let runs: Vec<Option<AttributeRun<'_>>> =
                    attributes.iter().map(|a| a.as_ref().map(|a| a.run(part.clone()))).collect();
                sink(SampleRun {
                    series: id,
                    partition,
                    times_ns: times.map_or(Each::Constant(0), |(t, _)| Each::Rows(&t[part.clone()])),
                    durations_ns: times.map_or(Each::Constant(0), |(_, d)| Each::Rows(&d[part.clone()])),
                    stacktraces: &scratch,
                    values: &values[part],
                    attributes: &runs,
                });
                Ok(())
            })
        })
        .await
}

fn covers(outer: TimeRange, inner: TimeRange) -> bool {
    outer.start_ns <= inner.start_ns && inner.end_ns <= outer.end_ns
}

/// An attribute column of a batch.
enum AttributeColumn {
    Text { ids: Vec<u32>, dictionary: StringColumn },
    Integer(Vec<Option<i64>>),
}

impl AttributeColumn {
    fn run(&self, part: Range<usize>) -> AttributeRun<'_> {
        match self {
            Self::Text { ids, dictionary } => AttributeRun::Text { ids: &ids[part], dictionary },
            Self::Integer(values) => AttributeRun::Integer(&values[part]),
        }
    }
}

fn decode_attributes(batch: &RecordBatch, wanted: &[Wanted]) -> Result<Vec<Option<AttributeColumn>>, String> {
    wanted
        .iter()
        .map(|attribute| match attribute {
            Wanted::Absent => Ok(None),
            Wanted::Integer(name) => {
                let array = super::read::column::<Int64Array>(batch, name)?;
                Ok(Some(AttributeColumn::Integer(array.iter().collect())))
            }
            Wanted::Text(name) => {
                let array = super::read::column::<DictionaryArray<Int32Type>>(batch, name)?;
                let values = array
                    .values()
                    .as_any()
                    .downcast_ref::<StringArray>()
                    .ok_or_else(|| format!("column {name} is not text"))?;
                let mut dictionary = StringColumn::default();
                dictionary.push("");
                for value in values.iter() {
                    dictionary.push(value.unwrap_or_default());
                }
                let keys = array.keys();
                let ids = (0..keys.len())
                    .map(|row| if keys.is_null(row) { 0 } else { keys.value(row) as u32 + 1 })
                    .collect();
                Ok(Some(AttributeColumn::Text { ids, dictionary }))
            }
        })
        .collect()
}

/// Hands the points asked for to `sink`.
pub(crate) async fn points(
    block: &BlockReader,
    series: &BlockSeries,
    request: &ScanRequest,
    sink: &mut (dyn for<'a> FnMut(u32, &'a [Point]) + Send),
) -> Result<(), ReadError> {
    let selected = selected(series, request);
    if selected.is_empty() {
        return Ok(());
    }
    let ranges: Vec<Range<usize>> = selected
        .iter()
        .map(|&s| {
            let rows = series.rows[s as usize];
            rows.first_point..rows.first_point + rows.point_count
        })
        .collect();
    let mut at = 0;
    let mut scratch: Vec<Point> = Vec::new();
    block
        .rows(columns::POINTS, Some(&merge(&ranges)), &[], |batch| {
            let points = decode_points(batch)?;
            split(&ranges, &mut at, batch.num_rows(), |index, _, part| {
                scratch.clear();
                scratch.extend(part.map(|row| points.get(row)));
                scratch.retain(|p| {
                    p.time_ns <= request.range.end_ns
                        && request.range.start_ns <= p.time_ns.saturating_add((p.bucket_ns - 1).max(0))
                });
                if !scratch.is_empty() {
                    sink(selected[index], &scratch);
                }
                Ok(())
            })
        })
        .await
}

/// A batch of points.
pub(crate) struct PointColumns<'a> {
    time_ns: &'a [i64],
    bucket_ns: &'a [i64],
    sum: &'a [i64],
    count: &'a [i64],
    duration_ns: &'a [i64],
    /// Only coarse blocks have them.
    instants: Option<&'a [i64]>,
}

impl PointColumns<'_> {
    /// The point of a row.
    pub(crate) fn get(&self, row: usize) -> Point {
        Point {
            time_ns: self.time_ns[row],
            bucket_ns: self.bucket_ns[row],
            sum: self.sum[row],
            count: self.count[row].max(0) as u64,
            duration_ns: self.duration_ns[row],
            instants: self.instants.map_or(1, |instants| instants[row].max(1) as u64),
        }
    }
}

/// The columns of a batch of points.
pub(crate) fn decode_points(batch: &RecordBatch) -> Result<PointColumns<'_>, String> {
    let has_instants = batch.schema_ref().index_of(columns::INSTANTS).is_ok();
    Ok(PointColumns {
        time_ns: numbers(batch, "time_ns")?,
        bucket_ns: numbers(batch, "bucket_ns")?,
        sum: numbers(batch, "sum")?,
        count: numbers(batch, "count")?,
        duration_ns: numbers(batch, "duration_ns")?,
        instants: if has_instants { Some(numbers(batch, columns::INSTANTS)?) } else { None },
    })
}
