//! What is about the unit itself: status, options, ports, storage, state, log.

use serde_json::{Value, json};

use super::{Answer, Refusal, json as print, settings};
use crate::{
    agent::Session,
    model::{LogLine, Model, Status},
    tools::arguments::Arguments,
};

pub(super) fn call(session: &mut Session, tool: &str, arguments: &[String], input: &[u8]) -> Answer {
    let read = |values: &[&str], switches: &[&str]| Arguments::read(arguments, values, switches);
    match tool {
        "is-leader" => read(&["format"], &[]).map(|_| print(&json!(session.pending.leader))),
        "goal-state" => read(&["format"], &[]).map(|_| print(&session.pending.goal_state)),
        "config-get" => Ok(config(&session.pending, &read(&["format"], &["a", "all"])?)),
        "status-get" => status(session, &read(&["format"], &["include-data", "application"])?),
        "status-set" => set_status(session, &read(&[], &["application"])?),
        "application-version-set" => {
            let version = read(&[], &[])?.required(0, "version")?.to_owned();
            at_once(session, |model| model.workload_version.clone_from(&version));
            Ok(String::new())
        }
        "juju-log" => log(session, &read(&["log-level", "l", "format"], &["debug"])?),
        // What the hook itself opened is not shown until it has ended.
        "opened-ports" => read(&["format"], &["endpoints"]).map(|_| print(&json!(session.committed.ports))),
        "open-port" | "close-port" => port(session, tool, &read(&["endpoints"], &[])?),
        "resource-get" => {
            let arguments = read(&[], &[])?;
            let name = arguments.required(0, "resource name")?;
            let path = session.pending.resources.get(name);
            let path = path.ok_or_else(|| {
                Refusal::new(format!("could not download resource: resource {name:?} not found"))
            })?;
            Ok(path.display().to_string())
        }
        "state-get" => Ok(state(&session.pending, &read(&["format"], &["strict"])?)),
        "state-set" => set_state(session, &read(&["file"], &[])?, input),
        "state-delete" => {
            session.pending.unit_state.remove(read(&[], &[])?.required(0, "key")?);
            Ok(String::new())
        }
        "storage-list" => {
            let arguments = read(&["format"], &[])?;
            let wanted =
                |id: &&String| arguments.word(0).is_none_or(|name| id.split('/').next() == Some(name));
            Ok(print(&json!(session.pending.storages.keys().filter(wanted).collect::<Vec<_>>())))
        }
        "storage-get" => storage(session, &read(&["format", "s"], &[])?),
        "storage-add" => add_storage(session, &read(&[], &[])?),
        "unit-get" => address(session, &read(&["format"], &[])?),
        _ => Err(Refusal { code: 127, message: format!("no such tool: {tool}") }),
    }
}

/// Changes that count even if the hook fails.
fn at_once(session: &mut Session, change: impl Fn(&mut Model)) {
    change(&mut session.committed);
    change(&mut session.pending);
}

fn config(model: &Model, arguments: &Arguments) -> String {
    print(&match arguments.word(0) {
        None => json!(model.config),
        Some(option) => model.config.get(option).cloned().unwrap_or(Value::Null),
    })
}

fn status(session: &Session, arguments: &Arguments) -> Answer {
    let status = match arguments.has("application") {
        true if !session.pending.leader => return Err(Refusal::new("this unit is not the leader")),
        true => &session.pending.app_status,
        false => &session.pending.unit_status,
    };
    Ok(print(&json!({"status": status.status, "message": status.message, "status-data": {}})))
}

fn set_status(session: &mut Session, arguments: &Arguments) -> Answer {
    let name = arguments.required(0, "status")?;
    if !["maintenance", "blocked", "waiting", "active"].contains(&name) {
        return Err(Refusal::usage(format!(
            "invalid status {name:?}, expected one of [maintenance blocked waiting active]"
        )));
    }
    let app = arguments.has("application");
    if app && !session.pending.leader {
        return Err(Refusal::new("this unit is not the leader"));
    }
    let status = Status { status: name.to_owned(), message: arguments.words[1..].join(" ") };
    at_once(session, |model| {
        if app {
            model.app_status = status.clone();
        } else {
            model.unit_status = status.clone();
        }
    });
    Ok(String::new())
}

fn log(session: &mut Session, arguments: &Arguments) -> Answer {
    let level = arguments.value("log-level").or(arguments.value("l")).unwrap_or("INFO").to_owned();
    let line = LogLine { level, message: arguments.words.join(" ") };
    at_once(session, |model| model.log.push(line.clone()));
    Ok(String::new())
}

fn port(session: &mut Session, tool: &str, arguments: &Arguments) -> Answer {
    let port = arguments.required(0, "port range")?;
    let port = if port.contains('/') || port == "icmp" { port.to_owned() } else { format!("{port}/tcp") };
    if tool == "open-port" {
        session.pending.ports.insert(port);
    } else {
        session.pending.ports.remove(&port);
    }
    Ok(String::new())
}

fn state(model: &Model, arguments: &Arguments) -> String {
    print(&match arguments.word(0).filter(|key| *key != "-") {
        None => json!(model.unit_state),
        Some(key) => model.unit_state.get(key).map_or(Value::Null, |value| json!(value)),
    })
}

fn set_state(session: &mut Session, arguments: &Arguments, input: &[u8]) -> Answer {
    let mut changes = match arguments.value("file") {
        None => Vec::new(),
        Some("-") => settings(input)?,
        Some(path) => settings(&std::fs::read(path).map_err(|error| Refusal::new(error.to_string()))?)?,
    };
    changes.extend(arguments.pairs(0)?.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())));
    session.pending.unit_state.extend(changes);
    Ok(String::new())
}

fn storage(session: &Session, arguments: &Arguments) -> Answer {
    let id = arguments.value("s").or(session.event.get("JUJU_STORAGE_ID"));
    let id = id.ok_or_else(|| Refusal::usage("no storage instance specified"))?;
    let storage = session.pending.storages.get(id);
    let storage = storage
        .ok_or_else(|| Refusal::usage(format!("invalid value {id:?} for option -s: storage not found")))?;
    let map = json!({"kind": storage.kind, "location": storage.location});
    Ok(print(&match arguments.word(0) {
        None => map,
        Some(key) => map.get(key).cloned().unwrap_or(Value::Null),
    }))
}

fn add_storage(session: &mut Session, arguments: &Arguments) -> Answer {
    let word = arguments.required(0, "storage")?;
    let (name, count) = word.split_once('=').unwrap_or((word, "1"));
    let count: u32 = count.parse().map_err(|_| Refusal::usage(format!("cannot parse count: {count:?}")))?;
    *session.pending.storages_asked.entry(name.to_owned()).or_default() += count;
    Ok(String::new())
}

fn address(session: &Session, arguments: &Arguments) -> Answer {
    match arguments.required(0, "setting")? {
        "private-address" => {
            let address = session.pending.network.pointer("/bind-addresses/0/addresses/0/value");
            address.map(print).ok_or_else(|| Refusal::new("no private address(es)"))
        }
        "public-address" => Err(Refusal::new("no public address(es)")),
        other => Err(Refusal::usage(format!("unknown setting {other:?}"))),
    }
}
