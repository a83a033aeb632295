//! What a server can be told, and its bounds.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::auth::{Anonymous, Digest};

/// Settings of a server. Plain data; the defaults are those of the flags.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Path below which everything is served: empty, or `/a/b` without a slash at its end.
    pub path_prefix: String,
    /// Origins whose pages may call, compared exactly. A single `*` allows all. Credentials are never allowed.
    pub cors_allowed_origins: Vec<String>,
    /// Whom to let in.
    pub access: Access,
    /// What connections with TLS are made of. Needed by listeners that have it.
    pub tls: Option<TlsFiles>,
    /// Bounds.
    pub bounds: Bounds,
}

/// Whom to let in.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// File of those who may, looked at every second; without one, everybody may.
    pub tokens_file: Option<PathBuf>,
    /// What needs no token although there is a file.
    pub anonymous: Anonymous,
}

/// PEM files, looked at every second.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// Certificate of the server, followed by those between it and its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Authorities of clients' certificates. If given, clients must show one for everything but health.
    pub client_ca: Option<PathBuf>,
}

/// How much of everything a server takes on.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Bytes of one message, received or sent, decompressed. 64 MiB is what Parca's senders count on.
    pub message_bytes_max: usize,
    /// Open connections; further ones wait in the listener's queue.
    pub connections_max: usize,
    /// Concurrent requests on one HTTP/2 connection.
    pub streams_max: u32,
    /// Time for a client to send the head of a request, and how long an idle HTTP/1 connection is kept.
    pub head_read_timeout: Duration,
    /// Time for a request without a deadline of its own. A request's own deadline counts if it is earlier.
    pub request_timeout: Duration,
    /// Time for which the sender of a stream of messages may send nothing before it is cut off: what it has begun takes a
    /// place that others wait for. The whole may take as long as its sender says or likes.
    pub stream_pause_max: Duration,
    /// Queries worked on at once; others wait within their deadline. Each may hold a merged tree in memory.
    pub queries_max: usize,
    /// Writes worked on at once; others wait within their deadline. Each holds its decompressed profiles in memory.
    pub writes_max: usize,
    /// Time for running requests to end when the server stops.
    pub drain_timeout: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            message_bytes_max: 64 << 20,
            connections_max: 4096,
            streams_max: 256,
            head_read_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(60),
            stream_pause_max: Duration::from_secs(30),
            queries_max: 16,
            writes_max: 64,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Who was let in by a token: the start of its digest, which is enough to tell holders apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Holder([u8; 8]);

impl From<Digest> for Holder {
    fn from(digest: Digest) -> Self {
        Self(digest.as_bytes().first_chunk().copied().unwrap_or_default())
    }
}

/// What carries a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Transport {
    /// Whether the connection came to a loopback address.
    pub(crate) loopback: bool,
    /// Whether it is encrypted up to here.
    pub(crate) tls: bool,
    /// Whether the client has shown a certificate of an authority of clients.
    pub(crate) client_certificate: bool,
}
