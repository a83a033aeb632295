//! Locations as rows of `locations.parquet`: one a line.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, DictionaryArray, Int32Array, Int64Array, StringArray, builder::StringDictionaryBuilder,
    types::Int32Type,
};

use crate::source::{NO_MAPPING, Symbols};

/// How many rows a location has.
pub(super) fn count(symbols: &Symbols, location: u32) -> u64 {
    symbols.location_lines(location).len().max(1) as u64
}

/// The text that rows have, that of a column's equal texts once.
pub(super) fn text_bytes(columns: &[ArrayRef]) -> u64 {
    let of_column = |column: &ArrayRef| {
        let column = column.as_any().downcast_ref::<DictionaryArray<Int32Type>>()?;
        let values = column.values().as_any().downcast_ref::<StringArray>()?;
        // What is copied has a part of a row group's dictionary only.
        let mut used = vec![false; values.len()];
        for key in column.keys().iter().flatten() {
            if let Some(used) = used.get_mut(key as usize) {
                *used = true;
            }
        }
        let length = |at: usize| values.value_length(at) as u64;
        Some((0..used.len()).filter(|&at| used[at]).map(length).sum::<u64>())
    };
    columns.iter().filter_map(of_column).sum()
}

/// Rows of some locations, whose ids in the block follow each other from the first on.
pub(super) fn columns(symbols: &Symbols, first: i32, locations: &[u32]) -> Vec<ArrayRef> {
    /// (block location, location of the symbols, line of it)
    type Row = (i32, u32, Option<crate::source::Line>);
    let mut rows: Vec<Row> = Vec::with_capacity(locations.len());
    for (id, &location) in (first..).zip(locations) {
        let lines = symbols.location_lines(location);
        if lines.is_empty() {
            rows.push((id, location, None));
        }
        rows.extend(lines.iter().map(|line| (id, location, Some(*line))));
    }
    let mapping = |r: &Row| {
        let id = symbols.location_mapping[r.1 as usize];
        if id == NO_MAPPING { None } else { symbols.mappings.get(id as usize) }
    };
    let function = |r: &Row| r.2.map(|line| symbols.functions[line.function as usize]);
    let text = |f: &dyn Fn(&Row) -> Option<u32>| -> ArrayRef {
        let mut builder = StringDictionaryBuilder::<Int32Type>::new();
        for row in &rows {
            builder.append_option(f(row).map(|id| symbols.strings.get(id)));
        }
        Arc::new(builder.finish())
    };
    let number = |f: &dyn Fn(&Row) -> Option<i64>| -> ArrayRef {
        Arc::new(rows.iter().map(f).collect::<Int64Array>())
    };
    vec![
        Arc::new(Int32Array::from(rows.iter().map(|r| r.0).collect::<Vec<_>>())),
        number(&|r| Some(symbols.location_address[r.1 as usize] as i64)),
        text(&|r| Some(symbols.location_frame_type[r.1 as usize])),
        number(&|r| mapping(r).map(|m| m.start as i64)),
        number(&|r| mapping(r).map(|m| m.limit as i64)),
        number(&|r| mapping(r).map(|m| m.offset as i64)),
        text(&|r| mapping(r).map(|m| m.file)),
        text(&|r| mapping(r).map(|m| m.build_id)),
        text(&|r| function(r).map(|f| f.name)),
        text(&|r| function(r).map(|f| f.system_name)),
        text(&|r| function(r).map(|f| f.filename)),
        number(&|r| function(r).map(|f| f.start_line)),
        number(&|r| r.2.map(|l| l.line)),
        number(&|r| r.2.map(|l| l.column)),
    ]
}
