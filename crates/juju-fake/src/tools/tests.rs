use serde_json::{Map, Value, json};

use crate::{Agent, Event, Model, Session};

/// A session of an event in a model that a test changes first.
fn session(event: &Event, change: impl FnOnce(&mut Model)) -> Session {
    let folder = tempfile::tempdir().unwrap();
    let mut model = Model::new("parca/0");
    change(&mut model);
    Agent::new(folder.path(), &model).unwrap().begin(event).unwrap()
}

fn call(session: &mut Session, line: &str, input: &str) -> Result<String, String> {
    let words: Vec<&str> = line.split(' ').collect();
    let output = session.tool(words[0], &words[1..], input.as_bytes());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    match output.status.code() {
        Some(0) => Ok(text(output.stdout)),
        code => Err(format!("{} {}", code.unwrap(), text(output.stderr).trim())),
    }
}

fn ask(session: &mut Session, line: &str) -> Value {
    serde_json::from_str(&call(session, line, "").unwrap()).unwrap()
}

fn related() -> Session {
    session(&Event::relation("ep", 7, "changed", "agent").unit("agent/0"), |model| {
        let relation = model.relate(7, "ep", "agent", &["agent/0", "agent/1"]);
        relation.remote_app_bag.insert("a".into(), "b".into());
        model.relate(10, "ep", "other", &[]);
    })
}

#[test]
fn relations_are_listed() {
    let mut hook = related();
    assert_eq!(ask(&mut hook, "relation-ids ep --format=json"), json!(["ep:10", "ep:7"]));
    assert_eq!(ask(&mut hook, "relation-ids other --format=json"), json!([]));
    assert_eq!(ask(&mut hook, "relation-list --format=json -r ep:7"), json!(["agent/0", "agent/1"]));
    assert_eq!(ask(&mut hook, "relation-list --format=json --app"), json!("agent"));
    assert_eq!(
        call(&mut hook, "relation-list -r ep:9", "").unwrap_err(),
        "2 ERROR invalid value \"ep:9\" for option -r: relation not found"
    );
}

#[test]
fn who_departs_is_not_listed() {
    let event = Event::relation("ep", 7, "departed", "agent").unit("agent/1").departing("agent/1");
    let mut hook = session(&event, |model| {
        model.relate(7, "ep", "agent", &["agent/0", "agent/1"]);
    });
    assert_eq!(ask(&mut hook, "relation-list --format=json -r 7"), json!(["agent/0"]));
}

#[test]
fn databags_of_a_leader() {
    let mut hook = related();
    assert_eq!(ask(&mut hook, "relation-get --format=json -r ep:7 --app - agent"), json!({"a": "b"}));
    assert_eq!(ask(&mut hook, "relation-get --format=json --app missing agent"), Value::Null);
    call(&mut hook, "relation-set -r ep:7 --app --file -", "{\"x\": \"1\", \"y\": \"ü\"}").unwrap();
    call(&mut hook, "relation-set -r 7 --app --file=-", "x: ''\nz: 'true'\n").unwrap();
    assert_eq!(
        ask(&mut hook, "relation-get --format=json -r ep:7 --app - parca"),
        json!({"y": "ü", "z": "true"})
    );
    call(&mut hook, "relation-set k=v=w", "").unwrap();
    assert_eq!(ask(&mut hook, "relation-get --format=json - parca/0"), json!({"k": "v=w"}));
}

#[test]
fn databags_of_a_follower() {
    let mut hook = related();
    hook.pending.leader = false;
    assert_eq!(
        call(&mut hook, "relation-get -r ep:7 --app - parca", "").unwrap_err(),
        "1 ERROR permission denied"
    );
    assert_eq!(
        call(&mut hook, "relation-set -r ep:7 --app a=b", "").unwrap_err(),
        "1 ERROR cannot write relation settings"
    );
    assert_eq!(ask(&mut hook, "relation-get -r ep:7 --app - agent"), json!({"a": "b"}));
}

#[test]
fn networks() {
    let mut hook = related();
    assert_eq!(ask(&mut hook, "network-get --format=json -r 7 ep")["ingress-addresses"], json!(["10.1.0.5"]));
    hook.pending.networks.insert("ep:7".into(), json!({}));
    hook.pending.networks.insert("ep".into(), Value::Null);
    assert_eq!(ask(&mut hook, "network-get -r 7 ep"), json!({}));
    assert_eq!(
        call(&mut hook, "network-get ep", "").unwrap_err(),
        "1 ERROR no network config found for binding \"ep\""
    );
}

#[test]
fn secrets_of_the_application() {
    let mut hook = session(&Event::hook("start"), |_| {});
    let id = call(&mut hook, "secret-add --owner application --label one token=x", "").unwrap();
    let id = id.trim();
    assert!(call(&mut hook, "secret-add --label one token=x", "").unwrap_err().contains("already exists"));
    assert_eq!(ask(&mut hook, "secret-get --format=json --label one"), json!({"token": "x"}));
    call(&mut hook, &format!("secret-set {id} token=y"), "").unwrap();
    assert_eq!(ask(&mut hook, "secret-get --label one"), json!({"token": "x"}));
    assert_eq!(ask(&mut hook, "secret-get --label one --peek"), json!({"token": "y"}));
    assert_eq!(ask(&mut hook, &format!("secret-get {id} --refresh")), json!({"token": "y"}));
    assert_eq!(ask(&mut hook, "secret-info-get --label one")["d0fake00000000000001"]["revision"], 2);
    assert_eq!(ask(&mut hook, "secret-ids"), json!(["d0fake00000000000001"]));

    hook.pending.leader = false;
    assert_eq!(ask(&mut hook, "secret-get --label one"), json!({"token": "y"}));
    assert!(call(&mut hook, "secret-info-get --label one", "").unwrap_err().contains("not found"));
    assert_eq!(call(&mut hook, &format!("secret-remove {id}"), "").unwrap_err(), "1 ERROR permission denied");
    assert!(
        call(&mut hook, "secret-add --owner application token=z", "").unwrap_err().contains("not the leader")
    );

    hook.pending.leader = true;
    call(&mut hook, &format!("secret-remove {id}"), "").unwrap();
    assert!(call(&mut hook, "secret-get --label one", "").unwrap_err().contains("not found"));
}

#[test]
fn keys_of_secrets() {
    let mut hook = session(&Event::hook("start"), |_| {});
    for key in ["ab", "Abc", "a_b", "abc-", "1ab"] {
        assert!(call(&mut hook, &format!("secret-add {key}=x"), "").is_err(), "{key}");
    }
}

#[test]
fn ports_show_when_the_hook_has_ended() {
    let mut hook = session(&Event::hook("start"), |model| {
        model.ports.insert("7993/tcp".into());
    });
    call(&mut hook, "open-port 7994", "").unwrap();
    call(&mut hook, "close-port 7993/tcp", "").unwrap();
    assert_eq!(ask(&mut hook, "opened-ports --format=json"), json!(["7993/tcp"]));
    assert_eq!(hook.pending().ports.iter().collect::<Vec<_>>(), ["7994/tcp"]);
}

#[test]
fn a_failed_hook_keeps_its_status_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::new(folder.path(), &Model::new("parca/0")).unwrap();
    let mut hook = agent.begin(&Event::hook("start")).unwrap();
    call(&mut hook, "status-set --application=False blocked -- no", "").unwrap();
    call(&mut hook, "juju-log --log-level INFO -- hello", "").unwrap();
    call(&mut hook, "open-port 7994/tcp", "").unwrap();
    agent.end(hook, false).unwrap();
    let model = agent.model().unwrap();
    assert_eq!((model.unit_status.status.as_str(), model.unit_status.message.as_str()), ("blocked", "no"));
    assert_eq!((model.log.len(), model.ports.len()), (1, 0));
}

#[test]
fn actions() {
    let parameters = Map::from_iter([("name".to_owned(), json!("me"))]);
    let mut hook = session(&Event::action("create-token", parameters), |_| {});
    assert_eq!(ask(&mut hook, "action-get --format=json"), json!({"name": "me"}));
    call(&mut hook, "action-set token.value=x token.name=me", "").unwrap();
    assert!(call(&mut hook, "action-set Token=x", "").is_err());
    call(&mut hook, "action-fail -- -no", "").unwrap();
    assert_eq!(json!(hook.action().results), json!({"token": {"value": "x", "name": "me"}}));
    assert_eq!(hook.action().failure.as_deref(), Some("-no"));
    let mut hook = session(&Event::hook("start"), |_| {});
    assert!(call(&mut hook, "action-get", "").is_err());
}

#[test]
fn what_a_unit_keeps() {
    let mut hook = session(&Event::hook("start"), |_| {});
    call(&mut hook, "state-set --file -", "a: b\n").unwrap();
    assert_eq!(ask(&mut hook, "state-get --format=json a"), json!("b"));
    call(&mut hook, "state-delete a", "").unwrap();
    assert_eq!(ask(&mut hook, "state-get --format=json -"), json!({}));
}

#[test]
fn unknown_flags_are_refused() {
    let mut hook = session(&Event::hook("start"), |_| {});
    assert_eq!(
        call(&mut hook, "is-leader --loud", "").unwrap_err(),
        "2 ERROR option provided but not defined: --loud"
    );
}
