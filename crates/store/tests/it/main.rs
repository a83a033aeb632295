//! The store from outside: what is acknowledged is there, whatever happens next.

mod batches;
mod durability;
mod faults;
