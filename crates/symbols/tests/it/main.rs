//! Tests of the crate as a whole.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod corpus;
#[path = "../../../../fuzz/src/symbols.rs"]
#[expect(unreachable_pub, reason = "it is shared with the fuzz targets")]
mod fuzz;
mod layouts;
