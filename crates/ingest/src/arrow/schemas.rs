//! Schemas that were read before, by the metadata that they were read from.
//!
//! A sender says the same schema in each request. To verify it, field by field, and to name each column takes longer than to
//! compare its bytes with those of one that was.

use std::{fmt, sync::Arc};

use quick_cache::sync::Cache;

use super::schema::Schema;

/// Schemas that are kept: each version of a sender has its own, and each set of labels.
const SCHEMAS_MAX: usize = 32;
/// Metadata of a schema that is kept; an agent's takes 3 to 5 KiB. What is read from it takes about ten times as much.
const METADATA_BYTES_MAX: usize = 32 << 10;

/// See the module. Empty at first.
pub(crate) struct Schemas {
    by_metadata: Cache<Box<[u8]>, Arc<Schema>>,
}

impl Default for Schemas {
    fn default() -> Self {
        Self { by_metadata: Cache::new(SCHEMAS_MAX) }
    }
}

impl fmt::Debug for Schemas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schemas").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Schemas {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_metadata.len()
    }

    /// The schema that was read from the same metadata.
    pub(super) fn get(&self, metadata: &[u8]) -> Option<Arc<Schema>> {
        self.by_metadata.get(metadata)
    }

    /// Keeps a schema.
    pub(super) fn insert(&self, metadata: &[u8], schema: Arc<Schema>) {
        if metadata.len() <= METADATA_BYTES_MAX {
            self.by_metadata.insert(metadata.into(), schema);
        }
    }
}
