//! A model in memory: who is related to whom, and what the databags hold.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use parca_store::{AppName, HookContext, Model, RelationId, UnitName};
use serde_json::{Value, json};

pub(crate) type Settings = BTreeMap<String, String>;

/// A refusal.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refused(pub(crate) String);

/// A model with this unit, `parca-k8s/0`, in it.
pub(crate) struct World {
    pub(crate) leader: bool,
    pub(crate) relations: Vec<Relation>,
    /// None is refused.
    pub(crate) network: Option<Value>,
    pub(crate) own: RefCell<BTreeMap<u64, Settings>>,
    pub(crate) writes: Cell<usize>,
    pub(crate) networks_asked: Cell<usize>,
}

#[derive(Clone)]
pub(crate) struct Relation {
    pub(crate) id: RelationId,
    pub(crate) app: AppName,
    pub(crate) units: Vec<UnitName>,
    pub(crate) bag: Option<Settings>,
}

impl World {
    /// This unit leads and has relations by endpoint and number, each to the one unit `agent/0`.
    pub(crate) fn new(relations: &[&str]) -> Self {
        let relations = relations.iter().map(|id| Relation {
            id: id.parse().unwrap(),
            app: "agent".parse().unwrap(),
            units: vec!["agent/0".parse().unwrap()],
            bag: Some(Settings::new()),
        });
        Self {
            leader: true,
            relations: relations.collect(),
            network: Some(network(&[json!({"value": "10.1.2.3", "cidr": ""})])),
            own: RefCell::default(),
            writes: Cell::default(),
            networks_asked: Cell::default(),
        }
    }

    pub(crate) fn with_bag(mut self, bag: &[(&str, &str)]) -> Self {
        self.relations[0].bag = Some(settings(bag));
        self
    }

    pub(crate) fn with_network(mut self, network: Option<Value>) -> Self {
        self.network = network;
        self
    }

    /// What our own application handed out over a relation.
    pub(crate) fn handed_out(&self, number: u64) -> Settings {
        self.own.borrow().get(&number).cloned().unwrap_or_default()
    }

    pub(crate) fn address(&self, number: u64) -> String {
        self.handed_out(number).remove(parca_store::ADDRESS_KEY).unwrap_or_default()
    }

    pub(crate) fn token(&self, number: u64) -> Option<String> {
        self.handed_out(number).remove(parca_store::BEARER_TOKEN_KEY)
    }

    fn find(&self, relation: &RelationId) -> Option<&Relation> {
        self.relations.iter().find(|other| other.id == *relation)
    }
}

impl Model for World {
    type Error = Refused;

    fn is_leader(&self) -> Result<bool, Refused> {
        Ok(self.leader)
    }

    fn relations(&self, endpoint: &str) -> Result<Vec<RelationId>, Refused> {
        let ids = self.relations.iter().map(|relation| relation.id.clone());
        Ok(ids.filter(|id| id.endpoint() == endpoint).collect())
    }

    fn remote_units(&self, relation: &RelationId) -> Result<Option<Vec<UnitName>>, Refused> {
        Ok(self.find(relation).map(|relation| relation.units.clone()))
    }

    fn remote_app(&self, relation: &RelationId) -> Result<Option<AppName>, Refused> {
        Ok(self.find(relation).map(|relation| relation.app.clone()))
    }

    fn read(&self, relation: &RelationId, app: &AppName) -> Result<Option<Settings>, Refused> {
        let Some(found) = self.find(relation) else { return Ok(None) };
        match app.as_str() {
            "parca-k8s" if self.leader => Ok(Some(self.handed_out(relation.number()))),
            "parca-k8s" => Err(Refused("permission denied".to_owned())),
            _ => Ok(found.bag.clone()),
        }
    }

    fn write(&self, relation: &RelationId, settings: &Settings) -> Result<(), Refused> {
        if !self.leader {
            return Err(Refused("cannot write relation settings".to_owned()));
        }
        self.writes.set(self.writes.get() + 1);
        let mut own = self.own.borrow_mut();
        let bag = own.entry(relation.number()).or_default();
        bag.extend(settings.clone());
        bag.retain(|_, value| !value.is_empty());
        Ok(())
    }

    fn network(&self, _: &RelationId) -> Result<Value, Refused> {
        self.networks_asked.set(self.networks_asked.get() + 1);
        self.network.clone().ok_or_else(|| Refused("no network config found".to_owned()))
    }
}

/// An answer of `network-get` with these addresses on one interface.
pub(crate) fn network(addresses: &[Value]) -> Value {
    json!({"bind-addresses": [{"interface-name": "eth0", "addresses": addresses}]})
}

pub(crate) fn settings(pairs: &[(&str, &str)]) -> Settings {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A hook that has no variables of its own.
pub(crate) fn hook(name: &str) -> HookContext {
    let path = if name.contains('/') { name.to_owned() } else { format!("hooks/{name}") };
    HookContext::from_vars([("JUJU_UNIT_NAME", "parca-k8s/0"), ("JUJU_DISPATCH_PATH", path.as_str())])
        .unwrap()
}

/// A hook of a relation, about `agent/0`.
pub(crate) fn relation_hook(relation: &str, change: &str) -> HookContext {
    departure(relation, change, "agent/0", "agent/0")
}

/// A hook of a relation about a unit, departing because of another or itself.
pub(crate) fn departure(relation: &str, change: &str, unit: &str, departing: &str) -> HookContext {
    let (endpoint, _) = relation.split_once(':').unwrap();
    let path = format!("hooks/{endpoint}-relation-{change}");
    let unit = if ["created", "broken"].contains(&change) { "" } else { unit };
    HookContext::from_vars([
        ("JUJU_UNIT_NAME", "parca-k8s/0"),
        ("JUJU_DISPATCH_PATH", path.as_str()),
        ("JUJU_RELATION", endpoint),
        ("JUJU_RELATION_ID", relation),
        ("JUJU_REMOTE_APP", "agent"),
        ("JUJU_REMOTE_UNIT", unit),
        ("JUJU_DEPARTING_UNIT", if change == "departed" { departing } else { "" }),
    ])
    .unwrap()
}
