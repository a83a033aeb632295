//! Why a stream is refused.

use std::{fmt, ops::Range};

use super::framing::FramingError;

/// A fault with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArrowError {
    /// Path of the column, such as `stacktrace.lines.function`; empty if the fault is in the framing.
    pub(crate) column: String,
    /// Rows in that column, or in the dictionary or list that the path leads into: the one that is wrong, or all those that
    /// cannot be read.
    pub(crate) rows: Option<Range<usize>>,
    /// What is wrong.
    pub(crate) fault: Fault,
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The framing or the metadata is damaged.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// A column that has to be there is not.
    #[error("missing")]
    Missing,
    /// A column has a type that cannot hold what it is for.
    #[error("has the type {found} instead of {expected}")]
    WrongType {
        /// Its type.
        found: &'static str,
        /// What was expected.
        expected: &'static str,
    },
    /// A buffer is smaller than the rows of its column need.
    #[error("the {buffer} have {found} bytes, {needed} are needed")]
    CutShort {
        /// Which buffer.
        buffer: &'static str,
        /// Its bytes.
        found: usize,
        /// Bytes that the rows need.
        needed: usize,
    },
    /// A reference beyond what there is.
    #[error("{what} {found} is out of range ({count})")]
    OutOfRange {
        /// What refers.
        what: &'static str,
        /// Its value.
        found: i128,
        /// How much there is.
        count: usize,
    },
    /// Something contradicts itself.
    #[error("{0}")]
    Inconsistent(&'static str),
    /// There is more of something than is taken.
    #[error("{found} {what}, the limit is {limit}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        found: usize,
        /// How much is taken.
        limit: usize,
    },
    /// A compressed buffer is damaged.
    #[error("buffer {index} ({buffer}) is damaged: {damage}")]
    Compression {
        /// Its number among those of the column.
        index: usize,
        /// Which buffer.
        buffer: &'static str,
        /// What is wrong with it.
        damage: String,
    },
    /// A part of the format that is not read.
    #[error("{0} are not supported")]
    Unsupported(&'static str),
    /// A value that its column must not have.
    #[error("{0}")]
    Value(String),
}

impl fmt::Display for ArrowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.column.is_empty() {
            return write!(f, "not a readable Arrow stream: {}", self.fault);
        }
        write!(f, "column {}", self.column)?;
        match &self.rows {
            Some(Range { start, end }) if start + 1 < *end => write!(f, ", rows {start} to {}", end - 1)?,
            Some(Range { start, .. }) => write!(f, ", row {start}")?,
            None => {}
        }
        write!(f, ": {}", self.fault)
    }
}

impl std::error::Error for ArrowError {}

impl From<FramingError> for ArrowError {
    fn from(error: FramingError) -> Self {
        Self { column: String::new(), rows: None, fault: error.into() }
    }
}

impl ArrowError {
    /// A fault of the stream itself.
    #[cold]
    pub(crate) fn framing(what: &'static str, offset: usize) -> Self {
        FramingError::Stream { what, offset }.into()
    }

    /// A fault of a whole column.
    #[cold]
    pub(crate) fn column(path: &str, fault: Fault) -> Self {
        Self { column: path.to_owned(), rows: None, fault }
    }

    /// A fault of one row.
    #[cold]
    pub(crate) fn row(path: &str, row: usize, fault: Fault) -> Self {
        Self { column: path.to_owned(), rows: Some(row..row + 1), fault }
    }

    /// A fault by which none of the first so many rows can be read.
    #[cold]
    pub(crate) fn rows(path: &str, len: usize, fault: Fault) -> Self {
        Self { column: path.to_owned(), rows: (len > 0).then_some(0..len), fault }
    }
}
