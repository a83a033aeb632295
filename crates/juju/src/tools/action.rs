//! Actions: what somebody asked, and what he is told.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{HookTools, ToolError};

impl HookTools {
    /// The parameters of the action, with the defaults of the charm's metadata.
    pub fn action_parameters(&self) -> Result<Map<String, Value>, ToolError> {
        let parameters: Option<Map<String, Value>> = self.ask("action-get", &["--format=json"])?;
        Ok(parameters.unwrap_or_default())
    }

    /// Adds results. Keys are lower-case letters, digits and dashes; a dot nests. Without results nothing is run.
    pub fn set_action_results(&self, results: &BTreeMap<String, String>) -> Result<(), ToolError> {
        if results.is_empty() {
            return Ok(());
        }
        let words: Vec<String> = results.iter().map(|(key, value)| format!("{key}={value}")).collect();
        self.tell("action-set", &words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Makes the action a failed one. It goes on, and its results count.
    pub fn fail_action(&self, message: &str) -> Result<(), ToolError> {
        self.tell("action-fail", &["--", message])
    }

    /// Tells him who runs the action how far it is.
    pub fn log_action(&self, message: &str) -> Result<(), ToolError> {
        self.tell("action-log", &["--", message])
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::expecting;
    use super::*;

    #[test]
    fn calls() {
        let tools = expecting("action-get --format=json", "", "{\"name\":\"me\",\"days\":3}");
        assert_eq!(tools.action_parameters().unwrap()["days"], 3);
        assert!(expecting("action-get --format=json", "", "null").action_parameters().unwrap().is_empty());
        let results =
            BTreeMap::from([("a.b".to_owned(), "1".to_owned()), ("c".to_owned(), "x y".to_owned())]);
        expecting("action-set a.b=1 c=x y", "", "").set_action_results(&results).unwrap();
        expecting("action-fail -- no", "", "").fail_action("no").unwrap();
        expecting("action-log -- half", "", "").log_action("half").unwrap();
    }
}
