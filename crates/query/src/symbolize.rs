//! Here are the symbols of a source, gives you the same with functions at addresses that had none.
//!
//! ```text
//! locations without lines ─► by object file ─► Resolver (cached, by a deadline) ─► lines, or why there are none
//! ```
//! Before frames are grouped, filtered or trimmed, so that all of that acts on functions. Nothing here fails and nobody waits
//! beyond a deadline: what is not known stays an address, with a reason. Pure but for the resolver and the clock.

mod bare;

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bare::{Bare, WithLines};
use decima_debuginfo::{Address, Resolver};
use decima_store::{
    Store,
    source::{Function, Line, StringColumn, Symbols},
};
use decima_symbols::{Answer, Unresolved, normalize};
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use parking_lot::Mutex;
use tokio::task::JoinSet;

/// Symbolised sources that are kept for the next query. A dashboard asks the same few again and again.
const KEPT_MAX: usize = 16;
/// How long what was not resolved is believed: debuginfod may know more, which no version tells.
const UNRESOLVED_FOR: Duration = Duration::from_secs(30);
/// How long it is believed that debuginfod is being asked.
const FETCHING_FOR: Duration = Duration::from_secs(1);
/// How often the addresses of what came in are resolved ahead of queries and flushes.
const AHEAD_EVERY: Duration = Duration::from_secs(10);
/// How long the last flush of a process waits, whatever it would wait for: most is known ahead of it, queries look up the rest,
/// and who stops a process waits for it.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one round of that may take.
const AHEAD_TIMEOUT: Duration = Duration::from_secs(300);

/// Numbers for monitoring.
#[derive(Debug, Clone, Default)]
pub struct SymbolizerCounts {
    /// Addresses that were asked for and got functions. An address counts once for each thing that came of it, however often it
    /// is asked for.
    pub resolved: u64,
    /// Addresses that were asked for and got none, by reason.
    pub unresolved: Vec<(Unresolved, u64)>,
    /// Memory held by what was read of object files, in bytes, besides the files themselves.
    pub memory_bytes: u64,
    /// Answers that are kept on disk, in bytes.
    pub kept_bytes: u64,
}

/// Finds the functions of the addresses in sources. Clones share it.
#[derive(Clone)]
pub struct Symbolizer(Arc<Inner>);

struct Inner {
    resolver: Arc<Resolver>,
    /// How long a query waits.
    timeout: Duration,
    kept: Mutex<Vec<Kept>>,
    counted: Mutex<Counted>,
    stopping: AtomicBool,
}

/// How many addresses came to what. Rounds ahead of queries ask for the same again and again, each counts once.
#[derive(Default)]
struct Counted {
    resolved: u64,
    unresolved: [u64; Unresolved::ALL.len()],
    /// What came last of addresses that were counted, by their hash. Two generations: the older one goes when the newer is full.
    newer: HashMap<u64, Option<Unresolved>>,
    older: HashMap<u64, Option<Unresolved>>,
    hasher: DefaultHashBuilder,
}

/// Addresses in one generation. One that is asked for after that many others counts again.
const COUNTED_MAX: usize = 1 << 17;

impl Counted {
    fn count(&mut self, build_id: &str, address: &Address, answer: &Answer) {
        use std::hash::BuildHasher as _;
        let normalize::Mapping { start, offset, .. } = address.mapping;
        let key = self.hasher.hash_one((build_id, address.address, start, offset));
        let outcome = match answer {
            Answer::Resolved(_) => None,
            Answer::Unresolved(reason) => Some(*reason),
        };
        let before = self.newer.get(&key).or_else(|| self.older.get(&key)).copied();
        if self.newer.len() >= COUNTED_MAX {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(key, outcome);
        if before == Some(outcome) {
            return;
        }
        match outcome {
            None => self.resolved += 1,
            Some(reason) => {
                let at = Unresolved::ALL.iter().position(|&known| known == reason).unwrap_or_default();
                self.unresolved[at] += 1;
            }
        }
    }
}

/// What was made of a source's symbols for some of its partitions.
struct Kept {
    of: Weak<Symbols>,
    partitions: Box<[u32]>,
    version: u64,
    at: Instant,
    symbolized: Symbolized,
}

/// Symbols with functions where they are known.
#[derive(Debug, Clone)]
pub(crate) struct Symbolized {
    pub(crate) symbols: Arc<Symbols>,
    pub(crate) reasons: Reasons,
}

/// Why locations have no function, by location; empty if all have.
pub(crate) type Reasons = Arc<[Option<Unresolved>]>;

impl Symbolizer {
    /// Asks this resolver, and lets a query wait so long for it.
    pub fn new(resolver: Arc<Resolver>, timeout: Duration) -> Self {
        Self(Arc::new(Inner {
            resolver,
            timeout,
            kept: Mutex::default(),
            counted: Mutex::default(),
            stopping: AtomicBool::new(false),
        }))
    }

    /// The process is about to end: flushes wait no longer than a moment from now on.
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }

    /// Numbers for monitoring.
    pub fn counts(&self) -> SymbolizerCounts {
        let counted = self.0.counted.lock();
        SymbolizerCounts {
            resolved: counted.resolved,
            unresolved: Unresolved::ALL.into_iter().zip(counted.unresolved).collect(),
            memory_bytes: self.0.resolver.memory_bytes() as u64,
            kept_bytes: self.0.resolver.kept_bytes(),
        }
    }

    /// Resolves for ever what comes into a store, so that queries and flushes find it resolved.
    pub async fn keep_ahead(&self, store: &Store) {
        loop {
            tokio::time::sleep(AHEAD_EVERY).await;
            for source in store.snapshot().sources {
                if source.name() != "head" {
                    continue;
                }
                let Ok(table) = source.series().await else { continue };
                let partitions: Vec<u32> = (0..table.partitions.len() as u32).collect();
                let Ok(symbols) = source.symbols(&partitions).await else { continue };
                let bare = Bare::of(&symbols, &WithLines::default(), |_| true);
                // A head that is being read is copied by the next write to it.
                drop((symbols, table, source));
                self.resolve(&bare, Instant::now() + AHEAD_TIMEOUT).await;
            }
        }
    }

    /// Symbols with functions at the locations that `wanted` says; `partitions` tells one choice of them from another.
    pub(crate) async fn symbolize_for(
        &self,
        symbols: Arc<Symbols>,
        partitions: &[u32],
        wanted: impl FnOnce() -> Vec<bool>,
    ) -> Symbolized {
        let telling = WithLines::of(&symbols, |build_id| self.0.resolver.has_lines(build_id));
        if !telling.is_needed(&symbols) {
            return Symbolized { symbols, reasons: Arc::default() };
        }
        let version = self.0.resolver.version();
        if let Some(kept) = self.kept(&symbols, partitions, version) {
            return kept;
        }
        let wanted = wanted();
        let is_wanted = |location| wanted.get(location as usize).copied().unwrap_or(false);
        let bare = Bare::of(&symbols, &telling, is_wanted);
        let answers = self.resolve(&bare, Instant::now() + self.0.timeout).await;
        let symbolized = Symbolized {
            reasons: reasons(&symbols, &bare, &answers),
            symbols: Arc::new(with_lines(&symbols, &bare, &answers)),
        };
        if !symbolized.reasons.contains(&Some(Unresolved::Deadline)) {
            let (of, at) = (Arc::downgrade(&symbols), Instant::now());
            let kept =
                Kept { of, partitions: partitions.into(), version, at, symbolized: symbolized.clone() };
            let mut all = self.0.kept.lock();
            all.retain(|kept| kept.of.strong_count() > 0);
            if all.len() >= KEPT_MAX {
                all.remove(0);
            }
            all.push(kept);
        }
        symbolized
    }

    fn kept(&self, symbols: &Arc<Symbols>, partitions: &[u32], version: u64) -> Option<Symbolized> {
        let mut all = self.0.kept.lock();
        let at = all.iter().position(|kept| {
            kept.of.as_ptr() == Arc::as_ptr(symbols)
                && *kept.partitions == *partitions
                // A file that came may tell more also of what has functions already.
                && kept.version == version
                && believed(&kept.symbolized.reasons).is_none_or(|time| kept.at.elapsed() < time)
        })?;
        // Those used last are last.
        let kept = all.remove(at);
        let symbolized = kept.symbolized.clone();
        all.push(kept);
        Some(symbolized)
    }

    /// Answers in the order of the groups and of their addresses.
    async fn resolve(&self, bare: &Bare, deadline: Instant) -> Vec<Vec<Answer>> {
        let mut running = JoinSet::new();
        for (at, group) in bare.groups.iter().enumerate() {
            let (resolver, build_id) = (Arc::clone(&self.0.resolver), group.build_id.clone());
            let addresses: Vec<_> = group.addresses.clone();
            running.spawn(async move { (at, resolver.resolve(&build_id, &addresses, deadline).await) });
        }
        let mut answers: Vec<Vec<Answer>> = bare
            .groups
            .iter()
            .map(|group| vec![Answer::Unresolved(Unresolved::Damaged); group.addresses.len()])
            .collect();
        while let Some(joined) = running.join_next().await {
            // One that panicked has said so in the log.
            if let Ok((at, resolved)) = joined {
                answers[at] = resolved;
            }
        }
        let mut counted = self.0.counted.lock();
        for (group, answers) in bare.groups.iter().zip(&answers) {
            for (address, answer) in group.addresses.iter().zip(answers) {
                counted.count(&group.build_id, address, answer);
            }
        }
        drop(counted);
        answers
    }
}

#[async_trait]
impl decima_store::symbolize::Symbolizer for Symbolizer {
    async fn symbolize(&self, symbols: Arc<Symbols>, timeout: Duration) -> Arc<Symbols> {
        if !WithLines::default().is_needed(&symbols) {
            return symbols;
        }
        let stopping = self.0.stopping.load(Ordering::Relaxed);
        let timeout = if stopping { timeout.min(STOP_TIMEOUT) } else { timeout };
        let bare = Bare::of(&symbols, &WithLines::default(), |_| true);
        let answers = self.resolve(&bare, Instant::now() + timeout).await;
        Arc::new(with_lines(&symbols, &bare, &answers))
    }
}

/// How long what is not resolved is believed; `None` if everything is.
fn believed(reasons: &[Option<Unresolved>]) -> Option<Duration> {
    let fetching = || reasons.contains(&Some(Unresolved::Fetching));
    (!reasons.is_empty()).then(|| if fetching() { FETCHING_FOR } else { UNRESOLVED_FOR })
}

fn reasons(symbols: &Symbols, bare: &Bare, answers: &[Vec<Answer>]) -> Reasons {
    if answers.iter().flatten().all(|answer| matches!(answer, Answer::Resolved(_))) {
        return Arc::default();
    }
    let mut reasons = vec![None; symbols.location_count()];
    for (group, answers) in bare.groups.iter().zip(answers) {
        for (&location, answer) in group.locations.iter().zip(answers) {
            if let Answer::Unresolved(reason) = answer
                && symbols.location_lines(location).is_empty()
            {
                reasons[location as usize] = Some(*reason);
            }
        }
    }
    reasons.into()
}

/// Copies symbols and puts in the lines that were found.
fn with_lines(symbols: &Symbols, bare: &Bare, answers: &[Vec<Answer>]) -> Symbols {
    let mut found: Vec<Option<&Answer>> = vec![None; symbols.location_count()];
    for (group, answers) in bare.groups.iter().zip(answers) {
        for (&location, answer) in group.locations.iter().zip(answers) {
            found[location as usize] =
                Some(answer).filter(|answer| bare::is_better(answer, symbols, location));
        }
    }
    let mut interner = Interner::of(symbols);
    let mut lines = Vec::with_capacity(symbols.lines.len() + bare.groups.len());
    let mut first_line = Vec::with_capacity(symbols.location_count() + 1);
    first_line.push(0);
    for (location, answer) in found.into_iter().enumerate() {
        match answer {
            Some(answer) => lines.extend(answer.frames().iter().map(|frame| Line {
                function: interner.function(&frame.function),
                line: i64::from(frame.line),
                column: i64::from(frame.column),
            })),
            None => lines.extend_from_slice(symbols.location_lines(location as u32)),
        }
        first_line.push(lines.len() as u32);
    }
    Symbols {
        strings: interner.strings,
        functions: interner.functions,
        mappings: symbols.mappings.clone(),
        location_mapping: symbols.location_mapping.clone(),
        location_address: symbols.location_address.clone(),
        location_frame_type: symbols.location_frame_type.clone(),
        first_line,
        lines,
    }
}

/// Strings and functions of a source, each once, and those that are added.
struct Interner {
    strings: StringColumn,
    string_ids: HashTable<u32>,
    functions: Vec<Function>,
    function_ids: HashMap<Function, u32>,
    /// By the place of a resolver's function in memory: equal ones are mostly the same.
    known: HashMap<*const decima_symbols::Function, u32>,
    hasher: DefaultHashBuilder,
}

impl Interner {
    fn of(symbols: &Symbols) -> Self {
        let mut interner = Self {
            strings: symbols.strings.clone(),
            string_ids: HashTable::new(),
            functions: symbols.functions.clone(),
            function_ids: symbols.functions.iter().copied().zip(0..).collect(),
            known: HashMap::new(),
            hasher: DefaultHashBuilder::default(),
        };
        if interner.strings.is_empty() {
            interner.strings.push("");
        }
        let Self { strings, string_ids, hasher, .. } = &mut interner;
        for id in 0..strings.len() as u32 {
            use std::hash::BuildHasher as _;
            let hash = |&id: &u32| hasher.hash_one(strings.get(id));
            string_ids.insert_unique(hash(&id), id, hash);
        }
        interner
    }

    fn string(&mut self, text: &str) -> u32 {
        use std::hash::BuildHasher as _;
        let Self { strings, string_ids, hasher, .. } = self;
        let hash = hasher.hash_one(text);
        if let Some(&id) = string_ids.find(hash, |&id| strings.get(id) == text) {
            return id;
        }
        let id = strings.push(text);
        string_ids.insert_unique(hash, id, |&id| hasher.hash_one(strings.get(id)));
        id
    }

    fn function(&mut self, function: &Arc<decima_symbols::Function>) -> u32 {
        if let Some(&id) = self.known.get(&Arc::as_ptr(function)) {
            return id;
        }
        let row = Function {
            name: self.string(&function.name),
            system_name: self.string(&function.system_name),
            filename: self.string(&function.filename),
            start_line: i64::from(function.start_line),
        };
        let functions = &mut self.functions;
        let id = *self.function_ids.entry(row).or_insert_with(|| {
            functions.push(row);
            functions.len() as u32 - 1
        });
        self.known.insert(Arc::as_ptr(function), id);
        id
    }
}

/// Marks the locations that occur in trees.
pub(crate) fn occurring<'a>(
    location_count: usize,
    trees: impl Iterator<Item = &'a decima_store::source::Tree>,
) -> Vec<bool> {
    let mut occurs = vec![false; location_count];
    for tree in trees {
        for &location in tree.location.iter().skip(1) {
            if let Some(occurs) = occurs.get_mut(location as usize) {
                *occurs = true;
            }
        }
    }
    occurs
}

#[cfg(test)]
mod tests {
    use decima_store::source::{Mapping, NO_MAPPING};
    use decima_symbols::{Frame, Source, Symbols as Resolved};

    use super::*;

    fn function(name: &str) -> Arc<decima_symbols::Function> {
        Arc::new(decima_symbols::Function { name: name.to_owned(), ..Default::default() })
    }

    fn resolved(names: &[&str]) -> Answer {
        let frames = names.iter().zip(1..);
        let frames = frames.map(|(name, line)| Frame { function: function(name), line, column: 0 }).collect();
        Answer::Resolved(Arc::new(Resolved { frames, source: Source::Dwarf }))
    }

    /// Locations: with a line, bare in `a`, without an address, bare without a mapping, bare in `a`.
    fn symbols() -> Symbols {
        let mut strings = StringColumn::default();
        for text in ["", "a.so", "abcd", "main"] {
            strings.push(text);
        }
        Symbols {
            strings,
            mappings: vec![Mapping { file: 1, build_id: 2, ..Mapping::default() }],
            functions: vec![Function { name: 3, ..Function::default() }],
            location_mapping: vec![0, 0, 0, NO_MAPPING, 0],
            location_address: vec![1, 2, 0, 4, 5],
            location_frame_type: vec![0; 5],
            first_line: vec![0, 1, 1, 1, 1, 1],
            lines: vec![Line { function: 0, line: 9, column: 0 }],
        }
    }

    #[test]
    fn lines_are_put_where_they_belong() {
        let symbols = symbols();
        let bare = Bare::of(&symbols, &WithLines::default(), |_| true);
        let locations: Vec<_> = bare.groups.iter().map(|group| group.locations.clone()).collect();
        assert_eq!(locations, [vec![3], vec![1, 4]]);
        let nothing = Answer::Unresolved(Unresolved::NoBuildId);
        let answers =
            [vec![nothing], vec![resolved(&["leaf", "main"]), Answer::Unresolved(Unresolved::InNoFunction)]];
        let made = with_lines(&symbols, &bare, &answers);
        let names = |location| {
            let lines = made.location_lines(location).iter();
            lines
                .map(|line| (made.strings.get(made.functions[line.function as usize].name), line.line))
                .collect::<Vec<_>>()
        };
        assert_eq!(names(0), [("main", 9)]);
        assert_eq!(names(1), [("leaf", 1), ("main", 2)]);
        assert_eq!((names(2), names(3), names(4)), (vec![], vec![], vec![]));
        // The function that was there is not there twice.
        assert_eq!(made.functions.len(), 2);
        assert_eq!(made.strings.len(), 5);
        let why = [None, None, None, Some(Unresolved::NoBuildId), Some(Unresolved::InNoFunction)];
        assert_eq!(*reasons(&symbols, &bare, &answers), why);
        let all: Vec<_> =
            bare.groups.iter().map(|group| vec![resolved(&["f"]); group.addresses.len()]).collect();
        assert!(reasons(&symbols, &bare, &all).is_empty());
    }

    #[test]
    fn how_long_reasons_are_believed() {
        let (missing, fetching) = (Some(Unresolved::NoDebuginfo), Some(Unresolved::Fetching));
        assert_eq!(believed(&[]), None);
        assert_eq!(believed(&[None, missing]), Some(UNRESOLVED_FOR));
        assert_eq!(believed(&[missing, fetching, None]), Some(FETCHING_FOR));
    }

    #[test]
    fn addresses_count_once() {
        let mut counted = Counted::default();
        let mut count = |build_id: &str, address: u64, answer: &Answer| {
            let mapping = normalize::Mapping { start: 0, limit: 0, offset: 0 };
            counted.count(build_id, &Address { address, mapping }, answer);
            let lacking = counted.unresolved.iter().sum::<u64>();
            (counted.resolved, lacking)
        };
        let nothing = Answer::Unresolved(Unresolved::NoDebuginfo);
        let found = resolved(&["main"]);
        assert_eq!(count("abcd", 1, &nothing), (0, 1));
        assert_eq!(count("abcd", 1, &nothing), (0, 1));
        assert_eq!(count("abcd", 1, &found), (1, 1));
        assert_eq!(count("abcd", 1, &found), (1, 1));
        assert_eq!(count("abcd", 2, &found), (2, 1));
        assert_eq!(count("efgh", 2, &found), (3, 1));
        // Many others later it is new again, and nothing grows without a bound.
        for address in 0..3 * COUNTED_MAX as u64 {
            count("many", address, &nothing);
        }
        assert!(counted.newer.len() <= COUNTED_MAX && counted.older.len() <= COUNTED_MAX);
    }

    #[test]
    fn only_what_is_wanted() {
        let symbols = symbols();
        let bare = Bare::of(&symbols, &WithLines::default(), |location| location == 4);
        assert_eq!(bare.groups.len(), 1);
        assert_eq!(bare.groups[0].locations, [4]);
        assert!(WithLines::default().is_needed(&symbols));
        assert!(!WithLines::default().is_needed(&Symbols::default()));
    }

    #[test]
    fn a_name_alone_gives_way_to_lines() {
        // What has a line is left alone, also where a file would tell another.
        let lined = || {
            let mut symbols = symbols();
            symbols.first_line = vec![0, 1, 2, 2, 2, 3];
            symbols.lines.extend([Line { function: 0, ..Line::default() }; 2]);
            symbols
        };
        let asked = |symbols: &Symbols, has_lines: bool| -> Vec<u32> {
            let telling = WithLines::of(symbols, |build_id| build_id == "abcd" && has_lines);
            assert!(telling.is_needed(symbols), "location 3 is bare");
            let mut groups = Bare::of(symbols, &telling, |_| true).groups;
            groups.retain(|group| group.build_id == "abcd");
            groups.into_iter().flat_map(|group| group.locations).collect()
        };
        assert_eq!(asked(&lined(), true), [1, 4]);
        assert!(asked(&lined(), false).is_empty());
        // An address in an interpreter's frame is none of the file.
        let mut interpreted = lined();
        interpreted.strings.push("cpython");
        interpreted.location_frame_type[4] = 4;
        assert_eq!(asked(&interpreted, true), [1]);
        let symbols = lined();
        let bare = Bare::of(&symbols, &WithLines::of(&symbols, |_| true), |location| location != 3);
        let by_symtab = Answer::Resolved(Arc::new(Resolved {
            frames: vec![Frame { function: function("main"), line: 0, column: 0 }],
            source: Source::SymbolTable,
        }));
        let check = |answers: [Answer; 2], expected: [&[(&str, i64)]; 2]| {
            let answers = vec![answers.to_vec()];
            let made = with_lines(&symbols, &bare, &answers);
            for (location, expected) in [1, 4].into_iter().zip(expected) {
                let lines = made.location_lines(location).iter();
                let names: Vec<_> = lines
                    .map(|line| (made.strings.get(made.functions[line.function as usize].name), line.line))
                    .collect();
                assert_eq!(names, expected, "{location}");
            }
            assert!(reasons(&symbols, &bare, &answers).iter().all(Option::is_none));
        };
        check([resolved(&["leaf", "main"]), by_symtab], [&[("leaf", 1), ("main", 2)], &[("main", 0)]]);
        let nothing = Answer::Unresolved(Unresolved::InNoFunction);
        check([nothing, resolved(&["main"])], [&[("main", 0)], &[("main", 1)]]);
    }
}
