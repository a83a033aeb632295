//! Secrets.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Answer, Refusal, json as print};
use crate::{agent::Session, model::Secret, tools::arguments::Arguments};

/// An identifier without scheme and model.
fn bare(id: &str) -> &str {
    let id = id.strip_prefix("secret:").unwrap_or(id);
    id.rsplit('/').next().unwrap_or(id)
}

/// A key of a secret: three or more lower-case letters, digits and single dashes, a letter first.
fn is_key(key: &str) -> bool {
    key.len() >= 3
        && key.starts_with(|c: char| c.is_ascii_lowercase())
        && !key.ends_with('-')
        && !key.contains("--")
        && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// Values from `key=value`, `key#base64=…` and `key#file=path`.
fn content(arguments: &Arguments, from: usize) -> Result<BTreeMap<String, String>, Refusal> {
    let mut content = BTreeMap::new();
    for (key, value) in arguments.pairs(from)? {
        let (key, value) = match key.split_once('#') {
            None => (key, value.to_owned()),
            Some((key, "file")) => {
                let text = std::fs::read_to_string(value);
                (
                    key,
                    text.map_err(|error| {
                        Refusal::usage(format!("reading content for secret key {key:?}: {error}"))
                    })?,
                )
            }
            Some((key, "base64")) => {
                let bytes = STANDARD.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                (key, bytes.ok_or_else(|| Refusal::usage(format!("secret key {key:?} is not base64")))?)
            }
            Some(_) => return Err(Refusal::usage(format!("key {key:?} not valid"))),
        };
        if !is_key(key) {
            return Err(Refusal::usage(format!("key {key:?} not valid")));
        }
        content.insert(key.to_owned(), value);
    }
    Ok(content)
}

pub(super) fn add(session: &mut Session, arguments: &Arguments) -> Answer {
    let content = content(arguments, 0)?;
    if content.is_empty() {
        return Err(Refusal::usage("missing secret value or filename"));
    }
    let owner = arguments.value("owner").unwrap_or("application");
    if !["application", "unit"].contains(&owner) {
        return Err(Refusal::usage(format!("secret owner {owner:?} not valid")));
    }
    if owner == "application" && !session.pending.leader {
        return Err(Refusal::new("this unit is not the leader"));
    }
    let label = arguments.value("label").unwrap_or_default();
    let mut secrets = session.pending.secrets.values();
    if !label.is_empty() && secrets.any(|secret| secret.label == label && secret.is_ours()) {
        return Err(Refusal::new(format!("secret with label {label:?} already exists")));
    }
    let text = |name: &str| arguments.value(name).unwrap_or_default().to_owned();
    let secret = Secret {
        owner: owner.to_owned(),
        label: label.to_owned(),
        description: text("description"),
        expiry: arguments.value("expire").map(str::to_owned),
        revisions: BTreeMap::from([(1, content)]),
        seen: Some(1),
        granted: BTreeSet::new(),
    };
    session.pending.secrets_made += 1;
    let id = format!("d0fake{:014}", session.pending.secrets_made);
    session.pending.secrets.insert(id.clone(), secret);
    Ok(format!("secret:{id}\n"))
}

/// The secret that an identifier or a label names.
fn find(session: &Session, arguments: &Arguments) -> Result<String, Refusal> {
    let secrets = &session.pending.secrets;
    if let Some(id) = arguments.word(0) {
        let found = secrets.contains_key(bare(id)).then(|| bare(id).to_owned());
        return found.ok_or_else(|| Refusal::new(format!("secret {:?} not found", bare(id))));
    }
    let label =
        arguments.value("label").ok_or_else(|| Refusal::usage("require either a secret URI or label"))?;
    let found = secrets.iter().find(|(_, secret)| secret.label == label).map(|(id, _)| id.clone());
    found.ok_or_else(|| Refusal::new(format!("secret {label:?} not found")))
}

pub(super) fn get(session: &mut Session, arguments: &Arguments) -> Answer {
    let id = find(session, arguments)?;
    let Some(secret) = session.pending.secrets.get_mut(&id) else {
        return Err(Refusal::new(format!("secret {id:?} not found")));
    };
    // With both an identifier and a label, a reader gives the secret that label.
    if let (Some(_), Some(label)) = (arguments.word(0), arguments.value("label"))
        && !secret.is_ours()
    {
        secret.label = label.to_owned();
    }
    let newest = secret.revisions.keys().next_back().copied().unwrap_or(1);
    let revision = match (arguments.has("peek"), arguments.has("refresh")) {
        (true, _) => newest,
        (_, true) => *secret.seen.insert(newest),
        _ => *secret.seen.get_or_insert(newest),
    };
    let content = secret.revisions.get(&revision);
    let content = content.ok_or_else(|| Refusal::new(format!("secret revision {revision} not found")))?;
    Ok(print(&json!(content)))
}

/// A secret that this unit manages.
fn managed<'a>(session: &'a mut Session, id: &str) -> Result<&'a mut Secret, Refusal> {
    let leader = session.pending.leader;
    let secret = session.pending.secrets.get_mut(bare(id));
    let secret = secret.filter(|secret| secret.is_ours());
    match secret {
        None => Err(Refusal::new(format!("secret {:?} not found", bare(id)))),
        Some(secret) if secret.owner == "application" && !leader => Err(Refusal::new("permission denied")),
        Some(secret) => Ok(secret),
    }
}

pub(super) fn metadata(session: &mut Session, arguments: &Arguments) -> Answer {
    let id = find(session, arguments)?;
    let not_found = || Refusal::new(format!("secret {id:?} not found"));
    // What belongs to the application is known to its leader only.
    let secret = managed(session, &id).map_err(|_| not_found())?;
    let mut metadata = json!({
        "revision": secret.revisions.keys().next_back().copied().unwrap_or(1),
        "label": secret.label,
        "owner": secret.owner,
        "description": secret.description,
        "rotation": "never",
    });
    if let (Some(expiry), Value::Object(map)) = (&secret.expiry, &mut metadata) {
        map.insert("expiry".to_owned(), json!(expiry));
    }
    Ok(print(&json!({id: metadata})))
}

pub(super) fn ids(session: &Session) -> Answer {
    let model = &session.pending;
    let mine = |secret: &Secret| secret.owner == "unit" || (secret.owner == "application" && model.leader);
    let ids: Vec<&String> =
        model.secrets.iter().filter(|(_, secret)| mine(secret)).map(|(id, _)| id).collect();
    Ok(print(&json!(ids)))
}

pub(super) fn set(session: &mut Session, arguments: &Arguments) -> Answer {
    let content = content(arguments, 1)?;
    let secret = managed(session, arguments.required(0, "secret URI")?)?;
    if let Some(label) = arguments.value("label") {
        secret.label = label.to_owned();
    }
    if let Some(description) = arguments.value("description") {
        secret.description = description.to_owned();
    }
    if let Some(expire) = arguments.value("expire") {
        secret.expiry = Some(expire.to_owned());
    }
    if !content.is_empty() && secret.newest() != Some(&content) {
        let next = secret.revisions.keys().next_back().map_or(1, |newest| newest + 1);
        secret.revisions.insert(next, content);
    }
    Ok(String::new())
}

pub(super) fn remove(session: &mut Session, arguments: &Arguments) -> Answer {
    let id = bare(arguments.required(0, "secret URI")?).to_owned();
    let secret = managed(session, &id)?;
    let revision = arguments.value("revision").map(|revision| revision.parse::<u64>());
    match revision {
        Some(Err(_)) => return Err(Refusal::usage("invalid revision")),
        Some(Ok(revision)) => drop(secret.revisions.remove(&revision)),
        None => secret.revisions.clear(),
    }
    if secret.revisions.is_empty() {
        session.pending.secrets.remove(&id);
    }
    Ok(String::new())
}

pub(super) fn grant(session: &mut Session, arguments: &Arguments, granted: bool) -> Answer {
    let relation = arguments.value("relation").or(arguments.value("r"));
    let relation = relation.ok_or_else(|| Refusal::usage("no relation id specified"))?.to_owned();
    let number = relation.rsplit(':').next().and_then(|number| number.parse().ok());
    if granted && !number.is_some_and(|number: u64| session.pending.relations.contains_key(&number)) {
        return Err(Refusal::usage(format!(
            "invalid value {relation:?} for option --relation: relation not found"
        )));
    }
    let secret = managed(session, arguments.required(0, "secret URI")?)?;
    if granted {
        secret.granted.insert(relation);
    } else {
        secret.granted.remove(&relation);
    }
    Ok(String::new())
}
