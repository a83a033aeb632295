//! The client of Pebble against the simulated daemon and the real one: both have to pass the same.

mod conformance;
mod real;
mod simulated;
