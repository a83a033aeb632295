//! Events that a test has happen, and the variables that Juju sets for them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An event for one unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Name of the hook or the action, with dashes.
    pub(crate) name: String,
    /// Parameters, if it is an action.
    pub(crate) action: Option<Map<String, Value>>,
    /// The relation, if it is about one: endpoint and number.
    pub(crate) relation: Option<(String, u64)>,
    pub(crate) vars: Vec<(String, String)>,
}

impl Event {
    /// A hook by its name, such as `config-changed`.
    pub fn hook(name: &str) -> Self {
        Self { name: name.to_owned(), action: None, relation: None, vars: Vec::new() }
    }

    /// An action with its parameters.
    pub fn action(name: &str, parameters: Map<String, Value>) -> Self {
        let mut event = Self::hook(name);
        event.action = Some(parameters);
        event
            .var("JUJU_ACTION_NAME", name)
            .var("JUJU_ACTION_UUID", "3a4dbd0c-5bfb-4f7b-8a2e-0a0c5c1d2e3f")
            .var("JUJU_ACTION_TAG", "action-2")
    }

    /// `created`, `joined`, `changed`, `departed` or `broken` of a relation, whether or not the model has it.
    ///
    /// It is about the other application; [`Self::unit`] makes it one about a unit of it.
    pub fn relation(endpoint: &str, number: u64, change: &str, remote_app: &str) -> Self {
        let mut event = Self::hook(&format!("{endpoint}-relation-{change}"));
        event.relation = Some((endpoint.to_owned(), number));
        event
            .var("JUJU_RELATION", endpoint)
            .var("JUJU_RELATION_ID", &format!("{endpoint}:{number}"))
            .var("JUJU_REMOTE_APP", remote_app)
            .var("JUJU_REMOTE_UNIT", "")
    }

    /// The unit of the other side that a relation event is about.
    pub fn unit(self, remote_unit: &str) -> Self {
        self.var("JUJU_REMOTE_UNIT", remote_unit)
    }

    /// The unit that departs, which may be our own.
    pub fn departing(self, unit: &str) -> Self {
        self.var("JUJU_DEPARTING_UNIT", unit)
    }

    /// A container's Pebble answers.
    pub fn pebble_ready(container: &str) -> Self {
        Self::hook(&format!("{container}-pebble-ready")).var("JUJU_WORKLOAD_NAME", container)
    }

    /// `changed`, `expired`, `remove` or `rotate` of a secret.
    pub fn secret(change: &str, id: &str, label: &str, revision: Option<u64>) -> Self {
        let revision = revision.map(|revision| revision.to_string()).unwrap_or_default();
        Self::hook(&format!("secret-{change}"))
            .var("JUJU_SECRET_ID", id)
            .var("JUJU_SECRET_LABEL", label)
            .var("JUJU_SECRET_REVISION", &revision)
    }

    /// `attached` or `detaching` of a storage such as `profiles/0`.
    pub fn storage(id: &str, change: &str, location: &str) -> Self {
        let name = id.split('/').next().unwrap_or(id);
        Self::hook(&format!("{name}-storage-{change}"))
            .var("JUJU_STORAGE_ID", id)
            .var("JUJU_STORAGE_LOCATION", location)
            .var("JUJU_STORAGE_KIND", "filesystem")
    }

    /// Sets a variable of the hook's environment; the last setting counts.
    pub fn var(mut self, name: &str, value: &str) -> Self {
        self.vars.retain(|(other, _)| other != name);
        self.vars.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let value = self.vars.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
        value.filter(|value| !value.is_empty())
    }

    /// Where Juju would look for a script of the charm.
    pub(crate) fn dispatch_path(&self) -> String {
        format!("{}/{}", if self.action.is_some() { "actions" } else { "hooks" }, self.name)
    }
}
