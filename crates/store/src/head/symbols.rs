//! Interning of strings, mappings, functions and locations by content.
//!
//! [`SymbolIndex`] maps content to ids; the rows themselves are in [`Symbols`], where queries read them. The index holds ids
//! only and compares through the rows, so that a location costs five bytes of index. It is rebuilt from the rows after a
//! replay, when the first append needs it.
//!
//! A batch has thousands of rows that are mostly known, in tables that no cache of a processor holds. So its rows are looked up
//! [some at a time](TOGETHER): first the slots of all of them, then the rows in these.

use std::{
    hash::{BuildHasher, Hash, Hasher},
    ops::Range,
    sync::Arc,
};

use decima_profile::batch::{self, SampleBatch};
use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::source::{Function, Line, Mapping, NO_MAPPING, Symbols};

/// Marks a batch id that has no head id yet.
const UNMAPPED: u32 = u32::MAX;

/// Rows of a batch that are looked up together, so that the memory which one of them waits for is fetched beside that of others.
const TOGETHER: usize = 32;

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
        let hash = self.hasher.hash_one(text.as_bytes());
        self.hashed_string(symbols, text, hash)
    }

    fn hashed_string(&mut self, symbols: &mut Symbols, text: &str, hash: u64) -> u32 {
        if let Some(&id) = self.strings.find(hash, |&i| symbols.strings.get(i) == text) {
            return id;
        }
        let hasher = &self.hasher;
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
        let of_mappings = batch.mappings.iter().flat_map(|m| [m.file, m.build_id]);
        let of_functions = batch.functions.iter().flat_map(|f| [f.name, f.system_name, f.filename]);
        let of_locations = batch.locations.iter().map(|l| l.frame_type);
        let of_rows = of_mappings.chain(of_functions).chain(of_locations);
        self.map_strings(symbols, batch, of_rows, &mut ids.strings);
        let string = |id: batch::StringId| if id == 0 { 0 } else { ids.strings[id as usize] };
        let mapping = |m: &Mapping| Mapping { file: string(m.file), build_id: string(m.build_id), ..*m };
        let mappings: Vec<u32> = batch.mappings.iter().map(|m| self.mapping(symbols, mapping(m))).collect();
        let function = |f: &Function| Function {
            name: string(f.name),
            system_name: string(f.system_name),
            filename: string(f.filename),
            start_line: f.start_line,
        };
        let functions = self.map_functions(symbols, batch.functions.iter().map(function));
        let mut lines = std::mem::take(&mut self.scratch_lines);
        let mut rows: Vec<LocationRow> = Vec::with_capacity(TOGETHER);
        for locations in batch.locations.chunks(TOGETHER) {
            rows.clear();
            lines.clear();
            for l in locations {
                let first = lines.len();
                let of_batch = &batch.lines[l.first_line as usize..][..l.line_count as usize];
                let line = |line: &Line| Line { function: functions[line.function as usize], ..*line };
                lines.extend(of_batch.iter().map(line));
                let mapping = if l.mapping == NO_MAPPING { NO_MAPPING } else { mappings[l.mapping as usize] };
                rows.push(LocationRow {
                    mapping,
                    address: l.address,
                    frame_type: string(l.frame_type),
                    lines: first..lines.len(),
                });
            }
            self.map_locations(symbols, &rows, &lines, &mut ids.locations);
        }
        self.scratch_lines = lines;
        ids
    }

    /// Fills in the ids of strings of a batch.
    fn map_strings(
        &mut self,
        symbols: &mut Symbols,
        batch: &SampleBatch,
        mut wanted: impl Iterator<Item = batch::StringId>,
        ids: &mut [u32],
    ) {
        let mut together: Vec<(batch::StringId, u64)> = Vec::with_capacity(TOGETHER);
        loop {
            together.clear();
            let unmapped = wanted.by_ref().filter(|&id| id != 0 && ids[id as usize] == UNMAPPED);
            together.extend(
                unmapped
                    .take(TOGETHER)
                    .map(|id| (id, self.hasher.hash_one(batch.strings.get(id).as_bytes()))),
            );
            if together.is_empty() {
                return;
            }
            let guesses = guesses(&self.strings, together.iter().map(|&(_, hash)| hash));
            for (&(id, hash), guess) in together.iter().zip(guesses) {
                let text = batch.strings.get(id);
                let is_known = guess != UNMAPPED && symbols.strings.get(guess) == text;
                ids[id as usize] = if is_known { guess } else { self.hashed_string(symbols, text, hash) };
            }
        }
    }

    fn map_functions(&mut self, symbols: &mut Symbols, rows: impl Iterator<Item = Function>) -> Vec<u32> {
        let rows: Vec<(Function, u64)> = rows.map(|row| (row, self.hasher.hash_one(row))).collect();
        let mut ids = Vec::with_capacity(rows.len());
        for together in rows.chunks(TOGETHER) {
            let guesses = guesses(&self.functions, together.iter().map(|&(_, hash)| hash));
            for (&(row, hash), guess) in together.iter().zip(guesses) {
                let is_known = guess != UNMAPPED && symbols.functions[guess as usize] == row;
                ids.push(if is_known { guess } else { self.hashed_function(symbols, row, hash) });
            }
        }
        ids
    }

    /// Adds the ids of at most [`TOGETHER`] locations, whose lines are among these.
    fn map_locations(
        &mut self,
        symbols: &mut Symbols,
        rows: &[LocationRow],
        lines: &[Line],
        ids: &mut Vec<u32>,
    ) {
        let hash = |row: &LocationRow| row.hash(&self.hasher, &lines[row.lines.clone()]);
        let mut hashes = [0; TOGETHER];
        for (hash_of, row) in hashes.iter_mut().zip(rows) {
            *hash_of = hash(row);
        }
        let guesses = guesses(&self.locations, hashes.into_iter().take(rows.len()));
        for ((row, hash), guess) in rows.iter().zip(hashes).zip(guesses) {
            let lines = &lines[row.lines.clone()];
            let is_known = guess != UNMAPPED && row.is(symbols, guess, lines);
            ids.push(if is_known { guess } else { self.hashed_location(symbols, row, lines, hash) });
        }
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
            lines.clear();
            let from_lines = from.location_lines(location as u32).iter();
            lines
                .extend(from_lines.map(|line| Line { function: functions[line.function as usize], ..*line }));
            let of_mapping = mappings.get(from.location_mapping[location] as usize);
            let row = LocationRow {
                mapping: of_mapping.copied().unwrap_or(NO_MAPPING),
                address: from.location_address[location],
                frame_type: string(from.location_frame_type[location]),
                lines: 0..lines.len(),
            };
            let hash = row.hash(&self.hasher, &lines);
            locations.push(self.hashed_location(symbols, &row, &lines, hash));
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
        let hash = self.hasher.hash_one(row);
        self.hashed_function(symbols, row, hash)
    }

    fn hashed_function(&mut self, symbols: &mut Symbols, row: Function, hash: u64) -> u32 {
        if let Some(&id) = self.functions.find(hash, |&i| symbols.functions[i as usize] == row) {
            return id;
        }
        let hasher = &self.hasher;
        let id = symbols.functions.len() as u32;
        symbols.functions.push(row);
        self.functions.insert_unique(hash, id, |&i| hasher.hash_one(symbols.functions[i as usize]));
        id
    }

    fn hashed_location(
        &mut self,
        symbols: &mut Symbols,
        row: &LocationRow,
        lines: &[Line],
        hash: u64,
    ) -> u32 {
        if let Some(&id) = self.locations.find(hash, |&i| row.is(symbols, i, lines)) {
            return id;
        }
        let id = symbols.location_count() as u32;
        symbols.location_mapping.push(row.mapping);
        symbols.location_address.push(row.address);
        symbols.location_frame_type.push(row.frame_type);
        symbols.lines.extend_from_slice(lines);
        symbols.first_line.push(symbols.lines.len() as u32);
        let hasher = &self.hasher;
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

/// Of each hash the first id that a table has in a slot for it, or [`UNMAPPED`]: mostly the right one, which is for the caller to see.
fn guesses(table: &HashTable<u32>, hashes: impl Iterator<Item = u64>) -> [u32; TOGETHER] {
    let mut guesses = [UNMAPPED; TOGETHER];
    for (guess, hash) in guesses.iter_mut().zip(hashes) {
        *guess = table.find(hash, |_| true).copied().unwrap_or(UNMAPPED);
    }
    guesses
}

/// A location in the ids of the index, with the range of its lines among those of its batch.
struct LocationRow {
    mapping: u32,
    address: u64,
    frame_type: u32,
    lines: Range<usize>,
}

impl LocationRow {
    fn hash(&self, hasher: &RandomState, lines: &[Line]) -> u64 {
        hash_location(hasher, self.mapping, self.address, self.frame_type, lines)
    }

    /// Whether the location with an id is the same.
    fn is(&self, symbols: &Symbols, id: u32, lines: &[Line]) -> bool {
        let l = id as usize;
        symbols.location_address[l] == self.address
            && symbols.location_mapping[l] == self.mapping
            && symbols.location_frame_type[l] == self.frame_type
            && symbols.location_lines(id) == lines
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use decima_testkit::batch;

    /// Functions in this order, each twice, as when two profiles come in one request.
    fn twice(functions: impl Iterator<Item = usize>) -> SampleBatch {
        let names: Vec<String> = functions.map(|function| format!("function{function}")).collect();
        let stacktraces: Vec<[&str; 1]> = names.iter().map(|name| [name.as_str()]).collect();
        let rows: Vec<batch::Row<'_>> =
            stacktraces.iter().map(|stacktrace| (&stacktrace[..], 1, 1, "")).collect();
        let mut all = batch::batch("a", &rows);
        all.append(batch::batch("a", &rows));
        all
    }

    #[test]
    fn each_content_has_one_id() {
        let few = TOGETHER + 5;
        let many = 3 * TOGETHER;
        let mut index = SymbolIndex::default();
        let mut symbols = Arc::new(Symbols::default());
        let mut contents = std::collections::BTreeSet::new();
        // What is known comes between what is new.
        for batch in [twice(0..few), twice((0..many).rev()), twice(0..many)] {
            let ids = index.map_batch(&mut symbols, &batch);
            assert_eq!(ids.locations.len(), batch.locations.len());
            for (location, &id) in batch.locations.iter().zip(&ids.locations) {
                let function = |line: &Line| batch.functions[line.function as usize];
                let expected = function(&batch.lines[location.first_line as usize]).name;
                let [line] = symbols.location_lines(id) else { panic!("one line") };
                let found = symbols.functions[line.function as usize].name;
                assert_eq!(symbols.strings.get(found), batch.strings.get(expected));
                contents.insert((location.address, batch.strings.get(expected).to_owned()));
            }
        }
        assert_eq!((symbols.location_count(), symbols.functions.len()), (contents.len(), many));
        let texts: std::collections::BTreeSet<&str> =
            (0..symbols.strings.len() as u32).map(|id| symbols.strings.get(id)).collect();
        assert_eq!(texts.len(), symbols.strings.len());
        assert_eq!(SymbolIndex::of(&symbols).locations.len(), contents.len());
    }
}
