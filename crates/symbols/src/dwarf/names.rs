//! What a function is called. Entries refer to others for it, also in other units.

use std::collections::HashMap;

use gimli::{AttributeValue, UnitOffset, UnitRef};

use super::Reader;

/// References from an entry to the one that has the name: a chain of instance, definition and declaration has three.
const HOPS_MAX: usize = 16;
/// Units kept for references from other units. Each is its abbreviations and file names.
const UNITS_KEPT_MAX: usize = 64;
/// Longest name. C++ has some of several kilobytes.
const NAME_MAX: usize = 64 << 10;

/// What is known of a function.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) linkage_name: Option<String>,
    pub(super) name: Option<String>,
    pub(super) line: u32,
}

/// Units that entries of other units refer to: whether of the alternate file, and the offset of the unit.
#[derive(Default)]
pub(super) struct ForeignUnits<'a> {
    units: HashMap<(bool, usize), gimli::Unit<Reader<'a>>>,
    /// Offsets of all units of the file, then of the alternate file; read when first needed.
    offsets: [Option<Vec<usize>>; 2],
}

/// An entry: of the unit at hand or of another.
enum Place {
    Here(UnitOffset),
    Elsewhere { alternate: bool, unit: usize, entry: UnitOffset },
}

impl<'a> ForeignUnits<'a> {
    pub(super) fn size_bytes(&self) -> usize {
        let units: usize = self.units.values().map(super::unit::unit_bytes).sum();
        units
            + self
                .offsets
                .iter()
                .flatten()
                .map(|offsets| offsets.capacity() * size_of::<usize>())
                .sum::<usize>()
    }

    /// Follows references until all is known. What cannot be read is unknown.
    pub(super) fn facts(&mut self, unit: UnitRef<'_, Reader<'a>>, entry: UnitOffset) -> Facts {
        let mut facts = Facts::default();
        let mut place = Place::Here(entry);
        let mut in_alternate = false;
        for _ in 0..HOPS_MAX {
            let next = match place {
                Place::Here(entry) => read(unit, entry, &mut facts).map(|next| (unit.header, next)),
                Place::Elsewhere { alternate, unit: offset, entry } => {
                    in_alternate = alternate;
                    let dwarf = if alternate { unit.dwarf.sup() } else { Some(unit.dwarf) };
                    let Some(dwarf) = dwarf else { break };
                    let Some(parsed) = self.unit(dwarf, alternate, offset) else { break };
                    read(UnitRef::new(dwarf, parsed), entry, &mut facts).map(|next| (parsed.header, next))
                }
            };
            let Some((header, next)) = next else { break };
            if facts.linkage_name.is_some() && facts.line != 0 {
                break;
            }
            let elsewhere = |alternate, offset, units: &mut Self| {
                let dwarf = if alternate { unit.dwarf.sup()? } else { unit.dwarf };
                units.locate(dwarf, alternate, offset)
            };
            let found = match next {
                AttributeValue::UnitRef(entry) => match place {
                    Place::Here(_) => Some(Place::Here(entry)),
                    Place::Elsewhere { alternate, unit, .. } => {
                        Some(Place::Elsewhere { alternate, unit, entry })
                    }
                },
                AttributeValue::DebugInfoRef(offset) => match offset.to_unit_offset(&header) {
                    Some(entry) if matches!(place, Place::Here(_)) => Some(Place::Here(entry)),
                    _ => elsewhere(in_alternate, offset.0, self),
                },
                AttributeValue::DebugInfoRefSup(offset) => elsewhere(true, offset.0, self),
                _ => None,
            };
            let Some(found) = found else { break };
            place = found;
        }
        facts
    }

    /// The unit that an offset lies in.
    fn locate(&mut self, dwarf: &super::Dwarf<'a>, alternate: bool, offset: usize) -> Option<Place> {
        let offsets = self.offsets[usize::from(alternate)].get_or_insert_with(|| {
            let mut offsets = Vec::new();
            let mut units = dwarf.units();
            while let Ok(Some(header)) = units.next() {
                offsets.extend(header.debug_info_offset().map(|offset| offset.0));
            }
            offsets
        });
        let unit = *offsets[..offsets.partition_point(|&unit| unit <= offset)].last()?;
        let header = dwarf.debug_info.header_from_offset(gimli::DebugInfoOffset(unit)).ok()?;
        let entry = gimli::DebugInfoOffset(offset).to_unit_offset(&header)?;
        Some(Place::Elsewhere { alternate, unit, entry })
    }

    fn unit(
        &mut self,
        dwarf: &super::Dwarf<'a>,
        alternate: bool,
        offset: usize,
    ) -> Option<&gimli::Unit<Reader<'a>>> {
        if !self.units.contains_key(&(alternate, offset)) {
            if self.units.len() >= UNITS_KEPT_MAX {
                self.units.clear();
            }
            let header = dwarf.debug_info.header_from_offset(gimli::DebugInfoOffset(offset)).ok()?;
            self.units.insert((alternate, offset), dwarf.unit(header).ok()?);
        }
        self.units.get(&(alternate, offset))
    }
}

/// Reads an entry; gives the reference to the entry that says more, if there is one.
fn read<'a>(
    unit: UnitRef<'_, Reader<'a>>,
    entry: UnitOffset,
    facts: &mut Facts,
) -> Option<AttributeValue<Reader<'a>>> {
    let mut entries = unit.entries_raw(Some(entry)).ok()?;
    let abbreviation = entries.read_abbreviation().ok()??;
    let mut next = None;
    let text = |value| {
        let text = unit.attr_string(value).ok()?;
        (text.len() <= NAME_MAX && !text.is_empty()).then(|| text.to_string_lossy().into_owned())
    };
    for attribute in abbreviation.attributes() {
        let attribute = entries.read_attribute(*attribute).ok()?;
        match attribute.name() {
            gimli::DW_AT_linkage_name | gimli::DW_AT_MIPS_linkage_name if facts.linkage_name.is_none() => {
                facts.linkage_name = text(attribute.value());
            }
            gimli::DW_AT_name if facts.name.is_none() => facts.name = text(attribute.value()),
            gimli::DW_AT_decl_line if facts.line == 0 => {
                facts.line = attribute.udata_value().and_then(|line| u32::try_from(line).ok()).unwrap_or(0);
            }
            gimli::DW_AT_abstract_origin | gimli::DW_AT_specification => next = Some(attribute.value()),
            _ => {}
        }
    }
    next
}
