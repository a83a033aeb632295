//! The program itself, as a person or a service manager runs it.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod access;
mod ask;
mod bad_input;
mod bucket;
mod configuration;
mod crashes;
mod debuginfo;
mod drop_in;
mod durability;
mod forwarding;
mod process;
mod start_and_stop;
mod tls;
mod tokens;
mod usage;
