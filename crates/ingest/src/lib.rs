//! All ways in, one way on: pushes and scrapes become sample batches in the store.
//!
//! Start at [`push`] for what senders push, [`scrape`] for what is fetched, [`files`] for the files that a configuration names.

pub mod agent;
pub mod arrow;
pub mod discovery;
mod error_chain;
pub mod files;
mod http_client;
pub mod object_files;
pub mod otlp;
pub mod push;
#[cfg(test)]
mod recorded;
pub mod scrape;
