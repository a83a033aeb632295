//! Parca's flags that have no meaning here: accepted, so that a command line written for Parca starts, and told about.
//!
//! Their values are neither read nor shown (one of them is a token).

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches, parser::ValueSource};

/// Whether a flag of Parca takes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// `--flag`, `--flag=true`, `--flag=false`.
    Switch,
    /// `--flag value`, `--flag=value`, may be repeated.
    Value,
}

use Takes::{Switch, Value};

/// Every flag of Parca's server that this one has no use for.
const WITHOUT_EFFECT: &[(&str, Takes)] = &[
    ("http-read-timeout", Value),
    ("http-write-timeout", Value),
    ("otlp-address", Value),
    ("otlp-exporter", Value),
    ("otlp-insecure", Switch),
    ("mutex-profile-fraction", Value),
    ("block-profile-rate", Value),
    ("enable-persistence", Switch),
    ("storage-active-memory", Value),
    ("storage-enable-wal", Switch),
    ("storage-snapshot-trigger-size", Value),
    ("storage-row-group-size", Value),
    ("storage-index-on-disk", Switch),
    ("symbolizer-external-addr-2-line-path", Value),
    ("symbolizer-number-of-tries", Value),
    ("debuginfo-uploads-signed-url", Switch),
    ("profile-share-server", Value),
    ("debug-normalize-addresses", Switch),
    ("iceberg-storage", Switch),
    ("clickhouse-enabled", Switch),
    ("clickhouse-address", Value),
    ("clickhouse-database", Value),
    ("clickhouse-username", Value),
    ("clickhouse-password", Value),
    ("clickhouse-table", Value),
    ("clickhouse-secure", Switch),
];

/// Which of Parca's flags without meaning were given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ParcaFlags {
    /// Names without dashes, in the order of Parca's documentation.
    pub(crate) given: Vec<&'static str>,
}

impl clap::Args for ParcaFlags {
    fn augment_args(command: Command) -> Command {
        WITHOUT_EFFECT.iter().fold(command, |command, &(name, takes)| {
            let flag = Arg::new(name).long(name).hide(true);
            command.arg(match takes {
                Switch => flag.num_args(0..=1).require_equals(true).action(ArgAction::Append),
                Value => flag.num_args(1).allow_hyphen_values(true).action(ArgAction::Append),
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ParcaFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
        Ok(Self { given: WITHOUT_EFFECT.iter().map(|&(name, _)| name).filter(|name| given(name)).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
