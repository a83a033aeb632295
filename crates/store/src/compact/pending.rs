//! Samples of one series between what is read and what is written.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, builder::StringDictionaryBuilder, types::Int32Type};

use super::cursor::SampleRows;
use crate::block::write::{BlockBuilder, SampleColumns};

/// Samples of one series that are not written yet, in order of time. Stacktraces are those of the merged block.
pub(super) struct Pending {
    times_ns: Vec<i64>,
    durations_ns: Vec<i64>,
    stacktraces: Vec<i32>,
    values: Vec<i64>,
    texts: Vec<Vec<Option<Arc<str>>>>,
    integers: Vec<Vec<Option<i64>>>,
}

impl Pending {
    pub(super) fn new(builder: &BlockBuilder) -> Self {
        Self {
            times_ns: Vec::new(),
            durations_ns: Vec::new(),
            stacktraces: Vec::new(),
            values: Vec::new(),
            texts: vec![Vec::new(); builder.text_attributes().len()],
            integers: vec![Vec::new(); builder.integer_attributes().len()],
        }
    }

    /// Adds rows of an input, whose attributes go to the columns named; whether all its stacktraces are known.
    pub(super) fn add(
        &mut self,
        rows: &SampleRows,
        range: std::ops::Range<usize>,
        stacktrace: impl Fn(u32) -> Option<u32>,
        texts: &[usize],
        integers: &[usize],
    ) -> bool {
        self.times_ns.extend_from_slice(&rows.times_ns[range.clone()]);
        self.durations_ns.extend_from_slice(&rows.durations_ns[range.clone()]);
        self.values.extend_from_slice(&rows.values[range.clone()]);
        for (column, &place) in rows.texts.iter().zip(texts) {
            self.texts[place].extend_from_slice(&column[range.clone()]);
        }
        for (column, &place) in rows.integers.iter().zip(integers) {
            self.integers[place].extend_from_slice(&column[range.clone()]);
        }
        let count = self.times_ns.len();
        self.texts.iter_mut().for_each(|column| column.resize(count, None));
        self.integers.iter_mut().for_each(|column| column.resize(count, None));
        let stacktraces = rows.stacktraces[range].iter();
        self.stacktraces.extend(stacktraces.map_while(|&s| Some(stacktrace(s)? as i32)));
        self.stacktraces.len() == count
    }

    /// Adds a sum, which has no attributes.
    pub(super) fn push(&mut self, time_ns: i64, duration_ns: i64, stacktrace: u32, value: i64) {
        self.times_ns.push(time_ns);
        self.durations_ns.push(duration_ns);
        self.stacktraces.push(stacktrace as i32);
        self.values.push(value);
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.times_ns.len()
    }

    /// All rows in order of time and stacktrace.
    pub(super) fn sorted(self) -> SampleColumns {
        let mut order: Vec<u32> = (0..self.times_ns.len() as u32).collect();
        order.sort_by_key(|&row| (self.times_ns[row as usize], self.stacktraces[row as usize]));
        let rows = || order.iter().map(|&row| row as usize);
        let text = |column: &Vec<Option<Arc<str>>>| -> ArrayRef {
            let mut builder = StringDictionaryBuilder::<Int32Type>::new();
            rows().for_each(|row| builder.append_option(column[row].as_deref()));
            Arc::new(builder.finish())
        };
        let integer = |column: &Vec<Option<i64>>| -> ArrayRef {
            Arc::new(rows().map(|row| column[row]).collect::<Int64Array>())
        };
        let attributes = self.texts.iter().map(text).chain(self.integers.iter().map(integer)).collect();
        SampleColumns {
            times_ns: rows().map(|row| self.times_ns[row]).collect(),
            durations_ns: rows().map(|row| self.durations_ns[row]).collect(),
            stacktraces: rows().map(|row| self.stacktraces[row]).collect(),
            values: rows().map(|row| self.values[row]).collect(),
            attributes,
        }
    }
}
