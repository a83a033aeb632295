//! Fingerprints of the locations and stacktraces of a block, derived from their content as it is read.

use std::ops::Range;

use arrow_array::{
    Array, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray, types::Int32Type,
};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::{
    cursor::{self, Cursor},
    digest::add_text,
};
use crate::{
    block::{
        read::{BlockReader, BlockSeries, PartitionRows, column},
        write::NodeColumns,
    },
    error::ReadError,
};

/// The fingerprint of each location that has its rows in a range.
pub(super) async fn of_locations(block: &BlockReader, rows: Range<usize>) -> Result<Vec<u128>, ReadError> {
    let mut fingerprints = Vec::new();
    let mut current: Option<(i32, Xxh3)> = None;
    let mut rows = cursor::locations(block, rows)?;
    while rows.fill_if_any().await? {
        if let Some(batch) = &rows.rows.0 {
            add_locations(batch, &mut current, &mut fingerprints).map_err(|reason| rows.corrupt(reason))?;
            rows.at = batch.num_rows();
        }
    }
    fingerprints.extend(current.map(|(_, state)| state.digest128()));
    Ok(fingerprints)
}

fn add_locations(
    batch: &RecordBatch,
    current: &mut Option<(i32, Xxh3)>,
    fingerprints: &mut Vec<u128>,
) -> Result<(), String> {
    let ids = column::<Int32Array>(batch, "location")?;
    let number = |name: &str| column::<Int64Array>(batch, name);
    let text = |name: &str| TextColumn::new(batch, name);
    let address = number("address")?;
    let frame_type = text("frame_type")?;
    let mapping = [number("mapping_start")?, number("mapping_limit")?, number("mapping_offset")?];
    let (mapping_file, build_id) = (text("mapping_file")?, text("build_id")?);
    let names = [text("function_name")?, text("function_system_name")?, text("function_filename")?];
    let lines = [number("function_start_line")?, number("line")?, number("column")?];
    for row in 0..batch.num_rows() {
        let id = ids.value(row);
        if current.as_ref().is_none_or(|(of, _)| *of != id) {
            fingerprints.extend(current.take().map(|(_, state)| state.digest128()));
            let mut state = Xxh3::new();
            state.update(&address.value(row).to_le_bytes());
            add_text(&mut state, frame_type.get(row).unwrap_or_default());
            if let Some(file) = mapping_file.get(row) {
                for number in mapping {
                    state.update(&number.value(row).to_le_bytes());
                }
                add_text(&mut state, file);
                add_text(&mut state, build_id.get(row).unwrap_or_default());
            }
            *current = Some((id, state));
        }
        let Some((_, state)) = current else { continue };
        if names[0].get(row).is_some() {
            for name in &names {
                add_text(state, name.get(row).unwrap_or_default());
            }
            for number in lines {
                state.update(&number.value(row).to_le_bytes());
            }
        }
    }
    Ok(())
}

struct TextColumn<'a> {
    keys: &'a Int32Array,
    values: &'a StringArray,
}

impl<'a> TextColumn<'a> {
    fn new(batch: &'a RecordBatch, name: &str) -> Result<Self, String> {
        let array = column::<DictionaryArray<Int32Type>>(batch, name)?;
        let values = array.values().as_any().downcast_ref::<StringArray>();
        let values = values.ok_or_else(|| format!("column {name} is not text"))?;
        Ok(Self { keys: array.keys(), values })
    }

    fn get(&self, row: usize) -> Option<&'a str> {
        if self.keys.is_null(row) { None } else { Some(self.values.value(self.keys.value(row) as usize)) }
    }
}

/// Goes through the nodes of a partition, of which it holds a path, and gives the fingerprint of each stacktrace: that of its locations, root first.
pub(super) struct Walk<'a> {
    rows: PartitionRows,
    shared: &'a [u128],
    own: Vec<u128>,
    nodes: Cursor<'a, NodeColumns>,
    leaves: Cursor<'a, Vec<i32>>,
    /// Number of the next node.
    rank: usize,
    /// The node before it and those above it, the root first.
    path: Vec<(usize, u128)>,
}

impl<'a> Walk<'a> {
    /// `shared` are the fingerprints of the block's shared locations.
    pub(super) async fn of_partition(
        block: &'a BlockReader,
        series: &BlockSeries,
        partition: u32,
        shared: &'a [u128],
    ) -> Result<Self, ReadError> {
        let rows = series.partitions[partition as usize];
        let own = rows.first_location_row..rows.first_location_row + rows.location_row_count;
        Ok(Self {
            own: of_locations(block, own).await?,
            nodes: cursor::nodes(block, &rows)?,
            leaves: cursor::leaves(block, &rows)?,
            rows,
            shared,
            rank: 0,
            path: Vec::new(),
        })
    }

    /// The next stacktraces, at most so many.
    pub(super) async fn next(&mut self, most: usize) -> Result<Vec<u128>, ReadError> {
        let mut fingerprints = Vec::new();
        while fingerprints.len() < most && self.leaves.fill_if_any().await? {
            let leaf = self.leaves.rows[self.leaves.at];
            let rank = (leaf as usize).wrapping_sub(self.rows.first_node);
            if rank >= self.rows.node_count || rank + 1 < self.rank {
                return Err(self.leaves.corrupt(format!("leaf {leaf} is out of order")));
            }
            while self.rank <= rank {
                self.advance().await?;
            }
            fingerprints.extend(self.path.last().map(|(_, fingerprint)| *fingerprint));
            self.leaves.at += 1;
        }
        Ok(fingerprints)
    }

    /// Goes on to the next node.
    async fn advance(&mut self) -> Result<(), ReadError> {
        self.nodes.fill().await?;
        let at = self.nodes.at;
        let (distance, location) = (self.nodes.rows.distances[at], self.nodes.rows.locations[at]);
        if self.rank == 0 {
            self.path.push((0, 0));
        } else {
            let parent = self.rank.checked_sub(distance as usize);
            while self.path.len() > 1 && self.path.last().map(|(rank, _)| Some(*rank)) > Some(parent) {
                self.path.pop();
            }
            let above = self.path.last().filter(|(rank, _)| Some(*rank) == parent);
            let Some(&(_, above)) = above else {
                return Err(self.nodes.corrupt(format!("node {} does not come after its parent", self.rank)));
            };
            let of_location = self.location(location as u32);
            let Some(of_location) = of_location else {
                let reason = format!("location {location} of node {} is not of its partition", self.rank);
                return Err(self.nodes.corrupt(reason));
            };
            let mut content = [0u8; 32];
            content[..16].copy_from_slice(&above.to_le_bytes());
            content[16..].copy_from_slice(&of_location.to_le_bytes());
            self.path.push((self.rank, xxh3_128(&content)));
        }
        self.nodes.at += 1;
        self.rank += 1;
        Ok(())
    }

    fn location(&self, location: u32) -> Option<u128> {
        let at = location as usize;
        let own = || self.own.get(at.checked_sub(self.rows.first_location)?);
        self.shared.get(at).or_else(own).copied()
    }
}
