//! The pprof codec against recordings of real senders, against itself, and against damaged bytes.

// `cfg(test)` tells clippy that these may unwrap.
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod generated;
#[cfg(test)]
mod recorded;
