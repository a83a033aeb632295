//! The options that an operator sets, checked.

use serde_json::{Map, Value};

/// Options of the charm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Whether samples outlive the pod.
    pub enable_persistence: bool,
    /// Memory at most for samples that do not, before they are written to blocks in the pod, in MiB.
    pub memory_storage_limit_mib: u64,
    /// Whether reading needs a token too.
    pub require_sign_in: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { enable_persistence: false, memory_storage_limit_mib: 4096, require_sign_in: false }
    }
}

/// An option holds what cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("option {name} is not {expected}")]
pub struct OptionError {
    /// Its name.
    pub name: &'static str,
    /// What it should have been.
    pub expected: &'static str,
}

impl Options {
    /// Reads what `config-get` said. An option that is not there has its default.
    pub fn read(config: &Map<String, Value>) -> Result<Self, OptionError> {
        let default = Self::default();
        let flag = |name: &'static str, default: bool| match config.get(name) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => value.as_bool().ok_or(OptionError { name, expected: "true or false" }),
        };
        let limit = match config.get("memory-storage-limit") {
            None | Some(Value::Null) => default.memory_storage_limit_mib,
            // Up to a pebibyte, so that it can be told in bytes.
            Some(value) => {
                value.as_u64().filter(|limit| (1..=1 << 30).contains(limit)).ok_or(OptionError {
                    name: "memory-storage-limit",
                    expected: "a number of megabytes above 0",
                })?
            }
        };
        Ok(Self {
            enable_persistence: flag("enable-persistence", default.enable_persistence)?,
            memory_storage_limit_mib: limit,
            require_sign_in: flag("require-sign-in", default.require_sign_in)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(config: &Value) -> Result<Options, String> {
        Options::read(config.as_object().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_may_be_set() {
        assert_eq!(read(&json!({})), Ok(Options::default()));
        let all = json!({"enable-persistence": true, "memory-storage-limit": 1, "require-sign-in": true, "slos": "x"});
        let expected =
            Options { enable_persistence: true, memory_storage_limit_mib: 1, require_sign_in: true };
        assert_eq!(read(&all), Ok(expected));
    }

    #[test]
    fn what_may_not() {
        for limit in [json!(0), json!(-5), json!("many"), json!(u64::MAX)] {
            let error = read(&json!({"memory-storage-limit": limit})).unwrap_err();
            assert_eq!(error, "option memory-storage-limit is not a number of megabytes above 0");
        }
        assert!(read(&json!({"require-sign-in": "yes"})).is_err());
    }
}
