//! Hook tools against the simulated agent: in this process, and as processes of a hook.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
};

use decima_juju::{
    Bag, Event, Hook, HookContext, HookTools, NewSecret, OwnBag, Port, RelationChange, SecretKey,
    SecretOwner, Status, StatusName, tools::log::LogLevel,
};
use decima_juju_fake::{Agent, Event as Happens, Model, Session, Storage, hook_tools_example};
use serde_json::{Map, json};

/// A hook in this process: its tools, its session, what its environment says.
struct Here {
    tools: HookTools,
    session: Arc<Mutex<Session>>,
    context: HookContext,
    agent: Agent,
    _folder: tempfile::TempDir,
}

fn hook(event: &Happens, change: impl FnOnce(&mut Model)) -> Here {
    let folder = tempfile::tempdir().unwrap();
    let mut model = Model::new("parca/0");
    change(&mut model);
    let agent = Agent::new(folder.path(), &model).unwrap();
    let session = Arc::new(Mutex::new(agent.begin(event).unwrap()));
    let tools = HookTools::new({
        let session = Arc::clone(&session);
        move |tool: &str, arguments: &[&str], input: &[u8]| {
            Ok(session.lock().unwrap().tool(tool, arguments, input))
        }
    });
    let vars = agent.environment(event).unwrap();
    let context =
        HookContext::from_vars(vars.into_iter().map(|(name, value)| (name, value.into_string().unwrap())))
            .unwrap();
    Here { tools, session, context, agent, _folder: folder }
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn relations() {
    let event = Happens::relation("store", 7, "joined", "agent").unit("agent/1");
    let here = hook(&event, |model| {
        let relation = model.relate(7, "store", "agent", &["agent/0", "agent/1"]);
        relation.remote_app_bag = map(&[("a", "b")]);
        relation.app_bag = map(&[("old", "x"), ("kept", "y")]);
        relation.units.insert("agent/0".into(), map(&[("address", "10.0.0.1")]));
    });
    let of = here.context.relation_event().unwrap();
    assert_eq!((of.change, of.remote_unit.as_ref().unwrap().number()), (RelationChange::Joined, 1));
    let relation = &of.relation;
    assert_eq!(here.tools.relation_ids("store").unwrap(), std::slice::from_ref(relation));
    assert_eq!(here.tools.relation_ids("nothing").unwrap(), []);
    let units = here.tools.relation_units(relation).unwrap();
    assert_eq!(units.len(), 2);
    let app = here.tools.relation_app(relation).unwrap().unwrap();
    assert_eq!(here.tools.relation_get(relation, Bag::App(&app)).unwrap(), map(&[("a", "b")]));
    assert_eq!(
        here.tools.relation_get(relation, Bag::Unit(&units[0])).unwrap(),
        map(&[("address", "10.0.0.1")])
    );

    let settings = map(&[("old", ""), ("new", "\"ü\"\n: 'x' # {")]);
    here.tools.relation_set(relation, OwnBag::App, &settings).unwrap();
    let expected = map(&[("kept", "y"), ("new", "\"ü\"\n: 'x' # {")]);
    assert_eq!(here.tools.relation_get(relation, Bag::App(here.context.app())).unwrap(), expected);
    here.tools.relation_set(relation, OwnBag::Unit, &map(&[("true", "true"), ("n", "007")])).unwrap();
    let own = here.tools.relation_get(relation, Bag::Unit(&here.context.unit)).unwrap();
    assert_eq!(own, map(&[("true", "true"), ("n", "007")]));
}

#[test]
fn what_a_follower_may_not() {
    let here = hook(&Happens::hook("update-status"), |model| {
        model.leader = false;
        model.relate(7, "store", "agent", &[]);
    });
    let relation = "store:7".parse().unwrap();
    assert!(!here.tools.is_leader().unwrap());
    let settings = map(&[("a", "b")]);
    assert!(here.tools.relation_set(&relation, OwnBag::App, &settings).unwrap_err().is_denied());
    assert!(here.tools.relation_get(&relation, Bag::App(here.context.app())).unwrap_err().is_denied());
    assert!(here.tools.relation_units(&"store:8".parse().unwrap()).unwrap_err().is_not_found());
    let secret = NewSecret { content: map(&[("token", "x")]), ..NewSecret::default() };
    assert!(here.tools.add_secret(SecretOwner::Application, &secret).unwrap_err().is_denied());
    assert!(here.tools.set_app_status(&Status::active()).unwrap_err().is_denied());
    assert!(here.tools.add_secret(SecretOwner::Unit, &secret).is_ok());
}

#[test]
fn secrets() {
    let here = hook(&Happens::hook("start"), |model| {
        model.relate(7, "store", "agent", &[]);
    });
    let label = SecretKey::Label("store-7");
    assert_eq!(here.tools.secret_metadata(label).unwrap(), None);
    let secret = NewSecret {
        label: Some("store-7".into()),
        description: Some("token of a relation".into()),
        expire: Some("2027-01-01T00:00:00Z".into()),
        content: map(&[("token", "x y\n")]),
    };
    let id = here.tools.add_secret(SecretOwner::Application, &secret).unwrap();
    assert_eq!(here.tools.secret(label).unwrap(), map(&[("token", "x y\n")]));
    here.tools.set_secret(&id, &map(&[("token", "z")])).unwrap();
    assert_eq!(here.tools.peek_secret(SecretKey::Id(&id)).unwrap(), map(&[("token", "z")]));
    assert_eq!(here.tools.secret(label).unwrap(), map(&[("token", "x y\n")]));
    assert_eq!(here.tools.refresh_secret(label).unwrap(), map(&[("token", "z")]));
    let (found, metadata) = here.tools.secret_metadata(label).unwrap().unwrap();
    assert_eq!((found.bare(), metadata.revision), (id.bare(), 2));
    assert_eq!(metadata.expiry.as_deref(), Some("2027-01-01T00:00:00Z"));
    assert_eq!(here.tools.secret_ids().unwrap()[0].bare(), id.bare());
    let relation = "store:7".parse().unwrap();
    here.tools.grant_secret(&id, &relation).unwrap();
    assert_eq!(here.session.lock().unwrap().pending().secrets[id.bare()].granted.len(), 1);
    here.tools.revoke_secret(&id, &relation).unwrap();
    here.tools.remove_secret(&id).unwrap();
    assert!(here.tools.secret(label).unwrap_err().is_not_found());
}

#[test]
fn the_unit_itself() {
    let here = hook(&Happens::hook("config-changed"), |model| {
        model.config.insert("memory-storage-limit".into(), json!(1024));
        model.resources.insert("notes".into(), "/tmp/notes".into());
        let storage = Storage { kind: "filesystem".into(), location: "/var/lib/parca".into() };
        model.storages.insert("profiles/0".into(), storage);
        model.ports.insert("7993/tcp".into());
    });
    assert_eq!(here.context.event, Event::Hook(Hook::ConfigChanged));
    assert_eq!(here.tools.config().unwrap()["memory-storage-limit"], 1024);
    assert_eq!(here.tools.resource("notes").unwrap(), PathBuf::from("/tmp/notes"));
    assert_eq!(here.tools.storage_ids("profiles").unwrap(), ["profiles/0"]);
    assert_eq!(here.tools.storage("profiles/0").unwrap().location, PathBuf::from("/var/lib/parca"));
    here.tools.add_storage("profiles", 1).unwrap();
    assert_eq!(here.tools.opened_ports().unwrap(), BTreeSet::from([Port::tcp(7993)]));
    here.tools.close_port(Port::tcp(7993)).unwrap();
    here.tools.open_port(Port::tcp(7994)).unwrap();
    assert_eq!(here.tools.status().unwrap().name, StatusName::Unknown);
    here.tools.set_status(&Status::waiting("for --what")).unwrap();
    assert_eq!(here.tools.status().unwrap(), Status::waiting("for --what"));
    here.tools.set_workload_version("-1.2.3").unwrap();
    here.tools.log(LogLevel::Warning, "--careful").unwrap();
    here.tools.set_unit_state(&map(&[("k", "v: w")])).unwrap();
    assert_eq!(here.tools.unit_state().unwrap(), map(&[("k", "v: w")]));
    here.tools.delete_unit_state("k").unwrap();
    assert!(here.tools.unit_state().unwrap().is_empty());
    assert_eq!(here.tools.goal_state().unwrap().units.len(), 1);
    assert_eq!(here.tools.private_address().unwrap(), "10.1.0.5");
    assert!(here.tools.public_address().is_err());
    let network = here.tools.network_of_endpoint("store").unwrap();
    assert_eq!((network.bind_address(), network.egress_subnets.len()), (Some("10.1.0.5"), 1));

    let Here { tools, session, agent, .. } = here;
    drop(tools);
    agent.end(Arc::into_inner(session).unwrap().into_inner().unwrap(), true).unwrap();
    let model = agent.model().unwrap();
    assert_eq!(model.ports.iter().collect::<Vec<_>>(), ["7994/tcp"]);
    assert_eq!((model.workload_version.as_str(), model.log[0].message.as_str()), ("-1.2.3", "--careful"));
}

#[test]
fn actions() {
    let parameters = Map::from_iter([("scope".to_owned(), json!("read"))]);
    let here = hook(&Happens::action("create-token", parameters), |_| {});
    assert_eq!(here.context.event, Event::Action("create-token".into()));
    assert_eq!(here.tools.action_parameters().unwrap()["scope"], "read");
    here.tools.set_action_results(&map(&[("token.value", "a=b c"), ("name", "me")])).unwrap();
    here.tools.log_action("half").unwrap();
    here.tools.fail_action("-no").unwrap();
    let session = here.session.lock().unwrap();
    let told = session.action();
    assert_eq!(json!(told.results), json!({"token": {"value": "a=b c"}, "name": "me"}));
    assert_eq!((told.failure.as_deref(), told.log.len()), (Some("-no"), 1));
}

/// An agent whose hooks are processes.
fn agent() -> (Agent, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut model = Model::new("parca/0");
    model.relate(7, "store", "agent", &["agent/0"]);
    let agent = Agent::new(folder.path(), &model).unwrap();
    (agent.with_tools(&hook_tools_example("hook-tools").unwrap()).unwrap(), folder)
}

#[test]
fn a_hook_that_ends_well_is_kept() {
    let (agent, _folder) = agent();
    let script = "relation-set --app -r store:7 a=b && echo '{\"c\": \"d\"}' | relation-set -r 7 --file - && is-leader --format=json && pwd && echo $JUJU_REMOTE_UNIT";
    let event = Happens::relation("store", 7, "joined", "agent").unit("agent/0");
    let outcome = agent.run(&event, Command::new("sh").args(["-c", script])).unwrap();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    assert_eq!(outcome.stdout, format!("true\n{}\nagent/0\n", agent.charm_folder().display()));
    let tools: Vec<_> = outcome.calls.iter().map(|call| call.tool.as_str()).collect();
    assert_eq!(tools, ["relation-set", "relation-set", "is-leader"]);
    let model = agent.model().unwrap();
    assert_eq!(
        (&model.relations[&7].app_bag, &model.relations[&7].unit_bag),
        (&map(&[("a", "b")]), &map(&[("c", "d")]))
    );
}

#[test]
fn a_hook_that_fails_is_dropped() {
    let (agent, _folder) = agent();
    let script =
        "relation-set --app -r store:7 a=b; status-set blocked no; relation-get -r store:9 - agent/0; exit 4";
    let outcome = agent.run(&Happens::hook("start"), Command::new("sh").args(["-c", script])).unwrap();
    assert_eq!(outcome.code, Some(4));
    assert_eq!(outcome.stderr, "ERROR invalid value \"store:9\" for option -r: relation not found\n");
    let model = agent.model().unwrap();
    assert!(model.relations[&7].app_bag.is_empty());
    assert_eq!(model.unit_status.status, "blocked");
}
