//! The HTTP client of a bucket: trust, identity, timeouts, repeats.

use std::{path::Path, time::Duration};

use object_store::{
    BackoffConfig, ClientOptions, RetryConfig,
    client::{HttpClient, HttpConnector},
};

use super::{BucketError, Http};

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may stay silent: a bucket that throttles answers sooner.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Repeats of a request by default. The store repeats what must not fail by itself, so that it can refuse requests meanwhile.
const RETRIES: usize = 3;
/// All repeats of one request end after this.
const RETRY_TIMEOUT: Duration = Duration::from_secs(20);

/// Makes clients with the settings of one bucket.
#[derive(Debug)]
pub(super) struct Connector {
    http: Http,
    authorities: Vec<reqwest::Certificate>,
    identity: Option<reqwest::Identity>,
}

impl Connector {
    pub(super) fn new(http: &Http) -> Result<Self, BucketError> {
        // Fails if the program has chosen one already, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = |error: reqwest::Error| BucketError::Client(Box::new(error));
        let authorities = match &http.ca_file {
            Some(path) => reqwest::Certificate::from_pem_bundle(&read(path)?).map_err(client)?,
            None => Vec::new(),
        };
        let identity = match (&http.cert_file, &http.key_file) {
            (Some(cert), Some(key)) => {
                let mut pem = read(cert)?;
                pem.push(b'\n');
                pem.extend(read(key)?);
                Some(reqwest::Identity::from_pem(&pem).map_err(client)?)
            }
            (None, None) => None,
            _ => {
                return Err(BucketError::Setting {
                    setting: "tls_config",
                    reason: "cert_file and key_file need each other".to_owned(),
                });
            }
        };
        Ok(Self { http: http.clone(), authorities, identity })
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("decima/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(self.http.response_timeout.unwrap_or(READ_TIMEOUT))
            .tls_certs_merge(self.authorities.iter().cloned())
            .tls_danger_accept_invalid_certs(self.http.insecure_skip_verify);
        if let Some(timeout) = self.http.idle_timeout {
            builder = builder.pool_idle_timeout(timeout);
        }
        if let Some(identity) = &self.identity {
            builder = builder.identity(identity.clone());
        }
        let client = builder
            .build()
            .map_err(|error| object_store::Error::Generic { store: "bucket", source: Box::new(error) })?;
        Ok(HttpClient::new(client))
    }
}

/// How often a request is repeated, and for how long.
pub(super) fn retry(http: &Http) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: if http.retries_max == 0 { RETRIES } else { http.retries_max },
        retry_timeout: RETRY_TIMEOUT,
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, BucketError> {
    std::fs::read(path).map_err(|source| BucketError::File { path: path.to_owned(), source })
}
