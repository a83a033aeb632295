//! The engine from outside: sources in memory, answers compared with naive ones.

mod answers;
mod catalog;
mod flamegraph;
mod functions;
mod memory;
mod naive;
mod range;
mod world;
