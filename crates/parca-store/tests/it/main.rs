//! Tests of the crate as a charm sees it.

mod defaults;
mod differential;
mod statements;
mod testcharm;
mod world;
