//! Here is a file with DWARF, gives you the functions and lines at an address.
//!
//! Read with gimli, lazily: the ranges of the units first ([`index`]), of a unit that is asked for its functions and lines
//! ([`unit`], [`lines`]), of a function its inlined calls and of those their names ([`names`]). Units that were not used
//! for long go when the memory is needed. Units whose functions are in other files are found there ([`split`]).
//!
//! Files are foreign: nesting is walked with a stack of our own, references are followed a bounded number of times, and
//! tables that a small file can make large (ranges, lines) are bounded in memory.

mod index;
mod lines;
mod names;
mod split;
mod unit;

use std::{cell::Cell, collections::HashMap, sync::Arc};

use gimli::{EndianSlice, RunTimeEndian};
use self_cell::self_cell;
use typed_arena::Arena;

pub(crate) use self::split::unit_ids as split_units;
use self::{index::Index, names::ForeignUnits, split::SplitFiles, unit::Unit};
use crate::{
    Companions, Frame, Function, ObjectBytes,
    demangle::{self, Mode},
    elf::{Elf, SectionError},
};

type Reader<'a> = EndianSlice<'a, RunTimeEndian>;
type Dwarf<'a> = gimli::Dwarf<Reader<'a>>;

/// Functions whose names are kept beside the units they are of.
const FUNCTIONS_KEPT_MAX: usize = 1 << 16;

/// Why DWARF did not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DwarfError {
    /// It cannot be read.
    Damaged,
    /// It needs more memory than allowed.
    TooLarge,
    /// The caller wants no more work to be done; asking again goes on from here.
    Stopped,
}

impl From<gimli::Error> for DwarfError {
    fn from(_: gimli::Error) -> Self {
        Self::Damaged
    }
}

impl From<SectionError> for DwarfError {
    fn from(error: SectionError) -> Self {
        match error {
            SectionError::Damaged => Self::Damaged,
            SectionError::TooLarge => Self::TooLarge,
        }
    }
}

/// What is read from and how much of it may be held.
pub(crate) struct DwarfInput {
    /// The file with the DWARF sections.
    pub(crate) object: ObjectBytes,
    /// The file that it shares sections with (dwz).
    pub(crate) alternate: Option<ObjectBytes>,
    /// Who knows its split DWARF.
    pub(crate) companions: Option<Arc<dyn Companions>>,
    pub(crate) memory_max_bytes: usize,
    pub(crate) mode: Mode,
}

/// The input and what was made of it: sections that had to be decompressed, and files of split DWARF.
struct Owner {
    input: DwarfInput,
    sections: Arena<Vec<u8>>,
    files: Arena<ObjectBytes>,
    held_bytes: Cell<usize>,
}

self_cell! {
    struct Cells {
        owner: Owner,
        #[not_covariant]
        dependent: State,
    }
}

/// Everything that was read so far.
struct State<'a> {
    dwarf: Arc<Dwarf<'a>>,
    split: SplitFiles<'a>,
    index: Index<'a>,
    units: HashMap<usize, Unit<'a>>,
    foreign: ForeignUnits<'a>,
    functions: HashMap<FunctionKey, Arc<Function>>,
    functions_bytes: usize,
    uses: u64,
}

/// A function as shown with a file: offsets of unit and entry, and the file's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct FunctionKey {
    unit: usize,
    entry: usize,
    file: u64,
}

/// The DWARF of a file.
pub(crate) struct DwarfFile(Cells);

/// What DWARF says of an address.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Innermost first. A name is empty where DWARF has none.
    pub(crate) frames: Vec<Frame>,
    /// The outermost function has a name that lacks what it is in: C++ functions that only their file can call.
    pub(crate) short_name: bool,
}

impl DwarfFile {
    /// Reads where the sections are. `None` if there is no DWARF.
    pub(crate) fn open(input: DwarfInput) -> Result<Self, DwarfError> {
        let owner = Owner { input, sections: Arena::new(), files: Arena::new(), held_bytes: Cell::new(0) };
        Cells::try_new(owner, |owner| State::open(owner)).map(Self)
    }

    /// The functions at an address; none if no unit knows it.
    pub(crate) fn find(&mut self, address: u64, keep_going: &dyn Fn() -> bool) -> Result<Found, DwarfError> {
        self.0.with_dependent_mut(|owner, state| state.find(owner, address, keep_going))
    }

    /// Memory held that goes only with the whole: decompressed sections and what mapping files of split DWARF costs.
    pub(crate) fn held_bytes(&self) -> usize {
        self.0.borrow_owner().held_bytes.get()
    }

    /// Memory held, in bytes, as far as it grows with what is asked.
    pub(crate) fn size_bytes(&self) -> usize {
        self.0.with_dependent(|owner, state| owner.held_bytes.get() + state.size_bytes())
    }
}

impl Owner {
    fn load<'a>(&'a self, elf: &Elf<'a>, name: &str) -> Result<Reader<'a>, SectionError> {
        let endian = if elf.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
        let left = self.input.memory_max_bytes.saturating_sub(self.held_bytes.get());
        let bytes = match elf.section_decompressed(name, left)? {
            std::borrow::Cow::Borrowed(bytes) => bytes,
            std::borrow::Cow::Owned(bytes) => {
                self.held_bytes.set(self.held_bytes.get() + bytes.len());
                self.sections.alloc(bytes)
            }
        };
        Ok(EndianSlice::new(bytes, endian))
    }
}

impl<'a> State<'a> {
    fn open(owner: &'a Owner) -> Result<Self, DwarfError> {
        let elf =
            |bytes: &'a ObjectBytes| Elf::parse_any((**bytes).as_ref()).map_err(|_| DwarfError::Damaged);
        let object = elf(&owner.input.object)?;
        let mut dwarf: Dwarf<'a> = gimli::Dwarf::load(|section| owner.load(&object, section.name()))?;
        if let Some(bytes) = &owner.input.alternate {
            let alternate = elf(bytes)?;
            dwarf.load_sup(|section| owner.load(&alternate, section.name()))?;
        }
        dwarf.populate_abbreviations_cache(gimli::AbbreviationsCacheStrategy::Duplicates);
        let index = Index::new(&dwarf, owner.input.memory_max_bytes / 4)?;
        Ok(Self {
            dwarf: Arc::new(dwarf),
            split: SplitFiles::default(),
            index,
            units: HashMap::new(),
            foreign: ForeignUnits::default(),
            functions: HashMap::new(),
            functions_bytes: 0,
            uses: 0,
        })
    }

    fn size_bytes(&self) -> usize {
        let units: usize = self.units.values().map(Unit::size_bytes).sum();
        units + self.index.size_bytes() + self.foreign.size_bytes() + self.functions_bytes
    }

    fn find(
        &mut self,
        owner: &'a Owner,
        address: u64,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<Found, DwarfError> {
        if !self.index.complete(&self.dwarf, keep_going)? {
            return Err(DwarfError::Stopped);
        }
        let candidates = self.index.units_at(address);
        let mut first_error = None;
        let mut line_only = None;
        for offset in candidates {
            if !keep_going() {
                return Err(DwarfError::Stopped);
            }
            match self.find_in_unit(owner, offset, address) {
                Ok(found) if found.frames.iter().any(|frame| !frame.function.system_name.is_empty()) => {
                    return Ok(found);
                }
                Ok(found) if !found.frames.is_empty() => line_only = line_only.or(Some(found)),
                Ok(_) => {}
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        match (line_only, first_error) {
            (Some(found), _) => Ok(found),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(Found::default()),
        }
    }

    fn find_in_unit(&mut self, owner: &'a Owner, offset: usize, address: u64) -> Result<Found, DwarfError> {
        self.uses += 1;
        if !self.units.contains_key(&offset) {
            let memory_max = owner.input.memory_max_bytes;
            let unit = Unit::read(owner, &self.dwarf, &mut self.split, offset, memory_max / 2)?;
            self.make_room(owner, unit.size_bytes());
            self.units.insert(offset, unit);
        }
        let Some(unit) = self.units.get_mut(&offset) else { return Err(DwarfError::Damaged) };
        unit.last_use = self.uses;
        let chain = unit.chain(&self.dwarf, address, owner.input.memory_max_bytes / 2)?;
        let mut frames = Vec::with_capacity(chain.len());
        for call in chain {
            let key = FunctionKey { unit: offset, entry: call.entry.unwrap_or_default(), file: call.file };
            let function = match self.functions.get(&key) {
                Some(function) => Arc::clone(function),
                None => {
                    let mut function = match call.entry {
                        Some(entry) => {
                            let facts = self.foreign.facts(unit.code(&self.dwarf), gimli::UnitOffset(entry));
                            named(facts, unit, owner.input.mode)
                        }
                        None => Function::default(),
                    };
                    function.filename = unit.file(&self.dwarf, call.file).to_string();
                    if self.functions.len() >= FUNCTIONS_KEPT_MAX {
                        self.functions.clear();
                        self.functions_bytes = 0;
                    }
                    self.functions_bytes += function_bytes(&function);
                    let function = Arc::new(function);
                    self.functions.insert(key, Arc::clone(&function));
                    function
                }
            };
            frames.push(Frame { function, line: call.line, column: call.column });
        }
        let outermost = frames.last().map(|frame: &Frame| &frame.function);
        let short_name =
            unit.is_cpp() && outermost.is_some_and(|function| !demangle::is_mangled(&function.system_name));
        Ok(Found { frames, short_name })
    }

    /// Lets units go, those not used for longest first, until there is room for a new one.
    fn make_room(&mut self, owner: &Owner, needed_bytes: usize) {
        let limit = owner.input.memory_max_bytes.saturating_sub(owner.held_bytes.get());
        let mut held = self.size_bytes() + needed_bytes;
        if held > limit {
            held -= self.functions_bytes + self.foreign.size_bytes();
            self.functions.clear();
            self.functions_bytes = 0;
            self.foreign = ForeignUnits::default();
        }
        while held > limit {
            let Some((&offset, oldest)) = self.units.iter().min_by_key(|(_, unit)| unit.last_use) else {
                return;
            };
            held = held.saturating_sub(oldest.size_bytes());
            self.units.remove(&offset);
        }
    }
}

fn named(facts: names::Facts, unit: &Unit<'_>, mode: Mode) -> Function {
    let names::Facts { linkage_name, name: unmangled, line } = facts;
    let unmangled = unmangled.unwrap_or_default();
    let system_name = linkage_name.unwrap_or_else(|| unmangled.clone());
    let name = if unit.is_go() {
        demangle::go(&system_name)
    } else if let Some(demangled) = demangle::demangle(&system_name, mode) {
        demangled
    } else if unit.is_cpp() && mode != Mode::None && !unmangled.is_empty() {
        // Also where a mangled name cannot be read.
        demangle::cpp_unmangled(&unmangled, mode)
    } else {
        system_name.clone()
    };
    Function { name, system_name, filename: String::new(), start_line: line }
}

fn function_bytes(function: &Function) -> usize {
    size_of::<(FunctionKey, Function)>()
        + function.name.len()
        + function.system_name.len()
        + function.filename.len()
}
