//! The simulation itself, and some lives in it. `cargo xtask sim` runs many.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod faulty;
mod lives;
