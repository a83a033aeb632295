//! What services wrote lately.

use serde::Deserialize;

use super::{Pebble, PebbleError};

/// A line that a service wrote to its standard output or standard error.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct OutputLine {
    /// When, as RFC 3339 has it.
    pub time: String,
    /// The service.
    pub service: String,
    /// What it wrote, without the end of the line.
    pub message: String,
}

impl Pebble {
    /// The last lines that a service wrote, oldest first; the daemon keeps some 100 kB of them.
    pub fn output(&self, service: &str, lines: u32) -> Result<Vec<OutputLine>, PebbleError> {
        let lines = lines.to_string();
        let query = [("services", service), ("n", lines.as_str())];
        let answer = self.get_raw("/v1/logs", &query, "application/x-ndjson")?;
        let read = serde_json::Deserializer::from_slice(&answer.bytes).into_iter();
        read.collect::<Result<_, _>>().map_err(|source| PebbleError::Answer { source })
    }
}
