//! What the Python library does, statement by statement; `differential` has the same against the library itself.

use std::{cell::Cell, iter};

use parca_store::{
    Endpoint, ParcaStoreEndpointProvider, ParcaStoreEndpointRequirer, PublishError, RemoveStore,
    RequirerError, StoreConfig, StoreEndpointsChanged, StoreEvent, Transport,
    seed_compat::{AddressMode, SeedCompatConfig, SeedCompatProvider},
};
use serde_json::{Value, json};

use crate::world::{World, departure, hook, network, relation_hook, settings};

const STORE: &str = "parca-store-endpoint:7";
const EXTERNAL: &str = "external-parca-store-endpoint:7";
const PLAIN_HOOKS: [&str; 7] = [
    "install",
    "start",
    "stop",
    "config-changed",
    "leader-elected",
    "update-status",
    "actions/upgrade-charm",
];

fn provider<'a>(config: SeedCompatConfig) -> SeedCompatProvider<'a> {
    ParcaStoreEndpointProvider::seed_compat(config).with_fqdn(|| "pod.local".to_owned())
}

fn with_url(url: &str) -> SeedCompatConfig {
    SeedCompatConfig { external_url: Some(url.to_owned()), port: 443, ..SeedCompatConfig::default() }
}

/// What is handed out when a unit joins.
fn joined(config: SeedCompatConfig, world: &World) -> Result<String, String> {
    match provider(config).handle(&relation_hook(STORE, "joined"), world) {
        Ok(_) => Ok(world.address(7)),
        Err(error) => Err(chain(&error)),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn of_network(answer: Value) -> Result<String, String> {
    joined(SeedCompatConfig::default(), &World::new(&[STORE]).with_network(Some(answer)))
}

fn requirer() -> ParcaStoreEndpointRequirer {
    ParcaStoreEndpointRequirer::seed_compat("external-parca-store-endpoint".parse().unwrap())
}

const BAG: [(&str, &str); 3] = [
    ("remote-store-address", "h:7070"),
    ("remote-store-bearer-token", "s3cret"),
    ("remote-store-insecure", "true"),
];

fn store_config() -> StoreConfig {
    let text = |text: &str| text.to_owned();
    StoreConfig { address: text("h:7070"), bearer_token: text("s3cret"), insecure: text("true") }
}

#[test]
fn p1_joined_changed_and_upgrade_are_handled() {
    let writes = |context| {
        let world = World::new(&[STORE]);
        provider(SeedCompatConfig::default()).handle(&context, &world).unwrap();
        world.writes.get()
    };
    for handled in [relation_hook(STORE, "joined"), relation_hook(STORE, "changed"), hook("upgrade-charm")] {
        assert_eq!(writes(handled.clone()), 1, "{handled:?}");
    }
    let others = ["created", "departed", "broken"].map(|change| relation_hook(STORE, change));
    let elsewhere = relation_hook("other-endpoint:7", "changed");
    for ignored in others.into_iter().chain(PLAIN_HOOKS.map(hook)).chain([elsewhere]) {
        assert_eq!(writes(ignored.clone()), 0, "{ignored:?}");
    }
}

#[test]
fn p2_every_relation_is_written_whichever_the_event_is_of() {
    let world = World::new(&["parca-store-endpoint:9", STORE, "other-endpoint:3"]);
    let written =
        provider(SeedCompatConfig::default()).handle(&relation_hook(STORE, "joined"), &world).unwrap();
    let expected = ["parca-store-endpoint:9", STORE].map(|id| id.parse().unwrap());
    assert_eq!(written, Some(parca_store::Publication::Changed(expected.to_vec())));
    let all = [("remote-store-address", "10.1.2.3:7070"), ("remote-store-insecure", "false")];
    assert_eq!([world.handed_out(9), world.handed_out(7)], [settings(&all), settings(&all)]);
    assert_eq!(world.handed_out(3), settings(&[]));
}

#[test]
fn p3_network_get_is_asked_even_with_a_url() {
    let world = World::new(&[STORE]);
    provider(with_url("https://h")).handle(&relation_hook(STORE, "joined"), &world).unwrap();
    assert_eq!(world.networks_asked.get(), 1);
    assert!(joined(with_url("https://h"), &World::new(&[STORE]).with_network(None)).is_err());
}

#[test]
fn p4_url_then_ip_address_then_fqdn() {
    assert_eq!(joined(with_url("https://h:1/x"), &World::new(&[STORE])).unwrap(), "h:443");
    assert_eq!(joined(with_url(""), &World::new(&[STORE])).unwrap(), "10.1.2.3:443");
    let nothing = || World::new(&[STORE]).with_network(Some(json!({})));
    assert_eq!(joined(SeedCompatConfig::default(), &nothing()).unwrap(), "pod.local:7070");
    let verbatim = SeedCompatConfig { address_mode: AddressMode::Verbatim, ..with_url("grpc://h/x") };
    assert_eq!(joined(verbatim, &nothing()).unwrap(), "grpc://h/x");
}

#[test]
fn p5_bind_address() {
    for nothing in [
        json!({}),
        json!({"bind-addresses": []}),
        json!({"bind-addresses": [{"addresses": null}]}),
        json!({"bind-addresses": [{"addresses": []}]}),
        network(&[json!({"value": null})]),
        network(&[json!({"value": ""}), json!({"value": "10.1.2.3"})]),
    ] {
        assert_eq!(of_network(nothing.clone()).unwrap(), "pod.local:7070", "{nothing}");
    }
    assert_eq!(of_network(network(&[json!({"address": "10.0.0.9"})])).unwrap(), "10.0.0.9:7070");
    for key in ["bind-addresses", "egress-subnets", "ingress-addresses"] {
        let error = of_network(json!({ key: null })).unwrap_err();
        assert!(error.ends_with(&format!("network-get: {key} has another shape")), "{error}");
    }
}

#[test]
fn p6_port_and_path_of_the_url_are_ignored() {
    assert_eq!(joined(with_url("http://h:80/model-parca"), &World::new(&[STORE])).unwrap(), "h:443");
}

#[test]
fn p7_insecure_is_true_or_false() {
    for (transport, expected) in [(Transport::Plaintext, "true"), (Transport::Tls, "false")] {
        let world = World::new(&[STORE]);
        let config = SeedCompatConfig { transport, ..SeedCompatConfig::default() };
        provider(config).handle(&relation_hook(STORE, "joined"), &world).unwrap();
        assert_eq!(world.handed_out(7)["remote-store-insecure"], expected);
    }
}

#[test]
fn p8_the_generator_is_called_once_a_relation_and_event() {
    let world = World::new(&[STORE, "parca-store-endpoint:8"]);
    let calls = Cell::new(0);
    let generator = || {
        calls.set(calls.get() + 1);
        format!("t{}", calls.get())
    };
    let mut provider = provider(SeedCompatConfig::default()).with_token_generator(generator);
    provider.handle(&relation_hook(STORE, "joined"), &world).unwrap();
    assert_eq!((world.token(7).as_deref(), world.token(8).as_deref()), (Some("t1"), Some("t2")));
    provider.handle(&relation_hook(STORE, "changed"), &world).unwrap();
    assert_eq!((world.token(7).as_deref(), world.token(8).as_deref()), (Some("t3"), Some("t4")));
}

#[test]
fn p9_a_follower_fails_if_it_has_a_relation() {
    let follower = |relations: &[&str]| World { leader: false, ..World::new(relations) };
    let error = provider(SeedCompatConfig::default())
        .handle(&hook("upgrade-charm"), &follower(&[STORE]))
        .unwrap_err();
    assert!(matches!(error, PublishError::NotLeader { .. }), "{error:?}");
    assert_eq!(error.to_string(), "parca-k8s/0 is not leader and cannot write application data");
    assert!(provider(SeedCompatConfig::default()).handle(&hook("upgrade-charm"), &follower(&[])).is_ok());
}

/// That Juju drops what a failed hook wrote is Juju's part, and `testcharm` fails such hooks. Here: a failure is told.
#[test]
fn p10_a_failure_after_the_first_relation_is_an_error() {
    let world = World::new(&[STORE, "parca-store-endpoint:8"]).with_network(None);
    assert!(provider(SeedCompatConfig::default()).handle(&hook("upgrade-charm"), &world).is_err());
}

#[test]
fn p11_other_keys_are_kept_and_changed_ones_written_at_once() {
    let world = World::new(&[STORE]);
    let before = [("kept", "1"), ("remote-store-bearer-token", "old"), ("remote-store-insecure", "false")];
    world.own.borrow_mut().insert(7, settings(&before));
    let mut provider = provider(SeedCompatConfig::default());
    provider.handle(&hook("upgrade-charm"), &world).unwrap();
    let after =
        [("kept", "1"), ("remote-store-address", "10.1.2.3:7070"), ("remote-store-insecure", "false")];
    assert_eq!((world.handed_out(7), world.writes.get()), (settings(&after), 1));
    provider.handle(&hook("upgrade-charm"), &world).unwrap();
    assert_eq!(world.writes.get(), 1, "nothing has changed");
}

#[test]
fn d1_ipv6_is_not_bracketed() {
    assert_eq!(of_network(network(&[json!({"value": "fd00::1"})])).unwrap(), "fd00::1:7070");
    assert_eq!(joined(with_url("https://[fd00::2]:99/x"), &World::new(&[STORE])).unwrap(), "fd00::2:443");
}

#[test]
fn d2_without_a_host_none_is_handed_out() {
    for url in ["foo.bar", "foo.bar:443", "/path", "https://"] {
        assert_eq!(joined(with_url(url), &World::new(&[STORE])).unwrap(), "None:443", "{url}");
    }
}

#[test]
fn d3_what_becomes_of_a_host() {
    for (url, expected) in [
        ("https://Parca.EXAMPLE", "parca.example:443"),
        ("https://user:word@h", "h:443"),
        ("//h2", "h2:443"),
        ("https://h.", "h.:443"),
        ("https://a b", "a b:443"),
        ("http://[fe80::1%25eth0]", "fe80::1%25eth0:443"),
        ("http://[FE80::1%25ETH0]", "fe80::1%25ETH0:443"),
        (" \thttps://h", "h:443"),
    ] {
        assert_eq!(joined(with_url(url), &World::new(&[STORE])).unwrap(), expected, "{url}");
    }
    for url in ["http://[bad", "http://bad]", "http://[1.2.3.4]", "http://a\u{2100}b"] {
        assert!(joined(with_url(url), &World::new(&[STORE])).is_err(), "{url}");
        assert!(joined(with_url(url), &World::new(&[])).is_ok(), "read only when it is written: {url}");
    }
}

#[test]
fn d4_any_bad_address_or_subnet_fails_the_hook() {
    let good = json!({"value": "10.1.2.3", "cidr": ""});
    let error = |answer: Value| of_network(answer).unwrap_err();
    let words = "does not appear to be an IPv4 or IPv6 network";
    assert!(
        error(network(&[json!({"value": "parca.local"})])).ends_with(&format!("\"parca.local\" {words}"))
    );
    error(network(&[json!({"value": "10.1.2.3", "cidr": "10.1.2.3/16"})]));
    error(network(&[good.clone(), json!({"value": "parca.local"})]));
    error(json!({"bind-addresses": [{"addresses": [good]}], "egress-subnets": ["10.1.2.3/8"]}));
    let named = network(&[json!({"value": "parca.local", "cidr": "10.1.0.0/16"})]);
    assert_eq!(of_network(named).unwrap(), "pod.local:7070");
}

#[test]
fn d5_addresses_are_written_as_python_writes_them() {
    for (given, expected) in [
        ("FD00:0:0::1", "fd00::1:7070"),
        ("::ffff:1.2.3.4", "::ffff:102:304:7070"),
        ("fe80::1%Eth0", "fe80::1%Eth0:7070"),
    ] {
        assert_eq!(of_network(network(&[json!({"value": given})])).unwrap(), expected);
    }
}

#[test]
fn d6_nothing_is_written_at_a_new_leader() {
    let world = World::new(&[STORE]);
    provider(SeedCompatConfig::default()).handle(&hook("leader-elected"), &world).unwrap();
    assert_eq!(world.writes.get(), 0);
}

#[test]
fn r1_changed_and_departed_are_observed() {
    let told = |context| requirer().handle(&context, &World::new(&[EXTERNAL])).unwrap().is_some();
    for (change, expected) in
        [("created", false), ("joined", false), ("changed", true), ("departed", true), ("broken", false)]
    {
        assert_eq!(told(relation_hook(EXTERNAL, change)), expected, "{change}");
    }
    for ignored in PLAIN_HOOKS.map(hook).into_iter().chain([relation_hook(STORE, "changed")]) {
        assert!(!told(ignored.clone()), "{ignored:?}");
    }
}

#[test]
fn r2_changed_tells_the_three_keys() {
    let told = |world: &World| requirer().handle(&relation_hook(EXTERNAL, "changed"), world).unwrap();
    let changed = |store_config| {
        Some(StoreEvent::StoreEndpointsChanged(StoreEndpointsChanged { relation_id: 7, store_config }))
    };
    let more = [&BAG[..], &[("another", "key")]].concat();
    assert_eq!(told(&World::new(&[EXTERNAL]).with_bag(&more)), changed(store_config()));
    assert_eq!(told(&World::new(&[EXTERNAL])), changed(StoreConfig::default()), "even if all are empty");
}

#[test]
fn r3_every_departing_unit_is_a_removal() {
    let world = World::new(&[EXTERNAL]);
    let removal = Some(StoreEvent::RemoveStore(RemoveStore { relation_id: 7 }));
    for (unit, departing) in [("agent/1", "agent/1"), ("agent/0", "parca-k8s/0"), ("agent/1", "parca-k8s/0")]
    {
        let context = departure(EXTERNAL, "departed", unit, departing);
        assert_eq!(requirer().handle(&context, &world).unwrap(), removal, "{unit} because of {departing}");
    }
}

#[test]
fn r4_config_is_there_at_departure_and_not_when_broken() {
    let world = World::new(&[EXTERNAL]).with_bag(&BAG);
    let config = |change| requirer().config(&relation_hook(EXTERNAL, change), &world).unwrap();
    assert_eq!(config("departed"), Some(store_config()));
    assert_eq!(config("broken"), None);
}

#[test]
fn r5_config_of_no_one_and_two_relations() {
    let config = |relations: &[&str]| requirer().config(&hook("update-status"), &World::new(relations));
    assert_eq!(config(&[]).unwrap(), None);
    assert_eq!(config(&[EXTERNAL]).unwrap(), Some(StoreConfig::default()));
    let two = [EXTERNAL, "external-parca-store-endpoint:8"];
    let error = config(&two).unwrap_err();
    assert!(matches!(error, RequirerError::TooMany { count: 2, .. }));
    assert_eq!(error.to_string(), "Too many remote applications on external-parca-store-endpoint (2 > 1)");
    assert!(requirer().handle(&relation_hook(EXTERNAL, "changed"), &World::new(&two)).unwrap().is_some());
}

#[test]
fn r6_followers_read_too() {
    let world = World { leader: false, ..World::new(&[EXTERNAL]).with_bag(&BAG) };
    let event = requirer().handle(&relation_hook(EXTERNAL, "changed"), &world).unwrap().unwrap();
    assert_eq!(event.store_config(), Some(&store_config()));
    assert_eq!(requirer().config(&hook("update-status"), &world).unwrap(), Some(store_config()));
}

#[test]
fn r7_snapshots() {
    let event = StoreEndpointsChanged { relation_id: 7, store_config: store_config() };
    let snapshot = serde_json::to_value(&event).unwrap();
    assert_eq!(snapshot["relation_id"], 7);
    let inner: Value = serde_json::from_str(snapshot["store_config"].as_str().unwrap()).unwrap();
    assert_eq!(inner["remote-store-bearer-token"], "s3cret");
    assert_eq!(serde_json::from_value::<StoreEndpointsChanged>(snapshot).unwrap(), event);
    let of_python = r#"{"relation_id": 7, "store_config": "{\"remote-store-address\": \"h:7070\", \"remote-store-bearer-token\": \"s3cret\", \"remote-store-insecure\": \"true\"}"}"#;
    assert_eq!(serde_json::from_str::<StoreEndpointsChanged>(of_python).unwrap(), event);
    let removal = RemoveStore { relation_id: 7 };
    assert_eq!(serde_json::to_value(removal).unwrap(), json!({"relation_id": 7}));
    assert_eq!(serde_json::from_value::<RemoveStore>(json!({"relation_id": 7})).unwrap(), removal);
}

#[test]
fn r8_a_relation_that_is_gone_has_no_data() {
    let mut world = World::new(&[EXTERNAL]);
    world.relations[0].bag = None;
    let event = requirer().handle(&relation_hook(EXTERNAL, "changed"), &world).unwrap().unwrap();
    assert_eq!(event.store_config(), Some(&StoreConfig::default()));
    let event = requirer().handle(&relation_hook(EXTERNAL, "changed"), &World::new(&[])).unwrap().unwrap();
    assert_eq!(event.store_config(), Some(&StoreConfig::default()));
}

#[test]
fn r9_values_are_passed_through() {
    let garbage = [("remote-store-address", "https://h/\n--x"), ("remote-store-insecure", "TRUE")];
    let world = World::new(&[EXTERNAL]).with_bag(&garbage);
    let event = requirer().handle(&relation_hook(EXTERNAL, "changed"), &world).unwrap().unwrap();
    let config = event.store_config().unwrap();
    assert_eq!((config.address.as_str(), config.insecure.as_str()), ("https://h/\n--x", "TRUE"));
}

#[test]
fn the_endpoint_is_by_default_that_of_the_library() {
    assert_eq!(Endpoint::default().as_str(), "parca-store-endpoint");
    assert_eq!(SeedCompatConfig::default().port, 7070);
}
