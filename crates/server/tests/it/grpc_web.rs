//! gRPC-Web by hand: frames in binary and in base64, over HTTP/1.1, at the root and below `/api`.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::{Bytes, BytesMut};
use decima_proto::parca::query::v1alpha1::{
    HasProfileDataRequest, HasProfileDataResponse, ProfileTypesRequest, QueryRequest,
};
use http::{Request, Response};
use prost::Message;

use crate::harness::{TestServer, header};

const METHOD: &str = "parca.query.v1alpha1.QueryService";

/// A message with its five bytes of frame.
fn frame(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&message);
    frame
}

/// Frames of an answer: flag and content.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [flag, a, b, c, d, rest @ ..] = bytes {
        let size = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        frames.push((*flag, rest[..size].to_vec()));
        bytes = &rest[size..];
    }
    assert!(bytes.is_empty(), "{} bytes are left", bytes.len());
    frames
}

/// Base64 in parts, each with its own padding.
fn unbase64(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for group in text.chunks(4) {
        bytes.extend(BASE64_STANDARD.decode(group).unwrap());
    }
    bytes
}

async fn call(
    server: &TestServer,
    path: &str,
    content_type: &str,
    message: &impl Message,
) -> Response<Bytes> {
    let mut body = frame(message);
    if content_type.contains("text") {
        body = BASE64_STANDARD.encode(body).into_bytes();
    }
    let request = Request::post(path).header("content-type", content_type).header("x-grpc-web", "1");
    server.send(request, body).await
}

#[tokio::test]
async fn both_framings_at_root_and_below_api() {
    let server = TestServer::start().await;
    for content_type in [
        "application/grpc-web-text",
        "application/grpc-web-text+proto",
        "application/grpc-web",
        "application/grpc-web+proto",
    ] {
        for prefix in ["", "/api"] {
            let path = format!("{prefix}/{METHOD}/HasProfileData");
            let response = call(&server, &path, content_type, &HasProfileDataRequest {}).await;
            assert_eq!(response.status(), 200, "{content_type} {path}");
            let is_text = content_type.contains("text");
            assert_eq!(header(&response, "content-type").contains("text"), is_text);
            let body = if is_text { unbase64(response.body()) } else { response.body().to_vec() };
            let frames = frames(&body);
            assert_eq!(frames.len(), 2, "{content_type}: {frames:?}");
            assert_eq!(frames[0].0, 0);
            HasProfileDataResponse::decode(BytesMut::from(&frames[0].1[..])).unwrap();
            assert_eq!(frames[1].0, 0x80);
            let trailers = String::from_utf8(frames[1].1.clone()).unwrap();
            assert!(trailers.contains("grpc-status:0"), "{trailers}");
        }
    }
}

#[tokio::test]
async fn failures_are_told_in_headers() {
    let server = TestServer::start().await;
    for content_type in ["application/grpc-web-text", "application/grpc-web+proto"] {
        let message = QueryRequest { report_type: 5, ..QueryRequest::default() };
        let response = call(&server, &format!("/api/{METHOD}/Query"), content_type, &message).await;
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "grpc-status"), "3");
        assert!(header(&response, "grpc-message").starts_with("mode:"));
        let response = call(&server, "/api/no.Such/Method", content_type, &message).await;
        assert_eq!(header(&response, "grpc-status"), "12");
        assert_eq!(header(&response, "grpc-message"), "no.Such/Method%20is%20not%20offered");
    }
}

#[tokio::test]
async fn broken_frames_fail_alone() {
    let server = TestServer::start().await;
    for (content_type, body) in [
        ("application/grpc-web-text", &b"&&&&"[..]),
        ("application/grpc-web-text", b"AAAAAAE"),
        ("application/grpc-web", b"\0\0\0\0\x05ab"),
        ("application/grpc-web", b"\0\xff\xff\xff\xff"),
        ("application/grpc-web", b"\0\0\0\0\x02\xff\xff"),
        ("application/grpc-web", b""),
    ] {
        let request = Request::post(format!("/{METHOD}/ProfileTypes")).header("content-type", content_type);
        let response = server.send(request, body).await;
        assert_ne!(header(&response, "grpc-status"), "0", "{content_type} {body:?}");
        assert_ne!(header(&response, "grpc-status"), "", "{content_type} {body:?}");
    }
    let path = format!("/{METHOD}/ProfileTypes");
    let response = call(&server, &path, "application/grpc-web", &ProfileTypesRequest::default()).await;
    assert_eq!(response.status(), 200);
}
