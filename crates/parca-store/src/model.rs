//! What this crate asks and tells Juju: a seam, so that the relation's rules need no Juju.

use std::collections::BTreeMap;

use decima_juju::{AppName, Bag, HookTools, Network, OwnBag, RelationId, ToolError, UnitName};
use serde_json::{Value, json};

/// The model as this unit sees it. [`HookTools`] is one; a charm with tools of its own can be another.
///
/// Where a relation is no longer in the model, the answer is `None`, not an error.
pub trait Model {
    /// A question or a change was refused.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Whether this unit leads its application.
    fn is_leader(&self) -> Result<bool, Self::Error>;

    /// The relations of an endpoint, in Juju's order; one that is being broken may be among them.
    fn relations(&self, endpoint: &str) -> Result<Vec<RelationId>, Self::Error>;

    /// The units of the other side, without one that departs.
    fn remote_units(&self, relation: &RelationId) -> Result<Option<Vec<UnitName>>, Self::Error>;

    /// The application of the other side.
    fn remote_app(&self, relation: &RelationId) -> Result<Option<AppName>, Self::Error>;

    /// The databag of an application. Our own is read by the leader only.
    fn read(
        &self,
        relation: &RelationId,
        app: &AppName,
    ) -> Result<Option<BTreeMap<String, String>>, Self::Error>;

    /// Sets keys in our own application's databag; an empty value deletes its key. By the leader only.
    fn write(&self, relation: &RelationId, settings: &BTreeMap<String, String>) -> Result<(), Self::Error>;

    /// What `network-get` answers for a relation, or for its endpoint if the relation is gone.
    fn network(&self, relation: &RelationId) -> Result<Value, Self::Error>;
}

/// `None` for a relation that is gone.
fn unless_gone<T>(answer: Result<T, ToolError>) -> Result<Option<T>, ToolError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(ToolError::Refused { message, .. }) if says_gone(&message) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Juju's words for a relation that it no longer has: `relation not found`, `relation 7 not found`.
///
/// A controller that lost a relation whose agent still has it says `permission denied` instead. It says so to a follower
/// about its own application's databag too, which nothing here reads.
fn says_gone(message: &str) -> bool {
    let message = message.to_lowercase();
    let not_found = message.match_indices("relation ").any(|(at, word)| {
        let rest = &message[at + word.len()..];
        let number = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        rest.starts_with("not found") || (number.len() < rest.len() && number.starts_with(" not found"))
    });
    not_found || message.contains("permission denied")
}

impl Model for HookTools {
    type Error = ToolError;

    fn is_leader(&self) -> Result<bool, ToolError> {
        HookTools::is_leader(self)
    }

    fn relations(&self, endpoint: &str) -> Result<Vec<RelationId>, ToolError> {
        self.relation_ids(endpoint)
    }

    fn remote_units(&self, relation: &RelationId) -> Result<Option<Vec<UnitName>>, ToolError> {
        unless_gone(self.relation_units(relation))
    }

    fn remote_app(&self, relation: &RelationId) -> Result<Option<AppName>, ToolError> {
        unless_gone(self.relation_app(relation)).map(Option::flatten)
    }

    fn read(
        &self,
        relation: &RelationId,
        app: &AppName,
    ) -> Result<Option<BTreeMap<String, String>>, ToolError> {
        unless_gone(self.relation_get(relation, Bag::App(app)))
    }

    fn write(&self, relation: &RelationId, settings: &BTreeMap<String, String>) -> Result<(), ToolError> {
        self.relation_set(relation, OwnBag::App, settings)
    }

    fn network(&self, relation: &RelationId) -> Result<Value, ToolError> {
        match unless_gone(self.network_json(relation))? {
            Some(network) => Ok(network),
            None => self.network_of_endpoint(relation.endpoint()).map(|network| as_json(&network)),
        }
    }
}

fn as_json(network: &Network) -> Value {
    let interfaces = network.bind_addresses.iter().map(|interface| {
        let addresses = interface.addresses.iter();
        let addresses = addresses.map(|address| json!({ "value": address.value, "cidr": address.cidr }));
        json!({ "addresses": addresses.collect::<Vec<_>>() })
    });
    json!({
        "bind-addresses": interfaces.collect::<Vec<_>>(),
        "egress-subnets": network.egress_subnets,
        "ingress-addresses": network.ingress_addresses,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_a_relation_that_is_gone() {
        let check = |message: &str, expected: bool| assert_eq!(says_gone(message), expected, "{message}");
        check("invalid value \"ep:7\" for option -r: relation not found", true);
        check("relation 7 not found", true);
        check("permission denied", true);
        check("relation  not found", false);
        check("relation 7x not found", false);
        check("no network config found for binding \"ep\"", false);
        check("unit not found", false);
    }
}
