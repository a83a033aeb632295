//! What agents and OpenTelemetry's profiler sent, byte for byte, stored to exactly the totals that another program read
//! from it; and what becomes of those who send something else.

use std::{fs, path::Path, time::Duration};

use decima_proto::{
    Encoded,
    opentelemetry::v1development::profiles_service_client::ProfilesServiceClient,
    parca::{
        profilestore::v1alpha1::{
            AgentsRequest, WriteArrowRequest, WriteRequest, agents_service_client::AgentsServiceClient,
            profile_store_service_client::ProfileStoreServiceClient,
        },
        query::v1alpha1::{
            MergeProfile, QueryRequest,
            query_request::{Mode, Options, ReportType},
            query_service_client::QueryServiceClient,
        },
    },
};
use http::Request;
use prost::Message as _;
use prost_types::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::{
    harness::{TestServer, header, text},
    recorded::check_totals,
};

pub(crate) fn fixture(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(path);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn expected(folder: &str) -> Value {
    serde_json::from_slice(&fixture(&format!("{folder}/expected.json"))).unwrap()
}

/// Files of the messages that carry samples, in order.
fn files(expected: &Value) -> Vec<String> {
    let messages = expected["messages"].as_array().unwrap();
    messages.iter().map(|message| message["file"].as_str().unwrap().to_owned()).collect()
}

/// Sums of recorded samples are those of the recording's place in time; a store keeps what is not older than its retention,
/// which tests do not have.
pub(crate) async fn replay_arrow(server: &TestServer, folder: &str) {
    let mut client = ProfileStoreServiceClient::new(server.channel().await);
    for file in files(&expected(folder)) {
        let message = WriteArrowRequest::decode(&*fixture(&format!("{folder}/{file}"))).unwrap();
        client.write_arrow(message).await.unwrap();
    }
}

#[tokio::test]
async fn the_second_schema() {
    for folder in ["agent-v2", "agent-v2-memory"] {
        let server = TestServer::start().await;
        replay_arrow(&server, folder).await;
        check_totals(&server, &expected(folder)["total"], str::to_owned).await;
        // The same again changes nothing.
        replay_arrow(&server, folder).await;
        check_totals(&server, &expected(folder)["total"], str::to_owned).await;
    }
}

/// One exchange, in lock-step as the agent does it: the second message follows the answer, and the end of the stream is
/// waited for without closing it.
pub(crate) async fn exchange(
    client: &mut ProfileStoreServiceClient<tonic::transport::Channel>,
    first: WriteRequest,
    second: Option<WriteRequest>,
) -> Result<Option<Vec<u8>>, tonic::Status> {
    let (sender, requests) = mpsc::channel(2);
    sender.send(first).await.unwrap();
    let mut answers = client.write(ReceiverStream::new(requests)).await?.into_inner();
    let question = answers.message().await?.map(|answer| answer.record.to_vec());
    match second {
        Some(second) => sender.send(second).await.unwrap(),
        None => drop(sender),
    }
    assert!(answers.message().await?.is_none());
    Ok(question)
}

pub(crate) fn write_request(file: &str) -> WriteRequest {
    WriteRequest::decode(&*fixture(&format!("agent-v1/{file}"))).unwrap()
}

/// The files of an exchange: samples and locations.
pub(crate) fn exchanges() -> Vec<(String, String)> {
    let expected = expected("agent-v1");
    let messages = expected["messages"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let locations = |message: &Value| text(&message["kind"]).rsplit(' ').next().unwrap().to_owned();
    messages.iter().map(|message| (text(&message["file"]), locations(message))).collect()
}

/// Sends what the agent sent by the first schema.
pub(crate) async fn replay_exchanges(server: &TestServer) {
    let mut client = ProfileStoreServiceClient::new(server.channel().await);
    for (samples, locations) in exchanges() {
        let question = exchange(&mut client, write_request(&samples), Some(write_request(&locations))).await;
        assert!(question.unwrap().is_some_and(|question| question.len() > 100), "{samples}");
    }
}

#[tokio::test]
async fn the_first_schema() {
    let server = TestServer::start().await;
    replay_exchanges(&server).await;
    check_totals(&server, &expected("agent-v1")["total"], str::to_owned).await;
}

#[tokio::test]
async fn exchanges_that_go_wrong_are_told() {
    let server = TestServer::start().await;
    let mut client = ProfileStoreServiceClient::new(server.channel().await);
    let (samples, locations) = exchanges().remove(0);
    let check = async |client: &mut ProfileStoreServiceClient<_>, first, second, expected: &str| {
        let status = exchange(client, first, second).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!(status.message().contains(expected), "{}", status.message());
    };
    let missing = "without the locations that were asked for";
    check(&mut client, write_request(&samples), None, missing).await;
    let other = write_request(&exchanges().remove(10).1);
    check(&mut client, write_request(&samples), Some(other), "column stacktrace_id, row 0: the locations of")
        .await;
    let swapped = write_request(&samples);
    check(&mut client, swapped, Some(write_request(&samples)), "column locations: missing").await;
    let garbage = WriteRequest { record: vec![7; 100].into() };
    check(&mut client, garbage, None, "not a readable Arrow stream").await;
    // Nothing of all that is stored, and the connection goes on.
    exchange(&mut client, write_request(&samples), Some(write_request(&locations))).await.unwrap();
    let total = &expected("agent-v1")["messages"][0]["expected"];
    check_totals(&server, total, str::to_owned).await;
}

fn profiler(scope: &str) -> String {
    assert!(scope.contains("ebpf-profiler"), "{scope}");
    "go_opentelemetry_io_ebpf_profiler".to_owned()
}

#[tokio::test]
async fn opentelemetry_over_grpc() {
    for folder in ["otlp", "otlp-1.9"] {
        let server = TestServer::start().await;
        let mut client = ProfilesServiceClient::new(server.channel().await)
            .send_compressed(tonic::codec::CompressionEncoding::Gzip);
        for file in files(&expected(folder)) {
            let message = Encoded(fixture(&format!("{folder}/{file}")).into());
            let answer = client.export(message).await.unwrap().into_inner();
            assert_eq!(answer.partial_success, None);
        }
        check_totals(&server, &expected(folder)["total"], profiler).await;
        let metrics = server.get("/metrics").await;
        let repaired = if folder == "otlp" { 0 } else { 6 };
        let line = format!(
            r#"decima_sender_strings_repaired_total{{sender="127.0.0.1",address="127.0.0.1",protocol="otlp_grpc"}} {repaired}"#
        );
        assert!(self::text(&metrics).contains(&line), "{line}: {}", self::text(&metrics));
    }
}

#[tokio::test]
async fn opentelemetry_over_http() {
    let server = TestServer::start().await;
    for (index, file) in files(&expected("otlp")).iter().enumerate() {
        let message = fixture(&format!("otlp/{file}"));
        let mut request =
            Request::post("/v1development/profiles").header("content-type", "application/x-protobuf");
        let body = if index % 2 == 0 {
            request = request.header("content-encoding", "gzip");
            decima_profile::compression::gzip(&message)
        } else {
            message
        };
        let response = server.send(request, body).await;
        assert_eq!(response.status(), 200, "{file}");
        assert_eq!(header(&response, "content-type"), "application/x-protobuf");
        assert!(response.body().is_empty());
    }
    check_totals(&server, &expected("otlp")["total"], profiler).await;
}

/// A recorded request as JSON, which OpenTelemetry's own exporters would have sent.
pub(crate) const JSON: &str = r#"{
  "resourceProfiles": [{
    "resource": {"attributes": [
      {"key": "service.name", "value": {"stringValue": "shop"}},
      {"key": "process.pid", "value": {"intValue": "77"}}
    ]},
    "scopeProfiles": [{
      "scope": {"name": "my.profiler"},
      "profiles": [
        {
          "sampleType": {"typeStrindex": 1, "unitStrindex": 2},
          "timeUnixNano": "1795366894651319594", "durationNano": "5000000000",
          "periodType": {"typeStrindex": 3, "unitStrindex": 4}, "period": "50000000",
          "samples": [
            {"stackIndex": 1, "attributeIndices": [1], "linkIndex": 1, "values": ["3"]},
            {"stackIndex": 1, "timestampsUnixNano": ["1795366894651319595", "1795366894651319596"]}
          ]
        },
        {"sampleType": {"typeStrindex": 99}, "samples": [{"stackIndex": 1, "values": ["1"]}]}
      ]
    }]
  }],
  "dictionary": {
    "stringTable": ["", "samples", "count", "cpu", "nanoseconds", "main", "retry", "app.go"],
    "functionTable": [{}, {"nameStrindex": 5, "filenameStrindex": 7}],
    "mappingTable": [{}],
    "locationTable": [{}, {"lines": [{"functionIndex": 1, "line": "12"}]}],
    "attributeTable": [{}, {"keyStrindex": 6, "value": {"boolValue": true}}],
    "linkTable": [{}, {"traceId": "0102030405060708090a0b0c0d0e0f10", "spanId": "0102030405060708"}],
    "stackTable": [{}, {"locationIndices": [1]}]
  }
}"#;

async fn top(server: &TestServer, query: &str) -> i64 {
    let time = |seconds| Some(Timestamp { seconds, nanos: 0 });
    let request = QueryRequest {
        mode: Mode::Merge as i32,
        report_type: ReportType::Top as i32,
        options: Some(Options::Merge(MergeProfile {
            query: query.to_owned(),
            start: time(1_795_366_800),
            end: time(1_795_367_000),
        })),
        ..QueryRequest::default()
    };
    QueryServiceClient::new(server.channel().await).query(request).await.unwrap().into_inner().total
}

#[tokio::test]
async fn opentelemetry_as_json() {
    let server = TestServer::start().await;
    let request = || Request::post("/v1development/profiles").header("content-type", "application/json");
    let response = server.send(request(), JSON).await;
    assert_eq!(response.status(), 200, "{}", text(&response));
    let answer: Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(answer["partialSuccess"]["rejectedProfiles"], "1");
    assert_eq!(
        answer["partialSuccess"]["errorMessage"],
        "resource_profiles[0].scope_profiles[0].profiles[1].sample_type.type: string index 99 is out of range (8)"
    );
    let of = |selector: &str| format!("my_profiler:samples:count:cpu:nanoseconds:delta{{{selector}}}");
    for (selector, samples) in [
        ("", 5),
        (r#"service_name="shop""#, 5),
        (r#"process_pid="77""#, 5),
        (r#"retry="true""#, 3),
        (r#"trace_id="0102030405060708090a0b0c0d0e0f10", span_id="0102030405060708""#, 3),
        (r#"retry="false""#, 0),
    ] {
        assert_eq!(top(&server, &of(selector)).await, samples * 50_000_000, "{selector}");
    }
    // What was left out is counted, and told by the list of senders too.
    let metrics = server.get("/metrics").await;
    let left_out = r#"decima_sender_profiles_rejected_total{sender="127.0.0.1",address="127.0.0.1",protocol="otlp_http",reason="out_of_range"} 1"#;
    assert!(text(&metrics).lines().any(|line| line == left_out), "{}", text(&metrics));
    let senders: Value = serde_json::from_slice(server.get("/api/senders").await.body()).unwrap();
    let sender = &senders["senders"][0];
    assert_eq!(sender["counts"][0]["rejectedProfiles"][0]["profiles"], "1", "{sender}");
    assert!(sender["lastError"].as_str().unwrap().contains("string index 99 is out of range"), "{sender}");
    // Text that is not UTF-8 is repaired, whoever wrote the JSON.
    let damaged: Vec<u8> =
        JSON.replace("shop", "sh?p").bytes().map(|b| if b == b'?' { 0xff } else { b }).collect();
    let response = server.send(request(), damaged).await;
    assert_eq!(response.status(), 200, "{}", text(&response));
    assert_eq!(top(&server, &of("service_name=\"sh\u{fffd}p\"")).await, 5 * 50_000_000);
    let metrics = server.get("/metrics").await;
    let repaired = r#"decima_sender_strings_repaired_total{sender="127.0.0.1",address="127.0.0.1",protocol="otlp_http"} 1"#;
    assert!(text(&metrics).lines().any(|line| line == repaired), "{}", text(&metrics));
    for (body, code, message) in [
        ("{", 400, "not an OTLP request as JSON"),
        (
            r#"{"dictionary":{"stackTable":[{"locationIndices":[5]}]}}"#,
            400,
            "dictionary.stack_table[0]: location index 5 is out of range (0)",
        ),
    ] {
        let response = server.send(request(), body).await;
        assert_eq!(response.status(), code);
        assert!(text(&response).contains(message), "{}", text(&response));
    }
    let response = server.send(Request::post("/v1development/profiles"), "").await;
    assert_eq!(response.status(), 415);
}

#[tokio::test]
async fn senders_are_listed_and_counted() {
    let server = TestServer::start().await;
    replay_arrow(&server, "agent-v2").await;
    let mut client = ProfileStoreServiceClient::new(server.channel().await);
    let garbage = WriteArrowRequest { ipc_buffer: vec![1; 50].into() };
    let status = client.write_arrow(garbage).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let (samples, locations) = exchanges().remove(0);
    exchange(&mut client, write_request(&samples), Some(write_request(&locations))).await.unwrap();
    let message = fixture(&format!("otlp/{}", files(&expected("otlp"))[0]));
    let message = Encoded(message.into());
    ProfilesServiceClient::new(server.channel().await).export(message).await.unwrap();
    let agents = AgentsServiceClient::new(server.channel().await).agents(AgentsRequest {}).await.unwrap();
    let agents: Vec<_> = agents.into_inner().agents.into_iter().map(|a| (a.id, a.last_error)).collect();
    // The garbage has no node; the profiler, which has none either, was right after it.
    assert_eq!(agents, [("127.0.0.1".to_owned(), String::new()), ("vm1".to_owned(), String::new())]);
    let metrics = server.get("/metrics").await;
    for line in [
        r#"decima_sender_writes_total{sender="vm1",address="127.0.0.1",protocol="write_arrow",outcome="accepted",reason=""} 14"#,
        r#"decima_sender_samples_accepted_total{sender="vm1",address="127.0.0.1",protocol="write_arrow"} 1163"#,
        r#"decima_sender_samples_accepted_total{sender="vm1",address="127.0.0.1",protocol="write"} 73"#,
        r#"decima_sender_writes_total{sender="127.0.0.1",address="127.0.0.1",protocol="write_arrow",outcome="refused",reason="malformed"} 1"#,
        r#"decima_sender_samples_accepted_total{sender="127.0.0.1",address="127.0.0.1",protocol="otlp_grpc"} 93"#,
    ] {
        assert!(text(&metrics).lines().any(|l| l == line), "{line} is not in\n{}", text(&metrics));
    }
}

#[tokio::test]
async fn good_requests_are_served_beside_bad_ones() {
    let server = TestServer::start().await;
    let file = &files(&expected("agent-v2"))[0];
    let message = fixture(&format!("agent-v2/{file}"));
    let whole = WriteArrowRequest::decode(&*message).unwrap().ipc_buffer;
    let bad = tokio::spawn({
        let (channel, whole) = (server.channel().await, whole.clone());
        async move {
            let mut client = ProfileStoreServiceClient::new(channel);
            for end in (0..whole.len()).step_by(whole.len() / 200) {
                let cut = WriteArrowRequest { ipc_buffer: whole.slice(..end) };
                match client.write_arrow(cut).await {
                    Ok(_) => panic!("{end} bytes are taken"),
                    Err(status) => assert_eq!(status.code(), Code::InvalidArgument, "{end}: {status:?}"),
                }
            }
        }
    });
    let mut client = ProfileStoreServiceClient::new(server.channel().await);
    let good = client.write_arrow(WriteArrowRequest { ipc_buffer: whole });
    tokio::time::timeout(Duration::from_secs(60), good).await.unwrap().unwrap();
    bad.await.unwrap();
    check_totals(&server, &expected("agent-v2")["messages"][0]["expected"], str::to_owned).await;
}

#[tokio::test]
async fn agents_that_ended_are_told() {
    let server = TestServer::start().await;
    let request = || Request::post("/api/telemetry/panic").header("content-type", "application/json");
    let report = r#"{"stderr":"msg=x\npanic: no maps\n\ngoroutine 1","metadata":{"agent_version":"v1"}}"#;
    let response = server.send(request(), report).await;
    assert_eq!((response.status().as_u16(), text(&response)), (200, "{}"));
    let mut client = tonic::client::Grpc::new(server.channel().await);
    client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/parca.telemetry.v1alpha1.TelemetryService/ReportPanic");
    let codec = tonic_prost::ProstCodec::<Encoded, Encoded>::default();
    let message = Encoded(vec![0x0a, 3, b'o', b'o', b'm'].into());
    client.unary(tonic::Request::new(message), path.clone(), codec).await.unwrap();
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<Encoded, Encoded>::default();
    let status =
        client.unary(tonic::Request::new(Encoded(vec![0x0a, 9].into())), path, codec).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::InvalidArgument, "ReportPanicRequest.stderr: cut short at byte 2")
    );
    let metrics = server.get("/metrics").await;
    for (outcome, reason, count) in [("accepted", "", 2), ("refused", "malformed", 1)] {
        let line = format!(
            r#"decima_sender_writes_total{{sender="127.0.0.1",address="127.0.0.1",protocol="telemetry",outcome="{outcome}",reason="{reason}"}} {count}"#
        );
        assert!(text(&metrics).lines().any(|l| l == line), "{line} is not in\n{}", text(&metrics));
    }
    // Until it pushes again, it is told why.
    server.send(request(), report).await;
    let senders: Value = serde_json::from_slice(server.get("/api/senders").await.body()).unwrap();
    assert_eq!(senders["senders"][0]["lastError"], "the agent ended: panic: no maps");
}

#[tokio::test]
async fn requests_without_a_stream_are_refused() {
    let server = TestServer::start().await;
    let mut client = ProfileStoreServiceClient::new(server.channel().await);
    let status = client.write_arrow(WriteArrowRequest::default()).await.unwrap_err();
    let words = "missing, an Arrow stream begins with its schema";
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, &*format!("ipc_buffer: {words}")));
    let status = exchange(&mut client, WriteRequest::default(), None).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, &*format!("record: {words}")));
}

#[tokio::test]
async fn the_first_schema_over_rest() {
    let server = TestServer::start().await;
    let (samples, locations) = exchanges().remove(0);
    let line = |file: &str| {
        let record = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, write_request(file).record);
        serde_json::json!({ "record": record }).to_string()
    };
    let request = || Request::post("/api/profiles/write").header("content-type", "application/json");
    let body = format!("{}\n{}", line(&samples), line(&locations));
    let response = server.send(request(), body).await;
    assert_eq!(response.status(), 200, "{}", text(&response));
    assert!(text(&response).starts_with(r#"{"result":{"record":""#) && text(&response).ends_with("\"}}\n"));
    let total = &expected("agent-v1")["messages"][0]["expected"];
    check_totals(&server, total, str::to_owned).await;
    for (body, words) in [
        (line(&samples), "without the locations that were asked for"),
        ("{".to_owned(), "not the messages as JSON"),
        (format!("{}{}", line(&samples), line(&samples)), "column locations: missing"),
    ] {
        let response = server.send(request(), body).await;
        assert_eq!(response.status(), 400, "{}", text(&response));
        assert!(text(&response).contains(words), "{}", text(&response));
    }
}
