//! Targets from a URL.

use std::{collections::BTreeMap, sync::LazyLock};

use ::http::{
    HeaderValue, Method,
    header::{ACCEPT, CONTENT_TYPE},
};
use decima_config::{HttpDiscovery, format_duration};
use regex::Regex;
use tokio::time::timeout;

use super::{
    Findings,
    findings::Groups,
    groups::{self, GroupsError},
};
use crate::http_client::{self, HttpClient, HttpError};

/// Longest answer: a hundred thousand targets with some labels.
const ANSWER_BYTES_MAX: usize = 32 << 20;

const URL_LABEL: &str = "__meta_url";
const REFRESH_HEADER: &str = "x-prometheus-refresh-interval-seconds";

#[expect(clippy::expect_used, reason = "a constant that a test compiles")]
static JSON_TYPE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"^(?i:application/json(;\s*charset=("utf-8"|utf-8))?)$"#).expect("a regular expression")
});

/// A URL that gave no targets.
#[derive(Debug, thiserror::Error)]
enum HttpDiscoveryError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("unsupported content type {content_type:?}")]
    ContentType { content_type: String },
    #[error(transparent)]
    Groups(#[from] GroupsError),
    #[error("timed out after {after}")]
    Timeout { after: String },
}

/// Asks again and again.
pub(super) async fn run(config: &HttpDiscovery, findings: &Findings) {
    let client = HttpClient::new(config.http_client.clone());
    let mut ticks = super::refresh_ticks(config.refresh_interval);
    loop {
        ticks.tick().await;
        // What takes longer would be asked for again meanwhile.
        match timeout(config.refresh_interval, ask(config, &client)).await {
            Ok(Ok(groups)) => findings.found(groups),
            Ok(Err(error)) => findings.failed(&error),
            Err(_) => {
                let after = format_duration(config.refresh_interval);
                findings.failed(&HttpDiscoveryError::Timeout { after });
            }
        }
    }
}

async fn ask(config: &HttpDiscovery, client: &HttpClient) -> Result<Groups, HttpDiscoveryError> {
    let seconds = config.refresh_interval.as_secs_f64().to_string();
    let request = client
        .request(Method::GET, config.url.clone())
        .await?
        .header(ACCEPT, "application/json")
        .header(REFRESH_HEADER, seconds);
    let response = http_client::send(request).await?;
    let content_type = response.headers().get(CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
    let content_type = String::from_utf8_lossy(content_type).trim().to_owned();
    if !JSON_TYPE.is_match(&content_type) {
        return Err(HttpDiscoveryError::ContentType { content_type });
    }
    let body = http_client::body(response, ANSWER_BYTES_MAX).await?;
    let mut groups = BTreeMap::new();
    for (index, mut group) in groups::from_json(&body)?.into_iter().enumerate() {
        group.labels.insert(URL_LABEL.to_owned(), config.url.to_string());
        groups.insert(format!("{index:08}"), group);
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::{
        Router,
        extract::State,
        http::{HeaderMap, StatusCode},
        response::IntoResponse,
        routing::get,
    };
    use parking_lot::Mutex;

    use crate::discovery::testing::{Running, discovery, serve};

    type Said = Arc<Mutex<(StatusCode, &'static str, &'static str)>>;

    #[tokio::test]
    async fn lists_are_taken_and_failures_keep_them() {
        let said: Said = Arc::new(Mutex::new((
            StatusCode::OK,
            "application/json; charset=utf-8",
            r#"[{"targets": ["a:1", "b:1"], "labels": {"env": "x"}}, {"targets": ["c:1"]}]"#,
        )));
        let answer = async |State(said): State<Said>, headers: HeaderMap| {
            assert_eq!(headers["accept"], "application/json");
            assert_eq!(headers["x-prometheus-refresh-interval-seconds"], "0.05");
            assert_eq!(headers["authorization"], "Bearer t");
            let (status, content_type, body) = *said.lock();
            (status, [("content-type", content_type)], body).into_response()
        };
        let address = serve(Router::new().route("/targets", get(answer)).with_state(said.clone())).await;
        let running = Running::start(discovery(&format!(
            "http_sd_configs: [{{url: 'http://{address}/targets', refresh_interval: 50ms, bearer_token: t}}]"
        )));
        let (targets, status) = running.until(|targets, _| targets.len() == 3).await;
        assert_eq!((targets[0]["env"].as_str(), targets[2]["__address__"].as_str()), ("x", "c:1"));
        let url = format!("http://{address}/targets");
        assert_eq!(
            (targets[0]["__meta_url"].as_str(), status.subject.as_str()),
            (url.as_str(), url.as_str())
        );

        let check = async |status: StatusCode, content_type, body, expected: &str| {
            *said.lock() = (status, content_type, body);
            let (targets, status) = running.until(|_, status| status.last_error.starts_with(expected)).await;
            assert_eq!(targets.len(), 3, "{}", status.last_error);
        };
        check(StatusCode::BAD_GATEWAY, "text/plain", "no", "server returned HTTP status 502 Bad Gateway: no")
            .await;
        check(StatusCode::OK, "text/html", "[]", "unsupported content type \"text/html\"").await;
        check(StatusCode::OK, "application/json", "[{]", "not a list of target groups: ").await;
        *said.lock() = (StatusCode::OK, "application/json", "[]");
        running.until(|targets, status| targets.is_empty() && status.last_error.is_empty()).await;
    }
}
