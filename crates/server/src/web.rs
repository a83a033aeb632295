//! Everything that is not gRPC: metrics, readiness, the REST gateway, profiles of the server itself, the page.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use http::{HeaderValue, StatusCode, Uri, header, uri::PathAndQuery};
use tonic::Status;
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer,
        predicate::{NotForContentType, Predicate as _, SizeAbove},
    },
    cors::{AllowHeaders, AllowOrigin, CorsLayer},
};

use crate::{
    Readiness,
    metrics::{self, Metrics},
    otlp_http::{self, Receiver},
    rest::{self, Gateway},
    self_profile,
    settings::Settings,
    status, ui,
};

/// Answers below this are sent as they are: compression would not take a packet less.
const COMPRESSED_BYTES_MIN: u16 = 1024;

/// All routes, relative to the path prefix.
pub(crate) fn routes(
    gateway: Arc<Gateway>,
    receiver: Arc<Receiver>,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    settings: &Settings,
    open: bool,
) -> Router {
    let page = ui::Page { open, forwards: gateway.forwarder.is_some() };
    // What is compressed by itself is left alone.
    let compressed = SizeAbove::new(COMPRESSED_BYTES_MIN)
        .and(NotForContentType::IMAGES)
        .and(NotForContentType::const_new("application/octet-stream"))
        .and(NotForContentType::const_new("font/woff2"));
    Router::new()
        .nest("/api", rest::routes(gateway))
        .merge(otlp_http::routes(receiver))
        .route("/metrics", get(render_metrics).with_state(metrics))
        .merge(probes(readiness))
        .merge(self_profile::routes())
        .fallback_service(ui::routes(&settings.path_prefix, page))
        .layer(CatchPanicLayer::custom(|panic: Box<dyn std::any::Any + Send>| {
            crate::log_panic(&*panic);
            status::to_rest(&Status::internal("internal error; the server's log says more"))
        }))
        .layer(CompressionLayer::new().compress_when(compressed))
}

/// What answers before the store is open: probes, profiles of the server, and a refusal of everything else.
pub(crate) fn opening(readiness: Arc<Readiness>) -> Router {
    let refuse = || async {
        let mut response = status::to_rest(&Status::unavailable("the store is being opened"));
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        response
    };
    probes(readiness).merge(self_profile::routes()).fallback(refuse)
}

fn probes(readiness: Arc<Readiness>) -> Router {
    Router::new()
        .route("/ready", get(ready).with_state(readiness))
        .route("/healthy", get(|| async { "ok\n" }))
}

/// Which other origins may call. `None` if none may.
pub(crate) fn cors(origins: &[String]) -> Option<CorsLayer> {
    let origin = match origins {
        [] => return None,
        [all] if all == "*" => AllowOrigin::any(),
        list => AllowOrigin::list(list.iter().filter_map(|origin| HeaderValue::from_str(origin).ok())),
    };
    let grpc = ["grpc-status", "grpc-message", "grpc-status-details-bin"].map(http::HeaderName::from_static);
    Some(
        CorsLayer::new()
            .allow_origin(origin)
            .allow_methods([
                http::Method::GET,
                http::Method::HEAD,
                http::Method::POST,
                http::Method::PUT,
                http::Method::PATCH,
                http::Method::DELETE,
            ])
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(grpc.into_iter().chain(rest::EXPOSED).collect::<Vec<_>>()),
    )
}

async fn render_metrics(State(metrics): State<Arc<Metrics>>) -> Response {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics.render()).into_response()
}

async fn ready(State(readiness): State<Arc<Readiness>>) -> (StatusCode, &'static str) {
    match readiness.get() {
        crate::Stage::Opening => (StatusCode::SERVICE_UNAVAILABLE, "the store is being opened\n"),
        crate::Stage::Serving => (StatusCode::OK, "ready\n"),
        crate::Stage::Fenced => (
            StatusCode::SERVICE_UNAVAILABLE,
            "another process has taken over the log: this one takes no profiles\n",
        ),
        crate::Stage::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
    }
}

/// What becomes of a path when the prefix is taken off.
pub(crate) enum Stripped {
    /// The rest of it.
    Path(Uri),
    /// It is not below the prefix.
    Answer(Response),
}

/// Takes the path prefix off. The prefix without a slash at its end leads to the page; probes work without it too.
pub(crate) fn strip_prefix(uri: &Uri, prefix: &str) -> Stripped {
    let path = uri.path();
    if prefix.is_empty() || path == "/ready" || path == "/healthy" {
        return Stripped::Path(uri.clone());
    }
    let Some(rest) = path.strip_prefix(prefix) else {
        return Stripped::Answer(StatusCode::NOT_FOUND.into_response());
    };
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    if rest.is_empty() {
        return Stripped::Answer(Redirect::permanent(&format!("{prefix}/{query}")).into_response());
    }
    if !rest.starts_with('/') {
        return Stripped::Answer(StatusCode::NOT_FOUND.into_response());
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(format!("{rest}{query}")).ok();
    match Uri::from_parts(parts) {
        Ok(uri) => Stripped::Path(uri),
        Err(_) => Stripped::Answer(StatusCode::BAD_REQUEST.into_response()),
    }
}
