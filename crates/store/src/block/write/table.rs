//! One Parquet file in the making, and where its row groups end.
//!
//! A query of one service reads a run of rows, of some columns. The columns of a row group follow each other in the file, so that what is
//! read is one run of bytes only if the row group has little else: a bucket is asked for it at once, and for little more. So row groups
//! end where runs do. Each takes some hundred bytes of the footer for every column, though, and some microseconds of a query that reads
//! everything: short runs share a row group, and the more rows a file has the longer its row groups are.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::Schema;
use parquet::{arrow::ArrowWriter, errors::ParquetError, file::properties::WriterProperties};

/// A row group has at least so small a part of the rows before it. Up to some five million rows that asks for nothing, and from there on
/// the number of row groups grows as the logarithm does: footers of some hundred row groups are a megabyte of memory. Each of 200
/// services of one size has row groups to itself, however large the file is.
const PART_OF_ROWS_BEFORE: u64 = 256;

/// One Parquet file in the making.
pub(crate) struct Table {
    schema: Arc<Schema>,
    writer: ArrowWriter<Vec<u8>>,
    row_count: u64,
    /// Ends of row groups that were not taken yet.
    group_ends: Vec<u64>,
}

/// Bytes of a file.
pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    /// Where row groups end in the file, ascending: in these bytes or in those that follow, and in none before.
    pub(crate) group_ends: Vec<u64>,
}

impl Table {
    pub(super) fn new((schema, properties): (Arc<Schema>, WriterProperties)) -> Result<Self, ParquetError> {
        let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties))?;
        Ok(Self { schema, writer, row_count: 0, group_ends: Vec::new() })
    }

    /// Begins a run of about so many rows, 0 if that is not known: ends the row group before it unless that and the run are short.
    pub(super) fn begin_run(&mut self, row_count: u64, rows_min: u64) -> Result<(), ParquetError> {
        let open = self.writer.in_progress_rows() as u64;
        if ends_group(self.row_count - open, open, row_count, rows_min) {
            self.end_group()?;
        }
        Ok(())
    }

    /// Ends the row group, if there is one.
    pub(super) fn end_group(&mut self) -> Result<(), ParquetError> {
        if self.writer.in_progress_rows() > 0 {
            self.writer.flush()?;
            self.group_ends.push(self.writer.bytes_written() as u64);
        }
        Ok(())
    }

    pub(super) fn write(&mut self, columns: Vec<ArrayRef>) -> Result<(), ParquetError> {
        let batch = RecordBatch::try_new(self.schema.clone(), columns)?;
        self.row_count += batch.num_rows() as u64;
        self.writer.write(&batch)
    }

    /// What was encoded since the last call: of whole row groups, and nothing of the one that is being filled.
    pub(crate) fn take_encoded(&mut self) -> Encoded {
        let bytes = std::mem::take(self.writer.inner_mut());
        Encoded { bytes, group_ends: std::mem::take(&mut self.group_ends) }
    }

    pub(super) fn finish(mut self) -> Result<Encoded, ParquetError> {
        self.end_group()?;
        let group_ends = std::mem::take(&mut self.group_ends);
        Ok(Encoded { bytes: self.writer.into_inner()?, group_ends })
    }
}

/// Whether a row group of `open` rows, with so many before it, ends before a run of `next` ones.
fn ends_group(before: u64, open: u64, next: u64, rows_min: u64) -> bool {
    let rows_min = rows_min.max(before / PART_OF_ROWS_BEFORE);
    open > 0 && (open >= rows_min || next >= rows_min)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Row groups of runs, each as the lengths of its runs.
    fn groups(runs: &[u64], rows_min: u64) -> Vec<Vec<u64>> {
        let mut groups: Vec<Vec<u64>> = vec![Vec::new()];
        let mut before = 0;
        for &run in runs {
            let open: u64 = groups.last().unwrap().iter().sum();
            if ends_group(before, open, run, rows_min) {
                before += open;
                groups.push(Vec::new());
            }
            groups.last_mut().unwrap().push(run);
        }
        groups
    }

    #[test]
    fn long_runs_are_alone_and_short_ones_share() {
        let check = |runs: &[u64], expected: &[&[u64]]| assert_eq!(groups(runs, 10), expected, "{runs:?}");
        check(&[], &[&[]]);
        check(&[3, 3, 3, 3, 3], &[&[3, 3, 3, 3], &[3]]);
        check(&[10, 10, 25], &[&[10], &[10], &[25]]);
        check(&[2, 40, 2, 2, 50, 1], &[&[2], &[40], &[2, 2], &[50], &[1]]);
        check(&[9, 9, 9], &[&[9, 9], &[9]]);
        // A run whose length is not known comes behind a short one.
        check(&[9, 0, 0], &[&[9, 0, 0]]);
        check(&[10, 0], &[&[10], &[0]]);
    }

    #[test]
    fn the_number_of_row_groups_grows_slowly() {
        let check = |runs: usize, run: u64, most: usize| {
            let count = groups(&vec![run; runs], 20_000).len();
            assert!(count <= most, "{count} row groups of {runs} runs");
        };
        check(200, 100_000, 200);
        check(10_000, 2_000, 600);
        check(10_000, 20_000, 1_300);
        check(100_000, 20_000, 1_900);
    }

    proptest! {
        #[test]
        fn a_row_group_is_one_run_or_short(
            runs in prop::collection::vec(prop_oneof![1u64..20, 1u64..2_000], 0..300),
        ) {
            let mut before = 0;
            for group in groups(&runs, 100) {
                let rows: u64 = group.iter().sum();
                // Alone, or among ones that are too short to be.
                prop_assert!(group.len() == 1 || rows < 2 * (before / PART_OF_ROWS_BEFORE).max(100), "{group:?}");
                before += rows;
            }
        }
    }
}
