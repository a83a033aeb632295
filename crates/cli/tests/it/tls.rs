//! A store with TLS: by which address, with which certificate, for which clients, and how the page signs in.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use decima_testkit::pprof::ProfileBuilder;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use reqwest::{Certificate, StatusCode, header};

use crate::{
    process::{Server, run, stderr},
    tokens::TokensFile,
};

/// Who signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key for this machine, or of a client.
    pub(crate) fn pair(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

/// Files of a store with TLS.
pub(crate) struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    pub(crate) fn with_pair((certificate, key): &(String, String)) -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap() };
        files.write("cert.pem", certificate);
        files.write("key.pem", key);
        files
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn flag(&self, flag: &str, name: &str) -> String {
        format!("--{flag}={}", self.folder.path().join(name).display())
    }

    pub(crate) fn start(&self, address: &str, flags: &[&str]) -> Server {
        let (certificate, key) =
            (self.flag("tls-cert-file", "cert.pem"), self.flag("tls-key-file", "key.pem"));
        let flags = [&[certificate.as_str(), key.as_str()], flags].concat();
        Server::start_at(address, &self.path().join("data"), &flags)
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A client that trusts an authority, with a certificate of its own if it has one.
fn client(authority: &Authority, own: Option<&(String, String)>) -> reqwest::Client {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let builder =
        rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap(),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .no_proxy()
        .pool_max_idle_per_host(0)
        .build()
        .unwrap()
}

/// The status of an answer; 0 if there is none.
async fn status(client: &reqwest::Client, server: &Server, path: &str) -> u16 {
    client.get(format!("{}{path}", server.url())).send().await.map_or(0, |answer| answer.status().as_u16())
}

#[test]
fn the_command_line_speaks_tls_with_a_token() {
    let authority = Authority::new("one");
    let files = Files::with_pair(&authority.pair());
    let (tokens, [_, _, admin]) = TokensFile::with_all_scopes(files.path());
    let server = files.start("https://127.0.0.1:0", &[&tokens.flag()]);
    assert!(server.line.contains(" https://127.0.0.1:"), "{}", server.line);
    let profile = ProfileBuilder::cpu().sample(&["main"], &[450_000_000]).gzip();
    let file = files.path().join("cpu.pb.gz");
    std::fs::write(&file, profile).unwrap();
    let (file, ca) = (file.to_str().unwrap(), files.write("ca.pem", &authority.pem()));
    let other = files.write("other.pem", &Authority::new("other").pem());
    let (ca, other) = (ca.to_str().unwrap(), other.to_str().unwrap());
    let address = ["--address", server.url(), "--bearer-token", &admin];
    let upload = |flags: &[&str]| run(&[&["upload", file, "-l=service=shop"], &address[..], flags].concat());
    let output = upload(&["--tls-ca", ca]);
    assert!(output.status.success(), "{}", stderr(&output));
    for flags in [&["--tls-ca", other][..], &[]] {
        let output = upload(flags);
        assert_eq!(output.status.code(), Some(1), "{flags:?}");
    }
    let output = upload(&["--insecure"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--insecure"), "{}", stderr(&output));
    let plain = server.url().replace("https://", "http://");
    let output = run(&["query", "a:b:c:d:e", "--address", &plain, "--bearer-token", &admin]);
    assert_eq!(output.status.code(), Some(1), "it does not speak without TLS");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_http() {
    let authority = Authority::new("one");
    let files = Files::with_pair(&authority.pair());
    let server = files.start("https://127.0.0.1:0", &[]);
    let answer = client(&authority, None).get(format!("{}/ready", server.url())).send().await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, reqwest::Version::HTTP_2));
    let mut old = reqwest::Client::builder().no_proxy().http1_only();
    old = old.tls_certs_only([Certificate::from_pem(authority.pem().as_bytes()).unwrap()]);
    // The client takes its own provider from the process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let answer = old.build().unwrap().get(format!("{}/ready", server.url())).send().await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, reqwest::Version::HTTP_11));
}

/// The answer arrives although the request is still on its way.
#[tokio::test(flavor = "multi_thread")]
async fn large_requests_hear_why_they_are_refused() {
    let authority = Authority::new("one");
    let files = Files::with_pair(&authority.pair());
    let (tokens, _) = TokensFile::with_all_scopes(files.path());
    let server = files.start("https://127.0.0.1:0", &[&tokens.flag()]);
    for size in [2, 100_000, 20 << 20] {
        let request = client(&authority, None).post(format!("{}/api/profiles/writeraw", server.url()));
        let answer = request.body(vec![b' '; size]).send().await.unwrap();
        assert_eq!(answer.status(), 401, "{size} bytes");
    }
}

#[test]
fn addresses_say_how_or_it_depends_on_where() {
    let authority = Authority::new("one");
    let files = Files::with_pair(&authority.pair());
    let check = |address: &str, scheme: &str| {
        let server = files.start(address, &[]);
        assert!(server.line.contains(&format!(" {scheme}://127.0.0.1:")), "{address}: {}", server.line);
    };
    check("127.0.0.1:0", "http");
    check("https://127.0.0.1:0", "https");
    check(":0", "https");
    check("http://:0", "http");
    let server = files.start("127.0.0.1:0", &["--http-address=https://127.0.0.1:0", "--log-format=json"]);
    server.signal("TERM");
    let (_, _, log) = server.wait();
    let listening = log.lines().filter(|line| line.contains("\"listening\"")).count();
    assert_eq!(listening, 2, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_pair_is_taken_and_a_wrong_one_is_not() {
    let (one, two) = (Authority::new("one"), Authority::new("two"));
    let files = Files::with_pair(&one.pair());
    let server = files.start("https://127.0.0.1:0", &[]);
    let metric = async |authority: &Authority| {
        let text = client(authority, None).get(format!("{}/metrics", server.url())).send().await.unwrap();
        let text = text.text().await.unwrap();
        text.lines()
            .find_map(|line| line.strip_prefix("decima_reload_good{what=\"certificate\"} "))
            .map(str::to_owned)
    };
    assert_eq!(metric(&one).await.as_deref(), Some("1"));
    let (certificate, key) = two.pair();
    files.write("cert.pem", &certificate);
    let mut tries = 0;
    while metric(&one).await.as_deref() != Some("0") {
        tries += 1;
        assert!(tries < 50, "it does not tell that the pair is wrong");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(status(&client(&one, None), &server, "/ready").await, 200, "the old pair stays");
    assert_eq!(status(&client(&two, None), &server, "/ready").await, 0);
    files.write("key.pem", &key);
    let mut tries = 0;
    while status(&client(&two, None), &server, "/ready").await != 200 {
        tries += 1;
        assert!(tries < 50, "it does not take the new pair");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(status(&client(&one, None), &server, "/ready").await, 0);
    assert_eq!(metric(&two).await.as_deref(), Some("1"));
}

#[test]
fn a_wrong_pair_ends_the_start() {
    let authority = Authority::new("one");
    let files = Files::with_pair(&(authority.pair().0, authority.pair().1));
    let data = files.path().join("data");
    let (certificate, key) = (files.flag("tls-cert-file", "cert.pem"), files.flag("tls-key-file", "key.pem"));
    let flags =
        ["--http-address=https://127.0.0.1:0", "--storage-path", data.to_str().unwrap(), &certificate, &key];
    let output = run(&flags);
    assert_eq!(output.status.code(), Some(1));
    for word in ["cert.pem", "the key is not the certificate's"] {
        assert!(stderr(&output).contains(word), "{word} in {}", stderr(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_show_a_certificate_besides_a_token() {
    let (server_authority, clients) = (Authority::new("server"), Authority::new("clients"));
    let files = Files::with_pair(&server_authority.pair());
    files.write("clients.pem", &clients.pem());
    let (tokens, [read, ..]) = TokensFile::with_all_scopes(files.path());
    let server = files
        .start("https://127.0.0.1:0", &[&files.flag("tls-client-ca-file", "clients.pem"), &tokens.flag()]);
    let none = client(&server_authority, None);
    let known = client(&server_authority, Some(&clients.pair()));
    let stranger = client(&server_authority, Some(&server_authority.pair()));
    let ask = async |client: &reqwest::Client, token: &str| {
        let request = client.get(format!("{}/api/profiles/types", server.url())).bearer_auth(token);
        request.send().await.map_or(0, |answer| answer.status().as_u16())
    };
    assert_eq!(status(&none, &server, "/ready").await, 200);
    assert_eq!(status(&none, &server, "/").await, 401);
    assert_eq!(ask(&none, &read).await, 401);
    assert_eq!(ask(&known, &read).await, 200);
    assert_eq!(ask(&known, "wrong").await, 401);
    assert_eq!(ask(&stranger, &read).await, 0, "a certificate of somebody else ends the handshake");

    // The store asks itself, without a certificate.
    let types = async || {
        let request = known.get(format!("{}/api/profiles/types", server.url())).bearer_auth(&read);
        request.send().await.unwrap().text().await.unwrap()
    };
    let mut tries = 0;
    while !types().await.contains("decima_memory") {
        tries += 1;
        assert!(tries < 100, "no profile of itself");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_signs_in() {
    let authority = Authority::new("one");
    let files = Files::with_pair(&authority.pair());
    let (tokens, [read, write, _]) = TokensFile::with_all_scopes(files.path());
    let server = files.start("https://127.0.0.1:0", &[&tokens.flag()]);
    let client = client(&authority, None);
    let session = format!("{}/api/session", server.url());
    let sign_in = async |token: &str| client.post(&session).bearer_auth(token).send().await.unwrap();
    let state = async |cookie: &str| {
        let answer = client.get(&session).header(header::COOKIE, cookie).send().await.unwrap();
        answer.text().await.unwrap()
    };
    let ask = async |method: reqwest::Method, path: &str, headers: &[(&str, &str)]| {
        let mut request = client.request(method, format!("{}{path}", server.url()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(state("").await, r#"{"required":true,"name":null}"#);
    assert_eq!(sign_in("wrong").await.status(), 401);
    assert_eq!(sign_in(&write).await.status(), 403);
    let answer = sign_in(&read).await;
    assert_eq!(answer.status(), 204);
    let set = answer.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
    for part in ["__Host-decima=read.", "; Path=/", "; Secure", "; HttpOnly", "; SameSite=Strict"] {
        assert!(set.contains(part), "{part} in {set}");
    }
    assert!(!set.contains(&read));
    let cookie = set.split(';').next().unwrap();
    assert_eq!(state(cookie).await, r#"{"required":true,"name":"read"}"#);
    let (get, post) = (reqwest::Method::GET, reqwest::Method::POST);
    assert_eq!(ask(get.clone(), "/api/profiles/types", &[("cookie", cookie)]).await, 200);
    assert_eq!(
        ask(post.clone(), "/api/profiles/writeraw", &[("cookie", cookie)]).await,
        403,
        "it only reads"
    );
    let foreign = ("origin", "https://evil.example");
    assert_eq!(ask(get.clone(), "/api/profiles/types", &[("cookie", cookie), foreign]).await, 403);
    let signed_out = client.delete(&session).send().await.unwrap();
    assert!(signed_out.headers()[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));

    tokens.revoke("read");
    let mut tries = 0;
    while ask(get.clone(), "/api/profiles/types", &[("cookie", cookie)]).await != 401 {
        tries += 1;
        assert!(tries < 50, "a cookie outlives its token");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_does_not_sign_in_without_tls() {
    let authority = Authority::new("one");
    let files = Files::with_pair(&authority.pair());
    let (tokens, [read, ..]) = TokensFile::with_all_scopes(files.path());
    let server = files.start("http://127.0.0.1:0", &[&tokens.flag()]);
    let request = client(&authority, None).post(format!("{}/api/session", server.url())).bearer_auth(&read);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert!(answer.text().await.unwrap().contains("HTTPS"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_adds_tls_for_the_page_alone() {
    let authority = Authority::new("one");
    let files = Files::with_pair(&authority.pair());
    let (tokens, [read, ..]) = TokensFile::with_all_scopes(files.path());
    let listed = "--cors-allowed-origins=https://grafana.example";
    let server = files.start("http://127.0.0.1:0", &[&tokens.flag(), listed]);
    let own = server.url().replace("http://", "https://");
    for (origin, status) in [(own.as_str(), 204), ("https://grafana.example", 400)] {
        let request =
            client(&authority, None).post(format!("{}/api/session", server.url())).bearer_auth(&read);
        let answer = request.header("origin", origin).send().await.unwrap();
        assert_eq!(answer.status(), status, "{origin}");
        assert_eq!(answer.headers().contains_key(header::SET_COOKIE), status == 204, "{origin}");
    }
}

#[test]
fn client_certificates_beside_an_address_without_tls_are_warned_of() {
    let authority = Authority::new("one");
    let files = Files::with_pair(&authority.pair());
    let clients = files.write("clients.pem", &authority.pair().0);
    let clients = format!("--tls-client-ca-file={}", clients.display());
    for (address, is_told) in
        [("http://0.0.0.0:0", true), ("https://0.0.0.0:0", false), ("http://127.0.0.1:0", false)]
    {
        let server = files.start(address, &[&clients]);
        server.signal("TERM");
        let (_, _, log) = server.wait();
        assert_eq!(log.contains("--tls-client-ca-file keeps nobody out"), is_told, "{address}: {log}");
    }
}
