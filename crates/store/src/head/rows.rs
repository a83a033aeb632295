//! Rows of a batch get the ids that they have in the head, when samples turn out to need them.

use decima_profile::batch::{SampleBatch, StringId};

use super::{ids::TOGETHER, incoming::Incoming, locations::LocationIndex, symbols::SymbolIndex};
use crate::source::{Function, Line, Mapping, NO_MAPPING, Symbols};

/// Locations of a new stacktrace that are looked for together with those of others. About as many have no node in its tree.
const INNERMOST: usize = 6;

/// Marks a row that has no id yet.
pub(super) const UNMAPPED: u32 = u32::MAX;

/// The rows of a batch on their way into the head's tables.
pub(super) struct BatchRows<'a> {
    batch: &'a SampleBatch,
    symbols: &'a mut Symbols,
    index: &'a mut SymbolIndex,
    location_index: &'a mut LocationIndex,
    /// Of each location.
    fingerprints: &'a [u128],
    /// Head ids by batch id, or [`UNMAPPED`].
    strings: Vec<u32>,
    mappings: Vec<u32>,
    functions: Vec<u32>,
    locations: Vec<u32>,
    scratch_lines: Vec<Line>,
    scratch_unmapped: Vec<u32>,
}

impl<'a> BatchRows<'a> {
    pub(super) fn new(
        incoming: &'a Incoming,
        symbols: &'a mut Symbols,
        index: &'a mut SymbolIndex,
        location_index: &'a mut LocationIndex,
    ) -> Self {
        if symbols.first_line.is_empty() {
            symbols.first_line.push(0);
        }
        index.string(symbols, "");
        let batch = &incoming.batch;
        Self {
            fingerprints: &incoming.locations,
            strings: vec![UNMAPPED; batch.strings.len().max(1)],
            mappings: vec![UNMAPPED; batch.mappings.len()],
            functions: vec![UNMAPPED; batch.functions.len()],
            locations: vec![UNMAPPED; batch.locations.len()],
            scratch_lines: Vec::new(),
            scratch_unmapped: Vec::new(),
            batch,
            symbols,
            index,
            location_index,
        }
    }

    /// The fingerprints of all locations that have ids, by id.
    pub(super) fn known_fingerprints(&self) -> &[u128] {
        self.location_index.fingerprints()
    }

    /// Looks for the innermost locations of stacktraces that are new, which mostly are in the tables but not in that place.
    ///
    /// What is not found here, or not looked for, [`map_locations`](Self::map_locations) looks for when it must.
    pub(super) fn find_locations(&mut self, stacktraces: impl Iterator<Item = u32>) {
        let mut wanted = std::mem::take(&mut self.scratch_unmapped);
        wanted.clear();
        for stacktrace in stacktraces {
            let innermost = self.batch.stacktrace(stacktrace).iter().take(INNERMOST);
            wanted.extend(innermost.filter(|&&location| self.locations[location as usize] == UNMAPPED));
        }
        self.look_up(&wanted);
        self.scratch_unmapped = wanted;
    }

    /// Adds the ids of the innermost locations of a stacktrace, leaf first.
    pub(super) fn map_locations(&mut self, stacktrace: u32, count: usize, ids: &mut Vec<u32>) {
        let locations = &self.batch.stacktrace(stacktrace)[..count];
        let mut unmapped = std::mem::take(&mut self.scratch_unmapped);
        unmapped.clear();
        unmapped.extend(locations.iter().filter(|&&location| self.locations[location as usize] == UNMAPPED));
        self.look_up(&unmapped);
        self.scratch_unmapped = unmapped;
        for &location in locations {
            if self.locations[location as usize] == UNMAPPED {
                self.locations[location as usize] = self.new_location(location);
            }
            ids.push(self.locations[location as usize]);
        }
    }

    /// Gives locations that have no id those that the tables have.
    fn look_up(&mut self, unmapped: &[u32]) {
        for together in unmapped.chunks(TOGETHER) {
            let found = self.location_index.find(together.iter().map(|&l| self.fingerprints[l as usize]));
            for (&location, found) in together.iter().zip(found) {
                self.locations[location as usize] = found.unwrap_or(UNMAPPED);
            }
        }
    }

    /// The id of a string, adding it if new.
    pub(super) fn string(&mut self, id: StringId) -> u32 {
        if id == 0 {
            return 0;
        }
        let known = self.strings[id as usize];
        if known != UNMAPPED {
            return known;
        }
        let mapped = self.index.string(self.symbols, self.batch.strings.get(id));
        self.strings[id as usize] = mapped;
        mapped
    }

    fn mapping(&mut self, id: u32) -> u32 {
        if id == NO_MAPPING {
            return NO_MAPPING;
        }
        let known = self.mappings[id as usize];
        if known != UNMAPPED {
            return known;
        }
        let row = self.batch.mappings[id as usize];
        let row = Mapping { file: self.string(row.file), build_id: self.string(row.build_id), ..row };
        let mapped = self.index.mapping(self.symbols, row);
        self.mappings[id as usize] = mapped;
        mapped
    }

    fn function(&mut self, id: u32) -> u32 {
        let known = self.functions[id as usize];
        if known != UNMAPPED {
            return known;
        }
        let row = self.batch.functions[id as usize];
        let row = Function {
            name: self.string(row.name),
            system_name: self.string(row.system_name),
            filename: self.string(row.filename),
            start_line: row.start_line,
        };
        let mapped = self.index.function(self.symbols, row);
        self.functions[id as usize] = mapped;
        mapped
    }

    /// Adds a location that was in no table when it was looked up. The same content may have come since, in another row.
    fn new_location(&mut self, location: u32) -> u32 {
        let fingerprint = self.fingerprints[location as usize];
        if let Some(id) = self.location_index.get(fingerprint) {
            return id;
        }
        let row = self.batch.locations[location as usize];
        let mut lines = std::mem::take(&mut self.scratch_lines);
        lines.clear();
        for line in &self.batch.lines[row.first_line as usize..][..row.line_count as usize] {
            lines.push(Line { function: self.function(line.function), ..*line });
        }
        let (mapping, frame_type) = (self.mapping(row.mapping), self.string(row.frame_type));
        self.symbols.push_location(mapping, row.address, frame_type, &lines);
        self.scratch_lines = lines;
        self.location_index.push(fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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

    fn map(
        symbols: &mut Symbols,
        indexes: &mut (SymbolIndex, LocationIndex),
        batch: &SampleBatch,
    ) -> Vec<u32> {
        let incoming = Incoming::from(batch.clone());
        let mut rows = BatchRows::new(&incoming, symbols, &mut indexes.0, &mut indexes.1);
        let mut ids = Vec::new();
        for stacktrace in 0..batch.stacktrace_offsets.len() as u32 - 1 {
            rows.map_locations(stacktrace, batch.stacktrace(stacktrace).len(), &mut ids);
        }
        ids
    }

    #[test]
    fn each_content_has_one_id() {
        let few = TOGETHER + 5;
        let many = 3 * TOGETHER;
        let mut symbols = Symbols::default();
        let mut indexes = (SymbolIndex::default(), LocationIndex::of(&symbols));
        let mut contents = BTreeSet::new();
        // What is known comes between what is new, and the indexes are rebuilt in between.
        for batch in [twice(0..few), twice((0..many).rev()), twice(0..many)] {
            let ids = map(&mut symbols, &mut indexes, &batch);
            assert_eq!(ids.len(), batch.stacktrace_locations.len());
            for (&location, &id) in batch.stacktrace_locations.iter().zip(&ids) {
                let location = batch.locations[location as usize];
                let function = |line: &Line| batch.functions[line.function as usize];
                let expected = function(&batch.lines[location.first_line as usize]).name;
                let [line] = symbols.location_lines(id) else { panic!("one line") };
                let found = symbols.functions[line.function as usize].name;
                assert_eq!(symbols.strings.get(found), batch.strings.get(expected));
                contents.insert((location.address, batch.strings.get(expected).to_owned()));
            }
            indexes = (SymbolIndex::of(&symbols), LocationIndex::of(&symbols));
        }
        assert_eq!((symbols.location_count(), symbols.functions.len()), (contents.len(), many));
        let texts: BTreeSet<&str> =
            (0..symbols.strings.len() as u32).map(|id| symbols.strings.get(id)).collect();
        assert_eq!(texts.len(), symbols.strings.len());
        let distinct: BTreeSet<u128> = indexes.1.fingerprints().iter().copied().collect();
        assert_eq!(distinct.len(), symbols.location_count());
    }

    /// Every field of a location, its mapping and its lines tells it from others.
    #[test]
    fn locations_that_differ_have_ids_of_their_own() {
        let original = batch::batch("a", &[(&["f", "g"], 1, 1, "")]);
        let change = |change: fn(&mut SampleBatch)| {
            let mut changed = original.clone();
            change(&mut changed);
            changed
        };
        let with_mapping = change(|b| {
            b.mappings.push(Mapping::default());
            b.locations[0].mapping = b.mappings.len() as u32 - 1;
        });
        let of_mapping = |change: fn(&mut Mapping, StringId)| {
            let mut changed = with_mapping.clone();
            let text = changed.strings.push("text");
            change(changed.mappings.last_mut().unwrap(), text);
            changed
        };
        let variants = [
            original.clone(),
            with_mapping.clone(),
            of_mapping(|m, _| m.start = 1),
            of_mapping(|m, _| m.limit = 1),
            of_mapping(|m, _| m.offset = 1),
            of_mapping(|m, text| m.file = text),
            of_mapping(|m, text| m.build_id = text),
            change(|b| b.locations[0].address += 1000),
            change(|b| b.locations[0].frame_type = b.strings.push("native")),
            change(|b| b.locations[0].line_count = 0),
            change(|b| b.lines[b.locations[0].first_line as usize].line += 1000),
            change(|b| b.lines[b.locations[0].first_line as usize].column += 1),
            change(|b| {
                b.functions[b.lines[b.locations[0].first_line as usize].function as usize].start_line += 1;
            }),
            change(|b| {
                let text = b.strings.push("other");
                b.functions[b.lines[b.locations[0].first_line as usize].function as usize].name = text;
            }),
            change(|b| {
                let text = b.strings.push("other");
                b.functions[b.lines[b.locations[0].first_line as usize].function as usize].system_name = text;
            }),
            change(|b| {
                let text = b.strings.push("other");
                b.functions[b.lines[b.locations[0].first_line as usize].function as usize].filename = text;
            }),
        ];
        let mut symbols = Symbols::default();
        let mut indexes = (SymbolIndex::default(), LocationIndex::of(&symbols));
        let ids: Vec<u32> = variants.iter().map(|b| map(&mut symbols, &mut indexes, b)[0]).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), variants.len(), "{ids:?}");
        let again: Vec<u32> = variants.iter().map(|b| map(&mut symbols, &mut indexes, b)[0]).collect();
        assert_eq!(again, ids);
    }
}
