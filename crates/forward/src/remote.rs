//! The remote store: one connection, and one way to hand it a request for each method.
//!
//! The exchange of the agent's first schema is played again: the samples, then, when the store asks, the locations of all
//! stacktraces. Stores that ask for some of them get all, which they are to take.

mod credentials;
pub(crate) mod trust;

use std::{fs, path::PathBuf, time::Duration};

use bytes::Bytes;
use decima_proto::{
    Encoded,
    opentelemetry::v1development::profiles_service_client::ProfilesServiceClient,
    parca::{
        debuginfo::v1alpha1::debuginfo_service_client::DebuginfoServiceClient,
        profilestore::v1alpha1::{
            WriteArrowRequest, WriteRequest, profile_store_service_client::ProfileStoreServiceClient,
        },
    },
};
use http::Uri;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status,
    metadata::MetadataMap,
    service::interceptor::InterceptedService,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use self::credentials::Credentials;
pub use self::credentials::CredentialsError;
use crate::{
    record::{Method, Record},
    settings::{Remote as Settings, Trust},
};

/// Time to reach the store.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for one attempt, as Parca's agent gives its own.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(120);
/// A connection on which nothing comes is asked whether it lives, so that a store that vanished is noticed.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// What Decima tells of a request: samples outside its bounds of time.
const REJECTED: &str = "x-decima-rejected";

/// A remote store that cannot be spoken to as the settings say.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Token or headers cannot be sent.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The file with the authorities cannot be read.
    #[error("the authorities of the remote store cannot be read from {}", path.display())]
    Trust {
        /// Of the file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// TLS cannot be set up.
    #[error("TLS to the remote store cannot be set up")]
    Tls(#[source] tonic::transport::Error),
}

/// A connection that adds what the store wants to see.
pub(crate) type Authorized = InterceptedService<Channel, Credentials>;

/// The remote store. Clones share the connection, which is made when it is needed.
#[derive(Clone)]
pub(crate) struct Remote {
    channel: Authorized,
    origin: Uri,
}

/// A request that the store has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sent {
    /// Samples or profiles that it left out.
    pub(crate) left_out: u64,
}

impl Remote {
    /// Must be called in a Tokio runtime.
    pub(crate) fn new(settings: &Settings) -> Result<Self, RemoteError> {
        let credentials = Credentials::new(settings)?;
        let mut endpoint = Endpoint::from(settings.origin.clone())
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true);
        if settings.origin.scheme_str() == Some("https") {
            let tls = ClientTlsConfig::new();
            endpoint = match &settings.trust {
                Trust::System => endpoint.tls_config(tls.with_enabled_roots()),
                Trust::File(path) => {
                    let pem =
                        fs::read(path).map_err(|source| RemoteError::Trust { path: path.clone(), source })?;
                    endpoint.tls_config(tls.ca_certificate(Certificate::from_pem(pem)))
                }
                Trust::Anyone => endpoint.tls_config_with_verifier(tls, trust::anyone()),
            }
            .map_err(RemoteError::Tls)?;
        }
        let channel = InterceptedService::new(endpoint.connect_lazy(), credentials);
        Ok(Self { channel, origin: settings.origin.clone() })
    }

    /// Where it is.
    pub(crate) fn origin(&self) -> &Uri {
        &self.origin
    }

    /// A client for object files.
    pub(crate) fn debuginfo(&self) -> DebuginfoServiceClient<Authorized> {
        DebuginfoServiceClient::with_origin(self.channel.clone(), self.origin.clone())
    }

    /// Hands over a request, once.
    pub(crate) async fn send(&self, record: &Record) -> Result<Sent, Status> {
        tokio::time::timeout(ATTEMPT_TIMEOUT, self.send_unbounded(record))
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in two minutes")))
    }

    async fn send_unbounded(&self, record: &Record) -> Result<Sent, Status> {
        // The spool's own records have the parts of their method.
        let part = |index: usize| record.parts.get(index).cloned().unwrap_or_default();
        let mut store = ProfileStoreServiceClient::with_origin(self.channel.clone(), self.origin.clone());
        match record.method {
            Method::WriteRaw => Ok(told(store.write_raw(Encoded(part(0))).await?.metadata())),
            Method::WriteArrow => {
                let request = WriteArrowRequest { ipc_buffer: part(0) };
                Ok(told(store.write_arrow(request).await?.metadata()))
            }
            Method::Write => exchange(&mut store, part(0), part(1)).await,
            Method::Export => {
                let mut profiles =
                    ProfilesServiceClient::with_origin(self.channel.clone(), self.origin.clone());
                let answer = profiles.export(Encoded(part(0))).await?.into_inner();
                let Some(partial) = answer.partial_success else { return Ok(Sent::default()) };
                if !partial.error_message.is_empty() {
                    let reason = partial.error_message.as_str();
                    tracing::warn!(reason, "the remote store left a part of an OTLP request out");
                }
                Ok(Sent { left_out: u64::try_from(partial.rejected_profiles).unwrap_or(0) })
            }
        }
    }
}

/// Both messages of the first schema, the second when it is asked for.
async fn exchange(
    store: &mut ProfileStoreServiceClient<Authorized>,
    samples: Bytes,
    locations: Bytes,
) -> Result<Sent, Status> {
    let (requests, stream) = mpsc::channel(2);
    // There is room for both, and the other end is held by the call.
    let _ = requests.send(WriteRequest { record: samples }).await;
    let mut answers = store.write(ReceiverStream::new(stream)).await?.into_inner();
    if answers.message().await?.is_some() {
        let _ = requests.send(WriteRequest { record: locations }).await;
    }
    drop(requests);
    while answers.message().await?.is_some() {}
    Ok(Sent::default())
}

fn told(metadata: &MetadataMap) -> Sent {
    let rejected = metadata.get(REJECTED).and_then(|value| value.to_str().ok()?.parse().ok());
    Sent { left_out: rejected.unwrap_or(0) }
}
