use std::collections::BTreeMap;

use decima_juju::OwnBag;

use super::*;
use crate::{
    mint::Machine,
    names::SERVICE,
    reconcile::{Writes, reconcile, tests as worlds},
    relations::certificates::tests::authority,
};

const WHOLE: &[(&str, &str)] = &[
    ("endpoint", "http://minio.storage.svc:9000"),
    ("bucket", "profiles"),
    ("access-key", "access"),
    ("secret-key", "s3cret/+="),
];

fn related(said: &[(&str, &str)]) -> World {
    let mut world = worlds::world();
    let at = worlds::relate(&mut world, "s3:4");
    world.relations[at].remote = bag(said);
    world
}

fn bag(said: &[(&str, &str)]) -> BTreeMap<String, String> {
    said.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// What the workload is configured with, and the status.
fn decided(world: &World) -> (Writes, Value) {
    let writes = reconcile(world, &mut Machine);
    let settled = worlds::settled(world, &writes);
    let config = &settled.container.as_ref().unwrap().files[CONFIG_FILE];
    (writes, serde_json::from_slice(config).unwrap())
}

/// All of the bucket's settings, those of [`WHOLE`] with others beside or in place of them.
fn storage(said: &[(&str, &str)]) -> Value {
    let (writes, config) = decided(&related(&[WHOLE, said].concat()));
    assert!(writes.status.to_string().starts_with("active: "), "{}", writes.status);
    config["object_storage"]["bucket"].clone()
}

#[test]
fn a_bucket_is_in_the_configuration_and_nowhere_else() {
    let (writes, config) = decided(&related(WHOLE));
    assert_eq!(
        config["object_storage"],
        json!({"bucket": {
            "type": "S3",
            "prefix": "decima/cos/parca-k8s",
            "config": {
                "bucket": "profiles",
                "endpoint": "minio.storage.svc:9000",
                "region": "",
                "access_key": "access",
                "secret_key": "s3cret/+=",
                "insecure": true,
                "bucket_lookup_type": "auto",
            },
        }})
    );
    assert_eq!(writes.files[CONFIG_FILE].permissions, 0o600);
    let layer = serde_json::to_string(writes.layer.as_ref().unwrap()).unwrap();
    assert!(!layer.contains("s3cret") && !layer.contains("access\""), "{layer}");
    let asked = writes.bags.iter().find(|write| write.relation.endpoint() == S3).unwrap();
    assert_eq!((asked.bag, &asked.settings["bucket"][..]), (OwnBag::App, "parca"));
}

#[test]
fn settings() {
    let check = |said: &[(&str, &str)], pointer: &str, expected: Value| {
        assert_eq!(storage(said).pointer(pointer), Some(&expected), "{said:?}");
    };
    let endpoint = |url: &str, host: &str, is_insecure: bool| {
        check(&[("endpoint", url)], "/config/endpoint", json!(host));
        check(&[("endpoint", url)], "/config/insecure", json!(is_insecure));
    };
    endpoint("https://s3.eu-west-1.amazonaws.com", "s3.eu-west-1.amazonaws.com", false);
    endpoint("s3.amazonaws.com", "s3.amazonaws.com", false);
    endpoint("https://[fd00::1]:9000/", "[fd00::1]:9000", false);
    endpoint("http://[fd00::1]", "[fd00::1]", true);
    check(&[("region", "eu-west-1")], "/config/region", json!("eu-west-1"));
    check(&[("s3-uri-style", "host")], "/config/bucket_lookup_type", json!("virtual-hosted"));
    check(&[("s3-uri-style", "path")], "/config/bucket_lookup_type", json!("path"));
    check(&[("path", "/team/a/")], "/prefix", json!("team/a/decima/cos/parca-k8s"));
    // Texts may be in JSON, and a key that looks like a number is a key.
    check(&[("bucket", "\"quoted\"")], "/config/bucket", json!("quoted"));
    check(&[("access-key", "0123")], "/config/access_key", json!("0123"));
    check(&[("tls-ca-chain", "[]"), ("region", "")], "/config/region", json!(""));
}

#[test]
fn authorities_have_a_file() {
    let (one, other) = (authority(), authority());
    let chain = json!([one, other]).to_string();
    let (writes, config) = decided(&related(&[WHOLE, &[("tls-ca-chain", &chain)]].concat()));
    assert_eq!(
        config.pointer("/object_storage/bucket/config/http_config/tls_config/ca_file"),
        Some(&json!(S3_CA_FILE))
    );
    let file = String::from_utf8(writes.files[S3_CA_FILE].content.clone()).unwrap();
    assert_eq!(file, format!("{}\n{}\n", one.trim(), other.trim()));
}

#[test]
fn garbage_is_named() {
    let check = |key: &str, value: &str, expected: &str| {
        let (writes, config) = decided(&related(&[WHOLE, &[(key, value)]].concat()));
        assert_eq!(writes.status.to_string(), format!("blocked: s3: relation 4: {expected}"), "{value}");
        assert_eq!(config.get("object_storage"), None);
    };
    check("endpoint", "ftp://host", "endpoint is not a URL of a host");
    check("endpoint", "http://user@host", "endpoint is not a URL of a host");
    check("endpoint", "http://host/path", "endpoint is not a URL of a host");
    check("endpoint", "http://host:0", "endpoint is not a URL of a host");
    check("endpoint", "http://", "endpoint is not a URL of a host");
    check("bucket", "a/b", "bucket is not the name of one");
    check("bucket", "[::1]", "bucket is not the name of one");
    check("region", "eu west", "region cannot be used");
    check("region", "eu/west", "region is not the name of one");
    check("secret-key", "line\nline", "secret-key cannot be used");
    check("access-key", &"x".repeat(2000), "access-key cannot be used");
    check("s3-uri-style", "virtual", "s3-uri-style is neither path nor host");
    check("path", "a/../b", "path is not a path of letters, digits and -_.");
    check("tls-ca-chain", "-----BEGIN", "tls-ca-chain is not a list of certificates in JSON");
    check("tls-ca-chain", "[\"x\"]", "tls-ca-chain[0] is not a certificate in PEM");
    let broken = format!("{}-----BEGIN CERTIFICATE-----\nx\n", authority());
    let chain = json!([authority(), broken]).to_string();
    check("tls-ca-chain", &chain, "tls-ca-chain[1] is not a certificate in PEM");
    check("endpoint", "http://h..x_:1", "endpoint is not a URL of a host");
    check("endpoint", "http://host:+1", "endpoint is not a URL of a host");
}

#[test]
fn what_is_not_whole_yet_is_waited_for() {
    for missing in WHOLE {
        let said: Vec<_> = WHOLE.iter().filter(|one| *one != missing).copied().collect();
        let (writes, config) = decided(&related(&said));
        let expected = "waiting: s3: waiting for the bucket, its endpoint and keys";
        assert_eq!(writes.status.to_string(), expected, "without {}", missing.0);
        assert_eq!(config.get("object_storage"), None);
    }
}

#[test]
fn the_store_stays_where_it_is_until_the_relation_goes() {
    let chain = json!([authority()]).to_string();
    let world = related(&[WHOLE, &[("tls-ca-chain", &chain)]].concat());
    let (writes, before) = decided(&world);
    let world = worlds::settled(&world, &writes);
    let (writes, _) = decided(&world);
    assert!(writes.is_settled(), "{writes:?}");

    let mut mistaken = world.clone();
    mistaken.relations[0].remote.insert("endpoint".to_owned(), "nonsense with blanks".to_owned());
    let (writes, config) = decided(&mistaken);
    assert_eq!(config, before);
    assert!(!writes.replan && writes.stale_files.is_empty(), "{writes:?}");
    assert_eq!(writes.status.to_string(), "blocked: s3: relation 4: endpoint cannot be used");
    mistaken.relations[0].remote.clear();
    assert_eq!(decided(&mistaken).1, before);
    worlds::relate(&mut mistaken, "s3:5");
    let (writes, config) = decided(&mistaken);
    assert_eq!(config, before);
    assert_eq!(writes.status.to_string(), "blocked: s3: related to more than one bucket; remove all but one");

    let mut gone = world;
    gone.relations.clear();
    let (writes, config) = decided(&gone);
    assert_eq!(config.get("object_storage"), None);
    assert!(writes.replan, "the workload opens its store at its start only");
    assert_eq!(writes.stale_files, [S3_CA_FILE]);
    assert_eq!(writes.files[CONFIG_FILE].permissions, 0o644, "it holds no secret any more");
}

#[test]
fn other_keys_are_another_start() {
    let world = related(WHOLE);
    let (writes, _) = decided(&world);
    let mut changed = worlds::settled(&world, &writes);
    changed.relations[0].remote.insert("secret-key".to_owned(), "rotated".to_owned());
    let (writes, _) = decided(&changed);
    assert!(writes.replan);
    let environment = |writes: &Writes| writes.layer.as_ref().unwrap().services[SERVICE].environment.clone();
    assert_eq!(environment(&writes).len(), 1);
    assert!(!format!("{:?}", environment(&writes)).contains("rotated"));
}

#[test]
fn debug_output_has_no_keys() {
    let bucket = Bucket { object_storage: json!({"secret_key": "hidden"}), authorities: None };
    assert!(!format!("{bucket:?}").contains("hidden"));
}
