use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Instant,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use decima_config::self_scrape;
use decima_store::Store;
use decima_testkit::pprof::ProfileBuilder;
use tokio::net::TcpListener;

use super::*;
use crate::push::Limits;

/// A program with profiles, and what it was asked for: path with query, and headers.
#[derive(Clone, Default)]
struct Program {
    asked: Arc<Mutex<Vec<(String, HeaderMap)>>>,
}

impl Program {
    async fn start() -> (Self, SocketAddr) {
        let program = Self::default();
        let routes = Router::new()
            .route("/debug/pprof/allocs", get(memory))
            .route("/debug/pprof/profile", get(cpu))
            .route("/slow", get(|| async { tokio::time::sleep(Duration::from_secs(3600)).await }))
            .route("/broken", get(|| async { (StatusCode::SERVICE_UNAVAILABLE, "profiling is off\nmore") }))
            .route("/empty", get(|| async {}))
            .route("/garbage", get(|| async { "not a profile" }))
            .route("/large", get(|| async { vec![0; 100_000] }))
            .route(
                "/moved",
                get(|| async { (StatusCode::FOUND, [(header::LOCATION, "/debug/pprof/allocs")]) }),
            )
            .with_state(program.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        (program, address)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().iter().map(|(path, _)| path.clone()).collect()
    }

    fn header(&self, name: &str) -> Option<String> {
        let asked = self.asked.lock();
        let (_, headers) = asked.last()?;
        Some(headers.get(name)?.to_str().unwrap().to_owned())
    }
}

fn profile() -> Bytes {
    ProfileBuilder::memory().sample(&["leaf", "root"], &[1, 2, 3, 4]).gzip().into()
}

async fn memory(State(program): State<Program>, uri: Uri, headers: HeaderMap) -> Response {
    program.asked.lock().push((uri.to_string(), headers));
    profile().into_response()
}

async fn cpu(State(program): State<Program>, uri: Uri, headers: HeaderMap) -> Response {
    program.asked.lock().push((uri.to_string(), headers));
    Body::from(ProfileBuilder::cpu().sample(&["leaf", "root"], &[7]).gzip()).into_response()
}

/// A store and a scraper into it.
struct Bench {
    _directory: tempfile::TempDir,
    store: Store,
    scraper: Scraper,
}

impl Bench {
    async fn with(settings: Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(decima_store::Settings {
            path: directory.path().to_owned(),
            head_memory_bytes: 64 << 20,
            retention: None,
            tiers: decima_store::Tiers::default(),
            storage_max_bytes: None,
            ahead_max: Duration::from_secs(600),
            partition_labels: vec!["job".to_owned()],
            cache_bytes: 1 << 20,
            compaction_memory_bytes: 0,
        });
        let store = store.await.unwrap();
        let scraper = Scraper::new(Push::new(store.clone(), Limits::default()), settings);
        Self { _directory: directory, store, scraper }
    }

    async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    fn apply(&self, text: &str) {
        self.scraper.apply(&Config::parse(text, "parca.yaml", Path::new("")).unwrap());
    }

    /// The status of the only target, once `reached`.
    async fn status(&self, reached: impl Fn(&TargetStatus) -> bool) -> TargetStatus {
        let started = Instant::now();
        loop {
            let statuses = self.scraper.targets(TargetState::Active);
            if let [status] = statuses.as_slice()
                && reached(status)
            {
                return status.clone();
            }
            assert!(started.elapsed() < Duration::from_secs(60), "{statuses:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The series stored, as name, sample type and labels.
    async fn stored(&self) -> Vec<String> {
        let mut series = Vec::new();
        for source in self.store.snapshot().sources {
            for stored in &source.series().await.unwrap().series {
                let labels: Vec<String> =
                    stored.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
                series.push(format!("{} {}", stored.profile_type, labels.join(" ")));
            }
        }
        series.sort_unstable();
        series.dedup();
        series
    }

    async fn stop(self) {
        self.scraper.shutdown().await;
        self.store.close().await.unwrap();
    }
}

/// One job that fetches one path from `address` every 100 ms.
fn job(address: SocketAddr, path: &str, lines: &str) -> String {
    let off = ["memory", "block", "goroutine", "mutex", "process_cpu"]
        .map(|name| format!("{name}: {{enabled: false}}"));
    let mut text = format!(
        "scrape_configs:\n- job_name: api\n  scrape_interval: 100ms\n  scrape_timeout: 20s\n  static_configs: [{{targets: ['{address}']}}]\n  profiling_config:\n    pprof_config: {{{}, custom: {{enabled: true, path: {path}}}}}\n",
        off.join(", ")
    );
    for line in lines.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

fn good(status: &TargetStatus) -> bool {
    status.health == TargetHealth::Good
}

fn bad(status: &TargetStatus) -> bool {
    status.health == TargetHealth::Bad
}

#[tokio::test(flavor = "multi_thread")]
async fn scraped_and_stored() {
    let (program, address) = Program::start().await;
    let external_labels = vec![("region".to_owned(), "eu".to_owned())];
    let bench = Bench::with(Settings { external_labels, ..Settings::default() }).await;
    bench.apply(&job(address, "/debug/pprof/allocs", "params: {gc: ['1']}"));
    let first = bench.status(good).await;
    assert_eq!((first.job.as_str(), first.last_error.as_str(), first.active), ("api", "", true));
    assert_eq!(first.url, format!("http://{address}/debug/pprof/allocs?gc=1"));
    let address_text = address.to_string();
    let expected = [("__name__", "custom"), ("instance", &address_text), ("job", "api"), ("region", "eu")];
    assert_eq!(first.labels, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert_eq!(first.discovered_labels["__address__"], address_text);
    // And again, for ever.
    bench.status(|status| status.last_scrape > first.last_scrape).await;

    assert_eq!(program.asked()[0], "/debug/pprof/allocs?gc=1");
    assert_eq!(program.header("user-agent").unwrap(), concat!("decima/", env!("CARGO_PKG_VERSION")));
    assert_eq!(program.header("accept-encoding"), None, "bodies are gzip by themselves");
    assert_eq!(program.header("authorization"), None);
    let labels = format!("instance={address} job=api region=eu");
    let types = ["alloc_objects:count", "alloc_space:bytes", "inuse_objects:count", "inuse_space:bytes"];
    assert_eq!(bench.stored().await, types.map(|kind| format!("custom:{kind}:space:bytes {labels}")));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sample_types_are_kept_as_configured() {
    let (_program, address) = Program::start().await;
    let bench = Bench::new().await;
    let unwanted =
        ["block", "goroutine", "mutex", "process_cpu"].map(|name| format!("{name}: {{enabled: false}}"));
    bench.apply(&format!(
        "scrape_configs:\n- job_name: api\n  scrape_interval: 1s\n  static_configs: [{{targets: ['{address}']}}]\n  profiling_config: {{pprof_config: {{memory: {{keep_sample_type: [{{type: inuse_space, unit: bytes}}, {{type: alloc_space, unit: count}}]}}, {}}}}}\n",
        unwanted.join(", ")
    ));
    bench.status(good).await;
    assert_eq!(
        bench.stored().await,
        [format!("memory:inuse_space:bytes:space:bytes instance={address} job=api")],
        "type and unit must fit"
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delta_asks_for_seconds() {
    let (program, address) = Program::start().await;
    let bench = Bench::new().await;
    bench.apply(&format!(
        "scrape_configs:\n- job_name: api\n  scrape_interval: 1s\n  static_configs: [{{targets: ['{address}']}}]\n  profiling_config: {{pprof_config: {{memory: {{enabled: false}}, block: {{enabled: false}}, goroutine: {{enabled: false}}, mutex: {{enabled: false}}}}}}\n"
    ));
    bench.status(good).await;
    assert_eq!(program.asked()[0], "/debug/pprof/profile?seconds=1");
    let stored = bench.stored().await;
    assert_eq!(
        stored,
        [format!("process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta instance={address} job=api")]
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_itself_is_scraped_at_once_and_shortly() {
    let (program, address) = Program::start().await;
    let bench = Bench::new().await;
    bench.scraper.apply(&self_scrape(address, ""));
    let started = Instant::now();
    while program.asked().len() < 2 {
        assert!(started.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut asked = program.asked();
    asked.sort_unstable();
    assert_eq!(asked, ["/debug/pprof/allocs", "/debug/pprof/profile?seconds=5"]);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_told() {
    let (_, address) = Program::start().await;
    let bench = Bench::with(Settings { body_bytes_max: 50_000, ..Settings::default() }).await;
    let check = async |path: &str, lines: &str, expected: &str| {
        bench.apply(&job(address, path, lines));
        let status = bench.status(|status| bad(status) && status.url.ends_with(path)).await;
        assert_eq!(status.last_error, expected);
        assert!(status.last_scrape.is_some());
    };
    check("/nowhere", "", "server returned HTTP status 404 Not Found").await;
    check("/broken", "", "server returned HTTP status 503 Service Unavailable: profiling is off").await;
    check("/empty", "", "empty profile").await;
    check("/large", "", "profile is larger than 50000 bytes").await;
    check("/moved", "follow_redirects: false", "server returned HTTP status 302 Found").await;
    check(
        "/debug/pprof/allocs",
        "bearer_token_file: /nowhere/token",
        "cannot read /nowhere/token: No such file or directory (os error 2)",
    )
    .await;

    bench.apply(&job(address, "/garbage", ""));
    let status = bench.status(|status| bad(status) && status.url.ends_with("/garbage")).await;
    assert!(status.last_error.starts_with("cannot be stored: "), "{}", status.last_error);
    assert_eq!(bench.stored().await, Vec::<String>::new());

    // What works again is told too.
    bench.apply(&job(address, "/moved", ""));
    assert_eq!(bench.status(good).await.last_error, "");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let bench = Bench::new().await;
    bench.apply(&job(address, "/x", ""));
    let status = bench.status(bad).await;
    assert!(status.last_error.contains("Connection refused"), "{}", status.last_error);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_targets_time_out() {
    let (_, address) = Program::start().await;
    let bench = Bench::new().await;
    bench.apply(&job(address, "/slow", "").replace("scrape_timeout: 20s", "scrape_timeout: 250ms"));
    assert_eq!(bench.status(bad).await.last_error, "timed out after 250ms");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_does_not_wait_for_slow_targets() {
    let (_, address) = Program::start().await;
    let bench = Bench::new().await;
    bench.apply(&job(address, "/slow", "").replace("scrape_timeout: 20s", "scrape_timeout: 1h"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_sent() {
    let (program, address) = Program::start().await;
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "first\n").unwrap();
    let bench = Bench::new().await;
    let check = async |lines: &str, name: &str, expected: &str| {
        bench.apply(&job(address, "/debug/pprof/allocs", lines));
        let started = Instant::now();
        while program.header(name).as_deref() != Some(expected) {
            assert!(started.elapsed() < Duration::from_secs(60), "{:?}", program.header(name));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    check("basic_auth: {username: scraper, password: secret}", "authorization", "Basic c2NyYXBlcjpzZWNyZXQ=")
        .await;
    check("bearer_token: abc", "authorization", "Bearer abc").await;
    check("authorization: {type: Token, credentials: abc}", "authorization", "Token abc").await;
    check("http_headers: {X-Scope: {secrets: [mine]}}", "x-scope", "mine").await;
    let from_file = format!("bearer_token_file: {}", token.display());
    check(&from_file, "authorization", "Bearer first").await;
    // A file is read for each scrape, without a reload.
    std::fs::write(&token, "second").unwrap();
    check(&from_file, "authorization", "Bearer second").await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_are_kept_replaced_and_dropped() {
    let (_, address) = Program::start().await;
    let bench = Bench::new().await;
    let first = job(address, "/debug/pprof/allocs", "");
    bench.apply(&first);
    let before = bench.status(good).await;
    // The same again leaves the loop and what it remembers alone.
    bench.apply(&first);
    let after = bench.scraper.targets(TargetState::Any).remove(0);
    assert!(after.health == TargetHealth::Good && after.last_scrape >= before.last_scrape);

    let rules = "relabel_configs: [{source_labels: [job], regex: api, action: drop}]";
    bench.apply(&job(address, "/debug/pprof/allocs", rules));
    assert_eq!(bench.scraper.targets(TargetState::Active), []);
    let [dropped] = bench.scraper.targets(TargetState::Dropped).try_into().unwrap();
    assert_eq!((dropped.active, dropped.url.as_str(), dropped.last_error.as_str()), (false, "", ""));
    assert_eq!(dropped.discovered_labels["__address__"], address.to_string());

    bench.scraper.apply(&Config::default());
    assert_eq!(bench.scraper.targets(TargetState::Any), []);
    bench.stop().await;
}

mod found;

mod over_tls {
    use rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    };
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::TlsAcceptor;

    use super::*;

    fn file(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/scrape/testdata").join(name)
    }

    fn certificates(name: &str) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_file_iter(file(name)).unwrap().map(Result::unwrap).collect()
    }

    /// Answers every request with a profile, to clients with a certificate of the authority.
    async fn start() -> SocketAddr {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates("ca.pem"));
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(
                certificates("server.pem"),
                PrivateKeyDer::from_pem_file(file("server.key")).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut connection) = acceptor.accept(connection).await else { return };
                    let mut request = [0; 4096];
                    let _ = connection.read(&mut request).await;
                    let body = profile();
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                        body.len()
                    );
                    let _ = connection.write_all(head.as_bytes()).await;
                    let _ = connection.write_all(&body).await;
                    let _ = connection.shutdown().await;
                });
            }
        });
        address
    }

    fn lines(settings: &str) -> String {
        format!("scheme: https\ntls_config: {{{settings}}}")
    }

    fn with_client(settings: &str) -> String {
        lines(&format!(
            "cert_file: {}, key_file: {}, {settings}",
            file("client.pem").display(),
            file("client.key").display()
        ))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn trust_and_identity() {
        let address = start().await;
        let bench = Bench::new().await;
        let ca = format!("ca_file: {}", file("ca.pem").display());
        let check = async |lines: String, expected: Result<(), &str>| {
            bench.scraper.apply(&Config::default());
            bench.apply(&job(address, "/x", &lines));
            let status = bench.status(|status| status.health != TargetHealth::Unknown).await;
            match expected {
                Ok(()) => assert_eq!(status.last_error, ""),
                Err(part) => assert!(status.last_error.contains(part), "{}", status.last_error),
            }
        };
        check(with_client(&format!("{ca}, server_name: api.test")), Ok(())).await;
        check(with_client("insecure_skip_verify: true"), Ok(())).await;
        check(with_client("insecure_skip_verify: true, max_version: TLS12"), Ok(())).await;
        check(with_client(&ca), Err("certificate not valid for name \"127.0.0.1\"")).await;
        check(with_client("server_name: api.test"), Err("UnknownIssuer")).await;
        check(lines("insecure_skip_verify: true"), Err("request failed")).await;
        check(lines("insecure_skip_verify: true, ca_file: /nowhere"), Err("cannot read /nowhere")).await;
        check(
            lines(&format!("ca_file: {}", file("make.sh").display())),
            Err("no certificate to trust in the PEM text"),
        )
        .await;
        bench.stop().await;
    }
}
