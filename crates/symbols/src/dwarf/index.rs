//! Which units may know an address. Built once for a file, a unit at a time, so that it can be stopped and go on.

use std::collections::HashMap;

use super::{Dwarf, DwarfError, Reader, lines::Lines};

/// A range of addresses of a unit.
#[derive(Debug, Clone, Copy)]
struct UnitRange {
    begin: u64,
    end: u64,
    unit: u32,
    /// Smallest `begin` of this and all ranges that end later.
    begin_min: u64,
}

/// Ranges of all units.
pub(super) struct Index<'a> {
    /// Units not looked at yet; `None` once all are.
    rest: Option<gimli::DebugInfoUnitHeadersIter<Reader<'a>>>,
    /// Sets of `.debug_aranges` by the unit they are of.
    tables: HashMap<usize, Vec<gimli::DebugArangesOffset>>,
    /// Offsets of the units.
    units: Vec<usize>,
    ranges: Vec<UnitRange>,
    /// It would be larger than it may.
    too_large: bool,
    memory_max_bytes: usize,
}

impl<'a> Index<'a> {
    pub(super) fn new(dwarf: &Dwarf<'a>, memory_max_bytes: usize) -> Result<Self, DwarfError> {
        let mut tables: HashMap<usize, Vec<_>> = HashMap::new();
        let mut headers = dwarf.debug_aranges.headers();
        // What is damaged here is found in the units themselves.
        while let Ok(Some(header)) = headers.next() {
            tables.entry(header.debug_info_offset().0).or_default().push(header.offset());
        }
        Ok(Self {
            rest: Some(dwarf.units()),
            tables,
            units: Vec::new(),
            ranges: Vec::new(),
            too_large: false,
            memory_max_bytes,
        })
    }

    /// Looks at the units that are left; false if it was stopped before the last.
    pub(super) fn complete(
        &mut self,
        dwarf: &Dwarf<'a>,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<bool, DwarfError> {
        if self.too_large {
            return Err(DwarfError::TooLarge);
        }
        let Some(mut rest) = self.rest.take() else { return Ok(true) };
        loop {
            if !keep_going() {
                self.rest = Some(rest);
                return Ok(false);
            }
            // Behind a unit whose length is wrong nothing can be found, before it everything.
            let Ok(Some(header)) = rest.next() else { break };
            let Some(offset) = header.debug_info_offset() else { continue };
            let Ok(unit) = u32::try_from(self.units.len()) else { return Err(DwarfError::TooLarge) };
            self.units.push(offset.0);
            // One that cannot be read is as good as absent.
            let _ = self.add(dwarf, header, unit, offset.0);
            if self.size_bytes() > self.memory_max_bytes {
                self.ranges = Vec::new();
                self.too_large = true;
                return Err(DwarfError::TooLarge);
            }
        }
        self.tables = HashMap::new();
        self.ranges.sort_unstable_by_key(|range| (range.end, range.unit));
        let mut begin_min = u64::MAX;
        for range in self.ranges.iter_mut().rev() {
            begin_min = begin_min.min(range.begin);
            range.begin_min = begin_min;
        }
        self.ranges.shrink_to_fit();
        Ok(true)
    }

    fn add(
        &mut self,
        dwarf: &Dwarf<'a>,
        header: gimli::UnitHeader<Reader<'a>>,
        unit: u32,
        offset: usize,
    ) -> Result<(), gimli::Error> {
        use gimli::UnitType;
        if matches!(header.type_(), UnitType::Type { .. } | UnitType::SplitType { .. } | UnitType::Partial) {
            return Ok(());
        }
        let before = self.ranges.len();
        for table in self.tables.get(&offset).into_iter().flatten() {
            let mut entries = dwarf.debug_aranges.header(*table)?.entries();
            while let Ok(Some(entry)) = entries.next() {
                let range = entry.range();
                push(&mut self.ranges, unit, range.begin, range.end);
            }
        }
        if self.ranges.len() > before {
            return Ok(());
        }
        let parsed = dwarf.unit(header)?;
        let limit = self.memory_max_bytes / size_of::<UnitRange>();
        let mut ranges = dwarf.unit_ranges(&parsed)?;
        while let Ok(Some(range)) = ranges.next() {
            push(&mut self.ranges, unit, range.begin, range.end);
            if self.ranges.len() > limit {
                return Ok(());
            }
        }
        if self.ranges.len() == before
            && let Ok(lines) = Lines::read(&parsed, self.memory_max_bytes)
        {
            for (begin, end) in lines.ranges() {
                push(&mut self.ranges, unit, begin, end);
            }
        }
        Ok(())
    }

    /// Offsets of the units with a range that holds the address.
    pub(super) fn units_at(&self, address: u64) -> Vec<usize> {
        let first = self.ranges.partition_point(|range| range.end <= address);
        let mut units: Vec<_> = self.ranges[first..]
            .iter()
            .take_while(|range| range.begin_min <= address)
            .filter(|range| range.begin <= address)
            .map(|range| self.units[range.unit as usize])
            .collect();
        // A unit may say the same range twice.
        units.dedup();
        units
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.ranges.capacity() * size_of::<UnitRange>() + self.units.capacity() * size_of::<usize>()
    }
}

/// Linkers leave debug information of code that they threw away, at address 0 (or 1, where 0 would end a list).
pub(super) fn is_discarded(begin: u64) -> bool {
    begin <= 1
}

fn push(ranges: &mut Vec<UnitRange>, unit: u32, begin: u64, end: u64) {
    if begin < end && !is_discarded(begin) {
        ranges.push(UnitRange { begin, end, unit, begin_min: 0 });
    }
}
