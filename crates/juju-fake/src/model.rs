//! What the simulated model holds for one unit. Tests fill it in and read it; hook tools work on it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A databag.
pub type Bag = BTreeMap<String, String>;

/// The model as one unit sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// This unit, as `parca-k8s/0`.
    pub unit: String,
    /// Whether it leads.
    pub leader: bool,
    /// Name of the model.
    pub name: String,
    /// Identifier of the model.
    pub uuid: String,
    /// Options that are set or have a default.
    pub config: Map<String, Value>,
    /// Relations by number.
    pub relations: BTreeMap<u64, Relation>,
    /// What `network-get` answers for an endpoint (`ep`) or one relation (`ep:7`); `null` makes it fail.
    pub networks: BTreeMap<String, Value>,
    /// What it answers for all others.
    pub network: Value,
    /// Secrets by identifier, without scheme.
    pub secrets: BTreeMap<String, Secret>,
    /// How many secrets were ever made.
    pub secrets_made: u64,
    /// Status of the unit.
    pub unit_status: Status,
    /// Status of the application.
    pub app_status: Status,
    /// Open ports, as `7993/tcp`.
    pub ports: BTreeSet<String>,
    /// Storages by identifier, as `profiles/0`.
    pub storages: BTreeMap<String, Storage>,
    /// How many more storages the charm asked for, by name.
    pub storages_asked: BTreeMap<String, u32>,
    /// What the unit keeps in the controller.
    pub unit_state: BTreeMap<String, String>,
    /// Version of the workload.
    pub workload_version: String,
    /// The log of the model.
    pub log: Vec<LogLine>,
    /// Where resources lie.
    pub resources: BTreeMap<String, PathBuf>,
    /// What `goal-state` answers.
    pub goal_state: Value,
}

impl Model {
    /// A model with one unit, which leads, at 10.1.0.5.
    pub fn new(unit: &str) -> Self {
        Self {
            unit: unit.to_owned(),
            leader: true,
            name: "cos".to_owned(),
            uuid: "0b2e7b0c-6a51-4a0c-8d0f-3b6a4e5f6a7b".to_owned(),
            config: Map::new(),
            relations: BTreeMap::new(),
            networks: BTreeMap::new(),
            network: Self::network_at("10.1.0.5", "10.1.0.0/16"),
            secrets: BTreeMap::new(),
            secrets_made: 0,
            unit_status: Status::default(),
            app_status: Status::default(),
            ports: BTreeSet::new(),
            storages: BTreeMap::new(),
            storages_asked: BTreeMap::new(),
            unit_state: BTreeMap::new(),
            workload_version: String::new(),
            log: Vec::new(),
            resources: BTreeMap::new(),
            goal_state: json!({"units": {unit: {"status": "active", "since": "2026-01-01 00:00:00Z"}}, "relations": {}}),
        }
    }

    /// What `network-get` answers for a unit with one address.
    pub fn network_at(address: &str, cidr: &str) -> Value {
        let host = if address.contains(':') { 128 } else { 32 };
        json!({
            "bind-addresses": [{
                "mac-address": "",
                "interface-name": "",
                "addresses": [{"hostname": "", "address": address, "cidr": cidr, "value": address}],
            }],
            "egress-subnets": [format!("{address}/{host}")],
            "ingress-addresses": [address],
        })
    }

    /// The application of this unit.
    pub fn app(&self) -> &str {
        self.unit.split('/').next().unwrap_or(&self.unit)
    }

    /// Adds a relation with another application and units of it, whose databags are empty.
    pub fn relate(&mut self, number: u64, endpoint: &str, remote_app: &str, units: &[&str]) -> &mut Relation {
        let relation = Relation {
            endpoint: endpoint.to_owned(),
            remote_app: remote_app.to_owned(),
            peer: remote_app == self.app(),
            units: units.iter().map(|unit| ((*unit).to_owned(), Bag::new())).collect(),
            remote_app_bag: Bag::new(),
            unit_bag: Bag::new(),
            app_bag: Bag::new(),
        };
        self.relations.entry(number).insert_entry(relation).into_mut()
    }
}

/// A relation as one side sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relation {
    /// Our endpoint.
    pub endpoint: String,
    /// The other application; our own in a peer relation.
    pub remote_app: String,
    /// Whether it joins the units of our own application.
    pub peer: bool,
    /// Databags of the units of the other side, or of the other units.
    pub units: BTreeMap<String, Bag>,
    /// Databag of the other application.
    pub remote_app_bag: Bag,
    /// Databag of this unit.
    pub unit_bag: Bag,
    /// Databag of this application.
    pub app_bag: Bag,
}

/// A secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// `application` or `unit` if it is ours, else the application that granted it.
    pub owner: String,
    /// By what its owner or its reader finds it.
    pub label: String,
    /// What it is for.
    pub description: String,
    /// When the newest revision expires.
    pub expiry: Option<String>,
    /// Values by revision, from 1.
    pub revisions: BTreeMap<u64, BTreeMap<String, String>>,
    /// The revision that this unit sees.
    pub seen: Option<u64>,
    /// Relations that may read it, as `ep:7`.
    pub granted: BTreeSet<String>,
}

impl Secret {
    /// Whether this application or this unit manages it.
    pub fn is_ours(&self) -> bool {
        ["application", "unit"].contains(&self.owner.as_str())
    }

    /// Values of the newest revision.
    pub fn newest(&self) -> Option<&BTreeMap<String, String>> {
        self.revisions.values().next_back()
    }
}

/// A status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub status: String,
    /// Its message.
    pub message: String,
}

impl Default for Status {
    fn default() -> Self {
        Self { status: "unknown".to_owned(), message: String::new() }
    }
}

/// A storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// `filesystem` or `block`.
    pub kind: String,
    /// Where it is mounted.
    pub location: PathBuf,
}

/// A line of the model's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// How much it matters.
    pub level: String,
    /// What it says.
    pub message: String,
}

/// What an action told him who ran it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ActionOutcome {
    /// Results; a key with dots is nested here.
    pub results: Map<String, Value>,
    /// Why it failed, if it did.
    pub failure: Option<String>,
    /// What it said meanwhile.
    pub log: Vec<String>,
}
