//! Split DWARF of a program that is being read: found among all that is held, by the ids of its units.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use decima_symbols::{Companions, ObjectBytes};
use object_store::path::Path;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::{Debuginfo, retention::FileName, store::Held};

/// Units that are remembered to be missing. With more, any file that arrives is taken to have one of them.
const MISSED_MAX: usize = 1 << 16;

/// The split DWARF of one program.
pub(crate) struct SplitDwarf {
    debuginfo: Arc<Debuginfo>,
    /// Files are read on threads that may block.
    runtime: Handle,
    files: Mutex<Files>,
}

#[derive(Default)]
struct Files {
    /// By object: a package has many units.
    held: HashMap<Path, Held>,
    /// Units that nobody has.
    missed: HashSet<u64>,
}

impl SplitDwarf {
    /// Looks among what this holds. To be called within a runtime.
    pub(crate) fn new(debuginfo: Arc<Debuginfo>) -> Self {
        Self { debuginfo, runtime: Handle::current(), files: Mutex::default() }
    }

    /// The files that were needed.
    pub(crate) fn names(&self) -> Vec<FileName> {
        self.files.lock().held.values().map(|held| held.name.clone()).collect()
    }

    /// Whether a unit was missing.
    pub(crate) fn has_missed(&self) -> bool {
        !self.files.lock().missed.is_empty()
    }

    /// Whether a unit that was missing is here now.
    pub(crate) fn would_find_more(&self) -> bool {
        let files = self.files.lock();
        files.missed.len() >= MISSED_MAX || files.missed.iter().any(|&id| self.debuginfo.has_split_dwarf(id))
    }
}

impl Companions for SplitDwarf {
    fn split_dwarf(&self, _directory: &str, name: &str, id: u64) -> Option<ObjectBytes> {
        let found = self.runtime.block_on(self.debuginfo.split_dwarf(id)).unwrap_or_else(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(name, error, "split DWARF cannot be read");
            None
        });
        let mut files = self.files.lock();
        match found {
            Some(held) => {
                let held = files.held.entry(held.path.clone()).or_insert(held);
                Some(Arc::clone(&held.bytes))
            }
            None => {
                if files.missed.len() < MISSED_MAX {
                    files.missed.insert(id);
                }
                None
            }
        }
    }
}
