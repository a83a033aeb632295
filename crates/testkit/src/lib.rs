//! For tests and the bench: profiles with known totals, and a load of the size of a fleet.
//!
//! Everything but the S3 server (`s3`) and the faulty bucket (`faulty`) is a function of its arguments and of a seed: no clock, no files, no network. The pprof messages are
//! declared here a second time on purpose: a mistake that the product's encoder and decoder share would otherwise
//! cancel out in every test.
//!
//! Start at [`pprof::ProfileBuilder`] for one profile, at `batch::batch` (feature `batch`) for one that is decoded, at [`fleet::Fleet`] for many, and at
//! `malformed` (feature `malformed`) for what is to be refused.

#[cfg(feature = "batch")]
pub mod batch;
#[cfg(feature = "faulty")]
pub mod faulty;
pub mod fleet;
#[cfg(feature = "malformed")]
pub mod malformed;
pub mod pprof;
pub mod random;
#[cfg(feature = "s3")]
pub mod s3;
