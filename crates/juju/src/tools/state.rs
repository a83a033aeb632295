//! What a unit keeps in the controller from one hook to the next.

use std::collections::BTreeMap;

use super::{HookTools, ToolError};

impl HookTools {
    /// All that this unit keeps.
    pub fn unit_state(&self) -> Result<BTreeMap<String, String>, ToolError> {
        let state: Option<BTreeMap<String, String>> = self.ask("state-get", &["--format=json"])?;
        Ok(state.unwrap_or_default())
    }

    /// Keeps values, each under its key, when the hook ends. Without values nothing is run.
    pub fn set_unit_state(&self, state: &BTreeMap<String, String>) -> Result<(), ToolError> {
        const TOOL: &str = "state-set";
        if state.is_empty() {
            return Ok(());
        }
        let input = serde_json::to_vec(state).map_err(|source| ToolError::Answer { tool: TOOL, source })?;
        self.call(TOOL, &["--file", "-"], &input).map(drop)
    }

    /// Forgets a key.
    pub fn delete_unit_state(&self, key: &str) -> Result<(), ToolError> {
        self.tell("state-delete", &[key])
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::expecting;
    use super::*;

    #[test]
    fn calls() {
        assert!(expecting("state-get --format=json", "", "null").unit_state().unwrap().is_empty());
        assert_eq!(expecting("state-get --format=json", "", "{\"a\":\"b\"}").unit_state().unwrap()["a"], "b");
        let state = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        expecting("state-set --file -", "{\"a\":\"b\"}", "").set_unit_state(&state).unwrap();
        expecting("state-delete a", "", "").delete_unit_state("a").unwrap();
    }
}
