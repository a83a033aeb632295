//! Targets from a URL.

use std::{collections::BTreeMap, sync::LazyLock};

use ::http::{
    HeaderValue, Method,
    header::{ACCEPT, CONTENT_TYPE},
};
use regex::Regex;
use tokio::time::timeout;

use super::{
    Findings,
    findings::Groups,
    groups::{self, GroupsError},
};
use crate::{
    config::{HttpDiscovery, format_duration},
    http_client::{self, HttpClient, HttpError},
};

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
