//! What the locations of several blocks are in the one that they become.
//!
//! If there is memory for all of them, each is there once. Else only those that several partitions of a block use are held, and a
//! partition's own are read with it: what two partitions have in different blocks only is there twice then. If not even the
//! shared ones can be held, those of the blocks follow each other.

use super::{CompactError, merge::Input, plan::locations_bytes, symbols::SymbolMerger};
use crate::{
    block::{
        locations::LocationPart,
        read::{BlockReader, PartitionRows},
        write::{BlockBuilder, LocationIds},
    },
    source::Symbols,
};

/// Locations of the inputs.
pub(super) enum Locations {
    /// All are held.
    Whole {
        symbols: Box<Symbols>,
        ids: LocationIds,
        /// By input: the merged location of each of its own.
        of_inputs: Vec<Vec<u32>>,
    },
    /// Shared ones are in the block, which has so many of them.
    Parts { of_inputs: Vec<Shared>, count: u32 },
}

/// Ids in the block of the shared locations of an input.
pub(super) enum Shared {
    Numbered(Vec<u32>),
    /// Those of the input and so many more.
    Shifted(u32),
}

impl Shared {
    /// The id of a location that is below the number of shared ones.
    pub(super) fn get(&self, location: u32) -> Option<u32> {
        match self {
            Self::Numbered(ids) => ids.get(location as usize).copied(),
            Self::Shifted(shift) => location.checked_add(*shift),
        }
    }
}

/// Whether all locations of the inputs may be held in so many bytes.
pub(super) fn fit(inputs: &[Input<'_>], bytes: u64) -> bool {
    let of = |input: &Input<'_>| {
        let counts = input.block.meta.locations;
        locations_bytes(counts.locations, counts.text_bytes)
    };
    inputs.iter().map(of).fold(0, u64::saturating_add) <= bytes
}

/// Whether the shared ones may.
pub(super) fn shared_fit(inputs: &[Input<'_>], bytes: u64) -> bool {
    let of = |input: &Input<'_>| {
        let counts = input.block.meta.locations;
        locations_bytes(counts.shared_locations, counts.shared_text_bytes)
    };
    inputs.iter().map(of).fold(0, u64::saturating_add) <= bytes
}

/// Reads all, and writes those that several of the partitions use.
pub(super) async fn whole(
    inputs: &[Input<'_>],
    partitions: impl Iterator<Item = &[(usize, u32)]>,
    builder: &mut BlockBuilder,
) -> Result<Locations, CompactError> {
    let mut symbols = Symbols::default();
    let mut merger = SymbolMerger::default();
    let mut of_inputs = Vec::with_capacity(inputs.len());
    for input in inputs {
        let own = input.block.locations(&LocationPart::whole(input.block.meta.locations)).await?;
        of_inputs.push(merger.map_symbols(&mut symbols, &own));
    }
    drop(merger);
    let shared = several_use(inputs, &of_inputs, partitions, symbols.location_count());
    builder.write_shared_locations(&symbols, &shared)?;
    let ids = LocationIds::with_shared(symbols.location_count(), &shared);
    Ok(Locations::Whole { symbols: Box::new(symbols), ids, of_inputs })
}

/// Reads and writes the shared ones, each once.
pub(super) async fn shared(
    inputs: &[Input<'_>],
    builder: &mut BlockBuilder,
) -> Result<Locations, CompactError> {
    let mut symbols = Symbols::default();
    let mut merger = SymbolMerger::default();
    let mut of_inputs = Vec::with_capacity(inputs.len());
    for input in inputs {
        let counts = input.block.meta.locations;
        let part = LocationPart::Part {
            shared: counts.shared_locations,
            shared_rows: counts.shared_rows,
            own: Vec::new(),
        };
        let own = input.block.locations(&part).await?;
        of_inputs.push(Shared::Numbered(merger.map_symbols(&mut symbols, &own)));
    }
    let count = symbols.location_count() as u32;
    builder.write_shared_locations(&symbols, &(0..count).collect::<Vec<_>>())?;
    Ok(Locations::Parts { of_inputs, count })
}

/// The locations that only one partition of a block uses.
pub(super) async fn own(block: &BlockReader, rows: &PartitionRows) -> Result<Symbols, CompactError> {
    let part = LocationPart::Part { shared: 0, shared_rows: 0, own: vec![*rows] };
    Ok(block.locations(&part).await?)
}

/// Merged locations that several partitions use: in one input, or across them.
fn several_use<'a>(
    inputs: &[Input<'_>],
    of_inputs: &[Vec<u32>],
    partitions: impl Iterator<Item = &'a [(usize, u32)]>,
    location_count: usize,
) -> Vec<u32> {
    const NONE: u32 = u32::MAX;
    const SHARED: u32 = u32::MAX - 1;
    let mut user = vec![NONE; location_count];
    for (input, merged) in inputs.iter().zip(of_inputs) {
        let shared = input.block.meta.locations.shared_locations as usize;
        for &location in merged.iter().take(shared) {
            user[location as usize] = SHARED;
        }
    }
    for (number, parts) in (0..).zip(partitions) {
        for &(input, partition) in parts {
            let rows = &inputs[input].series.partitions[partition as usize];
            let own = of_inputs[input].iter().skip(rows.first_location).take(rows.location_count);
            for &location in own {
                let user = &mut user[location as usize];
                *user = if *user == NONE || *user == number { number } else { SHARED };
            }
        }
    }
    (0..).zip(user).filter(|(_, user)| *user == SHARED).map(|(location, _)| location).collect()
}
