//! Here is an address in this process, gives you its functions, innermost first.
//!
//! Inlined functions and lines come from the line tables, if the program was built with them; these call a function only by its last
//! name (`poll`), which [`names`] completes by the file. The function that holds the code takes its name from the symbol table of the
//! program or the library. Debuginfo that the system has of its libraries is not read: it takes more time than a minute's profiles show.

use std::{
    cell::OnceCell,
    collections::HashMap,
    fs::File,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use object::{Object, ObjectSection, ObjectSymbol, ReadCache, SymbolKind, read::elf::Sym};
use parking_lot::Mutex;

use super::names;

/// Addresses remembered: the code that ever shows in profiles is some ten thousand addresses. Beyond it, all are forgotten.
const ADDRESSES_MAX: usize = 1 << 16;

/// Time between readings of the line tables.
const READ_INTERVAL: Duration = Duration::from_secs(60);

/// Readings that need not wait, so that what a new user sees first is complete.
const READINGS_AT_ONCE: u32 = 2;

/// A function at an address, and where in it the address is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Symbol {
    /// For people.
    pub(super) name: Arc<str>,
    /// As the linker has it.
    pub(super) system_name: Arc<str>,
    /// Source file; empty if unknown.
    pub(super) file: Arc<str>,
    /// Source line; 0 if unknown.
    pub(super) line: u32,
}

/// Resolves addresses and remembers them.
///
/// Line tables take some 200 ms and 100 MB to read, and are not kept: between [readings](READ_INTERVAL) an address that
/// is new gets its function from the symbol table, without what is inlined there and without the line.
pub(super) struct Symbols {
    /// The program first.
    binaries: Vec<Binary>,
    has_line_tables: bool,
    addresses: HashMap<u64, Resolved>,
    readings: u32,
    last_reading: Option<Instant>,
}

struct Resolved {
    symbols: Box<[Symbol]>,
    by_line_tables: bool,
}

/// Resolves addresses for one profile.
pub(super) struct Resolver<'a> {
    symbols: &'a mut Symbols,
    may_read: bool,
    has_read: bool,
}

/// Works with the symbols of this process, of which there is one set. Blocks: what is not known yet has to be read.
pub(super) fn with<T>(work: impl FnOnce(&mut Resolver<'_>) -> T) -> T {
    static SYMBOLS: Mutex<Option<Symbols>> = Mutex::new(None);
    let mut symbols = SYMBOLS.lock();
    let symbols = symbols.get_or_insert_with(|| Symbols {
        binaries: Binary::all(),
        has_line_tables: has_line_tables(),
        addresses: HashMap::new(),
        readings: 0,
        last_reading: None,
    });
    let is_time = symbols.readings < READINGS_AT_ONCE
        || symbols.last_reading.is_none_or(|last| last.elapsed() >= READ_INTERVAL);
    let may_read = symbols.has_line_tables && is_time;
    let mut resolver = Resolver { symbols, may_read, has_read: false };
    let done = work(&mut resolver);
    if resolver.has_read {
        symbols.readings = symbols.readings.saturating_add(1);
        symbols.last_reading = Some(Instant::now());
        backtrace::clear_symbol_cache();
    }
    done
}

impl Resolver<'_> {
    /// The functions at `address`, which lies within the instruction; none if nothing is known.
    pub(super) fn resolve(&mut self, address: u64) -> &[Symbol] {
        let Symbols { binaries, addresses, .. } = &mut *self.symbols;
        if addresses.len() >= ADDRESSES_MAX {
            addresses.clear();
        }
        let known = addresses.get(&address).is_some_and(|known| known.by_line_tables || !self.may_read);
        if !known {
            self.has_read |= self.may_read;
            let symbols = if self.may_read {
                by_line_tables(address, binaries)
            } else {
                by_symbol_table(address, binaries)
            };
            addresses.insert(address, Resolved { symbols, by_line_tables: self.may_read });
        }
        addresses.get(&address).map_or(&[], |resolved| &resolved.symbols)
    }
}

fn by_symbol_table(address: u64, binaries: &[Binary]) -> Box<[Symbol]> {
    let Some(system_name) = function(address, binaries) else { return Box::default() };
    Box::new([Symbol {
        name: demangled(system_name),
        system_name: system_name.into(),
        file: "".into(),
        line: 0,
    }])
}

fn by_line_tables(address: u64, binaries: &[Binary]) -> Box<[Symbol]> {
    let mut symbols = Vec::new();
    // It takes what it gets for the address of return.
    let return_address = (address + 1) as usize as *mut std::ffi::c_void;
    backtrace::resolve(return_address, |found| {
        let Some(name) = found.name() else { return };
        let file = found.filename().map(|path| path.to_string_lossy()).unwrap_or_default();
        symbols.push(Symbol {
            name: names::qualified(&format!("{name:#}"), &file).into(),
            system_name: String::from_utf8_lossy(name.as_bytes()).into(),
            file: file.into(),
            line: found.lineno().unwrap_or(0),
        });
    });
    if let (Some(outermost), Some(system_name)) = (symbols.last_mut(), function(address, binaries)) {
        outermost.name = demangled(system_name);
        outermost.system_name = system_name.into();
    }
    symbols.into()
}

fn demangled(system_name: &str) -> Arc<str> {
    format!("{:#}", rustc_demangle::demangle(system_name)).into()
}

/// The linker's name of the function at an address.
fn function(address: u64, binaries: &[Binary]) -> Option<&str> {
    binaries.iter().find(|binary| binary.memory.contains(&address))?.function(address)
}

fn has_line_tables() -> bool {
    let read = || {
        let cache = ReadCache::new(File::open(PROGRAM).ok()?);
        Some(object::File::parse(&cache).ok()?.section_by_name(".debug_line").is_some())
    };
    read().unwrap_or(false)
}

/// The running program's file, also when there is another at its path by now.
const PROGRAM: &str = "/proc/self/exe";

/// A file whose code is in memory: the program or a library.
struct Binary {
    path: PathBuf,
    /// Where it is in memory.
    memory: Range<u64>,
    /// From an address in memory to one in the file.
    bias: u64,
    functions: OnceCell<Functions>,
}

impl Binary {
    /// The program, and then its libraries.
    fn all() -> Vec<Self> {
        let loaded = mappings::MAPPINGS.as_deref().unwrap_or_default();
        // Mappings of one file are next to each other.
        let files = loaded.chunk_by(|a, b| a.pathname == b.pathname);
        let files = files.filter_map(|mappings| Some((mappings.first()?, mappings.last()?)));
        let binary = files.enumerate().map(|(at, (first, last))| {
            let start = first.memory_start as u64;
            Self {
                path: if at == 0 { PROGRAM.into() } else { first.pathname.clone() },
                memory: start..last.memory_end as u64,
                bias: start.wrapping_sub(first.memory_offset as u64),
                functions: OnceCell::new(),
            }
        });
        binary.collect()
    }

    /// The linker's name of the function at an address in memory.
    fn function(&self, address: u64) -> Option<&str> {
        let functions = self.functions.get_or_init(|| Functions::read(&self.path).unwrap_or_default());
        functions.at(address.wrapping_sub(self.bias))
    }
}

/// The functions in the symbol table of a file.
#[derive(Default)]
struct Functions {
    /// Start, end, and where the name is in `names`; sorted.
    rows: Vec<(u64, u64, Range<u32>)>,
    names: String,
}

impl Functions {
    fn read(path: &Path) -> Option<Self> {
        let cache = ReadCache::new(File::open(path).ok()?);
        let object::File::Elf64(file) = object::File::parse(&cache).ok()? else { return None };
        // A stripped file has only those that others may call.
        let (symbols, names) = match file.section_by_name(".strtab") {
            Some(names) => (file.symbols(), names),
            None => (file.dynamic_symbols(), file.section_by_name(".dynstr")?),
        };
        // At once: one by one, names would be one read of the file each.
        let names = names.data().ok()?;
        let mut functions = Self::default();
        for symbol in symbols.filter(|symbol| symbol.kind() == SymbolKind::Text) {
            let start = symbol.elf_symbol().st_name(file.endian()) as usize;
            let name = names.get(start..).and_then(|name| name.split(|byte| *byte == 0).next());
            let Some(name) = name.and_then(|name| std::str::from_utf8(name).ok()) else { continue };
            let start = functions.names.len() as u32;
            functions.names.push_str(name);
            let end = functions.names.len() as u32;
            functions.rows.push((symbol.address(), symbol.address() + symbol.size(), start..end));
        }
        functions.rows.sort_unstable_by_key(|(start, ..)| *start);
        functions.rows.shrink_to_fit();
        functions.names.shrink_to_fit();
        Some(functions)
    }

    fn at(&self, address: u64) -> Option<&str> {
        let after = self.rows.partition_point(|(start, ..)| *start <= address);
        let (_, end, name) = self.rows.get(after.checked_sub(1)?)?;
        (address < *end).then(|| &self.names[name.start as usize..name.end as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_symbols(address: usize) -> String {
        let symbols = by_symbol_table(address as u64 + 1, &Binary::all());
        symbols.iter().map(|symbol| &*symbol.system_name).collect()
    }

    /// The C library has a symbol table only of what others call, the program a whole one.
    #[test]
    fn functions_of_program_and_libraries_have_names() {
        assert!(by_symbols(nix::libc::getpid as *const () as usize).contains("getpid"));
        assert!(by_symbols(has_line_tables as *const () as usize).contains("has_line_tables"));
        assert_eq!(by_symbols(0), "");
    }

    #[test]
    fn a_file_that_is_no_program_has_none() {
        assert!(Functions::read(Path::new("/proc/self/status")).is_none());
        assert!(Functions::read(Path::new("linux-vdso.so.1")).is_none());
    }
}
