//! OTLP over HTTP: `POST /v1development/profiles`, protobuf or JSON, plain, gzip or zstd.
//!
//! JSON names its fields, so that there is no doubt about the layout of samples; it is turned into the protobuf of the current
//! layout, and from there on there is one way in. Answers come in the form of the request.

use std::{sync::Arc, sync::LazyLock, time::Instant};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::post,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use decima_ingest::{
    otlp::Layout,
    push::{Protocol, Senders},
};
use decima_proto::opentelemetry::v1development::ExportProfilesServiceResponse;
use http::{HeaderMap, StatusCode, header};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor};
use serde_json::Value;
use tonic::{Code, Status};

use crate::{
    deadline,
    metrics::{Metrics, Protocol as CountedProtocol},
    service::{note_refused, origin, otlp::ProfilesService},
    settings::Bounds,
    status,
};

/// The path that OpenTelemetry's exporters post to.
pub(crate) const PATH: &str = "/v1development/profiles";
/// What metrics call it: the same method, the other way in.
const METHOD: &str = "opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export";
const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// What the route needs.
pub(crate) struct Receiver {
    pub(crate) profiles: ProfilesService,
    pub(crate) senders: Arc<Senders>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) bounds: Bounds,
}

/// The route.
pub(crate) fn routes(receiver: Arc<Receiver>) -> Router {
    Router::new().route(PATH, post(export)).with_state(receiver)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Protobuf,
    Json,
}

async fn export(State(receiver): State<Arc<Receiver>>, request: Request) -> Response {
    let start = Instant::now();
    let form = form(request.headers());
    let timeout = deadline::of(request.headers(), receiver.bounds.request_timeout);
    let answer = async {
        let form = form.ok_or_else(|| {
            Status::invalid_argument(format!("content-type: neither {PROTOBUF} nor {JSON}"))
        })?;
        receiver.store(form, request).await
    };
    let answer =
        tokio::time::timeout(timeout, answer).await.unwrap_or_else(|_| Err(status::deadline_exceeded()));
    let code = answer.as_ref().map_or_else(Status::code, |_| Code::Ok);
    receiver.metrics.request(METHOD, CountedProtocol::Rest, code, start.elapsed());
    match (answer, form) {
        (Ok(answer), Some(Form::Protobuf)) => {
            ([(header::CONTENT_TYPE, PROTOBUF)], answer.encode_to_vec()).into_response()
        }
        (Ok(answer), _) => ([(header::CONTENT_TYPE, JSON)], to_json(&answer).to_string()).into_response(),
        (Err(failure), None) => {
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, failure.message().to_owned()).into_response()
        }
        (Err(failure), Some(Form::Json)) => status::to_rest(&failure),
        (Err(failure), Some(Form::Protobuf)) => {
            // google.rpc.Status has the same first two fields.
            let body = RpcStatus { code: failure.code() as i32, message: failure.message().to_owned() };
            let status = status::http_status(failure.code());
            (status, [(header::CONTENT_TYPE, PROTOBUF)], body.encode_to_vec()).into_response()
        }
    }
}

/// The parts of `google.rpc.Status` that are used.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

fn form(headers: &HeaderMap) -> Option<Form> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    match value.split(';').next().unwrap_or_default().trim() {
        PROTOBUF | "application/protobuf" => Some(Form::Protobuf),
        JSON => Some(Form::Json),
        _ => None,
    }
}

impl Receiver {
    async fn store(&self, form: Form, request: Request) -> Result<ExportProfilesServiceResponse, Status> {
        let (parts, body) = request.into_parts();
        let origin = origin(Protocol::OtlpHttp, &parts.extensions);
        let limit = match form {
            Form::Protobuf => self.bounds.message_bytes_max,
            // Names and digits take more room than tags and varints.
            Form::Json => self.bounds.message_bytes_max.saturating_mul(4),
        };
        let message = async {
            let body = read(body, &parts.headers, limit).await?;
            match form {
                Form::Protobuf => Ok((body, None)),
                Form::Json => {
                    let message = tokio::task::spawn_blocking(move || from_json(&body))
                        .await
                        .map_err(|_| Status::internal("internal error; the server's log says more"))??;
                    Ok((message, Some(Layout::From1_10)))
                }
            }
        };
        let (message, layout) = message.await.inspect_err(|failure: &Status| {
            note_refused(&self.senders, &origin, status::refusal_of_body(failure), failure.message());
        })?;
        self.profiles.store(message, layout, &origin).await
    }
}

/// The body, decompressed, of at most so many bytes.
async fn read(body: Body, headers: &HeaderMap, limit: usize) -> Result<Bytes, Status> {
    let received = axum::body::to_bytes(body, limit)
        .await
        .map_err(|_| Status::resource_exhausted("the body is larger than a message may be, or ends early"))?;
    let encoding = headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or_default());
    match encoding {
        None | Some("" | "identity") => Ok(received),
        Some("gzip" | "zstd") => decima_profile::compression::decompress(&received, limit)
            .map(Bytes::from)
            .map_err(|error| Status::invalid_argument(format!("the body: {error}"))),
        Some(other) => {
            let start: String = other.chars().take(40).collect();
            Err(Status::invalid_argument(format!("content-encoding: {start:?} is not one of gzip, zstd")))
        }
    }
}

static REQUEST: LazyLock<Option<MessageDescriptor>> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(decima_proto::DESCRIPTORS).ok()?;
    let package = METHOD.rsplit_once('.')?.0;
    pool.get_message_by_name(&format!("{package}.ExportProfilesServiceRequest"))
});

/// A request in JSON as protobuf.
fn from_json(json: &[u8]) -> Result<Bytes, Status> {
    let invalid = |error: &dyn std::fmt::Display| {
        Status::invalid_argument(format!("not an OTLP request as JSON: {error}"))
    };
    let mut value: Value = serde_json::from_slice(json).map_err(|error| invalid(&error))?;
    ids_from_hex(&mut value)?;
    let descriptor =
        REQUEST.clone().ok_or_else(|| Status::internal("internal error; the server's log says more"))?;
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let message = DynamicMessage::deserialize_with_options(descriptor, value, &options)
        .map_err(|error| invalid(&error))?;
    Ok(message.encode_to_vec().into())
}

/// Ids of traces and spans are in hex in OTLP's JSON, and in base64 in everybody else's.
fn ids_from_hex(request: &mut Value) -> Result<(), Status> {
    let dictionary = request.get_mut("dictionary");
    let links = dictionary.and_then(|dictionary| {
        let name = if dictionary.get("linkTable").is_some() { "linkTable" } else { "link_table" };
        dictionary.get_mut(name)?.as_array_mut()
    });
    for (index, link) in links.into_iter().flatten().enumerate() {
        for name in ["traceId", "trace_id", "spanId", "span_id"] {
            let Some(id) = link.get_mut(name) else { continue };
            let bytes = id.as_str().and_then(hex);
            let bytes = bytes.ok_or_else(|| {
                Status::invalid_argument(format!("dictionary.linkTable[{index}].{name}: not hex"))
            })?;
            *id = Value::String(BASE64_STANDARD.encode(bytes));
        }
    }
    // Nothing reads the ids of profiles, whose form in JSON is not agreed on.
    let resources = request.get_mut("resourceProfiles").and_then(Value::as_array_mut);
    for resource in resources.into_iter().flatten() {
        let scopes = resource.get_mut("scopeProfiles").and_then(Value::as_array_mut);
        for scope in scopes.into_iter().flatten() {
            let profiles = scope.get_mut("profiles").and_then(Value::as_array_mut);
            for profile in profiles.into_iter().flatten().filter_map(Value::as_object_mut) {
                profile.remove("profileId");
                profile.remove("originalPayload");
            }
        }
    }
    Ok(())
}

fn hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    text.as_bytes().chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

fn to_json(answer: &ExportProfilesServiceResponse) -> Value {
    match &answer.partial_success {
        None => serde_json::json!({}),
        Some(partial) => serde_json::json!({ "partialSuccess": {
            "rejectedProfiles": partial.rejected_profiles.to_string(),
            "errorMessage": partial.error_message,
        } }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_in_hex() {
        assert_eq!(hex("00fF"), Some(vec![0, 255]));
        assert_eq!(hex(""), Some(vec![]));
        assert_eq!(hex("0"), None);
        assert_eq!(hex("0g"), None);
        assert_eq!(hex("ää"), None);
    }

    #[test]
    fn json_becomes_protobuf() {
        let json = br#"{"resourceProfiles":[{"scopeProfiles":[{"profiles":[{"profileId":"zz","timeUnixNano":"7"}]}]}],
            "dictionary":{"linkTable":[{},{"traceId":"0102","spanId":"03"}],"stringTable":["","a"]},"unknown":1}"#;
        let message = from_json(json).unwrap();
        let expected: &[u8] = &[0x0a, 15, 0x12, 13, 0x12, 11, 0x19, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(message.get(..2), Some(&[expected[0], 13][..]));
        assert!(message.ends_with(&[0x2a, 0, 0x2a, 1, b'a']));
        for (wrong, reason) in [
            (&b"{"[..], "not an OTLP request as JSON"),
            (
                br#"{"dictionary":{"linkTable":[{"traceId":"xy"}]}}"#,
                "dictionary.linkTable[0].traceId: not hex",
            ),
            (br#"{"resourceProfiles":7}"#, "not an OTLP request as JSON"),
        ] {
            let status = from_json(wrong).unwrap_err();
            assert!(status.message().starts_with(reason), "{}", status.message());
        }
    }
}
