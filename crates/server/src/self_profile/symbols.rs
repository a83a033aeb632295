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
    os::unix::fs::FileExt,
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

/// Code that nothing but its library itself calls has the library's name in brackets.
fn by_symbol_table(address: u64, binaries: &[Binary]) -> Box<[Symbol]> {
    let Some(binary) = Binary::at(address, binaries) else { return Box::default() };
    let (name, system_name) = match binary.function(address) {
        Some(name) => (demangled(&name), name.into()),
        None => {
            let library: Arc<str> = format!("[{}]", binary.name).into();
            (library.clone(), library)
        }
    };
    Box::new([Symbol { name, system_name, file: "".into(), line: 0 }])
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
    let Some(outermost) = symbols.last_mut() else { return by_symbol_table(address, binaries) };
    if let Some(system_name) = Binary::at(address, binaries).and_then(|binary| binary.function(address)) {
        outermost.name = demangled(&system_name);
        outermost.system_name = system_name.into();
    }
    symbols.into()
}

fn demangled(system_name: &str) -> Arc<str> {
    format!("{:#}", rustc_demangle::demangle(system_name)).into()
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
    /// The last part of its path when it was loaded.
    name: String,
    path: PathBuf,
    /// Where it is in memory.
    memory: Range<u64>,
    /// From an address in memory to one in the file.
    bias: u64,
    /// `None` if the file cannot be read.
    functions: OnceCell<Option<Functions>>,
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
                name: first.pathname.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                path: if at == 0 { PROGRAM.into() } else { first.pathname.clone() },
                memory: start..last.memory_end as u64,
                bias: start.wrapping_sub(first.memory_offset as u64),
                functions: OnceCell::new(),
            }
        });
        binary.collect()
    }

    /// The one that an address in memory is in.
    fn at(address: u64, binaries: &[Self]) -> Option<&Self> {
        binaries.iter().find(|binary| binary.memory.contains(&address))
    }

    /// The linker's name of the function at an address in memory.
    fn function(&self, address: u64) -> Option<String> {
        let functions = self.functions.get_or_init(|| Functions::read(&self.path));
        functions.as_ref()?.at(address.wrapping_sub(self.bias))
    }
}

/// The functions in the symbol table of a file.
struct Functions {
    /// By their start.
    rows: Vec<Row>,
    /// Has the names, each ending with a zero byte, from a place on. A program of this size has megabytes of them, of which few are
    /// asked for, so they stay there.
    file: File,
    names: Range<u64>,
}

/// Where a function is in the file's addresses, and where its name begins among the names.
struct Row {
    start: u64,
    size_bytes: u32,
    name: u32,
}

/// What is read of a name at first, which is all of most.
const NAME_BYTES: usize = 256;

/// Names are cut there; some of generic code are as long.
const NAME_BYTES_MAX: usize = 64 << 10;

impl Functions {
    fn read(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        let cache = ReadCache::new(&file);
        let object::File::Elf64(elf) = object::File::parse(&cache).ok()? else { return None };
        // A stripped file has only those that others may call.
        let (symbols, names) = match elf.section_by_name(".strtab") {
            Some(names) => (elf.symbols(), names),
            None => (elf.dynamic_symbols(), elf.section_by_name(".dynstr")?),
        };
        let (start, size) = names.file_range()?;
        let rows = symbols.filter(|symbol| symbol.kind() == SymbolKind::Text).map(|symbol| Row {
            start: symbol.address(),
            size_bytes: u32::try_from(symbol.size()).unwrap_or(u32::MAX),
            name: symbol.elf_symbol().st_name(elf.endian()),
        });
        let mut rows: Vec<Row> = rows.collect();
        rows.sort_unstable_by_key(|row| row.start);
        rows.shrink_to_fit();
        drop(cache);
        Some(Self { rows, file, names: start..start.checked_add(size)? })
    }

    fn at(&self, address: u64) -> Option<String> {
        let after = self.rows.partition_point(|row| row.start <= address);
        let row = self.rows.get(after.checked_sub(1)?)?;
        if address - row.start >= u64::from(row.size_bytes) {
            return None;
        }
        self.name(u64::from(row.name))
    }

    fn name(&self, start: u64) -> Option<String> {
        let start = self.names.start.checked_add(start)?;
        let left = self.names.end.checked_sub(start)?;
        let mut room = NAME_BYTES;
        loop {
            let mut name = vec![0; room.min(usize::try_from(left).ok()?)];
            self.file.read_exact_at(&mut name, start).ok()?;
            let end = name.iter().position(|byte| *byte == 0);
            if end.is_some() || name.len() < room || room >= NAME_BYTES_MAX {
                name.truncate(end.unwrap_or(name.len()));
                return String::from_utf8(name).ok();
            }
            room *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_symbols(address: u64) -> String {
        let symbols = by_symbol_table(address, &Binary::all());
        symbols.iter().map(|symbol| &*symbol.system_name).collect()
    }

    /// The C library has a symbol table only of what others call, the program a whole one.
    #[test]
    fn functions_of_program_and_libraries_have_names() {
        assert!(by_symbols(nix::libc::getpid as *const () as u64 + 1).contains("getpid"));
        assert!(by_symbols(has_line_tables as *const () as u64 + 1).contains("has_line_tables"));
        assert_eq!(by_symbols(0), "");
    }

    #[test]
    fn code_of_a_library_without_a_function_has_the_name_of_the_library() {
        let binaries = Binary::all();
        let library = binaries.iter().find(|binary| binary.name.starts_with("libc.so")).unwrap();
        // The file's header is no function.
        assert_eq!(by_symbols(library.memory.start), format!("[{}]", library.name));
    }

    #[test]
    fn a_file_that_is_no_program_has_none() {
        assert!(Functions::read(Path::new("/proc/self/status")).is_none());
        assert!(Functions::read(Path::new("linux-vdso.so.1")).is_none());
    }
}
