//! Ground that every crate stands on: the kinds of failure and nothing else yet.
//!
//! An item enters here with its third user. No I/O, no clock, no domain words.

/// What a caller can do about a failure; the one vocabulary that the wire layer turns into status codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The thing asked for does not exist.
    NotFound,
    /// The request itself is wrong and will be wrong again.
    InvalidArgument,
    /// Somebody else changed the state first.
    Conflict,
    /// A bound was reached (memory, disk, message size); trying later may help.
    ResourceExhausted,
    /// A dependency is away; trying again may help.
    Unavailable,
    /// The deadline passed before the work was done.
    DeadlineExceeded,
    /// Stored bytes are damaged.
    Corrupt,
    /// The operation is known but not offered.
    Unimplemented,
    /// A fault of our own.
    Internal,
}
