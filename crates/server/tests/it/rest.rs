//! The REST gateway.

use decima_server::{Bounds, Settings};
use http::Request;

use crate::harness::{TestServer, header, text};

/// Path → status and body.
async fn check(server: &TestServer, path: &str, status: u16, body: &str) {
    let response = server.get(path).await;
    assert_eq!((response.status().as_u16(), text(&response)), (status, body), "{path}");
    assert_eq!(header(&response, "content-type"), "application/json", "{path}");
}

#[tokio::test]
async fn an_empty_store() {
    let server = TestServer::start().await;
    check(&server, "/api/profiles/has_profile_data", 200, r#"{"hasData":false}"#).await;
    check(&server, "/api/profiles/types", 200, r#"{"types":[]}"#).await;
    check(&server, "/api/profiles/labels", 200, r#"{"labelNames":[],"warnings":[]}"#).await;
    check(&server, "/api/profiles/labels/job/values", 200, r#"{"labelValues":[],"warnings":[]}"#).await;
    check(&server, "/api/agents", 200, r#"{"agents":[]}"#).await;
    check(&server, "/api/targets?state=STATE_ACTIVE", 200, r#"{"targets":{}}"#).await;
}

#[tokio::test]
async fn failures() {
    let server = TestServer::start().await;
    let check = async |path: &str, status: u16, body: &str| check(&server, path, status, body).await;
    check("/api/profiles/query_range?query=x", 400, r#"{"code":3,"message":"start: missing","details":[]}"#)
        .await;
    check(
        "/api/profiles/query_range?query=x&start=never",
        400,
        r#"{"code":3,"message":"start: \"never\" is not a time as in RFC 3339","details":[]}"#,
    )
    .await;
    check(
        "/api/profiles/query?mode=MODE_MERGE&reportType=TOP",
        400,
        r#"{"code":3,"message":"reportType: \"TOP\" is not a value of parca.query.v1alpha1.QueryRequest.ReportType","details":[]}"#,
    )
    .await;
    check(
        "/api/profiles/query?mode=2&reportType=5&merge.query=x&merge.start=2026-01-01T00:00:00Z",
        400,
        r#"{"code":3,"message":"merge.end: missing","details":[]}"#,
    )
    .await;
    check(
        "/api/profiles/query?mode=2&reportType=5&focus=main",
        400,
        r#"{"code":3,"message":"focus: not a JSON array of names: expected value at line 1 column 1","details":[]}"#,
    )
    .await;
    check("/api/profiles/nothing", 404, r#"{"code":5,"message":"Not Found","details":[]}"#).await;
    check("/api/profiles/writeraw", 501, r#"{"code":12,"message":"Method Not Allowed","details":[]}"#).await;
    check(
        "/api/profiles/series",
        501,
        r#"{"code":12,"message":"parca.query.v1alpha1.QueryService/Series is not offered","details":[]}"#,
    )
    .await;
    let response = server.send(Request::post("/api/upload"), "{}").await;
    assert_eq!(response.status(), 501);
    assert_eq!(
        text(&response),
        r#"{"code":12,"message":"parca.debuginfo.v1alpha1.DebuginfoService/Upload is not offered","details":[]}"#
    );
}

#[tokio::test]
async fn write_raw_bodies() {
    let server = TestServer::start().await;
    let post = async |body: &'static str| {
        let request = Request::post("/api/profiles/writeraw").header("content-type", "application/json");
        let response = server.send(request, body).await;
        (response.status().as_u16(), text(&response).to_owned())
    };
    assert_eq!(post("").await, (200, "{}".to_owned()));
    assert_eq!(post(r#"{"tenant":"x","series":[]}"#).await, (200, "{}".to_owned()));
    let (status, body) = post(r#"{"series":[{}]}"#).await;
    assert_eq!(
        (status, body.as_str()),
        (400, r#"{"code":3,"message":"series[0].labels: missing","details":[]}"#)
    );
    let (status, body) = post(r#"{"series":5}"#).await;
    assert_eq!(status, 400);
    assert!(body.starts_with(r#"{"code":3,"message":"not the message as JSON: "#), "{body}");
    let (status, _) = post(r#"{"series":[{"labels":{},"samples":[{"rawProfile":"not base64!"}]}]}"#).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn bodies_are_bounded() {
    let settings = Settings {
        bounds: Bounds { message_bytes_max: 3 << 20, ..Bounds::default() },
        ..Settings::default()
    };
    let server = TestServer::with(settings).await;
    let post = async |size: usize| {
        let response = server.send(Request::post("/api/profiles/writeraw"), vec![b' '; size]).await;
        response.status().as_u16()
    };
    // Blanks are no message, but they are read.
    assert_eq!(post(5 << 20).await, 400);
    assert_eq!(post((5 << 20) + 1).await, 429);
}
