//! Here are the settings of an HTTP client as a configuration has them, gives you requests that keep them: credentials,
//! headers, TLS, proxy, redirects.
//!
//! Credentials and certificates in files are read for each request, so that rotating them needs no reload. Nothing is
//! decompressed and no encoding is asked for: profiles are gzip by themselves, and their codec bounds them.

mod tls;

use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use decima_config::{Credentials, HttpClientConfig, Proxy, SecretSource};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header::AUTHORIZATION};
use parking_lot::Mutex;
use reqwest::{Client, NoProxy, RequestBuilder, Response, StatusCode, Url, redirect::Policy};

use self::tls::{Pem, TlsSetupError};

const USER_AGENT: &str = concat!("decima/", env!("CARGO_PKG_VERSION"));

/// As Go's client, which is what configurations are written for.
const REDIRECTS_MAX: usize = 10;

/// How much of an answer that is an error goes into what is told of it.
const ERROR_BODY_BYTES_MAX: usize = 256;

/// A request that was not answered with 200.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
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
    /// The server was not reached, or the connection broke.
    #[error("request failed")]
    Request(#[source] reqwest::Error),
    /// The server answered with something else than 200.
    #[error("server returned HTTP status {status}{}", said(body))]
    Status {
        /// Of the answer.
        status: StatusCode,
        /// Start of the answer's text.
        body: String,
    },
    /// The answer is too long.
    #[error("the answer is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: usize,
    },
}

fn said(body: &str) -> String {
    if body.is_empty() { String::new() } else { format!(": {body}") }
}

/// A client with settings of its own.
pub(crate) struct HttpClient {
    config: HttpClientConfig,
    unix_socket: Option<PathBuf>,
    built: Mutex<Option<Built>>,
}

struct Built {
    pem: Pem,
    client: Client,
}

impl HttpClient {
    pub(crate) fn new(config: HttpClientConfig) -> Self {
        Self { config, unix_socket: None, built: Mutex::new(None) }
    }

    /// A client whose requests go to a Unix socket, whatever host their URL names.
    pub(crate) fn over_unix_socket(path: PathBuf) -> Self {
        Self { unix_socket: Some(path), ..Self::new(HttpClientConfig::default()) }
    }

    /// A request with everything that the settings ask for.
    pub(crate) async fn request(&self, method: Method, url: Url) -> Result<RequestBuilder, HttpError> {
        let request = self.client().await?.request(method, url).headers(self.headers().await?);
        self.authenticate(request).await
    }

    /// The head of an answer that is a 200.
    pub(crate) async fn get(&self, url: Url) -> Result<Response, HttpError> {
        send(self.request(Method::GET, url).await?).await
    }

    /// The client as its certificate files now are; connections are kept as long as they do not change.
    async fn client(&self) -> Result<Client, HttpError> {
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

    fn build(&self, pem: &Pem) -> Result<Client, HttpError> {
        let config = &self.config;
        let mut builder = Client::builder()
            .user_agent(USER_AGENT)
            .tls_backend_preconfigured(tls::client_config(&config.tls, pem, config.http1_only)?)
            .redirect(if config.no_redirects { Policy::none() } else { Policy::limited(REDIRECTS_MAX) });
        if config.http1_only {
            builder = builder.http1_only();
        }
        if let Some(path) = &self.unix_socket {
            builder = builder.unix_socket(path.as_path());
        }
        builder = match &config.proxy {
            Proxy::Direct => builder.no_proxy(),
            Proxy::Environment => builder,
            Proxy::Url { url, no_proxy } => {
                let proxy = reqwest::Proxy::all(url.expose()).map_err(HttpError::Request)?;
                builder.no_proxy().proxy(proxy.no_proxy(NoProxy::from_string(no_proxy)))
            }
        };
        builder.build().map_err(HttpError::Request)
    }

    async fn headers(&self) -> Result<HeaderMap, HttpError> {
        let mut headers = HeaderMap::new();
        for (name, values) in &self.config.headers {
            let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
                return Err(HttpError::HeaderValue { name: name.clone() });
            };
            for value in values {
                headers.append(&header, header_value(name, &read(value).await?)?);
            }
        }
        Ok(headers)
    }

    async fn authenticate(&self, request: RequestBuilder) -> Result<RequestBuilder, HttpError> {
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

/// The head of the answer to `request`, if it is a 200.
pub(crate) async fn send(request: RequestBuilder) -> Result<Response, HttpError> {
    let mut response = request.send().await.map_err(HttpError::Request)?;
    if response.status() != StatusCode::OK {
        let status = response.status();
        return Err(HttpError::Status { status, body: error_text(&mut response).await });
    }
    Ok(response)
}

/// The whole body of an answer, if it is no longer than `limit_bytes`.
pub(crate) async fn body(mut response: Response, limit_bytes: usize) -> Result<Bytes, HttpError> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(HttpError::Request)? {
        if bytes.len() + chunk.len() > limit_bytes {
            return Err(HttpError::TooLarge { limit_bytes });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

/// A header that does not show in logs.
pub(crate) fn header_value(name: &str, text: &str) -> Result<HeaderValue, HttpError> {
    let mut value =
        HeaderValue::from_str(text).map_err(|_| HttpError::HeaderValue { name: name.to_owned() })?;
    value.set_sensitive(true);
    Ok(value)
}

async fn read(secret: &SecretSource) -> Result<String, HttpError> {
    match secret {
        SecretSource::Inline(text) => Ok(text.expose().to_owned()),
        SecretSource::File(path) => match tokio::fs::read_to_string(path).await {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(source) => Err(HttpError::SecretFile { path: path.clone(), source }),
        },
    }
}

async fn read_or_empty(secret: Option<&SecretSource>) -> Result<String, HttpError> {
    match secret {
        Some(secret) => read(secret).await,
        None => Ok(String::new()),
    }
}

async fn pem(source: Option<&SecretSource>) -> Result<Option<Vec<u8>>, HttpError> {
    match source {
        Some(source) => Ok(Some(read(source).await?.into_bytes())),
        None => Ok(None),
    }
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
