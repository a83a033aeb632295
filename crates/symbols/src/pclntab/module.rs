//! Finding the table in a program, and what the program's module descriptor says of it: where the code and the inline
//! trees are.
//!
//! A program that was not stripped has symbols for all of them. In others the descriptor is found by its first field,
//! which points at the table: as bytes, or in position-independent programs as the addend of a relocation.

use std::ops::Range;

use memchr::memmem;
use object::{Object as _, ObjectSection as _};

use super::{
    GoLineTable,
    table::{Table, Version, u64_at},
};
use crate::{elf::Elf, symtab};

/// Sections that the table has, by kind of program.
const SECTIONS: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];
/// Where else it is: linkers of other languages merge sections.
const SECTIONS_MERGED: [&str; 2] = [".data.rel.ro", ".rodata"];
/// Candidates for the descriptor that are looked at.
const CANDIDATES_MAX: usize = 256;
/// Relocations that are looked at: a large program has some hundred thousand.
const RELOCATIONS_MAX: usize = 4 << 20;

/// Offsets in the descriptor on 64-bit machines.
mod field {
    pub(super) const NAMES: u64 = 8;
    pub(super) const FUNCTIONS_LENGTH: u64 = 136;
    pub(super) const CODE_START: u64 = 160;
    pub(super) const CODE_END: u64 = 168;
    pub(super) const TEXT: u64 = 176;
    pub(super) const INLINE_TREES_GO118: u64 = 304;
    pub(super) const INLINE_TREES_GO120: u64 = 320;
}

pub(super) fn find(elf: &Elf<'_>) -> Option<GoLineTable> {
    let little_endian = elf.is_little_endian();
    let (address, bytes) = table_bytes(elf)?;
    let table = Table::parse(bytes, little_endian)?;
    let descriptor = Descriptor::find(elf, address, &table);
    let text = match &descriptor {
        Some(found) => found.code.clone(),
        None => {
            let start = text_start(elf, &table)?;
            start..start.checked_add(table.end())?
        }
    };
    let inline_trees = descriptor
        .and_then(|found| found.inline_trees)
        .or_else(|| symtab::address_of(elf, "go:func.*").or_else(|| symtab::address_of(elf, "go.func.*")))
        .and_then(|address| elf.bytes_at(address))
        // Since Go 1.26 they follow the table in its section.
        .or_else(|| table.trees_behind())
        .and_then(|trees| range_of(elf, trees));
    Some(GoLineTable { table: range_of(elf, bytes)?, little_endian, text, inline_trees })
}

fn table_bytes<'data>(elf: &Elf<'data>) -> Option<(u64, &'data [u8])> {
    let of_section = SECTIONS.iter().find_map(|name| elf.section(name));
    let of_symbol = || {
        let address = symtab::address_of(elf, "runtime.pclntab")?;
        Some((address, elf.bytes_at(address)?))
    };
    of_section.or_else(of_symbol).or_else(|| {
        SECTIONS_MERGED.iter().find_map(|name| {
            let (address, data) = elf.section(name)?;
            merged(data, elf.is_little_endian()).map(|at| (address + at as u64, &data[at..]))
        })
    })
}

/// Where in a section the table begins, if its header is somewhere.
fn merged(data: &[u8], little_endian: bool) -> Option<usize> {
    // The magic differs in one bit; the three bytes beside that one are the same.
    let common: &[u8] = if little_endian { &[0xff, 0xff, 0xff, 0, 0] } else { &[0xff, 0xff, 0xff] };
    let before = usize::from(little_endian);
    memmem::find_iter(data, common)
        .filter_map(|at| at.checked_sub(before))
        .filter(|at| at % 4 == 0)
        .find(|&at| Table::parse(&data[at..], little_endian).is_some_and(|table| table.functions > 0))
}

/// Where the code starts, without a descriptor.
fn text_start(elf: &Elf<'_>, table: &Table<'_>) -> Option<u64> {
    if let Some(address) = symtab::address_of(elf, "runtime.text") {
        return Some(address);
    }
    if table.text_start != 0 {
        return Some(table.text_start);
    }
    // Stripped, and only the table left: the code starts with its section unless C was linked before it. Then there is
    // C's code for the start, and the program would not begin with Go's own first routine.
    let text = elf.file().section_by_name(".text")?.address();
    if elf.entry() == 0 {
        return elf.file().section_by_name(".init").is_none().then_some(text);
    }
    let entry = elf.entry().checked_sub(text)?;
    let routine = table.routine(entry).filter(|routine| routine.entry == entry)?;
    table.name(routine.name)?.starts_with(b"_rt0_").then_some(text)
}

/// What the module descriptor says.
struct Descriptor {
    code: Range<u64>,
    inline_trees: Option<u64>,
}

impl Descriptor {
    fn find(elf: &Elf<'_>, table_address: u64, table: &Table<'_>) -> Option<Self> {
        // The offsets are those of 64-bit machines; no other is profiled.
        if table.word_size != 8 {
            return None;
        }
        let relocated = relocations(elf);
        let known = symtab::address_of(elf, "runtime.firstmoduledata");
        let searched = || candidates(elf, table_address, &relocated);
        let mut addresses = known.into_iter().chain(std::iter::once_with(searched).flatten());
        addresses.find_map(|start| {
            let bytes = elf.bytes_at(start).unwrap_or_default();
            let words = Words { start, bytes, little_endian: elf.is_little_endian(), relocated: &relocated };
            Self::read(&words, table_address, table)
        })
    }

    fn read(words: &Words<'_>, table_address: u64, table: &Table<'_>) -> Option<Self> {
        let word = |offset| words.at(offset);
        let is_it = word(0)? == table_address
            && word(field::NAMES)? == table_address.checked_add(table.names_offset() as u64)?
            && word(field::FUNCTIONS_LENGTH)? == table.functions as u64 + 1;
        if !is_it {
            return None;
        }
        let text = word(field::TEXT)?;
        let code = word(field::CODE_START)?..word(field::CODE_END)?;
        // Nothing but padding can be between the text's start and the first function.
        if text > code.start || code.is_empty() {
            return None;
        }
        let inline_trees = match table.version {
            Version::Go118 => word(field::INLINE_TREES_GO118),
            Version::Go120 => word(field::INLINE_TREES_GO120),
        };
        Some(Self { code: text..code.end, inline_trees: inline_trees.filter(|&address| address != 0) })
    }
}

/// Words of memory from an address on, as they are once the program was loaded at its own addresses.
struct Words<'a> {
    start: u64,
    bytes: &'a [u8],
    little_endian: bool,
    relocated: &'a [(u64, u64)],
}

impl Words<'_> {
    fn at(&self, offset: u64) -> Option<u64> {
        let address = self.start.checked_add(offset)?;
        match self.relocated.binary_search_by_key(&address, |&(at, _)| at) {
            Ok(index) => Some(self.relocated[index].1),
            Err(_) => u64_at(self.bytes, usize::try_from(offset).ok()?, self.little_endian),
        }
    }
}

/// Places and what the loader writes there, in order, where that depends on nothing but where the program is loaded.
fn relocations(elf: &Elf<'_>) -> Vec<(u64, u64)> {
    let all = elf.file().dynamic_relocations().into_iter().flatten().take(RELOCATIONS_MAX);
    let mut relocated: Vec<_> = all
        .filter(|(_, relocation)| relocation.target() == object::RelocationTarget::Absolute)
        .filter_map(|(at, relocation)| {
            Some((at, u64::try_from(relocation.addend()).ok().filter(|&to| to != 0)?))
        })
        .collect();
    relocated.sort_unstable();
    relocated
}

/// Addresses at which there is a pointer to the table.
fn candidates(elf: &Elf<'_>, table_address: u64, relocated: &[(u64, u64)]) -> Vec<u64> {
    let needle =
        if elf.is_little_endian() { table_address.to_le_bytes() } else { table_address.to_be_bytes() };
    let of_relocations = relocated.iter().filter(|&&(_, to)| to == table_address).map(|&(at, _)| at);
    let of_bytes = elf.mapped_sections().flat_map(|(address, data)| {
        let aligned = memmem::find_iter(data, &needle).filter(|at| at % 8 == 0);
        aligned.map(move |at| address.saturating_add(at as u64)).collect::<Vec<_>>()
    });
    of_relocations.chain(of_bytes).take(CANDIDATES_MAX).collect()
}

/// Where in the file a part of it lies.
fn range_of(elf: &Elf<'_>, part: &[u8]) -> Option<Range<usize>> {
    let start = symtab::offset_within(elf.data(), part)?;
    Some(start..start + part.len())
}
