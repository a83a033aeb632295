//! Which object files we hold and how we got them.
//!
//! ```text
//! senders ─► Debuginfo::{should_initiate, initiate, upload, finish} ─► object store ─► local copy ─► Symbolizer
//!                 └ decision (pure)                    debuginfod ──────────┘
//! ```
//!
//! What was read is remembered, and kept on disk for the next process ([`answer_cache`]).
//!
//! Constraints: what is said to senders is decided in [`decision`], without I/O or clock. What is stored outlives a restart:
//! an upload is announced in a record before its first byte, and its bytes are there before the record says so. Every
//! object has a name of its own, so that nothing is ever overwritten but records. Debuginfo has its own retention
//! ([`retention`]): by last use and by bytes. A file is found by its build ID; those that it refers to (split DWARF, dwz,
//! `.gnu_debuglink`) are found among all that is held.
//!
//! Records and files have checksums: what is damaged is told by name, and not used.
//!
//! Start at [`Debuginfo`] for files and [`Resolver`] for addresses.

mod answer_cache;
pub mod debuginfod;
pub mod decision;
mod files;
mod reader;
pub mod record;
mod resolver;
pub mod retention;
mod split_dwarf;
mod store;

pub use answer_cache::AnswerCache;
pub use files::FileError;
pub use resolver::{Address, Resolver, ResolverOptions};
pub use store::inspect::{FileInventory, inspect};
pub use store::{
    Debuginfo, DebuginfoError, DebuginfoOptions, HeldFiles, Initiated, ObjectFile, OtherNames, UploadSink,
};
