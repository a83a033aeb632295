//! The crate against a simulated agent and against Pebbles, simulated and real.

mod agent;
mod pebble;
