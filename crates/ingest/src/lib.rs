//! All ways in, one way on: pushes and scrapes become sample batches in the store.
//!
//! Start at [`push`] for what senders push, [`scrape`] for what is fetched, [`config`] for the file that says what.

pub mod agent;
pub mod arrow;
pub mod config;
pub mod discovery;
mod error_chain;
mod http_client;
pub mod labels;
pub mod object_files;
pub mod otlp;
pub mod push;
#[cfg(test)]
mod recorded;
pub mod relabel;
pub mod scrape;
