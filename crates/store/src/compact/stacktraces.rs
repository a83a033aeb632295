//! The stacktraces of one partition in several blocks become those of the block that is made.
//!
//! If there is memory for their trees, they become one [tree](super::tree), in which each stacktrace is once. Else the trees follow each other
//! below one root, as they are read: a stacktrace may be there more than once then, which costs space and changes no answer.

use super::{
    CompactError,
    cursor::{self, Cursor},
    locations::{self, Locations, Shared},
    merge::{Input, Merger, Uploads},
    plan::{NODE_BYTES, locations_bytes},
    symbols::SymbolMerger,
    tree::TreeMerger,
};
use crate::{
    block::{
        meta::LocationCounts,
        read::PartitionRows,
        write::{LocationIds, NodeColumns},
    },
    source::Symbols,
};

/// An input's stacktraces of a partition, in the block that is made.
pub(super) struct StacktraceIds {
    /// The first of them in the input.
    first: u32,
    count: u32,
    numbers: Numbers,
}

enum Numbers {
    Listed(Vec<u32>),
    /// They keep their order, but for one without locations, which comes first and is that of all inputs.
    Following {
        empty: Option<u32>,
        next: u32,
    },
}

impl StacktraceIds {
    /// The id of an input's stacktrace, if it is of the partition.
    pub(super) fn get(&self, stacktrace: u32) -> Option<u32> {
        let at = stacktrace.checked_sub(self.first).filter(|&at| at < self.count)?;
        match &self.numbers {
            Numbers::Listed(ids) => ids.get(at as usize).copied(),
            Numbers::Following { empty: Some(empty), .. } if at == 0 => Some(*empty),
            Numbers::Following { empty, next } => Some(next + at - u32::from(empty.is_some())),
        }
    }
}

/// Whether the trees of a partition, with its own locations, may be held in so many bytes.
pub(super) fn fit(parts: &[(usize, u32)], inputs: &[Input<'_>], bytes: u64) -> bool {
    let of = |&(at, partition): &(usize, u32)| {
        let rows = inputs[at].series.partitions[partition as usize];
        let text_bytes = own_text_bytes(inputs[at].block.meta.locations, rows.location_count as u64);
        NODE_BYTES * rows.node_count as u64 + locations_bytes(rows.location_count as u64, text_bytes)
    };
    parts.iter().map(of).fold(0, u64::saturating_add) <= bytes
}

/// The text of so many locations that only one partition uses, if they have as much as others of the block.
fn own_text_bytes(counts: LocationCounts, own: u64) -> u64 {
    let all = counts.locations.saturating_sub(counts.shared_locations).max(1);
    let text_bytes = counts.text_bytes.saturating_sub(counts.shared_text_bytes);
    (u128::from(text_bytes) * u128::from(own) / u128::from(all)) as u64
}

/// Makes one tree of those of a partition; stacktraces by part.
pub(super) async fn merged(
    name: &str,
    parts: &[(usize, u32)],
    inputs: &[Input<'_>],
    locations: &mut Locations,
    merger: &mut Merger<'_>,
) -> Result<Vec<StacktraceIds>, CompactError> {
    let mut trees = TreeMerger::new();
    let mut symbols = Symbols::default();
    let mut symbol_merger = SymbolMerger::default();
    let mut numbers = Vec::with_capacity(parts.len());
    for &(at, partition) in parts {
        let input = &inputs[at];
        let rows = input.series.partitions[partition as usize];
        let read = input.block.whole_trees(&input.series, &[partition]).await?;
        let Some(tree) = read.first() else { return Err(misfit(input, "a partition has no tree")) };
        let merged = match &*locations {
            Locations::Whole { of_inputs, .. } => trees.add(tree, |l| of_inputs[at].get(l as usize).copied()),
            Locations::Parts { of_inputs, count } => {
                let own = symbol_merger.map_symbols(&mut symbols, &locations::own(input.block, &rows).await?);
                let place = Place { shared: &of_inputs[at], input, rows: &rows };
                trees.add(tree, |location| match place.own(location) {
                    Some(at) => own.get(at as usize).map(|own| own + count),
                    None => place.shared(location),
                })
            }
        };
        let Some(merged) = merged else { return Err(misfit(input, "a location is not of its partition")) };
        numbers.push(StacktraceIds {
            first: rows.first_stacktrace as u32,
            count: merged.len() as u32,
            numbers: Numbers::Listed(merged),
        });
    }
    drop(symbol_merger);
    let tree = trees.finish();
    let ids = match locations {
        Locations::Whole { symbols, ids, .. } => merger.builder.begin_partition(name, &tree, symbols, ids)?,
        Locations::Parts { count, .. } => {
            let mut ids = LocationIds::new(*count, symbols.location_count());
            merger.builder.begin_partition(name, &tree, &symbols, &mut ids)?
        }
    };
    for of_part in &mut numbers {
        if let Numbers::Listed(listed) = &mut of_part.numbers {
            listed.iter_mut().for_each(|stacktrace| *stacktrace = ids[*stacktrace as usize]);
        }
    }
    Ok(numbers)
}

/// Lets the trees of a partition follow each other; stacktraces by part.
pub(super) async fn following(
    name: &str,
    parts: &[(usize, u32)],
    inputs: &[Input<'_>],
    shared: &[Shared],
    merger: &mut Merger<'_>,
    uploads: &mut Uploads,
) -> Result<Vec<StacktraceIds>, CompactError> {
    let rows: Vec<PartitionRows> =
        parts.iter().map(|&(at, partition)| inputs[at].series.partitions[partition as usize]).collect();
    let node_count = rows.iter().map(|rows| rows.node_count as u64).sum();
    let stacktrace_count = rows.iter().map(|rows| rows.stacktrace_count as u64).sum();
    let location_row_count = rows.iter().map(|rows| rows.location_row_count as u64).sum();
    merger.builder.begin_bare_partition(name, node_count, stacktrace_count, location_row_count)?;
    let mut shifts = Vec::with_capacity(parts.len());
    for (&(at, _), rows) in parts.iter().zip(&rows) {
        let shift = merger.builder.location_count() as i64 - rows.first_location as i64;
        shifts.push(shift);
        let of_file = rows.first_location_row..rows.first_location_row + rows.location_row_count;
        merger.copy_locations(inputs[at].block, of_file, shift, uploads).await?;
    }
    let (root, first) = merger.builder.next_ids();
    merger.builder.write_nodes(NodeColumns { distances: vec![0], locations: vec![0] })?;
    // How much further behind the root a node is than it was.
    let mut offsets = Vec::with_capacity(parts.len());
    for ((&(at, _), rows), &shift) in parts.iter().zip(&rows).zip(&shifts) {
        let (next, _) = merger.builder.next_ids();
        let offset = (next - root - 1) as i32;
        offsets.push(offset);
        let place = Place { shared: &shared[at], input: &inputs[at], rows };
        let mut nodes = cursor::nodes(inputs[at].block, rows)?;
        let mut rank = 0;
        while nodes.fill_if_any().await? {
            let columns = behind(&nodes, &mut rank, offset, |location| match place.own(location) {
                Some(_) => u32::try_from(i64::from(location) + shift).ok(),
                None => place.shared(location),
            });
            let columns = columns.map_err(|reason| nodes.corrupt(reason))?;
            nodes.at = nodes.rows.distances.len();
            merger.builder.write_nodes(columns)?;
            merger.put_encoded(uploads).await?;
        }
    }
    let mut leaves = Vec::with_capacity(parts.len());
    let mut has_empty = Vec::with_capacity(parts.len());
    for (&(at, _), rows) in parts.iter().zip(&rows) {
        let mut of_part = cursor::leaves(inputs[at].block, rows)?;
        has_empty.push(of_part.fill_if_any().await? && of_part.rows[0] as usize == rows.first_node);
        leaves.push(of_part);
    }
    if has_empty.contains(&true) {
        merger.builder.write_leaves(vec![root as i32])?;
    }
    let mut numbers = Vec::with_capacity(parts.len());
    for (at, mut leaves) in leaves.into_iter().enumerate() {
        let (rows, empty) = (&rows[at], has_empty[at].then_some(first));
        let (_, next) = merger.builder.next_ids();
        leaves.at = usize::from(empty.is_some());
        while leaves.fill_if_any().await? {
            let moved = |&leaf: &i32| {
                let rank = (leaf as usize)
                    .checked_sub(rows.first_node)
                    .filter(|rank| (1..rows.node_count).contains(rank));
                rank.map(|rank| root as i32 + rank as i32 + offsets[at])
            };
            let moved: Option<Vec<i32>> = leaves.rows[leaves.at..].iter().map(moved).collect();
            let Some(moved) = moved else {
                return Err(leaves.corrupt("a leaf is not in its partition").into());
            };
            leaves.at = leaves.rows.len();
            merger.builder.write_leaves(moved)?;
            merger.put_encoded(uploads).await?;
        }
        numbers.push(StacktraceIds {
            first: rows.first_stacktrace as u32,
            count: rows.stacktrace_count as u32,
            numbers: Numbers::Following { empty, next },
        });
    }
    Ok(numbers)
}

/// Where the locations of an input's partition are.
struct Place<'a> {
    shared: &'a Shared,
    input: &'a Input<'a>,
    rows: &'a PartitionRows,
}

impl Place<'_> {
    /// Which of those that only the partition uses a location is.
    fn own(&self, location: u32) -> Option<u32> {
        let at = location.checked_sub(self.rows.first_location as u32)?;
        (u64::from(at) < self.rows.location_count as u64).then_some(at)
    }

    /// The id of one that others use too.
    fn shared(&self, location: u32) -> Option<u32> {
        let is_shared = u64::from(location) < self.input.block.meta.locations.shared_locations;
        if is_shared { self.shared.get(location) } else { None }
    }
}

/// A batch of nodes without the root, so much further behind it.
fn behind(
    nodes: &Cursor<'_, NodeColumns>,
    rank: &mut i32,
    offset: i32,
    location: impl Fn(u32) -> Option<u32>,
) -> Result<NodeColumns, String> {
    let mut columns = NodeColumns::default();
    for (&distance, &of_node) in nodes.rows.distances.iter().zip(&nodes.rows.locations) {
        if *rank > 0 {
            if !(1..=*rank).contains(&distance) {
                return Err(format!("node {rank} does not come after its parent"));
            }
            let is_of_root = distance == *rank;
            columns.distances.push(if is_of_root { distance + offset } else { distance });
            let id = location(of_node as u32);
            let id =
                id.ok_or_else(|| format!("location {of_node} of node {rank} is not of its partition"))?;
            columns.locations.push(id as i32);
        }
        *rank += 1;
    }
    Ok(columns)
}

fn misfit(input: &Input<'_>, reason: &'static str) -> CompactError {
    CompactError::Misfit { block: input.block.id.to_string(), reason }
}
