//! gRPC and gRPC-Web: the services with what surrounds every call.
//!
//! ```text
//! gRPC-Web ↔ gRPC ─► catch panics ─► count, bound in time ─► decompress ─► services
//! ```
//! Requests of one message are decompressed before the services' codec sees them, which would do it on the runtime's threads
//! and for as many as come. Messages of streams are left to the codec: each holds a place of its sender's meanwhile.
//! The last two segments of a path name the method, whatever is before them: clients call `/api/<service>/<method>` too.

use std::{
    any::Any,
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    BoxError, Router,
    body::{Body, Bytes},
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use decima_ingest::push::Senders;
use decima_proto::decima::{
    debuginfo::v1alpha1::object_file_service_server::ObjectFileServiceServer,
    ingest::v1alpha1::ingest_service_server::IngestServiceServer,
};
use decima_proto::opentelemetry::v1development::profiles_service_server::ProfilesServiceServer;
use decima_proto::parca::{
    debuginfo::v1alpha1::debuginfo_service_server::DebuginfoServiceServer,
    profilestore::v1alpha1::{
        agents_service_server::AgentsServiceServer, profile_store_service_server::ProfileStoreServiceServer,
    },
    query::v1alpha1::query_service_server::QueryServiceServer,
    scrape::v1alpha1::scrape_service_server::ScrapeServiceServer,
    telemetry::v1alpha1::telemetry_service_server::TelemetryServiceServer,
};
use http::{HeaderMap, HeaderValue, Uri, header, uri::PathAndQuery};
use http_body_util::{BodyExt as _, LengthLimitError};
use prost_reflect::{DescriptorPool, MethodDescriptor};
use tonic::{Code, Status, codec::CompressionEncoding, server::NamedService, service::Routes};
use tonic_health::{ServingStatus, server::HealthReporter};
use tonic_web::GrpcWebLayer;
use tower_http::{
    catch_panic::CatchPanicLayer,
    timeout::{TimeoutBody, TimeoutError},
};

use crate::{
    deadline,
    inflate::{Inflation, Room, Unread, is_compressed},
    metrics::{Metrics, Protocol},
    service::{
        agents::AgentsService,
        debuginfo::DebuginfoService,
        ingest::IngestService,
        note_refused, origin,
        otlp::ProfilesService,
        profile_store::ProfileStoreService,
        protocol_of,
        query::QueryService,
        scrape::ScrapeService,
        telemetry::{REPORT_BYTES_MAX, TelemetryService},
    },
    settings::Bounds,
    shares::Progress,
    status,
};

/// Begins the content type of every gRPC and gRPC-Web request.
const CONTENT_TYPE: &str = "application/grpc";
/// Method of a request that names none of ours, in metrics.
const UNKNOWN: &str = "unknown";

const GRPC_ACCEPT_ENCODING: &str = "grpc-accept-encoding";
const GRPC_ENCODING: &str = "grpc-encoding";

/// Bytes of a question: selectors and filters. A list of them takes a hundred times as much in memory.
const QUESTION_BYTES_MAX: usize = 1 << 20;
/// Bytes before a message: whether it is compressed, and its length.
const FRAME_HEAD_BYTES: usize = 5;

/// The services.
pub(crate) struct Services {
    pub(crate) profile_store: ProfileStoreService,
    pub(crate) profiles: ProfilesService,
    pub(crate) agents: AgentsService,
    pub(crate) query: QueryService,
    pub(crate) scrape: ScrapeService,
    pub(crate) ingest: IngestService,
    pub(crate) debuginfo: DebuginfoService,
    pub(crate) telemetry: TelemetryService,
}

/// What surrounds a call.
struct Surroundings {
    metrics: Arc<Metrics>,
    bounds: Bounds,
    methods: HashSet<String>,
    /// Those whose requests are streams: a large upload may take as long as it takes.
    streamed: HashSet<String>,
    inflation: Inflation,
    senders: Arc<Senders>,
}

/// Names whose health can be asked for; the empty one is the server as a whole.
const HEALTH_NAMES: [&str; 10] = [
    "",
    ProfileStoreServiceServer::<ProfileStoreService>::NAME,
    ProfilesServiceServer::<ProfilesService>::NAME,
    AgentsServiceServer::<AgentsService>::NAME,
    QueryServiceServer::<QueryService>::NAME,
    ScrapeServiceServer::<ScrapeService>::NAME,
    DebuginfoServiceServer::<DebuginfoService>::NAME,
    ObjectFileServiceServer::<DebuginfoService>::NAME,
    IngestServiceServer::<IngestService>::NAME,
    TelemetryServiceServer::<TelemetryService>::NAME,
];

/// Sets the health of all services, and of the server as a whole.
pub(crate) async fn set_health(reporter: &HealthReporter, serving: ServingStatus) {
    for name in HEALTH_NAMES {
        reporter.set_service_status(name, serving).await;
    }
}

/// Ends the streams of those who watch the health, after they were told of the last change: a stream that nobody ends would
/// hold its connection, and with it the end of the server.
pub(crate) async fn end_health_watches(reporter: &mut HealthReporter) {
    for name in HEALTH_NAMES {
        reporter.clear_service_status(name).await;
    }
}

/// Whether a request is for [`router`].
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    content_type(headers).is_some_and(|value| value.starts_with(CONTENT_TYPE))
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE)?.to_str().ok()
}

macro_rules! bounded {
    ($server:expr, $bounds:expr) => {
        bounded!($server, $bounds, $bounds.message_bytes_max)
    };
    ($server:expr, $bounds:expr, $request_bytes_max:expr) => {
        $server
            .max_decoding_message_size($request_bytes_max)
            .max_encoding_message_size($bounds.message_bytes_max)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd)
            .send_compressed(CompressionEncoding::Zstd)
            .send_compressed(CompressionEncoding::Gzip)
    };
}

/// Everything that answers gRPC, with the handle by which its health is set.
pub(crate) fn router(
    services: Services,
    senders: Arc<Senders>,
    metrics: Arc<Metrics>,
    inflation: Inflation,
    bounds: &Bounds,
) -> Result<(Router, HealthReporter), tonic_reflection::server::Error> {
    let (health_reporter, health) = tonic_health::server::health_reporter();
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(decima_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    // Clients of Python and older ones of other languages know the second only.
    let (reflection, reflection_alpha) = (reflection().build_v1()?, reflection().build_v1alpha()?);
    let surroundings = Surroundings {
        metrics,
        bounds: bounds.clone(),
        methods: method_names(|_| true),
        streamed: method_names(MethodDescriptor::is_client_streaming),
        senders,
        inflation,
    };
    let question = QUESTION_BYTES_MAX.min(bounds.message_bytes_max);
    let routes = Routes::default()
        .add_service(bounded!(ProfileStoreServiceServer::new(services.profile_store), bounds))
        .add_service(bounded!(ProfilesServiceServer::new(services.profiles), bounds))
        .add_service(bounded!(AgentsServiceServer::new(services.agents), bounds, question))
        .add_service(bounded!(QueryServiceServer::new(services.query), bounds, question))
        .add_service(bounded!(ScrapeServiceServer::new(services.scrape), bounds, question))
        .add_service(bounded!(IngestServiceServer::new(services.ingest), bounds, question))
        .add_service(bounded!(TelemetryServiceServer::new(services.telemetry), bounds, REPORT_BYTES_MAX))
        .add_service(bounded!(DebuginfoServiceServer::new(services.debuginfo.clone()), bounds))
        .add_service(bounded!(ObjectFileServiceServer::new(services.debuginfo), bounds, question))
        .add_service(health)
        .add_service(reflection)
        .add_service(reflection_alpha)
        .prepare()
        .into_axum_router();
    Ok((surrounded(routes, surroundings), health_reporter))
}

/// Puts around the services what every call has.
fn surrounded(routes: Router, surroundings: Surroundings) -> Router {
    routes
        .layer(from_fn_with_state(Arc::new(surroundings), surround))
        .layer(CatchPanicLayer::custom(|panic: Box<dyn Any + Send>| {
            crate::log_panic(&*panic);
            to_response(&Status::internal("internal error; the server's log says more"))
        }))
        .layer(GrpcWebLayer::new())
}

/// Makes of a request what [`router`] expects: a path of two segments, and an answer in the form of the question.
pub(crate) fn prepare<B>(request: &mut http::Request<B>) {
    if let Some(uri) = method_uri(request.uri()) {
        *request.uri_mut() = uri;
    }
    let headers = request.headers_mut();
    // The layer compares whole values, and chooses the form of the answer by what is accepted; clients of gRPC-Web
    // mostly do not say, and expect the form that they have sent.
    let web = match content_type(headers) {
        Some(value) if value.starts_with("application/grpc-web-text") => "application/grpc-web-text+proto",
        Some(value) if value.starts_with("application/grpc-web") => "application/grpc-web+proto",
        _ => return,
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(web));
    headers.insert(header::ACCEPT, HeaderValue::from_static(web));
}

/// The address without what precedes its last two segments; `None` if it is that already.
fn method_uri(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let method = path.rfind('/')?;
    let service = path[..method].rfind('/')?;
    if service == 0 {
        return None;
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(&path[service..]).ok()?);
    Uri::from_parts(parts).ok()
}

/// Counts a call, bounds it in time, and gives its failures words.
async fn surround(
    State(surroundings): State<Arc<Surroundings>>,
    mut request: Request,
    next: Next,
) -> Response {
    let start = Instant::now();
    let path = request.uri().path().trim_start_matches('/').to_owned();
    let method = if surroundings.methods.contains(&path) { path.as_str() } else { UNKNOWN };
    answer_as_asked(request.headers_mut());
    let origin = protocol_of(&path).map(|protocol| origin(protocol, request.extensions()));
    let streamed = surroundings.streamed.contains(&path);
    let timeout = if streamed {
        // The whole may take as long as its sender says or likes; a pause may not.
        let (pause_max, progress) = (surroundings.bounds.stream_pause_max, Progress::new());
        request.extensions_mut().insert(progress.clone());
        request = request.map(|body| Body::new(without_pauses(body, pause_max, progress)));
        deadline::given(request.headers())
    } else {
        Some(deadline::of(request.headers(), surroundings.bounds.request_timeout))
    };
    let answer = async {
        let mut _room = None;
        if !streamed && has_compressed(request.headers()) {
            match plain(request, &surroundings).await {
                Ok((plain, room)) => (request, _room) = (plain, Some(room)),
                Err(Unread { reason, status }) => {
                    if let Some(origin) = &origin {
                        note_refused(&surroundings.senders, origin, reason, status.message());
                    }
                    return to_response(&status);
                }
            }
        }
        next.run(request).await
    };
    let mut response = match timeout {
        None => answer.await,
        Some(timeout) => tokio::time::timeout(timeout, answer)
            .await
            .unwrap_or_else(|_| to_response(&status::deadline_exceeded())),
    };
    match code(response.headers()) {
        Code::Unimplemented if !response.headers().contains_key(Status::GRPC_MESSAGE) => {
            response = to_response(&Status::unimplemented(format!("{path} is not offered")));
        }
        Code::Ok => {}
        _ => {
            let failure = Status::from_header_map(response.headers());
            // No service has seen what the codec refused.
            if let Some((reason, failure)) = failure.as_ref().and_then(status::of_codec) {
                if let Some(origin) = &origin {
                    note_refused(&surroundings.senders, origin, reason, failure.message());
                }
                response = to_response(&failure);
            }
        }
    }
    let (code, took) = (code(response.headers()), start.elapsed());
    tracing::debug!(method, ?code, ?took, "answered over gRPC");
    surroundings.metrics.request(method, Protocol::Grpc, code, took);
    response
}

/// The body, which notes what comes, and fails once its sender has sent nothing for too long.
fn without_pauses(
    body: Body,
    pause_max: Duration,
    progress: Progress,
) -> impl http_body::Body<Data = Bytes, Error = BoxError> {
    let body = body.map_frame(move |frame| {
        progress.note();
        frame
    });
    TimeoutBody::new(pause_max, body).map_err(move |error| match error.downcast::<TimeoutError>() {
        Ok(_) => {
            let pause = humantime::format_duration(pause_max);
            Status::deadline_exceeded(format!("the sender has sent nothing for {pause}")).into()
        }
        Err(error) => error,
    })
}

/// Whether messages of a request may be compressed, in a way that is known: others the services refuse.
fn has_compressed(headers: &HeaderMap) -> bool {
    let name = headers.get(GRPC_ENCODING).and_then(|name| name.to_str().ok());
    is_compressed(name).unwrap_or(false)
}

/// The request with its one message decompressed, and the room that this takes.
async fn plain(request: Request, surroundings: &Surroundings) -> Result<(Request, Room), Unread> {
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(GRPC_ENCODING);
    parts.headers.remove(header::CONTENT_LENGTH);
    let limit = surroundings.bounds.message_bytes_max;
    let received =
        axum::body::to_bytes(body, limit.saturating_add(FRAME_HEAD_BYTES)).await.map_err(|error| {
            if error.into_inner().is::<LengthLimitError>() {
                Status::resource_exhausted("the message is larger than a message may be")
            } else {
                Status::cancelled("the request ends early")
            }
        })?;
    let head = received.first_chunk::<FRAME_HEAD_BYTES>();
    let Some(&[compressed, len @ ..]) = head else {
        return Err(Status::invalid_argument("the message: cut short").into());
    };
    let mut message = received.slice(FRAME_HEAD_BYTES..);
    if message.len() as u64 != u64::from(u32::from_be_bytes(len)) {
        let message = "the body is not one message of the length that it says";
        return Err(Status::invalid_argument(message).into());
    }
    let room = if compressed == 0 {
        surroundings.inflation.room(0).await?
    } else {
        let room;
        (message, room) = surroundings.inflation.decompress(message, limit).await?;
        room
    };
    let [a, b, c, d] = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    let frames = [Bytes::copy_from_slice(&[0, a, b, c, d]), message];
    let body = Body::from_stream(futures::stream::iter(frames.map(Ok::<_, std::convert::Infallible>)));
    Ok((Request::from_parts(parts, body), room))
}

/// Leaves gzip out of the accepted encodings unless the request uses it.
///
/// Every Go client accepts gzip, and Go servers answer in the encoding of the request. Compressing a megabyte takes 30 ms,
/// more than the answer itself.
fn answer_as_asked(headers: &mut HeaderMap) {
    let accepted =
        headers.get(GRPC_ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let in_gzip = headers.get(GRPC_ENCODING).is_some_and(|value| value == "gzip");
    if in_gzip || !accepted.contains("gzip") {
        return;
    }
    if accepted.contains("zstd") {
        headers.insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static("zstd"));
    } else {
        headers.remove(GRPC_ACCEPT_ENCODING);
    }
}

/// The code of an answer. An answer with a body ends with its code, which our calls with one answer know is OK.
fn code(headers: &HeaderMap) -> Code {
    headers.get(Status::GRPC_STATUS).map_or(Code::Ok, |value| Code::from_bytes(value.as_bytes()))
}

/// A failure as an answer without a body.
pub(crate) fn to_response(status: &Status) -> Response {
    let mut response = Response::new(Body::empty());
    if status.add_header(response.headers_mut()).is_err() {
        response.headers_mut().insert(Status::GRPC_STATUS, HeaderValue::from(status.code() as i32));
    }
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    response
}

/// Declared methods of a kind: metrics have no others.
fn method_names(is_of_kind: impl Fn(&MethodDescriptor) -> bool) -> HashSet<String> {
    let mut names = HashSet::new();
    for descriptors in [decima_proto::DESCRIPTORS, tonic_health::pb::FILE_DESCRIPTOR_SET] {
        if let Ok(pool) = DescriptorPool::decode(descriptors) {
            let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
            let methods = methods.filter(|m| is_of_kind(m));
            names.extend(methods.map(|m| format!("{}/{}", m.parent_service().full_name(), m.name())));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_two_segments_count() {
        let check = |uri: &'static str, expected: Option<&str>| {
            let got = method_uri(&Uri::from_static(uri)).map(|uri| uri.path().to_owned());
            assert_eq!(got.as_deref(), expected, "{uri}");
        };
        check("/p.S/M", None);
        check("/api/p.S/M", Some("/p.S/M"));
        check("http://host:1/a/b/c/p.S/M?x=1", Some("/p.S/M"));
        check("/", None);
        check("/x", None);
    }

    #[test]
    fn gzip_only_for_those_who_use_it() {
        let check = |encoding: Option<&'static str>, accepted: &'static str, expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static(accepted));
            if let Some(encoding) = encoding {
                headers.insert(GRPC_ENCODING, HeaderValue::from_static(encoding));
            }
            answer_as_asked(&mut headers);
            assert_eq!(headers.get(GRPC_ACCEPT_ENCODING).map(|v| v.to_str().unwrap()), expected);
        };
        check(None, "gzip", None);
        check(Some("gzip"), "gzip", Some("gzip"));
        check(None, "identity,gzip,zstd", Some("zstd"));
        check(None, "zstd", Some("zstd"));
    }

    #[test]
    fn content_types() {
        let check = |given: &'static str, expected: &str, grpc: bool| {
            let mut request = http::Request::builder().header(header::CONTENT_TYPE, given).body(()).unwrap();
            assert_eq!(is_grpc(request.headers()), grpc);
            prepare(&mut request);
            assert_eq!(content_type(request.headers()), Some(expected));
        };
        check("application/grpc", "application/grpc", true);
        check("application/grpc+proto", "application/grpc+proto", true);
        check("application/grpc-web", "application/grpc-web+proto", true);
        check("application/grpc-web-text", "application/grpc-web-text+proto", true);
        check("application/grpc-web-text; charset=utf-8", "application/grpc-web-text+proto", true);
        check("application/json", "application/json", false);
    }

    /// What is called with `path` on services of which one panics and one never answers.
    async fn call(path: &str, headers: &[(&'static str, &'static str)]) -> Response {
        let routes = Router::new()
            .route("/p.S/Panics", axum::routing::post(|| async { panic!("on purpose") as () }))
            .route("/p.S/Waits", axum::routing::post(std::future::pending::<()>))
            .fallback(|| async { to_response(&Status::unimplemented("")) });
        let surroundings = Surroundings {
            metrics: Arc::new(Metrics::new()),
            bounds: Bounds::default(),
            methods: method_names(|_| true),
            streamed: HashSet::from(["p.S/Uploads".to_owned()]),
            senders: Arc::default(),
            inflation: Inflation::new(),
        };
        let mut request = http::Request::post(path).version(http::Version::HTTP_2);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut router = surrounded(routes, surroundings);
        let Ok(response) = tower::Service::call(&mut router, request.body(Body::empty()).unwrap()).await;
        response
    }

    #[tokio::test]
    async fn failures_around_the_services() {
        let check = async |path: &str, headers: &[(&'static str, &'static str)], expected: (&str, &str)| {
            let response = call(path, headers).await;
            let header =
                |name: &str| response.headers().get(name).map_or("", |value| value.to_str().unwrap());
            assert_eq!((header("grpc-status"), header("grpc-message")), expected, "{path}");
        };
        check("/p.S/Panics", &[], ("13", "internal%20error;%20the%20server's%20log%20says%20more")).await;
        check(
            "/p.S/Waits",
            &[("grpc-timeout", "10m")],
            ("4", "the%20request%20took%20longer%20than%20its%20deadline"),
        )
        .await;
        check("/p.S/Other", &[], ("12", "p.S/Other%20is%20not%20offered")).await;
    }

    /// The body of a request, in parts that come after these pauses.
    fn in_parts(pauses_ms: &'static [u64]) -> Body {
        let parts = futures::stream::unfold(pauses_ms, |pauses| async move {
            let (pause, rest) = pauses.split_first()?;
            tokio::time::sleep(std::time::Duration::from_millis(*pause)).await;
            Some((Ok::<_, std::convert::Infallible>("part"), rest))
        });
        Body::from_stream(parts)
    }

    #[tokio::test]
    async fn streams_may_take_long_but_not_pause_long() {
        let (request_timeout, stream_pause_max) = (Duration::from_millis(300), Duration::from_millis(300));
        let bounds = Bounds { request_timeout, stream_pause_max, ..Bounds::default() };
        let call = async |path: &str, headers: &[(&'static str, &'static str)], pauses: &'static [u64]| {
            let read = |body: Body| async move {
                match axum::body::to_bytes(body, 1 << 10).await {
                    Ok(body) => to_response(&Status::ok(body.len().to_string())),
                    Err(error) => to_response(&Status::from_error(error.into())),
                }
            };
            let routes = Router::new().fallback(axum::routing::post(read));
            let surroundings = Surroundings {
                metrics: Arc::new(Metrics::new()),
                bounds: bounds.clone(),
                methods: HashSet::new(),
                streamed: HashSet::from(["p.S/Uploads".to_owned()]),
                senders: Arc::default(),
                inflation: Inflation::new(),
            };
            let mut request = http::Request::post(path).version(http::Version::HTTP_2);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let mut router = surrounded(routes, surroundings);
            let request = request.body(in_parts(pauses)).unwrap();
            let Ok(response) = tower::Service::call(&mut router, request).await;
            code(response.headers())
        };
        let slow = &[100, 100, 100, 100, 100];
        assert_eq!(call("/p.S/Uploads", &[], slow).await, Code::Ok);
        assert_eq!(call("/p.S/Unary", &[], slow).await, Code::DeadlineExceeded);
        assert_eq!(call("/p.S/Uploads", &[("grpc-timeout", "200m")], slow).await, Code::DeadlineExceeded);
        assert_eq!(
            call("/p.S/Uploads", &[("grpc-timeout", "20S")], &[0, 2000]).await,
            Code::DeadlineExceeded
        );
    }
}
