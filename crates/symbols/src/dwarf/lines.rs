//! The line table of a unit: which file, line and column an address is of.

use super::{DwarfError, Reader, index::is_discarded};

/// Where in the source an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Row {
    address: u64,
    pub(super) file: u32,
    pub(super) line: u32,
    pub(super) column: u32,
}

/// Rows whose addresses rise without a gap.
#[derive(Debug, Clone, Copy)]
struct Sequence {
    begin: u64,
    end: u64,
    first_row: u32,
    end_row: u32,
}

#[derive(Debug, Default)]
pub(super) struct Lines {
    rows: Vec<Row>,
    sequences: Vec<Sequence>,
}

impl Lines {
    /// Runs the unit's line program.
    pub(super) fn read(unit: &gimli::Unit<Reader<'_>>, memory_max_bytes: usize) -> Result<Self, DwarfError> {
        let Some(program) = unit.line_program.clone() else { return Ok(Self::default()) };
        let rows_max = (memory_max_bytes / size_of::<Row>()).min(u32::MAX as usize);
        let mut lines = Self::default();
        let mut first = 0;
        let mut program = program.rows();
        // What was read before the damage is as right as it would be without.
        while let Ok(Some((_, row))) = program.next_row() {
            let address = row.address();
            if row.end_sequence() {
                lines.end_sequence(first, address);
                first = lines.rows.len();
                continue;
            }
            let row = Row {
                address,
                file: u32::try_from(row.file_index()).unwrap_or(u32::MAX),
                line: row.line().and_then(|line| u32::try_from(line.get()).ok()).unwrap_or(0),
                column: match row.column() {
                    gimli::ColumnType::LeftEdge => 0,
                    gimli::ColumnType::Column(column) => u32::try_from(column.get()).unwrap_or(0),
                },
            };
            // The last of several rows for an address is the one that its instruction is of.
            if let Some(last) = lines.rows[first..].last_mut().filter(|last| last.address == address) {
                *last = row;
            } else if lines.rows.len() < rows_max {
                lines.rows.push(row);
            } else {
                return Err(DwarfError::TooLarge);
            }
        }
        lines.rows.truncate(first);
        lines.rows.shrink_to_fit();
        lines.sequences.sort_unstable_by_key(|sequence| sequence.begin);
        Ok(lines)
    }

    fn end_sequence(&mut self, first: usize, end: u64) {
        let rows = &self.rows[first..];
        let sequence = match rows {
            [row, ..]
                if row.address < end
                    && !is_discarded(row.address)
                    && rows.is_sorted_by_key(|row| row.address) =>
            {
                row.address
            }
            _ => {
                self.rows.truncate(first);
                return;
            }
        };
        let (Ok(first_row), Ok(end_row)) = (u32::try_from(first), u32::try_from(self.rows.len())) else {
            return;
        };
        self.sequences.push(Sequence { begin: sequence, end, first_row, end_row });
    }

    /// The row that an address is of.
    pub(super) fn find(&self, address: u64) -> Option<Row> {
        let after = self.sequences.partition_point(|sequence| sequence.begin <= address);
        let sequence = self.sequences[..after].last().filter(|sequence| address < sequence.end)?;
        let rows = &self.rows[sequence.first_row as usize..sequence.end_row as usize];
        let after = rows.partition_point(|row| row.address <= address);
        rows[..after].last().copied()
    }

    /// Ranges of addresses that it covers.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        self.sequences.iter().map(|sequence| (sequence.begin, sequence.end))
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Row>() + self.sequences.capacity() * size_of::<Sequence>()
    }
}

/// The path of a file of the line table; empty if there is none of this number.
pub(super) fn path(dwarf: &super::Dwarf<'_>, unit: &gimli::Unit<Reader<'_>>, file: u64) -> String {
    let Some(program) = &unit.line_program else { return String::new() };
    let header = program.header();
    let Some(entry) = header.file(file) else { return String::new() };
    let text = |value| dwarf.attr_string(unit, value).map(|text| bounded(&text)).unwrap_or_default();
    let mut path = unit.comp_dir.map(|directory| bounded(&directory)).unwrap_or_default();
    // Directory 0 is that of the unit.
    if entry.directory_index() != 0
        && let Some(directory) = entry.directory(header)
    {
        push(&mut path, &text(directory));
    }
    push(&mut path, &text(entry.path_name()));
    path
}

/// Text of at most a path's length.
fn bounded(text: &Reader<'_>) -> String {
    const PATH_MAX: usize = 4096;
    String::from_utf8_lossy(&text.slice()[..text.len().min(PATH_MAX)]).into_owned()
}

fn push(path: &mut String, part: &str) {
    let bytes = part.as_bytes();
    let absolute = matches!(bytes, [b'/' | b'\\', ..] | [_, b':', b'/' | b'\\', ..]);
    if absolute {
        path.clear();
    } else if !path.is_empty() && !path.ends_with(['/', '\\']) {
        path.push('/');
    }
    path.push_str(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let check = |parts: &[&str], expected: &str| {
            let mut path = String::new();
            parts.iter().for_each(|part| push(&mut path, part));
            assert_eq!(path, expected);
        };
        check(&["/src", "a.c"], "/src/a.c");
        check(&["/src", "include", "a.h"], "/src/include/a.h");
        check(&["/src", "/usr/include", "a.h"], "/usr/include/a.h");
        check(&["", "a.c"], "a.c");
        check(&["C:\\x", "D:/y"], "D:/y");
    }
}
