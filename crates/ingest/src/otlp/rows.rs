//! Rows of a series as they are gathered, with attributes as columns.

use std::collections::{HashMap, HashSet};

use decima_profile::{
    attribute_name,
    batch::{Attribute, AttributeValues, StringId},
};

use super::{
    CELLS_MAX,
    attribute::{AttributeValue, KeyValue},
    dictionary::Dictionary,
    error::OtlpError,
};
use crate::push::Limits;

/// Samples of one series, and their attributes.
pub(super) struct Rows<'l> {
    limits: &'l Limits,
    pub(super) values: Vec<i64>,
    pub(super) times_ns: Vec<i64>,
    pub(super) stacktraces: Vec<u32>,
    columns: Vec<Column>,
    /// Columns by key as it came, and whether they hold numbers.
    by_key: HashMap<(StringId, bool), usize>,
    by_text: HashMap<(String, bool), usize>,
    /// Names of labels and columns.
    taken: HashSet<String>,
}

struct Column {
    name: String,
    cells: Cells,
}

/// Shorter than the rows: what is absent at the end is not there.
enum Cells {
    Text(Vec<StringId>),
    Integer(Vec<Option<i64>>),
}

impl<'l> Rows<'l> {
    /// No rows, of a series with these labels.
    pub(super) fn new(limits: &'l Limits, labels: &[(String, String)]) -> Self {
        Self {
            limits,
            values: Vec::new(),
            times_ns: Vec::new(),
            stacktraces: Vec::new(),
            columns: Vec::new(),
            by_key: HashMap::new(),
            by_text: HashMap::new(),
            taken: labels.iter().map(|(name, _)| name.clone()).collect(),
        }
    }

    /// Sets an attribute of all rows from `first` on. What a row has already stays.
    pub(super) fn attribute(
        &mut self,
        pair: KeyValue,
        first: usize,
        dictionary: &Dictionary,
        place: &impl Fn() -> String,
    ) -> Result<(), OtlpError> {
        let is_integer = match pair.value {
            AttributeValue::None => return Ok(()),
            AttributeValue::Text(_) => false,
            AttributeValue::Integer(_) => true,
        };
        let column = match self.by_key.get(&(pair.key, is_integer)) {
            Some(&column) => column,
            None => {
                let column = self.column(dictionary.strings.get(pair.key), is_integer, place)?;
                self.by_key.insert((pair.key, is_integer), column);
                column
            }
        };
        if let AttributeValue::Text(id) = pair.value {
            let (found, limit) = (dictionary.strings.bytes(id).len(), self.limits.label_value_bytes_max);
            if found > limit {
                return Err(OtlpError::limit(place(), "bytes of the value of an attribute", found, limit));
            }
        }
        self.fill(column, pair.value, first);
        Ok(())
    }

    /// Sets a text of all rows from `first` on, under a name of ours.
    pub(super) fn text(
        &mut self,
        key: &str,
        id: StringId,
        first: usize,
        place: &impl Fn() -> String,
    ) -> Result<(), OtlpError> {
        let column = self.column(key, false, place)?;
        self.fill(column, AttributeValue::Text(id), first);
        Ok(())
    }

    fn column(
        &mut self,
        key: &str,
        is_integer: bool,
        place: &impl Fn() -> String,
    ) -> Result<usize, OtlpError> {
        if let Some(&column) = self.by_text.get(&(key.to_owned(), is_integer)) {
            return Ok(column);
        }
        let (found, limit) = (self.columns.len() + 1, self.limits.label_count_max);
        if found > limit {
            return Err(OtlpError::limit(place(), "attributes", found, limit));
        }
        let (len, limit) = (key.len(), self.limits.label_name_bytes_max);
        if len > limit {
            return Err(OtlpError::limit(place(), "bytes of the name of an attribute", len, limit));
        }
        let cells = found.saturating_mul(self.values.len());
        if cells > CELLS_MAX {
            return Err(OtlpError::limit(place(), "attributes of samples", cells, CELLS_MAX));
        }
        let name = attribute_name::unique(key, |name| self.taken.contains(name)).into_owned();
        self.taken.insert(name.clone());
        let cells = if is_integer { Cells::Integer(Vec::new()) } else { Cells::Text(Vec::new()) };
        self.columns.push(Column { name, cells });
        self.by_text.insert((key.to_owned(), is_integer), self.columns.len() - 1);
        Ok(self.columns.len() - 1)
    }

    fn fill(&mut self, column: usize, value: AttributeValue, first: usize) {
        let rows = self.values.len();
        match (self.columns.get_mut(column).map(|column| &mut column.cells), value) {
            (Some(Cells::Text(cells)), AttributeValue::Text(id)) => {
                cells.resize(cells.len().max(first), 0);
                cells.resize(rows, id);
            }
            (Some(Cells::Integer(cells)), AttributeValue::Integer(number)) => {
                cells.resize(cells.len().max(first), None);
                cells.resize(rows, Some(number));
            }
            _ => {}
        }
    }

    /// The attribute columns, as long as there are rows.
    pub(super) fn attributes(&mut self, dictionary: &mut Dictionary) -> Vec<Attribute> {
        let rows = self.values.len();
        let columns = std::mem::take(&mut self.columns);
        let attribute = |column: Column| Attribute {
            name: dictionary.push(&column.name),
            values: match column.cells {
                Cells::Text(mut cells) => {
                    cells.resize(rows, 0);
                    AttributeValues::Text(cells)
                }
                Cells::Integer(mut values) => {
                    values.resize(rows, None);
                    AttributeValues::Integer { unit: 0, values }
                }
            },
        };
        columns.into_iter().map(attribute).collect()
    }
}
