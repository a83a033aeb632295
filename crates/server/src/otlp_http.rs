//! OTLP over HTTP: `POST /v1development/profiles`, protobuf or JSON, plain, gzip or zstd.
//!
//! JSON names its fields, so that there is no doubt about the layout of samples; it is turned into the protobuf of the current
//! layout ([`transcode`](crate::transcode)), and from there on there is one way in. Answers come in the form of the request.
//! Bodies are decompressed and turned on threads for blocking work, once there is room for what they may become.

use std::{sync::Arc, sync::LazyLock, time::Instant};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use decima_ingest::{
    otlp::Layout,
    push::{Protocol, Refusal, Senders},
};
use decima_proto::opentelemetry::v1development::ExportProfilesServiceResponse;
use http::{HeaderMap, StatusCode, header};
use prost::Message as _;
use prost_reflect::{DescriptorPool, MessageDescriptor};
use serde_json::Value;
use tonic::{Code, Status};

use crate::{
    deadline,
    inflate::{Inflation, Room, Unread, is_compressed, off_thread},
    metrics::{Metrics, Protocol as CountedProtocol},
    service::{note_refused, origin, otlp::ProfilesService},
    settings::Bounds,
    status, transcode,
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
    pub(crate) inflation: Inflation,
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
        let Some(form) = form else {
            let status = Status::invalid_argument(format!("content-type: neither {PROTOBUF} nor {JSON}"));
            let origin = origin(Protocol::OtlpHttp, request.extensions());
            note_refused(&receiver.senders, &origin, Refusal::Malformed, status.message());
            return Err(status);
        };
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
            let (body, room) = self.read(body, &parts.headers, limit).await?;
            match form {
                Form::Protobuf => Ok((body, None, room)),
                Form::Json => {
                    let message = off_thread(move || from_json(&body)).await??;
                    Ok((message, Some(Layout::From1_10), room))
                }
            }
        };
        let (message, layout, _room) = message.await.map_err(|Unread { reason, status }| {
            note_refused(&self.senders, &origin, reason, status.message());
            status
        })?;
        self.profiles.store(message, layout, &origin).await
    }

    /// The body, decompressed, of at most so many bytes, with its room.
    async fn read(&self, body: Body, headers: &HeaderMap, limit: usize) -> Result<(Bytes, Room), Unread> {
        let encoding = headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?"));
        let compressed = is_compressed(encoding)?;
        let received = axum::body::to_bytes(body, limit).await.map_err(|_| {
            Status::resource_exhausted("the body is larger than a message may be, or ends early")
        })?;
        if compressed {
            return self.inflation.decompress(received, limit).await;
        }
        let room = self.inflation.room(received.len()).await?;
        Ok((received, room))
    }
}

static REQUEST: LazyLock<Option<MessageDescriptor>> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(decima_proto::DESCRIPTORS).ok()?;
    let package = METHOD.rsplit_once('.')?.0;
    pool.get_message_by_name(&format!("{package}.ExportProfilesServiceRequest"))
});

/// A request in JSON as protobuf.
fn from_json(json: &[u8]) -> Result<Bytes, Status> {
    let descriptor =
        REQUEST.as_ref().ok_or_else(|| Status::internal("internal error; the server's log says more"))?;
    let message = transcode::to_protobuf(descriptor, json)
        .map_err(|error| Status::invalid_argument(format!("not an OTLP request as JSON: {error}")))?;
    Ok(message.into())
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
                "not an OTLP request as JSON: traceId: not hex at line 1 column",
            ),
            (br#"{"resourceProfiles":7}"#, "not an OTLP request as JSON"),
        ] {
            let status = from_json(wrong).unwrap_err();
            assert!(status.message().starts_with(reason), "{}", status.message());
        }
    }
}
