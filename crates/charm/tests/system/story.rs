//! What an operator does, and what has to come of it.

use std::os::unix::fs::PermissionsExt;

use decima_juju_fake::Event;
use decima_testkit::s3;
use serde_json::{Value, json};

use crate::{
    authority::Authority,
    pod::{Daemon, Pod, eventually, program},
    python::{PROVIDER, PythonUnit, REQUIRER},
    remote::{self, Remote},
    sender::{PROFILE_NS, Sender},
};

/// Where Grafana and people are sent.
const SERVICE: &str = "parca-k8s.cos.svc.cluster.local:7994";
/// Where senders are sent.
const UNIT: &str = "parca-k8s-0.parca-k8s-endpoints.cos.svc.cluster.local:7993";

/// Numbers of the relations.
const CERTIFICATES: u64 = 4;
const STORE: u64 = 7;
const GRAFANA: u64 = 8;
const EXTERNAL_STORE: u64 = 11;
const BUCKET: u64 = 12;

/// `juju deploy`, with a certificate: the store serves TLS on both ports.
fn deployed(daemon: Daemon, authority: &Authority) -> Pod {
    let mut pod = Pod::new(daemon);
    for hook in ["install", "leader-elected", "config-changed", "start"] {
        pod.hook(Event::hook(hook));
    }
    pod.hook(Event::pebble_ready("parca"));
    let status = pod.related(CERTIFICATES, "certificates", "authority", &[], "joined");
    assert_eq!(status, "waiting: certificates: waiting for a certificate");
    let asked =
        pod.agent.model().unwrap().relations[&CERTIFICATES].unit_bag["certificate_signing_requests"].clone();
    let given = authority.answer(&asked);
    let status =
        pod.related(CERTIFICATES, "certificates", "authority", &[("certificates", &given)], "changed");
    assert_eq!(status, format!("active: page at https://{SERVICE}"));
    pod
}

/// `juju integrate` of the two charms: each is told what the other wrote. What the sender's library made of it.
fn integrate(pod: &mut Pod, sender: &PythonUnit) -> Value {
    pod.related(STORE, "parca-store-endpoint", "agent", &[], "created");
    let told = pod.agent.model().unwrap().relations[&STORE].app_bag.clone();
    let number = STORE;
    sender
        .agent
        .change(|model| {
            model.relate(number, REQUIRER, "parca-k8s", &["parca-k8s/0"]).remote_app_bag = told;
        })
        .unwrap();
    let mut events = sender.hook(Event::relation(REQUIRER, number, "changed", "parca-k8s"));
    assert_eq!(events.len(), 1, "{events:?}");
    let event = events.remove(0);
    assert_eq!(event["event"], "StoreEndpointsChanged");
    event["store_config"].clone()
}

/// `juju remove-relation`, as both sides see it.
fn remove(pod: &mut Pod, sender: &PythonUnit) {
    pod.unrelated(STORE);
    sender.agent.change(|model| model.relations.get_mut(&STORE).unwrap().units.clear()).unwrap();
    let departed = Event::relation(REQUIRER, STORE, "departed", "parca-k8s");
    let events = sender.hook(departed.unit("parca-k8s/0").departing("parca-k8s/0"));
    assert_eq!(events.iter().map(|event| event["event"].clone()).collect::<Vec<_>>(), ["RemoveStore"]);
}

fn text<'a>(config: &'a Value, key: &str) -> &'a str {
    config[key].as_str().unwrap_or_else(|| panic!("{key} in {config}"))
}

pub(crate) fn integrating_is_the_credential_and_removing_revokes_it(daemon: Daemon) {
    let authority = Authority::new();
    let mut pod = deployed(daemon, &authority);
    let charm = PythonUnit::new("agent/0");
    let store_config = integrate(&mut pod, &charm);
    assert_eq!(text(&store_config, "remote-store-address"), UNIT);
    assert_eq!(text(&store_config, "remote-store-insecure"), "false");
    let (address, token) =
        (text(&store_config, "remote-store-address"), text(&store_config, "remote-store-bearer-token"));

    let sender = Sender::trusting(&authority);
    eventually("the token is good", || sender.push(address, Some(token)));
    eventually("the profile is there", || {
        let total = sender.total(SERVICE, None)?;
        if total == PROFILE_NS { Ok(()) } else { Err(total.to_string()) }
    });

    let refusal = sender.push(address, None).unwrap_err();
    assert!(refusal.contains("token"), "{refusal}");
    let other = token.chars().rev().collect::<String>();
    assert!(sender.push(address, Some(&other)).is_err(), "a token of the same length");
    let stranger = Sender::trusting(&Authority::new());
    assert!(stranger.push(address, Some(token)).is_err(), "a sender that does not know the authority");
    let unit = pod.hook(Event::hook("update-status"));
    assert!(unit.starts_with("active: "), "{unit}");
    assert!(sender.push(address, Some(token)).is_ok(), "the token stays the same");

    remove(&mut pod, &charm);
    eventually("the token is revoked", || match sender.push(address, Some(token)) {
        Ok(said) => Err(said),
        Err(refusal) => Ok(assert!(refusal.contains("token"), "{refusal}")),
    });
    assert!(pod.agent.model().unwrap().secrets.values().all(|secret| !secret.label.starts_with("token:")));
    assert!(sender.total(SERVICE, None).unwrap() >= 2 * PROFILE_NS, "what was pushed stays");

    let again = integrate(&mut pod, &charm);
    assert_ne!(text(&again, "remote-store-bearer-token"), token);
    let token = text(&again, "remote-store-bearer-token");
    eventually("the new token is good", || sender.push(address, Some(token)));
}

pub(crate) fn reading_needs_a_token_if_it_shall(daemon: Daemon) {
    let authority = Authority::new();
    let mut pod = deployed(daemon, &authority);
    let sender = Sender::trusting(&authority);
    let charm = PythonUnit::new("agent/0");
    let store_config = integrate(&mut pod, &charm);
    let writer = text(&store_config, "remote-store-bearer-token");
    eventually("the token is good", || sender.push(UNIT, Some(writer)));

    pod.agent.change(|model| drop(model.config.insert("require-sign-in".to_owned(), json!(true)))).unwrap();
    pod.hook(Event::hook("config-changed"));
    eventually("reading is refused", || match sender.total(SERVICE, None) {
        Ok(total) => Err(total.to_string()),
        Err(refusal) if refusal.contains("token") => Ok(()),
        Err(other) => Err(other),
    });
    assert!(sender.total(SERVICE, Some(writer)).is_err(), "who writes does not read");

    pod.related(GRAFANA, "grafana-source", "grafana", &[], "joined");
    let told = pod.agent.model().unwrap().relations[&GRAFANA].app_bag.clone();
    assert_eq!(told["grafana_source_app_host"], format!("https://{SERVICE}"));
    let data: Value = serde_json::from_str(&told["grafana_source_data"]).unwrap();
    let header = text(&data["secure_extra_fields"], "httpHeaderValue1");
    let reader = header.strip_prefix("Bearer ").unwrap();
    eventually("Grafana reads", || sender.total(SERVICE, Some(reader)));
    assert!(sender.push(UNIT, Some(reader)).is_err(), "who reads does not write");

    let parameters = json!({"name": "ada", "scope": "admin"}).as_object().unwrap().clone();
    let made = pod.run(Event::action("create-token", parameters)).action;
    let person = made.results["token"].as_str().unwrap().to_owned();
    eventually("a person reads", || sender.total(SERVICE, Some(&person)));
    assert!(sender.push(UNIT, Some(&person)).is_ok(), "admin is everything");

    pod.unrelated(GRAFANA);
    pod.run(Event::action("revoke-token", json!({"name": "ada"}).as_object().unwrap().clone()));
    for token in [reader, &person] {
        eventually("the token is revoked", || match sender.total(SERVICE, Some(token)) {
            Ok(total) => Err(total.to_string()),
            Err(_) => Ok(()),
        });
    }
}

/// Parca Agent's own connection, with what its charm writes into flags and files.
pub(crate) fn an_agent_is_let_in_by_its_flags(daemon: Daemon) {
    let authority = Authority::new();
    let mut pod = deployed(daemon, &authority);
    let charm = PythonUnit::new("agent/0");
    let store_config = integrate(&mut pod, &charm);
    let token = text(&store_config, "remote-store-bearer-token");
    let sender = Sender::trusting(&authority);
    eventually("the token is good", || sender.push(UNIT, Some(token)));
    assert_eq!(sender.agent(UNIT, token).as_deref(), Ok("OK"));
    assert_eq!(
        sender.agent(UNIT, "another-token-of-43-characters-or-so-000000").as_deref(),
        Ok("Unauthenticated")
    );
    let stranger = Sender::trusting(&Authority::new());
    let refusal = stranger.agent(UNIT, token).unwrap_err();
    assert!(refusal.contains("certificate"), "{refusal}");
    remove(&mut pod, &charm);
    eventually("the token is revoked", || match sender.agent(UNIT, token).as_deref() {
        Ok("Unauthenticated") => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// Flags, configuration and tokens: whatever the charm writes, the store takes.
pub(crate) fn what_the_charm_writes_is_what_the_store_reads(daemon: Daemon) {
    let authority = Authority::new();
    let mut pod = deployed(daemon, &authority);
    let jobs = json!([{
        "job_name": "shop",
        "static_configs": [{"targets": ["*:6060"], "labels": {"team": "a"}}],
        "scrape_interval": "15s",
        "scrape_timeout": "20s",
        "scheme": "https",
        "tls_config": {"ca": authority.pem},
        "profiling_config": {"pprof_config": {"memory": {"enabled": true, "path": "/heap"}}},
    }]);
    let metadata = json!({
        "model": "cos", "model_uuid": "0b2e7b0c-6a51-4a0c-8d0f-3b6a4e5f6a7b", "application": "shop",
        "unit": "shop/0", "charm_name": "shop-k8s",
    });
    let said = [("scrape_jobs", jobs.to_string()), ("scrape_metadata", metadata.to_string())];
    let said = said.each_ref().map(|(key, value)| (*key, value.as_str()));
    pod.related(9, "profiling-endpoint", "shop", &said, "joined");
    pod.agent
        .change(|model| {
            let unit = model.relations.get_mut(&9).unwrap().units.get_mut("shop/0").unwrap();
            unit.insert("parca_scrape_unit_address".to_owned(), "10.1.0.9".to_owned());
            unit.insert("parca_scrape_unit_name".to_owned(), "shop/0".to_owned());
        })
        .unwrap();
    let status = pod.hook(Event::relation("profiling-endpoint", 9, "changed", "shop").unit("shop/0"));
    assert!(status.starts_with("active: "), "{status}");
    let config = pod.file("/etc/parca/parca.yaml");
    let written = std::fs::read_to_string(&config).unwrap();
    assert!(written.contains("10.1.0.9:6060"), "{written}");
    decima(&["check-config", config.to_str().unwrap()]);
    let parameters = json!({"name": "ada", "scope": "read"}).as_object().unwrap().clone();
    pod.run(Event::action("create-token", parameters));
    let tokens = pod.file("/etc/parca/tokens.json");
    assert!(decima(&["token", "list", "--file", tokens.to_str().unwrap()]).starts_with("person:ada\tread\t"));

    // Each combination of options starts and answers.
    let sender = Sender::trusting(&authority);
    for (persistent, sign_in) in [(true, false), (true, true), (false, true)] {
        pod.agent
            .change(|model| {
                model.config.insert("enable-persistence".to_owned(), json!(persistent));
                model.config.insert("require-sign-in".to_owned(), json!(sign_in));
            })
            .unwrap();
        let status = pod.hook(Event::hook("config-changed"));
        assert_eq!(status, format!("active: page at https://{SERVICE}"));
        eventually("it answers", || match sender.total(SERVICE, None) {
            Err(refusal) if sign_in == refusal.contains("token") => Ok(()),
            Ok(_) if !sign_in => Ok(()),
            other => Err(format!("{other:?}")),
        });
        assert_eq!(pod.file("/var/lib/parca/decima").exists(), true, "once persistent, the folder stays");
    }
}

/// What the Python library, as a provider, tells our charm of another store that has made this token.
fn provide(store: &PythonUnit, token: &str) -> Vec<(String, String)> {
    store
        .agent
        .change(|model| {
            if !model.relations.contains_key(&EXTERNAL_STORE) {
                model.relate(EXTERNAL_STORE, PROVIDER, "parca-k8s", &["parca-k8s/0"]);
            }
        })
        .unwrap();
    // The path shows that the library takes no more than the host of its URL.
    let arguments = json!({"port": remote::PORT, "external_url": format!("https://{}/path", remote::HOST)});
    let event = Event::relation(PROVIDER, EXTERNAL_STORE, "joined", "parca-k8s").unit("parca-k8s/0");
    let event = event.var("TESTCHARM_ARGS", &arguments.to_string()).var("TESTCHARM_TOKEN", token);
    assert_eq!(store.hook(event), [] as [Value; 0]);
    store.agent.model().unwrap().relations[&EXTERNAL_STORE].app_bag.clone().into_iter().collect()
}

/// The other way round: the Python library provides a store, our charm requires it and has ours send everything on.
pub(crate) fn another_store_gets_everything_until_its_relation_goes(daemon: Daemon) {
    let authority = Authority::new();
    let remote = Remote::start(&authority);
    let reader = Sender::trusting(&authority);
    eventually("the remote answers", || reader.total(&Remote::address(), None));
    let mut pod = deployed(daemon, &authority);
    let agent = PythonUnit::new("agent/0");
    let store_config = integrate(&mut pod, &agent);
    let push = || reader.push(UNIT, Some(text(&store_config, "remote-store-bearer-token")));
    let arrived = |profiles: i64| match reader.total(&Remote::address(), None)? {
        total if total == profiles * PROFILE_NS => Ok(()),
        total => Err(format!("{total} ns")),
    };

    let store = PythonUnit::new("store/0");
    let told = |pod: &mut Pod, token: &str| {
        let said = provide(&store, token);
        let said: Vec<_> = said.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        pod.related(EXTERNAL_STORE, REQUIRER, "store", &said, "changed")
    };
    let first = remote.token("first");
    let status = told(&mut pod, &first);
    assert_eq!(status, format!("active: profiles are sent on to {}", Remote::address()));
    let bag = &pod.agent.model().unwrap().relations[&EXTERNAL_STORE].remote_app_bag;
    assert_eq!(bag["remote-store-address"], Remote::address());
    eventually("the profile is taken", &push);
    eventually("it arrives", || arrived(1));

    // A token that was revoked lets nothing through; what waits goes with the next one.
    remote.revoke("first");
    eventually("the first token is revoked", || match reader.push(&Remote::address(), Some(&first)) {
        Ok(said) => Err(said),
        Err(refusal) => Ok(assert!(refusal.contains("token"), "{refusal}")),
    });
    let before = reader.total(&Remote::address(), None).unwrap() / PROFILE_NS;
    push().unwrap();
    told(&mut pod, &remote.token("second"));
    eventually("it arrives with the second token", || arrived(before + 1));

    let token = pod.file("/etc/parca/store-token");
    assert_eq!(std::fs::metadata(&token).unwrap().permissions().mode() & 0o777, 0o600);
    pod.unrelated(EXTERNAL_STORE);
    assert!(!pod.file("/etc/parca/store-token").exists());
    eventually("the store takes the profile itself", &push);
    eventually("and has it", || match reader.total(SERVICE, None)? {
        PROFILE_NS => Ok(()),
        other => Err(other.to_string()),
    });
    assert_eq!(arrived(before + 1), Ok(()), "nothing goes to the remote any more");
}

/// What was pushed is in the bucket, and is found there by a pod of the same name that comes after.
pub(crate) fn a_bucket_outlives_the_pod(daemon: Daemon) {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let server = s3::Server::start(folder.path()).unwrap();
    let endpoint = format!("http://{}", server.endpoint());
    let offered = [
        ("endpoint", endpoint.as_str()),
        ("bucket", s3::BUCKET),
        ("access-key", s3::ACCESS_KEY),
        ("secret-key", s3::SECRET_KEY),
    ];
    let mut pod = deployed(daemon, &authority);
    let status = pod.related(BUCKET, "s3", "minio", &offered, "changed");
    assert_eq!(status, format!("active: page at https://{SERVICE}"));
    let charm = PythonUnit::new("agent/0");
    let store_config = integrate(&mut pod, &charm);
    let token = text(&store_config, "remote-store-bearer-token");
    let sender = Sender::trusting(&authority);
    eventually("the profile is taken", || sender.push(UNIT, Some(token)));
    assert_eq!(sender.total(SERVICE, None), Ok(PROFILE_NS));
    assert!(folder.path().join(s3::BUCKET).join("decima/cos/parca-k8s/default").is_dir());
    let config = pod.file("/etc/parca/parca.yaml");
    assert_eq!(std::fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);

    drop(pod);
    let mut pod = deployed(daemon, &authority);
    pod.related(BUCKET, "s3", "minio", &offered, "changed");
    eventually("the next pod has it", || match sender.total(SERVICE, None)? {
        PROFILE_NS => Ok(()),
        other => Err(other.to_string()),
    });
    pod.related(BUCKET, "s3", "minio", &[("endpoint", "http://127.0.0.1:9")], "changed");
    // It may be seen as soon as the store is started, or once its check has failed often enough.
    eventually("the status says why it does not serve", || {
        let status = pod.hook(Event::hook("update-status"));
        let words =
            ["does not start", "does not serve"].map(|words| format!("blocked: parca: {words}: error: "));
        let is_told = words.iter().any(|words| status.starts_with(words))
            && status.contains("the S3 bucket profiles below decima/cos/parca-k8s");
        if is_told { Ok(()) } else { Err(status) }
    });
    pod.unrelated(BUCKET);
    eventually("without the bucket it has not", || match sender.total(SERVICE, None)? {
        0 => Ok(()),
        other => Err(other.to_string()),
    });
}

fn decima(arguments: &[&str]) -> String {
    let output = std::process::Command::new(program("DECIMA_BINARY")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
