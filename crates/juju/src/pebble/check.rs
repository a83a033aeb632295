//! Checks as they are now.

use serde::Deserialize;

use super::{Pebble, PebbleError};

/// A check as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CheckState {
    /// Its name in the plan.
    pub name: String,
    /// Which probes it counts for.
    #[serde(default)]
    pub level: CheckLevel,
    /// Whether it holds.
    pub status: CheckStatus,
    /// Failures in a row.
    #[serde(default)]
    pub failures: u64,
    /// Failures in a row from which on it counts as failed.
    #[serde(default)]
    pub threshold: u64,
}

/// Which probes of Kubernetes a check counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckLevel {
    /// Whether the container lives.
    Alive,
    /// Whether it serves.
    Ready,
    /// None.
    #[default]
    #[serde(other)]
    Unset,
}

/// Whether a check holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckStatus {
    /// It holds, or has failed fewer times than its threshold.
    Up,
    /// It has failed as often as its threshold says.
    Down,
    /// It is not looked at.
    #[serde(other)]
    Inactive,
}

impl Pebble {
    /// All checks of the plan, by name.
    pub fn checks(&self) -> Result<Vec<CheckState>, PebbleError> {
        let checks: Option<Vec<CheckState>> = self.get("/v1/checks", &[])?;
        Ok(checks.unwrap_or_default())
    }
}
