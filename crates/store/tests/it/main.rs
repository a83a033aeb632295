//! The store from outside: what is acknowledged is there, whatever happens next.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod batches;
mod clock;
mod compaction;
mod durability;
mod faults;
mod prefixes;
mod read_cache;
mod requests;
mod series;
mod space;
mod tiers;
