//! The charm as Juju runs it: the program, hooks as processes, a simulated agent and a simulated Pebble.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod actions;
mod lifecycle;
mod metadata;
mod unit;
