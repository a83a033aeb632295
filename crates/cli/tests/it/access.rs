//! A store that asks for tokens, over every protocol.

use std::{path::Path, time::Duration};

use decima_proto::{
    Encoded,
    parca::{
        profilestore::v1alpha1::{WriteRequest, profile_store_service_client::ProfileStoreServiceClient},
        query::v1alpha1::{ProfileTypesRequest, query_service_client::QueryServiceClient},
    },
};
use tonic::{
    Code, Request,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    process::{Server, run, stderr},
    tokens::TokensFile,
};

/// What was revoked must have ended by then.
const REVOKED_WITHIN: Duration = Duration::from_secs(5);

/// A client of one store, with a token or without.
struct Client {
    url: String,
    http: reqwest::Client,
    channel: Channel,
    token: Option<String>,
}

impl Client {
    async fn of(server: &Server, token: Option<&str>) -> Self {
        let url = server.url().to_owned();
        let channel = Endpoint::from_shared(url.clone()).unwrap().connect().await.unwrap();
        let tls =
            rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
        let http = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().unwrap();
        Self { url, http, channel, token: token.map(ToOwned::to_owned) }
    }

    fn message<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        request
    }

    fn http(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn status(&self, method: &str, path: &str) -> u16 {
        let method = method.parse().unwrap();
        self.http(method, path).body("{}").send().await.unwrap().status().as_u16()
    }

    async fn types(&self) -> Code {
        let request = self.message(ProfileTypesRequest::default());
        let answer = QueryServiceClient::new(self.channel.clone()).profile_types(request).await;
        answer.map_or_else(|status| status.code(), |_| Code::Ok)
    }

    async fn write(&self) -> Code {
        let request = self.message(Encoded::default());
        let answer = ProfileStoreServiceClient::new(self.channel.clone()).write_raw(request).await;
        answer.map_or_else(|status| status.code(), |_| Code::Ok)
    }

    async fn health(&self) -> Code {
        let request = self.message(HealthCheckRequest::default());
        let answer = HealthClient::new(self.channel.clone()).check(request).await;
        answer.map_or_else(|status| status.code(), |_| Code::Ok)
    }

    /// The status of `ProfileTypes` over gRPC-Web, and its HTTP status.
    async fn types_over_web(&self) -> (u16, Code) {
        let request = self
            .http(reqwest::Method::POST, "/api/parca.query.v1alpha1.QueryService/ProfileTypes")
            .header("content-type", "application/grpc-web+proto")
            .body(vec![0; 5]);
        let answer = request.send().await.unwrap();
        let code = answer.headers().get("grpc-status").map(|code| Code::from_bytes(code.as_bytes()));
        (answer.status().as_u16(), code.unwrap_or(Code::Ok))
    }

    /// A number of the store's metrics.
    async fn metric(&self, line: &str) -> Option<u64> {
        let text = self.http(reqwest::Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
        text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
    }
}

/// Asks until it is so; the last answer if it never is within the time that a change may take.
async fn eventually<T: PartialEq + Copy>(expected: T, ask: impl AsyncFn() -> T) -> T {
    let end = tokio::time::Instant::now() + REVOKED_WITHIN;
    loop {
        let got = ask().await;
        if got == expected || tokio::time::Instant::now() > end {
            return got;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn start(folder: &Path, file: &TokensFile, flags: &[&str]) -> Server {
    let tokens = file.flag();
    Server::start(&folder.join("data"), &[&[tokens.as_str()], flags].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_scope_over_each_protocol() {
    use Code::{InvalidArgument, Ok, PermissionDenied, Unauthenticated};
    let folder = tempfile::tempdir().unwrap();
    let (file, [read, write, admin]) = TokensFile::with_all_scopes(folder.path());
    let server = start(folder.path(), &file, &[]);
    // Questions, then writes: an empty one is wrong, once it is let in; it is fine for its shape.
    let check = async |token: Option<&str>, asks: (Code, u16), writes: (Code, u16)| {
        let client = Client::of(&server, token).await;
        assert_eq!(client.types().await, asks.0, "{token:?}");
        assert_eq!(client.types_over_web().await, (200, asks.0), "{token:?}");
        for path in ["/api/profiles/types", "/api/targets", "/api/agents", "/metrics", "/debug/pprof/allocs"]
        {
            assert_eq!(client.status("GET", path).await, asks.1, "{path} {token:?}");
        }
        let wrote = client.write().await;
        assert!(wrote == writes.0 || (writes.0 == Ok && wrote == InvalidArgument), "{wrote:?} {token:?}");
        for path in ["/api/profiles/writeraw", "/v1development/profiles", "/api/upload"] {
            let status = client.status("POST", path).await;
            let let_in = ![401, 403].contains(&status);
            assert!(status == writes.1 || (writes.1 == 200 && let_in), "{path}: {status} {token:?}");
        }
        // For everybody.
        assert_eq!(client.health().await, Ok);
        for path in ["/ready", "/healthy", "/"] {
            assert_eq!(client.status("GET", path).await, 200, "{path} {token:?}");
        }
    };
    check(None, (Unauthenticated, 401), (Unauthenticated, 401)).await;
    check(Some("wrong"), (Unauthenticated, 401), (Unauthenticated, 401)).await;
    check(Some(&read), (Ok, 200), (PermissionDenied, 403)).await;
    check(Some(&write), (PermissionDenied, 403), (Ok, 200)).await;
    check(Some(&admin), (Ok, 200), (Ok, 200)).await;
}

/// Methods of every service, and the scope that allows them.
const METHODS: &[(&str, &str)] = &[
    ("parca.query.v1alpha1.QueryService/QueryRange", "read"),
    ("parca.query.v1alpha1.QueryService/Query", "read"),
    ("parca.query.v1alpha1.QueryService/Series", "read"),
    ("parca.query.v1alpha1.QueryService/ProfileTypes", "read"),
    ("parca.query.v1alpha1.QueryService/Labels", "read"),
    ("parca.query.v1alpha1.QueryService/Values", "read"),
    ("parca.query.v1alpha1.QueryService/ShareProfile", "read"),
    ("parca.query.v1alpha1.QueryService/HasProfileData", "read"),
    ("parca.scrape.v1alpha1.ScrapeService/Targets", "read"),
    ("parca.profilestore.v1alpha1.AgentsService/Agents", "read"),
    ("parca.profilestore.v1alpha1.ProfileStoreService/WriteRaw", "write"),
    ("parca.profilestore.v1alpha1.ProfileStoreService/Write", "write"),
    ("parca.profilestore.v1alpha1.ProfileStoreService/WriteArrow", "write"),
    ("opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export", "write"),
    ("parca.debuginfo.v1alpha1.DebuginfoService/ShouldInitiateUpload", "write"),
    ("parca.debuginfo.v1alpha1.DebuginfoService/InitiateUpload", "write"),
    ("parca.debuginfo.v1alpha1.DebuginfoService/Upload", "write"),
    ("parca.debuginfo.v1alpha1.DebuginfoService/MarkUploadFinished", "write"),
    ("parca.telemetry.v1alpha1.TelemetryService/ReportPanic", "write"),
];

/// Whatever a method makes of an empty message once it is let in: that is not asked here.
#[tokio::test(flavor = "multi_thread")]
async fn each_method_of_each_service() {
    let folder = tempfile::tempdir().unwrap();
    let (file, tokens) = TokensFile::with_all_scopes(folder.path());
    let server = start(folder.path(), &file, &[]);
    let mut clients = vec![("nobody", Client::of(&server, None).await)];
    for (scope, token) in ["read", "write", "admin"].into_iter().zip(&tokens) {
        clients.push((scope, Client::of(&server, Some(token)).await));
    }
    for (method, needed) in METHODS {
        for (scope, client) in &clients {
            let request = client
                .http(reqwest::Method::POST, &format!("/api/{method}"))
                .header("content-type", "application/grpc-web+proto")
                .body(vec![0; 5]);
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 200, "{method} by {scope}");
            let code = answer.headers().get("grpc-status").map(|code| Code::from_bytes(code.as_bytes()));
            let refusal = match *scope {
                "nobody" => Some(Code::Unauthenticated),
                scope if scope == *needed || scope == "admin" => None,
                _ => Some(Code::PermissionDenied),
            };
            let refusals = [Code::Unauthenticated, Code::PermissionDenied];
            assert_eq!(code.filter(|code| refusals.contains(code)), refusal, "{method} by {scope}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_file_lets_nobody_in_from_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = TokensFile { path: folder.path().join("tokens.json") };
    std::fs::write(&file.path, "").unwrap();
    let server = start(folder.path(), &file, &[]);
    for token in [None, Some("a-token-that-was-never-made")] {
        let client = Client::of(&server, token).await;
        assert_eq!(
            (client.types().await, client.write().await),
            (Code::Unauthenticated, Code::Unauthenticated)
        );
        assert_eq!(client.status("GET", "/ready").await, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = TokensFile::with_all_scopes(folder.path());
    for (mode, metrics, asks) in [("none", 401, 401), ("metrics", 200, 401), ("read", 200, 200)] {
        let server = start(folder.path(), &file, &[&format!("--auth-anonymous={mode}")]);
        let client = Client::of(&server, None).await;
        assert_eq!(client.status("GET", "/metrics").await, metrics, "{mode}");
        assert_eq!(client.status("GET", "/debug/pprof/allocs").await, metrics, "{mode}");
        assert_eq!(client.status("GET", "/api/profiles/types").await, asks, "{mode}");
        assert_eq!(client.status("POST", "/api/profiles/writeraw").await, 401, "{mode}");
        assert_eq!(client.write().await, Code::Unauthenticated, "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_the_file_are_taken_if_they_are_right() {
    let folder = tempfile::tempdir().unwrap();
    let (file, [read, ..]) = TokensFile::with_all_scopes(folder.path());
    let server = start(folder.path(), &file, &["--auth-anonymous=metrics"]);
    let client = Client::of(&server, Some(&read)).await;
    let good = async || Client::of(&server, None).await.metric("decima_reload_good{what=\"tokens\"}").await;
    assert_eq!(good().await, Some(1));
    assert_eq!(client.types().await, Code::Ok);

    let new = file.create("new", "read");
    let new = Client::of(&server, Some(&new)).await;
    assert_eq!(eventually(Code::Ok, || new.types()).await, Code::Ok);

    let text = std::fs::read_to_string(&file.path).unwrap();
    std::fs::write(&file.path, "{\"tokens\": [").unwrap();
    assert_eq!(eventually(Some(0), good).await, Some(0));
    let failures =
        Client::of(&server, None).await.metric("decima_reload_failures_total{what=\"tokens\"}").await;
    assert!(failures >= Some(1), "{failures:?}");
    assert_eq!(client.types().await, Code::Ok, "the last right ones stay");

    std::fs::remove_file(&file.path).unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(client.types().await, Code::Ok, "the last right ones stay");

    std::fs::write(&file.path, &text).unwrap();
    assert_eq!(eventually(Some(1), good).await, Some(1));

    std::fs::write(&file.path, "").unwrap();
    let refused = Code::Unauthenticated;
    assert_eq!(eventually(refused, || client.types()).await, refused, "an empty file lets nobody in");
}

#[test]
fn a_file_that_is_missing_or_wrong_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let path = folder.path().join("tokens.json");
    let check = |words: &[&str]| {
        let flag = format!("--auth-tokens-file={}", path.display());
        let output = run(&["--http-address=127.0.0.1:0", "--storage-path", data.to_str().unwrap(), &flag]);
        assert_eq!(output.status.code(), Some(1));
        for word in words {
            assert!(stderr(&output).contains(word), "{word} in {}", stderr(&output));
        }
    };
    check(&["tokens.json", "cannot be read"]);
    std::fs::write(&path, "{\"tokens\": [{\"name\": \"a\", \"scope\": \"read\"}]}").unwrap();
    check(&["tokens.json", "line 1", "tokens[0]", "sha256"]);
    assert!(!data.exists(), "nothing was begun");
    let output = run(&["--auth-tokens-file="]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--auth-tokens-file"), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_ends_with_its_token() {
    let folder = tempfile::tempdir().unwrap();
    let (file, [read, write, _]) = TokensFile::with_all_scopes(folder.path());
    // It does not measure itself, which would be in the way of who asks it to.
    let idle = folder.path().join("idle.yaml");
    std::fs::write(&idle, "scrape_configs: []\n").unwrap();
    let server = start(folder.path(), &file, &["--config-path", idle.to_str().unwrap()]);
    let writer = Client::of(&server, Some(&write)).await;
    let (keep, messages) = tokio::sync::mpsc::channel::<WriteRequest>(1);
    let request = writer.message(tokio_stream::wrappers::ReceiverStream::new(messages));
    let mut client = ProfileStoreServiceClient::new(writer.channel.clone());
    let stream = tokio::spawn(async move {
        match client.write(request).await {
            Ok(answer) => answer.into_inner().message().await.map(|_| ()),
            Err(status) => Err(status),
        }
    });
    let reader = Client::of(&server, Some(&read)).await;
    let measuring = reader.http(reqwest::Method::GET, "/debug/pprof/profile?seconds=40");
    let measuring = tokio::spawn(measuring.send());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!stream.is_finished() && !measuring.is_finished());

    file.revoke("write");
    file.revoke("read");
    let ended = tokio::time::timeout(REVOKED_WITHIN, stream).await.expect("the stream ends in time").unwrap();
    assert_eq!(ended.unwrap_err().code(), Code::Unauthenticated);
    let ended =
        tokio::time::timeout(REVOKED_WITHIN, measuring).await.expect("the answer ends in time").unwrap();
    assert_eq!(ended.unwrap().status(), 401);
    assert_eq!(writer.write().await, Code::Unauthenticated);
    drop(keep);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_others_are_refused_although_it_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let server =
        Server::start(&folder.path().join("data"), &["--cors-allowed-origins=https://grafana.example"]);
    let client = Client::of(&server, None).await;
    let check = async |method: &str, path: &str, headers: &[(&str, &str)], expected: u16| {
        let mut request = client.http(method.parse().unwrap(), path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "{method} {path} {headers:?}");
        assert!(!answer.headers().contains_key("access-control-allow-credentials"));
    };
    let types = "/api/profiles/types";
    check("GET", types, &[], 200).await;
    check("GET", types, &[("origin", "https://evil.example")], 403).await;
    check("GET", types, &[("origin", server.url())], 200).await;
    check("GET", types, &[("origin", "https://grafana.example")], 200).await;
    check("GET", types, &[("sec-fetch-site", "cross-site")], 403).await;
    check("GET", types, &[("sec-fetch-site", "same-origin")], 200).await;
    check("GET", types, &[("host", "evil.example")], 403).await;
    check("GET", types, &[("host", "localhost:7070")], 200).await;
    check("GET", "/", &[("host", "evil.example")], 403).await;
    check("GET", "/ready", &[("host", "evil.example"), ("origin", "https://evil.example")], 200).await;
    check("GET", "/", &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], 200).await;
    let preflight = [("origin", "https://grafana.example"), ("access-control-request-method", "POST")];
    check("OPTIONS", "/api/profiles/writeraw", &preflight, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn preflights_need_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = TokensFile::with_all_scopes(folder.path());
    let server = start(folder.path(), &file, &["--cors-allowed-origins=https://grafana.example"]);
    let client = Client::of(&server, None).await;
    let request = client
        .http(reqwest::Method::OPTIONS, "/api/profiles/query")
        .header("origin", "https://grafana.example")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "authorization");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let header = |name: &str| answer.headers().get(name).map_or("", |value| value.to_str().unwrap());
    assert_eq!(header("access-control-allow-origin"), "https://grafana.example");
    assert_eq!(header("access-control-allow-headers"), "authorization");
    let refused =
        client.http(reqwest::Method::GET, "/api/profiles/types").header("origin", "https://grafana.example");
    let refused = refused.send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 401);
    assert!(refused.headers().contains_key("access-control-allow-origin"), "the page can read why");
}

#[test]
fn the_command_line_shows_tokens_and_the_store_still_sees_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (file, [read, ..]) = TokensFile::with_all_scopes(folder.path());
    let server = start(folder.path(), &file, &[]);
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, format!("{read}\n")).unwrap();
    let selector = "decima_memory:inuse_space:bytes:space:bytes{job=\"decima\"}";
    let ask = |flags: &[&str]| run(&[&["query", selector, "--address", server.url()], flags].concat());
    let end = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        let output = ask(&["--bearer-token-file", token_file.to_str().unwrap()]);
        assert!(output.status.success(), "{}", stderr(&output));
        if !String::from_utf8_lossy(&output.stdout).starts_with("total 0,") {
            break;
        }
        assert!(std::time::Instant::now() < end, "no profile of itself");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(ask(&["--bearer-token", &read]).status.success());
    let refused = ask(&[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("token is needed"), "{}", stderr(&refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn open_to_the_network_is_told_in_the_log_and_on_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = TokensFile::with_all_scopes(folder.path());
    let check = async |address: &str, flags: &[&str], open: bool| {
        let server = Server::start_at(address, &folder.path().join("data"), flags);
        let client = Client::of(&server, None).await;
        let page = client.http(reqwest::Method::GET, "/").send().await.unwrap().text().await.unwrap();
        assert_eq!(page.contains("name=\"decima-open\" content=\"yes\""), open, "{page}");
        server.signal("TERM");
        let (_, _, log) = server.wait();
        assert_eq!(log.contains("--auth-tokens-file makes it ask"), open, "{log}");
    };
    check("127.0.0.1:0", &[], false).await;
    check(":0", &[], true).await;
    check(":0", &[&file.flag()], false).await;
}
