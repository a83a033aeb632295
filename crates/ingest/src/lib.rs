//! All ways in, one way on: pushes and scrapes become sample batches in the store.
//!
//! Start at [`push`] for what senders push.

pub mod push;
