//! Here is a selector and a time range, gives you a report.
//!
//! ```text
//! selector ─► plan (series tables → tasks: ids and ranges) ─► scan (task + source → sums per stacktrace)
//!          ─► fold (sources that take too much memory at once become fewer)
//!          ─► symbolize (functions of bare addresses)
//!          ─► branch (sums per node, filtered) ─► merge (best-first, by function) or walk ─► report
//! ```
//!
//! Constraints: ids of a source mean nothing outside it; identity across sources is content, translated on demand
//! (`names`). Values are never approximated: trimming leaves out nodes, not value. Only `evaluate`, `gather`, `range` and `read`
//! await; the rest is pure, without I/O or clock. No wire format is known here.
//!
//! Start at [`Engine`].

pub mod api;
mod attributes;
mod branch;
mod calls;
mod cancel;
mod catalog;
mod coarse;
pub mod engine;
mod evaluate;
mod fields;
mod filter;
mod fold;
mod gather;
mod group;
mod memory;
mod merge;
mod names;
mod plan;
mod question;
mod range;
mod read;
mod render;
mod report;
mod rows;
mod scan;
pub mod selector;
mod states;
mod sums;
mod symbolize;
mod unresolved;
mod walk;

pub use api::*;
pub use engine::Engine;
pub use symbolize::{Symbolizer, SymbolizerCounts};
pub use unresolved::UnresolvedAddresses;
