//! Tests of the crate as a whole.

mod corpus;
#[path = "../../../../fuzz/src/symbols.rs"]
#[expect(unreachable_pub, reason = "it is shared with the fuzz targets")]
mod fuzz;
