//! Targets for object files and what is in them.

use std::sync::Arc;

use decima_symbols::{
    Answer, Companions, ObjectBytes, ObjectFiles, Options, Symbolizer,
    build_id::{BuildId, go_build_id},
    demangle::{self, Mode},
    elf::Elf,
};

/// A fuzzer's small input must not make us hold more.
const MEMORY_MAX_BYTES: usize = 64 << 20;
/// Where the made up code is.
const TEXT_ADDRESS: u64 = 0x1000;
const TEXT_SIZE: u64 = 0x10000;

/// An object file, whatever is in it.
pub fn elf(input: &[u8]) {
    let Ok(file) = Elf::parse(input) else { return };
    BuildId::gnu(&file);
    go_build_id(&file);
    BuildId::hash(input);
    file.debug_link();
    file.alternate_link();
    file.split_units();
    ask(ObjectFiles::of(input.to_vec()), &addresses(&file));
}

/// A program and another file, which stands for each that a program may refer to: its debug information, what it shares (dwz), and
/// its split DWARF. The length of the program in four bytes, then both.
pub fn companions(input: &[u8]) {
    let Some((length, files)) = input.split_first_chunk::<4>() else { return };
    let Some((program, other)) = files.split_at_checked(u32::from_le_bytes(*length) as usize) else { return };
    let (program, other): (ObjectBytes, ObjectBytes) = (Arc::new(program.to_vec()), Arc::new(other.to_vec()));
    let Ok(file) = Elf::parse((*program).as_ref()) else { return };
    let alone =
        ObjectFiles { object: Arc::clone(&program), debuginfo: None, alternate: None, companions: None };
    let split = ObjectFiles { companions: Some(Arc::new(One(Arc::clone(&other)))), ..alone.clone() };
    let shared = ObjectFiles { alternate: Some(Arc::clone(&other)), ..alone.clone() };
    let parted = ObjectFiles { debuginfo: Some(other), ..alone };
    let addresses = addresses(&file);
    for files in [split, shared, parted] {
        ask(files, &addresses);
    }
}

/// The same file, whatever is asked for.
struct One(ObjectBytes);

impl Companions for One {
    fn split_dwarf(&self, _directory: &str, _name: &str, _id: u64) -> Option<ObjectBytes> {
        Some(Arc::clone(&self.0))
    }
}

/// Addresses all over a file, and some outside.
fn addresses(file: &Elf<'_>) -> Vec<u64> {
    let segments = file.segments();
    let starts = segments.iter().flat_map(|segment| {
        (0..64)
            .map(|step| segment.address.wrapping_add(segment.size_bytes.wrapping_div(64).wrapping_mul(step)))
    });
    let more = [0, 1, TEXT_ADDRESS, u64::MAX, u64::MAX - 1];
    starts.chain(more).collect()
}

/// Sections of debug information: each is the number of its name, its length in four bytes, its bytes.
pub fn dwarf(input: &[u8]) {
    const NAMES: [&str; 11] = [
        ".debug_info",
        ".debug_abbrev",
        ".debug_line",
        ".debug_str",
        ".debug_line_str",
        ".debug_ranges",
        ".debug_rnglists",
        ".debug_addr",
        ".debug_str_offsets",
        ".debug_aranges",
        ".symtab",
    ];
    let mut sections = Vec::new();
    let mut rest = input;
    while let [number, a, b, c, d, tail @ ..] = rest {
        let length = (u32::from_le_bytes([*a, *b, *c, *d]) as usize).min(tail.len());
        sections.push((NAMES[usize::from(*number) % NAMES.len()], 0, &tail[..length]));
        rest = &tail[length..];
    }
    let addresses: Vec<_> = (0..256).map(|index| TEXT_ADDRESS + index * 3).collect();
    ask(ObjectFiles::of(elf_of(&sections)), &addresses);
}

/// Go's line table.
pub fn pclntab(input: &[u8]) {
    let addresses: Vec<_> = (0..512).map(|index| TEXT_ADDRESS + index * 16).collect();
    ask(ObjectFiles::of(elf_of(&[(".gopclntab", 0x10_0000, input)])), &addresses);
}

/// A mangled name.
pub fn mangled(input: &[u8]) {
    let Ok(name) = std::str::from_utf8(input) else { return };
    for mode in [Mode::Simple, Mode::Templates, Mode::Full, Mode::None] {
        demangle::demangle(name, mode);
    }
}

/// Answers have frames or a reason, and the same question has the same answer.
fn ask(files: ObjectFiles, addresses: &[u64]) {
    let options =
        Options { memory_max_bytes: MEMORY_MAX_BYTES, cache_max_bytes: 1 << 20, ..Options::default() };
    let Ok(symbolizer) = Symbolizer::open(files, options) else { return };
    let answers = symbolizer.symbolize_all(addresses, &|| true);
    for (&address, answer) in addresses.iter().zip(&answers) {
        if let Answer::Resolved(symbols) = answer {
            assert!(!symbols.frames.is_empty());
        }
        assert_eq!(symbolizer.symbolize(address), *answer, "{address:#x}");
    }
}

/// A shared library with code at [`TEXT_ADDRESS`] and these sections: name, address, bytes.
pub fn elf_of(sections: &[(&str, u64, &[u8])]) -> Vec<u8> {
    const HEADER: usize = 64;
    const SHT_PROGBITS: u32 = 1;
    const SHT_STRTAB: u32 = 3;
    const SHT_NOBITS: u32 = 8;
    const ALLOC_EXEC: u64 = 2 | 4;
    let mut names = vec![0u8];
    let mut bodies = Vec::new();
    // Name, type, flags, address, offset, size.
    let mut headers: Vec<(usize, u32, u64, u64, usize, u64)> = vec![(0, 0, 0, 0, 0, 0)];
    let mut name = |text: &str| {
        let at = names.len();
        names.extend_from_slice(text.as_bytes());
        names.push(0);
        at
    };
    headers.push((name(".text"), SHT_NOBITS, ALLOC_EXEC, TEXT_ADDRESS, HEADER, TEXT_SIZE));
    for (text, address, bytes) in sections {
        let flags = if *address == 0 { 0 } else { 2 };
        headers.push((name(text), SHT_PROGBITS, flags, *address, HEADER + bodies.len(), bytes.len() as u64));
        bodies.extend_from_slice(bytes);
        bodies.resize(bodies.len().next_multiple_of(8), 0);
    }
    let names_at = name(".shstrtab");
    headers.push((names_at, SHT_STRTAB, 0, 0, HEADER + bodies.len(), names.len() as u64));
    bodies.extend_from_slice(&names);
    bodies.resize(bodies.len().next_multiple_of(8), 0);

    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend_from_slice(&3u16.to_le_bytes()); // shared
    file.extend_from_slice(&62u16.to_le_bytes()); // x86-64
    file.extend_from_slice(&1u32.to_le_bytes());
    file.extend_from_slice(&TEXT_ADDRESS.to_le_bytes()); // entry
    file.extend_from_slice(&0u64.to_le_bytes()); // no program headers
    file.extend_from_slice(&((HEADER + bodies.len()) as u64).to_le_bytes());
    file.extend_from_slice(&0u32.to_le_bytes());
    for half in [HEADER as u16, 56, 0, 64, headers.len() as u16, headers.len() as u16 - 1] {
        file.extend_from_slice(&half.to_le_bytes());
    }
    file.extend_from_slice(&bodies);
    for (name, kind, flags, address, offset, size) in headers {
        file.extend_from_slice(&(name as u32).to_le_bytes());
        file.extend_from_slice(&kind.to_le_bytes());
        for word in [flags, address, offset as u64, size] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(&[0; 8]); // link, info
        file.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]); // alignment
        file.extend_from_slice(&[0; 8]);
    }
    file
}
