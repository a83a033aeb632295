//! The domain: what a profile is, and how bytes of the outside become one.
//!
//! Here is a request's bytes, gives you a [`SampleBatch`]: tables of strings, mappings, functions, locations and
//! stacktraces shared by all samples of one request, and per series columns of samples that point into them.
//! The batch is columnar because a request carries a thousand samples and more, and the store takes it column by column.
//!
//! Invariants: no I/O, no clock, no async, no protobuf types in the public interface. Ids inside a batch mean nothing
//! outside it. Start at [`batch`]; the pprof codec is in [`pprof`], what profiles are compressed with in [`compression`].

pub mod attribute_name;
pub mod batch;
pub mod compression;
pub mod pprof;
pub mod profile_type;
pub mod wire;

pub use batch::SampleBatch;
pub use profile_type::ProfileType;
