//! The workload as it shall be: its command, its files, its layer.

use std::collections::BTreeMap;

use decima_juju::pebble::{Check, HttpCheck, Layer, LogTarget, Override, Service, Startup};
use parca_store::{Store, Transport};
use serde_json::{Value, json};

use crate::{
    names::{
        CA_FILE, CERTIFICATE_FILE, CONFIG_FILE, DATA, FORWARD_TOKEN_FILE, GRPC_PORT, HTTP_PORT, KEY_FILE,
        LOCAL_PORT, S3_CA_FILE, SERVICE, TOKENS_FILE, TRANSIENT_DATA,
    },
    options::Options,
    relations::{certificates::Certificate, profiling, s3::Bucket},
    token::Token,
    world::World,
};

/// A file in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// What it holds.
    pub content: Vec<u8>,
    /// Who may do what.
    pub permissions: u32,
}

/// Tells the service with one bucket from that with another; nobody reads it.
const BUCKET_VARIABLE: &str = "DECIMA_BUCKET_FINGERPRINT";
/// Anybody may read it.
const PUBLIC: u32 = 0o644;
/// Only the workload's user may.
const PRIVATE: u32 = 0o600;

/// What decides how the workload is started.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// What the operator says.
    pub options: &'a Options,
    /// Whether there is a certificate to serve with.
    pub is_tls: bool,
    /// Another store to which everything is sent on.
    pub forward: Option<&'a Store>,
    /// A bucket to store in.
    pub bucket: Option<&'a Bucket>,
}

/// The configuration: what to scrape, and a bucket, whose keys are for the workload alone. JSON, which is YAML.
pub fn config_file(jobs: &[Value], bucket: Option<&Bucket>) -> File {
    let mut config = json!({"scrape_configs": jobs});
    if let Some(bucket) = bucket {
        config["object_storage"] = bucket.object_storage.clone();
    }
    let mut content = serde_json::to_vec_pretty(&config).unwrap_or_default();
    content.push(b'\n');
    File { content, permissions: if bucket.is_some() { PRIVATE } else { PUBLIC } }
}

/// Authorities that sign for the bucket's endpoint.
pub fn bucket_authorities_file(bucket: &Bucket) -> Option<(String, File)> {
    let content = bucket.authorities.clone()?.into_bytes();
    Some((S3_CA_FILE.to_owned(), File { content, permissions: PUBLIC }))
}

/// The tokens file.
pub fn tokens_file(content: Vec<u8>) -> File {
    File { content, permissions: PRIVATE }
}

/// The files of a certificate, by path.
pub fn certificate_files(certificate: &Certificate) -> [(String, File); 3] {
    let file = |path: &str, text: &str, permissions| {
        (path.to_owned(), File { content: text.as_bytes().to_owned(), permissions })
    };
    [
        file(CERTIFICATE_FILE, &certificate.chain, PUBLIC),
        file(KEY_FILE, &certificate.key, PRIVATE),
        file(CA_FILE, &certificate.ca, PUBLIC),
    ]
}

/// The token for another store, in a file whose name changes with it: the workload reads it at its start only.
pub fn forward_token_file(store: &Store) -> Option<(String, File)> {
    let token = store.bearer_token.as_ref()?;
    let hash: String = Token::hash_of(token.as_str()).chars().take(12).collect();
    let file = File { content: token.as_str().as_bytes().to_owned(), permissions: PRIVATE };
    Some((format!("{FORWARD_TOKEN_FILE}{hash}"), file))
}

/// The store scrapes itself, unless another one does.
pub fn self_job(world: &World) -> Value {
    let without = json!({"enabled": false});
    json!({
        "job_name": "parca",
        // Of Parca's defaults, what only programs in Go have.
        "profiling_config": {"pprof_config": {"block": without, "goroutine": without, "mutex": without}},
        "static_configs": [{
            "targets": [format!("localhost:{LOCAL_PORT}")],
            "labels": {
                "juju_model": world.model_name,
                "juju_model_uuid": world.model_uuid,
                "juju_application": world.unit.app().as_str(),
                "juju_unit": world.unit.to_string(),
                "juju_charm": crate::names::CHARM,
            },
        }],
        "relabel_configs": [profiling::instance_rule()],
    })
}

/// The layer of the workload.
pub fn layer(wanted: &Wanted<'_>, log_targets: BTreeMap<String, LogTarget>) -> Layer {
    // The workload opens its store at its start only, so another bucket is another service.
    let bucket = wanted.bucket.map(|bucket| (BUCKET_VARIABLE.to_owned(), bucket.fingerprint()));
    let service = Service {
        r#override: Override::Replace,
        summary: Some("Decima, a store for profiles".to_owned()),
        startup: Some(Startup::Enabled),
        command: Some(command(wanted)),
        environment: bucket.into_iter().collect(),
        ..Service::default()
    };
    let ready = Check {
        r#override: Override::Replace,
        level: Some("ready".to_owned()),
        period: Some("10s".to_owned()),
        timeout: Some("3s".to_owned()),
        threshold: Some(3),
        http: Some(HttpCheck {
            url: format!("http://localhost:{LOCAL_PORT}/ready"),
            headers: BTreeMap::new(),
        }),
        tcp: None,
    };
    Layer {
        summary: "The workload of the charm".to_owned(),
        services: BTreeMap::from([(SERVICE.to_owned(), service)]),
        checks: BTreeMap::from([("ready".to_owned(), ready)]),
        log_targets,
    }
}

/// Program and flags in one line.
fn command(wanted: &Wanted<'_>) -> String {
    let Wanted { options, is_tls, forward, .. } = *wanted;
    let mut words = vec![
        "/parca".to_owned(),
        format!("--config-path={CONFIG_FILE}"),
        format!("--http-address=localhost:{LOCAL_PORT}"),
        format!("--http-address=:{GRPC_PORT}"),
        format!("--http-address=:{HTTP_PORT}"),
        format!("--auth-tokens-file={TOKENS_FILE}"),
        format!("--auth-anonymous={}", if options.require_sign_in { "metrics" } else { "read" }),
    ];
    if is_tls {
        words.push(format!("--tls-cert-file={CERTIFICATE_FILE}"));
        words.push(format!("--tls-key-file={KEY_FILE}"));
    }
    if options.enable_persistence {
        words.push("--enable-persistence".to_owned());
        words.push(format!("--storage-path={DATA}"));
    } else {
        words.push(format!("--storage-path={TRANSIENT_DATA}"));
        words.push(format!("--storage-active-memory={}", options.memory_storage_limit_mib << 20));
    }
    if let Some(store) = forward {
        words.push(format!("--store-address={}", store.address));
        if let Some((path, _)) = forward_token_file(store) {
            words.push(format!("--bearer-token-file={path}"));
        }
        words.push(format!("--insecure={}", store.transport == Transport::Plaintext));
        words.push("--mode=scraper-only".to_owned());
    }
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// A word as Pebble reads it back.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&byte);
    if word.bytes().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use parca_store::BearerToken;

    use super::*;

    fn line(options: &Options, is_tls: bool, forward: Option<&Store>) -> String {
        command(&Wanted { options, is_tls, forward, bucket: None })
    }

    #[test]
    fn commands() {
        let options = Options { enable_persistence: true, ..Options::default() };
        assert_eq!(
            line(&options, false, None),
            "/parca --config-path=/etc/parca/parca.yaml --http-address=localhost:7070 --http-address=:7993 --http-address=:7994 \
             --auth-tokens-file=/etc/parca/tokens.json --auth-anonymous=read --enable-persistence --storage-path=/var/lib/parca/decima"
        );
        let options = Options { require_sign_in: true, memory_storage_limit_mib: 2, ..Options::default() };
        let store = Store {
            address: "[fd00::1]:7070".to_owned(),
            bearer_token: BearerToken::new("it's").ok(),
            transport: Transport::Plaintext,
        };
        let line = line(&options, true, Some(&store));
        assert!(
            line.contains("--tls-cert-file=/etc/parca/server.crt --tls-key-file=/etc/parca/server.key"),
            "{line}"
        );
        assert!(line.contains("--auth-anonymous=metrics"), "{line}");
        assert!(line.contains("--storage-active-memory=2097152"), "{line}");
        assert!(line.contains("'--store-address=[fd00::1]:7070'"), "{line}");
        assert!(line.ends_with("--insecure=true --mode=scraper-only"), "{line}");
        assert!(!line.contains("it's"), "a token is not for the list of processes: {line}");
    }

    #[test]
    fn another_token_is_another_file() {
        let store = |token: &str| Store {
            address: "h:1".to_owned(),
            bearer_token: BearerToken::new(token).ok(),
            transport: Transport::Tls,
        };
        let (one, file) = forward_token_file(&store("one")).unwrap();
        assert_eq!((file.content.as_slice(), file.permissions), (&b"one"[..], 0o600));
        assert_ne!(one, forward_token_file(&store("other")).unwrap().0);
        assert_eq!(forward_token_file(&store("")), None);
    }

    #[test]
    fn words_are_quoted_for_pebble() {
        assert_eq!(quoted("--a=b"), "--a=b");
        assert_eq!(quoted("a b'c"), "'a b'\\''c'");
    }
}
