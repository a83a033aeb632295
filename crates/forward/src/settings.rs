//! Where profiles go, as whom, and how much may wait.

use std::{path::PathBuf, time::Duration};

use http::Uri;

/// Settings of a forwarder.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The remote store.
    pub remote: Remote,
    /// Labels that every series gets; they win over a sender's own of the same name.
    pub external_labels: Vec<(String, String)>,
    /// Directory of the spool.
    pub spool_path: PathBuf,
    /// Bytes that the spool may have; beyond it, the oldest requests are dropped.
    pub spool_bytes_max: u64,
    /// Requests that wait for longer are dropped.
    pub spool_age_max: Duration,
    /// Object files that may wait beside the requests.
    pub object_files: ObjectFiles,
    /// Bytes of one profile or Arrow buffer that is looked into, decompressed.
    pub profile_bytes_max: usize,
}

/// Bounds on object files in the spool; how long they may wait is as for requests.
#[derive(Debug, Clone, Copy)]
pub struct ObjectFiles {
    /// Bytes of all, those that are being received included; beyond it, no more are taken.
    pub bytes_max: u64,
    /// Bytes of one.
    pub file_bytes_max: u64,
    /// How long an upload may take, from its sender and to the remote store.
    pub upload_max_duration: Duration,
}

/// The remote store and how to speak to it.
#[derive(Debug, Clone)]
pub struct Remote {
    /// `http://` or `https://`, with the path below which its services are, if there is one.
    pub origin: Uri,
    /// Whom to trust; without meaning for `http://`.
    pub trust: Trust,
    /// What to show.
    pub token: Option<Token>,
    /// Metadata of each request.
    pub headers: Vec<(String, String)>,
}

/// Whose certificates to believe.
#[derive(Debug, Clone)]
pub enum Trust {
    /// The authorities of the system.
    System,
    /// Those in a PEM file.
    File(PathBuf),
    /// Everybody's.
    Anyone,
}

/// A bearer token, or where it is.
#[derive(Clone)]
pub enum Token {
    /// The token.
    Inline(String),
    /// A file that holds it, and is followed.
    File(PathBuf),
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("Inline(…)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}
