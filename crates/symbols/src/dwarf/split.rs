//! Units whose functions are in other files: `.dwo`, one for each unit, or `.dwp`, a package of many.

use std::collections::HashMap;

use gimli::{EndianSlice, RunTimeEndian};

use super::{Dwarf, DwarfError, Owner, Reader};
use crate::{ObjectBytes, elf::Elf};

/// What a mapped file of split DWARF counts for in memory: page tables and what the kernel notes of a mapping. It also bounds how
/// many there are, of which Linux allows 65,530.
const MAPPING_BYTES: usize = 16 << 10;
/// Sections of a file that is looked at for its units may be this large, decompressed.
const SECTION_MAX_BYTES: usize = 256 << 20;
/// Units of one file that are told. The largest programs have some ten thousand.
const UNITS_MAX: usize = 1 << 18;

/// A unit with functions, and the file that it is in.
type SplitUnit<'a> = (Box<Dwarf<'a>>, gimli::Unit<Reader<'a>>);

/// Packages that were opened, by where their bytes are.
#[derive(Default)]
pub(super) struct SplitFiles<'a> {
    packages: HashMap<usize, gimli::DwarfPackage<Reader<'a>>>,
}

impl<'a> SplitFiles<'a> {
    /// The unit that has the functions of `skeleton`; `None` if nobody has it.
    pub(super) fn unit(
        &mut self,
        owner: &'a Owner,
        parent: &Dwarf<'a>,
        skeleton: &gimli::Unit<Reader<'a>>,
        id: gimli::DwoId,
    ) -> Result<Option<SplitUnit<'a>>, DwarfError> {
        let Some(companions) = &owner.input.companions else { return Ok(None) };
        let Some(name) = skeleton.dwo_name()? else { return Ok(None) };
        let name = parent.attr_string(skeleton, name)?.to_string_lossy();
        let directory = skeleton.comp_dir.map(|directory| directory.to_string_lossy()).unwrap_or_default();
        let Some(bytes) = companions.split_dwarf(&directory, &name, id.0) else { return Ok(None) };
        let dwarf = match self.packages.get(&((*bytes).as_ref().as_ptr() as usize)) {
            Some(package) => package.find_cu(id, parent)?,
            None => {
                owner.held_bytes.set(owner.held_bytes.get() + MAPPING_BYTES);
                let bytes: &'a ObjectBytes = owner.files.alloc(bytes);
                let bytes = (**bytes).as_ref();
                let Ok(elf) = Elf::parse_any(bytes) else { return Ok(None) };
                if elf.has_section(".debug_cu_index") {
                    let package = package(owner, &elf)?;
                    let dwarf = package.find_cu(id, parent)?;
                    self.packages.insert(bytes.as_ptr() as usize, package);
                    dwarf
                } else {
                    Some(single(owner, &elf, parent)?)
                }
            }
        };
        let Some(dwarf) = dwarf else { return Ok(None) };
        let mut units = dwarf.units();
        while let Some(header) = units.next()? {
            let mut unit = dwarf.unit(header)?;
            if unit.dwo_id == Some(id) {
                unit.copy_relocated_attributes(skeleton);
                return Ok(Some((Box::new(dwarf), unit)));
            }
        }
        Ok(None)
    }
}

fn package<'a>(owner: &'a Owner, elf: &Elf<'a>) -> Result<gimli::DwarfPackage<Reader<'a>>, DwarfError> {
    let empty = EndianSlice::new(&[][..], endian(elf));
    let load = |section: gimli::SectionId| match section.dwo_name() {
        Some(name) => owner.load(elf, name).map_err(DwarfError::from),
        None => Ok(empty),
    };
    gimli::DwarfPackage::load(load, empty)
}

fn single<'a>(owner: &'a Owner, elf: &Elf<'a>, parent: &Dwarf<'a>) -> Result<Dwarf<'a>, DwarfError> {
    let mut dwarf = gimli::Dwarf::load(|section| match section.dwo_name() {
        Some(name) => owner.load(elf, name),
        None => Ok(EndianSlice::new(&[][..], endian(elf))),
    })?;
    dwarf.make_dwo(parent);
    Ok(dwarf)
}

fn endian(elf: &Elf<'_>) -> RunTimeEndian {
    if elf.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big }
}

/// Ids of the units of split DWARF in a file, in order. What cannot be read has none.
pub(crate) fn unit_ids(elf: &Elf<'_>) -> Vec<u64> {
    let section = |name: &str| elf.section_decompressed(name, SECTION_MAX_BYTES).unwrap_or_default();
    let mut ids = if elf.has_section(".debug_cu_index") {
        ids_of_index(&section(".debug_cu_index"), elf.is_little_endian())
    } else if elf.has_section(".debug_info.dwo") {
        ids_of_units(&section(".debug_info.dwo"), &section(".debug_abbrev.dwo"), endian(elf))
    } else {
        Vec::new()
    };
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// DWARF 5, section 7.3.5.3: a version (4 bytes), the number of columns, of units, of slots of a hash table (4 bytes each), then the
/// slots: ids (8 bytes each), and rows (4 bytes each), 0 where the slot is empty.
fn ids_of_index(index: &[u8], little_endian: bool) -> Vec<u64> {
    const HEADER: usize = 16;
    let word = |at: usize| -> Option<u32> {
        let bytes = index.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if little_endian { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    let Some(slots) = word(12).and_then(|slots| usize::try_from(slots).ok()) else { return Vec::new() };
    let Some(rows) = slots.checked_mul(8).and_then(|size| size.checked_add(HEADER)) else {
        return Vec::new();
    };
    let Some(ids) = index.get(HEADER..rows) else { return Vec::new() };
    let id = |bytes: &[u8]| {
        let bytes = bytes.try_into().ok()?;
        Some(if little_endian { u64::from_le_bytes(bytes) } else { u64::from_be_bytes(bytes) })
    };
    let used =
        ids.chunks_exact(8).zip(0..).filter(|(_, slot)| word(rows + slot * 4).is_some_and(|row| row != 0));
    used.filter_map(|(bytes, _)| id(bytes)).take(UNITS_MAX).collect()
}

fn ids_of_units(info: &[u8], abbreviations: &[u8], endian: RunTimeEndian) -> Vec<u64> {
    let reader = |id: gimli::SectionId| -> Result<Reader<'_>, gimli::Error> {
        Ok(EndianSlice::new(
            match id {
                gimli::SectionId::DebugInfo => info,
                gimli::SectionId::DebugAbbrev => abbreviations,
                _ => &[],
            },
            endian,
        ))
    };
    let Ok(mut dwarf) = gimli::Dwarf::load(reader) else { return Vec::new() };
    dwarf.file_type = gimli::DwarfFileType::Dwo;
    let mut ids = Vec::new();
    let mut units = dwarf.units();
    while let Ok(Some(header)) = units.next() {
        if let gimli::UnitType::SplitCompilation(id) = header.type_() {
            ids.push(id.0);
        } else if let Some(id) = id_attribute(&dwarf, header) {
            ids.push(id);
        }
        if ids.len() >= UNITS_MAX {
            break;
        }
    }
    ids
}

/// Before DWARF 5 the id is an attribute of the unit.
fn id_attribute(dwarf: &Dwarf<'_>, header: gimli::UnitHeader<Reader<'_>>) -> Option<u64> {
    let abbreviations = dwarf.abbreviations(&header).ok()?;
    let mut entries = header.entries(&abbreviations);
    match entries.next_dfs().ok()??.attr_value(gimli::DW_AT_GNU_dwo_id)? {
        gimli::AttributeValue::DwoId(id) => Some(id.0),
        value => value.udata_value(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected: what `readelf --debug-dump=info` says.
    #[test]
    fn ids_of_files() {
        let check = |bytes: &[u8], expected: &[u64]| {
            assert_eq!(Elf::parse(bytes).unwrap().split_units(), expected);
        };
        check(include_bytes!("../../../../fuzz/corpus/elf/dwo-dwarf5"), &[0xa5ba_2bbb_828b_fecd]);
        check(include_bytes!("../../../../fuzz/corpus/elf/dwo-dwarf4"), &[0xe374_dfce_9410_8a04]);
        check(include_bytes!("../../../../fuzz/corpus/elf/dwp-dwarf4"), &[0xe374_dfce_9410_8a04]);
        check(include_bytes!("../../../../fuzz/corpus/elf/dwp-dwarf5"), &[0x926e_0218_39e7_8d64]);
        check(include_bytes!("../../../../fuzz/corpus/elf/dwz"), &[]);
        check(include_bytes!("../../../../fuzz/corpus/elf/program-dwarf5"), &[]);
    }

    #[test]
    fn ids_of_a_package() {
        let mut index = Vec::new();
        for word in [2u32, 3, 2, 4] {
            index.extend_from_slice(&word.to_le_bytes());
        }
        for id in [7u64, 0, 9, 0] {
            index.extend_from_slice(&id.to_le_bytes());
        }
        for row in [1u32, 0, 2, 0] {
            index.extend_from_slice(&row.to_le_bytes());
        }
        assert_eq!(ids_of_index(&index, true), [7, 9]);
        for end in 0..index.len() {
            assert!(ids_of_index(&index[..end], true).len() <= 2, "{end}");
        }
        assert_eq!(ids_of_index(&[0xff; 64], true), [0u64; 0]);
    }
}
