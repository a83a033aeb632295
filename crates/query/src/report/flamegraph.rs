//! FLAMEGRAPH_ARROW: rows of a merge in breadth-first order, as the record that Parca's page and Grafana read.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Int32Array, Int64Array, ListArray, UInt32Array, UInt64Array};
use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field};

use super::{Forest, columns};
use crate::{
    api::{ArrowRecord, QueryError, ReportRequest},
    branch::COMPARED,
    merge::{Merged, Row, RowKey},
    names::FrameMeta,
};

/// A flame graph and whether negative values had to be shown as 0 (the columns are unsigned).
pub(crate) struct Flamegraph {
    pub(crate) record: ArrowRecord,
    pub(crate) clamped: bool,
}

/// Rows in breadth-first order with what their places say.
struct Layout {
    /// Rows of the merge by place.
    order: Vec<u32>,
    /// Place of the parent; −1 for the root.
    parent: Vec<i32>,
    /// Places of children are `first_child[i]..first_child[i + 1]`.
    first_child: Vec<u32>,
    value_offset: Vec<Option<u64>>,
}

/// Renders a merge for a request. `label_names` become columns.
pub(crate) fn render(
    merged: &Merged,
    forest: &mut Forest,
    label_names: &[String],
    request: &ReportRequest,
) -> Result<Flamegraph, QueryError> {
    let layout = lay_out(&merged.rows);
    let rows: Vec<&Row> = layout.order.iter().map(|&row| &merged.rows[row as usize]).collect();
    let uint = |value: fn(&Row) -> Option<u64>| {
        columns::narrow_uint(&rows.iter().map(|row| value(row)).collect::<Vec<_>>())
    };
    let diff: Vec<i64> = rows.iter().map(|row| forest.diff(row.values)).collect();
    let labels = label_columns(&rows, forest, label_names)?;
    let texts = &forest.names.texts;
    let text = |value: fn(&FrameMeta) -> Option<u32>| {
        columns::binary_dictionary(rows.iter().map(|row| row.meta.as_ref().and_then(value)), texts)
    };
    let mut record: Vec<(&str, ArrayRef)> = vec![
        ("labels_only", Arc::new(rows.iter().map(|row| labels_only(row)).collect::<BooleanArray>())),
        (
            "location_address",
            Arc::new(rows.iter().map(|row| row.meta.and_then(|m| m.address)).collect::<UInt64Array>()),
        ),
        ("mapping_file", text(|m| m.mapping_file)?),
        ("mapping_build_id", text(|m| m.build_id)?),
        ("location_line", uint(|row| known_line(row.meta?.line))),
        ("inlined", Arc::new(rows.iter().map(|row| inlined(row)).collect::<BooleanArray>())),
        ("function_startline", uint(|row| known_line(row.meta?.start_line))),
        ("function_name", text(|m| m.name)?),
        ("function_system_name", text(|m| m.system_name)?),
        ("function_file_name", text(|m| m.filename)?),
        ("children", children(&layout)?),
        ("parent", Arc::new(Int32Array::from(layout.parent.clone()))),
        ("cumulative", uint(|row| Some(shown(row.values[COMPARED])))),
        ("flat", uint(|row| Some(shown(row.flat[COMPARED])))),
        ("diff", columns::narrow_int(&diff)),
        ("timestamp", Arc::new(Int64Array::from(vec![0; rows.len()]))),
        ("depth", uint(|row| Some(u64::from(row.depth)))),
        ("value_offset", columns::narrow_uint(&layout.value_offset)),
    ];
    if request.frame_type_column {
        record.push(("frame_type", text(|m| m.frame_type)?));
    }
    if request.unresolved_column {
        record.push(("unresolved", columns::unresolved(rows.iter().map(|row| row.meta?.unresolved))?));
    }
    record.extend(labels.iter().map(|(name, array)| (name.as_str(), Arc::clone(array))));
    let record = record.into_iter().map(|(name, array)| (name.to_owned(), array)).collect();
    Ok(Flamegraph {
        record: ArrowRecord {
            record: columns::ipc_stream(record, request.ipc_compression)?,
            unit: forest.unit.clone(),
            height: rows.iter().map(|row| row.depth as i32 + 1).max().unwrap_or_default(),
            trimmed: merged.trimmed[COMPARED],
        },
        clamped: rows.iter().any(|row| row.values[COMPARED] < 0 || row.flat[COMPARED] < 0),
    })
}

fn labels_only(row: &Row) -> Option<bool> {
    match row.key {
        RowKey::Root => None,
        RowKey::Labels(_) => Some(true),
        RowKey::Frame(_) => Some(false),
    }
}

fn inlined(row: &Row) -> Option<bool> {
    match &row.meta {
        Some(meta) => meta.inlined,
        None => Some(false),
    }
}

fn known_line(line: Option<i64>) -> Option<u64> {
    line.and_then(|line| u64::try_from(line).ok()).filter(|&line| line != 0)
}

fn shown(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

/// Orders rows breadth first, siblings by rank.
fn lay_out(rows: &[Row]) -> Layout {
    let mut by_parent: Vec<u32> = (1..rows.len() as u32).collect();
    by_parent.sort_unstable_by_key(|&row| (rows[row as usize].parent, rows[row as usize].rank));
    // by_parent[starts[p]..starts[p + 1]] are the children of merge row p.
    let mut starts = vec![0u32; rows.len() + 1];
    for row in rows.iter().skip(1) {
        starts[row.parent as usize + 1] += 1;
    }
    for at in 1..starts.len() {
        starts[at] += starts[at - 1];
    }
    let mut layout = Layout {
        order: Vec::with_capacity(rows.len()),
        parent: Vec::with_capacity(rows.len()),
        first_child: Vec::with_capacity(rows.len() + 1),
        value_offset: Vec::with_capacity(rows.len()),
    };
    layout.order.push(0);
    layout.parent.push(-1);
    layout.value_offset.push(Some(0));
    let mut place = 0;
    while place < layout.order.len() {
        let row = layout.order[place] as usize;
        layout.first_child.push(layout.order.len() as u32);
        let mut offset = layout.value_offset[place].unwrap_or_default();
        for &child in &by_parent[starts[row] as usize..starts[row + 1] as usize] {
            layout.order.push(child);
            layout.parent.push(place as i32);
            layout.value_offset.push(Some(offset));
            offset = offset.saturating_add(shown(rows[child as usize].values[COMPARED]));
        }
        place += 1;
    }
    layout.first_child.push(layout.order.len() as u32);
    layout
}

fn children(layout: &Layout) -> Result<ArrayRef, QueryError> {
    // Breadth-first order makes the children of all rows, one after the other, exactly 1, 2, 3 …
    let values = UInt32Array::from_iter_values(1..layout.order.len() as u32);
    let offsets: Vec<i32> = layout.first_child.iter().map(|&first| first as i32 - 1).collect();
    let nulls: NullBuffer = layout.first_child.windows(2).map(|pair| pair[0] < pair[1]).collect();
    let field = Arc::new(Field::new("item", DataType::UInt32, true));
    let list = ListArray::try_new(
        field,
        OffsetBuffer::new(ScalarBuffer::from(offsets)),
        Arc::new(values),
        Some(nulls),
    );
    match list {
        Ok(list) => Ok(Arc::new(list)),
        Err(error) => Err(QueryError::Internal { message: format!("building the children: {error}") }),
    }
}

fn label_columns(
    rows: &[&Row],
    forest: &mut Forest,
    label_names: &[String],
) -> Result<Vec<(String, ArrayRef)>, QueryError> {
    let mut made = Vec::with_capacity(label_names.len());
    for name in label_names {
        let of_group: Vec<u32> = forest
            .groups
            .iter()
            .map(|key| {
                key.iter().find(|(n, _)| n == name).map_or(0, |(_, value)| forest.names.texts.id(value))
            })
            .collect();
        let values = rows.iter().map(|row| row.group.map(|group| of_group[group as usize]));
        made.push((format!("labels.{name}"), columns::binary_dictionary(values, &forest.names.texts)?));
    }
    Ok(made)
}
