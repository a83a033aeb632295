//! The REST gateway: the same services as JSON, as gRPC-Gateway offers them below `/api`.
//!
//! JSON and parameters are read and written from the message descriptors ([`params`], [`json`]), so that no message has a
//! mapping of its own. What a page needs beyond messages is in [`report`] and [`forwarding`].

mod forwarding;
mod json;
mod params;
mod report;
mod schema;

use std::{future::ready, sync::Arc, time::Instant};

use axum::{
    Router,
    body::Body,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use decima_forward::Forwarder;
use decima_ingest::push::{self, Senders};
use decima_proto::decima::{
    debuginfo::v1alpha1::object_file_service_server::ObjectFileService as _,
    ingest::v1alpha1::ingest_service_server::IngestService as _,
};
use decima_proto::parca::{
    debuginfo::v1alpha1::debuginfo_service_server::DebuginfoService as _,
    profilestore::v1alpha1::{
        agents_service_server::AgentsService as _, profile_store_service_server::ProfileStoreService as _,
    },
    query::v1alpha1::query_service_server::QueryService as _,
    scrape::v1alpha1::scrape_service_server::ScrapeService as _,
    telemetry::v1alpha1::telemetry_service_server::TelemetryService as _,
};
use http::{Extensions, HeaderMap, header, request::Parts};
use http_body_util::LengthLimitError;
use prost::{Message, Name};
use prost_reflect::{DynamicMessage, MessageDescriptor};
use tokio_stream::StreamExt as _;
use tonic::{Code, Request, Status, metadata::MetadataMap};

pub(crate) use self::report::EXPOSED;
use self::schema::{Method, Schema};
use crate::{
    deadline,
    inflate::{Inflation, Room, Unread, off_thread},
    metrics::{Metrics, Protocol},
    service::{
        agents::AgentsService, debuginfo::DebuginfoService, ingest::IngestService, note_refused, origin,
        profile_store::ProfileStoreService, protocol_of, query::QueryService, scrape::ScrapeService,
        telemetry::TelemetryService,
    },
    settings::Bounds,
    shares::{Party, Progress},
    status, transcode,
};

/// Messages of one body: an exchange has two.
const MESSAGES_MAX: usize = 16;

/// Query parameters in the order given.
type Pairs = Vec<(String, String)>;

/// The services behind the gateway.
pub(crate) struct Gateway {
    pub(crate) profile_store: ProfileStoreService,
    pub(crate) agents: AgentsService,
    pub(crate) query: QueryService,
    pub(crate) scrape: ScrapeService,
    pub(crate) ingest: IngestService,
    pub(crate) debuginfo: DebuginfoService,
    pub(crate) telemetry: TelemetryService,
    pub(crate) senders: Arc<Senders>,
    /// Who sends on what comes in, where that is not kept here.
    pub(crate) forwarder: Option<Forwarder>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) inflation: Inflation,
    pub(crate) bounds: Bounds,
}

/// Methods of the gateway that are known and not offered, with the path that names them.
const NOT_OFFERED: [(&str, &str); 2] = [
    ("/profiles/share", "parca.query.v1alpha1.QueryService/ShareProfile"),
    // A stream of hundreds of megabytes, which base64 and JSON would make half a gigabyte.
    ("/upload", "parca.debuginfo.v1alpha1.DebuginfoService/Upload"),
];

/// The routes below `/api`.
pub(crate) fn routes(gateway: Arc<Gateway>) -> Router {
    let mut routes = Router::new()
        .route("/profiles/query", get(report::query))
        .route("/profiles/query_range", get(query_range))
        .route("/profiles/types", get(profile_types))
        .route("/profiles/labels", get(labels))
        .route("/profiles/labels/{label_name}/values", get(values))
        .route("/profiles/has_profile_data", get(has_profile_data))
        .route("/profiles/series", get(series))
        .route("/profiles/writeraw", post(write_raw))
        .route("/profiles/write", post(write))
        .route("/profiles/writearrow", post(write_arrow))
        .route("/shouldinitiateupload", post(should_initiate_upload))
        .route("/initiateupload", post(initiate_upload))
        .route("/markuploadfinished", post(mark_upload_finished))
        .route("/telemetry/panic", post(report_panic))
        .route("/debuginfo", get(object_files))
        .route("/agents", get(agents))
        .route("/targets", get(targets))
        .route("/senders", get(senders))
        .route("/jobs", get(jobs))
        .route("/forwarding", get(forwarding::forwarding));
    for (path, method) in NOT_OFFERED {
        let refuse = move || async move {
            status::to_rest(&Status::unimplemented(format!("{method} is not offered")))
        };
        routes = routes.route(path, post(refuse));
    }
    routes
        .fallback(|| async { status::to_rest(&Status::not_found("Not Found")) })
        .method_not_allowed_fallback(|| async {
            status::to_rest(&Status::unimplemented("Method Not Allowed"))
        })
        .with_state(gateway)
}

async fn query_range(
    State(gateway): State<Arc<Gateway>>,
    Query(pairs): Query<Pairs>,
    parts: Parts,
) -> Response {
    let method = &Schema::get().query_range;
    gateway
        .unary(method, ready(from_pairs(method, &pairs)), parts, |request| gateway.query.query_range(request))
        .await
}

async fn profile_types(
    State(gateway): State<Arc<Gateway>>,
    Query(pairs): Query<Pairs>,
    parts: Parts,
) -> Response {
    let method = &Schema::get().profile_types;
    gateway
        .unary(method, ready(from_pairs(method, &pairs)), parts, |request| {
            gateway.query.profile_types(request)
        })
        .await
}

async fn labels(State(gateway): State<Arc<Gateway>>, Query(pairs): Query<Pairs>, parts: Parts) -> Response {
    let method = &Schema::get().labels;
    gateway
        .unary(method, ready(from_pairs(method, &pairs)), parts, |request| gateway.query.labels(request))
        .await
}

async fn values(
    State(gateway): State<Arc<Gateway>>,
    Path(label_name): Path<String>,
    Query(mut pairs): Query<Pairs>,
    parts: Parts,
) -> Response {
    let method = &Schema::get().values;
    pairs.retain(|(name, _)| name != "label_name" && name != "labelName");
    pairs.push(("label_name".to_owned(), label_name));
    gateway
        .unary(method, ready(from_pairs(method, &pairs)), parts, |request| gateway.query.values(request))
        .await
}

async fn has_profile_data(State(gateway): State<Arc<Gateway>>, parts: Parts) -> Response {
    let method = &Schema::get().has_profile_data;
    gateway
        .unary(method, ready(from_pairs(method, &[])), parts, |request| {
            gateway.query.has_profile_data(request)
        })
        .await
}

async fn series(State(gateway): State<Arc<Gateway>>, parts: Parts) -> Response {
    let method = &Schema::get().series;
    gateway
        .unary(method, ready(from_pairs(method, &[])), parts, |request| gateway.query.series(request))
        .await
}

async fn senders(State(gateway): State<Arc<Gateway>>, parts: Parts) -> Response {
    let method = &Schema::get().senders;
    gateway
        .unary(method, ready(from_pairs(method, &[])), parts, |request| gateway.ingest.senders(request))
        .await
}

async fn jobs(State(gateway): State<Arc<Gateway>>, parts: Parts) -> Response {
    let method = &Schema::get().jobs;
    gateway.unary(method, ready(from_pairs(method, &[])), parts, |request| gateway.ingest.jobs(request)).await
}

async fn agents(State(gateway): State<Arc<Gateway>>, parts: Parts) -> Response {
    let method = &Schema::get().agents;
    gateway
        .unary(method, ready(from_pairs(method, &[])), parts, |request| gateway.agents.agents(request))
        .await
}

async fn targets(State(gateway): State<Arc<Gateway>>, Query(pairs): Query<Pairs>, parts: Parts) -> Response {
    let method = &Schema::get().targets;
    gateway
        .unary(method, ready(from_pairs(method, &pairs)), parts, |request| gateway.scrape.targets(request))
        .await
}

async fn write_raw(State(gateway): State<Arc<Gateway>>, request: axum::extract::Request) -> Response {
    let (parts, body) = request.into_parts();
    let method = &Schema::get().write_raw;
    gateway
        .unary(method, gateway.sent(method, body), parts, |request| gateway.profile_store.write_raw(request))
        .await
}

/// An exchange of streams, as gRPC-Gateway has it over HTTP/1.1: all requests, one after the other, then all answers, a line
/// for each. Who sends does not know what will be asked for, and sends the locations of all stacktraces.
async fn write(State(gateway): State<Arc<Gateway>>, request: axum::extract::Request) -> Response {
    let (parts, body) = request.into_parts();
    let method = &Schema::get().write;
    let answer = async {
        let sent = gateway.sent_all(method, body).await;
        let (requests, _room) = sent.inspect_err(|failure| {
            gateway.note_unreadable(method, &parts.extensions, failure.clone());
        })?;
        let origin = origin(push::Protocol::Write, &parts.extensions);
        let requests = tokio_stream::iter(requests.into_iter().map(|message| decoded(&message)));
        let sender = (Party::of(&parts.extensions), Progress::of(&parts.extensions));
        let mut answers = gateway.profile_store.begin(requests, sender, origin);
        let mut lines = Vec::new();
        while let Some(answer) = answers.next().await.transpose()? {
            let mut line = DynamicMessage::new(method.output.clone());
            line.transcode_from(&answer).map_err(|error| unfit(method, &error))?;
            lines.extend_from_slice(b"{\"result\":");
            lines.extend(json::write(&line)?);
            lines.extend_from_slice(b"}\n");
        }
        Ok(([(header::CONTENT_TYPE, "application/json")], lines).into_response())
    };
    gateway.observe(method, &parts.headers, answer).await
}

async fn write_arrow(State(gateway): State<Arc<Gateway>>, request: axum::extract::Request) -> Response {
    let (parts, body) = request.into_parts();
    let method = &Schema::get().write_arrow;
    gateway
        .unary(method, gateway.sent(method, body), parts, |request| {
            gateway.profile_store.write_arrow(request)
        })
        .await
}

async fn should_initiate_upload(
    State(gateway): State<Arc<Gateway>>,
    request: axum::extract::Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let method = &Schema::get().should_initiate_upload;
    gateway
        .unary(method, gateway.sent(method, body), parts, |request| {
            gateway.debuginfo.should_initiate_upload(request)
        })
        .await
}

async fn initiate_upload(State(gateway): State<Arc<Gateway>>, request: axum::extract::Request) -> Response {
    let (parts, body) = request.into_parts();
    let method = &Schema::get().initiate_upload;
    gateway
        .unary(method, gateway.sent(method, body), parts, |request| {
            gateway.debuginfo.initiate_upload(request)
        })
        .await
}

async fn mark_upload_finished(
    State(gateway): State<Arc<Gateway>>,
    request: axum::extract::Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let method = &Schema::get().mark_upload_finished;
    gateway
        .unary(method, gateway.sent(method, body), parts, |request| {
            gateway.debuginfo.mark_upload_finished(request)
        })
        .await
}

async fn report_panic(State(gateway): State<Arc<Gateway>>, request: axum::extract::Request) -> Response {
    let (parts, body) = request.into_parts();
    let method = &Schema::get().report_panic;
    gateway
        .unary(method, gateway.sent(method, body), parts, |request| gateway.telemetry.report_panic(request))
        .await
}

async fn object_files(
    State(gateway): State<Arc<Gateway>>,
    Query(pairs): Query<Pairs>,
    parts: Parts,
) -> Response {
    let method = &Schema::get().object_files;
    gateway
        .unary(method, ready(from_pairs(method, &pairs)), parts, |request| gateway.debuginfo.list(request))
        .await
}

fn from_pairs(method: &Method, pairs: &[(String, String)]) -> Result<Sent, Status> {
    let mut message = DynamicMessage::new(method.input.clone());
    params::apply(&mut message, pairs)?;
    Ok(Sent { message: message.encode_to_vec().into(), room: None })
}

/// Reads a body of at most so many bytes.
async fn read_body(body: Body, body_bytes_max: usize) -> Result<Bytes, Status> {
    axum::body::to_bytes(body, body_bytes_max).await.map_err(|error| {
        if error.into_inner().is::<LengthLimitError>() {
            Status::resource_exhausted("the body is larger than a message may be")
        } else {
            Status::invalid_argument("the body ends early")
        }
    })
}

/// A message of a method's as JSON, encoded; an empty text is an empty message.
fn from_json(message: &MessageDescriptor, json: &[u8]) -> Result<Bytes, Status> {
    if json.is_empty() {
        return Ok(Bytes::new());
    }
    let message = transcode::to_protobuf(message, json);
    let invalid = |error| Status::invalid_argument(format!("not the message as JSON: {error}"));
    Ok(message.map_err(invalid)?.into())
}

/// An encoded message, with what it has of the room for bodies.
struct Sent {
    message: Bytes,
    room: Option<Room>,
}

impl Sent {
    fn decode<Req: Message + Default + Name>(self) -> Result<Req, Status> {
        decoded(&self.message)
    }
}

fn decoded<Req: Message + Default + Name>(message: &Bytes) -> Result<Req, Status> {
    decima_proto::decode(message)
        .map_err(|error| Status::invalid_argument(format!("the parameters do not make a message: {error}")))
}

impl Gateway {
    /// Takes the message of a method from a body.
    async fn sent(&self, method: &Method, body: Body) -> Result<Sent, Status> {
        let body = read_body(body, self.json_bytes_max()).await?;
        let room = self.inflation.room(body.len()).await?;
        let descriptor = method.input.clone();
        let message = off_thread(move || from_json(&descriptor, &body)).await??;
        Ok(Sent { message, room: Some(room) })
    }

    /// Takes the messages of a method that stand one after the other in a body, with the room that they have.
    async fn sent_all(&self, method: &Method, body: Body) -> Result<(Vec<Bytes>, Room), Status> {
        let body = read_body(body, self.json_bytes_max()).await?;
        let room = self.inflation.room(body.len()).await?;
        let descriptor = method.input.clone();
        let messages =
            off_thread(move || transcode::all_to_protobuf(&descriptor, &body, MESSAGES_MAX)).await?;
        let messages = messages
            .map_err(|error| Status::invalid_argument(format!("not the messages as JSON: {error}")))?;
        Ok((messages.into_iter().map(Bytes::from).collect(), room))
    }

    /// Bytes of a message as JSON: its profiles are in base64, a third larger, and the rest of it wants room too.
    fn json_bytes_max(&self) -> usize {
        self.bounds.message_bytes_max / 3 * 4 + (1 << 20)
    }

    /// Answers one request through a service's method.
    async fn unary<Req, Res, F>(
        &self,
        method: &Method,
        message: impl Future<Output = Result<Sent, Status>>,
        parts: Parts,
        call: impl FnOnce(Request<Req>) -> F,
    ) -> Response
    where
        Req: Message + Default + Name,
        Res: Message + Default,
        F: Future<Output = Result<tonic::Response<Res>, Status>>,
    {
        let headers = parts.headers.clone();
        let answer = async {
            let Sent { message, room: _room } = match message.await {
                Ok(sent) => sent,
                Err(failure) => {
                    self.note_unreadable(method, &parts.extensions, failure.clone());
                    return Err(failure);
                }
            };
            let message = decoded(&message)?;
            let request =
                Request::from_parts(MetadataMap::from_headers(parts.headers), parts.extensions, message);
            write_message(method, call(request).await?)
        };
        self.observe(method, &headers, answer).await
    }

    /// Notes a push that no service has seen.
    fn note_unreadable(&self, method: &Method, extensions: &Extensions, failure: Status) {
        let Some(protocol) = protocol_of(method.name) else { return };
        let origin = origin(protocol, extensions);
        let Unread { reason, status } = failure.into();
        note_refused(&self.senders, &origin, reason, status.message());
    }

    /// Bounds an answer in time and counts it.
    async fn observe(
        &self,
        method: &Method,
        headers: &HeaderMap,
        answer: impl Future<Output = Result<Response, Status>>,
    ) -> Response {
        let start = Instant::now();
        let timeout = deadline::of(headers, self.bounds.request_timeout);
        let answer =
            tokio::time::timeout(timeout, answer).await.unwrap_or_else(|_| Err(status::deadline_exceeded()));
        let code = answer.as_ref().map_or_else(Status::code, |_| Code::Ok);
        tracing::debug!(method = method.name, ?code, took = ?start.elapsed(), "answered over REST");
        self.metrics.request(method.name, Protocol::Rest, code, start.elapsed());
        answer.unwrap_or_else(|failure| status::to_rest(&failure))
    }
}

fn unfit(method: &Method, error: &prost::DecodeError) -> Status {
    tracing::error!(%error, method = method.name, "an answer does not fit its descriptor");
    Status::internal("internal error; the server's log says more")
}

/// A typed answer as JSON.
fn write_message<Res: Message>(method: &Method, response: tonic::Response<Res>) -> Result<Response, Status> {
    let (metadata, message, _) = response.into_parts();
    let mut dynamic = DynamicMessage::new(method.output.clone());
    dynamic.transcode_from(&message).map_err(|error| unfit(method, &error))?;
    let body = json::write(&dynamic)?;
    let mut response = ([(header::CONTENT_TYPE, "application/json")], body).into_response();
    response.headers_mut().extend(metadata.into_headers());
    Ok(response)
}
