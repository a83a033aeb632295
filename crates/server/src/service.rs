//! The services: one file each, with its `from_proto` and `to_proto`. They know messages and the crates behind them,
//! neither HTTP nor which protocol a call came by.

pub(crate) mod agents;
pub(crate) mod profile_store;
pub(crate) mod query;
pub(crate) mod scrape;
