//! Here is a file, gives you its symbols by address, and of the stubs by which it calls others ([`plt`]).

mod plt;

use std::{collections::HashMap, ops::Range};

use object::{
    Object as _, ObjectSection as _, ObjectSymbol as _, ObjectSymbolTable as _, SectionIndex, SymbolKind,
    SymbolSection,
};

use crate::elf::{self, Elf};

/// More symbols than any file has; each takes 32 bytes.
const SYMBOLS_MAX: usize = 8 << 20;
/// Longest name of a symbol. C++ has some of several kilobytes.
const NAME_MAX: usize = 64 << 10;

/// A function's symbol; its name lies in the file.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    address: u64,
    end: u64,
    name_at: usize,
    name_length: u32,
    rank: u8,
    is_stub: bool,
}

/// The name of a function, as it is in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name<'data> {
    pub(crate) bytes: &'data [u8],
    /// Whether the code is a stub that jumps there.
    pub(crate) is_stub: bool,
}

/// Symbols of functions in order of address, one for each address.
#[derive(Debug, Default)]
pub(crate) struct SymbolTable {
    symbols: Vec<Symbol>,
    /// For each symbol the largest end of it and those before.
    reach: Vec<u64>,
}

impl SymbolTable {
    /// Reads `.symtab` and `.dynsym`, and what the stubs of `.plt` are for.
    pub(crate) fn read(elf: &Elf<'_>) -> Self {
        let file = elf.file();
        let code = code(elf);
        let mut symbols = Vec::new();
        for table in [file.symbol_table(), file.dynamic_symbol_table()].into_iter().flatten() {
            for symbol in table.symbols() {
                let SymbolSection::Section(section) = symbol.section() else { continue };
                let Some(range) = code.get(&section) else { continue };
                let Ok(name) = symbol.name_bytes() else { continue };
                let Some(rank) = rank(symbol.kind(), symbol.size(), symbol.is_global(), symbol.is_weak())
                else {
                    continue;
                };
                if name.is_empty()
                    || name.len() > NAME_MAX
                    || is_marker(name)
                    || !range.contains(&symbol.address())
                {
                    continue;
                }
                let Some(name_at) = offset_within(elf.data(), name) else { continue };
                // One without a size reaches as far as the next one, at most to the end of its section.
                let end = match symbol.size() {
                    0 => range.end,
                    size => symbol.address().saturating_add(size),
                };
                let name_length = u32::try_from(name.len()).unwrap_or_default();
                let address = symbol.address();
                symbols.push(Symbol { address, end, name_at, name_length, rank, is_stub: false });
                if symbols.len() == SYMBOLS_MAX {
                    break;
                }
            }
        }
        let room = SYMBOLS_MAX.saturating_sub(symbols.len());
        symbols.extend(plt::stubs(elf).take(room).filter_map(|stub| {
            let name_at = offset_within(elf.data(), stub.name)?;
            let name_length =
                u32::try_from(stub.name.len()).ok().filter(|&length| length as usize <= NAME_MAX)?;
            // Any symbol at the same address says more.
            Some(Symbol {
                address: stub.address,
                end: stub.end,
                name_at,
                name_length,
                rank: 0,
                is_stub: true,
            })
        }));
        let name = |symbol: &Symbol| &elf.data()[symbol.name_at..][..symbol.name_length as usize];
        // The best of those at one address comes first; the name decides between equals so that the answer is always the same.
        symbols.sort_unstable_by(|a, b| {
            (a.address, b.rank).cmp(&(b.address, a.rank)).then_with(|| name(a).cmp(name(b)))
        });
        symbols.dedup_by_key(|symbol| symbol.address);
        symbols.shrink_to_fit();
        for index in 1..symbols.len() {
            let next = symbols[index].address;
            let symbol = &mut symbols[index - 1];
            if symbol.rank & RANK_SIZED == 0 {
                symbol.end = symbol.end.min(next);
            }
        }
        let mut reach = Vec::with_capacity(symbols.len());
        let mut furthest = 0;
        for symbol in &symbols {
            furthest = symbol.end.max(furthest);
            reach.push(furthest);
        }
        Self { symbols, reach }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }

    /// Name of the function at an address, as it is in `data`, which must be what the table was read from.
    pub(crate) fn find<'data>(&self, address: u64, data: &'data [u8]) -> Option<Name<'data>> {
        let after = self.symbols.partition_point(|symbol| symbol.address <= address);
        // The nearest one before the address, unless the address is behind its end and inside of one that began earlier.
        // Symbols overlap rarely and briefly: what is further away than this is no better than no answer.
        const STEPS_MAX: usize = 64;
        let symbol = (0..after)
            .rev()
            .take(STEPS_MAX)
            .take_while(|&index| self.reach[index] > address)
            .map(|index| &self.symbols[index])
            .find(|symbol| symbol.end > address)?;
        let bytes = data.get(symbol.name_at..)?.get(..symbol.name_length as usize)?;
        Some(Name { bytes, is_stub: symbol.is_stub })
    }

    /// Memory held.
    pub(crate) fn size_bytes(&self) -> usize {
        self.symbols.capacity() * size_of::<Symbol>() + self.reach.capacity() * size_of::<u64>()
    }
}

/// Where sections with code are. Files with debug information only have them without bytes, and some senders' also
/// without a size; then they reach to the next section.
fn code(elf: &Elf<'_>) -> HashMap<SectionIndex, Range<u64>> {
    let sections = || elf.file().sections().filter(|section| elf::is_allocated(section.flags()));
    let mut starts: Vec<_> = sections().map(|section| section.address()).collect();
    starts.sort_unstable();
    let end = |start: u64, size: u64| match size {
        0 => starts.get(starts.partition_point(|&other| other <= start)).copied().unwrap_or(u64::MAX),
        size => start.saturating_add(size),
    };
    sections()
        .filter(|section| elf::is_code(section.flags()))
        .map(|section| (section.index(), section.address()..end(section.address(), section.size())))
        .collect()
}

/// Part of the rank of a symbol that says how far it reaches.
const RANK_SIZED: u8 = 4;

/// How good a name a symbol gives to the code at its address; `None` if it does not name code.
fn rank(kind: SymbolKind, size: u64, global: bool, weak: bool) -> Option<u8> {
    let of_kind = match kind {
        SymbolKind::Text => 8,
        // Assembler routines often have no type.
        SymbolKind::Unknown | SymbolKind::Label => 0,
        _ => return None,
    };
    Some(of_kind + if size > 0 { RANK_SIZED } else { 0 } + if global { 2 } else { 0 } + u8::from(!weak))
}

/// Marks of ARM and RISC-V for what kind of code follows.
fn is_marker(name: &[u8]) -> bool {
    matches!(name, [b'$', b'a' | b'd' | b't' | b'x', ..])
}

/// Where in `data` a part of it lies.
pub(crate) fn offset_within(data: &[u8], part: &[u8]) -> Option<usize> {
    let offset = (part.as_ptr() as usize).checked_sub(data.as_ptr() as usize)?;
    (offset.checked_add(part.len())? <= data.len()).then_some(offset)
}

/// The address of a symbol, looked up by name.
pub(crate) fn address_of(elf: &Elf<'_>, name: &str) -> Option<u64> {
    elf.file().symbol_by_name(name).map(|symbol| symbol.address())
}
