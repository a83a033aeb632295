//! The HTTP client of a job: credentials, headers, TLS, proxy; and one bounded request.
//!
//! Nothing is ever decompressed here and no encoding is asked for: endpoints answer with profiles that are gzip by
//! themselves, and the codec bounds them. Credentials and certificates in files are read for each request, so that
//! rotating them needs no reload.

use std::{path::PathBuf, sync::Arc};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use parking_lot::Mutex;
use reqwest::{Client, NoProxy, RequestBuilder, Response, StatusCode, Url, redirect::Policy};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::tls::{self, Pem, TlsSetupError};
use crate::config::{Credentials, HttpClientConfig, Proxy, SecretSource};

const USER_AGENT: &str = concat!("decima/", env!("CARGO_PKG_VERSION"));

/// As Go's client, which is what configurations are written for.
const REDIRECTS_MAX: usize = 10;

/// How much of an answer that is an error goes into the target's last error.
const ERROR_BODY_BYTES_MAX: usize = 256;

/// Bytes of one permit of [`BodyBounds::in_flight`]; a semaphore cannot count single bytes of large budgets.
const PERMIT_BYTES: usize = 4096;

/// A profile that could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// A file with credentials or certificates is not there.
    #[error("cannot read {}", path.display())]
    SecretFile {
        /// Of the file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A secret holds what no header can.
    #[error("the value for header {name} cannot be sent")]
    HeaderValue {
        /// Of the header.
        name: String,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsSetupError),
    /// The target was not reached, or the connection broke.
    #[error("request failed")]
    Http(#[source] reqwest::Error),
    /// The target answered with something else than 200.
    #[error("server returned HTTP status {status}{}", said(body))]
    Status {
        /// Of the answer.
        status: StatusCode,
        /// Start of the answer's text.
        body: String,
    },
    /// The target answered with nothing.
    #[error("empty profile")]
    Empty,
    /// The target answered with too much.
    #[error("profile is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: usize,
    },
}

fn said(body: &str) -> String {
    if body.is_empty() { String::new() } else { format!(": {body}") }
}

/// Bounds on bodies, shared by all jobs.
#[derive(Clone)]
pub(super) struct BodyBounds {
    /// Bytes of one body.
    body_bytes_max: usize,
    /// Bytes of all bodies that are being received or stored.
    in_flight: Arc<Semaphore>,
}

impl BodyBounds {
    pub(super) fn new(body_bytes_max: usize, in_flight_bytes_max: usize) -> Self {
        // One body must always fit, else it could never be received.
        let bytes = in_flight_bytes_max.max(body_bytes_max);
        let permits = (bytes / PERMIT_BYTES + 1).min(Semaphore::MAX_PERMITS);
        Self { body_bytes_max, in_flight: Arc::new(Semaphore::new(permits)) }
    }
}

/// A profile as received. Its share of the memory for bodies is free again when this is dropped.
pub(super) struct Body {
    pub(super) bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

/// The client of one job.
pub(super) struct JobClient {
    config: HttpClientConfig,
    built: Mutex<Option<Built>>,
}

struct Built {
    pem: Pem,
    client: Client,
}

impl JobClient {
    pub(super) fn new(config: HttpClientConfig) -> Self {
        Self { config, built: Mutex::new(None) }
    }

    /// Fetches one profile.
    pub(super) async fn fetch(&self, url: &Url, bounds: &BodyBounds) -> Result<Body, FetchError> {
        let client = self.client().await?;
        let request = client.get(url.clone()).headers(self.headers().await?);
        let request = self.authenticate(request).await?;
        let mut response = request.send().await.map_err(FetchError::Http)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status {
                status: response.status(),
                body: error_text(&mut response).await,
            });
        }
        receive(response, bounds).await
    }

    /// The client as its certificate files now are; connections are kept as long as they do not change.
    async fn client(&self) -> Result<Client, FetchError> {
        let tls = &self.config.tls;
        let pem = Pem {
            ca: pem(tls.ca.as_ref()).await?,
            cert: pem(tls.cert.as_ref()).await?,
            key: pem(tls.key.as_ref()).await?,
        };
        let mut built = self.built.lock();
        if let Some(built) = built.as_ref().filter(|built| built.pem == pem) {
            return Ok(built.client.clone());
        }
        let client = self.build(&pem)?;
        *built = Some(Built { pem, client: client.clone() });
        Ok(client)
    }

    fn build(&self, pem: &Pem) -> Result<Client, FetchError> {
        let config = &self.config;
        let mut builder = Client::builder()
            .user_agent(USER_AGENT)
            .tls_backend_preconfigured(tls::client_config(&config.tls, pem, config.http1_only)?)
            .redirect(if config.no_redirects { Policy::none() } else { Policy::limited(REDIRECTS_MAX) });
        if config.http1_only {
            builder = builder.http1_only();
        }
        builder = match &config.proxy {
            Proxy::Direct => builder.no_proxy(),
            Proxy::Environment => builder,
            Proxy::Url { url, no_proxy } => {
                let proxy = reqwest::Proxy::all(url.expose()).map_err(FetchError::Http)?;
                builder.no_proxy().proxy(proxy.no_proxy(NoProxy::from_string(no_proxy)))
            }
        };
        builder.build().map_err(FetchError::Http)
    }

    async fn headers(&self) -> Result<HeaderMap, FetchError> {
        let mut headers = HeaderMap::new();
        for (name, values) in &self.config.headers {
            let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
                return Err(FetchError::HeaderValue { name: name.clone() });
            };
            for value in values {
                headers.append(&header, header_value(name, &read(value).await?)?);
            }
        }
        Ok(headers)
    }

    async fn authenticate(&self, request: RequestBuilder) -> Result<RequestBuilder, FetchError> {
        match &self.config.credentials {
            None => Ok(request),
            Some(Credentials::Basic { username, password }) => {
                let username = read_or_empty(username.as_ref()).await?;
                Ok(request.basic_auth(username, Some(read_or_empty(password.as_ref()).await?)))
            }
            Some(Credentials::Authorization { scheme, credentials }) => {
                let credentials = read_or_empty(credentials.as_ref()).await?;
                let value = header_value("Authorization", &format!("{scheme} {credentials}"))?;
                Ok(request.header(AUTHORIZATION, value))
            }
        }
    }
}

fn header_value(name: &str, text: &str) -> Result<HeaderValue, FetchError> {
    let mut value =
        HeaderValue::from_str(text).map_err(|_| FetchError::HeaderValue { name: name.to_owned() })?;
    value.set_sensitive(true);
    Ok(value)
}

async fn read(secret: &SecretSource) -> Result<String, FetchError> {
    match secret {
        SecretSource::Inline(text) => Ok(text.expose().to_owned()),
        SecretSource::File(path) => match tokio::fs::read_to_string(path).await {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(source) => Err(FetchError::SecretFile { path: path.clone(), source }),
        },
    }
}

async fn read_or_empty(secret: Option<&SecretSource>) -> Result<String, FetchError> {
    match secret {
        Some(secret) => read(secret).await,
        None => Ok(String::new()),
    }
}

async fn pem(source: Option<&SecretSource>) -> Result<Option<Vec<u8>>, FetchError> {
    match source {
        Some(source) => Ok(Some(read(source).await?.into_bytes())),
        None => Ok(None),
    }
}

async fn receive(mut response: Response, bounds: &BodyBounds) -> Result<Body, FetchError> {
    let too_large = || FetchError::TooLarge { limit_bytes: bounds.body_bytes_max };
    if response.content_length().is_some_and(|length| length > bounds.body_bytes_max as u64) {
        return Err(too_large());
    }
    let mut bytes = BytesMut::new();
    let mut share: Option<OwnedSemaphorePermit> = None;
    while let Some(chunk) = response.chunk().await.map_err(FetchError::Http)? {
        if bytes.len() + chunk.len() > bounds.body_bytes_max {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
        let needed =
            bytes.len().div_ceil(PERMIT_BYTES) - share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if let Ok(more) =
            bounds.in_flight.clone().acquire_many_owned(u32::try_from(needed).unwrap_or(u32::MAX)).await
        {
            match &mut share {
                Some(share) => share.merge(more),
                None => share = Some(more),
            }
        }
    }
    if bytes.is_empty() { Err(FetchError::Empty) } else { Ok(Body { bytes: bytes.freeze(), _share: share }) }
}

/// The first line of what the server says about its error, as far as it is text.
async fn error_text(response: &mut Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < ERROR_BODY_BYTES_MAX {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            _ => break,
        }
    }
    bytes.truncate(ERROR_BODY_BYTES_MAX);
    let text = String::from_utf8_lossy(&bytes);
    let line = text.trim().lines().next().unwrap_or_default();
    if line.chars().any(|c| c.is_control() || c == char::REPLACEMENT_CHARACTER) {
        String::new()
    } else {
        line.to_owned()
    }
}
