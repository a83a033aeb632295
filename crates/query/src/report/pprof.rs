//! PPROF: all stacktraces as a profile that `go tool pprof` reads.
//!
//! Stacktraces that are the same in several sources become one sample. Rows are numbered as they are first needed, so that the
//! profile holds only what its samples use.

use decima_profile::{
    ProfileType,
    batch::{Function, Line, Mapping, NO_MAPPING},
    compression,
    pprof::{Label, LabelValue, ProfileBuilder},
};
use hashbrown::HashMap;
use xxhash_rust::xxh3::xxh3_128;

use super::{Forest, Reported, check_size};
use crate::{
    api::{QueryError, TimeRange},
    branch::COMPARED,
    cancel::Cancel,
    names::{Frame, SymbolView},
    sums::add_saturating,
};

/// What a profile says beside its samples.
pub(crate) struct Header<'a> {
    pub(crate) profile_type: &'a ProfileType,
    /// (type, unit) of the values.
    pub(crate) sample_type: (&'a str, &'a str),
    /// Of all series, 0 if they differ.
    pub(crate) period: i64,
    pub(crate) range: TimeRange,
}

/// One stacktrace of the profile: where it ends, in a branch that has it.
struct Sample {
    branch: usize,
    node: u32,
    group: u32,
    values: [i64; 2],
}

/// Renders the profile, gzipped.
pub(crate) fn render(
    forest: &Forest,
    header: &Header<'_>,
    bytes_max: usize,
    cancel: &Cancel,
) -> Result<Reported<Vec<u8>>, QueryError> {
    let mut rows = Rows::new(forest, bytes_max);
    let (samples, saturated) = rows.samples(cancel)?;
    let labels: Vec<Vec<Label>> = forest.groups.iter().map(|key| labels(&mut rows.builder, key)).collect();
    let mut stack = Vec::new();
    for (at, sample) in samples.iter().enumerate() {
        if at.is_multiple_of(4096) {
            cancel.check()?;
        }
        rows.stacktrace(sample.branch, sample.node, &mut stack);
        let value = if forest.compares { forest.diff(sample.values) } else { sample.values[COMPARED] };
        let labels = labels.get(sample.group as usize).map_or(&[][..], Vec::as_slice);
        rows.builder.sample(&stack, &[value], labels);
    }
    let mut builder = rows.builder;
    let ProfileType { period_type, period_unit, .. } = header.profile_type;
    builder.sample_type(header.sample_type.0, header.sample_type.1);
    builder.period(period_type, period_unit, header.period);
    let TimeRange { start_ns, end_ns } = header.range;
    builder.time(start_ns, end_ns.saturating_sub(start_ns));
    let profile = compression::gzip(&builder.encode());
    check_size(profile.len(), bytes_max)?;
    Ok(Reported { report: profile, saturated })
}

fn labels(builder: &mut ProfileBuilder, key: &[(String, String)]) -> Vec<Label> {
    key.iter()
        .map(|(name, value)| Label {
            key: builder.string(name),
            value: LabelValue::Text(builder.string(value)),
        })
        .collect()
}

/// Rows of the profile so far, and where the sources' rows went.
struct Rows<'a> {
    forest: &'a Forest,
    builder: ProfileBuilder,
    mappings: HashMap<Mapping, u32>,
    functions: HashMap<Function, u32>,
    locations: HashMap<(u32, u64, Vec<Line>), u32>,
    /// By view, by location: id + 1, or 0 if not needed yet.
    known: Vec<Vec<u32>>,
    /// Estimate of the message.
    size_bytes: usize,
    size_bytes_max: usize,
}

impl<'a> Rows<'a> {
    fn new(forest: &'a Forest, bytes_max: usize) -> Self {
        Self {
            forest,
            builder: ProfileBuilder::new(),
            mappings: HashMap::new(),
            functions: HashMap::new(),
            locations: HashMap::new(),
            known: forest.views.iter().map(|view| vec![0; view.symbols.location_count()]).collect(),
            size_bytes: 0,
            // Profiles shrink to a quarter and less.
            size_bytes_max: bytes_max.saturating_mul(4),
        }
    }

    /// Distinct stacktraces with their sums, and whether one did not fit.
    fn samples(&mut self, cancel: &Cancel) -> Result<(Vec<Sample>, bool), QueryError> {
        let mut samples: Vec<Sample> = Vec::new();
        let mut places: HashMap<(u128, u32), usize> = HashMap::new();
        let mut saturated = false;
        let (mut stack, mut bytes) = (Vec::new(), Vec::new());
        for (at, branch) in self.forest.branches.iter().enumerate() {
            cancel.check()?;
            for leaf in branch.leaves() {
                self.stacktrace(at, leaf.node, &mut stack);
                bytes.clear();
                bytes.extend(stack.iter().flat_map(|id: &u32| id.to_le_bytes()));
                let place = *places.entry((xxh3_128(&bytes), branch.group)).or_insert_with(|| {
                    samples.push(Sample { branch: at, node: leaf.node, group: branch.group, values: [0; 2] });
                    // Ids of locations take up to three bytes.
                    self.size_bytes += 16 + 3 * stack.len();
                    samples.len() - 1
                });
                saturated |= add_saturating(&mut samples[place].values[branch.side], leaf.value);
            }
            check_size(self.size_bytes, self.size_bytes_max)?;
        }
        Ok((samples, saturated))
    }

    /// Location ids of a stacktrace, leaf first.
    fn stacktrace(&mut self, branch: usize, leaf: u32, stack: &mut Vec<u32>) {
        let branch = &self.forest.branches[branch];
        stack.clear();
        let mut node = leaf;
        while node != 0 {
            let location = branch.location(node);
            let parent = branch.parent(node);
            stack.push(self.location(branch.view, location, parent == 0));
            node = parent;
        }
    }

    fn location(&mut self, view: usize, location: u32, is_first: bool) -> u32 {
        let symbols = &self.forest.views[view];
        // Where a stacktrace is cut at a function, its first location may have fewer lines than elsewhere.
        let outermost = symbols.outermost(location);
        let cut = if is_first { symbols.first_from_root(location) } else { outermost };
        let is_whole = cut == outermost;
        match self.known[view].get(location as usize) {
            Some(&known) if known != 0 && is_whole => return known - 1,
            _ => {}
        }
        let id = self.add_location(view, location, cut);
        if is_whole && let Some(known) = self.known[view].get_mut(location as usize) {
            *known = id + 1;
        }
        id
    }

    fn add_location(&mut self, view: usize, location: u32, outermost: Option<Frame>) -> u32 {
        let symbols = &self.forest.views[view];
        let mapping = self.mapping(symbols, location);
        let address = symbols.symbols.location_address.get(location as usize).copied().unwrap_or_default();
        let frames =
            symbols.frames(location).filter(|&frame| outermost.is_some_and(|outermost| frame <= outermost));
        let mut lines = Vec::new();
        for frame in frames {
            if let (Some(line), Some(function)) = (symbols.line(frame), symbols.function(frame)) {
                lines.push(Line { function: self.function(symbols, function), ..*line });
            }
        }
        let key = (mapping, address, lines);
        if let Some(&id) = self.locations.get(&key) {
            return id;
        }
        self.size_bytes += 16 + 12 * key.2.len();
        let id = self.builder.location(key.0, key.1, &key.2);
        self.locations.insert(key, id);
        id
    }

    fn mapping(&mut self, symbols: &SymbolView, location: u32) -> u32 {
        let Some(mapping) = symbols.mapping(location) else { return NO_MAPPING };
        let mapping = Mapping {
            file: self.string(symbols, mapping.file),
            build_id: self.string(symbols, mapping.build_id),
            ..*mapping
        };
        let builder = &mut self.builder;
        *self.mappings.entry(mapping).or_insert_with(|| builder.mapping(&mapping))
    }

    fn function(&mut self, symbols: &SymbolView, function: Function) -> u32 {
        let name = if function.name == 0 { function.system_name } else { function.name };
        let function = Function {
            name: self.string(symbols, name),
            system_name: self.string(symbols, function.system_name),
            filename: self.string(symbols, function.filename),
            start_line: function.start_line,
        };
        let Self { builder, size_bytes, .. } = self;
        *self.functions.entry(function).or_insert_with(|| {
            *size_bytes += 24;
            builder.function(&function)
        })
    }

    fn string(&mut self, symbols: &SymbolView, string: u32) -> u32 {
        self.builder.string(symbols.symbols.strings.get(string))
    }
}
