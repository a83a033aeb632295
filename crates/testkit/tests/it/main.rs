//! Checks over the whole workspace that no other crate is the place for.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod corpus;
#[expect(unreachable_pub, reason = "the file is the root of the fuzz crate, which its targets use")]
#[path = "../../../../fuzz/src/lib.rs"]
mod fuzz;
