//! Flags that work or not depending on others, and which of them were given: a default says nothing, and neither does a
//! blank.

use clap::{ArgMatches, parser::ValueSource};

/// The flag that says where the data directory is.
pub(crate) const STORAGE_PATH: &str = "storage-path";

/// Flags of what only a store does, and a forwarder does not.
pub(crate) const OF_STORES: [&str; 31] = [
    "log-path",
    "read-cache-path",
    "read-cache-size",
    "abandon-log",
    "retention",
    "retention-raw",
    "retention-10s",
    "storage-max-bytes",
    "ahead-max",
    "head-memory",
    "cache-memory",
    "query-memory",
    "compaction-memory",
    "partition-labels",
    "allow-partial",
    "label-count-max",
    "label-name-size-max",
    "label-value-size-max",
    "stack-depth-max",
    "flamegraph-nodes",
    "flamegraph-nodes-max",
    "report-size-max",
    "debuginfo-retention",
    "debuginfo-retention-size",
    "debuginfo-cache-dir",
    "debuginfod-upstream-servers",
    "debuginfod-http-request-timeout",
    "symbolizer-demangle-mode",
    "symbolizer-memory",
    "symbolizer-cache-size",
    "symbolizer-timeout",
];

/// Those of [`OF_STORES`] and [`STORAGE_PATH`] that were given, and not left blank.
pub(crate) fn given(matches: &ArgMatches) -> Vec<&'static str> {
    let is_given = |flag: &&str| {
        let id = flag.replace('-', "_");
        matches.value_source(&id) == Some(ValueSource::CommandLine)
            && matches.get_raw(&id).is_some_and(|mut values| values.any(|value| !value.is_empty()))
    };
    OF_STORES.into_iter().chain([STORAGE_PATH]).filter(is_given).collect()
}
