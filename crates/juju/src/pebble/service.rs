//! Services: starting them, stopping them, and whether they run.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::{Change, Pebble, PebbleError, Startup};

/// A service as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ServiceState {
    /// Its name in the plan.
    pub name: String,
    /// Whether it begins by itself.
    #[serde(default)]
    pub startup: Startup,
    /// Whether it runs.
    pub current: Activity,
}

/// Whether a service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activity {
    /// It runs.
    Active,
    /// It ended and will be started again after a while.
    Backoff,
    /// It failed and will not be started again.
    Error,
    /// It does not run.
    #[serde(other)]
    Inactive,
}

impl Pebble {
    /// Brings what runs in line with the plan: starts what is to begin by itself, restarts what has changed, and leaves
    /// alone what has not. Ends when that is done, within the time given.
    pub fn replan(&self, timeout: Duration) -> Result<Change, PebbleError> {
        self.act("replan", &[], timeout)
    }

    /// Starts what is to begin by itself.
    pub fn autostart(&self, timeout: Duration) -> Result<Change, PebbleError> {
        self.act("autostart", &[], timeout)
    }

    /// Starts services; one that runs stays as it is.
    pub fn start(&self, services: &[&str], timeout: Duration) -> Result<Change, PebbleError> {
        self.act("start", services, timeout)
    }

    /// Stops services.
    pub fn stop(&self, services: &[&str], timeout: Duration) -> Result<Change, PebbleError> {
        self.act("stop", services, timeout)
    }

    /// Stops services that run and starts all of them.
    pub fn restart(&self, services: &[&str], timeout: Duration) -> Result<Change, PebbleError> {
        self.act("restart", services, timeout)
    }

    fn act(&self, action: &str, services: &[&str], timeout: Duration) -> Result<Change, PebbleError> {
        let id = self.begin("/v1/services", &json!({"action": action, "services": services}))?;
        self.wait(&id, timeout)
    }

    /// All services of the plan, by name.
    pub fn services(&self) -> Result<Vec<ServiceState>, PebbleError> {
        let services: Option<Vec<ServiceState>> = self.get("/v1/services", &[])?;
        Ok(services.unwrap_or_default())
    }

    /// Whether a service of the plan runs; false too if the plan has none of that name.
    pub fn is_running(&self, service: &str) -> Result<bool, PebbleError> {
        Ok(self.services()?.iter().any(|state| state.name == service && state.current == Activity::Active))
    }
}
