//! Interning of strings, mappings, functions and locations by content.
//!
//! [`SymbolIndex`] maps content to ids; the rows themselves are in [`Symbols`], where queries read them. The index holds ids
//! only and compares through the rows, so that a location costs five bytes of index. It is rebuilt from the rows after a
//! replay, when the first append needs it.

use std::{
    hash::{BuildHasher, Hash, Hasher},
    sync::Arc,
};

use decima_profile::batch::{self, SampleBatch};
use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::source::{Function, Line, Mapping, NO_MAPPING, Symbols};

/// Marks a batch id that has no head id yet.
const UNMAPPED: u32 = u32::MAX;

/// Content → id, for the rows of one [`Symbols`].
#[derive(Default)]
pub(crate) struct SymbolIndex {
    hasher: RandomState,
    strings: HashTable<u32>,
    mappings: HashTable<u32>,
    functions: HashTable<u32>,
    locations: HashTable<u32>,
    scratch_lines: Vec<Line>,
}

impl SymbolIndex {
    /// The index of existing rows.
    pub(crate) fn of(symbols: &Symbols) -> Self {
        let mut index = Self::default();
        let hasher = index.hasher.clone();
        for id in 0..symbols.strings.len() as u32 {
            let hash = hasher.hash_one(symbols.strings.get(id).as_bytes());
            index.strings.insert_unique(hash, id, |&i| hasher.hash_one(symbols.strings.get(i).as_bytes()));
        }
        for id in 0..symbols.mappings.len() as u32 {
            let hash = hasher.hash_one(symbols.mappings[id as usize]);
            index.mappings.insert_unique(hash, id, |&i| hasher.hash_one(symbols.mappings[i as usize]));
        }
        for id in 0..symbols.functions.len() as u32 {
            let hash = hasher.hash_one(symbols.functions[id as usize]);
            index.functions.insert_unique(hash, id, |&i| hasher.hash_one(symbols.functions[i as usize]));
        }
        for id in 0..symbols.location_count() as u32 {
            let hash = hash_stored_location(&hasher, symbols, id);
            index.locations.insert_unique(hash, id, |&i| hash_stored_location(&hasher, symbols, i));
        }
        index
    }

    /// The id of a text, adding it if new.
    pub(crate) fn string(&mut self, symbols: &mut Symbols, text: &str) -> u32 {
        if symbols.strings.is_empty() {
            symbols.strings.push("");
            let hash = self.hasher.hash_one("".as_bytes());
            self.strings.insert_unique(hash, 0, |_| hash);
        }
        let hasher = &self.hasher;
        let hash = hasher.hash_one(text.as_bytes());
        if let Some(&id) = self.strings.find(hash, |&i| symbols.strings.get(i) == text) {
            return id;
        }
        let id = symbols.strings.push(text);
        self.strings.insert_unique(hash, id, |&i| hasher.hash_one(symbols.strings.get(i).as_bytes()));
        id
    }

    /// Interns every row of a batch that its samples can refer to.
    pub(crate) fn map_batch(&mut self, symbols: &mut Arc<Symbols>, batch: &SampleBatch) -> BatchIds {
        let symbols = Arc::make_mut(symbols);
        if symbols.first_line.is_empty() {
            symbols.first_line.push(0);
        }
        self.string(symbols, "");
        let mut ids = BatchIds {
            strings: vec![UNMAPPED; batch.strings.len().max(1)],
            locations: Vec::with_capacity(batch.locations.len()),
        };
        let mut mapping_ids = Vec::with_capacity(batch.mappings.len());
        for m in &batch.mappings {
            let row = Mapping {
                file: self.batch_string(symbols, batch, &mut ids.strings, m.file),
                build_id: self.batch_string(symbols, batch, &mut ids.strings, m.build_id),
                ..*m
            };
            mapping_ids.push(self.mapping(symbols, row));
        }
        let mut function_ids = Vec::with_capacity(batch.functions.len());
        for f in &batch.functions {
            let row = Function {
                name: self.batch_string(symbols, batch, &mut ids.strings, f.name),
                system_name: self.batch_string(symbols, batch, &mut ids.strings, f.system_name),
                filename: self.batch_string(symbols, batch, &mut ids.strings, f.filename),
                start_line: f.start_line,
            };
            function_ids.push(self.function(symbols, row));
        }
        for l in &batch.locations {
            let frame_type = self.batch_string(symbols, batch, &mut ids.strings, l.frame_type);
            let mapping = if l.mapping == NO_MAPPING { NO_MAPPING } else { mapping_ids[l.mapping as usize] };
            let mut lines = std::mem::take(&mut self.scratch_lines);
            lines.clear();
            let first = l.first_line as usize;
            lines.extend(
                batch.lines[first..first + l.line_count as usize]
                    .iter()
                    .map(|line| Line { function: function_ids[line.function as usize], ..*line }),
            );
            ids.locations.push(self.location(symbols, mapping, l.address, frame_type, &lines));
            self.scratch_lines = lines;
        }
        ids
    }

    /// Interns every row of other symbols; gives the id of each of their locations.
    pub(crate) fn map_symbols(&mut self, symbols: &mut Symbols, from: &Symbols) -> Vec<u32> {
        if symbols.first_line.is_empty() {
            symbols.first_line.push(0);
        }
        self.string(symbols, "");
        let strings: Vec<u32> =
            (0..from.strings.len() as u32).map(|id| self.string(symbols, from.strings.get(id))).collect();
        let string = |id: u32| strings.get(id as usize).copied().unwrap_or_default();
        let mapping = |m: &Mapping| Mapping { file: string(m.file), build_id: string(m.build_id), ..*m };
        let mappings: Vec<u32> = from.mappings.iter().map(|m| self.mapping(symbols, mapping(m))).collect();
        let function = |f: &Function| Function {
            name: string(f.name),
            system_name: string(f.system_name),
            filename: string(f.filename),
            start_line: f.start_line,
        };
        let functions: Vec<u32> =
            from.functions.iter().map(|f| self.function(symbols, function(f))).collect();
        let mut lines = Vec::new();
        let mut locations = Vec::with_capacity(from.location_count());
        for location in 0..from.location_count() {
            let mapping =
                mappings.get(from.location_mapping[location] as usize).copied().unwrap_or(NO_MAPPING);
            let frame_type = string(from.location_frame_type[location]);
            lines.clear();
            let from_lines = from.location_lines(location as u32).iter();
            lines
                .extend(from_lines.map(|line| Line { function: functions[line.function as usize], ..*line }));
            let address = from.location_address[location];
            locations.push(self.location(symbols, mapping, address, frame_type, &lines));
        }
        locations
    }

    /// The head's id of a batch's string.
    pub(crate) fn batch_string(
        &mut self,
        symbols: &mut Symbols,
        batch: &SampleBatch,
        ids: &mut [u32],
        id: batch::StringId,
    ) -> u32 {
        if id == 0 {
            return 0;
        }
        let known = ids[id as usize];
        if known != UNMAPPED {
            return known;
        }
        let mapped = self.string(symbols, batch.strings.get(id));
        ids[id as usize] = mapped;
        mapped
    }

    pub(crate) fn mapping(&mut self, symbols: &mut Symbols, row: Mapping) -> u32 {
        let hasher = &self.hasher;
        let hash = hasher.hash_one(row);
        if let Some(&id) = self.mappings.find(hash, |&i| symbols.mappings[i as usize] == row) {
            return id;
        }
        let id = symbols.mappings.len() as u32;
        symbols.mappings.push(row);
        self.mappings.insert_unique(hash, id, |&i| hasher.hash_one(symbols.mappings[i as usize]));
        id
    }

    pub(crate) fn function(&mut self, symbols: &mut Symbols, row: Function) -> u32 {
        let hasher = &self.hasher;
        let hash = hasher.hash_one(row);
        if let Some(&id) = self.functions.find(hash, |&i| symbols.functions[i as usize] == row) {
            return id;
        }
        let id = symbols.functions.len() as u32;
        symbols.functions.push(row);
        self.functions.insert_unique(hash, id, |&i| hasher.hash_one(symbols.functions[i as usize]));
        id
    }

    fn location(
        &mut self,
        symbols: &mut Symbols,
        mapping: u32,
        address: u64,
        frame_type: u32,
        lines: &[Line],
    ) -> u32 {
        let hasher = &self.hasher;
        let hash = hash_location(hasher, mapping, address, frame_type, lines);
        let found = self.locations.find(hash, |&i| {
            let l = i as usize;
            symbols.location_address[l] == address
                && symbols.location_mapping[l] == mapping
                && symbols.location_frame_type[l] == frame_type
                && symbols.location_lines(i) == lines
        });
        if let Some(&id) = found {
            return id;
        }
        let id = symbols.location_count() as u32;
        symbols.location_mapping.push(mapping);
        symbols.location_address.push(address);
        symbols.location_frame_type.push(frame_type);
        symbols.lines.extend_from_slice(lines);
        symbols.first_line.push(symbols.lines.len() as u32);
        self.locations.insert_unique(hash, id, |&i| hash_stored_location(hasher, symbols, i));
        id
    }

    /// Memory of the tables.
    pub(crate) fn size_bytes(&self) -> usize {
        5 * (self.strings.capacity()
            + self.mappings.capacity()
            + self.functions.capacity()
            + self.locations.capacity())
    }
}

/// Head ids of a batch's rows.
pub(crate) struct BatchIds {
    /// By batch string id; not all are filled in.
    pub(crate) strings: Vec<u32>,
    /// By batch location id.
    pub(crate) locations: Vec<u32>,
}

fn hash_location(hasher: &RandomState, mapping: u32, address: u64, frame_type: u32, lines: &[Line]) -> u64 {
    let mut state = hasher.build_hasher();
    state.write_u64((u64::from(mapping) << 32) | u64::from(frame_type));
    state.write_u64(address);
    for line in lines {
        line.hash(&mut state);
    }
    state.finish()
}

fn hash_stored_location(hasher: &RandomState, symbols: &Symbols, id: u32) -> u64 {
    let l = id as usize;
    hash_location(
        hasher,
        symbols.location_mapping[l],
        symbols.location_address[l],
        symbols.location_frame_type[l],
        symbols.location_lines(id),
    )
}

/// Memory of the rows.
pub(crate) fn symbols_size_bytes(symbols: &Symbols) -> usize {
    symbols.strings.size_bytes()
        + symbols.mappings.len() * size_of::<Mapping>()
        + symbols.functions.len() * size_of::<Function>()
        + symbols.lines.len() * size_of::<Line>()
        + symbols.location_count() * 20
}
