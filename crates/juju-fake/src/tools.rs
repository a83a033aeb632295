//! The hook tools, as functions over a session.

mod action;
mod arguments;
mod relation;
mod secret;
mod unit;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::arguments::Arguments;
use crate::agent::Session;

/// The tools that there are.
pub const TOOLS: &[&str] = &[
    "action-fail",
    "action-get",
    "action-log",
    "action-set",
    "application-version-set",
    "close-port",
    "config-get",
    "goal-state",
    "is-leader",
    "juju-log",
    "network-get",
    "open-port",
    "opened-ports",
    "relation-get",
    "relation-ids",
    "relation-list",
    "relation-model-get",
    "relation-set",
    "resource-get",
    "secret-add",
    "secret-get",
    "secret-grant",
    "secret-ids",
    "secret-info-get",
    "secret-remove",
    "secret-revoke",
    "secret-set",
    "state-delete",
    "state-get",
    "state-set",
    "status-get",
    "status-set",
    "storage-add",
    "storage-get",
    "storage-list",
    "unit-get",
];

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its name.
    pub tool: String,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// Why a tool ends with a failure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// 1 at work, 2 while reading arguments.
    pub(crate) code: u8,
    pub(crate) message: String,
}

impl Refusal {
    fn new(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }

    fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into() }
    }
}

type Answer = Result<String, Refusal>;

/// Does what a tool does.
pub(crate) fn call(session: &mut Session, tool: &str, arguments: &[String], input: &[u8]) -> Answer {
    let read = |values: &[&str], switches: &[&str]| Arguments::read(arguments, values, switches);
    match tool {
        "relation-ids" => relation::ids(session, &read(&["format"], &[])?),
        "relation-list" => relation::list(session, &read(&["format", "r"], &["app"])?),
        "relation-get" => relation::get(session, &read(&["format", "r"], &["app"])?),
        "relation-set" => relation::set(session, &read(&["r", "file"], &["app"])?, input),
        "relation-model-get" => Ok(json(&serde_json::json!({"uuid": session.pending.uuid}))),
        "network-get" => relation::network(
            session,
            &read(&["format", "r"], &["ingress-address", "bind-address", "egress-subnets"])?,
        ),
        "secret-add" => {
            secret::add(session, &read(&["label", "description", "expire", "rotate", "owner", "file"], &[])?)
        }
        "secret-set" => {
            secret::set(session, &read(&["label", "description", "expire", "rotate", "owner", "file"], &[])?)
        }
        "secret-get" => secret::get(session, &read(&["format", "label"], &["refresh", "peek"])?),
        "secret-info-get" => secret::metadata(session, &read(&["format", "label"], &[])?),
        "secret-ids" => secret::ids(session),
        "secret-remove" => secret::remove(session, &read(&["revision"], &[])?),
        "secret-grant" => secret::grant(session, &read(&["relation", "r", "unit"], &[])?, true),
        "secret-revoke" => secret::grant(session, &read(&["relation", "r", "unit", "app"], &[])?, false),
        "action-get" => action::get(session, &read(&["format"], &[])?),
        "action-set" => action::set(session, &read(&[], &[])?),
        "action-fail" => action::fail(session, &read(&[], &[])?),
        "action-log" => action::log(session, &read(&[], &[])?),
        _ => unit::call(session, tool, arguments, input),
    }
}

/// Whether a call of a tool reads its standard input.
pub(crate) fn reads_input(arguments: &[String]) -> bool {
    arguments.windows(2).any(|pair| pair[0] == "--file" && pair[1] == "-")
        || arguments.iter().any(|argument| argument == "--file=-")
}

fn json(value: &Value) -> String {
    format!("{value}\n")
}

/// Reads what is given in standard input: YAML, so JSON too. Values are texts; a number is taken as it is written.
fn settings(input: &[u8]) -> Result<Vec<(String, String)>, Refusal> {
    let text = std::str::from_utf8(input).map_err(|error| Refusal::new(format!("yaml: {error}")))?;
    let map: Option<std::collections::BTreeMap<String, Option<String>>> =
        serde_saphyr::from_str(text).map_err(|error| Refusal::new(format!("yaml: {error}")))?;
    Ok(map.unwrap_or_default().into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect())
}

#[cfg(test)]
mod tests;
