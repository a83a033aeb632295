//! A connection to a running store.

use std::time::Duration;

use anyhow::{Context, anyhow};
use tonic::{
    Status,
    transport::{Channel, ClientTlsConfig, Endpoint, Uri},
};

/// Answers and requests up to this size, which is what the store takes and gives too.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Time to reach the store.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where requests go: a connection, and the URL (with its path prefix) that they are for.
pub(crate) struct Store {
    /// The connection.
    pub(crate) channel: Channel,
    /// What the paths of services are relative to.
    pub(crate) origin: Uri,
}

impl Store {
    /// Connects to the store at a URL.
    pub(crate) async fn connect(url: &str) -> anyhow::Result<Self> {
        let mut endpoint = Endpoint::from_shared(url.to_owned())
            .with_context(|| format!("--address: {url} is not a URL"))?
            .connect_timeout(CONNECT_TIMEOUT);
        if url.starts_with("https://") {
            endpoint = endpoint.tls_config(ClientTlsConfig::new().with_enabled_roots())?;
        }
        let channel =
            endpoint.connect().await.with_context(|| format!("no store answers at {url} (--address)"))?;
        Ok(Self { channel, origin: url.parse()? })
    }
}

/// A refusal in the store's words.
#[expect(clippy::needless_pass_by_value, reason = "has the shape that map_err wants")]
pub(crate) fn refused(status: Status) -> anyhow::Error {
    anyhow!("the store answered {:?}: {}", status.code(), status.message())
}
