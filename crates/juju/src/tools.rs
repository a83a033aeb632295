//! Hook tools: the small programs by which a charm asks and tells the model.
//!
//! Each method of [`HookTools`] is one call of one tool, so a charm sees what it pays: a call costs some milliseconds.
//! Answers are asked for as JSON and read into types; an answer of another shape is an error, not a guess. Arguments that
//! come from outside stand behind `--` or in standard input, where they cannot be taken for flags or grow too long.
//!
//! What Juju refuses comes as [`ToolError::Refused`] with Juju's words. There is no kind of refusal in the protocol, so
//! [`ToolError::is_not_found`] and [`ToolError::is_denied`] read those words.

pub mod action;
pub mod config;
pub mod log;
pub mod network;
pub mod port;
pub mod relation;
mod run;
pub mod secret;
pub mod state;
pub mod status;
pub mod storage;

use std::{fmt, io, process::Output};

use decima_base::ErrorKind;
use serde::de::DeserializeOwned;

pub use run::Run;

/// A hook tool did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It could not be started; outside a hook there are no tools.
    #[error("cannot run {tool}")]
    Start {
        /// Name of the tool.
        tool: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ended with a failure.
    #[error("{tool}: {message}")]
    Refused {
        /// Name of the tool.
        tool: &'static str,
        /// Its exit code; none if a signal ended it.
        code: Option<i32>,
        /// What it wrote to standard error, without the leading `ERROR`.
        message: String,
    },
    /// Its answer is not what the protocol says.
    #[error("{tool} answered what cannot be read")]
    Answer {
        /// Name of the tool.
        tool: &'static str,
        /// Where in the answer.
        #[source]
        source: serde_json::Error,
    },
    /// Its answer holds something else than the name that belongs there.
    #[error("{tool} answered with a name that cannot be read")]
    Name {
        /// Name of the tool.
        tool: &'static str,
        /// The name.
        #[source]
        source: crate::names::NameError,
    },
}

impl ToolError {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Start { .. } => ErrorKind::Unavailable,
            Self::Refused { .. } if self.is_not_found() => ErrorKind::NotFound,
            Self::Refused { .. } => ErrorKind::InvalidArgument,
            Self::Answer { .. } | Self::Name { .. } => ErrorKind::Internal,
        }
    }

    /// Whether the thing asked for is not, or no longer, in the model.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { message, .. } if message.contains("not found"))
    }

    /// Whether only another unit, the leader mostly, may do this.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Refused { message, .. }
            if ["permission denied", "not the leader", "cannot write relation settings"]
                .iter()
                .any(|words| message.contains(words)))
    }
}

/// The hook tools, by way of something that runs them.
pub struct HookTools {
    run: Box<dyn Run>,
}

impl HookTools {
    /// The tools that are on the path of this process, as in a real hook. They inherit its environment.
    pub fn from_path() -> Self {
        Self::new(run::FromPath)
    }

    /// Tools run by something else, for tests.
    pub fn new(run: impl Run + 'static) -> Self {
        Self { run: Box::new(run) }
    }

    /// Runs a tool and gives its standard output.
    fn call(&self, tool: &'static str, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, ToolError> {
        let Output { status, stdout, stderr } =
            self.run.run(tool, arguments, input).map_err(|source| ToolError::Start { tool, source })?;
        if status.success() {
            return Ok(stdout);
        }
        let message = String::from_utf8_lossy(&stderr);
        let message = message.trim();
        let message = message.strip_prefix("ERROR ").unwrap_or(message).to_owned();
        Err(ToolError::Refused { tool, code: status.code(), message })
    }

    /// Runs a tool for what it does.
    fn tell(&self, tool: &'static str, arguments: &[&str]) -> Result<(), ToolError> {
        self.call(tool, arguments, &[]).map(drop)
    }

    /// Runs a tool for its answer in JSON. Nothing at all is `null`: some tools print nothing where there is nothing.
    fn ask<T: DeserializeOwned>(&self, tool: &'static str, arguments: &[&str]) -> Result<T, ToolError> {
        let stdout = self.call(tool, arguments, &[])?;
        let text = stdout.trim_ascii();
        let text = if text.is_empty() { b"null" } else { text };
        serde_json::from_slice(text).map_err(|source| ToolError::Answer { tool, source })
    }
}

impl fmt::Debug for HookTools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HookTools").finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{os::unix::process::ExitStatusExt, process::ExitStatus, sync::Mutex};

    use super::*;

    /// Tools that expect one call, `tool argument …`, with an input, and answer it once.
    pub(crate) fn expecting(call: &'static str, input: &'static str, answer: &'static str) -> HookTools {
        HookTools::new(move |tool: &str, arguments: &[&str], given: &[u8]| {
            let line = [&[tool], arguments].concat().join(" ");
            assert_eq!((line.as_str(), String::from_utf8_lossy(given).as_ref()), (call, input));
            Ok(output(0, answer, ""))
        })
    }

    /// Tools that refuse everything.
    pub(crate) fn refusing(message: &'static str) -> HookTools {
        HookTools::new(move |_: &str, _: &[&str], _: &[u8]| Ok(output(1, "", message)))
    }

    fn output(code: i32, stdout: &str, stderr: &str) -> Output {
        let status = ExitStatus::from_raw(code << 8);
        Output { status, stdout: stdout.into(), stderr: stderr.into() }
    }

    #[test]
    fn refusals_keep_the_words_of_juju() {
        let check = |stderr: &'static str, message: &str, not_found: bool, denied: bool| {
            let error = refusing(stderr).is_leader().unwrap_err();
            assert_eq!(error.to_string(), format!("is-leader: {message}"));
            assert_eq!((error.is_not_found(), error.is_denied()), (not_found, denied), "{stderr}");
        };
        check("ERROR permission denied\n", "permission denied", false, true);
        check(
            "ERROR invalid value \"ep:9\" for option -r: relation not found\n",
            "invalid value \"ep:9\" for option -r: relation not found",
            true,
            false,
        );
        check("ERROR this unit is not the leader\n", "this unit is not the leader", false, true);
        check("boom", "boom", false, false);
    }

    #[test]
    fn an_answer_of_another_shape_is_an_error() {
        let error = expecting("is-leader --format=json", "", "{\"a\"").is_leader().unwrap_err();
        assert_eq!(error.to_string(), "is-leader answered what cannot be read");
        assert_eq!(error.kind(), ErrorKind::Internal);
    }

    #[test]
    fn a_tool_that_is_not_there() {
        let called = Mutex::new(0);
        let tools = HookTools::new(move |_: &str, _: &[&str], _: &[u8]| {
            *called.lock().unwrap() += 1;
            Err(io::ErrorKind::NotFound.into())
        });
        let error = tools.is_leader().unwrap_err();
        assert_eq!(error.to_string(), "cannot run is-leader");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}
