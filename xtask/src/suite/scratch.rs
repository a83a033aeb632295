//! A folder below `target/` for one step, empty at its start.

use std::path::{Path, PathBuf};

/// The folder; it stays after the step, so that a failure can be looked into.
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes it anew.
    pub(super) fn new(step: &str) -> anyhow::Result<Self> {
        let path = Path::new("target/suite").join(step);
        if path.exists() {
            std::fs::remove_dir_all(&path)?;
        }
        std::fs::create_dir_all(&path)?;
        Ok(Self { path: std::fs::canonicalize(path)? })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
