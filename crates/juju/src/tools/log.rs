//! The model's log.

use super::{HookTools, ToolError};

/// An argument may have 128 KiB on Linux; a longer message is told in parts.
const PART_BYTES_MAX: usize = 120 << 10;

/// How much a message matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// For who looks for a fault.
    Debug,
    /// What happened.
    Info,
    /// What should not have.
    Warning,
    /// What failed.
    Error,
}

impl LogLevel {
    fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
        }
    }
}

impl HookTools {
    /// Writes to the model's log, at once. Each call runs a tool: say little.
    pub fn log(&self, level: LogLevel, message: &str) -> Result<(), ToolError> {
        parts(message)
            .try_for_each(|part| self.tell("juju-log", &["--log-level", level.as_str(), "--", part]))
    }
}

/// Cuts a message into parts that fit, between characters.
fn parts(mut message: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        if message.is_empty() {
            return None;
        }
        let (part, rest) = message.split_at(message.floor_char_boundary(PART_BYTES_MAX));
        message = rest;
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::expecting;
    use super::*;

    #[test]
    fn a_message() {
        expecting("juju-log --log-level WARNING -- x y", "", "").log(LogLevel::Warning, "x y").unwrap();
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let message = "ü".repeat(PART_BYTES_MAX);
        let parts: Vec<_> = parts(&message).collect();
        assert_eq!(parts.len(), 2);
        assert!(parts.iter().all(|part| part.len() <= PART_BYTES_MAX));
        assert_eq!(parts.concat(), message);
    }
}
