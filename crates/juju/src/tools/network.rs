//! Addresses of this unit, as an endpoint's binding sees them.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{HookTools, ToolError};
use crate::names::RelationId;

/// What `network-get` says of one binding. What it leaves out or sets to null is empty here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Network {
    /// Interfaces to listen on.
    #[serde(deserialize_with = "or_null")]
    pub bind_addresses: Vec<Interface>,
    /// Subnets from which this unit is seen by the other side.
    #[serde(deserialize_with = "or_null")]
    pub egress_subnets: Vec<String>,
    /// Addresses to tell the other side.
    #[serde(deserialize_with = "or_null")]
    pub ingress_addresses: Vec<String>,
}

/// An interface of this unit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Interface {
    /// Its name.
    #[serde(deserialize_with = "or_null")]
    pub interface_name: String,
    /// What it is reached by.
    #[serde(deserialize_with = "or_null")]
    pub addresses: Vec<Address>,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "AnswerAddress")]
pub struct Address {
    /// Its name, if it has one.
    pub hostname: String,
    /// The address.
    pub value: String,
    /// The subnet.
    pub cidr: String,
}

/// The same as it is written: the address stands twice, or under one of the two names.
#[derive(Default, Deserialize)]
#[serde(default)]
struct AnswerAddress {
    #[serde(deserialize_with = "or_null")]
    hostname: String,
    #[serde(deserialize_with = "or_null")]
    value: String,
    #[serde(deserialize_with = "or_null")]
    address: String,
    #[serde(deserialize_with = "or_null")]
    cidr: String,
}

impl From<AnswerAddress> for Address {
    fn from(AnswerAddress { hostname, value, address, cidr }: AnswerAddress) -> Self {
        Self { hostname, value: if value.is_empty() { address } else { value }, cidr }
    }
}

fn or_null<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

impl Network {
    /// The first address of the first interface that has one.
    pub fn bind_address(&self) -> Option<&str> {
        let mut addresses = self.bind_addresses.iter().flat_map(|interface| &interface.addresses);
        addresses.find(|address| !address.value.is_empty()).map(|address| address.value.as_str())
    }
}

impl HookTools {
    /// The network of a relation.
    pub fn network(&self, relation: &RelationId) -> Result<Network, ToolError> {
        self.network_get(relation)
    }

    /// The same as Juju writes it, for who reads it by rules of his own.
    pub fn network_json(&self, relation: &RelationId) -> Result<Value, ToolError> {
        self.network_get(relation)
    }

    /// The network of an endpoint, whether related or not.
    pub fn network_of_endpoint(&self, endpoint: &str) -> Result<Network, ToolError> {
        self.ask("network-get", &["--format=json", endpoint])
    }

    fn network_get<T: serde::de::DeserializeOwned>(&self, relation: &RelationId) -> Result<T, ToolError> {
        self.ask("network-get", &["--format=json", "-r", &relation.number().to_string(), relation.endpoint()])
    }

    /// The address at which this unit's cloud reaches it; on Kubernetes the pod's.
    pub fn private_address(&self) -> Result<String, ToolError> {
        self.ask("unit-get", &["--format=json", "private-address"])
    }

    /// The address at which the world reaches it; on Kubernetes often none, which Juju refuses.
    pub fn public_address(&self) -> Result<String, ToolError> {
        self.ask("unit-get", &["--format=json", "public-address"])
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::expecting;
    use super::*;

    #[test]
    fn shapes_of_the_answer() {
        let check = |answer: &str, expected: Option<&str>| {
            let network: Network = serde_json::from_str(answer).unwrap();
            assert_eq!(network.bind_address(), expected, "{answer}");
        };
        check(
            r#"{"bind-addresses":[{"mac-address":"","interface-name":"eth0","addresses":[{"hostname":"","value":"10.1.2.3","cidr":"10.1.0.0/16"}]}],"egress-subnets":["10.1.2.3/32"],"ingress-addresses":["10.1.2.3"]}"#,
            Some("10.1.2.3"),
        );
        check(
            r#"{"bind-addresses":[{"addresses":[]},{"addresses":[{"value":"fd00::1"}]}]}"#,
            Some("fd00::1"),
        );
        check(r#"{"bind-addresses":[{"addresses":[{"address":"10.0.0.1"}]}]}"#, Some("10.0.0.1"));
        check(r#"{"bind-addresses":null,"egress-subnets":null}"#, None);
        check(r#"{"bind-addresses":[{"addresses":null}]}"#, None);
        check(r#"{"bind-addresses":[{"addresses":[{"value":null}]}]}"#, None);
        check("{}", None);
    }

    #[test]
    fn of_a_relation() {
        let tools =
            expecting("network-get --format=json -r 7 ep", "", "{\"ingress-addresses\":[\"10.0.0.1\"]}");
        assert_eq!(tools.network(&"ep:7".parse().unwrap()).unwrap().ingress_addresses, ["10.0.0.1"]);
    }
}
