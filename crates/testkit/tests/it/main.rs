//! Checks over the whole workspace that no other crate is the place for.

mod corpus;
#[path = "../../../../fuzz/src/lib.rs"]
mod fuzz;
