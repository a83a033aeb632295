//! A whole store in a simulation: here is a seed, it tells you whether anything that was acknowledged got lost.
//!
//! ```text
//! seed ─► life: requests, kills, takeovers, stalls, clocks set, faults of the bucket ─► journal, and what broke the model
//! ```
//! The store is the real one, with its log, head, flush, compaction, retention and recovery. What it runs on is not: its
//! [threads](process) take turns, time is paused and jumps to the next timer, and its bucket is
//! [`faulty`](decima_testkit::faulty).
//!
//! Invariants: a seed determines everything, the journal included. The [model](model): what was acknowledged is readable,
//! nothing is there twice or in part, nothing that is referred to is missing. Start at [`life::run`].

#[expect(clippy::unwrap_used, dead_code, reason = "the tests of the store have it, and use more of it")]
#[path = "../../crates/store/tests/it/batches.rs"]
mod batches;
mod drops;
pub mod life;
mod model;
mod process;
