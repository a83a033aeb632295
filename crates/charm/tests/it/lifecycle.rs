//! From install to removal, with what goes wrong on the way.

use std::collections::BTreeMap;

use decima_juju_fake::{Event, Relation};
use serde_json::json;

use super::unit::Unit;

#[test]
fn from_install_to_a_running_store() {
    let mut unit = Unit::new();
    for hook in ["install", "leader-elected", "config-changed", "start"] {
        assert_eq!(unit.hook(Event::hook(hook)), "waiting: parca: waiting for the container", "{hook}");
    }
    unit.start_container();
    assert!(unit.hook(Event::pebble_ready("parca")).starts_with("active: page at http://parca-k8s.cos.svc."));
    assert_eq!(unit.pebble().running().into_iter().collect::<Vec<_>>(), ["parca"]);
    let files = unit.pebble().files();
    assert_eq!(files.keys().collect::<Vec<_>>(), ["/etc/parca/parca.yaml", "/etc/parca/tokens.json"]);
    let model = unit.agent.model().unwrap();
    assert_eq!(model.ports.into_iter().collect::<Vec<_>>(), ["7993/tcp", "7994/tcp"]);
    assert_eq!(model.app_status.status, "active");
}

#[test]
fn a_hook_over_a_settled_world_writes_nothing_but_the_status() {
    let unit = Unit::up();
    unit.agent
        .change(|model| {
            model.relate(7, "parca-store-endpoint", "agent", &["agent/0"]);
            model.relate(8, "metrics-endpoint", "prometheus", &["prometheus/0"]);
        })
        .unwrap();
    unit.hook(Event::relation("parca-store-endpoint", 7, "joined", "agent").unit("agent/0"));
    let before = unit.agent.model().unwrap();
    unit.pebble().forget_requests();
    let outcome = unit.run(Event::hook("update-status"));
    assert_eq!(outcome.code, Some(0));
    let wrote = |tool: &str| {
        ["relation-set", "secret-add", "secret-remove", "open-port", "close-port"].contains(&tool)
    };
    assert!(!outcome.calls.iter().any(|call| wrote(&call.tool)), "{:?}", outcome.calls);
    assert!(
        unit.pebble().requests().iter().all(|request| request.starts_with("GET ")),
        "{:?}",
        unit.pebble().requests()
    );
    assert_eq!(unit.agent.model().unwrap(), before);
    assert_eq!(unit.pebble().starts("parca"), 1);
}

#[test]
fn integrating_is_the_credential_and_removing_revokes_it() {
    let unit = Unit::up();
    unit.hook(Event::pebble_ready("parca"));
    unit.agent
        .change(|model| {
            model.relate(7, "parca-store-endpoint", "agent", &[]);
        })
        .unwrap();
    unit.hook(Event::relation("parca-store-endpoint", 7, "created", "agent"));
    let told = unit.app_bag(7);
    let token = &told["remote-store-bearer-token"];
    assert_eq!((token.len(), told["remote-store-insecure"].as_str()), (43, "true"));
    assert!(told["remote-store-address"].ends_with(":7993"));
    assert_eq!(unit.grants(), ["parca-store-endpoint:7 write"]);
    let model = unit.agent.model().unwrap();
    let secret = model.secrets.values().next().unwrap();
    assert_eq!(
        (secret.owner.as_str(), secret.label.as_str()),
        ("application", "token:parca-store-endpoint:7")
    );
    assert_eq!(&secret.newest().unwrap()["token"], token);

    // Whatever happens next, the token stays the same.
    for hook in ["config-changed", "upgrade-charm", "update-status"] {
        unit.hook(Event::hook(hook));
    }
    assert_eq!(unit.app_bag(7), told);

    // While it is being broken, Juju still lists it.
    unit.hook(Event::relation("parca-store-endpoint", 7, "broken", "agent"));
    assert_eq!(unit.grants(), Vec::<String>::new());
    assert!(unit.agent.model().unwrap().secrets.is_empty());
    assert_eq!(unit.pebble().starts("parca"), 1, "tokens come and go without a restart");
}

#[test]
fn a_bad_option_does_not_keep_a_token_alive() {
    let unit = Unit::up();
    unit.agent
        .change(|model| {
            model.relate(7, "parca-store-endpoint", "agent", &[]);
        })
        .unwrap();
    unit.hook(Event::pebble_ready("parca"));
    assert_eq!(unit.grants(), ["parca-store-endpoint:7 write"]);
    unit.agent
        .change(|model| drop(model.config.insert("memory-storage-limit".to_owned(), json!(0))))
        .unwrap();
    let status = unit.hook(Event::hook("config-changed"));
    assert_eq!(status, "blocked: option memory-storage-limit: not a number of megabytes above 0");
    unit.hook(Event::relation("parca-store-endpoint", 7, "broken", "agent"));
    assert_eq!(unit.grants(), Vec::<String>::new());
    assert!(unit.agent.model().unwrap().secrets.is_empty());
    assert_eq!(unit.pebble().starts("parca"), 1, "what runs goes on");
}

#[test]
fn a_secret_that_holds_no_token_is_replaced() {
    let unit = Unit::up();
    unit.agent
        .change(|model| {
            model.relate(7, "parca-store-endpoint", "agent", &[]);
        })
        .unwrap();
    unit.hook(Event::pebble_ready("parca"));
    unit.agent
        .change(|model| {
            let secret = model.secrets.values_mut().next().unwrap();
            secret.revisions.values_mut().next().unwrap().insert("token".to_owned(), "short".to_owned());
        })
        .unwrap();
    assert!(unit.hook(Event::hook("update-status")).starts_with("active: "));
    let model = unit.agent.model().unwrap();
    assert_eq!(model.secrets.len(), 1);
    let kept = model.secrets.values().next().unwrap().newest().unwrap()["token"].clone();
    assert_eq!((kept.len(), unit.app_bag(7)["remote-store-bearer-token"].as_str()), (43, kept.as_str()));
    assert_eq!(unit.grants(), ["parca-store-endpoint:7 write"]);
}

#[test]
fn a_failed_hook_loses_nothing() {
    let unit = Unit::up();
    unit.agent
        .change(|model| {
            model.relate(7, "parca-store-endpoint", "agent", &[]);
        })
        .unwrap();
    let output = "level=info\n    error: unexpected argument '--auth-tokens-file' found\n    level=info";
    unit.pebble().fail_service("parca", Some(output));
    let status = unit.hook(Event::relation("parca-store-endpoint", 7, "created", "agent"));
    assert_eq!(
        status,
        "blocked: parca: does not start: error: unexpected argument '--auth-tokens-file' found"
    );
    assert!(unit.app_bag(7).is_empty(), "a store that does not run is not handed out");
    assert_eq!(unit.agent.model().unwrap().secrets.len(), 1, "its token is kept");
    unit.pebble().fail_service("parca", None);
    assert!(unit.hook(Event::hook("update-status")).starts_with("active: "));
    assert_eq!(unit.app_bag(7).len(), 3);
    assert_eq!(unit.agent.model().unwrap().secrets_made, 1);
}

#[test]
fn a_workload_that_starts_and_does_not_serve_is_told() {
    let unit = Unit::up();
    unit.hook(Event::pebble_ready("parca"));
    unit.pebble().say("parca", "error: cannot open the store: the S3 bucket is away");
    unit.pebble().say("parca", "level=info");
    assert!(unit.hook(Event::hook("update-status")).starts_with("active: "));
    let check = |event: &str| {
        let event = Event::hook(&format!("parca-pebble-check-{event}")).var("JUJU_WORKLOAD_NAME", "parca");
        event.var("JUJU_PEBBLE_CHECK_NAME", "ready")
    };
    unit.pebble().set_check("ready", false);
    let status = unit.hook(check("failed"));
    assert_eq!(status, "blocked: parca: does not serve: error: cannot open the store: the S3 bucket is away");
    unit.pebble().set_check("ready", true);
    assert!(unit.hook(check("recovered")).starts_with("active: "));
}

#[test]
fn a_container_that_was_replaced_gets_everything_again() {
    let mut unit = Unit::up();
    unit.agent
        .change(|model| {
            model.relate(7, "parca-store-endpoint", "agent", &[]);
        })
        .unwrap();
    unit.hook(Event::pebble_ready("parca"));
    let told = unit.app_bag(7);
    unit.pebble = None;
    assert_eq!(unit.hook(Event::hook("upgrade-charm")), "waiting: parca: waiting for the container");
    unit.start_container();
    unit.hook(Event::pebble_ready("parca"));
    assert_eq!(unit.grants(), ["parca-store-endpoint:7 write"]);
    assert_eq!(unit.app_bag(7), told);
    assert_eq!(unit.pebble().starts("parca"), 1);
}

#[test]
fn a_workload_that_ended_is_started() {
    let unit = Unit::up();
    unit.hook(Event::pebble_ready("parca"));
    unit.pebble().end_service("parca");
    unit.hook(Event::hook("update-status"));
    assert_eq!(unit.pebble().starts("parca"), 2);
}

#[test]
fn garbage_in_a_databag_is_named_and_harms_nobody() {
    let unit = Unit::up();
    let garbage = |model: &mut decima_juju_fake::Model, number: u64, endpoint: &str, bag: &[(&str, &str)]| {
        let bag: BTreeMap<String, String> =
            bag.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let relation: &mut Relation = model.relate(number, endpoint, "other", &["other/0"]);
        relation.remote_app_bag.clone_from(&bag);
        relation.units.insert("other/0".to_owned(), bag);
    };
    unit.hook(Event::pebble_ready("parca"));
    let config = unit.pebble().files()["/etc/parca/parca.yaml"].clone();
    for (endpoint, bag) in [
        ("profiling-endpoint", &[("scrape_jobs", "[{\"job_name\":\"\\u0000\"}]")][..]),
        ("profiling-endpoint", &[("scrape_jobs", "[{}]"), ("scrape_metadata", "[[[[")]),
        ("external-parca-store-endpoint", &[("remote-store-address", "x y")]),
        ("ingress", &[("external_host", "$(reboot)")]),
        ("s3", &[("endpoint", "a b"), ("bucket", "b"), ("access-key", "a"), ("secret-key", "s")]),
        ("logging", &[("endpoint", "{\"url\":7}")]),
    ] {
        unit.agent.change(|model| garbage(model, 9, endpoint, bag)).unwrap();
        let status = unit.hook(Event::relation(endpoint, 9, "changed", "other").unit("other/0"));
        assert!(status.starts_with(&format!("blocked: {endpoint}: relation 9: ")), "{status}");
        assert_eq!(unit.pebble().files()["/etc/parca/parca.yaml"], config);
        unit.agent.change(|model| drop(model.relations.remove(&9))).unwrap();
    }
    assert!(unit.hook(Event::hook("update-status")).starts_with("active: "));
    assert_eq!(unit.pebble().starts("parca"), 1);
}

#[test]
fn a_key_is_made_once_and_goes_with_its_relation() {
    let unit = Unit::up();
    unit.agent
        .change(|model| {
            model.relate(4, "certificates", "authority", &["authority/0"]);
        })
        .unwrap();
    let joined = || Event::relation("certificates", 4, "joined", "authority").unit("authority/0");
    assert_eq!(unit.hook(joined()), "waiting: certificates: waiting for a certificate");
    let first = unit.agent.model().unwrap();
    let requests = &first.relations[&4].unit_bag["certificate_signing_requests"];
    assert!(requests.contains("BEGIN CERTIFICATE REQUEST"), "{requests}");
    let secret = first.secrets.values().next().unwrap();
    assert_eq!((secret.owner.as_str(), secret.label.as_str()), ("unit", "identity"));
    unit.hook(joined());
    assert_eq!(unit.agent.model().unwrap(), first);
    unit.hook(Event::relation("certificates", 4, "broken", "authority"));
    assert!(unit.agent.model().unwrap().secrets.is_empty());
}

#[test]
fn garbage_in_place_of_a_certificate_is_named_and_nothing_is_served_with_it() {
    let unit = Unit::up();
    unit.agent
        .change(|model| {
            model.relate(4, "certificates", "authority", &["authority/0"]);
        })
        .unwrap();
    unit.hook(Event::relation("certificates", 4, "joined", "authority").unit("authority/0"));
    for garbage in ["nonsense", "{}", "[{\"ca\": 7}]"] {
        unit.agent
            .change(|model| {
                let relation = model.relations.get_mut(&4).unwrap();
                relation.remote_app_bag.insert("certificates".to_owned(), garbage.to_owned());
            })
            .unwrap();
        let status = unit.hook(Event::relation("certificates", 4, "changed", "authority"));
        assert!(status.starts_with("blocked: certificates: relation 4: "), "{garbage}: {status}");
        assert!(!unit.pebble().files().contains_key("/etc/parca/server.crt"));
    }
    assert_eq!(unit.pebble().starts("parca"), 1);
}

#[test]
fn a_bucket_comes_and_goes() {
    let unit = Unit::up();
    let say = |settings: &[(&str, &str)]| {
        unit.agent
            .change(|model| {
                if !model.relations.contains_key(&4) {
                    model.relate(4, "s3", "minio", &[]);
                }
                let relation = model.relations.get_mut(&4).unwrap();
                for (key, value) in settings {
                    relation.remote_app_bag.insert((*key).to_owned(), (*value).to_owned());
                }
            })
            .unwrap();
        unit.hook(Event::relation("s3", 4, "changed", "minio"))
    };
    let config = || unit.pebble().files()["/etc/parca/parca.yaml"].clone();
    assert_eq!(say(&[]), "waiting: s3: waiting for the bucket, its endpoint and keys");
    assert_eq!(unit.app_bag(4)["bucket"], "parca");
    assert_eq!(unit.pebble().starts("parca"), 1, "it serves meanwhile");
    let status = say(&[
        ("endpoint", "http://minio:9000"),
        ("bucket", "parca"),
        ("access-key", "access"),
        ("secret-key", "s3cret"),
    ]);
    assert!(status.starts_with("active: "), "{status}");
    let (content, permissions) = config();
    assert!(String::from_utf8(content).unwrap().contains("s3cret"));
    assert_eq!((permissions.as_str(), unit.pebble().starts("parca")), ("600", 2));
    assert!(!unit.pebble().plan().to_string().contains("s3cret"), "a plan is for many eyes");
    unit.hook(Event::hook("update-status"));
    assert_eq!(unit.pebble().starts("parca"), 2);
    let status = say(&[("endpoint", "nonsense/path")]);
    assert_eq!(status, "blocked: s3: relation 4: endpoint is not a URL of a host");
    assert_eq!(unit.pebble().starts("parca"), 2, "a mistake does not take the store away");
    unit.hook(Event::relation("s3", 4, "broken", "minio"));
    assert_eq!((config().1.as_str(), unit.pebble().starts("parca")), ("644", 3));
}

#[test]
fn a_follower_never_fails() {
    let unit = Unit::up();
    unit.agent
        .change(|model| {
            model.leader = false;
            for (number, endpoint) in [
                "parca-store-endpoint",
                "metrics-endpoint",
                "grafana-source",
                "ingress",
                "self-profiling-endpoint",
                "certificates",
                "s3",
                "logging",
                "profiling-endpoint",
                "external-parca-store-endpoint",
            ]
            .into_iter()
            .enumerate()
            {
                model.relate(number as u64, endpoint, "other", &["other/0"]);
            }
            model.config.insert("require-sign-in".to_owned(), json!(true));
        })
        .unwrap();
    unit.hook(Event::hook("config-changed"));
    let model = unit.agent.model().unwrap();
    assert!(model.relations.values().all(|relation| relation.app_bag.is_empty()));
    assert!(
        model.secrets.values().all(|secret| secret.owner == "unit"),
        "an application's secrets are its leader's"
    );
    assert_eq!(unit.pebble().running().len(), 1);
}

#[test]
fn a_second_unit_blocks() {
    let unit = Unit::up();
    unit.agent
        .change(|model| {
            model.relate(1, "parca-peers", "parca-k8s", &["parca-k8s/1"]);
            model.relate(7, "parca-store-endpoint", "agent", &[]);
        })
        .unwrap();
    let status = unit.hook(Event::relation("parca-peers", 1, "joined", "parca-k8s").unit("parca-k8s/1"));
    assert!(status.starts_with("blocked: more than one unit"), "{status}");
    assert!(
        unit.app_bag(7).is_empty() && unit.pebble().files().is_empty() && unit.pebble().running().is_empty()
    );
}

#[test]
fn hooks_that_are_not_known_end_well() {
    let unit = Unit::up();
    for hook in ["collect-metrics", "leader-settings-changed", "a-hook-of-tomorrow"] {
        unit.hook(Event::hook(hook));
    }
    unit.hook(Event::storage("profiles/0", "attached", "/var/lib/juju/storage/profiles/0"));
    unit.hook(Event::secret("changed", "secret:d0er", "", None));
}

#[test]
fn a_container_that_talks_nonsense_is_waited_for() {
    let unit = Unit::new();
    let listener = unit.listen_in_place_of_pebble();
    let talks = std::thread::spawn(move || {
        for client in listener.incoming().take(1) {
            std::io::Write::write_all(&mut client.unwrap(), b"nonsense\r\n\r\n").unwrap();
        }
    });
    assert_eq!(unit.hook(Event::pebble_ready("parca")), "waiting: parca: waiting for the container");
    talks.join().unwrap();
}

#[test]
fn outside_of_a_hook_it_says_so() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_dispatch")).env_clear().output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "JUJU_UNIT_NAME is not set\n");
}
