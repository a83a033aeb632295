//! Status of the unit and of the application, leadership, version of the workload, the model's goal.

use std::{collections::BTreeMap, fmt};

use serde::Deserialize;

use super::{HookTools, ToolError};

/// How a unit or an application is, with a word for people.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Status {
    /// How it is.
    #[serde(rename = "status")]
    pub name: StatusName,
    /// Why, for people; shown in one line.
    #[serde(default)]
    pub message: String,
}

impl Status {
    /// All is well, nothing to say.
    pub fn active() -> Self {
        Self { name: StatusName::Active, message: String::new() }
    }

    /// Somebody has to do something.
    pub fn blocked(message: impl Into<String>) -> Self {
        Self { name: StatusName::Blocked, message: message.into() }
    }

    /// Something else has to come first, and will by itself.
    pub fn waiting(message: impl Into<String>) -> Self {
        Self { name: StatusName::Waiting, message: message.into() }
    }

    /// Work is being done.
    pub fn maintenance(message: impl Into<String>) -> Self {
        Self { name: StatusName::Maintenance, message: message.into() }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message.as_str() {
            "" => self.name.fmt(f),
            message => write!(f, "{}: {message}", self.name),
        }
    }
}

/// The statuses that Juju shows; a charm sets the first four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatusName {
    /// It serves.
    Active,
    /// Somebody has to do something.
    Blocked,
    /// Something else has to come first.
    Waiting,
    /// Work is being done.
    Maintenance,
    /// A hook failed; only Juju sets this.
    Error,
    /// Nothing is known yet; only Juju sets this.
    #[serde(other)]
    Unknown,
}

impl fmt::Display for StatusName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Blocked => "blocked",
            Self::Waiting => "waiting",
            Self::Maintenance => "maintenance",
            Self::Error => "error",
            Self::Unknown => "unknown",
        })
    }
}

/// How far the model is from what was asked of it: states such as `active` or `waiting` by unit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct GoalState {
    /// Units of this application.
    pub units: BTreeMap<String, Goal>,
    /// Applications and units of the other sides, by endpoint.
    pub relations: BTreeMap<String, BTreeMap<String, Goal>>,
}

/// The state of one thing that is to be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Goal {
    /// Its state.
    pub status: String,
    /// Since when, as Juju writes it.
    pub since: String,
}

impl HookTools {
    /// Whether this unit leads its application; true stays true for at least 30 seconds.
    pub fn is_leader(&self) -> Result<bool, ToolError> {
        self.ask("is-leader", &["--format=json"])
    }

    /// The status that this unit has now.
    pub fn status(&self) -> Result<Status, ToolError> {
        self.ask("status-get", &["--include-data", "--format=json", "--application=false"])
    }

    /// Sets the status of this unit, at once: it stays even if the hook fails.
    pub fn set_status(&self, status: &Status) -> Result<(), ToolError> {
        self.tell("status-set", &["--application=false", &status.name.to_string(), "--", &status.message])
    }

    /// Sets the status of the application; only the leader may.
    pub fn set_app_status(&self, status: &Status) -> Result<(), ToolError> {
        self.tell("status-set", &["--application=true", &status.name.to_string(), "--", &status.message])
    }

    /// Says which version the workload has, at once.
    pub fn set_workload_version(&self, version: &str) -> Result<(), ToolError> {
        self.tell("application-version-set", &["--", version])
    }

    /// What the model is meant to become.
    pub fn goal_state(&self) -> Result<GoalState, ToolError> {
        self.ask("goal-state", &["--format=json"])
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::expecting;
    use super::*;

    #[test]
    fn setting() {
        let tools = expecting("status-set --application=false blocked -- --scale is 1", "", "");
        tools.set_status(&Status::blocked("--scale is 1")).unwrap();
        let tools = expecting("status-set --application=true active -- ", "", "");
        tools.set_app_status(&Status::active()).unwrap();
    }

    #[test]
    fn reading() {
        let call = "status-get --include-data --format=json --application=false";
        let tools = expecting(call, "", r#"{"message":"x","status":"waiting","status-data":{}}"#);
        assert_eq!(tools.status().unwrap(), Status::waiting("x"));
        let tools = expecting(call, "", r#"{"message":"","status":"new one"}"#);
        assert_eq!(tools.status().unwrap().name, StatusName::Unknown);
        assert!(expecting("is-leader --format=json", "", "True").is_leader().is_err());
        assert!(expecting("is-leader --format=json", "", "true\n").is_leader().unwrap());
    }

    #[test]
    fn goal() {
        let answer = r#"{"units":{"a/0":{"status":"active","since":"2026"}},"relations":{"db":{"pg":{"status":"joined","since":""}}}}"#;
        let goal = expecting("goal-state --format=json", "", answer).goal_state().unwrap();
        assert_eq!((goal.units.len(), goal.relations["db"]["pg"].status.as_str()), (1, "joined"));
    }
}
