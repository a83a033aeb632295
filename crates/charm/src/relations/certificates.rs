//! `tls-certificates`, requiring: the store gets a certificate for the names by which it is reached.
//!
//! Key and request live in a secret of the unit. A certificate counts only if it was given for this very request, is of
//! this key, and is in its time. One that has used nine tenths of its life is asked for anew; until the new one is there
//! the old one stays.

use decima_juju::SecretId;
use rcgen::{KeyPair, PublicKeyData};
use serde::Deserialize;
use serde_json::json;
use x509_parser::x509::X509Version;

use super::{Problem, Wanted, grafana, pem};
use crate::{
    mint::{Identity, Mint, Request},
    names::CERTIFICATES,
    world::World,
};

/// Texts of a chain, at most.
const CHAIN_MAX: usize = 64;
/// Part of a certificate's life after which it is asked for anew.
const RENEWAL_PERCENT: i64 = 90;

/// What a provider gives for one request.
#[derive(Deserialize)]
struct Given {
    ca: String,
    certificate_signing_request: String,
    certificate: String,
    #[serde(default)]
    chain: Vec<String>,
    #[serde(default)]
    revoked: Option<bool>,
}

/// A certificate to serve with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// It and those between it and the authority, in PEM.
    pub chain: String,
    /// Its private key, in PEM.
    pub key: String,
    /// The authority's, in PEM.
    pub ca: String,
}

/// A key and request to be kept, in the place of the secret if there is one.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptIdentity {
    /// The unit's secret that holds the one before.
    pub secret: Option<SecretId>,
    /// Key and request.
    pub identity: Identity,
}

/// What is to be done about the certificate.
#[derive(Debug, Default)]
pub struct Reading {
    /// A key and request to be kept.
    pub keep: Option<KeptIdentity>,
    /// A secret that nothing needs any more.
    pub orphan: Option<SecretId>,
    /// What this unit tells the provider.
    pub wanted: Wanted,
    /// What to serve with.
    pub certificate: Option<Certificate>,
}

/// Reads the relation, and makes a request if there is none that fits.
pub fn read(world: &World, mint: &mut dyn Mint, problems: &mut Vec<Problem>) -> Reading {
    let Some(relation) = world.of(CERTIFICATES).next() else {
        let orphan = world.identity.as_ref().and_then(|kept| kept.secret.clone());
        return Reading { orphan, ..Reading::default() };
    };
    let names = names(world);
    let kept = world.identity.as_ref();
    let fits = kept.filter(|kept| kept.identity.names == names);
    let mut certificate = None;
    if let Some(kept) = fits {
        match given(&relation.remote, &kept.identity) {
            Ok(Some(found)) => certificate = Some(found),
            Ok(None) => {}
            Err(message) => problems.push(Problem::of(&relation.id, message)),
        }
    }
    let age = certificate.as_ref().map(|certificate| age(&certificate.chain, world.now_s));
    match age {
        Some(Age::Over) => {
            problems
                .push(Problem::passing(CERTIFICATES, "the certificate has expired; waiting for another one"));
            certificate = None;
        }
        Some(Age::Early) => {
            problems.push(Problem::passing(CERTIFICATES, "the certificate is not valid yet"));
            certificate = None;
        }
        _ => {}
    }
    let served = certificate.or_else(|| served(world));
    if served.is_none() && !problems.iter().any(|problem| problem.place == CERTIFICATES) {
        problems.push(Problem::passing(CERTIFICATES, "waiting for a certificate"));
    }
    if let Some(kept) = fits.filter(|_| !matches!(age, Some(Age::Late | Age::Over))) {
        return Reading { wanted: request(&kept.identity), certificate: served, ..Reading::default() };
    }
    let key = kept.map(|kept| kept.identity.key.as_str());
    match mint.identity(&Request { app: world.unit.app().as_str(), names: &names, key }) {
        Ok(identity) => Reading {
            wanted: request(&identity),
            keep: Some(KeptIdentity { secret: kept.and_then(|kept| kept.secret.clone()), identity }),
            certificate: served,
            orphan: None,
        },
        Err(error) => {
            problems.push(Problem::passing(CERTIFICATES, error.to_string()));
            Reading { certificate: served, ..Reading::default() }
        }
    }
}

/// Names by which the server is reached: the unit's, and the service's that Grafana is told.
fn names(world: &World) -> Vec<String> {
    let mut names = vec![world.fqdn.clone(), grafana::service_name(world)];
    names.dedup();
    names
}

fn request(identity: &Identity) -> Wanted {
    let requests = json!([{"certificate_signing_request": identity.request, "ca": false}]);
    vec![("certificate_signing_requests", requests.to_string())]
}

/// The certificate for this request in what the provider wrote.
fn given(
    remote: &std::collections::BTreeMap<String, String>,
    identity: &Identity,
) -> Result<Option<Certificate>, &'static str> {
    let Some(text) = remote.get("certificates") else { return Ok(None) };
    let all: Vec<Given> =
        serde_json::from_str(text).map_err(|_| "certificates is not a list of certificates in JSON")?;
    let ours = all.into_iter().find(|given| {
        given.certificate_signing_request.trim() == identity.request && given.revoked != Some(true)
    });
    let Some(given) = ours else { return Ok(None) };
    let own = pem::certificates(&given.certificate).ok_or("the certificate cannot be read")?;
    let leaf = own.first().filter(|leaf| is_of(leaf, &identity.key));
    let leaf = leaf.ok_or("the certificate is not of our key")?;
    let ca = pem::certificates(&given.ca).ok_or("the authority's certificate cannot be read")?;
    if given.chain.len() > CHAIN_MAX {
        return Err("the chain is too long");
    }
    let mut chain = vec![leaf.clone()];
    let given: Option<Vec<_>> = given.chain.iter().map(|text| pem::certificates(text)).collect();
    for link in own.iter().chain(given.ok_or("the chain cannot be read")?.iter().flatten()) {
        // Providers differ in whether the chain begins with the certificate itself.
        if !chain.contains(link) {
            chain.push(link.clone());
        }
    }
    Ok(Some(Certificate { chain: chain.concat(), key: identity.key.clone(), ca: ca.concat() }))
}

/// What the workload serves with now, if it is of our key and in its time: it stays until there is another one.
fn served(world: &World) -> Option<Certificate> {
    let files = &world.container.as_ref()?.files;
    let text = |path: &str| String::from_utf8(files.get(path)?.clone()).ok();
    let found = Certificate {
        chain: text(crate::names::CERTIFICATE_FILE)?,
        key: text(crate::names::KEY_FILE)?,
        ca: text(crate::names::CA_FILE)?,
    };
    let is_ours = world.identity.as_ref().is_some_and(|kept| kept.identity.key == found.key);
    let is_good = is_ours
        && [&found.chain, &found.ca].into_iter().all(|text| pem::certificates(text).is_some())
        && is_of(&found.chain, &found.key)
        && matches!(age(&found.chain, world.now_s), Age::Fresh | Age::Late);
    is_good.then_some(found)
}

/// How far a certificate is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    Early,
    Fresh,
    /// It is good, and to be renewed.
    Late,
    Over,
}

fn age(text: &str, now_s: i64) -> Age {
    let validity = pem::first(text, |certificate| {
        let validity = certificate.validity();
        (validity.not_before.timestamp(), validity.not_after.timestamp())
    });
    let Some((from, to)) = validity else { return Age::Over };
    let life = to.saturating_sub(from).max(0);
    match now_s {
        now if now < from => Age::Early,
        now if now >= to => Age::Over,
        now if now - from >= life / 100 * RENEWAL_PERCENT => Age::Late,
        _ => Age::Fresh,
    }
}

/// Whether a certificate is of a private key, and of the only version that a server can show.
fn is_of(text: &str, key: &str) -> bool {
    let Ok(key) = KeyPair::from_pem(key) else { return false };
    let is_of_key = pem::first(text, |certificate| {
        certificate.version() == X509Version::V3
            && certificate.public_key().raw == key.subject_public_key_info()
    });
    is_of_key == Some(true)
}

#[cfg(test)]
pub(crate) mod tests;
