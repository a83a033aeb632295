//! Log objects back into the head's tables, in two steps: [`parse`] reads an object's rows without knowing the tables, so that many
//! can be parsed at once; [`apply`] checks them against the tables and appends them, in order.
//!
//! The grammar is in [`codec`](super::codec). Invariant: every id and count is checked before anything is indexed by it.

use std::{sync::Arc, vec};

use decima_profile::ProfileType;

use super::{
    codec::LoggedRequest,
    columns::{ids, signed, unsigned},
    varint::{DecodeError, Reader},
};
use crate::{
    head::{
        EMPTY_RANGE, HeadSeries, HeadView, SeriesKey,
        chunk::{Chunk, ChunkAttribute, ChunkAttributeValues},
        partition::Partition,
    },
    source::{Function, Line, Mapping, NO_MAPPING, Symbols},
};

/// The rows of one object.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    symbols: SymbolRows,
    partitions: Vec<String>,
    series: Vec<HeadSeries>,
    trees: Vec<TreeRows>,
    requests: Vec<LoggedRequest>,
    /// Largest string id of an attribute, plus one.
    attribute_strings: usize,
    /// Offset behind the last row, for messages about rows that fit the grammar but not the tables.
    end: usize,
}

#[derive(Debug, Default)]
struct SymbolRows {
    strings: Vec<String>,
    mappings: Vec<Mapping>,
    functions: Vec<Function>,
    /// (mapping + 1 or 0, address, frame type, number of lines)
    locations: Vec<(u32, u64, u32, usize)>,
    lines: Vec<Line>,
}

/// Nodes and stacktraces that a partition gained.
#[derive(Debug)]
struct TreeRows {
    partition: u32,
    first_node: usize,
    first_stacktrace: usize,
    parent: Vec<u32>,
    location: Vec<u32>,
    location_max: u32,
    leaf: Vec<u32>,
    leaf_max: u32,
}

/// Reads an object's raw body.
pub(crate) fn parse(raw: &[u8]) -> Result<Delta, DecodeError> {
    let mut r = Reader::new(raw);
    let mut delta = Delta { symbols: parse_symbols(&mut r)?, ..Delta::default() };
    for _ in 0..r.count()? {
        delta.partitions.push(r.text()?.to_owned());
    }
    for _ in 0..r.count()? {
        delta.series.push(parse_series(&mut r)?);
    }
    let mut trees = Vec::new();
    for _ in 0..r.count()? {
        trees.push(parse_tree(&mut r)?);
    }
    let mut requests = Vec::new();
    let mut previous_ns = 0;
    for _ in 0..r.count()? {
        requests.push(parse_request(&mut r, &mut previous_ns)?);
    }
    delta.trees = parse_nodes(&mut r, trees)?;
    let mut columns = Columns::parse(&mut r, &requests)?;
    if !r.is_at_end() {
        return Err(r.error("bytes follow the last column"));
    }
    delta.attribute_strings = columns.strings;
    for request in requests {
        let chunks = request.chunks.into_iter().map(|chunk| Arc::new(columns.chunk(chunk))).collect();
        delta.requests.push(LoggedRequest { received_ns: request.received_ns, hash: request.hash, chunks });
    }
    delta.end = raw.len();
    Ok(delta)
}

fn parse_symbols(r: &mut Reader<'_>) -> Result<SymbolRows, DecodeError> {
    let mut rows = SymbolRows::default();
    for _ in 0..r.count()? {
        rows.strings.push(r.text()?.to_owned());
    }
    for _ in 0..r.count()? {
        rows.mappings.push(Mapping {
            start: r.unsigned()?,
            limit: r.unsigned()?,
            offset: r.unsigned()?,
            file: r.id()?,
            build_id: r.id()?,
        });
    }
    for _ in 0..r.count()? {
        rows.functions.push(Function {
            name: r.id()?,
            system_name: r.id()?,
            filename: r.id()?,
            start_line: r.signed()?,
        });
    }
    for _ in 0..r.count()? {
        let (mapping, address, frame_type, line_count) = (r.id()?, r.unsigned()?, r.id()?, r.count()?);
        for _ in 0..line_count {
            rows.lines.push(Line { function: r.id()?, line: r.signed()?, column: r.signed()? });
        }
        rows.locations.push((mapping, address, frame_type, line_count));
    }
    Ok(rows)
}

fn parse_series(r: &mut Reader<'_>) -> Result<HeadSeries, DecodeError> {
    let profile_type = ProfileType {
        name: r.text()?.to_owned(),
        sample_type: r.text()?.to_owned(),
        sample_unit: r.text()?.to_owned(),
        period_type: r.text()?.to_owned(),
        period_unit: r.text()?.to_owned(),
        delta: r.unsigned()? != 0,
    };
    let (period, duration_ns) = (r.signed()?, r.signed()?);
    let partition = r.id()?;
    let mut labels = Vec::new();
    for _ in 0..r.count()? {
        labels.push((r.text()?.to_owned(), r.text()?.to_owned()));
    }
    Ok(HeadSeries {
        key: SeriesKey { profile_type: Arc::new(profile_type), labels: labels.into(), period, duration_ns },
        partition,
        range: EMPTY_RANGE,
        sample_count: 0,
    })
}

/// A tree without its columns.
struct TreeHead {
    partition: u32,
    first_node: usize,
    first_stacktrace: usize,
    nodes: usize,
    leaves: usize,
}

fn parse_tree(r: &mut Reader<'_>) -> Result<TreeHead, DecodeError> {
    let (partition, first_node, first_stacktrace) = (r.id()?, r.id()? as usize, r.id()? as usize);
    Ok(TreeHead { partition, first_node, first_stacktrace, nodes: r.count()?, leaves: r.count()? })
}

fn parse_nodes(r: &mut Reader<'_>, trees: Vec<TreeHead>) -> Result<Vec<TreeRows>, DecodeError> {
    let nodes = trees.iter().map(|tree| tree.nodes).sum();
    let mut distances = ids(r, nodes)?.into_iter();
    let mut locations = ids(r, nodes)?.into_iter();
    let mut leaves = signed(r, trees.iter().map(|tree| tree.leaves).sum())?.into_iter();
    let rows = trees.into_iter().map(|tree| {
        let mut parent = Vec::with_capacity(tree.nodes);
        for (node, distance) in (tree.first_node..).zip(distances.by_ref().take(tree.nodes)) {
            let distance = distance as usize;
            // The root is its own parent; every other node comes after its parent.
            if distance > node || (distance == 0 && node != 0) {
                return Err(r.error("a node does not come after its parent"));
            }
            parent.push((node - distance) as u32);
        }
        let location: Vec<_> = locations.by_ref().take(tree.nodes).collect();
        let mut previous = tree.first_node as i64;
        let mut leaf = Vec::with_capacity(tree.leaves);
        for difference in leaves.by_ref().take(tree.leaves) {
            previous = previous.wrapping_add(difference);
            leaf.push(u32::try_from(previous).map_err(|_| r.error("a leaf is out of range"))?);
        }
        let max = |ids: &[u32]| ids.iter().copied().max().unwrap_or(0);
        Ok(TreeRows {
            partition: tree.partition,
            first_node: tree.first_node,
            first_stacktrace: tree.first_stacktrace,
            location_max: max(&location),
            leaf_max: max(&leaf),
            parent,
            location,
            leaf,
        })
    });
    rows.collect()
}

/// A request without its columns.
struct RequestHead {
    received_ns: i64,
    hash: Option<u128>,
    chunks: Vec<ChunkHead>,
}

/// A chunk without its columns.
struct ChunkHead {
    series: u32,
    duration_ns: i64,
    samples: usize,
    has_times: bool,
    first_ns: i64,
    divisor: i64,
    attributes: Vec<AttributeHead>,
}

/// An attribute of a chunk without its columns.
enum AttributeHead {
    Text { name: u32, distinct: usize },
    Integer { name: u32, unit: u32 },
}

fn parse_request(r: &mut Reader<'_>, previous_ns: &mut i64) -> Result<RequestHead, DecodeError> {
    if r.slice(2)? != [1, 1] {
        return Err(r.error("a record has an unknown kind or version"));
    }
    let _tenant = r.text()?;
    let received_ns = r.signed()?;
    let hash = match r.unsigned()? {
        0 => None,
        _ => Some(r.slice(16)?.iter().rev().fold(0u128, |acc, &b| (acc << 8) | u128::from(b))),
    };
    let mut chunks = Vec::new();
    for _ in 0..r.count()? {
        chunks.push(parse_chunk(r, previous_ns)?);
    }
    Ok(RequestHead { received_ns, hash, chunks })
}

fn parse_chunk(r: &mut Reader<'_>, previous_ns: &mut i64) -> Result<ChunkHead, DecodeError> {
    let (series, duration_ns, samples) = (r.id()?, r.signed()?, r.count()?);
    let has_times = r.unsigned()? != 0;
    *previous_ns = previous_ns.wrapping_add(r.signed()?);
    let (first_ns, divisor) = (*previous_ns, r.unsigned()? as i64);
    let mut attributes = Vec::new();
    for _ in 0..r.count()? {
        let name = r.id()?;
        attributes.push(match r.unsigned()? {
            0 => {
                let distinct = r.count()?;
                if distinct > samples {
                    return Err(r.error("an attribute has more texts than samples"));
                }
                AttributeHead::Text { name, distinct }
            }
            _ => AttributeHead::Integer { name, unit: r.id()? },
        });
    }
    Ok(ChunkHead { series, duration_ns, samples, has_times, first_ns, divisor, attributes })
}

/// The columns of chunks, from which each takes its part in turn.
struct Columns {
    time_differences_ns: vec::IntoIter<i64>,
    stacktraces: vec::IntoIter<u32>,
    values: vec::IntoIter<i64>,
    texts: vec::IntoIter<Vec<u32>>,
    integers: vec::IntoIter<Option<i64>>,
    /// Largest string id, plus one.
    strings: usize,
}

impl Columns {
    fn parse(r: &mut Reader<'_>, requests: &[RequestHead]) -> Result<Self, DecodeError> {
        let chunks = || requests.iter().flat_map(|request| &request.chunks);
        let times =
            chunks().filter(|chunk| chunk.has_times).map(|chunk| chunk.samples.saturating_sub(1)).sum();
        let time_differences_ns = signed(r, times)?.into_iter();
        let samples = chunks().map(|chunk| chunk.samples).sum();
        let stacktraces = ids(r, samples)?.into_iter();
        let values = signed(r, samples)?.into_iter();
        let (texts, text_max) = parse_texts(r, requests)?;
        let mut strings = text_max.map_or(0, |max| max as usize + 1);
        let mut integers = 0;
        for chunk in chunks() {
            for attribute in &chunk.attributes {
                let id_max = match *attribute {
                    AttributeHead::Text { name, .. } => name,
                    AttributeHead::Integer { name, unit } => {
                        integers += chunk.samples;
                        name.max(unit)
                    }
                };
                strings = strings.max(id_max as usize + 1);
            }
        }
        let integers = parse_integers(r, integers)?.into_iter();
        Ok(Self { time_differences_ns, stacktraces, values, texts: texts.into_iter(), integers, strings })
    }

    /// The next chunk. There is enough of everything: the columns were read for these heads.
    fn chunk(&mut self, head: ChunkHead) -> Chunk {
        let mut time_ns = head.first_ns;
        let mut times_ns = vec![time_ns];
        if head.has_times {
            times_ns.reserve(head.samples);
            for difference_ns in self.time_differences_ns.by_ref().take(head.samples.saturating_sub(1)) {
                time_ns = time_ns.wrapping_add(difference_ns);
                times_ns.push(time_ns);
            }
            times_ns.truncate(head.samples);
        }
        let values = self.values.by_ref().take(head.samples).map(|value| value.wrapping_mul(head.divisor));
        let values = values.collect();
        let attributes = head.attributes.into_iter().map(|attribute| match attribute {
            AttributeHead::Text { name, .. } => ChunkAttribute {
                name,
                values: ChunkAttributeValues::Text(self.texts.next().unwrap_or_default()),
            },
            AttributeHead::Integer { name, unit } => {
                let values = self.integers.by_ref().take(head.samples).collect();
                ChunkAttribute { name, values: ChunkAttributeValues::Integer { unit, values } }
            }
        });
        Chunk {
            series: head.series,
            duration_ns: head.duration_ns,
            times_ns,
            stacktraces: self.stacktraces.by_ref().take(head.samples).collect(),
            values,
            attributes: attributes.collect(),
        }
    }
}

/// The texts of each attribute that has texts, one a sample, and the largest of their ids.
fn parse_texts(
    r: &mut Reader<'_>,
    requests: &[RequestHead],
) -> Result<(Vec<Vec<u32>>, Option<u32>), DecodeError> {
    let chunks = requests.iter().flat_map(|request| &request.chunks);
    // Of an attribute: samples, and distinct texts.
    let counts: Vec<(usize, usize)> = chunks
        .flat_map(|chunk| chunk.attributes.iter().map(|attribute| (chunk.samples, attribute)))
        .filter_map(|(samples, attribute)| match attribute {
            AttributeHead::Text { distinct, .. } => Some((samples, *distinct)),
            AttributeHead::Integer { .. } => None,
        })
        .collect();
    let mut differences = signed(r, counts.iter().map(|(_, distinct)| distinct).sum())?.into_iter();
    let has_codes = |&&(samples, distinct): &&(usize, usize)| distinct < samples;
    let mut codes = ids(r, counts.iter().filter(has_codes).map(|(samples, _)| samples).sum())?.into_iter();
    let (mut texts, mut max) = (Vec::with_capacity(counts.len()), None);
    for count in &counts {
        let &(samples, distinct_count) = count;
        let mut previous = 0i64;
        let mut distinct = Vec::with_capacity(distinct_count);
        for difference in differences.by_ref().take(distinct_count) {
            previous = previous.wrapping_add(difference);
            let id = u32::try_from(previous).map_err(|_| r.error("an id has more than 32 bits"))?;
            max = max.max(Some(id));
            distinct.push(id);
        }
        if has_codes(&count) {
            let ids = codes.by_ref().take(samples).map(|code| distinct.get(code as usize).copied());
            let ids: Option<Vec<_>> = ids.collect();
            texts.push(ids.ok_or_else(|| r.error("a text of an attribute is none of the distinct"))?);
        } else {
            texts.push(distinct);
        }
    }
    Ok((texts, max))
}

fn parse_integers(r: &mut Reader<'_>, count: usize) -> Result<Vec<Option<i64>>, DecodeError> {
    let are_some = unsigned(r, count)?;
    let mut values = signed(r, are_some.iter().filter(|&&is_some| is_some != 0).count())?.into_iter();
    Ok(are_some.into_iter().map(|is_some| if is_some == 0 { None } else { values.next() }).collect())
}

/// Adds an object's rows to the tables, and returns its requests. The chunks are not yet visible.
///
/// On an error the tables may hold rows of the object; the caller gives up on the log.
pub(crate) fn apply(view: &mut HeadView, delta: Delta) -> Result<Vec<LoggedRequest>, DecodeError> {
    let end = delta.end;
    let misfit = |reason| DecodeError { offset: end, reason };
    apply_symbols(Arc::make_mut(&mut view.symbols), delta.symbols, &misfit)?;
    for name in delta.partitions {
        Arc::make_mut(&mut view.partition_names).push(name);
        Arc::make_mut(&mut view.partitions).push(Arc::new(Partition::default()));
    }
    for series in delta.series {
        if series.partition as usize >= view.partitions.len() {
            return Err(misfit("a partition id is out of range"));
        }
        Arc::make_mut(&mut view.series).push(series);
    }
    for tree in delta.trees {
        apply_tree(view, tree, &misfit)?;
    }
    if delta.attribute_strings > view.symbols.strings.len() {
        return Err(misfit("a string id is out of range"));
    }
    for chunk in delta.requests.iter().flat_map(|r| &r.chunks) {
        let Some(series) = view.series.get(chunk.series as usize) else {
            return Err(misfit("a series id is out of range"));
        };
        let stacktraces = view.partitions[series.partition as usize].tree.leaf.len();
        if chunk.stacktraces.iter().any(|&s| s as usize >= stacktraces) {
            return Err(misfit("a stacktrace id is out of range"));
        }
    }
    Ok(delta.requests)
}

fn apply_symbols(
    symbols: &mut Symbols,
    rows: SymbolRows,
    misfit: &impl Fn(&'static str) -> DecodeError,
) -> Result<(), DecodeError> {
    if symbols.first_line.is_empty() {
        symbols.first_line.push(0);
    }
    for text in &rows.strings {
        symbols.strings.push(text);
    }
    let strings = symbols.strings.len();
    let is_string = |id: u32| (id as usize) < strings;
    let are_strings = rows.mappings.iter().all(|m| is_string(m.file) && is_string(m.build_id))
        && rows.functions.iter().all(|f| [f.name, f.system_name, f.filename].into_iter().all(is_string))
        && rows.locations.iter().all(|l| is_string(l.2));
    if !are_strings {
        return Err(misfit("a string id is out of range"));
    }
    symbols.mappings.extend(rows.mappings);
    symbols.functions.extend(rows.functions);
    if rows.lines.iter().any(|l| l.function as usize >= symbols.functions.len()) {
        return Err(misfit("a function id is out of range"));
    }
    let mut first_line = symbols.lines.len();
    symbols.lines.extend(rows.lines);
    for (mapping, address, frame_type, line_count) in rows.locations {
        if mapping as usize > symbols.mappings.len() {
            return Err(misfit("a mapping id is out of range"));
        }
        // 0 stands for no mapping, which wraps to its marker.
        debug_assert_eq!(0u32.wrapping_sub(1), NO_MAPPING);
        symbols.location_mapping.push(mapping.wrapping_sub(1));
        symbols.location_address.push(address);
        symbols.location_frame_type.push(frame_type);
        first_line += line_count;
        symbols.first_line.push(first_line as u32);
    }
    Ok(())
}

fn apply_tree(
    view: &mut HeadView,
    rows: TreeRows,
    misfit: &impl Fn(&'static str) -> DecodeError,
) -> Result<(), DecodeError> {
    let locations = view.symbols.location_count();
    let Some(partition) = Arc::make_mut(&mut view.partitions).get_mut(rows.partition as usize) else {
        return Err(misfit("a partition id is out of range"));
    };
    let tree = Arc::make_mut(&mut Arc::make_mut(partition).tree);
    if rows.first_node != tree.parent.len() || rows.first_stacktrace != tree.leaf.len() {
        return Err(misfit("a tree does not go on where the objects before ended"));
    }
    // A root has no location; every other node comes with one.
    if rows.location_max as usize >= locations && tree.parent.len() + rows.parent.len() > 1 {
        return Err(misfit("a location id is out of range"));
    }
    tree.parent.extend(rows.parent);
    tree.location.extend(rows.location);
    if !rows.leaf.is_empty() && rows.leaf_max as usize >= tree.parent.len() {
        return Err(misfit("a leaf is out of range"));
    }
    tree.leaf.extend(rows.leaf);
    Ok(())
}
