//! Log objects back into the head's tables, in two steps: [`parse`] reads an object's rows without knowing the tables, so that many
//! can be parsed at once; [`apply`] checks them against the tables and appends them, in order.
//!
//! The grammar is in [`codec`](super::codec). Invariant: every id and count is checked before anything is indexed by it.

use std::sync::Arc;

use decima_profile::ProfileType;

use super::{
    codec::LoggedRequest,
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
    for _ in 0..r.count()? {
        delta.trees.push(parse_tree(&mut r)?);
    }
    for _ in 0..r.count()? {
        let request = parse_request(&mut r, &mut delta.attribute_strings)?;
        delta.requests.push(request);
    }
    if !r.is_at_end() {
        return Err(r.error("bytes follow the last request"));
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

fn parse_tree(r: &mut Reader<'_>) -> Result<TreeRows, DecodeError> {
    let (partition, first_node, first_stacktrace) = (r.id()?, r.id()? as usize, r.id()? as usize);
    let count = r.count()?;
    let mut parent = Vec::with_capacity(count);
    for node in first_node..first_node + count {
        let distance = r.unsigned()?;
        // The root is its own parent; every other node comes after its parent.
        if distance > node as u64 || (distance == 0 && node != 0) {
            return Err(r.error("a node does not come after its parent"));
        }
        parent.push((node as u64 - distance) as u32);
    }
    let (location, location_max) = parse_deltas(r, count, "a location id is out of range")?;
    let count = r.count()?;
    let (leaf, leaf_max) = parse_deltas(r, count, "a leaf is out of range")?;
    Ok(TreeRows { partition, first_node, first_stacktrace, parent, location, location_max, leaf, leaf_max })
}

/// Ids written as differences, and the largest of them.
fn parse_deltas(
    r: &mut Reader<'_>,
    count: usize,
    reason: &'static str,
) -> Result<(Vec<u32>, u32), DecodeError> {
    let mut ids = Vec::with_capacity(count);
    let (mut previous, mut max) = (0i64, 0);
    for _ in 0..count {
        previous = previous.wrapping_add(r.signed()?);
        let Ok(id) = u32::try_from(previous) else { return Err(r.error(reason)) };
        max = max.max(id);
        ids.push(id);
    }
    Ok((ids, max))
}

fn parse_request(r: &mut Reader<'_>, strings: &mut usize) -> Result<LoggedRequest, DecodeError> {
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
        chunks.push(Arc::new(parse_chunk(r, strings)?));
    }
    Ok(LoggedRequest { received_ns, hash, chunks })
}

fn parse_chunk(r: &mut Reader<'_>, strings: &mut usize) -> Result<Chunk, DecodeError> {
    let series = r.id()?;
    let duration_ns = r.signed()?;
    let time_count = r.count()?;
    let mut times_ns = Vec::with_capacity(time_count);
    let mut time = 0i64;
    for _ in 0..time_count {
        time = time.wrapping_add(r.signed()?);
        times_ns.push(time);
    }
    let count = r.count()?;
    if time_count != 1 && time_count != count {
        return Err(r.error("a chunk has neither one time nor one each"));
    }
    let mut stacktraces = Vec::with_capacity(count);
    for _ in 0..count {
        stacktraces.push(r.id()?);
    }
    let divisor = r.unsigned()? as i64;
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        values.push(r.signed()?.wrapping_mul(divisor));
    }
    let mut attributes = Vec::new();
    for _ in 0..r.count()? {
        attributes.push(parse_attribute(r, count, strings)?);
    }
    Ok(Chunk { series, duration_ns, times_ns, stacktraces, values, attributes })
}

fn parse_attribute(
    r: &mut Reader<'_>,
    count: usize,
    strings: &mut usize,
) -> Result<ChunkAttribute, DecodeError> {
    let mut string = |r: &mut Reader<'_>| {
        let id = r.id()?;
        *strings = (*strings).max(id as usize + 1);
        Ok::<u32, DecodeError>(id)
    };
    let name = string(r)?;
    let values = if r.unsigned()? == 0 {
        let mut ids = Vec::with_capacity(count);
        for _ in 0..count {
            ids.push(string(r)?);
        }
        ChunkAttributeValues::Text(ids)
    } else {
        let unit = string(r)?;
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(if r.unsigned()? == 0 { None } else { Some(r.signed()?) });
        }
        ChunkAttributeValues::Integer { unit, values }
    };
    Ok(ChunkAttribute { name, values })
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
