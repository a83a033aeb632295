use decima_store::bucket::{
    Azure, BucketKind, BucketLookup, Gcs, Http, S3, S3Encryption, Secret as BucketSecret,
};

use super::*;

mod discovery;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, "parca.yaml", Path::new("/etc/parca")).map_err(|error| error.to_string())
}

/// The only job of a configuration whose job has these lines besides its name, which is on line 2.
fn job(lines: &str) -> ScrapeConfig {
    parse(&job_text(lines)).unwrap().scrape_configs.remove(0)
}

fn job_text(lines: &str) -> String {
    let mut text = "scrape_configs:\n- job_name: api\n".to_owned();
    for line in lines.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

#[track_caller]
fn check_refused(text: &str, expected: &str) {
    assert_eq!(parse(text).map(|_| ()).unwrap_err(), expected, "{text}");
}

#[track_caller]
fn check_job_refused(lines: &str, expected: &str) {
    check_refused(&job_text(lines), expected);
}

#[test]
fn defaults() {
    let config = parse("# Parca's own example\nobject_storage:\n  bucket:\n    type: \"FILESYSTEM\"\n    config:\n      directory: \"./data\"\nscrape_configs:\n  - job_name: default\n    scrape_interval: 3s\n    static_configs:\n      - targets: [\"127.0.0.1:7070\", '[::1]:80']\n        labels: {env: test, shard: 1}\n").unwrap();
    let storage = config.object_storage.unwrap();
    assert_eq!(storage.kind, BucketKind::Filesystem { directory: "./data".into() });
    let [job] = config.scrape_configs.as_slice() else { panic!() };
    assert_eq!((job.job_name.as_str(), job.scheme), ("default", Scheme::Http));
    assert_eq!((job.scrape_interval, job.scrape_timeout), (Duration::from_secs(3), Duration::from_secs(6)));
    assert_eq!(job.http_client, HttpClientConfig::default());
    assert!(!job.http_client.no_redirects && !job.http_client.http1_only);
    let endpoints: Vec<_> =
        job.endpoints.iter().map(|(name, e)| (name.as_str(), e.path.as_str(), e.delta_seconds)).collect();
    assert_eq!(
        endpoints,
        [
            ("block", "/debug/pprof/block", None),
            ("goroutine", "/debug/pprof/goroutine", None),
            ("memory", "/debug/pprof/allocs", None),
            ("mutex", "/debug/pprof/mutex", None),
            ("process_cpu", "/debug/pprof/profile", Some(3)),
        ]
    );
    let [group] = job.static_configs.as_slice() else { panic!() };
    let addresses: Vec<_> = group.targets.iter().map(|labels| labels["__address__"].as_str()).collect();
    assert_eq!(addresses, ["127.0.0.1:7070", "[::1]:80"]);
    assert_eq!(group.labels, BTreeMap::from([("env".into(), "test".into()), ("shard".into(), "1".into())]));
}

#[test]
fn profiling_config() {
    let job = job(
        "scrape_interval: 20s\nprofiling_config:\n  path_prefix: /proxy/api/\n  pprof_config:\n    block: {enabled: false}\n    mutex: {enabled: false}\n    memory:\n      path: heap\n      keep_sample_type: [{type: inuse_space, unit: bytes}]\n    process_cpu:\n      seconds: 5\n    fgprof: {enabled: true, path: /debug/fgprof, delta: true}\n    unused: {path: /x}\n",
    );
    let endpoints: Vec<_> =
        job.endpoints.iter().map(|(name, e)| (name.as_str(), e.path.as_str(), e.delta_seconds)).collect();
    assert_eq!(
        endpoints,
        [
            ("fgprof", "/proxy/api/debug/fgprof", Some(20)),
            ("goroutine", "/proxy/api/debug/pprof/goroutine", None),
            ("memory", "/proxy/api/heap", None),
            ("process_cpu", "/proxy/api/debug/pprof/profile", Some(5)),
        ]
    );
    assert_eq!(
        job.endpoints["memory"].keep_sample_type,
        [SampleType { kind: "inuse_space".into(), unit: "bytes".into() }]
    );
}

#[test]
fn http_client() {
    let client = |lines: &str| job(lines).http_client;
    let file = |path: &str| SecretSource::File(path.into());
    let inline = |text: &str| SecretSource::Inline(Secret::new(text));
    let bearer = |credentials| {
        Some(Credentials::Authorization { scheme: "Bearer".into(), credentials: Some(credentials) })
    };

    let basic =
        Credentials::Basic { username: Some(inline("u")), password: Some(file("/etc/parca/secrets/pw")) };
    assert_eq!(client("basic_auth: {username: u, password_file: secrets/pw}").credentials, Some(basic));
    assert_eq!(client("bearer_token: t").credentials, bearer(inline("t")));
    assert_eq!(client("bearer_token_file: /run/token").credentials, bearer(file("/run/token")));
    assert_eq!(client("authorization: {credentials: t}").credentials, bearer(inline("t")));
    let token =
        Credentials::Authorization { scheme: "Token".into(), credentials: Some(file("/etc/parca/t")) };
    assert_eq!(client("authorization:\n  type: Token\n  credentials_file: t").credentials, Some(token));

    let tls = client("tls_config:\n  ca_file: ca.pem\n  cert_file: c.pem\n  key_file: k.pem\n  server_name: api.test\n  min_version: TLS13").tls;
    let expected = TlsConfig {
        ca: Some(file("/etc/parca/ca.pem")),
        cert: Some(file("/etc/parca/c.pem")),
        key: Some(file("/etc/parca/k.pem")),
        server_name: Some("api.test".into()),
        insecure_skip_verify: false,
        min_version: Some(TlsVersion::Tls13),
        max_version: None,
    };
    assert_eq!(tls, expected);

    let other = client(
        "follow_redirects: false\nenable_http2: false\nproxy_url: http://u:p@proxy:3128\nno_proxy: .local\nhttp_headers:\n  X-Scope:\n    values: [a]\n    secrets: [b]\n    files: [c]",
    );
    assert!(other.no_redirects && other.http1_only);
    assert_eq!(
        other.proxy,
        Proxy::Url { url: Secret::new("http://u:p@proxy:3128"), no_proxy: ".local".into() }
    );
    assert_eq!(other.headers, [("X-Scope".to_owned(), vec![inline("a"), inline("b"), file("/etc/parca/c")])]);
    assert!(!format!("{other:?}").contains("u:p"), "secrets do not show");
    assert_eq!(client("proxy_from_environment: true").proxy, Proxy::Environment);
}

#[test]
fn relabel_configs() {
    let job = job(
        "relabel_configs:\n- source_labels: [__address__]\n  target_label: host\n  regex: '([^:]+):.*'\n- regex: tmp_.*\n  action: labeldrop",
    );
    let mut labels = BTreeMap::from([
        ("__address__".to_owned(), "api:80".to_owned()),
        ("tmp_x".to_owned(), "1".to_owned()),
    ]);
    assert!(crate::relabel::relabel(&mut labels, &job.relabel_configs));
    let expected = [("__address__", "api:80"), ("host", "api")];
    assert_eq!(labels, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[test]
fn not_a_configuration() {
    check_refused("", "parca.yaml:1: empty config");
    check_refused("# nothing\n\n", "parca.yaml:1: empty config");
    check_refused("scrape_configs: 3\n", "parca.yaml:1: scrape_configs: expected sequence start");
    check_refused(
        "scrape_config: []\n",
        "parca.yaml:1: scrape_config: unknown field `scrape_config`, expected one of object_storage, scrape_configs",
    );
    check_refused(
        "scrape_configs:\n- job_name: a\n  job_name: b\n",
        "parca.yaml:3: scrape_configs[0]: duplicate key `job_name`",
    );
    let error = parse("scrape_configs:\n- job_name: [a\n").map(|_| ()).unwrap_err();
    assert!(error.starts_with("parca.yaml:"), "{error}");
}

#[test]
fn object_storage_refused() {
    check_refused("object_storage: {}\n", "parca.yaml:1: object_storage.bucket: bucket is missing");
    check_refused(
        "object_storage:\n  bucket:\n    config: {directory: x}\n",
        "parca.yaml:3: object_storage.bucket.type: type is missing",
    );
    check_refused(
        "object_storage:\n  bucket:\n    type: FILESYSTEM\n",
        "parca.yaml:3: object_storage.bucket.config: config is missing",
    );
    check_refused(
        "object_storage:\n  bucket:\n    type: SWIFT\n    config: {}\n",
        "parca.yaml:3: object_storage.bucket.type: buckets of type SWIFT are not supported; FILESYSTEM, S3, GCS and AZURE are",
    );
    check_refused(
        "object_storage:\n  bucket:\n    type: TAPE\n    config: {}\n",
        "parca.yaml:3: object_storage.bucket.type: there are no buckets of type \"TAPE\"; FILESYSTEM, S3, GCS and AZURE are supported",
    );
    check_refused(
        "object_storage:\n  bucket:\n    type: FILESYSTEM\n    config:\n      directory: x\n      dir: y\n",
        "parca.yaml:6: object_storage.bucket.config.dir: unknown field `dir`, expected `directory`",
    );
    check_refused(
        "object_storage:\n  bucket:\n    type: FILESYSTEM\n    config: {directory: 3}\n",
        "parca.yaml:4: object_storage.bucket.config.directory: invalid type: integer `3`, expected a string",
    );
}

/// The settings of a bucket; each line of `config` is a key.
fn bucket(kind: &str, config: &[&str]) -> Result<BucketKind, String> {
    let config: String = config.iter().map(|line| format!("      {line}\n")).collect();
    parse(&format!("object_storage:\n  bucket:\n    type: {kind}\n    config:\n{config}"))
        .map(|config| config.object_storage.unwrap().kind)
}

#[test]
fn buckets_with_every_key_of_parca() {
    let http = "http_config: {idle_conn_timeout: 1m30s, response_header_timeout: 2m, insecure_skip_verify: false, tls_handshake_timeout: 10s, expect_continue_timeout: 1s, max_idle_conns: 100, max_idle_conns_per_host: 100, max_conns_per_host: 0, tls_config: {ca_file: /ca, cert_file: /cert, key_file: /key, server_name: '', insecure_skip_verify: false}, disable_compression: false}";
    let expected = Http {
        idle_timeout: Some(Duration::from_secs(90)),
        response_timeout: Some(Duration::from_secs(120)),
        insecure_skip_verify: false,
        ca_file: Some("/ca".into()),
        cert_file: Some("/cert".into()),
        key_file: Some("/key".into()),
        retries_max: 4,
    };
    let s3 = [
        "bucket: b",
        "endpoint: minio:9000",
        "region: r",
        "disable_dualstack: false",
        "aws_sdk_auth: false",
        "access_key: a",
        "insecure: true",
        "signature_version2: false",
        "secret_key: s",
        "session_token: t",
        "put_user_metadata: {}",
        http,
        "trace: {enable: false}",
        "list_objects_version: ''",
        "bucket_lookup_type: path",
        "send_content_md5: true",
        "disable_multipart: false",
        "part_size: 67108864",
        "sse_config: {type: SSE-KMS, kms_key_id: k, kms_encryption_context: {}, encryption_key: ''}",
        "sts_endpoint: http://sts",
        "max_retries: 4",
    ];
    assert_eq!(
        bucket("S3", &s3).unwrap(),
        BucketKind::S3(Box::new(S3 {
            bucket: "b".to_owned(),
            endpoint: "minio:9000".to_owned(),
            region: "r".to_owned(),
            access_key: "a".to_owned(),
            secret_key: BucketSecret("s".to_owned()),
            session_token: BucketSecret("t".to_owned()),
            insecure: true,
            lookup: BucketLookup::Path,
            encryption: S3Encryption::Kms { key_id: "k".to_owned() },
            sts_endpoint: "http://sts".to_owned(),
            http: expected.clone(),
        }))
    );
    let gcs = [
        "bucket: b",
        "service_account: '{}'",
        "use_grpc: false",
        "grpc_conn_pool_size: 0",
        "chunk_size_bytes: 0",
        "max_retries: 4",
        http,
    ];
    assert_eq!(
        bucket("gcs", &gcs).unwrap(),
        BucketKind::Gcs(Box::new(Gcs {
            bucket: "b".to_owned(),
            service_account: BucketSecret("{}".to_owned()),
            http: expected.clone(),
        }))
    );
    let azure = [
        "storage_account: a",
        "storage_account_key: k",
        "storage_connection_string: ''",
        "storage_create_container: false",
        "container: c",
        "endpoint:",
        "user_assigned_id: u",
        "az_tenant_id: t",
        "client_id: i",
        "client_secret: s",
        "msi_resource: ''",
        "max_retries: 4",
        "reader_config: {max_retry_requests: 0}",
        "pipeline_config: {max_tries: 0, try_timeout: 0s}",
        http,
    ];
    assert_eq!(
        bucket("AZURE", &azure).unwrap(),
        BucketKind::Azure(Box::new(Azure {
            account: "a".to_owned(),
            account_key: BucketSecret("k".to_owned()),
            connection_string: BucketSecret::default(),
            container: "c".to_owned(),
            endpoint: String::new(),
            user_assigned_id: "u".to_owned(),
            tenant_id: "t".to_owned(),
            client_id: "i".to_owned(),
            client_secret: BucketSecret("s".to_owned()),
            http: expected,
        }))
    );
}

#[test]
fn buckets_refused() {
    let check = |kind: &str, config: &[&str], expected: &str| {
        let error = bucket(kind, config).unwrap_err();
        assert_eq!(error.strip_prefix("parca.yaml:"), Some(expected), "{config:?}");
    };
    let place = "object_storage.bucket.config";
    check("S3", &["region: r"], &format!("5: {place}.bucket: bucket is missing"));
    check("S3", &["bucket: b", "acess_key: a"], &format!("6: {place}.acess_key: unknown field `acess_key`"));
    check(
        "S3",
        &["bucket: b", "signature_version2: true"],
        &format!("6: {place}.signature_version2: is not supported"),
    );
    check(
        "S3",
        &["bucket: b", "access_key: a"],
        &format!("6: {place}.access_key: access_key and secret_key need each other"),
    );
    check(
        "S3",
        &["bucket: b", "insecure: maybe"],
        &format!("6: {place}.insecure: invalid type: string \"maybe\", expected a boolean"),
    );
    check(
        "S3",
        &["bucket: b", "http_config: {tls_config: {server_name: x}}"],
        &format!("6: {place}.http_config.tls_config.server_name: is not supported"),
    );
    check(
        "S3",
        &["bucket: b", "sse_config: {type: SSE-KMS}"],
        &format!("6: {place}.sse_config.kms_key_id: sse_config.kms_key_id is missing"),
    );
    check("GCS", &["{}"], &format!("5: {place}.bucket: bucket is missing"));
    check("AZURE", &["container: c"], &format!("5: {place}.storage_account: storage_account is missing"));
    check("AZURE", &["storage_account: a"], &format!("5: {place}.container: container is missing"));
    let shown = format!("{:?}", bucket("S3", &["bucket: b", "access_key: a", "secret_key: hush"]).unwrap());
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn jobs_refused() {
    check_refused(
        "scrape_configs:\n- scrape_interval: 10s\n",
        "parca.yaml:2: scrape_configs[0].job_name: job_name is empty",
    );
    check_refused(
        "scrape_configs:\n- scheme: http\n  job_name: ''\n",
        "parca.yaml:3: scrape_configs[0].job_name: job_name is empty",
    );
    check_refused(
        "scrape_configs:\n- job_name: a\n- job_name: b\n- job_name: a\n",
        "parca.yaml:4: scrape_configs[2].job_name: duplicate job_name found in scrape configs: a",
    );
    check_job_refused(
        "scrape_intervall: 1s",
        "parca.yaml:3: scrape_configs[0].scrape_intervall: unknown field `scrape_intervall`",
    );
    check_job_refused(
        "scrape_interval: 10",
        "parca.yaml:3: scrape_configs[0].scrape_interval: not a valid duration string: \"10\"",
    );
    check_job_refused(
        "scrape_interval: ''",
        "parca.yaml:3: scrape_configs[0].scrape_interval: empty duration string",
    );
    check_job_refused(
        "scrape_interval: 0s",
        "parca.yaml:3: scrape_configs[0].scrape_interval: must be longer than 0",
    );
    check_job_refused(
        "scrape_interval: 10s\nscrape_timeout: 10s",
        "parca.yaml:4: scrape_configs[0].scrape_timeout: scrape timeout must be greater than the interval: api",
    );
    check_job_refused(
        "scrape_interval: 1s\nscrape_timeout: 1500ms",
        "parca.yaml:4: scrape_configs[0].scrape_timeout: process_cpu scrape_timeout must be at least 2 seconds in api",
    );
    check_job_refused(
        "scheme: ftp",
        "parca.yaml:3: scrape_configs[0].scheme: \"ftp\" is neither \"http\" nor \"https\"",
    );
    check_job_refused(
        "ec2_sd_configs: [{region: x}]",
        "parca.yaml:3: scrape_configs[0].ec2_sd_configs: is not supported yet",
    );
    check_job_refused(
        "oauth2: {client_id: x}",
        "parca.yaml:3: scrape_configs[0].oauth2: is not supported yet",
    );
    check_job_refused(
        "static_configs:\n- targets:\n  - a:1\n  - http://b:1/",
        "parca.yaml:6: scrape_configs[0].static_configs[0].targets[1]: \"http://b:1/\" is not a valid hostname",
    );
    check_job_refused(
        "static_configs:\n- target: [a]",
        "parca.yaml:4: scrape_configs[0].static_configs[0].target: unknown field `target`, expected one of targets, labels",
    );
    check_job_refused(
        "static_configs:\n- targets: ['']",
        "parca.yaml:4: scrape_configs[0].static_configs[0].targets[0]: the target is empty",
    );
    // With rules the address may still become one.
    job(
        "static_configs:\n- targets: ['http://b/x']\nrelabel_configs:\n- {target_label: __address__, replacement: 'b:1'}",
    );
}

#[test]
fn profiling_config_refused() {
    check_job_refused(
        "profiling_config:\n  pprof_config:\n    memory: {enabled: maybe}",
        "parca.yaml:5: scrape_configs[0].profiling_config.pprof_config.memory.enabled: invalid boolean",
    );
    check_job_refused(
        "profiling_config:\n  pprof_config:\n    custom: {enabled: true}",
        "parca.yaml:5: scrape_configs[0].profiling_config.pprof_config.custom.path: path is empty",
    );
    check_job_refused(
        "profiling_config:\n  pprof_config:\n    process_cpu:\n      seconds: 30",
        "parca.yaml:6: scrape_configs[0].profiling_config.pprof_config.process_cpu.seconds: 30 seconds are not less than the scrape_timeout of 13s",
    );
    check_job_refused(
        "profiling_config:\n  fgprof: {}",
        "parca.yaml:4: scrape_configs[0].profiling_config.fgprof: unknown field `fgprof`, expected one of path_prefix, pprof_config",
    );
}

#[test]
fn relabel_configs_refused() {
    check_job_refused(
        "relabel_configs:\n- source_labels: [a]\n  action: keep\n-",
        "parca.yaml:6: scrape_configs[0].relabel_configs[1]: empty or null target relabeling rule in scrape config",
    );
    check_job_refused(
        "relabel_configs:\n- {action: explode}",
        "parca.yaml:4: scrape_configs[0].relabel_configs[0].action: unknown relabel action \"explode\"",
    );
    check_job_refused(
        "relabel_configs:\n- {action: keep, regex: 'a('}",
        "parca.yaml:4: scrape_configs[0].relabel_configs[0].regex: \"a(\" is not a regular expression: unclosed group",
    );
}

#[test]
fn http_client_refused() {
    check_job_refused(
        "basic_auth: {username: a}\nbearer_token: t",
        "parca.yaml:4: scrape_configs[0].bearer_token: at most one of basic_auth & bearer_token must be configured",
    );
    check_job_refused(
        "basic_auth: {username: a, password: b, password_file: c}",
        "parca.yaml:3: scrape_configs[0].basic_auth.password_file: at most one of password & password_file must be configured",
    );
    check_job_refused(
        "authorization: {type: Basic, credentials: x}",
        "parca.yaml:3: scrape_configs[0].authorization.type: authorization type cannot be set to \"basic\", use \"basic_auth\" instead",
    );
    check_job_refused(
        "tls_config: {cert_file: c}",
        "parca.yaml:3: scrape_configs[0].tls_config: exactly one of key or key_file must be configured when a client certificate is configured",
    );
    check_job_refused(
        "tls_config: {min_version: TLS14}",
        "parca.yaml:3: scrape_configs[0].tls_config.min_version: unknown TLS version: TLS14",
    );
    check_job_refused(
        "tls_config: {max_version: TLS11}",
        "parca.yaml:3: scrape_configs[0].tls_config.max_version: TLS11 is not supported: it is broken; TLS12 and TLS13 are",
    );
    check_job_refused(
        "no_proxy: x",
        "parca.yaml:3: scrape_configs[0].no_proxy: if no_proxy is configured, proxy_url must also be configured",
    );
    check_job_refused(
        "http_headers:\n  Authorization: {values: [x]}",
        "parca.yaml:4: scrape_configs[0].http_headers.Authorization: setting header \"Authorization\" is not allowed",
    );
    check_job_refused(
        "http_headers:\n  'a b': {values: [x]}",
        "parca.yaml:4: scrape_configs[0].http_headers.a b: \"a b\" is not the name of a header",
    );
}

#[test]
fn files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("parca.yaml");
    let error = Config::load(&path).unwrap_err();
    assert_eq!(error.kind(), decima_base::ErrorKind::NotFound);
    assert_eq!(error.to_string(), format!("{}: cannot be read", path.display()));

    std::fs::write(&path, job_text("bearer_token_file: token")).unwrap();
    let config = Config::load(&path).unwrap();
    let Some(Credentials::Authorization { credentials: Some(SecretSource::File(token)), .. }) =
        &config.scrape_configs[0].http_client.credentials
    else {
        panic!()
    };
    assert_eq!(*token, directory.path().join("token"));
}

#[test]
fn self_scrape_reaches_the_listener() {
    fn check(address: &str, expected: &str) {
        let config = self_scrape(address.parse().unwrap(), "/prefix");
        let job = &config.scrape_configs[0];
        assert_eq!(job.static_configs[0].targets[0]["__address__"], expected);
        assert_eq!(job.endpoints["decima_cpu"].path, "/prefix/debug/pprof/profile");
        assert!(matches!(job.first_scrape, FirstScrape::AtOnce { delta_seconds: 5, .. }));
    }
    check("127.0.0.1:7070", "127.0.0.1:7070");
    check("0.0.0.0:1", "127.0.0.1:1");
    check("[::]:1", "[::1]:1");
    check("10.0.0.1:1", "10.0.0.1:1");
}
