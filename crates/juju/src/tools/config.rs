//! Options that the operator sets, and resources that came with the charm.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::{HookTools, ToolError};

impl HookTools {
    /// The options that are set or have a default. A number may come as an integer although the option is a float.
    pub fn config(&self) -> Result<Map<String, Value>, ToolError> {
        let options: Option<Map<String, Value>> = self.ask("config-get", &["--format=json"])?;
        Ok(options.unwrap_or_default())
    }

    /// Where a resource of the charm lies; Juju fetches it if it has to.
    pub fn resource(&self, name: &str) -> Result<PathBuf, ToolError> {
        let path = self.call("resource-get", &[name], &[])?;
        Ok(PathBuf::from(String::from_utf8_lossy(&path).trim()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::expecting;
    use super::*;

    #[test]
    fn calls() {
        let options =
            expecting("config-get --format=json", "", "{\"memory\":1024,\"on\":true}").config().unwrap();
        assert_eq!((options["memory"].as_u64(), options["on"].as_bool()), (Some(1024), Some(true)));
        let path = expecting("resource-get image", "", "/var/x/image\n").resource("image").unwrap();
        assert_eq!(path, PathBuf::from("/var/x/image"));
    }
}
