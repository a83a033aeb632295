//! What was written comes back: the same profile through every way out, as golden JSON and as raw bytes.

use std::{fs, path::Path};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use decima_proto::parca::{
    profilestore::v1alpha1::profile_store_service_client::ProfileStoreServiceClient,
    query::v1alpha1::{
        LabelsRequest, MergeProfile, ProfileTypesRequest, QueryRangeRequest, QueryRequest, ValuesRequest,
        query_request::{Mode, Options, ReportType},
        query_response::Report,
        query_service_client::QueryServiceClient,
    },
};
use decima_testkit::pprof::ProfileBuilder;
use http::Request;
use prost_types::Timestamp;
use tonic::metadata::MetadataValue;

use crate::{
    grpc::write_request,
    harness::{TestServer, header, text},
};

const TIME_NS: i64 = 1_790_000_000_000_000_000;
const QUERY: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta{job=\"shop\"}";
/// The range of [`merge`] as parameters of `query` in mode merge.
const MERGE: &str = "mode=MODE_MERGE\
    &merge.query=process_cpu%3Acpu%3Ananoseconds%3Acpu%3Ananoseconds%3Adelta%7Bjob%3D%22shop%22%7D\
    &merge.start=2026-09-21T14:13:00Z&merge.end=2026-09-21T14:14:00Z";

/// A server that holds two profiles of one job, 10 s apart.
async fn filled() -> TestServer {
    let server = TestServer::start().await;
    let mut client = ProfileStoreServiceClient::new(server.channel().await);
    for (instance, time_ns) in [("a", TIME_NS), ("b", TIME_NS + 10_000_000_000)] {
        let profile = ProfileBuilder::cpu()
            .at(time_ns)
            .sample(&["hash", "checkout", "main"], &[70_000_000])
            .sample(&["checkout", "main"], &[20_000_000])
            .sample(&["render", "main"], &[10_000_000])
            .gzip();
        let labels = [("__name__", "process_cpu"), ("job", "shop"), ("instance", instance)];
        client.write_raw(write_request(&labels, profile)).await.unwrap();
    }
    server
}

fn merge(report: ReportType) -> QueryRequest {
    QueryRequest {
        mode: Mode::Merge as i32,
        report_type: report as i32,
        options: Some(Options::Merge(MergeProfile {
            query: QUERY.to_owned(),
            start: Some(Timestamp { seconds: TIME_NS / 1_000_000_000 - 20, nanos: 0 }),
            end: Some(Timestamp { seconds: TIME_NS / 1_000_000_000 + 40, nanos: 0 }),
        })),
        ..QueryRequest::default()
    }
}

/// Compares with a file in `tests/golden`. `DECIMA_BLESS=1` writes it; a missing one fails.
#[track_caller]
fn golden(name: &str, json: &str) {
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    let got = serde_json::to_string_pretty(&value).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("DECIMA_BLESS").is_some() {
        fs::write(&path, &got).unwrap();
    }
    let expected = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; DECIMA_BLESS=1 writes it", path.display()));
    assert_eq!(got, expected, "{name} differs; DECIMA_BLESS=1 accepts the new answer");
}

#[tokio::test]
async fn rest_answers() {
    let server = filled().await;
    let range = "query=process_cpu%3Acpu%3Ananoseconds%3Acpu%3Ananoseconds%3Adelta%7B%7D\
        &start=2026-09-21T14:13:00Z&end=2026-09-21T14:14:00Z";
    for (name, path) in [
        ("types.json", "/api/profiles/types".to_owned()),
        ("labels.json", "/api/profiles/labels".to_owned()),
        ("values.json", "/api/profiles/labels/instance/values?match=%7Binstance!%3D%22a%22%7D".to_owned()),
        ("has_profile_data.json", "/api/profiles/has_profile_data".to_owned()),
        ("query_range.json", format!("/api/profiles/query_range?{range}&step=15s")),
        ("query_range_sum_by.json", format!("/api/profiles/query_range?{range}&step=60s&sumBy=instance")),
        ("top.json", format!("/api/profiles/query?{MERGE}&reportType=REPORT_TYPE_TOP")),
        ("callgraph.json", format!("/api/profiles/query?{MERGE}&reportType=3")),
        ("metadata.json", format!("/api/profiles/query?{MERGE}&report_type=REPORT_TYPE_PROFILE_METADATA")),
    ] {
        let response = server.get(&path).await;
        assert_eq!(response.status(), 200, "{path}: {}", text(&response));
        golden(name, text(&response));
    }
}

#[tokio::test]
async fn records_as_raw_bytes() {
    let server = filled().await;
    for (report, height) in [(5, "4"), (7, "")] {
        let path = format!("/api/profiles/query?{MERGE}&reportType={report}");
        let request = Request::get(&path).header("accept", "application/vnd.apache.arrow.stream");
        let raw = server.send(request, "").await;
        assert_eq!(raw.status(), 200, "{}", text(&raw));
        assert_eq!(header(&raw, "content-type"), "application/vnd.apache.arrow.stream");
        assert_eq!(header(&raw, "x-decima-total"), "200000000");
        assert_eq!(header(&raw, "x-decima-filtered"), "0");
        assert_eq!(header(&raw, "x-decima-unit"), "nanoseconds");
        assert_eq!(header(&raw, "x-decima-trimmed"), "0");
        assert_eq!(header(&raw, "x-decima-height"), height);
        // The beginning of an encapsulated message.
        assert_eq!(raw.body()[..4], [0xff; 4]);
        let request = Request::get(&path)
            .header("accept", "application/vnd.apache.arrow.stream")
            .header("accept-encoding", "br, zstd");
        let compressed = server.send(request, "").await;
        assert_eq!(header(&compressed, "content-encoding"), "zstd");
        assert!(compressed.body().len() < raw.body().len());
    }
}

#[tokio::test]
async fn pprof_as_a_download() {
    let server = filled().await;
    let path = format!("/api/profiles/query?{MERGE}&reportType=REPORT_TYPE_PPROF");
    let request = Request::get(&path)
        .header("accept", "application/octet-stream")
        .header("accept-encoding", "br, gzip");
    let raw = server.send(request, "").await;
    assert_eq!(header(&raw, "content-type"), "application/octet-stream");
    assert_eq!(header(&raw, "content-disposition"), r#"attachment; filename="profile.pb.gz""#);
    assert_eq!(header(&raw, "content-encoding"), "");
    assert_eq!(raw.body()[..2], [0x1f, 0x8b]);
    let json: serde_json::Value = serde_json::from_str(text(&server.get(&path).await)).unwrap();
    assert_eq!(json["total"], "200000000");
    let bytes = BASE64_STANDARD.decode(json["pprof"].as_str().unwrap()).unwrap();
    assert_eq!(bytes[..2], [0x1f, 0x8b]);
}

#[tokio::test]
async fn filters_as_parameters() {
    let server = filled().await;
    let filter = |json: &str| {
        let encoded: String = json.bytes().map(|byte| format!("%{byte:02x}")).collect();
        format!("/api/profiles/query?{MERGE}&reportType=REPORT_TYPE_TOP&filter={encoded}")
    };
    let response =
        server.get(&filter(r#"{"stackFilter":{"criteria":{"functionName":{"equal":"hash"}}}}"#)).await;
    let json: serde_json::Value = serde_json::from_str(text(&response)).unwrap();
    assert_eq!((&json["total"], &json["filtered"]), (&"140000000".into(), &"60000000".into()));
}

#[tokio::test]
async fn focus_and_node_budget() {
    let server = filled().await;
    let rows = async |parameters: &str| {
        let path = format!("/api/profiles/query?{MERGE}&reportType=5{parameters}");
        let request = Request::get(&path).header("accept", "application/vnd.apache.arrow.stream");
        let response = server.send(request, "").await;
        assert_eq!(response.status(), 200, "{}", text(&response));
        (header(&response, "x-decima-height").to_owned(), header(&response, "x-decima-trimmed").to_owned())
    };
    assert_eq!(rows("").await, ("4".to_owned(), "0".to_owned()));
    assert_ne!(rows("&max_nodes=2").await.1, "0");
    let mut client = QueryServiceClient::new(server.channel().await);
    let mut request = tonic::Request::new(merge(ReportType::FlamegraphArrow));
    request.metadata_mut().insert("x-decima-max-nodes", MetadataValue::from_static("2"));
    let Some(Report::FlamegraphArrow(small)) = client.query(request).await.unwrap().into_inner().report
    else {
        panic!("not a flame graph");
    };
    assert_ne!(small.trimmed, 0);
    let focus: String = r#"["main","checkout"]"#.bytes().map(|byte| format!("%{byte:02x}")).collect();
    assert_eq!(rows(&format!("&focus={focus}")).await.1, "0");
}

/// The calls of Grafana's plugin: no times, no step, no grouping, no trimming.
#[tokio::test]
async fn grafanas_calls() {
    let server = filled().await;
    let mut client = QueryServiceClient::new(server.channel().await);
    let types = client.profile_types(ProfileTypesRequest::default()).await.unwrap().into_inner().types;
    assert_eq!(types.len(), 1);
    let labels = client.labels(LabelsRequest::default()).await.unwrap().into_inner().label_names;
    assert_eq!(labels, ["instance", "job"]);
    let request = ValuesRequest { label_name: "instance".to_owned(), ..ValuesRequest::default() };
    assert_eq!(client.values(request).await.unwrap().into_inner().label_values, ["a", "b"]);

    let start_s = TIME_NS / 1_000_000_000;
    let request = QueryRangeRequest {
        query: QUERY.to_owned(),
        start: Some(Timestamp { seconds: start_s - 60, nanos: 0 }),
        end: Some(Timestamp { seconds: start_s + 60, nanos: 0 }),
        limit: 120,
        ..QueryRangeRequest::default()
    };
    let series = client.query_range(request).await.unwrap().into_inner().series;
    assert_eq!(series.len(), 1);
    assert!(series[0].labelset.is_some(), "the plugin reads it without asking");
    assert_eq!(series[0].samples.iter().map(|sample| sample.value).collect::<Vec<_>>(), [100_000_000; 2]);

    let answer = client.query(merge(ReportType::FlamegraphArrow)).await.unwrap().into_inner();
    assert_eq!(answer.total, 200_000_000);
    let Some(Report::FlamegraphArrow(flamegraph)) = answer.report else { panic!("not a flame graph") };
    assert_eq!(flamegraph.unit, "nanoseconds");
}
