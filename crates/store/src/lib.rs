//! Here is a batch of samples, it is durable when you get your answer; here is a snapshot of everything acknowledged.
//!
//! ```text
//! append ─► writer: intern into the head ─► log object, fsynced ─► visible ─► answered
//!                                            head ─► block + next manifest (flush)
//!                                            blocks ─► one block + next manifest (compaction)
//! snapshot ─► blocks of the manifest, the head being flushed, the head
//! ```
//! The log ([`log`]) makes an answer true, blocks keep samples for good, the [`manifest`] says which blocks count and where the
//! log begins. All of it goes through an object store; the local disk is one.
//!
//! Invariants: a sample is acknowledged only when it is durable; blocks and manifests never change; identity of stacktraces is
//! content; every read is checked against a checksum. Absent: selectors, reports, wire formats. Start at [`Store`]; reading is
//! [`source`].

mod block;
pub mod bucket;
mod clock;
mod compact;
mod counted;
mod duration;
pub mod error;
mod filter;
mod flush;
mod follow;
mod head;
mod hidden;
mod host;
pub mod inspect;
pub mod log;
pub mod manifest;
mod metrics;
mod open;
mod place;
mod query_cost;
mod read_cache;
mod read_only;
pub mod source;
mod space;
mod storage;
pub mod store;
pub mod symbolize;
pub mod tiers;
mod writer;

pub use counted::RequestCounts;
pub use error::{AppendError, OpenError, ReadError};
pub use host::Host;
pub use metrics::StoreCounts;
pub use place::Place;
pub use query_cost::Distribution;
pub use read_cache::ReadCacheCounts;
pub use store::{Announced, Appended, Settings, Store};
pub use tiers::Tiers;
