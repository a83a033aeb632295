//! Here is an address in this process, gives you its functions, innermost first.
//!
//! Inlined functions and lines come from the line tables; these call a function only by its last name (`poll`), which
//! [`names`] completes by the file. The function that holds the code takes its name from the symbol table.

use std::{
    collections::HashMap,
    fs::File,
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
    executable: Option<Executable>,
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
        executable: Executable::read(),
        addresses: HashMap::new(),
        readings: 0,
        last_reading: None,
    });
    let may_read = symbols.readings < READINGS_AT_ONCE
        || symbols.last_reading.is_none_or(|last| last.elapsed() >= READ_INTERVAL);
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
        let Symbols { executable, addresses, .. } = &mut *self.symbols;
        let executable = executable.as_ref();
        if addresses.len() >= ADDRESSES_MAX {
            addresses.clear();
        }
        let known = addresses.get(&address).is_some_and(|known| known.by_line_tables || !self.may_read);
        if !known {
            self.has_read |= self.may_read;
            let symbols = if self.may_read {
                by_line_tables(address, executable)
            } else {
                by_symbol_table(address, executable)
            };
            addresses.insert(address, Resolved { symbols, by_line_tables: self.may_read });
        }
        addresses.get(&address).map_or(&[], |resolved| &resolved.symbols)
    }
}

fn by_symbol_table(address: u64, executable: Option<&Executable>) -> Box<[Symbol]> {
    let Some(system_name) = executable.and_then(|executable| executable.function(address)) else {
        return Box::default();
    };
    Box::new([Symbol {
        name: demangled(system_name),
        system_name: system_name.into(),
        file: "".into(),
        line: 0,
    }])
}

fn by_line_tables(address: u64, executable: Option<&Executable>) -> Box<[Symbol]> {
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
    if let (Some(outermost), Some(system_name)) =
        (symbols.last_mut(), executable.and_then(|executable| executable.function(address)))
    {
        outermost.name = demangled(system_name);
        outermost.system_name = system_name.into();
    }
    symbols.into()
}

fn demangled(system_name: &str) -> Arc<str> {
    format!("{:#}", rustc_demangle::demangle(system_name)).into()
}

/// The functions of the running program's file.
struct Executable {
    /// Where it is in memory.
    memory: std::ops::Range<u64>,
    /// From an address in memory to one in the file.
    bias: u64,
    /// Start, end, and where the name is in `names`; sorted.
    functions: Vec<(u64, u64, std::ops::Range<u32>)>,
    names: String,
}

impl Executable {
    fn read() -> Option<Self> {
        let loaded = mappings::MAPPINGS.as_deref()?;
        let first = loaded.first()?;
        let own = loaded.iter().filter(|mapping| mapping.pathname == first.pathname);
        let end = own.map(|mapping| mapping.memory_end).max()? as u64;
        let cache = ReadCache::new(File::open("/proc/self/exe").ok()?);
        let object::File::Elf64(file) = object::File::parse(&cache).ok()? else { return None };
        // At once: one by one, names would be one read of the file each.
        let strings = file.section_by_name(".strtab")?.data().ok()?;
        let mut functions = Vec::new();
        let mut names = String::new();
        for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
            let start = symbol.elf_symbol().st_name(file.endian()) as usize;
            let name = strings.get(start..).and_then(|name| name.split(|byte| *byte == 0).next());
            let Some(name) = name.and_then(|name| std::str::from_utf8(name).ok()) else { continue };
            let start = names.len() as u32;
            names.push_str(name);
            functions.push((symbol.address(), symbol.address() + symbol.size(), start..names.len() as u32));
        }
        functions.sort_unstable_by_key(|(start, ..)| *start);
        functions.shrink_to_fit();
        names.shrink_to_fit();
        let start = first.memory_start as u64;
        Some(Self {
            memory: start..end,
            bias: start.wrapping_sub(first.memory_offset as u64),
            functions,
            names,
        })
    }

    /// The linker's name of the function at an address.
    fn function(&self, address: u64) -> Option<&str> {
        if !self.memory.contains(&address) {
            return None;
        }
        let address = address.wrapping_sub(self.bias);
        let after = self.functions.partition_point(|(start, ..)| *start <= address);
        let (_, end, name) = self.functions.get(after.checked_sub(1)?)?;
        (address < *end).then(|| &self.names[name.start as usize..name.end as usize])
    }
}
