//! Locations, lines, functions and mappings: the tables behind stacktraces, the same in both schemas but for names and
//! nesting.

use std::collections::HashMap;

use decima_profile::batch::{Function, Line, Location, Mapping, NO_MAPPING, StringId};
use foldhash::fast::RandomState;

use super::{LOCATIONS_MAX, Structs, Text, at, optional_integers};
use crate::arrow::{Array, ArrowError, Batch, Fault, NULL};

/// Lines of one location; inlining deeper than this is not seen.
const LINES_PER_LOCATION_MAX: u32 = 1024;

/// Tables of a batch.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    pub(super) mappings: Vec<Mapping>,
    pub(super) functions: Vec<Function>,
    pub(super) lines: Vec<Line>,
    pub(super) locations: Vec<Location>,
}

fn limit(array: &Array<'_>, what: &'static str, found: usize) -> Result<(), ArrowError> {
    if found <= LOCATIONS_MAX {
        return Ok(());
    }
    Err(ArrowError::column(array.path(), Fault::Limit { what, found, limit: LOCATIONS_MAX }))
}

/// Reads a table of locations; row `i` becomes location `i`.
pub(super) fn locations<'a>(
    batch: &Batch<'a, '_>,
    table: &Array<'a>,
    text: &mut Text,
) -> Result<Symbols, ArrowError> {
    let rows = table.len();
    limit(table, "locations", rows)?;
    if table.children().is_empty() && rows > 0 {
        return Err(table.wrong_type("struct of a location"));
    }
    let address = optional_integers(batch, table.child("address"))?;
    let frame_type = text.optional_column(batch, table.child("frame_type"))?;
    let mut symbols = Symbols::default();
    let mapping = mappings(batch, table, text, &mut symbols)?;
    let spans = lines(batch, table, text, &mut symbols)?;
    let columns = mapping.into_iter().zip(full(address, rows)).zip(full(frame_type, rows));
    symbols.locations.extend(columns.zip(full(spans, rows)).map(
        |(((mapping, address), frame_type), (first_line, line_count))| Location {
            mapping,
            address,
            frame_type,
            first_line,
            line_count,
        },
    ));
    Ok(symbols)
}

/// A column with a value for each row, defaults where it is not there.
fn full<T: Clone + Default>(mut column: Vec<T>, rows: usize) -> Vec<T> {
    column.resize(rows, T::default());
    column
}

/// The mapping of each location: there is one if a file or a build ID is known.
fn mappings<'a>(
    batch: &Batch<'a, '_>,
    table: &Array<'a>,
    text: &mut Text,
    symbols: &mut Symbols,
) -> Result<Vec<u32>, ArrowError> {
    let rows = table.len();
    let first_file = text.next_id();
    let file = text.optional_column(batch, table.child("mapping_file"))?;
    // Mostly a file has one mapping, and what has no file has none: so what a row is compared with is mostly the same.
    let mut of_file = vec![(Mapping::default(), NO_MAPPING); (text.next_id() - first_file) as usize + 1];
    let build_id = text.optional_column(batch, table.child("mapping_build_id"))?;
    let start = optional_integers(batch, table.child("mapping_start"))?;
    let limit = optional_integers(batch, table.child("mapping_limit"))?;
    let offset = optional_integers(batch, table.child("mapping_offset"))?;
    let mut ids: HashMap<Mapping, u32, RandomState> = HashMap::from_iter([(Mapping::default(), NO_MAPPING)]);
    let of_row = |row| {
        let mapping = Mapping {
            start: at(&start, row),
            limit: at(&limit, row),
            offset: at(&offset, row),
            file: at(&file, row),
            build_id: at(&build_id, row),
        };
        let place = mapping.file.checked_sub(first_file).map_or(0, |at| at as usize + 1);
        let last = &mut of_file[place];
        if last.0 != mapping {
            let id = *ids.entry(mapping).or_insert_with(|| {
                symbols.mappings.push(mapping);
                (symbols.mappings.len() - 1) as u32
            });
            *last = (mapping, id);
        }
        last.1
    };
    Ok((0..rows).map(of_row).collect())
}

/// First line and number of lines of each location. Null and empty lists mean that the location is not symbolised.
///
/// Where every line has a function, the lines are those of the column as they are, and lists may share them.
fn lines<'a>(
    batch: &Batch<'a, '_>,
    table: &Array<'a>,
    text: &mut Text,
    symbols: &mut Symbols,
) -> Result<Vec<(u32, u32)>, ArrowError> {
    let Some(array) = table.child("lines") else { return Ok(Vec::new()) };
    let lists = batch.lists(array)?;
    let structs = Structs::of(batch, lists.entries)?;
    let rows = structs.table.len();
    limit(structs.table, "lines", rows)?;
    let line = optional_integers(batch, structs.table.child("line"))?;
    let column = optional_integers(batch, structs.table.child("column"))?;
    let function = functions(batch, structs.table, text, symbols)?;
    let line_of = |entry: usize, function| Line {
        function,
        line: at(&line, entry) as i64,
        column: at(&column, entry) as i64,
    };
    let count: usize = lists.spans.iter().map(|&(_, count)| count as usize).sum();
    let deepest = lists.spans.iter().map(|&(_, count)| count).max().unwrap_or_default();
    let is_whole = structs.codes.is_none() && !function.contains(&NULL);
    if is_whole && count <= LOCATIONS_MAX && deepest <= LINES_PER_LOCATION_MAX {
        symbols
            .lines
            .extend(function.into_iter().enumerate().map(|(entry, function)| line_of(entry, function)));
        return Ok(lists.spans);
    }
    let mut spans = Vec::with_capacity(lists.spans.len());
    symbols.lines.reserve(lists.entries.len().min(LOCATIONS_MAX));
    for (row, &(start, count)) in lists.spans.iter().enumerate() {
        let first = symbols.lines.len();
        if count > LINES_PER_LOCATION_MAX {
            let (found, limit) = (count as usize, LINES_PER_LOCATION_MAX as usize);
            return Err(array.at(row, Fault::Limit { what: "lines", found, limit }));
        }
        for entry in start..start + count {
            let entry = structs.row(entry);
            if entry == NULL {
                continue;
            }
            let entry = entry as usize;
            // A line without a function says nothing.
            let Some(&function) = function.get(entry).filter(|&&function| function != NULL) else { continue };
            symbols.lines.push(line_of(entry, function));
        }
        limit(array, "lines", symbols.lines.len())?;
        spans.push((first as u32, (symbols.lines.len() - first) as u32));
    }
    Ok(spans)
}

/// The function of each line: behind a dictionary of structs (second schema), or in columns beside the line (first).
fn functions<'a>(
    batch: &Batch<'a, '_>,
    lines: &Array<'a>,
    text: &mut Text,
    symbols: &mut Symbols,
) -> Result<Vec<u32>, ArrowError> {
    let Some(array) = lines.child("function") else { return flat_functions(batch, lines, text, symbols) };
    let structs = Structs::of(batch, array)?;
    let rows = structs.table.len();
    limit(structs.table, "functions", rows)?;
    if structs.table.children().is_empty() && rows > 0 {
        return Err(structs.table.wrong_type("struct of a function"));
    }
    let name = text.optional_column(batch, structs.table.child("name"))?;
    let system_name = text.optional_column(batch, structs.table.child("system_name"))?;
    let filename = text.optional_column(batch, structs.table.child("filename"))?;
    let start_line = optional_integers(batch, structs.table.child("start_line"))?;
    symbols.functions.extend(
        (0..rows).map(|row| {
            named(at(&name, row), at(&system_name, row), at(&filename, row), at(&start_line, row))
        }),
    );
    Ok((0..lines.len() as u32).map(|line| structs.row(line)).collect())
}

/// This schema has no table of functions: equal ones of different lines become one.
fn flat_functions<'a>(
    batch: &Batch<'a, '_>,
    lines: &Array<'a>,
    text: &mut Text,
    symbols: &mut Symbols,
) -> Result<Vec<u32>, ArrowError> {
    let rows = lines.len();
    let name = text.optional_column(batch, lines.child("function_name"))?;
    let system_name = text.optional_column(batch, lines.child("function_system_name"))?;
    let filename = text.optional_column(batch, lines.child("function_filename"))?;
    let start_line = optional_integers(batch, lines.child("function_start_line"))?;
    let mut ids: HashMap<Function, u32, RandomState> = HashMap::default();
    let of_row = |row: usize| {
        let function = named(at(&name, row), at(&system_name, row), at(&filename, row), at(&start_line, row));
        if function == Function::default() {
            return NULL;
        }
        *ids.entry(function).or_insert_with(|| {
            symbols.functions.push(function);
            (symbols.functions.len() - 1) as u32
        })
    };
    Ok((0..rows).map(of_row).collect())
}

/// Either name stands in for the other: the second schema has system names only.
fn named(name: StringId, system_name: StringId, filename: StringId, start_line: u64) -> Function {
    let either = |first, second| if first == 0 { second } else { first };
    Function {
        name: either(name, system_name),
        system_name: either(system_name, name),
        filename,
        start_line: start_line as i64,
    }
}
