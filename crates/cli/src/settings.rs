//! What `serve` runs with: flags that fit together, in the words of the crates that they are for.
//!
//! [`Settings::check`] is the only way from [`crate::args`] to here, so that nothing behind it meets a flag.

use std::path::PathBuf;

use decima_ingest::push::Limits;

use crate::{
    args::{LogFormat, LogLevel, Serve},
    value::{Address, Maybe},
};

/// Heads smaller than this could not hold a single large request while another one is flushed.
const HEAD_MEMORY_MIN_BYTES: u64 = 16 << 20;

/// Flags that do not fit together or say something impossible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--{flag}: {reason}")]
pub(crate) struct UsageError {
    /// The flag without dashes.
    pub(crate) flag: &'static str,
    /// What is wrong with it.
    pub(crate) reason: String,
}

/// Checked settings of `serve`.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Configuration file, if one was named.
    pub(crate) config_path: Option<PathBuf>,
    /// Where to listen.
    pub(crate) address: Address,
    /// What the wire needs to know.
    pub(crate) server: decima_server::Settings,
    /// Least severe messages to log.
    pub(crate) log_level: LogLevel,
    /// How log lines are written.
    pub(crate) log_format: LogFormat,
    /// How the store is kept.
    pub(crate) store: decima_store::Settings,
    /// Bounds on what is pushed.
    pub(crate) limits: Limits,
    /// Bounds on what is asked.
    pub(crate) query: decima_query::engine::Settings,
    /// Parca's flags that were given and do nothing.
    pub(crate) without_effect: Vec<&'static str>,
}

impl Settings {
    /// Checks the flags of `serve` against each other.
    pub(crate) fn check(flags: Serve) -> Result<Self, UsageError> {
        if flags.head_memory.0 < HEAD_MEMORY_MIN_BYTES {
            return Err(UsageError { flag: "head-memory", reason: "must be at least 16MiB".to_owned() });
        }
        if flags.limits.flamegraph_nodes > flags.limits.flamegraph_nodes_max {
            let most = flags.limits.flamegraph_nodes_max;
            return Err(UsageError {
                flag: "flamegraph-nodes",
                reason: format!("must not be above --flamegraph-nodes-max ({most})"),
            });
        }
        Ok(Self {
            config_path: flags.config_path.and_then(|Maybe(path)| path),
            address: match flags.port {
                Some(Maybe(Some(address))) => address,
                _ => flags.http_address,
            },
            server: decima_server::Settings {
                path_prefix: path_prefix(&flags.path_prefix)?,
                cors_allowed_origins: without_empty(flags.cors_allowed_origins),
                ..decima_server::Settings::default()
            },
            log_level: flags.log_level,
            log_format: flags.log_format,
            store: decima_store::Settings {
                path: flags.storage_path,
                head_memory_bytes: flags.head_memory.0,
                retention: Some(flags.retention.0).filter(|age| !age.is_zero()),
                ahead_max: flags.ahead_max.0,
                partition_labels: without_empty(flags.partition_labels),
                cache_bytes: flags.cache_memory.0,
            },
            limits: Limits {
                profile_bytes_max: flags.limits.profile_size_max.as_usize(),
                label_count_max: flags.limits.label_count_max,
                label_name_bytes_max: flags.limits.label_name_size_max.as_usize(),
                label_value_bytes_max: flags.limits.label_value_size_max.as_usize(),
                stack_depth_max: flags.limits.stack_depth_max,
            },
            query: decima_query::engine::Settings {
                node_default: flags.limits.flamegraph_nodes,
                node_max: flags.limits.flamegraph_nodes_max,
                report_bytes_max: flags.limits.report_size_max.as_usize(),
                allow_partial: flags.allow_partial,
            },
            without_effect: flags.parca.given,
        })
    }
}

/// Gives a prefix the form `/a/b`, or `` for none.
fn path_prefix(text: &str) -> Result<String, UsageError> {
    let path = text.trim_matches('/');
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/-_.~".contains(c);
    if !path.chars().all(allowed) || path.contains("//") {
        let reason = format!("{text:?} is not a path of letters, digits, '-', '_', '.', '~' and '/'");
        return Err(UsageError { flag: "path-prefix", reason });
    }
    Ok(if path.is_empty() { String::new() } else { format!("/{path}") })
}

fn without_empty(words: Vec<String>) -> Vec<String> {
    words.into_iter().map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, time::Duration};

    use super::*;
    use crate::args::Arguments;

    fn checked(flags: &[&str]) -> Result<Settings, UsageError> {
        let line = std::iter::once("decima").chain(flags.iter().copied()).map(OsString::from);
        Settings::check(Arguments::parse_from_line(line).expect("flags parse").serve)
    }

    #[test]
    fn defaults() {
        let settings = checked(&[]).unwrap();
        assert_eq!(settings.address, Address { host: "127.0.0.1".to_owned(), port: 7070 });
        assert_eq!(settings.store.path, PathBuf::from("data"));
        assert_eq!(settings.store.retention, Some(Duration::from_secs(15 * 86_400)));
        assert_eq!(settings.store.partition_labels, ["job", "service_name", "service", "container", "comm"]);
        assert_eq!(settings.config_path, None);
        assert!(settings.server.cors_allowed_origins.is_empty());
        assert!(settings.without_effect.is_empty());
    }

    #[test]
    fn empty_values_are_defaults() {
        let settings = checked(&[
            "--config-path=",
            "--http-address=",
            "--storage-path=",
            "--log-level=",
            "--log-format=",
            "--path-prefix=",
            "--cors-allowed-origins=",
            "--retention=",
            "--head-memory=",
            "--allow-partial=",
            "--port=",
        ])
        .unwrap();
        assert_eq!(settings.config_path, None);
        assert_eq!(settings.address.port, 7070);
        assert_eq!(settings.store.path, PathBuf::from("data"));
        assert!(settings.server.cors_allowed_origins.is_empty());
        assert!(!settings.query.allow_partial);
    }

    #[test]
    fn switches() {
        let check = |flag: &str, expected: bool| {
            assert_eq!(checked(&[flag]).unwrap().query.allow_partial, expected, "{flag}");
        };
        check("--allow-partial", true);
        check("--allow-partial=true", true);
        check("--allow-partial=false", false);
    }

    #[test]
    fn addresses() {
        let check = |flags: &[&str], host: &str, port: u16| {
            let address = checked(flags).unwrap().address;
            assert_eq!((address.host.as_str(), address.port), (host, port), "{flags:?}");
        };
        check(&["--http-address", ":7070"], "", 7070);
        check(&["--http-address=localhost:7171"], "localhost", 7171);
        check(&["--http-address=localhost:7171", "--port=:9090"], "", 9090);
    }

    #[test]
    fn retention_of_zero_is_for_ever() {
        assert_eq!(checked(&["--retention=0"]).unwrap().store.retention, None);
        assert_eq!(
            checked(&["--retention", "36h"]).unwrap().store.retention,
            Some(Duration::from_secs(36 * 3600))
        );
    }

    #[test]
    fn path_prefixes() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let got = checked(&["--path-prefix", text]).map(|settings| settings.server.path_prefix);
            assert_eq!(got.as_deref().map_err(|error| error.flag), expected, "{text}");
        };
        check("", Ok(""));
        check("/", Ok(""));
        check("parca", Ok("/parca"));
        check("/a/b/", Ok("/a/b"));
        check("/a//b", Err("path-prefix"));
        check("/a?b", Err("path-prefix"));
    }

    #[test]
    fn impossible_settings_name_their_flag() {
        let check =
            |flags: &[&str], flag: &str| assert_eq!(checked(flags).map(|_| ()).unwrap_err().flag, flag);
        check(&["--head-memory=1MiB"], "head-memory");
        check(&["--flamegraph-nodes=10", "--flamegraph-nodes-max=5"], "flamegraph-nodes");
    }

    #[test]
    fn flags_of_parca_without_meaning_are_named_and_not_read() {
        let settings = checked(&[
            "--enable-persistence",
            "--storage-enable-wal=true",
            "--storage-active-memory=536870912",
            "--insecure=false",
            "--mode",
            "all",
            "--debuginfod-upstream-servers=a,b",
            "--otlp-address=",
            "--external-label=a=b;c=d",
        ])
        .unwrap();
        let mut given = settings.without_effect;
        given.sort_unstable();
        assert_eq!(
            given,
            [
                "debuginfod-upstream-servers",
                "enable-persistence",
                "external-label",
                "insecure",
                "mode",
                "otlp-address",
                "storage-active-memory",
                "storage-enable-wal",
            ]
        );
    }
}
