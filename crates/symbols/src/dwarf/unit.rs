//! A unit that was asked for: its functions by address, and of each the calls that were inlined.

use std::{collections::HashMap, sync::Arc};

use gimli::{AttributeValue, UnitOffset, UnitRef};

use super::{Dwarf, DwarfError, Owner, Reader, index::is_discarded, lines, split::SplitFiles};

/// More calls than are ever inlined into each other.
const DEPTH_MAX: usize = 512;

/// A range of a function's code.
#[derive(Debug, Clone, Copy)]
struct FunctionRange {
    begin: u64,
    end: u64,
    entry: usize,
}

/// A call that was replaced by the function's body.
#[derive(Debug, Clone, Copy)]
struct InlinedCall {
    entry: usize,
    file: u64,
    line: u32,
    column: u32,
}

/// A range of the code of an inlined call.
#[derive(Debug, Clone, Copy)]
struct InlinedRange {
    depth: u32,
    begin: u64,
    end: u64,
    call: u32,
}

/// The calls inlined into a function.
#[derive(Debug, Default)]
struct InlinedCalls {
    calls: Vec<InlinedCall>,
    /// By depth, then by address.
    ranges: Vec<InlinedRange>,
}

/// A function at an address and the place in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    /// Offset of the function's entry; `None` where only the line is known.
    pub(super) entry: Option<usize>,
    pub(super) file: u64,
    pub(super) line: u32,
    pub(super) column: u32,
}

/// A unit.
pub(super) struct Unit<'a> {
    /// The unit in the file; with split DWARF only its frame, with the line table.
    main: gimli::Unit<Reader<'a>>,
    /// The unit with the functions where that is another.
    split: Option<(Box<Dwarf<'a>>, gimli::Unit<Reader<'a>>)>,
    language: Option<gimli::DwLang>,
    ranges: Vec<FunctionRange>,
    /// For each range the largest end of it and those before.
    reach: Vec<u64>,
    inlined: HashMap<usize, InlinedCalls>,
    lines: Option<lines::Lines>,
    files: HashMap<u64, Arc<str>>,
    files_bytes: usize,
    inlined_bytes: usize,
    pub(super) last_use: u64,
}

/// Memory of a unit as gimli keeps it.
pub(super) fn unit_bytes(unit: &gimli::Unit<Reader<'_>>) -> usize {
    let files = unit.line_program.as_ref().map_or(0, |program| {
        let header = program.header();
        size_of_val(header.file_names()) + size_of_val(header.include_directories())
    });
    // Abbreviations of a unit are some hundred of about this size each.
    const ABBREVIATIONS: usize = 32 << 10;
    size_of::<gimli::Unit<Reader<'_>>>() + files + ABBREVIATIONS
}

impl<'a> Unit<'a> {
    /// Reads the functions of the unit at an offset.
    pub(super) fn read(
        owner: &'a Owner,
        dwarf: &Dwarf<'a>,
        files: &mut SplitFiles<'a>,
        offset: usize,
        memory_max_bytes: usize,
    ) -> Result<Self, DwarfError> {
        let main = dwarf.unit(dwarf.debug_info.header_from_offset(gimli::DebugInfoOffset(offset))?)?;
        let split = match main.dwo_id {
            Some(id) => files.unit(owner, dwarf, &main, id)?,
            None => None,
        };
        let mut unit = Self {
            main,
            split,
            language: None,
            ranges: Vec::new(),
            reach: Vec::new(),
            inlined: HashMap::new(),
            lines: None,
            files: HashMap::new(),
            files_bytes: 0,
            inlined_bytes: 0,
            last_use: 0,
        };
        let (language, ranges) = functions(unit.code(dwarf), memory_max_bytes)?;
        unit.language = language;
        let mut furthest = 0;
        unit.reach.extend(ranges.iter().map(|range| {
            furthest = range.end.max(furthest);
            furthest
        }));
        unit.ranges = ranges;
        Ok(unit)
    }

    /// The unit with the functions.
    pub(super) fn code<'s>(&'s self, dwarf: &'s Dwarf<'a>) -> UnitRef<'s, Reader<'a>> {
        match &self.split {
            Some((dwarf, unit)) => UnitRef::new(dwarf, unit),
            None => UnitRef::new(dwarf, &self.main),
        }
    }

    pub(super) fn is_go(&self) -> bool {
        self.language == Some(gimli::DW_LANG_Go)
    }

    pub(super) fn is_cpp(&self) -> bool {
        use gimli::{
            DW_LANG_C_plus_plus, DW_LANG_C_plus_plus_03, DW_LANG_C_plus_plus_11, DW_LANG_C_plus_plus_14,
            DW_LANG_C_plus_plus_17, DW_LANG_C_plus_plus_20,
        };
        [
            DW_LANG_C_plus_plus,
            DW_LANG_C_plus_plus_03,
            DW_LANG_C_plus_plus_11,
            DW_LANG_C_plus_plus_14,
            DW_LANG_C_plus_plus_17,
            DW_LANG_C_plus_plus_20,
        ]
        .map(Some)
        .contains(&self.language)
    }

    pub(super) fn size_bytes(&self) -> usize {
        let units = unit_bytes(&self.main) + self.split.as_ref().map_or(0, |(_, unit)| unit_bytes(unit));
        units
            + self.ranges.capacity() * size_of::<FunctionRange>()
            + self.reach.capacity() * size_of::<u64>()
            + self.lines.as_ref().map_or(0, lines::Lines::size_bytes)
            + self.files_bytes
            + self.inlined_bytes
    }

    /// The path of a file by its number in the line table.
    pub(super) fn file(&mut self, dwarf: &Dwarf<'a>, number: u64) -> Arc<str> {
        if let Some(path) = self.files.get(&number) {
            return Arc::clone(path);
        }
        let path: Arc<str> = lines::path(dwarf, &self.main, number).into();
        self.files_bytes += path.len() + 64;
        self.files.insert(number, Arc::clone(&path));
        path
    }

    /// The functions at an address, innermost first; none if the unit knows neither function nor line.
    pub(super) fn chain(
        &mut self,
        dwarf: &Dwarf<'a>,
        address: u64,
        memory_max_bytes: usize,
    ) -> Result<Vec<Call>, DwarfError> {
        if self.lines.is_none() {
            // Functions without lines are better than neither.
            self.lines = Some(lines::Lines::read(&self.main, memory_max_bytes).unwrap_or_default());
        }
        let row = self.lines.as_ref().and_then(|lines| lines.find(address));
        let place = row.unwrap_or_default();
        let innermost = Call {
            entry: None,
            file: if row.is_some() { place.file.into() } else { u64::MAX },
            line: place.line,
            column: place.column,
        };
        let Some(function) = self.function(address) else {
            return Ok(if row.is_some() { vec![innermost] } else { Vec::new() });
        };
        if !self.inlined.contains_key(&function) {
            let inlined = inlined_calls(self.code(dwarf), UnitOffset(function), memory_max_bytes)?;
            self.inlined_bytes += inlined.calls.capacity() * size_of::<InlinedCall>()
                + inlined.ranges.capacity() * size_of::<InlinedRange>()
                + size_of::<(usize, InlinedCalls)>();
            self.inlined.insert(function, inlined);
        }
        let inlined = &self.inlined[&function];
        let mut chain = Vec::with_capacity(4);
        let mut place = innermost;
        // Outermost first as they are found, each the place of the call in the one before.
        for call in inlined.at(address).iter().rev() {
            chain.push(Call { entry: Some(call.entry), ..place });
            place = Call { entry: None, file: call.file, line: call.line, column: call.column };
        }
        chain.push(Call { entry: Some(function), ..place });
        Ok(chain)
    }

    /// Entry of the function that an address is in; the innermost if ranges overlap.
    fn function(&self, address: u64) -> Option<usize> {
        let after = self.ranges.partition_point(|range| range.begin <= address);
        (0..after)
            .rev()
            .take_while(|&index| self.reach[index] > address)
            .map(|index| &self.ranges[index])
            .find(|range| range.end > address)
            .map(|range| range.entry)
    }
}

impl InlinedCalls {
    /// The calls at an address, outermost first.
    fn at(&self, address: u64) -> Vec<InlinedCall> {
        let mut found = Vec::new();
        let mut ranges = &self.ranges[..];
        for depth in 0.. {
            let after = ranges.partition_point(|range| (range.depth, range.begin) <= (depth, address));
            match ranges[..after].last() {
                Some(range) if range.depth == depth && range.end > address => {
                    found.push(self.calls[range.call as usize]);
                    ranges = &ranges[after..];
                }
                _ => break,
            }
        }
        found
    }
}

/// Attributes that say where code is.
#[derive(Default)]
struct Extent<'a> {
    low: Option<u64>,
    high: Option<u64>,
    size: Option<u64>,
    ranges: Option<AttributeValue<Reader<'a>>>,
}

impl<'a> Extent<'a> {
    fn read(&mut self, unit: UnitRef<'_, Reader<'a>>, attribute: &gimli::Attribute<Reader<'a>>) {
        match attribute.name() {
            gimli::DW_AT_low_pc => self.low = unit.attr_address(attribute.value()).ok().flatten(),
            gimli::DW_AT_high_pc => match attribute.value() {
                AttributeValue::Udata(size) => self.size = Some(size),
                value => self.high = unit.attr_address(value).ok().flatten(),
            },
            gimli::DW_AT_ranges => self.ranges = Some(attribute.value()),
            _ => {}
        }
    }

    /// Calls `add` for each range; false if it wants no more.
    fn each(self, unit: UnitRef<'_, Reader<'a>>, mut add: impl FnMut(u64, u64) -> bool) -> bool {
        let mut add = |begin: u64, end: u64| begin >= end || is_discarded(begin) || add(begin, end);
        if let Some(ranges) = self.ranges {
            let Ok(Some(mut ranges)) = unit.attr_ranges(ranges) else { return true };
            while let Ok(Some(range)) = ranges.next() {
                if !add(range.begin, range.end) {
                    return false;
                }
            }
            return true;
        }
        match (self.low, self.high, self.size) {
            (Some(low), Some(high), _) => add(low, high),
            (Some(low), None, Some(size)) => add(low, low.wrapping_add(size)),
            _ => true,
        }
    }
}

/// The language of a unit, and the ranges of its functions in order.
fn functions<'a>(
    unit: UnitRef<'_, Reader<'a>>,
    memory_max_bytes: usize,
) -> Result<(Option<gimli::DwLang>, Vec<FunctionRange>), DwarfError> {
    let ranges_max = memory_max_bytes / size_of::<FunctionRange>();
    let mut ranges = Vec::new();
    let mut language = None;
    let mut entries = unit.entries_raw(None)?;
    while !entries.is_empty() {
        let entry = entries.next_offset().0;
        let Some(abbreviation) = entries.read_abbreviation()? else { continue };
        match abbreviation.tag() {
            gimli::DW_TAG_subprogram => {
                let mut extent = Extent::default();
                for attribute in abbreviation.attributes() {
                    extent.read(unit, &entries.read_attribute(*attribute)?);
                }
                let within = extent.each(unit, |begin, end| {
                    ranges.push(FunctionRange { begin, end, entry });
                    ranges.len() < ranges_max
                });
                if !within {
                    return Err(DwarfError::TooLarge);
                }
            }
            gimli::DW_TAG_compile_unit => {
                for attribute in abbreviation.attributes() {
                    let attribute = entries.read_attribute(*attribute)?;
                    if let (gimli::DW_AT_language, AttributeValue::Language(found)) =
                        (attribute.name(), attribute.value())
                    {
                        language = Some(found);
                    }
                }
            }
            _ => entries.skip_attributes(abbreviation.attributes())?,
        }
    }
    ranges.shrink_to_fit();
    // The same code may be that of several functions: the last entry wins, always.
    ranges.sort_unstable_by_key(|range| (range.begin, std::cmp::Reverse(range.end), range.entry));
    Ok((language, ranges))
}

/// The calls inlined into the function at an entry.
fn inlined_calls<'a>(
    unit: UnitRef<'_, Reader<'a>>,
    function: UnitOffset,
    memory_max_bytes: usize,
) -> Result<InlinedCalls, DwarfError> {
    let entries_max = memory_max_bytes / (size_of::<InlinedRange>() + size_of::<InlinedCall>());
    let mut inlined = InlinedCalls::default();
    let mut entries = unit.entries_raw(Some(function))?;
    let top = entries.next_depth();
    let Some(abbreviation) = entries.read_abbreviation()? else { return Ok(inlined) };
    entries.skip_attributes(abbreviation.attributes())?;
    // Depths of the calls that the next entry is within.
    let mut within: Vec<isize> = Vec::new();
    // Depth of a function defined inside of this one, whose calls are not ours.
    let mut nested: Option<isize> = None;
    while !entries.is_empty() && entries.next_depth() > top {
        let depth = entries.next_depth();
        let entry = entries.next_offset().0;
        let Some(abbreviation) = entries.read_abbreviation()? else { continue };
        nested = nested.filter(|&nested| depth > nested);
        while within.last().is_some_and(|&call| call >= depth) {
            within.pop();
        }
        match abbreviation.tag() {
            gimli::DW_TAG_inlined_subroutine if nested.is_none() && within.len() < DEPTH_MAX => {
                let mut extent = Extent::default();
                let mut call = InlinedCall { entry, file: u64::MAX, line: 0, column: 0 };
                for attribute in abbreviation.attributes() {
                    let attribute = entries.read_attribute(*attribute)?;
                    let number = || attribute.udata_value().and_then(|number| u32::try_from(number).ok());
                    match attribute.name() {
                        gimli::DW_AT_call_file => {
                            if let AttributeValue::FileIndex(file) = attribute.value()
                                && (file > 0 || unit.header.version() >= 5)
                            {
                                call.file = file;
                            }
                        }
                        gimli::DW_AT_call_line => call.line = number().unwrap_or(0),
                        gimli::DW_AT_call_column => call.column = number().unwrap_or(0),
                        _ => extent.read(unit, &attribute),
                    }
                }
                let (Ok(index), Ok(level)) =
                    (u32::try_from(inlined.calls.len()), u32::try_from(within.len()))
                else {
                    return Err(DwarfError::TooLarge);
                };
                inlined.calls.push(call);
                let fits = extent.each(unit, |begin, end| {
                    inlined.ranges.push(InlinedRange { depth: level, begin, end, call: index });
                    inlined.ranges.len() < entries_max
                });
                if !fits || inlined.calls.len() >= entries_max {
                    return Err(DwarfError::TooLarge);
                }
                within.push(depth);
            }
            tag => {
                if tag == gimli::DW_TAG_subprogram && nested.is_none() {
                    nested = Some(depth);
                }
                entries.skip_attributes(abbreviation.attributes())?;
            }
        }
    }
    inlined.calls.shrink_to_fit();
    inlined.ranges.shrink_to_fit();
    inlined.ranges.sort_unstable_by_key(|range| (range.depth, range.begin, range.call));
    Ok(inlined)
}
