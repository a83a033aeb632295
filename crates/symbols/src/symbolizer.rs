//! Here is a file and addresses, gives you functions; remembers what it was asked.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use quick_cache::{Weighter, sync::Cache};

use crate::{
    Answer, Frame, Function, Source, Symbols, Unresolved,
    demangle::{self, Mode},
    dwarf::{DwarfError, DwarfFile, DwarfInput, Found},
    elf::{Elf, ElfError},
    normalize::{self, Mapping, Segment},
    pclntab::GoLineTable,
    symtab::SymbolTable,
};

/// The bytes of a file: a `Vec`, a memory map, anything. They must not change while they are held.
pub type ObjectBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Who can get other files that debug information refers to. Called while a question is being answered.
pub trait Companions: Send + Sync {
    /// The split DWARF that was compiled in `directory` under this name, or a package (`.dwp`) with it; `id` is in both files
    /// and in the index of the package. A package that is given again must be the same bytes at the same place.
    ///
    /// Directory and name are foreign text.
    fn split_dwarf(&self, directory: &str, name: &str, id: u64) -> Option<ObjectBytes>;
}

/// What belongs to one program or library.
#[derive(Clone)]
pub struct ObjectFiles {
    /// The file itself, or all that was uploaded of it.
    pub object: ObjectBytes,
    /// Its debug information, if that is in another file ([`Elf::debug_link`]).
    pub debuginfo: Option<ObjectBytes>,
    /// What it shares debug information with ([`Elf::alternate_link`]).
    pub alternate: Option<ObjectBytes>,
    /// Who knows its split DWARF.
    pub companions: Option<Arc<dyn Companions>>,
}

impl ObjectFiles {
    /// A file that has everything in itself.
    pub fn of(object: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self { object: Arc::new(object), debuginfo: None, alternate: None, companions: None }
    }
}

/// Bounds and manner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How names are shown.
    pub mode: Mode,
    /// Memory for what is read from the file, in bytes, besides the file's own. Decompressed sections count.
    pub memory_max_bytes: usize,
    /// Memory for answers, in bytes.
    pub cache_max_bytes: usize,
}

impl Default for Options {
    /// Enough for the debug information of a large program when compressed, and for its hot hundred thousand addresses.
    fn default() -> Self {
        Self { mode: Mode::default(), memory_max_bytes: 512 << 20, cache_max_bytes: 32 << 20 }
    }
}

/// What a file can tell of, in the words of Parca's metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quality {
    /// It has DWARF.
    pub has_dwarf: bool,
    /// It has Go's line table.
    pub has_go_pclntab: bool,
    /// It has a symbol table.
    pub has_symtab: bool,
    /// It has a table of dynamic symbols.
    pub has_dynsym: bool,
}

impl Quality {
    /// Looks at the sections of a file.
    pub fn of(elf: &Elf<'_>) -> Self {
        Self {
            has_dwarf: elf.has_section(".debug_info"),
            has_go_pclntab: elf.has_section(".gopclntab") || elf.has_section(".data.rel.ro.gopclntab"),
            has_symtab: elf.has_section(".symtab"),
            has_dynsym: elf.has_section(".dynsym"),
        }
    }

    /// Whether it can tell nothing.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

#[derive(Clone)]
struct BySize;

impl Weighter<u64, Answer> for BySize {
    fn weight(&self, _: &u64, answer: &Answer) -> u64 {
        // The cache's own share of an entry is about 64 bytes.
        answer.size_bytes() as u64 + 64
    }
}

/// The functions of one program or library.
///
/// Answers are remembered; a question that was asked before does not wait for one that is being answered.
pub struct Symbolizer {
    files: ObjectFiles,
    options: Options,
    quality: Quality,
    segments: Vec<Segment>,
    relocatable: bool,
    cache: Cache<u64, Answer, BySize>,
    readers: Mutex<Readers>,
    /// Size of `readers` after a question, for those who do not want to wait for one.
    readers_bytes: AtomicUsize,
}

/// What was read of the file. Each is read when first needed.
struct Readers {
    dwarf: Part<DwarfFile>,
    go: Part<GoLineTable>,
    /// Of the file, and of its debug information.
    symbols: [Part<SymbolTable>; 2],
}

/// A part of a file.
enum Part<T> {
    Unread,
    Absent,
    Failed(DwarfError),
    Read(T),
}

impl<T> Part<T> {
    fn found(&self) -> Option<&T> {
        match self {
            Self::Read(part) => Some(part),
            _ => None,
        }
    }

    fn of(found: Option<T>) -> Self {
        found.map_or(Self::Absent, Self::Read)
    }
}

impl Symbolizer {
    /// Takes a file. Only headers are read yet.
    ///
    /// # Errors
    /// If the file, or the one with its debug information, is no ELF file of a program or library.
    pub fn open(files: ObjectFiles, options: Options) -> Result<Self, ElfError> {
        let elf = Elf::parse((*files.object).as_ref())?;
        let (segments, relocatable) = (elf.segments(), elf.is_relocatable());
        let mut quality = Quality::of(&elf);
        if let Some(debuginfo) = &files.debuginfo {
            let more = Quality::of(&Elf::parse((**debuginfo).as_ref())?);
            quality.has_dwarf |= more.has_dwarf;
            quality.has_symtab |= more.has_symtab;
        }
        let entries = options.cache_max_bytes / 256;
        let readers =
            Readers { dwarf: Part::Unread, go: Part::Unread, symbols: [Part::Unread, Part::Unread] };
        Ok(Self {
            files,
            options,
            quality,
            segments,
            relocatable,
            cache: Cache::with_weighter(entries, options.cache_max_bytes as u64, BySize),
            readers: Mutex::new(readers),
            readers_bytes: AtomicUsize::new(0),
        })
    }

    /// What the file can tell of.
    pub fn quality(&self) -> Quality {
        self.quality
    }

    /// The address in the file for an address of a process that mapped it so; `None` if it lies outside of either.
    pub fn file_address(&self, address: u64, mapping: Mapping) -> Option<u64> {
        normalize::file_address(address, mapping, &self.segments, self.relocatable)
    }

    /// The functions at an address of the file, if they were asked for before. Never waits.
    pub fn cached(&self, address: u64) -> Option<Answer> {
        self.cache.get(&address)
    }

    /// Takes an answer that an earlier reader of the same files gave.
    pub fn remember(&self, address: u64, answer: Answer) {
        self.cache.insert(address, answer);
    }

    /// The functions at an address of the file.
    pub fn symbolize(&self, address: u64) -> Answer {
        let answer = self.symbolize_while(address, &|| true);
        self.measure();
        answer
    }

    /// As [`Self::symbolize`] for many, in their order. `keep_going` is asked now and then; once it says no, what is not
    /// known yet is [`Unresolved::Deadline`], and a later question goes on from there.
    pub fn symbolize_all(&self, addresses: &[u64], keep_going: &dyn Fn() -> bool) -> Vec<Answer> {
        let mut answers: Vec<_> = addresses.iter().map(|&address| self.cached(address)).collect();
        let mut missing: Vec<_> = (0..addresses.len()).filter(|&index| answers[index].is_none()).collect();
        // Neighbours share what is read for them.
        missing.sort_unstable_by_key(|&index| addresses[index]);
        for index in missing {
            answers[index] = Some(self.symbolize_while(addresses[index], keep_going));
        }
        self.measure();
        answers.into_iter().map(|answer| answer.unwrap_or(Answer::Unresolved(Unresolved::Deadline))).collect()
    }

    /// Memory held besides the files' own bytes, in bytes. Never waits: what is being read counts when it has been.
    pub fn memory_bytes(&self) -> usize {
        let cached = usize::try_from(self.cache.weight()).unwrap_or(usize::MAX);
        self.readers_bytes.load(Ordering::Relaxed).saturating_add(cached)
    }

    /// Lets go what was read of the file but not the answers.
    pub fn release(&self) {
        *self.readers.lock() =
            Readers { dwarf: Part::Unread, go: Part::Unread, symbols: [Part::Unread, Part::Unread] };
        self.measure();
    }

    /// Once for many addresses, since it walks what was read; whoever is reading does it then.
    fn measure(&self) {
        if let Some(readers) = self.readers.try_lock() {
            self.readers_bytes.store(readers.size_bytes(), Ordering::Relaxed);
        }
    }

    fn symbolize_while(&self, address: u64, keep_going: &dyn Fn() -> bool) -> Answer {
        if let Some(answer) = self.cached(address) {
            return answer;
        }
        if !keep_going() {
            return Answer::Unresolved(Unresolved::Deadline);
        }
        let mut readers = self.readers.lock();
        // Somebody else may have asked the same while this waited.
        if let Some(answer) = self.cached(address) {
            return answer;
        }
        let answer = match self.read(&mut readers, address, keep_going) {
            Ok(symbols) => Answer::Resolved(Arc::new(symbols)),
            Err(reason) => Answer::Unresolved(reason),
        };
        if readers.size_bytes_over(self.options.memory_max_bytes) {
            readers.dwarf = Part::Unread;
        }
        drop(readers);
        if answer != Answer::Unresolved(Unresolved::Deadline) {
            self.cache.insert(address, answer.clone());
        }
        answer
    }

    fn read(
        &self,
        readers: &mut Readers,
        address: u64,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<Symbols, Unresolved> {
        if self.quality.is_nothing() {
            return Err(Unresolved::NoSymbols);
        }
        let object = (*self.files.object).as_ref();
        if matches!(readers.go, Part::Unread) {
            readers.go = Part::of(Elf::parse(object).ok().and_then(|elf| GoLineTable::find(&elf)));
        }
        let go = |readers: &Readers| readers.go.found().and_then(|table| go_symbols(table, address, object));
        let go_is_best =
            readers.go.found().is_some_and(|table| table.has_inlining() || !self.quality.has_dwarf);
        if go_is_best && let Some(symbols) = go(readers) {
            return Ok(symbols);
        }
        let failure = match self.find_dwarf(&mut readers.dwarf, address, keep_going) {
            Ok(found) => match self.with_names(readers, address, found) {
                Some(symbols) => return Ok(symbols),
                None => None,
            },
            Err(DwarfError::Stopped) => return Err(Unresolved::Deadline),
            Err(DwarfError::Damaged) => Some(Unresolved::Damaged),
            Err(DwarfError::TooLarge) => Some(Unresolved::TooLarge),
        };
        if let Some(symbols) = go(readers) {
            return Ok(symbols);
        }
        match self.symbol(readers, address) {
            Some(function) => {
                let frame = Frame { function: Arc::new(function), line: 0, column: 0 };
                Ok(Symbols { frames: vec![frame], source: Source::SymbolTable })
            }
            None => Err(failure.unwrap_or(Unresolved::InNoFunction)),
        }
    }

    fn find_dwarf(
        &self,
        dwarf: &mut Part<DwarfFile>,
        address: u64,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<Found, DwarfError> {
        if matches!(dwarf, Part::Unread) {
            *dwarf = self.open_dwarf();
        }
        match dwarf {
            Part::Read(file) => file.find(address, keep_going),
            Part::Failed(error) => Err(*error),
            Part::Absent | Part::Unread => Ok(Found::default()),
        }
    }

    fn open_dwarf(&self) -> Part<DwarfFile> {
        let has_dwarf = |bytes: &ObjectBytes| {
            Elf::parse((**bytes).as_ref()).is_ok_and(|elf| elf.has_section(".debug_info"))
        };
        let files = [self.files.debuginfo.as_ref(), Some(&self.files.object)];
        let Some(object) = files.into_iter().flatten().find(|file| has_dwarf(file)) else {
            return Part::Absent;
        };
        let input = DwarfInput {
            object: Arc::clone(object),
            alternate: self.files.alternate.clone(),
            companions: self.files.companions.clone(),
            memory_max_bytes: self.options.memory_max_bytes,
            mode: self.options.mode,
        };
        match DwarfFile::open(input) {
            Ok(file) => Part::Read(file),
            Err(error) => Part::Failed(error),
        }
    }

    /// Puts the symbol's name where DWARF has a line but no name, or less of a name. `None` if nothing has one.
    fn with_names(&self, readers: &mut Readers, address: u64, found: Found) -> Option<Symbols> {
        let mut frames = found.frames;
        let outermost = frames.last_mut()?;
        if outermost.function.system_name.is_empty() || found.short_name {
            match self.symbol(readers, address) {
                // A symbol says more only if it is mangled: others are the same name, or that of a part of the function.
                Some(function)
                    if outermost.function.system_name.is_empty() || function.name != function.system_name =>
                {
                    let Function { filename, start_line, .. } = (*outermost.function).clone();
                    outermost.function = Arc::new(Function { filename, start_line, ..function });
                }
                None if outermost.function.system_name.is_empty() => return None,
                _ => {}
            }
        }
        Some(Symbols { frames, source: Source::Dwarf })
    }

    /// The function that the symbol tables know, those of the debug information first.
    fn symbol(&self, readers: &mut Readers, address: u64) -> Option<Function> {
        let files = [self.files.debuginfo.as_ref(), Some(&self.files.object)];
        readers.symbols.iter_mut().zip(files).find_map(|(part, file)| {
            let data = (**file?).as_ref();
            if matches!(part, Part::Unread) {
                let table = Elf::parse(data).ok().map(|elf| SymbolTable::read(&elf));
                *part = Part::of(table.filter(|table| !table.is_empty()));
            }
            let found = part.found()?.find(address, data)?;
            let mut system_name = String::from_utf8_lossy(found.bytes).into_owned();
            let mut name =
                demangle::demangle(&system_name, self.options.mode).unwrap_or_else(|| system_name.clone());
            if found.is_stub {
                // As disassemblers name it.
                name.push_str("@plt");
                system_name.push_str("@plt");
            }
            Some(Function { name, system_name, filename: String::new(), start_line: 0 })
        })
    }
}

impl Readers {
    fn size_bytes(&self) -> usize {
        let symbols = self.symbols.iter().filter_map(Part::found).map(SymbolTable::size_bytes).sum::<usize>();
        symbols + self.dwarf.found().map_or(0, DwarfFile::size_bytes)
    }

    fn size_bytes_over(&self, limit: usize) -> bool {
        self.dwarf.found().is_some_and(|dwarf| dwarf.held_bytes() > limit)
    }
}

fn go_symbols(table: &GoLineTable, address: u64, data: &[u8]) -> Option<Symbols> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let frames: Vec<_> = table
        .frames(address, data)
        .into_iter()
        .map(|frame| {
            let name = text(frame.name);
            let function = Function {
                name: demangle::go(&name),
                system_name: name,
                filename: text(frame.filename),
                start_line: frame.start_line,
            };
            Frame { function: Arc::new(function), line: frame.line, column: 0 }
        })
        .collect();
    (!frames.is_empty()).then_some(Symbols { frames, source: Source::GoLineTable })
}
