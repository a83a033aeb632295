use std::{collections::BTreeMap, path::Path};

use decima_config::Config;
use decima_juju::{StatusName, pebble::LogTarget};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    mint::{Identity, MintError, Request},
    options::OptionError,
    world::StoredIdentity,
};

pub(crate) fn world() -> World {
    World {
        unit: "parca-k8s/0".parse().unwrap(),
        model_name: "cos".to_owned(),
        model_uuid: "0b2e7b0c-6a51-4a0c".to_owned(),
        is_leader: true,
        peers: 0,
        fqdn: "parca-k8s-0.parca-k8s-endpoints.cos.svc.cluster.local".to_owned(),
        options: Ok(Options::default()),
        ports: BTreeSet::new(),
        relations: Vec::new(),
        relation_tokens: Vec::new(),
        person_tokens: Vec::new(),
        identity: None,
        now_s: 0,
        container: Some(Container {
            plan: Layer::default(),
            is_running: false,
            complaint: None,
            files: BTreeMap::new(),
        }),
    }
}

pub(crate) fn relate(world: &mut World, id: &str) -> usize {
    world.relations.push(Relation {
        id: id.parse().unwrap(),
        app: Some("other".parse().unwrap()),
        remote: BTreeMap::new(),
        units: BTreeMap::new(),
        own_unit: BTreeMap::new(),
        own_app: world.is_leader.then(BTreeMap::new),
    });
    world.relations.len() - 1
}

/// Tokens that tests know.
struct Counting(u32);

impl Mint for Counting {
    fn token(&mut self) -> Result<Token, MintError> {
        self.0 += 1;
        Ok(Token::stored(&format!("a-token-of-a-test-{}", self.0)).unwrap())
    }

    fn identity(&mut self, request: &Request<'_>) -> Result<Identity, MintError> {
        let text = |what: &str| format!("{what} of {}", request.app);
        Ok(Identity { key: text("key"), request: text("request"), names: request.names.to_vec() })
    }
}

fn decide(world: &World) -> Writes {
    reconcile(world, &mut Counting(0))
}

/// The world after everything was written.
pub(crate) fn settled(world: &World, writes: &Writes) -> World {
    let mut world = world.clone();
    world.ports.extend(&writes.open);
    world.ports.retain(|port| !writes.close.contains(port));
    for new in &writes.tokens {
        world.relation_tokens.retain(|kept| new.secret.is_none() || kept.secret != new.secret);
        world.relation_tokens.push(crate::world::RelationToken {
            relation: new.relation.to_string(),
            secret: new.secret.clone().or(Some("secret:made".parse().unwrap())),
            token: Some(new.token.clone()),
        });
    }
    world.relation_tokens.retain(|token| token.secret.as_ref().is_none_or(|id| !writes.orphans.contains(id)));
    if let Some(keep) = &writes.keep {
        let secret = Some("secret:identity".parse().unwrap());
        world.identity = Some(StoredIdentity { secret, identity: keep.identity.clone() });
    }
    if let Some(container) = &mut world.container {
        container.files.extend(writes.files.iter().map(|(path, file)| (path.clone(), file.content.clone())));
        container.files.retain(|path, _| !writes.stale_files.contains(path));
        if let Some(layer) = &writes.layer {
            container.plan.services.extend(layer.services.clone());
            container.plan.checks.extend(layer.checks.clone());
            container.plan.log_targets.extend(layer.log_targets.clone());
        }
        container.is_running |= writes.replan;
    }
    for write in &writes.bags {
        let relation = world.relations.iter_mut().find(|relation| relation.id == write.relation).unwrap();
        let bag = match write.bag {
            OwnBag::Unit => &mut relation.own_unit,
            OwnBag::App => relation.own_app.as_mut().unwrap(),
        };
        for (key, value) in &write.settings {
            match value.as_str() {
                "" => drop(bag.remove(key)),
                _ => drop(bag.insert(key.clone(), value.clone())),
            }
        }
    }
    world
}

fn bag<'a>(writes: &'a Writes, relation: &str, bag: OwnBag) -> &'a BTreeMap<String, String> {
    let found = writes.bags.iter().find(|write| write.relation.to_string() == relation && write.bag == bag);
    &found.unwrap_or_else(|| panic!("nothing is written to {relation}")).settings
}

fn text_of(writes: &Writes, path: &str) -> String {
    String::from_utf8(writes.files[path].content.clone()).unwrap()
}

#[test]
fn a_fresh_unit() {
    let writes = decide(&world());
    assert_eq!(writes.open, [Port::tcp(7993), Port::tcp(7994)]);
    assert!(writes.replan && writes.layer.is_some());
    assert_eq!(writes.files.keys().collect::<Vec<_>>(), [names::CONFIG_FILE, names::TOKENS_FILE]);
    assert_eq!(writes.files[names::TOKENS_FILE].permissions, 0o600);
    assert_eq!(writes.status.to_string(), "active: page at http://parca-k8s.cos.svc.cluster.local:7994");
    assert!(text_of(&writes, names::CONFIG_FILE).contains("localhost:7070"));
}

#[test]
fn a_settled_world_is_left_alone() {
    let mut world = world();
    for id in [
        "parca-store-endpoint:1",
        "metrics-endpoint:2",
        "self-profiling-endpoint:3",
        "grafana-source:4",
        "ingress:5",
    ] {
        relate(&mut world, id);
    }
    let writes = decide(&world);
    assert!(!writes.is_settled());
    let writes = decide(&settled(&world, &writes));
    assert!(writes.is_settled(), "{writes:?}");
}

#[test]
fn senders_are_told_address_and_a_token_of_their_own() {
    let mut world = world();
    relate(&mut world, "parca-store-endpoint:7");
    relate(&mut world, "parca-store-endpoint:9");
    let writes = decide(&world);
    let told = bag(&writes, "parca-store-endpoint:7", OwnBag::App);
    assert_eq!(told["remote-store-address"], "parca-k8s-0.parca-k8s-endpoints.cos.svc.cluster.local:7993");
    assert_eq!(
        (told["remote-store-insecure"].as_str(), told["remote-store-bearer-token"].as_str()),
        ("true", "a-token-of-a-test-1")
    );
    assert_eq!(
        bag(&writes, "parca-store-endpoint:9", OwnBag::App)["remote-store-bearer-token"],
        "a-token-of-a-test-2"
    );
    assert!(writes.bags.iter().all(|write| write.has_token));
    assert_eq!(writes.tokens.len(), 2);
    let grants = Grant::read_all(&writes.files[names::TOKENS_FILE].content);
    let known: Vec<_> = grants.iter().map(|grant| (grant.name.as_str(), grant.scope)).collect();
    assert_eq!(known, [("parca-store-endpoint:7", Scope::Write), ("parca-store-endpoint:9", Scope::Write)]);
    assert!(
        !text_of(&writes, names::TOKENS_FILE).contains("a-token-of-a-test"),
        "the workload gets hashes only"
    );
}

#[test]
fn a_relation_that_goes_takes_its_token_along() {
    let mut world = world();
    relate(&mut world, "parca-store-endpoint:7");
    let mut world = settled(&world, &decide(&world));
    world.relations.clear();
    let writes = decide(&world);
    assert_eq!(writes.orphans, ["secret:made".parse().unwrap()]);
    assert_eq!(Grant::read_all(&writes.files[names::TOKENS_FILE].content), []);
    assert!(!writes.replan, "the workload reads its tokens anew by itself");
}

#[test]
fn no_token_is_handed_out_before_the_workload_has_it() {
    let mut world = world();
    relate(&mut world, "parca-store-endpoint:7");
    world.container = None;
    let writes = decide(&world);
    assert_eq!((writes.tokens.len(), writes.bags.len()), (0, 0));
    assert_eq!(writes.status.to_string(), "waiting: parca: waiting for the container");
}

#[test]
fn more_than_one_unit_is_blocked_and_touches_nothing() {
    let mut world = world();
    relate(&mut world, "parca-store-endpoint:7");
    world.peers = 1;
    let writes = decide(&world);
    assert!(writes.is_settled());
    assert_eq!(writes.status.name, StatusName::Blocked);
}

#[test]
fn an_option_that_cannot_be_used() {
    let mut world = world();
    world.options =
        Err(OptionError { name: "memory-storage-limit", expected: "a number of megabytes above 0" });
    relate(&mut world, "parca-store-endpoint:7");
    let writes = decide(&world);
    assert_eq!((writes.tokens.len(), writes.bags.len(), writes.replan), (0, 0, false), "nothing serves yet");
    assert_eq!(
        writes.status.to_string(),
        "blocked: option memory-storage-limit: not a number of megabytes above 0"
    );
    assert!(decide(&settled(&world, &writes)).is_settled());
}

#[test]
fn an_option_that_cannot_be_used_keeps_no_token_alive() {
    let mut world = world();
    relate(&mut world, "parca-store-endpoint:7");
    relate(&mut world, "parca-store-endpoint:8");
    relate(&mut world, "grafana-source:4");
    relate(&mut world, "certificates:5");
    world.options =
        Ok(Options { require_sign_in: true, memory_storage_limit_mib: 100, enable_persistence: false });
    let mut world = settled(&world, &decide(&world));
    for (at, token) in world.relation_tokens.iter_mut().enumerate() {
        token.secret = Some(format!("secret:{at}").parse().unwrap());
    }
    world.options = Err(OptionError { name: "memory-storage-limit", expected: "a number" });
    assert!(decide(&world).is_settled(), "what runs goes on as it is");
    world.relations.remove(0);
    let writes = decide(&world);
    assert_eq!(writes.status.to_string(), "blocked: option memory-storage-limit: not a number (and 1 more)");
    assert_eq!(writes.orphans, ["secret:0".parse().unwrap()]);
    let names = |writes: &Writes| {
        let grants = Grant::read_all(&writes.files[names::TOKENS_FILE].content);
        grants.into_iter().map(|grant| grant.name).collect::<Vec<_>>()
    };
    assert_eq!(names(&writes), ["grafana-source:4", "parca-store-endpoint:8"]);
    assert!(writes.layer.is_none() && !writes.replan && writes.stale_files.is_empty(), "{writes:?}");

    // Nor if the container has lost its layers meanwhile.
    let container = world.container.as_mut().unwrap();
    (container.plan, container.is_running) = (Layer::default(), false);
    let writes = decide(&world);
    assert_eq!(writes.orphans.len(), 1);
    assert_eq!(names(&writes), ["grafana-source:4", "parca-store-endpoint:8"]);
    assert!(writes.layer.is_none() && !writes.replan && writes.stale_files.is_empty(), "{writes:?}");
}

#[test]
fn a_secret_that_holds_no_token_is_written_anew() {
    let mut world = world();
    relate(&mut world, "parca-store-endpoint:7");
    let kept = |secret: &str, relation: &str| crate::world::RelationToken {
        relation: relation.to_owned(),
        secret: Some(secret.parse().unwrap()),
        token: None,
    };
    world.relation_tokens =
        vec![kept("secret:a", "parca-store-endpoint:7"), kept("secret:b", "parca-store-endpoint:9")];
    let writes = decide(&world);
    let new: Vec<_> = writes.tokens.iter().map(|new| new.secret.clone()).collect();
    assert_eq!(new, [Some("secret:a".parse().unwrap())]);
    assert_eq!(writes.orphans, ["secret:b".parse().unwrap()]);
    assert!(bag(&writes, "parca-store-endpoint:7", OwnBag::App).contains_key("remote-store-bearer-token"));
    assert!(decide(&settled(&world, &writes)).is_settled());
}

#[test]
fn a_follower_writes_no_application_databag() {
    let mut world = world();
    world.is_leader = false;
    relate(&mut world, "parca-store-endpoint:7");
    relate(&mut world, "metrics-endpoint:2");
    let writes = decide(&world);
    assert!(writes.tokens.is_empty() && writes.bags.iter().all(|write| write.bag == OwnBag::Unit));
    assert_eq!(
        bag(&writes, "metrics-endpoint:2", OwnBag::Unit)["prometheus_scrape_unit_name"],
        "parca-k8s/0"
    );
    assert!(writes.layer.is_some(), "the workload is its own");
}

#[test]
fn a_follower_keeps_the_tokens_of_people() {
    let mut world = world();
    world.is_leader = false;
    let grant = |name: &str| Grant { name: name.to_owned(), scope: Scope::Read, hash: "00".repeat(32) };
    let file = tokens_file(vec![grant("person:me"), grant("parca-store-endpoint:7")]);
    world.container.as_mut().unwrap().files.insert(names::TOKENS_FILE.to_owned(), file);
    let grants = Grant::read_all(&decide(&world).files[names::TOKENS_FILE].content);
    assert_eq!(grants, [grant("person:me")]);
}

#[test]
fn sign_in_gives_grafana_a_token() {
    let mut world = world();
    relate(&mut world, "grafana-source:4");
    let open = decide(&world);
    assert!(open.tokens.is_empty());
    assert!(
        bag(&open, "grafana-source:4", OwnBag::App)["grafana_source_data"]
            .contains("\"secure_extra_fields\":null")
    );
    world.options = Ok(Options { require_sign_in: true, ..Options::default() });
    let closed = decide(&world);
    let told: serde_json::Value =
        serde_json::from_str(&bag(&closed, "grafana-source:4", OwnBag::App)["grafana_source_data"]).unwrap();
    assert_eq!(told["secure_extra_fields"]["httpHeaderValue1"], "Bearer a-token-of-a-test-1");
    assert_eq!(Grant::read_all(&closed.files[names::TOKENS_FILE].content)[0].scope, Scope::Read);
    let mut back = settled(&world, &closed);
    back.options = Ok(Options::default());
    assert_eq!(decide(&back).orphans.len(), 1, "no longer needed");
}

#[test]
fn another_store() {
    let mut world = world();
    let at = relate(&mut world, "external-parca-store-endpoint:8");
    assert_eq!(
        decide(&world).status.to_string(),
        "waiting: external-parca-store-endpoint: waiting for the store's address"
    );
    let say = |world: &mut World, key: &str, value: &str| {
        world.relations[at].remote.insert(key.to_owned(), value.to_owned());
    };
    say(&mut world, "remote-store-address", "far:7070");
    say(&mut world, "remote-store-bearer-token", "s3cret");
    say(&mut world, "remote-store-insecure", "false");
    let writes = decide(&world);
    let command = writes.layer.as_ref().unwrap().services["parca"].command.clone().unwrap();
    assert!(
        command.contains("--store-address=far:7070") && command.contains("--mode=scraper-only"),
        "{command}"
    );
    let token = &writes.files[names::FORWARD_TOKEN_FILE];
    assert_eq!((token.content.as_slice(), token.permissions), (&b"s3cret"[..], 0o600));
    assert!(!command.contains("s3cret"), "{command}");
    assert_eq!(writes.status.to_string(), "active: profiles are sent on to far:7070");

    let mut changed = settled(&world, &writes);
    say(&mut changed, "remote-store-bearer-token", "other");
    let writes = decide(&changed);
    assert!(!writes.replan, "the workload takes it while it runs");
    assert_eq!(text_of(&writes, names::FORWARD_TOKEN_FILE), "other");

    say(&mut changed, "remote-store-address", "far:1 --storage-path=/");
    let writes = decide(&changed);
    assert_eq!(
        writes.status.to_string(),
        "blocked: external-parca-store-endpoint: relation 8: remote-store-address is not host:port"
    );
    let command = writes.layer.unwrap().services["parca"].command.clone().unwrap();
    assert!(!command.contains("store-address"), "{command}");
    assert_eq!(writes.stale_files, [names::FORWARD_TOKEN_FILE]);
    relate(&mut world, "external-parca-store-endpoint:9");
    assert_eq!(decide(&world).status.name, StatusName::Blocked);
}

#[test]
fn an_ingress_is_the_address_for_everybody() {
    let mut world = world();
    relate(&mut world, "parca-store-endpoint:7");
    relate(&mut world, "grafana-source:4");
    let at = relate(&mut world, "ingress:5");
    let writes = decide(&world);
    assert_eq!(writes.status.to_string(), "waiting: ingress: waiting for the host of the ingress");
    assert!(bag(&writes, "ingress:5", OwnBag::App)["config"].contains("h2c://parca-k8s-0."));
    world.relations[at].remote.insert("external_host".to_owned(), "10.0.0.9".to_owned());
    world.relations[at].remote.insert("scheme".to_owned(), "https".to_owned());
    let writes = decide(&world);
    let told = bag(&writes, "parca-store-endpoint:7", OwnBag::App);
    assert_eq!(
        (told["remote-store-address"].as_str(), told["remote-store-insecure"].as_str()),
        ("10.0.0.9:7993", "false")
    );
    assert_eq!(
        bag(&writes, "grafana-source:4", OwnBag::App)["grafana_source_app_host"],
        "https://10.0.0.9:7994"
    );
    world.relations[at].remote.insert("external_host".to_owned(), "http://x/".to_owned());
    assert_eq!(
        decide(&world).status.to_string(),
        "blocked: ingress: relation 5: external_host is not a host"
    );
}

#[test]
fn a_self_profiling_store_does_not_scrape_itself() {
    let mut world = world();
    relate(&mut world, "self-profiling-endpoint:3");
    let writes = decide(&world);
    assert!(!text_of(&writes, names::CONFIG_FILE).contains("localhost"));
    assert!(bag(&writes, "self-profiling-endpoint:3", OwnBag::App)["scrape_jobs"].contains("*:7994"));
}

#[test]
fn logs_go_to_loki_until_it_goes() {
    let mut world = world();
    let at = relate(&mut world, "logging:6");
    let endpoint = r#"{"url": "http://loki:3100/loki/api/v1/push"}"#;
    world.relations[at].units = BTreeMap::from([(
        "loki/0".parse().unwrap(),
        BTreeMap::from([("endpoint".to_owned(), endpoint.to_owned())]),
    )]);
    let writes = decide(&world);
    let target: LogTarget = writes.layer.as_ref().unwrap().log_targets["loki/0"].clone();
    assert_eq!(
        (target.location.as_str(), target.services.as_slice()),
        ("http://loki:3100/loki/api/v1/push", &["all".to_owned()][..])
    );
    let mut gone = settled(&world, &writes);
    gone.relations.clear();
    let writes = decide(&gone);
    assert_eq!(writes.layer.as_ref().unwrap().log_targets["loki/0"].services, Vec::<String>::new());
    assert!(decide(&settled(&gone, &writes)).is_settled());
    world.relations[at]
        .units
        .values_mut()
        .for_each(|bag| drop(bag.insert("endpoint".to_owned(), "[]".to_owned())));
    assert_eq!(
        decide(&world).status.to_string(),
        "blocked: logging: relation 6: endpoint of loki/0 is not a URL in JSON"
    );
}

#[test]
fn a_workload_that_does_not_serve_is_told_in_its_words() {
    let mut settled = settled(&world(), &decide(&world()));
    let status = |world: &mut World, complaint: &str| {
        world.container.as_mut().unwrap().complaint = Some(complaint.to_owned());
        decide(world).status.to_string()
    };
    assert_eq!(
        status(&mut settled, "error: the bucket is away"),
        "blocked: parca: does not serve: error: the bucket is away"
    );
    assert_eq!(status(&mut settled, "replaying"), "waiting: parca: does not serve: replaying");
    settled.options = Ok(Options { enable_persistence: true, ..Options::default() });
    assert!(status(&mut settled, "error: old").starts_with("active: "), "it is about to be another one");
}

#[test]
fn the_worst_problem_is_told() {
    let problems = [Problem::passing("a", "x"), Problem::blocking("b", "y")];
    assert_eq!(status(&problems).unwrap().to_string(), "blocked: b: y (and 1 more)");
    assert_eq!(status(&[]), None);
}

/// Why the store does not take the configuration that is written, if it does not.
fn refused(writes: &Writes) -> Option<String> {
    let parsed =
        Config::parse(&text_of(writes, names::CONFIG_FILE), names::CONFIG_FILE, Path::new(names::ETC));
    parsed.err().map(|error| error.to_string())
}

#[test]
fn as_many_jobs_as_there_is_room_for() {
    let mut world = world();
    let ports: Vec<String> = (1..=20).map(|port| format!("*:{port}")).collect();
    let labels: BTreeMap<String, &str> = (0..60).map(|number| (format!("label_{number}"), "value")).collect();
    let jobs = json!([{"static_configs": [{"targets": ports, "labels": labels}]}]).to_string();
    for number in 0..30 {
        let at = relate(&mut world, &format!("{}:{number}", names::PROFILING));
        let relation = &mut world.relations[at];
        relation.remote.insert("scrape_jobs".to_owned(), jobs.clone());
        let unit = |number: u32| {
            let address =
                BTreeMap::from([("parca_scrape_unit_address".to_owned(), format!("10.0.0.{number}"))]);
            (format!("other/{number}").parse().unwrap(), address)
        };
        relation.units = (0..50).map(unit).collect();
    }
    let writes = decide(&world);
    assert_eq!(refused(&writes), None);
    let told = writes.status.to_string();
    assert!(told.contains("is more than the store takes"), "{told}");
    assert!(text_of(&writes, names::CONFIG_FILE).contains("\"job_name\": \"profiling-endpoint:0_0\""));
}

/// Text that one reader takes and another one may not.
fn text() -> impl Strategy<Value = String> {
    const SLY: &[&str] = &[
        "\u{7f}",
        "\u{80}",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "\u{fffe}",
        "\u{ffff}",
        "\u{1f600}",
        "\u{1ffff}",
        "\0",
        "\t",
        "\n---\n",
        "",
        "parca",
        "~",
        "null",
        "1e3",
        "*a",
        "&a",
        "!a",
        "# a",
        "${HOME}",
        "{{",
        "a: b",
    ];
    prop_oneof![
        6 => "[a-z]{1,8}",
        1 => any::<String>(),
        2 => prop::sample::select(SLY).prop_map(str::to_owned),
        1 => (
            prop::sample::select(vec!["a", "\u{7f}", "\u{fffe}"]),
            prop::sample::select(vec![127_usize, 128, 129, 600, 1100])
        )
            .prop_map(|(text, times)| text.repeat(times)),
    ]
}

/// Jobs to be scraped, most of them good.
fn scrape_jobs() -> impl Strategy<Value = String> {
    let flag = || prop::option::of(any::<bool>());
    // What is wrong anywhere leaves its whole relation out.
    const SELDOM: f64 = 0.2;
    let sample_type = (text(), text()).prop_map(|(kind, unit)| json!({"type": kind, "unit": unit}));
    let profile = (
        flag(),
        flag(),
        prop::option::of(prop::sample::select(vec!["/", "/x", "/x?y=z#"])),
        prop::option::of(prop::sample::select(vec![0_u64, 5, 13, u64::MAX])),
        prop::option::of(prop::collection::vec(sample_type, 0..2)),
    );
    let profile = profile.prop_map(|(enabled, delta, path, seconds, keep)| {
        json!({"enabled": enabled, "delta": delta, "path": path, "seconds": seconds, "keep_sample_type": keep})
    });
    let profile_name = prop_oneof![
        text(),
        prop::sample::select(vec!["memory", "process_cpu", "my"]).prop_map(str::to_owned)
    ];
    let label_name = prop_oneof![1 => text(), 6 => "[a-z_]{1,128}", 1 => Just("l".repeat(1100))];
    let job = (
        prop::option::of(text()),
        prop::collection::btree_map(label_name, text(), 0..3),
        prop::option::of(prop::collection::btree_map(profile_name, profile, 0..3)),
        prop::option::weighted(SELDOM, prop::sample::select(vec!["", "0s", "1s", "13s", "1m", "366d"])),
        prop::option::weighted(SELDOM, prop::sample::select(vec!["0s", "500ms", "1m", "2m", "366d"])),
        prop::option::weighted(
            SELDOM,
            prop_oneof![
                Just(json!({"insecure_skip_verify": true, "server_name": "h", "ca": null})),
                text().prop_map(|ca| json!({"ca": format!("-----BEGIN CERTIFICATE-----{ca}")})),
            ],
        ),
    );
    let job = job.prop_map(|(name, labels, profiles, interval, timeout, tls)| {
        json!({
            "job_name": name,
            "static_configs": [{"targets": ["*:1", "h:2"], "labels": labels}],
            "profiling_config": {"path_prefix": null, "pprof_config": profiles},
            "scrape_interval": interval,
            "scrape_timeout": timeout,
            "scheme": null,
            "tls_config": tls,
        })
    });
    prop::collection::vec(job, 0..3).prop_map(|jobs| json!(jobs).to_string())
}

/// Where a related application says that it is.
fn scrape_metadata() -> impl Strategy<Value = String> {
    (text(), text(), text(), prop::option::of(text())).prop_map(|(model, uuid, application, charm)| {
        json!({"model": model, "model_uuid": uuid, "application": application, "charm_name": charm})
            .to_string()
    })
}

proptest! {
    /// Whatever relations say, nothing panics, the world settles, and the configuration stays one that can be read.
    #[test]
    fn garbage_settles(
        relations in prop::collection::vec((
            prop::sample::select(vec![
                names::STORE, names::EXTERNAL_STORE, names::PROFILING, names::SELF_PROFILING, names::METRICS,
                names::GRAFANA, names::INGRESS, names::LOGGING, names::CERTIFICATES, names::S3,
            ]),
            prop::collection::btree_map(
                prop::sample::select(vec![
                    "remote-store-address", "remote-store-bearer-token", "remote-store-insecure", "scrape_jobs",
                    "scrape_metadata", "certificates", "external_host", "scheme", "endpoint", "parca_scrape_unit_address",
                    "bucket", "access-key", "secret-key", "region", "path", "s3-uri-style", "tls-ca-chain",
                ]),
                prop_oneof![
                    ".*",
                    text(),
                    scrape_jobs(),
                    Just("[{}]".to_owned()),
                    Just(r#"[{"static_configs":[{"targets":["*:1"]}]}]"#.to_owned()),
                    Just(r#"{"model":"m","model_uuid":"u","application":"a"}"#.to_owned()),
                    Just(r#"{"url":"http://x"}"#.to_owned()),
                    Just("host".to_owned()),
                    Just("null".to_owned()),
                ],
                0..5,
            ),
        ), 0..5),
        is_leader: bool,
    ) {
        let mut world = world();
        world.is_leader = is_leader;
        for (number, (endpoint, said)) in relations.into_iter().enumerate() {
            let at = relate(&mut world, &format!("{endpoint}:{number}"));
            let said: BTreeMap<String, String> = said.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            world.relations[at].units = BTreeMap::from([("other/0".parse().unwrap(), said.clone())]);
            world.relations[at].remote = said;
        }
        let writes = decide(&world);
        let config: serde_json::Value = serde_json::from_slice(&writes.files[names::CONFIG_FILE].content).unwrap();
        prop_assert_eq!(refused(&writes), None);
        prop_assert!(config["scrape_configs"].is_array());
        let again = decide(&settled(&world, &writes));
        prop_assert!(again.is_settled(), "{again:?}");
    }

    /// Whatever jobs other charms ask for, the store takes the configuration that becomes of them.
    #[test]
    fn the_store_takes_what_is_written(
        relations in prop::collection::vec((scrape_jobs(), prop::option::of(scrape_metadata()), text()), 0..3),
    ) {
        let mut world = world();
        for (number, (jobs, metadata, address)) in relations.into_iter().enumerate() {
            let at = relate(&mut world, &format!("{}:{number}", names::PROFILING));
            let address = if address.len() < 4 { address } else { "10.0.0.1".to_owned() };
            let unit = BTreeMap::from([("parca_scrape_unit_address".to_owned(), address)]);
            let relation = &mut world.relations[at];
            relation.units = BTreeMap::from([("other/0".parse().unwrap(), unit)]);
            relation.remote.insert("scrape_jobs".to_owned(), jobs);
            relation.remote.extend(metadata.map(|metadata| ("scrape_metadata".to_owned(), metadata)));
        }
        prop_assert_eq!(refused(&decide(&world)), None);
    }
}
