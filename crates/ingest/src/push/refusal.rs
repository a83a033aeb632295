//! Why requests are refused, in a few words that counters can carry.

use decima_base::ErrorKind;
use decima_store::AppendError;

use crate::arrow::{ArrowError, Fault};

/// Kinds of refusals, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The bytes do not follow the format.
    Malformed,
    /// A column or field that has to be there is not.
    Missing,
    /// A column has another type than the schema says.
    WrongType,
    /// A reference leads nowhere.
    OutOfRange,
    /// A bound was reached.
    TooLarge,
    /// A value or name that is not allowed.
    Value,
    /// All samples are older than the retention or too far in the future.
    Time,
    /// No token, or one that is not known.
    Unauthenticated,
    /// A token that does not allow it, or a page that may not call.
    Forbidden,
    /// The sender paused or took too long in the middle of what it sent.
    Stalled,
    /// A step of an upload that does not belong to it: none was begun, or another one since.
    Upload,
    /// The store is out of memory or disk, or away.
    Store,
}

impl Refusal {
    /// As metrics show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Missing => "missing",
            Self::WrongType => "wrong_type",
            Self::OutOfRange => "out_of_range",
            Self::TooLarge => "too_large",
            Self::Value => "value",
            Self::Time => "time",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::Stalled => "stalled",
            Self::Upload => "upload",
            Self::Store => "store",
        }
    }

    pub(super) fn of_append(error: &AppendError) -> Self {
        match error.kind() {
            ErrorKind::InvalidArgument => Self::Time,
            _ => Self::Store,
        }
    }
}

impl From<&ArrowError> for Refusal {
    fn from(error: &ArrowError) -> Self {
        match error.fault {
            Fault::Framing(_)
            | Fault::CutShort { .. }
            | Fault::Inconsistent(_)
            | Fault::Compression { .. }
            | Fault::Unsupported(_) => Self::Malformed,
            Fault::Missing => Self::Missing,
            Fault::WrongType { .. } => Self::WrongType,
            Fault::OutOfRange { .. } => Self::OutOfRange,
            Fault::Limit { .. } => Self::TooLarge,
            Fault::Value(_) => Self::Value,
        }
    }
}
