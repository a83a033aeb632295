//! Which locations of a source are asked for: those that have an address and no function, and those that have no more than a name
//! where an object file that is here tells lines.
//!
//! The latter got their name from a symbol table, of a stripped program mostly, before its debug information arrived. They are
//! never asked for at debuginfod: they have a name, and that of a kernel is of hundreds of megabytes.

use decima_debuginfo::Address;
use decima_store::source::{Mapping, Symbols};
use decima_symbols::{Answer, normalize};
use hashbrown::HashMap;

/// Locations to ask for, by object file.
#[derive(Debug, Default)]
pub(super) struct Bare {
    pub(super) groups: Vec<BareGroup>,
}

/// Those of one mapping.
#[derive(Debug)]
pub(super) struct BareGroup {
    /// Index of the mapping, beyond the last if there is none.
    mapping: u32,
    pub(super) build_id: String,
    pub(super) locations: Vec<u32>,
    pub(super) addresses: Vec<Address>,
}

/// Mappings of a source whose object files are here and tell lines.
#[derive(Debug, Default)]
pub(super) struct WithLines(Vec<bool>);

impl WithLines {
    /// Asks for each build ID.
    pub(super) fn of(symbols: &Symbols, has_lines: impl Fn(&str) -> bool) -> Self {
        let has_lines = |mapping: &Mapping| {
            let build_id = symbols.strings.get(mapping.build_id);
            !build_id.is_empty() && has_lines(build_id)
        };
        Self(symbols.mappings.iter().map(has_lines).collect())
    }

    /// Whether a location has no more than a name, and may have more.
    fn improves(&self, symbols: &Symbols, location: u32) -> bool {
        let mapping = symbols.location_mapping[location as usize];
        self.0.get(mapping as usize).copied().unwrap_or(false)
            && symbols.location_address[location as usize] != 0
            && is_native(symbols.strings.get(symbols.location_frame_type[location as usize]))
            && match symbols.location_lines(location) {
                [line] => {
                    let function = symbols.functions.get(line.function as usize);
                    line.line == 0 && function.is_some_and(|f| symbols.strings.get(f.filename).is_empty())
                }
                _ => false,
            }
    }

    /// Whether anything is to be asked for.
    pub(super) fn is_needed(&self, symbols: &Symbols) -> bool {
        let improves = self.0.contains(&true);
        (0..symbols.location_count() as u32)
            .any(|location| is_bare(symbols, location) || (improves && self.improves(symbols, location)))
    }
}

/// Whether addresses of a type of frame are those of an object file: an interpreter's are not.
fn is_native(frame_type: &str) -> bool {
    matches!(frame_type, "" | "native" | "kernel" | "go")
}

/// A location that has an address and no function. Without an address there is nothing to look for.
fn is_bare(symbols: &Symbols, location: u32) -> bool {
    symbols.location_address[location as usize] != 0 && symbols.location_lines(location).is_empty()
}

impl Bare {
    /// Of those that are wanted.
    pub(super) fn of(symbols: &Symbols, with_lines: &WithLines, wanted: impl Fn(u32) -> bool) -> Self {
        let mut groups: HashMap<u32, BareGroup> = HashMap::new();
        for location in 0..symbols.location_count() as u32 {
            let is_asked_for = is_bare(symbols, location) || with_lines.improves(symbols, location);
            if !is_asked_for || !wanted(location) {
                continue;
            }
            let mapping = symbols.location_mapping[location as usize];
            let row = symbols.mappings.get(mapping as usize).copied().unwrap_or_default();
            let group = groups.entry(mapping).or_insert_with(|| BareGroup {
                mapping,
                build_id: symbols.strings.get(row.build_id).to_owned(),
                locations: Vec::new(),
                addresses: Vec::new(),
            });
            group.locations.push(location);
            group.addresses.push(Address {
                address: symbols.location_address[location as usize],
                mapping: normalize::Mapping { start: row.start, limit: row.limit, offset: row.offset },
            });
        }
        // Small files first: they are read while there is time.
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by_key(|group| (group.addresses.len(), group.mapping));
        Self { groups }
    }
}

/// Whether an answer is to take the place of what a location has: of nothing always, of a name if it has a line or a file.
pub(super) fn is_better(answer: &Answer, symbols: &Symbols, location: u32) -> bool {
    symbols.location_lines(location).is_empty()
        || answer.frames().iter().any(|frame| frame.line != 0 || !frame.function.filename.is_empty())
}
