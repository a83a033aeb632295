//! Labels of samples, gathered to attribute columns.
//!
//! A pprof label is a text or a number with a unit under a key; keys may repeat within a sample. A column holds one key,
//! one kind (one unit) and one occurrence: the second label of a key in the same sample goes to a second column, so that
//! nothing is lost. Columns are dense, which is right for what senders do (the same few keys in most samples) and is
//! bounded for those that do otherwise.

use std::collections::HashSet;

use super::{DecodeError, Limits};
use crate::{
    attribute_name,
    batch::{Attribute, AttributeValues, StringId, Strings},
};

/// Cells of all attribute columns of a profile, absent ones included; 256 MiB if all are numbers.
const CELLS_MAX: usize = 1 << 24;

/// A label as read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RawLabel {
    /// Index of the sample among those that are kept.
    pub(super) row: u32,
    /// Where the label is in the message.
    pub(super) offset: u32,
    pub(super) key: StringId,
    /// 0 if the label is a number.
    pub(super) text: StringId,
    pub(super) unit: StringId,
    pub(super) number: i64,
}

impl RawLabel {
    /// An empty text and the number 0 without unit look the same on the wire.
    fn is_ambiguous(&self) -> bool {
        self.text == 0 && self.number == 0 && self.unit == 0
    }
}

/// An attribute of all samples of a profile.
pub(super) struct Column {
    key: StringId,
    name: StringId,
    cells: AttributeValues,
    /// The next column of the same key.
    next: Option<usize>,
}

impl Column {
    fn new(label: &RawLabel, rows: usize) -> Self {
        let cells = if label.text != 0 {
            AttributeValues::Text(vec![0; rows])
        } else {
            AttributeValues::Integer { unit: label.unit, values: vec![None; rows] }
        };
        Self { key: label.key, name: 0, cells, next: None }
    }

    /// Puts the label in if it is of the column's kind and the cell is free.
    fn take(&mut self, label: &RawLabel) -> bool {
        let row = label.row as usize;
        match &mut self.cells {
            AttributeValues::Text(ids) => match ids.get_mut(row) {
                Some(cell) if *cell == 0 && label.text != 0 => *cell = label.text,
                _ => return false,
            },
            AttributeValues::Integer { unit, values } => match values.get_mut(row) {
                Some(cell) if cell.is_none() && label.text == 0 && *unit == label.unit => {
                    *cell = Some(label.number);
                }
                _ => return false,
            },
        }
        true
    }

    /// The column of the samples in `rows`; `None` if no label is left.
    pub(super) fn at_rows(&self, rows: &[u32]) -> Option<Attribute> {
        let values = match &self.cells {
            AttributeValues::Text(ids) => {
                let ids: Vec<StringId> =
                    rows.iter().map(|&row| ids.get(row as usize).copied().unwrap_or(0)).collect();
                if ids.iter().all(|&id| id == 0) {
                    return None;
                }
                AttributeValues::Text(ids)
            }
            AttributeValues::Integer { unit, values } => {
                let values: Vec<Option<i64>> =
                    rows.iter().map(|&row| values.get(row as usize).copied().flatten()).collect();
                if values.iter().all(Option::is_none) {
                    return None;
                }
                AttributeValues::Integer { unit: *unit, values }
            }
        };
        Some(Attribute { name: self.name, values })
    }
}

/// Sorts the labels of `rows` samples into columns with unique names.
pub(super) fn columns(
    labels: &[RawLabel],
    strings: &mut Strings,
    rows: usize,
    limits: &Limits,
) -> Result<Vec<Column>, DecodeError> {
    if labels.is_empty() {
        return Ok(Vec::new());
    }
    let mut columns = Columns { first_by_key: vec![None; strings.len()], columns: Vec::new(), rows, limits };
    for label in labels.iter().filter(|label| !label.is_ambiguous()) {
        check_lengths(label, strings, limits)?;
        columns.put(label)?;
    }
    for label in labels.iter().filter(|label| label.is_ambiguous()) {
        columns.put_zero(label);
    }
    let mut columns = columns.columns;
    name(&mut columns, strings);
    Ok(columns)
}

/// Refuses more cells than we hold.
pub(super) fn check_cells(columns: usize, cells_per_column: usize, offset: usize) -> Result<(), DecodeError> {
    if columns.saturating_mul(cells_per_column) > CELLS_MAX {
        return Err(DecodeError::Limit {
            field: "sample[].label".to_owned(),
            what: "values, absent ones included",
            limit: CELLS_MAX,
            offset,
        });
    }
    Ok(())
}

struct Columns<'a> {
    /// By string: the first column of which it is the key.
    first_by_key: Vec<Option<u32>>,
    columns: Vec<Column>,
    rows: usize,
    limits: &'a Limits,
}

impl Columns<'_> {
    fn put(&mut self, label: &RawLabel) -> Result<(), DecodeError> {
        let mut last = None;
        let mut at = self.first(label);
        while let Some(index) = at {
            let Some(column) = self.columns.get_mut(index) else { break };
            if column.take(label) {
                return Ok(());
            }
            last = Some(index);
            at = column.next;
        }
        let limit = self.limits.attribute_count_max;
        if self.columns.len() >= limit {
            let field = "sample[].label".to_owned();
            return Err(DecodeError::Limit {
                field,
                what: "different labels",
                limit,
                offset: label.offset as usize,
            });
        }
        let index = self.columns.len();
        check_cells(index + 1, self.rows, label.offset as usize)?;
        let mut column = Column::new(label, self.rows);
        column.take(label);
        self.columns.push(column);
        match last.and_then(|last| self.columns.get_mut(last)) {
            Some(last) => last.next = Some(index),
            None => {
                if let Some(first) = self.first_by_key.get_mut(label.key as usize) {
                    *first = Some(index as u32);
                }
            }
        }
        Ok(())
    }

    /// A 0 is one where the key has numbers elsewhere, and no label otherwise.
    fn put_zero(&mut self, label: &RawLabel) {
        let mut at = self.first(label);
        while let Some(column) = at.and_then(|index| self.columns.get_mut(index)) {
            if let AttributeValues::Integer { unit, .. } = column.cells {
                column.take(&RawLabel { unit, ..*label });
                return;
            }
            at = column.next;
        }
    }

    fn first(&self, label: &RawLabel) -> Option<usize> {
        self.first_by_key.get(label.key as usize).copied().flatten().map(|index| index as usize)
    }
}

fn check_lengths(label: &RawLabel, strings: &Strings, limits: &Limits) -> Result<(), DecodeError> {
    let bounds = [
        ("key", "bytes", label.key, limits.attribute_name_bytes_max),
        ("str", "bytes", label.text, limits.attribute_value_bytes_max),
        ("num_unit", "bytes", label.unit, limits.attribute_name_bytes_max),
    ];
    for (field, what, id, limit) in bounds {
        if strings.bytes(id).len() > limit {
            let field = format!("sample[].label[].{field}");
            return Err(DecodeError::Limit { field, what, limit, offset: label.offset as usize });
        }
    }
    Ok(())
}

fn name(columns: &mut [Column], strings: &mut Strings) {
    let mut taken = HashSet::new();
    for column in columns {
        let key = strings.get(column.key);
        let name = attribute_name::unique(key, |name| taken.contains(name)).into_owned();
        column.name = if name == key { column.key } else { strings.push(&name) };
        taken.insert(name);
    }
}
