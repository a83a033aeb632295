//! Changes: what the daemon does over time, in tasks.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::{Pebble, PebbleError};

/// The daemon is asked to hold an answer back so long; shorter than what proxies and daemons bear, as it costs nothing.
const POLL: Duration = Duration::from_secs(4);

/// Something that the daemon was asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Change {
    /// Its identifier.
    pub id: String,
    /// Which action it is of: `replan`, `start`, …
    pub kind: String,
    /// What it is, in a line.
    pub summary: String,
    /// `Doing`, `Done`, `Error`, `Hold`, …
    pub status: String,
    /// What it consists of; nothing if there was nothing to do.
    pub tasks: Vec<Task>,
    /// Whether it has ended.
    pub ready: bool,
    /// Why it failed, if it did.
    pub err: Option<String>,
}

/// A step of a change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Task {
    /// Its identifier.
    pub id: String,
    /// What kind of step it is.
    pub kind: String,
    /// What it is, in a line.
    pub summary: String,
    /// `Do`, `Doing`, `Done`, `Error`, `Hold`, …
    pub status: String,
    /// What happened, a line each; the last lines of the service's output if it failed.
    pub log: Vec<String>,
}

impl Change {
    /// Why it failed, with the last thing that its tasks logged.
    pub fn failure(&self) -> String {
        let err = self.err.as_deref().unwrap_or("failed").trim();
        let last = self.tasks.iter().rev().find_map(|task| task.log.last());
        match last {
            Some(last) => format!("{err}: {last}"),
            None => err.to_owned(),
        }
    }
}

impl Pebble {
    /// A change as it is now.
    pub fn change(&self, id: &str) -> Result<Change, PebbleError> {
        self.get(&format!("/v1/changes/{}", segment(id)), &[])
    }

    /// Waits until a change has ended. One that failed is an error; one that has not ended in time goes on.
    pub fn wait(&self, id: &str, timeout: Duration) -> Result<Change, PebbleError> {
        let path = format!("/v1/changes/{}/wait", segment(id));
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let poll = left.min(POLL);
            let query = format!("{:.3}s", poll.as_secs_f64());
            match self.get_slowly::<Change>(&path, &[("timeout", &query)], poll) {
                Ok(change) if change.err.is_some() => return Err(PebbleError::Change(Box::new(change))),
                Ok(change) if change.ready => return Ok(change),
                // It answers so when the time that it was given is over.
                Ok(_) | Err(PebbleError::Refused { status: 504, .. }) => {}
                Err(error) => return Err(error),
            }
            if left.is_zero() {
                return Err(PebbleError::Unfinished { id: id.to_owned(), timeout });
            }
        }
    }
}

/// An identifier as a segment of a path.
fn segment(id: &str) -> String {
    form_urlencoded::byte_serialize(id.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_it_failed() {
        let task = Task { log: vec!["first".to_owned(), "cannot start".to_owned()], ..Task::default() };
        let change =
            Change { err: Some("cannot perform".to_owned()), tasks: vec![task], ..Change::default() };
        assert_eq!(change.failure(), "cannot perform: cannot start");
        assert_eq!(Change::default().failure(), "failed");
    }
}
