//! What an operator asks for.

use decima_juju_fake::{ActionOutcome, Event};
use serde_json::{Value, json};

use super::unit::Unit;

fn ask(unit: &Unit, name: &str, parameters: &Value) -> ActionOutcome {
    let outcome = unit.run(Event::action(name, parameters.as_object().unwrap().clone()));
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    outcome.action
}

#[test]
fn a_token_for_a_person() {
    let unit = Unit::up();
    unit.hook(Event::pebble_ready("parca"));
    let told = ask(&unit, "create-token", &json!({"name": "ada", "scope": "admin"}));
    assert_eq!(told.failure, None);
    let token = told.results["token"].as_str().unwrap();
    assert_eq!((token.len(), told.results["scope"].as_str()), (43, Some("admin")));
    assert_eq!(unit.grants(), ["person:ada admin"]);
    let model = unit.agent.model().unwrap();
    assert!(!serde_json::to_string(&model).unwrap().contains(token), "only its hash is kept");

    let again = ask(&unit, "create-token", &json!({"name": "ada"}));
    assert_eq!(again.failure.as_deref(), Some("ada has a token; revoke it first"));
    unit.hook(Event::hook("update-status"));
    assert_eq!(unit.grants(), ["person:ada admin"], "it is nobody's orphan");

    assert_eq!(ask(&unit, "revoke-token", &json!({"name": "ada"})).failure, None);
    assert_eq!(unit.grants(), Vec::<String>::new());
    assert!(ask(&unit, "revoke-token", &json!({"name": "ada"})).failure.is_some());
}

#[test]
fn what_cannot_be_asked() {
    let unit = Unit::up();
    let check = |name: &str, parameters: Value, expected: &str| {
        assert_eq!(ask(&unit, name, &parameters).failure.as_deref(), Some(expected), "{name} {parameters}");
    };
    check("create-token", json!({"name": "a b"}), "name is not 1 to 64 letters, digits and -_.@");
    check("create-token", json!({}), "name is not 1 to 64 letters, digits and -_.@");
    check("create-token", json!({"name": "a", "scope": "all"}), "scope is not one of read, write, admin");
    check("fly", json!({}), "this charm has no action fly");
    unit.agent.change(|model| model.leader = false).unwrap();
    check("create-token", json!({"name": "a"}), "only the leader makes tokens; run this on the leader");
    assert!(unit.agent.model().unwrap().secrets.is_empty());
}

#[test]
fn endpoints() {
    let unit = Unit::up();
    let told = ask(&unit, "list-endpoints", &json!({}));
    assert!(told.results["direct-grpc-url"].as_str().unwrap().ends_with(":7993"));
    assert!(told.results["direct-http-url"].as_str().unwrap().starts_with("http://"));
    assert_eq!(told.results.get("ingressed-http-url"), None);
    unit.pebble().put_file("/etc/parca/server.crt", b"a certificate");
    let told = ask(&unit, "list-endpoints", &json!({}));
    assert!(told.results["direct-http-url"].as_str().unwrap().starts_with("https://"));
    unit.agent
        .change(|model| {
            let relation = model.relate(5, "ingress", "traefik", &[]);
            relation.remote_app_bag.insert("external_host".to_owned(), "10.0.0.9".to_owned());
            relation.remote_app_bag.insert("scheme".to_owned(), "https".to_owned());
        })
        .unwrap();
    let told = ask(&unit, "list-endpoints", &json!({}));
    assert_eq!(told.results["ingressed-http-url"], "https://10.0.0.9:7994");
    assert_eq!(told.results["ingressed-grpc-url"], "10.0.0.9:7993");
}

#[test]
fn a_token_that_the_workload_cannot_know_is_not_told() {
    let unit = Unit::up();
    unit.hook(Event::pebble_ready("parca"));
    ask(&unit, "create-token", &json!({"name": "ada"}));
    let secrets = || unit.agent.model().unwrap().secrets.len();

    // With more units nothing of the workload is touched.
    unit.agent
        .change(|model| {
            model.relate(1, "parca-peers", "parca-k8s", &["parca-k8s/1"]);
        })
        .unwrap();
    let several = Some(
        "there is more than one unit, and then nothing of the workload is changed; remove the others first",
    );
    for action in ["create-token", "revoke-token"] {
        let told = ask(&unit, action, &json!({"name": if action == "create-token" { "bob" } else { "ada" }}));
        assert_eq!((told.failure.as_deref(), told.results.len()), (several, 0), "{action}");
    }
    assert_eq!((unit.grants(), secrets()), (vec!["person:ada read".to_owned()], 1));
    unit.agent.change(|model| drop(model.relations.remove(&1))).unwrap();

    // Something is in the way of the file.
    let files = unit.pebble().files();
    unit.pebble().put_file("/etc/parca", b"");
    let told = ask(&unit, "create-token", &json!({"name": "bob"}));
    let failure = told.failure.unwrap();
    assert!(failure.contains("so there is none") && told.results.is_empty(), "{failure}");
    assert_eq!(
        (unit.pebble().files()["/etc/parca/tokens.json"].clone(), secrets()),
        (files["/etc/parca/tokens.json"].clone(), 1)
    );
    let failure = ask(&unit, "revoke-token", &json!({"name": "ada"})).failure.unwrap();
    assert!(failure.contains("takes the token until"), "{failure}");
    assert_eq!(secrets(), 0, "the next hook that can will tell the workload");
}

#[test]
fn without_a_container() {
    let unit = Unit::new();
    let failure = ask(&unit, "create-token", &json!({"name": "ada"})).failure.unwrap();
    assert_eq!(failure, "the container of the workload is not there; try again once it is");
    assert!(unit.agent.model().unwrap().secrets.is_empty());
}

#[test]
fn a_secret_without_a_hash_can_be_revoked() {
    let unit = Unit::up();
    unit.hook(Event::pebble_ready("parca"));
    ask(&unit, "create-token", &json!({"name": "ada"}));
    unit.agent
        .change(|model| {
            let secret = model.secrets.values_mut().next().unwrap();
            let content = secret.revisions.values_mut().next().unwrap();
            content.insert("hash".to_owned(), "nonsense".to_owned());
        })
        .unwrap();
    unit.hook(Event::hook("update-status"));
    assert_eq!(unit.grants(), Vec::<String>::new(), "the store would refuse the whole file");
    assert!(ask(&unit, "create-token", &json!({"name": "ada"})).failure.is_some());
    assert_eq!(ask(&unit, "revoke-token", &json!({"name": "ada"})).failure, None);
    assert_eq!(ask(&unit, "create-token", &json!({"name": "ada"})).failure, None);
}
