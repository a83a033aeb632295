//! The options that an operator sets, checked.

use serde_json::{Map, Value};

use crate::names::{DATA, TRANSIENT_DATA};

/// Memory that the workload takes by itself for samples that are in no block yet.
const HEAD_MEMORY_MIB: u64 = 1024;
/// The least that it can do with.
const HEAD_MEMORY_MIN_MIB: u64 = 16;
/// Begins the flag that says otherwise.
const HEAD_MEMORY: &str = "--head-memory=";
/// Everybody may read.
const OPEN: &str = "--auth-anonymous=read";
/// Who has no token may scrape, and no more.
const SIGN_IN: &str = "--auth-anonymous=metrics";
/// Samples outlive the pod.
const PERSISTENT: &str = "--enable-persistence";

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

impl Options {
    /// Those with which a workload of this command was started, as far as they are in it: [`Self::flags`] of them are the
    /// same. None if the command is another charm's.
    pub fn of_command(command: &str) -> Option<Self> {
        let has = |flag: &str| command.split(' ').any(|word| word == flag);
        if !has(SIGN_IN) && !has(OPEN) {
            return None;
        }
        let limit = command.split(' ').find_map(|word| word.strip_prefix(HEAD_MEMORY)?.strip_suffix("MiB"));
        Some(Self {
            enable_persistence: has(PERSISTENT),
            memory_storage_limit_mib: limit
                .and_then(|limit| limit.parse().ok())
                .unwrap_or(Self::default().memory_storage_limit_mib),
            require_sign_in: has(SIGN_IN),
        })
    }

    /// The workload's flags for them.
    pub fn flags(&self) -> Vec<String> {
        let mut flags = vec![if self.require_sign_in { SIGN_IN } else { OPEN }.to_owned()];
        if self.enable_persistence {
            flags.push(PERSISTENT.to_owned());
            flags.push(format!("--storage-path={DATA}"));
            return flags;
        }
        flags.push(format!("--storage-path={TRANSIENT_DATA}"));
        if self.memory_storage_limit_mib < HEAD_MEMORY_MIB {
            let head_mib = self.memory_storage_limit_mib.max(HEAD_MEMORY_MIN_MIB);
            flags.push(format!("{HEAD_MEMORY}{head_mib}MiB"));
        }
        flags
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
    fn a_command_tells_its_options() {
        for limit in [1, 16, 17, 1023, 1024, 4096] {
            for (enable_persistence, require_sign_in) in
                [(false, false), (false, true), (true, false), (true, true)]
            {
                let options =
                    Options { enable_persistence, memory_storage_limit_mib: limit, require_sign_in };
                let command = format!("/parca --config-path=x {} --mode=all", options.flags().join(" "));
                let again = Options::of_command(&command).unwrap();
                assert_eq!(again.flags(), options.flags());
                assert_eq!(
                    (again.enable_persistence, again.require_sign_in),
                    (enable_persistence, require_sign_in)
                );
            }
        }
        assert_eq!(Options::of_command("/parca --config-path=x --enable-persistence"), None);
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
