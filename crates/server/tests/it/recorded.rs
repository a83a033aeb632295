//! What Parca's own scraper sent, byte for byte, stored to exactly the totals that another program read from it.

use std::{fs, path::Path};

use decima_proto::parca::query::v1alpha1::{
    MergeProfile, QueryRequest,
    query_request::{Mode, Options, ReportType},
    query_service_client::QueryServiceClient,
};
use http::Request;
use prost_types::Timestamp;
use serde_json::Value;

use crate::harness::{TestServer, header};

/// The recorded requests in their order, and what they add up to.
fn recording() -> (Vec<Vec<u8>>, Value) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/scraper");
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "bin"));
    files.sort();
    assert_eq!(files.len(), 36);
    let expected = fs::read(folder.join("expected.json")).unwrap();
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    (files.iter().map(|path| fs::read(path).unwrap()).collect(), expected["total"].clone())
}

#[tokio::test]
async fn the_scrapers_requests() {
    let (messages, expected) = recording();
    let server = TestServer::start().await;
    for message in messages {
        let mut frame = vec![0];
        frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(&message);
        let request = Request::post("/parca.profilestore.v1alpha1.ProfileStoreService/WriteRaw")
            .header("content-type", "application/grpc-web+proto");
        let response = server.send(request, frame).await;
        assert_eq!((response.status().as_u16(), header(&response, "grpc-status")), (200, ""));
    }
    check_totals(&server, &expected, str::to_owned).await;
}

/// Asks for the sum of every profile type that a recording holds; `name` makes a profile's name of the sender's.
pub(crate) async fn check_totals(server: &TestServer, expected: &Value, name: fn(&str) -> String) {
    let mut client = QueryServiceClient::new(server.channel().await);
    let time = |field: &str| {
        let ns = expected[field].as_i64().unwrap();
        Some(Timestamp { seconds: ns.div_euclid(1_000_000_000), nanos: ns.rem_euclid(1_000_000_000) as i32 })
    };
    for (profile_type, totals) in expected["profile_types"].as_object().unwrap() {
        let is_delta = totals["durations_ns"][0] != 0;
        let (sent, parts) = profile_type.split_once(':').unwrap();
        let delta = if is_delta { ":delta" } else { "" };
        let query = format!("{}:{parts}{delta}{{}}", name(sent));
        let request = QueryRequest {
            mode: Mode::Merge as i32,
            report_type: ReportType::Top as i32,
            options: Some(Options::Merge(MergeProfile {
                query,
                start: time("min_timestamp_ns"),
                end: time("max_timestamp_ns"),
            })),
            ..QueryRequest::default()
        };
        let answer = client.query(request).await.unwrap().into_inner();
        // Counted samples are told as what they stand for.
        let scale = match profile_type.contains(":samples:count:") {
            true => totals["periods"][0].as_i64().unwrap(),
            false => 1,
        };
        assert_eq!(answer.total, totals["value"].as_i64().unwrap() * scale, "{profile_type}");
    }
}
