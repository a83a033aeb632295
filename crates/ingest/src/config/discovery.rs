//! Where targets are found besides `static_configs`, with Prometheus' settings and defaults.

use std::{path::PathBuf, time::Duration};

use reqwest::Url;

use super::HttpClientConfig;

/// A way to find targets.
#[derive(Debug, Clone, PartialEq)]
pub enum Discovery {
    /// Files with lists of targets.
    File(FileDiscovery),
    /// A URL that answers with a list of targets.
    Http(HttpDiscovery),
}

impl Discovery {
    /// The word that names the way, as in `file_sd_configs`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Http(_) => "http",
        }
    }

    /// What is looked at, for people: files, a URL. Never a secret.
    pub fn subject(&self) -> String {
        match self {
            Self::File(file) => {
                let files: Vec<_> = file.files.iter().map(|path| path.display().to_string()).collect();
                files.join(", ")
            }
            Self::Http(http) => without_password(&http.url),
        }
    }
}

/// A URL that can be shown.
fn without_password(url: &Url) -> String {
    let mut url = url.clone();
    // Only URLs without a host refuse, and they have no password.
    if url.password().is_some() {
        let _ = url.set_password(Some("xxxxx"));
    }
    url.to_string()
}

/// Files with lists of targets, JSON or YAML by their extension.
#[derive(Debug, Clone, PartialEq)]
pub struct FileDiscovery {
    /// Paths; the last part of one may have a `*`.
    pub files: Vec<PathBuf>,
    /// After how long a file is read again although nothing tells that it has changed.
    pub refresh_interval: Duration,
}

/// A URL that answers with a list of targets, JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpDiscovery {
    /// Asked with GET.
    pub url: Url,
    /// From one request to the next, and how long one may take.
    pub refresh_interval: Duration,
    /// How requests are made.
    pub http_client: HttpClientConfig,
}
