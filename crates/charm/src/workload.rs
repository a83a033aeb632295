//! The workload as it shall be: its command, its files, its layer.

use std::collections::BTreeMap;

use decima_juju::pebble::{Check, HttpCheck, Layer, LogTarget, Override, Service, Startup};
use parca_store::{Store, Transport};
use serde_json::{Value, json};

use crate::{
    names::{
        CA_FILE, CERTIFICATE_FILE, CHECK, CONFIG_FILE, FORWARD_TOKEN_FILE, GRPC_PORT, HTTP_PORT, KEY_FILE,
        LOCAL_PORT, S3_CA_FILE, SELF_JOB, SERVICE, TOKENS_FILE, TRUSTED,
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

/// Where the image has the authorities that everybody trusts.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs";
/// Nobody reads it: it is there to differ. A hash, as some of what it stands for is secret.
const FINGERPRINT_VARIABLE: &str = "DECIMA_CHARM_FINGERPRINT";
/// Enough to differ, and too little to find out what was hashed.
const FINGERPRINT_CHARS: usize = 12;
/// Anybody may read it.
const PUBLIC: u32 = 0o644;
/// Only the workload's user may.
const PRIVATE: u32 = 0o600;

/// What decides how the workload is started.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// What the operator says.
    pub options: &'a Options,
    /// A certificate to serve with.
    pub certificate: Option<&'a Certificate>,
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
    let mut text = escaped(&serde_json::to_string_pretty(&config).unwrap_or_default());
    text.push('\n');
    File { content: text.into_bytes(), permissions: if bucket.is_some() { PRIVATE } else { PUBLIC } }
}

/// JSON in which no character stands that YAML has not. All of them are in strings, and have the same escape in both; those
/// above U+FFFF have none in common, and are taken as they are.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\n' | ' '..='~' | '\u{10000}'.. => text.push(c),
            c => text.push_str(&format!("\\u{:04x}", u32::from(c))),
        }
    }
    text
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

/// The token for another store; the workload takes another one while it runs.
pub fn forward_token_file(store: &Store) -> Option<(String, File)> {
    let token = store.bearer_token.as_ref()?;
    let file = File { content: token.as_str().as_bytes().to_owned(), permissions: PRIVATE };
    Some((FORWARD_TOKEN_FILE.to_owned(), file))
}

/// The store scrapes itself, unless another one does.
pub fn self_job(world: &World) -> Value {
    let without = json!({"enabled": false});
    json!({
        "job_name": SELF_JOB,
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
    let service = Service {
        r#override: Override::Replace,
        summary: Some("Decima, a store for profiles".to_owned()),
        startup: Some(Startup::Enabled),
        command: Some(command(wanted)),
        environment: environment(wanted),
        ..Service::default()
    };
    let ready = Check {
        r#override: Override::Replace,
        level: Some("ready".to_owned()),
        period: Some("5s".to_owned()),
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
        checks: BTreeMap::from([(CHECK.to_owned(), ready)]),
        log_targets,
    }
}

/// Whom the workload trusts, and a word that changes with what it reads at its start only: another word is another
/// service, which is started anew.
fn environment(wanted: &Wanted<'_>) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    let mut read_at_start = String::new();
    if let Some(certificate) = wanted.certificate {
        environment.insert("SSL_CERT_DIR".to_owned(), format!("{SYSTEM_AUTHORITIES}:{TRUSTED}"));
        read_at_start.push_str(&certificate.ca);
    }
    if let Some(bucket) = wanted.bucket {
        read_at_start.push_str(&bucket.object_storage.to_string());
        read_at_start.push_str(bucket.authorities.as_deref().unwrap_or_default());
    }
    if !read_at_start.is_empty() {
        let word = Token::hash_of(&read_at_start).chars().take(FINGERPRINT_CHARS).collect();
        environment.insert(FINGERPRINT_VARIABLE.to_owned(), word);
    }
    environment
}

/// The line in which the workload says why it ends, or else what it said last.
pub fn last_words<'a>(output: impl DoubleEndedIterator<Item = &'a str>) -> Option<&'a str> {
    let lines = output.map(str::trim).filter(|line| !line.is_empty() && *line != "(...)");
    let mut last = None;
    for line in lines.rev() {
        if is_reason(line) {
            return Some(line);
        }
        last = last.or(Some(line));
    }
    last
}

/// Whether the workload says in this line why it ends.
pub fn is_reason(line: &str) -> bool {
    line.starts_with("error: ")
}

/// Program and flags in one line.
fn command(wanted: &Wanted<'_>) -> String {
    let Wanted { options, forward, .. } = *wanted;
    let mut words = vec![
        "/parca".to_owned(),
        format!("--config-path={CONFIG_FILE}"),
        format!("--http-address=localhost:{LOCAL_PORT}"),
        format!("--http-address=:{GRPC_PORT}"),
        format!("--http-address=:{HTTP_PORT}"),
        format!("--auth-tokens-file={TOKENS_FILE}"),
    ];
    words.extend(options.flags());
    if wanted.certificate.is_some() {
        words.push(format!("--tls-cert-file={CERTIFICATE_FILE}"));
        words.push(format!("--tls-key-file={KEY_FILE}"));
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

    fn certificate(ca: &str) -> Certificate {
        Certificate { chain: "chain".to_owned(), key: "key".to_owned(), ca: ca.to_owned() }
    }

    fn line(options: &Options, certificate: Option<&Certificate>, forward: Option<&Store>) -> String {
        command(&Wanted { options, certificate, forward, bucket: None })
    }

    #[test]
    fn commands() {
        let options = Options { enable_persistence: true, ..Options::default() };
        assert_eq!(
            line(&options, None, None),
            "/parca --config-path=/etc/parca/parca.yaml --http-address=localhost:7070 --http-address=:7993 --http-address=:7994 \
             --auth-tokens-file=/etc/parca/tokens.json --auth-anonymous=read --enable-persistence --storage-path=/var/lib/parca/decima"
        );
        let options = Options { require_sign_in: true, memory_storage_limit_mib: 2, ..Options::default() };
        let store = Store {
            address: "[fd00::1]:7070".to_owned(),
            bearer_token: BearerToken::new("it's").ok(),
            transport: Transport::Plaintext,
        };
        let line = line(&options, Some(&certificate("ca")), Some(&store));
        assert!(
            line.contains("--tls-cert-file=/etc/parca/server.crt --tls-key-file=/etc/parca/server.key"),
            "{line}"
        );
        assert!(line.contains("--auth-anonymous=metrics"), "{line}");
        assert!(line.contains("--head-memory=16MiB"), "the least that it can do with: {line}");
        assert!(line.contains("'--store-address=[fd00::1]:7070'"), "{line}");
        assert!(line.ends_with("--insecure=true --mode=scraper-only"), "{line}");
        assert!(!line.contains("it's"), "a token is not for the list of processes: {line}");
    }

    #[test]
    fn memory_has_a_limit_if_profiles_are_not_kept() {
        let check = |memory_storage_limit_mib: u64, enable_persistence: bool, expected: Option<&str>| {
            let options = Options { memory_storage_limit_mib, enable_persistence, ..Options::default() };
            let line = line(&options, None, None);
            let flag = line.split(' ').find(|word| word.starts_with("--head-memory="));
            assert_eq!(flag, expected, "{memory_storage_limit_mib} MiB");
        };
        check(4096, false, None);
        check(1024, false, None);
        check(512, false, Some("--head-memory=512MiB"));
        check(512, true, None);
    }

    #[test]
    fn a_token_has_a_file_of_its_own() {
        let store = |token: &str| Store {
            address: "h:1".to_owned(),
            bearer_token: BearerToken::new(token).ok(),
            transport: Transport::Tls,
        };
        let (_, file) = forward_token_file(&store("one")).unwrap();
        assert_eq!((file.content.as_slice(), file.permissions), (&b"one"[..], 0o600));
        assert_eq!(forward_token_file(&store("")), None);
    }

    #[test]
    fn another_authority_is_another_start() {
        let options = Options::default();
        let with = |certificate: Option<&Certificate>| {
            environment(&Wanted { options: &options, certificate, forward: None, bucket: None })
        };
        assert!(with(None).is_empty());
        let (one, other) = (with(Some(&certificate("one"))), with(Some(&certificate("other"))));
        assert_eq!(one["SSL_CERT_DIR"], "/etc/ssl/certs:/etc/parca/trusted");
        assert_ne!(one, other);
        let renewed = Certificate { chain: "another".to_owned(), ..certificate("one") };
        assert_eq!(with(Some(&renewed)), one, "the workload takes another certificate while it runs");
    }

    #[test]
    fn what_a_workload_said_last() {
        let check = |output: &str, expected: Option<&str>| {
            assert_eq!(last_words(output.lines()), expected, "{output:?}");
        };
        check("level=info\n  error: cannot listen on :1  \n(...)\n", Some("error: cannot listen on :1"));
        check("error: old\nerror: new\nlevel=info", Some("error: new"));
        check("one\ntwo\n\n", Some("two"));
        check("(...)\n", None);
    }

    #[test]
    fn words_are_quoted_for_pebble() {
        assert_eq!(quoted("--a=b"), "--a=b");
        assert_eq!(quoted("a b'c"), "'a b'\\''c'");
    }
}
