//! `s3` (version 0), requiring: profiles are stored in a bucket.
//!
//! Who offers a bucket may offer the same one to everybody, so that what is ours is below a prefix with the names of the
//! model and the application. Redeployed under the same names, the store finds what it had.
//!
//! A store does not change its place because of a mistake: as long as the relation is there and cannot be used, the
//! workload stays with the bucket that it has.

use std::fmt;

use parca_store::External;
use serde_json::{Value, json};

use super::{Problem, Wanted, is_host, pem};
use crate::{
    names::{CONFIG_FILE, S3, S3_CA_FILE},
    world::{Relation, World},
};

/// The bucket that is asked for, where the other side makes one.
const BUCKET: &str = "parca";
/// Longest value of a setting.
const SETTING_BYTES_MAX: usize = 1024;
/// Certificates of authorities, at most.
const AUTHORITIES_MAX: usize = 64;

/// A bucket, as the workload's configuration has it. Its `Debug` output does not show the keys.
#[derive(Clone, PartialEq)]
pub struct Bucket {
    /// `object_storage` of the configuration.
    pub object_storage: Value,
    /// Authorities to trust besides the system's, in PEM.
    pub authorities: Option<String>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").finish_non_exhaustive()
    }
}

/// What the application says: the bucket that it would like.
pub fn wanted() -> Wanted {
    vec![("bucket", BUCKET.to_owned())]
}

/// The bucket to store in, if there is one.
pub fn read(world: &World, problems: &mut Vec<Problem>) -> Option<Bucket> {
    let mut relations = world.of(S3);
    let relation = relations.next()?;
    let reading = match relations.next() {
        Some(_) => Err(Problem::blocking(S3, "related to more than one bucket; remove all but one")),
        None => offered(relation, world).map_err(|message| Problem::of(&relation.id, message)),
    };
    match reading {
        Ok(Some(bucket)) => return Some(bucket),
        Ok(None) => problems.push(Problem::passing(S3, "waiting for the bucket, its endpoint and keys")),
        Err(problem) => problems.push(problem),
    }
    used(world)
}

/// The bucket that the workload has now.
fn used(world: &World) -> Option<Bucket> {
    let files = &world.container.as_ref()?.files;
    let config: Value = serde_json::from_slice(files.get(CONFIG_FILE)?).ok()?;
    let object_storage = config.get("object_storage")?.clone();
    let authorities = files.get(S3_CA_FILE).and_then(|file| String::from_utf8(file.clone()).ok());
    Some(Bucket { object_storage, authorities })
}

/// The bucket that is offered, once all that it needs is there.
fn offered(relation: &Relation, world: &World) -> Result<Option<Bucket>, String> {
    let said = |key: &str| setting(relation, key);
    let (endpoint, bucket) = (said("endpoint")?, said("bucket")?);
    let (access_key, secret_key) = (said("access-key")?, said("secret-key")?);
    let (Some(endpoint), Some(bucket), Some(access_key), Some(secret_key)) =
        (endpoint, bucket, access_key, secret_key)
    else {
        return Ok(None);
    };
    let (endpoint, is_insecure) = address(&endpoint).ok_or("endpoint is not a URL of a host")?;
    if !is_host(&bucket) || bucket.starts_with('[') {
        return Err("bucket is not the name of one".to_owned());
    }
    let region = said("region")?.unwrap_or_default();
    let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if !is_word(&region) {
        return Err("region is not the name of one".to_owned());
    }
    let lookup = match said("s3-uri-style")?.as_deref() {
        None => "auto",
        Some("path") => "path",
        Some("host") => "virtual-hosted",
        Some(_) => return Err("s3-uri-style is neither path nor host".to_owned()),
    };
    let authorities = authorities(relation)?;
    let mut config = json!({
        "bucket": bucket,
        "endpoint": endpoint,
        "region": region,
        "access_key": access_key,
        "secret_key": secret_key,
        "insecure": is_insecure,
        "bucket_lookup_type": lookup,
    });
    if authorities.is_some() {
        config["http_config"] = json!({"tls_config": {"ca_file": S3_CA_FILE}});
    }
    let prefix =
        prefix(said("path")?.as_deref(), world).ok_or("path is not a path of letters, digits and -_.")?;
    let object_storage = json!({"bucket": {"type": "S3", "prefix": prefix, "config": config}});
    Ok(Some(Bucket { object_storage, authorities }))
}

/// A setting: text, or text in JSON, as the library of the relation reads it. Its keys are text whatever they look like.
fn setting(relation: &Relation, key: &str) -> Result<Option<String>, String> {
    let Some(text) = relation.remote.get(key).filter(|text| !text.is_empty()) else { return Ok(None) };
    let text = serde_json::from_str::<String>(text).unwrap_or_else(|_| text.clone());
    let fits = text.len() <= SETTING_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    match fits {
        true => Ok(Some(text).filter(|text| !text.is_empty())),
        false => Err(format!("{key} cannot be used")),
    }
}

/// Host and perhaps port of a URL, and whether it is one without TLS. Without a scheme it is with.
fn address(url: &str) -> Option<(String, bool)> {
    let (rest, is_insecure) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => (rest, true),
        (_, Some(rest)) => (rest, false),
        _ => (url, false),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    External::verbatim(rest).is_ok().then(|| (rest.to_owned(), is_insecure))
}

/// Authorities that sign for the endpoint.
fn authorities(relation: &Relation) -> Result<Option<String>, String> {
    let Some(text) = relation.remote.get("tls-ca-chain").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let chain: Vec<String> =
        serde_json::from_str(text).map_err(|_| "tls-ca-chain is not a list of certificates in JSON")?;
    if chain.len() > AUTHORITIES_MAX {
        return Err(format!("tls-ca-chain has more than {AUTHORITIES_MAX} certificates"));
    }
    let mut authorities = String::new();
    for (index, text) in chain.iter().enumerate() {
        let found = pem::certificates(text);
        let found = found.ok_or_else(|| format!("tls-ca-chain[{index}] is not a certificate in PEM"))?;
        authorities.extend(found);
    }
    Ok(Some(authorities).filter(|authorities| !authorities.is_empty()))
}

/// What goes before the names of objects.
fn prefix(path: Option<&str>, world: &World) -> Option<String> {
    let path = path.unwrap_or_default().trim_matches('/');
    let fits = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
            && !["", ".", ".."].contains(&part)
    };
    if !path.is_empty() && !path.split('/').all(fits) {
        return None;
    }
    let ours = format!("decima/{}/{}", world.model_name, world.unit.app());
    Some(if path.is_empty() { ours } else { format!("{path}/{ours}") })
}

#[cfg(test)]
mod tests;
