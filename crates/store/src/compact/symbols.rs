//! Symbols of several blocks become one table of them, in which every content is once.

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::{
    head::symbols::SymbolIndex,
    source::{Function, Line, Mapping, NO_MAPPING, Symbols},
};

/// Content → id, for the rows of one [`Symbols`]. Like those of [`SymbolIndex`], locations are compared through the rows.
#[derive(Default)]
pub(super) struct SymbolMerger {
    index: SymbolIndex,
    hasher: RandomState,
    locations: HashTable<u32>,
}

impl SymbolMerger {
    /// Interns every row of other symbols; gives the id of each of their locations.
    pub(super) fn map_symbols(&mut self, symbols: &mut Symbols, from: &Symbols) -> Vec<u32> {
        if symbols.first_line.is_empty() {
            symbols.first_line.push(0);
        }
        let index = &mut self.index;
        index.string(symbols, "");
        let strings: Vec<u32> =
            (0..from.strings.len() as u32).map(|id| index.string(symbols, from.strings.get(id))).collect();
        let string = |id: u32| strings.get(id as usize).copied().unwrap_or_default();
        let mapping = |m: &Mapping| Mapping { file: string(m.file), build_id: string(m.build_id), ..*m };
        let mappings: Vec<u32> = from.mappings.iter().map(|m| index.mapping(symbols, mapping(m))).collect();
        let function = |f: &Function| Function {
            name: string(f.name),
            system_name: string(f.system_name),
            filename: string(f.filename),
            start_line: f.start_line,
        };
        let functions: Vec<u32> =
            from.functions.iter().map(|f| index.function(symbols, function(f))).collect();
        let mut lines = Vec::new();
        let mut locations = Vec::with_capacity(from.location_count());
        for location in 0..from.location_count() {
            lines.clear();
            let from_lines = from.location_lines(location as u32).iter();
            lines
                .extend(from_lines.map(|line| Line { function: functions[line.function as usize], ..*line }));
            let of_mapping = mappings.get(from.location_mapping[location] as usize);
            let row = LocationRow {
                mapping: of_mapping.copied().unwrap_or(NO_MAPPING),
                address: from.location_address[location],
                frame_type: string(from.location_frame_type[location]),
                lines: &lines,
            };
            locations.push(self.location(symbols, &row));
        }
        locations
    }

    fn location(&mut self, symbols: &mut Symbols, row: &LocationRow<'_>) -> u32 {
        let hasher = &self.hasher;
        let hash = row.hash(hasher);
        if let Some(&id) = self.locations.find(hash, |&i| row.is(symbols, i)) {
            return id;
        }
        let id = symbols.location_count() as u32;
        symbols.push_location(row.mapping, row.address, row.frame_type, row.lines);
        self.locations.insert_unique(hash, id, |&i| LocationRow::of(symbols, i).hash(hasher));
        id
    }
}

/// A location in the ids of the table.
struct LocationRow<'a> {
    mapping: u32,
    address: u64,
    frame_type: u32,
    lines: &'a [Line],
}

impl<'a> LocationRow<'a> {
    /// The location with an id.
    fn of(symbols: &'a Symbols, id: u32) -> Self {
        let l = id as usize;
        Self {
            mapping: symbols.location_mapping[l],
            address: symbols.location_address[l],
            frame_type: symbols.location_frame_type[l],
            lines: symbols.location_lines(id),
        }
    }

    fn hash(&self, hasher: &RandomState) -> u64 {
        let mut state = hasher.build_hasher();
        state.write_u64((u64::from(self.mapping) << 32) | u64::from(self.frame_type));
        state.write_u64(self.address);
        for line in self.lines {
            line.hash(&mut state);
        }
        state.finish()
    }

    /// Whether the location with an id is the same.
    fn is(&self, symbols: &Symbols, id: u32) -> bool {
        let l = id as usize;
        symbols.location_address[l] == self.address
            && symbols.location_mapping[l] == self.mapping
            && symbols.location_frame_type[l] == self.frame_type
            && symbols.location_lines(id) == self.lines
    }
}
