//! The pprof codec against recordings of real senders, against itself, and against damaged bytes.

mod corpus;
mod generated;
mod recorded;
