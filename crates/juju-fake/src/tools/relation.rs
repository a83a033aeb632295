//! Relations and networks.

use serde_json::{Value, json};

use super::{Answer, Refusal, json as print, settings};
use crate::{
    agent::Session,
    model::{Bag, Relation},
    tools::arguments::Arguments,
};

pub(super) fn ids(session: &Session, arguments: &Arguments) -> Answer {
    let own = session.event.relation.as_ref().map(|(endpoint, _)| endpoint.as_str());
    let endpoint = arguments.word(0).or(own).ok_or_else(|| Refusal::usage("no endpoint name specified"))?;
    let relations = session.pending.relations.iter().filter(|(_, relation)| relation.endpoint == endpoint);
    let mut ids: Vec<String> = relations.map(|(number, _)| format!("{endpoint}:{number}")).collect();
    ids.sort();
    Ok(print(&json!(ids)))
}

/// The relation that `-r` names, or that the hook is about.
fn number(session: &Session, arguments: &Arguments) -> Result<u64, Refusal> {
    let number = match arguments.value("r") {
        Some(id) => {
            let not_found =
                || Refusal::usage(format!("invalid value {id:?} for option -r: relation not found"));
            let number = id.rsplit(':').next().and_then(|number| number.parse().ok()).ok_or_else(|| {
                Refusal::usage(format!("invalid value {id:?} for option -r: invalid relation id"))
            })?;
            session.pending.relations.contains_key(&number).then_some(number).ok_or_else(not_found)?
        }
        None => session
            .event
            .relation
            .as_ref()
            .map(|(_, number)| *number)
            .ok_or_else(|| Refusal::usage("no relation id specified"))?,
    };
    Ok(number)
}

fn relation<'a>(session: &'a Session, arguments: &Arguments) -> Result<&'a Relation, Refusal> {
    let number = number(session, arguments)?;
    session.pending.relations.get(&number).ok_or_else(|| Refusal::new("relation not found"))
}

pub(super) fn list(session: &Session, arguments: &Arguments) -> Answer {
    let relation = relation(session, arguments)?;
    if arguments.has("app") {
        return Ok(print(&json!(relation.remote_app)));
    }
    let departing = session.event.get("JUJU_DEPARTING_UNIT");
    let departs = |unit: &str| {
        departing == Some(unit)
            && session.event.relation.as_ref().map(|(_, n)| *n) == number(session, arguments).ok()
    };
    let units: Vec<&String> = relation.units.keys().filter(|unit| !departs(unit)).collect();
    Ok(print(&json!(units)))
}

pub(super) fn get(session: &Session, arguments: &Arguments) -> Answer {
    let relation = relation(session, arguments)?;
    let key = arguments.word(0).filter(|key| *key != "-");
    let remote_unit = session.event.get("JUJU_REMOTE_UNIT").or(session.event.get("JUJU_REMOTE_APP"));
    let of = arguments
        .word(1)
        .or(remote_unit)
        .ok_or_else(|| Refusal::usage("no unit or application specified"))?;
    let bag = if arguments.has("app") || !of.contains('/') {
        app_bag(session, relation, of.split('/').next().unwrap_or(of))?
    } else if of == session.pending.unit {
        &relation.unit_bag
    } else {
        relation.units.get(of).ok_or_else(|| Refusal::new("permission denied"))?
    };
    Ok(print(&match key {
        None => json!(bag),
        Some(key) => bag.get(key).map_or(Value::Null, |value| json!(value)),
    }))
}

fn app_bag<'a>(session: &Session, relation: &'a Relation, app: &str) -> Result<&'a Bag, Refusal> {
    if app == session.pending.app() {
        // Units of one application read their application's bag only towards each other.
        let may_read = session.pending.leader || relation.peer;
        return may_read.then_some(&relation.app_bag).ok_or_else(|| Refusal::new("permission denied"));
    }
    (app == relation.remote_app)
        .then_some(&relation.remote_app_bag)
        .ok_or_else(|| Refusal::new("permission denied"))
}

pub(super) fn set(session: &mut Session, arguments: &Arguments, input: &[u8]) -> Answer {
    let number = number(session, arguments)?;
    let mut changes = match arguments.value("file") {
        None => Vec::new(),
        Some("-") => settings(input)?,
        Some(path) => settings(&std::fs::read(path).map_err(|error| Refusal::new(error.to_string()))?)?,
    };
    changes.extend(arguments.pairs(0)?.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())));
    let leader = session.pending.leader;
    let Some(relation) = session.pending.relations.get_mut(&number) else {
        return Err(Refusal::new("relation not found"));
    };
    let bag = match arguments.has("app") {
        true if !leader => return Err(Refusal::new("cannot write relation settings")),
        true => &mut relation.app_bag,
        false => &mut relation.unit_bag,
    };
    for (key, value) in changes {
        match value.as_str() {
            "" => drop(bag.remove(&key)),
            _ => drop(bag.insert(key, value)),
        }
    }
    Ok(String::new())
}

pub(super) fn network(session: &Session, arguments: &Arguments) -> Answer {
    let own = session.event.relation.as_ref().map(|(endpoint, _)| endpoint.as_str());
    let related = match arguments.value("r") {
        Some(_) => {
            let number = number(session, arguments)?;
            session.pending.relations.get(&number).map(|relation| (relation.endpoint.as_str(), number))
        }
        None => None,
    };
    let endpoint = arguments.word(0).or(related.map(|(endpoint, _)| endpoint)).or(own);
    let endpoint = endpoint.ok_or_else(|| Refusal::usage("no arguments specified"))?;
    let networks = &session.pending.networks;
    let of_relation = related.and_then(|(endpoint, number)| networks.get(&format!("{endpoint}:{number}")));
    let network = of_relation.or_else(|| networks.get(endpoint)).unwrap_or(&session.pending.network);
    if network.is_null() {
        return Err(Refusal::new(format!("no network config found for binding {endpoint:?}")));
    }
    Ok(print(network))
}
