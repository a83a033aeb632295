//! The engine from outside: sources in memory, answers compared with naive ones.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod answers;
mod catalog;
mod coarse;
mod flamegraph;
mod functions;
mod memory;
mod naive;
mod range;
mod readers;
mod requests;
mod store;
mod world;
