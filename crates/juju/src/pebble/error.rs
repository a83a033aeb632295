//! Why Pebble did not do what it was asked for.

use std::{io, path::PathBuf, time::Duration};

use decima_base::ErrorKind;

use super::change::Change;

/// Pebble did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum PebbleError {
    /// Nobody answers at the socket.
    #[error("no Pebble at {}", socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The exchange broke off.
    #[error("the exchange with Pebble broke off")]
    Exchange {
        /// How.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time.
    #[error("Pebble did not answer within {timeout:?}")]
    Late {
        /// How long it had.
        timeout: Duration,
    },
    /// It refused.
    #[error("Pebble: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its word for what went wrong, such as `not-found`; often none.
        kind: String,
        /// What it said.
        message: String,
    },
    /// It did not do one thing with one file.
    #[error("Pebble: {path}: {message}")]
    File {
        /// The path in the container.
        path: String,
        /// Its word for what went wrong: `not-found`, `permission-denied`, `generic-file-error`.
        kind: String,
        /// What it said.
        message: String,
    },
    /// A path that cannot be sent.
    #[error("{path:?} is not an absolute path without control characters")]
    Path {
        /// The path.
        path: String,
    },
    /// Its answer is not what the protocol says.
    #[error("Pebble answered what cannot be read")]
    Answer {
        /// Where in the answer.
        #[source]
        source: serde_json::Error,
    },
    /// Its plan cannot be read.
    #[error("the plan of Pebble cannot be read")]
    Plan {
        /// Where in the plan.
        #[source]
        source: Box<serde_saphyr::Error>,
    },
    /// What was begun has failed.
    #[error("{}: {}", .0.summary, .0.failure())]
    Change(Box<Change>),
    /// What was begun has not ended in time; it goes on.
    #[error("change {id} has not ended within {timeout:?}")]
    Unfinished {
        /// Its identifier.
        id: String,
        /// How long it had.
        timeout: Duration,
    },
}

impl PebbleError {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Connect { .. } | Self::Exchange { .. } => ErrorKind::Unavailable,
            Self::Late { .. } | Self::Unfinished { .. } => ErrorKind::DeadlineExceeded,
            Self::Refused { status: 404, .. } => ErrorKind::NotFound,
            Self::Refused { kind, .. } | Self::File { kind, .. } if kind == "not-found" => {
                ErrorKind::NotFound
            }
            Self::Refused { .. } | Self::File { .. } | Self::Path { .. } => ErrorKind::InvalidArgument,
            Self::Answer { .. } | Self::Plan { .. } | Self::Change(_) => ErrorKind::Internal,
        }
    }

    /// Whether the container is not up, or not up yet; Juju tells when it is.
    pub fn is_unavailable(&self) -> bool {
        self.kind() == ErrorKind::Unavailable
    }

    /// Whether the thing asked for is not there.
    pub fn is_not_found(&self) -> bool {
        self.kind() == ErrorKind::NotFound
    }
}
