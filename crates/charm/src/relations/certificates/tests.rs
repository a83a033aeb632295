use std::collections::BTreeMap;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, date_time_ymd,
};
use serde_json::Value;

use super::*;
use crate::{
    mint::Machine,
    names,
    reconcile::{reconcile, tests as worlds},
};

/// 2026-06-01, half way through the year for which the authority signs.
const JUNE_S: i64 = 1_780_272_000;
/// 2026-12-15.
const DECEMBER_S: i64 = 1_797_292_800;
/// 2027-06-01.
const NEXT_YEAR_S: i64 = 1_811_808_000;

/// What an authority writes for the requests of a databag: certificates for the year 2026.
pub(crate) fn sign(requests: &str) -> String {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let requests: Value = serde_json::from_str(requests).unwrap();
    let given = requests.as_array().unwrap().iter().map(|request| {
        let request = request["certificate_signing_request"].as_str().unwrap();
        let mut params = CertificateSigningRequestParams::from_pem(request).unwrap();
        params.params.not_before = date_time_ymd(2026, 1, 1);
        params.params.not_after = date_time_ymd(2027, 1, 1);
        let certificate = params.signed_by(&issuer).unwrap().pem();
        json!({
            "ca": ca.pem(),
            "certificate_signing_request": format!("{request}\n"),
            "certificate": certificate,
            "chain": [certificate, ca.pem()],
        })
    });
    Value::Array(given.collect()).to_string()
}

/// The certificate of an authority.
pub(crate) fn authority() -> String {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

/// A world with a certificate that was asked for and given.
fn related() -> World {
    let mut world = worlds::world();
    world.now_s = JUNE_S;
    worlds::relate(&mut world, "certificates:4");
    let writes = reconcile(&world, &mut Machine);
    assert_eq!(writes.status.to_string(), "waiting: certificates: waiting for a certificate");
    assert!(writes.keep.is_some());
    let mut world = worlds::settled(&world, &writes);
    say(&mut world, sign);
    world
}

/// Lets the provider answer what this unit wrote.
fn say(world: &mut World, answer: impl Fn(&str) -> String) {
    let relation = &mut world.relations[0];
    let answer = answer(&relation.own_unit["certificate_signing_requests"]);
    relation.remote = BTreeMap::from([("certificates".to_owned(), answer)]);
}

#[test]
fn the_request_has_the_names_that_others_are_told() {
    let world = worlds::world();
    assert_eq!(
        names(&world),
        ["parca-k8s-0.parca-k8s-endpoints.cos.svc.cluster.local", "parca-k8s.cos.svc.cluster.local"]
    );
}

#[test]
fn a_certificate_is_served_with() {
    let mut world = related();
    worlds::relate(&mut world, "parca-store-endpoint:7");
    worlds::relate(&mut world, "self-profiling-endpoint:8");
    let writes = reconcile(&world, &mut Machine);
    assert!(writes.keep.is_none());
    assert_eq!(writes.status.to_string(), "active: page at https://parca-k8s.cos.svc.cluster.local:7994");
    let text = |path: &str| String::from_utf8(writes.files[path].content.clone()).unwrap();
    assert_eq!(
        text(names::CERTIFICATE_FILE).matches("BEGIN CERTIFICATE").count(),
        2,
        "the leaf stands there once"
    );
    assert_eq!(writes.files[names::KEY_FILE].permissions, 0o600);
    let command = writes.layer.as_ref().unwrap().services["parca"].command.clone().unwrap();
    assert!(
        command.contains("--tls-cert-file=/etc/parca/server.crt --tls-key-file=/etc/parca/server.key"),
        "{command}"
    );
    let told = |relation: &str| {
        let write = writes
            .bags
            .iter()
            .find(|w| w.relation.to_string() == relation && w.bag == decima_juju::OwnBag::App);
        write.unwrap().settings.clone()
    };
    assert_eq!(told("parca-store-endpoint:7")["remote-store-insecure"], "false");
    let jobs: Value = serde_json::from_str(&told("self-profiling-endpoint:8")["scrape_jobs"]).unwrap();
    assert_eq!(
        (&jobs[0]["scheme"], &jobs[0]["tls_config"]["ca"]),
        (&json!("https"), &json!(text(names::CA_FILE)))
    );
    assert!(reconcile(&worlds::settled(&world, &writes), &mut Machine).is_settled());
}

#[test]
fn a_certificate_is_renewed_before_it_ends() {
    let mut world = related();
    let writes = reconcile(&world, &mut Machine);
    world = worlds::settled(&world, &writes);
    world.now_s = DECEMBER_S;
    let writes = reconcile(&world, &mut Machine);
    let kept = writes.keep.as_ref().unwrap();
    assert_eq!(kept.identity.key, world.identity.as_ref().unwrap().identity.key, "the key stays");
    assert!(writes.files.is_empty() && writes.layer.is_none(), "the old one is served meanwhile");
    let asked = worlds::settled(&world, &writes);
    let waiting = reconcile(&asked, &mut Machine);
    assert!(waiting.is_settled() && waiting.stale_files.is_empty(), "{waiting:?}");

    world.now_s = NEXT_YEAR_S;
    let writes = reconcile(&world, &mut Machine);
    assert!(writes.stale_files.contains(&names::CERTIFICATE_FILE.to_owned()), "an expired one is no use");
}

#[test]
fn what_does_not_fit_is_not_served() {
    let check = |answer: &dyn Fn(&str) -> String, status: &str| {
        let mut world = related();
        say(&mut world, answer);
        let writes = reconcile(&world, &mut Machine);
        assert_eq!(writes.status.to_string(), status);
        assert!(!writes.files.contains_key(names::CERTIFICATE_FILE));
    };
    let of_another_key = |own: &str| {
        let names = ["x".to_owned()];
        let other = Machine.identity(&Request { app: "x", names: &names, key: None }).unwrap();
        let mut given: Value =
            serde_json::from_str(&sign(&json!([{"certificate_signing_request": other.request}]).to_string()))
                .unwrap();
        let own: Value = serde_json::from_str(own).unwrap();
        given[0]["certificate_signing_request"] = own[0]["certificate_signing_request"].clone();
        given.to_string()
    };
    let changed = |key: &str, value: Value| {
        let key = key.to_owned();
        move |own: &str| {
            let mut given: Value = serde_json::from_str(&sign(own)).unwrap();
            given[0][&key] = value.clone();
            given.to_string()
        }
    };
    check(
        &|_| "[".to_owned(),
        "blocked: certificates: relation 4: certificates is not a list of certificates in JSON",
    );
    check(&|_| "[]".to_owned(), "waiting: certificates: waiting for a certificate");
    check(&of_another_key, "blocked: certificates: relation 4: the certificate is not of our key");
    check(&changed("revoked", json!(true)), "waiting: certificates: waiting for a certificate");
    check(
        &changed("certificate", json!("x")),
        "blocked: certificates: relation 4: the certificate cannot be read",
    );
    // A block that is good does not answer for the ones behind it.
    let followed = |key: &str, by: &str| {
        let (key, by) = (key.to_owned(), by.to_owned());
        move |own: &str| {
            let mut given: Value = serde_json::from_str(&sign(own)).unwrap();
            let text = match key.as_str() {
                "chain" => &mut given[0]["chain"][1],
                key => &mut given[0][key],
            };
            *text = json!(format!("{}{by}", text.as_str().unwrap()));
            given.to_string()
        }
    };
    const BROKEN: &str = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    for (key, message) in [
        ("certificate", "the certificate cannot be read"),
        ("chain", "the chain cannot be read"),
        ("ca", "the authority's certificate cannot be read"),
    ] {
        check(&followed(key, BROKEN), &format!("blocked: certificates: relation 4: {message}"));
    }
    check(
        &changed("ca", json!("x")),
        "blocked: certificates: relation 4: the authority's certificate cannot be read",
    );
}

#[test]
fn garbage_later_leaves_what_is_served() {
    let world = related();
    let mut world = worlds::settled(&world, &reconcile(&world, &mut Machine));
    say(&mut world, |_| "garbage".to_owned());
    let writes = reconcile(&world, &mut Machine);
    assert!(writes.is_settled());
    assert!(writes.status.to_string().starts_with("blocked: certificates: relation 4: "));
}

#[test]
fn what_cannot_be_served_with_is_not_what_was_served() {
    let world = related();
    let mut world = worlds::settled(&world, &reconcile(&world, &mut Machine));
    say(&mut world, |_| "garbage".to_owned());
    let files = &mut world.container.as_mut().unwrap().files;
    files.get_mut(names::CERTIFICATE_FILE).unwrap().extend(b"-----BEGIN CERTIFICATE-----\n");
    let writes = reconcile(&world, &mut Machine);
    assert_eq!(writes.stale_files, [names::CERTIFICATE_FILE, names::KEY_FILE, names::CA_FILE]);
}

#[test]
fn other_names_are_asked_for_anew() {
    let mut world = related();
    world.fqdn = "elsewhere.example".to_owned();
    let writes = reconcile(&world, &mut Machine);
    assert_eq!(writes.keep.unwrap().identity.names, ["elsewhere.example", "parca-k8s.cos.svc.cluster.local"]);
}

#[test]
fn a_relation_that_goes_takes_key_and_certificate_along() {
    let world = related();
    let mut world = worlds::settled(&world, &reconcile(&world, &mut Machine));
    world.relations.clear();
    let writes = reconcile(&world, &mut Machine);
    assert_eq!(writes.orphans.len(), 1);
    assert_eq!(writes.stale_files, [names::CERTIFICATE_FILE, names::KEY_FILE, names::CA_FILE]);
    assert!(!writes.layer.unwrap().services["parca"].command.as_ref().unwrap().contains("tls"));
}
