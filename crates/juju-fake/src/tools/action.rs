//! Actions.

use serde_json::{Map, Value, json};

use super::{Answer, Refusal, json as print};
use crate::{agent::Session, tools::arguments::Arguments};

fn parameters(session: &Session) -> Result<&Map<String, Value>, Refusal> {
    session.event.action.as_ref().ok_or_else(|| Refusal::new("not running an action"))
}

pub(super) fn get(session: &Session, arguments: &Arguments) -> Answer {
    let parameters = parameters(session)?;
    Ok(print(&match arguments.word(0) {
        None => json!(parameters),
        Some(path) => {
            let mut steps = path.split('.');
            let first = steps.next().and_then(|step| parameters.get(step));
            steps.fold(first, |value, step| value?.get(step)).cloned().unwrap_or(Value::Null)
        }
    }))
}

pub(super) fn set(session: &mut Session, arguments: &Arguments) -> Answer {
    parameters(session)?;
    for (key, value) in arguments.pairs(0)? {
        let good = |part: &str| {
            part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
                && part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        };
        if !key.split('.').all(good) {
            return Err(Refusal::usage(format!(
                "key {key:?} must start and end with lowercase alphanumeric, and contain only lowercase alphanumeric, hyphens and periods"
            )));
        }
        let mut map = &mut session.action.results;
        let (path, last) = key.rsplit_once('.').unwrap_or(("", key));
        for step in path.split('.').filter(|step| !step.is_empty()) {
            let next = map.entry(step).or_insert_with(|| json!({}));
            if !next.is_object() {
                *next = json!({});
            }
            let Value::Object(next) = next else { return Err(Refusal::new("not a map")) };
            map = next;
        }
        map.insert(last.to_owned(), json!(value));
    }
    Ok(String::new())
}

pub(super) fn fail(session: &mut Session, arguments: &Arguments) -> Answer {
    parameters(session)?;
    let message = arguments.word(0).unwrap_or("action failed without reason given, check action for errors");
    session.action.failure = Some(message.to_owned());
    Ok(String::new())
}

pub(super) fn log(session: &mut Session, arguments: &Arguments) -> Answer {
    parameters(session)?;
    session.action.log.push(arguments.required(0, "message")?.to_owned());
    Ok(String::new())
}
