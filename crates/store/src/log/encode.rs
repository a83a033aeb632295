//! The head's tables and samples into the rows of a log object.
//!
//! The grammar is in [`codec`](super::codec).

use super::{
    codec::LoggedRequest,
    columns::Raw,
    varint::{put, put_bytes, put_signed},
};
use crate::{
    head::{
        HeadSeries, HeadView, Mark,
        chunk::{Chunk, ChunkAttribute, ChunkAttributeValues},
    },
    source::{NO_MAPPING, Tree},
};

/// Places in which texts of an attribute are looked up. One that lost its place is written again.
const PLACES: usize = 256;

/// Memory for the rows of an object before it is known how much they take: for new rows of tables,
const TABLES_ROOM_BYTES: usize = 64 << 10;
/// for each sample,
const SAMPLE_ROOM_BYTES: usize = 48;
/// and for so many samples at most.
const SAMPLES_ROOM: usize = 16 << 10;

/// Encodes the growth of the head's tables since `mark`, and the requests.
pub(crate) fn encode_delta(view: &HeadView, mark: &Mark, requests: &[LoggedRequest]) -> Raw {
    let samples: usize = requests.iter().flat_map(|r| &r.chunks).map(|chunk| chunk.values.len()).sum();
    let mut raw = Raw::with_capacity(TABLES_ROOM_BYTES + samples.min(SAMPLES_ROOM) * SAMPLE_ROOM_BYTES);
    let out = &mut raw.bytes;
    encode_symbols(view, mark, out);
    put(out, (view.partition_names.len() - mark.partitions) as u64);
    for name in &view.partition_names[mark.partitions..] {
        put_bytes(out, name.as_bytes());
    }
    put(out, (view.series.len() - mark.series) as u64);
    for series in &view.series[mark.series..] {
        encode_series(series, out);
    }
    let trees: Vec<_> = mark
        .trees
        .iter()
        .map(|(&partition, &(nodes, stacktraces))| {
            let tree = &*view.partitions[partition as usize].tree;
            NewRows { partition, tree, nodes, stacktraces }
        })
        .collect();
    put(out, trees.len() as u64);
    for new in &trees {
        put(out, u64::from(new.partition));
        put(out, new.nodes as u64);
        put(out, new.stacktraces as u64);
        put(out, (new.tree.parent.len() - new.nodes) as u64);
        put(out, (new.tree.leaf.len() - new.stacktraces) as u64);
    }
    let chunks = Chunks::of(requests);
    encode_requests(requests, &chunks, out);
    raw.border();
    let mut numbers = Vec::with_capacity(samples.min(SAMPLES_ROOM));
    encode_trees(&trees, &mut numbers, &mut raw);
    chunks.encode_columns(&mut numbers, &mut raw);
    raw
}

/// What a tree gained: nodes and stacktraces from these on.
struct NewRows<'a> {
    partition: u32,
    tree: &'a Tree,
    nodes: usize,
    stacktraces: usize,
}

/// The chunks of an object, and the texts of their attributes in the order in which they are written.
struct Chunks<'a> {
    chunks: Vec<&'a Chunk>,
    divisors: Vec<u64>,
    texts: Vec<Texts>,
}

/// The texts of one attribute in one chunk.
struct Texts {
    distinct: Vec<u32>,
    /// Which of the distinct, one a sample; empty if there are as many as samples.
    codes: Vec<u32>,
}

fn encode_symbols(view: &HeadView, mark: &Mark, out: &mut Vec<u8>) {
    let symbols = &view.symbols;
    put(out, (symbols.strings.len() - mark.strings) as u64);
    for id in mark.strings..symbols.strings.len() {
        put_bytes(out, symbols.strings.get(id as u32).as_bytes());
    }
    put(out, (symbols.mappings.len() - mark.mappings) as u64);
    for m in &symbols.mappings[mark.mappings..] {
        for v in [m.start, m.limit, m.offset, u64::from(m.file), u64::from(m.build_id)] {
            put(out, v);
        }
    }
    put(out, (symbols.functions.len() - mark.functions) as u64);
    for f in &symbols.functions[mark.functions..] {
        for v in [f.name, f.system_name, f.filename] {
            put(out, u64::from(v));
        }
        put_signed(out, f.start_line);
    }
    put(out, (symbols.location_count() - mark.locations) as u64);
    for l in mark.locations..symbols.location_count() {
        let mapping = symbols.location_mapping[l];
        put(out, if mapping == NO_MAPPING { 0 } else { u64::from(mapping) + 1 });
        put(out, symbols.location_address[l]);
        put(out, u64::from(symbols.location_frame_type[l]));
        let lines = symbols.location_lines(l as u32);
        put(out, lines.len() as u64);
        for line in lines {
            put(out, u64::from(line.function));
            put_signed(out, line.line);
            put_signed(out, line.column);
        }
    }
}

fn encode_series(series: &HeadSeries, out: &mut Vec<u8>) {
    let t = &series.key.profile_type;
    for text in [&t.name, &t.sample_type, &t.sample_unit, &t.period_type, &t.period_unit] {
        put_bytes(out, text.as_bytes());
    }
    put(out, u64::from(t.delta));
    put_signed(out, series.key.period);
    put_signed(out, series.key.duration_ns);
    put(out, u64::from(series.partition));
    put(out, series.key.labels.len() as u64);
    for (name, value) in series.key.labels.iter() {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value.as_bytes());
    }
}

fn encode_requests(requests: &[LoggedRequest], chunks: &Chunks<'_>, out: &mut Vec<u8>) {
    put(out, requests.len() as u64);
    let mut previous_ns = 0;
    let (mut divisors, mut texts) = (chunks.divisors.iter(), chunks.texts.iter());
    for request in requests {
        out.extend_from_slice(&[1, 1]);
        put_bytes(out, b"");
        put_signed(out, request.received_ns);
        match request.hash {
            None => put(out, 0),
            Some(hash) => {
                put(out, 1);
                out.extend_from_slice(&hash.to_le_bytes());
            }
        }
        put(out, request.chunks.len() as u64);
        for chunk in &request.chunks {
            put(out, u64::from(chunk.series));
            put_signed(out, chunk.duration_ns);
            put(out, chunk.values.len() as u64);
            put(out, u64::from(has_times(chunk)));
            let first_ns = chunk.times_ns.first().copied().unwrap_or(previous_ns);
            put_signed(out, first_ns.wrapping_sub(previous_ns));
            previous_ns = first_ns;
            put(out, divisors.next().copied().unwrap_or(1));
            put(out, chunk.attributes.len() as u64);
            for attribute in &chunk.attributes {
                put(out, u64::from(attribute.name));
                match &attribute.values {
                    ChunkAttributeValues::Text(_) => {
                        put(out, 0);
                        put(out, texts.next().map_or(0, |texts| texts.distinct.len() as u64));
                    }
                    ChunkAttributeValues::Integer { unit, .. } => {
                        put(out, 1);
                        put(out, u64::from(*unit));
                    }
                }
            }
        }
    }
}

/// Whether a chunk has a time for each sample.
fn has_times(chunk: &Chunk) -> bool {
    chunk.times_ns.len() == chunk.values.len()
}

fn encode_trees(trees: &[NewRows<'_>], numbers: &mut Vec<u64>, raw: &mut Raw) {
    numbers.clear();
    for new in trees {
        let parents = new.tree.parent.iter().enumerate().skip(new.nodes);
        numbers.extend(parents.map(|(node, &parent)| node as u64 - u64::from(parent)));
    }
    raw.column(numbers);
    numbers.clear();
    for new in trees {
        numbers.extend(new.tree.location[new.nodes..].iter().map(|&location| u64::from(location)));
    }
    raw.column(numbers);
    numbers.clear();
    for new in trees {
        let mut previous = new.nodes as u64;
        for &leaf in &new.tree.leaf[new.stacktraces..] {
            let leaf = u64::from(leaf);
            numbers.push(leaf.wrapping_sub(std::mem::replace(&mut previous, leaf)));
        }
    }
    raw.signed_column(numbers);
}

impl<'a> Chunks<'a> {
    fn of(requests: &'a [LoggedRequest]) -> Self {
        let chunks: Vec<&Chunk> = requests.iter().flat_map(|r| &r.chunks).map(|chunk| &**chunk).collect();
        // Values are often multiples of a sampling period; dividing it out makes them one byte.
        let divisors = chunks.iter().map(|chunk| greatest_common_divisor(&chunk.values)).collect();
        let texts = chunks.iter().flat_map(|chunk| &chunk.attributes).filter_map(Texts::of).collect();
        Self { chunks, divisors, texts }
    }

    fn encode_columns(&self, numbers: &mut Vec<u64>, raw: &mut Raw) {
        numbers.clear();
        for chunk in self.chunks.iter().filter(|chunk| has_times(chunk)) {
            numbers.extend(chunk.times_ns.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]) as u64));
        }
        raw.signed_column(numbers);
        numbers.clear();
        for chunk in &self.chunks {
            numbers.extend(chunk.stacktraces.iter().map(|&stacktrace| u64::from(stacktrace)));
        }
        raw.column(numbers);
        numbers.clear();
        for (chunk, &divisor) in self.chunks.iter().zip(&self.divisors) {
            numbers.extend(chunk.values.iter().map(|value| value.wrapping_div(divisor as i64) as u64));
        }
        raw.signed_column(numbers);
        self.encode_attributes(numbers, raw);
    }

    fn encode_attributes(&self, numbers: &mut Vec<u64>, raw: &mut Raw) {
        numbers.clear();
        for texts in &self.texts {
            let mut previous = 0;
            for &text in &texts.distinct {
                let text = u64::from(text);
                numbers.push(text.wrapping_sub(std::mem::replace(&mut previous, text)));
            }
        }
        raw.signed_column(numbers);
        numbers.clear();
        numbers.extend(self.texts.iter().flat_map(|texts| &texts.codes).map(|&code| u64::from(code)));
        raw.column(numbers);
        let integers = || {
            let attributes = self.chunks.iter().flat_map(|chunk| &chunk.attributes);
            attributes.filter_map(|attribute| match &attribute.values {
                ChunkAttributeValues::Integer { values, .. } => Some(values),
                ChunkAttributeValues::Text(_) => None,
            })
        };
        numbers.clear();
        numbers.extend(integers().flatten().map(|value| u64::from(value.is_some())));
        raw.column(numbers);
        numbers.clear();
        numbers.extend(integers().flatten().flatten().map(|&value| value as u64));
        raw.signed_column(numbers);
    }
}

impl Texts {
    fn of(attribute: &ChunkAttribute) -> Option<Self> {
        let ChunkAttributeValues::Text(ids) = &attribute.values else { return None };
        let mut places = [u32::MAX; PLACES];
        let (mut distinct, mut codes) = (Vec::new(), Vec::with_capacity(ids.len()));
        for &id in ids {
            // Ids of the texts of one attribute are often next to each other.
            let place = &mut places[id as usize % PLACES];
            if distinct.get(*place as usize) != Some(&id) {
                *place = distinct.len() as u32;
                distinct.push(id);
            }
            codes.push(*place);
        }
        // Where most differ, which one it is takes more than the text.
        match distinct.len() > ids.len() / 2 {
            true => Some(Self { distinct: ids.clone(), codes: Vec::new() }),
            false => Some(Self { distinct, codes }),
        }
    }
}

fn greatest_common_divisor(values: &[i64]) -> u64 {
    let mut divisor = 0u64;
    for value in values {
        let (mut a, mut b) = (divisor, value.unsigned_abs());
        if a != 0 && b % a == 0 {
            continue;
        }
        while b != 0 {
            (a, b) = (b, a % b);
        }
        divisor = a;
        if divisor == 1 {
            break;
        }
    }
    // 2⁶³ would not survive the sign; it only occurs when all values are i64::MIN.
    if divisor == 0 || divisor > i64::MAX as u64 { 1 } else { divisor }
}
