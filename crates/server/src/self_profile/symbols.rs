//! Here is an address in this process, gives you its functions, innermost first.
//!
//! Inlined functions and lines come from the line tables; these call a function only by its last name (`poll`), which
//! [`names`] completes by the file. The function that holds the code takes its name from the symbol table.

use std::{collections::HashMap, fs::File, sync::Arc};

use object::{Object, ObjectSymbol, ReadCache, SymbolKind};
use parking_lot::Mutex;

use super::names;

/// Addresses remembered: the code that ever shows in profiles is some ten thousand addresses. Beyond it, all are forgotten.
const ADDRESSES_MAX: usize = 1 << 16;

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

/// Resolves addresses and remembers them: reading line tables costs milliseconds.
pub(super) struct Symbols {
    executable: Option<Executable>,
    addresses: HashMap<u64, Box<[Symbol]>>,
}

/// Works with the symbols of this process, of which there is one set. Blocks: for the first caller reads the symbol table.
pub(super) fn with<T>(work: impl FnOnce(&mut Symbols) -> T) -> T {
    static SYMBOLS: Mutex<Option<Symbols>> = Mutex::new(None);
    let mut symbols = SYMBOLS.lock();
    work(symbols.get_or_insert_with(|| Symbols { executable: Executable::read(), addresses: HashMap::new() }))
}

impl Symbols {
    /// The functions at `address`, which lies within the instruction; none if nothing is known.
    pub(super) fn resolve(&mut self, address: u64) -> &[Symbol] {
        if self.addresses.len() >= ADDRESSES_MAX {
            self.addresses.clear();
        }
        let executable = self.executable.as_ref();
        self.addresses.entry(address).or_insert_with(|| resolve(address, executable))
    }
}

fn resolve(address: u64, executable: Option<&Executable>) -> Box<[Symbol]> {
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
        (symbols.last_mut(), executable.and_then(|e| e.function(address)))
    {
        outermost.name = format!("{:#}", rustc_demangle::demangle(system_name)).into();
        outermost.system_name = system_name.into();
    }
    symbols.into()
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
        let file = object::File::parse(&cache).ok()?;
        let mut functions = Vec::new();
        let mut names = String::new();
        for symbol in file.symbols() {
            let (SymbolKind::Text, Ok(name)) = (symbol.kind(), symbol.name()) else { continue };
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
