//! Arrow's streaming format, as far as agents use it: bytes in, columns out, and every fault with its column and row.
//!
//! ```text
//! stream = message*, end          message = 0xffffffff, length i32, metadata (flatbuffer), body
//! schema, then dictionary batches (each replaces the one of its id), then record batches
//! ```
//! Metadata is read with the flatbuffers of `arrow-ipc`, which are verified first; a schema whose very bytes were read before is
//! taken from [`Schemas`]. Bodies are read here rather than into
//! `arrow-array`: senders are not trusted (declared lengths must not decide about memory), most columns of a request are
//! a few runs over a dictionary, and buffers that nobody asks for, such as the sender's stacktrace ids, need not even be
//! decompressed. Numbers may have any width, text any of Arrow's five forms, lists any of four; each may be behind a
//! dictionary, run ends, or both.
//!
//! Invariants: nothing is indexed before it is checked; what comes out of decompression and of expanding runs is bounded
//! by [`Bounds`]; no I/O. Not read: delta dictionaries and big-endian streams, which are refused by name. Start at
//! [`stream::read`].

mod array;
mod body;
mod error;
pub mod framing;
mod lz4;
mod schema;
mod schemas;
mod stream;

pub(crate) use self::{
    array::{Array, Batch, Lists, NULL, Value, expand, looked_up},
    error::{ArrowError, Fault},
    schemas::Schemas,
    stream::read,
};

/// Bounds on one stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Decompressed bytes over all buffers that are read.
    pub(crate) plain_bytes_max: usize,
    /// Rows of a column, and of each array in it.
    pub(crate) rows_max: usize,
}
