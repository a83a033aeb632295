//! Writing what was decided, in an order in which nobody is told of what does not work yet.
//!
//! A container that goes away meanwhile, or a workload that does not start, makes a status and no failed hook: a failed
//! hook would lose the tokens that were just made.

use std::{collections::BTreeMap, time::Duration};

use decima_juju::{
    HookTools, NewSecret, OwnBag, SecretOwner, Status, ToolError,
    pebble::{NewFile, Pebble, PebbleError},
};

use crate::{
    names,
    reconcile::Writes,
    relations::Problem,
    workload::last_words,
    world::{IDENTITY_LABEL, World, identity_content, relation_label},
};

/// A store that replays its log takes a while; a hook may take minutes.
const REPLAN_TIMEOUT: Duration = Duration::from_secs(60);

/// Writes everything.
pub fn apply(world: &World, writes: Writes, tools: &HookTools, pebble: &Pebble) -> Result<(), ToolError> {
    for port in &writes.open {
        tools.open_port(*port)?;
    }
    for port in &writes.close {
        tools.close_port(*port)?;
    }
    for new in &writes.tokens {
        let content = BTreeMap::from([("token".to_owned(), new.token.as_str().to_owned())]);
        match &new.secret {
            Some(secret) => tools.set_secret(secret, &content)?,
            None => {
                let secret = NewSecret {
                    label: Some(relation_label(&new.relation.to_string())),
                    description: Some(format!("Token of relation {}", new.relation)),
                    expire: None,
                    content,
                };
                tools.add_secret(SecretOwner::Application, &secret)?;
            }
        }
    }
    if let Some(keep) = &writes.keep {
        let content = identity_content(&keep.identity);
        match &keep.secret {
            Some(secret) => tools.set_secret(secret, &content)?,
            None => {
                let secret = NewSecret {
                    label: Some(IDENTITY_LABEL.to_owned()),
                    description: Some("Private key of this unit".to_owned()),
                    expire: None,
                    content,
                };
                tools.add_secret(SecretOwner::Unit, &secret)?;
            }
        }
    }
    let problem = workload(&writes, pebble).err().map(|error| problem(&error));
    for write in writes.bags.iter().filter(|write| problem.is_none() || !write.has_token) {
        match tools.relation_set(&write.relation, write.bag, &write.settings) {
            // The lead, or the relation, may be lost at any moment.
            Err(error) if error.is_denied() && write.bag == OwnBag::App || error.is_not_found() => {}
            result => result?,
        }
    }
    for orphan in &writes.orphans {
        match tools.remove_secret(orphan) {
            Err(error) if error.is_denied() || error.is_not_found() => {}
            result => result?,
        }
    }
    let status = match problem {
        Some(problem) if writes.status.name != decima_juju::StatusName::Blocked => {
            let text = problem.to_string();
            if problem.is_blocking { Status::blocked(text) } else { Status::waiting(text) }
        }
        _ => writes.status,
    };
    tools.set_status(&status)?;
    if world.is_leader {
        match tools.set_app_status(&status) {
            Err(error) if error.is_denied() => {}
            result => result?,
        }
    }
    Ok(())
}

/// Files first, then what runs, then what it does not read any more.
fn workload(writes: &Writes, pebble: &Pebble) -> Result<(), PebbleError> {
    for (path, file) in &writes.files {
        pebble.push(&NewFile { path, content: &file.content, permissions: file.permissions })?;
    }
    if let Some(layer) = &writes.layer {
        pebble.combine_layer(names::SERVICE, layer)?;
    }
    if writes.replan {
        pebble.replan(REPLAN_TIMEOUT)?;
    }
    for path in &writes.stale_files {
        pebble.remove(path)?;
    }
    Ok(())
}

/// What the operator is told of a workload that could not be written or started.
fn problem(error: &PebbleError) -> Problem {
    if let PebbleError::Late { .. } | PebbleError::Unfinished { .. } = error {
        return Problem::passing("parca", error.to_string());
    }
    if error.is_unavailable() {
        return Problem::passing("parca", "waiting for the container");
    }
    let PebbleError::Change(change) = error else { return Problem::blocking("parca", error.to_string()) };
    // The daemon logs the last lines of a service that did not start, each task for itself.
    const OUTPUT: &str = "Most recent service output:";
    let logs = change.tasks.iter().flat_map(|task| &task.log);
    let output: Vec<_> =
        logs.filter_map(|log| log.split_once(OUTPUT)).flat_map(|(_, output)| output.lines()).collect();
    match last_words(output.into_iter()) {
        Some(line) => Problem::blocking("parca", format!("does not start: {line}")),
        None => Problem::blocking("parca", format!("does not start: {}", change.failure())),
    }
}
