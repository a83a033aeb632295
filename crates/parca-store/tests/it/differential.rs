//! Ours against what the Python library did under ops: `tests/differential` makes the recording, its README says how.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::testcharm::Unit;

const RECORDED: &str = include_str!("../differential/recorded.json");

#[derive(Deserialize)]
struct Recording {
    python: String,
    ops: String,
    /// Answers of `network-get`, which steps name by number.
    networks: Vec<Value>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    env: BTreeMap<String, String>,
    #[serde(default)]
    bags: Option<Value>,
    steps: Vec<Step>,
    ends: Vec<End>,
}

#[derive(Deserialize)]
struct Step {
    dispatch: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
    model: Value,
}

#[derive(Debug, PartialEq, Deserialize)]
struct End {
    exit: i32,
    #[serde(default)]
    events: Vec<Value>,
    #[serde(default = "nothing")]
    bags: Value,
}

fn nothing() -> Value {
    json!({})
}

/// Puts the answers of `network-get` where a model names them.
fn with_networks(mut model: Value, networks: &[Value]) -> Value {
    let put = |of: &mut Value| {
        if let Some(named) = of.get_mut("network") {
            *named = networks[usize::try_from(named.as_u64().unwrap()).unwrap()].clone();
        }
    };
    put(&mut model);
    model.get_mut("relations").and_then(Value::as_array_mut).into_iter().flatten().for_each(put);
    model
}

/// What of a case ends otherwise with us.
fn differences(case: &Case, networks: &[Value]) -> Vec<String> {
    let mut unit = Unit::new(case.bags.clone().unwrap_or_else(nothing));
    let mut found = Vec::new();
    for (step, expected) in case.steps.iter().zip(&case.ends) {
        let mut env: BTreeMap<_, _> = case.env.clone();
        env.insert("JUJU_DISPATCH_PATH".to_owned(), step.dispatch.clone());
        env.extend(step.env.clone());
        let end = unit.hook(&env, &with_networks(step.model.clone(), networks));
        let ours = End { exit: end.code.unwrap_or(-1), events: end.events, bags: end.bags };
        if ours != *expected {
            found.push(format!(
                "{} {}:\n  theirs {expected:?}\n  ours   {ours:?} {}",
                case.name, step.dispatch, end.stderr
            ));
        }
    }
    found
}

#[test]
fn equals_the_recording() {
    let recording: Recording = serde_json::from_str(RECORDED).unwrap();
    assert!(!recording.python.is_empty() && !recording.ops.is_empty());
    let generated = recording.cases.iter().filter(|case| case.name.starts_with("generated ")).count();
    assert!(generated >= 300, "{generated}");
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found = Vec::new();
        while let Some(case) = recording.cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            assert_eq!(case.steps.len(), case.ends.len(), "{}", case.name);
            found.extend(differences(case, &recording.networks));
        }
        found
    };
    let found: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> =
            (0..thread::available_parallelism().map_or(2, usize::from)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let shown = found.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
    assert!(
        found.is_empty(),
        "{} hooks of {} cases end otherwise\n{shown}",
        found.len(),
        recording.cases.len()
    );
}
