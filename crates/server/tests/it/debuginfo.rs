//! Object files from senders: what an agent sent, byte for byte, and what becomes of those who send something else.

use std::collections::BTreeSet;

use decima_proto::{
    decima::debuginfo::v1alpha1::{
        ListRequest, ObjectFile, object_file::State, object_file_service_client::ObjectFileServiceClient,
    },
    parca::debuginfo::v1alpha1::{
        InitiateUploadRequest, InitiateUploadResponse, MarkUploadFinishedRequest,
        ShouldInitiateUploadRequest, ShouldInitiateUploadResponse, UploadInfo, UploadRequest, UploadResponse,
        debuginfo_service_client::DebuginfoServiceClient, upload_request::Data,
    },
};
use http::Request;
use prost::Message;
use serde_json::{Value, json};
use tonic::{Code, Status, transport::Channel};

use crate::{
    harness::{TestServer, UPLOAD_MAX_BYTES, header, text},
    senders::{fixture, replay_arrow, replay_exchanges},
};

/// A program with its build ID, 7,320 bytes.
pub(crate) const PROGRAM: &[u8] = include_bytes!("../../../../fuzz/corpus/elf/program-dwarf5");

pub(crate) type Client = DebuginfoServiceClient<Channel>;

pub(crate) async fn client(server: &TestServer) -> Client {
    client_of(server.channel().await)
}

pub(crate) fn client_of(channel: Channel) -> Client {
    DebuginfoServiceClient::new(channel).max_encoding_message_size(64 << 20)
}

pub(crate) async fn list(server: &TestServer, build_id: &str) -> Vec<ObjectFile> {
    let mut client = ObjectFileServiceClient::new(server.channel().await);
    client.list(ListRequest { build_id: build_id.to_owned() }).await.unwrap().into_inner().object_files
}

pub(crate) async fn should_initiate(client: &mut Client, build_id: &str, hash: &str) -> (bool, String) {
    let asked = ShouldInitiateUploadRequest {
        build_id: build_id.to_owned(),
        hash: hash.to_owned(),
        ..ShouldInitiateUploadRequest::default()
    };
    let answer = client.should_initiate_upload(asked).await.unwrap().into_inner();
    (answer.should_initiate_upload, answer.reason)
}

pub(crate) async fn initiate(
    client: &mut Client,
    build_id: &str,
    hash: &str,
    size: i64,
) -> Result<String, Status> {
    let asked = InitiateUploadRequest {
        build_id: build_id.to_owned(),
        size,
        hash: hash.to_owned(),
        ..InitiateUploadRequest::default()
    };
    let answer = client.initiate_upload(asked).await?.into_inner();
    Ok(answer.upload_instructions.unwrap().upload_id)
}

pub(crate) fn info(build_id: &str, upload_id: &str) -> UploadRequest {
    let info = UploadInfo { build_id: build_id.to_owned(), upload_id: upload_id.to_owned(), r#type: 0 };
    UploadRequest { data: Some(Data::Info(info)) }
}

pub(crate) fn chunk(bytes: &[u8]) -> UploadRequest {
    UploadRequest { data: Some(Data::ChunkData(bytes.to_vec().into())) }
}

pub(crate) async fn send(
    client: &mut Client,
    requests: Vec<UploadRequest>,
) -> Result<UploadResponse, Status> {
    client.upload(tokio_stream::iter(requests)).await.map(tonic::Response::into_inner)
}

pub(crate) async fn finish(client: &mut Client, build_id: &str, upload_id: &str) -> Result<(), Status> {
    let finished = MarkUploadFinishedRequest {
        build_id: build_id.to_owned(),
        upload_id: upload_id.to_owned(),
        r#type: 0,
    };
    client.mark_upload_finished(finished).await.map(|_| ())
}

fn recorded<M: Message + Default>(file: &Value) -> M {
    M::decode(&*fixture(&format!("agent-v2/{}", file.as_str().unwrap()))).unwrap()
}

/// Sends the uploads of the recording. Every call is answered as Parca answered it; only upload IDs differ. Gives the sizes by
/// build ID.
pub(crate) async fn replay_uploads(mut client: Client) -> std::collections::BTreeMap<String, u64> {
    let calls: Value = serde_json::from_slice(&fixture("agent-v2/debuginfo.json")).unwrap();
    let mut upload_ids = std::collections::HashMap::new();
    let mut sizes = std::collections::BTreeMap::new();
    for call in calls.as_array().unwrap() {
        assert_eq!(call["code"], "OK");
        let (sent, answered) = (call["client"].as_array().unwrap(), &call["server"][0]);
        let build_id = call["build_id"].as_str().unwrap();
        let upload_id = upload_ids.get(build_id).cloned().unwrap_or_default();
        match call["method"].as_str().unwrap() {
            "ShouldInitiateUpload" => {
                let asked: ShouldInitiateUploadRequest = recorded(&sent[0]);
                assert_eq!(asked.build_id, build_id);
                let answer = client.should_initiate_upload(asked).await.unwrap().into_inner();
                assert_eq!(answer, recorded::<ShouldInitiateUploadResponse>(answered));
            }
            "InitiateUpload" => {
                let answer = client.initiate_upload(recorded::<InitiateUploadRequest>(&sent[0])).await;
                let mut answer = answer.unwrap().into_inner();
                let mut expected = recorded::<InitiateUploadResponse>(answered);
                let instructions = answer.upload_instructions.as_mut().unwrap();
                assert_eq!(
                    instructions.upload_id.len(),
                    expected_id_length(&expected),
                    "ids are as long as Parca's"
                );
                upload_ids.insert(build_id, std::mem::take(&mut instructions.upload_id));
                expected.upload_instructions.as_mut().unwrap().upload_id.clear();
                assert_eq!(answer, expected);
            }
            "Upload" => {
                let mut requests: Vec<UploadRequest> = sent.iter().map(recorded).collect();
                let Some(Data::Info(info)) = &mut requests[0].data else { panic!("no info: {build_id}") };
                info.upload_id = upload_id;
                let answer = send(&mut client, requests).await.unwrap();
                assert_eq!(answer, recorded::<UploadResponse>(answered));
                sizes.insert(build_id.to_owned(), answer.size);
            }
            "MarkUploadFinished" => {
                let finished: MarkUploadFinishedRequest = recorded(&sent[0]);
                client
                    .mark_upload_finished(MarkUploadFinishedRequest { upload_id, ..finished })
                    .await
                    .unwrap();
            }
            other => panic!("{other}"),
        }
    }
    sizes
}

/// How long the upload ID of a recorded answer is: whoever replays a recording puts a new one in its place.
fn expected_id_length(recorded: &InitiateUploadResponse) -> usize {
    recorded.upload_instructions.as_ref().unwrap().upload_id.len()
}

#[tokio::test]
async fn uploads_of_an_agent() {
    let server = TestServer::start().await;
    let sizes = replay_uploads(client(&server).await).await;
    let mut client = client(&server).await;
    let files = list(&server, "").await;
    let held: std::collections::BTreeMap<_, _> =
        files.iter().map(|file| (file.build_id.clone(), file.size_bytes)).collect();
    assert_eq!(held, sizes);
    assert_eq!(files.len(), 8);
    for file in &files {
        let quality = file.quality.unwrap();
        assert_eq!((file.state(), quality.not_valid_elf), (State::Uploaded, false), "{}", file.build_id);
        // Those that went out under a hash are known by what the linker wrote, too.
        let other = &file.gnu_build_id;
        assert_eq!(other.is_empty(), file.build_id.len() == 40, "{file:?}");
        if !other.is_empty() {
            assert_eq!(list(&server, other).await, std::slice::from_ref(file));
        }
        let (wanted, reason) = should_initiate(&mut client, &file.build_id, "").await;
        assert!(!wanted);
        assert_eq!(
            reason,
            "Debuginfo already exists and is not marked as invalid, therefore no new upload is needed."
        );
    }
}

#[tokio::test]
async fn steps_that_are_refused() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let check = |status: Status, code: Code, message: &str| {
        assert_eq!((status.code(), status.message()), (code, message));
    };
    for wrong in ["../../etc", "a/b/c", "..", "\u{e4}\u{e4}"] {
        let status = initiate(&mut client, wrong, "h", 1).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{wrong}");
    }
    check(initiate(&mut client, "abcd", "", 1).await.unwrap_err(), Code::InvalidArgument, "hash must be set");
    check(
        initiate(&mut client, "abcd", "h", -1).await.unwrap_err(),
        Code::InvalidArgument,
        "size: is below 0",
    );
    check(
        send(&mut client, vec![info("abcd", "1")]).await.unwrap_err(),
        Code::FailedPrecondition,
        "metadata not found, this indicates that the upload was not previously initiated",
    );
    check(
        send(&mut client, vec![chunk(b"x")]).await.unwrap_err(),
        Code::InvalidArgument,
        "the first message must be info, which says what follows",
    );
    check(
        finish(&mut client, "abcd", "1").await.unwrap_err(),
        Code::NotFound,
        "no debuginfo metadata found for build id",
    );
    let id = initiate(&mut client, "abcd", "h", 5).await.unwrap();
    check(
        send(&mut client, vec![info("abcd", "1"), chunk(b"x")]).await.unwrap_err(),
        Code::InvalidArgument,
        "the upload ID does not match the one returned by the InitiateUpload call",
    );
    check(
        initiate(&mut client, "abcd", "h", 5).await.unwrap_err(),
        Code::FailedPrecondition,
        "upload should not have been attempted to be initiated, a previous check should have failed with: A previous upload is still in-progress and not stale yet (only stale uploads can be retried).",
    );
    check(
        finish(&mut client, "abcd", &id).await.unwrap_err(),
        Code::FailedPrecondition,
        "nothing was uploaded",
    );
    let again = vec![info("abcd", &id), chunk(b"x"), info("abcd", &id)];
    check(
        send(&mut client, again).await.unwrap_err(),
        Code::InvalidArgument,
        "info came again; after the first message come chunks",
    );
    let unknown = ShouldInitiateUploadRequest {
        build_id: "abcd".to_owned(),
        r#type: 9,
        ..ShouldInitiateUploadRequest::default()
    };
    check(
        client.should_initiate_upload(unknown).await.unwrap_err(),
        Code::InvalidArgument,
        "type: 9 is none of 0 to 3",
    );
    // All of this left one announcement and no bytes.
    let files = list(&server, "").await;
    assert_eq!((files.len(), files[0].state(), files[0].size_bytes), (1, State::Uploading, 0));
}

/// What counts is what arrives, not what was announced.
#[tokio::test]
async fn too_large() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let max = UPLOAD_MAX_BYTES;
    let status = initiate(&mut client, "abcd", "h", max as i64 + 1).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let id = initiate(&mut client, "abcd", "h", 10).await.unwrap();
    let chunks = std::iter::repeat_n(chunk(&vec![0; 1 << 20]), 5);
    let requests = std::iter::once(info("abcd", &id)).chain(chunks).collect();
    let status = send(&mut client, requests).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert_eq!(
        status.message(),
        format!("upload size {} exceeds maximum allowed size {max}", max + (1 << 20))
    );
    assert_eq!(list(&server, "abcd").await[0].size_bytes, 0);
}

/// A file that is no ELF file is taken and told so; the same again is refused.
#[tokio::test]
async fn not_elf() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let id = initiate(&mut client, "abcd", "h", 5).await.unwrap();
    send(&mut client, vec![info("abcd", &id), chunk(b"hel"), chunk(b"lo")]).await.unwrap();
    finish(&mut client, "abcd", &id).await.unwrap();
    let file = &list(&server, "abcd").await[0];
    assert!(file.quality.unwrap().not_valid_elf);
    let (wanted, reason) = should_initiate(&mut client, "abcd", "").await;
    assert!(wanted && reason.starts_with("Debuginfo already exists but is marked as invalid"), "{reason}");
    let status = initiate(&mut client, "abcd", "h", 5).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    let id = initiate(&mut client, "abcd", "other", PROGRAM.len() as i64).await.unwrap();
    send(&mut client, vec![info("abcd", &id), chunk(PROGRAM)]).await.unwrap();
    finish(&mut client, "abcd", &id).await.unwrap();
    assert!(list(&server, "abcd").await[0].quality.unwrap().has_dwarf);
}

#[tokio::test]
async fn steps_over_rest() {
    let server = TestServer::start().await;
    let post = async |path: &str, body: Value| {
        let request = Request::post(path).header("content-type", "application/json");
        let response = server.send(request, body.to_string()).await;
        (response.status().as_u16(), serde_json::from_str::<Value>(text(&response)).unwrap())
    };
    let (status, answer) = post("/api/shouldinitiateupload", json!({"buildId": "abcd"})).await;
    assert_eq!((status, &answer["shouldInitiateUpload"]), (200, &json!(true)), "{answer}");
    let (status, answer) =
        post("/api/initiateupload", json!({"build_id": "abcd", "hash": "h", "size": "7320"})).await;
    assert_eq!(status, 200, "{answer}");
    let instructions = &answer["uploadInstructions"];
    assert_eq!(instructions["uploadStrategy"], "UPLOAD_STRATEGY_GRPC");
    let id = instructions["uploadId"].as_str().unwrap();
    let mut client = client(&server).await;
    send(&mut client, vec![info("abcd", id), chunk(PROGRAM)]).await.unwrap();
    let (status, answer) = post("/api/markuploadfinished", json!({"buildId": "abcd", "uploadId": id})).await;
    assert_eq!((status, answer), (200, json!({})));
    let listed = server.get("/api/debuginfo?build_id=abcd").await;
    let listed: Value = serde_json::from_str(text(&listed)).unwrap();
    assert_eq!(listed["objectFiles"][0]["state"], "STATE_UPLOADED", "{listed}");
    assert_eq!(listed["objectFiles"][0]["sizeBytes"], "7320");
}

/// What the recorded agent saw of a program that it uploaded has functions, whichever schema it spoke.
#[tokio::test]
async fn stacks_of_an_agent_have_functions() {
    for folder in ["agent-v1", "agent-v2"] {
        let server = TestServer::start().await;
        replay_uploads(client(&server).await).await;
        match folder {
            "agent-v1" => replay_exchanges(&server).await,
            _ => replay_arrow(&server, folder).await,
        }
        let path = "/api/profiles/query?mode=MODE_MERGE&merge.query=parca_agent:samples:count:cpu:nanoseconds:delta&merge.start=2026-11-22T00:00:00Z&merge.end=2026-11-23T00:00:00Z&report_type=REPORT_TYPE_PPROF";
        let response = server.send(Request::get(path).header("accept", "application/octet-stream"), "").await;
        assert_eq!(response.status(), 200, "{}", text(&response));
        // The same program without symbols was uploaded, too.
        let unresolved: Value = serde_json::from_str(header(&response, "x-decima-unresolved")).unwrap();
        let reason = |file: &str| {
            let rows = unresolved.as_array().unwrap().iter();
            let mut of = rows.filter(|row| row["file"] == file);
            of.next().map(|row| row["reason"].as_str().unwrap().to_owned())
        };
        assert_eq!(reason("cmix"), None, "{folder}");
        assert_eq!(reason("cmix-stripped").as_deref(), Some("in_no_function"), "{folder}");
        assert_eq!(reason("node").as_deref(), Some("no_debuginfo"), "{folder}");
        let names: BTreeSet<_> = locations_of(response.body(), "cmix").into_iter().flatten().collect();
        for name in ["main", "walk", "plain_sum", "inner_mix", "middle_mix", "outer_mix"] {
            assert!(names.contains(name), "{folder}: {names:?}");
        }
        // What was inlined comes innermost first.
        let chain = ["inner_mix", "middle_mix", "outer_mix"].map(str::to_owned);
        let chains = locations_of(response.body(), "cmix");
        assert!(chains.iter().any(|names| names.starts_with(&chain)), "{folder}: {chains:?}");
    }
}

/// What an agent says of each frame comes out again, to whoever asks: Parca's columns are those that its clients know.
#[tokio::test]
async fn frames_of_an_agent_have_types() {
    for folder in ["agent-v1", "agent-v2"] {
        let server = TestServer::start().await;
        match folder {
            "agent-v1" => replay_exchanges(&server).await,
            _ => replay_arrow(&server, folder).await,
        }
        for report in ["FLAMEGRAPH_ARROW", "TABLE_ARROW"] {
            for (asked, expected) in [("&frame_types=true", true), ("", false)] {
                let path = format!(
                    "/api/profiles/query?mode=MODE_MERGE&merge.query=parca_agent:samples:count:cpu:nanoseconds:delta&merge.start=2026-11-22T00:00:00Z&merge.end=2026-11-23T00:00:00Z&report_type=REPORT_TYPE_{report}{asked}"
                );
                let request = Request::get(&path).header("accept", "application/vnd.apache.arrow.stream");
                let response = server.send(request, "").await;
                assert_eq!(response.status(), 200, "{}", text(&response));
                let has =
                    |text: &str| response.body().windows(text.len()).any(|part| part == text.as_bytes());
                for text in ["frame_type", "cpython", "v8js", "native"] {
                    assert_eq!(has(text), expected, "{folder} {report}: {text}");
                }
            }
        }
    }
}

/// Names of the functions of each location of a file, in a pprof file.
fn locations_of(pprof: &[u8], file: &str) -> Vec<Vec<String>> {
    use decima_testkit::pprof::Profile;
    let mut message = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(pprof), &mut message).unwrap();
    let profile = Profile::decode(&*message).unwrap();
    let of = |id: i64| profile.string_table[id as usize].clone();
    let in_file = |id: u64| {
        let mapping = profile.mapping.iter().find(|mapping| mapping.id == id);
        mapping.is_some_and(|mapping| of(mapping.filename) == file)
    };
    let name = |id: u64| of(profile.function.iter().find(|function| function.id == id).unwrap().name);
    let locations = profile.location.iter().filter(|location| in_file(location.mapping_id));
    locations.map(|location| location.line.iter().map(|line| name(line.function_id)).collect()).collect()
}

/// A profile of one address: where the program begins.
pub(crate) fn profile_of_an_address(build_id: &str) -> Vec<u8> {
    use decima_testkit::pprof::{Location, Mapping, Profile, Sample, ValueType};
    let entry = u64::from_le_bytes(PROGRAM[24..32].try_into().unwrap());
    let strings = ["", "samples", "count", "cpu", "nanoseconds", "/opt/program", build_id];
    Profile {
        sample_type: vec![ValueType { r#type: 1, unit: 2 }],
        period_type: Some(ValueType { r#type: 3, unit: 4 }),
        period: 1,
        time_nanos: 1_700_000_000_000_000_000,
        duration_nanos: 1_000_000_000,
        string_table: strings.map(str::to_owned).to_vec(),
        mapping: vec![Mapping { id: 1, filename: 5, build_id: 6, ..Mapping::default() }],
        location: vec![Location { id: 1, mapping_id: 1, address: entry, ..Location::default() }],
        sample: vec![Sample { location_id: vec![1], value: vec![7], ..Sample::default() }],
        ..Profile::default()
    }
    .gzip()
}

/// What has no function says why, and has one as soon as the file is here: names, filters, headers and metrics agree.
#[tokio::test]
async fn answers_heal_when_debuginfo_arrives() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let push = async |build_id: &str| {
        let labels = json!({"labels": [{"name": "__name__", "value": "process_cpu"}]});
        let samples = json!([{"rawProfile": base64(&profile_of_an_address(build_id))}]);
        let pushed = json!({"series": [{"labels": labels, "samples": samples}]});
        let request = Request::post("/api/profiles/writeraw").header("content-type", "application/json");
        let response = server.send(request, pushed.to_string()).await;
        assert_eq!(response.status(), 200, "{}", text(&response));
    };
    push("abcd").await;
    let top_of = async |filter: &str| {
        let path = "/api/profiles/query?mode=MODE_MERGE&merge.query=process_cpu:samples:count:cpu:nanoseconds:delta&merge.start=2023-11-14T00:00:00Z&merge.end=2023-11-15T00:00:00Z&report_type=REPORT_TYPE_TOP";
        let encoded: String = filter.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let filter = if filter.is_empty() { String::new() } else { format!("&filter={encoded}") };
        let response = server.get(&format!("{path}{filter}")).await;
        assert_eq!(response.status(), 200, "{}", text(&response));
        let body: Value = serde_json::from_str(text(&response)).unwrap();
        let header =
            |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        (body["top"].clone(), header("x-decima-notice"), header("x-decima-unresolved"))
    };
    let top = async || top_of("").await;
    let name = |top: &Value| top["list"][0]["meta"]["function"]["name"].as_str().map(str::to_owned);
    let (before, notice, unresolved) = top().await;
    assert_eq!(name(&before), None, "{before}");
    let sentence = "1 address has no function: program: no debuginfo for this build ID (1)";
    assert_eq!(notice.as_deref(), Some(sentence));
    let rows: Value = serde_json::from_str(&unresolved.unwrap()).unwrap();
    let expected = json!([{
        "file": "/opt/program",
        "buildId": "abcd",
        "reason": "no_debuginfo",
        "message": "no debuginfo for this build ID",
        "addresses": 1,
    }]);
    assert_eq!(rows, expected);

    // Who asks for it is told of each frame.
    for report in ["FLAMEGRAPH_ARROW", "TABLE_ARROW"] {
        for (reasons, has_column) in [("&reasons=true", true), ("&reasons=false", false), ("", false)] {
            let path = format!(
                "/api/profiles/query?mode=MODE_MERGE&merge.query=process_cpu:samples:count:cpu:nanoseconds:delta&merge.start=2023-11-14T00:00:00Z&merge.end=2023-11-15T00:00:00Z&report_type=REPORT_TYPE_{report}{reasons}"
            );
            let request = Request::get(&path).header("accept", "application/vnd.apache.arrow.stream");
            let response = server.send(request, "").await;
            assert_eq!(response.status(), 200);
            let has = |text: &str| response.body().windows(text.len()).any(|part| part == text.as_bytes());
            assert_eq!(has("unresolved"), has_column, "{path}");
            assert_eq!(has("no debuginfo for this build ID"), has_column, "{path}");
        }
    }

    let id = initiate(&mut client, "abcd", "h", PROGRAM.len() as i64).await.unwrap();
    send(&mut client, vec![info("abcd", &id), chunk(PROGRAM)]).await.unwrap();
    finish(&mut client, "abcd", &id).await.unwrap();
    let (after, notice, unresolved) = top().await;
    assert_eq!(name(&after).as_deref(), Some("_start"), "{after}");
    assert_eq!((notice, unresolved), (None, None));
    assert_eq!(after["list"][0]["flat"], "7");
    // Names that came later are names to filters, too.
    let only =
        |test: &str| format!(r#"{{"stackFilter":{{"criteria":{{"functionName":{{"{test}":"_start"}}}}}}}}"#);
    let flat = async |test: &str| top_of(&only(test)).await.0["list"][0]["flat"].clone();
    assert_eq!((flat("equal").await, flat("notEqual").await), (json!("7"), Value::Null));
    // The same file under the other of its names: one function.
    let gnu = list(&server, "abcd").await[0].gnu_build_id.clone();
    push(&gnu).await;
    let (both, ..) = top().await;
    assert_eq!(
        (both["list"].as_array().unwrap().len(), &both["list"][0]["flat"]),
        (1, &json!("14")),
        "{both}"
    );
    let metrics = server.get("/metrics").await;
    let metrics = text(&metrics);
    for line in [
        "decima_addresses_symbolized_total{outcome=\"no_debuginfo\"} 1",
        "decima_addresses_symbolized_total{outcome=\"resolved\"} 2",
        "decima_object_files 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

/// Other series of the same time stand in the same blocks: what they lack is not told with an answer that is not about them.
#[tokio::test]
async fn reasons_are_of_the_stacktraces_asked_for() {
    let server = TestServer::start().await;
    for (job, build_id) in [("a", "abcd"), ("b", "efgh"), ("c", "ijkl")] {
        let labels = [("__name__", "process_cpu"), ("job", job)];
        let labels = labels.map(|(name, value)| json!({"name": name, "value": value}));
        let samples = json!([{"rawProfile": base64(&profile_of_an_address(build_id))}]);
        let pushed = json!({"series": [{"labels": {"labels": labels}, "samples": samples}]});
        let request = Request::post("/api/profiles/writeraw").header("content-type", "application/json");
        assert_eq!(server.send(request, pushed.to_string()).await.status(), 200);
    }
    let check = async |matcher: &str, filter: &str, expected: Option<&[&str]>| {
        for report in ["TOP", "TABLE_ARROW", "FLAMEGRAPH_ARROW", "PPROF"] {
            let path = format!(
                "/api/profiles/query?mode=MODE_MERGE&merge.query=process_cpu:samples:count:cpu:nanoseconds:delta{matcher}&merge.start=2023-11-14T00:00:00Z&merge.end=2023-11-15T00:00:00Z&report_type=REPORT_TYPE_{report}{filter}"
            );
            let response = server.get(&path).await;
            let headers = response.headers();
            let rows = headers.get("x-decima-unresolved").map(|rows| rows.to_str().unwrap());
            let rows: Option<Value> = rows.map(|rows| serde_json::from_str(rows).unwrap());
            let build_ids = rows.as_ref().map(|rows| {
                rows.as_array()
                    .unwrap()
                    .iter()
                    .map(|row| row["buildId"].as_str().unwrap())
                    .collect::<Vec<_>>()
            });
            assert_eq!(build_ids.as_deref(), expected, "{path}");
            let notice = headers.get("x-decima-notice").map(|notice| notice.to_str().unwrap());
            let count = expected.map(<[_]>::len);
            assert_eq!(notice.map(|notice| notice[..1].parse().unwrap()), count, "{path}: {notice:?}");
        }
    };
    check("%7Bjob=%22b%22%7D", "", Some(&["efgh"])).await;
    check("%7Bjob!=%22b%22%7D", "", Some(&["abcd", "ijkl"])).await;
    check("", "", Some(&["abcd", "efgh", "ijkl"])).await;
}

fn base64(bytes: &[u8]) -> String {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    BASE64_STANDARD.encode(bytes)
}
