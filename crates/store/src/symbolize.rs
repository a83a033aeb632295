//! Who knows the functions at addresses: asked once for a head, before it becomes a block.
//!
//! The store does not know how that is found out. What is not known by then stays an address, and queries ask again.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::source::Symbols;

/// How long a head waits for its functions: its log and memory are held meanwhile, and so is the end of the process.
pub(crate) const SYMBOLIZE_TIMEOUT: Duration = Duration::from_secs(10);

/// Finds functions at addresses.
#[async_trait]
pub trait Symbolizer: Send + Sync {
    /// The same symbols, with lines for locations that had none and whose function is known. Ids of locations, mappings and
    /// of the strings and functions that were there stay.
    async fn symbolize(&self, symbols: Arc<Symbols>, timeout: Duration) -> Arc<Symbols>;
}
