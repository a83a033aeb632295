//! The crate against a simulated agent and against Pebbles, simulated and real.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod agent;
mod pebble;
