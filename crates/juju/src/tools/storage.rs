//! Storage of this unit.

use std::path::PathBuf;

use serde::Deserialize;

use super::{HookTools, ToolError};

/// A storage that is attached.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Storage {
    /// `filesystem` or `block`.
    pub kind: String,
    /// Where it is mounted, as the charm sees it.
    pub location: PathBuf,
}

impl HookTools {
    /// The storages of a name that the charm's metadata declares, as `profiles/0`.
    pub fn storage_ids(&self, name: &str) -> Result<Vec<String>, ToolError> {
        let ids: Option<Vec<String>> = self.ask("storage-list", &["--format=json", name])?;
        Ok(ids.unwrap_or_default())
    }

    /// A storage by its identifier.
    pub fn storage(&self, id: &str) -> Result<Storage, ToolError> {
        self.ask("storage-get", &["--format=json", "-s", id])
    }

    /// Asks for more storages of a name when the hook ends.
    pub fn add_storage(&self, name: &str, count: u32) -> Result<(), ToolError> {
        self.tell("storage-add", &[&format!("{name}={count}")])
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::expecting;
    use super::*;

    #[test]
    fn calls() {
        let ids = expecting("storage-list --format=json profiles", "", "[\"profiles/0\"]");
        assert_eq!(ids.storage_ids("profiles").unwrap(), ["profiles/0"]);
        let answer = r#"{"kind":"filesystem","location":"/var/lib/juju/storage/profiles/0"}"#;
        let storage =
            expecting("storage-get --format=json -s profiles/0", "", answer).storage("profiles/0").unwrap();
        assert_eq!(storage.location, PathBuf::from("/var/lib/juju/storage/profiles/0"));
        expecting("storage-add profiles=2", "", "").add_storage("profiles", 2).unwrap();
    }
}
