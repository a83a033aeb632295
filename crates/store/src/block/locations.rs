//! The part of `locations.parquet` that partitions need.
//!
//! Locations that several partitions use come first, then those of each partition. One service of a fleet needs the shared ones and
//! its own; a query of most of the block reads the file whole, so that what is cached of it is there once.

use std::ops::Range;

use arrow_array::{
    Array, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray, types::Int32Type,
};

use super::{
    meta::LocationCounts,
    read::{PartitionRows, column},
};
use crate::{
    head::symbols::SymbolIndex,
    source::{Function, Line, Mapping, NO_MAPPING, Symbols},
};

/// A part is read by itself if the file has at least so many times its rows: parts repeat the shared locations in the cache, but to read
/// the whole for less than a half of it costs more than it is worth.
const PART_SHARE: u64 = 2;

/// Which locations are read for some partitions, and how they are numbered then: shared ones first, then those of the
/// partitions in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LocationPart {
    /// All, with their numbers of the block.
    Whole { count: u64 },
    /// Shared ones and those of some partitions.
    Part {
        shared: u64,
        shared_rows: u64,
        /// Rows of the partitions, ascending.
        own: Vec<PartitionRows>,
    },
}

impl LocationPart {
    /// All locations of a block.
    pub(crate) fn whole(counts: LocationCounts) -> Self {
        Self::Whole { count: counts.locations }
    }

    /// The part for partitions (ascending) of a block.
    pub(crate) fn new(counts: LocationCounts, own: &[PartitionRows]) -> Self {
        let rows: u64 = own.iter().fold(counts.shared_rows, |all, p| all + p.location_row_count as u64);
        if rows.saturating_mul(PART_SHARE) > counts.rows {
            return Self::whole(counts);
        }
        Self::Part { shared: counts.shared_locations, shared_rows: counts.shared_rows, own: own.to_vec() }
    }

    /// Rows of the file; `None` = all.
    pub(crate) fn rows(&self) -> Option<Vec<Range<usize>>> {
        let Self::Part { shared_rows, own, .. } = self else { return None };
        let own = own.iter().map(|p| p.first_location_row..p.first_location_row + p.location_row_count);
        Some(std::iter::once(0..*shared_rows as usize).chain(own).collect())
    }

    /// Rows of the file with the shared ones among them, if some are read by themselves.
    pub(crate) fn shared_rows(&self) -> Option<Range<usize>> {
        match self {
            Self::Part { shared_rows, .. } if *shared_rows > 0 => Some(0..*shared_rows as usize),
            _ => None,
        }
    }

    /// Numbers of the block in the order of the rows.
    fn expected(&self) -> Vec<Range<u64>> {
        match self {
            Self::Whole { count } => std::iter::once(0..*count).collect(),
            Self::Part { shared, own, .. } => {
                let own = own.iter().map(|p| {
                    let first = p.first_location as u64;
                    first..first + p.location_count as u64
                });
                std::iter::once(0..*shared).chain(own).collect()
            }
        }
    }

    /// What turns the block's numbers of locations in the `at`-th partition's tree into those of this part.
    pub(crate) fn numbering(&self, at: usize) -> Numbering {
        match self {
            Self::Whole { count } => Numbering { shared: narrow(*count), own: 0..0, first: 0 },
            Self::Part { shared, own, .. } => {
                let before: u64 = own.iter().take(at).map(|p| p.location_count as u64).sum();
                let own = own.get(at).map_or(0..0, |p| {
                    let first = p.first_location as u64;
                    narrow(first)..narrow(first + p.location_count as u64)
                });
                Numbering { shared: narrow(*shared), own, first: narrow(shared + before) }
            }
        }
    }
}

/// Numbers of locations are 32-bit in the files; where a count claims more, more are never found.
fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// How the locations of one partition's tree are numbered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Numbering {
    /// Numbers below keep their value.
    shared: u32,
    /// Numbers of the partition's own locations.
    own: Range<u32>,
    /// What the first of those becomes.
    first: u32,
}

impl Numbering {
    /// The number of a location in the part; `None` if the partition has no such location.
    pub(crate) fn get(&self, location: u32) -> Option<u32> {
        if location < self.shared {
            return Some(location);
        }
        self.own.contains(&location).then(|| location - self.own.start + self.first)
    }
}

/// Rows of `locations.parquet` become symbols.
pub(crate) struct LocationDecoder {
    symbols: Symbols,
    index: SymbolIndex,
    /// Numbers of the block that are to come.
    expected: std::iter::Peekable<std::iter::Flatten<std::vec::IntoIter<Range<u64>>>>,
    current: Option<u64>,
}

impl LocationDecoder {
    pub(crate) fn new(part: &LocationPart) -> Self {
        let mut symbols = Symbols { first_line: vec![0], ..Symbols::default() };
        let mut index = SymbolIndex::default();
        index.string(&mut symbols, "");
        Self { symbols, index, expected: part.expected().into_iter().flatten().peekable(), current: None }
    }

    /// The symbols, if every location came.
    pub(crate) fn finish(mut self) -> Result<Symbols, String> {
        match self.expected.next() {
            Some(location) => Err(format!("location {location} is missing")),
            None => Ok(self.symbols),
        }
    }

    /// Adds the rows of one batch.
    pub(crate) fn add(&mut self, batch: &RecordBatch) -> Result<(), String> {
        let Self { symbols, index, expected, current } = self;
        let location = column::<Int32Array>(batch, "location")?;
        let address = column::<Int64Array>(batch, "address")?;
        let text = |name: &str, index: &mut SymbolIndex, symbols: &mut Symbols| {
            TextColumn::new(batch, name, index, symbols)
        };
        let frame_type = text("frame_type", index, symbols)?;
        let mapping_file = text("mapping_file", index, symbols)?;
        let build_id = text("build_id", index, symbols)?;
        let name = text("function_name", index, symbols)?;
        let system_name = text("function_system_name", index, symbols)?;
        let filename = text("function_filename", index, symbols)?;
        let start = column::<Int64Array>(batch, "mapping_start")?;
        let limit = column::<Int64Array>(batch, "mapping_limit")?;
        let offset = column::<Int64Array>(batch, "mapping_offset")?;
        let start_line = column::<Int64Array>(batch, "function_start_line")?;
        let line = column::<Int64Array>(batch, "line")?;
        let source_column = column::<Int64Array>(batch, "column")?;
        for row in 0..batch.num_rows() {
            let id = i64::from(location.value(row)) as u64;
            if *current != Some(id) {
                if expected.next() != Some(id) {
                    return Err(format!("location {id} is out of order"));
                }
                *current = Some(id);
                let mapping = mapping_file.get(row).map_or(NO_MAPPING, |file| {
                    index.mapping(
                        symbols,
                        Mapping {
                            start: start.value(row) as u64,
                            limit: limit.value(row) as u64,
                            offset: offset.value(row) as u64,
                            file,
                            build_id: build_id.get(row).unwrap_or_default(),
                        },
                    )
                });
                symbols.location_mapping.push(mapping);
                symbols.location_address.push(address.value(row) as u64);
                symbols.location_frame_type.push(frame_type.get(row).unwrap_or_default());
                symbols.first_line.push(symbols.lines.len() as u32);
            }
            if let Some(name) = name.get(row) {
                let function = index.function(
                    symbols,
                    Function {
                        name,
                        system_name: system_name.get(row).unwrap_or_default(),
                        filename: filename.get(row).unwrap_or_default(),
                        start_line: start_line.value(row),
                    },
                );
                symbols.lines.push(Line {
                    function,
                    line: line.value(row),
                    column: source_column.value(row),
                });
                if let Some(end) = symbols.first_line.last_mut() {
                    *end = symbols.lines.len() as u32;
                }
            }
        }
        Ok(())
    }
}

/// Text ids of a dictionary column's values in [`Symbols`].
struct TextColumn<'a> {
    keys: &'a Int32Array,
    ids: Vec<u32>,
}

impl<'a> TextColumn<'a> {
    fn new(
        batch: &'a RecordBatch,
        name: &str,
        index: &mut SymbolIndex,
        symbols: &mut Symbols,
    ) -> Result<Self, String> {
        let array = column::<DictionaryArray<Int32Type>>(batch, name)?;
        let values = array
            .values()
            .as_any()
            .downcast_ref::<StringArray>()
            .ok_or_else(|| format!("column {name} is not text"))?;
        let mut used = vec![false; values.len()];
        for key in array.keys().iter().flatten() {
            if let Some(used) = used.get_mut(key as usize) {
                *used = true;
            }
        }
        // A part of a row group uses a part of its dictionary.
        let id = |(value, used)| if used { index.string(symbols, values.value(value)) } else { 0 };
        let ids = used.into_iter().enumerate().map(id).collect();
        Ok(Self { keys: array.keys(), ids })
    }

    fn get(&self, row: usize) -> Option<u32> {
        if self.keys.is_null(row) { None } else { self.ids.get(self.keys.value(row) as usize).copied() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(first_location: usize, location_count: usize) -> PartitionRows {
        PartitionRows {
            first_location,
            location_count,
            first_location_row: 2 * first_location,
            location_row_count: 2 * location_count,
            ..PartitionRows::default()
        }
    }

    const COUNTS: LocationCounts = LocationCounts {
        locations: 1000,
        rows: 2000,
        shared_locations: 3,
        shared_rows: 6,
        text_bytes: 0,
        shared_text_bytes: 0,
    };

    #[test]
    fn one_partition_reads_the_shared_locations_and_its_own() {
        let part = LocationPart::new(COUNTS, &[own(10, 5), own(100, 7)]);
        assert_eq!(part.rows(), Some(vec![0..6, 20..30, 200..214]));
        let (first, second) = (part.numbering(0), part.numbering(1));
        let check = |numbering: &Numbering, location, expected| {
            assert_eq!(numbering.get(location), expected, "{location}");
        };
        check(&first, 2, Some(2));
        check(&first, 3, None);
        check(&first, 10, Some(3));
        check(&first, 14, Some(7));
        check(&first, 15, None);
        check(&first, 100, None);
        check(&second, 100, Some(8));
        check(&second, 106, Some(14));
    }

    #[test]
    fn most_of_the_block_is_read_whole() {
        let part = LocationPart::new(COUNTS, &[own(3, 900)]);
        assert_eq!(part, LocationPart::Whole { count: 1000 });
        assert_eq!(part.rows(), None);
        assert_eq!(part.numbering(0).get(999), Some(999));
        assert_eq!(part.numbering(0).get(1000), None);
    }
}
