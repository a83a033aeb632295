//! What is better than in the Python library, when nothing else is asked for.

use std::cell::Cell;

use parca_store::{
    BearerToken, External, OncePerRelation, ParcaStoreEndpointProvider, ParcaStoreEndpointRequirer,
    ProviderConfig, Publication, PublishError, RelationId, StoreEvent, Stored, Transport,
};
use proptest::prelude::*;
use serde_json::json;

use crate::world::{World, departure, hook, network, relation_hook, settings};

const STORE: &str = "parca-store-endpoint:7";
const EXTERNAL: &str = "external-parca-store-endpoint:7";

fn external(url: &str) -> ProviderConfig {
    let external = Some(External::url_host(url).unwrap());
    ProviderConfig { external, port: 443.try_into().unwrap(), ..ProviderConfig::default() }
}

fn provider<'a>(config: ProviderConfig) -> ParcaStoreEndpointProvider<'a> {
    ParcaStoreEndpointProvider::new(config).with_fqdn(|| "pod.local".to_owned())
}

/// What is handed out to a unit that joins.
fn joined(config: ProviderConfig, world: &World) -> String {
    let _ = provider(config).handle(&relation_hook(STORE, "joined"), world).unwrap();
    world.address(7)
}

#[test]
fn ipv6_is_bracketed() {
    assert_eq!(joined(external("https://[fd00::2]:99/x"), &World::new(&[STORE])), "[fd00::2]:443");
    let world = World::new(&[STORE]).with_network(Some(network(&[json!({"value": "FD00::1"})])));
    assert_eq!(joined(ProviderConfig::default(), &world), "[fd00::1]:7070");
}

#[test]
fn network_get_is_asked_only_without_an_external_address() {
    let world = World::new(&[STORE]).with_network(None);
    assert_eq!(joined(external("https://h"), &world), "h:443");
    assert_eq!(world.networks_asked.get(), 0);
    let error =
        provider(ProviderConfig::default()).handle(&relation_hook(STORE, "joined"), &world).unwrap_err();
    assert!(matches!(error, PublishError::Model(_)), "{error:?}");
}

#[test]
fn what_is_not_needed_of_the_network_is_not_looked_at() {
    let check = |answer, expected: &str| {
        let world = World::new(&[STORE]).with_network(Some(answer));
        assert_eq!(joined(ProviderConfig::default(), &world), expected);
    };
    let good = json!({"value": "10.1.2.3"});
    check(network(&[json!({"value": "parca.local"}), good.clone()]), "10.1.2.3:7070");
    check(network(&[json!({"value": "fe80::1%eth0"}), good.clone()]), "10.1.2.3:7070");
    check(
        json!({"bind-addresses": [{"addresses": [good]}], "egress-subnets": ["nonsense"]}),
        "10.1.2.3:7070",
    );
    check(network(&[json!({"value": "parca.local"})]), "pod.local:7070");
    check(json!({"bind-addresses": null}), "pod.local:7070");
    check(json!(null), "pod.local:7070");
}

#[test]
fn a_follower_writes_nothing_and_succeeds() {
    let world = World { leader: false, ..World::new(&[STORE]).with_network(None) };
    for context in [relation_hook(STORE, "joined"), hook("upgrade-charm")] {
        let publication = provider(ProviderConfig::default()).handle(&context, &world).unwrap();
        assert_eq!(publication, Some(Publication::Follower));
    }
    assert_eq!(world.writes.get(), 0);
}

#[test]
fn a_new_token_only_where_there_is_none() {
    let world = World::new(&[STORE, "parca-store-endpoint:8"]);
    world.own.borrow_mut().insert(8, settings(&[("remote-store-bearer-token", "kept")]));
    let asked = Cell::new(0);
    let mut provider =
        provider(ProviderConfig::default()).with_tokens(OncePerRelation(|relation: &RelationId| {
            asked.set(asked.get() + 1);
            BearerToken::new(&format!("for-{}-{}", relation.number(), asked.get()))
        }));
    for context in [relation_hook(STORE, "joined"), relation_hook(STORE, "changed"), hook("leader-elected")] {
        let _ = provider.handle(&context, &world).unwrap();
        assert_eq!((world.token(7).as_deref(), world.token(8).as_deref()), (Some("for-7-1"), Some("kept")));
    }
    assert_eq!((asked.get(), world.writes.get()), (1, 2));
}

#[test]
fn what_cannot_be_a_token_is_replaced() {
    let world = World::new(&[STORE]);
    world.own.borrow_mut().insert(7, settings(&[("remote-store-bearer-token", "a b\n")]));
    let mut provider =
        provider(ProviderConfig::default()).with_tokens(OncePerRelation(|_: &_| BearerToken::new("new")));
    let _ = provider.publish(&hook("install"), &world).unwrap();
    assert_eq!(world.token(7).as_deref(), Some("new"));
}

#[test]
fn a_stored_token_is_what_counts() {
    let world = World::new(&[STORE]);
    world.own.borrow_mut().insert(7, settings(&[("remote-store-bearer-token", "revoked")]));
    let mut stored = provider(ProviderConfig::default())
        .with_tokens(Stored(|_: &_| BearerToken::new("valid").map_err(|e| e.to_string())));
    let _ = stored.publish(&hook("install"), &world).unwrap();
    assert_eq!(world.token(7).as_deref(), Some("valid"));
    let mut none = provider(ProviderConfig::default()).with_tokens(Stored(|_: &_| Err("no secret")));
    let error = none.publish(&hook("install"), &world).unwrap_err();
    assert_eq!(error.to_string(), "no token for relation parca-store-endpoint:7");
    let _ = provider(ProviderConfig::default()).publish(&hook("install"), &world).unwrap();
    assert_eq!(world.token(7), None, "without a source there is none");
}

#[test]
fn publish_works_from_any_hook() {
    for name in
        ["install", "start", "stop", "leader-elected", "no-such-hook", "actions/x", "parca-pebble-ready"]
    {
        let world = World::new(&[STORE]);
        let publication = provider(ProviderConfig::default()).publish(&hook(name), &world).unwrap();
        assert_eq!(publication, Publication::Changed(vec![STORE.parse().unwrap()]), "{name}");
        let again = provider(ProviderConfig::default()).publish(&hook(name), &world).unwrap();
        assert_eq!((again, world.writes.get()), (Publication::Changed(Vec::new()), 1), "{name}");
    }
}

#[test]
fn a_relation_that_is_being_broken_is_left_alone() {
    let world = World::new(&[STORE, "parca-store-endpoint:8"]);
    let publication =
        provider(ProviderConfig::default()).publish(&relation_hook(STORE, "broken"), &world).unwrap();
    assert_eq!(publication, Publication::Changed(vec!["parca-store-endpoint:8".parse().unwrap()]));
}

#[test]
fn what_may_change_the_address_is_handled() {
    let handled = |context| {
        provider(ProviderConfig::default()).handle(&context, &World::new(&[STORE])).unwrap().is_some()
    };
    for name in
        ["start", "leader-elected", "config-changed", "update-status", "upgrade-charm", "parca-pebble-ready"]
    {
        assert!(handled(hook(name)), "{name}");
    }
    for name in ["install", "stop", "remove", "no-such-hook", "actions/x"] {
        assert!(!handled(hook(name)), "{name}");
    }
    for (change, expected) in
        [("created", true), ("joined", true), ("changed", true), ("departed", false), ("broken", false)]
    {
        assert_eq!(handled(relation_hook(STORE, change)), expected, "{change}");
        assert!(!handled(relation_hook("other-endpoint:7", change)), "{change}");
    }
}

#[test]
fn an_address_as_it_is() {
    let external = Some(External::verbatim("parca.example.com:8443").unwrap());
    let config = ProviderConfig { external, transport: Transport::Plaintext, ..ProviderConfig::default() };
    let world = World::new(&[STORE]).with_network(None);
    assert_eq!(joined(config, &world), "parca.example.com:8443");
    assert_eq!(world.handed_out(7)["remote-store-insecure"], "true");
}

/// Removals told over departures: each of a unit, because of another or itself, with who is left then.
fn removals(departures: &[(&str, &str, &[&str])]) -> usize {
    let requirer = ParcaStoreEndpointRequirer::new("external-parca-store-endpoint".parse().unwrap());
    let told = departures.iter().filter(|(unit, departing, left)| {
        let mut world = World::new(&[EXTERNAL]);
        world.relations[0].units = left.iter().map(|unit| unit.parse().unwrap()).collect();
        let event = requirer.handle(&departure(EXTERNAL, "departed", unit, departing), &world).unwrap();
        matches!(event, Some(StoreEvent::RemoveStore(_)))
    });
    told.count()
}

#[test]
fn a_removal_is_told_once() {
    assert_eq!(removals(&[("agent/1", "agent/1", &["agent/0"])]), 0, "the other stays");
    assert_eq!(removals(&[("agent/1", "agent/1", &["agent/0"]), ("agent/0", "agent/0", &[])]), 1);
    let ours = "parca-k8s/0";
    assert_eq!(removals(&[("agent/0", ours, &["agent/1"]), ("agent/1", ours, &[])]), 1, "we leave");
    let by_name: &[(&str, &str, &[&str])] = &[
        ("agent/10", ours, &["agent/2", "agent/9"]),
        ("agent/2", ours, &["agent/9"]),
        ("agent/9", ours, &[]),
    ];
    assert_eq!(removals(by_name), 1, "we leave many");
    let listed: &[&str] = &["agent/0", "agent/1"];
    assert_eq!(
        removals(&[("agent/1", ours, listed), ("agent/0", ours, listed)]),
        1,
        "an agent that lists all until the end"
    );
}

proptest! {
    /// Whoever leaves, in whatever numbers and order: a removal is told once, and by the last departure.
    #[test]
    fn a_removal_is_told_once_for_all_units(
        numbers in prop::collection::btree_set(0..120_u32, 1..8).prop_map(Vec::from_iter).prop_shuffle(),
        split: prop::sample::Index,
        we_leave: bool,
    ) {
        let mut there: Vec<String> = numbers.iter().map(|number| format!("agent/{number}")).collect();
        // Some of them leave for themselves, and then the rest, or then we do: Juju takes leave of the rest by name.
        let rest = if we_leave { split.index(there.len()) } else { there.len() };
        there[rest..].sort();
        let mut departures = Vec::new();
        while !there.is_empty() {
            let departing = if departures.len() < rest { there[0].clone() } else { "parca-k8s/0".to_owned() };
            let departed = there.remove(0);
            departures.push((departed, departing, there.clone()));
        }
        let borrowed: Vec<Vec<&str>> =
            departures.iter().map(|(_, _, left)| left.iter().map(String::as_str).collect()).collect();
        let departures: Vec<(&str, &str, &[&str])> = departures
            .iter()
            .zip(&borrowed)
            .map(|((unit, departing, _), left)| (unit.as_str(), departing.as_str(), left.as_slice()))
            .collect();
        prop_assert_eq!(removals(&departures), 1);
        prop_assert_eq!(removals(&departures[..departures.len() - 1]), 0);
    }

    /// An agent with another order than Juju's, or one that lists everybody to the end, makes us miss no removal.
    #[test]
    fn no_removal_is_missed(
        numbers in prop::collection::btree_set(0..120_u32, 1..8).prop_map(Vec::from_iter).prop_shuffle(),
        lists_all: bool,
    ) {
        let units: Vec<String> = numbers.iter().map(|number| format!("agent/{number}")).collect();
        let units: Vec<&str> = units.iter().map(String::as_str).collect();
        let left = |index: usize| if lists_all { &units[..] } else { &units[index + 1..] };
        let departures: Vec<_> =
            units.iter().enumerate().map(|(index, unit)| (*unit, "parca-k8s/0", left(index))).collect();
        prop_assert!(removals(&departures) >= 1);
        prop_assert!(!lists_all || removals(&departures) == 1);
    }
}

#[test]
fn a_change_is_told_even_with_several_relations() {
    let requirer = ParcaStoreEndpointRequirer::new("external-parca-store-endpoint".parse().unwrap());
    let world = World::new(&[EXTERNAL, "external-parca-store-endpoint:8"]);
    assert!(requirer.handle(&relation_hook(EXTERNAL, "changed"), &world).unwrap().is_some());
    assert!(requirer.config(&relation_hook(EXTERNAL, "changed"), &world).is_err());
}
