//! What is wrong is refused by name, over every way in: the generated corpora, messages cut off at every length, bombs and
//! giants. The program goes on, holds no more than before, and serves others meanwhile.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use decima_profile::pprof;
use decima_proto::parca::{
    debuginfo::v1alpha1::{
        InitiateUploadRequest, MarkUploadFinishedRequest, ShouldInitiateUploadRequest, UploadInfo,
        UploadRequest, upload_request::Data,
    },
    profilestore::v1alpha1::{
        Label, LabelSet, RawProfileSeries, RawSample, WriteArrowRequest, WriteRawRequest, WriteRequest,
    },
};
use decima_testkit::pprof::ProfileBuilder;
use prost::Message as _;
use tonic::Code;

use crate::process::Server;

/// Bytes of one profile that the store takes decompressed, so that a bomb need not be large.
const PROFILE_BYTES_MAX: usize = 4 << 20;
/// How often everything is sent while memory is looked at.
const ROUNDS: usize = 12;
/// By how much memory may grow over these rounds: allocators keep some of it. All that is sent is ten times as much.
const GROWTH_BYTES_MAX: u64 = 24 << 20;

const WRITE_RAW: &str = "parca.profilestore.v1alpha1.ProfileStoreService/WriteRaw";
const WRITE: &str = "parca.profilestore.v1alpha1.ProfileStoreService/Write";
const WRITE_ARROW: &str = "parca.profilestore.v1alpha1.ProfileStoreService/WriteArrow";
const EXPORT: &str = "opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export";
const OTLP_HTTP: &str = "v1development/profiles";

fn debuginfo(method: &str) -> String {
    format!("parca.debuginfo.v1alpha1.DebuginfoService/{method}")
}

/// A request that is wrong.
struct Case {
    name: String,
    /// A method with its messages, or a path with its body.
    method: String,
    messages: Vec<Vec<u8>>,
    /// Content type of a body, and its encoding.
    http: Option<(&'static str, &'static str)>,
    /// Whether the messages are compressed with gzip.
    compressed: bool,
    expected: Code,
    /// Part of what is told.
    words: &'static str,
}

fn case(name: impl Into<String>, method: &str, messages: Vec<Vec<u8>>) -> Case {
    let method = method.to_owned();
    let (http, compressed) = (None, false);
    Case { name: name.into(), method, messages, http, compressed, expected: Code::InvalidArgument, words: "" }
}

impl Case {
    fn saying(self, words: &'static str) -> Self {
        Self { words, ..self }
    }

    fn compressed(self) -> Self {
        let messages = self.messages.iter().map(|message| decima_testkit::pprof::gzip(message));
        Self { messages: messages.collect(), compressed: true, ..self }
    }

    fn with(self, expected: Code) -> Self {
        Self { expected, ..self }
    }

    fn over_http(self, content_type: &'static str, encoding: &'static str) -> Self {
        Self { http: Some((content_type, encoding)), ..self }
    }
}

/// The files of a corpus that are wrong.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .filter(|(name, _)| !name.starts_with("sound"))
        .collect();
    files.sort();
    assert!(files.len() > 5, "{target}");
    files
}

fn write_raw(labels: &[(&str, &str)], profile: Vec<u8>) -> Vec<u8> {
    let labels = labels.iter().map(|&(name, value)| Label { name: name.into(), value: value.into() });
    let series = RawProfileSeries {
        labels: Some(LabelSet { labels: labels.collect() }),
        samples: vec![RawSample { raw_profile: profile.into(), ..RawSample::default() }],
    };
    WriteRawRequest { series: vec![series], ..WriteRawRequest::default() }.encode_to_vec()
}

fn write_arrow(stream: Vec<u8>) -> Vec<u8> {
    WriteArrowRequest { ipc_buffer: stream.into() }.encode_to_vec()
}

fn pprof_cases() -> Vec<Case> {
    const NAMED: &[(&str, &str)] = &[("__name__", "cpu"), ("job", "x")];
    let mut cases = Vec::new();
    for (name, file) in corpus("pprof") {
        // Some files are only odd.
        if pprof::decode(file.clone(), &pprof::Limits::default()).is_err() {
            cases.push(case(name, WRITE_RAW, vec![write_raw(NAMED, file)]).saying("series 0, sample 0"));
        }
    }
    assert!(cases.len() > 10);
    let small = || ProfileBuilder::cpu().sample(&["main"], &[1]).gzip();
    let names: Vec<_> = (0..10_000).map(|depth| format!("f{depth}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let deep = ProfileBuilder::cpu().sample(&names, &[1]).gzip();
    let many: Vec<_> = (0..100_000).map(|label| format!("l{label}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "x")).collect();
    let labelled = ProfileBuilder::cpu().labelled_sample(&["main"], &[1], &many).gzip();
    let bomb = decima_testkit::pprof::gzip(&vec![0; 2 * PROFILE_BYTES_MAX]);
    let raw = |name: &str, labels: &[(&str, &str)], profile| {
        case(name, WRITE_RAW, vec![write_raw(labels, profile)])
    };
    cases.extend([
        raw("deep", NAMED, deep).saying("more than 8192 locations in a stacktrace"),
        raw("many sample labels", NAMED, labelled).saying("labels"),
        raw("many labels", &many, small()).saying("labels"),
        raw("bomb", NAMED, bomb).saying("series 0, sample 0"),
        raw("no name", &[("job", "x")], small()).saying("__name__"),
        raw("no pprof", NAMED, b"neither here nor there".to_vec()).saying("series 0, sample 0"),
    ]);
    let unlabelled = WriteRawRequest { series: vec![RawProfileSeries::default()], ..Default::default() };
    cases.push(
        case("no labels", WRITE_RAW, vec![unlabelled.encode_to_vec()]).saying("series[0].labels: missing"),
    );
    cases
}

fn agent_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, stream) in corpus("agent_second") {
        let words = if name.contains("range") { ", row " } else { "" };
        cases.push(case(name, WRITE_ARROW, vec![write_arrow(stream)]).saying(words));
    }
    for (name, file) in corpus("agent_first") {
        let (length, rest) = file.split_first_chunk::<4>().unwrap();
        let (samples, locations) = rest.split_at(u32::from_le_bytes(*length) as usize);
        let message = |record: &[u8]| WriteRequest { record: record.to_vec().into() }.encode_to_vec();
        cases.push(case(name, WRITE, vec![message(samples), message(locations)]));
    }
    cases
}

fn otlp_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, file) in corpus("otlp") {
        cases.push(case(name.clone(), EXPORT, vec![file.clone()]));
        cases.push(case(name, OTLP_HTTP, vec![file]).over_http("application/x-protobuf", ""));
    }
    let nested = [&b"{\"resourceProfiles\":"[..], &[b'['; 10_000]].concat();
    let json = |name: &str, body: &[u8]| {
        case(name, OTLP_HTTP, vec![body.to_vec()]).over_http("application/json", "")
    };
    cases.extend([
        json("json cut short", b"{").saying("not an OTLP request as JSON"),
        json("json of another kind", br#"{"resourceProfiles":7}"#).saying("not an OTLP request as JSON"),
        json("deep json", &nested).saying("not an OTLP request as JSON"),
        json("json out of range", br#"{"dictionary":{"stackTable":[{"locationIndices":[5]}]}}"#)
            .saying("dictionary.stack_table[0]: location index 5 is out of range (0)"),
    ]);
    let bomb = decima_testkit::pprof::gzip(&vec![0; 80 << 20]);
    let bomb = case("bomb", OTLP_HTTP, vec![bomb]).over_http("application/x-protobuf", "gzip");
    cases.push(bomb.saying("the message: gzip data holds more than"));
    cases
}

fn debuginfo_cases() -> Vec<Case> {
    let should = |build_id: &str| {
        let request = ShouldInitiateUploadRequest { build_id: build_id.to_owned(), ..Default::default() }
            .encode_to_vec();
        case(format!("build ID {build_id:?}"), &debuginfo("ShouldInitiateUpload"), vec![request])
    };
    let initiate = |name: &str, build_id: &str, hash: &str, size, r#type| {
        let request = InitiateUploadRequest {
            build_id: build_id.to_owned(),
            hash: hash.to_owned(),
            size,
            r#type,
            ..Default::default()
        };
        case(name, &debuginfo("InitiateUpload"), vec![request.encode_to_vec()])
    };
    let upload = |name: &str, parts: Vec<Data>| {
        let messages = parts.into_iter().map(|data| UploadRequest { data: Some(data) }.encode_to_vec());
        case(name, &debuginfo("Upload"), messages.collect())
    };
    let info = |build_id: &str, upload_id: &str, r#type| {
        Data::Info(UploadInfo { build_id: build_id.into(), upload_id: upload_id.into(), r#type })
    };
    let chunk = || Data::ChunkData(vec![0x7f; 1 << 16].into());
    let finished = MarkUploadFinishedRequest { build_id: "..".to_owned(), ..Default::default() };
    vec![
        should("").saying("unexpectedly short input"),
        should("../../etc/passwd").saying("build"),
        should(&"ab".repeat(5000)).saying("build"),
        initiate("size below 0", "abcd", "h", -1, 0).saying("size"),
        initiate("no size", "abcd", "h", 0, 0).saying("size"),
        initiate("size above all", "abcd", "h", i64::MAX, 0).saying("exceeds maximum allowed size"),
        initiate("no hash", "abcd", "", 5, 0).saying("hash"),
        initiate("type", "abcd", "h", 5, 77).saying("type"),
        upload("chunk first", vec![chunk()]).saying("first message must be info"),
        upload("nothing", Vec::new()).saying("first message must be info"),
        upload("type of an upload", vec![info("abcd", "u", -5), chunk()]).saying("type"),
        upload("build ID of an upload", vec![info("/", "u", 0), chunk()]).saying("unexpectedly short input"),
        upload("not initiated", vec![info("abcd", "u", 0), chunk()])
            .saying("not previously initiated")
            .with(Code::FailedPrecondition),
        case("end of nothing", &debuginfo("MarkUploadFinished"), vec![finished.encode_to_vec()])
            .saying("unexpectedly short input"),
    ]
}

/// Bytes that are no message, over every method.
fn protobuf_cases() -> Vec<Case> {
    let methods = [WRITE_RAW, WRITE, WRITE_ARROW]
        .map(str::to_owned)
        .into_iter()
        .chain(["ShouldInitiateUpload", "InitiateUpload", "Upload", "MarkUploadFinished"].map(debuginfo));
    let mut cases = Vec::new();
    for method in methods {
        for (name, bytes) in [
            ("field cut short", vec![0x0a, 200, 1, 2, 3]),
            ("wrong wire type", vec![0x09, 1, 2, 3, 4, 5, 6, 7, 8]),
            ("field zero", vec![0x00, 0x01]),
            ("endless varint", vec![0xff; 12]),
        ] {
            cases.push(case(format!("{name} of {method}"), &method, vec![bytes]));
        }
    }
    let whole = write_raw(&[("__name__", "cpu")], ProfileBuilder::cpu().sample(&["main"], &[1]).gzip());
    for end in 1..whole.len() {
        cases.push(case(format!("first {end} bytes"), WRITE_RAW, vec![whole[..end].to_vec()]));
    }
    cases
}

fn all_cases() -> Vec<Case> {
    [pprof_cases(), agent_cases(), otlp_cases(), debuginfo_cases(), protobuf_cases()]
        .into_iter()
        .flatten()
        .collect()
}

fn client() -> reqwest::Client {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    // A refusal may come before the end of the body, after which the server closes the connection: none is used twice.
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy();
    client.pool_max_idle_per_host(0).build().unwrap()
}

/// Code and words of an answer.
async fn send(client: &reqwest::Client, url: &str, case: &Case) -> (Code, String) {
    let request = client.post(format!("{url}/{}", case.method));
    let Some((content_type, encoding)) = case.http else {
        let mut body = Vec::new();
        for message in &case.messages {
            body.push(case.compressed.into());
            body.extend_from_slice(&(message.len() as u32).to_be_bytes());
            body.extend_from_slice(message);
        }
        let mut request = request.header("content-type", "application/grpc-web+proto").body(body);
        if case.compressed {
            request = request.header("grpc-encoding", "gzip");
        }
        let response = request.send().await.unwrap();
        let header =
            |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let (code, words) = (header("grpc-status"), header("grpc-message"));
        let body = response.bytes().await.unwrap();
        let trailers = String::from_utf8_lossy(&body).into_owned();
        let trailer = |name: &str| {
            let line = trailers.split("\r\n").find_map(|line| line.rsplit_once(name));
            line.map(|(_, value)| value.to_owned()).unwrap_or_default()
        };
        let code = code.unwrap_or_else(|| trailer("grpc-status:"));
        let words = words.unwrap_or_else(|| trailer("grpc-message:"));
        return (Code::from_bytes(code.trim().as_bytes()), words.replace("%20", " "));
    };
    let mut request = request.header("content-type", content_type);
    if !encoding.is_empty() {
        request = request.header("content-encoding", encoding);
    }
    let response = request.body(case.messages.concat()).send().await.unwrap();
    let code = match response.status().as_u16() {
        200 => Code::Ok,
        400 => Code::InvalidArgument,
        429 => Code::ResourceExhausted,
        _ => Code::Unknown,
    };
    (code, response.text().await.unwrap())
}

/// A request that is in order, a new one for each number, which is its value.
fn good(number: i64) -> Case {
    let profile = ProfileBuilder::cpu().sample(&["main"], &[number]).gzip();
    case("good", WRITE_RAW, vec![write_raw(&[("__name__", "good"), ("job", "x")], profile)]).with(Code::Ok)
}

fn memory_bytes(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// The least that it holds within three seconds: what was freed goes back to the system within one.
async fn settled_memory_bytes(server: &Server) -> u64 {
    let mut least = u64::MAX;
    for _ in 0..30 {
        least = least.min(memory_bytes(server));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    least
}

/// Small requests that lists of nothing make large: two bytes for each element, a thousandth of that on the way.
fn lists_of_nothing() -> Vec<Case> {
    const COUNT: usize = 12_000_000;
    let raw = |name: &str, element: &[u8]| case(name, WRITE_RAW, vec![element.repeat(COUNT)]).compressed();
    let export = |name: &str, message: Vec<u8>| case(name, EXPORT, vec![message]).compressed();
    let message = |number: u8, content: &[u8]| {
        let mut message = vec![number << 3 | 2];
        prost::encoding::encode_varint(content.len() as u64, &mut message);
        message.extend_from_slice(content);
        message
    };
    let json = |element: &str| {
        let body = format!(r#"{{"resourceProfiles":[{{}}{}]}}"#, element.repeat(COUNT));
        decima_testkit::pprof::gzip(body.as_bytes())
    };
    let over_rest = format!(r#"{{"series":[{{}}{}]}}"#, ",{}".repeat(COUNT));
    let scopes = message(1, &message(2, b"").repeat(COUNT));
    let rows = |table: u8| message(2, &message(table, b"").repeat(COUNT));
    vec![
        raw("series", b"\x12\0").saying("series[0].labels: missing"),
        raw("labelled series", b"\x12\x02\x0a\0").saying("65537 series, the limit is 65536"),
        export("resources", message(1, b"").repeat(COUNT)).saying("resources or more, the limit is"),
        export("scopes", scopes).saying("scopes or more, the limit is"),
        export("strings", rows(5)).saying("dictionary.string_table: "),
        export("locations", rows(2)).saying("dictionary.location_table: "),
        case("resources in JSON", OTLP_HTTP, vec![json(",{}")])
            .over_http("application/json", "gzip")
            .saying("resources or more, the limit is"),
        case("series in JSON", "api/profiles/writeraw", vec![over_rest.into_bytes()])
            .over_http("application/json", "")
            .saying("series[0].labels: missing"),
        case("question", "parca.query.v1alpha1.QueryService/Labels", vec![b"\x0a\0".repeat(COUNT)])
            .compressed()
            .with(Code::ResourceExhausted)
            .saying("decoded message length too large"),
    ]
}

/// The most that a process has held, in bytes.
fn peak_memory_bytes(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Four times what the largest of them is decompressed.
const PEAK_BYTES_MAX: u64 = 192 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_of_nothing_take_little() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("parca.yaml");
    std::fs::write(&config, "scrape_configs: []\n").unwrap();
    let server =
        Server::start(&folder.path().join("data"), &[&format!("--config-path={}", config.display())]);
    let client = client();
    for case in lists_of_nothing() {
        let before = peak_memory_bytes(&server);
        let (code, words) = send(&client, server.url(), &case).await;
        assert_eq!(code, case.expected, "{}: {words}", case.name);
        assert!(words.contains(case.words), "{}: {words}", case.name);
        let peak = peak_memory_bytes(&server);
        assert!(peak < before + PEAK_BYTES_MAX, "{}: {} bytes more", case.name, peak - before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_refused_and_nobody_else_suffers() {
    let folder = tempfile::tempdir().unwrap();
    let flag = format!("--profile-size-max={PROFILE_BYTES_MAX}");
    let config = folder.path().join("parca.yaml");
    std::fs::write(&config, "scrape_configs: []\n").unwrap();
    let config = format!("--config-path={}", config.display());
    let server = Server::start(&folder.path().join("data"), &[&flag, &config]);
    let url = server.url().to_owned();
    let done = Arc::new(AtomicBool::new(false));
    let others = tokio::spawn({
        let (url, done) = (url.clone(), Arc::clone(&done));
        async move {
            let client = client();
            let mut number = 0;
            while !done.load(Ordering::Relaxed) {
                number += 1;
                assert_eq!(send(&client, &url, &good(number)).await.0, Code::Ok, "{number}");
            }
            number
        }
    });
    let client = client();
    let cases = all_cases();
    let mut wrong = Vec::new();
    for case in &cases {
        let (code, words) = send(&client, &url, case).await;
        if code != case.expected || words.is_empty() || !words.contains(case.words) {
            wrong.push(format!("{} over {}: {code:?} {words:?}", case.name, case.method));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    done.store(true, Ordering::Relaxed);
    let taken = others.await.unwrap();
    let before = settled_memory_bytes(&server).await;
    for _ in 0..ROUNDS {
        for case in &cases {
            assert_eq!(send(&client, &url, case).await.0, case.expected, "{}", case.name);
        }
    }
    let growth = settled_memory_bytes(&server).await.saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes more after {ROUNDS} rounds of {}", cases.len());
    let senders = client.get(format!("{url}/api/senders")).send().await.unwrap().text().await.unwrap();
    for word in [
        "malformed",
        "missing",
        "out_of_range",
        "too_large",
        "debuginfo",
        "otlp_http",
        "write",
        "write_arrow",
    ] {
        assert!(senders.contains(&format!("\"{word}\"")), "{word} is not in {senders}");
    }
    let output = crate::process::run(&[
        "query",
        "good:cpu:nanoseconds:cpu:nanoseconds:delta",
        "--format=collapsed",
        "--address",
        &url,
    ]);
    let sum: i64 = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<i64>().unwrap())
        .sum();
    assert_eq!(sum, taken * (taken + 1) / 2, "{}", crate::process::stderr(&output));
    server.signal("TERM");
    let (status, _, log) = server.wait();
    assert!(status.success(), "{log}");
    assert!(!log.contains("panic"), "{log}");
}
