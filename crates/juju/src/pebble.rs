//! Pebble, which runs a container's workload, spoken to over its unix socket.
//!
//! A [`Pebble`] is the address of one container's daemon and nothing more: each call opens a connection, asks, and closes
//! it. Calls block, as a hook has nothing else to do meanwhile. A daemon that is not there yet is no fault of anybody: a
//! container starts in its own time, and [`PebbleError::is_unavailable`] tells it apart.
//!
//! Not here: running commands, notices, identities.
//!
//! Start at [`Pebble::of_container`], then [`Pebble::combine_layer`] and [`Pebble::replan`].

mod change;
mod check;
mod error;
mod exchange;
mod files;
mod layer;
mod output;
mod service;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

pub use change::{Change, Task};
pub use check::{CheckLevel, CheckState, CheckStatus};
pub use error::PebbleError;
pub use files::{FileEntry, FileKind, NewFile};
pub use layer::{Check, HttpCheck, Layer, LogTarget, Override, Service, Startup, TcpCheck};
pub use output::OutputLine;
pub use service::{Activity, ServiceState};

/// Where Juju mounts the sockets of a pod's containers.
pub const CONTAINERS: &str = "/charm/containers";

/// One container's daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pebble {
    socket: PathBuf,
    timeout: Duration,
}

/// What the daemon says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct System {
    /// Its version.
    pub version: String,
    /// Another one each time the container starts.
    #[serde(default)]
    pub boot_id: String,
}

impl Pebble {
    /// The daemon of a container, by the name that the charm's metadata gives it.
    pub fn of_container(container: &str) -> Self {
        Self::at(Path::new(CONTAINERS).join(container).join("pebble.socket"))
    }

    /// The daemon behind a socket.
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), timeout: Duration::from_secs(5) }
    }

    /// Lets one exchange take longer or shorter than the 5 seconds that it may take otherwise.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Where its socket is.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks whether it is there and which one it is.
    pub fn system(&self) -> Result<System, PebbleError> {
        self.get("/v1/system-info", &[])
    }

    /// Adds a layer on top. A label that is taken is refused.
    pub fn add_layer(&self, label: &str, layer: &Layer) -> Result<(), PebbleError> {
        self.put_layer(label, layer, false)
    }

    /// Adds a layer on top, or combines it into the one that has this label by what its entries say of overriding.
    ///
    /// No service is started, stopped or changed by it: that is [`Self::replan`].
    pub fn combine_layer(&self, label: &str, layer: &Layer) -> Result<(), PebbleError> {
        self.put_layer(label, layer, true)
    }

    fn put_layer(&self, label: &str, layer: &Layer, combine: bool) -> Result<(), PebbleError> {
        // JSON is YAML, and the only format of layers that the daemon knows is called that.
        let layer = serde_json::to_string(layer).map_err(|source| PebbleError::Answer { source })?;
        let body = serde_json::json!({
            "action": "add", "combine": combine, "label": label, "format": "yaml", "layer": layer,
        });
        self.post("/v1/layers", &body).map(|_: serde_json::Value| ())
    }

    /// All layers combined: what the daemon means to run.
    pub fn plan(&self) -> Result<Layer, PebbleError> {
        let text: String = self.get("/v1/plan", &[("format", "yaml")])?;
        if text.trim().is_empty() {
            return Ok(Layer::default());
        }
        serde_saphyr::from_str(&text).map_err(|source| PebbleError::Plan { source: Box::new(source) })
    }
}
