//! Stacks of addresses in, a gzipped pprof with names out.

use std::{collections::HashMap, time::SystemTime};

use decima_profile::{
    batch::{Function, Line, Mapping, NO_MAPPING},
    compression,
    pprof::ProfileBuilder,
};

use super::symbols::{Resolver, Symbol};

/// What was measured, by address.
pub(super) struct Measured {
    /// Type and unit of each value of a stack.
    pub(super) sample_types: Vec<(&'static str, &'static str)>,
    /// Type and unit of the period, and the period.
    pub(super) period: (&'static str, &'static str, i64),
    /// When it began.
    pub(super) time: SystemTime,
    /// How long it took; 0 for a state.
    pub(super) duration_ns: i64,
    /// Addresses within the instructions that run or that called, leaf first, and the values.
    pub(super) stacks: Vec<(Vec<u64>, Vec<i64>)>,
    /// Tells functions that belong to the measuring; they are left out at the leaf.
    pub(super) is_instrument: fn(&Symbol) -> bool,
}

/// Names the addresses, which takes a while the first time, and writes the profile.
pub(super) fn encode(measured: &Measured, symbols: &mut Resolver<'_>) -> Vec<u8> {
    let mut rows = Rows { builder: ProfileBuilder::new(), functions: HashMap::new(), mappings: Vec::new() };
    for (sample_type, unit) in &measured.sample_types {
        rows.builder.sample_type(sample_type, unit);
    }
    if let Some((sample_type, _)) = measured.sample_types.last() {
        rows.builder.default_sample_type(sample_type);
    }
    let (period_type, unit, period) = measured.period;
    rows.builder.period(period_type, unit, period);
    let since_epoch = measured.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    rows.builder.time(i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX), measured.duration_ns);
    rows.mappings = mappings(&mut rows.builder);

    let mut locations: HashMap<u64, u32> = HashMap::new();
    let mut stacktrace = Vec::new();
    for (addresses, values) in &measured.stacks {
        stacktrace.clear();
        let mut is_instrument = |address: &u64| {
            let symbols = symbols.resolve(*address);
            !symbols.is_empty() && symbols.iter().all(measured.is_instrument)
        };
        let instruments = addresses.iter().take_while(|&address| is_instrument(address)).count();
        for &address in &addresses[instruments..] {
            let id =
                *locations.entry(address).or_insert_with(|| rows.location(address, symbols.resolve(address)));
            stacktrace.push(id);
        }
        rows.builder.sample(&stacktrace, values, &[]);
    }
    compression::gzip(&rows.builder.encode())
}

struct Rows {
    builder: ProfileBuilder,
    functions: HashMap<Symbol, u32>,
    /// Where each mapping is, and its id.
    mappings: Vec<(std::ops::Range<u64>, u32)>,
}

impl Rows {
    fn location(&mut self, address: u64, symbols: &[Symbol]) -> u32 {
        let lines: Vec<Line> = symbols
            .iter()
            .map(|symbol| Line { function: self.function(symbol), line: i64::from(symbol.line), column: 0 })
            .collect();
        let mapping = self
            .mappings
            .iter()
            .find(|(range, _)| range.contains(&address))
            .map_or(NO_MAPPING, |(_, id)| *id);
        self.builder.location(mapping, address, &lines)
    }

    fn function(&mut self, symbol: &Symbol) -> u32 {
        // The line is the location's, not the function's.
        let key = Symbol { line: 0, ..symbol.clone() };
        if let Some(&id) = self.functions.get(&key) {
            return id;
        }
        let function = Function {
            name: self.builder.string(&symbol.name),
            system_name: self.builder.string(&symbol.system_name),
            filename: self.builder.string(&symbol.file),
            start_line: 0,
        };
        let id = self.builder.function(&function);
        self.functions.insert(key, id);
        id
    }
}

fn mappings(builder: &mut ProfileBuilder) -> Vec<(std::ops::Range<u64>, u32)> {
    let loaded = mappings::MAPPINGS.as_deref().unwrap_or_default();
    let mut rows = Vec::with_capacity(loaded.len());
    for mapping in loaded {
        let range = mapping.memory_start as u64..mapping.memory_end as u64;
        let row = Mapping {
            start: range.start,
            limit: range.end,
            offset: mapping.file_offset,
            file: builder.string(&mapping.pathname.to_string_lossy()),
            build_id: mapping.build_id.as_ref().map_or(0, |id| builder.string(&id.to_string())),
        };
        rows.push((range, builder.mapping(&row)));
    }
    rows
}
