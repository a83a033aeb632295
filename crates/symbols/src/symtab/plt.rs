//! Stubs by which a program or library calls functions of others: `.plt`, `.plt.sec`, `.plt.got`.
//!
//! No symbol names them. Each jumps to where an entry of the global offset table says, and a relocation says which function the
//! loader puts there:
//!
//! ```text
//! [endbr64]  [bnd] jmp *distance(%rip)  …         x86-64; stubs of other machines have no names
//! ```

use std::collections::HashMap;

use object::{Architecture, Object as _, ObjectSymbol as _, ObjectSymbolTable as _, RelocationTarget};

use crate::elf::Elf;

/// Where stubs are.
const SECTIONS: [&str; 3] = [".plt", ".plt.sec", ".plt.got"];
/// The largest stub.
const STUB_BYTES: u64 = 16;
/// `jmp *distance(%rip)`, before the distance in four bytes.
const JUMP: [u8; 2] = [0xff, 0x25];
/// The instruction at which calls may arrive.
const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
/// What may stand before the jump.
const BND: u8 = 0xf2;
/// More functions than any file calls.
const RELOCATIONS_MAX: usize = 1 << 20;

/// A stub, and the name of the function that it is for.
pub(super) struct Stub<'data> {
    pub(super) address: u64,
    /// At most; the next stub may begin before.
    pub(super) end: u64,
    pub(super) name: &'data [u8],
}

/// All stubs whose function is known.
pub(super) fn stubs<'data>(elf: &Elf<'data>) -> impl Iterator<Item = Stub<'data>> {
    let functions =
        if elf.file().architecture() == Architecture::X86_64 { functions(elf) } else { HashMap::new() };
    let sections = if functions.is_empty() { &[][..] } else { &SECTIONS };
    let sections: Vec<_> = sections.iter().filter_map(|name| elf.section(name)).collect();
    sections.into_iter().flat_map(move |(start, code)| {
        let stubs: Vec<_> = in_section(start, code, &functions).collect();
        stubs
    })
}

/// Names of functions by the address of the entry that the loader fills in.
fn functions<'data>(elf: &Elf<'data>) -> HashMap<u64, &'data [u8]> {
    let file = elf.file();
    let (Some(symbols), Some(relocations)) = (file.dynamic_symbol_table(), file.dynamic_relocations()) else {
        return HashMap::new();
    };
    let name = |(entry, relocation): (u64, object::Relocation)| {
        let RelocationTarget::Symbol(symbol) = relocation.target() else { return None };
        let name = symbols.symbol_by_index(symbol).ok()?.name_bytes().ok()?;
        (!name.is_empty()).then_some((entry, name))
    };
    relocations.take(RELOCATIONS_MAX).filter_map(name).collect()
}

fn in_section<'data>(
    start: u64,
    code: &[u8],
    functions: &HashMap<u64, &'data [u8]>,
) -> impl Iterator<Item = Stub<'data>> {
    memchr::memmem::find_iter(code, &JUMP).filter_map(move |jump| {
        let distance = code.get(jump + JUMP.len()..)?.first_chunk::<4>()?;
        let behind = start.wrapping_add((jump + JUMP.len() + distance.len()) as u64);
        let entry = behind.wrapping_add_signed(i64::from(i32::from_le_bytes(*distance)));
        let name = *functions.get(&entry)?;
        let before = &code[..jump];
        let before = before.strip_suffix(&[BND]).unwrap_or(before);
        let before = before.strip_suffix(&ENDBR64).unwrap_or(before);
        let address = start.wrapping_add(before.len() as u64);
        Some(Stub { address, end: address.saturating_add(STUB_BYTES), name })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let functions = HashMap::from([(0x3000, &b"printf"[..]), (0x3008, b"malloc")]);
        let jump = |at: u64, entry: u64| {
            let distance = (entry as i64 - (at as i64 + 6)) as i32;
            [&JUMP[..], &distance.to_le_bytes()].concat()
        };
        // The first entry jumps to the loader, which is no function; then stubs of each form.
        let mut code = [&[0xff, 0x35, 0, 0, 0, 0][..], &jump(0x1006, 0x2ff8), &[0x90; 4]].concat();
        code.extend([&jump(0x1010, 0x3000)[..], &[0x68, 0, 0, 0, 0, 0xe9, 0, 0, 0, 0]].concat());
        code.extend([&ENDBR64[..], &[BND], &jump(0x1025, 0x3008), &[0x90; 5]].concat());
        code.extend([&ENDBR64[..], &jump(0x1034, 0x3000), &[0x90; 6]].concat());
        code.extend(JUMP);
        let found: Vec<_> =
            in_section(0x1000, &code, &functions).map(|stub| (stub.address, stub.name)).collect();
        assert_eq!(found, [(0x1010, &b"printf"[..]), (0x1020, b"malloc"), (0x1030, b"printf")]);
    }
}
