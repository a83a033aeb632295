//! Tests of the crate as a charm sees it.

// `cfg(test)` tells clippy that these may unwrap.
#[cfg(test)]
mod defaults;
#[cfg(test)]
mod differential;
#[cfg(test)]
mod statements;
#[cfg(test)]
mod testcharm;
#[cfg(test)]
mod world;
