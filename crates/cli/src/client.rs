//! A connection to a running store.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, anyhow, bail};
use http_body_util::BodyExt;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Uri},
};
use tower::{Service, ServiceExt};

use crate::{args::Remote, settings::UsageError, value::Maybe};

/// Answers and requests up to this size, which is what the store takes and gives too.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Time to reach the store.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where requests go: a connection, and the URL (with its path prefix) that they are for.
pub(crate) struct Store {
    /// The connection.
    pub(crate) channel: InterceptedService<Channel, Credentials>,
    /// What the paths of services are relative to.
    pub(crate) origin: Uri,
}

impl Store {
    /// Connects to the store that the flags name.
    pub(crate) async fn connect(remote: &Remote) -> anyhow::Result<Self> {
        let url = remote.address.as_str();
        let credentials = Credentials::of(remote)?;
        let origin: Uri = url.parse().with_context(|| format!("--address: {url} is not a URL"))?;
        check(remote, &origin, &credentials)?;
        let mut endpoint = Endpoint::from(origin.clone()).connect_timeout(CONNECT_TIMEOUT);
        if is_tls(&origin) {
            let tls = match &remote.tls_ca {
                None | Some(Maybe(None)) => ClientTlsConfig::new().with_enabled_roots(),
                Some(Maybe(Some(path))) => {
                    let pem = fs::read(path).with_context(|| format!("--tls-ca: {}", path.display()))?;
                    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
                }
            };
            endpoint = endpoint.tls_config(tls)?;
        }
        let channel =
            endpoint.connect().await.with_context(|| format!("no store answers at {url} (--address)"))?;
        Ok(Self { channel: InterceptedService::new(channel, credentials), origin })
    }

    /// The text at a path of the store.
    pub(crate) async fn text(&mut self, path: &str) -> anyhow::Result<String> {
        let uri = format!("{}{path}", self.origin.path().trim_end_matches('/'));
        let request = http::Request::get(&uri).body(tonic::body::Body::empty())?;
        let answer = self.channel.ready().await?.call(request).await?;
        if answer.status() != http::StatusCode::OK {
            bail!("the store answered {} for {path}", answer.status());
        }
        let body = http_body_util::Limited::new(answer.into_body(), MESSAGE_BYTES_MAX).collect().await;
        let bytes = body.map_err(|e| anyhow!("the answer for {path} was cut off: {e}"))?.to_bytes();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// What every request shows, if anything.
#[derive(Clone)]
pub(crate) struct Credentials(Option<MetadataValue<Ascii>>);

impl Credentials {
    fn of(remote: &Remote) -> anyhow::Result<Self> {
        let (flag, token) = match (&remote.bearer_token_file, &remote.bearer_token) {
            (Some(Maybe(Some(path))), _) => ("bearer-token-file", token_in(path)?),
            (_, Some(token)) if !token.is_empty() => ("bearer-token", token.trim().to_owned()),
            _ => return Ok(Self(None)),
        };
        let wrong = || UsageError { flag, reason: "holds what no header can".to_owned() };
        let mut value: MetadataValue<Ascii> = format!("Bearer {token}").parse().map_err(|_| wrong())?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Self(Some(value)) = self {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

fn token_in(path: &Path) -> anyhow::Result<String> {
    let text =
        fs::read_to_string(path).with_context(|| format!("--bearer-token-file: {}", path.display()))?;
    let token = text.trim();
    if token.is_empty() {
        return Err(anyhow!("--bearer-token-file: {} is empty", path.display()));
    }
    Ok(token.to_owned())
}

/// Flags that contradict the address, and tokens on their way where others can read them.
fn check(remote: &Remote, origin: &Uri, credentials: &Credentials) -> Result<(), UsageError> {
    let wrong = |flag, reason: &str| Err(UsageError { flag, reason: reason.to_owned() });
    match is_tls(origin) {
        true if remote.insecure => {
            wrong("insecure", "means without TLS, and the address begins with https://")
        }
        false if matches!(remote.tls_ca, Some(Maybe(Some(_)))) => {
            wrong("tls-ca", "needs an address that begins with https://")
        }
        false if credentials.0.is_some() && !remote.insecure && !is_loopback(origin) => {
            wrong("address", "a token would go without TLS: use https://, or --insecure if that is fine")
        }
        _ => Ok(()),
    }
}

fn is_tls(origin: &Uri) -> bool {
    origin.scheme_str() == Some("https")
}

fn is_loopback(origin: &Uri) -> bool {
    let host = origin.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// A refusal in the store's words.
#[expect(clippy::needless_pass_by_value, reason = "has the shape that map_err wants")]
pub(crate) fn refused(status: Status) -> anyhow::Error {
    anyhow!("the store answered {:?}: {}", status.code(), status.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_contradicts_the_address() {
        let check = |address: &str, flags: &[&str], named: Option<&str>| {
            let remote = Remote {
                address: address.to_owned(),
                bearer_token: flags.contains(&"token").then(|| "secret".to_owned()),
                bearer_token_file: None,
                tls_ca: flags.contains(&"ca").then(|| Maybe(Some("ca.pem".into()))),
                insecure: flags.contains(&"insecure"),
            };
            let credentials = Credentials::of(&remote).unwrap();
            let error = super::check(&remote, &address.parse().unwrap(), &credentials).err();
            assert_eq!(error.map(|error| error.flag), named, "{address} {flags:?}");
        };
        check("http://store:7070", &[], None);
        check("http://store:7070", &["token"], Some("address"));
        check("http://store:7070", &["token", "insecure"], None);
        check("http://127.0.0.1:7070", &["token"], None);
        check("http://[::1]:7070", &["token"], None);
        check("http://localhost:7070", &["token"], None);
        check("http://localhost.evil:7070", &["token"], Some("address"));
        check("http://store:7070", &["ca"], Some("tls-ca"));
        check("https://store:7070", &["ca", "token"], None);
        check("https://store:7070", &["insecure"], Some("insecure"));
    }
}
